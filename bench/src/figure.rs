//! One measured number beside what it must be, and the table of all of them.

use serde_json::{Value, json};

/// A measured number. All targets are upper bounds.
pub struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
    target: Option<f64>,
    note: String,
    failure: Option<String>,
}

impl Figure {
    /// A number without a target: shown for comparison.
    pub fn new(name: &str, value: f64, unit: &'static str) -> Figure {
        Figure { name: name.into(), unit, value, target: None, note: String::new(), failure: None }
    }

    /// A benchmark that gave no number, and why.
    pub fn failed(name: &str, reason: &str) -> Figure {
        Figure { failure: Some(reason.into()), ..Figure::new(name, f64::NAN, "") }
    }

    /// The same with the most that it may be.
    pub fn at_most(self, target: f64) -> Figure {
        Figure { target: Some(target), ..self }
    }

    /// The same with a remark.
    pub fn note(self, note: impl Into<String>) -> Figure {
        Figure { note: note.into(), ..self }
    }

    fn verdict(&self) -> &'static str {
        match (&self.failure, self.target) {
            (Some(_), _) => "no result",
            (None, None) => "",
            (None, Some(target)) if self.value <= target => "met",
            (None, Some(_)) => "MISSED",
        }
    }

    /// The figure as data.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value.is_finite().then_some(self.value),
            "unit": self.unit,
            "at_most": self.target,
            "verdict": self.verdict(),
            "note": self.failure.as_ref().unwrap_or(&self.note),
        })
    }

    fn cells(&self) -> [String; 5] {
        let number = |value: f64| format!("{} {}", short(value), self.unit).trim_end().to_owned();
        let value = if self.failure.is_some() { "–".into() } else { number(self.value) };
        let target = self.target.map(|target| format!("≤ {}", number(target))).unwrap_or_default();
        let note = self.failure.as_ref().unwrap_or(&self.note).lines().next().unwrap_or_default().to_owned();
        [self.name.clone(), value, target, self.verdict().into(), note]
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All figures as lines of equal columns.
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "measured", "target", "verdict", "note"].map(String::from);
    align(std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect())
}

/// Pads each column to its widest cell.
pub fn align<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The middle of what was measured: half are less. NaN for nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn verdicts() {
        let check = |figure: Figure, expect: &str| assert_eq!(figure.verdict(), expect);
        check(Figure::new("a", 1.5, "×").at_most(1.5), "met");
        check(Figure::new("a", 1.51, "×").at_most(1.5), "MISSED");
        check(Figure::new("a", 1.0, "ms"), "");
        check(Figure::failed("a", "no network"), "no result");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![["a".into(), "×1".into()], ["bcd".into(), "2".into()]];
        assert_eq!(align(rows), "a    ×1\nbcd  2");
        assert_eq!([short(1.234), short(12.34), short(123.4), short(2.0)], ["1.23", "12.3", "123", "2"]);
    }
}
