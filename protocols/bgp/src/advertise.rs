//! What a neighbor is told of the table.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use log::Level;

use crate::adj_rib::{AttributePool, Receiver};
use crate::loc_rib::{Destination, LocRib, Path};
use crate::neighbor::Neighbor;
use crate::outbox::Outbox;
use crate::packet;
use crate::policy::Policy;

/// Whether a flush ends with the End-of-RIB marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfRib {
    /// The first table ends here.
    Send,
    /// A change among others.
    Omit,
}

impl Neighbor {
    /// Notes what the neighbor is to be told of every prefix.
    pub fn stage_all(&mut self, table: &LocRib, local_as: u32, pool: &mut AttributePool) {
        for prefix in table.prefixes() {
            if let Some(destination) = table.get(prefix) {
                self.stage(prefix, destination, local_as, pool);
            }
        }
    }

    /// Notes what the neighbor is to be told of a prefix.
    pub fn stage(&mut self, prefix: Ipv4Net, destination: &Destination, local_as: u32, pool: &mut AttributePool) {
        let Some(receiver) = self.receiver(local_as) else { return };
        // What came from the neighbor is not told to it.
        let best = destination.best().filter(|path| self.gets(path));
        self.adj_rib_out.stage(prefix, best, &receiver, pool);
    }

    fn gets(&self, path: &Path) -> bool {
        self.policy(self.config.export) == Policy::Pass && path.from() != Some(self.address)
    }

    fn receiver(&self, local_as: u32) -> Option<Receiver> {
        let session = self.session()?;
        let IpAddr::V4(local_address) = session.link.local.ip() else { return None };
        Some(Receiver { kind: self.kind, local_as, local_address, width: session.agreement.width })
    }

    /// Sends what was staged; at the end of the first table also the End-of-RIB marker (RFC 4724).
    pub fn flush(&mut self, end_of_rib: EndOfRib, outbox: &mut Outbox) {
        let Some(session) = self.session().copied() else { return };
        let mut bytes = Vec::new();
        let flushed = self.adj_rib_out.flush(session.agreement.width, &mut bytes);
        self.counters.messages_sent += flushed.messages as u64;
        for too_long in flushed.too_long {
            outbox.log(Level::Warn, format!("neighbor {}: routes not announced: {too_long}", self.address));
        }
        if end_of_rib == EndOfRib::Send {
            packet::encode_end_of_rib(&mut bytes);
            self.counters.messages_sent += 1;
        }
        outbox.send(session.link.connection, bytes);
    }
}
