//! The router as the first process of its machine: which configuration it runs, and what happens when it cannot.
//!
//! | what happens | what follows |
//! | --- | --- |
//! | the saved configuration is wrong, or a port's card is missing | said on the console; the router starts without one |
//! | a process of the router dies | a crash record; procmgr starts it again, and says so on the console |
//! | procmgr fails or panics | a crash record on the disk; the machine starts anew, but waits in its first minute |
//! | the kernel panics | once the router was up, the machine starts anew after some seconds; before, it stands still |
//!
//! The wait in the first minute keeps a router that fails at once from starting again and again.

use std::fs;
use std::io::{self, BufRead};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use procmgr::class::PROCMGR;
use procmgr::pid1::{self, Buttons, MANAGEMENT_WORD, Machine, Report, since_start};
use procmgr::{Ending, ProcmgrError, RunOptions, crash};
use vr::config::{check, startup};

use crate::check::check_file;
use crate::up::OF_IMAGE;
use crate::{classes, demo};

/// The router's name: one runs on a machine of its own.
const NAME: &str = "default";
/// Its runtime folder.
const RUNTIME: &str = "/run/isthmus/default";
/// A configuration in which nothing runs, for a router to be repaired.
const NONE: &str = "/run/none.conf";
/// Word of the kernel's command line that asks for it.
const RESCUE: &str = "rescue";
/// A router that ran for so long starts anew by itself when it fails.
const SETTLED: Duration = Duration::from_secs(60);

