//! What a process asks about sockets and ports of another one: nothing comes of it.

use ipc::protocol::Identity;
use ipc::{Criteria, Pathname, VrId};
use stack_api::socket::{OptionsOf, PortReservation, SocketReply, SocketRequest};

use super::*;

const PORT: u16 = 179;

fn endpoint(vr: VrId, pid: Pid) -> Pathname {
    Pathname::endpoint(vr, pid, Criteria::Tcp(Family::Ipv4, PORT.try_into().unwrap()))
}

impl Router {
    fn request(&mut self, who: &Identity, request: SocketRequest) -> Option<SocketReply> {
        self.server.request(self.now, &mut self.plane, &mut self.reactor, who, request)
    }

    fn listen_as(&mut self, who: &Identity, listener: Pathname, family: u64) -> Option<SocketReply> {
        let options = Options { ttl: Some(9), ..Options::default() };
        let (local, interface) = (None, None);
        self.request(who, SocketRequest::Listen { ticket: 1, listener, local, interface, backlog: 4, options, family })
    }
}

fn failed(error: SocketError) -> Option<SocketReply> {
    Some(SocketReply::Failed { ticket: 1, error })
}

#[test]
fn nobody_listens_under_a_pathname_that_is_not_his_own() {
    let mut router = Router::new();
    let (own, sibling, stranger) = (router.process("red"), router.process("red"), router.process("blue"));
    let criteria = Criteria::Udp(Family::Ipv4, PORT.try_into().unwrap());
    let cases = [
        ("another process of the VR", endpoint(own.vr, sibling.pid), SocketError::PermissionDenied),
        ("a process of another VR", endpoint(stranger.vr, stranger.pid), SocketError::PermissionDenied),
        ("itself in another VR", endpoint(stranger.vr, own.pid), SocketError::PermissionDenied),
        ("the router", endpoint(VrId::ROUTER, own.pid), SocketError::PermissionDenied),
        ("a service", Pathname::service(own.vr, own.name.clone()), SocketError::InvalidArgument),
        ("a datagram socket", Pathname::endpoint(own.vr, own.pid, criteria), SocketError::NotSupported),
    ];
    let entries = router.plane.ifib.snapshot().len();
    for (as_whom, pathname, error) in cases {
        assert_eq!(router.listen_as(&own, pathname, 7), failed(error), "as {as_whom}");
        assert_eq!(router.plane.ifib.snapshot().len(), entries, "as {as_whom}");
    }
    // Nor is the port taken, in either VR.
    for who in [sibling, stranger] {
        assert_eq!(router.listen_as(&who, endpoint(who.vr, who.pid), 8), Some(SocketReply::Done { ticket: 1 }));
    }
}

#[test]
fn a_listener_and_a_port_are_touched_by_nobody_but_their_process() {
    let mut router = Router::new();
    let (owner, sibling, stranger) = (router.process("red"), router.process("red"), router.process("blue"));
    let listener = endpoint(owner.vr, owner.pid);
    assert_eq!(router.listen_as(&owner, listener.clone(), 7), Some(SocketReply::Done { ticket: 1 }));
    let reservation =
        PortReservation { number: 5, family: Family::Ipv4, local: None, interface: None, port: 80, reuse: false };
    let reserve =
        |number| SocketRequest::ReservePort { ticket: 1, port: PortReservation { number, ..reservation.clone() } };
    assert!(matches!(router.request(&owner, reserve(5)), Some(SocketReply::Ports { first: 80, .. })));
    let requests = [
        SocketRequest::Unlisten { listener: listener.clone(), local: None },
        SocketRequest::SetOptions {
            socket: OptionsOf::Listener { listener: listener.clone(), local: None },
            options: Options { ttl: Some(200), ..Options::default() },
        },
        SocketRequest::ReleasePort { number: 5 },
    ];
    let state = |router: &Router| {
        let ttl = router.server.listeners.values().map(|listener| listener.options.ttl).collect::<Vec<_>>();
        (ttl, router.plane.ifib.snapshot().len())
    };
    let before = state(&router);
    for who in [&sibling, &stranger] {
        for request in &requests {
            assert_eq!(router.request(who, request.clone()), None, "{request:?} of {who}");
            assert_eq!(state(&router), before, "{request:?} of {who}");
            // The port of the listener, and the one that is reserved.
            let again = router.listen_as(&sibling, endpoint(sibling.vr, sibling.pid), 8);
            assert_eq!(again, failed(SocketError::AddressInUse), "{request:?} of {who}");
            let reserved = router.request(&sibling, reserve(6));
            assert_eq!(reserved, failed(SocketError::AddressInUse), "{request:?} of {who}");
        }
    }
    // The owner may do all of it.
    for request in requests.into_iter().rev() {
        assert_eq!(router.request(&owner, request), None);
    }
    assert_eq!(state(&router), (vec![], before.1 - 1));
    assert!(matches!(router.request(&sibling, reserve(6)), Some(SocketReply::Ports { first: 80, .. })));
}
