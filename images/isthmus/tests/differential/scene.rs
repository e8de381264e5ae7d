//! A case as it is played: its processes, and the transcript of all that they could observe.
//!
//! One order is given at a time and its reply awaited, so that the order of steps is that of the script in every column.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::column::{Column, Vr};
use crate::endpoint::{Order, PLACE, Patience, Reply};
use crate::host::{Errno, Got, Handle, How, Link, PATIENCE, Until, Wanted, Wishes};
use testing::support::stop;

/// The least port that nobody chose: where Linux's ephemeral ports, and those of the stack, begin.
const FIRST_EPHEMERAL: u16 = 32_768;

/// How long a call is looked at that may wait: much longer than one takes that does not, on a busy machine too, and much
/// shorter than those wait that do.
const LOOK_AT_CALL: Duration = Duration::from_millis(500);

/// How a link-local address is written: the VR that has it, and the link.
fn link_local_name(vr: Vr, link: Link) -> String {
    let link = match link {
        Link::First => "link",
        Link::Other => "other",
    };
    format!("{vr}%{link}")
}

/// Whose link-local addresses there are.
fn link_locals() -> impl Iterator<Item = (Vr, Link)> {
    [Vr::Red, Vr::Blue].into_iter().flat_map(|vr| Link::ALL.map(|link| (vr, link)))
}

/// A case being played in a column.
#[derive(Debug)]
pub struct Scene<'a> {
    column: &'a Column,
    transcript: RefCell<Vec<String>>,
    /// Ephemeral ports, in the order in which they showed: the first is written `p1`.
    ports: RefCell<Vec<u16>>,
    processes: RefCell<Vec<Vr>>,
}

impl<'a> Scene<'a> {
    /// A case of which nothing was played.
    pub fn new(column: &'a Column) -> Self {
        let (transcript, ports, processes) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { column, transcript, ports, processes }
    }

    /// A process in each VR: red, then blue.
    pub fn two(&self) -> (Process<'_>, Process<'_>) {
        (self.process(Vr::Red), self.process(Vr::Blue))
    }

    /// Another process.
    pub fn process(&self, vr: Vr) -> Process<'_> {
        let others = self.processes.borrow().iter().filter(|other| **other == vr).count();
        self.processes.borrow_mut().push(vr);
        let number = if others == 0 { String::new() } else { (others + 1).to_string() };
        Process::start(self, vr, format!("{vr}{number}"))
    }

    /// Shuts blue's end of the link until the value is dropped.
    pub fn cut_link(&self) -> CutLink<'_> {
        self.column.cut_link();
        self.note("the link is cut".to_owned());
        CutLink(self)
    }

    /// What was observed.
    pub fn into_transcript(self) -> Vec<String> {
        self.transcript.into_inner()
    }

    fn note(&self, line: String) {
        self.transcript.borrow_mut().push(line);
    }

    /// An address, a link-local one by whose it is.
    fn ip(&self, address: IpAddr) -> String {
        let is_of = |(vr, link): &(Vr, Link)| address == self.column.link_local(*vr, *link);
        link_locals().find(is_of).map_or(address.to_string(), |(vr, link)| link_local_name(vr, link))
    }

    /// An address and port, an ephemeral port by its number.
    fn address(&self, address: SocketAddr) -> String {
        let ip = if address.is_ipv6() { format!("[{}]", self.ip(address.ip())) } else { address.ip().to_string() };
        if address.port() < FIRST_EPHEMERAL {
            return format!("{ip}:{}", address.port());
        }
        let mut ports = self.ports.borrow_mut();
        let place = ports.iter().position(|port| *port == address.port()).unwrap_or_else(|| {
            ports.push(address.port());
            ports.len() - 1
        });
        format!("{ip}:p{}", place + 1)
    }
}

/// A link that is cut.
#[derive(Debug)]
pub struct CutLink<'a>(&'a Scene<'a>);

impl Drop for CutLink<'_> {
    fn drop(&mut self) {
        self.0.column.mend_link();
        self.0.note("the link is mended".to_owned());
    }
}

