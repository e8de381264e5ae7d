//! The wire format of OSPFv2: RFC 2328 appendix A, RFC 5250, RFC 3101.
//!
//! ```text
//!  bytes ──▶ Frame::parse ──▶ auth.rs: genuine? ──▶ Body::parse ──▶ hello, description, request, update, acknowledgment
//!            header errors                                             │ LSAs, as slices of the packet
//!            (8.2)                                                     ▼
//!                                              lsa.rs: Lsa::parse ──▶ body.rs: RouterLsa, NetworkLsa, …
//! ```
//!
//! Everything read is a view of the bytes: nothing is copied before it is wanted. Whatever the bytes are, nothing here
//! panics; what cannot be read is a [`PacketError`], which is counted and shown.

mod body;
mod checksum;
mod lsa;
mod messages;
mod read;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

pub use body::{
    ExternalLsa, ExternalMetric, LsaBody, NetworkLsa, RouterFlags, RouterLink, RouterLinkKind, RouterLsa, SummaryLsa,
};
pub use checksum::internet_checksum;
pub use lsa::{
    LS_INFINITY, LSA_HEADER_LEN, Lsa, LsaHeader, LsaKey, LsaType, LsaView, MAX_AGE, MAX_AGE_DIFF, Recency, Scope,
    SequenceNumber, age_after,
};
pub use messages::{
    Body, DatabaseDescription, DescriptionFlags, Hello, LinkStateAcknowledgment, LinkStateRequest, LinkStateUpdate,
    UpdateBuilder,
};
pub(crate) use read::{take, take_address, take_u8, take_u16, take_u32};

/// Bytes of the packet header.
pub const HEADER_LEN: usize = 24;
/// Largest packet that IPv4 carries.
pub const MAX_PACKET: usize = 65_535 - 20;

const VERSION: u8 = 2;

/// Number of a router: RFC 2328 section 1.2.
pub type RouterId = Ipv4Addr;

/// Number of an area, written as an address.
pub type AreaId = Ipv4Addr;

/// The backbone.
pub const BACKBONE: AreaId = Ipv4Addr::UNSPECIFIED;

/// Options of RFC 2328 section A.2, RFC 3101 and RFC 5250.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options(pub u8);

impl Options {
    /// AS-external-LSAs are flooded.
    pub const E: Options = Options(0x02);
    /// NSSA: type-7-LSAs are handled. In a type-7-LSA the same bit is P: translate.
    pub const NP: Options = Options(0x08);
    /// Opaque LSAs are understood.
    pub const O: Options = Options(0x40);

    /// Whether all of these are set.
    pub fn contains(self, other: Options) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Options {
    type Output = Options;
    fn bitor(self, other: Options) -> Options {
        Options(self.0 | other.0)
    }
}

/// Type of a packet: RFC 2328 section A.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// Finds and keeps neighbors.
    Hello,
    /// Says which LSAs there are.
    DatabaseDescription,
    /// Asks for LSAs.
    LinkStateRequest,
    /// LSAs.
    LinkStateUpdate,
    /// LSAs have come.
    LinkStateAcknowledgment,
}

impl PacketKind {
    fn code(self) -> u8 {
        match self {
            PacketKind::Hello => 1,
            PacketKind::DatabaseDescription => 2,
            PacketKind::LinkStateRequest => 3,
            PacketKind::LinkStateUpdate => 4,
            PacketKind::LinkStateAcknowledgment => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::DatabaseDescription,
            Self::LinkStateRequest,
            Self::LinkStateUpdate,
            Self::LinkStateAcknowledgment,
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }
}

/// Why bytes are no packet, or a part of them no LSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than the header, or than it says.
    #[error("packet too short")]
    TooShort,
    /// Another version than 2.
    #[error("wrong version")]
    Version,
    /// A type that does not exist.
    #[error("unknown packet type")]
    Type,
    /// What follows the header is not what the type has.
    #[error("malformed body")]
    Body,
    /// An LSA's length is not what its type has.
    #[error("bad LSA length")]
    LsaLength,
    /// The checksum of an LSA.
    #[error("bad LSA checksum")]
    LsaChecksum,
    /// An LSA type that does not exist.
    #[error("unknown LSA type")]
    LsaType,
    /// An LSA's age is above MaxAge.
    #[error("bad LSA age")]
    LsaAge,
    /// An LSA's sequence number is the reserved one.
    #[error("bad LSA sequence number")]
    LsaSequence,
    /// An LSA's contents make no sense: a mask with holes, for one.
    #[error("malformed LSA")]
    LsaBody,
}

/// A packet whose header was read and whose lengths fit. Not yet known to be genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type.
    pub kind: PacketKind,
    /// Who sent it.
    pub router: RouterId,
    /// The area that it is of.
    pub area: AreaId,
    /// Which of several processes on one link it is of: RFC 6549.
    pub instance: u8,
    /// AuType: RFC 2328 section D. RFC 6549 took the byte before it.
    pub auth_type: u8,
    /// Authentication field.
    pub auth: [u8; 8],
    /// Header and body.
    pub packet: &'a [u8],
    /// What follows them in the IP packet: a digest.
    pub trailer: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header. The checksum belongs to authentication: see [`checksum_is_right`](Self::checksum_is_right).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let header = bytes.get(..HEADER_LEN).ok_or(PacketError::TooShort)?;
        let mut rest = header;
        let mut field = || take_u16(&mut rest).ok_or(PacketError::TooShort);
        let version_and_type = field()?.to_be_bytes();
        let length = usize::from(field()?);
        if version_and_type[0] != VERSION {
            return Err(PacketError::Version);
        }
        let kind = PacketKind::from_code(version_and_type[1]).ok_or(PacketError::Type)?;
        if length < HEADER_LEN {
            return Err(PacketError::TooShort);
        }
        let (packet, trailer) = bytes.split_at_checked(length).ok_or(PacketError::TooShort)?;
        let mut address = || take_address(&mut rest).ok_or(PacketError::TooShort);
        let (router, area) = (address()?, address()?);
        let _checksum = take_u16(&mut rest);
        let [instance, auth_type] = take_u16(&mut rest).ok_or(PacketError::TooShort)?.to_be_bytes();
        let auth = rest.try_into().map_err(|_| PacketError::TooShort)?;
        Ok(Self { kind, router, area, instance, auth_type, auth, packet, trailer })
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        self.packet.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Whether the checksum over all but the authentication field is right: RFC 2328 section D.4.
    pub fn checksum_is_right(&self) -> bool {
        internet_checksum(&[self.packet.get(..16).unwrap_or_default(), self.body()]) == 0
    }
}

/// The same packet of another instance than 0, before it is authenticated: RFC 6549.
pub fn of_instance(mut packet: Vec<u8>, instance: u8) -> Vec<u8> {
    if let Some(field) = packet.get_mut(14) {
        *field = instance;
    }
    packet
}

/// A packet with its header, not yet authenticated: checksum and authentication are zero. `auth.rs` completes it.
pub fn encode(kind: PacketKind, router: RouterId, area: AreaId, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    header[..2].copy_from_slice(&[VERSION, kind.code()]);
    header[4..8].copy_from_slice(&router.octets());
    header[8..12].copy_from_slice(&area.octets());
    let mut packet = Vec::from(header);
    body(&mut packet);
    // Cannot be longer: what is built is cut to an interface's MTU.
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}
