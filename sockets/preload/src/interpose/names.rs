//! Interfaces and addresses of the VR.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use libc::{addrinfo, ifaddrs, sockaddr, socklen_t};
use nix::errno::Errno;
use stack_api::interface::InterfaceState;

use super::success;
use crate::address::Given;
use crate::{address, names, original, process};

/// Room for a name of an interface, its end included (IFNAMSIZ).
const NAME_BYTES: usize = 16;

/// An entry of getifaddrs(3), with all that it points to.
#[repr(C)]
struct Entry {
    entry: ifaddrs,
    name: [u8; NAME_BYTES],
    address: Storage,
    mask: Storage,
    broadcast: Storage,
}

/// Any address, aligned as all are.
#[repr(C, align(8))]
struct Storage([u8; 32]);

impl Storage {
    fn of(address: IpAddr, scope: u32) -> Self {
        let (encoded, length) = address::encode(SocketAddr::new(address, 0), scope);
        let mut bytes = [0; 32];
        bytes[..length].copy_from_slice(&encoded[..length]);
        Self(bytes)
    }

    /// `sockaddr_ll`: the number and the MAC address.
    fn of_link(number: u32, mac: Option<[u8; 6]>) -> Self {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
        bytes[4..8].copy_from_slice(&number.to_ne_bytes());
        bytes[8..10].copy_from_slice(&libc::ARPHRD_ETHER.to_ne_bytes());
        if let Some(mac) = mac {
            bytes[11] = 6;
            bytes[12..18].copy_from_slice(&mac);
        }
        Self(bytes)
    }
}

/// # Safety
/// As getifaddrs(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getifaddrs(found: *mut *mut ifaddrs) -> c_int {
    let all = match process::with(|process| process.interfaces()) {
        Ok(all) => all,
        Err(error) => return success(Err(error)),
    };
    let mut first = ptr::null_mut();
    // Backwards: each is put before those that follow it.
    for (number, state) in all.iter().rev() {
        for (own, length) in names::addresses(state).into_iter().rev() {
            let scope = if address::is_of_a_link(own) { *number } else { 0 };
            first =
                entry(state, Storage::of(own, scope), Some(Storage::of(names::mask(own, length), 0)), Some(own), first);
        }
        first = entry(state, Storage::of_link(*number, state.mac), None, None, first);
    }
    // SAFETY: As the caller says.
    match unsafe { found.as_mut() } {
        Some(found) => *found = first,
        None => return success(Err(Errno::EFAULT)),
    }
    0
}

fn entry(
    state: &InterfaceState,
    address: Storage,
    mask: Option<Storage>,
    own: Option<IpAddr>,
    next: *mut ifaddrs,
) -> *mut ifaddrs {
    let mut name = [0; NAME_BYTES];
    let text = state.name.as_str().as_bytes();
    let fits = text.len().min(NAME_BYTES - 1);
    name[..fits].copy_from_slice(&text[..fits]);
    let has_mask = mask.is_some();
    let broadcast = own.and_then(|own| names::broadcast(state, own)).map(|address| Storage::of(address, 0));
    let has_broadcast = broadcast.is_some();
    let nothing = || Storage([0; 32]);
    // SAFETY: Zeros are an entry that points to nothing.
    let empty: ifaddrs = unsafe { std::mem::zeroed() };
    let entry = Box::leak(Box::new(Entry {
        entry: empty,
        name,
        address,
        mask: mask.unwrap_or_else(nothing),
        broadcast: broadcast.unwrap_or_else(nothing),
    }));
    entry.entry.ifa_next = next;
    entry.entry.ifa_name = entry.name.as_mut_ptr().cast();
    entry.entry.ifa_flags = names::flags(state);
    entry.entry.ifa_addr = ptr::from_mut(&mut entry.address).cast::<sockaddr>();
    if has_mask {
        entry.entry.ifa_netmask = ptr::from_mut(&mut entry.mask).cast::<sockaddr>();
    }
    if has_broadcast {
        entry.entry.ifa_ifu = ptr::from_mut(&mut entry.broadcast).cast::<sockaddr>();
    }
    ptr::from_mut(entry).cast()
}

/// # Safety
/// As freeifaddrs(3): `first` came from [`getifaddrs`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn freeifaddrs(first: *mut ifaddrs) {
    let mut next = first.cast::<Entry>();
    while !next.is_null() {
        // SAFETY: It was leaked as a box above, and is given back once.
        let entry = unsafe { Box::from_raw(next) };
        next = entry.entry.ifa_next.cast();
    }
}

/// # Safety
/// As if_nametoindex(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_nametoindex(name: *const c_char) -> c_uint {
    if name.is_null() {
        return 0;
    }
    // SAFETY: As the caller says, it ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let number = process::with(|process| Ok(names::number_of(process, &name))).unwrap_or(0);
    if number == 0 {
        Errno::ENODEV.set();
    }
    number
}

