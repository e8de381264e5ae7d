//! What a channel's rings cost: within one thread (no waiting, no second cache), and between two threads.
//!
//! `cargo bench -p isthmus-ipc --bench ring`

#![allow(missing_docs)] // criterion_group! makes a public function.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipc::channel::Channel;

/// Bytes moved for one measurement between threads.
const TRANSFER_BYTES: u64 = 64 << 20;

fn in_one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one thread, write and read");
    for size in [64, 1024, 65_536] {
        let (mut a, mut b) = Channel::pair().expect("a channel");
        let bytes = vec![7; size];
        let mut buffer = vec![0; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |bencher| {
            bencher.iter(|| {
                a.write(black_box(&bytes)).expect("write");
                b.read(black_box(&mut buffer)).expect("read")
            });
        });
        group.bench_function(format!("{size} bytes, unannounced"), |bencher| {
            bencher.iter(|| {
                a.tx.write(black_box(&bytes)).expect("write");
                b.rx.read(black_box(&mut buffer)).expect("read")
            });
        });
    }
    let (mut a, mut b) = Channel::pair().expect("a channel");
    let mut buffer = Vec::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("a record of 64 bytes", |bencher| {
        bencher.iter(|| {
            a.write_record(black_box(&[7; 64])).expect("write");
            b.read_record(black_box(&mut buffer)).expect("read")
        });
    });
    group.finish();
}

fn between_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two threads");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(TRANSFER_BYTES));
    for (size, spin) in [(64, 0), (1024, 0), (65_536, 0), (65_536, 20)] {
        group.bench_function(format!("{size} bytes a write, spin {spin} us"), |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| transfer(size, Duration::from_micros(spin))).sum());
        });
    }
    group.throughput(Throughput::Elements(1));
    for spin in [0, 20] {
        group.bench_function(format!("round trip of 64 bytes, spin {spin} us"), |bencher| {
            bencher.iter_custom(|rounds| ping_pong(rounds, Duration::from_micros(spin)));
        });
    }
    group.finish();
}

/// Time to move [`TRANSFER_BYTES`].
fn transfer(size: usize, spin: Duration) -> Duration {
    let (mut a, mut b) = Channel::pair().expect("a channel");
    a.set_spin(spin);
    b.set_spin(spin);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let bytes = vec![7; size];
            let mut left = TRANSFER_BYTES as usize;
            while left > 0 {
                let written = a.write(&bytes[..size.min(left)]).expect("write");
                left -= written;
                if written == 0 {
                    a.wait_writable(size, None).expect("wait");
                }
            }
        });
        let mut buffer = vec![0; size.max(4096)];
        let mut left = TRANSFER_BYTES as usize;
        while left > 0 {
            let read = b.read(&mut buffer).expect("read");
            left -= read;
            if read == 0 {
                b.wait_readable(None).expect("wait");
            }
        }
    });
    start.elapsed()
}

fn ping_pong(rounds: u64, spin: Duration) -> Duration {
    let (mut a, mut b) = Channel::pair().expect("a channel");
    a.set_spin(spin);
    b.set_spin(spin);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || (0..rounds).for_each(|_| answer(&mut b)));
        let mut buffer = [7; 64];
        for _ in 0..rounds {
            a.write(&buffer).expect("write");
            while a.read(&mut buffer).expect("read") == 0 {
                a.wait_readable(None).expect("wait");
            }
        }
    });
    start.elapsed()
}

fn answer(channel: &mut Channel) {
    let mut buffer = [0; 64];
    while channel.read(&mut buffer).expect("read") == 0 {
        channel.wait_readable(None).expect("wait");
    }
    channel.write(&buffer).expect("write");
}

criterion_group!(benches, in_one_thread, between_threads);
criterion_main!(benches);
