use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll};

use super::*;

/// Longer than any step takes, short enough to see a hang as a failure.
const SOON: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn bytes_arrive_in_order_and_the_end_after_them() {
    let (mut a, mut b) = Channel::pair().unwrap();
    assert_eq!(a.write(b"hello").unwrap(), 5);
    a.close_write();
    assert!(matches!(a.write(b"more"), Err(ChannelError::Closed)));
    let mut buffer = [0; 16];
    assert!(!b.is_finished());
    assert_eq!(b.peek(1, &mut buffer).unwrap(), 4);
    assert_eq!(b.read(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"hello");
    assert!(!b.arm_read().unwrap(), "the end is still to be seen");
    assert_eq!(b.read(&mut buffer).unwrap(), 0);
    assert!(b.is_finished());
    assert!(b.arm_read().unwrap(), "nothing more is to be waited for");
    assert_eq!(b.write(b"half open").unwrap(), 9);
    assert_eq!(a.read(&mut buffer).unwrap(), 9);
}

#[test]
fn a_reader_that_leaves_bytes_in_the_ring_sleeps_after_the_end() {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.write(b"hello").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(b.peek(0, &mut buffer).unwrap(), 5);
    assert!(b.arm_peek(5).unwrap());
    a.close_write();
    assert!(!b.arm_peek(5).unwrap(), "the end is still to be seen");
    assert_eq!(b.peek(5, &mut buffer).unwrap(), 0);
    assert!(b.peer_finished_writing() && !b.is_finished());
    assert!(b.arm_peek(5).unwrap());
    assert_eq!(b.peek(2, &mut buffer).unwrap(), 3, "once more");
    assert_eq!(b.consume(5).unwrap(), 5);
    assert!(b.is_finished());
}

#[test]
fn empty_reads_and_writes_are_nothing() {
    let (mut a, mut b) = Channel::pair().unwrap();
    assert_eq!(a.write(&[]).unwrap(), 0);
    assert_eq!(b.read(&mut []).unwrap(), 0);
    assert_eq!(a.write(b"x").unwrap(), 1);
    assert_eq!(b.read(&mut []).unwrap(), 0);
    assert_eq!(b.peek(usize::MAX, &mut [0; 4]).unwrap(), 0);
    assert_eq!(b.consume(usize::MAX).unwrap(), 1);
    assert!(a.write_record(&[]).unwrap());
    let mut record = vec![1];
    assert!(b.read_record(&mut record).unwrap());
    assert!(record.is_empty());
}

/// Both directions of a transfer between two threads: what is lost or slept through shows as a hang or a wrong sum.
fn transfer(megabytes: usize, write_size: usize, read_size: usize, spin: Duration) {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.set_spin(spin);
    b.set_spin(spin);
    let total = megabytes << 20;
    let writer = thread::spawn(move || {
        let mut sent = 0usize;
        while sent < total {
            let bytes: Vec<u8> = (sent..(sent + write_size).min(total)).map(|n| (n / 7) as u8).collect();
            let mut written = 0;
            while written < bytes.len() {
                written += a.write(&bytes[written..]).unwrap();
                if written < bytes.len() {
                    assert!(a.wait_writable(1, SOON).unwrap(), "the writer hangs");
                }
            }
            sent += written;
        }
        a.close_write();
        a
    });
    let mut into = vec![0; read_size];
    let mut received = 0usize;
    loop {
        let read = b.read(&mut into).unwrap();
        assert!(into[..read].iter().enumerate().all(|(n, byte)| *byte == ((received + n) / 7) as u8));
        received += read;
        if read == 0 {
            if b.is_finished() {
                break;
            }
            assert!(b.wait_readable(SOON).unwrap(), "the reader hangs");
        }
    }
    assert_eq!(received, total);
    drop(writer.join().unwrap());
}

#[test]
fn two_threads_move_50_megabytes_without_hanging() {
    transfer(50, 65_536, 65_536, Duration::ZERO);
}

#[test]
fn small_writes_and_small_reads_wake_each_other() {
    transfer(2, 100, 70_000, Duration::ZERO);
    transfer(2, 70_000, 100, Duration::ZERO);
    transfer(1, 1000, 1000, Duration::from_micros(20));
}

#[test]
fn peer_death_wakes_a_blocked_reader_and_what_was_written_is_still_read() {
    let (mut a, mut b) = Channel::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 16];
        loop {
            assert!(b.wait_readable(SOON).unwrap(), "the reader hangs");
            match b.read(&mut buffer) {
                Ok(read) => assert_eq!(&buffer[..read], b"last words"),
                Err(error) => return (error, b),
            }
        }
    });
    a.write(b"last words").unwrap();
    drop(a);
    let (error, mut b) = reader.join().unwrap();
    assert!(matches!(error, ChannelError::PeerGone));
    assert!(b.peer_closed() && !b.is_finished());
    assert!(matches!(b.write(b"anyone?"), Err(ChannelError::PeerGone)));
    assert!(b.arm_read().unwrap(), "an end that was reported is not waited for");
}

