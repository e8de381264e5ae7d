use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use proptest::prelude::*;

use super::*;
use crate::error::{PeerFault, RecordError};
use crate::memory::{Slot, create_sealed};

/// Both sides of a channel, each with a mapping of its own, as two processes have.
struct Ends {
    memory: OwnedFd,
    a: (Producer, Consumer),
    b: (Producer, Consumer),
}

impl Ends {
    fn new() -> Self {
        let memory = create_sealed(CHANNEL_BYTES).unwrap();
        let end = |side| open_ends(&Arc::new(map(&memory)), &SlotRef::new(Slot::new().unwrap()), side);
        let (a, b) = (end(0), end(1));
        Self { memory, a, b }
    }
}

fn map(memory: &OwnedFd) -> Memory {
    Memory::map(memory.as_fd(), CHANNEL_BYTES).unwrap()
}

/// The `count` bytes of a stream that never repeats within a window, from `position` on.
fn stream(position: u64, count: usize) -> Vec<u8> {
    (position..position + count as u64).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Read(usize),
    Peek(usize, usize),
    Consume(usize),
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..200, 4 => 0usize..5000, 1 => 0usize..70_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => size().prop_map(Step::Write),
        2 => size().prop_map(Step::Read),
        1 => (size(), size()).prop_map(|(ahead, count)| Step::Peek(ahead, count)),
        1 => size().prop_map(Step::Consume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bytes_come_out_as_they_went_in_through_all_windows(
        in_batches: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut ends = Ends::new();
        let (tx, rx) = (&mut ends.a.0, &mut ends.b.1);
        if in_batches {
            rx.free_in_batches();
        }
        let mut model = VecDeque::new();
        let mut position = 0;
        for step in steps {
            match step {
                Step::Write(count) => {
                    let bytes = stream(position, count);
                    let free = tx.free().unwrap();
                    let written = tx.write(&bytes).unwrap();
                    prop_assert!(written >= free.min(count));
                    model.extend(&bytes[..written]);
                    position += written as u64;
                }
                Step::Read(count) => {
                    let mut into = vec![0; count];
                    let read = rx.read(&mut into).unwrap();
                    let expected: Vec<u8> = model.drain(..count.min(model.len())).collect();
                    prop_assert_eq!(&into[..read], &expected[..]);
                }
                Step::Peek(ahead, count) => {
                    let mut into = vec![0; count];
                    let read = rx.peek(ahead, &mut into).unwrap();
                    let expected: Vec<u8> = model.iter().skip(ahead).take(count).copied().collect();
                    prop_assert_eq!(&into[..read], &expected[..]);
                }
                Step::Consume(count) => {
                    let consumed = rx.consume(count).unwrap();
                    prop_assert_eq!(consumed, count.min(model.len()));
                    model.drain(..consumed);
                }
            }
            prop_assert_eq!(rx.available().unwrap(), model.len());
            let untold = tx.unread().unwrap() - model.len();
            prop_assert!(untold == 0 || in_batches && !model.is_empty() && untold < bytes_of(STREAM_WINDOW) as usize / 8);
        }
    }

    #[test]
    fn records_come_out_whole_and_in_order(
        steps in prop::collection::vec(prop_oneof![
            4 => (0usize..300).prop_map(Some), 2 => (0usize..40_000).prop_map(Some),
            1 => (0usize..400_000).prop_map(Some), 5 => Just(None),
        ], 1..80),
    ) {
        let mut ends = Ends::new();
        let (tx, rx) = (&mut ends.a.0, &mut ends.b.1);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut into = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Some(size) => {
                    let record = stream(n as u64, size);
                    let (first, rest) = record.split_at(size / 3);
                    if tx.write_record_parts(&[first, rest]).unwrap() {
                        model.push_back(record);
                    } else {
                        prop_assert!(!model.is_empty(), "an empty ring takes any record");
                    }
                }
                None => {
                    let expected = model.pop_front();
                    prop_assert_eq!(rx.read_record(&mut into).unwrap(), expected.is_some());
                    prop_assert!(expected.is_none_or(|record| record == into));
                }
            }
        }
    }

    /// The peer writes anything anywhere, any time: it gets faults or garbled data of its own, nothing worse.
    #[test]
    fn a_lying_peer_gets_a_fault_or_its_own_garbage(
        steps in prop::collection::vec((step(), any::<bool>(), scribble()), 1..60),
    ) {
        let mut ends = Ends::new();
        let scribbler = map(&ends.memory);
        let (tx, rx) = (&mut ends.a.0, &mut ends.a.1);
        let mut record = Vec::new();
        let mut buffer = vec![0; 70_000];
        for (step, records, (offset, bytes)) in steps {
            scribbler.copy_in(offset, &bytes);
            // The peer's own end goes on as well: it lies only now and then.
            let _ = ends.b.0.write(&buffer[..5000]);
            let _ = ends.b.1.read(&mut buffer);
            let outcome = match step {
                Step::Write(count) if records => {
                    tx.write_record(&buffer[..count]).map(usize::from).map_err(|error| match error {
                        RecordError::Fault(fault) => fault,
                        RecordError::TooLarge { .. } => unreachable!("records here are small"),
                    })
                }
                Step::Write(count) => tx.write(&buffer[..count]).inspect(|n| assert!(*n <= count)),
                Step::Read(_) if records => rx.read_record(&mut record).map(usize::from),
                Step::Read(count) => rx.read(&mut buffer[..count]).inspect(|n| assert!(*n <= count)),
                Step::Peek(ahead, count) => rx.peek(ahead, &mut buffer[..count]).inspect(|n| assert!(*n <= count)),
                Step::Consume(count) => rx.consume(count).inspect(|n| assert!(*n <= count)),
            };
            if let Err(fault) = outcome {
                prop_assert!(!fault.to_string().is_empty());
            }
            let _ = (tx.free(), tx.arm(100), tx.wake_reader(), tx.unread());
            let _ = (rx.available(), rx.arm(3), rx.wake_writer(), rx.is_finished(), rx.reset_by_peer());
        }
    }
}

