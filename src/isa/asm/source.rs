//! Source texts, places in them, and faults: an error before its text is attached.

use crate::diag::{Error, Place};
use std::sync::{Arc, OnceLock};

/// The texts that an assembly may read: the main one and those that `.include` may name.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    main: String,
    files: Vec<File>,
    binaries: Vec<(String, Arc<[u8]>)>,
}

#[derive(Debug, Clone)]
struct File {
    /// What `.include` calls it.
    name: String,
    /// What messages call it.
    path: String,
    text: Arc<str>,
    /// First byte of every line but the first, once a line was asked for.
    line_starts: OnceLock<Vec<u32>>,
}

impl Sources {
    /// Texts of which the one called `main` is assembled. [`Sources::add`] supplies them, the main one included.
    pub fn new(main: impl Into<String>) -> Self {
        Sources { main: main.into(), files: Vec::new(), binaries: Vec::new() }
    }
    /// One text that includes nothing.
    pub fn single(path: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let path = path.into();
        let mut sources = Sources::new(path.clone());
        sources.add(path, text);
        sources
    }
    /// Adds a text; `.include "path"` may name it.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<Arc<str>>) {
        let path = path.into();
        self.add_as(path.clone(), path, text);
    }
    /// Adds a text that `.include "name"` may name, and that messages call `path`.
    pub fn add_as(&mut self, name: impl Into<String>, path: impl Into<String>, text: impl Into<Arc<str>>) {
        let text: Arc<str> = text.into();
        self.files.push(File { name: name.into(), path: path.into(), text, line_starts: OnceLock::new() });
    }
    /// Adds bytes; `.incbin "path"` may name them.
    pub fn add_bytes(&mut self, path: impl Into<String>, bytes: impl Into<Arc<[u8]>>) {
        self.binaries.push((path.into(), bytes.into()));
    }
    /// Names of the files that the texts may read by `.incbin`: bare names only, so that no text reaches elsewhere.
    pub fn wanted_bytes(&self) -> Vec<String> {
        let quoted = |rest: &str| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_string);
        let texts = self.files.iter().flat_map(|file| file.text.split(".incbin").skip(1));
        let bare = |name: &String| !name.is_empty() && !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.');
        texts.filter_map(quoted).filter(bare).collect()
    }
    pub(super) fn bytes(&self, path: &str) -> Option<Arc<[u8]>> {
        self.binaries.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes.clone())
    }
    /// Name of the text that is assembled.
    pub fn main(&self) -> &str {
        &self.main
    }
    /// Names by which they may be included, in the order in which they were given.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }
    pub(super) fn path(&self, file: u16) -> &str {
        self.files.get(usize::from(file)).map_or("", |file| &file.path)
    }
    pub(super) fn text(&self, file: u16) -> Arc<str> {
        self.files.get(usize::from(file)).map_or_else(|| Arc::from(""), |file| file.text.clone())
    }
    /// The characters of a place.
    pub(super) fn snippet(&self, span: Span) -> String {
        let text = self.text(span.file);
        text.get(span.start as usize..span.end as usize).unwrap_or_default().to_string()
    }
    /// The public form of a place.
    pub(super) fn place(&self, span: Span) -> Place {
        let (path, text) = (self.path(span.file).to_string(), self.text(span.file));
        Place::Source { path, text, span: span.start as usize..span.end as usize }
    }
    /// Number of the file called `path`, or standing beside file `from` under that name.
    pub(super) fn find(&self, path: &str, from: u16) -> Option<u16> {
        let beside = self.path(from).rsplit_once('/').map(|(folder, _)| format!("{folder}/{path}"));
        let matches = |name: &str| name == path || beside.as_deref() == Some(name);
        self.paths().position(matches).map(|at| at as u16)
    }
    /// Line of a place, from 1.
    pub(super) fn line_of(&self, span: Span) -> u32 {
        let Some(file) = self.files.get(usize::from(span.file)) else { return 0 };
        let starts = || file.text.match_indices('\n').map(|(at, _)| at as u32 + 1).collect();
        1 + file.line_starts.get_or_init(starts).partition_point(|start| *start <= span.start) as u32
    }
}

/// A byte range of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// File number in [`Sources`].
    pub file: u16,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `other` (within one file).
    pub fn to(self, other: Span) -> Span {
        if self.file == other.file && other.end > self.start { Span { end: other.end, ..self } } else { self }
    }
}

/// An error with a place by number; [`Fault::into_error`] attaches the text.
#[derive(Debug, Clone)]
pub struct Fault {
    code: &'static str,
    span: Span,
    message: String,
    label: String,
    help: String,
}

impl Fault {
    /// A fault with its stable code, place and sentence.
    #[cold]
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Fault { code, span, message: message.into(), label: String::new(), help: String::new() }
    }
    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
    /// A remark under the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    /// Says in which use of a macro it arose.
    pub fn inside(mut self, remark: &str) -> Self {
        if !self.help.contains(remark) {
            let gap = if self.help.is_empty() { "" } else { "; " };
            self.help = format!("{}{gap}{remark}", self.help);
        }
        self
    }
    /// True if the text is wrong whatever its names stand for.
    pub fn is_grammar(&self) -> bool {
        matches!(self.code, "E0104" | "E0105" | "E0110" | "E0119")
    }
    /// Its place.
    pub fn span(&self) -> Span {
        self.span
    }
    /// Moves it to another place.
    pub fn moved(self, span: Span) -> Self {
        Fault { span, ..self }
    }
    /// The public error.
    pub fn into_error(self, sources: &Sources) -> Error {
        let mut error = Error::bad_input(self.message).code(self.code).at(sources.place(self.span));
        if !self.label.is_empty() {
            error = error.label(self.label);
        }
        if !self.help.is_empty() {
            error = error.help(self.help);
        }
        error
    }
}
