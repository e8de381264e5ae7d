//! The steps of docs/writing-a-protocol.md as recorded cases. An update is written `update NETWORK METRIC, …`.
//!
//! `ISTHMUS_REWRITE=1 cargo test -p distance-vector` writes what came out; review the difference like code.

use distance_vector::packet::{Entry, decode, encode};
use distance_vector::{DistanceVector, Step};
use sdk::recorded::{Codec, check_case};

/// Plays the case of a step to the protocol as it is after that step.
fn check(case: &str, step: Step) {
    let case = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case);
    let codec = Codec { encode: from_text, decode: to_text };
    check_case(&case, DistanceVector::up_to(step), codec).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn step_1_learns_from_a_neighbor() {
    check("1-learns-from-a-neighbor", Step::Learn);
}

#[test]
fn step_2_brings_the_nearest_to_the_rib() {
    check("2-brings-the-nearest-to-the-rib", Step::Install);
}

#[test]
fn step_3_loses_what_is_not_heard_again() {
    check("3-loses-what-is-not-heard-again", Step::Lose);
}

#[test]
fn step_4_says_no_to_whom_it_believes() {
    check("4-says-no-to-whom-it-believes", Step::SayNo);
}

/// Bytes of an update, or, for a test of garbage, of any other text.
fn from_text(text: &str) -> Result<Vec<u8>, String> {
    let Some(entries) = text.strip_prefix("update") else { return Ok(text.as_bytes().to_vec()) };
    let entry = |text: &str| {
        let (network, metric) = text.trim().split_once(' ').ok_or_else(|| format!("{text}: network and metric"))?;
        let network = network.parse().map_err(|error| format!("{network}: {error}"))?;
        Ok(Entry { network, metric: metric.parse().map_err(|error| format!("{metric}: {error}"))? })
    };
    let entries = entries.split(',').filter(|text| !text.trim().is_empty());
    Ok(encode(&entries.map(entry).collect::<Result<Vec<_>, String>>()?))
}

fn to_text(bytes: &[u8]) -> String {
    let entry = |entry: Entry| format!(" {} {}", entry.network, entry.metric);
    let entries: Vec<String> = decode(bytes).expect("an update").into_iter().map(entry).collect();
    format!("update{}", entries.join(","))
}
