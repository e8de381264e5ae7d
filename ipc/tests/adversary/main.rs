//! A process that holds the other end of a channel and does its worst. Each test wants two things: the channel to it
//! fails with a clear error or delivers what the adversary made of it, in time and without a panic; and channels to an
//! honest process go on as if nothing were.

mod process;

use std::time::{Duration, Instant};

use ipc::channel::Channel;
use ipc::error::{ChannelError, PeerFault};
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;

use crate::process::{Process, Random, Role, pattern, record};

/// Longer than any step takes; whoever waits so long hangs.
pub const LONG: Duration = Duration::from_secs(20);

/// Long enough to see that a wait ends by itself.
const SHORT: Duration = Duration::from_millis(5);

/// Channels to an honest process, in use all the time.
struct Healthy {
    channels: Vec<Channel>,
    round: u64,
    /// Killed after the channels are gone.
    _process: Process,
}

impl Healthy {
    fn start() -> Self {
        let process = Process::start(Role::Echo);
        let channels = (0..4).map(|_| process.open(b"echo")).collect();
        Self { channels, round: 0, _process: process }
    }

    /// 3,000 bytes there and back, on each.
    fn exchange(&mut self) {
        for channel in &mut self.channels {
            let sent: Vec<u8> = (self.round..self.round + 3000).map(pattern).collect();
            assert_eq!(channel.write(&sent).unwrap(), sent.len());
            let (mut back, mut buffer) = (Vec::new(), [0; 4096]);
            while back.len() < sent.len() {
                assert!(channel.wait_readable(Some(LONG)).unwrap(), "a healthy channel hangs");
                let read = channel.read(&mut buffer).unwrap();
                back.extend_from_slice(&buffer[..read]);
            }
            assert!(back == sent);
            self.round += 1;
        }
    }
}

/// Does with a channel whatever can be done with one, once; the first error, if any.
fn use_all(channel: &mut Channel, random: &mut Random) -> Result<(), ChannelError> {
    let begun = Instant::now();
    let mut buffer = vec![0; random.below(10_000) as usize];
    let ahead = random.below(5000) as usize;
    let mut first = Ok(());
    let mut note = |result: Result<(), ChannelError>| first = std::mem::replace(&mut first, Ok(())).and(result);
    note(channel.read(&mut buffer).map(|read| assert!(read <= buffer.len())));
    note(channel.peek(ahead, &mut buffer).map(|read| assert!(read <= buffer.len())));
    note(channel.consume(ahead).map(|consumed| assert!(consumed <= ahead)));
    note(channel.write(&buffer).map(|written| assert!(written <= buffer.len())));
    note(channel.write_record(&buffer).map(drop));
    note(channel.read_record(&mut buffer).map(drop));
    note(channel.acknowledge_bell().map(drop));
    note(channel.arm_peek(ahead).map(drop));
    note(channel.arm_write(ahead).map(drop));
    note(channel.arm_write_record(ahead).map(drop));
    note(channel.arm_unread(ahead).map(drop));
    note(channel.unread_by_peer().map(drop));
    note(channel.notify());
    note(channel.wait_bell(Some(Duration::ZERO)).map(drop));
    if random.below(16) == 0 {
        note(channel.wait_readable(Some(SHORT)).map(drop));
        note(channel.wait_writable(ahead, Some(SHORT)).map(drop));
    }
    note(read_until_armed(channel));
    let _ = (channel.is_finished(), channel.peer_finished_writing(), channel.peer_closed());
    assert!(begun.elapsed() < LONG, "a peer holds this process up");
    first
}

/// What an event loop does with a channel on each wake: a lie must not keep it there.
fn read_until_armed(channel: &mut Channel) -> Result<(), ChannelError> {
    let mut buffer = [0; 4096];
    for _ in 0..100_000 {
        if channel.read(&mut buffer)? == 0 && channel.arm_read()? {
            return Ok(());
        }
    }
    panic!("a peer keeps this process reading");
}

/// Reads until the end: of a stream in order, or an error.
fn read_to_the_end(channel: &mut Channel, mut take: impl FnMut(&[u8])) -> Result<(), ChannelError> {
    let mut buffer = [0; 10_000];
    loop {
        let read = channel.read(&mut buffer)?;
        take(&buffer[..read]);
        if read == 0 {
            if channel.is_finished() {
                return Ok(());
            }
            assert!(channel.wait_readable(Some(LONG))?, "the end is not seen");
        }
    }
}

