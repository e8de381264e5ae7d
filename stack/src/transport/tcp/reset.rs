//! The answer to a segment that belongs to no connection (RFC 9293 section 3.10.7.1).

use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr, TcpSegment};

/// The reset that tells the sender so; `None` for a reset, which is never answered.
pub fn reset_for(segment: &TcpSegment<'_>) -> Option<TcpRepr> {
    let heard = &segment.repr;
    if heard.flags.contains(TcpFlags::RST) {
        return None;
    }
    let (sequence, acknowledgment, flags) = match heard.flags.contains(TcpFlags::ACK) {
        true => (heard.acknowledgment, SeqNumber(0), TcpFlags::RST),
        false => (SeqNumber(0), heard.sequence + segment.sequence_length(), TcpFlags::RST | TcpFlags::ACK),
    };
    Some(TcpRepr {
        source_port: heard.destination_port,
        destination_port: heard.source_port,
        sequence,
        acknowledgment,
        flags,
        ..TcpRepr::default()
    })
}
