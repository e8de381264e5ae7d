//! What procmgr's event loop waits for, on mio. A token is never used twice, so that an event of something that has
//! gone in the same turn finds nobody.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::processes::ProcessKey;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Signals of the kernel.
    Signals,
    /// A button of the machine.
    Buttons,
    /// Somebody connects to the control socket.
    Control,
    /// A connection whose process has not said who it is.
    Knocking,
    /// A process's link.
    Link(ProcessKey),
    /// A process's output.
    Output(ProcessKey),
    /// The end of an attached process.
    Death(ProcessKey),
}

/// All sources.
#[derive(Debug)]
pub(crate) struct Sources {
    poll: Poll,
    events: Events,
    by_token: HashMap<Token, Source>,
    next_token: usize,
    unfinished: VecDeque<Token>,
}

impl Sources {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            by_token: HashMap::new(),
            next_token: 0,
            unfinished: VecDeque::new(),
        })
    }

    /// Waits for a descriptor to become readable, for a link also to become writable.
    pub(crate) fn add(&mut self, fd: RawFd, source: Source) -> io::Result<Token> {
        let token = Token(self.next_token);
        let interest = match source {
            Source::Link(_) => Interest::READABLE | Interest::WRITABLE,
            Source::Signals
            | Source::Buttons
            | Source::Control
            | Source::Knocking
            | Source::Output(_)
            | Source::Death(_) => Interest::READABLE,
        };
        self.poll.registry().register(&mut SourceFd(&fd), token, interest)?;
        self.next_token += 1;
        self.by_token.insert(token, source);
        Ok(token)
    }

    /// Forgets a descriptor, before it is closed.
    pub(crate) fn remove(&mut self, fd: RawFd, token: Token) {
        self.by_token.remove(&token);
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            log::debug!("deregister descriptor {fd}: {error}");
        }
    }

    /// There is more to do for this source; others go first.
    pub(crate) fn again(&mut self, token: Token) {
        self.unfinished.push_back(token);
    }

    /// Waits until something happens and says what did.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let timeout = if self.unfinished.is_empty() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        let mut tokens: Vec<Token> = self.unfinished.drain(..).collect();
        tokens.extend(self.events.iter().map(|event| event.token()));
        Ok(tokens)
    }

    /// Whose token this is; `None`: of something that has gone.
    pub(crate) fn source(&self, token: Token) -> Option<Source> {
        self.by_token.get(&token).copied()
    }
}
