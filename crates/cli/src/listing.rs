//! Listings: rows through a template, as Docker's client prints them.

use std::collections::BTreeMap;

use rustix::termios::isatty;

use crate::Failure;
use crate::output::columns;
use crate::template::{Template, Value};

/// What is listed.
pub(crate) struct Listing {
    /// The columns that there are and their heads.
    pub(crate) heads: &'static [(&'static str, &'static str)],
    /// `--format table`, and what is printed without a format.
    pub(crate) table: &'static str,
    /// `--format raw`.
    pub(crate) raw: &'static str,
}

/// A format that was understood.
pub(crate) struct Format {
    template: Template,
    heads: Option<Value>,
}

/// Whether what is printed goes to a terminal, which must not obey what an image or a container says.
pub(crate) fn to_terminal() -> bool {
    isatty(rustix::stdio::stdout())
}

impl Listing {
    /// Understands `--format`: empty, `table`, `table TEMPLATE`, `raw`, `json`, or a template.
    ///
    /// # Errors
    /// A text that is no template.
    pub(crate) fn format(&self, text: &str) -> Result<Format, Failure> {
        let (is_table, text) = match text {
            "" | "table" => (true, self.table),
            "json" => (false, "{{json .}}"),
            "raw" if !self.raw.is_empty() => (false, self.raw),
            text => match text.strip_prefix("table") {
                Some(rest) => (true, rest),
                None => (false, text),
            },
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::of_rows(&text).map_err(failure)?;
        Ok(Format { template, heads: is_table.then(|| Value::head(self.heads)) })
    }
}

impl Format {
    /// Whether the template asks for a cell that these rows lack, which where there is none is found out so.
    ///
    /// # Errors
    /// It does.
    pub(crate) fn check(&self, kind: &'static str, listing: &Listing) -> Result<(), Failure> {
        let cells = listing.heads.iter().map(|(name, _)| (*name, Value::from(""))).collect();
        match self.template.execute(&Value::row(kind, cells, BTreeMap::new())) {
            // Other errors are about the values.
            Err(error) if error.contains("can't evaluate field") => {
                Err(Failure::new(format!("failed to execute template: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether columns with heads are printed.
    pub(crate) const fn is_table(&self) -> bool {
        self.heads.is_some()
    }

    /// Whether this cell is printed: what is dear to find out is asked for only then.
    pub(crate) fn mentions(&self, cell: &str) -> bool {
        self.template.mentions(cell)
    }

    /// The rows as text.
    ///
    /// # Errors
    /// A template that asks for what a row does not have.
    pub(crate) fn rows(&self, rows: &[Value]) -> Result<String, Failure> {
        let mut text = String::new();
        if let Some(heads) = &self.heads {
            text.push_str(&self.template.heads(heads));
            text.push('\n');
        }
        for row in rows {
            text.push_str(&self.template.execute(row).map_err(failure)?);
            text.push('\n');
        }
        Ok(if self.heads.is_some() { columns(&text, 10, 3) } else { text })
    }
}

fn failure(error: String) -> Failure {
    Failure::new(format!("template parsing error: {error}"))
}
