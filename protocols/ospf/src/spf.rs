//! The paths within an area: its database as a graph, RFC 2328 section 16.1.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use linkstate::{Edge, FirstHop, GraphBuilder, Tree, VertexId, VertexKind};
use sdk::InterfaceName;
use sdk::core::Time;

use crate::area::Area;
use crate::fsm::NetworkType;
use crate::interface::Interface;
use crate::lsdb::Lsdb;
use crate::packet::{AreaId, LsaBody, LsaType, NetworkLsa, RouterId, RouterLink, RouterLinkKind, RouterLsa};
use crate::routes::{Hop, NetworkRoute, PathKind, RouterRoute, Table};

/// What the paths of an area are calculated from.
struct Topology<'a> {
    /// In ascending order; their vertices are 0 and on.
    routers: Vec<(RouterId, RouterLsa<'a>)>,
    /// In ascending order of the designated router's address; their vertices follow.
    networks: Vec<(Ipv4Addr, NetworkLsa<'a>)>,
    /// This router's links: the tags of its edges.
    own_links: Vec<RouterLink>,
    /// Addresses of routers on networks: the tags of edges that leave a network.
    members: Vec<Ipv4Addr>,
}

/// Calculates the paths of an area and puts what they lead to into a table.
pub fn calculate(
    now: Time,
    id: AreaId,
    area: &mut Area,
    router: RouterId,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    table: &mut Table,
) {
    let Area { lsdb, spf, .. } = area;
    let mut topology = Topology::read(now, lsdb);
    let Some(root) = topology.router(router) else { return };
    let graph = topology.graph(root).build();
    let tree = spf.run(graph, root);
    let here: Vec<&Interface> = interfaces.values().filter(|interface| interface.area == id).collect();
    topology.tell(id, root, tree, &here, table);
}

impl<'a> Topology<'a> {
    fn read(now: Time, lsdb: &'a Lsdb) -> Self {
        let usable = |kind| lsdb.of_type(kind).filter(move |(_, entry)| !entry.is_max_age(now));
        let mut routers = Vec::new();
        for (key, entry) in usable(LsaType::Router) {
            // Section 12.4.1: its ID is that of the router.
            if let Ok(LsaBody::Router(lsa)) = entry.lsa.body()
                && key.id == key.router
            {
                routers.push((key.router, lsa));
            }
        }
        let mut networks: Vec<(Ipv4Addr, NetworkLsa<'a>)> = Vec::new();
        for (key, entry) in usable(LsaType::Network) {
            if let Ok(LsaBody::Network(lsa)) = entry.lsa.body()
                && networks.last().is_none_or(|(id, _)| *id != key.id)
            {
                networks.push((key.id, lsa));
            }
        }
        Self { routers, networks, own_links: Vec::new(), members: Vec::new() }
    }

    fn router(&self, id: RouterId) -> Option<VertexId> {
        self.routers.binary_search_by_key(&id, |(router, _)| *router).ok().map(|index| VertexId(index as u32))
    }

    fn network(&self, id: Ipv4Addr) -> Option<VertexId> {
        let index = self.networks.binary_search_by_key(&id, |(network, _)| *network).ok()?;
        Some(VertexId((self.routers.len() + index) as u32))
    }

    /// The graph. Edges of this router bear the index of its link, edges of a network that of the member's address.
    fn graph(&mut self, root: VertexId) -> GraphBuilder {
        let mut builder = GraphBuilder::default();
        for _ in &self.routers {
            builder.vertex(VertexKind::Router);
        }
        for _ in &self.networks {
            builder.vertex(VertexKind::Network);
        }
        // Where each router is on a network.
        let mut addresses: Vec<(VertexId, VertexId, Ipv4Addr)> = Vec::new();
        let mut own_links = Vec::new();
        for (index, (_, lsa)) in self.routers.iter().enumerate() {
            let from = VertexId(index as u32);
            for link in lsa.links() {
                let to = match link.kind {
                    RouterLinkKind::PointToPoint | RouterLinkKind::Virtual => self.router(link.id),
                    RouterLinkKind::Transit => self.network(link.id),
                    RouterLinkKind::Stub => None,
                };
                let Some(to) = to else { continue };
                if link.kind == RouterLinkKind::Transit {
                    addresses.push((to, from, link.data));
                }
                let tag = if from == root { own_links.len() as u32 } else { 0 };
                if from == root {
                    own_links.push(link);
                }
                builder.edge(from, Edge { to, cost: link.metric.into(), tag });
            }
        }
        addresses.sort_unstable();
        let mut members = Vec::new();
        for (index, (_, lsa)) in self.networks.iter().enumerate() {
            let from = VertexId((self.routers.len() + index) as u32);
            for to in lsa.routers().filter_map(|router| self.router(router)) {
                let known = addresses.binary_search_by_key(&(from, to), |(network, router, _)| (*network, *router));
                let Ok(place) = known else { continue };
                builder.edge(from, Edge { to, cost: 0, tag: members.len() as u32 });
                members.push(addresses[place].2);
            }
        }
        (self.own_links, self.members) = (own_links, members);
        builder
    }

    /// Puts routers, transit networks and stub networks into the table.
    fn tell(&self, area: AreaId, root: VertexId, tree: &Tree, interfaces: &[&Interface], table: &mut Table) {
        let network = |cost: u32, hops: Vec<Hop>| NetworkRoute {
            kind: PathKind::Intra,
            area,
            cost,
            type2: 0,
            tag: 0,
            hops,
            from: None,
        };
        for (index, (_, lsa)) in self.networks.iter().enumerate() {
            let vertex = VertexId((self.routers.len() + index) as u32);
            if let Some(cost) = tree.distance(vertex) {
                table.offer(lsa.prefix, network(cost, self.hops(tree.first_hops(vertex), interfaces)));
            }
        }
        for (index, (router, lsa)) in self.routers.iter().enumerate() {
            let vertex = VertexId(index as u32);
            let Some(cost) = tree.distance(vertex) else { continue };
            let hops = self.hops(tree.first_hops(vertex), interfaces);
            for link in lsa.links().filter(|link| link.kind == RouterLinkKind::Stub) {
                let Some(prefix) = link.prefix() else { continue };
                let hops = if vertex == root { own_hop(prefix, interfaces) } else { hops.clone() };
                table.offer(prefix, network(cost.saturating_add(link.metric.into()), hops));
            }
            if vertex != root {
                let route = RouterRoute { kind: PathKind::Intra, flags: lsa.flags, cost, hops };
                table.routers.insert((*router, area), route);
            }
        }
    }

    /// First hops as interfaces and addresses. One whose neighbor is gone by now leads nowhere.
    fn hops(&self, first: &[FirstHop], interfaces: &[&Interface]) -> Vec<Hop> {
        let mut hops: Vec<Hop> = first.iter().filter_map(|hop| self.hop(*hop, interfaces)).collect();
        hops.sort_unstable();
        hops.dedup();
        hops
    }

    fn hop(&self, hop: FirstHop, interfaces: &[&Interface]) -> Option<Hop> {
        let link = self.own_links.get(hop.out as usize)?;
        let interface = interfaces.iter().find(|interface| interface.address.addr() == link.data)?;
        let address = match (interface.network, hop.via) {
            (NetworkType::PointToPoint, _) => Some(interface.neighbors.get(&link.id)?.address),
            (NetworkType::Broadcast, Some(member)) => Some(*self.members.get(member as usize)?),
            (NetworkType::Broadcast | NetworkType::Loopback, _) => None,
        };
        Some(Hop { interface: interface.name.clone(), address })
    }
}

/// This router is on a subnet itself.
fn own_hop(prefix: ipnet::Ipv4Net, interfaces: &[&Interface]) -> Vec<Hop> {
    let is_on = |interface: &&&Interface| {
        interface.secondary.iter().chain([&interface.address]).any(|own| prefix.contains(&own.addr()))
    };
    interfaces.iter().filter(is_on).map(|interface| Hop { interface: interface.name.clone(), address: None }).collect()
}
