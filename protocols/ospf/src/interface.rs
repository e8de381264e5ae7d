//! An interface that OSPF runs on: RFC 2328 section 9.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::auth::Authentication;
use crate::config::{InterfaceConfig, Passive};
use crate::election::{Candidate, Elected, NOBODY};
use crate::fsm::{InterfaceState, NeighborState, NetworkType};
use crate::lsdb::Lsdb;
use crate::neighbor::Neighbor;
use crate::packet::{AreaId, HEADER_LEN, LsaHeader, RouterId, UpdateBuilder};

/// 224.0.0.5: RFC 2328 section A.1.
pub const ALL_SPF_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
/// 224.0.0.6.
pub const ALL_D_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 6);

const IP_HEADER: usize = 20;
/// Every IPv4 link takes packets of this size: RFC 2328 section A.1.
const MIN_MTU: usize = 576;

/// Which packet of a neighbor was refused: a good one of that kind takes the refusal back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedPacket {
    /// Its hello.
    Hello,
    /// Its database description.
    Description,
    /// Any: it is not signed as ours are.
    Unsigned,
}

/// Why a neighbor is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which packet.
    pub packet: RefusedPacket,
    /// Its sender: several may speak from one address.
    pub router: RouterId,
    /// Why, for the operator.
    pub reason: String,
    /// When it counts as gone, if no such packet comes until then.
    pub until: Time,
}

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: InterfaceName,
    /// Its area.
    pub area: AreaId,
    /// Its block of the configuration.
    pub config: InterfaceConfig,
    /// What the network is like.
    pub network: NetworkType,
    /// Own address and subnet: the first of the interface. It has one whenever its state is not Down.
    pub address: Ipv4Net,
    /// Other subnets, which are announced only.
    pub secondary: Vec<Ipv4Net>,
    /// Largest IP packet in bytes.
    pub mtu: usize,
    /// What a packet that leaves here costs.
    pub cost: u16,
    /// State.
    pub state: InterfaceState,
    /// Who is designated router, and who its backup.
    pub elected: Elected,
    /// By address, on a point-to-point network by router ID: RFC 2328 section 10.
    pub neighbors: BTreeMap<Ipv4Addr, Neighbor>,
    /// When the next hello goes out.
    pub hello_at: Option<Time>,
    /// How many of the early ones went out.
    pub early_hellos: usize,
    /// When waiting for a designated router ends.
    pub wait_at: Option<Time>,
    /// Acknowledgments that wait for company.
    pub acknowledgments: Vec<LsaHeader>,
    /// When they go out.
    pub acknowledge_at: Option<Time>,
    /// What is to be flooded at the end of the turn, if it does not fill a packet before.
    pub to_flood: UpdateBuilder,
    /// Opaque LSAs of the link.
    pub lsdb: Lsdb,
    /// Number of the last packet with a digest.
    pub auth_sequence: u32,
    /// Neighbors that are refused, by address.
    pub refused: BTreeMap<Ipv4Addr, Refusal>,
    /// Whether this router has joined [`ALL_D_ROUTERS`].
    pub is_in_d_routers: bool,
    /// How often the state changed.
    pub events: u64,
}

impl Interface {
    /// An interface that is not used yet.
    pub fn new(name: InterfaceName, area: AreaId, config: InterfaceConfig) -> Self {
        Self {
            name,
            area,
            network: config.network,
            config,
            address: Ipv4Net::default(),
            secondary: Vec::new(),
            mtu: MIN_MTU,
            cost: 1,
            state: InterfaceState::Down,
            elected: Elected::default(),
            neighbors: BTreeMap::new(),
            hello_at: None,
            early_hellos: 0,
            wait_at: None,
            acknowledgments: Vec::new(),
            acknowledge_at: None,
            to_flood: UpdateBuilder::default(),
            lsdb: Lsdb::default(),
            auth_sequence: 0,
            refused: BTreeMap::new(),
            is_in_d_routers: false,
            events: 0,
        }
    }

    /// Whether packets pass.
    pub fn speaks(&self) -> bool {
        let is_open = match self.state {
            InterfaceState::Down | InterfaceState::Loopback => false,
            InterfaceState::Waiting
            | InterfaceState::PointToPoint
            | InterfaceState::DrOther
            | InterfaceState::Backup
            | InterfaceState::Dr => true,
        };
        is_open && self.config.passive == Passive::No
    }

    /// What identifies a neighbor here.
    pub fn neighbor_key(&self, router: RouterId, source: Ipv4Addr) -> Ipv4Addr {
        match self.network {
            NetworkType::PointToPoint | NetworkType::Loopback => router,
            NetworkType::Broadcast => source,
        }
    }

