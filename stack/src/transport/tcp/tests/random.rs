//! Random segments thrown at a connection in each state: no panic, no byte out of place (the sink checks), no endless output, and
//! always a way out.

use std::time::Duration;

use proptest::prelude::*;

use super::script::{local, parse, remote};
use super::{PatternSink, PatternSource, pattern};
use crate::time::Time;
use crate::transport::tcp::{Config, Connection, State};
use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr, TcpSegment};
use crate::wire::tcp_options::{SackBlock, Timestamps};

const ISS: SeqNumber = SeqNumber(u32::MAX - 1);
const IRS: SeqNumber = SeqNumber(5_000);

/// Segments that lead into each state; `close` is ours.
const PATHS: [(&str, &[&str]); 9] = [
    ("SYN-SENT", &[]),
    ("SYN-RECEIVED", &["S 0 mss 1000"]),
    ("ESTABLISHED", &["S. 0 ack 1 mss 1000 sackok yes"]),
    ("FIN-WAIT-1", &["S. 0 ack 1 mss 1000", "close"]),
    ("FIN-WAIT-2", &["S. 0 ack 1 mss 1000", "close", ". 1 ack 2002"]),
    ("CLOSE-WAIT", &["S. 0 ack 1 mss 1000", "F. 1 ack 1"]),
    ("CLOSING", &["S. 0 ack 1 mss 1000", "close", "F. 1 ack 1"]),
    ("LAST-ACK", &["S. 0 ack 1 mss 1000", "F. 1 ack 1", "close"]),
    ("TIME-WAIT", &["S. 0 ack 1 mss 1000", "close", "F. 1 ack 2002"]),
];

struct World {
    now: Time,
    connection: Connection,
    source: PatternSource,
    sink: PatternSink,
}

impl World {
    fn at(path: &[&str]) -> World {
        let config = Config { receive_bytes: 4_000, ..Config::default() };
        let connection = Connection::connect(Time::ZERO, config, local(), remote(), ISS);
        let source = PatternSource { written: 2_000, ..PatternSource::default() };
        let sink = PatternSink { capacity: config.receive_bytes, ..PatternSink::default() };
        let mut world = World { now: Time::ZERO, connection, source, sink };
        world.pump();
        for step in path {
            match *step {
                "close" => world.connection.close(),
                text => {
                    let (repr, payload) = parse(text);
                    world.receive(&TcpSegment { repr, payload: &payload });
                }
            }
            world.pump();
        }
        world
    }

    fn receive(&mut self, segment: &TcpSegment<'_>) {
        let _ = self.connection.handle_segment(self.now, segment, &mut self.source, &mut self.sink);
        self.pump();
    }

    fn pump(&mut self) {
        let mut payload = [0; 1_500];
        let mut sent = 0;
        while let Some(out) = self.connection.poll_transmit(self.now, &self.source, &mut payload) {
            sent += 1;
            assert!(sent < 200, "sends without end: {out:?}");
        }
        while self.connection.poll_event().is_some() {}
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.connection.handle_timeout(self.now);
        self.pump();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Segment { repr: TcpRepr, length: usize },
    Wait(u64),
    Read,
}

fn near(base: SeqNumber) -> impl Strategy<Value = SeqNumber> {
    prop_oneof![
        8 => (0_usize..6_000).prop_map(move |offset| base + offset),
        1 => (0_usize..3_000).prop_map(move |offset| base - offset),
        1 => any::<u32>().prop_map(SeqNumber),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![6 => Just(TcpFlags::ACK.0), 2 => Just((TcpFlags::ACK | TcpFlags::FIN).0), 2 => any::<u8>()];
    let sack = proptest::option::of((near(ISS), near(ISS)));
    let timestamps = proptest::option::of((any::<u32>(), any::<u32>()));
    let segment = (near(IRS), near(ISS), flags, any::<u16>(), 0_usize..1_500, sack, timestamps).prop_map(
        |(sequence, acknowledgment, flags, window, length, sack, timestamps)| {
            let mut repr = TcpRepr { sequence, acknowledgment, flags: TcpFlags(flags), window, ..TcpRepr::default() };
            if let Some((start, end)) = sack {
                repr.options.sack.push(SackBlock { start, end });
            }
            repr.options.timestamps = timestamps.map(|(value, echo)| Timestamps { value, echo });
            Step::Segment { repr, length }
        },
    );
    prop_oneof![20 => segment, 2 => (0_u64..5_000).prop_map(Step::Wait), 1 => Just(Step::Read)]
}

#[test]
fn the_paths_lead_where_they_say() {
    for (state, path) in PATHS {
        assert_eq!(World::at(path).connection.state().to_string(), state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_segments_in_each_state_neither_panic_nor_disorder_the_stream(
        path in 0..PATHS.len(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::at(PATHS[path].1);
        for step in steps {
            match step {
                Step::Segment { mut repr, length } => {
                    // A peer that has not begun may begin anywhere; the pattern begins at IRS.
                    if world.connection.state() == State::SynSent && repr.flags.contains(TcpFlags::SYN) {
                        repr.sequence = IRS;
                    }
                    // What a stranger sends at any place is what belongs there: any other byte order is ours.
                    let offset = repr.sequence.distance(IRS + 1);
                    let syn = i32::from(repr.flags.contains(TcpFlags::SYN));
                    let payload: Vec<u8> =
                        (0..length as i32).map(|at| pattern((offset + syn + at) as usize)).collect();
                    world.receive(&TcpSegment { repr, payload: &payload });
                }
                Step::Wait(milliseconds) => world.wait(Duration::from_millis(milliseconds)),
                Step::Read => {
                    world.sink.read = world.sink.delivered;
                    world.connection.handle_drained(world.now, &mut world.sink);
                    world.pump();
                }
            }
        }
        // The peer says nothing more: once closed by us, every connection ends.
        world.connection.orphan(world.now);
        world.pump();
        for _ in 0..10_000 {
            let Some(next) = world.connection.poll_timeout() else { break };
            world.wait(next.since(world.now));
        }
        prop_assert_eq!(world.connection.state(), State::Closed);
    }
}
