//! The shell around a core that records what happens to it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ipc::channel::Channel;
use ipc::message::MessageChannel;
use ipc::protocol::{Notice, Request};
use ipc::{InterfaceName, Pathname, ServiceName, VrName};
use isthmus_sdk as sdk;
use sdk::core::{ConfigError, ConnectionId, Input, Output, ProtocolCore, Time};
use sdk::error::ShellError;
use sdk::rib::{RibRequest, RibUpdate};
use serde::Serialize;
use stack_api::Terms;
use stack_api::interface::{InterfaceEvent, InterfaceKind, InterfaceState, Nothing};
use stack_api::options::Options;
use stack_api::socket::{Connect, ConnectResult, SocketError, SocketReply, SocketRequest};
use vr_api::command::{Command, Declaration, Runs};
use vr_api::config::{ConfigUpdate, Node, Subscribe, Verdict};
use vr_api::manager::LibraryRequest;
use vr_api::show::{Row, ShowReply, ShowRequest, ShowTable, TERMS};

#[path = "../support/mod.rs"]
mod support;

use support::{PATIENCE, Procmgr, QUIET, is_quiet, next, process, start, terms};

/// Listens on port 179 and connects to 10.0.0.2 as soon as it is configured; sends back what it receives.
struct Probe {
    told: Sender<String>,
    outputs: VecDeque<Output>,
    due: Option<Time>,
}

impl ProtocolCore for Probe {
    type Config = usize;

    fn read_config(blocks: &[Node]) -> Result<usize, ConfigError> {
        match blocks.len() {
            0 => Err(ConfigError::Missing { block: Node::new("router", Vec::new()).named(), line: "probe" }),
            count => Ok(count),
        }
    }

    fn configure(&mut self, _: Time, config: usize) -> Result<(), ConfigError> {
        self.told.send(format!("configured {config}")).unwrap();
        let to = "10.0.0.2:179".parse().unwrap();
        self.outputs.push_back(Output::Listen { port: 179 });
        self.outputs.push_back(Output::Connect { connection: ConnectionId(7), to, from: None, ttl: 1 });
        Ok(())
    }

    fn handle_input(&mut self, _: Time, input: Input<'_>) {
        let line = match input {
            Input::Interface(state) => format!("{} {}", state.name, if state.up { "up" } else { "down" }),
            Input::InterfaceRemoved(name) => format!("{name} removed"),
            Input::Connected { connection, local, remote } => format!("{connection:?} {local} -> {remote}"),
            Input::Received { connection, bytes } => {
                self.outputs.push_back(Output::Send { connection, bytes: bytes.to_vec() });
                format!("{} bytes", bytes.len())
            }
            Input::RibRestarted => {
                self.outputs.push_back(Output::Rib(RibRequest::EndOfRoutes));
                "rib restarted".to_owned()
            }
            Input::Stop => {
                let connection = ConnectionId(7);
                self.outputs.push_back(Output::Send { connection, bytes: b"bye".to_vec() });
                self.outputs.push_back(Output::Close { connection });
                "stop".to_owned()
            }
            other => format!("{other:?}"),
        };
        self.told.send(line).unwrap();
    }

