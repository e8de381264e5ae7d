//! What the person or the program that started the router sees while it comes up.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::service_manager::ServiceManager;

/// Progress on standard output, and the news that the router is up on a descriptor.
#[derive(Debug)]
pub(crate) struct Console {
    lines: bool,
    alerts: bool,
    waiting: Option<File>,
    /// Told what the one who waits is told, and when the router stops.
    pub(crate) service_manager: Option<ServiceManager>,
}

impl Console {
    /// `lines`: progress for a person. `alerts`: what goes wrong later is printed too, on a console that a shell may
    /// have. `waiting`: gets `up` once, or the reason why not.
    pub(crate) fn new(lines: bool, alerts: bool, waiting: Option<OwnedFd>) -> Self {
        Self { lines, alerts, waiting: waiting.map(File::from), service_manager: None }
    }

    /// procmgr itself works.
    pub(crate) fn procmgr_ready(&self) {
        self.line(&format!("procmgr ready (PID {})", std::process::id()));
    }

    /// A process works for the first time.
    pub(crate) fn process_ready(&self, who: &str, after: Duration) {
        self.line(&format!("{who} ready in {}", took(after)));
    }

    /// Something is wrong.
    pub(crate) fn warn(&self, text: &str) {
        if self.lines {
            self.line(text);
        } else if self.alerts {
            // In the middle of a line perhaps, on a terminal that may be in raw mode.
            print(&format!("\r\n% {text}\r\n"));
        }
    }

    /// All that can be ready is. No progress is printed from now on: a shell may have the terminal.
    pub(crate) fn up(&mut self, router: &str, processes: usize, after: Duration) {
        self.line(&format!("router {router} is up: {processes} processes in {}", took(after)));
        self.lines = false;
        self.tell("up");
        if let Some(manager) = &self.service_manager {
            manager.ready(&format!("router {router}: {processes} processes"));
        }
    }

    /// procmgr's loop turns; when that is to be told again, if a service manager wants to hear it.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        let manager = self.service_manager.as_ref()?;
        let interval = manager.heartbeat()?;
        manager.alive();
        Some(interval)
    }

    /// The router stops.
    pub(crate) fn stopping(&self) {
        if let Some(manager) = &self.service_manager {
            manager.stopping();
        }
    }

    /// The router cannot be brought up.
    pub(crate) fn failed(&mut self, why: &str) {
        self.tell(why);
    }

    fn tell(&mut self, text: &str) {
        let Some(mut waiting) = self.waiting.take() else { return };
        if let Err(error) = writeln!(waiting, "{text}") {
            log::debug!("nobody waits for the router to come up: {error}");
        }
    }

    fn line(&self, text: &str) {
        if self.lines {
            print(&format!("{text}\n"));
        }
    }
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        log::debug!("standard output: {error}");
    }
}

/// How long something took, as precisely as a reader cares.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        1000.. => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn who_waits_hears_once_how_it_went() {
        for (news, heard) in [(None, "up\n"), (Some("router \"x\" already runs"), "router \"x\" already runs\n")] {
            let (mut reader, writer) = io::pipe().unwrap();
            let mut console = Console::new(false, false, Some(writer.into()));
            match news {
                None => console.up("x", 1, Duration::ZERO),
                Some(why) => console.failed(why),
            }
            console.failed("something later");
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, heard);
        }
    }
}
