//! The process with a procmgr played by the test: its link and its channels are real.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use ipc::channel::ChannelParts;
use ipc::error::LinkError;
use ipc::fd;
use ipc::message::MessageChannel;
use ipc::protocol::{MAX_MESSAGE, Notice, Origin, Request};
use ipc::{Pathname, Pid, VrName};
use vr_api::config::{Node, Subscribe};

use super::*;
use crate::config::testing;

/// Long enough for a loaded machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

type Subscriber = MessageChannel<Verdict, ConfigUpdate>;
type Operator = MessageChannel<OperatorRequest, OperatorReply>;

struct Router {
    link: OwnedFd,
    process: JoinHandle<Result<(), RunError>>,
}

impl Router {
    /// Starts the process on `router.conf` of a folder and waits until it is ready.
    fn start(folder: &Path) -> Self {
        let (link, own) = fd::seqpacket_pair().unwrap();
        let (file, folder): (PathBuf, PathBuf) = (folder.join("router.conf"), folder.to_owned());
        let process = std::thread::spawn(move || {
            let files = Files { start: &file, runtime_folder: &folder, state_folder: Some(&folder) };
            run(Link::from_socket(own)?, &files, vec![testing::rib(), testing::bgp()])
        });
        let router = Self { link, process };
        router.tell(&Notice::Welcome(identity(None, "config")), None);
        let Request::Publish { ticket, name } = router.hear() else { panic!("it publishes first") };
        assert_eq!(name.as_str(), "config");
        router.tell(&Notice::Done { ticket }, None);
        assert_eq!(router.hear(), Request::Ready);
        router
    }

    fn tell(&self, notice: &Notice, end: Option<&ChannelParts>) {
        let fds = end.map(|end| end.as_fds().to_vec()).unwrap_or_default();
        fd::send_with_fds(self.link.as_fd(), &postcard::to_stdvec(notice).unwrap(), &fds).unwrap();
    }

    /// What the process says next, without the bookkeeping of channel ends.
    fn hear(&self) -> Request {
        let mut bytes = vec![0; MAX_MESSAGE];
        loop {
            let received = fd::receive_with_fds(self.link.as_fd(), &mut bytes).unwrap();
            match postcard::from_bytes(&bytes[..received.length]).unwrap() {
                Request::Taken { .. } => {}
                request => return request,
            }
        }
    }

    fn open(&self, peer: Identity, terms: &Terms) -> Channel {
        let (own, other) = ChannelParts::pair().unwrap();
        let pathname = Pathname::router("config").unwrap();
        let terms = postcard::to_stdvec(terms).unwrap();
        self.tell(&Notice::Incoming { pathname, peer, terms }, Some(&other));
        Channel::from_parts(own).unwrap()
    }

    fn subscribe(&self, vr: &str) -> Subscriber {
        let terms = Terms::Subscriber(Subscribe { blocks: vec!["interface".into()] });
        MessageChannel::new(self.open(identity(Some(vr), "rib"), &terms), Schema::new(SCHEMA))
    }

    fn operator(&self, vr: Option<&str>) -> Operator {
        MessageChannel::new(self.open(identity(vr, "shell"), &Terms::Operator), Schema::new(OPERATOR_SCHEMA))
    }

    /// Ends the link, as the process sees it when all is killed at once: nothing is put in order.
    fn kill(self) {
        drop(self.link);
        let end = self.process.join().unwrap();
        assert!(matches!(end, Err(RunError::Link(LinkError::ProcmgrGone) | RunError::Reactor(_))), "{end:?}");
    }
}

fn identity(vr: Option<&str>, name: &str) -> Identity {
    let vr_name = vr.map(|vr| VrName::new(vr).unwrap());
    let id = VrId(u16::from(vr.is_some()));
    Identity { vr: id, vr_name, pid: Pid(7), name: ServiceName::new(name).unwrap(), origin: Origin::Supervised }
}

/// A folder with a configuration.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("router.conf"), "vr red\n interface Loopback0\n  mtu 1400\n").unwrap();
    folder
}

fn lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().flat_map(|node| [node.line()].into_iter().chain(lines(&node.children))).collect()
}

/// Accepts what the subscriber is sent, up to the order to apply it; its lines.
fn accept(subscriber: &mut Subscriber) -> Vec<String> {
    let Some(ConfigUpdate::Verify { generation, blocks }) = subscriber.receive_timeout(PATIENCE).unwrap() else {
        panic!("it verifies first");
    };
    subscriber.send(&Verdict { generation, refused: None }).unwrap();
    assert_eq!(subscriber.receive_timeout(PATIENCE).unwrap(), Some(ConfigUpdate::Apply { generation }));
    lines(&blocks)
}