    fn command(&mut self, now: Time, words: &[String]) -> Result<(), String> {
        self.told.send(words.join(" ")).unwrap();
        match words {
            [.., last] if last == "nonsense" => Err("nonsense is refused".to_owned()),
            [first, ..] if first == "wait" => {
                self.due = Some(now + Duration::from_millis(20));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let is_due = self.due.take().is_some_and(|due| due <= now);
        self.told.send(format!("timeout, due: {is_due}")).unwrap();
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn show(&self, _: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
        let count = arguments.first().map_or(1, |count| count.parse().unwrap());
        (table == "probe").then(|| (0..count).map(|n: u64| vec![n.into()]).collect())
    }
}

fn declaration() -> Declaration {
    Declaration {
        class: ServiceName::new("probe").unwrap(),
        runs: Runs::WhereConfigured,
        blocks: vec![Command::block("router probe", "", Vec::new(), Vec::new())],
        reads: vec!["interface".into()],
        tables: vec![ShowTable::new("probe", "", &["vr", "number"])],
        commands: Vec::new(),
    }
}

/// What the VR connection manager says to the process's socket library, as far as it is said here: protocols, and so
/// their tests, have no word for the rest.
#[derive(Serialize)]
enum FromManager {
    Published { ticket: u32, pathname: Pathname },
    Refused { ticket: u32, reason: String },
    Known(Known),
}

/// What the library starts from.
#[derive(Serialize)]
enum Known {
    All { interfaces: Vec<()>, entries: Vec<()> },
}

type ConfigChannel = MessageChannel<ConfigUpdate, Verdict>;
type InterfaceChannel = MessageChannel<InterfaceEvent, Nothing>;

/// A probe's process and what is around it.
struct World {
    procmgr: Procmgr,
    thread: JoinHandle<Result<(), ShellError>>,
    told: Receiver<String>,
    config: ConfigChannel,
    interfaces: InterfaceChannel,
    rib: MessageChannel<RibUpdate, RibRequest>,
    manager: MessageChannel<FromManager, LibraryRequest>,
    sockets: MessageChannel<SocketReply, SocketRequest>,
}

impl World {
    /// Every service is there and has said nothing yet.
    fn new() -> Self {
        let (sender, told) = channel();
        let probe = Probe { told: sender, outputs: VecDeque::new(), due: None };
        let (mut procmgr, thread) = start("probe", |reactor| sdk::shell::run(probe, declaration(), reactor));
        procmgr.request(|request| {
            matches!(request, Request::Publish { name, .. } if name.as_str() == "probe").then_some(())
        });
        let config = config_channel(&mut procmgr);
        let interfaces = interface_channel(&mut procmgr);
        let rib = procmgr.talk("/1/rib", &[], sdk::rib::SCHEMA);
        let library = terms(&vr_api::manager::Terms::Library);
        let mut manager: MessageChannel<_, LibraryRequest> =
            procmgr.talk("/0/vrmgr", &library, vr_api::manager::LIBRARY_SCHEMA);
        manager.send(&FromManager::Known(Known::All { interfaces: Vec::new(), entries: Vec::new() })).unwrap();
        let sockets = procmgr.talk("/0/stack", &terms(&Terms::Sockets), stack_api::socket::SCHEMA);
        let mut world = World { procmgr, thread, told, config, interfaces, rib, manager, sockets };
        assert_eq!(world.told(), "rib restarted");
        assert_eq!(next(&mut world.rib), RibRequest::EndOfRoutes);
        world
    }

    /// Configured, with one interface, listening and ready.
    fn ready() -> Self {
        let mut world = World::new();
        apply(&mut world.config, 1, 1);
        assert_eq!(world.told(), "configured 1");
        world.interfaces.send(&InterfaceEvent::Snapshot(vec![interface("blue", true)])).unwrap();
        assert_eq!(world.told(), "blue up");
        world.grant_listener();
        assert!(world.procmgr.is_ready(PATIENCE));
        world
    }

    fn told(&self) -> String {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    /// The stack and the manager agree to what the library asks.
    fn grant_listener(&mut self) {
        let (ticket, pathname) = self.listener();
        self.manager.send(&FromManager::Published { ticket, pathname }).unwrap();
    }

    /// The stack agrees; what the manager is asked.
    fn listener(&mut self) -> (u32, Pathname) {
        loop {
            match next(&mut self.sockets) {
                SocketRequest::Listen { ticket, .. } => {
                    break self.sockets.send(&SocketReply::Done { ticket }).unwrap();
                }
                SocketRequest::LeasePorts { ticket } => {
                    self.sockets.send(&SocketReply::Ports { ticket, first: 60_000, count: 64 }).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        let LibraryRequest::Publish { ticket, listener } = next(&mut self.manager) else { panic!("no listener") };
        let identity = process(1, "probe");
        (ticket, Pathname::endpoint(identity.vr, identity.pid, listener.criteria))
    }

    /// procmgr says go, and the stack makes the connection; returns its end.
    fn connected(&mut self) -> Channel {
        self.procmgr.tell(&Notice::Go, None);
        let options = Options { ttl: Some(1), ..Options::default() };
        let connect = Connect { to: at("10.0.0.2:179"), from: None, from_port: None, interface: None, options };
        let mut stream = self.procmgr.serve("/0/stack", &terms(&Terms::Connect(connect)));
        let result = terms(&ConnectResult::Connected { local: at("10.0.0.1:50000") });
        assert!(stream.write_record(&result).unwrap());
        assert_eq!(self.told(), "ConnectionId(7) 10.0.0.1:50000 -> 10.0.0.2:179");
        stream
    }
}

fn config_channel(procmgr: &mut Procmgr) -> ConfigChannel {
    let subscribe = Subscribe { blocks: vec!["router probe".to_owned(), "interface".to_owned()] };
    procmgr.talk("/0/config", &terms(&vr_api::config::Terms::Subscriber(subscribe)), vr_api::config::SCHEMA)
}

fn interface_channel(procmgr: &mut Procmgr) -> InterfaceChannel {
    procmgr.talk("/0/stack", &terms(&Terms::Interfaces), stack_api::interface::SCHEMA)
}

/// Verifies and applies a configuration of so many blocks.
fn apply(config: &mut ConfigChannel, generation: u64, count: usize) {
    let block = Node::new("router probe", Vec::new());
    config.send(&ConfigUpdate::Verify { generation, blocks: vec![block; count] }).unwrap();
    assert_eq!(next(config), Verdict { generation, refused: None });
    config.send(&ConfigUpdate::Apply { generation }).unwrap();
}

fn interface(name: &str, up: bool) -> InterfaceState {
    InterfaceState {
        vr: VrName::new("red").unwrap(),
        name: InterfaceName::new(name).unwrap(),
        kind: InterfaceKind::Port,
        addresses: Vec::new(),
        link_local: None,
        mtu: 1500,
        up,
        mac: None,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Reads so many bytes.
fn read(stream: &mut Channel, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let mut buffer = vec![0; count - bytes.len()];
        match stream.read(&mut buffer).unwrap() {
            0 => assert!(stream.wait_readable(Some(PATIENCE)).unwrap(), "got {} of {count} bytes", bytes.len()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    bytes
}

#[test]
fn a_process_is_ready_once_configured_with_interfaces_and_listening_and_connects_only_after_go() {
    let mut world = World::new();
    apply(&mut world.config, 1, 1);
    assert_eq!(world.told(), "configured 1");
    assert!(!world.procmgr.is_ready(QUIET));
    world.interfaces.send(&InterfaceEvent::Snapshot(vec![interface("blue", true)])).unwrap();
    assert_eq!(world.told(), "blue up");
    assert!(!world.procmgr.is_ready(QUIET));
    world.grant_listener();
    assert!(world.procmgr.is_ready(PATIENCE));
    let connects = |request: &Request| matches!(request, Request::Open { .. }).then_some(());
    assert_eq!(world.procmgr.request_within(QUIET, connects), None);
    let mut stream = world.connected();
    // More than the rings hold, so that both directions have to wait for each other.
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut received = Vec::new();
    for part in sent.chunks(4096) {
        let mut rest = part;
        while !rest.is_empty() {
            match stream.write(rest).unwrap() {
                0 => received.extend(read(&mut stream, 1)),
                written => rest = &rest[written..],
            }
        }
    }
    received.extend(read(&mut stream, sent.len() - received.len()));
    assert!(received == sent);
}

#[test]
fn a_port_that_is_not_to_be_had_is_told_to_the_core_and_does_not_keep_the_router_from_starting() {
    let mut world = World::new();
    apply(&mut world.config, 1, 1);
    assert_eq!(world.told(), "configured 1");
    let (ticket, _) = world.listener();
    world.manager.send(&FromManager::Refused { ticket, reason: "it is taken".to_owned() }).unwrap();
    let error = SocketError::PermissionDenied;
    assert_eq!(world.told(), format!("{:?}", Input::ListenFailed { port: 179, error }));
    world.interfaces.send(&InterfaceEvent::Snapshot(Vec::new())).unwrap();
    assert!(world.procmgr.is_ready(PATIENCE));
}

#[test]
fn a_process_that_is_stopped_says_its_last_words_and_ends() {
    let mut world = World::ready();
    let mut stream = world.connected();
    world.procmgr.tell(&Notice::Stop, None);
    assert_eq!(world.told(), "stop");
    assert_eq!(read(&mut stream, 3), b"bye");
    assert_eq!(next(&mut world.rib), RibRequest::Leave);
    stream.close();
    world.thread.join().unwrap().unwrap();
}

#[test]
fn a_process_that_is_stopped_ends_although_its_peer_never_does() {
    let mut world = World::ready();
    let _stream = world.connected();
    world.procmgr.tell(&Notice::Stop, None);
    assert_eq!(world.told(), "stop");
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(world.thread.join().unwrap().is_ok()));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_core_that_waits_is_woken_once_and_not_before_its_time() {
    let mut world = World::ready();
    let mut shell: MessageChannel<ShowRequest, ShowReply> =
        world.procmgr.open("/1/probe", process(0, "shell"), TERMS, vr_api::show::SCHEMA);
    shell.send(&ShowRequest::Command { words: vec!["wait".to_owned(), "probe".to_owned()] }).unwrap();
    assert_eq!((world.told(), world.told()), ("wait probe".to_owned(), "timeout, due: true".to_owned()));
    assert!(world.told.recv_timeout(QUIET).is_err(), "once");
}

#[test]
fn a_stack_that_went_away_and_came_back_is_compared_with_what_was_told() {
    let mut world = World::ready();
    world.interfaces.close();
    world.interfaces = interface_channel(&mut world.procmgr);
    assert!(world.told.recv_timeout(QUIET).is_err(), "nothing went down");
    world.interfaces.send(&InterfaceEvent::Snapshot(vec![interface("blue", true), interface("green", false)])).unwrap();
    assert_eq!(world.told(), "green down");
    world.interfaces.send(&InterfaceEvent::Changed(interface("blue", false))).unwrap();
    assert_eq!(world.told(), "blue down");
}

#[test]
fn a_rib_that_is_new_is_told_everything_again() {
    let mut world = World::ready();
    world.rib.close();
    world.rib = world.procmgr.talk("/1/rib", &[], sdk::rib::SCHEMA);
    assert_eq!(world.told(), "rib restarted");
    assert_eq!(next(&mut world.rib), RibRequest::EndOfRoutes);
    let update = RibUpdate::NextHop { address: IpAddr::from([10, 0, 0, 2]), reached: None };
    world.rib.send(&update).unwrap();
    assert_eq!(world.told(), format!("{:?}", Input::Rib(update)));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_reason_and_one_repeated_changes_nothing() {
    let mut world = World::ready();
    world.config.send(&ConfigUpdate::Verify { generation: 2, blocks: Vec::new() }).unwrap();
    let objection = Node::new("router", Vec::new()).objection("router: `probe` is missing");
    assert_eq!(next(&mut world.config), Verdict { generation: 2, refused: Some(objection) });
    world.config.close();
    world.config = config_channel(&mut world.procmgr);
    apply(&mut world.config, 1, 1);
    apply(&mut world.config, 2, 2);
    assert_eq!(world.told(), "configured 2", "the one repeated was not applied again");
}

#[test]
fn tables_are_answered_with_the_vr_in_front_and_commands_reach_the_core() {
    let mut world = World::ready();
    let mut shell: MessageChannel<ShowRequest, ShowReply> =
        world.procmgr.open("/1/probe", process(0, "shell"), TERMS, vr_api::show::SCHEMA);
    let table =
        |words: &str, count: u32| ShowRequest::Table { table: words.to_owned(), arguments: vec![count.to_string()] };
    shell.send(&table("probe", 20_000)).unwrap();
    let mut rows = Vec::new();
    let end = loop {
        match next(&mut shell) {
            ShowReply::Rows(more) => rows.extend(more),
            end => break end,
        }
    };
    assert_eq!((end, rows.len()), (ShowReply::End, 20_000));
    assert_eq!(rows[19_999], vec!["red".into(), 19_999u64.into()]);
    shell.send(&table("nothing", 1)).unwrap();
    assert_eq!(next(&mut shell), ShowReply::Error("no table `nothing`".to_owned()));
    shell.send(&ShowRequest::Command { words: vec!["clear".to_owned(), "probe".to_owned()] }).unwrap();
    assert_eq!(next(&mut shell), ShowReply::End);
    assert_eq!(world.told(), "clear probe");
    shell.send(&ShowRequest::Command { words: vec!["clear".to_owned(), "nonsense".to_owned()] }).unwrap();
    assert_eq!(next(&mut shell), ShowReply::Error("nonsense is refused".to_owned()));
    assert_eq!(world.told(), "clear nonsense");
    assert!(is_quiet(&mut shell));
}
