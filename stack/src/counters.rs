//! What the data plane counts: one enum of events, one of drop reasons, and a block of both for each VR and interface.
//!
//! Each worker has blocks of its own, which it alone writes: counting is a plain addition. Whoever shows counters adds
//! the workers' blocks up. No drop is without a [`DropReason`]: the enum gives counter, `show` row and metric.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipc::VrId;

use crate::ids::IfIndex;

macro_rules! counted {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// All of them, in the order of their rows.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// Name of the counter, key of the `show` row and of the metric.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }
        }
    };
}

counted! {
    /// An event that is counted for each VR, and for the interface that it happened on.
    ///
    /// A packet that crosses from one VR to another is sent by the one and received by the other, as on a wire.
    Counter {
        /// IP packets that came in by an interface, or that the VR sent to itself.
        PacketsReceived = "packets_received",
        /// IP packets that went out by an interface, or that the VR sent to itself.
        PacketsSent = "packets_sent",
        /// IP packets that were received and sent on.
        PacketsForwarded = "packets_forwarded",
        /// Bytes of the received packets from the IP header on.
        BytesReceived = "bytes_received",
        /// Bytes of the sent packets from the IP header on.
        BytesSent = "bytes_sent",
        /// Frames that a port received.
        FramesReceived = "frames_received",
        /// Frames that a port was given and took.
        FramesSent = "frames_sent",
        /// Packets that went from this VR into another without a wire.
        InterVrCrossings = "inter_vr_crossings",
        /// Packets handed to the control side.
        Punted = "punted",
    }
}

counted! {
    /// Why a packet went no further.
    DropReason {
        /// The pool had no buffer for a received frame or a segment.
        PoolExhausted = "pool_exhausted",
        /// The host's socket buffer of a port overflowed before the worker came.
        SocketBufferFull = "socket_buffer_full",
        /// A frame larger than any buffer.
        FrameTooLong = "frame_too_long",
        /// Less than an Ethernet header.
        FrameTooShort = "frame_too_short",
        /// The medium's own header makes no sense (virtio-net).
        BadOffloadHeader = "bad_offload_header",
        /// Sent to another station; a port receives promiscuously.
        OtherStation = "other_station",
        /// A tagged frame; no interface has a VLAN.
        VlanTagged = "vlan_tagged",
        /// Neither IP nor ARP.
        UnknownEtherType = "unknown_ether_type",
        /// The port belongs to no interface of a VR.
        PortNotAssigned = "port_not_assigned",
        /// The interface, or the far end of an inter-VR link, is shut or gone.
        InterfaceDown = "interface_down",
        /// An IP header cut short.
        IpTruncated = "ip_truncated",
        /// Not the version that the frame announced.
        IpBadVersion = "ip_bad_version",
        /// A header length that cannot be.
        IpBadHeaderLength = "ip_bad_header_length",
        /// A total length that cannot be.
        IpBadTotalLength = "ip_bad_total_length",
        /// The header checksum does not match.
        IpBadChecksum = "ip_bad_checksum",
        /// A source that no packet may have (RFC 1812 section 5.3.7).
        MartianSource = "martian_source",
        /// A destination that no packet on a wire may have.
        MartianDestination = "martian_destination",
        /// A link-local destination that is not the incoming interface's own: nobody forwards it (RFC 4291 section
        /// 2.5.6).
        LinkLocalNotOurs = "link_local_not_ours",
        /// A link-local source on its way to another link.
        BeyondScope = "beyond_scope",
        /// An IPv6 extension header for us that asks to be dropped for, or makes no sense.
        BadExtensionHeader = "bad_extension_header",
        /// An ICMPv6 message for us that is cut short or whose checksum does not match.
        IcmpInvalid = "icmp_invalid",
        /// An IGMP message that makes no sense.
        IgmpInvalid = "igmp_invalid",
        /// An ICMPv6 message for us that asks for nothing that this router does, or is about somebody else.
        IcmpUnwanted = "icmp_unwanted",
        /// A message of neighbor discovery that was forwarded, or breaks its other rules (RFC 4861 section 7.1).
        NdInvalid = "nd_invalid",
        /// Fragments for us that overlap, are too long or contradict each other.
        ReassemblyFailed = "reassembly_failed",
        /// Fragments for us of which others did not come in time.
        ReassemblyTimedOut = "reassembly_timed_out",
        /// A neighbor does not answer, or too many packets wait for it.
        Unresolved = "unresolved",
        /// A multicast group beyond the link: there is no multicast routing.
        MulticastNotRouted = "multicast_not_routed",
        /// The route leads to Null0.
        Discard = "discard",
        /// The VR has no table.
        NoTable = "no_table",
        /// The adjacency was removed while the packet was on its way.
        NoAdjacency = "no_adjacency",
        /// Too many inter-VR interfaces crossed: a loop.
        CrossingLimit = "crossing_limit",
        /// No room in the buffer for the link header.
        NoHeadroom = "no_headroom",
        /// The control side injected what cannot be sent.
        BadInject = "bad_inject",
        /// Policed: ARP and neighbor discovery.
        PolicedArp = "policed_arp",
        /// Policed: a packet of an established session.
        PolicedEstablished = "policed_established",
        /// Policed: a packet to a listener.
        PolicedListener = "policed_listener",
        /// Policed: a datagram to a UDP socket.
        PolicedDatagram = "policed_datagram",
        /// Policed: a protocol of the router itself, such as ICMP.
        PolicedProtocol = "policed_protocol",
        /// Policed: nobody listens.
        PolicedUnclaimed = "policed_unclaimed",
        /// Policed: fragments to be put together.
        PolicedFragment = "policed_fragment",
        /// Policed: what needs an ICMP error.
        PolicedException = "policed_exception",
        /// Policed: what waits for a neighbor's address.
        PolicedResolve = "policed_resolve",
        /// A segment for a socket that wants a higher TTL (RFC 5082).
        TtlTooLow = "ttl_too_low",
        /// A segment without the MD5 signature that the socket wants of this peer (RFC 2385).
        SignatureMissing = "signature_missing",
        /// A signed segment of a peer that the socket shares no key with.
        SignatureUnexpected = "signature_unexpected",
        /// A segment whose MD5 signature is not made with the key.
        SignatureWrong = "signature_wrong",
        /// The control side does not keep up with what is punted.
        PuntQueueFull = "punt_queue_full",
        /// A worker does not keep up with what others hand to it.
        HandoverQueueFull = "handover_queue_full",
        /// The medium does not keep up.
        TransmitQueueFull = "transmit_queue_full",
        /// The port to send on does not exist.
        NoPort = "no_port",
        /// Nobody is at the other end of the medium.
        LinkDown = "link_down",
        /// The medium refused the frame.
        TransmitFailed = "transmit_failed",
        /// Lost on purpose, as the configuration of the port asks.
        Impaired = "impaired",
        /// The frame cannot be cut into the segments that it stands for.
        CannotSegment = "cannot_segment",
    }
}

