//! Shortest paths over random graphs of mean degree 4: `cargo bench -p isthmus-linkstate --bench spf`.
//!
//! `calculate` is Dijkstra alone; `change_and_calculate` is what follows an LSA: the edges of a vertex are other ones.

#![allow(missing_docs)] // criterion_group! makes a public function.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use linkstate::{Edge, Spf, VertexId, VertexKind};

/// A small generator, so that every run measures the same graph.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

/// The edges of each router.
fn random(routers: u32) -> Vec<Vec<Edge>> {
    let mut random = Random(u64::from(routers));
    let mut edges = vec![Vec::new(); routers as usize];
    let mut link = |tag: u32, a: u32, b: u32, cost: u32| {
        edges[a as usize].push(Edge { to: VertexId(b), cost, tag });
        edges[b as usize].push(Edge { to: VertexId(a), cost, tag });
    };
    // A tree, so that all is connected; then as many links once more.
    for router in 1..routers {
        link(router, router, random.below(router), 1 + random.below(10));
    }
    for tag in routers..routers * 2 {
        let (a, b) = (random.below(routers), random.below(routers));
        if a != b {
            link(tag, a, b, 1 + random.below(10));
        }
    }
    edges
}

fn spf(criterion: &mut Criterion) {
    for routers in [100, 1000, 10_000] {
        let mut edges = random(routers);
        let mut engine = Spf::default();
        edges.iter().for_each(|_| _ = engine.graph.vertex(VertexKind::Router));
        for (router, edges) in edges.iter().enumerate() {
            engine.graph.set_edges(VertexId(router as u32), edges);
        }
        let last = VertexId(routers - 1);
        criterion.bench_function(&format!("calculate/spf_{routers}"), |bencher| {
            bencher.iter(|| {
                // Another root each time, since the same tree is not calculated again.
                let root = VertexId((engine.runs() % 2) as u32);
                black_box(engine.run(root).distance(last))
            });
        });
        criterion.bench_function(&format!("change_and_calculate/spf_{routers}"), |bencher| {
            bencher.iter(|| {
                let middle = &mut edges[routers as usize / 2];
                middle[0].cost = middle[0].cost % 20 + 1;
                engine.graph.set_edges(VertexId(routers / 2), middle);
                black_box(engine.run(VertexId(0)).distance(last))
            });
        });
    }
}

criterion_group!(benches, spf);
criterion_main!(benches);
