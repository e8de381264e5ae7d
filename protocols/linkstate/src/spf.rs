//! Shortest paths from one vertex to all others, with every first hop of equal cost: Dijkstra, RFC 2328 section 16.1.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::graph::{Edge, Graph, VertexId, VertexKind};

/// First hops that a vertex keeps; of more the lowest are taken, so that the choice depends on no order.
pub const MAX_FIRST_HOPS: usize = 64;

/// How a path leaves the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirstHop {
    /// Tag of the root's edge.
    pub out: u32,
    /// Where that edge leads to a network, and the path goes on: tag of the edge from the network to the next router.
    pub via: Option<u32>,
}

/// Distances and first hops from a root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    distances: Vec<u32>,
    sets: Vec<Range<u32>>,
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
        let range = self.sets.get(vertex.index()).cloned().unwrap_or_default();
        self.hops.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// Calculates trees, and keeps the last: a graph that is the same is not calculated again.
///
/// ```
/// use linkstate::{Edge, FirstHop, GraphBuilder, Spf, VertexKind};
///
/// let mut graph = GraphBuilder::default();
/// let (a, b) = (graph.vertex(VertexKind::Router), graph.vertex(VertexKind::Router));
/// graph.edge(a, Edge { to: b, cost: 10, tag: 1 });
/// graph.edge(b, Edge { to: a, cost: 30, tag: 2 });
/// let mut spf = Spf::default();
/// let tree = spf.run(graph.build(), a);
/// assert_eq!(tree.distance(b), Some(10));
/// assert_eq!(tree.first_hops(b), [FirstHop { out: 1, via: None }]);
/// ```
#[derive(Debug, Default)]
pub struct Spf {
    graph: Graph,
    root: Option<VertexId>,
    tree: Tree,
    /// Vertices to be looked at: see [`candidate`].
    heap: BinaryHeap<Reverse<u64>>,
    runs: u64,
}

impl Spf {
    /// The tree of a graph.
    pub fn run(&mut self, graph: Graph, root: VertexId) -> &Tree {
        if self.root != Some(root) || self.graph != graph {
            self.graph = graph;
            self.root = Some(root);
            self.calculate(root);
            self.runs += 1;
        }
        &self.tree
    }

    /// How often the tree was calculated, and not only asked for.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The tree of the last run.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    fn calculate(&mut self, root: VertexId) {
        let Self { graph, tree, heap, .. } = self;
        let vertices = graph.len();
        tree.distances.clear();
        tree.distances.resize(vertices, UNREACHED);
        tree.sets.clear();
        tree.sets.resize(vertices, 0..0);
        tree.hops.clear();
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
            for edge in graph.edges(vertex) {
                let (to, through) = (edge.to, distance.saturating_add(edge.cost));
                let known = tree.distances[to.index()];
                if through > known || through == UNREACHED || to == root {
                    continue;
                }
                let hops = tree.extend(graph, root, vertex, edge);
                if through < known {
                    tree.distances[to.index()] = through;
                    tree.sets[to.index()] = hops;
                    heap.push(Reverse(candidate(through, to, graph.kind(to))));
                } else {
                    tree.sets[to.index()] = tree.union(tree.sets[to.index()].clone(), hops);
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

impl Tree {
    /// First hops of the paths that take `edge` from `vertex`.
    fn extend(&mut self, graph: &Graph, root: VertexId, vertex: VertexId, edge: &Edge) -> Range<u32> {
        if vertex == root {
            return self.add([FirstHop { out: edge.tag, via: None }]);
        }
        let inherited = self.sets[vertex.index()].clone();
        let set = &self.hops[inherited.start as usize..inherited.end as usize];
        // From a network that the root is on, the next router is the next hop.
        let is_on = |hop: &FirstHop| {
            graph.kind(vertex) == VertexKind::Network
                && hop.via.is_none()
                && graph.edges(root).iter().any(|own| own.to == vertex && own.tag == hop.out)
        };
        if !set.iter().any(is_on) {
            return inherited;
        }
        let mut hops: Vec<FirstHop> =
            set.iter().map(|hop| if is_on(hop) { FirstHop { via: Some(edge.tag), ..*hop } } else { *hop }).collect();
        hops.sort_unstable();
        self.add(hops)
    }

    fn union(&mut self, one: Range<u32>, other: Range<u32>) -> Range<u32> {
        let set = |range: &Range<u32>| &self.hops[range.start as usize..range.end as usize];
        if set(&one) == set(&other) {
            return one;
        }
        let mut hops = [set(&one), set(&other)].concat();
        hops.sort_unstable();
        hops.dedup();
        hops.truncate(MAX_FIRST_HOPS);
        self.add(hops)
    }

    fn add(&mut self, hops: impl IntoIterator<Item = FirstHop>) -> Range<u32> {
        let start = self.hops.len() as u32;
        self.hops.extend(hops);
        start..self.hops.len() as u32
    }
}
