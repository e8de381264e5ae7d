//! `show`: who answers a table, and the tables that procmgr answers itself.

use std::time::Duration;

use ipc::protocol::{Answer, ProcessRow, Question};
use ipc::{Pathname, ServiceName, VrId, VrName};
use vr_api::config::{Node, OperatorReply, OperatorRequest};
use vr_api::show::{Row, ShowTable, Value};

use super::command::{operator, value};
use super::forms::Action;
use super::grammar::Parsed;
use super::session::Session;
use super::{ShellError, ShellOptions, render};

/// The table of log lines.
const LOG: &str = "log";

/// Tables that procmgr, `config` and the socket libraries answer.
fn own_tables() -> Vec<ShowTable> {
    vec![
        ShowTable::new(
            "processes",
            "All processes",
            &["vr", "name", "pid", "state", "restarts", "since", "last_exit", "last_words"],
        ),
        ShowTable::new("channels", "Channels that stand", &["vr", "pathname", "holders", "memory_bytes"]),
        ShowTable::new(
            "directory",
            "Published pathnames",
            &["vr", "pathname", "generation", "process", "pid", "opened"],
        ),
        ShowTable::new(LOG, "The last lines of the log", &["time", "vr", "process", "pid", "text"])
            .with_arguments("[LINES]"),
        ShowTable::new("running-config", "The configuration in force", &[]),
        ShowTable::new("startup-config", "The saved configuration, with which the router starts", &[]),
        ShowTable::new(
            "vrfib",
            "The vrFIB of a process",
            &["vr", "process", "to", "criteria", "listener", "interface", "source", "state", "hits", "misses"],
        )
        .with_arguments("PROCESS"),
    ]
}

/// All tables, for help and completion.
pub fn tables(options: &ShellOptions) -> Vec<ShowTable> {
    let router = options.router_tables.iter().flat_map(|(_, tables)| tables);
    let classes = options.declarations.iter().flat_map(|class| &class.tables);
    let mut tables: Vec<ShowTable> = own_tables().into_iter().chain(router.cloned()).chain(classes.cloned()).collect();
    tables.sort_by(|a, b| a.words.cmp(&b.words));
    tables
}

/// Prints a table.
pub fn execute(
    session: &mut Session,
    options: &ShellOptions,
    table: &ShowTable,
    parsed: &Parsed<'_, Action>,
) -> Result<(), ShellError> {
    match table.words.as_ref() {
        "running-config" => return running_config(session, options),
        "startup-config" => return startup_config(session, options),
        _ => {}
    }
    // Behind `show` and the words of the table.
    let arguments = parsed.words.get(1 + table.words.split_whitespace().count()..).unwrap_or_default();
    let vr = session.known_vr(parsed.setting("vr"))?;
    let mut problems = Vec::new();
    let mut rows = ask(session, options, table, arguments, vr.as_ref(), &mut problems)?;
    if let Some(column) = table.columns.iter().position(|column| column == "vr") {
        if let Some(vr) = &vr {
            rows.retain(|row| row.get(column) == Some(&Value::text(vr)));
        }
        // A log is in the order of time, whoever wrote a line.
        if table.words != LOG {
            order_by_vr(&mut rows, column, &session.vrs()?);
        }
    }
    render::print(&table.columns, &rows, options.json)?;
    if problems.is_empty() { Ok(()) } else { Err(ShellError::Partial(problems.join("\n"))) }
}

/// Rows of VRs in the order of their numbers, in every table alike. Those of the router (totals) stay where they are.
fn order_by_vr(rows: &mut [Row], column: usize, vrs: &[(VrName, VrId, Vec<ServiceName>)]) {
    let is_of_vr = |row: &Row| matches!(row.get(column), Some(Value::Text(_)));
    let number = |row: &Row| vrs.iter().position(|(name, ..)| row.get(column) == Some(&Value::text(name)));
    for of_vrs in rows.chunk_by_mut(|a, b| is_of_vr(a) == is_of_vr(b)).filter(|rows| rows.first().is_some_and(is_of_vr))
    {
        of_vrs.sort_by_key(number);
    }
}

