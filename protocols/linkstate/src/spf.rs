//! Shortest paths from one vertex to all others, with every first hop of equal cost: Dijkstra, RFC 2328 section 16.1.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::{Edge, Graph, VertexId, VertexKind};

/// First hops that a vertex keeps; of more the lowest are taken, so that the choice depends on no order.
pub const MAX_FIRST_HOPS: usize = 64;

/// How a path leaves the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirstHop {
    /// Tag of the root's edge.
    pub out: u32,
    /// Where that edge leads to a network, and the path goes on: the next router.
    pub via: Option<VertexId>,
}

/// First hops of a [`Tree`], by number: vertices with the same number have the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HopSet {
    first: u32,
    end: u32,
}

impl HopSet {
    /// As an index of a table with [`Tree::hop_sets`] entries.
    pub fn index(self) -> usize {
        // Of the empty one 0, of every other one its own.
        self.end as usize
    }
}

/// Distances and first hops from a root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    distances: Vec<u32>,
    sets: Vec<HopSet>,
    /// Sets of first hops, one behind the other; vertices behind the same hops share one.
    hops: Vec<FirstHop>,
}

const UNREACHED: u32 = u32::MAX;

impl Tree {
    /// The cost of the shortest path to a vertex; `None`: there is none.
    pub fn distance(&self, vertex: VertexId) -> Option<u32> {
        self.distances.get(vertex.index()).copied().filter(|distance| *distance != UNREACHED)
    }

    /// How the shortest paths to a vertex leave the root, in ascending order. The root itself has none.
    pub fn first_hops(&self, vertex: VertexId) -> &[FirstHop] {
        self.hops(self.hop_set(vertex))
    }

    /// The number of its first hops.
    pub fn hop_set(&self, vertex: VertexId) -> HopSet {
        self.sets.get(vertex.index()).copied().unwrap_or_default()
    }

    /// The first hops of a number.
    pub fn hops(&self, set: HopSet) -> &[FirstHop] {
        self.hops.get(set.first as usize..set.end as usize).unwrap_or_default()
    }

    /// Above all numbers of first hops.
    pub fn hop_sets(&self) -> usize {
        self.hops.len() + 1
    }
}

/// Calculates trees of a graph, and keeps the last: a graph that is the same is not calculated again.
///
/// ```
/// use linkstate::{Edge, FirstHop, Spf, VertexKind};
///
/// let mut spf = Spf::default();
/// let (a, b) = (spf.graph.vertex(VertexKind::Router), spf.graph.vertex(VertexKind::Router));
/// spf.graph.set_edges(a, &[Edge { to: b, cost: 10, tag: 1 }]);
/// spf.graph.set_edges(b, &[Edge { to: a, cost: 30, tag: 2 }]);
/// let tree = spf.run(a);
/// assert_eq!(tree.distance(b), Some(10));
/// assert_eq!(tree.first_hops(b), [FirstHop { out: 1, via: None }]);
/// ```
#[derive(Debug, Default)]
pub struct Spf {
    /// The topology, to be changed; for quite another one there is [`clear`](Self::clear).
    pub graph: Graph,
    /// Root and state of the graph of the last run.
    last: Option<(VertexId, u64)>,
    tree: Tree,
    /// Vertices to be looked at: see [`candidate`].
    heap: BinaryHeap<Reverse<u64>>,
    runs: u64,
}

impl Spf {
    /// The tree of the graph as it is now.
    pub fn run(&mut self, root: VertexId) -> &Tree {
        let present = Some((root, self.graph.changes()));
        if self.last != present {
            self.last = present;
            self.calculate(root);
            self.runs += 1;
        }
        // A vertex that came since then, and to which no edge leads.
        self.tree.grow(self.graph.len());
        &self.tree
    }

    /// Begins with an empty graph, whose vertices are others.
    pub fn clear(&mut self) {
        self.graph = Graph::default();
        self.last = None;
    }

