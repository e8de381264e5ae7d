//! A worker thread: owns ports, moves vectors from them through the forwarder, sleeps when there is nothing to do.
//!
//! There is no timer here: a worker without traffic costs nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::forwarder::{Forwarder, Output};
use super::port::{Bell, Message, Port, PortDirectory, Tokens};
use super::punt::{LineCardEvent, PuntSender};
use crate::counters::DropReason;
use crate::ids::PortId;
use crate::media::{Driver, LinkState};
use crate::packet::{Packet, PacketPool, Vector};
use crate::time::Time;

/// The bell's token; ports have those from 2 on, two each.
pub(super) const BELL: Token = Token(0);
const FIRST_PORT: usize = 2;

/// Messages of others that are handled in one turn before the ports get theirs.
const MESSAGES: usize = 256;

/// What the control side asks of a worker.
pub(super) enum Command {
    /// Take a port over.
    AddPort(PortId, Box<dyn Driver>, LinkState, Sender<io::Result<()>>),
    /// Ask all ports for their links, and report those that changed.
    CheckLinks,
    /// Close a port's driver.
    RemovePort(PortId, Sender<()>),
    /// End.
    Stop,
}

/// A worker, before and while it runs.
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) commands: Receiver<Command>,
    pub(super) messages: Receiver<Message>,
    pub(super) punts: PuntSender,
    pub(super) forwarder: Forwarder,
    pub(super) pool: PacketPool,
    pub(super) directory: PortDirectory,
    pub(super) ports: Vec<Option<Port>>,
    /// What the clock of the policer counts from.
    pub(super) started: Instant,
    pub(super) output: Output,
}

/// Whether the worker goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Turn,
    End,
}

