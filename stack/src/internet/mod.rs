//! The internetwork layer of the control side: what IP needs beside forwarding.
//!
//! Forwarding itself is the line cards'. Here is what they punt: link addresses to resolve ([`neighbor`], for both
//! families), errors ([`report`]) and echoes ([`icmp`], [`icmpv6`]) to answer, fragments for us to put together
//! ([`reassembly`]) and packets to cut ([`fragment`]). What IPv6 asks of a host beside: that its address is nobody
//! else's ([`dad`]), how large packets may be on a way ([`path_mtu`]); and of both, which address to speak with
//! ([`source`]); of IPv4, which groups its links are told of ([`igmp`]). All of it works on bytes and is told the time.

pub mod dad;
pub mod fragment;
pub mod icmp;
pub mod icmpv6;
pub mod igmp;
pub mod neighbor;
pub mod path_mtu;
pub mod reassembly;
pub mod report;
pub mod source;
