//! Datagram sockets of all VRs: UDP and raw IP, for what missed the vrFIB.
//!
//! A socket is one channel of records. Its port, its IFIB entry and its groups go when the channel does. It is of one
//! family; a link-local address, and a group, is one of an interface that the message or the socket names.//!
//! Here is how a socket begins and ends; `requests` has what its process asks, `send` and `receive` its packets.

mod receive;
mod requests;
mod send;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Family, InterfaceName, Pid, VrId};
use mio::Token;
use stack_api::datagram::{DatagramBind, DatagramProtocol, DatagramReply};
use stack_api::datagram_header::EncodedHeader;
use stack_api::options::Options;
use stack_api::socket::SocketError;

use crate::control::groups::Membership;
use crate::control::plane::Plane;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, PuntTarget, SocketId};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::transport::ports::{PortError, PortSpace, Sharing};
use crate::wire::ipv4::protocol;

/// Groups of one socket.
const GROUPS: usize = 256;

#[derive(Debug)]
struct DatagramSocket {
    vr: VrId,
    owner: Pid,
    /// With the port that it has.
    protocol: DatagramProtocol,
    family: Family,
    local: Option<IpAddr>,
    interface: Option<InterfaceName>,
    groups: BTreeSet<(InterfaceName, IpAddr)>,
    /// The one that it speaks with, and the own address that it does so from.
    connected: Option<(IpAddr, SocketAddr)>,
    options: Options,
    channel: Channel,
    token: Token,
    /// Datagrams that found its ring full.
    dropped: u64,
}

/// What sockets speak: VR, family, IP protocol, and the own port where there are ports, else 0.
type Speech = (VrId, Family, u8, u16);

/// All datagram sockets.
#[derive(Debug, Default)]
pub struct Datagrams {
    sockets: BTreeMap<SocketId, DatagramSocket>,
    /// By what they speak: a packet is looked at by those alone that it could be for.
    speaking: HashMap<Speech, BTreeSet<SocketId>>,
    by_token: HashMap<Token, SocketId>,
    ports: BTreeMap<VrId, PortSpace>,
    /// Sockets with requests left over from their last turn.
    unfinished: BTreeSet<SocketId>,
    /// Sockets whose processes may sleep on datagrams, and how many bytes of them.
    unrung: BTreeMap<SocketId, usize>,
    /// Since they were last asked for.
    groups_changed: bool,
    next_id: u64,
    next_identification: u16,
}

