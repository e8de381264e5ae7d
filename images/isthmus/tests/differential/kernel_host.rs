//! The judge: the Linux kernel's own sockets.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno as Number;
use nix::net::if_::if_nametoindex;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::host::{Errno, Handle, Host, How, Link, Outcome, Ready, Until, Wanted, Wishes};
use crate::kernel_options;

/// Sockets of this process's network namespace.
#[derive(Debug)]
pub struct KernelHost {
    /// Interfaces that lead to the other side, by number.
    links: [u32; 2],
    /// The same by name.
    pub(crate) link_names: [String; 2],
    sockets: BTreeMap<Handle, Socket>,
    last: u32,
}

impl KernelHost {
    /// Sockets of the place that this process is in.
    pub fn new(link_names: [String; 2]) -> Self {
        let number = |link: &String| if_nametoindex(link.as_str()).expect("there is an interface of this name");
        Self { links: link_names.each_ref().map(number), link_names, sockets: BTreeMap::new(), last: 0 }
    }

    /// Number of an interface.
    pub(crate) fn index(&self, link: Link) -> u32 {
        self.links[link as usize]
    }

    /// The same address with its link's number as its scope, where it needs one.
    pub(crate) fn scoped(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V6(mut v6) if is_link_scoped(*v6.ip()) => {
                v6.set_scope_id(self.index(Link::of(address)));
                v6.into()
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => address,
        }
    }

    pub(crate) fn put(&mut self, socket: Socket) -> Handle {
        self.last += 1;
        let handle = Handle(self.last);
        self.sockets.insert(handle, socket);
        handle
    }

    pub(crate) fn get(&self, socket: Handle) -> Outcome<&Socket> {
        self.sockets.get(&socket).ok_or_else(|| Errno("EBADF".to_owned()))
    }
}

