//! rtnetlink (RFC 3549), as far as programs ask what there is: links, addresses and routes of the VR.
//!
//! A request for a dump is answered at once into a queue, from which the socket then reads. What would change anything is
//! refused with EPERM, as for a user without rights; other families of netlink are refused when the socket is made.

mod route;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use stack_api::interface::InterfaceState;

use crate::control::wait_for;
use crate::description::{Direction, Held};
use crate::lock::{self, Taken};
use crate::{log, names, process};
use route::{CONNECTED, connected, learned, way};

/// Most bytes of one datagram of a dump: what programs have room for.
const DATAGRAM: usize = 8192;
/// `nlmsghdr`.
const HEADER: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

/// What is known of a netlink socket, and goes on in a program that is executed with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Netlink {
    port: u32,
    answers: VecDeque<Vec<u8>>,
}

static SOCKETS: Mutex<Option<HashMap<u32, Netlink>>> = Mutex::new(None);

fn sockets() -> Taken<'static, Option<HashMap<u32, Netlink>>> {
    lock::take(&SOCKETS)
}

fn with<T>(held: Held, what: impl FnOnce(&mut Netlink) -> T) -> T {
    what(sockets().get_or_insert_default().entry(held.index()).or_default())
}

/// A new socket.
pub fn create(index: u32) {
    let port = std::process::id().wrapping_add(index << 22);
    sockets().get_or_insert_default().insert(index, Netlink { port, answers: VecDeque::new() });
}

/// What a program that is executed needs to go on with a socket.
pub fn hand_over(index: u32) -> Netlink {
    sockets().get_or_insert_default().get(&index).cloned().unwrap_or_default()
}

/// Goes on with a socket of the program before.
pub fn take_over(index: u32, netlink: Netlink) {
    sockets().get_or_insert_default().insert(index, netlink);
}

/// Its last descriptor is closed.
pub fn forget(index: u32) {
    sockets().get_or_insert_default().remove(&index);
}

/// bind(2): a port of the program's choice (0: of ours). Groups say nothing: what changes is not told.
pub fn bind(held: Held, port: u32) {
    if port != 0 {
        with(held, |netlink| netlink.port = port);
    }
}

