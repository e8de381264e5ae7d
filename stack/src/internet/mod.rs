//! The internetwork layer of the control side: what IP needs beside forwarding.
//!
//! Forwarding itself is the line cards'. Here is what they punt: link addresses to resolve ([`neighbor`]), errors and
//! echoes to answer ([`icmp`]), fragments for us to put together ([`reassembly`]) and packets to cut ([`fragment`]).
//! All of it works on bytes and is told the time.

pub mod fragment;
pub mod icmp;
pub mod neighbor;
pub mod reassembly;
