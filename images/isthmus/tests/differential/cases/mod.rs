//! The cases, a file for each part of what sockets do.

mod defaults;
mod group;
mod ipv6;
mod link;
mod raw;
mod tcp_both;
mod tcp_data;
mod tcp_end;
mod tcp_open;
mod tcp_options;
mod tcp_reset;
mod tcp_wait;
mod two_links;
mod udp;
mod udp_choice;
mod unreachable;

pub use tcp_data::connection;

use crate::scene::Scene;

/// A case: a script that is played in each column.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Part of what sockets do; a heading of the page.
    pub room: &'static str,
    /// A sentence.
    pub name: &'static str,
    /// The script.
    pub play: fn(&Scene<'_>),
}

/// A room's cases, each named like its function.
macro_rules! cases {
    ($room:literal: $($case:ident),* $(,)?) => {
        pub const CASES: &[$crate::cases::Case] =
            &[$($crate::cases::Case { room: $room, name: stringify!($case), play: $case }),*];
    };
}
use cases;

/// All cases, in the order of the page.
pub fn all() -> Vec<Case> {
    let tcp = [tcp_open::CASES, tcp_data::CASES, tcp_end::CASES, tcp_reset::CASES, tcp_both::CASES, tcp_options::CASES]
        .concat();
    let datagrams = [udp::CASES, udp_choice::CASES, raw::CASES, group::CASES].concat();
    [
        tcp.as_slice(),
        &datagrams,
        ipv6::CASES,
        two_links::CASES,
        link::CASES,
        tcp_wait::CASES,
        unreachable::CASES,
        defaults::CASES,
    ]
    .concat()
}
