//! Both sides of a service: a client that survives the restart of its server, a server with many clients.

use std::collections::{HashMap, VecDeque};

use mio::Token;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Channel;
use crate::error::{LinkError, MessageError};
use crate::link::LinkEvent;
use crate::message::{MessageChannel, Schema};
use crate::pathname::Pathname;
use crate::protocol::{Identity, Ticket};
use crate::reactor::{Event, Reactor};

/// What happened to a client.
#[derive(Debug)]
pub enum ClientEvent<R> {
    /// The service is there, and knows nothing of this client: say again what it must know.
    Up,
    /// A message from the service.
    Message(R),
    /// The service went away. It is opened again by itself: procmgr keeps the open until the service is back.
    Down,
}

/// A client of a service: opens it, and opens it again when it restarts.
#[derive(Debug)]
pub struct ServiceClient<S, R> {
    pathname: Pathname,
    terms: Vec<u8>,
    schema: Schema,
    state: ClientState<S, R>,
}

#[derive(Debug)]
enum ClientState<S, R> {
    Idle,
    Opening(Ticket),
    /// `fresh`: [`ClientEvent::Up`] has not been given out.
    Up {
        channel: MessageChannel<S, R>,
        token: Token,
        fresh: bool,
    },
    /// [`ClientEvent::Down`] has not been given out.
    Lost,
}

impl<S: Serialize, R: DeserializeOwned> ServiceClient<S, R> {
    /// A client of `pathname` that will open it with `terms` and speak `schema`.
    pub fn new(pathname: Pathname, terms: Vec<u8>, schema: Schema) -> Self {
        Self { pathname, terms, schema, state: ClientState::Idle }
    }

    /// Opens the service.
    pub fn start(&mut self, reactor: &mut Reactor) -> Result<(), LinkError> {
        self.state = ClientState::Opening(reactor.link.open(&self.pathname, None, &self.terms)?);
        Ok(())
    }

    /// This process is a forked child, and the client its parent's: the child lets go of the channel, whose end shows the
    /// service that the parent has ended. The parent's is as it was.
    pub fn leave_to_parent(&mut self) {
        self.state = ClientState::Idle;
    }

    /// Whether the service is there.
    pub fn is_up(&self) -> bool {
        matches!(self.state, ClientState::Up { .. })
    }

    /// Takes an event if it is this client's.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        match (event, &self.state) {
            (Event::Link(LinkEvent::Opened { ticket, channel, .. }), ClientState::Opening(t)) if *t == ticket => {
                self.opened(reactor, channel);
                None
            }
            (Event::Link(LinkEvent::Refused { ticket, refusal }), ClientState::Opening(t)) if *t == ticket => {
                log::error!("open {}: {refusal}", self.pathname);
                self.state = ClientState::Idle;
                None
            }
            (Event::Ready(token), ClientState::Up { token: own, .. }) if *own == token => None,
            (event, _) => Some(event),
        }
    }

    fn opened(&mut self, reactor: &mut Reactor, mut channel: Channel) {
        channel.stay_here();
        let mut channel = MessageChannel::new(channel, self.schema);
        self.state = match reactor.register(&mut channel) {
            Ok(token) => ClientState::Up { channel, token, fresh: true },
            Err(error) => {
                log::error!("{}: cannot wait for its messages: {error}", self.pathname);
                ClientState::Idle
            }
        };
    }

    /// What happened since the last call. Call until `None` after each event that this client took.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<ClientEvent<R>> {
        match &mut self.state {
            ClientState::Idle | ClientState::Opening(_) => None,
            ClientState::Lost => {
                if let Err(error) = self.start(reactor) {
                    log::error!("open {}: {error}", self.pathname);
                    self.state = ClientState::Idle;
                }
                Some(ClientEvent::Down)
            }
            ClientState::Up { fresh, .. } if *fresh => {
                *fresh = false;
                Some(ClientEvent::Up)
            }
            ClientState::Up { channel, .. } => match channel.receive() {
                Ok(Some(message)) => Some(ClientEvent::Message(message)),
                Ok(None) => None,
                Err(error) => {
                    self.lose(reactor, &error);
                    self.poll(reactor)
                }
            },
        }
    }

    /// Whether [`poll`](Self::poll) has something to give out, as far as one look at the ring tells: for a process that
    /// asks often. That the service died its bell tells, as an event.
    #[inline]
    pub fn has_news(&self) -> bool {
        match &self.state {
            ClientState::Idle | ClientState::Opening(_) => false,
            ClientState::Lost => true,
            ClientState::Up { channel, fresh, .. } => *fresh || channel.channel().has_news(),
        }
    }

    /// Sends a message, or queues it while the service is slow. `false`: the service is not there; it will be told
    /// everything after [`ClientEvent::Up`].
    pub fn send(&mut self, message: &S) -> bool {
        let ClientState::Up { channel, .. } = &mut self.state else { return false };
        match channel.send(message) {
            Ok(()) => true,
            Err(error) => {
                // The loop sees the same error when it next receives.
                log::debug!("{}: {error}", self.pathname);
                false
            }
        }
    }

    fn lose(&mut self, reactor: &mut Reactor, error: &MessageError) {
        let state = std::mem::replace(&mut self.state, ClientState::Lost);
        if let ClientState::Up { mut channel, .. } = state
            && let Err(error) = reactor.deregister(&mut channel)
        {
            log::debug!("{}: {error}", self.pathname);
        }
        match error {
            MessageError::Closed => log::debug!("{}: went away", self.pathname),
            error => log::warn!("{}: {error}", self.pathname),
        }
    }
}

