//! The topology as a compact graph: vertices by number, the edges of each in one run of memory.
//!
//! It is changed vertex by vertex as the protocol's database is, and never read out of the database as a whole: who
//! calculates finds it ready.

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

/// A graph in which an edge counts only if one leads back: RFC 2328 section 16.1 step 2 (b), ISO 10589 section 7.2.
///
/// ```
/// use linkstate::{Edge, Graph, VertexKind};
///
/// let mut graph = Graph::default();
/// let (a, b) = (graph.vertex(VertexKind::Router), graph.vertex(VertexKind::Router));
/// let there = Edge { to: b, cost: 10, tag: 1 };
/// graph.set_edges(a, &[there]);
/// assert_eq!(graph.edges(a), []);
/// graph.set_edges(b, &[Edge { to: a, cost: 30, tag: 2 }]);
/// assert_eq!(graph.edges(a), [there]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
    /// Room of every vertex, one behind the other, with gaps where a vertex moved on.
    edges: Vec<Edge>,
    /// Places in `edges` that no vertex has.
    gaps: usize,
    /// How often something changed that paths depend on.
    changes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Vertex {
    kind: VertexKind,
    /// Where its room begins.
    first: u32,
    /// Edges that it has room for, and that it has: those which count come first.
    room: u32,
    told: u32,
    counting: u32,
}

impl Graph {
    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// How often something changed that paths depend on: while it is the same, so are the paths.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Adds a vertex without edges.
    pub fn vertex(&mut self, kind: VertexKind) -> VertexId {
        let id = VertexId(u32::try_from(self.vertices.len()).unwrap_or(u32::MAX));
        self.vertices.push(Vertex { kind, first: self.edges.len() as u32, room: 0, told: 0, counting: 0 });
        id
    }

    /// What a vertex stands for; one that is not of this graph is a router without edges.
    pub fn kind(&self, vertex: VertexId) -> VertexKind {
        self.vertices.get(vertex.index()).map_or(VertexKind::Router, |vertex| vertex.kind)
    }

    /// The edges that leave a vertex and count, in no order.
    pub fn edges(&self, vertex: VertexId) -> &[Edge] {
        let Some(vertex) = self.vertices.get(vertex.index()) else { return &[] };
        self.edges.get(vertex.first as usize..(vertex.first + vertex.counting) as usize).unwrap_or_default()
    }

    /// All that leave it, whether they count or not.
    fn told(&self, vertex: VertexId) -> &[Edge] {
        let Some(vertex) = self.vertices.get(vertex.index()) else { return &[] };
        self.edges.get(vertex.first as usize..(vertex.first + vertex.told) as usize).unwrap_or_default()
    }

    /// Says which edges leave a vertex from now on; those to a vertex that is not of this graph never count. Takes time
    /// in proportion to the edges of this vertex and its neighbors.
    pub fn set_edges(&mut self, vertex: VertexId, edges: &[Edge]) {
        if vertex.index() >= self.vertices.len() {
            return;
        }
        let mut heads: Vec<VertexId> = self.told(vertex).iter().map(|edge| edge.to).collect();
        let before = self.edges(vertex).to_vec();
        self.place(vertex, edges);
        heads.extend(edges.iter().map(|edge| edge.to));
        heads.sort_unstable();
        heads.dedup();
        self.sort_out(vertex, |_| true);
        let mut moved = before != self.edges(vertex);
        for head in heads.into_iter().filter(|head| *head != vertex) {
            moved |= self.sort_out(head, |to| to == vertex);
        }
        self.changes += u64::from(moved);
    }

    /// Puts edges into a vertex's room, or into a larger one.
    fn place(&mut self, vertex: VertexId, edges: &[Edge]) {
        let told = edges.len() as u32;
        let place = &mut self.vertices[vertex.index()];
        if told > place.room {
            self.gaps += place.room as usize;
            (place.first, place.room) = (self.edges.len() as u32, told);
            self.edges.extend_from_slice(edges);
        } else {
            let first = place.first as usize;
            self.edges[first..first + edges.len()].copy_from_slice(edges);
        }
        (place.told, place.counting) = (told, 0);
        if self.gaps > self.edges.len() / 2 {
            self.close_gaps();
        }
    }