impl Worker {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let mut work_is_left = self.is_busy();
            if !work_is_left {
                self.bell.fall_asleep();
                // The last look: what was queued before is handled now, what comes after rings.
                work_is_left = self.handle_messages() > 0;
            }
            if self.handle_commands() == Next::End {
                return;
            }
            // A worker that is not asleep to the bell must not wait: nobody would wake it.
            let timeout = (work_is_left || self.is_busy()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("a line card worker ends: waiting for its ports: {error}");
                    return;
                }
            }
            self.bell.awake();
            for event in &events {
                // An error is fetched by receiving.
                self.note_readiness(event.token(), event.is_readable() || event.is_error(), event.is_writable());
            }
            self.handle_messages();
            self.receive_from_ports();
            self.flush_ports();
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn is_busy(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.hot || port.wants_flush())
    }

    fn note_readiness(&mut self, token: Token, readable: bool, writable: bool) {
        let Some(slot) = token.0.checked_sub(FIRST_PORT) else { return };
        let Some(Some(port)) = self.ports.get_mut(slot / 2) else { return };
        port.hot |= readable;
        if writable {
            port.writable(self.poll.registry());
        }
    }

    fn handle_commands(&mut self) -> Next {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::AddPort(id, driver, told, done) => {
                    let result = self.add_port(id, driver, told);
                    // The control side may have given up waiting.
                    let _ = done.send(result);
                }
                Command::CheckLinks => self.check_links(),
                Command::RemovePort(id, done) => {
                    self.remove_port(id);
                    let _ = done.send(());
                }
                Command::Stop => return Next::End,
            }
        }
        Next::Turn
    }

    fn add_port(&mut self, id: PortId, driver: Box<dyn Driver>, told: LinkState) -> io::Result<()> {
        let slot = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        let first = FIRST_PORT + 2 * slot;
        let tokens = Tokens { receive: Token(first), transmit: Token(first + 1) };
        let mut port = Port::new(id, driver, told, tokens, self.poll.registry())?;
        // It may have changed since: nothing else would tell.
        let changed = port.check_link();
        if slot == self.ports.len() {
            self.ports.push(None);
        }
        self.ports[slot] = Some(port);
        self.report(id, changed);
        Ok(())
    }

    fn remove_port(&mut self, id: PortId) {
        for place in &mut self.ports {
            if let Some(port) = place.take_if(|port| port.id == id) {
                port.close(self.poll.registry());
            }
        }
    }

    /// What others handed over and the control side injected; returns how many.
    fn handle_messages(&mut self) -> usize {
        let now = self.now();
        let mut handled = 0;
        while handled < MESSAGES
            && let Ok(message) = self.messages.try_recv()
        {
            handled += 1;
            match message {
                Message::Transmit(port, packet) => self.enqueue(port, packet),
                Message::Inject(inject) => self.forwarder.inject(now, inject, &mut self.output),
            }
        }
        if handled > 0 {
            self.distribute();
            self.flush_ports();
        }
        handled
    }

    /// One vector of each port that has frames.
    fn receive_from_ports(&mut self) {
        for slot in 0..self.ports.len() {
            let mut vector = Vector::new();
            let Some(Some(port)) = self.ports.get_mut(slot) else { continue };
            if !port.hot {
                continue;
            }
            let (id, was) = (port.id, port.link());
            let received = port.driver.receive(&mut self.pool, &mut vector);
            port.hot = matches!(received, Ok(1..));
            let changed = match &received {
                Ok(1..) if was == LinkState::Up => None,
                Ok(0) => None,
                Ok(_) => port.check_link(),
                Err(error) => {
                    log::debug!("{error}");
                    port.check_link()
                }
            };
            for (reason, count) in port.driver.drops().drain() {
                self.forwarder.discard_at_port(id, reason, count);
            }
            self.report(id, changed);
            if !vector.is_empty() {
                let now = self.now();
                self.forwarder.receive(now, id, &mut vector, &mut self.output);
                self.distribute();
            }
        }
    }

    fn flush_ports(&mut self) {
        for slot in 0..self.ports.len() {
            let Some(Some(port)) = self.ports.get_mut(slot) else { continue };
            if port.wants_flush() {
                let id = port.id;
                let changed = port.flush(&mut self.pool, self.forwarder.counters(), self.poll.registry());
                for (reason, count) in port.driver.drops().drain() {
                    self.forwarder.discard_at_port(id, reason, count);
                }
                self.report(id, changed);
            }
        }
    }

    fn check_links(&mut self) {
        for slot in 0..self.ports.len() {
            let Some(Some(port)) = self.ports.get_mut(slot) else { continue };
            let (id, changed) = (port.id, port.check_link());
            self.report(id, changed);
        }
    }

    fn report(&mut self, port: PortId, changed: Option<LinkState>) {
        let Some(state) = changed else { return };
        if self.punts.push(LineCardEvent::Link { port, state }).is_err() {
            log::warn!("port {port}: link {state:?}: the control side does not keep up and was not told");
        }
        self.punts.ring();
    }

    /// Sends what the forwarder made to where it belongs: own ports, other workers, the control side.
    fn distribute(&mut self) {
        let mut elsewhere = Vec::new();
        let mut transmit = std::mem::take(&mut self.output.transmit);
        for (port, packet) in transmit.drain(..) {
            if self.ports.iter().flatten().any(|own| own.id == port) {
                self.enqueue(port, packet);
            } else {
                elsewhere.push((port, packet));
            }
        }
        self.output.transmit = transmit;
        if !elsewhere.is_empty() {
            self.directory.transmit(&mut elsewhere, self.forwarder.counters());
        }
        if self.output.punts.is_empty() {
            return;
        }
        for punt in self.output.punts.drain(..) {
            if let Err(Some(packet)) = self.punts.push(LineCardEvent::Punt(punt)) {
                let meta = packet.meta;
                self.forwarder.counters().drop(meta.vr, meta.interface, DropReason::PuntQueueFull, 1);
            }
        }
        self.punts.ring();
    }

    fn enqueue(&mut self, port: PortId, packet: Packet) {
        let own = self.ports.iter_mut().flatten().find(|own| own.id == port);
        let counters = self.forwarder.counters();
        match own {
            Some(own) => own.enqueue(packet, &mut self.pool, counters),
            None => counters.drop(packet.meta.vr, packet.meta.interface, DropReason::NoPort, 1),
        }
    }
}
