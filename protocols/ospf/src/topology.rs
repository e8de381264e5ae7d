//! An area's routers and networks as vertices of a graph, kept as LSAs come and go: RFC 2328 section 16.1.
//!
//! What an LSA says is read once, when it was installed. Whoever calculates finds edges and prefixes ready.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use linkstate::{Edge, Graph, Spf, VertexId, VertexKind};

use crate::lsdb::{Entry, Lsdb};
use crate::packet::{LsaBody, LsaKey, LsaType, MAX_AGE, RouterFlags, RouterId, RouterLink, RouterLinkKind, RouterLsa};

/// Vertices that no LSA is about any longer are thrown away once there are so many.
const MANY_VOID: usize = 64;

/// What a vertex stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A router, by its ID.
    Router(RouterId),
    /// A network, by its designated router's address.
    Network(Ipv4Addr),
}

/// What an LSA says of a vertex that no path depends on.
#[derive(Debug)]
pub struct Said {
    /// What it stands for.
    pub node: Node,
    /// Whether an LSA is about it; if not, somebody says to be its neighbor, or said so.
    is_there: bool,
    /// What a router is.
    pub flags: RouterFlags,
    /// Prefixes there, and what the last step to each costs: stubs of a router, a network itself.
    pub prefixes: Box<[(Ipv4Net, u16)]>,
}

/// The topology of an area, beside the graph of its engine.
#[derive(Debug, Default)]
pub struct Topology {
    vertices: BTreeMap<Node, VertexId>,
    said: Vec<Said>,
    /// Vertices that no LSA is about.
    void: usize,
    /// This router's links, by the tags of its edges.
    own_links: Vec<RouterLink>,
}

impl Topology {
    /// What is said of each vertex, by its number; of one that no LSA is about, nothing.
    pub fn said(&self) -> &[Said] {
        &self.said
    }

    /// The vertex of a router.
    pub fn router(&self, router: RouterId) -> Option<VertexId> {
        self.vertices.get(&Node::Router(router)).copied()
    }

    /// What a vertex stands for.
    pub fn node(&self, vertex: VertexId) -> Option<Node> {
        self.said.get(vertex.index()).map(|said| said.node)
    }

    /// This router's link that an edge with this tag is.
    pub fn own_link(&self, tag: u32) -> Option<&RouterLink> {
        self.own_links.get(tag as usize)
    }

    /// Takes in what the LSAs say that changed. `own`: this router.
    pub fn follow(&mut self, spf: &mut Spf, lsdb: &mut Lsdb, own: RouterId) {
        let changed = lsdb.take_changes();
        if self.void > MANY_VOID && self.void > self.said.len() / 2 {
            *self = Self::default();
            spf.clear();
            let all = lsdb.of_type(LsaType::Router).chain(lsdb.of_type(LsaType::Network));
            return all.for_each(|(key, _)| self.read(&mut spf.graph, lsdb, own, key));
        }
        changed.iter().for_each(|key| self.read(&mut spf.graph, lsdb, own, key));
    }

    fn read(&mut self, graph: &mut Graph, lsdb: &Lsdb, own: RouterId, key: &LsaKey) {
        match key.kind {
            LsaType::Router if key.id == key.router => self.read_router(graph, lsdb, own, key),
            LsaType::Network => self.read_network(graph, lsdb, key.id),
            // Section 12.4.1: the ID of a router-LSA is that of the router. The others are about no vertex.
            LsaType::Router
            | LsaType::SummaryNetwork
            | LsaType::SummaryAsbr
            | LsaType::External
            | LsaType::Nssa
            | LsaType::OpaqueLink
            | LsaType::OpaqueArea
            | LsaType::OpaqueAs => {}
        }
    }

    fn read_router(&mut self, graph: &mut Graph, lsdb: &Lsdb, own: RouterId, key: &LsaKey) {
        let node = Node::Router(key.router);
        let Some(lsa) = router_lsa(lsdb, key.router) else { return self.forget(graph, node) };
        let is_own = key.router == own;
        if is_own {
            self.own_links.clear();
        }
        let vertex = self.vertex(graph, node);
        let (mut edges, mut prefixes) = (Vec::new(), Vec::new());
        for link in lsa.links() {
            let to = match link.kind {
                RouterLinkKind::PointToPoint | RouterLinkKind::Virtual => Node::Router(link.id),
                RouterLinkKind::Transit => Node::Network(link.id),
                RouterLinkKind::Stub => {
                    prefixes.extend(link.prefix().map(|prefix| (prefix, link.metric)));
                    continue;
                }
            };
            let tag = if is_own { self.own_links.len() as u32 } else { 0 };
            if is_own {
                self.own_links.push(link);
            }
            edges.push(Edge { to: self.vertex(graph, to), cost: link.metric.into(), tag });
        }
        graph.set_edges(vertex, &edges);
        self.say(vertex, lsa.flags, prefixes);
    }

