//! The shell's own link, and the ways to ask over it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc::channel::Channel;
use ipc::link::{Link, LinkEvent};
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::{Answer, Question};
use ipc::{Pathname, ServiceName, VrId, VrName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vr_api::show::{self, Row, ShowReply, ShowRequest};

use super::interrupt::Interrupts;
use super::{ShellError, ShellOptions};

/// How long the shell waits for a process before it says that it does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An attached shell.
pub struct Session {
    link: Link,
    /// Who sits before a prompt stops a command with Ctrl-C; without one, Ctrl-C ends the process.
    interrupts: Option<Rc<Interrupts>>,
}

impl Session {
    /// Attaches to the router behind the control socket.
    pub fn attach(options: &ShellOptions) -> Result<Self, ShellError> {
        let link = Link::attach(&options.control_socket, None, ServiceName::new("shell")?)?;
        Ok(Self { link, interrupts: None })
    }

    /// The same with Ctrl-C ending a command, not the process.
    pub fn interruptible(self) -> Result<Self, ShellError> {
        Ok(Self { interrupts: Some(Rc::new(Interrupts::take()?)), ..self })
    }

    /// Ctrl-C, where it ends a command.
    pub fn interrupts(&self) -> Option<Rc<Interrupts>> {
        self.interrupts.clone()
    }

    /// Asks procmgr; all parts of the answer.
    pub fn ask(&mut self, question: Question) -> Result<Vec<Answer>, ShellError> {
        let asked = self.link.ask(question)?;
        let mut parts = Vec::new();
        loop {
            match self.wait("procmgr", Instant::now() + TIMEOUT)? {
                LinkEvent::Answer { ticket, answer, last } if ticket == asked => {
                    parts.push(answer);
                    if last {
                        return Ok(parts);
                    }
                }
                LinkEvent::Refused { ticket, refusal } if ticket == asked => return Err(refusal.into()),
                _ => {}
            }
        }
    }

    /// Opens a service for a conversation of typed messages.
    pub fn open<S: Serialize, R: DeserializeOwned>(
        &mut self,
        pathname: &Pathname,
        terms: &[u8],
        schema: Schema,
    ) -> Result<Conversation<S, R>, ShellError> {
        let service = pathname.to_string();
        let opened = self.link.open(pathname, None, terms)?;
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.wait(&service, until) {
                Ok(LinkEvent::Opened { ticket, channel, .. }) if ticket == opened => {
                    return Ok(Conversation { service, channel: MessageChannel::new(channel, schema) });
                }
                Ok(LinkEvent::Refused { ticket, refusal }) if ticket == opened => return Err(refusal.into()),
                Ok(_) => {}
                Err(error) => {
                    self.link.cancel(opened)?;
                    return Err(error);
                }
            }
        }
    }

    /// Asks a service for a table.
    pub fn table(&mut self, pathname: &Pathname, table: &str, arguments: &[String]) -> Result<Vec<Row>, ShellError> {
        let request = ShowRequest::Table { table: table.to_owned(), arguments: arguments.to_vec() };
        self.show(pathname, &request)
    }

    /// Asks a service for a table, or orders a command.
    pub fn show(&mut self, pathname: &Pathname, request: &ShowRequest) -> Result<Vec<Row>, ShellError> {
        let mut conversation: Conversation<ShowRequest, ShowReply> =
            self.open(pathname, show::TERMS, Schema::new(show::SCHEMA))?;
        conversation.say(request)?;
        let mut rows = Vec::new();
        loop {
            match conversation.hear(TIMEOUT)? {
                ShowReply::Rows(part) => rows.extend(part),
                ShowReply::End => return Ok(rows),
                ShowReply::Error(text) => return Err(ShellError::Answer(text)),
            }
        }
    }

    /// VRs in which a class or a program answers under a name, in the order of their numbers.
    pub fn vrs_with(&mut self, class: &ServiceName) -> Result<Vec<(VrName, VrId)>, ShellError> {
        let vrs = self.vrs()?;
        if vrs.iter().any(|(_, _, classes)| classes.contains(class)) {
            let with = vrs.into_iter().filter(|(_, _, classes)| classes.contains(class));
            return Ok(with.map(|(name, id, _)| (name, id)).collect());
        }
        // Programs are of no VR's classes: what they published says where they are.
        let parts = self.ask(Question::Publications)?;
        let rows = parts.into_iter().flat_map(|part| match part {
            Answer::Publications(rows) => rows,
            _ => Vec::new(),
        });
        let published: Vec<Pathname> = rows.map(|row| row.pathname).collect();
        let with = vrs.into_iter().filter(|(_, id, _)| published.contains(&Pathname::service(*id, class.clone())));
        Ok(with.map(|(name, id, _)| (name, id)).collect())
    }

    /// All VRs, with their numbers and classes.
    pub fn vrs(&mut self) -> Result<Vec<(VrName, VrId, Vec<ServiceName>)>, ShellError> {
        let parts = self.ask(Question::Vrs)?;
        let rows = parts.into_iter().flat_map(|part| if let Answer::Vrs(rows) = part { rows } else { Vec::new() });
        Ok(rows.map(|row| (row.name, row.vr, row.classes)).collect())
    }

    /// A VR that was named, if it exists.
    pub fn known_vr(&mut self, name: Option<&str>) -> Result<Option<VrName>, ShellError> {
        let Some(name) = name.map(VrName::new).transpose()? else { return Ok(None) };
        match self.vrs()?.iter().any(|(known, ..)| *known == name) {
            true => Ok(Some(name)),
            false => Err(ShellError::NoVr(name)),
        }
    }

    fn wait(&mut self, service: &str, until: Instant) -> Result<LinkEvent, ShellError> {
        let left = until.saturating_duration_since(Instant::now());
        let event = self.link.wait_event_timeout(left)?;
        event.ok_or_else(|| ShellError::Silent { service: service.to_owned() })
    }
}

/// A channel of typed messages to a process.
pub struct Conversation<S, R> {
    service: String,
    channel: MessageChannel<S, R>,
}

impl<S: Serialize, R: DeserializeOwned> Conversation<S, R> {
    /// Sends a message.
    pub fn say(&mut self, message: &S) -> Result<(), ShellError> {
        let service = &self.service;
        self.channel.send(message).map_err(|error| ShellError::Message { service: service.clone(), error })
    }

    /// The channel, to wait for it beside other things.
    pub fn channel_mut(&mut self) -> &mut Channel {
        self.channel.channel_mut()
    }

    /// The next message if it is there already.
    pub fn hear_now(&mut self) -> Result<Option<R>, ShellError> {
        let service = &self.service;
        self.channel.receive().map_err(|error| ShellError::Message { service: service.clone(), error })
    }

    /// That the other side did not answer.
    pub fn silent(&self) -> ShellError {
        ShellError::Silent { service: self.service.clone() }
    }

    /// The next message.
    pub fn hear(&mut self, timeout: Duration) -> Result<R, ShellError> {
        let service = &self.service;
        let heard = self.channel.receive_timeout(timeout);
        heard.map_err(|error| ShellError::Message { service: service.clone(), error })?.ok_or_else(|| self.silent())
    }
}
