//! Terms of opens: what whoever may open an endpoint says to the library that listens there. Any bytes are taken, or
//! dropped for a reason.
#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipc::channel::{Channel, ChannelParts};
use ipc::link::Link;
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::{Identity, MAX_MESSAGE, Notice, Origin, Request};
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, Pathname, Pid, VrId, fd};
use libfuzzer_sys::fuzz_target;
use sockets::{Library, LibraryEvent, SocketId, SocketKind};
use vr_api::manager::{InterVrInterface, LIBRARY_SCHEMA, LibraryRequest, LibraryUpdate, VrFibUpdate};

/// Channels and datagrams dropped in one go before the process is made anew: its sockets take memory.
const INPUTS_PER_PROCESS: u32 = 10_000;

thread_local! {
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    SCENE.with_borrow_mut(|scene| {
        let done = {
            let scene = scene.get_or_insert_with(Scene::new);
            scene.open(input.0, &input.1);
            scene.inputs += 1;
            scene.inputs >= INPUTS_PER_PROCESS
        };
        if done {
            *scene = None;
        }
    });
});

/// A process of VR 2 that listens for TCP and UDP on port 179, joined with VR 1 by 10.0.0.1 and 10.0.0.2.
struct Scene {
    reactor: Reactor,
    library: Library,
    procmgr: OwnedFd,
    /// Of the services that the library opened.
    services: Vec<Channel>,
    manager: Option<MessageChannel<LibraryUpdate, LibraryRequest>>,
    listener: SocketId,
    inputs: u32,
}

impl Scene {
    fn new() -> Self {
        let (procmgr, own) = fd::seqpacket_pair().expect("descriptors are left");
        fd::set_nonblocking(procmgr.as_fd()).expect("a socket can be");
        tell(&procmgr, &Notice::Welcome(identity(2, 22, "bgp")), None);
        let mut reactor = Reactor::new(Link::from_socket(own).expect("it was welcomed")).expect("descriptors are left");
        let mut library = Library::new(&mut reactor).expect("the link takes it");
        let listener = library.create_socket(SocketKind::Stream).expect("a socket");
        library.bind(listener, "0.0.0.0:179".parse().expect("an address"), None).expect("it is unbound");
        library.listen(&mut reactor, listener, 8).expect("it is bound");
        let mut scene = Self { reactor, library, procmgr, services: Vec::new(), manager: None, listener, inputs: 0 };
        scene.turn();
        let interface = InterVrInterface {
            name: "vr1".parse().expect("a name"),
            peer_vr: VrId(1),
            peer_name: "vr1".parse().expect("a name"),
            addresses: vec![IpAddr::from([10, 0, 0, 2])],
            own_addresses: vec![IpAddr::from([10, 0, 0, 2])],
            peer_addresses: vec![IpAddr::from([10, 0, 0, 1])],
            lost: vec![],
            lost_from: vec![],
            up: true,
        };
        let snapshot = VrFibUpdate::Snapshot { interfaces: vec![interface], entries: vec![] };
        let manager = scene.manager.as_mut().expect("the library opened it");
        manager.send(&LibraryUpdate::VrFib(snapshot)).expect("an empty ring has room");
        scene.turn();
        scene
    }

    /// Somebody opens an endpoint with these terms.
    fn open(&mut self, how: u8, terms: &[u8]) {
        let port = std::num::NonZeroU16::new(179).expect("not zero");
        let criteria = match how % 4 {
            0 | 1 => Criteria::Tcp(Family::Ipv4, port),
            2 => Criteria::Udp(Family::Ipv4, port),
            _ => Criteria::Tcp(Family::Ipv6, port),
        };
        let peer = if how & 4 == 0 { identity(1, 11, "bgp") } else { identity(0, 3, "stack") };
        let pathname = Pathname::endpoint(VrId(2), Pid(22), criteria);
        let (opener, listener) = ChannelParts::pair().expect("descriptors are left");
        tell(&self.procmgr, &Notice::Incoming { pathname, peer, terms: terms.to_vec() }, Some(&listener));
        drop(listener);
        let opener = Channel::from_parts(opener).expect("it is a channel's");
        self.turn();
        while let Ok(Some(accepted)) = self.library.accept(&mut self.reactor, self.listener) {
            assert_eq!(accepted.addresses.destination.port(), 179);
            let from_the_stack = how & 4 != 0;
            assert!(from_the_stack || accepted.addresses.source.ip() == IpAddr::from([10, 0, 0, 1]), "a forged source");
            self.library.abort(&mut self.reactor, accepted.socket);
        }
        drop(opener);
        self.turn();
    }

    fn turn(&mut self) {
        self.serve();
        self.reactor.wait(Some(Duration::ZERO)).expect("the loop works");
        while let Some(event) = self.reactor.next_event().expect("the link stands") {
            self.library.handle(&mut self.reactor, event);
        }
        while let Some(event) = self.library.poll(&mut self.reactor) {
            assert!(!matches!(event, LibraryEvent::ListenFailed { .. }));
        }
        self.serve();
    }

    /// procmgr's part: the manager and the stack are there; the stack says nothing.
    fn serve(&mut self) {
        let mut buffer = vec![0; MAX_MESSAGE];
        while let Ok(received) = fd::receive_with_fds(self.procmgr.as_fd(), &mut buffer) {
            let request = postcard::from_bytes(&buffer[..received.length]).expect("the library speaks the protocol");
            let Request::Open { ticket, pathname, .. } = request else { continue };
            let (opener, listener) = ChannelParts::pair().expect("descriptors are left");
            let peer = identity(0, 3, if pathname.to_string() == "/0/vrmgr" { "vrmgr" } else { "stack" });
            tell(&self.procmgr, &Notice::Opened { ticket, peer: peer.clone() }, Some(&opener));
            drop(opener);
            let channel = Channel::from_parts(listener).expect("it is a channel's");
            match peer.name.as_str() {
                "vrmgr" => self.manager = Some(MessageChannel::new(channel, Schema::new(LIBRARY_SCHEMA))),
                _ => self.services.push(channel),
            }
        }
    }
}

fn identity(vr: u16, pid: u32, name: &str) -> Identity {
    let vr_name = (vr != 0).then(|| format!("vr{vr}").parse().expect("a name"));
    Identity { vr: VrId(vr), vr_name, pid: Pid(pid), name: name.parse().expect("a name"), origin: Origin::Supervised }
}

fn tell(procmgr: &OwnedFd, notice: &Notice, end: Option<&ChannelParts>) {
    let fds = end.map(ChannelParts::as_fds);
    let message = postcard::to_stdvec(notice).expect("a notice has an encoding");
    fd::send_with_fds(procmgr.as_fd(), &message, fds.as_ref().map_or(&[], |fds| &fds[..]))
        .expect("the socket has room");
}
