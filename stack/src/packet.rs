//! Packet buffers, the pool that they come from, and the vector that the stages hand on.
//!
//! A buffer is one contiguous piece of one of two sizes: almost every frame fits the small one, and what veth and
//! virtio hand over in GSO size fits the large one. Buffers go back to their pool when the packet is dropped, whoever
//! drops it. A thread's own handle keeps a few at hand, so that a worker that recycles what it transmits takes no lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrayvec::ArrayVec;
use ipc::VrId;

use crate::ids::{IfIndex, PortId};

/// Most packets that a stage handles in one turn: the headers of 64 packets stay in the first-level cache.
pub const VECTOR: usize = 64;
/// What one stage hands to the next.
pub type Vector = ArrayVec<Packet, VECTOR>;

/// Bytes kept free in front of a new packet: an inter-VR crossing or a locally originated segment puts its headers
/// (Ethernet 14, IPv6 40, TCP 60) there without copying.
pub const HEADROOM: usize = 128;
/// Small buffers hold an Ethernet frame of 1500 bytes and the headroom.
pub const SMALL_BUFFER: usize = 2048;
/// Large buffers hold the largest IP packet, its link header and the headroom.
pub const LARGE_BUFFER: usize = 66 * 1024;
/// Largest frame that a packet can carry.
pub const MAX_FRAME: usize = LARGE_BUFFER - HEADROOM;
/// Buffers that a handle keeps for itself before it gives half of them back.
const CACHE: usize = 128;

/// What is known of the transport checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumState {
    /// Nothing: whoever consumes the packet must verify it.
    #[default]
    None,
    /// Not computed yet: the pseudo-header's sum stands in the field; whoever puts the packet on a wire adds the bytes
    /// from `start` on and stores the result at `start + offset`. A consumer on this box takes it as correct.
    Partial {
        /// First byte that is summed, counted from the packet's first byte.
        start: u16,
        /// Place of the field, counted from `start`.
        offset: u16,
    },
    /// Verified by the medium.
    Verified,
}

/// Whether the packet stands for several segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gso {
    /// It is one segment.
    #[default]
    None,
    /// TCP over IPv4, to be cut into segments of `mss` payload bytes.
    Tcpv4 {
        /// Payload bytes a segment.
        mss: u16,
    },
    /// TCP over IPv6.
    Tcpv6 {
        /// Payload bytes a segment.
        mss: u16,
    },
    /// UDP: each segment is a datagram of its own.
    Udp {
        /// Payload bytes a datagram.
        mss: u16,
    },
}

impl Gso {
    /// Payload bytes of one segment; `None` for a packet that is one segment.
    pub fn mss(self) -> Option<u16> {
        match self {
            Gso::None => None,
            Gso::Tcpv4 { mss } | Gso::Tcpv6 { mss } | Gso::Udp { mss } => Some(mss),
        }
    }
}

/// What the stages know about a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Port it was received on; `None` for what this router originated.
    pub port: Option<PortId>,
    /// Interface of `vr` that it came in by; a crossing changes it.
    pub interface: Option<IfIndex>,
    /// VR that handles the packet now.
    pub vr: VrId,
    /// Where the IP header starts.
    pub l3_offset: u16,
    /// State of the transport checksum.
    pub checksum: ChecksumState,
    /// Segmentation still to be done.
    pub gso: Gso,
    /// Inter-VR interfaces crossed so far.
    pub crossings: u8,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            port: None,
            interface: None,
            vr: VrId::ROUTER,
            l3_offset: 0,
            checksum: ChecksumState::None,
            gso: Gso::None,
            crossings: 0,
        }
    }
}

/// A packet in a buffer of the pool: headroom, bytes, tailroom.
pub struct Packet {
    storage: Box<[u8]>,
    head: usize,
    length: usize,
    home: Arc<Shared>,
    /// What the stages know about it.
    pub meta: Metadata,
}

