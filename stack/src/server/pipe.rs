//! Between a connection and the channel of its socket.

use std::cell::RefCell;
use std::collections::VecDeque;

use ipc::channel::Channel;
use ipc::error::ChannelError;

use crate::transport::tcp::{ReceiveSink, SendSource};

/// What a connection found in its pipe when it last looked. It goes to sleep over that and nothing newer: what the process
/// does after the look is a reason to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Bytes that the process has written and the peer has not acknowledged.
    written: usize,
    /// The process writes no more.
    ended: bool,
    /// Bytes that the process has not read.
    unread: usize,
}

/// A socket's channel, once there is one, and what did not fit it yet. What the connection promised the peer as window
/// is always taken: the ring grows only while its reader follows.
#[derive(Debug)]
pub struct Pipe {
    /// What the process may leave unread before the peer has to wait: the window of the connection.
    receive_bytes: usize,
    channel: Option<Channel>,
    overflow: VecDeque<u8>,
    /// The peer sends no more.
    finished: bool,
    /// The channel cannot be used any more.
    broken: bool,
}

impl Pipe {
    /// A pipe whose channel is to come.
    pub fn empty(receive_bytes: usize) -> Self {
        Self { receive_bytes, channel: None, overflow: VecDeque::new(), finished: false, broken: false }
    }

    /// A pipe over a channel.
    pub fn over(channel: Channel, receive_bytes: usize) -> Self {
        Self { channel: Some(channel), ..Self::empty(receive_bytes) }
    }

    /// Another receive buffer. One that is smaller than what waits already takes nothing until that was read.
    pub fn set_receive_bytes(&mut self, receive_bytes: usize) {
        self.receive_bytes = receive_bytes;
    }

    /// What may still be taken for the process.
    fn room(&self) -> usize {
        self.receive_bytes.saturating_sub(self.unread())
    }

    /// The channel came; what waited goes into it.
    pub fn attach(&mut self, channel: Channel) {
        self.channel = Some(channel);
        self.flush();
    }

    /// The channel.
    pub fn channel(&mut self) -> Option<&mut Channel> {
        self.channel.as_mut()
    }

    /// Whether the channel failed.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that the process has not read.
    pub fn unread(&self) -> usize {
        let in_ring = self.channel.as_ref().and_then(|channel| channel.unread_by_peer().ok());
        in_ring.unwrap_or(0) + self.overflow.len()
    }

    /// Puts what did not fit into the ring, and the end of file behind it.
    pub fn flush(&mut self) {
        let Some(channel) = &mut self.channel else { return };
        while !self.overflow.is_empty() {
            let (front, _) = self.overflow.as_slices();
            match channel.write(front) {
                Ok(0) => return,
                Ok(written) => drop(self.overflow.drain(..written)),
                Err(error) => {
                    note(&error);
                    self.broken = true;
                    self.overflow.clear();
                }
            }
        }
        if self.finished {
            channel.close_write();
        }
    }

    /// What is there now. To be called before the connection takes it, and handed to [`arm`](Self::arm) after that.
    pub fn look(&self) -> Found {
        // The end first: who ends has written before.
        let ended = self.channel.as_ref().is_some_and(|channel| channel.rx.peer_closed());
        let written = self.channel.as_ref().and_then(|channel| channel.rx.available().ok());
        Found { written: written.unwrap_or(0), ended, unread: self.unread() }
    }

    /// Goes to sleep until the process writes more than was found, or makes room: `true`, or `false` if it has.
    pub fn arm(&mut self, found: Found) -> bool {
        let enough_read = self.receive_bytes / 2;
        let Some(channel) = &mut self.channel else { return true };
        let mut arm = || {
            // Behind the end nothing comes; what the peer has not acknowledged stays in the ring meanwhile.
            let quiet = found.ended || channel.arm_peek(found.written)?;
            let full = if !self.overflow.is_empty() {
                channel.arm_write(self.overflow.len())?
            } else if found.unread > enough_read && !self.finished && !channel.tx.peer_closed_reading() {
                channel.arm_unread(enough_read)?
            } else {
                true
            };
            Ok(quiet && full)
        };
        arm().unwrap_or_else(|error| {
            note(&error);
            self.broken = true;
            true
        })
    }
}

fn note(error: &ChannelError) {
    match error {
        ChannelError::Fault(fault) => log::warn!("a process's socket channel: {fault}"),
        error => log::debug!("a process's socket channel: {error}"),
    }
}

/// The connection's view of what the process writes.
pub struct Source<'a>(pub &'a RefCell<Pipe>);
/// The connection's view of what the process reads.
pub struct Sink<'a>(pub &'a RefCell<Pipe>);

