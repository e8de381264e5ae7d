//! The router: its three parts as a socket library sees them, and processes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use ipc::channel::{Channel, ChannelParts};
use ipc::link::Link;
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::{Generation, Identity, MAX_MESSAGE, Notice, Origin, Refusal, Request, Ticket};
use ipc::reactor::{Event, Reactor};
use ipc::terms::{Clause, admit};
use ipc::{Criteria, Family, InterfaceName, Pathname, Pid, ServiceName, VrId, VrName, fd};
use sockets::{Accepted, Destination, Library, LibraryEvent, Received, SocketId, SocketKind};
use stack_api::Terms;
use stack_api::datagram::{DatagramBind, DatagramPath, DatagramProtocol, DatagramReply, DatagramRequest};
use stack_api::datagram_header::DatagramHeader;
use stack_api::socket::{Connect, ConnectResult, SocketError, SocketReply, SocketRequest};
use vr_api::manager::{InterVrInterface, LibraryRequest, LibraryUpdate, Membership, VrFibEntry, VrFibUpdate};

type ManagerChannel = MessageChannel<LibraryUpdate, LibraryRequest>;
type StackChannel = MessageChannel<SocketReply, SocketRequest>;

/// procmgr's side of a process.
#[derive(Debug)]
struct Known {
    identity: Identity,
    link: OwnedFd,
    manager: Option<ManagerChannel>,
    stack: Option<StackChannel>,
    is_ready: bool,
}

/// Everything around the processes.
#[derive(Debug)]
pub struct Router {
    known: Vec<Known>,
    directory: HashMap<Pathname, (usize, Generation)>,
    clauses: HashMap<Pathname, Vec<Clause>>,
    /// Opens that the clauses do not admit.
    unadmitted: Vec<(usize, Request)>,
    /// Opens of services that are down.
    waiting: Vec<(usize, Ticket, Pathname, Vec<u8>)>,
    next_generation: u64,
    next_port: u16,
    /// Whether its service can be opened.
    pub manager_is_up: bool,
    /// Whether its service can be opened.
    pub stack_is_up: bool,
    /// Whether it answers; what it was asked is kept either way.
    pub manager_answers: bool,
    /// The same of the stack.
    pub stack_answers: bool,
    /// Whether a listener that only asks for something else is the same publication.
    pub manager_keeps_generations: bool,
    /// Whether the stack has ports to lease.
    pub stack_leases: bool,
    /// The next opens of endpoints are refused so.
    pub refusals: Vec<fn(Pathname) -> Refusal>,
    /// What libraries have asked the manager.
    pub asked_manager: Vec<LibraryRequest>,
    /// What libraries have asked the stack.
    pub asked_stack: Vec<SocketRequest>,
    /// Connections that the stack was asked for, with its end of the channel.
    pub connects: Vec<(Connect, Channel)>,
    /// Datagram sockets that the stack was asked for, with its end of the channel.
    pub datagrams: Vec<(DatagramBind, Channel)>,
    /// Who joined which group.
    pub memberships: Vec<(Pathname, Membership)>,
    /// Opens that procmgr was told to forget.
    pub cancelled: Vec<Ticket>,
    /// Two VRs, 1 and 2, whose only processes the manager keeps up to date by itself.
    pub joins: Option<(u16, u16)>,
}

