//! What comes and goes beside a datagram: interface and address, TTL, TOS.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use sockets::{DatagramInfo, errno};

use crate::control::Control;
use crate::description::Held;
use crate::{log, names, process};

/// Level, type and data of a control message.
type Message<'a> = (i32, i32, &'a [u8]);

/// A `cmsghdr`: length, level, type.
const HEADER: usize = 16;

fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// Writes what the socket asked for to come with a datagram: how many bytes, and whether something did not fit.
pub fn tell(held: Held, info: &DatagramInfo, room: &mut [u8]) -> (usize, bool) {
    let messages = process::with(|process| {
        let number = info.interface.as_ref().map_or(0, |name| names::number_of(process, name.as_str()));
        Ok(wanted(process.control(held.index())?, info, number))
    });
    let (mut used, mut cut) = (0, false);
    for (level, kind, data) in messages.unwrap_or_default() {
        let length = HEADER + data.len();
        let Some(place) = room.get_mut(used..).and_then(|rest| rest.get_mut(..length)) else {
            cut = true;
            break;
        };
        place[..8].copy_from_slice(&length.to_ne_bytes());
        place[8..12].copy_from_slice(&level.to_ne_bytes());
        place[12..16].copy_from_slice(&kind.to_ne_bytes());
        place[HEADER..].copy_from_slice(&data);
        used = (used + aligned(length)).min(room.len());
    }
    (used, cut)
}

fn wanted(control: &Control, info: &DatagramInfo, number: u32) -> Vec<(i32, i32, Vec<u8>)> {
    let is_asked = |level: i32, name: i32| control.remembered.iter().any(|(known, _)| *known == (level, name));
    let mut messages = Vec::new();
    let mut add = |asked: (i32, i32), kind: i32, data: Vec<u8>| {
        if is_asked(asked.0, asked.1) {
            messages.push((asked.0, kind, data));
        }
    };
    let (ip, ipv6) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
    match info.destination.ip() {
        IpAddr::V4(own) => {
            // `in_pktinfo`: interface, own address, destination of the header.
            let address = own.octets();
            add((ip, libc::IP_PKTINFO), libc::IP_PKTINFO, [number.to_ne_bytes(), address, address].concat());
            add((ip, libc::IP_RECVTTL), libc::IP_TTL, i32::from(info.ttl).to_ne_bytes().to_vec());
            add((ip, libc::IP_RECVTOS), libc::IP_TOS, vec![info.tos]);
        }
        IpAddr::V6(own) => {
            let data = [&own.octets()[..], &number.to_ne_bytes()].concat();
            add((ipv6, libc::IPV6_RECVPKTINFO), libc::IPV6_PKTINFO, data);
            // As on Linux, what came as IPv4 has none of these, but for its address.
            if own.to_ipv4_mapped().is_none() {
                add((ipv6, libc::IPV6_RECVHOPLIMIT), libc::IPV6_HOPLIMIT, i32::from(info.ttl).to_ne_bytes().to_vec());
                add((ipv6, libc::IPV6_RECVTCLASS), libc::IPV6_TCLASS, i32::from(info.tos).to_ne_bytes().to_vec());
            }
        }
    }
    messages
}

/// Sends a datagram with what stands beside it; `scope`: the number of the interface that the address names, or 0.
pub fn send(held: Held, bytes: &[u8], to: Option<SocketAddr>, scope: u32, control: &[u8]) -> Result<usize, Errno> {
    crate::datagram::bind_if_needed(held, to)?;
    let to = to.map(|to| SocketAddr::new(to.ip().to_canonical(), to.port()));
    process::with(|process| {
        let socket = process.speaker(held.index(), to)?;
        let mut message = process.library.message(socket, to, bytes).map_err(errno)?;
        if scope != 0 {
            message.interface = Some(names::interface_of(process, scope).ok_or(Errno::ENODEV)?);
        }
        for (level, kind, data) in split(control)? {
            let integer = data.get(..4).and_then(|data| <[u8; 4]>::try_from(data).ok()).map(i32::from_ne_bytes);
            let byte = || integer.and_then(|value| u8::try_from(value).ok()).ok_or(Errno::EINVAL);
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => message.ttl = byte()?,
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    message.tos = byte().or(data.first().copied().ok_or(Errno::EINVAL))?;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let own = data.get(4..8).and_then(|own| <[u8; 4]>::try_from(own).ok()).ok_or(Errno::EINVAL)?;
                    message.addresses.source.set_ip(own.into());
                    message.interface = integer.and_then(|n| names::interface_of(process, n.unsigned_abs()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let own = data.get(..16).and_then(|own| <[u8; 16]>::try_from(own).ok()).ok_or(Errno::EINVAL)?;
                    message.addresses.source.set_ip(own.into());
                    let number =
                        data.get(16..20).and_then(|n| <[u8; 4]>::try_from(n).ok()).map_or(0, u32::from_ne_bytes);
                    message.interface = names::interface_of(process, number);
                }
                _ => {
                    log::not_covered(&format!("sendmsg with a control message {kind} of level {level}"));
                    return Err(Errno::EINVAL);
                }
            }
        }
        process.library.send_to(&mut process.reactor, socket, message).map_err(errno)?;
        Ok(bytes.len())
    })
}

/// The messages of a control buffer: level, type, data.
fn split(mut control: &[u8]) -> Result<Vec<Message<'_>>, Errno> {
    let mut messages = Vec::new();
    while control.len() >= HEADER {
        let word =
            |at: usize| control.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok()).map(i32::from_ne_bytes);
        let length = control.get(..8).and_then(|length| <[u8; 8]>::try_from(length).ok()).map(usize::from_ne_bytes);
        let length = length.filter(|length| (HEADER..=control.len()).contains(length)).ok_or(Errno::EINVAL)?;
        let (level, kind) = word(8).zip(word(12)).ok_or(Errno::EINVAL)?;
        messages.push((level, kind, &control[HEADER..length]));
        control = control.get(aligned(length)..).unwrap_or_default();
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_buffer_is_split_and_one_that_lies_is_refused() {
        let mut buffer = Vec::new();
        for data in [&[7u8, 0, 0, 0][..], &[1]] {
            buffer.extend((HEADER + data.len()).to_ne_bytes());
            buffer.extend(libc::IPPROTO_IP.to_ne_bytes());
            buffer.extend(libc::IP_TTL.to_ne_bytes());
            buffer.extend(data);
            buffer.resize(aligned(buffer.len()), 0);
        }
        let found = split(&buffer).unwrap();
        assert_eq!(
            found,
            [(libc::IPPROTO_IP, libc::IP_TTL, &[7u8, 0, 0, 0][..]), (libc::IPPROTO_IP, libc::IP_TTL, &[1][..])]
        );
        buffer[0] = 200;
        assert_eq!(split(&buffer), Err(Errno::EINVAL));
        buffer[0] = 3;
        assert_eq!(split(&buffer), Err(Errno::EINVAL));
    }
}
