//! The manager without input or output: the databases, and what follows from a change of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipc::protocol::{Generation, Identity, Order, Ticket, VrRow};
use ipc::service::ClientId;
use ipc::terms::Clause;
use ipc::{InterfaceName, Pathname, Pid, VrId};
use vr_api::interface::peer_of;
use vr_api::manager::{LibraryUpdate, Listener, Membership, RibQuestion, VrFibUpdate};

use super::connections::{Database, Interface, Published, VirtualRouter, pair};
use super::desired::Desired;
use super::distribute::{Distribution, interfaces_first};
use super::mapping::{Mapping, NoVrIdLeft};

/// What the manager wants done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Tell a library.
    Library(ClientId, LibraryUpdate),
    /// Ask a RIB.
    Rib(ClientId, RibQuestion),
    /// Order something of procmgr.
    Order(Order),
}

/// A publication that procmgr has not confirmed.
#[derive(Debug)]
pub struct Publishing {
    client: ClientId,
    ticket: u32,
    vr: VrId,
    published: Published,
}

/// After a restart: nobody is told anything before the configuration is known and all had the time to publish again, so
/// that no vrFIB loses an entry for a listener that never went away.
#[derive(Debug, Default)]
struct Holding {
    configured: bool,
    /// Endpoints that an earlier manager published and nobody has named yet. Under the same number those who know them
    /// still reach them.
    expected: HashMap<Pathname, u64>,
    /// Acknowledgements for when everybody knows what they say.
    published: Vec<(ClientId, LibraryUpdate)>,
}

/// What procmgr knows from an earlier manager.
#[derive(Debug, Default)]
pub struct Earlier {
    /// The VRs.
    pub vrs: Vec<VrRow>,
    /// The endpoints of living processes, with the generations of their publications.
    pub endpoints: HashMap<Pathname, u64>,
}

/// The VR connection manager.
#[derive(Debug)]
pub struct Manager {
    /// Names and numbers of the VRs.
    pub mapping: Mapping,
    /// Who is joined with whom, and who listens.
    pub database: Database,
    distribution: Distribution,
    libraries: HashMap<ClientId, Identity>,
    ribs: HashMap<VrId, (ClientId, Vec<IpAddr>)>,
    publishing: HashMap<Ticket, Publishing>,
    next_generation: u64,
    /// After a restart.
    holding: Option<Holding>,
    classes: BTreeMap<VrId, Vec<ipc::ServiceName>>,
}

impl Manager {
    /// A manager, after an `earlier` one. New publications get generations from `first_generation` on, which must be above
    /// those of an earlier manager.
    pub fn new(earlier: Earlier, first_generation: u64) -> Self {
        let holding = Holding { expected: earlier.endpoints, ..Holding::default() };
        let mut manager = Self {
            mapping: Mapping::default(),
            database: Database::default(),
            distribution: Distribution::default(),
            libraries: HashMap::new(),
            ribs: HashMap::new(),
            publishing: HashMap::new(),
            next_generation: first_generation,
            holding: (!earlier.vrs.is_empty()).then_some(holding),
            classes: BTreeMap::new(),
        };
        let mut joined = BTreeSet::new();
        for row in earlier.vrs {
            joined.extend(row.joined.iter().map(|peer| pair(row.vr, *peer)));
            manager.classes.insert(row.vr, row.classes);
            manager.mapping.restore(row.vr, row.name);
        }
        manager.database.configure(BTreeMap::new(), joined);
        manager
    }

    /// What runs in a VR.
    pub fn classes(&self, vr: VrId) -> &[ipc::ServiceName] {
        self.classes.get(&vr).map_or(&[], Vec::as_slice)
    }

    /// Whether updates are held back; [`release`](Self::release) ends that.
    pub fn is_holding(&self) -> bool {
        self.holding.is_some()
    }

    /// Whether it is known what is to be released: the configuration, without which every vrFIB would be emptied.
    pub fn may_release(&self) -> bool {
        self.holding.as_ref().is_some_and(|holding| holding.configured)
    }

    /// Whether somebody who had published under an earlier manager has not done so again.
    pub fn expects_publications(&self) -> bool {
        self.holding.as_ref().is_some_and(|holding| !holding.expected.is_empty())
    }