/// `sockaddr_nl` of a port.
pub fn encode(port: u32) -> [u8; 12] {
    let mut address = [0; 12];
    address[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    address[4..8].copy_from_slice(&port.to_ne_bytes());
    address
}

/// The port of a `sockaddr_nl`.
pub fn decode(address: &[u8]) -> Result<u32, Errno> {
    let is_netlink = address.get(..2) == Some(&(libc::AF_NETLINK as u16).to_ne_bytes()[..]);
    let port = address.get(4..8).and_then(|port| <[u8; 4]>::try_from(port).ok());
    port.filter(|_| is_netlink).map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

/// Own address.
pub fn own(held: Held) -> [u8; 12] {
    encode(with(held, |netlink| netlink.port))
}

/// Whether an answer waits.
pub fn is_readable(held: Held) -> bool {
    with(held, |netlink| !netlink.answers.is_empty())
}

/// Takes requests, and answers them.
pub fn send(held: Held, bytes: &[u8]) -> Result<usize, Errno> {
    let mut rest = bytes;
    while let Some(request) = Request::read(rest) {
        let answers = answer(&request, with(held, |netlink| netlink.port))?;
        with(held, |netlink| netlink.answers.extend(answers));
        rest = rest.get(aligned(request.length)..).unwrap_or_default();
    }
    held.description().kick(None);
    Ok(bytes.len())
}

/// The next answer: how much of it lies in `into`, and its whole length.
pub fn receive(held: Held, into: &mut [u8], flags: i32) -> Result<(usize, usize), Errno> {
    let mut look = || {
        with(held, |netlink| {
            let next = netlink.answers.front()?;
            let fits = next.len().min(into.len());
            into[..fits].copy_from_slice(&next[..fits]);
            let length = next.len();
            if flags & libc::MSG_PEEK == 0 {
                netlink.answers.pop_front();
            }
            Some((fits, length))
        })
    };
    match held.is_nonblocking(flags) {
        true => look().ok_or(Errno::EAGAIN),
        false => wait_for(held, held.deadline(Direction::Receive), |_| Ok(look())),
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A request's header, and the body behind it.
#[derive(Debug)]
struct Request<'a> {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
        let half = |at: usize| bytes.get(at..at + 2).and_then(|half| <[u8; 2]>::try_from(half).ok());
        let length = usize::try_from(u32::from_ne_bytes(word(0)?)).ok()?;
        let body = bytes.get(HEADER..length)?;
        let (kind, flags) = (u16::from_ne_bytes(half(4)?), u16::from_ne_bytes(half(6)?));
        Some(Self { length, kind, flags, sequence: u32::from_ne_bytes(word(8)?), body })
    }

    fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The data of an attribute, which begin behind `header` bytes of the body.
    fn attribute(&self, header: usize, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.body.get(header..)?;
        loop {
            let half = |at: usize| rest.get(at..at + 2).and_then(|half| <[u8; 2]>::try_from(half).ok());
            let (length, kind) = (usize::from(u16::from_ne_bytes(half(0)?)), u16::from_ne_bytes(half(2)?));
            let data = rest.get(4..length)?;
            if kind == wanted {
                return Some(data);
            }
            rest = rest.get(aligned(length)..)?;
        }
    }
}

/// A message under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, data: &[u8]) -> Self {
        // Names and addresses are far below 64 KiB.
        let length = (4 + data.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    fn finish(mut self, request: &Request<'_>, port: u32, flags: u16) -> Vec<u8> {
        // One message is far below 4 GiB.
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&request.sequence.to_ne_bytes());
        self.0[12..16].copy_from_slice(&port.to_ne_bytes());
        self.0
    }
}

/// Answers one request: datagrams of one or more messages.
fn answer(request: &Request<'_>, port: u32) -> Result<Vec<Vec<u8>>, Errno> {
    let is_dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
    let interfaces = match request.kind {
        libc::RTM_GETLINK | libc::RTM_GETADDR | libc::RTM_GETROUTE => process::with(|process| process.interfaces())?,
        _ => Vec::new(),
    };
    let messages = match request.kind {
        libc::RTM_GETLINK => {
            let wanted = request.body.get(4..8).and_then(|n| <[u8; 4]>::try_from(n).ok()).map_or(0, u32::from_ne_bytes);
            let is_wanted = |number: u32| is_dump || wanted == number;
            interfaces.iter().filter(|(number, _)| is_wanted(*number)).map(|(n, state)| link(*n, state)).collect()
        }
        libc::RTM_GETADDR if is_dump => dump(&interfaces, request.family(), address),
        libc::RTM_GETROUTE if is_dump => {
            let connected = dump(&interfaces, request.family(), connected);
            let others = process::with(|process| process.routes(None))?;
            let others = others.iter().filter(|route| route.protocol != CONNECTED);
            let others = others.filter(|route| is_of_family(route.prefix.addr(), request.family()));
            connected.into_iter().chain(others.map(|route| learned(&interfaces, route))).collect()
        }
        libc::RTM_GETROUTE => match way(&interfaces, request)? {
            Some(message) => vec![message],
            None => return Ok(vec![error(request, port, Errno::ENETUNREACH)]),
        },
        // Rules, neighbors, queues, next hops: there are none.
        kind if is_dump && kind % 4 == 2 => Vec::new(),
        // RTM_NEW…, RTM_DEL…, RTM_SET…
        kind if kind >= 16 && kind % 4 != 2 => return Ok(vec![error(request, port, Errno::EPERM)]),
        kind => {
            log::not_covered(&format!("rtnetlink request {kind}"));
            return Ok(vec![error(request, port, Errno::EOPNOTSUPP)]);
        }
    };
    if !is_dump {
        let Some(only) = messages.into_iter().next() else { return Ok(vec![error(request, port, Errno::ENODEV)]) };
        let mut all = vec![only.finish(request, port, 0)];
        if request.flags & NLM_F_ACK != 0 {
            all.push(acknowledgement(request, port, 0));
        }
        return Ok(all);
    }
    let done = Message::new(NLMSG_DONE, &0i32.to_ne_bytes());
    let mut datagrams: Vec<Vec<u8>> = vec![Vec::new()];
    for message in messages.into_iter().chain([done]) {
        let message = message.finish(request, port, NLM_F_MULTI);
        match datagrams.last_mut().filter(|last| last.len() + message.len() <= DATAGRAM) {
            Some(last) => last.extend(message),
            None => datagrams.push(message),
        }
    }
    Ok(datagrams)
}

fn error(request: &Request<'_>, port: u32, error: Errno) -> Vec<u8> {
    acknowledgement(request, port, -(error as i32))
}

/// `nlmsgerr`: a number, and the header of what it is about.
fn acknowledgement(request: &Request<'_>, port: u32, number: i32) -> Vec<u8> {
    let mut body = number.to_ne_bytes().to_vec();
    // A request's length was read from 32 bits.
    body.extend((request.length as u32).to_ne_bytes());
    body.extend(request.kind.to_ne_bytes());
    body.extend(request.flags.to_ne_bytes());
    body.extend(request.sequence.to_ne_bytes());
    body.extend(port.to_ne_bytes());
    Message::new(NLMSG_ERROR, &body).finish(request, port, 0)
}

/// `ifinfomsg` and its attributes.
fn link(number: u32, state: &InterfaceState) -> Message {
    let mut body = vec![0, 0];
    body.extend(libc::ARPHRD_ETHER.to_ne_bytes());
    body.extend(number.to_ne_bytes());
    body.extend(names::flags(state).to_ne_bytes());
    body.extend(u32::MAX.to_ne_bytes());
    const OPERATIONAL_UP: u8 = 6;
    const OPERATIONAL_DOWN: u8 = 2;
    let name = [state.name.as_str().as_bytes(), &[0]].concat();
    let message = Message::new(libc::RTM_NEWLINK, &body)
        .attribute(libc::IFLA_IFNAME, &name)
        .attribute(libc::IFLA_MTU, &state.mtu.to_ne_bytes())
        .attribute(libc::IFLA_TXQLEN, &0u32.to_ne_bytes())
        .attribute(libc::IFLA_OPERSTATE, &[if state.up { OPERATIONAL_UP } else { OPERATIONAL_DOWN }]);
    message.attribute(libc::IFLA_ADDRESS, &state.mac.unwrap_or_default())
}

type Entry = fn(u32, &InterfaceState, IpAddr, u8) -> Message;

/// All addresses of a family (0: of both), each as `entry` says it.
fn dump(interfaces: &[(u32, InterfaceState)], family: u8, entry: Entry) -> Vec<Message> {
    let mut messages = Vec::new();
    for (number, state) in interfaces {
        let addresses = names::addresses(state).into_iter().filter(|(own, _)| is_of_family(*own, family));
        messages.extend(addresses.map(|(own, length)| entry(*number, state, own, length)));
    }
    messages
}

fn is_of_family(address: IpAddr, family: u8) -> bool {
    match i32::from(family) {
        libc::AF_INET => address.is_ipv4(),
        libc::AF_INET6 => address.is_ipv6(),
        libc::AF_UNSPEC => true,
        _ => false,
    }
}

fn family_of(address: IpAddr) -> u8 {
    // Both are small numbers.
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// `ifaddrmsg` and its attributes.
fn address(number: u32, state: &InterfaceState, own: IpAddr, length: u8) -> Message {
    let scope = if is_link_local(own) { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let mut body = vec![family_of(own), length, libc::IFA_F_PERMANENT as u8, scope];
    body.extend(number.to_ne_bytes());
    let label = [state.name.as_str().as_bytes(), &[0]].concat();
    let message = Message::new(libc::RTM_NEWADDR, &body).attribute(libc::IFA_ADDRESS, &octets(own));
    match own {
        IpAddr::V4(_) => {
            let message = message.attribute(libc::IFA_LOCAL, &octets(own)).attribute(libc::IFA_LABEL, &label);
            match names::broadcast(state, own) {
                Some(broadcast) => message.attribute(libc::IFA_BROADCAST, &octets(broadcast)),
                None => message,
            }
        }
        IpAddr::V6(_) => message,
    }
}
