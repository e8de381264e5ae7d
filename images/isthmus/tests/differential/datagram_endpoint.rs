//! What an endpoint does with datagrams: the calls of [`DatagramHost`](crate::datagram_host::DatagramHost), and two that
//! repeat one of them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::datagram_host::{Letter, Parcel, Speaks};
use crate::endpoint::{Patience, Reply};
use crate::host::{Errno, Handle, Host, Link, Outcome, SILENCE, Wishes};

/// Room for any datagram.
pub const ANY_SIZE: usize = 1 << 16;

/// What an endpoint is told about datagrams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DatagramOrder {
    /// Creates and binds.
    Create { speaks: Speaks, at: SocketAddr, wishes: Wishes },
    /// Sets the peer.
    Aim { socket: Handle, to: SocketAddr },
    /// Own address.
    OwnAddress { socket: Handle },
    /// Sends one.
    Send { socket: Handle, letter: Letter },
    /// Receives one.
    Receive { socket: Handle, room: usize, patience: Patience },
    /// Joins a group on a link.
    Join { socket: Handle, group: IpAddr, on: Link },
    /// Leaves a group on a link.
    Leave { socket: Handle, group: IpAddr, on: Link },
    /// `SO_ERROR`.
    TakeError { socket: Handle },
    /// Sends so many datagrams with numbers.
    Flood { socket: Handle, to: SocketAddr, count: u32 },
    /// Receives numbered datagrams until no more come.
    Collect { socket: Handle },
}

/// What an endpoint answers about datagrams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DatagramReply {
    /// A datagram was received.
    Parcel(Parcel),
    /// Own address.
    OwnAddress(SocketAddr),
    /// What `SO_ERROR` said.
    Error(Option<Errno>),
    /// Numbered datagrams were received.
    Collected { count: u32, in_order: bool },
}

/// Does what an order says.
pub fn obey(host: &mut dyn Host, order: DatagramOrder) -> Outcome<Reply> {
    Ok(Reply::Datagram(match order {
        DatagramOrder::Create { speaks, at, wishes } => return Ok(Reply::Socket(host.datagram(speaks, at, &wishes)?)),
        DatagramOrder::Aim { socket, to } => return host.aim(socket, to).map(|()| Reply::Done),
        DatagramOrder::Send { socket, letter } => return host.send_to(socket, &letter).map(|()| Reply::Done),
        DatagramOrder::Join { socket, group, on } => return host.join(socket, group, on).map(|()| Reply::Done),
        DatagramOrder::Leave { socket, group, on } => return host.leave(socket, group, on).map(|()| Reply::Done),
        DatagramOrder::Flood { socket, to, count } => return flood(host, socket, to, count).map(|()| Reply::Done),
        DatagramOrder::OwnAddress { socket } => DatagramReply::OwnAddress(host.own_address(socket)?),
        DatagramOrder::TakeError { socket } => DatagramReply::Error(host.take_error(socket)?),
        DatagramOrder::Receive { socket, room, patience } => {
            DatagramReply::Parcel(host.receive_from(socket, room, patience.duration())?)
        }
        DatagramOrder::Collect { socket } => collect(host, socket)?,
    }))
}

fn flood(host: &mut dyn Host, socket: Handle, to: SocketAddr, count: u32) -> Outcome<()> {
    for number in 0..count {
        let text = format!("{number:1000}");
        host.send_to(socket, &Letter { to: Some(to), from: None, by: None, ttl: None, tos: 0, text })?;
    }
    Ok(())
}

fn collect(host: &mut dyn Host, socket: Handle) -> Outcome<DatagramReply> {
    let (mut count, mut last, mut in_order) = (0, None, true);
    loop {
        match host.receive_from(socket, ANY_SIZE, SILENCE) {
            Ok(parcel) => {
                let number: Option<u32> = parcel.text.trim().parse().ok();
                in_order &= number.is_some() && number > last;
                (count, last) = (count + 1, number);
            }
            Err(error) if error == Errno::again() => return Ok(DatagramReply::Collected { count, in_order }),
            Err(error) => return Err(error),
        }
    }
}