/// Offsets of the words of a ring's header: the indices, and all that is in the line of states.
fn header_words() -> Vec<usize> {
    let state = offset_of!(RingHeader, state);
    let last = offset_of!(RingHeader, state) + offset_of!(StateLine, reader_window);
    // Whoever adds a word behind the last one is to name it here.
    assert_eq!(size_of::<StateLine>(), (offset_of!(StateLine, reader_window) + size_of::<u64>()).next_multiple_of(128));
    [TAIL, SWITCH, HEAD].into_iter().chain((state..=last).step_by(size_of::<u64>())).collect()
}

/// Header words that are nearly right, or bytes anywhere.
fn scribble() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let word = prop_oneof![any::<u64>(), 0u64..100_000, (0u64..12_000, 0u64..8).prop_map(|(p, w)| p << 3 | w)];
    let words = prop::sample::select(header_words());
    let header =
        (0usize..2, words, word).prop_map(|(ring, at, word)| (HEADER_OFFSETS[ring] + at, word.to_le_bytes().to_vec()));
    let anywhere = (0usize..PAGE_BYTES * 3, prop::collection::vec(any::<u8>(), 0..64));
    let nothing = Just((0usize, Vec::new()));
    prop_oneof![3 => header, 1 => anywhere, 4 => nothing]
}

/// A lie about ring 0, told by its writer to the reader or the reverse.
fn lie(ends: &Ends, word: usize, value: u64) {
    map(&ends.memory).copy_in(word, &value.to_le_bytes());
}

const TAIL: usize = 0;
const SWITCH: usize = 8;
const HEAD: usize = 128;
/// Of ring 1, which the listener writes.
pub(crate) const FLAGS_OF_WRITER_1: usize = 512 + 272;

