//! Link state advertisements: header, key, age, sequence number. RFC 2328 sections 12.1 and A.4.1.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::checksum::{fletcher, fletcher_is_right};
use super::{Options, PacketError, RouterId, take, take_address, take_u8, take_u16, take_u32};

/// Bytes of an LSA's header.
pub const LSA_HEADER_LEN: usize = 20;
/// Age in seconds at which an LSA is no longer used: RFC 2328 section B.
pub const MAX_AGE: u16 = 3600;
/// Ages in seconds that differ by more tell instances apart: RFC 2328 section B.
pub const MAX_AGE_DIFF: u16 = 900;
/// The metric that means unreachable: RFC 2328 section B.
pub const LS_INFINITY: u32 = 0xff_ffff;

/// Where the checksum lies behind the age.
const CHECKSUM: usize = 14;

/// Type of an LSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LsaType {
    /// A router's links.
    Router,
    /// The routers on a network; the designated router speaks for it.
    Network,
    /// A prefix of another area.
    SummaryNetwork,
    /// An AS boundary router of another area.
    SummaryAsbr,
    /// A prefix outside.
    External,
    /// A prefix outside, told within an NSSA: RFC 3101.
    Nssa,
    /// Opaque, for a link: RFC 5250.
    OpaqueLink,
    /// Opaque, for an area.
    OpaqueArea,
    /// Opaque, for all areas that have external routes.
    OpaqueAs,
}

/// How far an LSA is flooded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Over one link.
    Link,
    /// Through one area.
    Area,
    /// Through all areas but stubs.
    As,
}

impl LsaType {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            LsaType::Router => 1,
            LsaType::Network => 2,
            LsaType::SummaryNetwork => 3,
            LsaType::SummaryAsbr => 4,
            LsaType::External => 5,
            LsaType::Nssa => 7,
            LsaType::OpaqueLink => 9,
            LsaType::OpaqueArea => 10,
            LsaType::OpaqueAs => 11,
        }
    }

    /// The type of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => LsaType::Router,
            2 => LsaType::Network,
            3 => LsaType::SummaryNetwork,
            4 => LsaType::SummaryAsbr,
            5 => LsaType::External,
            7 => LsaType::Nssa,
            9 => LsaType::OpaqueLink,
            10 => LsaType::OpaqueArea,
            11 => LsaType::OpaqueAs,
            _ => return None,
        })
    }

    /// How far it is flooded.
    pub fn scope(self) -> Scope {
        match self {
            LsaType::OpaqueLink => Scope::Link,
            LsaType::Router
            | LsaType::Network
            | LsaType::SummaryNetwork
            | LsaType::SummaryAsbr
            | LsaType::Nssa
            | LsaType::OpaqueArea => Scope::Area,
            LsaType::External | LsaType::OpaqueAs => Scope::As,
        }
    }

    /// Whether it is opaque.
    pub fn is_opaque(self) -> bool {
        match self {
            LsaType::OpaqueLink | LsaType::OpaqueArea | LsaType::OpaqueAs => true,
            LsaType::Router
            | LsaType::Network
            | LsaType::SummaryNetwork
            | LsaType::SummaryAsbr
            | LsaType::External
            | LsaType::Nssa => false,
        }
    }

    /// As `show ospf database` names it.
    pub fn name(self) -> &'static str {
        match self {
            LsaType::Router => "router",
            LsaType::Network => "network",
            LsaType::SummaryNetwork => "summary",
            LsaType::SummaryAsbr => "asbr-summary",
            LsaType::External => "external",
            LsaType::Nssa => "nssa-external",
            LsaType::OpaqueLink => "opaque-link",
            LsaType::OpaqueArea => "opaque-area",
            LsaType::OpaqueAs => "opaque-as",
        }
    }
}

/// What an LSA is about: all its instances have the same. In order of type, Link State ID and router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsaKey {
    /// Type.
    pub kind: LsaType,
    /// Link State ID.
    pub id: Ipv4Addr,
    /// Advertising router.
    pub router: RouterId,
}

impl LsaKey {
    /// Of these.
    pub fn new(kind: LsaType, id: Ipv4Addr, router: RouterId) -> Self {
        Self { kind, id, router }
    }

    /// The same as one number: a database is searched several times for each LSA that comes, and addresses are compared
    /// byte by byte.
    #[inline]
    fn rank(self) -> u128 {
        u128::from(self.kind as u8) << 64 | u128::from(u32::from(self.id)) << 32 | u128::from(u32::from(self.router))
    }
}

