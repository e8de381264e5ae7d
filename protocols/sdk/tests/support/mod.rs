//! Everything around one process of a VR, played by the test: procmgr's end of its link, and the services that it
//! opens. The process runs in a thread of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc::channel::{Channel, ChannelParts};
use ipc::link::Link;
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::{Identity, MAX_MESSAGE, Notice, Origin, Request, Ticket};
use ipc::reactor::Reactor;
use ipc::{Pathname, Pid, ServiceName, VrId, VrName, fd};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer than anything here takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing is watched to happen.
pub const QUIET: Duration = Duration::from_millis(50);

/// procmgr's end of a process's link.
pub struct Procmgr {
    link: OwnedFd,
    /// Requests that nobody asked for yet.
    kept: Vec<Request>,
}

/// Starts a process of VR 1, `red`.
pub fn start<E: Send + 'static>(
    name: &str,
    run: impl FnOnce(Reactor) -> Result<(), E> + Send + 'static,
) -> (Procmgr, JoinHandle<Result<(), E>>) {
    let (link, own) = fd::seqpacket_pair().unwrap();
    let procmgr = Procmgr { link, kept: Vec::new() };
    procmgr.tell(&Notice::Welcome(process(1, name)), None);
    let thread = thread::spawn(move || run(Reactor::new(Link::from_socket(own).unwrap()).unwrap()));
    (procmgr, thread)
}

/// A process of a VR; VR 0 is the router itself.
pub fn process(vr: u16, name: &str) -> Identity {
    let vr_name = (vr > 0).then(|| VrName::new(if vr == 1 { "red" } else { "blue" }).unwrap());
    Identity {
        vr: VrId(vr),
        vr_name,
        pid: Pid(100 + u32::from(vr)),
        name: ServiceName::new(name).unwrap(),
        origin: Origin::Supervised,
    }
}

impl Procmgr {
    /// Says something to the process, with the end of a channel or without.
    pub fn tell(&self, notice: &Notice, end: Option<ChannelParts>) {
        let fds = end.as_ref().map(ChannelParts::as_fds);
        let fds = fds.as_ref().map_or(&[][..], |fds| &fds[..]);
        fd::send_with_fds(self.link.as_fd(), &postcard::to_stdvec(notice).unwrap(), fds).unwrap();
    }

    /// The first request that fits, whatever came before it.
    pub fn request<T>(&mut self, wanted: impl Fn(&Request) -> Option<T>) -> T {
        self.request_within(PATIENCE, wanted).expect("the process asks for it")
    }

    /// The same, if it comes in time.
    pub fn request_within<T>(&mut self, patience: Duration, wanted: impl Fn(&Request) -> Option<T>) -> Option<T> {
        loop {
            if let Some(index) = self.kept.iter().position(|request| wanted(request).is_some()) {
                return wanted(&self.kept.remove(index));
            }
            let timeout = PollTimeout::try_from(patience).unwrap();
            if nix::poll::poll(&mut [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 0 {
                return None;
            }
            let mut buffer = vec![0; MAX_MESSAGE];
            let length = fd::receive_with_fds(self.link.as_fd(), &mut buffer).unwrap().length;
            assert!(length > 0, "the process ended");
            self.kept.push(postcard::from_bytes(&buffer[..length]).unwrap());
        }
    }

    /// Serves the process's open of a service: returns the service's end.
    pub fn serve(&mut self, service: &str, terms: &[u8]) -> Channel {
        let (ticket, pathname) = self.request(|request| opened(request, service, terms));
        let (opener, listener) = ChannelParts::pair().unwrap();
        let Pathname::Service { name, .. } = &pathname else { panic!("{pathname}") };
        self.tell(&Notice::Opened { ticket, peer: process(0, name.as_str()) }, Some(opener));
        Channel::from_parts(listener).unwrap()
    }

    /// The same, as a conversation.
    pub fn talk<S: Serialize, R: DeserializeOwned>(
        &mut self,
        service: &str,
        terms: &[u8],
        schema: &'static str,
    ) -> MessageChannel<S, R> {
        MessageChannel::new(self.serve(service, terms), Schema::new(schema))
    }

    /// Another process opens a service of this one.
    pub fn open<S: Serialize, R: DeserializeOwned>(
        &mut self,
        service: &str,
        peer: Identity,
        terms: &[u8],
        schema: &'static str,
    ) -> MessageChannel<S, R> {
        let (opener, listener) = ChannelParts::pair().unwrap();
        let pathname = service.parse().unwrap();
        self.tell(&Notice::Incoming { pathname, peer, terms: terms.to_vec() }, Some(listener));
        MessageChannel::new(Channel::from_parts(opener).unwrap(), Schema::new(schema))
    }

    /// Whether the process has said that it is ready, or says so soon.
    pub fn is_ready(&mut self, patience: Duration) -> bool {
        self.request_within(patience, |request| matches!(request, Request::Ready).then_some(())).is_some()
    }
}

fn opened(request: &Request, service: &str, wanted: &[u8]) -> Option<(Ticket, Pathname)> {
    match request {
        Request::Open { ticket, pathname, terms, .. } if pathname.to_string() == service && terms == wanted => {
            Some((*ticket, pathname.clone()))
        }
        _ => None,
    }
}

/// The next message.
pub fn next<S: Serialize, R: DeserializeOwned>(channel: &mut MessageChannel<S, R>) -> R {
    channel.receive_timeout(PATIENCE).unwrap().expect("a message")
}

/// Whether nothing comes.
pub fn is_quiet<S: Serialize, R: DeserializeOwned>(channel: &mut MessageChannel<S, R>) -> bool {
    channel.receive_timeout(QUIET).unwrap().is_none()
}

/// Terms of an open.
pub fn terms<T: Serialize>(terms: &T) -> Vec<u8> {
    postcard::to_stdvec(terms).unwrap()
}
