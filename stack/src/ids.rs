//! Numbers that the data plane knows things by. Names stay with the control side.

use std::fmt;

/// A physical port of this router, unique over all line cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

impl PortId {
    /// Of an interface whose port is not there: no port has this number.
    pub(crate) const ABSENT: Self = Self(0);
}

/// An interface, unique over all VRs, so that a packet's interface also tells its VR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

impl IfIndex {
    /// As a position in a table.
    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