fn change(operator: &mut Operator, lines: &[&str]) {
    let lines = lines.iter().map(|line| line.to_string()).collect();
    operator.send(&OperatorRequest::Change { lines }).unwrap();
}

fn answer(operator: &mut Operator) -> OperatorReply {
    operator.receive_timeout(PATIENCE).unwrap().expect("an answer in time")
}

#[test]
fn a_change_reaches_its_subscriber_and_survives_the_process() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut rib = router.subscribe("red");
    assert_eq!(accept(&mut rib), ["interface Loopback0", "mtu 1400"]);
    let mut operator = router.operator(None);
    change(&mut operator, &["vr red", "interface Loopback0", "mtu 9000"]);
    assert_eq!(accept(&mut rib), ["interface Loopback0", "mtu 9000"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    router.kill();

    let router = Router::start(folder.path());
    let mut rib = router.subscribe("red");
    assert_eq!(accept(&mut rib), ["interface Loopback0", "mtu 9000"]);
    let mut operator = router.operator(None);
    operator.send(&OperatorRequest::RunningConfig).unwrap();
    let OperatorReply::RunningConfig { text, tree } = answer(&mut operator) else { panic!("the configuration") };
    assert_eq!(text, "vr red\n interface Loopback0\n  mtu 9000\n !\n!\n");
    assert_eq!(lines(&tree), ["vr red", "interface Loopback0", "mtu 9000"]);
    router.tell(&Notice::Stop, None);
    router.process.join().unwrap().unwrap();
    assert!(!folder.path().join("running.conf").exists(), "an orderly stop leaves nothing behind");
}

#[test]
fn a_refused_change_is_not_in_force_anywhere() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut rib = router.subscribe("red");
    accept(&mut rib);
    let mut operator = router.operator(None);
    change(&mut operator, &["vr red", "interface Loopback0", "mtu 9000"]);
    let Some(ConfigUpdate::Verify { generation, blocks }) = rib.receive_timeout(PATIENCE).unwrap() else { panic!() };
    let objection = blocks[0].find("mtu").unwrap().objection("too large for this medium");
    rib.send(&Verdict { generation, refused: Some(objection) }).unwrap();
    assert_eq!(rib.receive_timeout(PATIENCE).unwrap(), Some(ConfigUpdate::Discard { generation }));
    let expected = ["change:3:1: red/rib: too large for this medium", " 3 | mtu 9000", "   | ^^^^^^^^"].join("\n");
    assert_eq!(answer(&mut operator), OperatorReply::Refused(expected));
    router.kill();
    let router = Router::start(folder.path());
    assert_eq!(accept(&mut router.subscribe("red")), ["interface Loopback0", "mtu 1400"]);
}

#[test]
fn a_process_of_a_vr_is_no_operator_and_sees_its_own_vr_only() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut wolf = router.operator(Some("red"));
    assert!(wolf.receive_timeout(PATIENCE).is_err(), "its channel is closed");
    assert_eq!(accept(&mut router.subscribe("blue")), [""; 0]);
}

