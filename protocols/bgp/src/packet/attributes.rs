//! Path attributes as the tables keep them, and how they are written. RFC 4271 sections 4.3 and 5. Reading is
//! `decode.rs`.

use std::fmt;
use std::net::Ipv4Addr;

use super::open::AS_TRANS;
use super::{AsPath, AsWidth};

/// Types of path attributes.
pub mod attribute {
    /// RFC 4271.
    pub const ORIGIN: u8 = 1;
    /// RFC 4271.
    pub const AS_PATH: u8 = 2;
    /// RFC 4271.
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271.
    pub const MULTI_EXIT_DISC: u8 = 4;
    /// RFC 4271.
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271.
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271.
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997.
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456.
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456.
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760.
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760.
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360.
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// RFC 6793.
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793.
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 8092.
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// Attribute flags: RFC 4271 section 4.3.
pub(super) mod flags {
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const PARTIAL: u8 = 0x20;
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// ORIGIN: where the route comes from; the lowest is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Of the originating AS itself.
    Igp,
    /// Learned by the protocol before BGP.
    Egp,
    /// Otherwise.
    Incomplete,
}

impl Origin {
    pub(super) fn code(self) -> u8 {
        match self {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Origin::Igp, Origin::Egp, Origin::Incomplete].into_iter().find(|origin| origin.code() == code)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

/// AGGREGATOR: who made one route of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub as_number: u32,
    /// Its BGP Identifier.
    pub router_id: Ipv4Addr,
}

/// An optional transitive attribute that is passed on as it came: communities, and those that we do not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OtherAttribute {
    /// Its type.
    pub kind: u8,
    /// Whether some router on the way did not know it.
    pub partial: bool,
    /// Its value.
    pub value: Box<[u8]>,
}

/// The path attributes of a route. Shared by all routes of an UPDATE and by all equal UPDATEs, see
/// [`AttributePool`](crate::adj_rib::AttributePool).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// NEXT_HOP; unspecified for a route that we originate.
    pub next_hop: Ipv4Addr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; only from and to internal peers.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// ORIGINATOR_ID, from a route reflector.
    pub originator_id: Option<Ipv4Addr>,
    /// The others that are passed on, by type.
    pub others: Box<[OtherAttribute]>,
}

impl Attributes {
    /// Those of a route that this router originates.
    pub fn originated(med: u32) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop: Ipv4Addr::UNSPECIFIED,
            med: Some(med),
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            originator_id: None,
            others: Box::default(),
        }
    }

    /// Whether the route bears a standard community (RFC 1997).
    pub fn has_community(&self, community: u32) -> bool {
        self.others
            .iter()
            .filter(|other| other.kind == attribute::COMMUNITIES)
            .any(|other| other.value.chunks_exact(4).any(|value| value == community.to_be_bytes()))
    }

    /// Appends all attributes in the order of their types (RFC 4271 section 5), for a peer that reads AS numbers of
    /// this width.
    pub fn encode(&self, width: AsWidth, into: &mut Vec<u8>) {
        use attribute::*;
        use flags::{OPTIONAL, PARTIAL, TRANSITIVE};
        put(into, TRANSITIVE, ORIGIN, &[self.origin.code()]);
        let mut path = Vec::new();
        self.as_path.encode(width, &mut path);
        put(into, TRANSITIVE, AS_PATH, &path);
        put(into, TRANSITIVE, NEXT_HOP, &self.next_hop.octets());
        if let Some(med) = self.med {
            put(into, OPTIONAL, MULTI_EXIT_DISC, &med.to_be_bytes());
        }
        if let Some(local_pref) = self.local_pref {
            put(into, TRANSITIVE, LOCAL_PREF, &local_pref.to_be_bytes());
        }
        if self.atomic_aggregate {
            put(into, TRANSITIVE, ATOMIC_AGGREGATE, &[]);
        }
        if let Some(aggregator) = self.aggregator {
            put(into, OPTIONAL | TRANSITIVE, AGGREGATOR, &aggregator.encode(width));
        }
        if let Some(originator) = self.originator_id {
            put(into, OPTIONAL, ORIGINATOR_ID, &originator.octets());
        }
        // AS4_PATH (17) and AS4_AGGREGATOR (18) keep their place among the others.
        let (before, after) = self.others.split_at(self.others.partition_point(|other| other.kind < AS4_PATH));
        let put_others = |others: &[OtherAttribute], into: &mut Vec<u8>| {
            for other in others {
                let partial = if other.partial { PARTIAL } else { 0 };
                put(into, OPTIONAL | TRANSITIVE | partial, other.kind, &other.value);
            }
        };
        put_others(before, into);
        if width == AsWidth::Two {
            self.encode_as4(into);
        }
        put_others(after, into);
    }

    /// What an old speaker cannot read but passes on: RFC 6793 section 4.2.2.
    fn encode_as4(&self, into: &mut Vec<u8>) {
        use flags::{OPTIONAL, TRANSITIVE};
        if self.as_path.needs_four_octets() {
            let mut path = Vec::new();
            self.as_path.encode(AsWidth::Four, &mut path);
            put(into, OPTIONAL | TRANSITIVE, attribute::AS4_PATH, &path);
        }
        if let Some(aggregator) = self.aggregator.filter(|aggregator| aggregator.as_number > u16::MAX.into()) {
            put(into, OPTIONAL | TRANSITIVE, attribute::AS4_AGGREGATOR, &aggregator.encode(AsWidth::Four));
        }
    }
}

impl Aggregator {
    fn encode(self, width: AsWidth) -> Vec<u8> {
        let mut value = match width {
            AsWidth::Two => u16::try_from(self.as_number).unwrap_or(AS_TRANS).to_be_bytes().to_vec(),
            AsWidth::Four => self.as_number.to_be_bytes().to_vec(),
        };
        value.extend_from_slice(&self.router_id.octets());
        value
    }
}

/// Appends one attribute. A value longer than two octets can say comes from no message; it is cut off, and the UPDATE
/// is then too long anyway.
fn put(into: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => into.extend_from_slice(&[flags, kind, length]),
        Err(_) => {
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
            into.extend_from_slice(&[flags | self::flags::EXTENDED_LENGTH, kind]);
            into.extend_from_slice(&length.to_be_bytes());
        }
    }
    into.extend_from_slice(value);
}
