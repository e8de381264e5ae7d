//! Line cards: what moves packets between ports, and between ports and the control side.
//!
//! ```text
//!              ┌──────────────── worker ────────────────┐
//!   port ─────▶│ FP Rx: check ─ look up ─▶ FP Tx: TTL,  │─────▶ port (of this worker, or by hand-over)
//!              │   │ ▲                     MTU, rewrite │
//!              │   │ └── inter_vr: the other VR's table │
//!              └───┼────────────────────────────────▲───┘
//!            punt  ▼                                │ inject
//!                 control side: socket server, ARP, ICMP
//! ```
//!
//! The stages are a plain [`Forwarder`] over vectors in memory, without threads or input and output. A worker runs one
//! over its ports; the control side runs one of its own for what it originates, so that packets between two VRs need
//! no line card at all.
//!
//! Read first: `forwarder` (types), `fp_rx`, `fp_tx`, `inter_vr`; then `worker`.

mod flow;
mod forwarder;
mod fp_rx;
mod fp_tx;
mod inter_vr;
mod port;
mod punt;
mod start;
#[cfg(test)]
mod tests;
mod worker;

pub use flow::Flow;
pub use forwarder::{Forwarder, ForwarderParts, Inject, InjectTarget, Output, Punt, PuntReason};
pub use inter_vr::MAX_CROSSINGS;
pub use port::PortDirectory;
pub use punt::{LineCardEvent, PuntReceiver};
pub use start::{LineCard, LineCardConfig, LineCardError, LineCardHandle};
