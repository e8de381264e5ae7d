//! The table against a naive model that computes everything from scratch.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sdk::rib::Reached;

use super::*;
use crate::resolve::MAX_DEPTH;

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Add { client: usize, prefix: usize, distance: u8, hops: Vec<usize> },
    Remove { client: usize, prefix: usize },
    Statics(Vec<(usize, usize, u8)>),
    Interface { index: usize, up: bool },
    RemoveInterface(usize),
    ForgetFib,
}

const CLIENTS: [Client; 2] = [BGP, OSPF];
const INTERFACES: [&str; 3] = ["blue 10.0.0.0/31", "green 10.0.1.1/24", "grey 20.1.0.1/16 10.0.1.9/25"];
const PREFIXES: [&str; 9] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.1.0/25",
    "20.0.0.0/8",
    "20.1.0.0/16",
    "20.1.2.0/24",
    "30.0.0.0/8",
    "30.0.0.1/32",
    "10.0.1.0/24",
];
const HOPS: [&str; 13] = [
    "10.0.0.1",
    "10.0.1.7",
    "10.0.1.200",
    "20.1.2.3",
    "20.0.0.1",
    "20.1.9.9",
    "30.0.0.1",
    "30.0.0.2",
    "blue",
    "green@10.0.1.50",
    "Null0",
    "10.0.0.0",
    "blue@10.0.0.0",
];

fn step() -> impl Strategy<Value = Step> {
    let hops = prop::collection::vec(0..HOPS.len(), 1..3);
    let statics = prop::collection::vec((0..PREFIXES.len(), 0..HOPS.len(), 1u8..4), 0..4);
    prop_oneof![
        8 => (0..2usize, 0..PREFIXES.len(), 1u8..4, hops)
            .prop_map(|(client, prefix, distance, hops)| Step::Add { client, prefix, distance, hops }),
        3 => (0..2usize, 0..PREFIXES.len()).prop_map(|(client, prefix)| Step::Remove { client, prefix }),
        2 => statics.prop_map(Step::Statics),
        3 => (0..INTERFACES.len(), any::<bool>()).prop_map(|(index, up)| Step::Interface { index, up }),
        1 => (0..INTERFACES.len()).prop_map(Step::RemoveInterface),
        1 => Just(Step::ForgetFib),
    ]
}

/// Everything that was offered: rank of the protocol, distance, next hops.
#[derive(Default)]
struct Model {
    offers: BTreeMap<(IpNet, &'static str, u8), (u8, Vec<NextHop>)>,
    interfaces: BTreeMap<InterfaceName, InterfaceState>,
}

/// How an address is reached: hops, metric and whether it is connected.
type Found = (BTreeSet<FibNextHop>, bool);

impl Model {
    /// All routes to all prefixes, best first.
    fn routes(&self) -> Vec<(IpNet, &'static str, u8, Vec<NextHop>)> {
        let mut routes: Vec<_> = self
            .offers
            .iter()
            .map(|((prefix, name, _), (distance, hops))| (*prefix, *name, *distance, hops.clone()))
            .collect();
        let mut seen = BTreeSet::new();
        for state in self.interfaces.values().filter(|state| state.up) {
            for address in state.addresses.iter().filter(|address| seen.insert(address.trunc())) {
                routes.push((address.trunc(), "connected", 0, vec![NextHop::Interface(state.name.clone())]));
            }
        }
        let rank = |name: &str| ["connected", "static", "bgp", "ospf"].iter().position(|other| *other == name);
        routes.sort_by_key(|(prefix, name, distance, _)| (*prefix, *distance, rank(name)));
        routes
    }

    fn is_up(&self, name: &InterfaceName) -> bool {
        self.interfaces.get(name).is_some_and(|state| state.up)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let up = self.interfaces.values().filter(|state| state.up);
        up.flat_map(|state| &state.addresses).any(|own| own.addr() == address)
    }

