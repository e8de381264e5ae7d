//! The policy of looking out for a peer, by what it remembers and how often it looks: no test here takes a time.

use std::fs;
use std::thread;
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use super::*;

const BOUND: Duration = Duration::from_micros(16);

/// A CPU that no machine has: the peer is elsewhere.
const ELSEWHERE: u64 = 1 << 32;

/// Two ends, of which the first looks out for the second, which last waited on `cpu`.
fn pair(cpu: u64) -> (Channel, Channel) {
    let (mut one, other) = Channel::pair().unwrap();
    one.set_spin(BOUND);
    other.tx.note_cpu(cpu);
    (one, other)
}

/// Keeps this thread on one CPU; its number, as the header says it.
fn stay() -> u64 {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpu = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    cpu as u64 + 1
}

/// How often it looks at what never comes.
fn looks(channel: &mut Channel) -> u32 {
    let mut looks = 0;
    let found = channel.spin(Awaited::Other, |_| {
        looks += 1;
        Ok(false)
    });
    assert!(!found.unwrap());
    looks
}

/// Looks for something that comes with the second look.
fn finds(channel: &mut Channel) -> bool {
    let mut looks = 0;
    let ready = |_: &mut Channel| {
        looks += 1;
        Ok(looks == 2)
    };
    channel.spin(Awaited::Other, ready).unwrap()
}

#[test]
fn a_peer_elsewhere_is_looked_out_for_less_each_time_that_it_is_in_vain_and_fully_when_it_was_not() {
    let (mut one, _other) = pair(ELSEWHERE);
    let mut lengths = Vec::new();
    for _ in 0..6 {
        assert!(looks(&mut one) >= SPINS_PER_LOOK);
        lengths.push(one.spin.now.as_micros());
    }
    assert_eq!(lengths, [8, 4, 2, 1, 1, 1], "never less than a sixteenth: else nobody would notice that it pays again");
    assert!(finds(&mut one));
    assert_eq!(one.spin.now, BOUND);
}

#[test]
fn for_a_peer_on_the_same_cpu_way_is_made_a_few_times_and_it_is_never_looked_out_for() {
    let (mut one, _other) = pair(stay());
    let counts = [(); 4].map(|()| looks(&mut one));
    assert_eq!(counts, [4, 2, 1, 1], "a look behind each switch of processes");
    assert_eq!(one.spin.now, BOUND, "no time was spent");
    assert!(!finds(&mut one), "with one look there is no second one");
    one.spin.yields = 2;
    assert!(finds(&mut one));
    assert_eq!(looks(&mut one), MAX_YIELDS);
}

#[test]
fn nobody_is_looked_out_for_without_leave_before_it_ever_waited_or_by_several_processes() {
    let (mut one, _other) = pair(UNKNOWN_CPU);
    assert_eq!(looks(&mut one), 0, "the peer has not waited yet");
    let (mut one, _other) = pair(ELSEWHERE);
    one.set_spin(Duration::ZERO);
    assert_eq!(looks(&mut one), 0, "the default");
    let (mut one, _other) = pair(ELSEWHERE);
    one.set_shared(true);
    assert_eq!(looks(&mut one), 0, "siblings share the end");
    one.set_shared(false);
}

#[test]
fn an_answer_that_came_soon_lets_the_next_sixteen_be_looked_for_at_once_and_one_in_vain_none() {
    let (mut one, mut other) = pair(ELSEWHERE);
    let ask = |one: &mut Channel, other: &mut Channel| {
        one.write(b"?").unwrap();
        other.write(b"!").unwrap();
        one.await_answer();
        assert_eq!(one.read(&mut [0; 8]).unwrap(), 1);
    };
    ask(&mut one, &mut other);
    assert_eq!(one.spin.expected, 0, "none was awaited yet");
    one.write(b"?").unwrap();
    other.write(b"!").unwrap();
    assert!(one.look_out_for_bytes().unwrap());
    assert_eq!(one.spin.expected, ANSWERS_EXPECTED);
    one.read(&mut [0; 8]).unwrap();
    for left in (0..ANSWERS_EXPECTED).rev() {
        ask(&mut one, &mut other);
        assert_eq!(one.spin.expected, left);
    }
    one.spin.expected = 5;
    one.write(b"?").unwrap();
    one.await_answer();
    assert_eq!(one.spin.expected, 0, "it did not come");
    one.spin.expected = 5;
    one.await_answer();
    assert_eq!(one.spin.expected, 5, "nothing was written since: no answer is on its way");
}

/// State, sleeps and CPU time of a thread of this process, as the kernel counts them.
fn account(thread: Pid) -> (char, u64, String) {
    let read = |file| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let status = read("status");
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    // Nanoseconds on a CPU come first.
    let cpu = read("schedstat").split(' ').next().unwrap().to_string();
    (fields[0].chars().next().unwrap(), sleeps.trim().parse().unwrap(), cpu)
}

#[test]
fn who_waits_in_vain_sleeps_once_and_costs_nothing_until_it_is_rung_for() {
    let (mut one, mut other) = pair(ELSEWHERE);
    one.set_spin(Duration::from_micros(50));
    let (tell, told) = std::sync::mpsc::channel();
    let waiter = thread::spawn(move || {
        let own = gettid();
        tell.send((own, account(own))).unwrap();
        let found = one.wait_readable(None).unwrap();
        (found, account(own), one)
    });
    let (thread, _) = told.recv().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    // Asleep for good: it looked out for a while, and may still be on its way to bed when it sleeps for another reason.
    let asleep = loop {
        let seen = account(thread);
        let stays = || (0..200).all(|_| account(thread) == seen);
        if seen.0 == 'S' && stays() {
            break seen;
        }
        assert!(Instant::now() < deadline, "it does not sleep: {seen:?}");
    };
    // Neither a system call that returns nor a moment on a CPU.
    assert!((0..2000).all(|_| account(thread) == asleep), "{asleep:?}, then {:?}", account(thread));
    other.write(b"rung for").unwrap();
    let (found, woken, _one) = waiter.join().unwrap();
    assert!(found);
    assert_eq!(woken.1, asleep.1, "it slept no second time");
}
