//! Differences from the kernel that are meant, each with its reason. One that no longer shows is a failure too.

use crate::column::Kind;

/// A difference that is meant.
#[derive(Debug)]
pub struct Listed {
    /// In which case.
    pub case: &'static str,
    /// In which columns.
    pub columns: &'static [Kind],
    /// What the kernel's transcript says.
    pub judge: &'static str,
    /// What ours says instead.
    pub found: &'static str,
    /// Why that is better here.
    pub reason: &'static str,
}

impl Listed {
    /// Whether it is this one.
    pub fn is(&self, case: &str, column: Kind, judge: &str, found: &str) -> bool {
        self.case == case && self.columns.contains(&column) && self.judge == judge && self.found == found
    }
}

/// All of them.
pub const LISTED: &[Listed] = &[];
