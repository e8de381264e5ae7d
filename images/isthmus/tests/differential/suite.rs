//! Plays the cases in all columns at once, and says what came of it as `cargo test` says it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use crate::cases::{self, Case};
use crate::column::{Column, Kind};
use crate::report::{self, Transcripts, Verdict};
use crate::scene::Scene;
use testing::namespace::can_run;
use testing::preload;

/// What the kernel's column is skipped as.
const JUDGE: &str = "differential::kernel_column";

/// Plays the cases whose name has one of `filters` in it, all if there is none. Whether nothing failed.
pub fn run(filters: &[String]) -> bool {
    let is_wanted =
        |case: &&Case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter.as_str()));
    let wanted: Vec<Case> = cases::all().iter().filter(is_wanted).copied().collect();
    preload::build_library();
    let mut kinds = vec![Kind::Channel, Kind::Stack, Kind::LibcChannel, Kind::LibcStack];
    let has_judge = can_run(JUDGE, &["sysctl"]);
    if has_judge {
        kinds.push(Kind::Kernel);
    }
    println!("\nrunning {} tests", wanted.len());
    let columns = thread::scope(|scope| {
        let wanted = &wanted;
        let players: Vec<_> = kinds.iter().map(|kind| (*kind, scope.spawn(move || play(*kind, wanted)))).collect();
        let finished = players
            .into_iter()
            .map(|(kind, player)| (kind, player.join().unwrap_or_else(|panic| resume_unwind(panic))));
        finished.collect::<BTreeMap<Kind, Vec<Vec<String>>>>()
    });

    let (mut failures, mut rows) = (Vec::new(), Vec::new());
    for (index, case) in wanted.iter().enumerate() {
        let transcripts: Transcripts =
            columns.iter().map(|(kind, transcripts)| (*kind, transcripts[index].as_slice())).collect();
        let verdict = report::compare(case.name, &transcripts);
        println!("test {} ... {}", case.name, if verdict.passed() { "ok" } else { "FAILED" });
        if !verdict.passed() {
            failures.push((case.name, verdict.explain(&transcripts)));
        }
        rows.push((*case, verdict));
    }
    let mut tests = wanted.len();
    if has_judge && filters.is_empty() {
        tests += 1;
        let page = check_page(&rows);
        println!("test {PAGE} ... {}", if page.is_ok() { "ok" } else { "FAILED" });
        failures.extend(page.err().map(|stale| (PAGE, stale)));
    }
    for (name, why) in &failures {
        println!("\n---- {name} ----\n{why}");
    }
    let (failed, word) = (failures.len(), if failures.is_empty() { "ok" } else { "FAILED" });
    println!(
        "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out\n",
        tests - failed,
        cases::all().len() - wanted.len()
    );
    failures.is_empty()
}

/// Plays cases in a column; their transcripts.
fn play(kind: Kind, cases: &[Case]) -> Vec<Vec<String>> {
    let column = Column::start(kind);
    let scene = Scene::new(&column);
    let (mut red, mut blue) = scene.two();
    cases::connection(&mut red, &mut blue);
    column.assert_carries();
    drop((red, blue));
    let transcripts = cases.iter().map(|case| play_one(&column, case)).collect();
    column.assert_unharmed();
    transcripts
}

fn play_one(column: &Column, case: &Case) -> Vec<String> {
    let scene = Scene::new(column);
    let played = catch_unwind(AssertUnwindSafe(|| (case.play)(&scene)));
    let mut transcript = scene.into_transcript();
    if played.is_err() {
        transcript.push("the case panicked".to_owned());
    }
    transcript
}

/// The test that the page is what the cases show.
const PAGE: &str = "the_page_shows_what_the_cases_show";

fn check_page(rows: &[(Case, Verdict)]) -> Result<(), String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/differential.md");
    let page = report::page(rows);
    if std::env::var_os("ISTHMUS_BLESS").is_some() {
        std::fs::write(path, &page).map_err(|error| format!("{path}: {error}"))?;
    }
    let found = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    if found == page { Ok(()) } else { Err(format!("{path} is stale; ISTHMUS_BLESS=1 writes it anew")) }
}
