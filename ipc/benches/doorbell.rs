//! What wakes a sleeper cheapest: a pipe, an eventfd, a socket pair. Two threads pinned by nothing hand a token back and
//! forth, as two processes do that have nothing else to wait for.
//!
//! `cargo bench -p isthmus-ipc --bench doorbell`

#![allow(missing_docs)] // criterion_group! makes a public function.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{pipe2, read, write};

/// One direction's bell: what listens, what rings. A ring is 8 bytes, since an eventfd takes no less.
type Bell = (OwnedFd, OwnedFd);

type MakeBell = fn() -> Bell;

fn pipe() -> Bell {
    pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).expect("a pipe")
}

fn eventfd() -> Bell {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).expect("an eventfd");
    let ring = bell.as_fd().try_clone_to_owned().expect("a duplicate");
    (bell.as_fd().try_clone_to_owned().expect("a duplicate"), ring)
}

fn socket_pair() -> Bell {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).expect("a socket pair")
}

fn doorbells(criterion: &mut Criterion) {
    let kinds: [(&str, MakeBell); 3] = [("pipe", pipe), ("eventfd", eventfd), ("socket pair", socket_pair)];
    let mut group = criterion.benchmark_group("ring and silence, one thread");
    for (name, make) in kinds {
        let (listen, ring) = make();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                write(&ring, &1u64.to_ne_bytes()).expect("ring");
                read(&listen, &mut [0; 4096]).expect("silence")
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("round trip, two threads");
    for (name, make) in kinds {
        group.bench_function(name, |bencher| bencher.iter_custom(|rounds| round_trips(make(), make(), rounds)));
    }
    group.finish();
}

fn round_trips(there: Bell, back: Bell, rounds: u64) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        let (there, back) = (&there, &back);
        scope.spawn(move || {
            for _ in 0..rounds {
                wait(&there.0);
                write(&back.1, &1u64.to_ne_bytes()).expect("ring");
            }
        });
        for _ in 0..rounds {
            write(&there.1, &1u64.to_ne_bytes()).expect("ring");
            wait(&back.0);
        }
    });
    start.elapsed()
}

fn wait(bell: &OwnedFd) {
    poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).expect("poll");
    read(bell, &mut [0; 4096]).expect("silence");
}

criterion_group!(benches, doorbells);
criterion_main!(benches);
