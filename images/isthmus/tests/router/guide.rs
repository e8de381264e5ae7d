//! docs/writing-a-protocol.md, typed as it stands there: what it shows is what one sees.
//!
//! Blocks marked `sh` are typed line by line. In blocks marked `console` a line `$ COMMAND` is typed, and what follows it
//! must come; where it takes a moment, the command is typed again. Times are any times.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::wait_until;

const GUIDE: &str = include_str!("../../../../docs/writing-a-protocol.md");

/// Something typed, and what the page shows behind it.
#[derive(Debug)]
struct Typed {
    command: String,
    /// `None`: whatever it says, as long as it succeeds.
    shown: Option<Vec<String>>,
}

/// What is typed in a section, which is named by its heading.
fn section(heading: &str) -> Vec<Typed> {
    let text = GUIDE.split("\n## ").find(|section| section.starts_with(heading)).expect("the section");
    let mut typed: Vec<Typed> = Vec::new();
    // A block begins and ends with a fence: every other part is one.
    for block in text.split("```").skip(1).step_by(2) {
        let (kind, lines) = block.split_once('\n').unwrap();
        for line in lines.lines() {
            match (kind, line.strip_prefix("$ ")) {
                ("sh", _) => typed.push(Typed { command: line.to_owned(), shown: None }),
                ("console", Some(command)) => {
                    typed.push(Typed { command: command.to_owned(), shown: Some(Vec::new()) });
                }
                ("console", None) => typed.last_mut().unwrap().shown.as_mut().unwrap().push(line.to_owned()),
                _ => {}
            }
        }
    }
    assert!(!typed.is_empty(), "nothing is typed in {heading}");
    typed
}

/// Somebody's terminal: a folder of theirs, and the executables on the path.
struct Terminal {
    folder: PathBuf,
    routers: TempDir,
}

impl Terminal {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), routers: tempfile::tempdir().unwrap() }
    }

    /// Types a command: whether it succeeded, and all that it said.
    fn type_command(&self, line: &str) -> (bool, String) {
        let executables = executables();
        let path = format!("{}:{}", executables.display(), std::env::var("PATH").unwrap());
        // `target/debug` is where the page has built; here it may be another folder.
        let line = line.replace(" target/debug/", &format!(" {}/", executables.display()));
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", &format!("exec 2>&1; {line}")]).current_dir(&self.folder).stdin(Stdio::null());
        let set_by_cargo =
            |key: &String| key.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&**key);
        std::env::vars().map(|(key, _)| key).filter(set_by_cargo).for_each(|key| _ = shell.env_remove(key));
        shell.env("PATH", path).env("ISTHMUS_DIR", self.routers.path()).env("CARGO_NET_OFFLINE", "true");
        // What runs on in the background has what is said here too: a file has no end to be waited for.
        let said = tempfile::NamedTempFile::new().unwrap();
        let status = shell.stdout(said.reopen().unwrap()).status().unwrap();
        (status.success(), std::fs::read_to_string(said.path()).unwrap())
    }

    fn follow(&self, Typed { command, shown }: &Typed) {
        let Some(shown) = shown else {
            let (succeeded, said) = self.type_command(command);
            return assert!(succeeded, "$ {command}\n{said}");
        };
        let mut last = String::new();
        let seen = wait_until(|| {
            let (_, said) = self.type_command(command);
            last = said;
            (comparable(last.lines()) == comparable(shown.iter().map(String::as_str))).then_some(())
        });
        assert!(seen.is_some(), "the page shows:\n$ {command}\n{}\nand there came:\n{last}", shown.join("\n"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.type_command("isthmus down");
    }
}

/// Where this build's executables are.
fn executables() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_isthmus")).parent().unwrap().to_owned()
}

/// Lines as words, without times, and without what programs in the background log.
fn comparable<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let is_time = |word: &str| word.trim_end_matches('s').parse::<f64>().is_ok_and(|_| word.contains('.'));
    let word = |word: &str| if is_time(word) { "TIME".to_owned() } else { word.to_owned() };
    let words = lines.filter(|line| !line.is_empty()).map(|line| line.split_whitespace().map(word).collect());
    words.collect()
}

#[test]
fn the_five_commands_of_the_guide_and_what_follows_show_what_the_page_shows() {
    let folder = tempfile::tempdir().unwrap();
    let typed = section("From an empty folder");
    let (commands, what_follows) = typed.split_at(5);
    assert!(
        commands.iter().all(|typed| typed.shown.is_none()) && what_follows.iter().all(|typed| typed.shown.is_some())
    );
    let terminal = Terminal::new(folder.path());
    commands.iter().for_each(|typed| terminal.follow(typed));
    // What the fifth one shows stands in a block of its own.
    let shown = GUIDE.split("```").find(|block| block.starts_with("\nvr    interface  neighbor")).unwrap();
    let shown = shown.trim().lines().map(str::to_owned).collect();
    terminal.follow(&Typed { command: commands[4].command.clone(), shown: Some(shown) });
    what_follows.iter().for_each(|typed| terminal.follow(typed));
}

#[test]
fn the_guides_protocol_is_less_than_400_lines() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocols/examples/distance-vector/src");
    let files = std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path());
    let lines: usize = files.map(|file| std::fs::read_to_string(file).unwrap().lines().count()).sum();
    assert!(lines < 400, "{lines} lines");
}

#[test]
fn each_step_of_the_guides_protocol_shows_what_the_page_shows() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let terminal = Terminal::new(&repository);
    section("A distance-vector protocol").iter().for_each(|typed| terminal.follow(typed));
}