#[test]
fn a_disk_that_takes_nothing_refuses_the_change_in_one_sentence() {
    let folder = folder();
    let router = Router::start(folder.path());
    std::fs::create_dir(folder.path().join("running.new")).unwrap();
    let mut operator = router.operator(None);
    change(&mut operator, &["hostname edge"]);
    let OperatorReply::Refused(reason) = answer(&mut operator) else { panic!("refused") };
    assert!(reason.starts_with("the configuration cannot be kept in "), "{reason}");
    std::fs::remove_dir(folder.path().join("running.new")).unwrap();
    change(&mut operator, &["hostname edge"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
}

#[test]
fn an_operator_saves_the_configuration_in_force_and_the_router_starts_with_it() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut operator = router.operator(None);
    change(&mut operator, &["hostname edge"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    operator.send(&OperatorRequest::StartupConfig).unwrap();
    assert_eq!(answer(&mut operator), OperatorReply::StartupConfig { text: None }, "a change is not a save");
    operator.send(&OperatorRequest::SaveStartup).unwrap();
    let path = folder.path().join("startup.conf");
    assert_eq!(answer(&mut operator), OperatorReply::Saved { path: path.display().to_string() });
    let words = testing::words();
    let tree = load(&path, &words).unwrap();
    assert!(print(&tree).contains("hostname edge\n"), "{}", print(&tree));
    operator.send(&OperatorRequest::EraseStartup).unwrap();
    assert_eq!(answer(&mut operator), OperatorReply::Erased);
    assert!(!path.exists());
}

#[test]
fn a_saved_configuration_of_another_version_says_so_beside_what_is_wrong() {
    let folder = folder();
    let path = folder.path().join("startup.conf");
    std::fs::write(&path, "! saved by isthmus 99.1.0\nvr red\n wormhole 7\n").unwrap();
    let words = testing::words();
    let errors: Vec<String> = load(&path, &words).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(errors[0].contains("startup.conf:3:2"), "{errors:?}");
    assert!(errors[1].contains("saved by isthmus 99.1.0, and this is 0."), "{errors:?}");
}

#[test]
fn a_wrong_file_starts_nothing_and_says_where_it_is_wrong() {
    let folder = folder();
    std::fs::write(folder.path().join("router.conf"), "vr red\nconnect red blue\n").unwrap();
    let (link, own) = fd::seqpacket_pair().unwrap();
    let welcome = postcard::to_stdvec(&Notice::Welcome(identity(None, "config"))).unwrap();
    fd::send_with_fds(link.as_fd(), &welcome, &[]).unwrap();
    let file = folder.path().join("router.conf");
    let files = Files { start: &file, runtime_folder: folder.path(), state_folder: None };
    let error = run(Link::from_socket(own).unwrap(), &files, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("router.conf:2:13: there is no VR `blue`"), "{error}");
}

/// A program's declaration: `router CLASS` with one number inside.
fn of_program(class: &str, line: &'static str) -> Declaration {
    let number = vec![vr_api::command::ParameterType::Number { name: "number".into(), min: 1, max: 9 }];
    let inside = vec![vr_api::command::Command::line(line, "", number)];
    let mut block = vr_api::command::Command::block("router", "", Vec::new(), inside);
    block.words.push(vr_api::command::Word::Keyword(class.to_owned().into()));
    Declaration {
        class: ServiceName::new(class).unwrap(),
        runs: vr_api::command::Runs::WhereConfigured,
        blocks: vec![block],
        reads: Vec::new(),
        tables: Vec::new(),
        commands: Vec::new(),
    }
}

type Program = MessageChannel<Declaration, DeclarationReply>;

impl Router {
    fn program(&self, vr: &str, name: &str, pid: u32) -> Program {
        let peer = Identity { origin: Origin::Attached, pid: Pid(pid), ..identity(Some(vr), name) };
        MessageChannel::new(self.open(peer, &Terms::Program), Schema::new(PROGRAM_SCHEMA))
    }
}

fn declare(program: &mut Program, declaration: &Declaration) -> DeclarationReply {
    program.send(declaration).unwrap();
    program.receive_timeout(PATIENCE).unwrap().expect("an answer in time")
}

fn refused(reply: DeclarationReply) -> String {
    let DeclarationReply::Refused(reason) = reply else { panic!("{reply:?}") };
    reason
}

#[test]
fn the_words_of_a_program_are_known_once_it_declared_them_and_outlive_it_and_this_process() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut rib = router.subscribe("red");
    accept(&mut rib);
    let mut operator = router.operator(None);
    let lines = ["vr red", "router hello", "interval 5"];
    change(&mut operator, &lines);
    let OperatorReply::Refused(reason) = answer(&mut operator) else { panic!("nobody knows it yet") };
    assert!(reason.contains("unknown word `hello`") || reason.contains("unknown word `router`"), "{reason}");

    let mut program = router.program("red", "hello", 70);
    assert_eq!(declare(&mut program, &of_program("hello", "interval <>")), DeclarationReply::Accepted);
    change(&mut operator, &lines);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    // Who subscribed before goes on as if nothing had happened.
    change(&mut operator, &["vr red", "interface Loopback0", "mtu 9000"]);
    assert_eq!(accept(&mut rib), ["interface Loopback0", "mtu 9000"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    operator.send(&OperatorRequest::SaveStartup).unwrap();
    assert!(matches!(answer(&mut operator), OperatorReply::Saved { .. }));
    drop(program);
    router.kill();

    let router = Router::start(folder.path());
    let mut operator = router.operator(None);
    operator.send(&OperatorRequest::RunningConfig).unwrap();
    let OperatorReply::RunningConfig { text, .. } = answer(&mut operator) else { panic!("the configuration") };
    assert!(text.contains(" router hello\n  interval 5\n"), "{text}");
    operator.send(&OperatorRequest::Declarations).unwrap();
    assert_eq!(answer(&mut operator), OperatorReply::Declarations(vec![of_program("hello", "interval <>")]));
    router.tell(&Notice::Stop, None);
    router.process.join().unwrap().unwrap();
    assert!(!folder.path().join("running.programs").exists(), "an orderly stop leaves nothing behind");

    // A router that is started with what was saved can read it.
    std::fs::rename(folder.path().join("startup.conf"), folder.path().join("router.conf")).unwrap();
    std::fs::rename(folder.path().join("startup.programs"), folder.path().join("router.programs")).unwrap();
    let router = Router::start(folder.path());
    assert_eq!(accept(&mut router.subscribe("red")), ["interface Loopback0", "mtu 9000"]);
}

#[test]
fn a_program_declares_nothing_but_its_own_words() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut program = router.program("red", "hello", 70);
    let good = || of_program("hello", "interval <>");
    let reason = refused(declare(&mut program, &of_program("other", "interval <>")));
    assert_eq!(reason, "red/hello declares class other: a program attaches under the name of its class");
    let mut bgp = router.program("red", "bgp", 71);
    assert_eq!(refused(declare(&mut bgp, &of_program("bgp", "interval <>"))), "class bgp is this router's own");
    let mut foreign = good();
    foreign.blocks[0].words[1] = vr_api::command::Word::Keyword("bgp".into());
    let reason = refused(declare(&mut program, &foreign));
    assert_eq!(reason, "class hello declares `router bgp`: a block of a program begins with `router` and its class");
    for word in ["no <>", "! <>", "exit <>"] {
        assert!(refused(declare(&mut program, &of_program("hello", word))).contains("its words are"), "{word}");
    }
    let mut closed = good();
    closed.blocks[0].closed_by = Some("shutdown".into());
    assert!(refused(declare(&mut program, &closed)).contains("`!` ends it"));
    let table = |words: &'static str, columns: &[&'static str]| {
        let tables = vec![vr_api::show::ShowTable::new(words, "", columns)];
        Declaration { tables, ..good() }
    };
    for table in [table("route", &["vr"]), table("hello", &["name"]), table("hello", &[])] {
        assert!(refused(declare(&mut program, &table)).contains("its first column is `vr`"), "{table:?}");
    }
    let commands = vec![vr_api::command::Command::line("clear bgp", "", Vec::new())];
    let reason = refused(declare(&mut program, &Declaration { commands, ..good() }));
    assert!(reason.contains("the second word of a program's command is its class"), "{reason}");
    assert_eq!(declare(&mut program, &good()), DeclarationReply::Accepted);
    // The process has not lost its mind.
    assert_eq!(accept(&mut router.subscribe("red")), ["interface Loopback0", "mtu 1400"]);
}

#[test]
fn a_new_version_of_a_program_takes_the_place_of_one_that_is_gone_if_the_configuration_fits() {
    let folder = folder();
    let router = Router::start(folder.path());
    let mut first = router.program("red", "hello", 70);
    // One that is there and has said nothing stands in nobody's way.
    let mut second = router.program("red", "hello", 71);
    assert_eq!(declare(&mut first, &of_program("hello", "interval <>")), DeclarationReply::Accepted);
    let reason = refused(declare(&mut second, &of_program("hello", "period <>")));
    assert_eq!(reason, "red/hello (PID 70) runs and declares class hello otherwise");
    assert_eq!(declare(&mut second, &of_program("hello", "interval <>")), DeclarationReply::Accepted);
    drop(second);
    drop(first);
    let mut operator = router.operator(None);
    change(&mut operator, &["vr red", "router hello", "interval 5"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    let mut third = router.program("red", "hello", 72);
    let reason = refused(declare(&mut third, &of_program("hello", "period <>")));
    assert!(reason.starts_with("the configuration in force does not fit what class hello declares now"), "{reason}");
    change(&mut operator, &["vr red", "no router hello"]);
    assert_eq!(answer(&mut operator), OperatorReply::Applied);
    assert_eq!(declare(&mut third, &of_program("hello", "period <>")), DeclarationReply::Accepted);
}
