use std::collections::BTreeMap;

use super::Value;
use super::ast::{Branch, Command, Node, Pipe, What, Word};
use super::functions;
use super::lex::{Kind, Token, lex};

/// Blocks and parentheses inside each other.
const MAX_DEPTH: usize = 100;

/// Templates by name.
type Defined = BTreeMap<String, Vec<Node>>;

/// The nodes of a template and of those that it defines, or the line (from 1) and what is wrong there.
pub(super) fn parse(text: &str) -> Result<(Vec<Node>, Defined), (usize, String)> {
    let mut parser = Parser {
        tokens: lex(text),
        at: 0,
        variables: vec!["$".into()],
        depth: 0,
        ranges: 0,
        defined: Defined::new(),
    };
    let parsed = parser.list(true).map(|(nodes, _)| nodes);
    let defined = std::mem::take(&mut parser.defined);
    parsed.map(|nodes| (nodes, defined)).map_err(|error| {
        let at = parser.tokens[parser.at.saturating_sub(1)].at;
        (1 + text[..at].matches('\n').count(), error)
    })
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    /// In scope, innermost last.
    variables: Vec<String>,
    depth: usize,
    /// Ranges that we are in.
    ranges: usize,
    defined: Defined,
}

/// What a list of nodes ended with.
enum Ended {
    End,
    Else,
}