    fn address(&self, address: IpAddr, path: &[IpNet], depth: usize) -> Option<Found> {
        if depth >= MAX_DEPTH || self.is_own(address) {
            return None;
        }
        let routes = self.routes();
        let mut covering: Vec<IpNet> = routes.iter().map(|route| route.0).filter(|p| p.contains(&address)).collect();
        covering.dedup();
        covering.retain(|prefix| !path.contains(prefix));
        covering.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix_len()));
        covering.iter().find_map(|prefix| {
            let path: Vec<IpNet> = path.iter().copied().chain([*prefix]).collect();
            routes.iter().filter(|route| route.0 == *prefix).find_map(|(_, name, _, hops)| {
                Some((self.hops(hops, Some(address), &path, depth + 1)?, *name == "connected"))
            })
        })
    }

    fn hops(&self, hops: &[NextHop], to: Option<IpAddr>, path: &[IpNet], depth: usize) -> Option<BTreeSet<FibNextHop>> {
        let mut all = BTreeSet::new();
        for hop in hops {
            match hop {
                NextHop::Address(address) => {
                    all.extend(self.address(*address, path, depth).map(|f| f.0).unwrap_or_default())
                }
                NextHop::Discard => _ = all.insert(FibNextHop::Discard),
                NextHop::Interface(interface) if self.is_up(interface) => {
                    all.insert(FibNextHop::Via { interface: interface.clone(), address: to });
                }
                NextHop::OnInterface(interface, address) if self.is_up(interface) && !self.is_own(*address) => {
                    all.insert(FibNextHop::Via { interface: interface.clone(), address: Some(*address) });
                }
                NextHop::Interface(_) | NextHop::OnInterface(..) => {}
            }
        }
        if all.len() > 1 {
            all.remove(&FibNextHop::Discard);
        }
        (!all.is_empty()).then_some(all)
    }

    fn fib(&self) -> BTreeMap<IpNet, Vec<FibNextHop>> {
        let mut fib = BTreeMap::new();
        for (prefix, _, _, hops) in self.routes() {
            if !fib.contains_key(&prefix)
                && let Some(hops) = self.hops(&hops, None, &[prefix], 0)
            {
                fib.insert(prefix, hops.into_iter().collect());
            }
        }
        fib
    }

    /// Who is told after a step that its route leads nowhere.
    fn unused(&self, step: &Step) -> Vec<(Client, IpNet)> {
        let Step::Add { client, prefix, hops, .. } = step else { return Vec::new() };
        let prefix: IpNet = PREFIXES[*prefix].parse().unwrap();
        let hops: Vec<NextHop> = hops.iter().map(|index| hop(HOPS[*index])).collect();
        let leads = self.hops(&hops, None, &[prefix], 0).is_some();
        if leads { Vec::new() } else { vec![(CLIENTS[*client], prefix)] }
    }

    fn tracked(&self, address: IpAddr) -> Option<Reached> {
        let (hops, connected) = self.address(address, &[], 0)?;
        let interface = match hops.first()? {
            FibNextHop::Via { interface, .. } => interface.clone(),
            FibNextHop::Discard => name("Null0"),
        };
        Some(Reached { metric: 0, connected, interface })
    }

    fn other(&self, prefix: IpNet, than: &str) -> Option<u32> {
        let routes = self.routes();
        let mut others = routes.iter().filter(|route| route.0 == prefix && route.1 != than);
        others.any(|route| self.hops(&route.3, None, &[prefix], 0).is_some()).then_some(0)
    }
}