const BLOCK: usize = Counter::ALL.len() + DropReason::ALL.len();

/// Counters of one VR or interface, written by one thread.
#[derive(Debug)]
struct Block([AtomicU64; BLOCK]);

impl Block {
    fn new() -> Self {
        Block(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// One writer: a load and a store, no locked instruction. Relaxed: the numbers order nothing else.
    fn add(&self, index: usize, count: u64) {
        let cell = &self.0[index];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

fn position(reason: DropReason) -> usize {
    Counter::ALL.len() + reason as usize
}

/// Counters as read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterValues([u64; BLOCK]);

impl Default for CounterValues {
    fn default() -> Self {
        CounterValues([0; BLOCK])
    }
}

impl CounterValues {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Packets dropped for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.0[position(reason)]
    }

    /// Packets dropped, all reasons.
    pub fn drops(&self) -> u64 {
        self.0[Counter::ALL.len()..].iter().sum()
    }

    /// Adds another's counts, for a total.
    pub fn add(&mut self, other: &CounterValues) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, value)| *sum = sum.wrapping_add(value));
    }
}

/// Counters of all workers, to be read by anyone. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    vrs: BTreeMap<VrId, Vec<Arc<Block>>>,
    interfaces: BTreeMap<IfIndex, Vec<Arc<Block>>>,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter handle for one thread.
    pub fn local(&self) -> LocalCounters {
        LocalCounters { shared: self.clone(), vrs: Vec::new(), interfaces: Vec::new() }
    }

    /// Each VR's counts, summed over the workers. [`VrId::ROUTER`] has what belongs to no VR.
    pub fn vrs(&self) -> BTreeMap<VrId, CounterValues> {
        self.with(|registry| registry.vrs.iter().map(|(vr, blocks)| (*vr, sum(blocks))).collect())
    }

    /// Each interface's counts, summed over the workers.
    pub fn interfaces(&self) -> BTreeMap<IfIndex, CounterValues> {
        self.with(|registry| registry.interfaces.iter().map(|(index, blocks)| (*index, sum(blocks))).collect())
    }

    /// The whole router's counts.
    pub fn total(&self) -> CounterValues {
        let mut total = CounterValues::default();
        self.vrs().values().for_each(|values| total.add(values));
        total
    }

    fn with<R>(&self, read: impl FnOnce(&mut Registry) -> R) -> R {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn sum(blocks: &[Arc<Block>]) -> CounterValues {
    let mut values = CounterValues::default();
    for block in blocks {
        values.0.iter_mut().zip(&block.0).for_each(|(sum, cell)| *sum = sum.wrapping_add(cell.load(Ordering::Relaxed)));
    }
    values
}

/// One thread's counters. A block is made when a VR or interface is first seen.
#[derive(Debug)]
pub struct LocalCounters {
    shared: Counters,
    vrs: Vec<Option<Arc<Block>>>,
    interfaces: Vec<Option<Arc<Block>>>,
}

impl LocalCounters {
    /// Counts `count` events for a VR.
    pub fn add(&mut self, vr: VrId, counter: Counter, count: u64) {
        self.vr(vr).add(counter as usize, count);
    }

    /// Counts `count` packets of `bytes` bytes in all, for a VR and one of its interfaces.
    pub fn add_packets(&mut self, vr: VrId, interface: Option<IfIndex>, way: Way, count: u64, bytes: u64) {
        let (packets_counter, bytes_counter) = match way {
            Way::In => (Counter::PacketsReceived, Counter::BytesReceived),
            Way::Out => (Counter::PacketsSent, Counter::BytesSent),
        };
        let vr = self.vr(vr);
        vr.add(packets_counter as usize, count);
        vr.add(bytes_counter as usize, bytes);
        if let Some(interface) = interface {
            let interface = self.interface(interface);
            interface.add(packets_counter as usize, count);
            interface.add(bytes_counter as usize, bytes);
        }
    }

    /// Counts dropped packets for a VR, and for an interface where there is one.
    pub fn drop(&mut self, vr: VrId, interface: Option<IfIndex>, reason: DropReason, count: u64) {
        self.vr(vr).add(position(reason), count);
        if let Some(interface) = interface {
            self.interface(interface).add(position(reason), count);
        }
    }

    fn vr(&mut self, vr: VrId) -> &Block {
        let shared = &self.shared;
        block(&mut self.vrs, usize::from(vr.0), |block| {
            shared.with(|registry| registry.vrs.entry(vr).or_default().push(block));
        })
    }

    fn interface(&mut self, interface: IfIndex) -> &Block {
        let shared = &self.shared;
        block(&mut self.interfaces, interface.slot(), |block| {
            shared.with(|registry| registry.interfaces.entry(interface).or_default().push(block));
        })
    }
}

/// Into the VR or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

fn block(blocks: &mut Vec<Option<Arc<Block>>>, slot: usize, register: impl FnOnce(Arc<Block>)) -> &Block {
    if blocks.len() <= slot {
        blocks.resize(slot + 1, None);
    }
    blocks[slot].get_or_insert_with(|| {
        let block = Arc::new(Block::new());
        register(Arc::clone(&block));
        block
    })
}

/// Drops that a driver saw and that its worker takes over into the counters.
#[derive(Debug, Default)]
pub struct DropTally(BTreeMap<DropReason, u64>);

impl DropTally {
    /// Counts `count` drops.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        *self.0.entry(reason).or_default() += count;
    }

    /// Hands over what was counted, and begins anew.
    pub fn drain(&mut self) -> impl Iterator<Item = (DropReason, u64)> {
        std::mem::take(&mut self.0).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_workers_are_added_up() {
        let counters = Counters::new();
        let red = VrId(1);
        let mut workers = [counters.local(), counters.local()];
        for worker in &mut workers {
            worker.add_packets(red, Some(IfIndex(3)), Way::In, 2, 200);
            worker.drop(VrId(2), Some(IfIndex(3)), DropReason::Discard, 1);
        }
        assert_eq!(counters.vrs()[&red].get(Counter::PacketsReceived), 4);
        assert_eq!(counters.vrs()[&VrId(2)].dropped(DropReason::Discard), 2);
        assert_eq!(counters.interfaces()[&IfIndex(3)].get(Counter::BytesReceived), 400);
        assert_eq!((counters.total().get(Counter::PacketsReceived), counters.total().drops()), (4, 2));
    }

    #[test]
    fn every_counter_and_reason_has_a_name_of_its_own() {
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        names.extend(DropReason::ALL.iter().map(|reason| reason.name()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BLOCK);
    }
}