impl Host for KernelHost {
    /// The kernel sees to its sockets by itself.
    fn idle(&mut self, _orders: BorrowedFd<'_>) {}

    fn listen(&mut self, at: SocketAddr, backlog: u16, wishes: &Wishes) -> Outcome<Handle> {
        let socket = stream(at)?;
        kernel_options::apply(&socket, wishes, at.is_ipv6(), &self.link_names)?;
        socket.set_reuse_address(!wishes.without_reuse).map_err(|error| errno(&error))?;
        socket.bind(&SockAddr::from(self.scoped(at))).map_err(|error| errno(&error))?;
        socket.listen(i32::from(backlog)).map_err(|error| errno(&error))?;
        Ok(self.put(socket))
    }

    fn connect(&mut self, wanted: &Wanted) -> Outcome<Handle> {
        let socket = stream(wanted.to)?;
        kernel_options::apply(&socket, &wanted.wishes, wanted.to.is_ipv6(), &self.link_names)?;
        if wanted.from.is_some() || wanted.port.is_some() {
            let any = any_of(wanted.to);
            let from = SocketAddr::new(wanted.from.unwrap_or(any), wanted.port.unwrap_or(0));
            socket.bind(&SockAddr::from(self.scoped(from))).map_err(|error| errno(&error))?;
        }
        match socket.connect(&SockAddr::from(self.scoped(wanted.to))) {
            Err(error) if error.raw_os_error() != Some(Number::EINPROGRESS as i32) => Err(errno(&error)),
            Ok(()) | Err(_) => Ok(self.put(socket)),
        }
    }

    fn connected(&mut self, socket: Handle, patience: Duration) -> Outcome<()> {
        if !self.wait(socket, Until::Writable, patience)?.writable {
            return Err(Errno("EINPROGRESS".to_owned()));
        }
        match self.get(socket)?.take_error().map_err(|error| errno(&error))? {
            Some(error) => Err(errno(&error)),
            None => Ok(()),
        }
    }

    fn accept(&mut self, listener: Handle) -> Outcome<Handle> {
        let (socket, _) = self.get(listener)?.accept().map_err(|error| errno(&error))?;
        socket.set_nonblocking(true).map_err(|error| errno(&error))?;
        Ok(self.put(socket))
    }

    fn addresses(&mut self, socket: Handle) -> Outcome<(SocketAddr, SocketAddr)> {
        let socket = self.get(socket)?;
        let own = socket.local_addr().map_err(|error| errno(&error))?;
        let peer = socket.peer_addr().map_err(|error| errno(&error))?;
        Ok((inet(&own)?, inet(&peer)?))
    }

    fn send(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize> {
        let mut socket = self.get(socket)?;
        socket.write(bytes).map_err(|error| errno(&error))
    }

    fn write(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize> {
        let mut socket = self.get(socket)?;
        socket.set_nonblocking(false).map_err(|error| errno(&error))?;
        let written = socket.write(bytes).map_err(|error| errno(&error));
        socket.set_nonblocking(true).map_err(|error| errno(&error))?;
        written
    }

    fn receive(&mut self, socket: Handle, into: &mut [u8]) -> Outcome<usize> {
        let mut socket = self.get(socket)?;
        socket.read(into).map_err(|error| errno(&error))
    }

    fn shutdown(&mut self, socket: Handle, how: How) -> Outcome<()> {
        let how = match how {
            How::Read => Shutdown::Read,
            How::Write => Shutdown::Write,
            How::Both => Shutdown::Both,
        };
        self.get(socket)?.shutdown(how).map_err(|error| errno(&error))
    }

    fn close(&mut self, socket: Handle) {
        self.sockets.remove(&socket);
    }

    fn abort(&mut self, socket: Handle) {
        if let Some(socket) = self.sockets.remove(&socket) {
            socket.set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
        }
    }

    fn ready(&mut self, socket: Handle) -> Outcome<Ready> {
        let all = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
        Ok(look(self.get(socket)?.as_fd(), all, Duration::ZERO))
    }

    fn wait(&mut self, socket: Handle, until: Until, patience: Duration) -> Outcome<Ready> {
        let wanted = match until {
            Until::Readable => EpollFlags::EPOLLIN,
            Until::Writable => EpollFlags::EPOLLOUT,
            Until::ReadClosed => EpollFlags::EPOLLRDHUP,
            Until::HungUp | Until::Failed => EpollFlags::empty(),
        };
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            look(self.get(socket)?.as_fd(), wanted, left);
            let ready = self.ready(socket)?;
            if until.is_met(ready) || Instant::now() >= deadline {
                return Ok(ready);
            }
        }
    }
}

/// A TCP socket for an address's family that does not block.
fn stream(of: SocketAddr) -> Outcome<Socket> {
    let socket = Socket::new(Domain::for_address(of), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    socket.map_err(|error| errno(&error))
}

fn any_of(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// An address without its scope: that is always the link.
pub(crate) fn inet(address: &SockAddr) -> Outcome<SocketAddr> {
    let address = address.as_socket().ok_or_else(|| Errno("EAFNOSUPPORT".to_owned()))?;
    Ok(SocketAddr::new(address.ip(), address.port()))
}

fn is_link_scoped(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || (address.is_multicast() && address.octets()[1] & 0xf == 2)
}

/// What poll(2) says, after at most so long. Asked by epoll, since nix's poll does not know POLLRDHUP.
pub(crate) fn look(fd: BorrowedFd<'_>, wanted: EpollFlags, patience: Duration) -> Ready {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("a set to wait with");
    epoll.add(fd, EpollEvent::new(wanted, 0)).expect("a socket can be waited for");
    let mut events = [EpollEvent::empty()];
    let timeout = EpollTimeout::try_from(patience).expect("not longer than a month");
    let count = epoll.wait(&mut events, timeout).expect("no signal is handled here");
    let said = if count > 0 { events[0].events() } else { EpollFlags::empty() };
    Ready {
        readable: said.contains(EpollFlags::EPOLLIN),
        writable: said.contains(EpollFlags::EPOLLOUT),
        read_closed: said.contains(EpollFlags::EPOLLRDHUP),
        hung_up: said.contains(EpollFlags::EPOLLHUP),
        failed: said.contains(EpollFlags::EPOLLERR),
    }
}

pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno(match error.raw_os_error() {
        Some(number) => format!("{:?}", Number::from_raw(number)),
        None => error.to_string(),
    })
}
