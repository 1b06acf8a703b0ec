use std::fmt;
use std::rc::Rc;

use super::ast::{Branch, Command, Node, Pipe, What, Word};
use super::functions::{self, Parameter};
use super::value::{Kind, Object, zero};
use super::{Template, Value, order};

/// Bytes that a template may write, and values that it may look at: a format is for people and scripts.
const MAX_OUTPUT: usize = 64 << 20;
const MAX_STEPS: u64 = 20_000_000;
/// Templates that call each other.
const MAX_CALLS: u32 = 100;

/// What is wrong and with which piece: where it begins, and the piece as written.
pub(super) struct Failed {
    pub(super) at: usize,
    /// The template that it stands in, if that is not the whole.
    pub(super) within: Option<String>,
    pub(super) piece: String,
    pub(super) error: String,
}

type Done<T> = Result<T, Failed>;

/// A piece of the template that is being evaluated.
#[derive(Clone, Copy)]
enum Piece<'t> {
    Word(&'t Word),
    Command(&'t Command),
    Pipe(&'t Pipe),
}

impl Piece<'_> {
    const fn at(self) -> usize {
        match self {
            Self::Word(word) => word.at,
            Self::Command(command) => command.at,
            Self::Pipe(pipe) => pipe.at,
        }
    }
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => word.fmt(f),
            Self::Command(command) => command.fmt(f),
            Self::Pipe(pipe) => pipe.fmt(f),
        }
    }
}

/// One run of a template over a value.
pub(super) struct Run<'t> {
    /// Variables in scope and their values, innermost last.
    variables: Vec<(String, Value)>,
    out: String,
    steps: u64,
    /// Calls of templates that we are in, and the innermost.
    depth: u32,
    within: Option<&'t str>,
    /// Whether the column heads are printed: functions that change text leave them as they are.
    heads: bool,
    template: &'t Template,
    /// What was looked at last: what Go names in an error.
    last: Option<Piece<'t>>,
}

