//! Options of the kernel's sockets, those that no crate has among them.

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno as Number;
use nix::libc;
use nix::sys::socket::setsockopt;
use socket2::{Socket, TcpKeepalive};

use crate::host::{Errno, Outcome, Probing, Wishes};
use crate::kernel_host::errno;

/// Longest key, as linux/tcp.h has it.
const TCP_MD5SIG_MAXKEYLEN: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
#[derive(Clone)]
struct Md5Key {
    /// `struct sockaddr_storage`.
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; TCP_MD5SIG_MAXKEYLEN],
}

#[derive(Clone)]
struct TcpMd5Sig;
nix::setsockopt_impl!(
    TcpMd5Sig,
    libc::IPPROTO_TCP,
    libc::TCP_MD5SIG,
    Md5Key,
    nix::sys::socket::sockopt::SetStruct<'_, Md5Key>
);

#[derive(Clone)]
struct IpMinTtl;
nix::setsockopt_impl!(
    IpMinTtl,
    libc::IPPROTO_IP,
    libc::IP_MINTTL,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// Of linux/in6.h.
const IPV6_MINHOPCOUNT: libc::c_int = 73;
#[derive(Clone)]
struct Ipv6MinHopCount;
nix::setsockopt_impl!(
    Ipv6MinHopCount,
    libc::IPPROTO_IPV6,
    IPV6_MINHOPCOUNT,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// The device by which what goes to groups leaves; socket2 can name it only by its address.
#[derive(Clone)]
pub struct IpMulticastIf;
nix::setsockopt_impl!(
    IpMulticastIf,
    libc::IPPROTO_IP,
    libc::IP_MULTICAST_IF,
    libc::ip_mreqn,
    nix::sys::socket::sockopt::SetStruct<'_, libc::ip_mreqn>
);

/// Makes a socket as it is wished, before it is bound.
pub fn apply(socket: &Socket, wishes: &Wishes, is_ipv6: bool, links: &[String; 2]) -> Outcome<()> {
    if let Some(least) = wishes.minimum_ttl.map(libc::c_int::from) {
        let set =
            if is_ipv6 { setsockopt(socket, Ipv6MinHopCount, &least) } else { setsockopt(socket, IpMinTtl, &least) };
        set.map_err(number)?;
    }
    if let Some((peer, key)) = &wishes.key {
        setsockopt(socket, TcpMd5Sig, &md5_key(*peer, key)).map_err(number)?;
    }
    set(socket, wishes, is_ipv6, links).map_err(|error| errno(&error))
}

fn set(socket: &Socket, wishes: &Wishes, is_ipv6: bool, links: &[String; 2]) -> std::io::Result<()> {
    if let Some(link) = wishes.on {
        socket.bind_device(Some(links[link as usize].as_bytes()))?;
    }
    if wishes.shares {
        socket.set_reuse_address(true)?;
    }
    if wishes.v6_only {
        socket.set_only_v6(true)?;
    }
    if let Some(loops) = wishes.loops {
        if is_ipv6 { socket.set_multicast_loop_v6(loops)? } else { socket.set_multicast_loop_v4(loops)? }
    }
    if wishes.own_groups {
        if is_ipv6 { socket.set_multicast_all_v6(false)? } else { socket.set_multicast_all_v4(false)? }
    }
    match wishes.ttl.map(u32::from) {
        Some(hops) if is_ipv6 => socket.set_unicast_hops_v6(hops)?,
        Some(ttl) => socket.set_ttl_v4(ttl)?,
        None => {}
    }
    if let Some(seconds) = wishes.linger {
        socket.set_linger(Some(Duration::from_secs(seconds.into())))?;
    }
    match wishes.keepalive {
        Some(Probing::Usual) => socket.set_keepalive(true)?,
        Some(Probing::Impatient) => {
            let second = Duration::from_secs(1);
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2))?;
        }
        None => {}
    }
    if let Some(milliseconds) = wishes.user_timeout {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(milliseconds.into())))?;
    }
    if let Some(nodelay) = wishes.nodelay {
        socket.set_tcp_nodelay(nodelay)?;
    }
    if let Some(bytes) = wishes.send_buffer {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = wishes.receive_buffer {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

fn md5_key(peer: IpAddr, secret: &str) -> Md5Key {
    let mut key = [0; TCP_MD5SIG_MAXKEYLEN];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let mut address = [0; 128];
    // Family, port (none), and for IPv6 a flow label (none); then the address.
    let (family, at, octets) = match peer {
        IpAddr::V4(peer) => (libc::AF_INET, 4, peer.octets().to_vec()),
        IpAddr::V6(peer) => (libc::AF_INET6, 8, peer.octets().to_vec()),
    };
    address[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    address[at..at + octets.len()].copy_from_slice(&octets);
    Md5Key { address, flags: 0, prefix_length: 0, key_length: secret.len() as u16, interface: 0, key }
}

/// A number of errno by its name.
pub fn number(number: Number) -> Errno {
    Errno(format!("{number:?}"))
}
