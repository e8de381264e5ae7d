//! A port on a network device of the host: an AF_PACKET socket with virtio-net headers, so that frames of a veth or
//! virtio device come and go whole, with open checksums and in GSO size.
//!
//! The port has a MAC address of its own and receives promiscuously. What keeps the kernel from answering in our
//! place:
//!
//! - frames to the port's MAC are for another host in the kernel's eyes (`PACKET_OTHERHOST`), and it drops them before
//!   IP; without an IP address on the device there is nothing that it would answer for anyhow, which `open` checks;
//! - ARP requests are broadcast, and by default Linux answers on every device for every address of the host: the
//!   device's ARP is switched off (`IFF_NOARP`) while the port is open;
//! - IPv6 is disabled on the device, else the kernel gives it a link-local address and answers neighbor solicitations.
//!
//! Tagged frames are refused by a filter in the kernel: the port has no VLANs.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{LinkAddr, SockaddrLike, SockaddrStorage};
use nix::sys::uio::{readv, writev};

use super::{Driver, DriverError, LinkState, Offload, PortInfo, mac_of, packet_socket, vnet};
use crate::counters::{DropReason, DropTally};
use crate::packet::{HEADROOM, MAX_FRAME, Packet, PacketPool, SMALL_BUFFER, Vector};
use crate::wire::ethernet::MacAddress;

/// A port on a network device.
#[derive(Debug)]
pub struct AfPacket {
    port: PortInfo,
    device: String,
    socket: OwnedFd,
    /// This port switched the device's ARP off, and switches it on again.
    restore_arp: bool,
    overflow: Box<[u8]>,
    drops: DropTally,
}

