//! A stream against a peer that is honest, or lies in every word of the shared memory.
#![no_main]

use fuzz::{InFlight, Lie, Scene};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step {
    Lie(Lie),
    PeerWrites(u16),
    PeerReads(u16),
    PeerCloses,
    PeerResets(u32),
    PeerRings(u16),
    Write(u16),
    WriteMuch,
    Read(u16),
    Peek { ahead: u32, count: u16 },
    Consume(u32),
    ArmRead,
    ArmPeek(u32),
    ArmWrite(u32),
    ArmUnread(u32),
    Acknowledge,
    Gate(bool),
    CloseWrite,
    FreeInBatches,
    LookForRoom,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut scene = Scene::default();
    let mut coming = InFlight::default();
    let mut going = InFlight::default();
    let mut buffer = vec![0; 1 << 16];
    for step in steps.iter().take(256) {
        run(&mut scene, &mut coming, &mut going, &mut buffer, step);
    }
});

fn run(scene: &mut Scene, coming: &mut InFlight, going: &mut InFlight, buffer: &mut [u8], step: &Step) {
    match *step {
        Step::Lie(ref lie) => scene.lie(lie),
        Step::PeerWrites(count) => {
            let bytes = coming.make(count.into());
            if let Ok(taken) = scene.peer.write(&bytes) {
                coming.sent(&bytes[..taken]);
            }
        }
        Step::PeerReads(count) => {
            let buffer = &mut buffer[..count.into()];
            if let Ok(read) = scene.peer.read(buffer)
                && !scene.lied
            {
                going.expect(0, &buffer[..read]);
                going.consumed(read);
            }
        }
        Step::PeerCloses => scene.peer.close_write(),
        Step::PeerResets(code) => scene.peer.reset(code),
        Step::PeerRings(times) => {
            // For nothing, that is: it may be cut off.
            scene.lied = true;
            for _ in 0..times.min(5000) {
                let _ = scene.peer.notify();
            }
        }
        Step::Write(count) => write(scene, going, count.into()),
        Step::WriteMuch => write(scene, going, 300_000),
        Step::Read(count) => {
            let buffer = &mut buffer[..count.into()];
            let result = scene.own.read(buffer);
            if let Some(read) = scene.judge(result)
                && !scene.lied
            {
                coming.expect(0, &buffer[..read]);
                coming.consumed(read);
            }
        }
        Step::Peek { ahead, count } => {
            let (ahead, buffer) = (ahead as usize % (1 << 21), &mut buffer[..count.into()]);
            let result = scene.own.peek(ahead, buffer);
            if let Some(read) = scene.judge(result)
                && !scene.lied
            {
                coming.expect(ahead, &buffer[..read]);
            }
        }
        Step::Consume(count) => {
            let result = scene.own.consume(count as usize % (1 << 21));
            if let Some(consumed) = scene.judge(result)
                && !scene.lied
            {
                coming.consumed(consumed);
            }
        }
        Step::ArmRead => drop(scene.judge_arm(|own| own.arm_read())),
        Step::ArmPeek(ahead) => drop(scene.judge_arm(|own| own.arm_peek(ahead as usize))),
        Step::ArmWrite(minimum) => drop(scene.judge_arm(|own| own.arm_write(minimum as usize))),
        Step::ArmUnread(unread) => drop(scene.judge_arm(|own| own.arm_unread(unread as usize))),
        Step::Acknowledge => drop(scene.judge_arm(|own| own.acknowledge_bell())),
        Step::Gate(closed) => scene.own.set_gate(closed),
        Step::CloseWrite => scene.own.close_write(),
        Step::FreeInBatches => scene.own.rx.free_in_batches(),
        Step::LookForRoom => {
            let writable = scene.own.tx.is_writable();
            assert!(scene.lied || writable.is_ok());
        }
    }
}

fn write(scene: &mut Scene, going: &mut InFlight, count: usize) {
    let bytes = going.make(count);
    let result = scene.own.write(&bytes);
    if let Some(taken) = scene.judge(result) {
        assert!(taken <= count);
        going.sent(&bytes[..taken]);
    }
}