/// Number of a client of a [`ServiceServer`]; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What a client of a server did.
#[derive(Debug)]
pub enum ServerEvent<R> {
    /// It said something.
    Message {
        /// Which client.
        client: ClientId,
        /// What.
        message: R,
    },
    /// It is gone.
    Gone {
        /// Which client.
        client: ClientId,
        /// Who it was.
        identity: Identity,
    },
}

/// The serving side of a service: every client has a channel of its own.
#[derive(Debug)]
pub struct ServiceServer<S, R> {
    schema: Schema,
    clients: HashMap<ClientId, Client<S, R>>,
    by_token: HashMap<Token, ClientId>,
    /// Clients that may have said something.
    hot: VecDeque<ClientId>,
    next: u64,
}

#[derive(Debug)]
struct Client<S, R> {
    channel: MessageChannel<S, R>,
    token: Token,
    identity: Identity,
}

impl<S: Serialize, R: DeserializeOwned> ServiceServer<S, R> {
    /// A server without clients.
    pub fn new(schema: Schema) -> Self {
        Self { schema, clients: HashMap::new(), by_token: HashMap::new(), hot: VecDeque::new(), next: 0 }
    }

    /// Takes over a channel that somebody opened to this service. `None`: the kernel refused to watch it.
    pub fn adopt(&mut self, reactor: &mut Reactor, identity: Identity, channel: Channel) -> Option<ClientId> {
        let mut channel = MessageChannel::new(channel, self.schema);
        let token = match reactor.register(&mut channel) {
            Ok(token) => token,
            Err(error) => {
                log::error!("client {identity}: cannot wait for its messages: {error}");
                return None;
            }
        };
        let id = ClientId(self.next);
        self.next += 1;
        self.clients.insert(id, Client { channel, token, identity });
        self.by_token.insert(token, id);
        self.hot.push_back(id);
        Some(id)
    }

