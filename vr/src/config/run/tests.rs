//! The process with a procmgr played by the test: its link and its channels are real.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use ipc::channel::ChannelParts;
use ipc::error::LinkError;
use ipc::fd;
use ipc::message::MessageChannel;
use ipc::protocol::{MAX_MESSAGE, Notice, Request};
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
    Identity { vr: id, vr_name, pid: Pid(7), name: ServiceName::new(name).unwrap() }
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
