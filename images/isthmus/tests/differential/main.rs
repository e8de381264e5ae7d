//! One set of socket programs, three ways to run it: over the inter-VR channel, over our stack across a cable, and over
//! the Linux kernel's own sockets between two network namespaces. The program of the last one calls libc; the same file
//! runs on our two ways once more, preloaded. All that a program can observe is recorded and
//! compared; the kernel is the judge. A difference is a failing test, unless `differences` lists it with its reason.
//!
//! ```text
//!   cases ──▶ scene: a script, and its transcript       report: five transcripts ──▶ docs/differential.md
//!               │ one order at a time, a line of JSON
//!               ▼
//!             endpoint: a process of a column
//!               └─ host, datagram_host: the trait
//!                    ├─ library_host, library_datagram: a process of a VR ── channel, or stack and cable
//!                    └─ kernel_host, kernel_datagram, kernel_options: libc ─┬─ Linux, in a network namespace
//!                                                                           └─ preloaded: channel, or stack and cable
//! ```
//!
//! `cargo test -p isthmus --test differential [PART OF A NAME]…` plays all cases, or some. `ISTHMUS_BLESS=1` before it
//! writes docs/differential.md anew, to be reviewed; without it a page that is not what the cases show is a failure.
//! The kernel's column needs root; without it the others are compared with each other.

mod cases;
mod column;
mod datagram_endpoint;
mod datagram_host;
mod differences;
mod endpoint;
mod host;
mod kernel_datagram;
mod kernel_host;
mod kernel_options;
mod library_datagram;
mod library_host;
mod report;
mod scene;
mod scene_datagram;
mod suite;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Ok(place) = std::env::var(endpoint::PLACE) {
        endpoint::play(&place);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, filters): (Vec<String>, Vec<String>) = arguments.into_iter().partition(|a| a.starts_with('-'));
    if options.iter().any(|option| option == "--list") {
        cases::all().iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    if suite::run(&filters) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
