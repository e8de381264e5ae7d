//! The core by itself: what goes in and what must come out, as text in `tests/cases`.
//!
//! `ISTHMUS_REWRITE=1 cargo test` writes what came out; review the difference like code.

use hello::Hello;
use sdk::recorded::{Codec, check};

#[test]
fn every_recorded_case_gives_what_was_recorded() {
    let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    // A greeting is text as it is.
    let codec = Codec {
        encode: |text| Ok(text.as_bytes().to_vec()),
        decode: |bytes| String::from_utf8_lossy(bytes).into_owned(),
    };
    check(&cases, Hello::default, codec).unwrap_or_else(|difference| panic!("{difference}"));
}
