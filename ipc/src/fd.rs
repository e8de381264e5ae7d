//! Passing descriptors between processes, and system calls that nix lacks or that leak where it fails.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt, listen,
    setsockopt, socket, socketpair, sockopt,
};
use nix::unistd::dup2_stdin;

/// Longest path of a socket, in bytes: `sun_path` has 108, of which one ends it (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

/// Most descriptors that the kernel passes with one message (SCM_MAX_FD).
pub const MAX_FDS: usize = 253;

/// Room for the control messages of one packet: [`MAX_FDS`] descriptors and the sender's credentials, each with its
/// header, rounded up; in `u64` so that headers are aligned.
const CONTROL_WORDS: usize = 160;

/// Who sent a message, as the kernel attests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process ID.
    pub pid: i32,
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// A message and what came with it.
#[derive(Debug)]
pub struct Received {
    /// Its length in bytes; 0 at end of file.
    pub length: usize,
    /// Descriptors, in the sender's order.
    pub fds: Vec<OwnedFd>,
    /// The sender, if [`enable_credentials`] was called on the receiving socket.
    pub credentials: Option<Credentials>,
}

/// Sends one packet with descriptors. `WouldBlock`: the socket is full; `BrokenPipe`: nobody reads.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(socket, bytes, fds, MsgFlags::MSG_NOSIGNAL)
}

/// The same on a socket whose other holders may have it wait: this call does not.
pub fn send_now_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(socket, bytes, fds, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let parts = [io::IoSlice::new(bytes)];
    loop {
        match nix::sys::socket::sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, control, flags, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet. A packet that is longer than `into`, or whose descriptors do not fit into this process's table,
/// is an error, and its descriptors are closed.
pub fn receive_with_fds(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Received> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: A `msghdr` of zeros is one without buffers.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    let length = loop {
        // SAFETY: `message` points to `part` and `control`, which live on and have the lengths given.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(length) {
            Ok(length) => break length,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    let (fds, credentials) = read_control(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other("a message's descriptors do not fit into this process's descriptor limit"));
    }
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any that is expected"));
    }
    Ok(Received { length, fds, credentials })
}

/// All that came beside the bytes. Descriptors become owned at once, so that none leaks whatever follows.
fn read_control(message: &libc::msghdr) -> (Vec<OwnedFd>, Option<Credentials>) {
    let mut fds = Vec::new();
    let mut credentials = None;
    // SAFETY: `message` was filled in by `recvmsg` and its control buffer lives on.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: `next` is null or points to a header inside the control buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        // SAFETY: The header lies inside the control buffer, and its data behind it.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: Only computes a length.
        let header_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
        #[allow(clippy::unnecessary_cast)] // Another type with musl.
        let data_bytes = (header.cmsg_len as usize).saturating_sub(header_bytes);
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..data_bytes / size_of::<RawFd>() {
                    // SAFETY: The kernel wrote `data_bytes` bytes of descriptors here; `index` is below their number.
                    let at = unsafe { data.cast::<RawFd>().add(index) };
                    // SAFETY: As above; the data need not be aligned.
                    let raw = unsafe { ptr::read_unaligned(at) };
                    // SAFETY: The kernel has just opened this descriptor for us; nobody else owns it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if data_bytes >= size_of::<libc::ucred>() => {
                // SAFETY: The kernel wrote a `ucred` here; it need not be aligned.
                let found = unsafe { ptr::read_unaligned(data.cast::<libc::ucred>()) };
                credentials = Some(Credentials { pid: found.pid, uid: found.uid, gid: found.gid });
            }
            _ => {}
        }
        // SAFETY: `message` and `next` belong together, as above.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    (fds, credentials)
}