impl Packet {
    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.storage[self.head..self.head + self.length]
    }

    /// The bytes, to be changed.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.head..self.head + self.length]
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes from the IP header on; empty if the packet ends before.
    pub fn layer3(&self) -> &[u8] {
        self.data().get(usize::from(self.meta.l3_offset)..).unwrap_or_default()
    }

    /// The bytes from the IP header on, to be changed.
    pub fn layer3_mut(&mut self) -> &mut [u8] {
        let offset = usize::from(self.meta.l3_offset);
        self.data_mut().get_mut(offset..).unwrap_or_default()
    }

    /// Grows the packet by `count` bytes in front and returns them; `None` where the headroom is too small. Offsets
    /// in the metadata move along.
    pub fn push_front(&mut self, count: usize) -> Option<&mut [u8]> {
        self.head = self.head.checked_sub(count)?;
        self.length += count;
        let shift = u16::try_from(count).ok()?;
        self.meta.l3_offset = self.meta.l3_offset.saturating_add(shift);
        if let ChecksumState::Partial { start, .. } = &mut self.meta.checksum {
            *start = start.saturating_add(shift);
        }
        Some(&mut self.storage[self.head..self.head + count])
    }

    /// Takes `count` bytes off the front; `None`, and nothing changed, where there are fewer.
    pub fn pull_front(&mut self, count: usize) -> Option<()> {
        let shift = u16::try_from(count).ok()?;
        self.length = self.length.checked_sub(count)?;
        self.head += count;
        self.meta.l3_offset = self.meta.l3_offset.saturating_sub(shift);
        if let ChecksumState::Partial { start, .. } = &mut self.meta.checksum {
            *start = start.saturating_sub(shift);
        }
        Some(())
    }

    /// Appends bytes; `None`, and nothing changed, where the buffer ends before.
    pub fn append(&mut self, bytes: &[u8]) -> Option<()> {
        let from = self.head + self.length;
        self.storage.get_mut(from..from.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }

    /// Cuts the packet to at most `length` bytes (padding of short Ethernet frames).
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// All of the buffer behind the headroom, for a driver to receive into; [`Packet::set_len`] follows.
    pub(crate) fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.head..]
    }

    /// After the bytes were written through [`Packet::spare_mut`]; a length past the buffer is cut.
    pub(crate) fn set_len(&mut self, length: usize) {
        self.length = length.min(self.storage.len() - self.head);
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        if !storage.is_empty() {
            self.home.give_back(storage);
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("length", &self.length).field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// How many buffers may exist at once. They are made when first needed.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Buffers of [`SMALL_BUFFER`] bytes.
    pub small: u64,
    /// Buffers of [`LARGE_BUFFER`] bytes.
    pub large: u64,
}

impl Default for PoolLimits {
    fn default() -> Self {
        // 32 MiB and 33 MiB: full receive queues of a few ports, and a second of a fast TCP connection.
        PoolLimits { small: 16 * 1024, large: 512 }
    }
}

/// Free buffers of one size.
struct Class {
    size: usize,
    limit: u64,
    in_use: AtomicU64,
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Class {
    fn new(size: usize, limit: u64) -> Self {
        Class { size, limit, in_use: AtomicU64::new(0), free: Mutex::new(Vec::new()) }
    }

    /// Reserves one buffer of the limit. Relaxed: a count, which orders nothing else.
    fn reserve(&self) -> bool {
        let granted = self.in_use.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !granted {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        }
        granted
    }

    fn pop_free(&self) -> Box<[u8]> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }
}

/// What all handles of a pool share.
struct Shared {
    small: Class,
    large: Class,
    allocated: AtomicU64,
    exhausted: AtomicU64,
}

impl Shared {
    fn class_of(&self, storage: &[u8]) -> &Class {
        if storage.len() == self.small.size { &self.small } else { &self.large }
    }

    fn give_back(&self, storage: Box<[u8]>) {
        let class = self.class_of(&storage);
        class.in_use.fetch_sub(1, Ordering::Relaxed);
        class.free.lock().unwrap_or_else(PoisonError::into_inner).push(storage);
    }
}

/// A thread's handle of a pool of buffers. Clones share the buffers.
pub struct PacketPool {
    shared: Arc<Shared>,
    /// Small buffers at hand, free.
    cache: Vec<Box<[u8]>>,
}

impl PacketPool {
    /// An empty pool that makes buffers as they are needed.
    pub fn new(limits: PoolLimits) -> Self {
        let shared = Shared {
            small: Class::new(SMALL_BUFFER, limits.small),
            large: Class::new(LARGE_BUFFER, limits.large),
            allocated: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
        };
        PacketPool { shared: Arc::new(shared), cache: Vec::new() }
    }

    /// An empty packet with room for `length` bytes behind the headroom. `None`: the pool is exhausted, which it
    /// counts, or no buffer is that large.
    pub fn allocate(&mut self, length: usize) -> Option<Packet> {
        let small = length <= SMALL_BUFFER - HEADROOM;
        let class = if small { &self.shared.small } else { &self.shared.large };
        if length > MAX_FRAME || !class.reserve() {
            self.shared.exhausted.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.shared.allocated.fetch_add(1, Ordering::Relaxed);
        let cached = if small { self.cache.pop() } else { None };
        let storage = cached.unwrap_or_else(|| class.pop_free());
        let home = Arc::clone(&self.shared);
        Some(Packet { storage, head: HEADROOM, length: 0, home, meta: Metadata::default() })
    }

    /// A packet with a copy of `bytes`.
    pub fn packet(&mut self, bytes: &[u8]) -> Option<Packet> {
        let mut packet = self.allocate(bytes.len())?;
        packet.append(bytes)?;
        Some(packet)
    }

    /// Takes a packet's buffer back without a lock, for the thread that will soon need one.
    pub fn recycle(&mut self, mut packet: Packet) {
        if packet.storage.len() != SMALL_BUFFER || !Arc::ptr_eq(&packet.home, &self.shared) {
            return;
        }
        self.shared.small.in_use.fetch_sub(1, Ordering::Relaxed);
        self.cache.push(std::mem::take(&mut packet.storage));
        if self.cache.len() > CACHE {
            let mut free = self.shared.small.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.extend(self.cache.drain(CACHE / 2..));
        }
    }

    /// Buffers handed out ever.
    pub fn buffers_allocated(&self) -> u64 {
        self.shared.allocated.load(Ordering::Relaxed)
    }

    /// Buffers that hold a packet now.
    pub fn buffers_in_use(&self) -> u64 {
        self.shared.small.in_use.load(Ordering::Relaxed) + self.shared.large.in_use.load(Ordering::Relaxed)
    }

    /// Requests that found the pool exhausted.
    pub fn exhausted(&self) -> u64 {
        self.shared.exhausted.load(Ordering::Relaxed)
    }
}

impl Clone for PacketPool {
    fn clone(&self) -> Self {
        PacketPool { shared: Arc::clone(&self.shared), cache: Vec::new() }
    }
}

impl fmt::Debug for PacketPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketPool").field("in_use", &self.buffers_in_use()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_and_recycled_buffers_return_to_the_pool() {
        let mut pool = PacketPool::new(PoolLimits { small: 2, large: 1 });
        let first = pool.packet(&[1; 60]).unwrap();
        let second = pool.packet(&[2; 60]).unwrap();
        assert!(pool.packet(&[3; 60]).is_none());
        assert_eq!((pool.buffers_in_use(), pool.exhausted()), (2, 1));
        drop(first);
        pool.recycle(second);
        assert_eq!(pool.buffers_in_use(), 0);
        assert_eq!(pool.packet(&[4; 60]).unwrap().data(), &[4; 60]);
        assert_eq!(pool.buffers_allocated(), 3);
    }

    #[test]
    fn a_buffer_dropped_by_another_thread_returns_too() {
        let mut pool = PacketPool::new(PoolLimits { small: 1, large: 0 });
        let packet = pool.packet(&[1; 60]).unwrap();
        std::thread::spawn(move || drop(packet)).join().unwrap();
        assert!(pool.packet(&[1; 60]).is_some());
    }

    #[test]
    fn headers_move_the_offsets_along() {
        let mut pool = PacketPool::new(PoolLimits::default());
        let mut packet = pool.packet(&[7; 40]).unwrap();
        packet.meta.checksum = ChecksumState::Partial { start: 20, offset: 16 };
        packet.push_front(14).unwrap().fill(1);
        assert_eq!(packet.meta.l3_offset, 14);
        assert_eq!(packet.meta.checksum, ChecksumState::Partial { start: 34, offset: 16 });
        assert_eq!(packet.layer3(), &[7; 40]);
        packet.pull_front(14).unwrap();
        assert_eq!((packet.meta.l3_offset, packet.len()), (0, 40));
        assert!(packet.pull_front(41).is_none());
        assert!(packet.push_front(HEADROOM + 1).is_none());
    }

    #[test]
    fn a_frame_of_gso_size_takes_a_large_buffer() {
        let mut pool = PacketPool::new(PoolLimits { small: 0, large: 1 });
        let frame = vec![9; 65_549];
        assert_eq!(pool.packet(&frame).unwrap().data(), &frame[..]);
        assert!(pool.allocate(MAX_FRAME + 1).is_none());
    }
}
