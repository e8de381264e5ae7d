//! What the library counts: drops by reason, traffic by inter-VR interface.

use std::collections::HashMap;
use std::fmt;

use ipc::InterfaceName;
use vr_api::manager::InterVrCounters;

use crate::vrfib::{Lookups, VrFib};

/// Why a connection that somebody opened did not reach a listener.
///
/// ```
/// use sockets::AcceptDrop;
/// # let (mut router, mut red, mut blue, _) = sockets_testing::joined();
///
/// # (0..5).for_each(|_| drop(red.open("10.0.0.2:179")));
/// # router.run(&mut [&mut red, &mut blue]);
/// for reason in AcceptDrop::ALL {
///     println!("{reason}: {}", blue.library.drops(reason));
/// }
/// // Of five connections four found room at the listener.
/// assert_eq!(blue.library.drops(AcceptDrop::BacklogFull), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcceptDrop {
    /// The terms of the open are no addresses.
    BadTerms,
    /// The opener's VR may not use the source address that it claims.
    ForgedSource,
    /// The destination is not what the opened pathname stands for.
    WrongDestination,
    /// Nobody listens there any longer.
    NoListener,
    /// The inter-VR interface is shut.
    InterfaceDown,
    /// The listener does not accept fast enough.
    BacklogFull,
}

impl AcceptDrop {
    /// All reasons.
    pub const ALL: [AcceptDrop; 6] = [
        AcceptDrop::BadTerms,
        AcceptDrop::ForgedSource,
        AcceptDrop::WrongDestination,
        AcceptDrop::NoListener,
        AcceptDrop::InterfaceDown,
        AcceptDrop::BacklogFull,
    ];
}

impl fmt::Display for AcceptDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AcceptDrop::BadTerms => "bad terms",
            AcceptDrop::ForgedSource => "forged source",
            AcceptDrop::WrongDestination => "wrong destination",
            AcceptDrop::NoListener => "no listener",
            AcceptDrop::InterfaceDown => "interface down",
            AcceptDrop::BacklogFull => "backlog full",
        })
    }
}

/// A counter for each [`AcceptDrop`].
#[derive(Debug, Default)]
pub(crate) struct Drops(HashMap<AcceptDrop, u64>);

impl Drops {
    pub fn count(&mut self, reason: AcceptDrop) {
        *self.0.entry(reason).or_default() += 1;
    }

    pub fn of(&self, reason: AcceptDrop) -> u64 {
        self.0.get(&reason).copied().unwrap_or_default()
    }
}

/// Traffic of one inter-VR interface.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub connections: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl Traffic {
    pub fn sent(bytes: usize) -> Self {
        Self { bytes_sent: bytes as u64, ..Self::default() }
    }

    pub fn received(bytes: usize) -> Self {
        Self { bytes_received: bytes as u64, ..Self::default() }
    }

    pub fn add(&mut self, other: Traffic) {
        self.connections += other.connections;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

/// Traffic by interface, each with a place that does not move: who counts often keeps the place.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrafficTable {
    places: HashMap<InterfaceName, usize>,
    rows: Vec<Traffic>,
}

impl TrafficTable {
    pub fn place(&mut self, interface: &InterfaceName) -> usize {
        if let Some(place) = self.places.get(interface) {
            return *place;
        }
        self.rows.push(Traffic::default());
        self.places.insert(interface.clone(), self.rows.len() - 1);
        self.rows.len() - 1
    }

    #[inline]
    pub fn add_at(&mut self, place: usize, traffic: Traffic) {
        if let Some(row) = self.rows.get_mut(place) {
            row.add(traffic);
        }
    }

    pub fn add(&mut self, interface: &InterfaceName, traffic: Traffic) {
        let place = self.place(interface);
        self.add_at(place, traffic);
    }

    fn of(&self, interface: &InterfaceName) -> Traffic {
        self.places.get(interface).and_then(|place| self.rows.get(*place)).copied().unwrap_or_default()
    }
}

/// The counters of every inter-VR interface that was used.
pub(crate) fn inter_vr(vrfib: &VrFib, traffic: &TrafficTable) -> Vec<InterVrCounters> {
    let rows = vrfib.interfaces().map(|interface| {
        let Lookups { hits: vrfib_hits, misses: vrfib_misses } = vrfib.lookups(&interface.name);
        let Traffic { connections, bytes_sent, bytes_received } = traffic.of(&interface.name);
        let interface = interface.name.clone();
        InterVrCounters { interface, connections, bytes_sent, bytes_received, vrfib_hits, vrfib_misses }
    });
    rows.filter(|row| row.connections + row.bytes_sent + row.bytes_received + row.vrfib_hits + row.vrfib_misses > 0)
        .collect()
}
