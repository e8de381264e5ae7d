//! What may be typed now: the forms of the router, and those of programs that attached.

use vr_api::config::{OperatorReply, OperatorRequest};

use super::command::{self, Next, operator};
use super::forms::{Action, forms};
use super::grammar::{self, Form};
use super::session::Session;
use super::{ShellError, ShellOptions};

/// The options and the forms. Programs come while the shell runs; `config` is asked about them only for a line that is
/// unknown without, and before what may be typed is listed.
pub struct Known {
    options: ShellOptions,
    built_in: usize,
    forms: Vec<Form<Action>>,
}

impl Known {
    /// Those of the router.
    pub fn new(options: &ShellOptions) -> Self {
        Self { options: options.clone(), built_in: options.declarations.len(), forms: forms(options) }
    }

    /// What may be typed.
    pub fn forms(&self) -> &[Form<Action>] {
        &self.forms
    }

    /// Asks what programs declared; whether there is news. A `config` that does not answer has none.
    pub fn refresh(&mut self, session: &mut Session) -> bool {
        let Ok(OperatorReply::Declarations(programs)) = operator(session, &OperatorRequest::Declarations) else {
            return false;
        };
        if self.options.declarations.get(self.built_in..) == Some(&programs) {
            return false;
        }
        self.options.declarations.truncate(self.built_in);
        self.options.declarations.extend(programs);
        self.forms = forms(&self.options);
        true
    }

    /// Executes one line.
    pub fn execute(&mut self, session: &mut Session, line: &str) -> Result<Next, ShellError> {
        if self.lists_forms(line) {
            self.refresh(session);
        }
        match command::execute(session, &self.options, &self.forms, line) {
            // Nothing of it was done.
            Err(ShellError::Line(_)) if self.refresh(session) => {
                command::execute(session, &self.options, &self.forms, line)
            }
            result => result,
        }
    }

    /// What may stand behind a line.
    pub fn help(&mut self, session: &mut Session, line: &str) -> Result<(), ShellError> {
        self.refresh(session);
        command::help(&self.forms, line)
    }

    fn lists_forms(&self, line: &str) -> bool {
        let lists = |action: &Action| matches!(action, Action::Help | Action::ListTables);
        line.trim_end().ends_with('?') || grammar::parse(&self.forms, line).is_ok_and(|parsed| lists(parsed.action))
    }
}
