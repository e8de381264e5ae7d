//! Isthmus's datagrams.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipc::IpProtocol;
use sockets::SocketKind;

use crate::datagram_host::{DatagramHost, Letter, Parcel, Speaks};
use crate::host::{Errno, Handle, Link, Outcome, PATIENCE, Wishes};
use crate::library_host::{LibraryHost, errno, unscoped};

impl DatagramHost for LibraryHost {
    fn datagram(&mut self, speaks: Speaks, at: SocketAddr, wishes: &Wishes) -> Outcome<Handle> {
        let kind = match speaks {
            Speaks::Udp => SocketKind::Datagram,
            Speaks::Raw(number) => SocketKind::Raw(IpProtocol::new(number).expect("neither TCP nor UDP")),
        };
        self.turns = true;
        let socket = self.library.create_socket(kind).map_err(errno)?;
        self.library.set_options(socket, self.options(wishes)).map_err(errno)?;
        let interface = self.interface(wishes.on, at);
        self.library.bind_datagram(&mut self.reactor, socket, unscoped(at), interface).map_err(errno)?;
        self.result(socket, PATIENCE).unwrap_or_else(|| Err(Errno("nothing is said of the socket".to_owned())))?;
        Ok(self.put(socket))
    }

    fn aim(&mut self, socket: Handle, to: SocketAddr) -> Outcome<()> {
        let socket = self.get(socket)?;
        self.library.connect_datagram(&mut self.reactor, socket, Some(unscoped(to))).map_err(errno)?;
        self.result(socket, PATIENCE).unwrap_or_else(|| Err(Errno("nothing is said of the peer".to_owned())))
    }

    fn own_address(&mut self, socket: Handle) -> Outcome<SocketAddr> {
        self.library.datagram_address(self.get(socket)?).map_err(errno)
    }

    fn send_to(&mut self, socket: Handle, letter: &Letter) -> Outcome<()> {
        self.turn(Duration::ZERO);
        let socket = self.get(socket)?;
        let mut message =
            self.library.message(socket, letter.to.map(unscoped), letter.text.as_bytes()).map_err(errno)?;
        message.tos = letter.tos;
        message.ttl = letter.ttl.unwrap_or(message.ttl);
        let to = letter.to.unwrap_or(message.addresses.destination);
        message.interface = match letter.by {
            // The socket has said by which link its groups are reached.
            None if to.ip().is_multicast() => None,
            by => self.interface(by, to),
        };
        if let Some(from) = letter.from {
            message.addresses.source.set_ip(from);
        }
        self.library.send_to(&mut self.reactor, socket, message).map_err(errno)
    }

    fn receive_from(&mut self, socket: Handle, room: usize, patience: Duration) -> Outcome<Parcel> {
        let socket = self.get(socket)?;
        let mut buffer = vec![0; room];
        let got = self.turn_until(patience, |host| {
            let received = host.library.receive_datagram(&mut host.reactor, socket, &mut buffer, Duration::ZERO);
            received.map_err(errno).transpose()
        });
        let info = got.unwrap_or_else(|| Err(Errno::again()))?;
        Ok(Parcel {
            from: info.source,
            to: info.destination.ip(),
            ttl: info.ttl,
            tos: info.tos,
            by: Link::ALL.into_iter().find(|link| info.interface.as_ref() == Some(self.link(*link))),
            text: String::from_utf8_lossy(&buffer[..info.length.min(room)]).into_owned(),
            cut_from: info.truncated.then_some(info.length),
        })
    }

    fn join(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()> {
        let socket = self.get(socket)?;
        self.library.join(socket, group, &self.links[on as usize]).map_err(errno)
    }

    fn leave(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()> {
        let socket = self.get(socket)?;
        self.library.leave(socket, group, &self.links[on as usize]).map_err(errno)
    }

    fn take_error(&mut self, socket: Handle) -> Outcome<Option<Errno>> {
        self.turn(Duration::ZERO);
        let socket = self.get(socket)?;
        let error = self.library.take_error(&mut self.reactor, socket).map_err(errno)?;
        Ok(error.map(errno))
    }
}
