//! The program as people know it: source lines, labels, words.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expr;
use crate::diag::{Error, Result, did_you_mean};
use crate::isa::{Object, disasm};

/// A program with the texts that it was made of, as far as they are at hand.
#[derive(Debug)]
pub struct Program {
    object: Arc<Object>,
    /// Lines of the sources, by name.
    sources: BTreeMap<String, Vec<String>>,
    /// One line a word.
    words: Vec<String>,
}

impl Program {
    /// `sources` are texts by the names that the object's line table has.
    ///
    /// # Errors
    /// BadInput if the object is damaged.
    pub fn new(object: Arc<Object>, sources: &BTreeMap<String, String>) -> Result<Program> {
        let words = disasm::lines(&object)?;
        let lines = |text: &String| text.lines().map(str::to_string).collect();
        let sources = sources.iter().map(|(name, text)| (name.clone(), lines(text))).collect();
        Ok(Program { object, sources, words })
    }

    /// The words themselves.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// A word as the disassembler writes it, spaces between operands as in running text.
    pub fn text(&self, word: u32) -> String {
        let text = self.words.get(word as usize).map_or("(outside the program)", String::as_str);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The source line of a word, without the spaces around it.
    fn source(&self, word: u32) -> Option<&str> {
        let (file, line) = self.object.line(word)?;
        let text = self.sources.get(file)?.get(line.checked_sub(1)? as usize)?;
        Some(text.trim())
    }

    /// `sum.vasm:5, word 2`, or `word 2`.
    pub fn place(&self, word: u32) -> String {
        match self.object.line(word) {
            Some((file, line)) => format!("{file}:{line}, word {word}"),
            None => format!("word {word}"),
        }
    }

    /// Place and text of a word: its source line, and the instruction where the source does not say the same.
    pub fn describe(&self, word: u32) -> String {
        self.source(word).map_or_else(|| self.text(word), str::to_string)
    }

    /// The word that a location names: LINE, FILE:LINE, LABEL, LABEL+N, *WORD or 0xWORD.
    ///
    /// # Errors
    /// Usage that says what is wrong.
    pub fn locate(&self, text: &str, pc: u32) -> Result<u32> {
        let words = self.object.words.len() as u32;
        if text.starts_with('*') || text.starts_with("0x") {
            let word = expr::number(text.trim_start_matches('*')).and_then(|word| u32::try_from(word).ok());
            return word.filter(|word| *word < words).ok_or_else(|| {
                Error::usage(format!("`{text}` is no word of the program, which has words 0 to {}", words.max(1) - 1))
            });
        }
        if let Some((file, line)) = text.rsplit_once(':') {
            return self.word_of_line(Some(file), line);
        }
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let file = self.object.line(pc).map(|(file, _)| file);
            return self.word_of_line(file, text);
        }
        let (label, offset) = text.split_once('+').unwrap_or((text, "0"));
        let offset = expr::number(offset.trim()).and_then(|n| u32::try_from(n).ok());
        match (self.object.symbol(label.trim()), offset) {
            (Some(word), Some(offset)) if word.saturating_add(offset) < words => Ok(word + offset),
            (Some(_), _) => Err(Error::usage(format!("`{text}` is outside the program"))),
            (None, _) => {
                let near = did_you_mean(label, self.object.symbols.iter().map(|(name, _)| name.as_str()));
                let error = Error::usage(format!("there is no label `{label}`"));
                Err(error.help(near.map_or("locations are LINE, FILE:LINE, LABEL, LABEL+N or *WORD".into(), |near| {
                    format!("did you mean `{near}`?")
                })))
            }
        }
    }

    /// The first word of a line, or of the next line that has words.
    fn word_of_line(&self, file: Option<&str>, line: &str) -> Result<u32> {
        let wrong = || Error::usage(format!("`{line}` is no line number"));
        let line: u32 = line.trim().parse().map_err(|_| wrong())?;
        let named = |index: u16| self.object.files.get(usize::from(index)).map(String::as_str);
        let is_file = |index: u16| {
            file.is_none_or(|file| named(index).is_some_and(|name| name == file || name.ends_with(&format!("/{file}"))))
        };
        let candidates = self.object.lines.iter().filter(|(_, index, at)| is_file(*index) && *at >= line);
        candidates.map(|(word, _, at)| (*at, *word)).min().map(|(_, word)| word).ok_or_else(|| {
            let place = file.map_or(String::new(), |file| format!(" of {file}"));
            Error::usage(format!("no instruction stands on or after line {line}{place}"))
        })
    }

    /// The word around which a listing goes on after the one around `word`.
    pub fn further(&self, word: u32) -> u32 {
        let last = self.object.words.len().saturating_sub(1) as u32;
        match self.object.line(word).filter(|(file, _)| self.sources.contains_key(*file)) {
            Some((file, line)) => self.word_of_line(Some(file), &(line + 11).to_string()).unwrap_or(last),
            None => (word + 11).min(last),
        }
    }

    /// Eleven lines around `word`: of its source, or of the disassembly. `=>` marks the word at `pc`, `*` breakpoints.
    pub fn list(&self, word: u32, pc: u32, stops: &[u32]) -> String {
        let here = self.object.line(word).and_then(|(file, line)| Some((file, line, self.sources.get(file)?)));
        let mut out = String::new();
        let mut put = |current: bool, stop: bool, number: u32, text: &str| {
            let mark = if current { "=>" } else { "  " };
            let stop = if stop { '*' } else { ' ' };
            out += format!("{mark}{stop}{number:5}  {text}").trim_end();
            out.push('\n');
        };
        match here {
            Some((file, line, lines)) => {
                let is_at = |at: u32, word: u32| self.object.line(word) == Some((file, at));
                for at in line.saturating_sub(5).max(1)..=(line + 5).min(lines.len() as u32) {
                    let stop = stops.iter().any(|stop| is_at(at, *stop));
                    put(is_at(at, pc), stop, at, &lines[at as usize - 1]);
                }
            }
            None => {
                let from = word.saturating_sub(5);
                for (at, text) in (from..).zip(self.words.iter().skip(from as usize).take(11)) {
                    put(at == pc, stops.contains(&at), at, text);
                }
            }
        }
        out
    }
}