/// A process of a case, killed when it is dropped.
#[derive(Debug)]
pub struct Process<'a> {
    scene: &'a Scene<'a>,
    name: String,
    child: Child,
    orders: ChildStdin,
    replies: Receiver<Reply>,
    /// Whether it did not reply once: nothing more is expected of it.
    is_silent: bool,
}

/// A socket of a process. One that never came to be has number 0, and every call on it fails in every column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket(pub(crate) Handle);

impl<'a> Process<'a> {
    fn start(scene: &'a Scene<'a>, vr: Vr, name: String) -> Self {
        let (mut command, place) = scene.column.endpoint(vr);
        let place = serde_json::to_string(&place).expect("a place has a JSON form");
        command.env(PLACE, place).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("an endpoint starts");
        let (orders, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (told, replies) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line).expect("a reply");
                if told.send(reply).is_err() {
                    return;
                }
            }
        });
        let mut process = Self { scene, name, child, orders, replies, is_silent: false };
        process.finish();
        process
    }

    /// Gives an order; [`finish`](Self::finish) awaits the reply.
    fn begin(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("an order has a JSON form") + "\n";
        // One that is gone does not reply either.
        let _ = self.orders.write_all(line.as_bytes()).and_then(|()| self.orders.flush());
    }

    fn finish(&mut self) -> Reply {
        let patience = if self.is_silent { Duration::ZERO } else { 3 * PATIENCE };
        self.replies.recv_timeout(patience).unwrap_or_else(|_| {
            self.is_silent = true;
            Reply::Failed(Errno("no reply".to_owned()))
        })
    }

    pub(crate) fn order(&mut self, order: &Order) -> Reply {
        self.begin(order);
        self.finish()
    }

    pub(crate) fn note(&self, step: &str, reply: &Reply) {
        let said = match reply {
            Reply::Here | Reply::Done => "ok".to_owned(),
            Reply::Socket(handle) => format!("socket {}", handle.0),
            Reply::Addresses(own, peer) => format!("{} to {}", self.scene.address(*own), self.scene.address(*peer)),
            Reply::Datagram(reply) => self.of_datagrams(reply),
            Reply::Sent(bytes) => bytes.to_string(),
            Reply::Got(Got::Bytes(text)) => format!("{text:?}"),
            Reply::Got(Got::End) => "end of file".to_owned(),
            Reply::Ready(ready) => ready.to_string(),
            Reply::Drained { bytes, intact, end } => {
                let how = if *intact { "intact" } else { "DAMAGED" };
                format!("{bytes} bytes, {how}{end}")
            }
            Reply::Failed(error) => error.to_string(),
        };
        self.scene.note(format!("{}: {step}: {said}", self.name));
    }

    /// What stands behind a name in an address: `red%link` and `blue%link` are the link-local addresses on the first link,
    /// `red%other` and `blue%other` those on the other one.
    pub(crate) fn parse(&self, address: &str) -> SocketAddr {
        let mut address = address.to_owned();
        for (vr, link) in link_locals() {
            let scoped = format!("{}%{}", self.scene.column.link_local(vr, link), link.scope());
            address = address.replace(&link_local_name(vr, link), &scoped);
        }
        address.parse().expect("an address and a port")
    }

    /// An address as the transcript has it.
    pub(crate) fn shown_address(&self, address: SocketAddr) -> String {
        self.scene.address(address)
    }

    /// The same without a port.
    pub(crate) fn shown_ip(&self, address: IpAddr) -> String {
        self.scene.ip(address)
    }

    /// Something else for the transcript.
    pub(crate) fn remark(&self, text: &str) {
        self.scene.note(format!("{}: {text}", self.name));
    }

    pub(crate) fn step(&mut self, step: &str, order: &Order) -> Reply {
        let reply = self.order(order);
        self.note(step, &reply);
        reply
    }

    /// Listens, with a backlog that is never full.
    pub fn listen(&mut self, at: &str) -> Socket {
        self.listen_as(at, "", 16, Wishes::default())
    }

    /// Listens.
    pub fn listen_with(&mut self, at: &str, backlog: u16) -> Socket {
        self.listen_as(at, "", backlog, Wishes::default())
    }

    /// Listens with a socket that is `how`.
    pub fn listen_as(&mut self, at: &str, how: &str, backlog: u16, wishes: Wishes) -> Socket {
        let order = Order::Listen { at: self.parse(at), backlog, wishes };
        socket(&self.step(&format!("listen on {at}{how}"), &order))
    }

    /// Connects, and waits how it goes.
    pub fn connect(&mut self, to: &str) -> Socket {
        let socket = self.begin_connect(to);
        self.connected(socket);
        socket
    }

    /// Begins to connect.
    pub fn begin_connect(&mut self, to: &str) -> Socket {
        self.begin_connect_as(to, "", Wishes::default())
    }

    /// Begins to connect with a socket that is `how`.
    pub fn begin_connect_as(&mut self, to: &str, how: &str, wishes: Wishes) -> Socket {
        let wanted = Wanted { to: self.parse(to), from: None, port: None, wishes };
        socket(&self.step(&format!("connect to {to}{how}"), &Order::Connect(wanted)))
    }

    /// Connects from an address, a port or both. Whether a wrong one shows at once or a moment later is a matter of the
    /// interface (bind(2) is a call of its own): what comes out in the end is compared.
    pub fn connect_from(&mut self, from: Option<IpAddr>, port: Option<u16>, to: &str) -> Socket {
        let own = from.map_or("any".to_owned(), |from| from.to_string());
        let step = format!("connect from {own}, port {}, to {to}", port.map_or("any".to_owned(), |p| p.to_string()));
        let reply = self.order(&Order::Connect(Wanted { to: self.parse(to), from, port, wishes: Wishes::default() }));
        let socket = socket(&reply);
        let end = match reply {
            Reply::Socket(handle) => self.order(&Order::Connected { socket: handle, patience: Patience::Event }),
            other => other,
        };
        self.note(&step, &end);
        socket
    }

    /// Waits how a connect goes.
    pub fn connected(&mut self, socket: Socket) {
        let order = Order::Connected { socket: socket.0, patience: Patience::Event };
        self.step(&format!("{socket} connected"), &order);
    }

    /// How a connect goes after a while.
    pub fn connected_by_now(&mut self, socket: Socket) {
        let order = Order::Connected { socket: socket.0, patience: Patience::Silence };
        self.step(&format!("{socket} connected by now"), &order);
    }

    /// Waits for a connection.
    pub fn accept(&mut self, listener: Socket) -> Socket {
        let order = Order::Accept { listener: listener.0, patience: Patience::Event };
        socket(&self.step(&format!("accept from {listener}"), &order))
    }

    /// Gives a connect a while to come to something or nothing; which of the two is not told.
    pub fn let_settle(&mut self, socket: Socket) {
        self.order(&Order::Wait { socket: socket.0, until: Until::Writable, patience: Patience::Silence });
    }

    /// Takes a connection if one is there after a while.
    pub fn accept_by_now(&mut self, listener: Socket) -> Socket {
        let order = Order::Accept { listener: listener.0, patience: Patience::Silence };
        socket(&self.step(&format!("accept from {listener} by now"), &order))
    }

    /// Own address and the peer's.
    pub fn addresses(&mut self, socket: Socket) {
        self.step(&format!("{socket} addresses"), &Order::Addresses { socket: socket.0 });
    }

    /// Sends once.
    pub fn send(&mut self, socket: Socket, text: &str) {
        self.step(&format!("{socket} send {text:?}"), &Order::Send { socket: socket.0, text: text.to_owned() });
    }

    /// Receives once, whether or not there is something.
    pub fn receive_now(&mut self, socket: Socket, room: usize) {
        self.step(&format!("{socket} receive at most {room}"), &Order::Receive { socket: socket.0, room });
    }

    /// Waits until there is something, and receives once.
    pub fn receive(&mut self, socket: Socket, room: usize) {
        self.order(&Order::Wait { socket: socket.0, until: Until::Readable, patience: Patience::Event });
        self.receive_now(socket, room);
    }

    /// Ends a direction.
    pub fn shutdown(&mut self, socket: Socket, how: How) {
        self.step(&format!("{socket} shutdown {how:?}"), &Order::Shutdown { socket: socket.0, how });
    }

    /// Closes.
    pub fn close(&mut self, socket: Socket) {
        self.step(&format!("{socket} close"), &Order::Close { socket: socket.0 });
    }

    /// Closes with a reset.
    pub fn abort(&mut self, socket: Socket) {
        self.step(&format!("{socket} abort"), &Order::Abort { socket: socket.0 });
    }

    /// What poll(2) says now.
    pub fn ready(&mut self, socket: Socket) {
        self.step(&format!("{socket} poll"), &Order::Ready { socket: socket.0 });
    }

    /// What poll(2) says once something has come.
    pub fn wait(&mut self, socket: Socket, until: Until) {
        let order = Order::Wait { socket: socket.0, until, patience: Patience::Event };
        self.step(&format!("{socket} poll until {until:?}"), &order);
    }

    /// Waits until something has come, which `cause` brings about.
    pub fn wait_for(&mut self, socket: Socket, until: Until, cause: impl FnOnce()) {
        self.begin(&Order::Wait { socket: socket.0, until, patience: Patience::Event });
        cause();
        let ready = self.finish();
        self.note(&format!("{socket} poll until {until:?}"), &ready);
    }

    /// What poll(2) says after a while in which something should not come.
    pub fn wait_in_vain(&mut self, socket: Socket, until: Until) {
        let order = Order::Wait { socket: socket.0, until, patience: Patience::Silence };
        self.step(&format!("{socket} poll for {until:?} in vain"), &order);
    }

    /// Lets what is on its way come; what poll(2) says of it is not looked at.
    pub fn listen_a_while(&mut self, socket: Socket) {
        self.order(&Order::Wait { socket: socket.0, until: Until::Readable, patience: Patience::Silence });
    }

    /// Sends until nothing more is taken. How much that is, buffers decide: only that it is something is compared.
    pub fn fill(&mut self, socket: Socket) -> u64 {
        match self.order(&Order::Fill { socket: socket.0 }) {
            Reply::Sent(bytes) => {
                let some = if bytes > 0 { "something" } else { "nothing" };
                self.scene.note(format!("{}: {socket} send until it takes no more: {some}", self.name));
                bytes
            }
            other => {
                self.note(&format!("{socket} send until it takes no more"), &other);
                0
            }
        }
    }

    /// Receives what [`fill`](Self::fill) has sent, and looks whether more comes.
    pub fn drain_filled(&mut self, socket: Socket, filled: u64) {
        let step = format!("{socket} receive all");
        match self.order(&Order::Drain { socket: socket.0, enough: filled }) {
            Reply::Drained { bytes, intact: true, end } if bytes == filled => {
                self.scene.note(format!("{}: {step}: what was taken, intact{end}", self.name));
            }
            other => self.note(&step, &other),
        }
    }

    /// Receives what there is of the pattern until the end or an error. How much that is, buffers decide.
    pub fn drain_some(&mut self, socket: Socket) {
        let step = format!("{socket} receive all");
        match self.order(&Order::Drain { socket: socket.0, enough: u64::MAX }) {
            Reply::Drained { bytes: 1.., intact: true, end } => self.remark(&format!("{step}: some, intact{end}")),
            other => self.note(&step, &other),
        }
    }

    /// Receives the pattern until the end or an error.
    pub fn drain(&mut self, socket: Socket) {
        self.step(&format!("{socket} receive all"), &Order::Drain { socket: socket.0, enough: u64::MAX });
    }

    /// Sends so much of the pattern and receives so much, while `other` does the reverse.
    pub fn exchange(&mut self, own: Socket, other: &mut Process<'_>, theirs: Socket, send: u64, receive: u64) {
        self.begin(&Order::Exchange { socket: own.0, send, receive });
        other.begin(&Order::Exchange { socket: theirs.0, send: receive, receive: send });
        let (mine, its) = (self.finish(), other.finish());
        self.note(&format!("{own} send {send} bytes, receive {receive}"), &mine);
        other.note(&format!("{theirs} send {receive} bytes, receive {send}"), &its);
    }

    /// Closes, while something happens; whether the call waits for it shows.
    pub fn close_while(&mut self, socket: Socket, meanwhile: impl FnOnce()) {
        self.wait_while(&format!("{socket} close"), &Order::Close { socket: socket.0 }, meanwhile);
    }

    /// Sends so much of the pattern with calls that wait, while something happens.
    pub fn write_while(&mut self, socket: Socket, bytes: u64, meanwhile: impl FnOnce()) {
        let order = Order::Write { socket: socket.0, bytes };
        self.wait_while(&format!("{socket} write {bytes} bytes"), &order, meanwhile);
    }

    /// Sends so much of the pattern with calls that wait.
    pub fn write(&mut self, socket: Socket, bytes: u64) {
        self.step(&format!("{socket} write {bytes} bytes"), &Order::Write { socket: socket.0, bytes });
    }

    fn wait_while(&mut self, step: &str, order: &Order, meanwhile: impl FnOnce()) {
        self.begin(order);
        let early = self.replies.recv_timeout(LOOK_AT_CALL).ok();
        let waits = if early.is_some() { "does not wait" } else { "waits" };
        self.remark(&format!("{step}: {waits}"));
        meanwhile();
        let reply = early.unwrap_or_else(|| self.finish());
        self.note(step, &reply);
    }

    /// Closes while `other` does the same.
    pub fn close_with(&mut self, own: Socket, other: &mut Process<'_>, theirs: Socket) {
        let close = |socket: Socket| Order::Close { socket: socket.0 };
        self.at_once(&close(own), other, &close(theirs), &format!("{own} and {theirs} closed at once"));
    }

    /// Ends its writing while `other` does the same.
    pub fn shutdown_with(&mut self, own: Socket, other: &mut Process<'_>, theirs: Socket) {
        let shutdown = |socket: Socket| Order::Shutdown { socket: socket.0, how: How::Write };
        let step = format!("{own} and {theirs} shut down for writing at once");
        self.at_once(&shutdown(own), other, &shutdown(theirs), &step);
    }

    fn at_once(&mut self, own: &Order, other: &mut Process<'_>, theirs: &Order, step: &str) {
        self.begin(own);
        other.begin(theirs);
        let (mine, its) = (self.finish(), other.finish());
        self.note(step, &mine);
        other.note(step, &its);
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.end();
        self.scene.note(format!("{}: killed", self.name));
    }

    /// The last order of the process, which dies by its own hand.
    pub(crate) fn die(&mut self, step: &str, order: &Order) {
        self.begin(order);
        let end = self.child.wait().expect("it is awaited once").signal();
        let how = if end == Some(Signal::SIGKILL as i32) { "dead" } else { "FAILED" };
        self.remark(&format!("{step}, and die: {how}"));
    }

    /// Stops the process.
    pub fn stop(&mut self) {
        stop(self.pid());
        self.scene.note(format!("{}: stopped", self.name));
    }

    /// Lets a stopped process go on.
    pub fn go_on(&mut self) {
        kill(self.pid(), Signal::SIGCONT).expect("it has not been reaped");
        self.scene.note(format!("{}: goes on", self.name));
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a PID"))
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "socket {}", self.0.0)
    }
}

/// No socket.
const NONE: Socket = Socket(Handle(0));

/// The socket of a reply, or none.
pub(crate) fn socket(reply: &Reply) -> Socket {
    if let Reply::Socket(handle) = reply { Socket(*handle) } else { NONE }
}