/// Is the first process until the machine ends.
pub fn run() -> ExitCode {
    let report = Report;
    report.line(&format!("isthmus {}", env!("CARGO_PKG_VERSION")));
    let machine = pid1::boot(&report);
    let words = [RESCUE, MANAGEMENT_WORD];
    for word in machine.command_line.unknown(&words) {
        let known = words.map(|word| format!("isthmus.{word}")).join(" and ");
        report.line(&format!("{word} on the kernel's command line means nothing; there is {known}"));
    }
    let state = machine.disk.folder().map(|folder| folder.join(NAME));
    let outcome = guard(state.as_deref(), || run_router(&report, &machine, state.as_deref()));
    let ending = outcome.unwrap_or_else(|why| after_failure(&report, &why));
    match pid1::end(&report, &machine.disk, ending) {
        Ok(never) => match never {},
        Err(error) => {
            report.line(&format!("the kernel does not end the machine: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the router with the configuration of the disk, of the image, or the demo's; where it cannot be had, with none.
fn run_router(report: &Report, machine: &Machine, state: Option<&Path>) -> Result<Ending> {
    fs::write(NONE, "hostname isthmus\n").context(NONE)?;
    let file = choose(report, machine, state)?;
    match run_with(report, machine, state, &file) {
        Err(ProcmgrError::Start(reason)) if file != Path::new(NONE) => {
            report.line(&format!("{}: {reason}", file.display()));
            report.line("starting without a configuration; correct it, save, and `reload`");
            Ok(run_with(report, machine, state, Path::new(NONE))?)
        }
        result => Ok(result?),
    }
}

fn run_with(report: &Report, machine: &Machine, state: Option<&Path>, file: &Path) -> Result<Ending, ProcmgrError> {
    let host_name = host_name(file);
    report.line(&format!("starting the router {host_name} with {}", file.display()));
    if let Err(error) = pid1::set_host_name(&host_name) {
        report.line(&format!("the machine's name: {error}"));
    }
    let classes = || -> Result<_> {
        let file = file.to_str().context("a path that is not UTF-8")?;
        let mut table = classes::table(classes::config_args(file, Path::new(RUNTIME), state)?)?;
        table.push(classes::console(&machine.console)?);
        Ok(table)
    };
    procmgr::run(RunOptions {
        name: NAME.to_owned(),
        runtime_dir: PathBuf::from(RUNTIME),
        state_dir: state.map(Path::to_owned),
        classes: classes().map_err(|error| ProcmgrError::Start(format!("{error:#}")))?,
        executable: None,
        ephemeral: false,
        console: true,
        ready_fd: None,
        machine: Some(Buttons::find()),
        service_manager: None,
    })
}

/// As the configuration has it.
fn host_name(file: &Path) -> String {
    let named = check::check_file(file, &classes::declarations()).ok().and_then(|summary| summary.hostname);
    named.unwrap_or_else(|| "isthmus".to_owned())
}

/// The first configuration that is there; if it is wrong, none.
fn choose(report: &Report, machine: &Machine, state: Option<&Path>) -> Result<PathBuf> {
    let none = PathBuf::from(NONE);
    if machine.command_line.has(RESCUE) {
        report.line("isthmus.rescue: starting without a configuration");
        return Ok(none);
    }
    let saved = state.map(|folder| folder.join(startup::FILE));
    let mut found = saved.into_iter().chain([PathBuf::from(OF_IMAGE)]).filter(|file| file.exists());
    let Some(file) = found.next() else {
        return demo::write_config(Path::new("/run"));
    };
    match check_file(&file) {
        Ok(summary) => {
            report.line(&format!("{}: {summary}", file.display()));
            if let Some(other) = found.next() {
                report.line(&format!(
                    "not used: {}, the image's own; `erase startup-config` goes back to it",
                    other.display()
                ));
            }
            Ok(file)
        }
        Err(errors) => {
            errors.lines().for_each(|line| report.line(line));
            report.line("starting without a configuration; `show startup-config` shows the one that is wrong");
            Ok(none)
        }
    }
}

/// Does the router's work. An error or a panic of it is recorded, if there is a disk, and returned.
fn guard(state: Option<&Path>, work: impl FnOnce() -> Result<Ending>) -> Result<Ending, String> {
    let panicked = Arc::new(Mutex::new(String::new()));
    let (last, folder) = (Arc::clone(&panicked), state.map(Path::to_owned));
    // In the hook, since only there the place is known; and at once, since a second panic would end everything.
    panic::set_hook(Box::new(move |panic| {
        record(folder.as_deref(), &panic.to_string());
        *last.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(ending)) => Ok(ending),
        Ok(Err(error)) => {
            record(state, &format!("{error:#}"));
            Err(format!("{error:#}"))
        }
        Err(_) => Err(panicked.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    }
}

/// Writes a crash record, if there is a disk. One that cannot be written is on the console at least.
fn record(state: Option<&Path>, why: &str) {
    let Some(folder) = state else { return };
    let text = format!("isthmus {}, up for {:.1} s\n{why}", env!("CARGO_PKG_VERSION"), since_start().as_secs_f64());
    if let Err(error) = crash::record(folder, PROCMGR, &text) {
        Report.line(&format!("no crash record: {}: {error}", folder.display()));
    }
}

fn after_failure(report: &Report, why: &str) -> Ending {
    report.line(&format!("the router failed: {why}"));
    if since_start() >= SETTLED {
        return Ending::Reload;
    }
    report.line(&format!("it ran for less than {} s and does not start anew by itself", SETTLED.as_secs()));
    loop {
        report.line("type `reload` or `shutdown`");
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            // Nobody can say anything.
            Ok(0) | Err(_) => return Ending::Stop,
            Ok(_) => {}
        }
        match line.trim() {
            "reload" => return Ending::Reload,
            "shutdown" => return Ending::Stop,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_an_error_of_procmgr_leave_a_crash_record_each_and_say_why() {
        let state = tempfile::tempdir().unwrap();
        let panicked = guard(Some(state.path()), || panic!("a table without its row")).unwrap_err();
        let failed = guard(Some(state.path()), || anyhow::bail!("no event loop")).unwrap_err();
        drop(panic::take_hook());
        assert!(panicked.contains("init.rs:") && panicked.contains("a table without its row"), "{panicked}");
        assert_eq!(failed, "no event loop");
        let records = fs::read_dir(state.path().join("crash")).unwrap().map(|entry| entry.unwrap().path());
        let texts: Vec<String> = records.map(|path| fs::read_to_string(path).unwrap()).collect();
        for why in ["a table without its row", "no event loop"] {
            let recorded = |text: &&String| text.contains("Z procmgr\nisthmus ") && text.contains(why);
            assert_eq!(texts.iter().filter(recorded).count(), 1, "{texts:?}");
        }
        assert_eq!(guard(None, || Ok(Ending::Stop)), Ok(Ending::Stop));
        drop(panic::take_hook());
    }
}