#[test]
fn a_lie_in_any_word_harms_its_channel_only() {
    let (mut healthy, liar, mut random) = (Healthy::start(), Process::start(Role::Lie), Random::new(1));
    // Tail and switch; head; and the line of states, whole, with what may be added to it.
    let words: Vec<u64> = [0, 8, 128].into_iter().chain((256..384).step_by(8)).collect();
    let values = [0, 1, 2, 3, 4, 7, 99, 101, 4097, 1 << 32, 1 << 61, u64::MAX >> 1, u64::MAX - 7, u64::MAX];
    for (ring, word) in [0, 1].into_iter().flat_map(|ring| words.iter().map(move |word| (ring, *word))) {
        for value in values {
            let message = [(ring * 512 + word).to_le_bytes(), value.to_le_bytes()].concat();
            let mut channel = liar.open(&message);
            assert!(channel.wait_readable(Some(LONG)).unwrap());
            assert_eq!(channel.consume(100).unwrap(), 100);
            assert_eq!(channel.write(&[2; 100]).unwrap(), 100);
            assert_eq!(liar.answer(), b"told");
            let outcome = (0..20).try_for_each(|_| use_all(&mut channel, &mut random));
            // Indices that the liar owns, far from the truth.
            let owned = matches!((ring, word), (1, 0 | 8) | (0, 128));
            if owned && value >= 1 << 32 {
                assert!(matches!(outcome, Err(ChannelError::Fault(_))), "{value:#x} at {ring}, {word}: {outcome:?}");
            }
        }
        healthy.exchange();
    }
}

#[test]
fn a_peer_that_scribbles_over_the_memory_harms_its_channel_only() {
    let mut healthy = Healthy::start();
    for seed in 0..4 {
        let (mut scribbler, mut random) = (Process::start(Role::Scribble), Random::new(seed));
        let mut channel = scribbler.open(&[seed as u8]);
        let (mut step, mut faults, begun) = (0, 0, Instant::now());
        while step < 2000 || faults < 100 {
            assert!(begun.elapsed() < LONG, "{faults} faults in {step} steps");
            // An honest user would close it after the first fault; this one goes on.
            faults += u32::from(matches!(use_all(&mut channel, &mut random), Err(ChannelError::Fault(_))));
            if step % 100 == 0 {
                healthy.exchange();
            }
            step += 1;
        }
        scribbler.kill();
        let end = read_to_the_end(&mut channel, |_| {});
        assert!(end.is_ok() || !end.unwrap_err().to_string().is_empty());
    }
    healthy.exchange();
}

/// One thread, one event loop, as most processes of the router are.
fn ring_without_end(role: Role) {
    let (mut healthy, ringer) = (Healthy::start(), Process::start(role));
    let mut channel = ringer.open(b"ring");
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut channel, Token(9), Interest::READABLE).unwrap();
    for (n, channel) in healthy.channels.iter_mut().enumerate() {
        poll.registry().register(channel, Token(n), Interest::READABLE).unwrap();
        assert!(channel.arm_read().unwrap());
        assert_eq!(channel.write(b"round").unwrap(), 5);
    }
    let (mut rounds, mut fault, begun) = (0, None, Instant::now());
    while rounds < 1000 || fault.is_none() {
        assert!(begun.elapsed() < LONG, "{rounds} rounds, fault: {fault:?}");
        poll.poll(&mut events, Some(LONG)).unwrap();
        for event in &events {
            if let Some(healthy) = healthy.channels.get_mut(event.token().0) {
                rounds += serve(healthy);
            } else if let Err(error) = channel.acknowledge_bell().and_then(|_| channel.arm_read()) {
                poll.registry().deregister(&mut channel).unwrap();
                fault = Some(error);
            }
        }
    }
    let rings = matches!(
        fault,
        Some(ChannelError::Fault(PeerFault::RingsWithoutProgress { .. } | PeerFault::RingsWithoutEnd { .. }))
    );
    assert!(rings, "{fault:?}");
}

/// Sends back what came; how much that was.
fn serve(channel: &mut Channel) -> usize {
    let (mut buffer, mut served) = ([0; 64], 0);
    channel.acknowledge_bell().unwrap();
    while !channel.arm_read().unwrap() {
        let read = channel.read(&mut buffer).unwrap();
        assert_eq!(channel.write(&buffer[..read]).unwrap(), read);
        served += read / 5;
    }
    served
}

#[test]
fn a_peer_that_rings_without_end_is_found_out_while_others_are_served() {
    ring_without_end(Role::Ring);
}

#[test]
fn a_flag_that_comes_and_goes_does_not_hide_a_peer_that_rings_without_end() {
    ring_without_end(Role::RingAndFlicker);
}

