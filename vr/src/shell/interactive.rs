//! The prompt: line editing, history, completion, and help on `?` as IOS gives it, without Enter.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler, Helper,
    Highlighter, Hinter, KeyEvent, RepeatCount, Validator,
};

use vr_api::config::{OperatorReply, OperatorRequest};

use super::command::{Next, operator};
use super::forms::Action;
use super::grammar::{self, Form};
use super::known::Known;
use super::session::Session;
use super::{ShellError, ShellOptions};

type Names = Rc<RefCell<Vec<String>>>;
type Forms = Rc<RefCell<Vec<Form<Action>>>>;

/// Reads and executes lines until `exit` or end of file. A command that fails says why and the prompt returns; a lost
/// router ends the shell. The prompt is the router's host name, or `name` where it has none.
pub fn interactive(options: &ShellOptions, name: &str) -> Result<(), ShellError> {
    let mut session = Session::attach(options)?.interruptible()?;
    let mut known = Known::new(options);
    known.refresh(&mut session);
    let mut reader = Reader::new()?;
    let mut prompt = prompt(&mut session, name);
    loop {
        reader.forms.replace(known.forms().to_vec());
        reader.vrs.replace(session.vrs()?.into_iter().map(|(name, ..)| name.to_string()).collect());
        let (line, wish) = match reader.read(&prompt)? {
            Read::Line(line, wish) => (line, wish),
            Read::Nothing => continue,
            Read::End => return Ok(()),
        };
        // One that was typed at the prompt, or between two commands, ends nothing.
        session.interrupts().map_or(Ok(false), |interrupts| interrupts.look())?;
        let result = match wish {
            Wish::Execute => known.execute(&mut session, &line),
            Wish::Help => known.help(&mut session, &line).map(|()| Next::Line),
        };
        match result {
            Ok(Next::Line) => {}
            Ok(Next::Exit) => return Ok(()),
            Err(ShellError::Link(error)) => return Err(ShellError::Link(error)),
            Err(ShellError::Line(wrong)) => {
                eprintln!("{}\n% {}{}", wrong.carets(prompt.chars().count()), wrong.problem, wrong.expectation());
            }
            Err(error) => eprintln!("% {error}"),
        }
        // Its shortest form.
        if line.trim_start().starts_with("conf") {
            prompt = self::prompt(&mut session, name);
        }
    }
}

/// `edge# `, by the configuration in force. A `config` that does not answer costs its prompt, not the shell.
fn prompt(session: &mut Session, name: &str) -> String {
    let tree = match operator(session, &OperatorRequest::RunningConfig) {
        Ok(OperatorReply::RunningConfig { tree, .. }) => tree,
        Ok(_) | Err(_) => Vec::new(),
    };
    let hostname = tree.iter().find(|line| line.starts_with("hostname")).and_then(|line| line.words.get(1));
    format!("{}# ", hostname.map_or(name, String::as_str))
}

/// What the operator typed.
enum Read {
    /// A line, and what is to be done with it.
    Line(String, Wish),
    /// Ctrl-C: the line is given up.
    Nothing,
    /// Ctrl-D.
    End,
}

/// What is to be done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Execute,
    /// To say what may follow; the line is then edited further.
    Help,
}

struct Reader {
    editor: Editor<Words, DefaultHistory>,
    /// Set by the key `?`.
    help_wanted: Arc<AtomicBool>,
    /// The line that was asked about.
    begun: String,
    /// Names of all VRs, for completion.
    vrs: Names,
    /// What may be typed, for completion.
    forms: Forms,
}

impl Reader {
    fn new() -> Result<Self, ShellError> {
        let config = Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Editor::<Words, _>::with_config(config).map_err(terminal)?;
        let (vrs, forms, help_wanted) = (Names::default(), Forms::default(), Arc::new(AtomicBool::new(false)));
        editor.set_helper(Some(Words { forms: forms.clone(), vrs: vrs.clone() }));
        let key = EventHandler::Conditional(Box::new(QuestionMark(help_wanted.clone())));
        editor.bind_sequence(KeyEvent::from('?'), key);
        Ok(Self { editor, help_wanted, begun: String::new(), vrs, forms })
    }

    fn read(&mut self, prompt: &str) -> Result<Read, ShellError> {
        let begun = std::mem::take(&mut self.begun);
        let line = match self.editor.readline_with_initial(prompt, (&begun, "")) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ok(Read::Nothing),
            Err(ReadlineError::Eof) => return Ok(Read::End),
            Err(error) => return Err(terminal(error)),
        };
        // Same thread: the key's handler runs inside `readline`.
        if self.help_wanted.swap(false, Ordering::Relaxed) {
            self.begun.clone_from(&line);
            return Ok(Read::Line(line, Wish::Help));
        }
        self.editor.add_history_entry(line.trim()).map_err(terminal)?;
        Ok(Read::Line(line, Wish::Execute))
    }
}

fn terminal(error: ReadlineError) -> ShellError {
    ShellError::Terminal(std::io::Error::other(error))
}

/// The key `?` at the end of a line asks what may follow. Inside a line it is a letter.
struct QuestionMark(Arc<AtomicBool>);

impl ConditionalEventHandler for QuestionMark {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        (context.pos() == context.line().len()).then(|| {
            self.0.store(true, Ordering::Relaxed);
            Cmd::AcceptLine
        })
    }
}

#[derive(Helper, Hinter, Highlighter, Validator)]
struct Words {
    forms: Forms,
    vrs: Names,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let Ok((candidates, _)) = grammar::candidates(&self.forms.borrow(), typed) else {
            return Ok((start, Vec::new()));
        };
        let begun = typed.get(start..).unwrap_or_default();
        let vrs = self.vrs.borrow();
        let mut words: Vec<String> = candidates
            .iter()
            .filter(|candidate| !candidate.text.starts_with('<'))
            .map(|candidate| &candidate.text)
            .chain(vrs.iter().filter(|_| candidates.iter().any(|candidate| candidate.is_vr)))
            .filter(|word| word.starts_with(begun))
            .map(|word| format!("{word} "))
            .collect();
        words.sort();
        words.dedup();
        Ok((start, words))
    }
}
