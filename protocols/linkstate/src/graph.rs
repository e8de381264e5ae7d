//! The topology as a compact graph: vertices by number, the edges of each in one run of memory.

/// A vertex of a [`Graph`]: numbered from 0 in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

impl VertexId {
    /// As an index of a table with an entry for each vertex.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a vertex stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VertexKind {
    /// A router: an end of paths, and a next hop.
    Router,
    /// A network with several routers on it (OSPF's network-LSA, IS-IS's pseudonode): no next hop by itself.
    Network,
}

/// A directed edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Where it leads.
    pub to: VertexId,
    /// What it costs to take it.
    pub cost: u32,
    /// The protocol's own number for the link, by which it finds address and interface again.
    pub tag: u32,
}

/// A graph whose edges all have one that leads back: RFC 2328 section 16.1 step 2 (b), ISO 10589 section 7.2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    kinds: Vec<VertexKind>,
    /// Where the edges of each vertex begin, and at the end their number.
    first: Vec<u32>,
    edges: Vec<Edge>,
}

impl Graph {
    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What a vertex stands for; one that is not of this graph is a router without edges.
    pub fn kind(&self, vertex: VertexId) -> VertexKind {
        self.kinds.get(vertex.index()).copied().unwrap_or(VertexKind::Router)
    }

    /// The edges that leave a vertex, in the order in which they were added.
    pub fn edges(&self, vertex: VertexId) -> &[Edge] {
        self.edges.get(self.range(vertex)).unwrap_or_default()
    }

    fn range(&self, vertex: VertexId) -> std::ops::Range<usize> {
        let at = |index: usize| self.first.get(index).map_or(0, |first| *first as usize);
        at(vertex.index())..at(vertex.index() + 1)
    }
}

/// Collects what a [`Graph`] is made of, in any order.
#[derive(Debug, Clone, Default)]
pub struct GraphBuilder {
    kinds: Vec<VertexKind>,
    edges: Vec<(VertexId, Edge)>,
}

impl GraphBuilder {
    /// Adds a vertex.
    pub fn vertex(&mut self, kind: VertexKind) -> VertexId {
        let id = VertexId(u32::try_from(self.kinds.len()).unwrap_or(u32::MAX));
        self.kinds.push(kind);
        id
    }

    /// Adds an edge. It counts only if, in the end, one leads back.
    pub fn edge(&mut self, from: VertexId, edge: Edge) {
        self.edges.push((from, edge));
    }

    /// The graph of all edges that have one leading back. Takes time in proportion to its size.
    pub fn build(self) -> Graph {
        let Self { kinds, mut edges } = self;
        let vertices = kinds.len();
        edges.retain(|(from, edge)| from.index() < vertices && edge.to.index() < vertices);
        let by_head = runs(vertices, edges.iter().map(|(_, edge)| edge.to));
        let by_tail = runs(vertices, edges.iter().map(|(from, _)| *from));
        // `leads_here[v]` holds the vertex that was last found to have an edge from v.
        let mut leads_here = vec![u32::MAX; vertices];
        let mut graph =
            Graph { kinds, first: Vec::with_capacity(vertices + 1), edges: Vec::with_capacity(edges.len()) };
        for vertex in 0..vertices {
            graph.first.push(graph.edges.len() as u32);
            for &index in by_head.of(vertex) {
                leads_here[edges[index as usize].0.index()] = vertex as u32;
            }
            let leaving = by_tail.of(vertex).iter().map(|index| edges[*index as usize].1);
            graph.edges.extend(leaving.filter(|edge| leads_here[edge.to.index()] == vertex as u32));
        }
        graph.first.push(graph.edges.len() as u32);
        graph
    }
}

/// Numbers sorted by a vertex each, by counting.
struct Runs {
    first: Vec<u32>,
    numbers: Vec<u32>,
}

impl Runs {
    fn of(&self, vertex: usize) -> &[u32] {
        &self.numbers[self.first[vertex] as usize..self.first[vertex + 1] as usize]
    }
}

fn runs(vertices: usize, keys: impl Iterator<Item = VertexId> + Clone) -> Runs {
    let mut first = vec![0u32; vertices + 1];
    for key in keys.clone() {
        first[key.index() + 1] += 1;
    }
    for vertex in 0..vertices {
        first[vertex + 1] += first[vertex];
    }
    let mut next = first.clone();
    let mut numbers = vec![0; first[vertices] as usize];
    for (number, key) in keys.enumerate() {
        let place = &mut next[key.index()];
        numbers[*place as usize] = number as u32;
        *place += 1;
    }
    Runs { first, numbers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_counts_only_if_one_leads_back() {
        let mut builder = GraphBuilder::default();
        let [a, b, c] = [(); 3].map(|()| builder.vertex(VertexKind::Router));
        let edge = |to, cost, tag| Edge { to, cost, tag };
        builder.edge(a, edge(b, 1, 10));
        builder.edge(b, edge(c, 1, 11));
        builder.edge(b, edge(a, 2, 12));
        builder.edge(a, edge(b, 3, 13));
        builder.edge(c, edge(VertexId(99), 1, 14));
        let graph = builder.build();
        assert_eq!(graph.edges(a), [edge(b, 1, 10), edge(b, 3, 13)]);
        assert_eq!(graph.edges(b), [edge(a, 2, 12)]);
        assert_eq!(graph.edges(c), []);
        assert_eq!(graph.edges(VertexId(3)), []);
    }
}
