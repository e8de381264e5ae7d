//! The judge's datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::libc;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::datagram_host::{DatagramHost, Letter, Parcel, Speaks};
use crate::host::{Errno, Handle, Link, Outcome, Wishes};
use crate::kernel_host::{KernelHost, errno, inet, look};
use crate::kernel_options::{self, number};

/// Room for any datagram.
const ANY_SIZE: usize = 1 << 16;

impl DatagramHost for KernelHost {
    fn datagram(&mut self, speaks: Speaks, at: SocketAddr, wishes: &Wishes) -> Outcome<Handle> {
        let (kind, protocol) = match speaks {
            Speaks::Udp => (Type::DGRAM, Protocol::UDP),
            Speaks::Raw(number) => (Type::RAW, Protocol::from(i32::from(number))),
        };
        let socket = Socket::new(Domain::for_address(at), kind.nonblocking(), Some(protocol)).map_err(|e| errno(&e))?;
        kernel_options::apply(&socket, wishes, at.is_ipv6(), &self.link_names)?;
        if at.is_ipv6() {
            self.tell_all_v6(&socket, wishes)?
        } else {
            self.tell_all_v4(&socket, wishes)?
        }
        socket.bind(&SockAddr::from(self.scoped(at))).map_err(|error| errno(&error))?;
        Ok(self.put(socket))
    }

    fn aim(&mut self, socket: Handle, to: SocketAddr) -> Outcome<()> {
        self.get(socket)?.connect(&SockAddr::from(self.scoped(to))).map_err(|error| errno(&error))
    }

    fn own_address(&mut self, socket: Handle) -> Outcome<SocketAddr> {
        inet(&self.get(socket)?.local_addr().map_err(|error| errno(&error))?)
    }

    fn send_to(&mut self, socket: Handle, letter: &Letter) -> Outcome<()> {
        let socket = self.get(socket)?;
        let is_ipv6 = socket.domain().is_ok_and(|domain| domain == Domain::IPV6);
        // The socket has said by which link its groups are reached.
        let scoped = |to: SocketAddr| if to.ip().is_multicast() { to } else { self.scoped(to) };
        let to = letter.to.map(|to| SockaddrStorage::from(scoped(to)));
        let slices = [io::IoSlice::new(letter.text.as_bytes())];
        let (ttl, tos) = (letter.ttl.map(libc::c_int::from), libc::c_int::from(letter.tos));
        let any = if is_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let (info_v4, info_v6) = (self.info_v4(letter), self.info_v6(letter));
        // What the letter does not say is left to the kernel.
        let mut beside = Vec::new();
        match letter.from.unwrap_or(any) {
            _ if letter.from.is_none() && letter.by.is_none() => {}
            IpAddr::V4(_) => beside.push(ControlMessage::Ipv4PacketInfo(&info_v4)),
            IpAddr::V6(_) => beside.push(ControlMessage::Ipv6PacketInfo(&info_v6)),
        }
        if let Some(ttl) = &ttl {
            beside.push(if is_ipv6 { ControlMessage::Ipv6HopLimit(ttl) } else { ControlMessage::Ipv4Ttl(ttl) });
        }
        if letter.tos != 0 {
            beside.push(if is_ipv6 { ControlMessage::Ipv6TClass(&tos) } else { ControlMessage::Ipv4Tos(&letter.tos) });
        }
        let sent = sendmsg(socket.as_raw_fd(), &slices, &beside, MsgFlags::empty(), to.as_ref());
        sent.map(drop).map_err(number)
    }

