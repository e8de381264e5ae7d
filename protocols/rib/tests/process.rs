//! The process of a RIB, with everything around it played by the test.

use std::thread::JoinHandle;

use ipc::message::MessageChannel;
use ipc::protocol::{Notice, Request};
use ipc::{InterfaceName, VrName};
use ipnet::IpNet;
use isthmus_rib::error::RibError;
use sdk::rib::{NextHop, Reached, RibRequest, RibUpdate, Route, RouteChange};
use stack_api::Terms;
use stack_api::fib::{FibChange, FibNextHop, FibReply, FibRequest};
use stack_api::interface::{InterfaceEvent, InterfaceKind, InterfaceState, Nothing};
use vr_api::config::{ConfigUpdate, Node, Subscribe, Verdict};
use vr_api::manager::{RibAnswer, RibQuestion};
use vr_api::show::{ShowReply, ShowRequest, TERMS, Value};

#[path = "../../sdk/tests/support/mod.rs"]
mod support;

use support::{PATIENCE, Procmgr, QUIET, is_quiet, next, process, start, terms};

struct World {
    procmgr: Procmgr,
    thread: JoinHandle<Result<(), RibError>>,
    config: MessageChannel<ConfigUpdate, Verdict>,
    interfaces: MessageChannel<InterfaceEvent, Nothing>,
    fib: MessageChannel<FibReply, FibRequest>,
    manager: MessageChannel<RibQuestion, RibAnswer>,
}

impl World {
    /// Every service is there and has said nothing yet.
    fn new() -> Self {
        let (mut procmgr, thread) = start("rib", isthmus_rib::run);
        procmgr.request(|request| {
            matches!(request, Request::Publish { name, .. } if name.as_str() == "rib").then_some(())
        });
        let subscribe = Subscribe { blocks: ["router static", "router rib", "interface"].map(str::to_owned).into() };
        let subscriber = terms(&vr_api::config::Terms::Subscriber(subscribe));
        let config = procmgr.talk("/0/config", &subscriber, vr_api::config::SCHEMA);
        let (interfaces, fib) = stack(&mut procmgr);
        let rib = terms(&vr_api::manager::Terms::Rib);
        let manager = procmgr.talk("/0/vrmgr", &rib, vr_api::manager::RIB_SCHEMA);
        World { procmgr, thread, config, interfaces, fib, manager }
    }

    /// With interface `blue`, a static route that drops 198.51.100.0/24, and both in the FIB.
    fn ready() -> Self {
        let mut world = World::new();
        world.configure("198.51.100.0/24 Null0");
        world.interfaces.send(&InterfaceEvent::Snapshot(vec![blue(true)])).unwrap();
        assert_eq!(world.download(), both());
        assert!(world.procmgr.is_ready(PATIENCE));
        world
    }

    fn configure(&mut self, route: &str) {
        let family = Node::new("address-family ipv4 unicast", vec![Node::new(route, Vec::new())]);
        self.apply(vec![Node::new("router static", vec![family])]);
    }

    fn apply(&mut self, blocks: Vec<Node>) {
        self.config.send(&ConfigUpdate::Verify { generation: 1, blocks }).unwrap();
        assert_eq!(next(&mut self.config).refused, None);
        self.config.send(&ConfigUpdate::Apply { generation: 1 }).unwrap();
    }

    /// The beginning of a download, acknowledged.
    fn download(&mut self) -> Vec<FibChange> {
        assert_eq!(next(&mut self.fib), FibRequest::Begin);
        self.batch()
    }

    /// A batch, acknowledged.
    fn batch(&mut self) -> Vec<FibChange> {
        let FibRequest::Batch { ticket, changes } = next(&mut self.fib) else { panic!("no batch") };
        self.fib.send(&FibReply::Applied { ticket }).unwrap();
        changes
    }

    /// A protocol opens the RIB.
    fn protocol(&mut self, name: &str) -> MessageChannel<RibRequest, RibUpdate> {
        self.procmgr.open("/1/rib", process(1, name), &[], sdk::rib::SCHEMA)
    }
}

type StackChannels = (MessageChannel<InterfaceEvent, Nothing>, MessageChannel<FibReply, FibRequest>);

fn stack(procmgr: &mut Procmgr) -> StackChannels {
    let interfaces = procmgr.talk("/0/stack", &terms(&Terms::Interfaces), stack_api::interface::SCHEMA);
    (interfaces, procmgr.talk("/0/stack", &terms(&Terms::Fib), stack_api::fib::SCHEMA))
}

fn blue(up: bool) -> InterfaceState {
    InterfaceState {
        vr: VrName::new("red").unwrap(),
        name: name("blue"),
        kind: InterfaceKind::InterVr { peer: VrName::new("blue").unwrap() },
        addresses: vec!["10.0.0.0/31".parse().unwrap()],
        link_local: None,
        mtu: 1500,
        up,
        mac: None,
    }
}

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).unwrap()
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn via_blue(address: Option<&str>) -> Vec<FibNextHop> {
    vec![FibNextHop::Via { interface: name("blue"), address: address.map(|text| text.parse().unwrap()) }]
}

/// The connected and the static route.
fn both() -> Vec<FibChange> {
    vec![
        FibChange::Add { prefix: prefix("10.0.0.0/31"), next_hops: via_blue(None) },
        FibChange::Add { prefix: prefix("198.51.100.0/24"), next_hops: vec![FibNextHop::Discard] },
    ]
}

fn add(text: &str) -> RibRequest {
    let next_hops = vec![NextHop::Address("10.0.0.1".parse().unwrap())];
    RibRequest::Routes(vec![RouteChange::Add(Route::new(prefix(text), 20, 0, next_hops))])
}