    /// Tells every library everything, and then those that publish that everybody knows.
    pub fn release(&mut self) -> Vec<Action> {
        let Some(holding) = self.holding.take() else { return Vec::new() };
        let vrs: BTreeSet<VrId> = self.database.vrs().keys().copied().collect();
        for vr in vrs {
            self.distribution.refresh(&self.database, vr);
        }
        let libraries: Vec<(ClientId, VrId)> = self.libraries.iter().map(|(id, who)| (*id, who.vr)).collect();
        let interfaces = libraries.iter().filter_map(|&(client, vr)| {
            let update = self.distribution.interfaces(vr)?;
            Some(Action::Library(client, LibraryUpdate::VrFib(update)))
        });
        let mut actions: Vec<Action> = interfaces.collect();
        actions.extend(libraries.iter().map(|&(client, vr)| self.snapshot(client, vr)));
        actions.extend(holding.published.into_iter().map(|(client, update)| Action::Library(client, update)));
        actions
    }

    /// Puts a configuration in force.
    pub fn configure(&mut self, desired: &Desired) -> Result<Vec<Action>, NoVrIdLeft> {
        let gone: Vec<_> = self.mapping.iter().map(|(name, _)| name.clone()).collect();
        let gone = gone.into_iter().filter(|name| !desired.vrs.iter().any(|vr| vr.name == *name));
        let mut actions = Vec::new();
        for vr in gone.filter_map(|name| self.mapping.remove(&name)).collect::<Vec<_>>() {
            self.classes.remove(&vr);
            actions.push(Action::Order(Order::RemoveVr { vr }));
        }
        let mut vrs = BTreeMap::new();
        for wanted in &desired.vrs {
            let vr = self.mapping.assign(&wanted.name)?;
            if self.classes.get(&vr) != Some(&wanted.classes) {
                self.classes.insert(vr, wanted.classes.clone());
                let (name, classes) = (wanted.name.clone(), wanted.classes.clone());
                actions.push(Action::Order(Order::Vr { vr, name, classes }));
            }
        }
        for wanted in &desired.vrs {
            let Some(vr) = self.mapping.id(&wanted.name) else { continue };
            let interfaces = wanted.interfaces.iter().map(|interface| Interface {
                name: interface.name.clone(),
                addresses: interface.addresses.clone(),
                link_local: interface.link_local,
                shut: interface.shut,
                short_circuit: interface.short_circuit,
                peer: peer_of(&interface.name).and_then(|peer| self.mapping.id(&peer)),
            });
            vrs.insert(vr, VirtualRouter { name: wanted.name.clone(), interfaces: interfaces.collect() });
        }
        let joined: BTreeSet<(VrId, VrId)> =
            desired.connects.iter().filter_map(|(a, b)| Some(pair(self.mapping.id(a)?, self.mapping.id(b)?))).collect();
        let changed = self.database.joined().symmetric_difference(&joined);
        actions.extend(changed.map(|&(a, b)| Action::Order(Order::Join { a, b, joined: joined.contains(&(a, b)) })));
        let affected: BTreeSet<VrId> = vrs.keys().copied().collect();
        self.database.configure(vrs, joined);
        self.distribution.retain(|vr| affected.contains(&vr));
        if let Some(holding) = &mut self.holding {
            holding.configured = true;
        }
        actions.extend(self.distribute(affected));
        Ok(actions)
    }

    /// A library is there.
    pub fn library_up(&mut self, client: ClientId, identity: Identity) -> Vec<Action> {
        let vr = identity.vr;
        self.libraries.insert(client, identity);
        if self.is_holding() { Vec::new() } else { vec![self.snapshot(client, vr)] }
    }

    /// A library is gone, and its process or only its channel: what it published goes; a living process publishes
    /// again.
    pub fn library_gone(&mut self, client: ClientId) -> Vec<Action> {
        let Some(identity) = self.libraries.remove(&client) else { return Vec::new() };
        self.publishing.retain(|_, publishing| publishing.client != client);
        if let Some(holding) = &mut self.holding {
            holding.published.retain(|(publisher, _)| *publisher != client);
        }
        match self.database.withdraw_all(identity.vr, identity.pid) {
            true => self.distribute_to_peers(identity.vr),
            false => Vec::new(),
        }
    }

