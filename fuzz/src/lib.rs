//! What the fuzz targets share: a channel whose other end is honest until it lies, and a RIB with a program.

pub mod rib;

use std::collections::VecDeque;
use std::os::fd::AsFd;

use ipc::channel::{Channel, ChannelParts};
use ipc::error::ChannelError;
use ipc::memory::Memory;
use ipc::ring::CHANNEL_BYTES;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// What the peer does, that may be anything.
#[derive(Debug, Clone, Arbitrary)]
pub enum Lie {
    /// A word of the two rings' headers, overwritten.
    Word { index: u8, value: u64 },
    /// The same, a little off what stands there.
    Off { index: u8, by: i16 },
    /// Bytes anywhere.
    Scribble { at: u32, bytes: [u8; 12] },
    /// Pages taken away: they read as zeros.
    Punch { page: u8, pages: u8 },
}

/// Words of the two headers: 512 bytes each.
const HEADER_WORDS: usize = 128;

/// Both ends of a channel, and its memory as a hostile peer has it.
#[derive(Debug)]
pub struct Scene {
    /// The end that is tested.
    pub own: Channel,
    /// The other one.
    pub peer: Channel,
    memory: Memory,
    /// The peer has lied: what comes need no longer be what was sent.
    pub lied: bool,
}

impl Default for Scene {
    fn default() -> Self {
        let (opener, listener) = ChannelParts::pair().expect("descriptors are left");
        let memory = Memory::map(opener.memory.as_fd(), CHANNEL_BYTES).expect("it is a channel's");
        let own = Channel::from_parts(opener).expect("it is a channel's");
        let peer = Channel::from_parts(listener).expect("it is a channel's");
        Self { own, peer, memory, lied: false }
    }
}

impl Scene {
    /// The peer tells a lie.
    pub fn lie(&mut self, lie: &Lie) {
        self.lied = true;
        match *lie {
            Lie::Word { index, value } => self.memory.copy_in(word(index), &value.to_le_bytes()),
            Lie::Off { index, by } => {
                let mut bytes = [0; 8];
                self.memory.copy_out(word(index), &mut bytes);
                let value = u64::from_le_bytes(bytes).wrapping_add_signed(by.into());
                self.memory.copy_in(word(index), &value.to_le_bytes());
            }
            Lie::Scribble { at, bytes } => self.memory.copy_in(at as usize % (CHANNEL_BYTES - bytes.len()), &bytes),
            Lie::Punch { page, pages } => {
                let (page, pages) = (usize::from(page), usize::from(pages) + 1);
                self.memory.punch(page * 4096..(page + pages) * 4096).expect("the range lies inside");
            }
        }
    }

    /// A call of the tested end came back: only a peer that lied, ended or left may be a reason for an error.
    pub fn judge<T>(&self, result: Result<T, ChannelError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(ChannelError::Fault(fault)) => {
                assert!(self.lied, "an honest peer is taken for a liar: {fault}");
                None
            }
            Err(_) => None,
        }
    }
}

fn word(index: u8) -> usize {
    usize::from(index) % HEADER_WORDS * 8
}

/// Bytes that were sent and not yet received.
#[derive(Debug, Default)]
pub struct InFlight {
    bytes: VecDeque<u8>,
    next: u8,
}

impl InFlight {
    /// The next bytes of a stream, and its count of those that were taken.
    pub fn make(&self, count: usize) -> Vec<u8> {
        (0..count).map(|n| self.next.wrapping_add((n % 251) as u8)).collect()
    }

    /// So many of the made bytes were taken.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.next = self.next.wrapping_add(1);
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes came: they must be the next ones past `ahead`.
    pub fn expect(&self, ahead: usize, came: &[u8]) {
        let wanted: Vec<u8> = self.bytes.iter().skip(ahead).take(came.len()).copied().collect();
        assert!(came == wanted, "bytes of an honest peer came wrong");
    }

    /// So many are gone.
    pub fn consumed(&mut self, count: usize) {
        self.bytes.drain(..count);
    }
}

impl Scene {
    /// As [`judge`](Self::judge), for calls that change the tested end.
    pub fn judge_arm(&mut self, call: impl FnOnce(&mut Channel) -> Result<bool, ChannelError>) -> Option<bool> {
        let result = call(&mut self.own);
        self.judge(result)
    }
}
