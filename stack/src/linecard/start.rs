//! Starts and stops the workers of a line card.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::{Poll, Waker};

use super::forwarder::{Forwarder, ForwarderParts, Inject, InjectTarget, Output};
use super::port::{Bell, Inbox, Message, PortDirectory};
use super::punt::{self, PuntReceiver, PuntSender};
use super::worker::{BELL, Command, Worker};
use crate::counters::Counters;
use crate::fib::FibReader;
use crate::ids::PortId;
use crate::ifib::IfibReader;
use crate::interfaces::Interfaces;
use crate::media::{Driver, LinkState};
use crate::packet::PacketPool;
use crate::policer::{Policer, PolicerConfig};

/// How a line card is made.
#[derive(Debug, Clone)]
pub struct LineCardConfig {
    /// Its name, as `0/0`.
    pub name: String,
    /// Threads that share its ports.
    pub worker_threads: usize,
    /// Events that may wait for the control side, for each worker.
    pub punt_capacity: usize,
    /// Packets that may wait for a worker.
    pub inbox_capacity: usize,
    /// What the control side is protected by, for each worker.
    pub policer: PolicerConfig,
}

impl LineCardConfig {
    /// A line card with the usual limits.
    pub fn new(name: &str, worker_threads: usize) -> Self {
        LineCardConfig {
            name: name.into(),
            worker_threads,
            punt_capacity: 4096,
            inbox_capacity: 4096,
            policer: PolicerConfig::default(),
        }
    }
}

/// What a line card shares with the rest of the stack.
#[derive(Debug, Clone)]
pub struct LineCard {
    /// The global FIB.
    pub fib: FibReader,
    /// For us.
    pub ifib: IfibReader,
    /// Interfaces of all VRs.
    pub interfaces: Interfaces,
    /// Counters of the router.
    pub counters: Counters,
    /// Buffers.
    pub pool: PacketPool,
    /// Ports of all line cards.
    pub ports: PortDirectory,
}

/// Why a line card refused.
#[derive(Debug, thiserror::Error)]
pub enum LineCardError {
    /// A line card without workers moves nothing.
    #[error("line card {name}: worker-threads must be at least 1")]
    NoWorkers {
        /// The line card.
        name: String,
    },
    /// The system gave no thread, poll or event descriptor.
    #[error("line card {name}: starting a worker: {source}")]
    Start {
        /// The line card.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The port exists already.
    #[error("line card {name}: port {port} is in use")]
    PortExists {
        /// The line card.
        name: String,
        /// The port.
        port: PortId,
    },
    /// The port's readiness cannot be awaited.
    #[error("line card {name}: port {port}: waiting for frames: {source}")]
    Port {
        /// The line card.
        name: String,
        /// The port.
        port: PortId,
        /// What the system says.
        source: io::Error,
    },
    /// A worker has ended.
    #[error("line card {name}: its worker has ended")]
    WorkerEnded {
        /// The line card.
        name: String,
    },
}

impl LineCard {
    /// A forwarder over the same tables for the control side's own packets, which polices nothing.
    pub fn control_forwarder(&self) -> Forwarder {
        self.forwarder(&PolicerConfig::unlimited())
    }

    /// Starts the workers.
    pub fn start(&self, config: LineCardConfig) -> Result<(LineCardHandle, PuntReceiver), LineCardError> {
        let LineCardConfig { name, worker_threads, punt_capacity, inbox_capacity, policer } = config;
        if worker_threads == 0 {
            return Err(LineCardError::NoWorkers { name });
        }
        let failed = |source| LineCardError::Start { name: name.clone(), source };
        let (senders, receiver) = punt::channel(worker_threads, punt_capacity).map_err(failed)?;
        let mut handle = LineCardHandle {
            name: name.clone(),
            workers: Vec::new(),
            ports: self.ports.clone(),
            next_worker: AtomicUsize::new(0),
            interfaces: self.interfaces.clone(),
            fib: self.fib.clone(),
        };
        for (index, punts) in senders.into_iter().enumerate() {
            let worker = self.spawn(&format!("lc{name}.{index}"), punts, inbox_capacity, &policer);
            handle.workers.push(worker.map_err(failed)?);
        }
        Ok((handle, receiver))
    }

    fn forwarder(&self, policer: &PolicerConfig) -> Forwarder {
        Forwarder::new(ForwarderParts {
            fib: self.fib.clone(),
            ifib: self.ifib.clone(),
            interfaces: self.interfaces.clone(),
            policer: Policer::new(policer),
            counters: self.counters.local(),
        })
    }