    fn close_gaps(&mut self) {
        let mut edges = Vec::with_capacity(self.edges.len() - self.gaps);
        for vertex in &mut self.vertices {
            let first = vertex.first as usize;
            vertex.first = edges.len() as u32;
            vertex.room = vertex.told;
            edges.extend_from_slice(&self.edges[first..first + vertex.told as usize]);
        }
        (self.edges, self.gaps) = (edges, 0);
    }

    /// Looks at some edges of a vertex again, whether they count. Whether one does that did not, or the other way round.
    fn sort_out(&mut self, vertex: VertexId, is_asked_for: impl Fn(VertexId) -> bool) -> bool {
        let Some(place) = self.vertices.get(vertex.index()).copied() else { return false };
        let (mut counting, mut moved) = (0, false);
        for index in 0..place.told {
            let edge = self.edges[(place.first + index) as usize];
            let did = index < place.counting;
            let does = match is_asked_for(edge.to) {
                true => edge.to != vertex && self.told(edge.to).iter().any(|back| back.to == vertex),
                false => did,
            };
            moved |= did != does;
            if does {
                self.edges.swap((place.first + index) as usize, (place.first + counting) as usize);
                counting += 1;
            }
        }
        self.vertices[vertex.index()].counting = counting;
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(to: VertexId, cost: u32, tag: u32) -> Edge {
        Edge { to, cost, tag }
    }

    #[test]
    fn an_edge_counts_only_if_one_leads_back() {
        let mut graph = Graph::default();
        let [a, b, c] = [(); 3].map(|()| graph.vertex(VertexKind::Router));
        graph.set_edges(a, &[edge(b, 1, 10), edge(b, 3, 13), edge(a, 1, 15)]);
        graph.set_edges(b, &[edge(c, 1, 11), edge(a, 2, 12)]);
        graph.set_edges(c, &[edge(VertexId(99), 1, 14)]);
        assert_eq!(graph.edges(a), [edge(b, 1, 10), edge(b, 3, 13)]);
        assert_eq!(graph.edges(b), [edge(a, 2, 12)]);
        assert_eq!(graph.edges(c), []);
        assert_eq!(graph.edges(VertexId(3)), []);
        graph.set_edges(c, &[edge(b, 5, 16)]);
        assert_eq!(graph.edges(b).len(), 2);
        graph.set_edges(b, &[edge(c, 1, 11)]);
        assert_eq!((graph.edges(a), graph.edges(c)), (&[][..], &[edge(b, 5, 16)][..]));
    }

    #[test]
    fn what_no_path_depends_on_is_no_change() {
        let mut graph = Graph::default();
        let [a, b, c] = [(); 3].map(|()| graph.vertex(VertexKind::Router));
        graph.set_edges(a, &[edge(b, 1, 1)]);
        graph.set_edges(b, &[edge(a, 1, 1)]);
        let before = graph.changes();
        graph.set_edges(a, &[edge(b, 1, 1)]);
        graph.set_edges(a, &[edge(b, 1, 1), edge(c, 1, 2)]);
        assert_eq!(graph.changes(), before);
        graph.set_edges(c, &[edge(a, 1, 1)]);
        assert_eq!(graph.changes(), before + 1);
        graph.set_edges(a, &[edge(b, 2, 1), edge(c, 1, 2)]);
        assert_eq!(graph.changes(), before + 2);
    }

    #[test]
    fn a_graph_whose_vertices_grow_and_shrink_takes_no_more_memory_than_twice_its_edges() {
        let mut graph = Graph::default();
        let vertices = [(); 10].map(|()| graph.vertex(VertexKind::Router));
        for round in 1..200usize {
            for vertex in vertices {
                let others = vertices.iter().filter(|other| **other != vertex).take(round % 10);
                graph.set_edges(vertex, &others.map(|other| edge(*other, 1, 0)).collect::<Vec<_>>());
            }
            assert!(graph.edges.len() <= 2 * 9 * 10 + 9, "{}", graph.edges.len());
        }
        assert!(vertices.iter().all(|vertex| graph.edges(*vertex).len() == 9), "each has all others");
    }
}