/// Where a body goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'t> Run<'t> {
    /// What the template makes of a value.
    pub(super) fn run(template: &'t Template, data: &Value, heads: bool) -> Done<String> {
        let mut run = Self {
            variables: vec![("$".into(), data.clone())],
            out: String::new(),
            steps: 0,
            depth: 0,
            within: None,
            heads,
            template,
            last: None,
        };
        run.body(data, &template.nodes).map(|_| run.out)
    }

    /// What is wrong with the piece that was looked at last.
    fn failed<T>(&self, error: impl Into<String>) -> Done<T> {
        let (at, piece) = self.last.map_or((0, String::new()), |piece| (piece.at(), piece.to_string()));
        Err(Failed { at, within: self.within.map(str::to_owned), piece, error: error.into() })
    }

    fn body(&mut self, dot: &Value, nodes: &'t [Node]) -> Done<Flow> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::On
                }
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        value.print(&mut self.out);
                    }
                    self.step(pipe)?;
                    Flow::On
                }
                Node::If(branch) => self.branch(dot, branch, |_| dot.clone())?,
                Node::With(branch) => self.branch(dot, branch, Value::clone)?,
                Node::Range(branch) => self.range(dot, branch)?,
                Node::Template(at, name, pipe) => self.call(dot, (*at, name), pipe.as_ref())?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Another template, whose dot and `$` are the value of the pipe.
    fn call(&mut self, dot: &Value, (at, name): (usize, &'t str), pipe: Option<&'t Pipe>) -> Done<Flow> {
        let within = self.within;
        let failed = |error| {
            let given = pipe.map_or_else(String::new, |pipe| format!(" {pipe}"));
            let piece = format!("{{{{template {name:?}{given}}}}}");
            Err(Failed { at, within: within.map(str::to_owned), piece, error })
        };
        let Some(nodes) = self.template.defined.get(name) else {
            return failed(format!("template {name:?} not defined"));
        };
        // Calls may branch: a hundred levels of two each would never end.
        self.steps += 100;
        if self.depth == MAX_CALLS || self.steps > MAX_STEPS {
            return failed(format!("exceeded maximum template depth ({MAX_CALLS})"));
        }
        let value = pipe.map_or(Ok(Value::Nothing), |pipe| self.pipe(dot, pipe))?;
        self.depth += 1;
        let outside = std::mem::replace(&mut self.variables, vec![("$".into(), value.clone())]);
        self.within = Some(name);
        self.body(&value, nodes)?;
        self.within = within;
        self.variables = outside;
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn step(&mut self, pipe: &'t Pipe) -> Done<()> {
        self.steps += 1;
        if self.out.len() > MAX_OUTPUT || self.steps > MAX_STEPS {
            self.last = Some(Piece::Pipe(pipe));
            return self.failed(format!("output of more than {} MiB", MAX_OUTPUT >> 20));
        }
        Ok(())
    }

    fn branch(&mut self, dot: &Value, branch: &'t Branch, inner: impl Fn(&Value) -> Value) -> Done<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            self.body(&inner(&value), &branch.then)
        } else {
            self.body(dot, &branch.otherwise)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Done<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let items: Box<dyn Iterator<Item = (Value, Value)>> = match value.made() {
            Value::List(items) => {
                Box::new(items.iter().enumerate().map(|(at, item)| (at.into(), item.clone())))
            }
            Value::Int(number) => Box::new((0..*number).map(|at| (Value::Int(at), Value::Int(at)))),
            Value::Object(object) if !matches!(object.kind, Kind::Row(..)) => {
                Box::new(object.fields.iter().map(|(name, item)| (Value::Text(name.clone()), item.clone())))
            }
            Value::Nothing | Value::Nil => Box::new(std::iter::empty()),
            other => {
                let mut text = String::new();
                other.print(&mut text);
                return self.failed(format!("range can't iterate over {text}"));
            }
        };
        let variables = &branch.pipe.variables;
        let mut empty = true;
        for (key, item) in items {
            empty = false;
            self.step(&branch.pipe)?;
            match &variables[..] {
                [item_name] => self.set(scope, branch, item_name, item.clone()),
                [key_name, item_name] => {
                    self.set(scope, branch, key_name, key);
                    self.set(scope, branch, item_name, item.clone());
                }
                _ => {}
            }
            let inner = self.variables.len();
            let flow = self.body(&item, &branch.then)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        if empty { self.body(dot, &branch.otherwise) } else { Ok(Flow::On) }
    }

    /// Sets a variable of a range: its own, or one that was there before.
    fn set(&mut self, scope: usize, branch: &'t Branch, name: &str, value: Value) {
        let from = if branch.pipe.assigns { 0 } else { scope };
        match self.variables[from..].iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Done<Value> {
        self.last = Some(Piece::Pipe(pipe));
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last.as_ref())?);
        }
        let value = last.unwrap_or(Value::Nothing);
        // A range sets its variables for each item.
        if let [name] = &pipe.variables[..] {
            if pipe.assigns {
                if let Some((_, known)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    *known = value.clone();
                }
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<&Value>) -> Done<Value> {
        let first = &command.words[0];
        let has_arguments = command.words.len() > 1 || last.is_some();
        match &first.what {
            What::Function(name) => {
                self.last = Some(Piece::Word(first));
                return self.invoke(dot, name, Piece::Command(command), &command.words[1..], last);
            }
            What::Field(names) => return self.fields(dot, names, command, dot.clone(), last),
            What::Variable(name, names) if !names.is_empty() => {
                let value = self.variable(name);
                return self.fields(dot, names, command, value, last);
            }
            What::Chain(inner, names) => {
                let value = self.word(dot, inner)?;
                return self.fields(dot, names, command, value, last);
            }
            _ => {}
        }
        if has_arguments {
            self.last = Some(Piece::Word(first));
            return self.failed(format!("can't give argument to non-function {first}"));
        }
        if matches!(first.what, What::Nil) {
            self.last = Some(Piece::Word(first));
            return self.failed("nil is not a command");
        }
        self.word(dot, first)
    }

    /// The value of a word that stands alone or is an argument.
    fn word(&mut self, dot: &Value, word: &'t Word) -> Done<Value> {
        self.last = Some(Piece::Word(word));
        match &word.what {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(Value::Nil),
            What::Bool(value) => Ok(Value::Bool(*value)),
            What::Number(_, value) => Ok(value.clone()),
            What::Text(_, text) => Ok(Value::from(text.as_str())),
            What::Field(names) => self.chain(dot.clone(), names),
            What::Variable(name, names) => self.chain(self.variable(name), names),
            What::Pipe(pipe) => self.pipe(dot, pipe),
            What::Chain(inner, names) => {
                let value = self.word(dot, inner)?;
                self.last = Some(Piece::Word(word));
                self.chain(value, names)
            }
            What::Function(name) => self.invoke(dot, name, Piece::Word(word), &[], None),
        }
    }

    /// Fields one after another, without arguments.
    fn chain(&self, value: Value, names: &[String]) -> Done<Value> {
        names.iter().try_fold(value, |value, name| self.field(&value, name))
    }

    fn variable(&self, name: &str) -> Value {
        // The parser let only known ones pass.
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map_or(Value::Nothing, |(_, v)| v.clone())
    }

    /// Fields one after another; the last may be `.Label "key"`, the only one that takes an argument.
    fn fields(
        &mut self,
        dot: &Value,
        names: &'t [String],
        command: &'t Command,
        mut value: Value,
        last: Option<&Value>,
    ) -> Done<Value> {
        self.last = Some(Piece::Word(&command.words[0]));
        let Some((end, names)) = names.split_last() else { return Ok(value) };
        value = self.chain(value, names)?;
        let given = command.words.len() - 1 + usize::from(last.is_some());
        let object = match &value {
            Value::Object(object) if end == "Label" && has_labels(object) => object.clone(),
            Value::Object(object) if given > 0 && object.get(end).is_some() => {
                return self.failed(match object.kind {
                    Kind::Row(..) => format!("wrong number of args for {end}: want 0 got {given}"),
                    _ => format!("{end} is not a method but has arguments"),
                });
            }
            _ => return self.field(&value, end),
        };
        if given != 1 {
            return self.failed(format!("wrong number of args for Label: want 1 got {given}"));
        }
        let key = match (command.words.get(1), last) {
            (Some(argument), _) => self.argument(dot, argument, Parameter::Text)?,
            (None, last) => last.cloned().unwrap_or(Value::Nothing),
        };
        let Value::Text(key) = key else {
            return self.failed(format!("wrong type for value; expected string; got {}", key.type_name()));
        };
        Ok(label(&object, &key))
    }

    fn field(&self, value: &Value, name: &str) -> Done<Value> {
        let object = match value.made() {
            Value::Nothing => return Ok(Value::Nothing),
            Value::Nil => {
                return self.failed(format!("nil pointer evaluating interface {{}}.{name}"));
            }
            Value::Object(object) => object,
            other => {
                let kind = if self.template.document { "interface {}" } else { other.type_name() };
                return self.failed(format!("can't evaluate field {name} in type {kind}"));
            }
        };
        match (object.get(name), &object.kind) {
            (Some(found), _) => Ok(found.clone()),
            // A key of a map that is asked for by a dot is nothing, whatever `index` would answer.
            (None, Kind::Map(_) | Kind::Head) => Ok(Value::Nothing),
            // The field of Docker's type is spelled otherwise than its JSON.
            (None, Kind::Struct("Client" | "Server")) if name == "APIVersion" => {
                Ok(object.get("ApiVersion").cloned().unwrap_or(Value::Nothing))
            }
            // Docker's types have it, and its JSON leaves it out.
            (None, Kind::Struct(below)) if order::knows(below, name) => Ok(zero(name)),
            (None, Kind::Struct(_)) => self.failed(format!("map has no entry for key {name:?}")),
            (None, Kind::Row(kind, _)) if name == "Label" => {
                self.failed(format!("wrong number of args for Label: want 1 got 0 in type {kind}"))
            }
            (None, Kind::Row(kind, _)) => self.failed(format!("can't evaluate field {name} in type {kind}")),
        }
    }

    /// Calls a function: `whole` is what its own errors point at.
    fn invoke(
        &mut self,
        dot: &Value,
        name: &str,
        whole: Piece<'t>,
        words: &'t [Word],
        last: Option<&Value>,
    ) -> Done<Value> {
        let given = words.len() + usize::from(last.is_some());
        let signature = functions::signature(name);
        if let Err(wanted) = signature.takes(given) {
            let error = format!("wrong number of args for {name}: want {wanted} got {given}");
            return self.failed(error);
        }
        if name == "and" || name == "or" {
            return self.either(dot, name == "or", words, last);
        }
        let mut arguments = Vec::with_capacity(given);
        for (place, word) in words.iter().enumerate() {
            arguments.push(self.argument(dot, word, signature.parameter(place))?);
        }
        if let Some(last) = last {
            if let Some(error) = signature.parameter(words.len()).refuses(last) {
                return self.failed(error);
            }
            arguments.push(last.clone());
        }
        if name != "json" {
            arguments.iter_mut().for_each(|argument| *argument = argument.made().clone());
        }
        if self.heads && functions::keeps_heads(name) {
            // `split` and `join` have the head first, like the others.
            return Ok(arguments.swap_remove(0));
        }
        functions::call(name, &arguments).or_else(|error| {
            self.last = Some(whole);
            self.failed(format!("error calling {name}: {error}"))
        })
    }

    fn argument(&mut self, dot: &Value, word: &'t Word, parameter: Parameter) -> Done<Value> {
        let value = self.word(dot, word)?;
        let error = match (&word.what, parameter) {
            (What::Nil, Parameter::Text | Parameter::Int | Parameter::Texts) => {
                Some(format!("cannot assign nil to {}", parameter.name()))
            }
            (What::Bool(_) | What::Number(..) | What::Text(..), _) if parameter.refuses(&value).is_some() => {
                let kind = if parameter == Parameter::Int { "integer" } else { parameter.name() };
                Some(format!("expected {kind}; found {word}"))
            }
            _ if self.heads => None,
            _ => parameter.refuses(&value),
        };
        match error {
            Some(error) => self.failed(error),
            None => Ok(value),
        }
    }

    /// `and` and `or` look no further than they must.
    fn either(&mut self, dot: &Value, or: bool, words: &'t [Word], last: Option<&Value>) -> Done<Value> {
        let mut value = Value::Nothing;
        for word in words {
            value = self.word(dot, word)?;
            if value.is_true() == or {
                return Ok(value);
            }
        }
        Ok(last.cloned().unwrap_or(value))
    }
}

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }
}

fn has_labels(object: &Object) -> bool {
    matches!(object.kind, Kind::Row(..) | Kind::Head)
}

/// `.Label "key"`: of a row its value, as a head the last part of the key.
fn label(object: &Rc<Object>, key: &str) -> Value {
    match &object.kind {
        Kind::Row(_, labels) => labels.get(key).map_or("", String::as_str).into(),
        _ => key.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ").into(),
    }
}
