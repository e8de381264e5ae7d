//! poll(2) and ppoll(2).

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use libc::{c_short, pollfd, sigset_t};
use nix::errno::Errno;
use sockets::{SPIN, Stream};

use super::item::Watched;
use super::nested::HeldSet;
use super::{Look, look_at, look_away, poll_events};
use crate::description::{Description, Held, Kind, Waiter};
use crate::process::Listener;
use crate::signals::Watch;
use crate::table::{self, Number};
use crate::{datagram, kernel, stream, wait};

/// One of our sockets, or an epoll instance that has some, among what is waited for.
struct Ours {
    /// Where in the caller's array.
    at: usize,
    watched: Watched,
    /// Its bell, once it was armed.
    bell: Option<RawFd>,
}

impl Ours {
    fn socket(&self) -> Option<Held> {
        match self.watched {
            Watched::Socket(held) => Some(held),
            Watched::Set(_) => None,
        }
    }
}

/// Epoll instances that tell a thread while it sleeps.
struct Polled(Option<RawFd>, Vec<HeldSet>);

impl Polled {
    fn new(ours: &[Ours], bell: Option<RawFd>) -> Self {
        let sets = ours.iter().filter_map(|one| match one.watched {
            Watched::Set(held) => Some(held),
            Watched::Socket(_) => None,
        });
        let sets: Vec<HeldSet> = sets.collect();
        if let Some(bell) = bell {
            sets.iter().for_each(|held| Watched::Set(*held).add_waiter(Waiter::Thread(bell)));
        }
        Self(bell, sets)
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        if let Some(bell) = self.0 {
            self.1.iter().for_each(|held| held.set().hot().waiters.remove_thread(bell));
        }
    }
}

/// What a number stands for that this library waits for.
pub fn watched(fd: RawFd) -> Option<Watched> {
    match table::look_up(fd) {
        Number::Socket(held) => Some(Watched::Socket(held)),
        Number::Epoll(set) if set.is_ours() => Some(Watched::Set(HeldSet::hold(set))),
        Number::Epoll(_) | Number::Foreign | Number::Internal => None,
    }
}

/// Whether any of these is ours; else the kernel does it alone.
pub fn has_ours(fds: &[pollfd]) -> bool {
    fds.iter().any(|fd| watched(fd.fd).is_some())
}

