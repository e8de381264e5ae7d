//! The engine against petgraph's Dijkstra and a definition of first hops that one can read.

use std::collections::BTreeSet;

use linkstate::{Edge, FirstHop, Graph, Spf, VertexId, VertexKind};
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

/// What leaves each vertex, and what each stands for.
fn edges(topology: &Topology) -> Vec<(VertexKind, Vec<Edge>)> {
    let kinds = std::iter::repeat_n(VertexKind::Router, topology.routers as usize)
        .chain(topology.networks.iter().map(|_| VertexKind::Network));
    let mut vertices: Vec<(VertexKind, Vec<Edge>)> = kinds.map(|kind| (kind, Vec::new())).collect();
    let mut tag = 0;
    let mut add = |from: u32, to: u32, cost: u32| {
        vertices[from as usize].1.push(Edge { to: VertexId(to), cost, tag });
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
    vertices
}

/// For the oracle, whose edges bear our tags.
fn oracle(topology: &Topology) -> DiGraph<VertexKind, Edge> {
    let mut oracle = DiGraph::new();
    let vertices = edges(topology);
    vertices.iter().for_each(|(kind, _)| _ = oracle.add_node(*kind));
    for (from, (_, edges)) in vertices.iter().enumerate() {
        for edge in edges {
            oracle.add_edge(NodeIndex::new(from), NodeIndex::new(edge.to.index()), *edge);
        }
    }
    oracle
}

/// Makes a graph say this, vertex by vertex, whatever it said before.
fn tell(graph: &mut Graph, topology: &Topology) {
    for (index, (kind, edges)) in edges(topology).into_iter().enumerate() {
        if index == graph.len() {
            graph.vertex(kind);
        }
        assert_eq!(graph.kind(VertexId(index as u32)), kind);
        graph.set_edges(VertexId(index as u32), &edges);
    }
}

fn engine(topology: &Topology) -> Spf {
    let mut spf = Spf::default();
    tell(&mut spf.graph, topology);
    spf
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
                hops.insert(FirstHop { out, via: Some(VertexId(second.target().index() as u32)) });
            }
        }
    }
    hops
}

/// Compares a tree with the oracle's.
fn compare(spf: &mut Spf, topology: &Topology) -> Result<(), TestCaseError> {
    let oracle = oracle(topology);
    let root = NodeIndex::new(0);
    let expected = dijkstra(&oracle, root, None, |edge| edge.weight().cost);
    let tree = spf.run(VertexId(0));
    for node in oracle.node_indices() {
        let vertex = VertexId(node.index() as u32);
        prop_assert_eq!(tree.distance(vertex), expected.get(&node).copied());
        if node != root {
            let hops: BTreeSet<_> = tree.first_hops(vertex).iter().copied().collect();
            prop_assert_eq!(hops, first_hops(&oracle, root, node), "{:?}", node);
        }
    }
    Ok(())
}

/// The same routers and as many networks, joined otherwise.
fn two_topologies() -> impl Strategy<Value = (Topology, Topology)> {
    (topology(), topology()).prop_map(|(one, mut other)| {
        other.routers = one.routers;
        other.links.iter_mut().for_each(|(a, b, ..)| (*a, *b) = (*a % one.routers, *b % one.routers));
        other.networks.iter_mut().flatten().for_each(|(router, _)| *router %= one.routers);
        other.networks.resize(one.networks.len(), Vec::new());
        (one, other)
    })
}

proptest! {
    #[test]
    fn distances_and_first_hops_are_those_of_the_oracle(topology in topology()) {
        compare(&mut engine(&topology), &topology)?;
    }

    #[test]
    fn a_graph_that_changes_vertex_by_vertex_is_what_it_would_be_if_made_anew((one, other) in two_topologies()) {
        let mut spf = engine(&one);
        compare(&mut spf, &one)?;
        tell(&mut spf.graph, &other);
        compare(&mut spf, &other)?;
    }
}

#[test]
fn the_same_graph_is_not_calculated_again() {
    let topology =
        Topology { routers: 3, links: vec![(0, 1, 1, 1), (1, 2, 1, 1)], networks: vec![vec![(0, 1), (2, 1)]] };
    let mut spf = engine(&topology);
    let before = spf.run(VertexId(0)).clone();
    tell(&mut spf.graph, &topology);
    assert_eq!((spf.run(VertexId(0)), &before), (&before, &before));
    assert_eq!(spf.runs(), 1);
    tell(&mut spf.graph, &Topology { links: vec![(0, 1, 1, 1), (1, 2, 7, 1)], ..topology });
    spf.run(VertexId(0));
    assert_eq!(spf.runs(), 2);
}

#[test]
fn a_vertex_without_a_way_to_it_that_comes_after_the_calculation_is_not_reached() {
    let mut spf = engine(&Topology { routers: 2, links: vec![(0, 1, 1, 1)], networks: vec![] });
    spf.run(VertexId(0));
    let late = spf.graph.vertex(VertexKind::Router);
    assert_eq!(spf.run(VertexId(0)).distance(late), None);
    assert_eq!(spf.runs(), 1);
}

#[test]
fn a_graph_that_is_made_anew_is_calculated_anew() {
    let mut spf = engine(&Topology { routers: 2, links: vec![(0, 1, 1, 1)], networks: vec![] });
    assert_eq!(spf.run(VertexId(0)).distance(VertexId(1)), Some(1));
    spf.clear();
    tell(&mut spf.graph, &Topology { routers: 2, links: vec![(0, 1, 9, 1)], networks: vec![] });
    assert_eq!(spf.run(VertexId(0)).distance(VertexId(1)), Some(9));
}

#[test]
fn a_root_that_is_not_there_reaches_nothing() {
    let mut spf = Spf::default();
    let tree = spf.run(VertexId(0));
    assert_eq!(tree.distance(VertexId(0)), None);
    assert_eq!(tree.first_hops(VertexId(0)), []);
}
