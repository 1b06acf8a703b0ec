//! Go's `text/template`, as far as `--format` needs it: what Docker's client makes of a format, this makes too, with
//! the same words for what is wrong.
//!
//! ```text
//! text ──lex──▶ tokens ──parse──▶ nodes (ast) ──eval──▶ text
//!                                    ▲             ▲
//!                   functions are known by name    │  Value: a document, a row of a listing, its heads
//! ```
//!
//! Not here: `call` and `js`, complex numbers. Depth, steps and output are bounded.

mod ast;
mod eval;
mod functions;
mod lex;
mod order;
mod parse;
mod printf;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ast::{Node, What};

pub(crate) use printf::quoted;
pub(crate) use value::{Value, harmless};

/// A template that was understood.
#[derive(Debug)]
pub(crate) struct Template {
    name: &'static str,
    text: String,
    nodes: Vec<Node>,
    /// What `{{define}}` and `{{block}}` made, by name.
    defined: BTreeMap<String, Vec<Node>>,
    /// Whether it works on documents, for the words of its errors.
    document: bool,
}

impl Template {
    /// Understands a template that rows of a listing are to be printed with.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub(crate) fn of_rows(text: &str) -> Result<Self, String> {
        Self::parse("", text, false)
    }

    /// Understands a template that documents are to be printed with; `name` stands in its errors.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub(crate) fn of_documents(name: &'static str, text: &str) -> Result<Self, String> {
        Self::parse(name, text, true)
    }

    fn parse(name: &'static str, text: &str, document: bool) -> Result<Self, String> {
        match parse::parse(text) {
            Ok((nodes, defined)) => Ok(Self { name, text: text.to_owned(), nodes, defined, document }),
            Err((line, error)) => Err(format!("template: {name}:{line}: {error}")),
        }
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// What cannot be done with the value, in Go's words.
    pub(crate) fn execute(&self, data: &Value) -> Result<String, String> {
        self.run(data, false)
    }

    /// What it makes of the heads of a listing's columns. Docker prints as much as there is when that fails.
    pub(crate) fn heads(&self, heads: &Value) -> String {
        self.run(heads, true).unwrap_or_default()
    }

    fn run(&self, data: &Value, heads: bool) -> Result<String, String> {
        eval::Run::run(self, data, heads).map_err(|failed| {
            let before = &self.text[..failed.at];
            let line = 1 + before.matches('\n').count();
            let column = failed.at - before.rfind('\n').map_or(0, |newline| newline + 1);
            let (name, piece) = (self.name, failed.piece);
            let within = failed.within.as_deref().unwrap_or(name);
            format!("template: {name}:{line}:{column}: executing {within:?} at <{piece}>: {}", failed.error)
        })
    }

    /// Whether it names this field, or prints whole rows as JSON: what is dear to find out is then needed.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        let mentions = |node: &Node| {
            node.any(&|word| match &word.what {
                What::Field(names) | What::Variable(_, names) => names.iter().any(|name| name == field),
                What::Function(name) => name == "json",
                _ => false,
            })
        };
        self.nodes.iter().chain(self.defined.values().flatten()).any(mentions)
    }
}
