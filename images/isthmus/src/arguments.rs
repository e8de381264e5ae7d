//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use ipc::VrName;

use crate::image::Image;
use crate::new::New;
use crate::paths::Places;
use crate::{background, bench, demo, down, image, new, preload, program, shell, up};

/// A router operating system's userland: one physical router, many virtual routers.
///
/// Without a command: the demo, two virtual routers joined on this machine.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    router: RouterName,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct RouterName {
    /// Name of the router.
    #[arg(long, value_name = "N", default_value = "default")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a router from a configuration file.
    Up {
        /// The configuration; without it the one saved for this router.
        file: Option<PathBuf>,
        #[command(flatten)]
        router: RouterName,
        /// Returns once every process is ready, and leaves the router running.
        #[arg(short, long)]
        detach: bool,
    },
    /// The shell of a running router, or single commands.
    Sh {
        #[command(flatten)]
        router: RouterName,
        /// Executes a command instead of asking for them; may be given several times.
        #[arg(short, value_name = "COMMAND")]
        commands: Vec<String>,
        /// Prints JSON documents.
        #[arg(long)]
        json: bool,
    },
    /// Stops a router in order.
    Down {
        #[command(flatten)]
        router: RouterName,
    },
    /// Validates a configuration file, and starts nothing.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Runs a program as a process of a virtual router.
    Run {
        #[command(flatten)]
        router: RouterName,
        /// The virtual router.
        #[arg(long)]
        vr: VrName,
        /// Puts Isthmus behind the socket calls of a program that does not know it.
        #[arg(long)]
        preload: bool,
        /// Returns once the program has published something (tables, a listener), and leaves it running.
        #[arg(short, long, conflicts_with = "preload")]
        detach: bool,
        /// The program and its arguments.
        #[arg(last = true, required = true, num_args = 1.., value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
    /// Measures Isthmus against its peers; without a name lists the benchmarks.
    Bench(bench::Options),
    /// Images that boot: for a virtual machine, and for a container engine.
    #[command(subcommand)]
    Image(Image),
    /// Begins something of your own.
    #[command(subcommand)]
    New(New),
}

/// Does what the command line says. Wrong usage ends the process with code 2.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    execute(arguments).unwrap_or_else(|error| {
        eprintln!("isthmus: {error:#}");
        ExitCode::FAILURE
    })
}

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let places = |router: RouterName| Places::of(&router.name);
    let Some(command) = arguments.command else { return demo::run(places(arguments.router)?) };
    match command {
        Command::Up { file, router, detach } => up::run(places(router)?, file, detach),
        Command::Sh { router, commands, json } => Ok(shell::run(&places(router)?, &commands, json)),
        Command::Down { router } => down::run(&places(router)?),
        Command::Check { file } => Ok(up::check(&file)),
        Command::Run { router, vr, detach: true, program, .. } => background::run(&places(router)?, &vr, &program),
        Command::Run { router, vr, preload: true, program, .. } => preload::run(&places(router)?, &vr, &program),
        Command::Run { router, vr, preload: false, program, .. } => program::run(&places(router)?, vr, &program),
        Command::Bench(options) => bench::run(&options),
        Command::Image(image) => image::run(image),
        Command::New(new) => new::run(new),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_belongs_to_the_program() {
        let line = ["isthmus", "run", "--vr", "red", "--", "ping", "-c", "1", "--name", "x"];
        let Ok(Arguments { command: Some(Command::Run { program, router, .. }), .. }) = Arguments::try_parse_from(line)
        else {
            panic!("not understood")
        };
        assert_eq!((program.len(), router.name.as_str()), (5, "default"));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [&["isthmus", "dwon"][..], &["isthmus", "run", "--vr", "red"], &["isthmus", "check"]] {
            assert!(Arguments::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
