//! TCP options: maximum segment size (RFC 9293 section 3.2), window scale and timestamps (RFC 7323), selective
//! acknowledgment (RFC 2018), MD5 signature (RFC 2385). Others are skipped.

use std::fmt;

use super::tcp::SeqNumber;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAX_SEGMENT: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MD5_SIGNATURE: u8 = 19;

/// Length of a signature (RFC 2385 section 3.0).
pub const SIGNATURE_BYTES: usize = 16;

/// The largest shift that counts (RFC 7323 section 2.3); larger ones are read as this.
pub const MAXIMUM_WINDOW_SCALE: u8 = 14;
/// Options fill at most 40 bytes: four blocks, three beside timestamps.
pub const MAXIMUM_SACK_BLOCKS: usize = 4;

/// Options of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// The largest payload that the sender takes; on SYN only.
    pub max_segment: Option<u16>,
    /// Shift of the window field; on SYN only.
    pub window_scale: Option<u8>,
    /// Whether the sender understands SACK; on SYN only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// What arrived out of order.
    pub sack: SackBlocks,
    /// MD5 signature of the segment; zeros until it is made.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
}

/// The timestamps option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The receiver's clock as the sender last heard it.
    pub echo: u32,
}

/// A range that arrived: `start` is its first byte, `end` the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlock {
    /// First byte.
    pub start: SeqNumber,
    /// First byte that is not of it.
    pub end: SeqNumber,
}

/// At most [`MAXIMUM_SACK_BLOCKS`] blocks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlocks {
    blocks: [SackBlock; MAXIMUM_SACK_BLOCKS],
    count: u8,
}

impl SackBlocks {
    /// Appends a block; `false` where there is no room.
    pub fn push(&mut self, block: SackBlock) -> bool {
        match self.blocks.get_mut(usize::from(self.count)) {
            Some(free) => {
                *free = block;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// The blocks.
    pub fn as_slice(&self) -> &[SackBlock] {
        self.blocks.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl TcpOptions {
    /// Reads options. A malformed one ends the list; known kinds with a wrong length are skipped.
    pub fn parse(mut bytes: &[u8]) -> TcpOptions {
        let mut options = TcpOptions::default();
        while let [kind, rest @ ..] = bytes {
            match *kind {
                END => break,
                NO_OPERATION => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            let Some(length) = rest.first().map(|length| usize::from(*length)) else { break };
            let (Some(value), Some(after)) = (bytes.get(2..length), bytes.get(length..)) else { break };
            options.take(*kind, value);
            bytes = after;
        }
        options
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MAX_SEGMENT, [a, b]) => self.max_segment = Some(u16::from_be_bytes([*a, *b])),
            (WINDOW_SCALE, [shift]) => self.window_scale = Some((*shift).min(MAXIMUM_WINDOW_SCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (SACK, blocks) if blocks.len() % 8 == 0 => {
                for block in blocks.chunks_exact(8) {
                    let (start, end) = block.split_at(4);
                    self.sack.push(SackBlock { start: SeqNumber(number(start)), end: SeqNumber(number(end)) });
                }
            }
            (MD5_SIGNATURE, signature) => self.signature = signature.try_into().ok().or(self.signature),
            (TIMESTAMPS, [value @ .., a, b, c, d]) if value.len() == 4 => {
                self.timestamps = Some(Timestamps { value: number(value), echo: u32::from_be_bytes([*a, *b, *c, *d]) });
            }
            _ => {}
        }
    }

    /// Bytes that `emit` writes: a multiple of four, at most 40.
    pub fn emitted_bytes(&self) -> usize {
        self.encode().1
    }

    /// Writes the options, padded; `out` has [`TcpOptions::emitted_bytes`].
    pub(super) fn emit(&self, out: &mut [u8]) {
        let (bytes, length) = self.encode();
        for (to, from) in out.iter_mut().zip(bytes.iter().take(length)) {
            *to = *from;
        }
    }

    /// In Linux's order, each option aligned by no-operations in front, so that simple receivers find words where they expect
    /// them. SACK blocks that no longer fit are left out.
    fn encode(&self) -> ([u8; 40], usize) {
        let mut writer = Writer { bytes: [NO_OPERATION; 40], length: 0 };
        if let Some(signature) = self.signature {
            // Its length with kind and length bytes.
            writer.put(&[NO_OPERATION, NO_OPERATION, MD5_SIGNATURE, 18]);
            writer.put(&signature);
        }
        if let Some(size) = self.max_segment {
            let [a, b] = size.to_be_bytes();
            writer.put(&[MAX_SEGMENT, 4, a, b]);
        }
        if self.sack_permitted {
            writer.put(&[NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
        }
        if let Some(timestamps) = self.timestamps {
            writer.put(&[NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10]);
            writer.put(&timestamps.value.to_be_bytes());
            writer.put(&timestamps.echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            writer.put(&[NO_OPERATION, WINDOW_SCALE, 3, shift]);
        }
        let fitting = (writer.bytes.len() - writer.length).saturating_sub(4) / 8;
        let blocks = self.sack.as_slice().get(..fitting.min(usize::from(self.sack.count))).unwrap_or_default();
        if !blocks.is_empty() {
            // At most 2 + 4 * 8.
            writer.put(&[NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * blocks.len() as u8]);
            for block in blocks {
                writer.put(&block.start.0.to_be_bytes());
                writer.put(&block.end.0.to_be_bytes());
            }
        }
        (writer.bytes, writer.length)
    }
}

struct Writer {
    bytes: [u8; 40],
    length: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