#[test]
fn each_lie_of_a_writer_has_its_name() {
    let mut ends = Ends::new();
    ends.a.0.write(&[1; 100]).unwrap();
    assert_eq!(ends.b.1.available(), Ok(100));

    lie(&ends, TAIL, 99);
    assert_eq!(ends.b.1.available(), Err(PeerFault::TailWentBack { seen: 100, found: 99 }));
    lie(&ends, TAIL, 4097);
    let beyond = PeerFault::TailBeyondWindow { base: 0, found: 4097, window_bytes: 4096 };
    assert_eq!(ends.b.1.available(), Err(beyond));
    lie(&ends, TAIL, u64::MAX);
    assert!(matches!(ends.b.1.consume(1000), Err(PeerFault::TailBeyondWindow { .. })));
    lie(&ends, TAIL, 100);

    for (position, window) in [(99, 1), (4097, 1)] {
        lie(&ends, SWITCH, position << 3 | window);
        let out_of_range = PeerFault::SwitchOutOfRange { position, earliest: 100, latest: 4096 };
        assert_eq!(ends.b.1.available(), Err(out_of_range));
    }
    for window in [0, 4, 7] {
        lie(&ends, SWITCH, 200 << 3 | window);
        assert_eq!(ends.b.1.available(), Err(PeerFault::SwitchToWindow { window }));
    }
    lie(&ends, SWITCH, 200 << 3 | 1);
    assert_eq!(ends.b.1.available(), Ok(100));
    lie(&ends, SWITCH, 300 << 3 | 2);
    assert_eq!(ends.b.1.available(), Err(PeerFault::SwitchPending { pending: 200 }));
}

#[test]
fn each_lie_of_a_reader_has_its_name() {
    let mut ends = Ends::new();
    ends.a.0.write(&[1; 100]).unwrap();
    lie(&ends, HEAD, 101);
    assert_eq!(ends.a.0.free(), Err(PeerFault::HeadBeyondTail { tail: 100, found: 101 }));
    lie(&ends, HEAD, 50);
    assert_eq!(ends.a.0.free(), Ok(4046));
    lie(&ends, HEAD, 49);
    assert_eq!(ends.a.0.free(), Err(PeerFault::HeadWentBack { seen: 50, found: 49 }));
}

#[test]
fn records_that_are_none_are_faults() {
    let read = |bytes: &[u8]| {
        let mut ends = Ends::new();
        ends.a.0.write(bytes).unwrap();
        ends.b.1.read_record(&mut Vec::new())
    };
    assert_eq!(read(&[0; 64]), Err(PeerFault::RecordTag { found: 0 }), "zeros, as of a punched page");
    assert_eq!(read(&[1, 0, 0]), Err(PeerFault::RecordTruncated { needed: 4, available: 3 }));
    assert_eq!(read(&[9, 0, 0, 0xA5, 1]), Err(PeerFault::RecordTruncated { needed: 16, available: 5 }));
    assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0xA5]), Err(PeerFault::RecordLength { length: 0xFF_FFFF, limit: MAX_RECORD }));
}

#[test]
fn the_largest_record_fits_and_a_larger_one_never_does() {
    let mut ends = Ends::new();
    let record = stream(0, MAX_RECORD);
    let mut into = Vec::new();
    for _ in 0..3 {
        assert!(ends.a.0.write_record(&record).unwrap());
        assert!(ends.b.1.read_record(&mut into).unwrap());
        assert!(record == into);
    }
    let too_large = Err(RecordError::TooLarge { size: MAX_RECORD + 1, limit: MAX_RECORD });
    assert_eq!(ends.a.0.write_record_parts(&[&record, &[1]]), too_large);
}

#[test]
fn a_window_that_was_left_is_given_back() {
    let mut ends = Ends::new();
    let blocks = |ends: &Ends| nix::sys::stat::fstat(&ends.memory).unwrap().st_blocks;
    let idle = blocks(&ends);
    assert_eq!(ends.a.0.write(&stream(0, 100)).unwrap(), 100);
    assert_eq!(ends.a.0.write(&stream(100, 200_000)).unwrap(), 200_000);
    let both = blocks(&ends);
    let mut into = vec![0; 200_100];
    assert_eq!(ends.b.1.read(&mut into).unwrap(), 200_100);
    assert!(into == stream(0, 200_100));
    assert_eq!(both - blocks(&ends), (4096 / 512), "the first window is gone, the present one is kept");
    assert!(idle <= 8, "an untouched channel takes no more than its header");
}

