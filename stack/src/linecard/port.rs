//! A port in its worker's hands, and the directory of which worker has which.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{SyncSender, TrySendError};

use arc_swap::ArcSwap;
use arrayvec::ArrayVec;
use ipc::VrId;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};

use super::forwarder::Inject;
use crate::counters::{Counter, DropReason, LocalCounters};
use crate::ids::PortId;
use crate::media::finish::{finish, is_finished};
use crate::media::{Driver, DriverError, LinkState, Offload};
use crate::packet::{ChecksumState, Gso, Packet, PacketPool, VECTOR, Vector};

/// Frames that wait while the medium is busy: 12 ms of a gigabit in full frames.
const QUEUE: usize = 1024;

/// What others hand to a worker.
#[derive(Debug)]
pub(super) enum Message {
    /// A finished decision: this frame, by this port of the worker.
    Transmit(PortId, Packet),
    /// A packet of the control side, to be decided on.
    Inject(Inject),
}

/// Wakes a worker, and costs nothing while it is awake.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    /// Set by the worker before it looks at its queues for the last time and sleeps.
    asleep: AtomicBool,
}

impl Bell {
    pub(super) fn new(waker: Waker) -> Self {
        Bell { waker, asleep: AtomicBool::new(false) }
    }

    /// After something was queued. The fence pairs with that of [`Bell::fall_asleep`]: either the worker's last look
    /// sees what was queued, or this swap sees it asleep.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::Relaxed)
            && let Err(error) = self.waker.wake()
        {
            log::error!("waking a line card worker: {error}");
        }
    }

    /// The worker is about to sleep and looks at its queues once more.
    pub(super) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake.
    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// The way to a worker.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    pub(super) queue: SyncSender<Message>,
    pub(super) bell: Arc<Bell>,
}

impl Inbox {
    /// Queues without ringing; the message comes back where the queue is full or the worker gone.
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }
}

/// Which worker has which port, for all line cards of the router. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PortDirectory(Arc<ArcSwap<HashMap<PortId, Inbox>>>);

impl PortDirectory {
    /// No ports.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands frames over to the workers of their ports, as the [`Output`](super::Output) of a forwarder has them.
    pub fn transmit(&self, frames: &mut Vec<(PortId, Packet)>, counters: &mut LocalCounters) {
        let directory = self.0.load();
        // A vector's frames leave by few ports: each worker is woken once, after the last frame for it.
        let mut rung: Option<&Inbox> = None;
        for (port, packet) in frames.drain(..) {
            let (vr, interface) = (packet.meta.vr, packet.meta.interface);
            let Some(inbox) = directory.get(&port) else {
                counters.drop(vr, interface, DropReason::NoPort, 1);
                continue;
            };
            if let Err(refused) = inbox.push(Message::Transmit(port, packet)) {
                drop(refused);
                counters.drop(vr, interface, DropReason::HandoverQueueFull, 1);
            }
            match rung {
                Some(before) if !Arc::ptr_eq(&before.bell, &inbox.bell) => before.bell.ring(),
                Some(_) | None => {}
            }
            rung = Some(inbox);
        }
        if let Some(last) = rung {
            last.bell.ring();
        }
    }

    pub(super) fn get(&self, port: PortId) -> Option<Inbox> {
        self.0.load().get(&port).cloned()
    }

    pub(super) fn insert(&self, port: PortId, inbox: Inbox) {
        self.0.rcu(|ports| {
            let mut ports = HashMap::clone(ports);
            ports.insert(port, inbox.clone());
            ports
        });
    }

    /// Forgets all ports of workers that ended.
    pub(super) fn remove_all_of(&self, gone: &[&Inbox]) {
        self.0.rcu(|ports| {
            let mut ports = HashMap::clone(ports);
            ports.retain(|_, owner| !gone.iter().any(|inbox| Arc::ptr_eq(&inbox.bell, &owner.bell)));
            ports
        });
    }

    pub(super) fn remove(&self, port: PortId) {
        self.0.rcu(|ports| {
            let mut ports = HashMap::clone(ports);
            ports.remove(&port);
            ports
        });
    }
}

/// The tokens of a port's two readiness sources.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    pub(super) receive: Token,
    pub(super) transmit: Token,
}

/// A port, its driver and what waits to be sent.
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) driver: Box<dyn Driver>,
    tokens: Tokens,
    queue: VecDeque<Packet>,
    /// The medium is busy; its transmit readiness is awaited.
    blocked: bool,
    /// Frames may be waiting to be received.
    pub(super) hot: bool,
    link: LinkState,
}

impl Port {
    /// `told`: the link's state as the control side has it.
    pub(super) fn new(
        id: PortId,
        driver: Box<dyn Driver>,
        told: LinkState,
        tokens: Tokens,
        registry: &Registry,
    ) -> std::io::Result<Self> {
        let receive = driver.readiness().as_raw_fd();
        registry.register(&mut SourceFd(&receive), tokens.receive, Interest::READABLE)?;
        Ok(Port { id, driver, tokens, queue: VecDeque::new(), blocked: false, hot: true, link: told })
    }

