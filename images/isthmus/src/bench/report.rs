//! What a benchmark found: one form for every benchmark, as JSON and as a table.

use std::fmt::Write;

use serde::{Serialize, Serializer};

/// A benchmark's result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub bench: &'static str,
    /// CPUs that it could use.
    pub cores: usize,
    /// How often each subject was measured.
    pub rounds: usize,
    /// A row a case and subject.
    pub rows: Vec<Row>,
    /// Subjects compared.
    pub ratios: Vec<Ratio>,
}

/// One subject in one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub case: &'static str,
    /// Of what.
    pub subject: &'static str,
    /// In what.
    pub unit: Unit,
    /// What came out.
    #[serde(flatten)]
    pub found: Found,
}

/// Values, or why there are none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Found {
    /// Over all rounds.
    Measured(Spread),
    /// Not measured.
    Skipped {
        /// Why.
        skipped: String,
    },
}

/// The middle and the ends of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; between the two middle ones if their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// The smallest value that is no less than `percent` of all (nearest rank); `None` of none.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    sorted(values).get(rank - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Anything, at one moment or in all.
    Count,
    /// Anything, each second.
    PerSecond,
    /// A flow of data.
    BytesPerSecond,
    /// Memory.
    Bytes,
    /// Time of a processor for data.
    SecondsPerGib,
}

impl Unit {
    /// As the JSON document has it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Count => "1",
            Self::PerSecond => "1/s",
            Self::BytesPerSecond => "B/s",
            Self::Bytes => "B",
            Self::SecondsPerGib => "s/GiB",
        }
    }

    /// A value for people: three digits and a prefix.
    fn show(self, value: f64) -> String {
        let unit = match self {
            Self::Count => "",
            Self::PerSecond => "/s",
            Self::Seconds | Self::BytesPerSecond | Self::Bytes | Self::SecondsPerGib => self.symbol(),
        };
        let size = value.abs();
        let prefixes = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")];
        let fit = prefixes.into_iter().find(|(scale, _)| size >= *scale);
        let (scale, prefix) = fit.unwrap_or((1.0, ""));
        let scaled = value / scale;
        let digits = match scaled.abs() {
            _ if self == Self::Count && scale == 1.0 && value.fract() == 0.0 => 0,
            at_least_100 if at_least_100 >= 100.0 => 0,
            at_least_10 if at_least_10 >= 10.0 => 1,
            _ => 2,
        };
        format!("{scaled:.digits$} {prefix}{unit}").trim_end().to_owned()
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.symbol())
    }
}

/// Which direction of a ratio is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Time, memory.
    Lower,
    /// Rates.
    Higher,
}

/// Two subjects in one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Which case.
    pub case: &'static str,
    /// Whose median is divided.
    pub subject: &'static str,
    /// By whose.
    pub against: &'static str,
    /// What comes out.
    pub ratio: f64,
    /// What is good.
    pub better: Better,
    /// The bound that the ratio shall keep; `None`: it is for information.
    pub wanted: Option<f64>,
    /// Whether it does.
    pub met: Option<bool>,
}

impl Report {
    /// Adds a row; `skipped` says why there are no values, if there are none.
    pub fn row(&mut self, case: &'static str, subject: &'static str, unit: Unit, values: &[f64], skipped: &str) {
        let found = Spread::of(values).map_or_else(|| Found::Skipped { skipped: skipped.to_owned() }, Found::Measured);
        self.rows.push(Row { case, subject, unit, found });
    }

    /// The row of a case and subject, if it was measured.
    fn median(&self, case: &str, subject: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.case == case && row.subject == subject)?;
        match &row.found {
            Found::Measured(spread) => Some(spread.median),
            Found::Skipped { .. } => None,
        }
    }

    /// Adds the ratio of two rows that are there already; none if one of them was skipped.
    pub fn compare(
        &mut self,
        case: &'static str,
        subject: &'static str,
        against: &'static str,
        better: Better,
        wanted: Option<f64>,
    ) {
        let (Some(ours), Some(theirs)) = (self.median(case, subject), self.median(case, against)) else { return };
        if theirs == 0.0 {
            return;
        }
        let ratio = ours / theirs;
        let met = wanted.map(|wanted| match better {
            Better::Lower => ratio <= wanted,
            Better::Higher => ratio >= wanted,
        });
        self.ratios.push(Ratio { case, subject, against, ratio, better, wanted, met });
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut lines = vec![["case", "subject", "median", "min", "max", ""].map(str::to_owned)];
        for Row { case, subject, unit, found } in &self.rows {
            let [median, min, max, note] = match found {
                Found::Measured(Spread { median, min, max }) => {
                    [unit.show(*median), unit.show(*min), unit.show(*max), self.remarks(case, subject)]
                }
                Found::Skipped { skipped } => ["".into(), "".into(), "".into(), format!("skipped: {skipped}")],
            };
            lines.push([(*case).to_owned(), (*subject).to_owned(), median, min, max, note]);
        }
        let mut text = format!("{}: {} cores, {} rounds\n", self.bench, self.cores, self.rounds);
        let width =
            |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
        let [case, subject, median, min, max] = [width(0), width(1), width(2), width(3), width(4)];
        for [a, b, c, d, e, f] in &lines {
            let line = format!("{a:case$}  {b:subject$}  {c:>median$}  {d:>min$}  {e:>max$}  {f}");
            // Cannot fail: a String takes all.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// What is to be said about a row beside its values: how our subject compares with it.
    fn remarks(&self, case: &str, subject: &str) -> String {
        let about = self.ratios.iter().find(|ratio| ratio.case == case && ratio.against == subject);
        about.map_or_else(String::new, |Ratio { subject, ratio, met, wanted, .. }| {
            let verdict = match (met, wanted) {
                (Some(true), Some(wanted)) => format!(", as wanted ({wanted})"),
                (Some(false), Some(wanted)) => format!(", NOT as wanted ({wanted})"),
                (Some(_) | None, _) => String::new(),
            };
            format!("{subject} has {} times this{verdict}", three_digits(*ratio))
        })
    }
}

/// A number with three digits that say something. (Not by its logarithm: no other function of libm is used, and an image
/// with that library is half a megabyte larger.)
fn three_digits(number: f64) -> String {
    let scientific = format!("{number:.2e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()).unwrap_or(0);
    let digits = usize::try_from((2 - exponent).clamp(0, 9)).unwrap_or(0);
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests;
