//! A megabyte each way over links of all kinds.

use std::time::Duration;

use super::pair::{Link, Pair};
use crate::transport::tcp::{Config, ConnectionError, Event, State};

const MEGABYTE: usize = 1 << 20;

fn link(seed: u64, loss_percent: u64) -> Link {
    Link {
        seed,
        loss_percent,
        duplicate_percent: if loss_percent > 0 { 2 } else { 0 },
        delay: Duration::from_millis(5),
        jitter: if loss_percent > 0 { Duration::from_millis(5) } else { Duration::ZERO },
    }
}

/// A megabyte each way, then an orderly close; returns the virtual time that it took.
fn transfer(link: Link, config: Config, limit: Duration) -> Duration {
    let mut pair = Pair::new(link, Config { time_wait: Duration::from_secs(1), ..config });
    for end in &mut pair.ends {
        end.source.written = MEGABYTE;
        end.source.finished = true;
    }
    pair.connect();
    let name = format!("{link:?}");
    pair.run_until(limit, &name, |pair| {
        pair.ends.iter().all(|end| end.sink.finished && end.source.acknowledged == MEGABYTE)
    });
    let took = pair.now.since(Default::default());
    for end in &pair.ends {
        assert_eq!(end.sink.delivered, MEGABYTE, "{name}");
    }
    pair.run_until(Duration::from_secs(60), &name, |pair| pair.ends.iter().all(|end| end.state() == State::Closed));
    for end in &pair.ends {
        assert_eq!(end.events, [Event::Connected, Event::RemoteFinished, Event::Closed], "{name}");
    }
    took
}

#[test]
fn a_megabyte_each_way_arrives_whole_whatever_is_lost_doubled_and_reordered() {
    // loss in percent, and how long it may take in seconds of virtual time
    for (loss, seconds) in [(0, 1), (1, 10), (10, 120), (30, 2_000)] {
        for seed in 1..=4 {
            transfer(link(seed, loss), Config::default(), Duration::from_secs(seconds));
        }
    }
}

#[test]
fn the_same_without_sack_and_timestamps() {
    let config = Config { sack: false, timestamps: false, window_scaling: false, ..Config::default() };
    for (loss, seconds) in [(0, 2), (10, 300), (30, 4_000)] {
        transfer(link(9, loss), config, Duration::from_secs(seconds));
    }
}

#[test]
fn the_same_with_super_segments_and_nagle() {
    let config = Config { gso_bytes: Some(60_000), nodelay: false, ..Config::default() };
    for (loss, seconds) in [(0, 1), (10, 120)] {
        transfer(link(5, loss), config, Duration::from_secs(seconds));
    }
}

#[test]
fn a_sink_smaller_than_a_segment_is_enough() {
    let config = Config { receive_bytes: 700, ..Config::default() };
    transfer(link(3, 0), config, Duration::from_secs(600));
}

#[test]
fn a_buffer_smaller_than_a_segment_makes_smaller_segments() {
    let mut pair = Pair::new(link(4, 10), Config::default());
    pair.buffer_bytes = 100;
    pair.ends[0].source.written = 20_000;
    pair.connect();
    pair.run_until(Duration::from_secs(60), "flows", |pair| pair.ends[1].sink.delivered == 20_000);
    assert!(pair.segments_sent > 200);
}

#[test]
fn a_clean_link_is_filled_and_nothing_is_sent_twice() {
    let mut pair = Pair::new(link(1, 0), Config::default());
    pair.ends[0].source.written = MEGABYTE;
    pair.connect();
    pair.run_until(Duration::from_secs(1), "fill", |pair| pair.ends[0].source.acknowledged == MEGABYTE);
    // 725 segments of 1448 bytes, an acknowledgment for every second, and the handshake.
    assert!(pair.segments_sent < 725 * 3 / 2 + 20, "{} segments", pair.segments_sent);
}

#[test]
fn a_reader_that_stops_closes_the_window_and_loses_nothing_when_it_goes_on() {
    let mut pair = Pair::new(link(7, 10), Config { receive_bytes: 20_000, ..Config::default() });
    pair.ends[0].source.written = 200_000;
    pair.ends[1].reads = 0;
    pair.connect();
    pair.run_until(Duration::from_secs(60), "fills", |pair| pair.ends[1].sink.delivered == 20_000);
    let stopped = pair.now;
    pair.run_until(Duration::from_secs(700), "waits", |pair| pair.now.since(stopped) > Duration::from_secs(400));
    assert_eq!(pair.ends[1].sink.delivered, 20_000);
    pair.ends[1].reads = 5_000;
    pair.pump(1);
    pair.run_until(Duration::from_secs(300), "goes on", |pair| pair.ends[1].sink.delivered == 200_000);
}

#[test]
fn a_peer_that_forgot_the_connection_resets_it() {
    let mut pair = Pair::new(link(1, 0), Config::default());
    pair.connect();
    pair.run_until(Duration::from_secs(1), "opens", |pair| pair.ends[1].state() == State::Established);
    pair.ends[1].connection = None;
    pair.ends[0].source.written = 10;
    pair.pump(0);
    pair.run_until(Duration::from_secs(1), "is reset", |pair| {
        pair.ends[0].events.last() == Some(&Event::Failed(ConnectionError::Reset))
    });
}

#[test]
fn half_closed_data_still_flows_the_other_way() {
    let mut pair = Pair::new(link(2, 10), Config::default());
    pair.ends[0].source.finished = true;
    pair.connect();
    pair.run_until(Duration::from_secs(10), "half-closed", |pair| pair.ends[1].sink.finished);
    pair.ends[1].source.written = 100_000;
    pair.ends[1].source.finished = true;
    pair.pump(1);
    pair.run_until(Duration::from_secs(60), "flows", |pair| pair.ends[0].sink.finished);
    assert_eq!(pair.ends[0].sink.delivered, 100_000);
}

#[test]
fn an_abort_reaches_the_peer() {
    let mut pair = Pair::new(link(1, 0), Config::default());
    pair.ends[0].source.written = 1_000;
    pair.connect();
    pair.run_until(Duration::from_secs(1), "opens", |pair| pair.ends[1].sink.delivered == 1_000);
    if let Some(connection) = &mut pair.ends[0].connection {
        connection.abort();
    }
    pair.pump(0);
    pair.run_until(Duration::from_secs(1), "resets", |pair| {
        pair.ends[1].events.last() == Some(&Event::Failed(ConnectionError::Reset))
    });
}
