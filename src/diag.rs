//! One small error type for every floor: what is wrong, where, and what to do about it.
//!
//! An [`Error`] is one word wide. Its [`Kind`] decides the exit code of the command line; its [`Place`] carries
//! enough to draw the offending line with a caret. Nothing here prints: [`Error::render`] returns the text.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What `preon explain` says about the stable code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code, for example `E0203`.
    pub code: &'static str,
    /// What it means, in one sentence.
    pub what: &'static str,
    /// How it comes about and what to do.
    pub more: &'static str,
    /// An example of what provokes it.
    pub wrong: &'static str,
    /// The example as it should be.
    pub right: &'static str,
}

/// Result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What class of failure this is; decides the exit code (design: 0 ok, then as below).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A comparison or threshold failed (exit code 1).
    CheckFailed,
    /// The command line or the call was wrong (exit code 2).
    Usage,
    /// A file is damaged, truncated or says something impossible (exit code 3).
    BadInput,
    /// A valid request for an op, format or feature that is not served (exit code 4).
    Unsupported,
    /// The simulated program trapped (exit code 5).
    Fault,
    /// A bug in Preon (exit code 70).
    Internal,
}

impl Kind {
    /// The process exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::CheckFailed => 1,
            Kind::Usage => 2,
            Kind::BadInput => 3,
            Kind::Unsupported => 4,
            Kind::Fault => 5,
            Kind::Internal => 70,
        }
    }
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// No place is known.
    #[default]
    Nowhere,
    /// A whole file.
    File(String),
    /// A byte range of a text file, kept with the text so that the line can be shown.
    Source {
        /// Path or other name of the text.
        path: String,
        /// The whole text.
        text: Arc<str>,
        /// Byte range inside `text`.
        span: Range<usize>,
    },
    /// A tensor of a model file.
    Tensor {
        /// Path of the file.
        path: String,
        /// Name of the tensor.
        name: String,
    },
    /// A node of a graph.
    Node(String),
}

/// An error: kind, place, one sentence, and help.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    code: &'static str,
    message: String,
    place: Place,
    label: Option<String>,
    note: Option<String>,
    help: Option<String>,
}

impl Error {
    /// A new error; `message` is one clear sentence without a final full stop.
    #[cold]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            code: "",
            message: capped(message.into()),
            place: Place::Nowhere,
            label: None,
            note: None,
            help: None,
        }))
    }
    /// [`Kind::BadInput`] with `message`.
    #[cold]
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, message)
    }
    /// [`Kind::Unsupported`] with `message`.
    #[cold]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }
    /// [`Kind::Usage`] with `message`.
    #[cold]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// [`Kind::Internal`] with `message`: a bug of ours.
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }
    /// Adds the stable code that `preon explain` knows, for example `E0203`.
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }
    /// Sets the place, unless one is already known (the innermost place wins).
    pub fn at(mut self, place: Place) -> Self {
        if self.0.place == Place::Nowhere {
            self.0.place = place;
        }
        self
    }
    /// Sets the place, whatever was known: for who calls what knows an inner name of it only.
    pub fn moved(mut self, place: Place) -> Self {
        self.0.place = place;
        self
    }
    /// Sets the place to a whole file.
    pub fn in_file(self, path: impl Into<String>) -> Self {
        self.at(Place::File(path.into()))
    }
    /// Sets the place to a byte range of a text.
    pub fn in_text(self, path: impl Into<String>, text: impl Into<Arc<str>>, span: Range<usize>) -> Self {
        self.at(Place::Source { path: path.into(), text: text.into(), span })
    }
    /// A short remark printed under the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.0.label = Some(label.into());
        self
    }
    /// A fact beside the sentence, printed on a line of its own.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.note = Some(note.into());
        self
    }
    /// What the user can do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(capped(help.into()));
        self
    }
    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// The sentence alone.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The place.
    pub fn place(&self) -> &Place {
        &self.0.place
    }
    /// The help text, if there is one.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The error as people read it: sentence, place with the line and a caret, help. Plain text, or with ANSI
    /// colours when `colour` is set.
    pub fn render(&self, colour: bool) -> String {
        use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
        let inner = &*self.0;
        let title = match &inner.place {
            Place::Nowhere | Place::Source { .. } => inner.message.clone(),
            Place::File(path) => format!("{path}: {}", inner.message),
            Place::Tensor { path, name } => {
                format!("{path}: {}: {}", capped(format!("tensor `{name}`")), inner.message)
            }
            Place::Node(name) => format!("{}: {}", capped(format!("node `{name}`")), inner.message),
        };
        let mut head = Level::ERROR.primary_title(title.as_str());
        if !inner.code.is_empty() {
            head = head.id(inner.code);
        }
        let mut group = head.elements(std::iter::empty::<annotate_snippets::Element<'_>>());
        if let Place::Source { path, text, span } = &inner.place {
            let start = span.start.min(text.len());
            let end = span.end.clamp(start, text.len());
            let mark = AnnotationKind::Primary.span(start..end).label(inner.label.as_deref());
            group = group.element(Snippet::source(&**text).path(path.as_str()).annotation(mark));
        }
        if let Some(note) = &inner.note {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        if let Some(help) = &inner.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group]).to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Place::Nowhere => {}
            Place::File(path) => write!(f, "{path}: ")?,
            Place::Source { path, text, span } => {
                let before = &text[..span.start.min(text.len())];
                let line = before.matches('\n').count() + 1;
                let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
                write!(f, "{path}:{line}:{column}: ")?;
            }
            Place::Tensor { path, name } => write!(f, "{path}: {}: ", capped(format!("tensor `{name}`")))?,
            Place::Node(name) => write!(f, "{}: ", capped(format!("node `{name}`")))?,
        }
        write!(f, "{}", self.0.message)?;
        match &self.0.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// Most characters of a quoted text in a message: names and words of files may be of any length.