impl Ord for LsaKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// As one number: key by key of a flood costs less than field by field.
impl Hash for LsaKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.rank());
    }
}

impl PartialOrd for LsaKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.kind.name(), self.id, self.router)
    }
}

/// LS sequence number: RFC 2328 section 12.1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(pub i32);

impl SequenceNumber {
    /// Of a first instance.
    pub const INITIAL: SequenceNumber = SequenceNumber(-0x7fff_ffff);
    /// Of the last, before the number wraps.
    pub const MAX: SequenceNumber = SequenceNumber(0x7fff_ffff);
    /// Never used.
    pub const RESERVED: SequenceNumber = SequenceNumber(i32::MIN);

    /// The next; `None`: the LSA must be flushed first.
    pub fn next(self) -> Option<SequenceNumber> {
        self.0.checked_add(1).map(SequenceNumber)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// The age of an LSA after a time: it stops at MaxAge.
pub fn age_after(age: u16, passed: Duration) -> u16 {
    let passed = u16::try_from(passed.as_secs()).unwrap_or(u16::MAX);
    age.saturating_add(passed).min(MAX_AGE)
}

/// Which of two instances is the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recency {
    /// This one.
    Newer,
    /// They count as the same.
    Same,
    /// The other one.
    Older,
}

/// An LSA's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LsaHeader {
    /// Seconds since its origination.
    pub age: u16,
    /// Options.
    pub options: Options,
    /// What it is about.
    pub key: LsaKey,
    /// Instance.
    pub sequence: SequenceNumber,
    /// Over all but the age.
    pub checksum: u16,
    /// Bytes, with the header.
    pub length: u16,
}

impl LsaHeader {
    /// Reads a header.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, PacketError> {
        let bytes = &mut bytes;
        let short = PacketError::TooShort;
        let age = take_u16(bytes).ok_or(short)?;
        let options = Options(take_u8(bytes).ok_or(short)?);
        let kind = LsaType::from_code(take_u8(bytes).ok_or(short)?).ok_or(PacketError::LsaType)?;
        let id = take_address(bytes).ok_or(short)?;
        let router = take_address(bytes).ok_or(short)?;
        let sequence = SequenceNumber(take_u32(bytes).ok_or(short)?.cast_signed());
        let checksum = take_u16(bytes).ok_or(short)?;
        let length = take_u16(bytes).ok_or(short)?;
        if usize::from(length) < LSA_HEADER_LEN {
            return Err(PacketError::LsaLength);
        }
        Ok(Self { age, options, key: LsaKey { kind, id, router }, sequence, checksum, length })
    }

    /// Appends it.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let mut bytes = [0; LSA_HEADER_LEN];
        bytes[..2].copy_from_slice(&self.age.to_be_bytes());
        bytes[2..4].copy_from_slice(&[self.options.0, self.key.kind.code()]);
        bytes[4..8].copy_from_slice(&self.key.id.octets());
        bytes[8..12].copy_from_slice(&self.key.router.octets());
        bytes[12..16].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[16..18].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[18..].copy_from_slice(&self.length.to_be_bytes());
        into.extend_from_slice(&bytes);
    }

    /// Which of two instances of an LSA is newer: RFC 2328 section 13.1.
    pub fn recency(&self, other: &LsaHeader) -> Recency {
        let is_old = |header: &LsaHeader| header.age >= MAX_AGE;
        let by_age = match (is_old(self), is_old(other)) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) | (false, false) if self.age.abs_diff(other.age) > MAX_AGE_DIFF => other.age.cmp(&self.age),
            (true, true) | (false, false) => Ordering::Equal,
        };
        match self.sequence.cmp(&other.sequence).then(self.checksum.cmp(&other.checksum)).then(by_age) {
            Ordering::Greater => Recency::Newer,
            Ordering::Equal => Recency::Same,
            Ordering::Less => Recency::Older,
        }
    }
}

/// A whole LSA as it lies in a packet: its lengths and checksum are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsaView<'a> {
    /// Its header.
    pub header: LsaHeader,
    bytes: &'a [u8],
}

