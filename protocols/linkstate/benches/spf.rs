//! Shortest paths over random graphs of mean degree 4: `cargo bench -p isthmus-linkstate --bench spf`.
//!
//! `calculate` is Dijkstra alone; `build_and_calculate` also makes the graph, as after a change.

#![allow(missing_docs)] // criterion_group! makes a public function.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use linkstate::{Edge, Graph, GraphBuilder, Spf, VertexId, VertexKind};

/// A small generator, so that every run measures the same graph.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

fn random(routers: u32) -> GraphBuilder {
    let mut random = Random(u64::from(routers));
    let mut builder = GraphBuilder::default();
    for _ in 0..routers {
        builder.vertex(VertexKind::Router);
    }
    let mut link = |tag: u32, a: u32, b: u32, cost: u32| {
        builder.edge(VertexId(a), Edge { to: VertexId(b), cost, tag });
        builder.edge(VertexId(b), Edge { to: VertexId(a), cost, tag });
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
    builder
}

fn spf(criterion: &mut Criterion) {
    for routers in [100, 1000, 10_000] {
        let builder = random(routers);
        let graph: Graph = builder.clone().build();
        let mut engine = Spf::default();
        criterion.bench_function(&format!("calculate/spf_{routers}"), |bencher| {
            bencher.iter_batched(
                || graph.clone(),
                |graph| {
                    // Another root each time, since the same graph is not calculated again.
                    let root = VertexId((engine.runs() % 2) as u32);
                    black_box(engine.run(graph, root).distance(VertexId(routers - 1)))
                },
                BatchSize::LargeInput,
            );
        });
        let mut engine = Spf::default();
        criterion.bench_function(&format!("build_and_calculate/spf_{routers}"), |bencher| {
            bencher.iter_batched(
                || builder.clone(),
                |builder| {
                    let root = VertexId((engine.runs() % 2) as u32);
                    black_box(engine.run(builder.build(), root).distance(VertexId(routers - 1)))
                },
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, spf);
criterion_main!(benches);