/// A process of a VR.
#[derive(Debug)]
pub struct Process {
    /// Its loop.
    pub reactor: Reactor,
    /// Its library.
    pub library: Library,
    /// Its number: who started first is 0.
    pub index: usize,
    /// What its library has said since [`take_events`](Self::take_events).
    pub events: Vec<LibraryEvent>,
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl Router {
    /// Without processes.
    pub fn new() -> Self {
        Self {
            known: Vec::new(),
            directory: HashMap::new(),
            clauses: HashMap::new(),
            unadmitted: Vec::new(),
            waiting: Vec::new(),
            next_generation: 1,
            next_port: 60_000,
            manager_is_up: true,
            stack_is_up: true,
            manager_answers: true,
            stack_answers: true,
            manager_keeps_generations: false,
            stack_leases: true,
            refusals: Vec::new(),
            asked_manager: Vec::new(),
            asked_stack: Vec::new(),
            connects: Vec::new(),
            datagrams: Vec::new(),
            memberships: Vec::new(),
            cancelled: Vec::new(),
            joins: None,
        }
    }

    /// What the stack was asked on the channel of the datagram socket that was bound as number `socket`.
    pub fn asked(&mut self, socket: usize) -> Vec<DatagramRequest> {
        let channel = &mut self.datagrams[socket].1;
        let (mut record, mut requests) = (Vec::new(), Vec::new());
        while channel.read_record(&mut record).unwrap() {
            requests.push(postcard::from_bytes(&record).unwrap());
        }
        requests
    }

    /// Starts a process of VR `vr`; its library has asked for its services, nobody has answered.
    pub fn start(&mut self, vr: u16) -> Process {
        let mut reactor = Reactor::new(self.link(vr)).unwrap();
        let library = Library::new(&mut reactor).unwrap();
        Process { reactor, library, index: self.known.len() - 1, events: Vec::new() }
    }

    /// The link of a new process of VR `vr`.
    pub fn link(&mut self, vr: u16) -> Link {
        let (link, own) = fd::seqpacket_pair().unwrap();
        let name = ServiceName::new("bgp").unwrap();
        let vr_name = Some(VrName::new(&format!("vr{vr}")).unwrap());
        let identity = Identity {
            vr: VrId(vr),
            vr_name,
            pid: Pid(100 + self.known.len() as u32),
            name,
            origin: Origin::Supervised,
        };
        fd::set_nonblocking(link.as_fd()).unwrap();
        let known = Known { identity: identity.clone(), link, manager: None, stack: None, is_ready: false };
        known.tell(&Notice::Welcome(identity), None);
        self.known.push(known);
        Link::from_socket(own).unwrap()
    }

    /// Serves programs in other threads until they are done. Connections through the stack are refused.
    pub fn run_beside(&mut self, done: impl Fn() -> bool) {
        self.run_until(|_| done());
    }

    /// The same, until the router has seen something.
    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < deadline, "the programs wait for something that does not come");
            if !self.work() {
                thread::yield_now();
            }
            for (_, mut channel) in self.connects.drain(..) {
                let refused = ConnectResult::Failed(SocketError::ConnectionRefused);
                write_record(&mut channel, &postcard::to_stdvec(&refused).unwrap());
                channel.close();
            }
            self.give_datagrams_their_peers();
        }
    }

    /// The stack knows one way, that between the VRs that are joined. What else it is told or sent is lost.
    fn give_datagrams_their_peers(&mut self) {
        let Some((a, b)) = self.joins else { return };
        let mut record = Vec::new();
        for (_, channel) in &mut self.datagrams {
            while channel.read_record(&mut record).unwrap_or(false) {
                if !DatagramHeader::is_claimed(&record)
                    && let Ok(DatagramRequest::Connect(Some(peer))) = postcard::from_bytes(&record)
                {
                    let local = if peer.ip() == address(b) { address(a) } else { address(b) };
                    let path = DatagramPath { local: Some(local), peer: Some(peer) };
                    write_record(channel, &postcard::to_stdvec(&DatagramReply::Connected(Ok(path))).unwrap());
                }
            }
        }
    }

    /// How many connects wait for a stack that is down.
    pub fn waiting_connects(&self) -> usize {
        let is_connect = |terms: &[u8]| matches!(postcard::from_bytes(terms), Ok(Terms::Connect(_)));
        let of_stack = self.waiting.iter().filter(|(_, _, pathname, _)| pathname.to_string() == "/0/stack");
        of_stack.filter(|(.., terms)| is_connect(terms)).count()
    }

    /// Whether a process has said that it is ready.
    pub fn is_ready(&self, index: usize) -> bool {
        self.known[index].is_ready
    }

    /// Orders a process to stop.
    pub fn stop(&mut self, index: usize) {
        self.known[index].tell(&Notice::Stop, None);
    }

    /// Lets everybody work until nobody has anything more to do.
    pub fn run(&mut self, processes: &mut [&mut Process]) {
        loop {
            let mut worked = self.work();
            for process in processes.iter_mut() {
                worked |= process.work();
            }
            if !worked {
                return;
            }
        }
    }

    fn work(&mut self) -> bool {
        let mut worked = self.serve_waiting();
        for index in 0..self.known.len() {
            while let Some(request) = self.known[index].request() {
                worked = true;
                self.request(index, request);
            }
            while let Some(request) = self.known[index].manager.as_mut().and_then(|c| c.receive().unwrap_or(None)) {
                worked = true;
                self.ask_manager(index, request);
            }
            while let Some(request) = self.known[index].stack.as_mut().and_then(|c| c.receive().unwrap_or(None)) {
                worked = true;
                self.ask_stack(index, request);
            }
        }
        worked
    }

    fn serve_waiting(&mut self) -> bool {
        let is_up = |name: &Pathname, router: &Self| match name.to_string().as_str() {
            "/0/vrmgr" => router.manager_is_up,
            "/0/stack" => router.stack_is_up,
            name => panic!("open of {name}"),
        };
        let (served, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition::<Vec<_>, _>(|(_, _, name, _)| is_up(name, self));
        self.waiting = waiting;
        let worked = !served.is_empty();
        for (index, ticket, pathname, terms) in served {
            let service = self.hand_out(index, ticket, router_process(&pathname));
            if pathname.to_string() == "/0/vrmgr" {
                let mut channel = ManagerChannel::new(service, Schema::new(vr_api::manager::LIBRARY_SCHEMA));
                let first = match self.joins {
                    Some((a, b)) if index == 0 => self.vrfib(a, b, true),
                    Some((a, b)) => self.vrfib(b, a, true),
                    None => VrFibUpdate::Snapshot { interfaces: vec![], entries: vec![] },
                };
                channel.send(&LibraryUpdate::VrFib(first)).unwrap();
                self.known[index].manager = Some(channel);
            } else {
                match postcard::from_bytes(&terms).unwrap() {
                    Terms::Sockets => {
                        self.known[index].stack =
                            Some(StackChannel::new(service, Schema::new(stack_api::socket::SCHEMA)));
                    }
                    Terms::Connect(connect) => self.connects.push((connect, service)),
                    Terms::Datagram(bind) => {
                        let mut service = service;
                        let port = match bind.protocol {
                            DatagramProtocol::Udp { port: 0 } => 40_000,
                            DatagramProtocol::Udp { port } => port,
                            DatagramProtocol::Raw(_) => 0,
                        };
                        write_record(&mut service, &postcard::to_stdvec(&DatagramReply::Bound { port }).unwrap());
                        self.datagrams.push((bind, service));
                    }
                    other => panic!("the library opened the stack for {other:?}"),
                }
            }
        }
        worked
    }

    fn request(&mut self, index: usize, request: Request) {
        match request {
            Request::Open { ticket, pathname: pathname @ Pathname::Service { .. }, terms, .. } => {
                self.waiting.push((index, ticket, pathname, terms));
            }
            Request::Open { ticket, pathname, generation, terms } => {
                let published = self.directory.get(&pathname).copied();
                let refusal = match (self.refusals.pop(), published) {
                    (Some(refusal), _) => refusal(pathname),
                    (None, Some((_, present)))
                        if generation == Some(present) && !admit(&self.clauses[&pathname], &terms) =>
                    {
                        self.unadmitted.push((index, Request::Open { ticket, pathname, generation, terms }));
                        return;
                    }
                    (None, Some((owner, present))) if generation == Some(present) => {
                        let peer = self.known[owner].identity.clone();
                        let own = self.known[index].identity.clone();
                        let (opener, listener) = ChannelParts::pair().unwrap();
                        self.known[index].tell(&Notice::Opened { ticket, peer }, Some(opener));
                        self.known[owner].tell(&Notice::Incoming { pathname, peer: own, terms }, Some(listener));
                        return;
                    }
                    (None, _) => Refusal::NotPublished(pathname),
                };
                self.known[index].tell(&Notice::Refused { ticket, refusal }, None);
            }
            Request::Cancel { ticket } => {
                self.waiting.retain(|(opener, waiting, ..)| (*opener, *waiting) != (index, ticket));
                self.cancelled.push(ticket);
            }
            Request::Withdraw { pathname } => {
                // Of what is not published yet too: who waited for that has given up.
                self.directory.remove(&pathname);
            }
            Request::Ready => self.known[index].is_ready = true,
            Request::Taken { .. } | Request::Accepted { .. } => {}
            other => panic!("the library asked procmgr {other:?}"),
        }
    }

    fn ask_manager(&mut self, index: usize, request: LibraryRequest) {
        self.asked_manager.push(request.clone());
        let identity = self.known[index].identity.clone();
        let endpoint = |criteria| Pathname::endpoint(identity.vr, identity.pid, criteria);
        match &request {
            LibraryRequest::Join(membership) => {
                self.memberships.push((endpoint(membership.criteria), membership.clone()));
                self.update_joined();
            }
            LibraryRequest::Leave(membership) => {
                let gone = (endpoint(membership.criteria), membership.clone());
                self.memberships.retain(|known| *known != gone);
            }
            _ => {}
        }
        let LibraryRequest::Publish { ticket, listener } = request else { return };
        let pathname = Pathname::endpoint(identity.vr, identity.pid, listener.criteria);
        let known = self.clauses.insert(pathname.clone(), listener.clauses);
        if known.is_none() || !self.directory.contains_key(&pathname) || !self.manager_keeps_generations {
            self.directory.insert(pathname.clone(), (index, Generation(self.next_generation)));
            self.next_generation += 1;
        }
        for (opener, open) in std::mem::take(&mut self.unadmitted) {
            self.request(opener, open);
        }
        self.update_joined();
        if self.manager_answers {
            self.tell_manager(index, &LibraryUpdate::Published { ticket, pathname });
        }
    }

    /// Gives the processes of the VRs that [`joins`](Self::joins) names what has changed.
    fn update_joined(&mut self) {
        let Some((a, b)) = self.joins else { return };
        for (vr, peer) in [(a, b), (b, a)] {
            let update = LibraryUpdate::VrFib(self.vrfib(vr, peer, true));
            if let Some(channel) = &mut self.known[usize::from(vr) - 1].manager {
                channel.send(&update).unwrap();
            }
        }
    }

    fn ask_stack(&mut self, index: usize, request: SocketRequest) {
        self.asked_stack.push(request.clone());
        let reply = match request {
            SocketRequest::Listen { ticket, .. } if self.stack_answers => SocketReply::Done { ticket },
            SocketRequest::LeasePorts { ticket } if self.stack_leases => {
                self.next_port += 8;
                SocketReply::Ports { ticket, first: self.next_port - 8, count: 8 }
            }
            _ => return,
        };
        self.tell_stack(index, &reply);
    }

    /// The manager sends something to a process.
    pub fn tell_manager(&mut self, index: usize, update: &LibraryUpdate) {
        let channel = self.known[index].manager.as_mut().expect("a channel to the manager");
        channel.send(update).unwrap();
    }

    /// The stack sends something to a process.
    pub fn tell_stack(&mut self, index: usize, reply: &SocketReply) {
        self.known[index].stack.as_mut().unwrap().send(reply).unwrap();
    }

    /// Ticket of the last request for ports.
    pub fn lease_ticket(&self) -> u32 {
        let ticket = |asked: &SocketRequest| match asked {
            SocketRequest::LeasePorts { ticket } => Some(*ticket),
            _ => None,
        };
        self.asked_stack.iter().rev().find_map(ticket).unwrap()
    }

    /// How often ports were asked for.
    pub fn leases(&self) -> usize {
        self.asked_stack.iter().filter(|asked| matches!(asked, SocketRequest::LeasePorts { .. })).count()
    }

    /// The manager is killed; the next one knows nothing.
    pub fn kill_manager(&mut self) {
        self.manager_is_up = false;
        self.known.iter_mut().for_each(|known| known.manager = None);
    }

    /// The stack is killed, and its connections with it.
    pub fn kill_stack(&mut self) {
        self.stack_is_up = false;
        self.connects.clear();
        self.datagrams.clear();
        self.known.iter_mut().for_each(|known| known.stack = None);
    }

    /// `peer` opened an endpoint of `owner`, as procmgr attests; returns its end of the channel.
    pub fn open_endpoint(&mut self, owner: usize, port: u16, peer: Identity, terms: Vec<u8>) -> Channel {
        self.open_criteria(owner, tcp(port), peer, terms)
    }

    /// The same for any criteria.
    pub fn open_criteria(&mut self, owner: usize, criteria: Criteria, peer: Identity, terms: Vec<u8>) -> Channel {
        Channel::from_parts(self.open_parts(owner, criteria, peer, terms)).unwrap()
    }

    /// The same, for a peer that does with its end what it likes.
    pub fn open_parts(&mut self, owner: usize, criteria: Criteria, peer: Identity, terms: Vec<u8>) -> ChannelParts {
        let Identity { vr, pid, .. } = self.known[owner].identity;
        let pathname = Pathname::endpoint(vr, pid, criteria);
        let (opener, listener) = ChannelParts::pair().unwrap();
        self.known[owner].tell(&Notice::Incoming { pathname, peer, terms }, Some(listener));
        opener
    }

    /// Identity of a process.
    pub fn identity(&self, index: usize) -> Identity {
        self.known[index].identity.clone()
    }

    /// A channel to a service, of which the opener gets one end; returns the other.
    fn hand_out(&mut self, index: usize, ticket: Ticket, peer: Identity) -> Channel {
        let (opener, listener) = ChannelParts::pair().unwrap();
        self.known[index].tell(&Notice::Opened { ticket, peer }, Some(opener));
        Channel::from_parts(listener).unwrap()
    }

    /// The manager gives both processes of [`joined`] their copies.
    pub fn copy_vrfibs(&mut self, red: &Process, blue: &Process, up: bool) {
        for (process, vr, peer) in [(red, 1, 2), (blue, 2, 1)] {
            let update = LibraryUpdate::VrFib(self.vrfib(vr, peer, up));
            self.tell_manager(process.index, &update);
        }
    }

    /// `vr`'s copy of the vrFIB: joined with `peer` by 10.0.0.`vr` and 10.0.0.`peer`, 2001:db8:: and fe80:: likewise, with
    /// everything that is published.
    pub fn vrfib(&self, vr: u16, peer: u16, up: bool) -> VrFibUpdate {
        let name = InterfaceName::new(&format!("vr{peer}")).unwrap();
        let interface = InterVrInterface {
            name: name.clone(),
            peer_vr: VrId(peer),
            peer_name: VrName::new(&format!("vr{peer}")).unwrap(),
            addresses: addresses(vr),
            own_addresses: addresses(vr),
            peer_addresses: addresses(peer),
            lost: if up { vec![] } else { addresses(peer) },
            lost_from: if up { vec![] } else { addresses(vr) },
            up,
        };
        let published = self.directory.iter().filter(|(pathname, _)| pathname.vr() == VrId(peer));
        let pairs = || addresses(peer).into_iter().zip(addresses(vr));
        let entries = published.flat_map(|(listener, (_, generation))| {
            let of_family = pairs().filter(|(to, _)| family(listener) == Family::of(*to));
            let entry = |(to, source)| VrFibEntry {
                to,
                listener: listener.clone(),
                generation: generation.0,
                interface: name.clone(),
                source,
            };
            of_family.map(entry).collect::<Vec<_>>()
        });
        let groups = self.memberships.iter().filter(|(pathname, _)| pathname.vr() == VrId(peer));
        let groups = groups.filter_map(|(listener, membership)| {
            Some(VrFibEntry {
                to: membership.group,
                listener: listener.clone(),
                generation: self.directory.get(listener)?.1.0,
                interface: name.clone(),
                // Of IPv6 the link-local one, the last.
                source: addresses(vr).into_iter().rfind(|own| Family::of(*own) == family(listener))?,
            })
        });
        VrFibUpdate::Snapshot { interfaces: vec![interface], entries: entries.chain(groups).collect() }
    }
}

