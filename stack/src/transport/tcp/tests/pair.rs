//! Two connections, a seeded link between them that loses, doubles and reorders, and one virtual clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{PatternSink, PatternSource};
use crate::time::Time;
use crate::transport::tcp::{Config, Connection, Event, SegmentOut, State, reset_for};
use crate::wire::tcp::{SeqNumber, TcpView, fill_checksum};

/// What the link does to segments.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub seed: u64,
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub delay: Duration,
    /// Up to this much is added to the delay of each segment.
    pub jitter: Duration,
}

/// A small generator (SplitMix64): the same seed, the same run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// One end.
pub struct End {
    pub connection: Option<Connection>,
    pub config: Config,
    pub address: SocketAddr,
    pub source: PatternSource,
    pub sink: PatternSink,
    pub events: Vec<Event>,
    /// How much the application reads at once; 0: it does not read.
    pub reads: usize,
}

impl End {
    fn new(config: Config, address: &str) -> Self {
        End {
            connection: None,
            config,
            address: address.parse().unwrap(),
            source: PatternSource::default(),
            sink: PatternSink { capacity: config.receive_bytes, ..PatternSink::default() },
            events: Vec::new(),
            reads: usize::MAX,
        }
    }

    pub fn state(&self) -> State {
        self.connection.as_ref().map_or(State::Closed, Connection::state)
    }
}

/// Both ends and what is under way between them.
pub struct Pair {
    pub now: Time,
    pub ends: [End; 2],
    pub segments_sent: usize,
    /// Room for payload that the caller of `poll_transmit` gives.
    pub buffer_bytes: usize,
    link: Link,
    random: Random,
    /// By time of arrival, then order of sending: to whom, and the bytes.
    wire: BTreeMap<(Time, usize), (usize, Vec<u8>)>,
}

impl Pair {
    pub fn new(link: Link, config: Config) -> Self {
        let ends = [End::new(config, "10.0.0.1:40000"), End::new(config, "10.0.0.2:179")];
        Pair {
            now: Time::ZERO,
            ends,
            segments_sent: 0,
            buffer_bytes: 65_535,
            link,
            random: Random(link.seed),
            wire: BTreeMap::new(),
        }
    }

    /// End 0 opens; end 1 listens.
    pub fn connect(&mut self) {
        let [one, two] = &mut self.ends;
        let iss = SeqNumber(0xffff_ff00);
        one.connection = Some(Connection::connect(self.now, one.config, one.address, two.address, iss));
        self.pump(0);
    }

    /// Runs until `done`, or panics at `limit`.
    pub fn run_until(&mut self, limit: Duration, what: &str, mut done: impl FnMut(&Pair) -> bool) {
        let limit = self.now + limit;
        while !done(self) {
            assert!(self.now <= limit, "{what}: not within {limit:?} ({:?})", self.ends.each_ref().map(End::state));
            assert!(self.step(), "{what}: nothing is under way and no timer runs");
        }
    }

    /// The next arrival or timer; `false` if there is none.
    fn step(&mut self) -> bool {
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
        let timer = |end: &End| end.connection.as_ref().and_then(Connection::poll_timeout);
        let timers = self.ends.iter().filter_map(timer).min();
        let Some(next) = arrival.into_iter().chain(timers).min() else { return false };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now) {
            if let Some((_, (to, bytes))) = self.wire.pop_first() {
                self.arrive(to, &bytes);
            }
        } else {
            for end in self.ends.iter_mut() {
                if let Some(connection) = &mut end.connection {
                    connection.handle_timeout(self.now);
                }
            }
        }
        self.pump(0);
        self.pump(1);
        true
    }

    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        let (now, from) = (self.now, self.ends[1 - to].address);
        let view = TcpView::parse(bytes).unwrap();
        view.verify(from.ip(), self.ends[to].address.ip()).unwrap();
        let segment = view.segment();
        let end = &mut self.ends[to];
        let answer = match &mut end.connection {
            Some(connection) => {
                let _ = connection.handle_segment(now, &segment, &mut end.source, &mut end.sink);
                None
            }
            None => {
                let iss = SeqNumber(77);
                end.connection = Connection::accept(now, end.config, end.address, from, &segment, iss);
                if end.connection.is_none() { reset_for(&segment) } else { None }
            }
        };
        if let Some(repr) = answer {
            self.put(to, SegmentOut { repr, payload_bytes: 0, segment_bytes: None }, &[]);
        }
    }

    /// Lets an end read, and say what it has to say.
    pub fn pump(&mut self, who: usize) {
        let mut payload = vec![0; self.buffer_bytes];
        let end = &mut self.ends[who];
        let Some(connection) = &mut end.connection else { return };
        let unread = end.sink.delivered - end.sink.read;
        if unread > 0 && end.reads > 0 {
            end.sink.read += unread.min(end.reads);
            connection.handle_drained(self.now, &mut end.sink);
        }
        while let Some(event) = connection.poll_event() {
            end.events.push(event);
        }
        let mut rounds = 0;
        while let Some(connection) = &mut self.ends[who].connection {
            let Some(out) = connection.poll_transmit(self.now, &self.ends[who].source, &mut payload) else { break };
            self.put(who, out, &payload[..out.payload_bytes]);
            rounds += 1;
            assert!(rounds < 10_000, "sends without end");
        }
    }

    /// Cuts super-segments, and puts each segment on the wire unless it is lost.
    fn put(&mut self, from: usize, out: SegmentOut, payload: &[u8]) {
        let size = out.segment_bytes.unwrap_or(payload.len()).max(1);
        let count = payload.len().div_ceil(size).max(1);
        for index in 0..count {
            let piece = &payload[index * size..payload.len().min((index + 1) * size)];
            let mut repr = out.repr;
            repr.sequence = repr.sequence + index * size;
            if index + 1 < count {
                repr.flags.0 &= !0x09;
            }
            assert!(repr.options.emitted_bytes() + piece.len() <= 1460, "larger than the MSS: {repr:?}");
            let mut bytes = vec![0; repr.header_bytes()];
            repr.emit(&mut bytes).unwrap();
            bytes.extend_from_slice(piece);
            fill_checksum(&mut bytes, self.ends[from].address.ip(), self.ends[1 - from].address.ip()).unwrap();
            self.send(from, bytes);
        }
    }

    fn send(&mut self, from: usize, bytes: Vec<u8>) {
        let copies = 1 + usize::from(self.random.percent(self.link.duplicate_percent));
        for _ in 0..copies {
            self.segments_sent += 1;
            let jitter = self.random.next() % (self.link.jitter.as_nanos() as u64).max(1);
            let at = self.now + self.link.delay + Duration::from_nanos(jitter);
            if !self.random.percent(self.link.loss_percent) {
                self.wire.insert((at, self.segments_sent), (1 - from, bytes.clone()));
            }
        }
    }
}
