//! Who wants to know what: reachability of addresses, and best routes to prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use sdk::rib::{Reached, RibUpdate};
use stack_api::fib::FibNextHop;
use vr_api::manager::RibAnswer;

use crate::protocols::Client;
use crate::resolve::Resolution;

/// What a tracker of an address was told last; `None` before the first answer.
type Told<T> = Option<Option<T>>;

/// Whether an answer "not there" is given to one who was told nothing yet. While the RIB itself is new, routes may
/// only not have arrived again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negative {
    /// Tell it.
    Tell,
    /// Wait until it is sure.
    Withhold,
}

/// All questions that stand.
#[derive(Debug, Default)]
pub struct Trackers {
    addresses: BTreeMap<IpAddr, AddressTracker>,
    prefixes: BTreeMap<IpNet, BTreeMap<Client, Told<u32>>>,
    /// How many of both each client asks for.
    counts: BTreeMap<Client, usize>,
}

#[derive(Debug, Default)]
struct AddressTracker {
    clients: BTreeMap<Client, Told<Reached>>,
    manager: Option<Told<InterfaceName>>,
}

impl Trackers {
    /// A client asks for an address. Asked once more, it is answered once more.
    pub fn track_address(&mut self, client: Client, address: IpAddr) {
        if self.addresses.entry(address).or_default().clients.insert(client, None).is_none() {
            *self.counts.entry(client).or_default() += 1;
        }
    }

    /// It no longer does.
    pub fn untrack_address(&mut self, client: Client, address: IpAddr) {
        if self.addresses.get_mut(&address).is_some_and(|tracker| tracker.clients.remove(&client).is_some()) {
            self.one_less(client);
        }
        self.tidy_address(address);
    }

    /// A client asks for a prefix.
    pub fn track_prefix(&mut self, client: Client, prefix: IpNet) {
        if self.prefixes.entry(prefix).or_default().insert(client, None).is_none() {
            *self.counts.entry(client).or_default() += 1;
        }
    }

    /// It no longer does.
    pub fn untrack_prefix(&mut self, client: Client, prefix: IpNet) {
        let Some(clients) = self.prefixes.get_mut(&prefix) else { return };
        let asked = clients.remove(&client).is_some();
        if clients.is_empty() {
            self.prefixes.remove(&prefix);
        }
        if asked {
            self.one_less(client);
        }
    }

    fn one_less(&mut self, client: Client) {
        if let Some(count) = self.counts.get_mut(&client) {
            *count -= 1;
        }
    }

    /// The manager asks for exactly these addresses. Returns those that nobody asks for any more.
    pub fn track_for_manager(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        for address in wanted {
            self.addresses.entry(*address).or_default().manager = Some(None);
        }
        let asked = self.addresses.iter_mut().filter(|(address, _)| !wanted.contains(address));
        let dropped: Vec<IpAddr> =
            asked.filter_map(|(address, tracker)| tracker.manager.take().map(|_| *address)).collect();
        dropped.into_iter().filter(|address| self.tidy_address(*address)).collect()
    }

    /// A client is gone. Returns the addresses that nobody asks for any more.
    pub fn forget_client(&mut self, client: Client) -> Vec<IpAddr> {
        self.counts.remove(&client);
        self.prefixes.retain(|_, clients| {
            clients.remove(&client);
            !clients.is_empty()
        });
        let asked = self.addresses.iter_mut();
        let dropped: Vec<IpAddr> =
            asked.filter_map(|(address, tracker)| tracker.clients.remove(&client).map(|_| *address)).collect();
        dropped.into_iter().filter(|address| self.tidy_address(*address)).collect()
    }

    /// How many addresses and prefixes a client asks for.
    pub fn count(&self, client: Client) -> usize {
        self.counts.get(&client).copied().unwrap_or(0)
    }

    /// Whether somebody asks for the address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Whether somebody asks for the prefix.
    pub fn has_prefix(&self, prefix: IpNet) -> bool {
        self.prefixes.contains_key(&prefix)
    }

    /// Who asks for a prefix.
    pub fn of_prefix(&self, prefix: IpNet) -> Vec<Client> {
        self.prefixes.get(&prefix).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// All addresses that somebody asks for.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.keys().copied().collect()
    }

    /// All prefixes that somebody asks for.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.prefixes.keys().copied().collect()
    }

    /// Answers to clients about an address, for all who were last told something else.
    pub fn tell_address(
        &mut self,
        address: IpAddr,
        resolution: Option<&Resolution>,
        negative: Negative,
    ) -> Vec<(Client, RibUpdate)> {
        let Some(tracker) = self.addresses.get_mut(&address) else { return Vec::new() };
        let reached = resolution.and_then(reached);
        let mut updates = Vec::new();
        for (client, told) in &mut tracker.clients {
            if say(told, &reached, negative) {
                updates.push((*client, RibUpdate::NextHop { address, reached: reached.clone() }));
            }
        }
        updates
    }

    /// The answer to the manager about some addresses, if there is something new.
    pub fn tell_manager<'a>(
        &mut self,
        addresses: impl Iterator<Item = (IpAddr, Option<&'a Resolution>)>,
        negative: Negative,
    ) -> Option<RibAnswer> {
        let mut answers = Vec::new();
        for (address, resolution) in addresses {
            let interface = resolution.and_then(outgoing);
            let told = self.addresses.get_mut(&address).and_then(|tracker| tracker.manager.as_mut());
            if told.is_some_and(|told| say(told, &interface, negative)) {
                answers.push((address, interface));
            }
        }
        (!answers.is_empty()).then_some(RibAnswer::Reachable(answers))
    }

    /// The answer to one client about a prefix, if it was last told something else.
    pub fn tell_prefix(
        &mut self,
        client: Client,
        prefix: IpNet,
        metric: Option<u32>,
        negative: Negative,
    ) -> Option<RibUpdate> {
        let told = self.prefixes.get_mut(&prefix)?.get_mut(&client)?;
        say(told, &metric, negative).then_some(RibUpdate::Prefix { prefix, metric })
    }

    /// Forgets an address that nobody asks for; whether it did.
    fn tidy_address(&mut self, address: IpAddr) -> bool {
        let unused =
            self.addresses.get(&address).is_some_and(|tracker| tracker.clients.is_empty() && tracker.manager.is_none());
        if unused {
            self.addresses.remove(&address);
        }
        unused
    }
}

/// Whether `now` must be said to one who was told `told`; remembers that it was.
fn say<T: Clone + PartialEq>(told: &mut Told<T>, now: &Option<T>, negative: Negative) -> bool {
    let withhold = told.is_none() && now.is_none() && negative == Negative::Withhold;
    if withhold || told.as_ref() == Some(now) {
        return false;
    }
    *told = Some(now.clone());
    true
}

/// Interface of the last step; a discarding route leads to `Null0`.
fn reached(resolution: &Resolution) -> Option<Reached> {
    let interface = match resolution.hops.first()? {
        FibNextHop::Via { interface, .. } => interface.clone(),
        FibNextHop::Discard => InterfaceName::new(vr_api::interface::NULL).ok()?,
    };
    Some(Reached { metric: resolution.metric, connected: resolution.connected, interface })
}

/// Interface that packets leave by, if they leave.
fn outgoing(resolution: &Resolution) -> Option<InterfaceName> {
    match resolution.hops.first()? {
        FibNextHop::Via { interface, .. } => Some(interface.clone()),
        FibNextHop::Discard => None,
    }
}