    /// This router as it stands for election.
    pub fn candidate(&self, router: RouterId) -> Candidate {
        Candidate {
            router,
            address: self.address.addr(),
            priority: self.config.priority,
            designated: self.elected.designated.unwrap_or(NOBODY),
            backup: self.elected.backup.unwrap_or(NOBODY),
        }
    }

    /// Whether an address is that of the designated router or its backup.
    pub fn is_designated(&self, address: Ipv4Addr) -> bool {
        self.elected.designated == Some(address) || self.elected.backup == Some(address)
    }

    /// Whether a neighbor is to become adjacent: RFC 2328 section 10.4.
    pub fn forms_adjacency(&self, neighbor: &Neighbor) -> bool {
        match self.state {
            InterfaceState::PointToPoint | InterfaceState::Dr | InterfaceState::Backup => true,
            InterfaceState::DrOther => self.is_designated(neighbor.address),
            InterfaceState::Down | InterfaceState::Loopback | InterfaceState::Waiting => false,
        }
    }

    /// Where what all neighbors are to hear is sent: RFC 2328 sections 13.3 and 13.5.
    pub fn flood_destination(&self) -> Ipv4Addr {
        match self.state {
            InterfaceState::DrOther => ALL_D_ROUTERS,
            InterfaceState::Down
            | InterfaceState::Loopback
            | InterfaceState::Waiting
            | InterfaceState::PointToPoint
            | InterfaceState::Backup
            | InterfaceState::Dr => ALL_SPF_ROUTERS,
        }
    }

    /// Where what one neighbor is to hear is sent: RFC 2328 section 8.1.
    pub fn destination(&self, neighbor: &Neighbor) -> Ipv4Addr {
        match self.network {
            NetworkType::PointToPoint => ALL_SPF_ROUTERS,
            NetworkType::Broadcast | NetworkType::Loopback => neighbor.address,
        }
    }

    /// Bytes that a packet's body may have.
    pub fn room(&self) -> usize {
        let overhead = IP_HEADER + HEADER_LEN + self.authentication().overhead();
        self.mtu.clamp(MIN_MTU, crate::packet::MAX_PACKET).saturating_sub(overhead)
    }

    /// How packets are authenticated.
    pub fn authentication(&self) -> &Authentication {
        &self.config.authentication
    }

    /// Whether a neighbor is heard from an address.
    pub fn hears(&self, address: Ipv4Addr) -> bool {
        self.neighbors.values().any(|neighbor| neighbor.address == address)
    }

    /// The neighbor with a router ID, if there is a conversation with it.
    pub fn neighbor_by_router(&self, router: RouterId) -> Option<&Neighbor> {
        self.neighbors.values().find(|neighbor| neighbor.router == router)
    }

    /// Neighbors whose databases are the same as ours.
    pub fn full(&self) -> impl Iterator<Item = &Neighbor> {
        self.neighbors.values().filter(|neighbor| neighbor.state == NeighborState::Full)
    }

    /// Neighbors that others are told of: those that are full, and those that restart meanwhile.
    pub fn adjacent(&self) -> impl Iterator<Item = &Neighbor> {
        self.neighbors.values().filter(|neighbor| neighbor.is_adjacent())
    }

    /// A neighbor that is refused, by its address.
    pub fn refused(&self, now: Time) -> Option<(Ipv4Addr, &Refusal)> {
        self.refused.iter().find(|(_, refusal)| refusal.until > now).map(|(address, refusal)| (*address, refusal))
    }

    /// A packet of a neighbor was good: a refusal of such a packet is over.
    pub fn take_back_refusal(&mut self, from: Ipv4Addr, router: RouterId, packet: RefusedPacket) {
        let refused = self.refused.get(&from);
        if refused.is_some_and(|refusal| (refusal.packet, refusal.router) == (packet, router)) {
            self.refused.remove(&from);
        }
    }

    /// Neighbors by address.
    pub fn neighbors_in_order(&self) -> impl Iterator<Item = &Neighbor> {
        let mut neighbors: Vec<&Neighbor> = self.neighbors.values().collect();
        neighbors.sort_by_key(|neighbor| neighbor.address);
        neighbors.into_iter()
    }

    /// When something is to be done.
    pub fn poll_timeout(&self) -> Option<Time> {
        let timers = [self.hello_at, self.wait_at, self.acknowledge_at, self.lsdb.poll_timeout()];
        timers.into_iter().flatten().chain(self.neighbors.values().filter_map(Neighbor::poll_timeout)).min()
    }
}