/// Waits for descriptors: how many have something to say.
pub fn poll(fds: &mut [pollfd], timeout: Option<Duration>, mask: Option<&sigset_t>) -> Result<usize, Errno> {
    if let Some(found) = glance(fds) {
        return Ok(found);
    }
    let (until, watch) = (timeout.map(|timeout| Instant::now() + timeout), Watch::begin());
    let mut ours = Vec::with_capacity(fds.len());
    let mut kernels = Vec::with_capacity(fds.len() + 2);
    let mut places = Vec::with_capacity(fds.len());
    for (at, fd) in fds.iter_mut().enumerate() {
        fd.revents = 0;
        match watched(fd.fd) {
            Some(watched) => ours.push(Ours { at, watched, bell: None }),
            None => {
                kernels.push(*fd);
                places.push(at);
            }
        }
    }
    let mut found = look(fds, &mut ours, Look::Glance);
    if found == 0 && timeout != Some(Duration::ZERO) {
        found = look_out(fds, &mut ours);
    }
    loop {
        if found > 0 {
            // The kernel's have their turn too.
            return Ok(found + ask_kernel(fds, &mut kernels, &places)?);
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let descriptions: Vec<&'static Description> =
            ours.iter().filter_map(|one| one.socket()).map(Held::description).collect();
        // Where there is no descriptor left for a bell, what sleeps says so.
        let polled = Polled::new(&ours, wait::own_bell());
        let count = kernels.len();
        // What has no bell of its own is told by the loop.
        let by_loop = ours.iter().filter_map(|one| one.socket()).any(|held| held.kind() == Kind::Datagram);
        let listener = if by_loop { Listener::new() } else { None };
        let slept = wait::sleep(&descriptions, &mut kernels, cap(left, &ours), (watch, mask), |all| {
            found = look(fds, &mut ours, Look::Arm);
            if found == 0 {
                for one in &mut ours {
                    let asks = fds.get(one.at).is_some_and(|fd| fd.events & (libc::POLLIN | libc::POLLRDNORM) != 0);
                    // A set has nothing else to say, and goes on ringing for what nobody asks for.
                    one.bell = one.watched.bell().filter(|_| asks || one.socket().is_some());
                    all.extend(one.bell.map(wait::watch));
                }
                all.extend(listener.iter().map(|listener| wait::watch(listener.as_raw_fd())));
            }
            found == 0
        });
        let bells: Vec<pollfd> = kernels.drain(count..).collect();
        drop(polled);
        slept?;
        if found > 0 {
            continue;
        }
        let with_bell = ours.iter().filter(|one| one.bell.is_some());
        for (one, bell) in with_bell.zip(&bells) {
            if bell.revents != 0 {
                match one.watched {
                    Watched::Socket(held) => stream::silence(held),
                    Watched::Set(held) => held.hear(),
                }
            }
        }
        if let (Some(listener), Some(polled)) = (&listener, bells.last())
            && polled.revents != 0
        {
            listener.turn();
        }
        found = look(fds, &mut ours, Look::Arm) + take(fds, &kernels, &places);
        if found > 0 {
            return Ok(found);
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Ok(0);
        }
    }
}

/// Looks once, where all that is waited for is ours: most calls of a busy program find something, and need no lists.
/// `None`: to be looked at thoroughly.
fn glance(fds: &mut [pollfd]) -> Option<usize> {
    let mut found = 0;
    for fd in fds.iter_mut() {
        // A negative number is left out.
        fd.revents = match table::socket(fd.fd) {
            Some(held) => said(Watched::Socket(held), fd.events, Look::Glance),
            None if fd.fd < 0 => 0,
            None => return None,
        };
        found += usize::from(fd.revents != 0);
    }
    (found > 0).then_some(found)
}

/// What a descriptor says of what is asked, and of what is told unasked.
fn said(of: Watched, asked: c_short, how: Look) -> c_short {
    let is = match of {
        Watched::Socket(held) => poll_events(look_at(held, how)),
        Watched::Set(held) => held.look(how).events(),
    };
    is & (asked | libc::POLLERR | libc::POLLHUP | libc::POLLNVAL)
}

/// What our sockets say now.
fn look(fds: &mut [pollfd], ours: &mut [Ours], how: Look) -> usize {
    let mut found = 0;
    for one in ours {
        let Some(fd) = fds.get_mut(one.at) else { continue };
        fd.revents = said(one.watched, fd.events, how);
        found += usize::from(fd.revents != 0);
    }
    found
}

/// Looks out for peers that are awake, as a call on one connection does before it sleeps.
fn look_out(fds: &mut [pollfd], ours: &mut [Ours]) -> usize {
    let spins =
        |one: &Ours| one.socket().is_some_and(|held| held.description().lock().as_ref().is_some_and(super::is_direct));
    if !ours.iter().any(spins) {
        // Of datagrams one socket at a time is looked out for: the first that they are waited for at.
        let hears = |one: &&Ours| fds.get(one.at).is_some_and(|fd| fd.events & libc::POLLIN != 0);
        let mut heard = ours.iter().filter(hears).filter_map(Ours::socket);
        if let Some(held) = heard.find(|held| held.kind() == Kind::Datagram) {
            datagram::look_out(held);
        }
        return look(fds, ours, Look::Glance);
    }
    let start = Instant::now();
    let mut looks = 0;
    while start.elapsed() < SPIN {
        let found = look(fds, ours, Look::Glance);
        if found > 0 {
            return found;
        }
        looks += 1;
        look_away(looks);
    }
    0
}

/// Connections that another process has too are looked at now and then.
fn cap(left: Option<Duration>, ours: &[Ours]) -> Option<Duration> {
    let is_shared = |one: &Ours| match one.watched {
        Watched::Socket(held) => held.description().lock().as_ref().is_some_and(Stream::is_shared),
        Watched::Set(held) => held.set().has_shared(),
    };
    match ours.iter().any(is_shared) {
        true => Some(left.unwrap_or(Duration::MAX).min(wait::LOOK_AT_SHARED)),
        false => left,
    }
}

/// What the kernel's descriptors say, without waiting.
fn ask_kernel(fds: &mut [pollfd], kernels: &mut [pollfd], places: &[usize]) -> Result<usize, Errno> {
    if kernels.is_empty() {
        return Ok(0);
    }
    kernel::ppoll(kernels, Some(Duration::ZERO), None)?;
    Ok(take(fds, kernels, places))
}

fn take(fds: &mut [pollfd], kernels: &[pollfd], places: &[usize]) -> usize {
    let mut found = 0;
    for (polled, at) in kernels.iter().zip(places) {
        if let Some(fd) = fds.get_mut(*at) {
            fd.revents = polled.revents;
            found += usize::from(polled.revents != 0);
        }
    }
    found
}