/// # Safety
/// As if_nameindex(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_nameindex() -> *mut libc::if_nameindex {
    let all = match process::with(|process| process.interfaces()) {
        Ok(all) => all,
        Err(error) => {
            error.set();
            return ptr::null_mut();
        }
    };
    // A name has no zero byte: it is one of a configuration.
    let named = all.iter().filter_map(|(number, state)| Some((*number, CString::new(state.name.as_str()).ok()?)));
    let end = libc::if_nameindex { if_index: 0, if_name: ptr::null_mut() };
    let entries = named.map(|(if_index, name)| libc::if_nameindex { if_index, if_name: name.into_raw() });
    let entries: Box<[_]> = entries.chain([end]).collect();
    Box::leak(entries).as_mut_ptr()
}

/// # Safety
/// As if_freenameindex(3): `first` came from [`if_nameindex`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_freenameindex(first: *mut libc::if_nameindex) {
    if first.is_null() {
        return;
    }
    let mut count = 0;
    // SAFETY: As the caller says, an entry without a name is the last one.
    while let Some(entry) = unsafe { first.add(count).as_ref() }.filter(|entry| !entry.if_name.is_null()) {
        // SAFETY: It was made of a `CString` above, and is given back once.
        drop(unsafe { CString::from_raw(entry.if_name) });
        count += 1;
    }
    // SAFETY: It was leaked as a box of so many entries and the last one above, and is given back once.
    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(first, count + 1)) });
}

/// # Safety
/// As if_indextoname(3): `name` has room for IF_NAMESIZE bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_indextoname(number: c_uint, name: *mut c_char) -> *mut c_char {
    let found = process::with(|process| names::interface_of(process, number).ok_or(Errno::ENXIO));
    match found {
        Ok(found) => {
            let text = found.as_str().as_bytes();
            let fits = text.len().min(NAME_BYTES - 1);
            // SAFETY: As the caller says; both do not overlap.
            unsafe {
                ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), fits);
                name.add(fits).write(0);
            }
            name
        }
        Err(error) => {
            error.set();
            ptr::null_mut()
        }
    }
}

/// Which families the host has addresses of says nothing of the VR: a host of numbers is read as it stands.
///
/// # Safety
/// As getaddrinfo(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: As the caller says.
    let text = if node.is_null() { None } else { unsafe { CStr::from_ptr(node) }.to_str().ok() };
    let is_numeric = node.is_null() || text.is_some_and(is_address);
    let scoped = text.filter(|_| is_numeric).and_then(with_number);
    let node = scoped.as_deref().map_or(node, CStr::as_ptr);
    // SAFETY: As the caller says.
    match unsafe { hints.as_ref() } {
        Some(hints) if is_numeric => {
            let mut hints = *hints;
            hints.ai_flags &= !libc::AI_ADDRCONFIG;
            // SAFETY: As the caller says; `hints` lives as long as the call.
            unsafe { original::getaddrinfo(node, service, &raw const hints, found) }
        }
        // SAFETY: As the caller says.
        _ => unsafe { original::getaddrinfo(node, service, hints, found) },
    }
}

/// An address with the number of its interface in place of the name, which libc would look for among the host's.
fn with_number(text: &str) -> Option<CString> {
    let (address, name) = text.split_once('%')?;
    let number = process::with(|process| Ok(names::number_of(process, name))).ok().filter(|number| *number != 0)?;
    CString::new(format!("{address}%{number}")).ok()
}

/// The name of an interface in an address is one of the VR's.
///
/// # Safety
/// As getnameinfo(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getnameinfo(
    of: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: As the caller says.
    let given = unsafe { super::given(of, length) };
    let (Ok(Given::Internet(address, scope)), true) = (given, flags & libc::NI_NUMERICHOST != 0 && !host.is_null())
    else {
        // SAFETY: As the caller says.
        return unsafe { original::getnameinfo(of, length, host, host_length, service, service_length, flags) };
    };
    let (bare, bare_length) = address::encode(address, 0);
    // An address has no more than 28 bytes.
    let (bare, bare_length) = (bare.as_ptr().cast(), bare_length as socklen_t);
    // SAFETY: `bare` is as long as said; for the rest as the caller says.
    let result = unsafe { original::getnameinfo(bare, bare_length, host, host_length, service, service_length, flags) };
    if result != 0 || scope == 0 {
        return result;
    }
    let name = process::with(|process| Ok(names::interface_of(process, scope)));
    let name = name.ok().flatten().map_or(scope.to_string(), |name| name.to_string());
    // SAFETY: It has just been written, with its end.
    let shown = format!("{}%{name}\0", unsafe { CStr::from_ptr(host) }.to_string_lossy());
    if shown.len() > host_length as usize {
        return libc::EAI_OVERFLOW;
    }
    // SAFETY: It fits, as was just seen; both do not overlap.
    unsafe { ptr::copy_nonoverlapping(shown.as_ptr(), host.cast(), shown.len()) };
    0
}

fn is_address(text: &str) -> bool {
    let without_scope = text.split('%').next().unwrap_or_default();
    without_scope.parse::<IpAddr>().is_ok()
}
