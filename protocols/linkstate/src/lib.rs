//! What every link-state protocol needs and none owns: shortest paths, reliable flooding, back-off.
//!
//! Nothing here knows OSPF, IS-IS, a packet or a clock: the protocol gives numbers and the time as an argument.
//!
//! ```text
//!   an LSA ──▶ Graph ──▶ Spf ──▶ Tree: distance and first hops of each vertex        graph.rs, spf.rs
//!   what a neighbor has not acknowledged ──▶ RetransmissionList ──▶ what is due      retransmission.rs
//!   an event ──▶ SpfDelay ──▶ when to calculate (RFC 8405)                           spf_delay.rs
//!   a change of one LSA ──▶ Backoff ──▶ when to originate it                         backoff.rs
//! ```
//!
//! Read first: `graph` (what a vertex and an edge are), then `spf`.

pub mod backoff;
pub mod graph;
pub mod retransmission;
pub mod spf;
pub mod spf_delay;

pub use backoff::{Backoff, BackoffConfig};
pub use graph::{Edge, Graph, VertexId, VertexKind};
pub use retransmission::RetransmissionList;
pub use spf::{FirstHop, HopSet, Spf, Tree};
pub use spf_delay::{SpfDelay, SpfDelayConfig, SpfDelayState};