/// Two joined SOCK_SEQPACKET sockets.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Connects to a listening SOCK_SEQPACKET socket in the file system.
pub fn connect_seqpacket(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Listens on a SOCK_SEQPACKET socket at a path that does not exist yet. Non-blocking.
pub fn listen_seqpacket(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

/// Takes one connection, non-blocking as well. `WouldBlock`: there is none.
pub fn accept_seqpacket(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: The kernel has just opened this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// From now on the kernel attests the sender of each message received on this socket (SO_PASSCRED).
pub fn enable_credentials(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&socket, sockopt::PassCred, &true)?)
}

/// Who connected, or made the pair (SO_PEERCRED).
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let found = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: found.pid(), uid: found.uid(), gid: found.gid() })
}

/// Makes a descriptor non-blocking, for all who share its open file.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Takes the link that a process inherits as standard input, and puts `/dev/null` there.
pub fn take_link_descriptor() -> io::Result<OwnedFd> {
    let link = io::stdin().as_fd().try_clone_to_owned()?;
    if getsockopt(&link, sockopt::SockType)? != SockType::SeqPacket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is no link to procmgr"));
    }
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    Ok(link)
}

/// Gives a network device of the kernel another name, of at most 15 bytes. The device is down; needs CAP_NET_ADMIN.
pub fn rename_network_device(from: &str, to: &str) -> io::Result<()> {
    // SAFETY: All zeros is a valid ifreq: integers, and a union of plain data.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name = device_name(from)?;
    request.ifr_ifru.ifru_newname = device_name(to)?;
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `request` is a live ifreq with two terminated names, which the kernel only reads.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFNAME, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a network device an IPv4 address with the mask of its subnet, and brings it up. Needs CAP_NET_ADMIN.
pub fn set_device_address(device: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    let inet = |address: Ipv4Addr| {
        let mut bytes = [0; 14];
        // As in a sockaddr_in: two bytes of port first.
        for (place, byte) in bytes[2..6].iter_mut().zip(address.octets()) {
            *place = byte as libc::c_char;
        }
        libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: bytes }
    };
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let steps = [
        (libc::SIOCSIFADDR, libc::__c_anonymous_ifr_ifru { ifru_addr: inet(address) }),
        (libc::SIOCSIFNETMASK, libc::__c_anonymous_ifr_ifru { ifru_netmask: inet(mask) }),
        (libc::SIOCSIFFLAGS, libc::__c_anonymous_ifr_ifru { ifru_flags: libc::IFF_UP as libc::c_short }),
    ];
    for (request, value) in steps {
        let ifreq = libc::ifreq { ifr_name: device_name(device)?, ifr_ifru: value };
        // SAFETY: `ifreq` is live and has a terminated name; the kernel reads of its union what was just written there.
        let result = unsafe { libc::ioctl(any.as_raw_fd(), request, &raw const ifreq) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A name as the kernel reads it, ended by a zero.
fn device_name(name: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let mut field = [0; libc::IFNAMSIZ];
    if name.len() >= field.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name of a network device has at most 15 bytes"));
    }
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(field)
}

/// Which of the two processes after a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The one that forked, and the process ID of its child.
    Parent(i32),
    /// The child.
    Child,
}

/// Forks this process, if it has one thread: of several, a child would have one, and for ever closed the locks that the
/// others held. `Unsupported`: it has several.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "fork: this process has several threads"));
    }
    // SAFETY: What a child may do is restricted where other threads of its parent were at work (fork(2)). There are none,
    // and none can have been started since the look: only a thread starts a thread.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        child if child > 0 => Ok(Forked::Parent(child)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit of open descriptors to the hard one; returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Commands of membarrier(2), which the libc crate has for Android only.
const MEMBARRIER_CMD_GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// Lets barriers of [`membarrier`] reach this process.
pub(crate) fn membarrier_register() -> io::Result<()> {
    membarrier_command(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// A full memory barrier on every CPU that runs a registered process.
pub(crate) fn membarrier() -> io::Result<()> {
    membarrier_command(MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier_command(command: libc::c_int) -> io::Result<()> {
    const NO_FLAGS: libc::c_uint = 0;
    const NO_CPU: libc::c_int = 0;
    // SAFETY: membarrier(2) takes three numbers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, NO_FLAGS, NO_CPU) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