type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    /// Takes a token. The last is never passed.
    fn next(&mut self) -> Token<'t> {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn peek(&self) -> &Token<'t> {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn deeper<T>(&mut self, act: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let done = act(self);
        self.depth -= 1;
        done
    }

    /// Nodes up to `{{end}}`, `{{else}}`, or the end of the template if that is where this list ends.
    fn list(&mut self, top: bool) -> Parsed<(Vec<Node>, Ended)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Text => nodes.push(Node::Text(token.text.to_owned())),
                Kind::Left => {
                    self.skip_space();
                    match self.peek().text {
                        "end" => {
                            self.next();
                            self.right("end")?;
                            return if top {
                                Err("unexpected {{end}}".into())
                            } else {
                                Ok((nodes, Ended::End))
                            };
                        }
                        "else" if top => return Err("unexpected {{else}}".into()),
                        "else" => return Ok((nodes, Ended::Else)),
                        "define" if top && self.peek().kind == Kind::Keyword => self.deeper(Self::define)?,
                        _ => nodes.push(self.deeper(Self::action)?),
                    }
                }
                Kind::End if top => return Ok((nodes, Ended::End)),
                _ => return Err(unexpected(&token, "input")),
            }
        }
    }

    fn action(&mut self) -> Parsed<Node> {
        if self.peek().kind != Kind::Keyword {
            return Ok(Node::Action(self.pipeline("command", &Kind::Right)?));
        }
        let token = self.next();
        match token.text {
            "if" | "with" | "range" => self.control(token.text),
            word @ ("break" | "continue") => {
                if self.ranges == 0 {
                    return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.right(word)?;
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            "template" => self.template(),
            "block" => self.block(),
            word => Err(format!("unexpected {{{{{word}}}}}")),
        }
    }

    /// `{{define "name"}} … {{end}}`. The later of two of one name wins, unless it is empty.
    fn define(&mut self) -> Parsed<()> {
        self.next();
        let (_, name) = self.name("define clause")?;
        self.right("define clause")?;
        self.body_of(name)
    }

    /// `{{template "name" pipeline}}`.
    fn template(&mut self) -> Parsed<Node> {
        let (at, name) = self.name("template clause")?;
        self.skip_space();
        if self.peek().kind == Kind::Right {
            self.next();
            return Ok(Node::Template(at, name, None));
        }
        Ok(Node::Template(at, name, Some(self.pipeline("template clause", &Kind::Right)?)))
    }

    /// `{{block "name" pipeline}} … {{end}}`: a template, defined where it is used.
    fn block(&mut self) -> Parsed<Node> {
        let (at, name) = self.name("block clause")?;
        let pipe = self.pipeline("block clause", &Kind::Right)?;
        self.body_of(name.clone())?;
        Ok(Node::Template(at, name, Some(pipe)))
    }

    /// The nodes up to `{{end}}` as a template of that name, which sees no variable from outside.
    fn body_of(&mut self, name: String) -> Parsed<()> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, ended) = self.list(false)?;
        if matches!(ended, Ended::Else) {
            return Err("unexpected {{else}} in define clause".into());
        }
        (self.variables, self.ranges) = (outside, ranges);
        let blank = |node: &Node| matches!(node, Node::Text(text) if text.trim().is_empty());
        if !self.defined.contains_key(&name) || !nodes.iter().all(blank) {
            self.defined.insert(name, nodes);
        }
        Ok(())
    }

    /// A quoted name, and where it stands.
    fn name(&mut self, context: &str) -> Parsed<(usize, String)> {
        self.skip_space();
        let token = self.next();
        match token.kind {
            Kind::Quoted => match unquote(token.text) {
                Some(name) => Ok((token.at, name)),
                None => Err("invalid syntax".into()),
            },
            _ => Err(unexpected(&token, context)),
        }
    }

    fn control(&mut self, word: &str) -> Parsed<Node> {
        let scope = self.variables.len();
        let pipe = self.pipeline(word, &Kind::Right)?;
        self.ranges += usize::from(word == "range");
        let (then, mut ended) = self.list(false)?;
        self.ranges -= usize::from(word == "range");
        let mut otherwise = Vec::new();
        if matches!(ended, Ended::Else) {
            self.next();
            self.skip_space();
            let again = self.peek().text;
            if (again == "if" || again == "with") && again == word {
                // `{{else if}}` shares the `{{end}}`.
                self.next();
                let inner = self.deeper(|parser| parser.control(word))?;
                otherwise.push(inner);
                ended = Ended::End;
            } else {
                self.right("else")?;
                (otherwise, ended) = self.list(false)?;
            }
        }
        if matches!(ended, Ended::Else) {
            return Err("expected end; found {{else}}".into());
        }
        self.variables.truncate(scope);
        let branch = Branch { pipe, then, otherwise };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    fn right(&mut self, context: &str) -> Parsed<()> {
        self.skip_space();
        let token = self.next();
        if token.kind == Kind::Right { Ok(()) } else { Err(unexpected(&token, context)) }
    }

    fn pipeline(&mut self, context: &str, close: &Kind) -> Parsed<Pipe> {
        self.skip_space();
        let mut pipe =
            Pipe { at: self.peek().at, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declaration(context, &mut pipe)?;
        loop {
            self.skip_space();
            let token = self.peek().clone();
            if token.kind == *close {
                self.next();
                return finished(pipe, context);
            }
            let begins = matches!(
                token.kind,
                Kind::Field
                    | Kind::Variable
                    | Kind::Dot
                    | Kind::Word
                    | Kind::Number
                    | Kind::Char
                    | Kind::Quoted
                    | Kind::LeftParen
            );
            if !begins {
                self.next();
                return Err(unexpected(&token, context));
            }
            pipe.commands.push(self.command()?);
        }
    }

    /// `$x :=`, `$x =`, and for range `$key, $value :=`.
    fn declaration(&mut self, context: &str, pipe: &mut Pipe) -> Parsed<()> {
        let begin = self.at;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Variable {
            names.push(self.next().text.to_owned());
            self.skip_space();
            let token = self.next();
            match token.kind {
                Kind::Declare | Kind::Assign => {
                    pipe.assigns = token.kind == Kind::Assign;
                    if pipe.assigns {
                        names.iter().try_for_each(|name| self.known(name))?;
                    } else {
                        self.variables.extend(names.iter().cloned());
                    }
                    pipe.variables = names;
                    return Ok(());
                }
                Kind::Comma if context == "range" && names.len() == 1 => self.skip_space(),
                Kind::Comma => return Err(format!("too many declarations in {context}")),
                _ => break,
            }
        }
        self.at = begin;
        Ok(())
    }

    fn known(&self, name: &str) -> Parsed<()> {
        if self.variables.iter().any(|known| known == name) {
            Ok(())
        } else {
            Err(format!("undefined variable {name:?}"))
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { at: self.peek().at, words: Vec::new() };
        loop {
            self.skip_space();
            if let Some(word) = self.operand()? {
                command.words.push(word);
            }
            match self.peek().kind {
                Kind::Space => {}
                Kind::Pipe => {
                    self.next();
                    break;
                }
                Kind::Right | Kind::RightParen => break,
                _ => return Err(unexpected(&self.next(), "operand")),
            }
        }
        if command.words.is_empty() { Err("empty command".into()) } else { Ok(command) }
    }

    /// A term and the fields that follow it.
    fn operand(&mut self) -> Parsed<Option<Word>> {
        let Some(mut word) = self.term()? else { return Ok(None) };
        let at = self.peek().at;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.next().text[1..].to_owned());
        }
        if names.is_empty() {
            return Ok(Some(word));
        }
        match &mut word.what {
            What::Field(known) | What::Variable(_, known) => {
                known.extend(names);
                word.at = at;
                Ok(Some(word))
            }
            What::Pipe(_) | What::Function(_) => {
                Ok(Some(Word { at, what: What::Chain(Box::new(word), names) }))
            }
            What::Dot => Err(format!("unexpected <.{}> after .", names[0])),
            _ => Err(format!("unexpected . after term {:?}", word.to_string())),
        }
    }

    fn term(&mut self) -> Parsed<Option<Word>> {
        let token = self.peek().clone();
        let what = match token.kind {
            Kind::Word => match token.text {
                "nil" => What::Nil,
                "true" | "false" => What::Bool(token.text == "true"),
                name if functions::exists(name) => What::Function(name.to_owned()),
                name => return self.fail(format!("function {name:?} not defined")),
            },
            Kind::Dot => What::Dot,
            Kind::Variable => match self.known(token.text) {
                Ok(()) => What::Variable(token.text.to_owned(), Vec::new()),
                Err(error) => return self.fail(error),
            },
            Kind::Field => What::Field(vec![token.text[1..].to_owned()]),
            Kind::Number | Kind::Char => match number(token.text) {
                Some(value) => What::Number(token.text.to_owned(), value),
                None => return self.fail(format!("malformed character constant: {}", token.text)),
            },
            Kind::Quoted => match unquote(token.text) {
                Some(value) => What::Text(token.text.to_owned(), value),
                None => return self.fail("invalid syntax".into()),
            },
            Kind::LeftParen => {
                self.next();
                let pipe =
                    self.deeper(|parser| parser.pipeline("parenthesized pipeline", &Kind::RightParen))?;
                return Ok(Some(Word { at: pipe.at, what: What::Pipe(Box::new(pipe)) }));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(Word { at: token.at, what }))
    }

    fn fail<T>(&mut self, error: String) -> Parsed<T> {
        self.next();
        Err(error)
    }
}

/// A pipeline has commands, and only its first may be a constant.
fn finished(pipe: Pipe, context: &str) -> Parsed<Pipe> {
    if pipe.commands.is_empty() {
        return Err(format!("missing value for {context}"));
    }
    for (at, command) in pipe.commands.iter().enumerate().skip(1) {
        if matches!(
            command.words[0].what,
            What::Dot | What::Nil | What::Bool(_) | What::Number(..) | What::Text(..)
        ) {
            return Err(format!("non executable command in pipeline stage {}", at + 1));
        }
    }
    Ok(pipe)
}

fn unexpected(token: &Token<'_>, context: &str) -> String {
    let quoted = match token.kind {
        Kind::Error => return token.error.clone(),
        Kind::End => "EOF".to_owned(),
        Kind::Keyword => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            format!("{:?}...", token.text.chars().take(10).collect::<String>())
        }
        _ => format!("{:?}", token.text),
    };
    if token.kind == Kind::End && context == "input" {
        return "unexpected EOF".into();
    }
    format!("unexpected {quoted} in {context}")
}

