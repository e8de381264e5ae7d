//! The program: `isthmus run --vr red -- target/debug/distance-vector` makes it a process of `red`.

use std::process::ExitCode;

use distance_vector::{DistanceVector, declaration};

fn main() -> ExitCode {
    sdk::program::run(DistanceVector::default(), declaration())
}