impl Known {
    /// Says something to the process, or to nobody if it has died.
    fn tell(&self, notice: &Notice, end: Option<ChannelParts>) {
        let fds = end.as_ref().map(ChannelParts::as_fds);
        let fds = fds.as_ref().map_or(&[][..], |fds| &fds[..]);
        let _ = fd::send_with_fds(self.link.as_fd(), &postcard::to_stdvec(notice).unwrap(), fds);
    }

    fn request(&self) -> Option<Request> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = fd::receive_with_fds(self.link.as_fd(), &mut buffer).ok()?;
        (received.length > 0).then(|| postcard::from_bytes(&buffer[..received.length]).unwrap())
    }
}

impl Process {
    /// One turn of its loop; whether there was anything to do.
    fn work(&mut self) -> bool {
        let mut worked = false;
        self.reactor.wait(Some(Duration::ZERO)).unwrap();
        while let Some(event) = self.reactor.next_event().unwrap() {
            worked = true;
            // A bell may have rung for a channel that was closed meanwhile; nobody takes that.
            if let Some(Event::Link(event)) = self.library.handle(&mut self.reactor, event) {
                panic!("the library did not take {event:?}");
            }
        }
        while let Some(event) = self.library.poll(&mut self.reactor) {
            worked = true;
            self.events.push(event);
        }
        worked
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<LibraryEvent> {
        std::mem::take(&mut self.events)
    }

    /// Lets it listen on an address and port.
    pub fn listen_on(&mut self, address: &str) -> SocketId {
        let listener = self.library.create_socket(SocketKind::Stream).unwrap();
        self.library.bind(listener, address.parse().unwrap(), None).unwrap();
        self.library.listen(&mut self.reactor, listener, 4).unwrap();
        listener
    }

    /// Lets it connect.
    pub fn open(&mut self, to: &str) -> SocketId {
        self.library.open_socket(&mut self.reactor, Destination::new(to.parse().unwrap())).unwrap()
    }

    /// A connection that waits at a listener.
    pub fn accept(&mut self, listener: SocketId) -> Option<Accepted> {
        self.library.accept(&mut self.reactor, listener).unwrap()
    }

    /// Everything that has arrived, and what comes after it.
    pub fn read(&mut self, socket: SocketId) -> (Vec<u8>, Result<Received, SocketError>) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.library.receive(socket, &mut buffer) {
                Ok(Received::Bytes(count)) => bytes.extend_from_slice(&buffer[..count]),
                end => return (bytes, end),
            }
        }
    }
}

