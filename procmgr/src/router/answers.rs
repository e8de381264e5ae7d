//! Answers to an operator's questions.

use ipc::protocol::{Answer, MAX_MESSAGE, Notice, PublicationRow, Question, Refusal, Ticket};
use serde::Serialize;

use super::Router;
use crate::channels;
use crate::processes::{Process, ProcessKey};
use crate::run::Ending;

/// Bytes of rows in one part of an answer: what remains of a message is for what surrounds them.
const MAX_PART: usize = MAX_MESSAGE - 64;

impl Router<'_> {
    /// Answers in as many parts as it takes.
    pub(super) fn answer(&mut self, key: ProcessKey, ticket: Ticket, question: &Question) {
        let parts = match question {
            Question::Published { pid } => return self.await_published(key, ticket, *pid),
            Question::Processes => split(self.processes.rows(self.now, &self.own, self.started), Answer::Processes),
            Question::Vrs => split(self.vrs.rows(), Answer::Vrs),
            Question::Log { lines } => split(self.log.last(*lines), Answer::Log),
            Question::Publications => split(self.publications(), Answer::Publications),
            Question::Channels => split(self.channels(), Answer::Channels),
            Question::Reload if self.machine.is_none() => {
                return self.notify(key, &Notice::Refused { ticket, refusal: Refusal::NoMachine });
            }
            Question::Shutdown | Question::Reload => vec![Answer::Accepted],
        };
        let last = parts.len().saturating_sub(1);
        for (number, answer) in parts.into_iter().enumerate() {
            self.notify(key, &Notice::Answer { ticket, answer, last: number == last });
        }
        let ending = match question {
            Question::Shutdown => Ending::Stop,
            Question::Reload => Ending::Reload,
            Question::Processes
            | Question::Vrs
            | Question::Log { .. }
            | Question::Publications
            | Question::Channels
            | Question::Published { .. } => return,
        };
        self.ending = ending;
        let who = self.processes.get(key).map_or_else(String::new, |process| process.identity.to_string());
        self.shut_down(&who);
    }

    fn publications(&self) -> Vec<PublicationRow> {
        let row = |(pathname, publication): (&ipc::Pathname, &crate::directory::Publication)| {
            let owner = self.processes.get(publication.owner)?.identity.clone();
            Some(PublicationRow {
                pathname: pathname.clone(),
                generation: publication.generation,
                owner,
                opened: publication.opened,
            })
        };
        let mut rows: Vec<PublicationRow> = self.directory.iter().filter_map(row).collect();
        rows.sort_by(|a, b| a.pathname.cmp(&b.pathname));
        rows
    }

    fn channels(&self) -> Vec<ipc::protocol::ChannelRow> {
        let running = self.processes.iter().map(|(_, process)| process).filter(|process| Process::runs(process));
        channels::scan(running.map(|process| &process.identity))
    }
}

/// Rows in parts that fit into a message each; at least one part.
fn split<T: Serialize>(rows: Vec<T>, answer: impl Fn(Vec<T>) -> Answer) -> Vec<Answer> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0_usize);
    for row in rows {
        // A row that cannot be encoded is none that anybody could be shown.
        let Ok(length) = postcard::to_stdvec(&row).map(|row| row.len()) else { continue };
        if bytes.saturating_add(length) > MAX_PART && !part.is_empty() {
            parts.push(answer(std::mem::take(&mut part)));
            bytes = 0;
        }
        bytes = bytes.saturating_add(length);
        part.push(row);
    }
    parts.push(answer(part));
    parts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipc::Pid;
    use ipc::protocol::LogLine;

    use super::*;

    #[test]
    fn a_long_answer_comes_in_messages_that_fit() {
        let line = |number: usize| LogLine {
            time: Duration::from_secs(1 << 40),
            vr: Some("red".parse().unwrap()),
            process: "bgp".parse().unwrap(),
            pid: Pid(u32::MAX),
            text: "x".repeat(number),
        };
        let parts = split((0..2000).map(line).collect(), Answer::Log);
        assert!(parts.len() > 30);
        let mut seen = 0;
        for answer in parts {
            let notice = Notice::Answer { ticket: Ticket(u32::MAX), answer: answer.clone(), last: true };
            assert!(postcard::to_stdvec(&notice).unwrap().len() <= MAX_MESSAGE);
            let Answer::Log(lines) = answer else { panic!("another answer") };
            assert!(lines.iter().enumerate().all(|(n, line)| line.text.len() == seen + n));
            seen += lines.len();
        }
        assert_eq!(seen, 2000);
        assert_eq!(split(Vec::<LogLine>::new(), Answer::Log), [Answer::Log(vec![])]);
    }
}