const MOST_QUOTED: usize = 120;

/// The text with the middle of every long quotation (between backquotes or double quotes) left out.
fn capped(text: String) -> String {
    if text.len() <= MOST_QUOTED {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(['`', '"']) {
        let quote = &rest[start..=start];
        let inside = &rest[start + 1..];
        let Some(length) = inside.find(quote) else { break };
        out += &rest[..=start];
        let quoted = &inside[..length];
        let count = quoted.chars().count();
        if count > MOST_QUOTED {
            out.extend(quoted.chars().take(MOST_QUOTED / 2));
            out.push('…');
            out.extend(quoted.chars().skip(count - MOST_QUOTED / 2));
        } else {
            out += quoted;
        }
        out += quote;
        rest = &inside[length + 1..];
    }
    out + rest
}

/// The candidate nearest to `word` by edit distance, if near enough to be a likely misspelling.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |a: &str, b: &str| {
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, ca) in a.chars().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, cb) in b.iter().enumerate() {
                let substituted = diagonal + usize::from(ca != *cb);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        row[b.len()]
    };
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn display_gives_line_and_column() {
        let text: Arc<str> = "a = 1\nbb = 2\n".into();
        let error = Error::bad_input("unknown key `bb`").in_text("m.toml", text, 6..8).help("did you mean `b`?");
        assert_eq!(error.to_string(), "m.toml:2:1: unknown key `bb` (did you mean `b`?)");
        let shown = error.render(false);
        assert!(shown.contains("m.toml:2:1") && shown.contains("^^") && shown.contains("help"), "{shown}");
    }

    #[test]
    fn long_quotations_lose_their_middle() {
        let long = format!("{}{}", "é".repeat(5000), "end");
        for (open, close) in [("`", "`"), ("\"", "\"")] {
            let error = Error::bad_input(format!("unknown key {open}{long}{close} of `b`"))
                .help(format!("not {open}{long}{close}"));
            let place = Place::Tensor { path: "m".into(), name: long.clone() };
            for text in [error.to_string(), error.at(place).render(false)] {
                assert!(text.contains("end") && text.contains('…'), "{text}");
                assert!(text.chars().count() < 500, "{text}");
            }
        }
        let unpaired = format!("a ` and {long}");
        assert_eq!(Error::usage(unpaired.clone()).message(), unpaired);
        assert_eq!(Error::usage("`short` and \"short\"").message(), "`short` and \"short\"");
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(did_you_mean("clokc_hz", ["clock_hz", "name"]), Some("clock_hz"));
        assert_eq!(did_you_mean("zzzz", ["clock_hz", "name"]), None);
    }
}
