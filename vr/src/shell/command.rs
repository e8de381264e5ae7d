//! What a line means.

use std::net::IpAddr;
use std::str::FromStr;

use ipc::message::Schema;
use ipc::protocol::Question;
use ipc::{InterfaceName, Pathname, ServiceName, VrName};
use vr_api::config::{self, OperatorReply, OperatorRequest};
use vr_api::show::ShowRequest;

use super::forms::Action;
use super::grammar::{self, Form, Parsed};
use super::session::{Conversation, Session};
use super::{ShellError, ShellOptions, ping, render, show};

/// What follows from a line for the shell itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next line.
    Line,
    /// The end of the shell.
    Exit,
}

/// Executes one line.
pub fn execute(
    session: &mut Session,
    options: &ShellOptions,
    forms: &[Form<Action>],
    line: &str,
) -> Result<Next, ShellError> {
    if line.trim().is_empty() {
        return Ok(Next::Line);
    }
    if let Some(before) = line.trim_end().strip_suffix('?') {
        return help(forms, before).map(|()| Next::Line);
    }
    let parsed = grammar::parse(forms, line).map_err(ShellError::Line)?;
    match parsed.action {
        Action::Show(table) => show::execute(session, options, table, &parsed)?,
        Action::ListTables => {
            let tables = forms.iter().filter(|form| matches!(form.action, Action::Show(_)));
            render::print_text(&synopses(tables))?;
        }
        Action::Ping => ping::ping(session, options, &Target::read(&parsed)?)?,
        Action::Traceroute => ping::traceroute(session, options, &Target::read(&parsed)?)?,
        Action::Line => change(session, options, vec![parsed.words.join(" ")])?,
        Action::Configure => {
            let lines = parsed.words.last().map(String::as_str).unwrap_or_default();
            change(session, options, lines.split(';').map(|line| line.trim().to_owned()).collect())?;
        }
        Action::Class(class) => class_command(session, class, &parsed)?,
        Action::Save => startup(session, options, &OperatorRequest::SaveStartup)?,
        Action::Erase => startup(session, options, &OperatorRequest::EraseStartup)?,
        Action::Reload => session.ask(Question::Reload).map(drop)?,
        Action::Shutdown => session.ask(Question::Shutdown).map(drop)?,
        Action::Help => render::print_text(&format!("{}\n{HINT}", synopses(forms.iter())))?,
        Action::Exit => return Ok(Next::Exit),
    }
    Ok(Next::Line)
}

const HINT: &str = "
Words may be abbreviated. `?` shows what may follow, Tab completes.";

/// How each command is typed, and what it does.
fn synopses<'f>(forms: impl Iterator<Item = &'f Form<Action>>) -> String {
    let lines = forms.map(|form| format!("{:<52} {}", form.synopsis(), form.help).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// What may stand behind `line`.
pub fn help(forms: &[Form<Action>], line: &str) -> Result<(), ShellError> {
    let (candidates, may_end) = grammar::candidates(forms, line).map_err(ShellError::Line)?;
    let end = may_end.then(|| ("<cr>".to_owned(), String::new()));
    let lines = candidates.into_iter().map(|candidate| (candidate.text, candidate.help)).chain(end);
    let lines: Vec<String> = lines.map(|(text, help)| format!("  {text:<24} {help}").trim_end().to_owned()).collect();
    render::print_text(&lines.join("\n"))
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
        | OperatorReply::StartupConfig { .. }
        | OperatorReply::Declarations(_) => Ok(()),
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
        OperatorReply::Applied
        | OperatorReply::RunningConfig { .. }
        | OperatorReply::StartupConfig { .. }
        | OperatorReply::Declarations(_) => Ok(()),
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
fn class_command(session: &mut Session, class: &ServiceName, parsed: &Parsed<'_, Action>) -> Result<(), ShellError> {
    let vr = session.known_vr(parsed.setting("vr"))?;
    let request = ShowRequest::Command { words: parsed.words.clone() };
    let mut obeyed = 0;
    let mut refused = Vec::new();
    for (name, id) in session.vrs_with(class)? {
        if vr.as_ref().is_some_and(|vr| *vr != name) {
            continue;
        }
        match session.show(&Pathname::service(id, class.clone()), &request) {
            Ok(_) => obeyed += 1,
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    match obeyed {
        0 if refused.is_empty() => Err(ShellError::Answer(format!("no {class} runs there"))),
        0 => Err(ShellError::Answer(refused.join("\n"))),
        _ => Ok(()),
    }
}

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

/// How many echo requests a ping sends unless it is told; `ping` of IOS does so too.
const COUNT: u32 = 5;
/// Payload of a probe unless it is told: that of `ping` everywhere.
const SIZE: u16 = 56;

impl Target {
    fn read(parsed: &Parsed<'_, Action>) -> Result<Self, ShellError> {
        Ok(Self {
            vr: VrName::new(parsed.setting("vr").unwrap_or_default())?,
            to: value(parsed.words.last().map(String::as_str).unwrap_or_default())?,
            from: parsed.setting("source").map(value).transpose()?,
            interface: parsed.setting("interface").map(interface).transpose()?,
            count: parsed.setting("count").map_or(Ok(COUNT), value)?,
            size: parsed.setting("size").map_or(Ok(SIZE), value)?,
        })
    }
}

/// An interface's name takes any case.
fn interface(word: &str) -> Result<InterfaceName, ShellError> {
    Ok(InterfaceName::new(&vr_api::interface::canonical(word).unwrap_or_else(|| word.to_owned()))?)
}

/// A word that the grammar has checked; an error means that grammar and reader disagree.
pub fn value<T: FromStr>(word: &str) -> Result<T, ShellError> {
    word.parse().map_err(|_| ShellError::Value(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::forms::forms;
    use super::*;

    fn all_forms() -> Vec<Form<Action>> {
        let control_socket = "/nowhere".into();
        forms(&ShellOptions { control_socket, declarations: Vec::new(), router_tables: Vec::new(), json: false })
    }

    #[test]
    fn a_ping_takes_its_options_in_any_order() {
        let forms = all_forms();
        let read = |line| Target::read(&grammar::parse(&forms, line).unwrap()).unwrap();
        let target = read("ping 192.0.2.2 count 2 vr red size 100");
        assert_eq!((target.vr.as_str(), target.count, target.size), ("red", 2, 100));
        assert_eq!(read("ping vr red 192.0.2.2").count, COUNT);
        let target = read("ping fe80::2 interface port0/0/1 vr red");
        assert_eq!(target.interface.unwrap().as_str(), "Port0/0/1");
    }

    #[test]
    fn every_command_may_be_asked_for_help() {
        let forms = all_forms();
        let (all, _) = grammar::candidates(&forms, "").unwrap();
        assert!(all.len() >= 10, "{all:?}");
        for candidate in all {
            grammar::candidates(&forms, &format!("{} ", candidate.text)).unwrap();
        }
    }
}