fn ask(
    session: &mut Session,
    options: &ShellOptions,
    table: &ShowTable,
    arguments: &[String],
    vr: Option<&VrName>,
    problems: &mut Vec<String>,
) -> Result<Vec<Row>, ShellError> {
    match table.words.as_ref() {
        "processes" => return processes(session),
        "channels" => return channels(session),
        "directory" => return directory(session),
        LOG => return log(session, arguments),
        "vrfib" => return vrfib(session, arguments),
        _ => {}
    }
    if let Some((service, _)) = options.router_tables.iter().find(|(_, tables)| tables.contains(table)) {
        return session.table(&Pathname::router(service.as_str())?, &table.words, arguments);
    }
    let Some(class) = options.declarations.iter().find(|class| class.tables.contains(table)) else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for (name, id) in session.vrs_with(&class.class)? {
        if vr.is_some_and(|vr| *vr != name) {
            continue;
        }
        match session.table(&Pathname::service(id, class.class.clone()), &table.words, arguments) {
            Ok(part) => rows.extend(part),
            Err(error) => problems.push(format!("{name}/{}: {error}", class.class)),
        }
    }
    Ok(rows)
}

fn running_config(session: &mut Session, options: &ShellOptions) -> Result<(), ShellError> {
    match operator(session, &OperatorRequest::RunningConfig)? {
        OperatorReply::RunningConfig { tree, .. } if options.json => {
            render::print_document(&serde_json::Value::Array(tree.iter().map(document).collect()))
        }
        OperatorReply::RunningConfig { text, .. } => render::print_text(text.trim_end()),
        OperatorReply::Refused(reason) => Err(ShellError::Answer(reason)),
        OperatorReply::Applied
        | OperatorReply::Saved { .. }
        | OperatorReply::Erased
        | OperatorReply::StartupConfig { .. }
        | OperatorReply::Declarations(_) => Ok(()),
    }
}

fn startup_config(session: &mut Session, options: &ShellOptions) -> Result<(), ShellError> {
    match operator(session, &OperatorRequest::StartupConfig)? {
        OperatorReply::StartupConfig { text } if options.json => render::print_document(&serde_json::json!(text)),
        OperatorReply::StartupConfig { text: Some(text) } => render::print_text(text.trim_end()),
        OperatorReply::StartupConfig { text: None } => {
            Err(ShellError::Answer("nothing is saved; `copy running-config startup-config` saves".to_owned()))
        }
        OperatorReply::Refused(reason) => Err(ShellError::Answer(reason)),
        OperatorReply::Applied
        | OperatorReply::RunningConfig { .. }
        | OperatorReply::Saved { .. }
        | OperatorReply::Erased
        | OperatorReply::Declarations(_) => Ok(()),
    }
}

/// A line of the configuration and what stands inside it.
fn document(line: &Node) -> serde_json::Value {
    let children: Vec<_> = line.children.iter().map(document).collect();
    serde_json::json!({ "words": line.words, "children": children })
}

fn processes(session: &mut Session) -> Result<Vec<Row>, ShellError> {
    let parts = session.ask(Question::Processes)?;
    let rows = parts.into_iter().flat_map(|part| if let Answer::Processes(rows) = part { rows } else { Vec::new() });
    let row = |process: ProcessRow| {
        vec![
            process.vr.map(|vr| vr.to_string()).into(),
            Value::text(&process.name),
            process.pid.map(|pid| pid.0).into(),
            Value::text(process.state),
            process.restarts.into(),
            process.since.as_secs_f64().into(),
            process.last_exit.into(),
            match process.last_words.is_empty() {
                true => Value::Null,
                false => Value::List(process.last_words.into_iter().map(Value::Text).collect()),
            },
        ]
    };
    let mut rows: Vec<Row> = rows.map(row).collect();
    // The router's own first; an attached one comes last in procmgr's order.
    rows.sort_by_key(|row| row.first() != Some(&Value::Null));
    Ok(rows)
}

