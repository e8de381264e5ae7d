//! Why a packet, or an LSA of one, was not used.

use std::collections::BTreeMap;

use crate::auth::AuthError;
use crate::packet::PacketError;

/// The reasons; each is counted by itself and is a row of `show ospf drops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Drop {
    /// The bytes are no packet, or an LSA in it is none.
    #[error(transparent)]
    Malformed(#[from] PacketError),
    /// It is not genuine.
    #[error(transparent)]
    Authentication(#[from] AuthError),
    /// OSPF does not run on the interface that it came in by, or only announces it.
    #[error("interface not used")]
    InterfaceNotUsed,
    /// It is of another process on the link: RFC 6549.
    #[error("other instance ID")]
    OtherInstance,
    /// It is of another area than the interface.
    #[error("area mismatch")]
    AreaMismatch,
    /// Its sender is not on the interface's subnet.
    #[error("source not on the subnet")]
    SourceNotOnSubnet,
    /// Its sender bears this router's own ID.
    #[error("duplicate router ID")]
    DuplicateRouterId,
    /// It is for designated routers, and this one is none.
    #[error("not for this router")]
    NotForThisRouter,
    /// A hello whose parameters are not ours.
    #[error("hello parameters mismatch")]
    HelloMismatch,
    /// Its sender is no neighbor, or the conversation is not that far.
    #[error("no such conversation")]
    NoConversation,
    /// A description of a neighbor with a larger MTU.
    #[error("MTU mismatch")]
    MtuMismatch,
    /// An LSA of a type that the area does not have.
    #[error("LSA type not of this area")]
    LsaNotOfArea,
    /// An LSA that came sooner after the one before than RFC 2328 allows, beside another one that waits for its time.
    #[error("LSA too soon")]
    LsaTooSoon,
    /// An LSA that is older than the one in the database.
    #[error("LSA older than known")]
    LsaOlder,
}

/// How often each happened.
#[derive(Debug, Default)]
pub struct Drops(BTreeMap<Drop, u64>);

impl Drops {
    /// One more.
    pub fn count(&mut self, reason: impl Into<Drop>) {
        *self.0.entry(reason.into()).or_default() += 1;
    }

    /// Those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (Drop, u64)> {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}
