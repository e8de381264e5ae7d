//! The program: `isthmus run --vr red -- target/debug/distance-vector` makes it a process of `red`. A number behind it says
//! how many steps of the guide it goes; all four unless given.

use std::process::ExitCode;

use distance_vector::{DistanceVector, Step, declaration};

fn main() -> ExitCode {
    let step = match std::env::args().nth(1).as_deref() {
        Some("1") => Step::Learn,
        Some("2") => Step::Install,
        Some("3") => Step::Lose,
        Some("4") | None => Step::SayNo,
        Some(other) => {
            eprintln!("distance-vector: `{other}` is no step: 1, 2, 3 or 4");
            return ExitCode::from(2);
        }
    };
    sdk::program::run(DistanceVector::up_to(step), declaration())
}
