//! The paths within an area: RFC 2328 section 16.1.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use linkstate::{FirstHop, Tree, VertexId};
use sdk::InterfaceName;

use crate::area::Area;
use crate::fsm::NetworkType;
use crate::interface::Interface;
use crate::lsdb::Lsdb;
use crate::packet::{AreaId, RouterFlags, RouterId, RouterLinkKind};
use crate::routes::{Hop, Hops, NetworkRoute, PathKind, RouterRoute, Table};
use crate::topology::{Node, Topology, router_lsa};

/// Calculates the paths of an area and adds what they lead to: prefixes, and routers that bear other routes.
pub fn calculate(
    id: AreaId,
    area: &mut Area,
    router: RouterId,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    prefixes: &mut Vec<(Ipv4Net, NetworkRoute)>,
    table: &mut Table,
) {
    let Area { lsdb, spf, topology, .. } = area;
    topology.follow(spf, lsdb, router);
    let Some(root) = topology.router(router) else { return };
    let tree = spf.run(root);
    let here: Vec<&Interface> = interfaces.values().filter(|interface| interface.area == id).collect();
    let mut steps = FirstSteps { tree, topology, lsdb, interfaces: &here, known: vec![None; tree.hop_sets()] };
    for (index, said) in topology.said().iter().enumerate() {
        let vertex = VertexId(index as u32);
        let Some(cost) = tree.distance(vertex) else { continue };
        let hops = steps.to(vertex);
        for &(prefix, last) in &said.prefixes {
            let hops = if vertex == root { own_hop(prefix, &here) } else { hops.clone() };
            prefixes.push((prefix, intra_area(id, cost.saturating_add(last.into()), hops)));
        }
        let bears_routes = said.flags.contains(RouterFlags::B) || said.flags.contains(RouterFlags::E);
        if let Node::Router(router) = said.node
            && vertex != root
            && bears_routes
        {
            let route = RouterRoute { kind: PathKind::Intra, flags: said.flags, cost, hops };
            table.routers.insert((router, id), route);
        }
    }
}

fn intra_area(area: AreaId, cost: u32, hops: Hops) -> NetworkRoute {
    NetworkRoute { kind: PathKind::Intra, area, cost, type2: 0, tag: 0, hops, from: None }
}

/// First hops as interfaces and addresses, each set of them once.
struct FirstSteps<'a> {
    tree: &'a Tree,
    topology: &'a Topology,
    lsdb: &'a Lsdb,
    interfaces: &'a [&'a Interface],
    known: Vec<Option<Hops>>,
}

impl FirstSteps<'_> {
    /// Those on the paths to a vertex. One whose neighbor is gone by now leads nowhere.
    fn to(&mut self, vertex: VertexId) -> Hops {
        let set = self.tree.hop_set(vertex);
        if let Some(Some(hops)) = self.known.get(set.index()) {
            return hops.clone();
        }
        let mut hops: Vec<Hop> = self.tree.hops(set).iter().filter_map(|hop| self.hop(*hop)).collect();
        hops.sort_unstable();
        hops.dedup();
        let hops = Hops::from(hops);
        if let Some(known) = self.known.get_mut(set.index()) {
            *known = Some(hops.clone());
        }
        hops
    }

    fn hop(&self, hop: FirstHop) -> Option<Hop> {
        let link = self.topology.own_link(hop.out)?;
        let interface = self.interfaces.iter().find(|interface| interface.address.addr() == link.data)?;
        let address = match (interface.network, hop.via) {
            (NetworkType::PointToPoint, _) => Some(interface.neighbors.get(&link.id)?.address),
            (NetworkType::Broadcast, Some(next)) => Some(self.address(next, link.id)?),
            (NetworkType::Broadcast | NetworkType::Loopback, _) => None,
        };
        Some(Hop { interface: interface.name.clone(), address })
    }

    /// Where a router is on a network: section 16.1.1.
    fn address(&self, router: VertexId, network: Ipv4Addr) -> Option<Ipv4Addr> {
        let Node::Router(router) = self.topology.node(router)? else { return None };
        let mut links = router_lsa(self.lsdb, router)?.links();
        links.find(|link| link.kind == RouterLinkKind::Transit && link.id == network).map(|link| link.data)
    }
}

/// This router is on a subnet itself.
fn own_hop(prefix: Ipv4Net, interfaces: &[&Interface]) -> Hops {
    let is_on = |interface: &&&Interface| {
        interface.secondary.iter().chain([&interface.address]).any(|own| prefix.contains(&own.addr()))
    };
    interfaces.iter().filter(is_on).map(|interface| Hop { interface: interface.name.clone(), address: None }).collect()
}
