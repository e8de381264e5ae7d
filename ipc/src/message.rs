//! Typed messages over a channel: postcard records, a hello with the schema's version first.
//!
//! ```
//! use ipc::channel::Channel;
//! use ipc::message::{MessageChannel, Schema};
//!
//! let (a, b) = Channel::pair()?;
//! let schema = Schema::new("sum");
//! let mut client: MessageChannel<(u32, u32), u32> = MessageChannel::new(a, schema);
//! let mut server: MessageChannel<u32, (u32, u32)> = MessageChannel::new(b, schema);
//! client.send(&(1, 2))?;
//! let (x, y) = server.receive()?.expect("it was sent");
//! server.send(&(x + y))?;
//! assert_eq!(client.receive()?, Some(3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::error::MessageError;
use crate::ring::MAX_RECORD;

/// First field of a hello: "isth".
const MAGIC: u32 = 0x6973_7468;

/// Bytes that are queued for a slow reader unless another limit is given.
pub const DEFAULT_QUEUE_BYTES: usize = 64 << 20;

/// Version of a schema unless another is given.
const FIRST_VERSION: u16 = 1;

/// What two sides must agree on: the messages' meaning, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Name of the conversation.
    pub name: &'static str,
    /// A side of another version is refused.
    pub version: u16,
}

impl Schema {
    /// The first version of a schema.
    pub const fn new(name: &'static str) -> Self {
        Self { name, version: FIRST_VERSION }
    }

    /// Another version of it.
    pub const fn with_version(self, version: u16) -> Self {
        Self { version, ..self }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

/// First record in each direction.
#[derive(Debug, Serialize, Deserialize)]
struct Hello<'a> {
    magic: u32,
    name: &'a str,
    version: u16,
}

/// A channel of messages: sends `S`, receives `R`.
#[derive(Debug)]
pub struct MessageChannel<S, R> {
    channel: Channel,
    schema: Schema,
    /// The peer's hello came and was right.
    greeted: bool,
    closed: bool,
    /// Encoded messages that did not fit into the ring.
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    limit_bytes: usize,
    /// Used again for each message.
    buffer: Vec<u8>,
    messages: PhantomData<fn(S) -> R>,
}

impl<S: Serialize, R: DeserializeOwned> MessageChannel<S, R> {
    /// Messages of a schema over a new channel. The hello is sent at once.
    pub fn new(channel: Channel, schema: Schema) -> Self {
        Self::with_queue_limit(channel, schema, DEFAULT_QUEUE_BYTES)
    }

    /// As [`new`](Self::new); at most `limit_bytes` are queued for a slow reader.
    pub fn with_queue_limit(channel: Channel, schema: Schema, limit_bytes: usize) -> Self {
        let mut messages = Self {
            channel,
            schema,
            greeted: false,
            closed: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            limit_bytes,
            buffer: Vec::new(),
            messages: PhantomData,
        };
        let hello = Hello { magic: MAGIC, name: schema.name, version: schema.version };
        let sent = messages.encode(&hello).and_then(|()| messages.send_buffer());
        if let Err(error) = sent {
            // The next `send` or `receive` fails in the same way.
            log::debug!("{schema}: send the hello: {error}");
        }
        messages
    }

    /// Sends a message, or queues it while the peer is slow.
    pub fn send(&mut self, message: &S) -> Result<(), MessageError> {
        if self.closed {
            return Err(MessageError::Closed);
        }
        self.encode(message)?;
        self.send_buffer()
    }

    /// The next message; `None`: no more now, and the bell is armed. Call until `None` after each readiness event. Also
    /// sends what was queued. [`MessageError::Closed`] once the peer is gone and all it sent was received.
    pub fn receive(&mut self) -> Result<Option<R>, MessageError> {
        if self.closed {
            return Err(MessageError::Closed);
        }
        loop {
            while self.channel.read_record(&mut self.buffer)? {
                if self.greeted {
                    return self.decode().map(Some);
                }
                self.check_hello()?;
            }
            if self.channel.is_finished() {
                return Err(MessageError::Closed);
            }
            // One bell for both directions: who silences it looks at both.
            self.channel.acknowledge_bell()?;
            match self.flush() {
                // What the peer wrote before it went is still to be read.
                Err(MessageError::Closed) => self.drop_queue(),
                result => result?,
            }
            if self.channel.arm_read()? {
                return Ok(None);
            }
        }
    }

    /// Blocks until a message comes; `None`: none came in time.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<R>, MessageError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(message) = self.receive()? {
                return Ok(Some(message));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.channel.wait_bell(Some(left))?;
        }
    }

    /// Sends as much of the queue as fits; the rest waits for the bell.
    pub fn flush(&mut self) -> Result<(), MessageError> {
        while let Some(message) = self.queue.front() {
            if self.channel.write_record(message)? {
                self.queued_bytes -= message.len();
                self.queue.pop_front();
            } else if self.channel.arm_write_record(message.len())? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether everything sent lies in the ring.
    pub fn is_idle_outgoing(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait for the peer to read.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Ends the channel in order. What lies in the ring the peer still gets; what is queued is dropped.
    pub fn close(&mut self) {
        self.closed = true;
        self.drop_queue();
        self.channel.close();
    }

    fn drop_queue(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// The channel below.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The channel below, to register it as a source. Its bytes are this type's.
    pub fn channel_mut(&mut self) -> &mut Channel {
        &mut self.channel
    }

    fn encode<T: Serialize>(&mut self, message: &T) -> Result<(), MessageError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.buffer = postcard::to_extend(message, buffer).map_err(MessageError::Encode)?;
        let size = self.buffer.len();
        if size > MAX_RECORD { Err(MessageError::TooLarge { size, limit: MAX_RECORD }) } else { Ok(()) }
    }

    /// Sends the encoded message in `buffer`.
    fn send_buffer(&mut self) -> Result<(), MessageError> {
        if self.queue.is_empty() && self.channel.write_record(&self.buffer)? {
            return Ok(());
        }
        let queued_bytes = self.queued_bytes.saturating_add(self.buffer.len());
        if queued_bytes > self.limit_bytes {
            return Err(MessageError::Overflow { queued_bytes: self.queued_bytes, limit_bytes: self.limit_bytes });
        }
        self.queue.push_back(self.buffer.clone());
        self.queued_bytes = queued_bytes;
        self.flush()
    }

    fn decode(&self) -> Result<R, MessageError> {
        postcard::from_bytes(&self.buffer).map_err(|error| MessageError::Decode { size: self.buffer.len(), error })
    }

    fn check_hello(&mut self) -> Result<(), MessageError> {
        let hello: Hello<'_> = postcard::from_bytes(&self.buffer).map_err(|_| MessageError::NoHello)?;
        if hello.magic != MAGIC {
            return Err(MessageError::NoHello);
        }
        if hello.name != self.schema.name || hello.version != self.schema.version {
            let theirs = format!("{:?} version {}", hello.name, hello.version);
            return Err(MessageError::Schema { ours: self.schema.to_string(), theirs });
        }
        self.greeted = true;
        Ok(())
    }
}

impl<S, R> Source for MessageChannel<S, R> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.channel.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.channel.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.channel.deregister(registry)
    }
}

#[cfg(test)]
mod tests;
