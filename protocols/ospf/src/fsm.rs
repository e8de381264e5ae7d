//! The two state machines as tables: of an interface (RFC 2328 section 9.3) and of a neighbor (section 10.3).
//!
//! ```text
//!   interface                                           neighbor
//!   Down ─▶ Loopback                                    Down ─▶ Init ─▶ TwoWay ─▶ ExStart ─▶ Exchange ─▶ Loading ─▶ Full
//!     ├───▶ PointToPoint                                         ▲         ▲         ▲           │          │        │
//!     └───▶ Waiting ─▶ DrOther, Backup, Dr                       └─OneWay──┴─AdjOk───┴── SeqNumberMismatch, BadLsReq ┘
//! ```
//!
//! The tables do nothing: what follows from a change is done by `adjacency.rs` and `links.rs`, which see the state
//! before and after.

/// What a network is like. Others of RFC 2328 section 1.2 are refused by the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkType {
    /// Many routers, which hear each other; a designated router speaks for the network.
    #[default]
    Broadcast,
    /// Two routers.
    PointToPoint,
    /// None but this one.
    Loopback,
}

impl NetworkType {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            NetworkType::Broadcast => "broadcast",
            NetworkType::PointToPoint => "point-to-point",
            NetworkType::Loopback => "loopback",
        }
    }
}

/// State of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceState {
    /// Not used.
    Down,
    /// Only its address is announced.
    Loopback,
    /// Listens who is designated router before it takes part.
    Waiting,
    /// With one neighbor.
    PointToPoint,
    /// Another is designated router, another its backup.
    DrOther,
    /// Backup designated router.
    Backup,
    /// Designated router.
    Dr,
}

impl InterfaceState {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            InterfaceState::Down => "Down",
            InterfaceState::Loopback => "Loopback",
            InterfaceState::Waiting => "Waiting",
            InterfaceState::PointToPoint => "PointToPoint",
            InterfaceState::DrOther => "DROther",
            InterfaceState::Backup => "Backup",
            InterfaceState::Dr => "DR",
        }
    }

    /// Whether it takes part in elections and has a result.
    pub fn is_elected(self) -> bool {
        match self {
            InterfaceState::DrOther | InterfaceState::Backup | InterfaceState::Dr => true,
            InterfaceState::Down
            | InterfaceState::Loopback
            | InterfaceState::Waiting
            | InterfaceState::PointToPoint => false,
        }
    }
}

/// What happens to an interface: RFC 2328 section 9.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceEvent {
    /// It can be used; `may_be_dr`: its priority is not 0.
    Up {
        /// What the network is like.
        network: NetworkType,
        /// Whether this router may become designated router.
        may_be_dr: bool,
    },
    /// It has waited long enough.
    WaitTimer,
    /// A neighbor says that there is a backup, or is designated router without one.
    BackupSeen,
    /// The set of neighbors changed, or what one of them says about the election.
    NeighborChange,
    /// It cannot be used any longer.
    InterfaceDown,
}

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceStep {
    /// Nothing changes.
    Stay,
    /// This is its state now.
    Go(InterfaceState),
    /// The election says: RFC 2328 section 9.4.
    Elect,
}

/// RFC 2328 section 9.3.
pub fn interface(state: InterfaceState, event: InterfaceEvent) -> InterfaceStep {
    use InterfaceState as S;
    use InterfaceStep::{Elect, Go, Stay};
    match (state, event) {
        (S::Down, InterfaceEvent::Up { network, may_be_dr }) => Go(match (network, may_be_dr) {
            (NetworkType::Loopback, _) => S::Loopback,
            (NetworkType::PointToPoint, _) => S::PointToPoint,
            (NetworkType::Broadcast, false) => S::DrOther,
            (NetworkType::Broadcast, true) => S::Waiting,
        }),
        (S::Loopback | S::Waiting | S::PointToPoint | S::DrOther | S::Backup | S::Dr, InterfaceEvent::Up { .. }) => {
            Stay
        }
        (S::Waiting, InterfaceEvent::WaitTimer | InterfaceEvent::BackupSeen) => Elect,
        (
            S::Down | S::Loopback | S::PointToPoint | S::DrOther | S::Backup | S::Dr,
            InterfaceEvent::WaitTimer | InterfaceEvent::BackupSeen,
        ) => Stay,
        (S::DrOther | S::Backup | S::Dr, InterfaceEvent::NeighborChange) => Elect,
        (S::Down | S::Loopback | S::Waiting | S::PointToPoint, InterfaceEvent::NeighborChange) => Stay,
        (S::Down, InterfaceEvent::InterfaceDown) => Stay,
        (
            S::Loopback | S::Waiting | S::PointToPoint | S::DrOther | S::Backup | S::Dr,
            InterfaceEvent::InterfaceDown,
        ) => Go(S::Down),
    }
}

