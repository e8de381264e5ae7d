//! The shell: an operator's process that asks the living ones and prints what they say.
//!
//! It knows no table and no protocol by name: `images/isthmus` hands it the declarations of the classes and the tables
//! of the router's own services, `config` knows those of programs that attached, and procmgr's directory says who answers.
//!
//! Read `forms` (what may be typed), `grammar` (how it is understood), `command` (what it means), `session` (how others are
//! asked), `render` (how rows are printed), `interactive`.

mod command;
mod error;
mod forms;
mod grammar;
mod interactive;
mod interrupt;
mod known;
mod ping;
mod render;
mod session;
mod show;

use std::path::PathBuf;

use ipc::ServiceName;
use vr_api::command::Declaration;
use vr_api::show::ShowTable;

pub use error::ShellError;
pub use interactive::interactive;

/// What the shell is told at its start.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// The router's control socket.
    pub control_socket: PathBuf,
    /// Classes that run in VRs: their tables and commands.
    pub declarations: Vec<Declaration>,
    /// Tables of the router's own services.
    pub router_tables: Vec<(ServiceName, Vec<ShowTable>)>,
    /// Print documents, not columns.
    pub json: bool,
}

/// Runs commands one after the other and prints what they answer. The first that fails ends it.
pub fn run_commands(options: &ShellOptions, commands: &[String]) -> Result<(), ShellError> {
    let mut session = session::Session::attach(options)?;
    let mut known = known::Known::new(options);
    for (number, line) in commands.iter().enumerate() {
        if number > 0 && !options.json {
            render::print_text("")?;
        }
        if known.execute(&mut session, line)? == command::Next::Exit {
            break;
        }
    }
    Ok(())
}