    fn receive_from(&mut self, socket: Handle, room: usize, patience: Duration) -> Outcome<Parcel> {
        let socket = self.get(socket)?;
        look(socket.as_fd(), EpollFlags::EPOLLIN, patience);
        let is_raw = socket.r#type().is_ok_and(|kind| kind == Type::RAW);
        let mut buffer = vec![0; if is_raw { ANY_SIZE } else { room }];
        let mut space = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int, libc::c_int);
        let mut slices = [io::IoSliceMut::new(&mut buffer)];
        let fd = socket.as_raw_fd();
        let got = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_TRUNC).map_err(number)?;
        let (whole, is_cut) = (got.bytes, got.flags.contains(MsgFlags::MSG_TRUNC));
        let from = sender(got.address.as_ref().expect("datagrams have a sender"));
        let (mut ttl, mut tos, mut to, mut index) = (0, 0, IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
        for said in got.cmsgs().expect("there was space") {
            match said {
                ControlMessageOwned::Ipv4Ttl(found) | ControlMessageOwned::Ipv6HopLimit(found) => {
                    ttl = u8::try_from(found).expect("a TTL");
                }
                ControlMessageOwned::Ipv4Tos(found) => tos = found,
                ControlMessageOwned::Ipv6TClass(found) => tos = u8::try_from(found).expect("a traffic class"),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    (to, index) = (Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into(), info.ipi_ifindex);
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    (to, index) = (IpAddr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex as i32);
                }
                _ => {}
            }
        }
        // Linux gives raw sockets of IPv4 the IP header as well.
        let header = if is_raw && to.is_ipv4() { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
        let from = if is_raw { SocketAddr::new(from.ip(), 0) } else { from };
        let by = Link::ALL.into_iter().find(|link| u32::try_from(index) == Ok(self.index(*link)));
        let bytes = whole.min(buffer.len());
        let text = String::from_utf8_lossy(&buffer[header..bytes]).into_owned();
        Ok(Parcel { from, to, ttl, tos, by, text, cut_from: is_cut.then_some(whole) })
    }

    fn join(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()> {
        let socket = self.get(socket)?;
        let joined = match group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(self.index(on))),
            IpAddr::V6(group) => socket.join_multicast_v6(&group, self.index(on)),
        };
        joined.map_err(|error| errno(&error))
    }

    fn leave(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()> {
        let socket = self.get(socket)?;
        let left = match group {
            IpAddr::V4(group) => socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(self.index(on))),
            IpAddr::V6(group) => socket.leave_multicast_v6(&group, self.index(on)),
        };
        left.map_err(|error| errno(&error))
    }

    fn take_error(&mut self, socket: Handle) -> Outcome<Option<Errno>> {
        let error = self.get(socket)?.take_error().map_err(|error| errno(&error))?;
        Ok(error.as_ref().map(errno))
    }
}

impl KernelHost {
    /// Whence and by which link a letter is to go.
    fn info_v4(&self, letter: &Letter) -> libc::in_pktinfo {
        let from = match letter.from {
            Some(IpAddr::V4(from)) => from,
            Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
        };
        let address = libc::in_addr { s_addr: u32::from(from).to_be() };
        let ipi_ifindex = letter.by.map_or(0, |link| self.index(link)).try_into().expect("a small number");
        libc::in_pktinfo { ipi_ifindex, ipi_spec_dst: address, ipi_addr: address }
    }

    fn info_v6(&self, letter: &Letter) -> libc::in6_pktinfo {
        let from = match letter.from {
            Some(IpAddr::V6(from)) => from,
            Some(IpAddr::V4(_)) | None => Ipv6Addr::UNSPECIFIED,
        };
        let ipi6_addr = libc::in6_addr { s6_addr: from.octets() };
        libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: letter.by.map_or(0, |link| self.index(link)) }
    }

    /// All that a datagram brings is to be told; groups are sent to by the link that is wished.
    fn tell_all_v4(&self, socket: &Socket, wishes: &Wishes) -> Outcome<()> {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true).map_err(number)?;
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true).map_err(number)?;
        setsockopt(socket, sockopt::IpRecvTos, &true).map_err(number)?;
        if let Some(link) = wishes.groups_link() {
            let request = libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: 0 },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: self.index(link).try_into().expect("a small number"),
            };
            setsockopt(socket, kernel_options::IpMulticastIf, &request).map_err(number)?;
        }
        Ok(())
    }

    fn tell_all_v6(&self, socket: &Socket, wishes: &Wishes) -> Outcome<()> {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true).map_err(number)?;
        let set = || {
            socket.set_recv_hoplimit_v6(true)?;
            socket.set_recv_tclass_v6(true)?;
            if let Some(link) = wishes.groups_link() {
                socket.set_multicast_if_v6(self.index(link))?;
            }
            Ok(())
        };
        set().map_err(|error| errno(&error))
    }
}

fn sender(address: &SockaddrStorage) -> SocketAddr {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()));
    v4.or_else(v6).expect("IP datagrams have a sender with an IP address")
}
