//! The one event loop of a process: its link and everything that it registered, on one mio poll.
//!
//! A process is made of components (a socket library, service clients and servers, a line card's handle). Each takes
//! an [`Event`] by value and gives it back if it is not its own:
//!
//! ```no_run
//! # use ipc::{reactor::{Event, Reactor, ReactorError}, link::{Link, LinkEvent}};
//! # struct Client; impl Client { fn handle(&mut self, _: &mut Reactor, event: Event) -> Option<Event> { Some(event) } }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut client = Client;
//! let mut reactor = Reactor::new(Link::inherited()?)?;
//! loop {
//!     reactor.wait(None)?;
//!     while let Some(event) = reactor.next_event()? {
//!         let Some(event) = client.handle(&mut reactor, event) else { continue };
//!         if let Event::Link(LinkEvent::Stop) = event {
//!             return Ok(());
//!         }
//!     }
//! }
//! # }
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use crate::error::LinkError;
use crate::link::{Link, LinkEvent};

/// Token of the link itself; components get later ones.
const LINK: Token = Token(0);

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// procmgr said something.
    Link(LinkEvent),
    /// What was registered under this token may be ready. Edge-triggered: go on until there is nothing more.
    Ready(Token),
}

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// The link to procmgr failed; without it no process lives.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel refused to wait.
    #[error("poll: {0}")]
    Poll(io::Error),
}

/// The event loop of a process.
#[derive(Debug)]
pub struct Reactor {
    /// The process's link to procmgr.
    pub link: Link,
    poll: Poll,
    events: Events,
    inbox: VecDeque<Event>,
    /// What procmgr said while something else was waited for.
    postponed: VecDeque<LinkEvent>,
    link_ready: bool,
    next_token: usize,
}

impl Reactor {
    /// A loop around a link.
    pub fn new(mut link: Link) -> Result<Self, ReactorError> {
        let poll = Poll::new().map_err(ReactorError::Poll)?;
        link.register(poll.registry(), LINK, Interest::READABLE | Interest::WRITABLE).map_err(ReactorError::Poll)?;
        let events = Events::with_capacity(256);
        let (inbox, postponed) = (VecDeque::new(), VecDeque::new());
        Ok(Self { link, poll, events, inbox, postponed, link_ready: true, next_token: LINK.0 + 1 })
    }

    /// Registers a source; its events come as [`Event::Ready`] with the token returned.
    pub fn register(&mut self, source: &mut dyn Source) -> io::Result<Token> {
        let token = self.token();
        self.poll.registry().register(source, token, Interest::READABLE)?;
        Ok(token)
    }

    /// Ends what [`register`](Self::register) began.
    pub fn deregister(&mut self, source: &mut dyn Source) -> io::Result<()> {
        self.poll.registry().deregister(source)
    }

    /// A token never given before, for a source that is registered with [`registry`](Self::registry).
    pub fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// mio's own face, for a waker or a source with other interests.
    pub fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// The descriptor that is readable when [`wait`](Self::wait) would not wait, for a loop around this one.
    pub fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Tells the loop itself that the component behind `token` has more to do, so that a long piece of work can let
    /// others go first.
    pub fn again(&mut self, token: Token) {
        self.inbox.push_back(Event::Ready(token));
    }

    /// Takes in what procmgr says while something else is waited for: it comes again with
    /// [`next_event`](Self::next_event), in its order, and a loop around this one is woken for it.
    pub fn postpone(&mut self, event: LinkEvent) {
        self.postponed.push_back(event);
        // What is registered anew and writable is an event of its own.
        let anew = self.link.reregister(self.poll.registry(), LINK, Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = anew {
            log::error!("a loop around this one sleeps though procmgr has spoken: {error}");
        }
    }

    /// Waits until something happens, at most for `timeout`. Returns at once while events are undelivered.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), ReactorError> {
        let is_due = self.link_ready || !self.inbox.is_empty() || !self.postponed.is_empty();
        let timeout = if is_due { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(ReactorError::Poll(error)),
            Ok(()) => {}
        }
        for event in &self.events {
            match event.token() {
                LINK => self.link_ready = true,
                token => self.inbox.push_back(Event::Ready(token)),
            }
        }
        Ok(())
    }

    /// The next event; `None`: wait again. procmgr's words come first.
    pub fn next_event(&mut self) -> Result<Option<Event>, ReactorError> {
        if let Some(event) = self.postponed.pop_front() {
            return Ok(Some(Event::Link(event)));
        }
        if self.link_ready {
            match self.link.poll_event()? {
                Some(event) => return Ok(Some(Event::Link(event))),
                None => self.link_ready = false,
            }
        }
        Ok(self.inbox.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use mio::unix::SourceFd;

    use super::*;
    use crate::fd;
    use crate::name::ServiceName;
    use crate::pathname::{Pid, VrId};
    use crate::protocol::{Identity, Notice, Origin, Ticket};

    /// As a loop around this one sees it.
    fn is_readable(reactor: &Reactor) -> bool {
        let mut around = Poll::new().unwrap();
        let (mut events, fd) = (Events::with_capacity(1), reactor.as_raw_fd());
        around.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
        around.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn what_was_postponed_wakes_a_loop_around_this_one_and_comes_in_order() {
        let (own, procmgr) = fd::seqpacket_pair().unwrap();
        let tell = |notice: &Notice| {
            fd::send_with_fds(procmgr.as_fd(), &postcard::to_stdvec(notice).unwrap(), &[]).unwrap();
        };
        let name = ServiceName::new("bgp").unwrap();
        tell(&Notice::Welcome(Identity { vr: VrId(1), vr_name: None, pid: Pid(7), name, origin: Origin::Attached }));
        let mut reactor = Reactor::new(Link::from_socket(own).unwrap()).unwrap();
        while is_readable(&reactor) {
            reactor.wait(Some(Duration::ZERO)).unwrap();
            assert!(reactor.next_event().unwrap().is_none());
        }
        tell(&Notice::Go);
        let go = reactor.link.wait_event().unwrap();
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(reactor.next_event().unwrap().is_none() && !is_readable(&reactor));
        reactor.postpone(go);
        assert!(is_readable(&reactor));
        tell(&Notice::Done { ticket: Ticket(3) });
        reactor.wait(None).unwrap();
        assert!(matches!(reactor.next_event().unwrap(), Some(Event::Link(LinkEvent::Go))));
        assert!(matches!(reactor.next_event().unwrap(), Some(Event::Link(LinkEvent::Done { ticket: Ticket(3) }))));
        assert!(reactor.next_event().unwrap().is_none());
    }
}
