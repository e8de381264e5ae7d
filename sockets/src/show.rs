//! The library's own table, which the process that has it answers beside its own: `show vrfib PROCESS`.

use ipc::Pathname;
use vr_api::show::{Row, Value};

use crate::library::Library;

impl Library {
    /// Rows of a table of the library; `None`: it has no such table. Columns: `to`, `criteria`, `listener`, `interface`,
    /// `source`, `hits`.
    pub fn table(&self, table: &str) -> Option<Vec<Row>> {
        if table != "vrfib" {
            return None;
        }
        let mut entries: Vec<_> = self.vrfib().entries().collect();
        entries.sort_by(|(a, _), (b, _)| (a.to, &a.listener).cmp(&(b.to, &b.listener)));
        let row = |(entry, hits): (&vr_api::manager::VrFibEntry, u64)| {
            let criteria = match &entry.listener {
                Pathname::Endpoint { criteria, .. } => Value::text(criteria),
                Pathname::Service { .. } => Value::Null,
            };
            vec![
                Value::text(entry.to),
                criteria,
                Value::text(&entry.listener),
                Value::text(&entry.interface),
                Value::text(entry.source),
                hits.into(),
            ]
        };
        Some(entries.into_iter().map(row).collect())
    }
}