#[test]
fn peer_death_wakes_a_blocked_writer() {
    let (mut a, b) = Channel::pair().unwrap();
    let writer = thread::spawn(move || {
        loop {
            match a.write(&[1; 10_000]) {
                Ok(0) => assert!(a.wait_writable(1, SOON).unwrap(), "the writer hangs"),
                Ok(_) => {}
                Err(error) => return (error, a.unread_by_peer().unwrap()),
            }
        }
    });
    drop(b);
    let (error, unread) = writer.join().unwrap();
    assert!(matches!(error, ChannelError::PeerGone));
    assert!(unread > 0, "bytes were lost with the peer");
}

#[test]
fn a_forked_holder_of_the_other_end_counts_as_alive() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let kept: Vec<OwnedFd> = listener.as_fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
    let mut a = Channel::from_parts(opener).unwrap();
    drop(Channel::from_parts(listener).unwrap());
    assert!(!a.wait_readable(Some(Duration::from_millis(1))).unwrap());
    drop(kept);
    assert!(a.wait_readable(SOON).unwrap());
    assert!(matches!(a.read(&mut [0; 1]), Err(ChannelError::PeerGone)));
}

#[test]
fn a_reset_is_seen_after_the_bytes_before_it() {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.write(b"bytes").unwrap();
    a.reset(104);
    let mut buffer = [0; 16];
    assert_eq!(b.read(&mut buffer).unwrap(), 5);
    assert!(matches!(b.read(&mut buffer), Err(ChannelError::Reset(104))));
    assert!(matches!(b.write(b"x"), Err(ChannelError::Reset(104))));
}

