//! Interfaces of the VR by number and name.

use std::net::IpAddr;

use ipc::InterfaceName;

use crate::description::Held;
use crate::process::Process;
use crate::{address, process};

/// The interface of a number, as scopes of IPv6 and IP_PKTINFO have it: the VR's inter-VR interfaces in order of their
/// names, from 1 on.
pub fn interface_of(process: &mut Process, number: u32) -> Option<InterfaceName> {
    let names = interfaces(process);
    names.get(usize::try_from(number).ok()?.checked_sub(1)?).cloned()
}

/// The number of an interface.
pub fn number_of(process: &mut Process, name: &InterfaceName) -> u32 {
    let at = interfaces(process).iter().position(|known| known == name);
    at.map_or(0, |at| u32::try_from(at + 1).unwrap_or(0))
}

fn interfaces(process: &mut Process) -> Vec<InterfaceName> {
    let mut names: Vec<InterfaceName> = process.library.vrfib().interfaces().map(|known| known.name.clone()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}

/// The scope that an address of a socket has: that of its interface, if it means something on one only.
pub fn scope_of(held: Held, address: IpAddr) -> u32 {
    if !address::is_of_a_link(address) {
        return 0;
    }
    let scope = process::with(|process| {
        let interface = process.control(held.index())?.interface.clone();
        Ok(interface.map_or(0, |interface| number_of(process, &interface)))
    });
    scope.unwrap_or(0)
}