/// Two VRs that are joined, 1 with 10.0.0.1 and 2 with 10.0.0.2; the process of 2 listens on port 179, and every vrFIB
/// knows it.
pub fn joined() -> (Router, Process, Process, SocketId) {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let listener = blue.listen_on("0.0.0.0:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    (router, red, blue, listener)
}

/// The same with UDP sockets in place of the listener: red's on a port of the stack's choice, blue's on 53.
pub fn joined_datagrams() -> (Router, Process, Process, SocketId, SocketId) {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let mut bound = |process: &mut Process, address| {
        let socket = process.library.create_socket(SocketKind::Datagram).unwrap();
        process.library.bind_datagram(&mut process.reactor, socket, at(address), None).unwrap();
        router.run(&mut [process]);
        assert_eq!(process.take_events(), [LibraryEvent::Listening { listener: socket }]);
        socket
    };
    let (client, server) = (bound(&mut red, "0.0.0.0:0"), bound(&mut blue, "0.0.0.0:53"));
    router.run(&mut [&mut red, &mut blue]);
    (router, red, blue, client, server)
}

/// A connection over the channel between the two of [`joined`].
pub fn connected() -> (Router, Process, Process, SocketId, SocketId) {
    let (mut router, mut red, mut blue, listener) = joined();
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    let accepted = blue.accept(listener).unwrap().socket;
    red.take_events();
    blue.take_events();
    (router, red, blue, socket, accepted)
}

/// 10.0.0.`host`.
pub fn address(host: u16) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(host).unwrap()])
}