impl<'a> LsaView<'a> {
    /// Takes an LSA from the front of an update. What cannot be used is skipped: the inner error. The outer one: nothing
    /// behind it can be found.
    pub fn split(bytes: &mut &'a [u8]) -> Result<Result<Self, PacketError>, PacketError> {
        let length = bytes.get(18..20).ok_or(PacketError::TooShort)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < LSA_HEADER_LEN {
            return Err(PacketError::LsaLength);
        }
        let whole = take(bytes, length).ok_or(PacketError::LsaLength)?;
        Ok(Self::parse(whole))
    }

    /// Checks an LSA as it came: RFC 2328 section 13 steps 1 and 2, and what no sender may write.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        // The checksum comes first: if it is wrong, so may be all else.
        if !fletcher_is_right(bytes.get(2..).unwrap_or_default()) {
            return Err(PacketError::LsaChecksum);
        }
        let header = LsaHeader::parse(bytes)?;
        if usize::from(header.length) != bytes.len() {
            return Err(PacketError::LsaLength);
        }
        if header.age > MAX_AGE {
            return Err(PacketError::LsaAge);
        }
        if header.sequence == SequenceNumber::RESERVED {
            return Err(PacketError::LsaSequence);
        }
        super::LsaBody::parse(header.key, bytes.get(LSA_HEADER_LEN..).unwrap_or_default())?;
        Ok(Self { header, bytes })
    }

    /// What it is about.
    pub fn key(&self) -> LsaKey {
        self.header.key
    }

    /// What follows the header.
    pub fn body_bytes(&self) -> &'a [u8] {
        self.bytes.get(LSA_HEADER_LEN..).unwrap_or_default()
    }

    /// Bytes, with the header.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Keeps it.
    pub fn to_lsa(&self) -> Lsa {
        Lsa { header: self.header, bytes: self.bytes.into() }
    }

    /// Appends it with an age.
    pub fn encode(&self, age: u16, into: &mut Vec<u8>) {
        into.extend_from_slice(&age.to_be_bytes());
        into.extend_from_slice(self.bytes.get(2..).unwrap_or_default());
    }
}

/// A whole LSA: its bytes, whose lengths and checksum are right. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lsa {
    /// Its header; the age is that of the bytes.
    pub header: LsaHeader,
    bytes: Arc<[u8]>,
}

impl Lsa {
    /// Keeps an LSA that came.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        LsaView::parse(bytes).map(|view| view.to_lsa())
    }

    /// As it would lie in a packet.
    pub fn view(&self) -> LsaView<'_> {
        LsaView { header: self.header, bytes: &self.bytes }
    }

    /// Another instance in its place, and in its memory if that has the size and nobody else holds it.
    pub fn replace(&mut self, by: LsaView<'_>) {
        self.header = by.header;
        match Arc::get_mut(&mut self.bytes).filter(|bytes| bytes.len() == by.bytes.len()) {
            Some(bytes) => bytes.copy_from_slice(by.bytes),
            None => self.bytes = by.bytes.into(),
        }
    }

    /// A new LSA of age 0. `None`: it would be longer than an LSA may be.
    pub fn originate(key: LsaKey, options: Options, sequence: SequenceNumber, body: &[u8]) -> Option<Self> {
        let length = u16::try_from(LSA_HEADER_LEN + body.len()).ok()?;
        let mut header = LsaHeader { age: 0, options, key, sequence, checksum: 0, length };
        let mut bytes = Vec::with_capacity(usize::from(length));
        header.encode(&mut bytes);
        bytes.extend_from_slice(body);
        header.checksum = fletcher(&bytes[2..], CHECKSUM);
        bytes[2 + CHECKSUM..4 + CHECKSUM].copy_from_slice(&header.checksum.to_be_bytes());
        Some(Self { header, bytes: bytes.into() })
    }

    /// The same instance at another age, which the checksum does not cover.
    pub fn with_age(&self, age: u16) -> Self {
        Self { header: LsaHeader { age, ..self.header }, bytes: self.bytes.clone() }
    }

    /// What it is about.
    pub fn key(&self) -> LsaKey {
        self.header.key
    }

    /// What follows the header.
    pub fn body_bytes(&self) -> &[u8] {
        self.bytes.get(LSA_HEADER_LEN..).unwrap_or_default()
    }

    /// What follows the header, read; it was checked when the LSA came.
    pub fn body(&self) -> Result<super::LsaBody<'_>, PacketError> {
        super::LsaBody::parse(self.key(), self.body_bytes())
    }

    /// Bytes, with the header.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends it with an age.
    pub fn encode(&self, age: u16, into: &mut Vec<u8>) {
        self.view().encode(age, into);
    }
}