#[test]
fn a_reader_that_closed_fails_the_writer_even_while_it_sleeps() {
    let (mut a, mut b) = Channel::pair().unwrap();
    let writer = thread::spawn(move || {
        loop {
            match a.write(&[1; 10_000]) {
                Ok(0) => assert!(a.wait_writable(1, SOON).unwrap(), "the writer hangs"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    });
    b.close_read();
    assert!(matches!(writer.join().unwrap(), ChannelError::PeerClosedReading));
}

#[test]
fn a_closed_gate_holds_back_what_arrives_and_lets_writes_fill_the_ring() {
    let (mut a, mut b) = Channel::pair().unwrap();
    b.set_gate(true);
    assert_eq!(a.write(b"held").unwrap(), 4);
    assert_eq!(b.write(b"too").unwrap(), 3);
    a.close_write();
    let mut buffer = [0; 16];
    assert_eq!(b.read(&mut buffer).unwrap(), 0);
    assert!(!b.is_finished());
    assert!(b.arm_read().unwrap(), "nothing to wake for");
    assert!(!b.wait_readable(SOON).unwrap());
    b.set_gate(false);
    assert_eq!(b.read(&mut buffer).unwrap(), 4);
    assert_eq!(b.read(&mut buffer).unwrap(), 0);
    assert!(b.is_finished());
}

#[test]
fn a_peer_that_rings_for_nothing_is_found_out() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let mut a = Channel::from_parts(opener).unwrap();
    let fault = (0..=2 * MAX_FRUITLESS_RINGS).find_map(|_| {
        nix::unistd::write(&listener.bell_out, &[1]).unwrap();
        a.acknowledge_bell().err()
    });
    assert!(matches!(fault, Some(ChannelError::Fault(PeerFault::RingsWithoutProgress { .. }))));
}

#[test]
fn a_bell_that_rings_while_it_is_silenced_is_not_silenced_for_ever() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let mut a = Channel::from_parts(opener).unwrap();
    // A pipe made larger holds what a peer would else have to write in time.
    nix::fcntl::fcntl(&listener.bell_out, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    assert_eq!(nix::unistd::write(&listener.bell_out, &[1; 100_000]), Ok(100_000));
    let fault = a.acknowledge_bell();
    assert!(matches!(fault, Err(ChannelError::Fault(PeerFault::RingsWithoutEnd { rings: 4160, .. }))), "{fault:?}");
}

#[test]
fn a_flag_without_a_meaning_keeps_nobody_awake() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let liar = Memory::map(listener.memory.as_fd(), CHANNEL_BYTES).unwrap();
    let mut a = Channel::from_parts(opener).unwrap();
    for flags in [4, 8, 1 << 31, 7 << 32] {
        liar.copy_in(ring::tests::FLAGS_OF_WRITER_1, &u64::to_le_bytes(flags));
        assert_eq!(a.read(&mut [0; 1]).unwrap(), 0);
        assert!(a.arm_read().unwrap(), "there is nothing to read");
        assert!(!a.wait_readable(Some(Duration::ZERO)).unwrap());
    }
}

#[test]
fn a_flag_that_comes_and_goes_is_progress_once() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let liar = Memory::map(listener.memory.as_fd(), CHANNEL_BYTES).unwrap();
    let mut a = Channel::from_parts(opener).unwrap();
    let fault = (0..2 * u64::from(MAX_FRUITLESS_RINGS)).find_map(|n| {
        liar.copy_in(ring::tests::FLAGS_OF_WRITER_1, &u64::to_le_bytes(n % 2 * 8));
        nix::unistd::write(&listener.bell_out, &[1]).unwrap();
        a.acknowledge_bell().err()
    });
    assert!(matches!(fault, Some(ChannelError::Fault(PeerFault::RingsWithoutProgress { .. }))));
}

#[test]
fn a_reader_that_keeps_going_to_sleep_wakes_a_waiting_writer_once() {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.write(&[1; 4096]).unwrap();
    b.consume(10).unwrap();
    assert!(a.arm_write(20).unwrap());
    for _ in 0..2 * MAX_FRUITLESS_RINGS {
        assert!(b.arm_peek(4086).unwrap());
        a.acknowledge_bell().unwrap();
        assert!(a.arm_write(20).unwrap(), "there is no room");
    }
    b.consume(10).unwrap();
    assert!(b.arm_peek(4076).unwrap());
    assert!(a.acknowledge_bell().unwrap(), "woken for the room that there is");
    assert!(!a.arm_write(20).unwrap());
}

#[test]
fn a_writer_may_wait_until_little_is_unread_though_there_is_room() {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.write(&[1; 1000]).unwrap();
    assert!(!a.arm_unread(1000).unwrap(), "no more than that is there");
    assert!(a.arm_unread(400).unwrap());
    b.consume(500).unwrap();
    assert!(!a.acknowledge_bell().unwrap());
    b.consume(100).unwrap();
    assert!(a.acknowledge_bell().unwrap());
    assert!(!a.arm_unread(400).unwrap());
}

#[test]
fn a_full_bell_is_rung_enough() {
    let (mut a, b) = Channel::pair().unwrap();
    for _ in 0..10_000 {
        a.ring().unwrap();
    }
    drop(b);
}