impl Datagrams {
    /// A process wants a socket; `channel` is what it will be.
    pub fn open(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        peer: &Identity,
        mut channel: Channel,
        wanted: DatagramBind,
    ) {
        let mut bound = self.bind(plane, peer, &wanted);
        if bound == Err(SocketError::AddressInUse) {
            // Its holder may have given it back, or be dead, with the word of it unread in its channel.
            self.hear_all(now, plane, reactor, peer);
            bound = self.bind(plane, peer, &wanted);
        }
        let bound = bound.and_then(|(vr, port)| {
            let token = reactor.register(&mut channel).map_err(|_| SocketError::NoBuffers);
            token.map(|token| (vr, port, token)).inspect_err(|_| {
                if let Some(port) = port {
                    self.ports(vr).unbind_from(
                        peer.pid,
                        wanted.family,
                        (wanted.local, wanted.interface.as_ref()),
                        port,
                    );
                }
            })
        });
        let (vr, port, token) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                tell(&mut channel, &DatagramReply::Failed(error));
                channel.close_write();
                return;
            }
        };
        let protocol = match wanted.protocol {
            DatagramProtocol::Udp { port: asked } => DatagramProtocol::Udp { port: port.unwrap_or(asked) },
            raw @ DatagramProtocol::Raw(_) => raw,
        };
        // It waits for no process: what a burst has no room for is lost.
        channel.tx.grow_at_once();
        tell(&mut channel, &DatagramReply::Bound { port: port.unwrap_or_default() });
        self.next_id += 1;
        let id = SocketId(self.next_id);
        let socket = DatagramSocket {
            vr,
            owner: peer.pid,
            protocol,
            family: wanted.family,
            local: wanted.local,
            interface: wanted.interface,
            groups: BTreeSet::new(),
            connected: None,
            options: wanted.options,
            channel,
            token,
            dropped: 0,
        };
        plane.ifib.apply(&[IfibChange::Set(socket.key(), socket.entry(id))]);
        self.by_token.insert(token, id);
        self.speaking.entry(socket.speech()).or_default().insert(id);
        self.sockets.insert(id, socket);
        self.serve(now, plane, reactor, id);
    }

    /// Takes note of what the sockets of a process's VR have said, whether or not they rang.
    fn hear_all(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, peer: &Identity) {
        let Some(vr) = peer.vr_name.as_ref().and_then(|name| plane.topology.vr(name)) else { return };
        let of_vr = self.sockets.values().filter(|socket| socket.vr == vr);
        let tokens: Vec<Token> = of_vr.map(|socket| socket.token).collect();
        for token in tokens {
            self.ready(now, plane, reactor, token);
        }
    }

    /// VR and, for UDP, the port.
    fn bind(
        &mut self,
        plane: &Plane,
        peer: &Identity,
        wanted: &DatagramBind,
    ) -> Result<(VrId, Option<u16>), SocketError> {
        let vr = peer.vr_name.as_ref().and_then(|name| plane.topology.vr(name)).ok_or(SocketError::NetworkDown)?;
        wanted.options.check()?;
        if wanted.local.is_some_and(|local| Family::of(local) != wanted.family) {
            return Err(SocketError::InvalidArgument);
        }
        let interface = match &wanted.interface {
            Some(name) => Some(plane.topology.interface(vr, name).ok_or(SocketError::AddressNotAvailable)?.index),
            None => None,
        };
        // One may bind to a group, to receive nothing else.
        let is_own = |local: IpAddr| local.is_multicast() || plane.topology.is_local_on(vr, local, interface);
        if wanted.local.is_some_and(|local| !is_own(local)) {
            return Err(SocketError::AddressNotAvailable);
        }
        let icmp = match wanted.family {
            Family::Ipv4 => protocol::ICMP,
            Family::Ipv6 => protocol::ICMPV6,
        };
        match wanted.protocol {
            // ICMP and IGMP are the control side's own.
            DatagramProtocol::Raw(number) if [icmp, protocol::IGMP].contains(&number.number()) => {
                Err(SocketError::NotSupported)
            }
            DatagramProtocol::Raw(_) => Ok((vr, None)),
            DatagramProtocol::Udp { port: wish } => {
                let sharing = if wanted.options.reuse_address { Sharing::Shared } else { Sharing::Alone };
                let (ports, at) = (self.ports(vr), (wanted.local, wanted.interface.clone()));
                let bound = match wish {
                    0 => ports.bind_any(peer.pid, wanted.family, at, sharing),
                    port => ports.bind_on(peer.pid, wanted.family, at, port, sharing).map(|()| port),
                };
                let port = bound.map_err(|error| match error {
                    PortError::InUse { .. } => SocketError::AddressInUse,
                    PortError::Zero | PortError::NotABlock { .. } => SocketError::InvalidArgument,
                    PortError::NoneFree | PortError::NoBlockFree => SocketError::AddressNotAvailable,
                })?;
                Ok((vr, Some(port)))
            }
        }
    }

    fn ports(&mut self, vr: VrId) -> &mut PortSpace {
        self.ports.entry(vr).or_insert_with(|| {
            let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), vr);
            PortSpace::new(seed)
        })
    }

    /// IPv4 groups beyond the link's own that somebody has joined; `None`: the same as when this was last asked.
    pub fn changed_groups(&mut self) -> Option<BTreeSet<Membership>> {
        std::mem::take(&mut self.groups_changed).then(|| self.groups())
    }

    /// The same, whether they changed or not.
    pub fn groups(&self) -> BTreeSet<Membership> {
        let all = self.sockets.values().flat_map(|socket| socket.groups.iter().map(|group| (socket.vr, group)));
        let routed = all.filter_map(|(vr, (interface, group))| match group {
            IpAddr::V4(group) if !is_link_group(*group) => Some((vr, interface.clone(), *group)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        routed.collect()
    }

    /// The sockets that speak something, in the order in which they were opened.
    fn speaking(&self, speech: Speech) -> impl Iterator<Item = (SocketId, &DatagramSocket)> {
        let ids = self.speaking.get(&speech).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.sockets.get(id)?)))
    }

    fn remove(&mut self, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        self.groups_changed |= !socket.groups.is_empty();
        self.by_token.remove(&socket.token);
        self.unfinished.remove(&id);
        if let Err(error) = reactor.deregister(&mut socket.channel) {
            log::debug!("a datagram socket that is closed: {error}");
        }
        if socket.dropped > 0 {
            log::debug!("process {} lost {} datagrams that it did not read in time", socket.owner, socket.dropped);
        }
        let (key, speech) = (socket.key(), socket.speech());
        if let Some(speaking) = self.speaking.get_mut(&speech) {
            speaking.remove(&id);
            if speaking.is_empty() {
                self.speaking.remove(&speech);
            }
        }
        let heir = self.speaking(speech).find(|(_, other)| other.key() == key).map(|(id, other)| other.entry(id));
        plane.ifib.apply(&[heir.map_or(IfibChange::Remove(key), |entry| IfibChange::Set(key, entry))]);
        if let DatagramProtocol::Udp { port } = socket.protocol {
            let at = (socket.local, socket.interface.as_ref());
            self.ports(socket.vr).unbind_from(socket.owner, socket.family, at, port);
        }
    }
}

