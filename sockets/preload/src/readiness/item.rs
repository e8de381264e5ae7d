//! One socket, or one other instance, in an epoll instance: what it has to say, level- or edge-triggered.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use sockets::Stream;

use super::epoll::EpollSet;
use super::nested::{HeldSet, Seen};
use super::{Look, look_at, poll_events};
use crate::description::{Held, Kind, Waiter};
use crate::{kernel, stream};

/// What is watched.
#[derive(Debug, Clone, Copy)]
pub enum Watched {
    /// A socket of ours.
    Socket(Held),
    /// Another epoll instance.
    Set(HeldSet),
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(one), Self::Socket(other)) => one.index() == other.index(),
            (Self::Set(one), Self::Set(other)) => one == other,
            (Self::Socket(_), Self::Set(_)) | (Self::Set(_), Self::Socket(_)) => false,
        }
    }
}

impl Watched {
    /// Whether its descriptor was not closed.
    pub fn is_open(self) -> bool {
        match self {
            Self::Socket(held) => held.check().is_ok(),
            Self::Set(held) => held.is_open(),
        }
    }

    /// Tells somebody from now on.
    pub fn add_waiter(self, waiter: Waiter) {
        match self {
            Self::Socket(held) => held.description().add_waiter(waiter),
            Self::Set(held) => held.set().hot().waiters.add(waiter),
        }
    }

    /// Tells an instance no longer.
    pub fn remove_waiter(self, set: &'static EpollSet, fd: RawFd) {
        match self {
            Self::Socket(held) => held.description().remove_epoll(set, fd),
            Self::Set(held) => held.set().hot().waiters.remove_epoll(set, fd),
        }
    }

    /// What rings when something happens to it. `None`: it has none, and its waiters are told.
    pub fn bell(self) -> Option<RawFd> {
        match self {
            Self::Socket(held) => match held.kind() {
                Kind::Stream => held.description().lock().as_mut().map(stream::bell),
                Kind::Datagram | Kind::Netlink => None,
            },
            Self::Set(held) => held.set().state().as_ref().map(|state| state.inner.as_raw_fd()),
        }
    }
}

/// What an instance has been asked to watch.
#[derive(Debug)]
pub struct Item {
    pub watched: Watched,
    pub events: u32,
    pub data: u64,
    /// EPOLLONESHOT has been.
    pub spent: bool,
    /// What an edge-triggered item was last reported for.
    pub reported: u32,
    position: u64,
    /// What a set around this one was last told of, whether this item is edge-triggered or not.
    told: (u32, u64),
    /// Its bell is in the inner instance.
    pub bell: Option<RawFd>,
}

impl Item {
    /// Not looked at yet.
    pub fn new(watched: Watched, events: u32, data: u64) -> Self {
        Self { watched, events, data, spent: false, reported: 0, position: 0, told: (0, 0), bell: None }
    }

    /// What it has to say now, which is said thereby. `seen`: what was seen in it, where it is a set.
    pub fn take(&mut self, how: Look, seen: Option<Seen>) -> u32 {
        let (is, position) = self.allows(how, seen);
        let said = self.new_of(is, position);
        if self.is_unknown(how, is) {
            return 0;
        }
        if let Watched::Socket(held) = self.watched
            && said & libc::EPOLLOUT as u32 != 0
        {
            held.description().was_full.store(false, Ordering::Relaxed);
        }
        (self.reported, self.position) = (is, position);
        if said != 0 && self.events & libc::EPOLLONESHOT as u32 != 0 {
            self.spent = true;
        }
        said
    }

    /// What it would say now, and whether that is news to a set around this one.
    pub fn peek(&mut self, how: Look, seen: Option<Seen>) -> (u32, bool) {
        let (is, position) = self.allows(how, seen);
        let said = self.new_of(is, position);
        if self.is_unknown(how, is) {
            return (0, false);
        }
        if said == 0 {
            // What is gone is news when it comes again.
            (self.reported, self.position) = (is, position);
        }
        let is_news = said != 0 && (is & !self.told.0 != 0 || position != self.told.1);
        self.told = (is, position);
        (said, is_news)
    }

    /// A glance at a set does not ask the kernel.
    fn is_unknown(&self, how: Look, is: u32) -> bool {
        how == Look::Glance && is == 0 && matches!(self.watched, Watched::Set(_))
    }

    /// What of that has not been said: all of it, if it is level-triggered.
    fn new_of(&self, is: u32, position: u64) -> u32 {
        if self.events & libc::EPOLLET as u32 == 0 {
            return is;
        }
        let was_full = match self.watched {
            Watched::Socket(held) => held.description().was_full.load(Ordering::Relaxed),
            Watched::Set(_) => false,
        };
        let has_room = is & libc::EPOLLOUT as u32 != 0 && was_full;
        if is & !self.reported != 0 || position != self.position || has_room { is } else { 0 }
    }

    /// What of its events is the case, and how much has arrived.
    fn allows(&self, how: Look, seen: Option<Seen>) -> (u32, u64) {
        let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let (is, position) = match (self.watched, seen) {
            // poll(2) and epoll(7) have the same numbers.
            (Watched::Socket(held), _) => (poll_events(look_at(held, how)) as u16, arrived(held)),
            (Watched::Set(_), Some(seen)) => (seen.events() as u16, seen.edges),
            // Added since its set was looked at.
            (Watched::Set(_), None) => (0, 0),
        };
        (u32::from(is) & (self.events | always), position)
    }

    /// Whether nothing is to be said until its bell rings. What was reported is looked at once more, edge-triggered or
    /// not: only then is it known what the program has left, and what the bell is to ring for.
    pub fn may_rest(&self, how: Look, said: u32, seen: Option<Seen>) -> bool {
        let was_seen = seen.is_some() || matches!(self.watched, Watched::Socket(_));
        self.spent || (how == Look::Arm && said == 0 && was_seen)
    }

    /// Adds its bell to the inner instance, if it has one.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub fn listen(&mut self, fd: RawFd, inner: &OwnedFd) -> Result<(), Errno> {
        let bell = self.watched.bell();
        if let Some(bell) = bell
            && self.bell != Some(bell)
        {
            let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
            // Its number: never as large as the two that mean something else.
            match kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, bell, events, fd as u64) {
                // By another number of it.
                Ok(()) | Err(Errno::EEXIST) => self.bell = Some(bell),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Counts what has arrived.
fn arrived(held: Held) -> u64 {
    match held.kind() {
        Kind::Stream => held.description().lock().as_ref().map_or_else(|| held.description().news(), Stream::arrived),
        Kind::Datagram | Kind::Netlink => held.description().news(),
    }
}
