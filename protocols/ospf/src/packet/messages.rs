//! The five packets: RFC 2328 sections A.3.2 to A.3.6.

use std::net::Ipv4Addr;

use super::{
    Frame, LSA_HEADER_LEN, Lsa, LsaHeader, LsaKey, LsaType, LsaView, Options, PacketError, PacketKind, RouterId,
    take_address, take_u8, take_u16, take_u32,
};

/// What follows a packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Finds and keeps neighbors.
    Hello(Hello<'a>),
    /// Says which LSAs there are.
    DatabaseDescription(DatabaseDescription<'a>),
    /// Asks for LSAs.
    LinkStateRequest(LinkStateRequest<'a>),
    /// LSAs.
    LinkStateUpdate(LinkStateUpdate<'a>),
    /// LSAs have come.
    LinkStateAcknowledgment(LinkStateAcknowledgment<'a>),
}

impl<'a> Body<'a> {
    /// Reads what a packet says.
    pub fn parse(frame: &Frame<'a>) -> Result<Self, PacketError> {
        let body = frame.body();
        Ok(match frame.kind {
            PacketKind::Hello => Body::Hello(Hello::parse(body)?),
            PacketKind::DatabaseDescription => Body::DatabaseDescription(DatabaseDescription::parse(body)?),
            PacketKind::LinkStateRequest => Body::LinkStateRequest(LinkStateRequest::parse(body)?),
            PacketKind::LinkStateUpdate => Body::LinkStateUpdate(LinkStateUpdate::parse(body)?),
            PacketKind::LinkStateAcknowledgment => {
                Body::LinkStateAcknowledgment(LinkStateAcknowledgment { headers: headers(body)? })
            }
        })
    }
}

/// Slices of one size each.
fn pieces(bytes: &[u8], size: usize) -> Result<&[u8], PacketError> {
    if bytes.len().is_multiple_of(size) { Ok(bytes) } else { Err(PacketError::Body) }
}

fn headers(bytes: &[u8]) -> Result<&[u8], PacketError> {
    pieces(bytes, LSA_HEADER_LEN)
}

/// Hello: RFC 2328 section A.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Mask of the sender's interface.
    pub mask: Ipv4Addr,
    /// Seconds between two of them.
    pub hello_interval: u16,
    /// Options.
    pub options: Options,
    /// Router priority; 0: never designated router.
    pub priority: u8,
    /// Seconds of silence after which the sender counts as gone.
    pub dead_interval: u32,
    /// Address of the designated router, as the sender sees it.
    pub designated: Ipv4Addr,
    /// Address of the backup designated router.
    pub backup: Ipv4Addr,
    neighbors: &'a [u8],
}

impl<'a> Hello<'a> {
    fn parse(mut bytes: &'a [u8]) -> Result<Self, PacketError> {
        let bytes = &mut bytes;
        let short = PacketError::Body;
        Ok(Self {
            mask: take_address(bytes).ok_or(short)?,
            hello_interval: take_u16(bytes).ok_or(short)?,
            options: Options(take_u8(bytes).ok_or(short)?),
            priority: take_u8(bytes).ok_or(short)?,
            dead_interval: take_u32(bytes).ok_or(short)?,
            designated: take_address(bytes).ok_or(short)?,
            backup: take_address(bytes).ok_or(short)?,
            neighbors: pieces(bytes, 4)?,
        })
    }

    /// A hello that names no neighbors; [`encode`](Self::encode) takes them.
    pub fn new(mask: Ipv4Addr, hello_interval: u16, dead_interval: u32, options: Options, priority: u8) -> Self {
        let nobody = Ipv4Addr::UNSPECIFIED;
        Self {
            mask,
            hello_interval,
            options,
            priority,
            dead_interval,
            designated: nobody,
            backup: nobody,
            neighbors: &[],
        }
    }

    /// Routers that the sender has heard of late.
    pub fn neighbors(&self) -> impl Iterator<Item = RouterId> + use<'a> {
        self.neighbors.chunks_exact(4).map(|id| Ipv4Addr::new(id[0], id[1], id[2], id[3]))
    }

    /// Appends it, with neighbors.
    pub fn encode(&self, neighbors: impl IntoIterator<Item = RouterId>, into: &mut Vec<u8>) {
        into.extend(self.mask.octets());
        into.extend(self.hello_interval.to_be_bytes());
        into.extend([self.options.0, self.priority]);
        into.extend(self.dead_interval.to_be_bytes());
        into.extend(self.designated.octets());
        into.extend(self.backup.octets());
        into.extend(neighbors.into_iter().flat_map(|neighbor| neighbor.octets()));
    }
}

/// Flags of a database description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescriptionFlags(pub u8);

impl DescriptionFlags {
    /// The sender is the master.
    pub const MASTER: DescriptionFlags = DescriptionFlags(0x01);
    /// More will follow.
    pub const MORE: DescriptionFlags = DescriptionFlags(0x02);
    /// The first one.
    pub const INIT: DescriptionFlags = DescriptionFlags(0x04);

    /// Whether all of these are set.
    pub fn contains(self, other: DescriptionFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and others.
    pub fn with(self, other: DescriptionFlags, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }
}

/// Database description: RFC 2328 section A.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseDescription<'a> {
    /// Largest IP packet that the sender's interface takes, in bytes.
    pub mtu: u16,
    /// Options.
    pub options: Options,
    /// First, more, master.
    pub flags: DescriptionFlags,
    /// Number of the packet within the exchange.
    pub sequence: u32,
    headers: &'a [u8],
}

impl<'a> DatabaseDescription<'a> {
    fn parse(mut bytes: &'a [u8]) -> Result<Self, PacketError> {
        let bytes = &mut bytes;
        let short = PacketError::Body;
        Ok(Self {
            mtu: take_u16(bytes).ok_or(short)?,
            options: Options(take_u8(bytes).ok_or(short)?),
            flags: DescriptionFlags(take_u8(bytes).ok_or(short)? & 0x07),
            sequence: take_u32(bytes).ok_or(short)?,
            headers: headers(bytes)?,
        })
    }

    /// A description without LSAs; [`encode`](Self::encode) takes them.
    pub fn new(mtu: u16, options: Options, flags: DescriptionFlags, sequence: u32) -> Self {
        Self { mtu, options, flags, sequence, headers: &[] }
    }

    /// LSAs of the sender's database.
    pub fn headers(&self) -> impl Iterator<Item = Result<LsaHeader, PacketError>> + use<'a> {
        self.headers.chunks_exact(LSA_HEADER_LEN).map(LsaHeader::parse)
    }

    /// Whether it names no LSA.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Appends it, with LSAs.
    pub fn encode(&self, headers: &[LsaHeader], into: &mut Vec<u8>) {
        into.extend(self.mtu.to_be_bytes());
        into.extend([self.options.0, self.flags.0]);
        into.extend(self.sequence.to_be_bytes());
        headers.iter().for_each(|header| header.encode(into));
    }
}

/// Link state request: RFC 2328 section A.3.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStateRequest<'a> {
    entries: &'a [u8],
}

