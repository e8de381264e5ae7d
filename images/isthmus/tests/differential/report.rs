//! The transcripts of a case: do they say the same, and what does the page say of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cases::Case;
use crate::column::Kind;
use crate::differences::{LISTED, Listed};

/// A case's transcripts, by column.
pub type Transcripts<'a> = BTreeMap<Kind, &'a [String]>;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Steps that the judge has.
    pub observations: usize,
    /// Differences that are listed, as indices of [`LISTED`], by column.
    pub listed: BTreeMap<Kind, Vec<usize>>,
    /// Differences that are not.
    unlisted: Vec<Difference>,
    /// Listed differences that do not show.
    stale: Vec<usize>,
}

#[derive(Debug)]
struct Difference {
    column: Kind,
    judge: String,
    found: String,
}

impl Verdict {
    /// Whether the case holds.
    pub fn passed(&self) -> bool {
        self.unlisted.is_empty() && self.stale.is_empty()
    }

    /// For whoever mends it: what differs, and the transcripts.
    pub fn explain(&self, transcripts: &Transcripts<'_>) -> String {
        let mut text = String::new();
        for Difference { column, judge, found } in &self.unlisted {
            let _ = writeln!(text, "{column} differs\n  wanted: {judge}\n  found:  {found}");
        }
        for index in &self.stale {
            let _ = writeln!(text, "listed, and not seen: {:?}", LISTED[*index]);
        }
        for (kind, transcript) in transcripts {
            let _ = writeln!(text, "\n{kind}:");
            for line in *transcript {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

/// Compares a case's transcripts with the judge's; without one the first two with each other.
pub fn compare(case: &str, transcripts: &Transcripts<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((judge, wanted)) = transcripts.first_key_value() else { return verdict };
    verdict.observations = wanted.len();
    let has_judge = *judge == Kind::Kernel;
    let mut seen = Vec::new();
    for (column, found) in transcripts.iter().skip(1) {
        for line in 0..wanted.len().max(found.len()) {
            let at = |transcript: &[String]| transcript.get(line).cloned().unwrap_or_else(|| "(nothing)".to_owned());
            let (judge, found) = (at(wanted), at(found));
            if judge == found {
                continue;
            }
            let is_this = |listed: &Listed| listed.is(case, *column, &judge, &found);
            match LISTED.iter().position(is_this) {
                Some(index) => {
                    seen.push((*column, index));
                    let known = verdict.listed.entry(*column).or_default();
                    if !known.contains(&index) {
                        known.push(index);
                    }
                }
                // Both of ours may differ from a judge that is not there.
                None if !has_judge && LISTED.iter().any(|listed| listed.case == case) => {}
                None => verdict.unlisted.push(Difference { column: *column, judge, found }),
            }
        }
    }
    if has_judge {
        let stale = |(index, listed): &(usize, &Listed)| {
            listed.case == case && listed.columns.iter().any(|column| !seen.contains(&(*column, *index)))
        };
        verdict.stale = LISTED.iter().enumerate().filter(stale).map(|(index, _)| index).collect();
    }
    verdict
}

/// docs/differential.md.
pub fn page(rows: &[(Case, Verdict)]) -> String {
    let mut page = HEAD.to_owned();
    let mut room = "";
    for (case, verdict) in rows {
        if case.room != room {
            room = case.room;
            let _ = write!(page, "\n## {room}\n\n{HEADING}");
        }
        let cell = |column: Kind| match verdict.listed.get(&column) {
            None => "same".to_owned(),
            Some(listed) => {
                let numbers: Vec<String> =
                    listed.iter().map(|index| format!("[{}](#differences)", index + 1)).collect();
                format!("differs: {}", numbers.join(", "))
            }
        };
        let name = case.name.replace('_', " ");
        let cells = [Kind::Channel, Kind::Stack, Kind::LibcChannel, Kind::LibcStack].map(cell).join(" | ");
        let _ = writeln!(page, "| {name} | {} | {cells} |", verdict.observations);
    }
    let total: usize = rows.iter().map(|(_, verdict)| verdict.observations).sum();
    let _ = write!(page, "\n{} cases, {total} observations in each column.\n\n## Differences\n\n", rows.len());
    if LISTED.is_empty() {
        page.push_str("None.\n");
    }
    for (index, listed) in LISTED.iter().enumerate() {
        let columns: Vec<String> = listed.columns.iter().map(Kind::to_string).collect();
        let _ = writeln!(
            page,
            "{}. {}, {}: {}\n   - Linux: `{}`\n   - here: `{}`",
            index + 1,
            listed.case.replace('_', " "),
            columns.join("; "),
            listed.reason,
            listed.judge,
            listed.found
        );
    }
    page
}

const HEADING: &str = "\
| case | observations | channel | stack | libc, channel | libc, stack |
| --- | --- | --- | --- | --- | --- |
";

const HEAD: &str = "\
# The same program on every path

One set of socket programs runs over the inter-VR channel, over Isthmus's own stack across a cable between two ports, and
over the Linux kernel's sockets between two network namespaces. All that a program can observe is compared, step by step:
return values, errors, byte counts, order, addresses, TTL and TOS, readiness as poll(2) says it. The kernel is the judge.

In the columns \"channel\" and \"stack\" the program calls the client socket library. In those with \"libc\" it is the
kernel's own program, which calls libc, put on our sockets by `isthmus run --preload` ([how](unmodified-programs.md)).

This page is written by the suite itself (`images/isthmus/tests/differential`) and checked by it; do not edit it.

    cargo test -p isthmus --test differential                    # plays and compares; fails if this page is stale
    ISTHMUS_BLESS=1 cargo test -p isthmus --test differential    # writes this page anew, to be reviewed

Beside that link there is another one, a wire in each column, which the cases of \"Two links\" are about. Listeners set
SO_REUSEADDR where a case does not say otherwise, as servers do; all else is left as each system has it by default.

An observation is one step of one process. \"Same\": every observation is that of the kernel.
";
