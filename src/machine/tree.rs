//! TOML as a tree that remembers where every value came from, and the overlay of one tree on another.
//!
//! A machine is the overlay of its base files, itself, and `--set` values. Each leaf keeps the text and byte range that
//! gave it, so an error about a merged machine still points at one line of one file.

use crate::diag::{Error, Result};
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A text that values come from: a file, a built-in, or one `--set`.
#[derive(Debug, PartialEq)]
pub(super) struct Text {
    /// Path or other name, as shown to people.
    pub path: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// A byte range of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    /// The text.
    pub text: Arc<Text>,
    /// Byte range.
    pub span: Range<usize>,
}

impl Origin {
    /// A bad-input error that points here.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::bad_input(message).in_text(self.text.path.clone(), self.text.text.clone(), self.span.clone())
    }
    /// `path:line`, or the path alone where lines mean nothing.
    pub fn line(&self) -> String {
        if self.text.path.starts_with("--set") || self.text.text.is_empty() {
            return self.text.path.clone();
        }
        let before = &self.text.text[..self.span.start.min(self.text.text.len())];
        format!("{}:{}", self.text.path, before.matches('\n').count() + 1)
    }
    /// True for a value given by `--set`.
    pub fn is_set(&self) -> bool {
        self.text.path.starts_with("--set")
    }
}

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// What.
    pub value: Value,
    /// From where.
    pub from: Origin,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text.
    Str(String),
    /// Whole number.
    Int(i64),
    /// Number with a point or exponent.
    Float(f64),
    /// Truth value.
    Bool(bool),
    /// Array.
    List(Vec<Node>),
    /// Table, in the order of its text: name, place of the name, node.
    Table(Vec<Entry>),
}

/// One entry of a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Key.
    pub key: String,
    /// Where the key stands.
    pub at: Origin,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The entry called `key`, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.node)
    }
    /// The node at a path of keys.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Node> {
        path.into_iter().try_fold(self, |node, key| node.get(key))
    }
    /// True if this or anything in it was given by `--set`.
    pub fn is_set_anywhere(&self) -> bool {
        self.from.is_set() || self.entries().iter().any(|entry| entry.node.is_set_anywhere())
    }
    /// Entries of a table; none for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }
    /// True for a table.
    pub fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }
    /// A number, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self.value {
            Value::Int(i) => Some(i as f64),
            Value::Float(f) => Some(f),
            _ => None,
        }
    }
    /// A text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Str(_) => "a string",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
    /// The value as TOML writes it, on one line.
    pub fn to_toml(&self) -> String {
        match &self.value {
            Value::Str(s) => toml::Value::String(s.clone()).to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(f) => toml::Value::Float(*f).to_string(),
            Value::Bool(b) => b.to_string(),
            Value::List(items) => format!("[{}]", items.iter().map(Node::to_toml).collect::<Vec<_>>().join(", ")),
            Value::Table(entries) => {
                let pairs: Vec<String> =
                    entries.iter().map(|e| format!("{} = {}", quote_key(&e.key), e.node.to_toml())).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
        }
    }
    /// Lays `over` on this node: tables merge key by key, anything else is replaced, and the text `"none"` in place of
    /// a table or an entry removes it.
    pub fn overlay(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for entry in theirs {
                    let found = mine.iter().position(|e| e.key == entry.key);
                    match (found, entry.node.text() == Some("none")) {
                        (Some(i), true) => drop(mine.remove(i)),
                        (Some(i), false) => {
                            mine[i].at = entry.at;
                            mine[i].node.overlay(entry.node);
                        }
                        (None, _) => mine.push(entry),
                    }
                }
                if !over.from.is_set() {
                    self.from = over.from;
                }
            }
            (mine, theirs) => {
                *mine = theirs;
                self.from = over.from;
            }
        }
    }
}

/// A key as TOML writes it: bare where it can be, else quoted.
pub(super) fn quote_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}

/// Parses a text into a tree.
///
/// # Errors
/// Bad input at the place where the TOML is malformed, or where a number does not fit 64 bits.
pub(super) fn parse(path: &str, text: Arc<str>) -> Result<Node> {
    let source = Arc::new(Text { path: path.to_owned(), text });
    let table = DeTable::parse(&source.text).map_err(|e| {
        let span = e.span().unwrap_or(0..0);
        let message = e.message().lines().next().unwrap_or("not TOML").to_owned();
        Origin { text: source.clone(), span }.error(format!("this is not TOML: {message}"))
    })?;
    let from = Origin { text: source.clone(), span: 0..0 };
    Ok(Node { value: convert_table(table.get_ref(), &source)?, from })
}

fn convert_table(table: &DeTable<'_>, source: &Arc<Text>) -> Result<Value> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table.iter() {
        let at = Origin { text: source.clone(), span: key.span() };
        let from = Origin { text: source.clone(), span: value.span() };
        let value = convert(value.get_ref(), source, &from)?;
        entries.push(Entry { key: key.get_ref().to_string(), at, node: Node { value, from } });
    }
    Ok(Value::Table(entries))
}

fn convert(value: &DeValue<'_>, source: &Arc<Text>, from: &Origin) -> Result<Value> {
    Ok(match value {
        DeValue::String(s) => Value::Str(s.to_string()),
        DeValue::Integer(i) => Value::Int(
            i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| from.error("this integer does not fit 64 bits"))?,
        ),
        DeValue::Float(f) => Value::Float(f.as_str().parse().map_err(|_| from.error("this is not a number"))?),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(_) => return Err(from.error("a machine file has no dates")),
        DeValue::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items.iter() {
                let from = Origin { text: source.clone(), span: item.span() };
                list.push(Node { value: convert(item.get_ref(), source, &from)?, from });
            }
            Value::List(list)
        }
        DeValue::Table(table) => convert_table(table, source)?,
    })
}
