//! Options of sockets: set before or while they live, told to the stack where the other end of the channel is there.

use ipc::reactor::Reactor;
use ipc::{InterfaceName, Pathname};
use stack_api::datagram::DatagramRequest;
use stack_api::options::Options;
use stack_api::socket::{OptionsOf, SocketError, SocketRequest};

use crate::library::Library;
use crate::listen::Authority;
use crate::mark::Mark;
use crate::socket::{Socket, SocketId};
use crate::stream::{Path, Stream};

impl Library {
    /// A socket's options. One that was accepted began with its listener's.
    pub fn options(&self, socket: SocketId) -> Result<Options, SocketError> {
        match self.sockets.contains_key(&socket) || self.datagrams.contains(socket) {
            true => Ok(self.options_of(socket)),
            false => Err(SocketError::InvalidArgument),
        }
    }

    /// Sets a socket's options, all at once; a value that cannot be had changes none. Holds from the next packet on; for
    /// a listener, from the next connection on.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (_router, mut red, _, socket, _) = sockets_testing::connected();
    ///
    /// let mut options = red.library.options(socket)?;
    /// options.user_timeout = Some(Duration::from_secs(30));
    /// red.library.set_options(socket, options)?;
    /// # Ok::<(), sockets::SocketError>(())
    /// ```
    pub fn set_options(&mut self, socket: SocketId, options: Options) -> Result<(), SocketError> {
        options.check()?;
        if self.options(socket)? == options {
            return Ok(());
        }
        self.keep_options(socket, options.clone());
        if self.datagrams.contains(socket) {
            self.ask_datagram(socket, &DatagramRequest::SetOptions(options));
            self.bound_waiting_datagrams(socket);
            return Ok(());
        }
        let asked = match self.sockets.get_mut(&socket) {
            Some(Socket::Listening(listening)) => {
                let (criteria, local) = (listening.listener.criteria, listening.listener.local);
                let listener = Pathname::endpoint(self.identity.vr, self.identity.pid, criteria);
                Some(OptionsOf::Listener { listener, local })
            }
            Some(connected @ (Socket::Connected { .. } | Socket::Lent(_))) => {
                let salt = &self.salt;
                let told = connected.with_stream(|stream| {
                    stream.set_send_buffer(options.send_buffer());
                    stream.set_impatient(options.user_timeout.is_some());
                    if matches!(stream.path(), Path::InterVr(_)) {
                        stream.set_receive_buffer(options.receive_buffer());
                        stream.set_mark(Mark::new(salt, stream.addresses(), stream.is_opener(), &options));
                    }
                    (*stream.path() == Path::Stack).then(|| OptionsOf::Connection(stream.addresses()))
                });
                told.flatten()
            }
            // What a connection in SYN-SENT was opened with is told anew once it stands.
            Some(Socket::Unbound | Socket::Bound(_) | Socket::Opening(_)) | None => None,
        };
        if matches!(asked, Some(OptionsOf::Listener { .. })) {
            // Those who wait for what it asked for until now are looked at again.
            self.ask(Authority::Manager, socket);
        }
        if let Some(socket) = asked {
            // Without a stack there is nobody to tell: a listener tells the next one, a connection is gone with it.
            self.server.send(&SocketRequest::SetOptions { socket, options });
        }
        self.keep_time(socket);
        Ok(())
    }

    /// The interface that a socket is bound to; `None`: to all.
    pub fn bound_interface(&self, socket: SocketId) -> Result<Option<InterfaceName>, SocketError> {
        if let Some(interface) = self.datagrams.bound_interface(socket) {
            return Ok(interface);
        }
        match self.sockets.get(&socket) {
            Some(Socket::Bound(bound)) => Ok(bound.interface.clone()),
            Some(Socket::Listening(listening)) => Ok(listening.listener.interface.clone()),
            Some(Socket::Opening(opening)) => Ok(opening.interface().cloned()),
            Some(Socket::Connected { .. } | Socket::Lent(_) | Socket::Unbound) => Ok(None),
            None => Err(SocketError::InvalidArgument),
        }
    }

    /// Why a socket failed since the last call that said so, as `SO_ERROR` tells it: once. `None`: it did not, or the
    /// failure has been told.
    pub fn take_error(&mut self, reactor: &mut Reactor, socket: SocketId) -> Result<Option<SocketError>, SocketError> {
        if self.datagrams.contains(socket) {
            return Ok(self.take_datagram_error(reactor, socket));
        }
        match self.sockets.get_mut(&socket) {
            Some(connected @ (Socket::Connected { .. } | Socket::Lent(_))) => {
                Ok(connected.with_stream(Stream::take_error).flatten())
            }
            Some(Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_)) => Ok(None),
            None => Err(SocketError::InvalidArgument),
        }
    }

    /// Options of a socket that is there, or is being made.
    pub(crate) fn options_of(&self, socket: SocketId) -> Options {
        self.options.get(&socket).cloned().unwrap_or_default()
    }

    /// Most sockets have the usual options, and cost no memory for them.
    pub(crate) fn keep_options(&mut self, socket: SocketId, options: Options) {
        self.datagrams.forget_ways();
        match options == Options::default() {
            true => drop(self.options.remove(&socket)),
            false => drop(self.options.insert(socket, options)),
        }
    }
}