    /// Takes an event if it is of one of the clients.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Ready(token) => match self.by_token.get(&token) {
                Some(id) => {
                    self.hot.push_back(*id);
                    None
                }
                None => Some(event),
            },
            Event::Link(_) => Some(event),
        }
    }

    /// Looks at every client before [`poll`](Self::poll) says `None` again, whether or not it rang: for a server whose
    /// answer to one depends on what others have said, or died, before.
    pub fn look_at_all(&mut self) {
        self.hot.extend(self.clients.keys());
    }

    /// What clients did since the last call, one message of each in turn. Call until `None`.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<ServerEvent<R>> {
        while let Some(id) = self.hot.pop_front() {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            match client.channel.receive() {
                Ok(Some(message)) => {
                    self.hot.push_back(id);
                    return Some(ServerEvent::Message { client: id, message });
                }
                Ok(None) => {}
                Err(error) => {
                    if !matches!(error, MessageError::Closed) {
                        log::warn!("client {}: {error}", client.identity);
                    }
                    return self.remove(reactor, id).map(|identity| ServerEvent::Gone { client: id, identity });
                }
            }
        }
        None
    }

    /// Sends a message, or queues it while the client is slow. `false`: the client is gone, or so slow that its queue
    /// is full, and is then dropped: `poll` says so.
    pub fn send(&mut self, client: ClientId, message: &S) -> bool {
        let Some(entry) = self.clients.get_mut(&client) else { return false };
        match entry.channel.send(message) {
            Ok(()) => true,
            Err(error) => {
                log::debug!("client {}: {error}", entry.identity);
                entry.channel.close();
                self.hot.push_back(client);
                false
            }
        }
    }

    /// Bytes that wait for a client to read; while there are any, its bell is an event of this server. A long answer is
    /// best given in parts, each when nothing waits.
    pub fn queued_bytes(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |entry| entry.channel.queued_bytes())
    }

    /// Ends a client's channel once what was sent has been taken.
    pub fn close(&mut self, reactor: &mut Reactor, client: ClientId) {
        self.remove(reactor, client);
    }

    /// Who a client is, as procmgr attests.
    pub fn identity(&self, client: ClientId) -> Option<&Identity> {
        self.clients.get(&client).map(|entry| &entry.identity)
    }

    /// All clients.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &Identity)> {
        self.clients.iter().map(|(id, client)| (*id, &client.identity))
    }

    fn remove(&mut self, reactor: &mut Reactor, id: ClientId) -> Option<Identity> {
        let mut client = self.clients.remove(&id)?;
        self.by_token.remove(&client.token);
        if let Err(error) = reactor.deregister(&mut client.channel) {
            log::debug!("client {}: {error}", client.identity);
        }
        Some(client.identity)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::fd;
    use crate::link::Link;
    use crate::protocol::{Notice, Origin};
    use crate::{Pid, ServiceName, VrId};

    #[test]
    fn a_client_that_says_much_does_not_keep_others_waiting() {
        let (procmgr, own) = fd::seqpacket_pair().unwrap();
        let identity = Identity {
            vr: VrId::ROUTER,
            vr_name: None,
            pid: Pid(1),
            name: ServiceName::new("rib").unwrap(),
            origin: Origin::Supervised,
        };
        let welcome = postcard::to_stdvec(&Notice::Welcome(identity.clone())).unwrap();
        fd::send_with_fds(procmgr.as_fd(), &welcome, &[]).unwrap();
        let mut reactor = Reactor::new(Link::from_socket(own).unwrap()).unwrap();
        let schema = Schema::new("test");
        let mut server = ServiceServer::<u32, u32>::new(schema);
        let mut client = |messages: std::ops::Range<u32>| {
            let (ours, theirs) = Channel::pair().unwrap();
            let id = server.adopt(&mut reactor, identity.clone(), theirs).unwrap();
            let mut channel = MessageChannel::<u32, u32>::new(ours, schema);
            messages.for_each(|message| channel.send(&message).unwrap());
            (id, channel)
        };
        let ((little, _quiet), (_much, _loud)) = (client(100..101), client(0..100));
        let first_two = [server.poll(&mut reactor), server.poll(&mut reactor)];
        let heard = |event: &Option<_>| matches!(event, Some(ServerEvent::Message { client, .. }) if *client == little);
        assert!(first_two.iter().any(heard), "{first_two:?}");
    }
}