    /// Takes the port's descriptors out of the poll.
    pub(super) fn close(self, registry: &Registry) {
        let (receive, transmit) = (self.driver.readiness().as_raw_fd(), self.driver.transmit_readiness().as_raw_fd());
        // Closing a descriptor takes it out of the poll as well, so an error here changes nothing.
        let _ = registry.deregister(&mut SourceFd(&receive));
        if self.blocked && transmit != receive {
            let _ = registry.deregister(&mut SourceFd(&transmit));
        }
    }

    /// Queues a frame, finished if the medium needs it so.
    pub(super) fn enqueue(&mut self, packet: Packet, pool: &mut PacketPool, counters: &mut LocalCounters) {
        let (vr, interface) = (packet.meta.vr, packet.meta.interface);
        let mut full = 0;
        let queue = &mut self.queue;
        let mut push = |packet| {
            if queue.len() < QUEUE { queue.push_back(packet) } else { full += 1 }
        };
        if takes_as_is(&packet, self.driver.offload()) {
            push(packet);
        } else if let Err(reason) = finish(packet, pool, &mut push) {
            counters.drop(vr, interface, reason, 1);
        }
        if full > 0 {
            counters.drop(vr, interface, DropReason::TransmitQueueFull, full);
        }
    }

    /// Sends what is queued as far as the medium takes it. Returns the link's state where it changed.
    pub(super) fn flush(
        &mut self,
        pool: &mut PacketPool,
        counters: &mut LocalCounters,
        registry: &Registry,
    ) -> Option<LinkState> {
        let mut changed = None;
        while !self.queue.is_empty() {
            let room = self.queue.len().min(VECTOR);
            let mut vector: Vector = self.queue.drain(..room).collect();
            let vrs: ArrayVec<VrId, VECTOR> = vector.iter().map(|packet| packet.meta.vr).collect();
            let result = self.driver.transmit(pool, &mut vector);
            if let Ok(sent) = result {
                vrs.iter().take(sent).for_each(|vr| counters.add(*vr, Counter::FramesSent, 1));
            }
            let stuck = matches!(result, Ok(0));
            if let Err(error) = &result {
                self.drop_first(&mut vector, error, counters);
                changed = self.check_link().or(changed);
            } else if self.link == LinkState::Down {
                changed = self.check_link().or(changed);
            }
            for packet in vector.into_iter().rev() {
                self.queue.push_front(packet);
            }
            if stuck {
                self.set_blocked(true, registry);
                return changed;
            }
        }
        self.set_blocked(false, registry);
        changed
    }

    /// The medium can take more, or there may be an error to fetch.
    pub(super) fn writable(&mut self, registry: &Registry) {
        self.set_blocked(false, registry);
    }

    /// Whether there is something that can be sent now.
    pub(super) fn wants_flush(&self) -> bool {
        !self.blocked && !self.queue.is_empty()
    }

    /// Drops what a failed transmission concerns: without a link all of the vector, else its first frame.
    fn drop_first(&mut self, vector: &mut Vector, error: &DriverError, counters: &mut LocalCounters) {
        let (count, reason) = match error {
            DriverError::LinkDown { .. } => (vector.len(), DropReason::LinkDown),
            _ => (1, DropReason::TransmitFailed),
        };
        log::debug!("{error}");
        for packet in vector.drain(..count.min(vector.len())) {
            counters.drop(packet.meta.vr, packet.meta.interface, reason, 1);
        }
    }

    /// Asks the driver; returns the state where it is another than before.
    pub(super) fn check_link(&mut self) -> Option<LinkState> {
        let now = self.driver.link();
        (std::mem::replace(&mut self.link, now) != now).then_some(now)
    }

    /// Whether the link was up when last asked.
    pub(super) fn link(&self) -> LinkState {
        self.link
    }

    fn set_blocked(&mut self, blocked: bool, registry: &Registry) {
        if self.blocked == blocked {
            return;
        }
        self.blocked = blocked;
        let receive = self.driver.readiness().as_raw_fd();
        let transmit = self.driver.transmit_readiness().as_raw_fd();
        // Registered only while awaited: a socket that is mostly writable would wake the worker for each frame that
        // its peer takes.
        let result = match (receive == transmit, blocked) {
            (true, true) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                registry.reregister(&mut SourceFd(&receive), self.tokens.receive, both)
            }
            (true, false) => registry.reregister(&mut SourceFd(&receive), self.tokens.receive, Interest::READABLE),
            (false, true) => registry.register(&mut SourceFd(&transmit), self.tokens.transmit, Interest::WRITABLE),
            (false, false) => registry.deregister(&mut SourceFd(&transmit)),
        };
        if let Err(error) = result {
            log::error!("{}: waiting for room to send: {error}", self.driver.port().name);
        }
    }
}

/// Whether a medium takes the frame without software having to finish it.
fn takes_as_is(packet: &Packet, offload: Offload) -> bool {
    match offload {
        Offload::None => is_finished(packet),
        // A kernel segments only what has its checksum open.
        Offload::ChecksumAndSegmentation => {
            packet.meta.gso == Gso::None || matches!(packet.meta.checksum, ChecksumState::Partial { .. })
        }
    }
}
