//! The prompt: line editing, history, completion of commands and tables.

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};

use vr_api::config::{OperatorReply, OperatorRequest};

use super::command::{COMMANDS, execute, operator};
use super::session::Session;
use super::show::tables;
use super::{ShellError, ShellOptions};

/// Reads and executes lines until `exit` or end of file. A command that fails says why and the prompt returns; a lost
/// router ends the shell. The prompt is the router's host name, or `name` where it has none.
pub fn interactive(options: &ShellOptions, name: &str) -> Result<(), ShellError> {
    let mut session = Session::attach(options)?;
    let mut prompt = host_name(&mut session).unwrap_or_else(|| name.to_owned());
    let mut editor = Editor::<Words, _>::new().map_err(terminal)?;
    editor.set_helper(Some(Words { lines: lines(options) }));
    loop {
        let line = match editor.readline(&format!("{prompt}# ")) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(terminal(error)),
        };
        if matches!(line.trim(), "exit" | "quit") {
            return Ok(());
        }
        editor.add_history_entry(line.trim()).map_err(terminal)?;
        match execute(&mut session, options, &line) {
            Ok(()) => {}
            Err(ShellError::Link(error)) => return Err(ShellError::Link(error)),
            Err(error) => eprintln!("% {error}"),
        }
        if line.trim_start().starts_with("configure") {
            prompt = host_name(&mut session).unwrap_or_else(|| name.to_owned());
        }
    }
}

/// As the configuration in force has it. A `config` that does not answer costs its prompt, not the shell.
fn host_name(session: &mut Session) -> Option<String> {
    let Ok(OperatorReply::RunningConfig { tree, .. }) = operator(session, &OperatorRequest::RunningConfig) else {
        return None;
    };
    tree.iter().find(|node| node.words.first().is_some_and(|word| word == "hostname"))?.words.get(1).cloned()
}

fn terminal(error: ReadlineError) -> ShellError {
    ShellError::Terminal(std::io::Error::other(error))
}

/// Every line that can be typed as it stands.
fn lines(options: &ShellOptions) -> Vec<String> {
    let commands = COMMANDS.iter().map(|(word, _, _)| (*word).to_owned());
    commands.chain(tables(options).iter().map(|table| format!("show {}", table.words))).collect()
}

#[derive(Helper, Hinter, Highlighter, Validator)]
struct Words {
    lines: Vec<String>,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let next_word = |line: &String| {
            let rest = line.strip_prefix(typed.get(..start)?)?;
            let word = rest.split(' ').next()?;
            word.starts_with(typed.get(start..)?).then(|| format!("{word} "))
        };
        let mut words: Vec<String> = self.lines.iter().filter_map(next_word).collect();
        words.sort();
        words.dedup();
        Ok((start, words))
    }
}
