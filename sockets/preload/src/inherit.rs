//! A program that was executed with sockets: takes them over before it begins.
//!
//! A connection can be used at once, as a forked child uses its parent's: the process becomes one of the VR when it makes
//! its first call that needs the library.

use std::collections::HashMap;
use std::env;
use std::ffi::CString;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use sockets::{DatagramRecord, ListenerRecord, SocketId, Stream};

use crate::control::{Control, Phase};
use crate::description::{Description, Direction};
use crate::handover::{self, Address, Body, Contents, ENVELOPE_ENV, SocketRecord};
use crate::process::{self, Process, State};
use crate::table::{self, DESCRIPTIONS};
use crate::thread::Inside;
use crate::{descriptors, fork, kernel, log, netlink};

/// Takes over what the program before has left. Called once, before the program begins.
pub fn take_over() {
    let Some(address) = env::var_os(ENVELOPE_ENV) else { return };
    let _inside = Inside::enter();
    if let Ok(name) = CString::new(ENVELOPE_ENV) {
        // Programs that this one executes have others, or none.
        kernel::forget_variable(&name);
    }
    descriptors::own_memory();
    let Some(address) = Address::parse(&address.to_string_lossy()) else {
        log::start();
        return log::error!(
            "sockets that were handed over by exec are lost: {ENVELOPE_ENV} does not say where they are"
        );
    };
    match handover::open(&address) {
        Ok(contents) => take_sockets(contents),
        Err(why) => {
            log::start();
            log::error!("sockets that were handed over by exec are lost: {why}");
            let sockets = descriptors::kernels_sockets().into_iter();
            let lost = sockets.filter(|(_, inode)| address.sockets.contains(inode));
            lost.for_each(|(fd, _)| _ = kernel::close(fd));
        }
    }
}

fn take_sockets(contents: Contents) {
    let Contents { sockets, mut fds, turns, log } = contents;
    let numbers = descriptors::kernels_sockets();
    let is_errors =
        |(fd, inode): &(RawFd, u64)| *fd == libc::STDERR_FILENO && sockets.iter().any(|socket| socket.inode == *inode);
    match numbers.iter().any(is_errors) {
        // Standard error is one of them: the router's operator reads what the program before wrote to.
        true => log::start_at(log.into_raw_fd()),
        false => log::start(),
    }
    if !ipc::channel::take_over_turns(turns) {
        log::error!("sockets that were handed over by exec are lost: this process has shared others before");
        let is_lost = |(_, inode): &(RawFd, u64)| sockets.iter().any(|socket| socket.inode == *inode);
        return numbers.into_iter().filter(is_lost).for_each(|(fd, _)| _ = kernel::close(fd));
    }
    fork::watch();
    let mut by_inode: HashMap<u64, Vec<RawFd>> = HashMap::new();
    for (fd, inode) in numbers {
        by_inode.entry(inode).or_default().push(fd);
    }
    let (mut controls, mut to_library) = (HashMap::new(), Vec::new());
    for socket in sockets {
        let numbers = by_inode.remove(&socket.inode).unwrap_or_default();
        let parts: Vec<OwnedFd> = fds.drain(..socket.body.descriptors().min(fds.len())).collect();
        match take_socket(socket, parts, &numbers) {
            Ok(Some(Taken { index, control, parts })) => {
                controls.insert(index, control);
                to_library.extend(parts.into_iter().map(|part| (index, part)));
            }
            Ok(None) => {}
            Err(why) => {
                log::error!("a socket that was handed over by exec is lost, descriptors {numbers:?}: {why}");
                numbers.into_iter().for_each(|fd| _ = kernel::close(fd));
            }
        }
    }
    *process::state() = State::Executed(controls);
    if !to_library.is_empty() {
        // It is reached by its own name, and so has to have one.
        let taken = process::with(|process| process.take_handed_over(to_library));
        if let Err(error) = taken {
            log::error!("listeners and datagram sockets that were handed over by exec are lost: {error}");
        }
    }
}

/// What the library takes over, as soon as there is one, with its descriptors.
#[derive(Debug)]
enum HandedOver {
    Listener(ListenerRecord, Vec<OwnedFd>),
    Datagram(Box<DatagramRecord>, Vec<OwnedFd>),
}