#[test]
fn a_writer_that_keeps_finding_its_window_full_moves_on() {
    let mut ends = Ends::new();
    let mut into = [0; 1000];
    let mut filled = Vec::new();
    for _ in 0..100 {
        while ends.a.0.write(&[7; 100]).unwrap() > 0 {}
        filled.push(ends.a.0.unread().unwrap());
        while ends.b.1.read(&mut into).unwrap() > 0 {}
    }
    assert_eq!(filled.first(), Some(&WINDOW_BYTES[0]), "not at once");
    assert_eq!(filled.last(), Some(&WINDOW_BYTES[STREAM_WINDOW]));
}

#[test]
fn a_writer_that_looks_first_goes_on_with_what_it_knows_of_and_then_waits_for_a_good_part() {
    let mut ends = Ends::new();
    let (tx, rx) = (&mut ends.a.0, &mut ends.b.1);
    let mut into = [0; 1000];
    assert_eq!(tx.write(&[7; 100_000]).unwrap(), 100_000, "moves on to the largest window of a stream");
    while tx.is_writable().unwrap() {
        tx.write(&[7; 100]).unwrap();
    }
    assert!(tx.free().unwrap() < 256, "all that was known of was used");
    let mut read = 0;
    while !tx.is_writable().unwrap() {
        read += rx.read(&mut into).unwrap();
    }
    let part = bytes_of(STREAM_WINDOW) as usize / 4;
    assert!((part - 256..part + into.len()).contains(&read), "{read}: looks that found less were forgotten");
    assert!(tx.write(&[7; 60_000]).unwrap() == 60_000 && tx.is_writable().unwrap());
}

#[test]
fn a_writer_that_looks_first_fills_a_small_window_so_that_it_moves_on() {
    let mut ends = Ends::new();
    let (tx, rx) = (&mut ends.a.0, &mut ends.b.1);
    let mut into = [0; 300];
    assert_eq!(tx.write(&[7; 4096]).unwrap(), 4096);
    assert!(!tx.is_writable().unwrap());
    rx.read(&mut into).unwrap();
    assert!(tx.is_writable().unwrap(), "far from a quarter");
}

#[test]
fn a_stream_that_is_limited_stays_in_a_small_window_and_its_writer_sleeps_for_that() {
    let mut ends = Ends::new();
    ends.a.0.limit_stream(3000);
    let mut into = [0; 1000];
    for _ in 0..100 {
        while ends.a.0.write(&[7; 10_000]).unwrap() > 0 {}
        assert_eq!(ends.a.0.unread().unwrap(), WINDOW_BYTES[0]);
        assert!(ends.a.0.arm(10_000).unwrap(), "all of its window is what it can wait for");
        while ends.b.1.read(&mut into).unwrap() > 0 {}
        assert!(!ends.a.0.arm(10_000).unwrap());
    }
    ends.a.0.limit_stream(usize::MAX);
    assert_eq!(ends.a.0.write(&vec![7; 3 << 20]).unwrap(), 2 << 20, "the largest that there is");
}

#[test]
fn a_reader_keeps_its_ring_small_and_its_writer_sleeps_for_that() {
    let mut ends = Ends::new();
    ends.b.1.limit_window(5000);
    let mut into = [0; 1000];
    for _ in 0..100 {
        while ends.a.0.write(&[7; 40_000]).unwrap() > 0 {}
        assert!(ends.a.0.unread().unwrap() <= WINDOW_BYTES[1] + WINDOW_BYTES[0]);
        assert!(ends.a.0.arm(40_000).unwrap(), "all of its window is what it can wait for");
        while ends.b.1.read(&mut into).unwrap() > 0 {}
        assert!(!ends.a.0.arm(40_000).unwrap());
    }
    // One that changes its mind is not believed, else its writer would try again and again.
    ends.b.1.limit_window(usize::MAX);
    for _ in 0..100 {
        while ends.a.0.write(&[7; 40_000]).unwrap() > 0 {}
        assert_eq!(ends.a.0.unread().unwrap(), WINDOW_BYTES[1]);
        while ends.b.1.read(&mut into).unwrap() > 0 {}
    }
}