impl SendSource for Source<'_> {
    fn available(&self) -> usize {
        let pipe = self.0.borrow();
        pipe.channel.as_ref().and_then(|channel| channel.rx.available().ok()).unwrap_or(0)
    }

    fn copy(&self, ahead: usize, into: &mut [u8]) -> usize {
        let pipe = self.0.borrow();
        pipe.channel.as_ref().and_then(|channel| channel.rx.peek(ahead, into).ok()).unwrap_or(0)
    }

    fn consume(&mut self, bytes: usize) {
        let mut pipe = self.0.borrow_mut();
        if let Some(Err(error)) = pipe.channel.as_mut().map(|channel| channel.consume(bytes)) {
            note(&error);
            pipe.broken = true;
        }
    }

    fn finished(&self) -> bool {
        let pipe = self.0.borrow();
        pipe.channel.as_ref().is_some_and(|channel| channel.rx.peer_closed())
    }
}

impl ReceiveSink for Sink<'_> {
    fn room(&self) -> usize {
        self.0.borrow().room()
    }

    fn deliver(&mut self, bytes: &[u8]) -> usize {
        let mut pipe = self.0.borrow_mut();
        let room = pipe.room();
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        let in_order = pipe.overflow.is_empty();
        let direct = match &mut pipe.channel {
            Some(channel) if in_order => channel.write(taken).unwrap_or_else(|error| {
                note(&error);
                0
            }),
            Some(_) | None => 0,
        };
        pipe.overflow.extend(taken.get(direct..).unwrap_or_default());
        taken.len()
    }

    fn finish(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.finished = true;
        pipe.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVE_BYTES: usize = 8 << 10;

    fn pipe() -> (Channel, Pipe) {
        let (process, own) = Channel::pair().unwrap();
        (process, Pipe::over(own, RECEIVE_BYTES))
    }

    fn rung(pipe: &mut Pipe) -> bool {
        pipe.channel().unwrap().acknowledge_bell().unwrap()
    }

    #[test]
    fn what_the_process_writes_after_the_look_is_a_reason_to_look_again() {
        let (mut process, mut pipe) = pipe();
        let found = pipe.look();
        process.write(b"x").unwrap();
        assert!(!pipe.arm(found));
        assert!(pipe.arm(pipe.look()), "the connection has seen it");
        assert!(!rung(&mut pipe));
        process.write(b"y").unwrap();
        assert!(rung(&mut pipe));
    }

    #[test]
    fn an_end_after_the_look_is_a_reason_to_look_again_and_behind_it_nothing_comes() {
        let (mut process, mut pipe) = pipe();
        let found = pipe.look();
        process.close_write();
        assert!(!pipe.arm(found));
        assert!(pipe.arm(pipe.look()));
    }

    #[test]
    fn room_that_the_process_makes_after_the_look_is_a_reason_to_look_again() {
        let (mut process, mut pipe) = pipe();
        pipe.overflow.extend(vec![1; 3 * RECEIVE_BYTES / 4]);
        pipe.flush();
        let found = pipe.look();
        assert_eq!(process.read(&mut [0; RECEIVE_BYTES]).unwrap(), 3 * RECEIVE_BYTES / 4);
        assert!(!pipe.arm(found));
        assert!(pipe.arm(pipe.look()));
    }

    #[test]
    fn a_full_pipe_sleeps_until_half_of_it_is_read_though_the_ring_has_room() {
        let (mut process, mut pipe) = pipe();
        pipe.overflow.extend(vec![1; 3 * RECEIVE_BYTES / 4]);
        pipe.flush();
        assert!(pipe.arm(pipe.look()));
        process.read(&mut [0; RECEIVE_BYTES / 8]).unwrap();
        assert!(!rung(&mut pipe));
        process.read(&mut [0; RECEIVE_BYTES / 8]).unwrap();
        assert!(rung(&mut pipe));
    }

    #[test]
    fn after_the_peers_end_nobody_waits_for_room() {
        let (_process, mut pipe) = pipe();
        pipe.overflow.extend(vec![1; 3 * RECEIVE_BYTES / 4]);
        pipe.finished = true;
        pipe.flush();
        assert!(pipe.arm(pipe.look()));
    }

    #[test]
    fn a_process_that_reads_no_longer_is_not_waited_for() {
        let (mut process, mut pipe) = pipe();
        pipe.overflow.extend(vec![1; 3 * RECEIVE_BYTES / 4]);
        pipe.flush();
        process.close_read();
        assert!(pipe.arm(pipe.look()));
    }
}