    /// How often the tree was calculated, and not only asked for.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    fn calculate(&mut self, root: VertexId) {
        let Self { graph, tree, heap, .. } = self;
        tree.distances.clear();
        tree.sets.clear();
        tree.hops.clear();
        tree.grow(graph.len());
        heap.clear();
        let Some(distance) = tree.distances.get_mut(root.index()) else { return };
        *distance = 0;
        heap.push(Reverse(candidate(0, root, VertexKind::Router)));
        while let Some(Reverse(next)) = heap.pop() {
            let (distance, vertex) = ((next >> 32) as u32, VertexId(next as u32 & !ROUTER));
            // A shorter way to it was found after it was put there.
            if tree.distances[vertex.index()] != distance {
                continue;
            }
            let onward = Onward::from(graph, root, vertex);
            for edge in graph.edges(vertex) {
                let (to, through) = (edge.to, distance.saturating_add(edge.cost));
                let known = tree.distances[to.index()];
                if through > known || through == UNREACHED || to == root {
                    continue;
                }
                let hops = tree.extend(graph, onward, root, vertex, edge);
                if through < known {
                    tree.distances[to.index()] = through;
                    tree.sets[to.index()] = hops;
                    heap.push(Reverse(candidate(through, to, graph.kind(to))));
                } else {
                    tree.sets[to.index()] = tree.union(tree.sets[to.index()], hops);
                }
            }
        }
    }
}

/// Marks routers in a heap's numbers, so that of equal distances networks come first: RFC 2328 section 16.1 step 3.
/// Graphs end below this number of vertices.
const ROUTER: u32 = 1 << 31;

/// Distance, kind and number in one word that sorts as the heap wants it.
fn candidate(distance: u32, vertex: VertexId, kind: VertexKind) -> u64 {
    let mark = match kind {
        VertexKind::Router => ROUTER,
        VertexKind::Network => 0,
    };
    u64::from(distance) << 32 | u64::from(vertex.0 | mark)
}

/// Where first hops of paths come from that go on from a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Onward {
    /// It is the root: its edges.
    Root,
    /// It is a network that the root is on: the next router is the next hop.
    OwnNetwork,
    /// From the vertex.
    Inherited,
}

impl Onward {
    fn from(graph: &Graph, root: VertexId, vertex: VertexId) -> Self {
        match graph.kind(vertex) {
            _ if vertex == root => Onward::Root,
            VertexKind::Network if graph.edges(root).iter().any(|own| own.to == vertex) => Onward::OwnNetwork,
            VertexKind::Network | VertexKind::Router => Onward::Inherited,
        }
    }
}

impl Tree {
    fn grow(&mut self, vertices: usize) {
        self.distances.resize(vertices, UNREACHED);
        self.sets.resize(vertices, HopSet::default());
    }

    /// First hops of the paths that take `edge` from `vertex`.
    fn extend(&mut self, graph: &Graph, onward: Onward, root: VertexId, vertex: VertexId, edge: &Edge) -> HopSet {
        let inherited = self.sets[vertex.index()];
        match onward {
            Onward::Root => return self.add([FirstHop { out: edge.tag, via: None }]),
            Onward::Inherited => return inherited,
            Onward::OwnNetwork => {}
        }
        let leads_here = |out: u32| graph.edges(root).iter().any(|own| own.to == vertex && own.tag == out);
        let set = self.hops(inherited).iter();
        let mut hops: Vec<FirstHop> = set
            .map(|hop| match hop.via {
                None if leads_here(hop.out) => FirstHop { via: Some(edge.to), ..*hop },
                None | Some(_) => *hop,
            })
            .collect();
        hops.sort_unstable();
        self.add(hops)
    }

    fn union(&mut self, one: HopSet, other: HopSet) -> HopSet {
        if one == other || self.hops(one) == self.hops(other) {
            return one;
        }
        let mut hops = [self.hops(one), self.hops(other)].concat();
        hops.sort_unstable();
        hops.dedup();
        hops.truncate(MAX_FIRST_HOPS);
        self.add(hops)
    }

    fn add(&mut self, hops: impl IntoIterator<Item = FirstHop>) -> HopSet {
        let first = self.hops.len() as u32;
        self.hops.extend(hops);
        HopSet { first, end: self.hops.len() as u32 }
    }
}