#[test]
fn an_end_with_descriptors_missing_is_refused() {
    let (opener, listener) = ChannelParts::pair().unwrap();
    let found = ChannelParts::from_fds(vec![opener.memory, opener.bell_in], Side::Opener).unwrap_err();
    assert!(matches!(found, ChannelError::Descriptors { found: 2, wanted: 3 }));
    let wrong = ChannelParts { memory: listener.bell_out.try_clone().unwrap(), ..listener };
    assert!(matches!(Channel::from_parts(wrong), Err(ChannelError::Memory(_))));
}

#[test]
fn mio_wakes_for_bytes_for_room_and_for_death() {
    let (mut a, mut b) = Channel::pair().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let mut woken = |poll: &mut Poll, timeout| {
        poll.poll(&mut events, Some(timeout)).unwrap();
        events.iter().any(|event| event.token() == Token(1))
    };
    let long = Duration::from_secs(20);
    poll.registry().register(&mut a, Token(1), Interest::READABLE).unwrap();
    assert!(a.arm_read().unwrap());
    assert!(!woken(&mut poll, Duration::ZERO));
    b.write(b"bytes").unwrap();
    assert!(woken(&mut poll, long));
    assert!(a.acknowledge_bell().unwrap());
    assert_eq!(a.read(&mut [0; 16]).unwrap(), 5);
    assert!(a.arm_read().unwrap());

    while a.write(&[1; 50_000]).unwrap() > 0 {}
    assert!(a.arm_write(1).unwrap());
    assert!(!woken(&mut poll, Duration::ZERO));
    b.consume(usize::MAX).unwrap();
    assert!(woken(&mut poll, long));
    assert!(a.acknowledge_bell().unwrap());
    assert!(a.arm_read().unwrap() && !a.arm_write(1).unwrap());

    drop(b);
    assert!(woken(&mut poll, long));
    a.acknowledge_bell().unwrap();
    assert!(!a.arm_read().unwrap());
    assert!(matches!(a.read(&mut [0; 16]), Err(ChannelError::PeerGone)));
    poll.registry().deregister(&mut a).unwrap();
    assert!(a.as_fd().as_raw_fd() >= 0);
}

#[test]
fn a_turn_of_the_loop_hears_of_busy_channels_only_however_many_stand_idle() {
    let mut pairs: Vec<_> = (0..200).map(|_| Channel::pair().unwrap()).collect();
    let mut poll = Poll::new().unwrap();
    for (n, (_, b)) in pairs.iter_mut().enumerate() {
        poll.registry().register(b, Token(n), Interest::READABLE).unwrap();
        assert!(b.arm_read().unwrap());
    }
    let mut events = Events::with_capacity(pairs.len());
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty(), "nothing has happened");
    for _ in 0..3 {
        pairs[77].0.write(b"x").unwrap();
        poll.poll(&mut events, SOON).unwrap();
        let heard: Vec<_> = events.iter().map(|event| event.token()).collect();
        assert_eq!(heard, [Token(77)]);
        let busy = &mut pairs[77].1;
        assert!(busy.acknowledge_bell().unwrap());
        assert_eq!(busy.read(&mut [0; 8]).unwrap(), 1);
        assert!(busy.arm_read().unwrap());
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty(), "and nothing more");
    }
}

#[test]
fn whoever_was_alert_is_woken_when_it_sleeps_after_all() {
    const BURST: usize = 50;
    let (mut a, mut b) = Channel::pair().unwrap();
    let echo = thread::spawn(move || {
        let mut buffer = [0; 1];
        while b.wait_readable(SOON).unwrap() {
            match b.read(&mut buffer).unwrap() {
                0 if b.is_finished() => return,
                0 => {}
                _ => assert_eq!(b.write(&buffer).unwrap(), 1),
            }
        }
        panic!("not woken");
    });
    let mut buffer = [0; 1];
    for turn in 0..100 {
        // Whoever finds something in each look becomes alert; whoever waits then sleeps.
        for _ in 0..BURST {
            a.write(&[turn]).unwrap();
            while a.read(&mut buffer).unwrap() == 0 {
                thread::yield_now();
            }
            assert_eq!(buffer, [turn]);
        }
        a.write(&[turn]).unwrap();
        assert!(a.wait_readable(SOON).unwrap(), "not woken");
        assert_eq!(a.read(&mut buffer).unwrap(), 1);
    }
    a.close();
    echo.join().unwrap();
}

