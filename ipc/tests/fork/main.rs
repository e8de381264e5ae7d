//! An end of a channel that a process shares with its forked child: each byte goes to one of the two, the end lives as
//! long as one of them, and the death of one at any instant leaves the other a sound channel.
//!
//! A process that forks has one thread, so this is a program of its own and not one of the test harness.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, exit};
use std::time::{Duration, Instant};

use ipc::channel::{Channel, ChannelParts};
use ipc::error::ChannelError;
use ipc::fd::{Forked, fork};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(20);

/// Seconds after which a case that hangs is ended by a signal.
const CASE_SECONDS: u32 = 60;

const CASES: [(&str, fn()); 8] = [
    ("each_record_goes_to_one_of_parent_and_child_and_both_can_answer", each_record_goes_to_one),
    ("one_reads_while_the_other_writes", one_reads_while_the_other_writes),
    ("the_end_lives_until_both_have_dropped_it", the_end_lives_until_both_have_dropped_it),
    ("who_is_alone_again_closes_in_order", who_is_alone_again_closes_in_order),
    ("a_child_killed_at_any_instant_leaves_a_sound_channel", killed_at_any_instant),
    ("a_killed_child_is_forgotten_and_one_that_lives_is_not", a_killed_child_is_forgotten),
    ("an_end_that_nobody_has_used_is_claimed_by_one", an_end_that_nobody_has_used_is_claimed_by_one),
    ("a_process_of_several_threads_does_not_fork", several_threads_do_not_fork),
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wanted: Vec<_> = CASES.iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} tests", wanted.len());
    let mut failed = 0;
    for (name, case) in &wanted {
        // A process of its own for each, so that none leaves children or shared ends to the next.
        let child = spawn(|| {
            alarm::set(CASE_SECONDS);
            case();
        });
        let passed = ended_well(child);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed\n",
        if failed == 0 { "ok" } else { "FAILED" },
        wanted.len() - failed as usize
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A child that does something and ends.
fn spawn(what: impl FnOnce()) -> Pid {
    match fork().unwrap() {
        Forked::Parent(child) => Pid::from_raw(child),
        Forked::Child => exit(i32::from(catch_unwind(AssertUnwindSafe(what)).is_err())),
    }
}

fn ended_well(child: Pid) -> bool {
    waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
}

/// A channel to a child that does something with the other end.
fn open(peer: impl FnOnce(Channel)) -> (Channel, Pid) {
    let (own, theirs) = ChannelParts::pair().unwrap();
    let mut parts = Some((own, theirs));
    let child = spawn(|| {
        let (own, theirs) = parts.take().unwrap();
        drop(own);
        peer(Channel::from_parts(theirs).unwrap());
    });
    let (own, _) = parts.unwrap();
    (Channel::from_parts(own).unwrap(), child)
}

/// A child that has the channel too and does something with it.
fn spawn_sibling(channel: &mut Channel, what: impl FnOnce(&mut Channel)) -> Pid {
    channel.share().unwrap();
    spawn(|| {
        channel.adopt();
        what(channel);
    })
}

/// The byte at a position of a stream that does not repeat within a window.
fn pattern(position: u64) -> u8 {
    (position ^ (position >> 8) ^ (position >> 16)) as u8
}

/// Record number `n`: its number, and as many bytes as follow from it.
fn record(n: u64) -> Vec<u8> {
    let tail = (n..n + n * 7919 % 3000).map(pattern);
    n.to_le_bytes().into_iter().chain(tail).collect()
}

/// The number of a record, which is whole.
fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == record(number), "record {number} is whole");
    number
}

/// Writes a record, waiting for room.
fn write(channel: &mut Channel, bytes: &[u8]) -> Result<(), ChannelError> {
    while !channel.write_record(bytes)? {
        while channel.arm_write_record(bytes.len())? {
            channel.wait_bell(Some(Duration::from_millis(10)))?;
        }
    }
    Ok(())
}

