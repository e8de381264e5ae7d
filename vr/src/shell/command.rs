//! What a line means.

use std::net::IpAddr;
use std::str::FromStr;

use ipc::message::Schema;
use ipc::protocol::Question;
use ipc::{InterfaceName, Pathname, VrName};
use vr_api::command::{Command, Word};
use vr_api::config::{self, OperatorReply, OperatorRequest};
use vr_api::show::ShowRequest;

use super::session::{Conversation, Session};
use super::{ShellError, ShellOptions, ping, render, show};

/// The commands, with what follows them, for help.
pub const COMMANDS: [(&str, &str, &str); 11] = [
    ("show", "TABLE [ARGUMENTS] [vr VR]", "show a table; `show` alone lists them"),
    ("ping", "vr VR ADDRESS [count N] [size N] [source A] [interface I]", "send echo requests"),
    ("traceroute", "vr VR ADDRESS [source A] [interface I]", "show the routers on the way"),
    ("connect", "VR VR", "join two virtual routers"),
    ("configure", "LINE [; LINE]...", "change the configuration: `configure vr red; interface blue; shutdown`"),
    ("clear", "...", "what the protocols declare: `clear bgp ADDRESS`"),
    ("copy", "running-config startup-config", "save the configuration in force: the router starts with it from now on"),
    ("erase", "startup-config", "forget what was saved: a factory reset, after a `reload`"),
    ("reload", "", "stop the whole router and start its machine anew"),
    ("shutdown", "", "stop the whole router; a machine of its own goes off"),
    ("exit", "", "leave the shell"),
];

/// Executes one line.
pub fn execute(session: &mut Session, options: &ShellOptions, line: &str) -> Result<(), ShellError> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] => Ok(()),
        ["show"] => render::print_text(&show::list(options)),
        ["show", ref rest @ ..] => show::execute(session, options, rest),
        ["ping", ref rest @ ..] => ping::ping(session, options, &Target::parse(rest, PING)?),
        ["traceroute", ref rest @ ..] => ping::traceroute(session, options, &Target::parse(rest, TRACEROUTE)?),
        ["connect", ..] => change(session, options, vec![line.to_owned()]),
        ["no", "connect", ..] => change(session, options, vec![line.to_owned()]),
        ["configure", ..] => {
            let lines = line.trim_start().trim_start_matches("configure");
            change(session, options, lines.split(';').map(|line| line.trim().to_owned()).collect())
        }
        ["clear", ..] => class_command(session, options, &words),
        ["copy", "running-config", "startup-config"] => startup(session, options, &OperatorRequest::SaveStartup),
        ["erase", "startup-config"] => startup(session, options, &OperatorRequest::EraseStartup),
        ["reload"] => session.ask(Question::Reload).map(drop),
        ["shutdown"] => session.ask(Question::Shutdown).map(drop),
        ["help" | "?"] => render::print_text(&help(options)),
        _ => Err(ShellError::Usage { found: line.trim().to_owned(), expected: accepted() }),
    }
}

fn accepted() -> String {
    COMMANDS.map(|(word, _, _)| word).join(", ")
}

fn help(options: &ShellOptions) -> String {
    let lines = COMMANDS.iter().map(|(word, rest, help)| format!("{:<52} {help}", format!("{word} {rest}")));
    lines.chain([show::list(options)]).collect::<Vec<_>>().join("\n")
}

/// Changes the configuration: at once, or not at all.
fn change(session: &mut Session, options: &ShellOptions, lines: Vec<String>) -> Result<(), ShellError> {
    match operator(session, &OperatorRequest::Change { lines })? {
        OperatorReply::Refused(reason) => Err(ShellError::Answer(reason)),
        OperatorReply::Applied if options.json => render::print_document(&serde_json::json!({ "applied": true })),
        OperatorReply::Applied
        | OperatorReply::RunningConfig { .. }
        | OperatorReply::Saved { .. }
        | OperatorReply::Erased
        | OperatorReply::StartupConfig { .. } => Ok(()),
    }
}

/// Keeps the configuration in force for the next start, or forgets what was kept.
fn startup(session: &mut Session, options: &ShellOptions, request: &OperatorRequest) -> Result<(), ShellError> {
    match operator(session, request)? {
        OperatorReply::Refused(reason) => Err(ShellError::Answer(reason)),
        OperatorReply::Saved { path } if options.json => render::print_document(&serde_json::json!({ "saved": path })),
        OperatorReply::Saved { path } => render::print_text(&format!("saved in {path}")),
        OperatorReply::Erased if options.json => render::print_document(&serde_json::json!({ "erased": true })),
        OperatorReply::Erased => render::print_text("erased; `reload` starts with the image's own configuration"),
        OperatorReply::Applied | OperatorReply::RunningConfig { .. } | OperatorReply::StartupConfig { .. } => Ok(()),
    }
}

/// Asks `config` as an operator.
pub fn operator(session: &mut Session, request: &OperatorRequest) -> Result<OperatorReply, ShellError> {
    let terms = postcard::to_stdvec(&config::Terms::Operator)?;
    let mut conversation: Conversation<OperatorRequest, OperatorReply> =
        session.open(&Pathname::router("config")?, &terms, Schema::new(config::OPERATOR_SCHEMA))?;
    conversation.say(request)?;
    conversation.hear(std::time::Duration::from_secs(30))
}