#[test]
fn a_peer_that_rings_without_end_stretches_no_timeout() {
    for role in [Role::Ring, Role::RingAndFlicker] {
        let ringer = Process::start(role);
        let mut channel = ringer.open(b"ring");
        let fault = loop {
            let begun = Instant::now();
            let waited = channel.wait_readable(Some(SHORT));
            assert!(begun.elapsed() < LONG / 4, "{waited:?} after {:?}", begun.elapsed());
            match waited {
                Ok(readable) => assert!(!readable),
                Err(fault) => break fault,
            }
        };
        assert!(matches!(fault, ChannelError::Fault(PeerFault::RingsWithoutProgress { .. })), "{fault:?}");
    }
}

#[test]
fn a_peer_that_dies_at_any_instant_leaves_a_prefix_and_its_end_is_seen() {
    let (mut healthy, mut random) = (Healthy::start(), Random::new(3));
    for round in 0..40 {
        let mut writer = Process::start(if round % 2 == 0 { Role::Stream } else { Role::Records });
        let mut channel = writer.open(b"write");
        let kill_after = random.below(300_000);
        let end = if round % 2 == 0 {
            let mut position = 0;
            read_to_the_end(&mut channel, |bytes| {
                assert!(bytes.iter().zip(position..).all(|(byte, at)| *byte == pattern(at)));
                let after = position + bytes.len() as u64;
                if (position..after).contains(&kill_after) {
                    writer.kill();
                }
                position = after;
            })
        } else {
            read_records(&mut channel, &mut writer, kill_after / 1500)
        };
        assert!(matches!(end, Err(ChannelError::PeerGone)), "{end:?}");
        assert!(matches!(channel.write(b"more"), Err(ChannelError::PeerGone)));
        healthy.exchange();
    }
}

/// Reads records to the end; kills the writer after one of them.
fn read_records(channel: &mut Channel, writer: &mut Process, kill_after: u64) -> Result<(), ChannelError> {
    let (mut number, mut into) = (1, Vec::new());
    loop {
        if number == kill_after + 1 {
            writer.kill();
        }
        if channel.read_record(&mut into)? {
            assert!(into == record(number), "a record is whole");
            number += 1;
        } else {
            assert!(channel.wait_readable(Some(LONG))?, "the end is not seen");
        }
    }
}

#[test]
fn a_peer_that_is_stopped_holds_nobody_up_and_goes_on_where_it_was() {
    let (mut healthy, mut random) = (Healthy::start(), Random::new(4));
    let writer = Process::start(Role::Stream);
    let mut channel = writer.open(b"write");
    let (mut position, mut buffer) = (0, vec![0; 100_000]);
    for _ in 0..20 {
        let until = position + 1 + random.below(300_000);
        while position < until {
            assert!(channel.wait_readable(Some(LONG)).unwrap(), "a peer that goes on is not heard");
            read_pattern(&mut channel, &mut position, &mut buffer);
        }
        writer.stop();
        while read_pattern(&mut channel, &mut position, &mut buffer) > 0 {}
        assert!(!channel.wait_readable(Some(SHORT)).unwrap());
        while channel.write(&buffer).unwrap() > 0 {}
        assert!(!channel.wait_writable(1, Some(SHORT)).unwrap());
        healthy.exchange();
        writer.go_on();
        assert!(channel.wait_writable(1, Some(LONG)).unwrap(), "a peer that goes on makes room");
    }
}

fn read_pattern(channel: &mut Channel, position: &mut u64, buffer: &mut [u8]) -> usize {
    let read = channel.read(buffer).unwrap();
    assert!(buffer[..read].iter().zip(*position..).all(|(byte, at)| *byte == pattern(at)));
    *position += read as u64;
    read
}

#[test]
fn the_memory_cannot_be_resized_and_its_pages_taken_away_are_a_fault() {
    let (mut healthy, resizer) = (Healthy::start(), Process::start(Role::Resize));
    let mut channel = resizer.open(b"resize");
    let refused = resizer.answer();
    assert!(refused.len() == 5 && refused.iter().all(|error| *error == Errno::EPERM as u8), "{refused:?}");
    assert_eq!(channel.read(&mut [0; 200]).unwrap(), 100);
    assert_eq!(channel.write(&[2; 100]).unwrap(), 100);
    assert_eq!(resizer.answer(), b"punched");
    let fault = channel.read(&mut [0; 200]).unwrap_err();
    assert!(matches!(fault, ChannelError::Fault(PeerFault::TailWentBack { seen: 100, found: 0 })), "{fault:?}");
    let _ = (0..100).try_for_each(|seed| use_all(&mut channel, &mut Random::new(seed)));
    healthy.exchange();
}
