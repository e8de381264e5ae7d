//! `docs/rfc2328.md`: each section of RFC 2328 with behavior, and the tests that are named after it.
//!
//! A test named `section_9_4_…` or `appendix_d_3_…` (in the crate itself `rfc_2328_section_9_4_…`) is one of that section.
//! `ISTHMUS_REWRITE=1 cargo test -p isthmus-ospf --test ospf coverage` writes the page anew, to be reviewed like code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Sections 7 to 16 and the appendices: number, title, and why there is no test where there is none.
const SECTIONS: [(&str, &str, &str); 104] = [
    ("7.1", "The Hello Protocol", ""),
    ("7.2", "The Synchronization of Databases", ""),
    ("7.3", "The Designated Router", ""),
    ("7.4", "The Backup Designated Router", ""),
    ("7.5", "The graph of adjacencies", ""),
    ("8.1", "Sending protocol packets", ""),
    ("8.2", "Receiving protocol packets", ""),
    ("9.1", "Interface states", ""),
    ("9.2", "Events causing interface state changes", ""),
    ("9.3", "The Interface state machine", ""),
    ("9.4", "Electing the Designated Router", ""),
    ("9.5", "Sending Hello packets", ""),
    ("9.5.1", "Sending Hello packets on NBMA networks", NBMA),
    ("10.1", "Neighbor states", ""),
    ("10.2", "Events causing neighbor state changes", ""),
    ("10.3", "The Neighbor state machine", ""),
    ("10.4", "Whether to become adjacent", ""),
    ("10.5", "Receiving Hello Packets", ""),
    ("10.6", "Receiving Database Description Packets", ""),
    ("10.7", "Receiving Link State Request Packets", ""),
    ("10.8", "Sending Database Description Packets", ""),
    ("10.9", "Sending Link State Request Packets", ""),
    ("10.10", "An Example", ""),
    ("11", "The Routing Table Structure", ""),
    ("11.1", "Routing table lookup", ""),
    ("11.2", "Sample routing table, without areas", ""),
    ("11.3", "Sample routing table, with areas", ""),
    ("12.1.1", "LS age", ""),
    ("12.1.2", "Options", ""),
    ("12.1.3", "LS type", ""),
    ("12.1.4", "Link State ID", ""),
    ("12.1.5", "Advertising Router", ""),
    ("12.1.6", "LS sequence number", ""),
    ("12.1.7", "LS checksum", ""),
    ("12.2", "The link state database", ""),
    ("12.3", "Representation of TOS", ""),
    ("12.4", "Originating LSAs", ""),
    ("12.4.1", "Router-LSAs", ""),
    ("12.4.1.1", "Describing point-to-point interfaces", ""),
    ("12.4.1.2", "Describing broadcast and NBMA interfaces", ""),
    ("12.4.1.3", "Describing virtual links", VIRTUAL),
    ("12.4.1.4", "Describing Point-to-MultiPoint interfaces", NBMA),
    ("12.4.1.5", "Examples of router-LSAs", ""),
    ("12.4.2", "Network-LSAs", ""),
    ("12.4.2.1", "Examples of network-LSAs", ""),
    ("12.4.3", "Summary-LSAs", ""),
    ("12.4.3.1", "Originating summary-LSAs into stub areas", ""),
    ("12.4.3.2", "Examples of summary-LSAs", ""),
    ("12.4.4", "AS-external-LSAs", ""),
    ("12.4.4.1", "Examples of AS-external-LSAs", ""),
    ("13", "The Flooding Procedure", ""),
    ("13.1", "Determining which LSA is newer", ""),
    ("13.2", "Installing LSAs in the database", ""),
    ("13.3", "Next step in the flooding procedure", ""),
    ("13.4", "Receiving self-originated LSAs", ""),
    ("13.5", "Sending Link State Acknowledgment packets", ""),
    ("13.6", "Retransmitting LSAs", ""),
    ("13.7", "Receiving link state acknowledgments", ""),
    ("14", "Aging The Link State Database", ""),
    ("14.1", "Premature aging of LSAs", ""),
    ("15", "Virtual Links", ""),
    ("16", "Calculation of the routing table", ""),
    ("16.1", "Calculating the shortest-path tree for an area", ""),
    ("16.1.1", "The next hop calculation", ""),
    ("16.2", "Calculating the inter-area routes", ""),
    ("16.3", "Examining transit areas' summary-LSAs", VIRTUAL),
    ("16.4", "Calculating AS external routes", ""),
    ("16.4.1", "External path preferences", ""),
    ("16.5", "Incremental updates -- summary-LSAs", ""),
    ("16.6", "Incremental updates -- AS-external-LSAs", ""),
    ("16.7", "Events generated as a result of routing table changes", ""),
    ("16.8", "Equal-cost multipath", ""),
    ("A.1", "Encapsulation of OSPF packets", ""),
    ("A.2", "The Options field", ""),
    ("A.3.1", "The OSPF packet header", ""),
    ("A.3.2", "The Hello packet", ""),
    ("A.3.3", "The Database Description packet", ""),
    ("A.3.4", "The Link State Request packet", ""),
    ("A.3.5", "The Link State Update packet", ""),
    ("A.3.6", "The Link State Acknowledgment packet", ""),
    ("A.4.1", "The LSA header", ""),
    ("A.4.2", "Router-LSAs", ""),
    ("A.4.3", "Network-LSAs", ""),
    ("A.4.4", "Summary-LSAs", ""),
    ("A.4.5", "AS-external-LSAs", ""),
    ("B", "Architectural Constants", ""),
    ("C.1", "Global parameters", ""),
    ("C.2", "Area parameters", ""),
    ("C.3", "Router interface parameters", ""),
    ("C.4", "Virtual link parameters", VIRTUAL),
    ("C.5", "NBMA network parameters", NBMA),
    ("C.6", "Point-to-MultiPoint network parameters", NBMA),
    ("C.7", "Host route parameters", ""),
    ("D", "Authentication", ""),
    ("D.1", "Null authentication", ""),
    ("D.2", "Simple password authentication", ""),
    ("D.3", "Cryptographic authentication", ""),
    ("D.4.1", "Generating Null authentication", ""),
    ("D.4.2", "Generating Simple password authentication", ""),
    ("D.4.3", "Generating Cryptographic authentication", ""),
    ("D.5", "Message verification", ""),
    ("E", "An algorithm for assigning Link State IDs", ""),
    ("F", "Multiple interfaces to the same network/subnet", ""),
    ("G", "Differences from RFC 2178", "what is different is in the sections before; of itself it has no behavior"),
];

