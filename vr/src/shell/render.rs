//! Rows as columns for people and as one JSON document for scripts.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde_json::{Map, Number, Value as Json};
use vr_api::show::{Row, Value};

use super::ShellError;

/// Prints a table to standard output.
pub fn print(columns: &[impl AsRef<str>], rows: &[Row], json: bool) -> Result<(), ShellError> {
    match json {
        true => print_document(&document(columns, rows)),
        false => print_text(&text(columns, rows)),
    }
}

/// Prints one JSON document.
pub fn print_document(document: &Json) -> Result<(), ShellError> {
    print_text(&serde_json::to_string_pretty(document)?)
}

/// Prints text and a line's end. A reader that went away (`| head`) is no error.
pub fn print_text(text: &str) -> Result<(), ShellError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// An array of objects; the keys are the column headings.
pub fn document(columns: &[impl AsRef<str>], rows: &[Row]) -> Json {
    let object = |row: &Row| {
        let cells = columns.iter().zip(row).map(|(column, value)| (column.as_ref().to_owned(), json(value)));
        Json::Object(cells.collect::<Map<_, _>>())
    };
    Json::Array(rows.iter().map(object).collect())
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(value) => Json::Number((*value).into()),
        Value::Real(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Value::Text(value) => Json::String(value.clone()),
        Value::List(values) => Json::Array(values.iter().map(json).collect()),
        Value::Object(fields) => Json::Object(fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()),
    }
}

/// Aligned columns, numbers to the right, headings as they are in JSON.
pub fn text(columns: &[impl AsRef<str>], rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| Cell::new(column.as_ref())));
    for row in rows {
        table.add_row(columns.iter().zip(row).map(|(column, value)| cell(column.as_ref(), value)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    match rows.is_empty() {
        true => format!("{}\n(none)", lines.join("\n")),
        false => lines.join("\n"),
    }
}

fn cell(column: &str, value: &Value) -> Cell {
    let is_number = matches!(value, Value::Number(_) | Value::Real(_));
    let cell = Cell::new(plain(column, value));
    if is_number { cell.set_alignment(CellAlignment::Right) } else { cell }
}

/// Columns that are durations, by the words that name one.
const DURATIONS: [&str; 4] = ["age", "up_for", "uptime", "since"];

fn plain(column: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::Number(seconds) if DURATIONS.contains(&column) => duration(*seconds as f64),
        Value::Real(seconds) if DURATIONS.contains(&column) => duration(*seconds),
        Value::Number(value) => value.to_string(),
        Value::Real(value) => format!("{value:.3}"),
        Value::Text(value) => value.clone(),
        Value::List(values) => values.iter().map(|value| plain("", value)).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, value)| *value != Value::Null);
            shown.map(|(_, value)| plain("", value)).collect::<Vec<_>>().join(" ")
        }
    }
}

/// `4.2s`, `00:03:20`, `2d04h`.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1}s", seconds.max(0.0)),
        60..86_400 => format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let hop = Value::Object(vec![("address".into(), Value::Null), ("interface".into(), "blue".into())]);
        vec![
            vec!["red".into(), "10.0.0.0/31".into(), Value::List(vec![hop]), 61u64.into()],
            vec![Value::Null, "default".into(), Value::List(vec![]), 7u64.into()],
        ]
    }

    #[test]
    fn columns_are_aligned_and_headings_are_the_json_keys() {
        let text = text(&["vr", "prefix", "next_hops", "age"], &rows());
        assert_eq!(
            text,
            "vr   prefix       next_hops  age\nred  10.0.0.0/31  blue       00:01:01\n-    default                     7.0s"
        );
    }

    #[test]
    fn a_table_without_rows_says_so_under_its_headings() {
        assert_eq!(text(&["vr", "address"], &[]), "vr  address\n(none)");
    }

    #[test]
    fn the_document_keeps_numbers_lists_and_nulls() {
        let document = document(&["vr", "prefix", "next_hops", "age"], &rows());
        assert_eq!(document[0]["next_hops"][0]["interface"], "blue");
        assert_eq!(document[0]["age"], 61);
        assert!(document[1]["vr"].is_null());
    }
}
