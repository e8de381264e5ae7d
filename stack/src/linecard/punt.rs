//! The punt channel: from the workers of a line card to the control side, bounded, with one descriptor to wait on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::forwarder::Punt;
use crate::ids::PortId;
use crate::media::LinkState;
use crate::packet::Packet;

/// What a line card tells the control side.
#[derive(Debug)]
pub enum LineCardEvent {
    /// A packet for the control side.
    Punt(Punt),
    /// A port's link came or went.
    Link {
        /// Which port.
        port: PortId,
        /// What it is now.
        state: LinkState,
    },
}

/// Readable while the control side has something to fetch.
#[derive(Debug)]
struct Doorbell {
    descriptor: EventFd,
    /// Set by the control side when it is about to look for the last time.
    armed: AtomicBool,
}

impl Doorbell {
    /// The fence pairs with that in [`PuntReceiver::receive`]: either its look sees what was pushed, or this swap sees
    /// the bell armed.
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.swap(false, Ordering::Relaxed) {
            self.ring_always();
        }
    }

    fn ring_always(&self) {
        if let Err(error) = self.descriptor.write(1) {
            log::error!("waking the control side of a line card: {error}");
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub(super) struct PuntSender {
    ring: Producer<LineCardEvent>,
    bell: Arc<Doorbell>,
}

impl PuntSender {
    /// Queues an event; a packet that does not fit comes back.
    pub(super) fn push(&mut self, event: LineCardEvent) -> Result<(), Option<Packet>> {
        self.ring.push(event).map_err(|PushError::Full(event)| match event {
            LineCardEvent::Punt(punt) => Some(punt.packet),
            LineCardEvent::Link { .. } => None,
        })
    }

    /// After the last event of a turn.
    pub(super) fn ring(&self) {
        self.bell.ring();
    }
}

/// The control side's end, for all workers of a line card.
#[derive(Debug)]
pub struct PuntReceiver {
    rings: Vec<Consumer<LineCardEvent>>,
    bell: Arc<Doorbell>,
}

/// Makes the channel: one sender a worker, each with room for `capacity` events.
pub(super) fn channel(workers: usize, capacity: usize) -> io::Result<(Vec<PuntSender>, PuntReceiver)> {
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let descriptor = EventFd::from_flags(flags)?;
    let bell = Arc::new(Doorbell { descriptor, armed: AtomicBool::new(true) });
    let (senders, rings) = (0..workers)
        .map(|_| {
            let (ring, consumer) = RingBuffer::new(capacity);
            (PuntSender { ring, bell: Arc::clone(&bell) }, consumer)
        })
        .unzip();
    Ok((senders, PuntReceiver { rings, bell }))
}

impl PuntReceiver {
    /// Appends at most about `limit` events. What is left keeps the descriptor readable, so that level- and
    /// edge-triggered pollers both come back.
    pub fn receive(&mut self, limit: usize, into: &mut Vec<LineCardEvent>) {
        // Nothing to read is no error: the caller may come without having been woken.
        let _ = self.bell.descriptor.read();
        self.bell.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let share = limit.div_ceil(self.rings.len().max(1)).max(1);
        for ring in &mut self.rings {
            into.extend(std::iter::from_fn(|| ring.pop().ok()).take(share));
        }
        if self.rings.iter().any(|ring| !ring.is_empty()) {
            self.bell.ring_always();
        }
    }

    /// Readable when there are events.
    pub fn readiness(&self) -> BorrowedFd<'_> {
        self.bell.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn readable(receiver: &PuntReceiver) -> bool {
        let mut fds = [PollFd::new(receiver.readiness(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    fn link(port: u32) -> LineCardEvent {
        LineCardEvent::Link { port: PortId(port), state: LinkState::Up }
    }

    #[test]
    fn the_descriptor_is_readable_as_long_as_something_is_left() {
        let (mut senders, mut receiver) = channel(2, 4).unwrap();
        assert!(!readable(&receiver));
        for (index, sender) in senders.iter_mut().enumerate() {
            sender.push(link(index as u32)).unwrap();
            sender.push(link(index as u32)).unwrap();
            sender.ring();
        }
        assert!(readable(&receiver));
        let mut events = Vec::new();
        receiver.receive(2, &mut events);
        assert!(events.len() == 2 && readable(&receiver));
        receiver.receive(2, &mut events);
        assert!(events.len() == 4 && !readable(&receiver));
        senders[1].push(link(1)).unwrap();
        senders[1].ring();
        assert!(readable(&receiver));
    }

    #[test]
    fn a_full_channel_gives_the_event_back() {
        let (mut senders, _receiver) = channel(1, 1).unwrap();
        assert!(senders[0].push(link(1)).is_ok());
        assert!(senders[0].push(link(1)).is_err());
    }
}