const NBMA: &str =
    "NBMA and point-to-multipoint networks are refused (`what_this_router_does_not_do_is_refused_with_a_clear_word`)";
const VIRTUAL: &str = "virtual links are refused (section 15)";

const PAGE: &str = "\
# RFC 2328, section by section

Every section with behavior and the tests that are named after it: of the core, with an explicit clock, in
`protocols/ospf/src` and `protocols/ospf/tests`. `cargo test -p isthmus-ospf --test ospf coverage` checks this page;
`protocols/ospf/tests/ospf/coverage.rs` says how it is written anew. Where this router deviates:
[architecture](architecture.md#deviations-from-rfcs). Sections 11.2, 11.3 and the examples of section 12.4 are the RFC's
own sample network, with its tables as the oracle.

Beside these stand routers of others: `images/isthmus/tests/router/ospf_matrix.rs` has every network, area and authentication that
BIRD and FRR have, each with each, and compares databases and tables with theirs; `ospf_refused.rs` has each field that must agree
and does not. The ospfd of FRR 8.4 has no HMAC-SHA, and BIRD 2 no `mtu-ignore`: there the other one alone is the judge.

| section | title | tests |
| --- | --- | --- |
";

/// Names of functions in the sources of this crate, by the section that they are of.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(entry).unwrap();
                // Only what the test runner runs.
                for test in text.split("#[test]").skip(1) {
                    let name = test.split_once("fn ").and_then(|(_, rest)| rest.split('(').next()).unwrap_or_default();
                    if let Some(section) = section_of(name) {
                        tests.entry(section).or_default().push(name.to_owned());
                    }
                }
            }
        }
    }
    tests.values_mut().for_each(|names| names.sort());
    tests
}

/// `section_9_4_the_…` is of 9.4, `appendix_d_3_…` of D.3.
fn section_of(name: &str) -> Option<String> {
    let name = name.strip_prefix("rfc_2328_").unwrap_or(name);
    let is_number = |word: &&str| !word.is_empty() && word.chars().all(|digit| digit.is_ascii_digit());
    let (letter, rest) = match (name.strip_prefix("section_"), name.strip_prefix("appendix_")) {
        (Some(rest), _) => (None, rest),
        (None, Some(rest)) => (Some(rest.split('_').next()?.to_uppercase()), rest.split_once('_')?.1),
        (None, None) => return None,
    };
    let numbers = rest.split('_').take_while(is_number).map(str::to_owned);
    Some(letter.into_iter().chain(numbers).collect::<Vec<_>>().join("."))
}

#[test]
fn every_section_with_behavior_has_a_test_and_the_page_says_which() {
    let mut tests = tests();
    let mut page = PAGE.to_owned();
    for (section, title, why_not) in SECTIONS {
        let names = tests.remove(section).unwrap_or_default();
        assert_eq!(names.is_empty(), !why_not.is_empty(), "section {section}: {names:?}, {why_not:?}");
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let says = if names.is_empty() { why_not.to_owned() } else { names.join(", ") };
        writeln!(page, "| {section} | {title} | {says} |").unwrap();
    }
    // Section 3.6, of what sections 12 and 16 leave out.
    tests.retain(|section, _| !section.starts_with("3."));
    assert!(tests.is_empty(), "tests of sections that are none: {tests:?}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rfc2328.md");
    if std::env::var_os("ISTHMUS_REWRITE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written.lines().collect::<Vec<_>>(), page.lines().collect::<Vec<_>>());
}
