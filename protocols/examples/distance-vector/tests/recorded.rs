//! The steps of docs/writing-a-protocol.md as recorded cases. An update is written `update NETWORK METRIC, …`.
//!
//! `ISTHMUS_REWRITE=1 cargo test -p distance-vector` writes what came out; review the difference like code.

use distance_vector::DistanceVector;
use distance_vector::packet::{Entry, decode, encode};
use sdk::recorded::{Codec, check};

#[test]
fn every_step_gives_what_was_recorded() {
    let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let codec = Codec { encode: from_text, decode: to_text };
    check(&cases, DistanceVector::default, codec).unwrap_or_else(|difference| panic!("{difference}"));
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