fn channels(session: &mut Session) -> Result<Vec<Row>, ShellError> {
    let names = session.vrs()?;
    let vr =
        |pathname: &Pathname| names.iter().find(|(_, id, _)| *id == pathname.vr()).map(|(name, ..)| name.to_string());
    let parts = session.ask(Question::Channels)?;
    let rows = parts.into_iter().flat_map(|part| if let Answer::Channels(rows) = part { rows } else { Vec::new() });
    let row = |channel: ipc::protocol::ChannelRow| {
        let holders = channel.holders.iter().map(|holder| Value::text(format!("{holder}({})", holder.pid)));
        vec![
            vr(&channel.pathname).into(),
            Value::text(&channel.pathname),
            Value::List(holders.collect()),
            channel.memory_bytes.into(),
        ]
    };
    Ok(rows.map(row).collect())
}

fn directory(session: &mut Session) -> Result<Vec<Row>, ShellError> {
    let parts = session.ask(Question::Publications)?;
    let rows = parts.into_iter().flat_map(|part| if let Answer::Publications(rows) = part { rows } else { Vec::new() });
    let row = |publication: ipc::protocol::PublicationRow| {
        vec![
            publication.owner.vr_name.as_ref().map(ToString::to_string).into(),
            Value::text(&publication.pathname),
            publication.generation.0.into(),
            Value::text(&publication.owner.name),
            publication.owner.pid.0.into(),
            publication.opened.into(),
        ]
    };
    Ok(rows.map(row).collect())
}

/// Lines of the log unless another number is asked for: a screen.
const LOG_LINES: u32 = 50;

fn log(session: &mut Session, arguments: &[String]) -> Result<Vec<Row>, ShellError> {
    let lines = arguments.first().map_or(Ok(LOG_LINES), |count| value(count))?;
    let parts = session.ask(Question::Log { lines })?;
    let rows = parts.into_iter().flat_map(|part| if let Answer::Log(rows) = part { rows } else { Vec::new() });
    let row = |line: ipc::protocol::LogLine| {
        vec![
            rfc3339(line.time).into(),
            line.vr.map(|vr| vr.to_string()).into(),
            Value::text(&line.process),
            line.pid.0.into(),
            line.text.into(),
        ]
    };
    Ok(rows.map(row).collect())
}

/// The vrFIB of a process, as its own socket library has it: `red/bgp`, or `bgp` of every VR.
fn vrfib(session: &mut Session, arguments: &[String]) -> Result<Vec<Row>, ShellError> {
    let process = arguments.first().map(String::as_str).unwrap_or_default();
    let (vr, class) = process.split_once('/').map_or((None, process), |(vr, class)| (Some(vr), class));
    let service = ipc::ServiceName::new(class)?;
    let mut rows = Vec::new();
    let mut asked = 0;
    for (name, id) in session.vrs_with(&service)? {
        if vr.is_some_and(|vr| vr != name.as_str()) {
            continue;
        }
        asked += 1;
        // The process puts its VR first, as in all its tables; what it is called here stands behind it.
        let named = |mut row: Row| {
            row.insert(row.len().min(1), class.into());
            row
        };
        rows.extend(session.table(&Pathname::service(id, service.clone()), "vrfib", &[])?.into_iter().map(named));
    }
    match asked {
        0 => Err(ShellError::Answer(format!("no process {process}; `show processes` lists them"))),
        _ => Ok(rows),
    }
}

/// A time since the Unix epoch as RFC 3339 in UTC, with milliseconds.
fn rfc3339(time: Duration) -> String {
    let days = i64::try_from(time.as_secs() / 86_400).unwrap_or(i64::MAX / 2);
    let (year, month, day) = civil(days);
    let second = time.as_secs() % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time.subsec_millis())
}

/// The date of a day since 1970-01-01, in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(Duration::from_millis(1_709_210_096_789)), "2024-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn rows_stand_in_the_order_of_the_vrs_and_totals_where_they_were() {
        let vr = |name: &str, id| (VrName::new(name).unwrap(), VrId(id), Vec::new());
        let row = |name: &str, value: u64| vec![Value::text(name), value.into()];
        let total: Row = vec![Value::Null, 3u64.into()];
        let mut rows = vec![row("blue", 1), row("red", 2), row("red", 1), total.clone()];
        order_by_vr(&mut rows, 0, &[vr("red", 1), vr("blue", 2)]);
        assert_eq!(rows, [row("red", 2), row("red", 1), row("blue", 1), total]);
    }
}