/// The next record, waited for; `None` at the end.
fn read(channel: &mut Channel, into: &mut Vec<u8>) -> Option<()> {
    loop {
        match channel.read_record(into) {
            Ok(true) => return Some(()),
            Ok(false) if channel.is_finished() => return None,
            Ok(false) => assert!(channel.wait_readable(Some(LONG)).unwrap(), "nothing comes"),
            Err(ChannelError::PeerGone) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Answers each record with itself until the end.
fn echo(channel: &mut Channel) -> u64 {
    let (mut bytes, mut answered) = (Vec::new(), 0);
    while read(channel, &mut bytes).is_some() {
        if write(channel, &bytes).is_err() {
            break;
        }
        answered += 1;
    }
    answered
}

/// Sends records, and takes answers, until so many have come or the end has; which ones came.
fn ask(channel: &mut Channel, records: Range<u64>, until: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let (mut next, mut answers, mut bytes) = (records.start, Vec::new(), Vec::new());
    let begun = Instant::now();
    while !until(&answers) {
        assert!(begun.elapsed() < LONG, "{} answers to {next} records", answers.len());
        while next < records.end && channel.write_record(&record(next)).unwrap() {
            next += 1;
        }
        while !until(&answers) && channel.read_record(&mut bytes).unwrap() {
            answers.push(number(&bytes));
        }
        let full = next == records.end || channel.arm_write_record(5000).unwrap();
        if full && channel.arm_read().unwrap() {
            channel.wait_bell(Some(Duration::from_millis(10))).unwrap();
        }
    }
    answers
}

fn each_record_goes_to_one() {
    const RECORDS: u64 = 20_000;
    let (mut channel, peer) = open(|mut channel| {
        let mut answers = ask(&mut channel, 0..RECORDS, |answers| answers.len() as u64 == RECORDS);
        answers.sort_unstable();
        assert!(answers.into_iter().eq(0..RECORDS), "each came once");
        channel.close();
    });
    let sibling = spawn_sibling(&mut channel, |channel| assert!(echo(channel) > 0, "the child had its part"));
    assert!(echo(&mut channel) > 0, "the parent had its part");
    assert!(ended_well(peer) & ended_well(sibling));
}

fn one_reads_while_the_other_writes() {
    const BYTES: u64 = 64 << 20;
    let (mut channel, peer) = open(|mut channel| {
        let mut buffer = vec![0; 50_000];
        loop {
            let read = channel.read(&mut buffer).unwrap();
            if read == 0 && channel.is_finished() {
                return;
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                rest = &rest[channel.write(rest).unwrap()..];
                assert!(rest.is_empty() || channel.wait_writable(1, Some(LONG)).unwrap(), "no room comes");
            }
            assert!(channel.wait_readable(Some(LONG)).unwrap(), "nothing comes");
        }
    });
    let sibling = spawn_sibling(&mut channel, |channel| {
        let mut position = 0;
        while position < BYTES {
            let bytes: Vec<u8> = (position..(position + 20_000).min(BYTES)).map(pattern).collect();
            let written = channel.write(&bytes).unwrap() as u64;
            position += written;
            assert!(written > 0 || channel.wait_writable(bytes.len(), Some(LONG)).unwrap(), "no room comes");
        }
    });
    let (mut position, mut buffer) = (0, vec![0; 50_000]);
    while position < BYTES {
        let read = channel.read(&mut buffer).unwrap();
        assert!(buffer[..read].iter().zip(position..).all(|(byte, at)| *byte == pattern(at)), "at {position}");
        position += read as u64;
        assert!(read > 0 || channel.wait_readable(Some(LONG)).unwrap(), "nothing comes");
    }
    assert!(ended_well(sibling));
    channel.close();
    assert!(ended_well(peer));
}

fn the_end_lives_until_both_have_dropped_it() {
    let (mut channel, peer) = open(|mut channel| {
        // The child waits for the second half.
        ask(&mut channel, 0..50, |answers| answers.len() == 50);
        assert!(!channel.is_finished() && channel.arm_read().unwrap() && !channel.peer_closed(), "the child has it");
        ask(&mut channel, 50..100, |answers| answers.len() == 50);
        assert!(read(&mut channel, &mut Vec::new()).is_none());
        assert!(channel.peer_closed() && !channel.is_finished(), "nobody said so, both are gone");
    });
    let sibling = spawn_sibling(&mut channel, |channel| {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            read(channel, &mut bytes).unwrap();
            write(channel, &bytes).unwrap();
        }
    });
    assert!(channel.is_shared());
    drop(channel);
    assert!(ended_well(sibling) & ended_well(peer));
}

fn who_is_alone_again_closes_in_order() {
    let (mut channel, peer) = open(|mut channel| {
        assert!(read(&mut channel, &mut Vec::new()).is_none());
        assert!(channel.is_finished());
    });
    channel.share().unwrap();
    let mut parts = Some(channel);
    let sibling = spawn(|| {
        let mut channel = parts.take().unwrap();
        channel.adopt();
    });
    let mut channel = parts.unwrap();
    assert!(ended_well(sibling));
    assert!(!channel.is_shared());
    // A fork that fails leaves no trace either.
    channel.share().unwrap();
    assert!(channel.is_shared());
    channel.take_share_back();
    assert!(!channel.is_shared());
    channel.close();
    assert!(ended_well(peer));
}

fn killed_at_any_instant() {
    const ROUNDS: u64 = 300;
    for round in 0..ROUNDS {
        let (mut channel, peer) = open(|mut channel| {
            // What a killed child had taken is lost with it: at most one record, which it had not answered.
            let answers = ask(&mut channel, 0..400, |answers| answers.len() >= 399);
            let gaps = answers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
            let mut sorted = answers.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), answers.len(), "no answer came twice, {gaps} out of order");
            channel.close();
        });
        let sibling = spawn_sibling(&mut channel, |channel| {
            echo(channel);
        });
        let until = Instant::now() + Duration::from_nanos(round * 7919 % 4_000_000);
        let mut bytes = Vec::new();
        // Both are at work until then, in every other round.
        while Instant::now() < until {
            // The peer may have all that it wanted.
            if round % 2 == 0 && channel.read_record(&mut bytes).unwrap() && write(&mut channel, &bytes).is_err() {
                break;
            }
        }
        kill(sibling, Signal::SIGKILL).unwrap();
        echo(&mut channel);
        waitpid(sibling, None).unwrap();
        assert!(ended_well(peer), "round {round}");
    }
}

