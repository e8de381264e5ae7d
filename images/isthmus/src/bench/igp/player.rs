//! A neighbor that the benchmark plays on a wire: it is master of the exchange, has nothing to describe, acknowledges what
//! it hears, and sends LSAs until they are acknowledged.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ospf::auth::Authentication;
use ospf::packet::{
    BACKBONE, Body, DatabaseDescription, DescriptionFlags, Frame, Hello, LinkStateAcknowledgment, LinkStateUpdate, Lsa,
    LsaHeader, LsaKey, Options, PacketKind, encode,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::core::{ALL_SPF_ROUTERS, MASK, PER_UPDATE};

/// OSPF's number in the IP header.
const OSPF: i32 = 89;
/// Between two looks at what was not answered.
const TICK: Duration = Duration::from_secs(1);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// First of all three.
const FIRST: DescriptionFlags =
    DescriptionFlags(DescriptionFlags::INIT.0 | DescriptionFlags::MORE.0 | DescriptionFlags::MASTER.0);

/// The neighbor.
pub struct Player {
    socket: Socket,
    id: Ipv4Addr,
    /// The router that is measured.
    peer: Ipv4Addr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of the last description, once there was one.
    description: Option<u32>,
    is_full: bool,
    /// What is waited for and has not come, by the sequence number of its instance.
    awaited: HashSet<(LsaKey, i32)>,
    /// When the last of it came.
    heard_at: Option<Instant>,
    unacknowledged: HashMap<LsaKey, Lsa>,
}

impl Player {
    /// A neighbor of `peer` on the interface that has this address; call it in the interface's network. `id` is to be
    /// higher than the peer's.
    pub fn start(id: Ipv4Addr, address: Ipv4Addr, peer: Ipv4Addr) -> Result<Arc<Self>> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(OSPF))).context("a raw socket")?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        socket.set_multicast_if_v4(&address)?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_recv_buffer_size(8 << 20)?;
        socket.set_read_timeout(Some(TICK))?;
        // One that is bound to an address hears no groups; so another one does.
        let ears = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(OSPF))).context("a raw socket")?;
        ears.join_multicast_v4(&ALL_SPF_ROUTERS, &address)?;
        ears.set_recv_buffer_size(8 << 20)?;
        ears.set_read_timeout(Some(TICK))?;
        let player = Arc::new(Self { socket, id, peer, state: Mutex::new(State::default()), changed: Condvar::new() });
        let listener = player.clone();
        thread::spawn(move || listener.listen(&ears));
        Ok(player)
    }

    /// Waits until the exchange of databases is over.
    pub fn wait_full(&self) -> Result<()> {
        self.wait("a full neighbor", |state| state.is_full)
    }

    /// Sends LSAs; when the first one left.
    pub fn update(&self, lsas: &[Lsa]) -> Result<Instant> {
        self.state().unacknowledged.extend(lsas.iter().map(|lsa| (lsa.key(), lsa.clone())));
        let begun = Instant::now();
        self.send_updates(lsas)?;
        Ok(begun)
    }

    /// From now on these instances are waited for.
    pub fn expect(&self, lsas: &[Lsa]) {
        let mut state = self.state();
        state.awaited = lsas.iter().map(|lsa| instance(&lsa.header)).collect();
        state.heard_at = None;
    }

    /// Waits until they came; when the last one did.
    pub fn wait_heard(&self) -> Result<Instant> {
        self.wait("what was flooded", |state| state.heard_at.is_some())?;
        self.state().heard_at.context("it was heard")
    }

    /// Waits until all that it sent is acknowledged.
    pub fn wait_acknowledged(&self) -> Result<()> {
        self.wait("acknowledgments", |state| state.unacknowledged.is_empty())
    }

    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state();
        while !is_so(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} waits for {what}", self.id);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the process ends.
    fn listen(&self, mut ears: &Socket) {
        let mut buffer = [0; 65_536];
        let mut tick_at = Instant::now();
        loop {
            if tick_at <= Instant::now() {
                tick_at = Instant::now() + TICK;
                if let Err(error) = self.tick() {
                    log::warn!("{}: {error:#}", self.id);
                }
            }
            // What is not read in time is looked at after the next tick.
            let Ok(length) = ears.read(&mut buffer) else { continue };
            let packet = buffer.get(..length).unwrap_or_default();
            let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
            if let Err(error) = self.heard(packet.get(header..).unwrap_or_default()) {
                log::debug!("{}: {error:#}", self.id);
            }
        }
    }

    /// A hello, and what was not answered.
    fn tick(&self) -> Result<()> {
        let hello = Hello::new(MASK, 10, 40, Options::E, 1);
        self.send(PacketKind::Hello, |into| hello.encode([self.peer], into))?;
        let (description, unacknowledged) = {
            let state = self.state();
            let again = state.description.filter(|_| !state.is_full);
            (again, state.unacknowledged.values().cloned().collect::<Vec<_>>())
        };
        if let Some(sequence) = description {
            self.describe(sequence)?;
        }
        self.send_updates(&unacknowledged)
    }

    fn heard(&self, bytes: &[u8]) -> Result<()> {
        let frame = Frame::parse(bytes)?;
        if frame.router != self.peer {
            return Ok(());
        }
        match Body::parse(&frame)? {
            Body::Hello(hello) => {
                let is_first = self.state().description.is_none();
                if is_first && hello.neighbors().any(|heard| heard == self.id) {
                    self.describe(self.first_sequence())?;
                }
            }
            Body::DatabaseDescription(description) => self.description(&description)?,
            Body::LinkStateUpdate(update) => {
                let lsas = update.lsas().collect::<Result<Vec<Lsa>, _>>()?;
                let headers: Vec<LsaHeader> = lsas.iter().map(|lsa| lsa.header).collect();
                self.heard_all(&headers);
                self.send(PacketKind::LinkStateAcknowledgment, |into| LinkStateAcknowledgment::encode(&headers, into))?;
            }
            Body::LinkStateAcknowledgment(acknowledgment) => {
                let mut state = self.state();
                for header in acknowledgment.headers().flatten() {
                    state.unacknowledged.remove(&header.key);
                }
                drop(state);
                self.changed.notify_all();
            }
            // Nothing was described.
            Body::LinkStateRequest(_) => {}
        }
        Ok(())
    }

    /// Whoever waits is woken by the last of them only: the neighbor is to take no more of the processors than it must.
    fn heard_all(&self, headers: &[LsaHeader]) {
        let mut state = self.state();
        let waits = !state.awaited.is_empty();
        for header in headers {
            state.awaited.remove(&instance(header));
        }
        if waits && state.awaited.is_empty() {
            state.heard_at = Some(Instant::now());
            drop(state);
            self.changed.notify_all();
        }
    }

    fn first_sequence(&self) -> u32 {
        u32::from(self.id) & 0xffff
    }

    /// As master: each answer is followed by the next description, until the peer has said all.
    fn description(&self, description: &DatabaseDescription<'_>) -> Result<()> {
        let has = |flag| description.flags.contains(flag);
        let sequence = self.state().description;
        let is_answer =
            !has(DescriptionFlags::INIT) && !has(DescriptionFlags::MASTER) && sequence == Some(description.sequence);
        if !is_answer {
            return Ok(());
        }
        if description.sequence == self.first_sequence() || has(DescriptionFlags::MORE) {
            return self.describe(description.sequence + 1);
        }
        self.state().is_full = true;
        self.changed.notify_all();
        Ok(())
    }

    fn describe(&self, sequence: u32) -> Result<()> {
        self.state().description = Some(sequence);
        let flags = if sequence == self.first_sequence() { FIRST } else { DescriptionFlags::MASTER };
        let description = DatabaseDescription::new(1500, Options::E, flags, sequence);
        self.send(PacketKind::DatabaseDescription, |into| description.encode(&[], into))
    }

    fn send_updates(&self, lsas: &[Lsa]) -> Result<()> {
        for some in lsas.chunks(PER_UPDATE) {
            let with_age = some.iter().map(|lsa| (lsa, 1));
            self.send(PacketKind::LinkStateUpdate, |into| LinkStateUpdate::encode(with_age, into))?;
        }
        Ok(())
    }

    fn send(&self, kind: PacketKind, body: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        for packet in Authentication::Null.sign(encode(kind, self.id, BACKBONE, body), 0, |_| false) {
            self.socket.send_to(&packet, &SocketAddrV4::new(ALL_SPF_ROUTERS, 0).into())?;
        }
        Ok(())
    }
}

/// What tells instances of LSAs apart.
fn instance(header: &LsaHeader) -> (LsaKey, i32) {
    (header.key, header.sequence.0)
}
