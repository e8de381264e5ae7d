//! Records in a channel: whole or not at all, in order, and read where they lie.

use super::{Channel, Empty};
use crate::error::ChannelError;

/// A record that lies in the ring of a [`Channel`]. Unless it is consumed it stays there.
#[derive(Debug)]
pub struct Record<'a> {
    channel: &'a mut Channel,
    length: usize,
}

impl Record<'_> {
    /// Its length in bytes.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Copies from byte `at` on; returns how many there were. The peer can change what was not copied yet, and what is
    /// copied twice.
    #[inline]
    pub fn copy(&self, at: usize, into: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(at).min(into.len());
        if let Some(into) = into.get_mut(..count).filter(|into| !into.is_empty()) {
            self.channel.rx.copy_record(at, into);
        }
        count
    }

    /// Frees it, and wakes the peer if it waits for the room.
    #[inline]
    pub fn consume(self) -> Result<(), ChannelError> {
        let told = self.channel.rx.consume_record(self.length);
        if told && self.channel.rx.wake_writer() { self.channel.ring() } else { Ok(()) }
    }
}

impl Channel {
    /// Writes a record, whole or not at all, and wakes the peer if it sleeps. `false`: it does not fit now.
    #[inline]
    pub fn write_record(&mut self, record: &[u8]) -> Result<bool, ChannelError> {
        self.in_turn(|channel| {
            channel.check_writable()?;
            let written = channel.tx.write_record(record)?;
            if written && channel.tx.wake_reader() {
                channel.ring()?;
            }
            Ok(written)
        })
    }

    /// Writes a record that is the parts' concatenation, as [`write_record`](Self::write_record) does.
    #[inline]
    pub fn write_record_parts(&mut self, parts: &[&[u8]]) -> Result<bool, ChannelError> {
        self.in_turn(|channel| {
            channel.check_writable()?;
            let written = channel.tx.write_record_parts(parts)?;
            if written && channel.tx.wake_reader() {
                channel.ring()?;
            }
            Ok(written)
        })
    }

    /// The same, but the peer sleeps on: more follows, and [`notify`](Self::notify) behind the last wakes it once. One that
    /// is woken by the first of many deals with that one alone.
    pub fn add_record_parts(&mut self, parts: &[&[u8]]) -> Result<bool, ChannelError> {
        self.in_turn(|channel| {
            channel.check_writable()?;
            Ok(channel.tx.write_record_parts(parts)?)
        })
    }

    /// Reads a record and wakes the peer if it waits for room. `false`: none now, or the end.
    #[inline]
    pub fn read_record(&mut self, into: &mut Vec<u8>) -> Result<bool, ChannelError> {
        self.in_turn(|channel| {
            let Some(record) = channel.next_record()? else { return Ok(false) };
            // Not cleared first: a buffer that is used again is not zeroed again.
            into.resize(record.length(), 0);
            record.copy(0, into);
            record.consume()?;
            Ok(true)
        })
    }

    /// The next record, to be read where it lies: for a reader that decides by its beginning where the rest is to go.
    /// `None`: none now, or the end. Not for an end that is [shared](Self::share): a sibling may take it meanwhile.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ChannelError> {
        Ok(self.find_record()?.map(|length| Record { channel: self, length }))
    }

    /// Whether [`next_record`](Self::next_record) has one, or an error.
    #[inline]
    pub fn has_record(&mut self) -> Result<bool, ChannelError> {
        Ok((!self.gate_closed && self.rx.knows_bytes()) || self.find_record()?.is_some())
    }

    #[inline]
    fn find_record(&mut self) -> Result<Option<usize>, ChannelError> {
        if self.gate_closed {
            return Ok(None);
        }
        loop {
            if let Some(length) = self.rx.find_record()? {
                return Ok(Some(length));
            }
            match self.why_empty(0)? {
                Empty::Filled => {}
                Empty::ForNow | Empty::Finished => return Ok(None),
            }
        }
    }
}