impl AfPacket {
    /// Takes the device over. The port's MAC address is made of the device's and of `port`, the port's name: it stays
    /// while the device keeps its own, and no two routers on one wire have the same.
    pub fn open(device: &str, port: &str) -> Result<AfPacket, DriverError> {
        let index = if_nametoindex(device).map_err(|_| DriverError::NoDevice { device: device.into() })?;
        let socket = packet_socket::open().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => DriverError::NoPermission { device: device.into() },
            _ => failed(device, "opening a packet socket")(error),
        })?;
        disable_ipv6(device);
        check_addresses(device)?;
        let restore_arp = bring_up(&socket, device)?;
        let seed = format!("{} {port}", hardware_address(device)?);
        let mtu_bytes = packet_socket::device_mtu(&socket, device).map_err(failed(device, "reading the MTU"))?;
        let port = AfPacket {
            port: PortInfo { name: format!("af-packet {device}"), mac: mac_of(&seed), mtu_bytes },
            device: device.into(),
            socket,
            restore_arp,
            overflow: vec![0; MAX_FRAME].into_boxed_slice(),
            drops: DropTally::default(),
        };
        port.configure(index)?;
        Ok(port)
    }

    fn configure(&self, index: u32) -> Result<(), DriverError> {
        let (socket, failed) = (&self.socket, |step| failed(&self.device, step));
        packet_socket::set_vnet_header(socket).map_err(failed("asking for virtio-net headers"))?;
        packet_socket::ignore_outgoing(socket).map_err(failed("leaving out what the host sends"))?;
        packet_socket::refuse_vlan_tags(socket).map_err(failed("attaching the VLAN filter"))?;
        packet_socket::enlarge_receive_buffer(socket).map_err(failed("enlarging the receive buffer"))?;
        packet_socket::set_promiscuous(socket, index).map_err(failed("setting promiscuous mode"))?;
        packet_socket::bind(socket, index).map_err(failed("binding"))
    }

    /// Makes a packet of a frame whose first part lies in `packet` and whose rest lies in the overflow.
    fn whole(&self, pool: &mut PacketPool, packet: Packet, length: usize) -> Result<Packet, DropReason> {
        let Some(rest) = length.checked_sub(packet.len()).filter(|rest| *rest > 0) else { return Ok(packet) };
        if length > MAX_FRAME {
            return Err(DropReason::FrameTooLong);
        }
        let mut large = pool.allocate(length).ok_or(DropReason::PoolExhausted)?;
        let overflow = self.overflow.get(..rest).ok_or(DropReason::FrameTooLong)?;
        large.append(packet.data()).and_then(|()| large.append(overflow)).ok_or(DropReason::FrameTooLong)?;
        Ok(large)
    }

    /// One frame; `None`: there is none.
    fn receive_one(&mut self, pool: &mut PacketPool) -> Result<Option<Packet>, Errno> {
        let small = SMALL_BUFFER - HEADROOM;
        loop {
            let mut header = [0; vnet::BYTES];
            let Some(mut packet) = pool.allocate(small) else {
                // Read and lost, else the socket would stay readable for ever.
                match readv(&self.socket, &mut [IoSliceMut::new(&mut self.overflow)]) {
                    Ok(_) => self.drops.add(DropReason::PoolExhausted, 1),
                    Err(Errno::EAGAIN) => return Ok(None),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            let mut parts = [
                IoSliceMut::new(&mut header),
                IoSliceMut::new(&mut packet.spare_mut()[..small]),
                IoSliceMut::new(&mut self.overflow),
            ];
            let length = match readv(&self.socket, &mut parts) {
                Ok(length) => length.saturating_sub(vnet::BYTES),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            packet.set_len(length.min(small));
            let frame =
                vnet::parse(&header, length).and_then(|offload| Ok((offload, self.whole(pool, packet, length)?)));
            match frame {
                Ok(((checksum, gso), mut packet)) => {
                    packet.meta.checksum = checksum;
                    packet.meta.gso = gso;
                    return Ok(Some(packet));
                }
                Err(reason) => self.drops.add(reason, 1),
            }
        }
    }
}

fn failed(device: &str, step: &'static str) -> impl FnOnce(std::io::Error) -> DriverError {
    let device = device.to_owned();
    move |source| DriverError::Device { device, step, source }
}

/// Keeps the kernel's IPv6 off the device. Where this is not allowed, `check_addresses` says what stays.
fn disable_ipv6(device: &str) {
    let switch = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    // Absent: the host has no IPv6 at all.
    if fs::read_to_string(&switch).is_ok_and(|state| state.trim() != "1")
        && let Err(error) = fs::write(&switch, "1")
    {
        log::warn!("af-packet: device {device}: the host keeps IPv6 on it: {switch}: {error}");
    }
}

/// The device must have no address that the host would answer for.
fn check_addresses(device: &str) -> Result<(), DriverError> {
    let all = getifaddrs().map_err(|error| failed(device, "reading the host's addresses")(error.into()))?;
    let addresses = all.filter(|entry| entry.interface_name == device).filter_map(|entry| entry.address);
    for address in addresses {
        match host_address(&address) {
            Some(found) if found.is_ipv6_link_local => {
                log::warn!(
                    "af-packet: device {device} keeps the link-local address {} in the host: the kernel may answer \
                     neighbor solicitations for it",
                    found.text
                );
            }
            Some(found) => return Err(DriverError::HostAddress { device: device.into(), address: found.text }),
            None => {}
        }
    }
    Ok(())
}

/// The device's own address, as text.
fn hardware_address(device: &str) -> Result<String, DriverError> {
    let all = getifaddrs().map_err(|error| failed(device, "reading the host's addresses")(error.into()))?;
    let links = all.filter(|entry| entry.interface_name == device).filter_map(|entry| entry.address);
    let address = links.filter_map(|address| address.as_link_addr().and_then(LinkAddr::addr)).next();
    Ok(address.map(|bytes| MacAddress(bytes).to_string()).unwrap_or_default())
}

struct HostAddress {
    text: String,
    is_ipv6_link_local: bool,
}

fn host_address(address: &SockaddrStorage) -> Option<HostAddress> {
    address.family()?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(HostAddress { text: v4.ip().to_string(), is_ipv6_link_local: false });
    }
    let ip = address.as_sockaddr_in6()?.ip();
    Some(HostAddress { text: ip.to_string(), is_ipv6_link_local: ip.is_unicast_link_local() })
}

/// Sees that the device is up and its ARP off; returns whether ARP was on before.
fn bring_up(socket: &OwnedFd, device: &str) -> Result<bool, DriverError> {
    let flags = packet_socket::device_flags(socket, device).map_err(failed(device, "reading the device's flags"))?;
    let wanted = flags | libc::IFF_UP | libc::IFF_NOARP;
    if wanted == flags {
        return Ok(false);
    }
    let arp_was_on = flags & libc::IFF_NOARP == 0;
    match packet_socket::set_device_flags(socket, device, wanted) {
        Ok(()) => Ok(arp_was_on),
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => Err(failed(device, "bringing the device up")(error)),
        Err(_) if flags & libc::IFF_UP == 0 => Err(DriverError::DeviceDown { device: device.into() }),
        Err(_) => {
            log::warn!(
                "af-packet: device {device}: switching its ARP off needs CAP_NET_ADMIN; the kernel may answer there \
                 for the host's addresses on other devices (ip link set {device} arp off)"
            );
            Ok(false)
        }
    }
}

impl Driver for AfPacket {
    fn port(&self) -> &PortInfo {
        &self.port
    }

    fn offload(&self) -> Offload {
        Offload::ChecksumAndSegmentation
    }

    fn receive(&mut self, pool: &mut PacketPool, into: &mut Vector) -> Result<usize, DriverError> {
        let before = into.len();
        while !into.is_full() {
            match self.receive_one(pool) {
                Ok(Some(packet)) => into.push(packet),
                Ok(None) => break,
                // Reported once when the device goes down; frames come again when it is back.
                Err(Errno::ENETDOWN) if into.len() > before => break,
                Err(Errno::ENETDOWN) => return Err(DriverError::LinkDown { port: self.port.name.clone() }),
                Err(error) => {
                    return Err(DriverError::Receive { port: self.port.name.clone(), source: error.into() });
                }
            }
        }
        // Only one who has more to read than a vector can have missed something.
        if into.is_full()
            && let Ok(lost @ 1..) = packet_socket::overflows(&self.socket)
        {
            self.drops.add(DropReason::SocketBufferFull, lost.into());
        }
        Ok(into.len() - before)
    }

    fn transmit(&mut self, pool: &mut PacketPool, from: &mut Vector) -> Result<usize, DriverError> {
        let mut sent = 0;
        let mut failure = None;
        for packet in from.iter() {
            let header = vnet::emit(packet);
            match writev(&self.socket, &[IoSlice::new(&header), IoSlice::new(packet.data())]) {
                Ok(_) => sent += 1,
                // The device's queue dropped it; a frame like any other that a busy wire loses.
                Err(Errno::ENOBUFS) => {
                    self.drops.add(DropReason::TransmitQueueFull, 1);
                    sent += 1;
                }
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        from.drain(..sent).for_each(|packet| pool.recycle(packet));
        let port = || self.port.name.clone();
        match failure {
            Some(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) if sent == 0 => {
                Err(DriverError::LinkDown { port: port() })
            }
            Some(error) if sent == 0 => Err(DriverError::Transmit { port: port(), source: error.into() }),
            _ => Ok(sent),
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn link(&self) -> LinkState {
        let running = libc::IFF_UP | libc::IFF_RUNNING;
        match packet_socket::device_flags(&self.socket, &self.device) {
            Ok(flags) if flags & running == running => LinkState::Up,
            Ok(_) | Err(_) => LinkState::Down,
        }
    }

    fn drops(&mut self) -> &mut DropTally {
        &mut self.drops
    }
}

impl Drop for AfPacket {
    fn drop(&mut self) {
        if self.restore_arp
            && let Ok(flags) = packet_socket::device_flags(&self.socket, &self.device)
        {
            // A device that is gone needs nothing restored.
            let _ = packet_socket::set_device_flags(&self.socket, &self.device, flags & !libc::IFF_NOARP);
        }
    }
}