/// State of a conversation with a neighbor, in ascending order: RFC 2328 section 10.1. Attempt is of networks that
/// this router does not speak on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighborState {
    /// Nothing heard of late.
    Down,
    /// Heard, but it does not say that it hears us.
    Init,
    /// Both hear each other, and no more is wanted.
    TwoWay,
    /// Who is master of the exchange?
    ExStart,
    /// Databases are described.
    Exchange,
    /// LSAs are asked for.
    Loading,
    /// Databases are the same.
    Full,
}

impl NeighborState {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            NeighborState::Down => "Down",
            NeighborState::Init => "Init",
            NeighborState::TwoWay => "2-Way",
            NeighborState::ExStart => "ExStart",
            NeighborState::Exchange => "Exchange",
            NeighborState::Loading => "Loading",
            NeighborState::Full => "Full",
        }
    }
}

/// What happens in a conversation: RFC 2328 section 10.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighborEvent {
    /// A hello came.
    HelloReceived,
    /// It names us.
    TwoWayReceived,
    /// It does not name us.
    OneWayReceived,
    /// Master and slave are agreed.
    NegotiationDone,
    /// Both have described all they have.
    ExchangeDone {
        /// Whether nothing has to be asked for.
        nothing_to_load: bool,
    },
    /// All that was asked for has come.
    LoadingDone,
    /// Look again whether this is to be an adjacency.
    AdjOk,
    /// A description does not fit the exchange.
    SeqNumberMismatch,
    /// It asks for an LSA that is not there, or sends an old one.
    BadLsReq,
    /// Nothing heard for the dead interval.
    InactivityTimer,
    /// The interface is gone, or the configuration says so.
    KillNbr,
}

impl NeighborEvent {
    /// Its name in RFC 2328 section 10.2.
    pub fn name(self) -> &'static str {
        match self {
            NeighborEvent::HelloReceived => "HelloReceived",
            NeighborEvent::TwoWayReceived => "2-WayReceived",
            NeighborEvent::OneWayReceived => "1-WayReceived",
            NeighborEvent::NegotiationDone => "NegotiationDone",
            NeighborEvent::ExchangeDone { .. } => "ExchangeDone",
            NeighborEvent::LoadingDone => "LoadingDone",
            NeighborEvent::AdjOk => "AdjOK?",
            NeighborEvent::SeqNumberMismatch => "SeqNumberMismatch",
            NeighborEvent::BadLsReq => "BadLSReq",
            NeighborEvent::InactivityTimer => "InactivityTimer",
            NeighborEvent::KillNbr => "KillNbr",
        }
    }
}