/// A socket that was taken over.
#[derive(Debug)]
struct Taken {
    index: u32,
    control: Control,
    /// Of one that listens, or of datagrams.
    parts: Vec<HandedOver>,
}

/// Takes one socket over. `None`: no descriptor leads to it.
fn take_socket(socket: SocketRecord, parts: Vec<OwnedFd>, numbers: &[RawFd]) -> Result<Option<Taken>, String> {
    let (mut connection, mut of_library, mut netlink) = (None, Vec::new(), None);
    let mut phase = Phase::Idle;
    match socket.body {
        Body::Connected(record) => {
            let parts = parts.try_into().map_err(|_| "its descriptors are not there")?;
            connection = Some(Stream::take_over(*record, parts).map_err(|error| error.to_string())?);
        }
        Body::Listening(records) => {
            let mut parts = parts.into_iter();
            for record in records {
                let own = parts.by_ref().take(record.descriptors()).collect();
                of_library.push(HandedOver::Listener(record, own));
            }
        }
        Body::Datagram(records) => {
            let mut parts = parts.into_iter();
            for record in records {
                let own = parts.by_ref().take(record.descriptors()).collect();
                of_library.push(HandedOver::Datagram(Box::new(record), own));
            }
            phase = Phase::Datagram(Vec::new(), 0);
        }
        Body::Netlink(known) => netlink = Some(known),
        Body::Idle => {}
        // The program before has said so.
        Body::Lost => {
            numbers.iter().for_each(|fd| _ = kernel::close(*fd));
            return Ok(None);
        }
    }
    let Some(first) = numbers.first() else {
        // A child that was about to be spawned might have duplicated it.
        connection.into_iter().for_each(Stream::close);
        return Ok(None);
    };
    let mut control = socket.control.ok_or("nothing is known of it")?;
    control.phase = phase;
    let (index, description) = DESCRIPTIONS.take().ok_or("there are too many")?;
    let flags = kernel::fcntl(*first, libc::F_GETFL, 0).unwrap_or_default();
    description.begin(index, socket.kind, flags & libc::O_NONBLOCK != 0);
    description.set_inode(socket.inode);
    description.set_timeout(Direction::Receive, socket.receive_timeout);
    description.set_timeout(Direction::Send, socket.send_timeout);
    numbers.iter().skip(1).for_each(|_| description.add_reference());
    *description.lock() = connection;
    if let Some(netlink) = netlink {
        netlink::take_over(index, netlink);
    }
    if !numbers.iter().all(|fd| table::put_socket(*fd, index)) {
        return Err("a number is beyond all limits".to_owned());
    }
    Ok(Some(Taken { index, control, parts: of_library }))
}

impl Process {
    /// Listens at what was handed over.
    fn take_handed_over(&mut self, all: Vec<(u32, HandedOver)>) -> Result<(), Errno> {
        for (index, part) in all {
            let of_sockets: fn(Vec<SocketId>) -> Phase = match part {
                HandedOver::Listener(..) => |sockets| Phase::Listening(sockets, 0),
                HandedOver::Datagram(..) => |sockets| Phase::Datagram(sockets, 0),
            };
            let taken = match part {
                HandedOver::Listener(record, parts) => {
                    self.library.take_over_listener(&mut self.reactor, record, parts)
                }
                HandedOver::Datagram(record, parts) => {
                    self.library.take_over_datagram(&mut self.reactor, *record, parts)
                }
            };
            let control = self.control(index)?;
            match taken {
                Ok(socket) => {
                    let mut sockets = control.library_sockets();
                    sockets.push(socket);
                    control.phase = of_sockets(sockets);
                    self.by_socket.insert(socket, index);
                }
                Err(error) => {
                    log::error!("a socket that was handed over by exec is lost: {error}");
                    control.error = Some(error);
                }
            }
        }
        Ok(())
    }

    /// What was handed over becomes this process's own.
    pub fn enter_inherited(&mut self, controls: HashMap<u32, Control>) {
        for (index, mut control) in controls {
            let Some(description) = DESCRIPTIONS.get(index) else { continue };
            if has_connection(description) {
                let socket = self.library.enter_lent(description, control.options.clone());
                control.phase = Phase::Connected(socket);
                self.by_socket.insert(socket, index);
            }
            self.controls.insert(index, control);
        }
    }
}

fn has_connection(description: &'static Description) -> bool {
    description.lock().is_some()
}
