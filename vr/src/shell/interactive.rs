//! The prompt: line editing, history, completion of commands and tables.

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};

use super::command::{COMMANDS, execute};
use super::session::Session;
use super::show::tables;
use super::{ShellError, ShellOptions};

/// Reads and executes lines until `exit` or end of file. A command that fails says why and the prompt returns; a lost
/// router ends the shell.
pub fn interactive(options: &ShellOptions, prompt: &str) -> Result<(), ShellError> {
    let mut session = Session::attach(options)?;
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
    }
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
