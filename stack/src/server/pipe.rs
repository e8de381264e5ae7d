//! Between a connection and the channel of its socket.

use std::cell::RefCell;
use std::collections::VecDeque;

use ipc::channel::Channel;
use ipc::error::ChannelError;

use crate::transport::tcp::{ReceiveSink, SendSource};

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
    /// The process writes no more, and the connection has seen all that it wrote.
    ended: bool,
    /// The channel cannot be used any more.
    broken: bool,
}

impl Pipe {
    /// A pipe whose channel is to come.
    pub fn empty(receive_bytes: usize) -> Self {
        let (channel, overflow, finished, ended, broken) = (None, VecDeque::new(), false, false, false);
        Self { receive_bytes, channel, overflow, finished, ended, broken }
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

    /// Goes to sleep until the process writes more or makes room: `true`, or `false` if there is more to do now.
    pub fn arm(&mut self) -> bool {
        let wants_room = !self.overflow.is_empty() || self.unread() > self.receive_bytes / 2;
        let Some(channel) = &mut self.channel else { return true };
        if channel.rx.writer_closed() && !std::mem::replace(&mut self.ended, true) {
            return false;
        }
        let available = channel.rx.available().unwrap_or(0);
        // Behind the end nothing comes; what the peer has not acknowledged stays in the ring meanwhile.
        let quiet = if self.ended { Ok(true) } else { channel.arm_peek(available) };
        let armed = quiet.and_then(|quiet| {
            let full = !wants_room || channel.arm_write(self.receive_bytes)?;
            Ok(quiet && full)
        });
        armed.unwrap_or_else(|error| {
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
        pipe.channel.as_ref().is_some_and(|channel| channel.rx.writer_closed())
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
