//! Datagrams that were read and not fetched when a process forked, or executed a program by a child: both have a copy, and
//! one of the two fetches them.
//!
//! A look at a socket (poll, `MSG_PEEK`) takes a datagram out of the ring. A server that waits for one and leaves it to a
//! child, as inetd does, would find it again when the child has answered. So an end of a channel goes along, which says
//! nothing: whoever [claims](Channel::claim) it first has the datagrams.

use std::collections::VecDeque;

use ipc::channel::Channel;
use ipc::error::ChannelError;

use super::DatagramSocket;
use crate::message::ProcessMessage;

/// The first datagrams of a socket's queue, which another process has too.
#[derive(Debug)]
pub(super) struct Copies {
    pub claim: Channel,
    pub count: usize,
}

impl Copies {
    /// Those that lie in a queue; `None`: none does.
    pub fn of(queue: &VecDeque<ProcessMessage>) -> Result<Option<Self>, ChannelError> {
        match queue.len() {
            0 => Ok(None),
            count => Ok(Some(Self { claim: Channel::pair()?.0, count })),
        }
    }
}

impl DatagramSocket {
    /// What lies in the queue is about to be another process's too.
    pub fn copy_unread(&mut self) -> Result<(), ChannelError> {
        if self.copies.is_none() {
            self.copies = Copies::of(&self.queue)?;
        }
        Ok(())
    }

    /// The next of the queue is about to be fetched: the copies are this process's, or another's.
    pub fn claim_copies(&mut self) {
        if let Some(mut copies) = self.copies.take()
            && !copies.claim.claim()
        {
            self.queue.drain(..copies.count.min(self.queue.len()));
        }
    }

    /// Forgets copies that another process has fetched.
    pub fn forget_claimed(&mut self) {
        if let Some(copies) = self.copies.take_if(|copies| copies.claim.is_claimed()) {
            self.queue.drain(..copies.count.min(self.queue.len()));
        }
    }
}
