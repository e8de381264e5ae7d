//! Who gets a datagram.

use std::net::{IpAddr, SocketAddr};

use ipc::{Criteria, Family, InterfaceName, VrId};
use stack_api::datagram_header::{DatagramHeader, EncodedHeader};
use stack_api::socket::Addresses;

use super::connect::Connected;
use super::room::Room;
use super::{DatagramDrop, DatagramInfo};
use crate::library::Library;
use crate::socket::SocketId;

/// A header, decoded once, and how it was written: most datagrams have the one of the datagram before.
#[derive(Debug)]
pub(super) struct Known {
    pub encoded: EncodedHeader,
    pub header: DatagramHeader,
}

/// Who gets a datagram with a header.
#[derive(Debug)]
pub(super) struct Judged {
    pub known: Known,
    /// [`Datagrams::revision`](super::Datagrams) then.
    pub revision: u64,
    pub receivers: Vec<SocketId>,
    /// Where the interface's traffic is counted.
    pub traffic: usize,
}

impl Known {
    pub(super) fn decode(start: &[u8], length: usize) -> Option<Self> {
        let decoded = DatagramHeader::decode(start, length).inspect_err(|fault| log::trace!("no datagram: {fault}"));
        let (header, _) = decoded.ok()?;
        let encoded = header.encode().ok()?;
        Some(Self { encoded, header })
    }

    /// What comes with a payload of `length` bytes, of which the caller took `filled`.
    #[inline]
    pub(super) fn info(&self, length: usize, filled: usize, room: &Room<'_>) -> DatagramInfo {
        let DatagramHeader { addresses, ttl, tos, ref interface } = self.header;
        let Addresses { source, destination } = addresses;
        let interface = match room {
            Room::Payload(_) => None,
            Room::Buffer(_) | Room::Whole(_) => interface.clone(),
        };
        DatagramInfo { length, truncated: filled < length, source, destination, ttl, tos, interface }
    }
}

impl Library {
    /// Who gets a datagram that begins with `start`. Identity is attested, addresses are claimed.
    pub(super) fn judge(
        &mut self,
        criteria: Criteria,
        peer: VrId,
        start: &[u8],
        length: usize,
    ) -> Result<Judged, DatagramDrop> {
        let mut known = Known::decode(start, length).ok_or(DatagramDrop::BadRecord)?;
        let DatagramHeader { addresses, ttl, ref interface, .. } = known.header;
        if interface.is_some() {
            return Err(DatagramDrop::BadRecord);
        }
        let Addresses { source, destination } = addresses;
        let interface = self.vrfib.interface_to(peer).ok_or(DatagramDrop::ForgedSource)?;
        if !interface.peer_addresses.contains(&source.ip()) {
            return Err(DatagramDrop::ForgedSource);
        }
        if !interface.up {
            return Err(DatagramDrop::InterfaceDown);
        }
        let is_wanted = match criteria {
            Criteria::Udp(family, port) => Family::of(destination.ip()) == family && destination.port() == port.get(),
            Criteria::Raw(family, _) => Family::of(destination.ip()) == family && destination.port() == 0,
            Criteria::Tcp(..) | Criteria::Osi(_) => false,
        };
        if !is_wanted || ttl == 0 {
            return Err(DatagramDrop::WrongDestination);
        }
        let name = interface.name.clone();
        let receivers = self.datagram_receivers(criteria, source, destination.ip(), &name);
        if receivers.is_empty() {
            return Err(DatagramDrop::NoListener);
        }
        let traffic = self.traffic.place(&name);
        if !known.encoded.begins(start) {
            // It would be judged for ever.
            return Err(DatagramDrop::BadRecord);
        }
        known.header.interface = Some(name);
        Ok(Judged { known, revision: self.datagrams.revision, receivers, traffic })
    }

    /// To one receiver: the UDP socket connected to the sender, else the one bound to the address, else the one bound to
    /// none, and of several the one bound last; every raw socket. To a group: all that joined it there.
    fn datagram_receivers(
        &self,
        criteria: Criteria,
        source: SocketAddr,
        to: IpAddr,
        interface: &InterfaceName,
    ) -> Vec<SocketId> {
        let membership = (interface.clone(), to);
        let exactness = |id: SocketId| {
            let socket = self.datagrams.sockets.get(&id)?;
            let bound = socket.bound.as_ref()?;
            let here = bound.interface.as_ref().is_none_or(|bound| bound == interface);
            let address = bound.local.is_none_or(|local| local == to);
            let joined = !to.is_multicast() || socket.groups.contains(&membership);
            let hears = socket.connected.hears(source, to);
            (here && address && joined && hears).then(|| (socket.connected != Connected::No, bound.local.is_some(), id))
        };
        let found = self.datagrams.listening(criteria).into_iter().filter_map(exactness);
        match criteria {
            Criteria::Udp(..) if !to.is_multicast() => found.max().map(|(.., id)| id).into_iter().collect(),
            Criteria::Udp(..) | Criteria::Raw(..) | Criteria::Tcp(..) | Criteria::Osi(_) => {
                found.map(|(.., id)| id).collect()
            }
        }
    }
}
