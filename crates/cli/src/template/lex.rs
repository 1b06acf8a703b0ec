/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text between actions.
    Text,
    /// `{{`.
    Left,
    /// `}}`.
    Right,
    Space,
    /// `.Name`.
    Field,
    /// `$` or `$name`.
    Variable,
    /// `.`.
    Dot,
    /// A function's name, `nil`, `true`, `false`.
    Word,
    /// `if`, `range`, …
    Keyword,
    Number,
    /// `'x'`.
    Char,
    /// `"…"` or `` `…` ``.
    Quoted,
    /// `|`.
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    /// `=`.
    Assign,
    /// `:=`.
    Declare,
    /// A character that means nothing.
    Other,
    End,
    /// Not a template; the text says why.
    Error,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// Where it begins, in bytes.
    pub(super) at: usize,
    pub(super) text: &'t str,
    /// Of [`Kind::Error`].
    pub(super) error: String,
}

const KEYWORDS: [&str; 10] =
    ["if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"];
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template into tokens; the last is [`Kind::End`] or [`Kind::Error`].
pub(super) fn lex(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0, parens: 0, tokens: Vec::new() };
    if let Err(error) = lexer.run() {
        let at = lexer.at;
        lexer.tokens.push(Token { kind: Kind::Error, at, text: "", error });
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    parens: u32,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let Some(open) = rest.find("{{") else {
                self.text_until(self.text.len(), false);
                self.push(Kind::End, self.at);
                return Ok(());
            };
            let trims = trims_after(&rest[open + 2..]);
            self.text_until(self.at + open, trims);
            let inside = self.at + 2 + if trims { 2 } else { 0 };
            if self.text[inside..].starts_with("/*") {
                self.comment(inside)?;
                continue;
            }
            self.push(Kind::Left, self.at + 2);
            self.at = inside;
            self.action()?;
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Takes what lies between here and `end` as one token.
    fn push(&mut self, kind: Kind, end: usize) {
        let text = &self.text[self.at..end];
        self.tokens.push(Token { kind, at: self.at, text, error: String::new() });
        self.at = end;
    }

    fn text_until(&mut self, end: usize, trims: bool) {
        let text = &self.text[self.at..end];
        let kept = if trims { text.trim_end_matches(SPACE) } else { text };
        if !kept.is_empty() {
            self.push(Kind::Text, self.at + kept.len());
        }
        self.at = end;
    }

    fn comment(&mut self, start: usize) -> Result<(), String> {
        let Some(close) = self.text[start..].find("*/") else { return Err("unclosed comment".into()) };
        self.at = start + close + 2;
        let trims = self.rest().starts_with(" -}}");
        let Some(after) = self.rest().strip_prefix(if trims { " -}}" } else { "}}" }) else {
            return Err("comment ends before closing delimiter".into());
        };
        self.at = self.text.len() - after.len();
        self.skip_space_if(trims);
        Ok(())
    }

    fn skip_space_if(&mut self, trims: bool) {
        if trims {
            self.at = self.text.len() - self.rest().trim_start_matches(SPACE).len();
        }
    }

    /// What stands between the braces.
    fn action(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let trims = rest.trim_start_matches(SPACE).starts_with("-}}") && rest.starts_with(SPACE);
            if trims || rest.starts_with("}}") {
                if self.parens > 0 {
                    return Err("unclosed left paren".into());
                }
                if trims {
                    self.at = self.text.len() - rest.trim_start_matches(SPACE).len() + 1;
                }
                self.push(Kind::Right, self.at + 2);
                self.skip_space_if(trims);
                return Ok(());
            }
            self.token(rest)?;
        }
    }

    fn token(&mut self, rest: &'t str) -> Result<(), String> {
        let Some(first) = rest.chars().next() else { return Err("unclosed action".into()) };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            c if SPACE.contains(&c) => {
                self.push(Kind::Space, self.at + rest.len() - rest.trim_start_matches(SPACE).len());
            }
            ':' if second == Some('=') => self.push(Kind::Declare, self.at + 2),
            ':' => return Err("expected :=".into()),
            '=' => self.push(Kind::Assign, self.at + 1),
            '|' => self.push(Kind::Pipe, self.at + 1),
            ',' => self.push(Kind::Comma, self.at + 1),
            '(' => {
                self.parens += 1;
                self.push(Kind::LeftParen, self.at + 1);
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                self.push(Kind::RightParen, self.at + 1);
            }
            '"' | '\'' | '`' => self.quoted(first)?,
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => self.name(Kind::Field)?,
            '$' => self.name(Kind::Variable)?,
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number()?,
            c if is_word(c) => self.name(Kind::Word)?,
            c if c.is_ascii_graphic() => self.push(Kind::Other, self.at + 1),
            c => {
                return Err(format!("unrecognized character in action: {}", codepoint(c)));
            }
        }
        Ok(())
    }

    fn quoted(&mut self, mark: char) -> Result<(), String> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' if mark != '`' => escaped = true,
                '\n' if mark != '`' => break,
                c if c == mark => {
                    let kind = if mark == '\'' { Kind::Char } else { Kind::Quoted };
                    self.push(kind, self.at + at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(match mark {
            '`' => "unterminated raw quoted string",
            '\'' => "unterminated character constant",
            _ => "unterminated quoted string",
        }
        .into())
    }

    fn name(&mut self, kind: Kind) -> Result<(), String> {
        let rest = self.rest();
        let start = usize::from(kind != Kind::Word);
        let length = rest[start..].find(|c| !is_word(c)).unwrap_or(rest.len() - start) + start;
        let kind = match kind {
            Kind::Field if length == 1 => Kind::Dot,
            Kind::Word if KEYWORDS.contains(&&rest[..length]) => Kind::Keyword,
            kind => kind,
        };
        let next = rest[length..].chars().next();
        let ends = next.is_none_or(|c| SPACE.contains(&c) || ".,|:)(}=".contains(c));
        if !ends && kind != Kind::Dot {
            let c = next.unwrap_or_default();
            return Err(format!("bad character {}", codepoint(c)));
        }
        self.push(kind, self.at + length);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let mut length = 0;
        for (at, c) in rest.char_indices() {
            let sign = matches!(c, '+' | '-') && (at == 0 || rest[..at].ends_with(['e', 'E', 'p', 'P']));
            if !(sign || c == '.' || c == '_' || c.is_ascii_alphanumeric()) {
                break;
            }
            length = at + c.len_utf8();
        }
        if super::parse::number(&rest[..length]).is_none() {
            return Err(format!("bad number syntax: {:?}", &rest[..length]));
        }
        self.push(Kind::Number, self.at + length);
        Ok(())
    }
}

/// Go's `%#U`.
fn codepoint(c: char) -> String {
    let shown = if c.is_control() { String::new() } else { format!(" '{c}'") };
    format!("U+{:04X}{shown}", u32::from(c))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether what follows `{{` is a trim marker.
fn trims_after(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACE))
}