#[test]
fn two_on_the_same_cpu_that_make_way_for_each_other_both_get_on() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let here = nix::unistd::Pid::from_raw(0);
    let (mut a, mut b) = Channel::pair().unwrap();
    let both = move || {
        let allowed = sched_getaffinity(here).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(here, &one).unwrap();
    };
    a.set_spin(Duration::from_micros(50));
    b.set_spin(Duration::from_micros(50));
    let answers = thread::spawn(move || {
        both();
        let mut buffer = [0; 1];
        loop {
            assert!(b.wait_readable(SOON).unwrap());
            match b.read(&mut buffer).unwrap() {
                0 => return,
                _ => assert_eq!(b.write(&buffer).unwrap(), 1),
            }
        }
    });
    let asks = thread::spawn(move || {
        both();
        let mut buffer = [0; 1];
        for turn in 0..200 {
            a.write(&[turn]).unwrap();
            while a.read(&mut buffer).unwrap() == 0 {
                assert!(a.wait_readable(SOON).unwrap());
            }
            assert_eq!(buffer, [turn]);
        }
        a.close();
    });
    asks.join().unwrap();
    answers.join().unwrap();
}

#[test]
fn a_record_is_read_where_it_lies_and_stays_until_it_is_consumed() {
    let (mut a, mut b) = Channel::pair().unwrap();
    assert!(b.next_record().unwrap().is_none() && !b.has_news());
    assert!(a.write_record_parts(&[b"head", b"", b"payload"]).unwrap());
    assert!(a.write_record(b"next").unwrap());
    assert!(b.has_news());
    let mut bytes = [0; 32];
    for _ in 0..2 {
        let record = b.next_record().unwrap().unwrap();
        assert_eq!((record.length(), record.copy(4, &mut bytes[..3]), &bytes[..3]), (11, 3, &b"pay"[..]));
        assert_eq!((record.copy(4, &mut bytes), &bytes[..7]), (7, &b"payload"[..]), "not beyond its end");
        assert_eq!((record.copy(11, &mut bytes), record.copy(usize::MAX, &mut bytes)), (0, 0));
    }
    b.next_record().unwrap().unwrap().consume().unwrap();
    assert_eq!(b.next_record().unwrap().unwrap().length(), 4);
    b.set_gate(true);
    assert!(b.next_record().unwrap().is_none() && !b.has_news());
    b.set_gate(false);
    b.next_record().unwrap().unwrap().consume().unwrap();
    a.close_write();
    assert!(b.has_news() && b.next_record().unwrap().is_none() && b.is_finished());
}

#[test]
fn a_reader_that_frees_in_batches_tells_of_a_part_of_the_window_and_of_all_before_it_waits() {
    let (mut a, mut b) = Channel::pair().unwrap();
    b.rx.free_in_batches();
    let record = [7; 92];
    let mut written = 0;
    while a.write_record(&record).unwrap() {
        written += 1;
    }
    assert!(a.arm_write_record(record.len()).unwrap(), "full");
    let consume = |b: &mut Channel| b.next_record().unwrap().unwrap().consume().unwrap();
    let unread = a.unread_by_peer().unwrap();
    consume(&mut b);
    assert_eq!(a.unread_by_peer().unwrap(), unread, "not for one record");
    (0..5).for_each(|_| consume(&mut b));
    assert_eq!(a.unread_by_peer().unwrap(), unread - 6 * 96, "an eighth of 4096 bytes");
    (6..written).for_each(|_| consume(&mut b));
    assert!(b.next_record().unwrap().is_none());
    assert_eq!(a.unread_by_peer().unwrap(), 0);
    assert!(a.wait_bell(Some(Duration::ZERO)).unwrap(), "a writer that sleeps is woken");
}