fn happen(world: &mut World, model: &mut Model, step: &Step) {
    let prefix = |index: usize| -> IpNet { PREFIXES[index].parse().unwrap() };
    let names = ["bgp", "ospf"];
    match step {
        Step::Add { client, prefix: index, distance, hops } => {
            let next_hops: Vec<NextHop> = hops.iter().map(|index| hop(HOPS[*index])).collect();
            model.offers.insert((prefix(*index), names[*client], 0), (*distance, next_hops.clone()));
            let route = Route::new(prefix(*index), *distance, 0, next_hops);
            world.input(Input::Request(CLIENTS[*client], RibRequest::Routes(vec![RouteChange::Add(route)])));
        }
        Step::Remove { client, prefix: index } => {
            model.offers.remove(&(prefix(*index), names[*client], 0));
            world.remove(CLIENTS[*client], PREFIXES[*index]);
        }
        Step::Statics(lines) => {
            model.offers.retain(|key, _| key.1 != "static");
            let mut text = Vec::new();
            for (index, to, distance) in lines.iter().filter(|line| !HOPS[line.1].contains('@')) {
                text.push(format!("{} {} {distance}", PREFIXES[*index], HOPS[*to]));
                let key = (prefix(*index), "static", *distance);
                model.offers.entry(key).or_insert((*distance, Vec::new())).1.push(hop(HOPS[*to]));
            }
            world.statics(&text.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Step::Interface { index, up } => {
            let state = interface(INTERFACES[*index], *up);
            model.interfaces.insert(state.name.clone(), state.clone());
            world.input(Input::Interface(state));
        }
        Step::RemoveInterface(index) => {
            let name = interface(INTERFACES[*index], true).name;
            model.interfaces.remove(&name);
            world.input(Input::InterfaceRemoved(name));
        }
        Step::ForgetFib => {
            world.input(Input::FibDown);
            world.input(Input::FibUp);
        }
    }
}

#[test]
fn a_route_whose_only_way_left_leads_through_itself_is_gone() {
    let (through_10, through_itself) = (11, 6);
    let steps = [
        Step::Add { client: 1, prefix: 1, distance: 1, hops: vec![3] },
        Step::Add { client: 1, prefix: 6, distance: 1, hops: vec![through_10, through_itself] },
        Step::Add { client: 0, prefix: 6, distance: 1, hops: vec![3] },
        Step::Interface { index: 2, up: true },
        Step::Remove { client: 1, prefix: 1 },
    ];
    let (mut world, mut model) = (World::settled(&[]), Model::default());
    let prefix: IpNet = PREFIXES[6].parse().unwrap();
    world.input(Input::Request(BGP, RibRequest::TrackPrefix(prefix)));
    let mut told = None;
    for step in &steps {
        happen(&mut world, &mut model, step);
        for (_, update) in world.take_updates() {
            if let RibUpdate::Prefix { metric, .. } = update {
                told = metric;
            }
        }
        assert_eq!(told, model.other(prefix, "bgp"), "after {step:?}");
    }
    assert_eq!(told, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_fib_is_what_a_computation_from_scratch_gives(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::settled(&[]);
        let mut model = Model::default();
        let mut told = BTreeMap::new();
        let mut told_prefixes = BTreeMap::new();
        let addresses: Vec<IpAddr> = HOPS.iter().filter_map(|text| text.parse().ok()).collect();
        for address in &addresses {
            world.input(Input::Request(BGP, RibRequest::TrackNextHop(*address)));
        }
        for prefix in PREFIXES {
            world.input(Input::Request(BGP, RibRequest::TrackPrefix(prefix.parse().unwrap())));
        }
        for step in &steps {
            happen(&mut world, &mut model, step);
            prop_assert_eq!(&world.fib, &model.fib(), "after {:?}", step);
            let mut unused = Vec::new();
            for (client, update) in world.take_updates() {
                match update {
                    RibUpdate::Unused(routes) => unused.extend(routes.iter().map(|route| (client, route.prefix))),
                    RibUpdate::NextHop { address, reached } => _ = told.insert(address, reached),
                    RibUpdate::Prefix { prefix, metric } => _ = told_prefixes.insert(prefix, metric),
                    RibUpdate::Redistributed(_) | RibUpdate::RedistributionComplete => {
                        prop_assert!(false, "nobody asked for that");
                    }
                    RibUpdate::Refused { .. } | RibUpdate::Denied { .. } => {
                        prop_assert!(false, "{:?} is refused", step);
                    }
                }
            }
            prop_assert_eq!(unused, model.unused(step), "after {:?}", step);
            for address in &addresses {
                prop_assert_eq!(&told[address], &model.tracked(*address), "{} after {:?}", address, step);
            }
            for (prefix, metric) in &told_prefixes {
                prop_assert_eq!(*metric, model.other(*prefix, "bgp"), "{} after {:?}", prefix, step);
            }
        }
        // When everything is taken back, nothing is left behind.
        world.statics(&[]);
        world.input(Input::Interfaces(Vec::new()));
        for (client, prefix) in CLIENTS.iter().flat_map(|client| PREFIXES.map(|prefix| (*client, prefix))) {
            world.remove(client, prefix);
        }
        world.input(Input::ClientLeft(BGP));
        prop_assert!(world.fib.is_empty());
        prop_assert_eq!(world.rib.table().iter().count(), 0);
        prop_assert!(world.rib.table().hop_sets.is_empty());
        prop_assert_eq!(world.rib.evaluations(), 0);
    }
}
