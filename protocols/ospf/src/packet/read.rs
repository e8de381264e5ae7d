//! Taking fields from the front of a slice.

use std::net::Ipv4Addr;

/// Splits the first `count` bytes off, or `None` if there are fewer.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk()?;
    *bytes = tail;
    Some(*head)
}

/// Splits a number of one byte off.
pub(crate) fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    array::<1>(bytes).map(|[byte]| byte)
}

/// Splits a number of two bytes off.
pub(crate) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    array(bytes).map(u16::from_be_bytes)
}

/// Splits a number of four bytes off.
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    array(bytes).map(u32::from_be_bytes)
}

/// Splits an address off.
pub(crate) fn take_address(bytes: &mut &[u8]) -> Option<Ipv4Addr> {
    array::<4>(bytes).map(Ipv4Addr::from)
}