#[test]
fn a_record_that_no_allowed_window_holds_gets_one_that_does_and_a_flood_of_small_ones_does_not() {
    let mut ends = Ends::new();
    ends.a.0.grow_at_once();
    ends.b.1.limit_window(1);
    let mut sent = 0;
    while ends.a.0.write_record(&[7; 100]).unwrap() {
        sent += 1;
    }
    assert_eq!(sent, WINDOW_BYTES[0] / record_bytes(100));
    let mut record = Vec::new();
    while ends.b.1.read_record(&mut record).unwrap() {}
    for length in [5000, 30_000, 60_000, MAX_RECORD] {
        assert!(ends.a.0.write_record(&vec![8; length]).unwrap(), "{length}");
        assert!(ends.b.1.read_record(&mut record).unwrap() && record.len() == length);
    }
}

#[test]
fn only_an_armed_reader_is_woken_and_only_once() {
    let mut ends = Ends::new();
    ends.a.0.write(b"x").unwrap();
    assert!(!ends.a.0.wake_reader());
    assert!(!ends.b.1.arm(0).unwrap(), "something is there");
    ends.b.1.consume(1).unwrap();
    assert!(ends.b.1.arm(0).unwrap());
    assert!(!ends.a.0.wake_reader(), "nothing new was written");
    ends.a.0.write(b"y").unwrap();
    assert!(ends.a.0.wake_reader());
    assert!(!ends.a.0.wake_reader());
    assert!(ends.b.1.arm(1).unwrap(), "one byte is left in the ring");
    ends.a.0.close();
    assert!(ends.a.0.wake_reader(), "the end wakes too");
}

#[test]
fn a_waiting_writer_is_woken_when_a_part_of_its_window_is_free() {
    let mut ends = Ends::new();
    assert_eq!(ends.a.0.write(&[1; 4096]).unwrap(), 4096);
    assert!(ends.a.0.arm(1).unwrap());
    ends.b.1.consume(100).unwrap();
    assert!(!ends.b.1.wake_writer(), "not for every few bytes");
    ends.b.1.consume(1000).unwrap();
    assert!(ends.b.1.wake_writer());
    assert!(!ends.a.0.arm(1).unwrap(), "there is room");
    assert!(ends.a.0.arm(4096).unwrap());
    assert!(ends.b.1.arm(4000).unwrap());
    assert!(ends.b.1.release_writer(), "a reader that goes to sleep leaves no writer asleep");
}

#[test]
fn who_uses_an_end_after_one_that_died_shows_the_peer_what_the_cursors_say() {
    let mut ends = Ends::new();
    let mut into = [0; 8000];
    ends.a.0.write(&stream(0, 3000)).unwrap();
    assert_eq!(ends.b.1.read(&mut into[..1000]).unwrap(), 1000);
    let header = View::<RingHeader>::new(Arc::new(map(&ends.memory)), HEADER_OFFSETS[0]);
    let words = [&header.writer.tail, &header.writer.switch, &header.reader.head];
    let before = words.map(|word| word.load(Ordering::Relaxed));
    // Both go on, into another window, and die before the other side could see anything of it.
    ends.a.0.write(&stream(3000, 5000)).unwrap();
    assert_eq!(ends.b.1.read(&mut into[..500]).unwrap(), 500);
    let after = words.map(|word| word.load(Ordering::Relaxed));
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    words.iter().zip(before).for_each(|(word, before)| word.store(before, Ordering::Relaxed));
    ends.a.0.show();
    ends.b.1.show();
    assert_eq!(words.map(|word| word.load(Ordering::Relaxed)), after);
    assert_eq!(ends.b.1.read(&mut into).unwrap(), 6500);
    assert_eq!(into[..6500], stream(1500, 6500)[..]);
}
