//! The engine against petgraph's Dijkstra and a definition of first hops that one can read.

use std::collections::BTreeSet;

use linkstate::{Edge, FirstHop, Graph, GraphBuilder, Spf, VertexId, VertexKind};
use petgraph::algo::dijkstra;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use proptest::prelude::*;

/// Routers 0.., then networks; a link between two routers has a cost each way, a network is free to leave.
#[derive(Debug, Clone)]
struct Topology {
    routers: u32,
    links: Vec<(u32, u32, u32, u32)>,
    networks: Vec<Vec<(u32, u32)>>,
}

fn topology() -> impl Strategy<Value = Topology> {
    (2u32..14).prop_flat_map(|routers| {
        let link = (0..routers, 0..routers, 1u32..5, 1u32..5);
        let member = (0..routers, 1u32..5);
        (prop::collection::vec(link, 0..30), prop::collection::vec(prop::collection::vec(member, 0..5), 0..5))
            .prop_map(move |(links, networks)| Topology { routers, links, networks })
    })
}

/// The same topology for us and for the oracle, whose edges bear our tags.
fn build(topology: &Topology) -> (Graph, DiGraph<VertexKind, Edge>) {
    let (mut ours, mut oracle) = (GraphBuilder::default(), DiGraph::new());
    let kinds = std::iter::repeat_n(VertexKind::Router, topology.routers as usize)
        .chain(topology.networks.iter().map(|_| VertexKind::Network));
    for kind in kinds {
        ours.vertex(kind);
        oracle.add_node(kind);
    }
    let mut tag = 0;
    let mut add = |from: u32, to: u32, cost: u32| {
        let edge = Edge { to: VertexId(to), cost, tag };
        ours.edge(VertexId(from), edge);
        oracle.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), edge);
        tag += 1;
    };
    for &(a, b, there, back) in topology.links.iter().filter(|(a, b, ..)| a != b) {
        add(a, b, there);
        add(b, a, back);
    }
    for (index, members) in (topology.routers..).zip(&topology.networks) {
        let members: BTreeSet<_> = members.iter().collect();
        for &&(router, cost) in &members {
            add(router, index, cost);
            add(index, router, 0);
        }
    }
    (ours.build(), oracle)
}

/// First hops by definition: an edge of the root is one if going on from its head is as short as the whole path.
fn first_hops(oracle: &DiGraph<VertexKind, Edge>, root: NodeIndex, to: NodeIndex) -> BTreeSet<FirstHop> {
    let distance = |from: NodeIndex| dijkstra(oracle, from, None, |edge| edge.weight().cost);
    let Some(&whole) = distance(root).get(&to) else { return BTreeSet::new() };
    let mut hops = BTreeSet::new();
    for edge in oracle.edges(root) {
        let (head, Edge { cost, tag: out, .. }) = (edge.target(), *edge.weight());
        if head == root {
            continue;
        }
        if oracle[head] == VertexKind::Router || head == to {
            if distance(head).get(&to).is_some_and(|rest| cost + rest == whole) {
                hops.insert(FirstHop { out, via: None });
            }
            continue;
        }
        for second in oracle.edges(head).filter(|second| second.target() != root) {
            let rest = distance(second.target()).get(&to).copied();
            if rest.is_some_and(|rest| cost + second.weight().cost + rest == whole) {
                hops.insert(FirstHop { out, via: Some(second.weight().tag) });
            }
        }
    }
    hops
}

proptest! {
    #[test]
    fn distances_and_first_hops_are_those_of_the_oracle(topology in topology()) {
        let (ours, oracle) = build(&topology);
        let root = NodeIndex::new(0);
        let expected = dijkstra(&oracle, root, None, |edge| edge.weight().cost);
        let mut spf = Spf::default();
        let tree = spf.run(ours, VertexId(0));
        for node in oracle.node_indices() {
            let vertex = VertexId(node.index() as u32);
            prop_assert_eq!(tree.distance(vertex), expected.get(&node).copied());
            if node != root {
                let hops: BTreeSet<_> = tree.first_hops(vertex).iter().copied().collect();
                prop_assert_eq!(hops, first_hops(&oracle, root, node), "{:?}", node);
            }
        }
    }
}

#[test]
fn the_same_graph_is_not_calculated_again() {
    let topology =
        Topology { routers: 3, links: vec![(0, 1, 1, 1), (1, 2, 1, 1)], networks: vec![vec![(0, 1), (2, 1)]] };
    let mut spf = Spf::default();
    let before = spf.run(build(&topology).0, VertexId(0)).clone();
    assert_eq!(spf.run(build(&topology).0, VertexId(0)), &before);
    assert_eq!(spf.runs(), 1);
    let other = Topology { links: vec![(0, 1, 1, 1), (1, 2, 7, 1)], ..topology };
    spf.run(build(&other).0, VertexId(0));
    assert_eq!(spf.runs(), 2);
}

#[test]
fn a_root_that_is_not_there_reaches_nothing() {
    let mut spf = Spf::default();
    let tree = spf.run(Graph::default(), VertexId(0));
    assert_eq!(tree.distance(VertexId(0)), None);
    assert_eq!(tree.first_hops(VertexId(0)), []);
}
