//! Connections between the two VRs: interfaces and options of sockets.

use ipc::Pathname;
use ipc::protocol::Identity;
use stack_api::socket::{Addresses, Connect, ConnectResult, OptionsOf, SocketReply, SocketRequest};

use super::*;
use crate::ifib::{IfibKey, PuntTarget};
use crate::wire::ipv4::Ipv4View;

impl Router {
    fn listen(&mut self, vr: &str, port: u16, interface: Option<&str>, options: Options) -> SocketReply {
        let who = self.process(vr);
        let criteria = ipc::Criteria::Tcp(Family::Ipv4, port.try_into().unwrap());
        let listener = Pathname::endpoint(who.vr, who.pid, criteria);
        let interface = interface.map(|name| name.parse().unwrap());
        let request =
            SocketRequest::Listen { ticket: 1, listener, local: None, interface, backlog: 4, options, family: 7 };
        self.server.request(self.now, &mut self.plane, &mut self.reactor, &who, request).unwrap()
    }

    /// A process of red connects to blue.
    fn open_tcp(&mut self, to: &str, interface: Option<&str>, options: Options) -> (Identity, Channel) {
        let who = self.process("red");
        let (process, own) = Channel::pair().unwrap();
        let interface = interface.map(|name| name.parse().unwrap());
        let wanted = Connect { to: at(to), from: None, from_port: None, interface, options };
        self.server.connect(self.now, &mut self.plane, &mut self.reactor, &who, own, &wanted);
        self.run();
        (who, process)
    }

    /// States of all connections.
    fn states(&self) -> Vec<String> {
        let rows = self.server.rows().into_iter().filter(|row| row.remote.is_some());
        rows.map(|row| row.state).collect()
    }
}

fn result(socket: &mut Channel) -> ConnectResult {
    let mut record = Vec::new();
    assert!(socket.read_record(&mut record).unwrap(), "no answer");
    postcard::from_bytes(&record).unwrap()
}

#[test]
fn a_connection_and_a_listener_that_are_bound_to_the_interface_between_them_meet() {
    let mut router = Router::new();
    assert_eq!(router.listen("blue", 7, Some("red"), Options::default()), SocketReply::Done { ticket: 1 });
    let (_, mut socket) = router.open_tcp("10.0.0.1:7", Some("blue"), Options::default());
    assert!(matches!(result(&mut socket), ConnectResult::Connected { local } if local.ip() == at("10.0.0.0:0").ip()));
    assert_eq!(router.states(), ["ESTABLISHED", "ESTABLISHED"]);
}

#[test]
fn an_interface_that_does_not_lead_there_is_no_way_and_one_that_is_not_there_no_place() {
    let mut router = Router::new();
    for (interface, error) in
        [("Loopback0", SocketError::NetworkUnreachable), ("Port0/0/7", SocketError::AddressNotAvailable)]
    {
        let (_, mut socket) = router.open_tcp("10.0.0.1:7", Some(interface), Options::default());
        assert_eq!(result(&mut socket), ConnectResult::Failed(error), "{interface}");
    }
    let refused = SocketReply::Failed { ticket: 1, error: SocketError::AddressNotAvailable };
    assert_eq!(router.listen("blue", 7, Some("Port0/0/7"), Options::default()), refused);
}

#[test]
fn what_comes_by_another_interface_than_the_listeners_is_refused() {
    let mut router = Router::new();
    assert_eq!(router.listen("blue", 7, Some("Loopback0"), Options::default()), SocketReply::Done { ticket: 1 });
    let (_, mut socket) = router.open_tcp("10.0.0.1:7", None, Options::default());
    assert_eq!(result(&mut socket), ConnectResult::Failed(SocketError::ConnectionRefused));
}

#[test]
fn of_processes_that_share_a_listener_the_oldest_is_led_to_until_it_is_gone() {
    let mut router = Router::new();
    let listen = |router: &mut Router| {
        assert_eq!(router.listen("blue", 7, None, Options::default()), SocketReply::Done { ticket: 1 });
        Pid(router.next_pid)
    };
    let led_to = |router: &Router| {
        let entries = router.plane.ifib.snapshot().entries();
        let targets = entries.iter().filter(|(key, _)| matches!(key, IfibKey::Listener { port: 7, .. }));
        let owner =
            |target| if let PuntTarget::Socket(id) = target { Some(router.server.listeners[&id].owner) } else { None };
        targets.map(|(_, entry)| owner(entry.target).unwrap()).collect::<Vec<_>>()
    };
    let end = |router: &mut Router, pid| {
        let who = Identity { pid, ..router.process("blue") };
        router.server.library_gone(&mut router.plane, &who);
    };
    let [parent, child, grandchild] = [(); 3].map(|()| listen(&mut router));
    assert_eq!(led_to(&router), [parent]);
    end(&mut router, grandchild);
    assert_eq!(led_to(&router), [parent]);
    end(&mut router, parent);
    assert_eq!(led_to(&router), [child]);
    end(&mut router, child);
    assert_eq!(led_to(&router), []);
}

#[test]
fn segments_have_the_ttl_and_the_class_of_their_socket_as_it_is_now() {
    let mut router = Router::new();
    router.listen("blue", 7, None, Options { ttl: Some(9), tos: 0x40, ..Options::default() });
    let (who, mut socket) = router.open_tcp("10.0.0.1:7", None, Options { ttl: Some(3), ..Options::default() });
    let ConnectResult::Connected { local } = result(&mut socket) else { panic!("no connection") };
    let mut sent = |router: &mut Router, bytes: &[u8]| {
        assert_eq!(socket.write(bytes).unwrap(), bytes.len());
        router.seen.clear();
        router.run();
        // Acknowledgments that wait for company.
        router.now = router.now + std::time::Duration::from_millis(100);
        router.server.handle_timeout(router.now, &mut router.plane, &mut router.reactor);
        router.run();
        let own = |packet: &&Vec<u8>| {
            Ipv4View::parse(packet).unwrap().source() == "10.0.0.0".parse::<std::net::Ipv4Addr>().unwrap()
        };
        let first = router.seen.iter().find(own).expect("a segment").clone();
        let ip = Ipv4View::parse(&first).unwrap();
        (ip.ttl(), ip.repr().traffic_class)
    };
    assert_eq!(sent(&mut router, b"x"), (3, 0));
    let connection = OptionsOf::Connection(Addresses { source: local, destination: at("10.0.0.1:7") });
    let options = Options { ttl: Some(200), tos: 0xbb, ..Options::default() };
    let request = SocketRequest::SetOptions { socket: connection, options };
    let stranger = router.process("red");
    router.server.request(router.now, &mut router.plane, &mut router.reactor, &stranger, request.clone());
    assert_eq!(sent(&mut router, b"y"), (3, 0), "another process's socket is not touched");
    router.server.request(router.now, &mut router.plane, &mut router.reactor, &who, request);
    assert_eq!(sent(&mut router, b"z"), (200, 0xb8), "the ECN bits are TCP's own");
    let theirs =
        router.seen.iter().find(|packet| Ipv4View::parse(packet).unwrap().ttl() == 9).expect("an acknowledgment");
    assert_eq!(Ipv4View::parse(theirs).unwrap().repr().traffic_class, 0x40, "as the listener had it");
}