/// RFC 2328 section 10.3: the next state; the same one where nothing changes. `adjacent`: section 10.4.
pub fn neighbor(state: NeighborState, event: NeighborEvent, adjacent: bool) -> NeighborState {
    use NeighborEvent as E;
    use NeighborState as S;
    let two_way = if adjacent { S::ExStart } else { S::TwoWay };
    match (event, state) {
        (E::HelloReceived, S::Down) => S::Init,
        (E::HelloReceived, S::Init | S::TwoWay | S::ExStart | S::Exchange | S::Loading | S::Full) => state,

        (E::TwoWayReceived, S::Init) => two_way,
        (E::TwoWayReceived, S::Down | S::TwoWay | S::ExStart | S::Exchange | S::Loading | S::Full) => state,

        (E::OneWayReceived, S::TwoWay | S::ExStart | S::Exchange | S::Loading | S::Full) => S::Init,
        (E::OneWayReceived, S::Down | S::Init) => state,

        (E::NegotiationDone, S::ExStart) => S::Exchange,
        (E::NegotiationDone, S::Down | S::Init | S::TwoWay | S::Exchange | S::Loading | S::Full) => state,

        (E::ExchangeDone { nothing_to_load: true }, S::Exchange) => S::Full,
        (E::ExchangeDone { nothing_to_load: false }, S::Exchange) => S::Loading,
        (E::ExchangeDone { .. }, S::Down | S::Init | S::TwoWay | S::ExStart | S::Loading | S::Full) => state,

        (E::LoadingDone, S::Loading) => S::Full,
        (E::LoadingDone, S::Down | S::Init | S::TwoWay | S::ExStart | S::Exchange | S::Full) => state,

        (E::AdjOk, S::TwoWay) => two_way,
        (E::AdjOk, S::ExStart | S::Exchange | S::Loading | S::Full) if !adjacent => S::TwoWay,
        (E::AdjOk, S::Down | S::Init | S::ExStart | S::Exchange | S::Loading | S::Full) => state,

        (E::SeqNumberMismatch | E::BadLsReq, S::Exchange | S::Loading | S::Full) => S::ExStart,
        (E::SeqNumberMismatch | E::BadLsReq, S::Down | S::Init | S::TwoWay | S::ExStart) => state,

        (
            E::InactivityTimer | E::KillNbr,
            S::Down | S::Init | S::TwoWay | S::ExStart | S::Exchange | S::Loading | S::Full,
        ) => S::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_2328_section_9_3_the_interface_table() {
        use InterfaceEvent::{BackupSeen, InterfaceDown, NeighborChange, WaitTimer};
        use InterfaceState::{Backup, Down, Dr, DrOther, Loopback, PointToPoint, Waiting};
        use InterfaceStep::{Elect, Go, Stay};
        let up = |network, may_be_dr| InterfaceEvent::Up { network, may_be_dr };
        let table = [
            (Down, up(NetworkType::PointToPoint, true), Go(PointToPoint)),
            (Down, up(NetworkType::Broadcast, true), Go(Waiting)),
            (Down, up(NetworkType::Broadcast, false), Go(DrOther)),
            (Down, up(NetworkType::Loopback, true), Go(Loopback)),
            (Waiting, WaitTimer, Elect),
            (Waiting, BackupSeen, Elect),
            (Waiting, NeighborChange, Stay),
            (PointToPoint, NeighborChange, Stay),
            (Dr, NeighborChange, Elect),
            (Backup, NeighborChange, Elect),
            (DrOther, NeighborChange, Elect),
            (Dr, WaitTimer, Stay),
            (Dr, InterfaceDown, Go(Down)),
            (PointToPoint, InterfaceDown, Go(Down)),
            (Down, InterfaceDown, Stay),
        ];
        for (state, event, step) in table {
            assert_eq!(interface(state, event), step, "{state:?} {event:?}");
        }
    }

    #[test]
    fn rfc_2328_section_10_3_the_neighbor_table() {
        use NeighborEvent::*;
        use NeighborState::*;
        let all = [Down, Init, TwoWay, ExStart, Exchange, Loading, Full];
        // The next states of Down, Init, 2-Way, ExStart, Exchange, Loading, Full: where an adjacency is wanted, where not.
        let table = [
            (HelloReceived, [Init, Init, TwoWay, ExStart, Exchange, Loading, Full], None),
            (
                TwoWayReceived,
                [Down, ExStart, TwoWay, ExStart, Exchange, Loading, Full],
                Some([Down, TwoWay, TwoWay, ExStart, Exchange, Loading, Full]),
            ),
            (OneWayReceived, [Down, Init, Init, Init, Init, Init, Init], None),
            (NegotiationDone, [Down, Init, TwoWay, Exchange, Exchange, Loading, Full], None),
            (ExchangeDone { nothing_to_load: true }, [Down, Init, TwoWay, ExStart, Full, Loading, Full], None),
            (ExchangeDone { nothing_to_load: false }, [Down, Init, TwoWay, ExStart, Loading, Loading, Full], None),
            (LoadingDone, [Down, Init, TwoWay, ExStart, Exchange, Full, Full], None),
            (
                AdjOk,
                [Down, Init, ExStart, ExStart, Exchange, Loading, Full],
                Some([Down, Init, TwoWay, TwoWay, TwoWay, TwoWay, TwoWay]),
            ),
            (SeqNumberMismatch, [Down, Init, TwoWay, ExStart, ExStart, ExStart, ExStart], None),
            (BadLsReq, [Down, Init, TwoWay, ExStart, ExStart, ExStart, ExStart], None),
            (InactivityTimer, [Down; 7], None),
            (KillNbr, [Down; 7], None),
        ];
        for (event, adjacent, not_adjacent) in table {
            assert_eq!(all.map(|state| neighbor(state, event, true)), adjacent, "{event:?}");
            let not_adjacent = not_adjacent.unwrap_or(adjacent);
            assert_eq!(all.map(|state| neighbor(state, event, false)), not_adjacent, "{event:?}, not adjacent");
        }
    }
}