    /// A process wants to listen: the order for procmgr. [`ordered`](Self::ordered) follows when it was sent.
    pub fn publish(&mut self, client: ClientId, ticket: u32, listener: Listener) -> Option<(Order, Publishing)> {
        let identity = self.libraries.get(&client)?;
        let (vr, pid, backlog) = (identity.vr, identity.pid, listener.backlog);
        let pathname = Pathname::endpoint(vr, pid, listener.criteria);
        let generation = self.generation_of(vr, &pathname);
        let known = self.database.published(vr).iter().filter(|known| known.pathname == pathname);
        let clauses = clauses_of(known.map(|known| &known.listener), &listener);
        let published = Published { pid, pathname: pathname.clone(), generation, listener };
        let order = Order::PublishEndpoint { pathname, generation: Generation(generation), backlog, clauses };
        Some((order, Publishing { client, ticket, vr, published }))
    }

    /// The number of a publication. For as long as a process listens under a name it stays the same, whatever it asks and
    /// at however many addresses: who knows the name under that number must not be refused, for a connection that is no
    /// business of the change.
    fn generation_of(&mut self, vr: VrId, pathname: &Pathname) -> u64 {
        let inherited = self.holding.as_mut().and_then(|holding| holding.expected.remove(pathname));
        let under_way = self.publishing.values().map(|publishing| &publishing.published);
        let mut known = self.database.published(vr).iter().chain(under_way);
        let known = known.find(|known| known.pathname == *pathname).map(|known| known.generation);
        known.or(inherited).unwrap_or_else(|| {
            self.next_generation += 1;
            self.next_generation - 1
        })
    }

    /// The order of a publication was sent under this ticket.
    pub fn ordered(&mut self, ticket: Ticket, publishing: Publishing) {
        self.publishing.insert(ticket, publishing);
    }

    /// procmgr carried out an order.
    pub fn order_done(&mut self, ticket: Ticket) -> Vec<Action> {
        let Some(pending) = self.publishing.remove(&ticket) else { return Vec::new() };
        let pathname = pending.published.pathname.clone();
        self.database.publish(pending.vr, pending.published);
        let mut actions = self.distribute_to_peers(pending.vr);
        let update = LibraryUpdate::Published { ticket: pending.ticket, pathname };
        match &mut self.holding {
            Some(holding) => holding.published.push((pending.client, update)),
            None => actions.push(Action::Library(pending.client, update)),
        }
        actions
    }

    /// procmgr refused an order. `None`: it was no publication.
    pub fn order_refused(&mut self, ticket: Ticket, reason: String) -> Option<Action> {
        let pending = self.publishing.remove(&ticket)?;
        Some(Action::Library(pending.client, LibraryUpdate::Refused { ticket: pending.ticket, reason }))
    }

    /// A process listens no longer.
    pub fn withdraw(&mut self, client: ClientId, criteria: ipc::Criteria, local: Option<IpAddr>) -> Vec<Action> {
        let Some(identity) = self.libraries.get(&client) else { return Vec::new() };
        let (vr, pathname) = (identity.vr, Pathname::endpoint(identity.vr, identity.pid, criteria));
        self.database.withdraw(vr, &pathname, local);
        let mut actions = self.distribute_to_peers(vr);
        let mut left = self.database.published(vr).iter().filter(|known| known.pathname == pathname);
        let order = match left.next() {
            // procmgr forgets what that one asked.
            Some(first) => Order::PublishEndpoint {
                generation: Generation(first.generation),
                backlog: first.listener.backlog,
                clauses: clauses_of(left.map(|known| &known.listener), &first.listener),
                pathname,
            },
            None => Order::WithdrawEndpoint { pathname },
        };
        actions.push(Action::Order(order));
        actions
    }

    /// A process joined a group.
    pub fn join(&mut self, client: ClientId, membership: Membership) -> Vec<Action> {
        self.change_membership(client, membership, Database::join)
    }

    /// A process left a group.
    pub fn leave(&mut self, client: ClientId, membership: Membership) -> Vec<Action> {
        self.change_membership(client, membership, Database::leave)
    }

