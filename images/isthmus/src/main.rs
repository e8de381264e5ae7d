//! The one executable of a router: what a person types, and every process that procmgr starts.
//!
//! ```text
//!   person ──▶ arguments ─┬─▶ demo, up ──▶ launch ──▶ procmgr ──▶ the same executable again, in a role
//!                         ├─▶ shell, down, program: attach to a router that runs       │
//!                         └─▶ check, bench, image, new                                 ▼
//!                                                                 roles: stack, vrmgr, config, rib, bgp
//! ```
//!
//! A kernel that starts it as its first process finds it in `init`; `console` is then the shell on the serial line.
//!
//! Read first: `classes` (what a router is made of), then `roles`.

mod arguments;
mod background;
mod bench;
mod check;
mod classes;
mod console;
mod demo;
mod down;
mod image;
mod init;
mod launch;
mod new;
mod paths;
mod preload;
mod program;
mod roles;
mod shell;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    match procmgr::role::from_environment() {
        Some(role) => roles::run(&role),
        None if procmgr::pid1::is_first_process() => init::run(),
        None => arguments::run(),
    }
}
