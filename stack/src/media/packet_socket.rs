//! System calls of packet sockets and network devices that nix does not wrap, each as a safe function.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Receive buffer that is asked for: a burst of a few full vectors of GSO size.
const RECEIVE_BUFFER_BYTES: c_int = 8 * 1024 * 1024;
/// Loads the byte at an absolute place (linux/bpf_common.h: BPF_LD | BPF_B | BPF_ABS).
const LOAD_BYTE: u16 = 0x30;
/// Compares with a constant (BPF_JMP | BPF_JEQ | BPF_K).
const JUMP_EQUAL: u16 = 0x15;
/// Ends the program with the number of bytes to keep (BPF_RET | BPF_K).
const RETURN: u16 = 0x06;

/// A packet socket that receives nothing before it is bound: everything is set up by then.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Raw, flags, None)?)
}

/// Receives all frames of the device from now on.
pub(super) fn bind(socket: &OwnedFd, device: u32) -> io::Result<()> {
    // SAFETY: all zeros is a valid sockaddr_ll: it holds only integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = device as c_int;
    let length = size_of::<libc::sockaddr_ll>() as socklen_t;
    // SAFETY: `address` is a live sockaddr_ll of `length` bytes, which the kernel only reads.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })
}

/// Receives frames for all stations.
pub(super) fn set_promiscuous(socket: &OwnedFd, device: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: device as c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Puts a virtio-net header before each frame, both ways.
pub(super) fn set_vnet_header(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)
}

/// Leaves out what the host, or this socket, sends by the device.
pub(super) fn ignore_outgoing(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)
}

/// Asks for a large receive buffer; the system grants what it allows.
pub(super) fn enlarge_receive_buffer(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER_BYTES)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER_BYTES))
}

/// Lets no tagged frame pass. The kernel takes the tag off before it hands a frame to a packet socket: without this,
/// frames of every VLAN would look like untagged ones.
pub(super) fn refuse_vlan_tags(socket: &OwnedFd) -> io::Result<()> {
    let tag_present = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, tag_present),
        step(JUMP_EQUAL, 0, 1, 0),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    // The kernel copies the program within the call; `program` outlives it.
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Frames that did not fit the receive buffer since this was last asked.
pub(super) fn overflows(socket: &OwnedFd) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
    let into = (&raw mut statistics).cast::<c_void>();
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
    // SAFETY: `into` points to a live tpacket_stats of `length` bytes; the kernel writes at most that many.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, into, &raw mut length) })?;
    Ok(statistics.tp_drops)
}

/// A device's flags (IFF_UP and so on).
pub(super) fn device_flags(socket: &OwnedFd, device: &str) -> io::Result<c_int> {
    let mut request = request(device)?;
    // SAFETY: `request` is a live ifreq with a terminated name; SIOCGIFFLAGS writes into it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS has filled in `ifru_flags`.
    Ok(c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// Sets a device's flags; needs CAP_NET_ADMIN.
pub(super) fn set_device_flags(socket: &OwnedFd, device: &str, flags: c_int) -> io::Result<()> {
    let mut request = request(device)?;
    request.ifr_ifru.ifru_flags = flags as i16;
    // SAFETY: `request` is a live ifreq with a terminated name and flags; the kernel only reads it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// A device's MTU in bytes.
pub(super) fn device_mtu(socket: &OwnedFd, device: &str) -> io::Result<u32> {
    let mut request = request(device)?;
    // SAFETY: `request` is a live ifreq with a terminated name; SIOCGIFMTU writes into it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: SIOCGIFMTU has filled in `ifru_mtu`.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

fn request(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq: integers, and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than the field: the name stays terminated.
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn set_option<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: `value` points to a live `T` of `length` bytes, which the kernel only reads.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