/// All addresses of a VR on its inter-VR interface.
fn addresses(host: u16) -> Vec<IpAddr> {
    let v6 = |prefix: u16, second: u16| IpAddr::from([prefix, second, 0, 0, 0, 0, 0, host]);
    vec![address(host), v6(0x2001, 0xdb8), v6(0xfe80, 0)]
}

fn family(listener: &Pathname) -> Family {
    match listener {
        Pathname::Endpoint { criteria: Criteria::Tcp(family, _) | Criteria::Udp(family, _), .. } => *family,
        Pathname::Endpoint { criteria: Criteria::Raw(family, _), .. } => *family,
        other => panic!("{other} is not of IP"),
    }
}

/// An address and port.
pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// TCP over IPv4.
pub fn tcp(port: u16) -> Criteria {
    Criteria::Tcp(Family::Ipv4, NonZeroU16::new(port).unwrap())
}

/// The router's own process behind a service.
pub fn router_process(pathname: &Pathname) -> Identity {
    let name = match pathname {
        Pathname::Service { name, .. } => name.clone(),
        Pathname::Endpoint { .. } => panic!("{pathname} is no service"),
    };
    Identity { vr: VrId::ROUTER, vr_name: None, pid: Pid(2), name, origin: Origin::Supervised }
}

/// The stack writes a record, as the first one of a connection is.
pub fn write_record(channel: &mut Channel, record: &[u8]) {
    assert!(channel.write_record(record).unwrap());
}
