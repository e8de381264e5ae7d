//! The protocols that bring routes, and which of their routes are stale.

use std::cmp::Ordering;
use std::sync::Arc;

use sdk::core::Time;

/// Number of a client's channel; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// Number of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(u16);

impl ProtocolId {
    /// Subnets of the interfaces.
    pub const CONNECTED: ProtocolId = ProtocolId(0);
    /// `router static`.
    pub const STATIC: ProtocolId = ProtocolId(1);
}

/// Counts the lives of a protocol: a route of an earlier one is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Epoch(pub u32);

/// A protocol.
#[derive(Debug)]
pub struct Protocol {
    /// As `show route` prints it.
    pub name: Arc<str>,
    /// Its present life.
    pub epoch: Epoch,
    /// Its channel, while it lives.
    pub client: Option<Client>,
    /// Its routes.
    pub routes: usize,
    /// Those of an earlier life.
    pub stale: usize,
    /// When the stale ones go.
    pub sweep_at: Option<Time>,
    /// It said that all routes were sent.
    pub complete: bool,
    /// How much it may bring and ask for; `None`: as much as it likes.
    pub limits: Option<Limits>,
    /// Routes beyond that, since it last had room.
    pub refused: u64,
}

/// How much a protocol may bring and ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Routes.
    pub routes: usize,
    /// Tracked next hops and prefixes.
    pub tracked: usize,
    /// What it redistributes by: protocols, and entries of prefix lists.
    pub matches: usize,
}

/// All protocols that ever came.
#[derive(Debug)]
pub struct Protocols(Vec<Protocol>);

impl Default for Protocols {
    fn default() -> Self {
        Self(vec![Protocol::new("connected"), Protocol::new("static")])
    }
}

impl Protocol {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            epoch: Epoch::default(),
            client: None,
            routes: 0,
            stale: 0,
            sweep_at: None,
            complete: false,
            limits: None,
            refused: 0,
        }
    }

    /// A new life begins or the old one ends: what it has so far is stale.
    pub fn age(&mut self, sweep_at: Time) {
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
        self.stale = self.routes;
        self.sweep_at = (self.stale > 0).then_some(sweep_at);
        self.complete = false;
    }
}

impl Protocols {
    /// The protocol of this name, new or known; a new one may get the number of one that is gone and left nothing.
    /// `None`: the name is one of the RIB's own protocols, or there are too many.
    pub fn intern(&mut self, name: &str) -> Option<ProtocolId> {
        let own = usize::from(ProtocolId::STATIC.0) + 1;
        if let Some(known) = self.0.iter().position(|protocol| &*protocol.name == name) {
            return (known >= own).then_some(ProtocolId(u16::try_from(known).ok()?));
        }
        let free = self.0.iter().skip(own).position(|protocol| protocol.client.is_none() && protocol.routes == 0);
        let index = free.map_or(self.0.len(), |free| own + free);
        let id = ProtocolId(u16::try_from(index).ok()?);
        match self.0.get_mut(index) {
            Some(protocol) => *protocol = Protocol::new(name),
            None => self.0.push(Protocol::new(name)),
        }
        Some(id)
    }

    /// A protocol.
    pub fn get(&self, id: ProtocolId) -> Option<&Protocol> {
        self.0.get(usize::from(id.0))
    }

    /// A protocol, to be changed.
    pub fn get_mut(&mut self, id: ProtocolId) -> Option<&mut Protocol> {
        self.0.get_mut(usize::from(id.0))
    }

    /// Its name.
    pub fn name(&self, id: ProtocolId) -> &str {
        self.get(id).map_or("", |protocol| &protocol.name)
    }

    /// Whose channel this is.
    pub fn of(&self, client: Client) -> Option<ProtocolId> {
        self.iter().find(|(_, protocol)| protocol.client == Some(client)).map(|(id, _)| id)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (ProtocolId, &Protocol)> {
        self.0.iter().enumerate().map(|(index, protocol)| (ProtocolId(index as u16), protocol))
    }

    /// Order of two protocols whose routes are equally good: the RIB's own, then by name, so that it does not matter
    /// who came first.
    pub fn order(&self, a: ProtocolId, b: ProtocolId) -> Ordering {
        match a.min(b) <= ProtocolId::STATIC {
            true => a.cmp(&b),
            false => self.name(a).cmp(self.name(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equally_good_protocols_are_ordered_by_name_whoever_came_first() {
        let mut protocols = Protocols::default();
        let ospf = protocols.intern("ospf").unwrap();
        protocols.get_mut(ospf).unwrap().routes = 1;
        let bgp = protocols.intern("bgp").unwrap();
        assert_eq!(protocols.order(bgp, ospf), Ordering::Less);
        assert_eq!(protocols.order(ospf, bgp), Ordering::Greater);
        assert_eq!(protocols.order(bgp, bgp), Ordering::Equal);
        assert_eq!(protocols.order(bgp, ProtocolId::STATIC), Ordering::Greater);
        assert_eq!(protocols.order(ProtocolId::CONNECTED, ProtocolId::STATIC), Ordering::Less);
    }

    #[test]
    fn nobody_may_call_himself_connected_or_static() {
        let mut protocols = Protocols::default();
        assert_eq!(protocols.intern("static"), None);
        assert_eq!(protocols.intern("connected"), None);
        assert_eq!(protocols.intern("bgp"), protocols.intern("bgp"));
    }

    #[test]
    fn programs_that_come_under_ever_new_names_take_no_numbers_away() {
        let mut protocols = Protocols::default();
        let bgp = protocols.intern("bgp").unwrap();
        protocols.get_mut(bgp).unwrap().client = Some(Client(1));
        for n in 0..70_000 {
            assert!(protocols.intern(&format!("program-{n}")).is_some_and(|id| id != bgp), "{n}");
        }
        assert_eq!((protocols.name(bgp), protocols.iter().count()), ("bgp", 4));
    }
}