/// A command that a class declared, to its processes: of one VR (`... vr red`) or of all.
fn class_command(session: &mut Session, options: &ShellOptions, words: &[&str]) -> Result<(), ShellError> {
    let (words, vr) = take_vr(words)?;
    let declared = |command: &Command| matches(command, &words);
    let Some(class) = options.declarations.iter().find(|class| class.commands.iter().any(declared)) else {
        let all = options.declarations.iter().flat_map(|class| &class.commands).map(spelled).collect::<Vec<_>>();
        return Err(ShellError::Usage { found: words.join(" "), expected: all.join(", ") });
    };
    let request = ShowRequest::Command { words: words.iter().map(|word| (*word).to_owned()).collect() };
    let mut obeyed = 0;
    let mut refused = Vec::new();
    for (name, id, classes) in session.vrs()? {
        if vr.as_ref().is_some_and(|vr| *vr != name) || !classes.contains(&class.class) {
            continue;
        }
        match session.show(&Pathname::service(id, class.class.clone()), &request) {
            Ok(_) => obeyed += 1,
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    match obeyed {
        0 if refused.is_empty() => Err(ShellError::Answer(format!("no {} runs there", class.class))),
        0 => Err(ShellError::Answer(refused.join("\n"))),
        _ => Ok(()),
    }
}

fn matches(command: &Command, words: &[&str]) -> bool {
    command.words.len() == words.len()
        && command.words.iter().zip(words).all(|(word, typed)| match word {
            Word::Keyword(keyword) => keyword == typed,
            Word::OneOf(keywords) => keywords.iter().any(|keyword| keyword == typed),
            Word::Parameter(_) => true,
        })
}

fn spelled(command: &Command) -> String {
    let words = command.words.iter().map(|word| match word {
        Word::Keyword(keyword) => keyword.to_string(),
        Word::OneOf(keywords) => keywords.join("|"),
        Word::Parameter(_) => "<value>".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Takes `vr NAME` out of a line.
pub fn take_vr<'a>(words: &[&'a str]) -> Result<(Vec<&'a str>, Option<VrName>), ShellError> {
    let mut rest = words.to_vec();
    let Some(at) = rest.iter().rposition(|word| *word == "vr").filter(|at| at + 1 < rest.len()) else {
        return Ok((rest, None));
    };
    let name = VrName::new(rest[at + 1])?;
    rest.drain(at..=at + 1);
    Ok((rest, Some(name)))
}

const PING: &str = "vr VR ADDRESS [count N] [size N] [source ADDRESS] [interface NAME]";
const TRACEROUTE: &str = "vr VR ADDRESS [source ADDRESS] [interface NAME]";

/// Whom to probe, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// From which VR.
    pub vr: VrName,
    /// Whom.
    pub to: IpAddr,
    /// From which address.
    pub from: Option<IpAddr>,
    /// Where a link-local address is.
    pub interface: Option<InterfaceName>,
    /// How often.
    pub count: u32,
    /// Payload bytes.
    pub size: u16,
}

impl Target {
    fn parse(words: &[&str], expected: &str) -> Result<Self, ShellError> {
        let usage = || ShellError::Usage { found: words.join(" "), expected: expected.to_owned() };
        let (rest, vr) = take_vr(words)?;
        let [to, ref options @ ..] = rest[..] else { return Err(usage()) };
        let (vr, to) = (vr.ok_or_else(usage)?, value(to, "an address")?);
        let mut target = Target { vr, to, from: None, interface: None, count: 5, size: 56 };
        for option in options.chunks(2) {
            match *option {
                ["count", count] => target.count = value(count, "a number")?,
                ["size", size] => target.size = value(size, "a number of at most 65507")?,
                ["source", from] => target.from = Some(value(from, "an address")?),
                ["interface", name] => {
                    let name = vr_api::interface::canonical(name).unwrap_or_else(|| name.to_owned());
                    target.interface = Some(value(&name, "an interface")?);
                }
                _ => return Err(usage()),
            }
        }
        Ok(target)
    }
}

fn value<T: FromStr>(word: &str, expected: &'static str) -> Result<T, ShellError> {
    word.parse().map_err(|_| ShellError::Value { found: word.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_takes_its_options_in_any_order() {
        let target = Target::parse(&["192.0.2.2", "count", "2", "vr", "red", "size", "100"], PING).unwrap();
        assert_eq!((target.vr.as_str(), target.count, target.size), ("red", 2, 100));
        let target = Target::parse(&["fe80::2", "interface", "port0/0/1", "vr", "red"], PING).unwrap();
        assert_eq!(target.interface.unwrap().as_str(), "Port0/0/1");
        assert!(Target::parse(&["192.0.2.2"], PING).is_err(), "the VR is missing");
        assert!(Target::parse(&["vr", "red", "x"], PING).is_err());
        assert!(Target::parse(&["vr", "red", "192.0.2.2", "count"], PING).is_err());
    }

    #[test]
    fn the_vr_may_stand_anywhere() {
        let (rest, vr) = take_vr(&["route", "vr", "red", "10.0.0.0/8"]).unwrap();
        assert_eq!((rest, vr.unwrap().as_str()), (vec!["route", "10.0.0.0/8"], "red"));
        assert_eq!(take_vr(&["vr"]).unwrap(), (vec!["vr"], None));
    }
}
