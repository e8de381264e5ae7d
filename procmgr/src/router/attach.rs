//! Processes that procmgr did not start: they connect to the control socket, say which VR they join, and are processes
//! like any other.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use ipc::protocol::{Identity, Notice, Origin, Refusal, Request, Ticket, VERSION};
use ipc::{Pathname, Pid, ServiceName, VrId, VrName, fd};
use mio::Token;
use nix::sys::socket::{getsockopt, sockopt};

use super::Router;
use crate::class::Privileges;
use crate::link::{Incoming, LinkEnd};
use crate::processes::{Attached, Kind, Process, ProcessKey};
use crate::sources::Source;

/// Connections that have not said who they are; the oldest goes when there are more.
const MAX_KNOCKING: usize = 64;

/// Connections that have not said who they are, oldest first.
#[derive(Debug, Default)]
pub(super) struct Knocking(BTreeMap<Token, LinkEnd>);

impl Router<'_> {
    /// Takes all that wait at the control socket.
    pub(super) fn accept(&mut self) {
        loop {
            match self.accept_one() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => return self.log.warn(&format!("control socket: {error}")),
            }
        }
    }

    fn accept_one(&mut self) -> io::Result<()> {
        let socket = fd::accept_seqpacket(self.control.as_fd())?;
        fd::enable_credentials(socket.as_fd())?;
        let peer = fd::peer_credentials(socket.as_fd())?;
        if peer.uid != 0 && peer.uid != nix::unistd::geteuid().as_raw() {
            self.log.warn(&format!("control socket: refused PID {} of user {}", peer.pid, peer.uid));
            return Ok(());
        }
        let link = LinkEnd::new(socket, Pid(u32::try_from(peer.pid).unwrap_or_default()));
        let token = self.sources.add(link.raw_fd(), Source::Knocking)?;
        self.knocking.0.insert(token, link);
        if self.knocking.0.len() > MAX_KNOCKING
            && let Some((token, link)) = self.knocking.0.pop_first()
        {
            self.sources.remove(link.raw_fd(), token);
        }
        Ok(())
    }

    /// The first message of a connection: who it wants to be.
    pub(super) fn read_knocking(&mut self, token: Token) {
        let Some(link) = self.knocking.0.get_mut(&token) else { return };
        let first = match link.receive(&mut self.buffer) {
            Ok(None) => return,
            Ok(Some(Incoming::Request(Request::Attach { version, vr, name }, _))) => Some((version, vr, name)),
            Ok(Some(Incoming::Request(..) | Incoming::Foreign(_) | Incoming::Garbage)) | Err(_) => None,
        };
        let Some(mut link) = self.knocking.0.remove(&token) else { return };
        self.sources.remove(link.raw_fd(), token);
        let Some((version, vr, name)) = first else { return };
        match self.admit(version, vr, name, link.pid()) {
            Ok(identity) => self.attach(identity, link),
            Err(refusal) => {
                // If it does not hear why, it sees the end of file.
                let _ = link.send(&Notice::Refused { ticket: Ticket(0), refusal }, Vec::new());
            }
        }
    }

    /// Who the process will be.
    fn admit(&self, version: u16, vr: Option<VrName>, name: ServiceName, pid: Pid) -> Result<Identity, Refusal> {
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        let id = match &vr {
            None => VrId::ROUTER,
            Some(name) => self.vrs.id(name).ok_or_else(|| Refusal::NoVr(name.to_string()))?,
        };
        if let Some(key) = self.processes.at(&(id, name.clone()))
            && let Some(process) = self.processes.get(key)
        {
            return Err(Refusal::Taken(Pathname::service(id, name), process.identity.pid));
        }
        if self.classes.get(name.as_str()).is_some() {
            return Err(Refusal::ClassName(name));
        }
        if self.processes.running(id, pid).is_some() || self.processes.child(pid).is_some() {
            return Err(Refusal::HasLink(pid));
        }
        Ok(Identity { vr: id, vr_name: vr, pid, name, origin: Origin::Attached })
    }

    fn attach(&mut self, identity: Identity, link: LinkEnd) {
        log::debug!("{identity} (PID {}) attached", identity.pid);
        let ask = identity.vr == VrId::ROUTER;
        let key = self.processes.add(Process {
            identity: identity.clone(),
            privileges: Privileges { manage: false, ask },
            link: None,
            kind: Kind::Attached(Attached { since: self.now, death: None }),
        });
        self.watch_death(key, &link);
        match self.sources.add(link.raw_fd(), Source::Link(key)) {
            Ok(token) => {
                if let Some(process) = self.processes.get_mut(key) {
                    process.link = Some((link, token));
                }
            }
            Err(error) => {
                self.log.warn(&format!("{identity}: {error}"));
                return self.forget_attached(key);
            }
        }
        self.welcome(key, identity);
        if self.startup.is_up() {
            self.notify(key, &Notice::Go);
        }
        if self.stopping {
            self.notify(key, &Notice::Stop);
        }
    }

    /// Its death is seen even while a forked child of it holds the link. A kernel before 6.5 cannot tell; then only the
    /// end of file counts.
    fn watch_death(&mut self, key: ProcessKey, link: &LinkEnd) {
        let Ok(death) = getsockopt(link, sockopt::PeerPidfd) else { return };
        let Ok(token) = self.sources.add(death.as_raw_fd(), Source::Death(key)) else { return };
        if let Some(Process { kind: Kind::Attached(attached), .. }) = self.processes.get_mut(key) {
            attached.death = Some((death, token));
        }
    }

    /// An attached process is gone.
    pub(super) fn forget_attached(&mut self, key: ProcessKey) {
        if let Some(Process { kind: Kind::Attached(attached), .. }) = self.processes.remove(key)
            && let Some((death, token)) = attached.death
        {
            self.sources.remove(death.as_raw_fd(), token);
        }
    }
}
