//! The program: `isthmus run --vr red -- target/debug/hello` makes it a process of `red`.

use std::process::ExitCode;

use hello::{Hello, declaration};

fn main() -> ExitCode {
    sdk::program::run(Hello::default(), declaration())
}