/// The value of a numeric or character constant.
pub(super) fn number(text: &str) -> Option<Value> {
    if let Some(inside) = text.strip_prefix('\'') {
        let unquoted = unescape(inside.strip_suffix('\'')?)?;
        let mut chars = unquoted.chars();
        return match (chars.next(), chars.next()) {
            (Some(c), None) => Some(Value::Int(i64::from(u32::from(c)))),
            _ => None,
        };
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix(['+', '-']) {
        Some(rest) => (plain.starts_with('-'), rest),
        None => (false, plain.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find(|(prefix, _)| lower.starts_with(prefix));
    let whole = match radix {
        Some((_, radix)) => i64::from_str_radix(lower.get(2..)?, radix).ok(),
        None if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            i64::from_str_radix(&lower, 8).ok()
        }
        None => lower.parse().ok(),
    };
    match whole {
        Some(whole) => Some(Value::Int(if negative { -whole } else { whole })),
        None if radix.is_none() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            plain.parse().ok().map(Value::Float)
        }
        None => None,
    }
}

/// The value of a quoted string.
fn unquote(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return raw.strip_suffix('`').map(|raw| raw.replace('\r', ""));
    }
    unescape(text.strip_prefix('"')?.strip_suffix('"')?)
}

/// Go's escapes. Those that make single bytes make characters here, for a format is text.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (start, digits, radix) = match rest.chars().next()? {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            c => {
                out.push(escape(c)?);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        let code = u32::from_str_radix(rest.get(start..start + digits)?, radix).ok()?;
        out.push(char::from_u32(code)?);
        rest = &rest[start + digits..];
    }
    out.push_str(rest);
    Some(out)
}

fn escape(c: char) -> Option<char> {
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' | '"' | '\'' => c,
        _ => return None,
    })
}