/// More uses than it takes to find out that nobody else has an end.
fn use_often(channel: &mut Channel) {
    (0..200).for_each(|_| assert!(!channel.arm_unread(1 << 20).unwrap()));
}

fn a_killed_child_is_forgotten() {
    let (mut channel, peer) = open(|mut channel| assert!(echo(&mut channel) > 0));
    let idle = |_: &mut Channel| {
        loop {
            nix::unistd::pause();
        }
    };
    let (first, second) = (spawn_sibling(&mut channel, idle), spawn_sibling(&mut channel, idle));
    let die = |child| {
        kill(child, Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
    };
    // Both say that they are there before they sleep.
    for child in [first, second] {
        let status = format!("/proc/{child}/wchan");
        let sleeps = || std::fs::read_to_string(&status).is_ok_and(|what| what.contains("pause"));
        let deadline = Instant::now() + LONG;
        while !sleeps() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
    use_often(&mut channel);
    assert!(channel.is_shared(), "with two that live");
    die(first);
    use_often(&mut channel);
    assert!(channel.is_shared(), "with one that lives");
    die(second);
    use_often(&mut channel);
    assert!(!channel.is_shared(), "with none");
    // Whom it is shared with next counts again.
    let (mut told, mut tell) = std::os::unix::net::UnixStream::pair().unwrap();
    let third = spawn_sibling(&mut channel, |channel| {
        use_often(channel);
        assert!(channel.is_shared());
        std::io::Read::read_exact(&mut told, &mut [0]).unwrap();
    });
    use_often(&mut channel);
    assert!(channel.is_shared());
    std::io::Write::write_all(&mut tell, &[1]).unwrap();
    assert!(ended_well(third));
    assert_eq!(ask(&mut channel, 0..10, |answers| answers.len() == 10).len(), 10);
    channel.close();
    drop(channel);
    assert!(ended_well(peer));
}

fn an_end_that_nobody_has_used_is_claimed_by_one() {
    let (mut channel, peer) = open(|mut channel| assert!(echo(&mut channel) > 0));
    assert!(channel.claim(), "what is not shared is the process's own");
    let child = spawn_sibling(&mut channel, |channel| {
        assert!(channel.claim() && !channel.is_shared());
        assert_eq!(ask(channel, 0..10, |answers| answers.len() == 10).len(), 10);
        channel.close();
    });
    assert!(ended_well(child));
    assert!(channel.is_claimed() && !channel.claim(), "another one was faster");
    assert!(ended_well(peer), "the child has closed it for all");
}

fn several_threads_do_not_fork() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv().is_err());
    assert_eq!(fork().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    drop(stop);
    thread.join().unwrap();
}