impl DatagramSocket {
    fn speech(&self) -> Speech {
        let (number, port) = match self.protocol {
            DatagramProtocol::Udp { port } => (protocol::UDP, port),
            DatagramProtocol::Raw(number) => (number.number(), 0),
        };
        (self.vr, self.family, number, port)
    }

    fn key(&self) -> IfibKey {
        let (vr, family, address) = (self.vr, self.family, self.local);
        match self.protocol {
            DatagramProtocol::Udp { port } => IfibKey::Listener { vr, protocol: protocol::UDP, family, address, port },
            DatagramProtocol::Raw(number) => IfibKey::Protocol { vr, family, protocol: number.number() },
        }
    }

    fn entry(&self, id: SocketId) -> IfibEntry {
        let class = match self.protocol {
            DatagramProtocol::Udp { .. } => PolicerClass::Datagram,
            DatagramProtocol::Raw(_) => PolicerClass::Protocol,
        };
        IfibEntry { target: PuntTarget::Socket(id), class }
    }

    /// Gives it a datagram if there is room. Its bell is rung later.
    fn deliver(&mut self, header: &EncodedHeader, payload: &[u8]) {
        if !self.channel.tx.write_record_parts(&[header.as_bytes(), payload]).unwrap_or(false) {
            self.dropped += 1;
        }
    }

    /// Says something if there is room.
    fn tell(&mut self, reply: &DatagramReply) {
        if !tell(&mut self.channel, reply) {
            self.dropped += 1;
        }
    }
}

/// `false`: no room, or nobody there; the socket's own bell tells the latter.
fn tell(channel: &mut Channel, reply: &DatagramReply) -> bool {
    match postcard::to_stdvec(reply) {
        Ok(record) => channel.write_record(&record).unwrap_or(false),
        Err(error) => {
            log::error!("an answer has no encoding: {error}");
            false
        }
    }
}

/// 224.0.0.0/24: local network control block (RFC 5771 section 4), which every line card lets in.
fn is_link_group(group: Ipv4Addr) -> bool {
    group.octets()[..3] == [224, 0, 0]
}