impl<'a> LinkStateRequest<'a> {
    /// Bytes of one entry.
    pub const ENTRY_LEN: usize = 12;

    fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        Ok(Self { entries: pieces(bytes, Self::ENTRY_LEN)? })
    }

    /// What is asked for; a type that does not exist is `None`.
    pub fn keys(&self) -> impl Iterator<Item = Option<LsaKey>> + use<'a> {
        self.entries.chunks_exact(Self::ENTRY_LEN).map(|mut entry| {
            let code = u8::try_from(take_u32(&mut entry)?).ok()?;
            let (id, router) = (take_address(&mut entry)?, take_address(&mut entry)?);
            Some(LsaKey { kind: LsaType::from_code(code)?, id, router })
        })
    }

    /// Appends one that asks for these.
    pub fn encode(keys: &[LsaKey], into: &mut Vec<u8>) {
        for key in keys {
            into.extend(u32::from(key.kind.code()).to_be_bytes());
            into.extend(key.id.octets());
            into.extend(key.router.octets());
        }
    }
}

/// Link state update: RFC 2328 section A.3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStateUpdate<'a> {
    count: u32,
    lsas: &'a [u8],
}

impl<'a> LinkStateUpdate<'a> {
    /// Bytes before the first LSA.
    pub const FIXED_LEN: usize = 4;