    fn read_network(&mut self, graph: &mut Graph, lsdb: &Lsdb, id: Ipv4Addr) {
        let node = Node::Network(id);
        // Two that say to be its designated router: the lower one counts.
        let read = |entry: &Entry| match entry.lsa.body() {
            Ok(LsaBody::Network(lsa)) if is_alive(entry) => Some((lsa.prefix, lsa.routers().collect::<Vec<_>>())),
            Ok(_) | Err(_) => None,
        };
        let found = lsdb.of_id(LsaType::Network, id).find_map(|(_, entry)| read(entry));
        let Some((prefix, routers)) = found else { return self.forget(graph, node) };
        let vertex = self.vertex(graph, node);
        let edge = |router| Edge { to: self.vertex(graph, Node::Router(router)), cost: 0, tag: 0 };
        let edges: Vec<Edge> = routers.into_iter().map(edge).collect();
        graph.set_edges(vertex, &edges);
        self.say(vertex, RouterFlags::default(), vec![(prefix, 0)]);
    }

    /// The vertex that stands for something; a new one is void until something is said of it.
    fn vertex(&mut self, graph: &mut Graph, node: Node) -> VertexId {
        *self.vertices.entry(node).or_insert_with(|| {
            self.void += 1;
            self.said.push(Said { node, is_there: false, flags: RouterFlags::default(), prefixes: Box::default() });
            graph.vertex(match node {
                Node::Router(_) => VertexKind::Router,
                Node::Network(_) => VertexKind::Network,
            })
        })
    }

    fn say(&mut self, vertex: VertexId, flags: RouterFlags, prefixes: Vec<(Ipv4Net, u16)>) {
        if let Some(said) = self.said.get_mut(vertex.index()) {
            self.void -= usize::from(!said.is_there);
            (said.is_there, said.flags, said.prefixes) = (true, flags, prefixes.into());
        }
    }

    /// No LSA is about it any longer.
    fn forget(&mut self, graph: &mut Graph, node: Node) {
        let Some(vertex) = self.vertices.get(&node).copied() else { return };
        graph.set_edges(vertex, &[]);
        if let Some(said) = self.said.get_mut(vertex.index()) {
            self.void += usize::from(said.is_there);
            *said = Said { node, is_there: false, flags: RouterFlags::default(), prefixes: Box::default() };
        }
    }
}

/// What a router says, as long as it is alive.
pub fn router_lsa(lsdb: &Lsdb, router: RouterId) -> Option<RouterLsa<'_>> {
    let entry = lsdb.get(&LsaKey::new(LsaType::Router, router, router)).filter(|entry| is_alive(entry))?;
    match entry.lsa.body() {
        Ok(LsaBody::Router(lsa)) => Some(lsa),
        Ok(_) | Err(_) => None,
    }
}

/// One that reaches MaxAge is installed with that age.
fn is_alive(entry: &Entry) -> bool {
    entry.lsa.header.age < MAX_AGE
}

#[cfg(test)]
mod tests {
    use sdk::core::Time;

    use super::*;
    use crate::lsdb::Source;
    use crate::packet::{Lsa, Options, SequenceNumber};

    const OWN: RouterId = Ipv4Addr::new(192, 0, 2, 254);

    /// A router with point-to-point links to others.
    fn router(id: RouterId, others: &[RouterId]) -> Lsa {
        let link = |other: &RouterId| RouterLink {
            kind: RouterLinkKind::PointToPoint,
            id: *other,
            data: Ipv4Addr::UNSPECIFIED,
            metric: 1,
        };
        let body = RouterLsa::encode(RouterFlags::default(), &others.iter().map(link).collect::<Vec<_>>());
        Lsa::originate(LsaKey::new(LsaType::Router, id, id), Options::E, SequenceNumber::INITIAL, &body).unwrap()
    }

    #[test]
    fn routers_that_nobody_speaks_of_any_longer_are_forgotten_once_they_are_many() {
        let (mut topology, mut spf, mut lsdb) = (Topology::default(), Spf::default(), Lsdb::default());
        let others: Vec<RouterId> = (0..200u32).map(|n| Ipv4Addr::from(0x0a00_0000 + n)).collect();
        let mut say = |topology: &mut Topology, spf: &mut Spf, lsa: Lsa| {
            let (key, is_dying) = (lsa.key(), lsa.header.age >= MAX_AGE);
            lsdb.install(Time::ZERO, lsa.view(), Source::Flooded);
            if is_dying {
                lsdb.remove(&key);
            }
            topology.follow(spf, &mut lsdb, OWN);
        };
        others.iter().for_each(|other| say(&mut topology, &mut spf, router(*other, &[OWN])));
        say(&mut topology, &mut spf, router(OWN, &others));
        let reached = |topology: &Topology, spf: &mut Spf, other: RouterId| {
            let (root, other) = (topology.router(OWN).unwrap(), topology.router(other));
            other.and_then(|other| spf.run(root).distance(other))
        };
        assert_eq!(reached(&topology, &mut spf, others[199]), Some(1));
        say(&mut topology, &mut spf, router(OWN, &others[..1]));
        others[1..].iter().for_each(|other| say(&mut topology, &mut spf, router(*other, &[]).with_age(MAX_AGE)));
        assert!(topology.said().len() < 150, "{} vertices of 2 routers", topology.said().len());
        assert_eq!(reached(&topology, &mut spf, others[0]), Some(1));
        assert_eq!(reached(&topology, &mut spf, others[1]), None);
    }
}