#[test]
fn a_rib_is_ready_when_the_fib_has_its_table() {
    let mut world = World::new();
    world.configure("198.51.100.0/24 Null0");
    assert!(is_quiet(&mut world.fib), "the stack has told no interfaces");
    world.interfaces.send(&InterfaceEvent::Snapshot(vec![blue(true)])).unwrap();
    assert_eq!(next(&mut world.fib), FibRequest::Begin);
    let FibRequest::Batch { ticket, changes } = next(&mut world.fib) else { panic!("no batch") };
    assert_eq!(changes, both());
    assert!(!world.procmgr.is_ready(QUIET));
    world.fib.send(&FibReply::Applied { ticket }).unwrap();
    assert!(world.procmgr.is_ready(PATIENCE));
    world.procmgr.tell(&Notice::Stop, None);
    world.thread.join().unwrap().unwrap();
}

#[test]
fn a_protocol_brings_routes_tracks_next_hops_and_leaves_its_routes_behind_when_it_dies() {
    let mut world = World::ready();
    let mut bgp = world.protocol("bgp");
    bgp.send(&add("203.0.113.0/24")).unwrap();
    let added = FibChange::Add { prefix: prefix("203.0.113.0/24"), next_hops: via_blue(Some("10.0.0.1")) };
    assert_eq!(world.batch(), [added]);
    let address = "10.0.0.1".parse().unwrap();
    bgp.send(&RibRequest::TrackNextHop(address)).unwrap();
    let reached = Some(Reached { metric: 0, connected: true, interface: name("blue") });
    assert_eq!(next(&mut bgp), RibUpdate::NextHop { address, reached });
    bgp.close();
    assert!(is_quiet(&mut world.fib));
    let mut bgp = world.protocol("bgp");
    bgp.send(&RibRequest::EndOfRoutes).unwrap();
    assert_eq!(world.batch(), [FibChange::Remove { prefix: prefix("203.0.113.0/24") }]);
    world.interfaces.send(&InterfaceEvent::Changed(blue(false))).unwrap();
    assert_eq!(world.batch(), [FibChange::Remove { prefix: prefix("10.0.0.0/31") }]);
    assert!(is_quiet(&mut bgp), "a new process is not told what the former one asked");
}

#[test]
fn routes_of_a_protocol_that_died_go_after_the_configured_time() {
    let mut world = World::ready();
    let mut bgp = world.protocol("bgp");
    bgp.send(&add("203.0.113.0/24")).unwrap();
    assert_eq!(world.batch().len(), 1);
    world.apply(vec![Node::new("router rib", vec![Node::new("stale-time 1", Vec::new())])]);
    assert_eq!(world.batch(), [FibChange::Remove { prefix: prefix("198.51.100.0/24") }]);
    bgp.close();
    assert_eq!(world.batch(), [FibChange::Remove { prefix: prefix("203.0.113.0/24") }]);
}

#[test]
fn a_stack_that_restarts_gets_the_table_after_it_told_its_interfaces() {
    let mut world = World::ready();
    let mut bgp = world.protocol("bgp");
    bgp.send(&RibRequest::TrackNextHop("10.0.0.1".parse().unwrap())).unwrap();
    next(&mut bgp);
    world.interfaces.close();
    world.fib.close();
    (world.interfaces, world.fib) = stack(&mut world.procmgr);
    assert!(is_quiet(&mut world.fib) && is_quiet(&mut bgp), "nothing went down");
    world.interfaces.send(&InterfaceEvent::Snapshot(vec![blue(true)])).unwrap();
    assert_eq!(world.download(), both());
    assert!(is_quiet(&mut bgp));
}

#[test]
fn the_manager_is_answered_and_a_new_one_asks_anew() {
    let mut world = World::ready();
    let question = RibQuestion::Track(vec!["10.0.0.1".parse().unwrap()]);
    let answer = RibAnswer::Reachable(vec![("10.0.0.1".parse().unwrap(), Some(name("blue")))]);
    world.manager.send(&question).unwrap();
    assert_eq!(next(&mut world.manager), answer);
    world.manager.close();
    let rib = terms(&vr_api::manager::Terms::Rib);
    world.manager = world.procmgr.talk("/0/vrmgr", &rib, vr_api::manager::RIB_SCHEMA);
    world.manager.send(&question).unwrap();
    assert_eq!(next(&mut world.manager), answer);
}

#[test]
fn show_route_answers_with_the_vr_in_front() {
    let mut world = World::ready();
    let mut shell: MessageChannel<ShowRequest, ShowReply> =
        world.procmgr.open("/1/rib", process(0, "shell"), TERMS, vr_api::show::SCHEMA);
    shell.send(&ShowRequest::Table { table: "route".to_owned(), arguments: Vec::new() }).unwrap();
    let ShowReply::Rows(rows) = next(&mut shell) else { panic!("no rows") };
    let begin: Vec<&[Value]> = rows.iter().map(|row| &row[..3]).collect();
    let row = |prefix: &str, protocol: &str| ["red".into(), prefix.into(), protocol.into()];
    assert_eq!(begin, [&row("10.0.0.0/31", "connected")[..], &row("198.51.100.0/24", "static")[..]]);
    assert_eq!(next(&mut shell), ShowReply::End);
}

#[test]
fn a_process_of_another_vr_brings_no_routes() {
    let mut world = World::ready();
    let mut stranger: MessageChannel<RibRequest, RibUpdate> =
        world.procmgr.open("/1/rib", process(2, "bgp"), &[], sdk::rib::SCHEMA);
    let _ = stranger.send(&add("203.0.113.0/24"));
    assert!(is_quiet(&mut world.fib));
}