#[test]
fn a_stream_that_is_freed_in_batches_tells_of_a_part_of_the_window_and_at_once_of_all() {
    let (mut a, mut b) = Channel::pair().unwrap();
    b.rx.free_in_batches();
    assert_eq!(a.write(&[7; 4096]).unwrap(), 4096);
    let mut into = [0; 500];
    assert!(a.arm_write(1).unwrap(), "full");
    assert_eq!(b.read(&mut into).unwrap(), 500);
    assert_eq!(a.unread_by_peer().unwrap(), 4096, "not for so few");
    assert_eq!(b.read(&mut into[..12]).unwrap(), 12);
    assert_eq!(a.unread_by_peer().unwrap(), 4096 - 512, "an eighth");
    assert_eq!((b.read(&mut into).unwrap(), b.peek(0, &mut into).unwrap()), (500, 500));
    assert!(!a.wait_bell(Some(Duration::ZERO)).unwrap(), "the writer sleeps for a quarter");
    assert_eq!(b.read(&mut into[..12]).unwrap(), 12);
    assert!(a.wait_bell(Some(Duration::ZERO)).unwrap(), "and has it");
    while b.available().unwrap() > 0 {
        assert!(b.read(&mut into[..300]).unwrap() > 0);
    }
    assert_eq!(a.unread_by_peer().unwrap(), 0, "what was read whole is known to be");
}

#[test]
fn a_reader_that_sleeps_or_is_joined_by_a_sibling_has_told_of_all_that_it_freed() {
    let (mut a, mut b) = Channel::pair().unwrap();
    b.rx.free_in_batches();
    assert_eq!(a.write(&[7; 1000]).unwrap(), 1000);
    assert_eq!(b.read(&mut [0; 100]).unwrap(), 100);
    assert_eq!(a.unread_by_peer().unwrap(), 1000);
    assert!(b.arm_peek(900).unwrap());
    assert_eq!(a.unread_by_peer().unwrap(), 900);
    assert_eq!(b.read(&mut [0; 100]).unwrap(), 100);
    assert_eq!(a.unread_by_peer().unwrap(), 900);
    b.share().unwrap();
    assert_eq!(a.unread_by_peer().unwrap(), 800);
    assert_eq!(b.read(&mut [0; 100]).unwrap(), 100);
    assert_eq!(a.unread_by_peer().unwrap(), 700, "of several each tells at once");
}

#[test]
fn whoever_is_left_alone_is_told_once_more_that_a_sibling_may_have_silenced_the_bell() {
    let (mut a, mut b) = Channel::pair().unwrap();
    assert!(!b.may_have_missed_a_ring());
    b.share().unwrap();
    assert!(b.may_have_missed_a_ring() && b.may_have_missed_a_ring());
    b.take_share_back();
    // Whatever it does next finds out that it is alone.
    b.write(b"x").unwrap();
    assert_eq!(a.read(&mut [0; 4]).unwrap(), 1);
    assert!(!b.is_used_in_turn());
    assert!(b.may_have_missed_a_ring() && !b.may_have_missed_a_ring());
}

#[test]
fn a_writer_that_waits_for_nobody_moves_to_a_window_that_holds_a_burst() {
    let (mut a, mut b) = Channel::pair().unwrap();
    a.tx.grow_at_once();
    let records = (0..2000_u32).map(u32::to_le_bytes);
    assert!(records.clone().all(|record| a.write_record_parts(&[&record, &[0; 96]]).unwrap()));
    let mut read = Vec::new();
    for record in records {
        assert!(b.read_record(&mut read).unwrap());
        assert_eq!((&read[..4], read.len()), (&record[..], 100));
    }
}