    fn change_membership(
        &mut self,
        client: ClientId,
        membership: Membership,
        change: fn(&mut Database, VrId, Pid, Membership) -> bool,
    ) -> Vec<Action> {
        let Some((vr, pid)) = self.libraries.get(&client).map(|identity| (identity.vr, identity.pid)) else {
            return Vec::new();
        };
        match change(&mut self.database, vr, pid, membership) {
            true => self.distribute_to_peers(vr),
            false => Vec::new(),
        }
    }

    /// The RIB of a VR is there.
    pub fn rib_up(&mut self, client: ClientId, vr: VrId) -> Vec<Action> {
        let tracked = self.database.tracked(vr);
        self.ribs.insert(vr, (client, tracked.clone()));
        vec![Action::Rib(client, RibQuestion::Track(tracked))]
    }

    /// A RIB is gone. What it last said stays in force: forwarding goes on as well.
    pub fn rib_gone(&mut self, client: ClientId) {
        self.ribs.retain(|_, (rib, _)| *rib != client);
    }

    /// A RIB says where addresses are reached.
    pub fn routes(&mut self, client: ClientId, answers: Vec<(IpAddr, Option<InterfaceName>)>) -> Vec<Action> {
        let Some(vr) = self.ribs.iter().find(|(_, (rib, _))| *rib == client).map(|(vr, _)| *vr) else {
            return Vec::new();
        };
        match self.database.set_routes(vr, answers) {
            // The joined VRs learn what this one cannot answer to.
            true => self.distribute(self.database.peers(vr).chain([vr]).collect::<Vec<_>>()),
            false => Vec::new(),
        }
    }

    /// All libraries, with who they are.
    pub fn libraries(&self) -> impl Iterator<Item = (ClientId, &Identity)> {
        self.libraries.iter().map(|(client, identity)| (*client, identity))
    }

    fn snapshot(&mut self, client: ClientId, vr: VrId) -> Action {
        let update = self.distribution.snapshot(&self.database, vr);
        Action::Library(client, LibraryUpdate::VrFib(update))
    }

    fn distribute_to_peers(&mut self, vr: VrId) -> Vec<Action> {
        let peers: Vec<VrId> = self.database.peers(vr).collect();
        self.distribute(peers)
    }

    /// Brings the vrFIBs of these VRs, and the questions to their RIBs, up to date.
    fn distribute(&mut self, vrs: impl IntoIterator<Item = VrId>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut ways = Vec::new();
        for vr in vrs {
            self.ask_rib(vr, &mut actions);
            if self.is_holding() {
                continue;
            }
            let update = self.distribution.refresh(&self.database, vr);
            // Who may be opened must know of whom to expect that before anybody knows a way to it.
            for part in update.into_iter().flat_map(interfaces_first) {
                let brings_ways = !matches!(part, VrFibUpdate::Change { ref added, .. } if added.is_empty());
                self.tell_libraries(vr, &part, if brings_ways { &mut ways } else { &mut actions });
            }
        }
        actions.append(&mut ways);
        actions
    }

    fn tell_libraries(&self, vr: VrId, update: &VrFibUpdate, actions: &mut Vec<Action>) {
        let concerned = self.libraries.iter().filter(|(_, identity)| identity.vr == vr);
        actions.extend(concerned.map(|(client, _)| Action::Library(*client, LibraryUpdate::VrFib(update.clone()))));
    }

    fn ask_rib(&mut self, vr: VrId, actions: &mut Vec<Action>) {
        let tracked = self.database.tracked(vr);
        if let Some((client, asked)) = self.ribs.get_mut(&vr)
            && *asked != tracked
        {
            asked.clone_from(&tracked);
            actions.push(Action::Rib(*client, RibQuestion::Track(tracked)));
        }
    }
}

/// What a process asks under one name: of each address that it listens at, those of the most specific first. `new` takes
/// the place of the one at its address.
fn clauses_of<'a>(known: impl Iterator<Item = &'a Listener>, new: &'a Listener) -> Vec<Clause> {
    let mut all: Vec<&Listener> = known.filter(|known| known.local != new.local).chain([new]).collect();
    all.sort_by_key(|listener| listener.local.is_none());
    all.into_iter().flat_map(|listener| listener.clauses.iter().cloned()).collect()
}
