//! What a script says of datagrams.

use std::net::IpAddr;

use crate::datagram_endpoint::{ANY_SIZE, DatagramOrder, DatagramReply};
use crate::datagram_host::{Letter, Parcel, Speaks};
use crate::endpoint::{Order, Patience, Reply};
use crate::host::{Link, Until, Wishes};
use crate::scene::{Process, Socket, socket};

/// Longer texts are written as their length.
const SHOWN: usize = 100;

impl Process<'_> {
    /// A UDP socket.
    pub fn udp(&mut self, at: &str) -> Socket {
        self.udp_as(at, "", Wishes::default())
    }

    /// A UDP socket that is `how`.
    pub fn udp_as(&mut self, at: &str, how: &str, wishes: Wishes) -> Socket {
        let create = DatagramOrder::Create { speaks: Speaks::Udp, at: self.parse(at), wishes };
        socket(&self.say(&format!("UDP socket on {at}{how}"), create))
    }

    /// A raw socket of an IP protocol.
    pub fn raw(&mut self, protocol: u8, at: &str) -> Socket {
        self.raw_as(protocol, at, "", Wishes::default())
    }

    /// A raw socket that is `how`.
    pub fn raw_as(&mut self, protocol: u8, at: &str, how: &str, wishes: Wishes) -> Socket {
        let at_port = self.parse(&with_no_port(at));
        let create = DatagramOrder::Create { speaks: Speaks::Raw(protocol), at: at_port, wishes };
        socket(&self.say(&format!("raw socket of protocol {protocol} on {at}{how}"), create))
    }

    /// Gives a datagram socket a peer.
    pub fn aim(&mut self, socket: Socket, to: &str) {
        let order = DatagramOrder::Aim { socket: socket.0, to: self.parse(to) };
        self.say(&format!("{socket} peer {to}"), order);
    }

    /// Own address of a datagram socket.
    pub fn own_address(&mut self, socket: Socket) {
        self.say(&format!("{socket} own address"), DatagramOrder::OwnAddress { socket: socket.0 });
    }

    /// Sends a datagram.
    pub fn send_to(&mut self, socket: Socket, to: &str, text: &str) {
        let letter =
            Letter { to: Some(self.parse(to)), from: None, by: None, ttl: None, tos: 0, text: text.to_owned() };
        self.send_letter(socket, &format!("to {to}"), letter);
    }

    /// Sends a datagram to the socket's peer.
    pub fn send_on(&mut self, socket: Socket, text: &str) {
        let letter = Letter { to: None, from: None, by: None, ttl: None, tos: 0, text: text.to_owned() };
        self.send_letter(socket, "to its peer", letter);
    }

    /// Sends a datagram with a TTL and a TOS.
    pub fn send_with(&mut self, socket: Socket, to: &str, ttl: u8, tos: u8, text: &str) {
        let letter =
            Letter { to: Some(self.parse(to)), from: None, by: None, ttl: Some(ttl), tos, text: text.to_owned() };
        self.send_letter(socket, &format!("to {to} with TTL {ttl}, TOS {tos:#04x}"), letter);
    }

    /// Sends a datagram from an address of its own.
    pub fn send_from(&mut self, socket: Socket, from: &str, to: &str, text: &str) {
        let own = Some(self.address(from));
        let letter = Letter { to: Some(self.parse(to)), from: own, by: None, ttl: None, tos: 0, text: text.to_owned() };
        self.send_letter(socket, &format!("from {from} to {to}"), letter);
    }

    /// Sends a datagram by a link.
    pub fn send_by(&mut self, socket: Socket, link: Link, to: &str, text: &str) {
        let by = Some(link);
        let letter = Letter { to: Some(self.parse(to)), from: None, by, ttl: None, tos: 0, text: text.to_owned() };
        self.send_letter(socket, &format!("to {to} by the {link}"), letter);
    }

    fn send_letter(&mut self, socket: Socket, to: &str, letter: Letter) {
        let what = shown(&letter.text);
        self.say(&format!("{socket} send {what} {to}"), DatagramOrder::Send { socket: socket.0, letter });
    }

    /// Sends datagrams and dies at once, by its own hand: nothing of it runs behind the last call.
    pub fn send_and_die(&mut self, socket: Socket, to: &str, texts: &[&str]) {
        let letter = |text: &&str| Letter {
            to: Some(self.parse(to)),
            from: None,
            by: None,
            ttl: None,
            tos: 0,
            text: (*text).to_owned(),
        };
        let sends = texts.iter().map(letter).map(|letter| DatagramOrder::Send { socket: socket.0, letter });
        let order = Order::Last(sends.map(Order::Datagram).collect());
        let what: Vec<String> = texts.iter().map(|text| shown(text)).collect();
        self.die(&format!("{socket} send {} to {to}", what.join(", ")), &order);
    }

    /// Waits for a datagram.
    pub fn receive_from(&mut self, socket: Socket) {
        let order = DatagramOrder::Receive { socket: socket.0, room: ANY_SIZE, patience: Patience::Event };
        self.say(&format!("{socket} receive"), order);
    }

    /// Waits for a datagram, with little room for it.
    pub fn receive_cut(&mut self, socket: Socket, room: usize) {
        let order = DatagramOrder::Receive { socket: socket.0, room, patience: Patience::Event };
        self.say(&format!("{socket} receive at most {room}"), order);
    }

    /// Takes a datagram if one is there after a while.
    pub fn receive_from_by_now(&mut self, socket: Socket) {
        let order = DatagramOrder::Receive { socket: socket.0, room: ANY_SIZE, patience: Patience::Silence };
        self.say(&format!("{socket} receive by now"), order);
    }

    /// Waits until something has come, then asks `SO_ERROR`.
    pub fn await_error(&mut self, socket: Socket) {
        self.order(&Order::Wait { socket: socket.0, until: Until::Failed, patience: Patience::Event });
        self.take_error(socket);
    }

    /// What `SO_ERROR` says after a while.
    pub fn error_by_now(&mut self, socket: Socket) {
        self.order(&Order::Wait { socket: socket.0, until: Until::Failed, patience: Patience::Silence });
        let order = DatagramOrder::TakeError { socket: socket.0 };
        self.say(&format!("{socket} error after a while"), order);
    }

    /// Asks `SO_ERROR`.
    pub fn take_error(&mut self, socket: Socket) {
        self.say(&format!("{socket} error"), DatagramOrder::TakeError { socket: socket.0 });
    }

    /// Joins a group on the first link.
    pub fn join(&mut self, socket: Socket, group: &str) {
        self.join_on(socket, Link::First, group);
    }

    /// Joins a group on a link.
    pub fn join_on(&mut self, socket: Socket, on: Link, group: &str) {
        let order = DatagramOrder::Join { socket: socket.0, group: self.address(group), on };
        self.say(&format!("{socket} join {group} on the {on}"), order);
    }

    /// Leaves a group on the first link.
    pub fn leave(&mut self, socket: Socket, group: &str) {
        self.leave_on(socket, Link::First, group);
    }

    /// Leaves a group on a link.
    pub fn leave_on(&mut self, socket: Socket, on: Link, group: &str) {
        let order = DatagramOrder::Leave { socket: socket.0, group: self.address(group), on };
        self.say(&format!("{socket} leave {group} on the {on}"), order);
    }

    /// Sends many datagrams.
    pub fn flood(&mut self, socket: Socket, to: &str, count: u32) {
        let order = DatagramOrder::Flood { socket: socket.0, to: self.parse(to), count };
        self.say(&format!("{socket} send {count} datagrams to {to}"), order);
    }

    /// Receives until no more come: that it is some of `of`, and in which order, is compared. How many it is.
    pub fn collect(&mut self, socket: Socket, of: u32) -> u32 {
        let step = format!("{socket} receive all");
        match self.order(&Order::Datagram(DatagramOrder::Collect { socket: socket.0 })) {
            Reply::Datagram(DatagramReply::Collected { count, in_order: true }) if (1..of).contains(&count) => {
                self.remark(&format!("{step}: some, in order"));
                count
            }
            other => {
                self.note(&step, &other);
                0
            }
        }
    }

    fn say(&mut self, step: &str, order: DatagramOrder) -> Reply {
        self.step(step, &Order::Datagram(order))
    }

    fn address(&self, text: &str) -> IpAddr {
        self.parse(&with_no_port(text)).ip()
    }

    /// A reply, as the transcript has it.
    pub(crate) fn of_datagrams(&self, reply: &DatagramReply) -> String {
        match reply {
            DatagramReply::Parcel(parcel) => self.parcel(parcel),
            DatagramReply::OwnAddress(own) => self.shown_address(*own),
            DatagramReply::Error(error) => error.as_ref().map_or("none".to_owned(), ToString::to_string),
            DatagramReply::Collected { count, in_order } => {
                let order = if *in_order { "in order" } else { "OUT OF ORDER" };
                format!("{count} datagrams, {order}")
            }
        }
    }

    fn parcel(&self, parcel: &Parcel) -> String {
        let Parcel { from, to, ttl, tos, by, text, cut_from } = parcel;
        let way = by.map_or("another way".to_owned(), |link| format!("the {link}"));
        let cut = cut_from.map_or(String::new(), |whole| format!(", cut from {whole} bytes"));
        let what = shown(text);
        let (from, to) = (self.shown_address(*from), self.shown_ip(*to));
        format!("{what}{cut} from {from} to {to}, TTL {ttl}, TOS {tos:#04x}, by {way}")
    }
}

fn with_no_port(address: &str) -> String {
    if address.contains([':', '%']) { format!("[{address}]:0") } else { format!("{address}:0") }
}

fn shown(text: &str) -> String {
    if text.len() > SHOWN { format!("{} bytes", text.len()) } else { format!("{text:?}") }
}