    fn spawn(
        &self,
        thread_name: &str,
        punts: PuntSender,
        inbox_capacity: usize,
        policer: &PolicerConfig,
    ) -> io::Result<WorkerHandle> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        let (queue, messages) = sync_channel(inbox_capacity);
        let (commander, commands) = mpsc::channel();
        let worker = Worker {
            poll,
            bell: Arc::clone(&bell),
            commands,
            messages,
            punts,
            forwarder: self.forwarder(policer),
            pool: self.pool.clone(),
            directory: self.ports.clone(),
            ports: Vec::new(),
            started: Instant::now(),
            output: Output::default(),
        };
        let thread = thread::Builder::new().name(thread_name.into()).spawn(|| worker.run())?;
        Ok(WorkerHandle { inbox: Inbox { queue, bell }, commands: commander, thread: Some(thread) })
    }
}

struct WorkerHandle {
    inbox: Inbox,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    fn command(&self, command: Command) -> Option<()> {
        self.commands.send(command).ok()?;
        self.inbox.bell.ring();
        Some(())
    }
}

/// A running line card. Dropping it stops the workers and closes their ports.
pub struct LineCardHandle {
    name: String,
    workers: Vec<WorkerHandle>,
    ports: PortDirectory,
    /// Ports are dealt to the workers in turn.
    next_worker: AtomicUsize,
    interfaces: Interfaces,
    fib: FibReader,
}

impl LineCardHandle {
    /// Gives a port to one of the workers; it receives from now on. `told` is the link's state as the caller has it: the
    /// worker reports each change since.
    pub fn add_port(&self, port: PortId, driver: Box<dyn Driver>, told: LinkState) -> Result<(), LineCardError> {
        let name = || self.name.clone();
        if self.ports.get(port).is_some() {
            return Err(LineCardError::PortExists { name: name(), port });
        }
        let turn = self.next_worker.fetch_add(1, Ordering::Relaxed);
        let ended = || LineCardError::WorkerEnded { name: name() };
        let worker = self.workers.get(turn % self.workers.len().max(1)).ok_or_else(ended)?;
        let (done, result) = mpsc::channel();
        worker.command(Command::AddPort(port, driver, told, done)).ok_or_else(ended)?;
        let result = result.recv().map_err(|_| ended())?;
        result.map_err(|source| LineCardError::Port { name: name(), port, source })?;
        self.ports.insert(port, worker.inbox.clone());
        Ok(())
    }

    /// Takes a port away; its driver is closed when this returns. A port that is not there is no error.
    pub fn remove_port(&self, port: PortId) -> Result<(), LineCardError> {
        let Some(inbox) = self.ports.get(port) else { return Ok(()) };
        let owner = self.workers.iter().find(|worker| Arc::ptr_eq(&worker.inbox.bell, &inbox.bell));
        let Some(owner) = owner else { return Ok(()) };
        self.ports.remove(port);
        let ended = || LineCardError::WorkerEnded { name: self.name.clone() };
        let (done, closed) = mpsc::channel();
        owner.command(Command::RemovePort(port, done)).ok_or_else(ended)?;
        closed.recv().map_err(|_| ended())
    }

    /// Has all ports asked for their links; changes are reported as events. A lost carrier makes no noise by itself.
    pub fn check_links(&self) {
        for worker in &self.workers {
            // A worker that has ended has no ports.
            let _ = worker.command(Command::CheckLinks);
        }
    }

    /// Hands a packet of the control side to a worker, best to the one that has the port it will leave by. It comes
    /// back where the worker does not keep up.
    pub fn inject(&self, inject: Inject) -> Result<(), Inject> {
        let owner = self.likely_port(&inject.target).and_then(|port| self.ports.get(port));
        let Some(inbox) = owner.as_ref().or_else(|| self.workers.first().map(|worker| &worker.inbox)) else {
            return Err(inject);
        };
        match inbox.push(Message::Inject(inject)) {
            Ok(()) => {
                inbox.bell.ring();
                Ok(())
            }
            Err(Message::Inject(inject)) => Err(inject),
            // What comes back is what was pushed.
            Err(Message::Transmit(..)) => Ok(()),
        }
    }

    fn likely_port(&self, target: &InjectTarget) -> Option<PortId> {
        use crate::fib::Adjacency;
        let interface = match *target {
            InjectTarget::Lookup { .. } => return None,
            InjectTarget::Frame { interface } => interface,
            InjectTarget::Adjacency(id) => match self.fib.view().adjacency(id)? {
                Adjacency::Receive | Adjacency::Discard => return None,
                Adjacency::Glean { interface }
                | Adjacency::Incomplete { interface, .. }
                | Adjacency::Complete { interface, .. }
                | Adjacency::InterVr { interface } => interface,
            },
        };
        self.interfaces.view().port_of(interface)
    }

    /// Ends the workers and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for worker in &self.workers {
            // A worker that has ended needs no telling.
            let _ = worker.command(Command::Stop);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                log::error!("line card {}: a worker panicked", self.name);
            }
        }
        self.ports.remove_all_of(&self.workers.iter().map(|worker| &worker.inbox).collect::<Vec<_>>());
    }
}

impl Drop for LineCardHandle {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for LineCardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineCardHandle").field("name", &self.name).finish_non_exhaustive()
    }
}
