//! The library's own table, which the process that has it answers beside its own: `show vrfib PROCESS`.

use ipc::Pathname;
use vr_api::manager::VrFibEntry;
use vr_api::show::{Row, Value};

use crate::library::Library;
use crate::vrfib::Lookups;

impl Library {
    /// Rows of a table of the library; `None`: it has no such table. Columns: `to`, `criteria`, `listener`, `interface`,
    /// `source`, `state`, `hits`, `misses`. Entries that were withdrawn are among them where somebody has looked for them
    /// since; a last row without address counts the look-ups that were for no entry at all.
    pub fn table(&self, table: &str) -> Option<Vec<Row>> {
        if table != "vrfib" {
            return None;
        }
        let vrfib = self.vrfib();
        let missed = vrfib.withdrawn().filter(|(_, lookups)| lookups.misses > 0);
        let mut entries: Vec<_> = vrfib.entries().map(|(entry, lookups)| (entry, "active", lookups)).collect();
        entries.extend(missed.map(|(entry, lookups)| (entry, "withdrawn", lookups)));
        entries.sort_by(|(a, ..), (b, ..)| (a.to, &a.listener).cmp(&(b.to, &b.listener)));
        let row = |(entry, state, lookups): (&VrFibEntry, &str, Lookups)| {
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
                Value::text(state),
                lookups.hits.into(),
                lookups.misses.into(),
            ]
        };
        let unmatched = (vrfib.unmatched() > 0).then(|| {
            let mut row = vec![Value::Null; 6];
            row.extend([Value::from(0_u64), vrfib.unmatched().into()]);
            row
        });
        Some(entries.into_iter().map(row).chain(unmatched).collect())
    }
}
