//! The states of a connection and what moves it on (RFC 9293 section 3.3.2).
//!
//! ```text
//!             connect                                  accept
//!                │ send SYN                               │ rcv SYN, send SYN,ACK
//!                ▼            rcv SYN, send SYN,ACK       ▼
//!            SYN-SENT ────────────────────────────▶ SYN-RECEIVED
//!                │ rcv SYN,ACK, send ACK                  │ rcv ACK of SYN
//!                └──────────────▶ ESTABLISHED ◀───────────┘
//!                    send FIN     │         │   rcv FIN, send ACK
//!                    ┌────────────┘         └────────────┐
//!                    ▼                                   ▼
//!               FIN-WAIT-1 ── rcv FIN ──▶ CLOSING     CLOSE-WAIT
//!                    │ rcv ACK of FIN        │           │ send FIN
//!                    ▼                       │ rcv ACK   ▼
//!               FIN-WAIT-2                   │ of FIN LAST-ACK
//!                    │ rcv FIN               ▼           │ rcv ACK of FIN
//!                    └──────────────────▶ TIME-WAIT ──▶ CLOSED
//!                                               2 MSL
//! ```
//!
//! LISTEN is not among them: a listener is the server's, and [`super::Connection::accept`] begins at SYN-RECEIVED. Reset, abort
//! and timeouts lead from everywhere to CLOSED.

use std::fmt;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Our SYN is out.
    SynSent,
    /// Both SYNs were seen; ours is not acknowledged.
    SynReceived(Opened),
    /// Data flows both ways.
    Established,
    /// We sent FIN.
    FinWait1,
    /// Our FIN was acknowledged; the peer still sends.
    FinWait2,
    /// The peer sent FIN; we still send.
    CloseWait,
    /// Both sent FIN at once; ours is not acknowledged.
    Closing,
    /// The peer's FIN came first, then we sent ours.
    LastAck,
    /// All is said; old segments may still wander.
    TimeWait,
    /// Over.
    Closed,
}

/// Which side began: decides what a reset in SYN-RECEIVED means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opened {
    /// We did, and the peer at the same time.
    Actively,
    /// The peer did.
    Passively,
}

/// What moves a connection on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The peer's SYN came without an acknowledgment of ours.
    SynReceived,
    /// Our SYN was acknowledged, and the peer's SYN was seen.
    SynAcknowledged,
    /// Our FIN went out for the first time.
    FinSent,
    /// Our FIN was acknowledged.
    FinAcknowledged,
    /// The peer's FIN, and all before it, was received.
    FinReceived,
}

impl State {
    /// The state after `transition`; `None` where it cannot happen.
    pub fn after(self, transition: Transition) -> Option<State> {
        use State::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived, SynSent, TimeWait,
        };
        match (self, transition) {
            (SynSent, Transition::SynReceived) => Some(SynReceived(Opened::Actively)),
            (SynSent | SynReceived(_), Transition::SynAcknowledged) => Some(Established),
            (Established, Transition::FinSent) => Some(FinWait1),
            (CloseWait, Transition::FinSent) => Some(LastAck),
            (FinWait1, Transition::FinAcknowledged) => Some(FinWait2),
            (Closing, Transition::FinAcknowledged) => Some(TimeWait),
            (LastAck, Transition::FinAcknowledged) => Some(Closed),
            (Established, Transition::FinReceived) => Some(CloseWait),
            (FinWait1, Transition::FinReceived) => Some(Closing),
            (FinWait2, Transition::FinReceived) => Some(TimeWait),
            (
                SynSent | SynReceived(_) | Established | FinWait1 | FinWait2 | CloseWait | Closing | LastAck | TimeWait
                | Closed,
                Transition::SynReceived
                | Transition::SynAcknowledged
                | Transition::FinSent
                | Transition::FinAcknowledged
                | Transition::FinReceived,
            ) => None,
        }
    }

    /// Whether both SYNs were exchanged and acknowledged, and the connection is not over.
    pub fn is_synchronized(self) -> bool {
        match self {
            State::SynSent | State::SynReceived(_) | State::Closed => false,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => true,
        }
    }

    /// Whether the peer may still send data.
    pub fn can_receive(self) -> bool {
        match self {
            State::Established | State::FinWait1 | State::FinWait2 => true,
            State::SynSent
            | State::SynReceived(_)
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Closed => false,
        }
    }
}

impl fmt::Display for State {
    /// As RFC 9293 spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::SynSent => "SYN-SENT",
            State::SynReceived(_) => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "CLOSED",
        })
    }
}
