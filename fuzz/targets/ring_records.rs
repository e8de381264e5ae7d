//! Records against a peer that is honest, or lies in every word of the shared memory.
#![no_main]

use std::collections::VecDeque;

use fuzz::{Lie, Scene};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step {
    Lie(Lie),
    /// Bytes where records belong.
    PeerWritesBytes([u8; 8]),
    PeerWrites(u16),
    PeerWritesLarge(u32),
    PeerReads,
    PeerCloses,
    Write(u16),
    WriteLarge(u32),
    Read,
    ArmRead,
    ArmWrite(u32),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut scene = Scene::default();
    let (mut coming, mut going) = (VecDeque::new(), VecDeque::new());
    let mut record = Vec::new();
    for (number, step) in steps.iter().take(128).enumerate() {
        match *step {
            Step::Lie(ref lie) => scene.lie(lie),
            Step::PeerWritesBytes(bytes) => {
                scene.lied = true;
                let _ = scene.peer.write(&bytes);
            }
            Step::PeerWrites(length) => peer_writes(&mut scene, &mut coming, make(number, length.into())),
            Step::PeerWritesLarge(length) => {
                peer_writes(&mut scene, &mut coming, make(number, length as usize % ((1 << 20) + 1)));
            }
            Step::PeerReads => {
                if let Ok(true) = scene.peer.read_record(&mut record)
                    && !scene.lied
                {
                    assert!(going.pop_front().is_some_and(|sent| sent == record), "a record went wrong");
                }
            }
            Step::PeerCloses => scene.peer.close_write(),
            Step::Write(length) => writes(&mut scene, &mut going, make(number, length.into())),
            Step::WriteLarge(length) => writes(&mut scene, &mut going, make(number, length as usize % (1 << 21))),
            Step::Read => {
                let result = scene.own.read_record(&mut record);
                assert!(record.len() <= 1 << 20);
                if scene.judge(result) == Some(true) && !scene.lied {
                    assert!(coming.pop_front().is_some_and(|sent| sent == record), "a record came wrong");
                }
            }
            Step::ArmRead => drop(scene.judge_arm(|own| own.arm_read())),
            Step::ArmWrite(length) => drop(scene.judge_arm(|own| own.arm_write_record(length as usize))),
        }
    }
});

fn make(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + number) as u8).collect()
}

fn peer_writes(scene: &mut Scene, coming: &mut VecDeque<Vec<u8>>, record: Vec<u8>) {
    if let Ok(true) = scene.peer.write_record(&record) {
        coming.push_back(record);
    }
}

fn writes(scene: &mut Scene, going: &mut VecDeque<Vec<u8>>, record: Vec<u8>) {
    let result = scene.own.write_record(&record);
    if scene.judge(result) == Some(true) {
        going.push_back(record);
    }
}
