//! A parsed template. Each piece knows where it stands, and prints itself as it is quoted in errors.

use std::fmt;

/// A piece of a template's body.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// `{{template "name" pipe}}`: where the name stands, the name, and what it works on.
    Template(usize, String, Option<Pipe>),
    Break,
    Continue,
}

/// `{{if}}`, `{{with}}` or `{{range}}` and what stands in it.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which is given the value of the one before it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// Variables that are set, with their `$`.
    pub(super) variables: Vec<String>,
    /// Whether they are there already (`=`).
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A value, or a function and its arguments; never empty.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Word>,
}

/// One word of a command.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) what: What,
}

/// What a [`Word`] is.
#[derive(Debug)]
pub(super) enum What {
    Dot,
    Nil,
    Bool(bool),
    Number(String, super::Value),
    /// As written, and its value.
    Text(String, String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
    /// Fields of something in parentheses, or of a function's value.
    Chain(Box<Word>, Vec<String>),
}

impl Pipe {
    /// Whether some word of it satisfies this.
    pub(super) fn any(&self, test: &dyn Fn(&Word) -> bool) -> bool {
        self.commands.iter().flat_map(|command| &command.words).any(|word| word.any(test))
    }
}

impl Word {
    fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match &self.what {
                What::Pipe(pipe) => pipe.any(test),
                What::Chain(word, _) => word.any(test),
                _ => false,
            }
    }
}

impl Node {
    /// Whether some word below satisfies this.
    pub(super) fn any(&self, test: &dyn Fn(&Word) -> bool) -> bool {
        match self {
            Self::Text(_) | Self::Break | Self::Continue => false,
            Self::Action(pipe) => pipe.any(test),
            Self::Template(_, _, pipe) => pipe.as_ref().is_some_and(|pipe| pipe.any(test)),
            Self::If(branch) | Self::With(branch) | Self::Range(branch) => {
                branch.pipe.any(test)
                    || branch.then.iter().chain(&branch.otherwise).any(|node| node.any(test))
            }
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            let bar = if at > 0 { " | " } else { "" };
            write!(f, "{bar}{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{word}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.what {
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Bool(value) => write!(f, "{value}"),
            What::Number(text, _) | What::Text(text, _) | What::Function(text) => f.write_str(text),
            What::Field(names) => fields(f, names),
            What::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            What::Pipe(pipe) => write!(f, "({pipe})"),
            What::Chain(word, names) => {
                write!(f, "{word}")?;
                fields(f, names)
            }
        }
    }
}