    fn parse(mut bytes: &'a [u8]) -> Result<Self, PacketError> {
        let count = take_u32(&mut bytes).ok_or(PacketError::Body)?;
        Ok(Self { count, lsas: bytes })
    }

    /// Its LSAs, each checked. One that is wrong is an error, and the next follows; after one whose end cannot be
    /// found nothing does.
    pub fn views(&self) -> impl Iterator<Item = Result<LsaView<'a>, PacketError>> + use<'a> {
        let (mut left, mut rest) = (self.count, self.lsas);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            match LsaView::split(&mut rest) {
                Ok(lsa) => Some(lsa),
                Err(error) => {
                    left = 0;
                    Some(Err(error))
                }
            }
        })
    }

    /// The same, kept.
    pub fn lsas(&self) -> impl Iterator<Item = Result<Lsa, PacketError>> + use<'a> {
        self.views().map(|view| view.map(|view| view.to_lsa()))
    }

    /// Appends one with LSAs, each with the age that it is sent with.
    pub fn encode<'l>(lsas: impl ExactSizeIterator<Item = (&'l Lsa, u16)>, into: &mut Vec<u8>) {
        into.extend(u32::try_from(lsas.len()).unwrap_or(u32::MAX).to_be_bytes());
        lsas.for_each(|(lsa, age)| lsa.encode(age, into));
    }
}

/// The body of a link state update that is being put together: "as many LSAs as fit", RFC 2328 section 13.3.
#[derive(Debug, Default)]
pub struct UpdateBuilder {
    body: Vec<u8>,
    count: u32,
}

impl UpdateBuilder {
    /// Whether another LSA fits into a body of `room` bytes. One that is longer than that goes alone, in fragments.
    pub fn has_room(&self, lsa: &LsaView<'_>, room: usize) -> bool {
        self.count == 0 || self.body.len() + lsa.len_bytes() <= room
    }

    /// Adds an LSA with the age that it is sent with.
    pub fn add(&mut self, lsa: &LsaView<'_>, age: u16) {
        if self.count == 0 {
            self.body.extend_from_slice(&[0; LinkStateUpdate::FIXED_LEN]);
        }
        self.count += 1;
        lsa.encode(age, &mut self.body);
    }

    /// Whether there is no LSA in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the body, and begins anew.
    pub fn finish(&mut self, into: &mut Vec<u8>) {
        if let Some(count) = self.body.first_chunk_mut() {
            *count = self.count.to_be_bytes();
        }
        into.extend_from_slice(&self.body);
        self.body.clear();
        self.count = 0;
    }
}

/// Link state acknowledgment: RFC 2328 section A.3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStateAcknowledgment<'a> {
    headers: &'a [u8],
}

impl<'a> LinkStateAcknowledgment<'a> {
    /// The instances that came.
    pub fn headers(&self) -> impl Iterator<Item = Result<LsaHeader, PacketError>> + use<'a> {
        self.headers.chunks_exact(LSA_HEADER_LEN).map(LsaHeader::parse)
    }

    /// Appends one for these.
    pub fn encode(headers: &[LsaHeader], into: &mut Vec<u8>) {
        headers.iter().for_each(|header| header.encode(into));
    }
}
