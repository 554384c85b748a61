//! Text to tokens. A statement ends at a newline or `;`; `#`, `//` and `/* */` start comments.
//!
//! Every token keeps its place, also when macro expansion moves it, so that a message can always point at the
//! characters that the user typed.

use super::source::{Fault, Span};
use std::rc::Rc;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it was typed.
    pub span: Span,
    /// No blank stands between it and the token before.
    pub glued: bool,
}

/// Kinds of token.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name, dots included: `ld.bp`, `x5`, `.equ`, `p1.z`.
    Word(Rc<str>),
    /// A non-negative integer.
    Int(u64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// `"text"`.
    Text(Rc<str>),
    /// `1b` or `1f`: a numeric label, backward or forward.
    Local {
        /// Its number.
        number: u64,
        /// True for `f`.
        forward: bool,
    },
    /// `\name` inside a macro body; `\@` has the name `@`.
    Param(Rc<str>),
    /// An operator or separator.
    Punct(&'static str),
}

/// Operators and separators, longest first.
const PUNCTS: &[&str] = &[
    "<<", ">>", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "(",
    ")", "[", "]", ",", ":", "=",
];

impl Token {
    /// True for this operator or separator.
    pub fn is(&self, punct: &str) -> bool {
        matches!(self.kind, Kind::Punct(p) if p == punct)
    }
    /// The name, if this is a word.
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
    /// How messages show it.
    pub fn show(&self) -> String {
        match &self.kind {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Int(value) => format!("`{value}`"),
            Kind::Float(value) => format!("`{value}`"),
            Kind::Text(_) => "a quoted text".to_string(),
            Kind::Local { number, forward } => format!("`{number}{}`", if *forward { 'f' } else { 'b' }),
            Kind::Param(name) => format!("`\\{name}`"),
            Kind::Punct(punct) => format!("`{punct}`"),
        }
    }
}

/// One statement: its tokens, never empty.
pub type Line = Vec<Token>;

/// Splits a file into statements; bad characters become faults and are left out.
pub fn lex(file: u16, text: &str, faults: &mut Vec<Fault>) -> Vec<Line> {
    let mut lexer = Lexer { file, text, at: 0, faults };
    let (mut lines, mut line) = (Vec::new(), Line::new());
    loop {
        let before = lexer.at;
        if lexer.skip_blank() && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let start = lexer.at;
        if start == text.len() {
            break;
        }
        if let Some(kind) = lexer.token() {
            let span = Span { file, start: start as u32, end: lexer.at as u32 };
            line.push(Token { kind, span, glued: start == before && !line.is_empty() });
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The kind that a word or number text has: used for pasted tokens (`v\n` with n = 3 gives `v3`).
pub fn relex(text: &str) -> Option<Kind> {
    let mut faults = Vec::new();
    let mut lexer = Lexer { file: 0, text, at: 0, faults: &mut faults };
    let kind = lexer.token()?;
    (lexer.at == text.len() && faults.is_empty()).then_some(kind)
}

struct Lexer<'a> {
    file: u16,
    text: &'a str,
    at: usize,
    faults: &'a mut Vec<Fault>,
}

fn is_word(byte: u8) -> bool {
    is_name(byte) || byte == b'.'
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes at the head of `text` are all like that.
fn leading(text: &str, like: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|byte| !like(byte)).unwrap_or(text.len())
}

/// Length of a decimal number with a fraction or an exponent at the head of `text`.
fn float_length(text: &str) -> Option<usize> {
    let digits = |from: usize| from + text[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - from);
    let whole = digits(0);
    let mut end = whole;
    if text[end..].starts_with('.') && text[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let last = digits(end + 1 + sign);
        if last > end + 1 + sign {
            end = last;
        }
    }
    (end > whole).then_some(end)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips blanks and comments; true if a statement ended on the way.
    fn skip_blank(&mut self) -> bool {
        let mut ended = false;
        loop {
            let rest = self.rest();
            let bytes = rest.as_bytes();
            let skip = match bytes.first() {
                Some(b' ' | b'\t' | b'\r') => 1,
                Some(b'\n' | b';') => {
                    ended = true;
                    1
                }
                Some(b'#') => rest.find('\n').unwrap_or(rest.len()),
                Some(b'/') if bytes.get(1) == Some(&b'/') => rest.find('\n').unwrap_or(rest.len()),
                Some(b'/') if bytes.get(1) == Some(&b'*') => match rest.find("*/") {
                    Some(end) => end + 2,
                    None => {
                        let (start, length) = (self.at, rest.len());
                        self.fault(start, start + 2, "this comment is never closed", "end it with `*/`");
                        length
                    }
                },
                Some(byte) if byte.is_ascii_graphic() => return ended,
                _ => match rest.chars().next() {
                    Some(c) if c.is_whitespace() => c.len_utf8(),
                    _ => return ended,
                },
            };
            self.at += skip;
        }
    }

    /// The token here; `None` after a fault. Always moves on.
    fn token(&mut self) -> Option<Kind> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '\'' {
            return self.character();
        }
        if first == '"' {
            return self.quoted();
        }
        if first.is_ascii() && is_word(first as u8) {
            let length = leading(rest, is_word);
            let word = Rc::from(&rest[..length]);
            self.at += length;
            return Some(Kind::Word(word));
        }
        if let Some(rest) = rest.strip_prefix('\\') {
            let length = if rest.starts_with('@') { 1 } else { leading(rest, is_name) };
            let name: Rc<str> = Rc::from(&rest[..length]);
            self.at += 1 + length;
            if name.is_empty() {
                let at = self.at;
                self.fault(
                    at - 1,
                    at,
                    "a lone backslash",
                    "`\\name` stands for a macro's parameter, `\\@` for its use count",
                );
                return None;
            }
            return Some(Kind::Param(name));
        }
        let starts = |punct: &&&str| punct.as_bytes()[0] == rest.as_bytes()[0] && rest.starts_with(**punct);
        if let Some(punct) = PUNCTS.iter().find(starts) {
            self.at += punct.len();
            return Some(Kind::Punct(punct));
        }
        let (start, length) = (self.at, first.len_utf8());
        self.at += length;
        self.fault(start, start + length, format!("the character {first:?} has no meaning here"), "");
        None
    }

    fn number(&mut self) -> Option<Kind> {
        let rest = self.rest();
        let mut length = leading(rest, is_name);
        if let Ok(value) = rest[..length].parse()
            && !rest[length..].starts_with('.')
        {
            self.at += length;
            return Some(Kind::Int(value));
        }
        let radix = match rest.get(..2) {
            Some("0x" | "0X") => 16,
            Some("0o" | "0O") => 8,
            Some("0b" | "0B") if length > 2 => 2,
            _ => 10,
        };
        if radix == 10 {
            length = float_length(rest).unwrap_or(length);
        }
        let word = rest[..length].replace('_', "");
        let start = self.at;
        self.at += length;
        let digits = if radix == 10 { &word[..] } else { &word[2..] };
        if let Ok(value) = u64::from_str_radix(digits, radix) {
            return Some(Kind::Int(value));
        }
        if radix == 10 {
            let local = |forward| Some(Kind::Local { number: word[..word.len() - 1].parse().ok()?, forward });
            let found = match word.as_bytes().last() {
                Some(b'b') => local(false),
                Some(b'f') => local(true),
                _ => None,
            };
            let float = || word.contains(['.', 'e', 'E']).then(|| word.parse().ok().map(Kind::Float)).flatten();
            if let Some(kind) = found.or_else(float) {
                return Some(kind);
            }
        }
        self.fault(
            start,
            start + length,
            format!("`{word}` is not a number of 64 bits"),
            "numbers: 10, 0x1f, 0o7, 0b101, 1.5",
        );
        // It stands for a number all the same: that one is missing here would be a second error, and a wrong one.
        Some(Kind::Int(0))
    }

    /// `'a'`: the code of one ASCII character.
    fn character(&mut self) -> Option<Kind> {
        let mut chars = self.rest().chars().skip(1);
        let (inner, close) = (chars.next(), chars.next());
        let start = self.at;
        match (inner, close) {
            (Some(c), Some('\'')) if c.is_ascii() && c != '\n' => {
                self.at += 3;
                Some(Kind::Int(u64::from(c as u32)))
            }
            _ => {
                self.at += 1;
                self.fault(
                    start,
                    start + 1,
                    "a character constant is one ASCII character between quotes",
                    "for example 'a'",
                );
                None
            }
        }
    }

    fn quoted(&mut self) -> Option<Kind> {
        let (start, rest) = (self.at, &self.rest()[1..]);
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '\n' || c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        match end {
            Some(end) if rest[end..].starts_with('"') => {
                let text = Rc::from(&rest[..end]);
                self.at += end + 2;
                Some(Kind::Text(text))
            }
            end => {
                self.at += 1 + end.unwrap_or(rest.len());
                self.fault(start, start + 1, "this quoted text does not end on its line", "close it with `\"`");
                None
            }
        }
    }

    fn fault(&mut self, start: usize, end: usize, message: impl Into<String>, help: &str) {
        let span = Span { file: self.file, start: start as u32, end: end as u32 };
        self.faults.push(Fault::new("E0101", span, message).help(help));
    }
}
