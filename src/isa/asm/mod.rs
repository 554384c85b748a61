//! The assembler: text to [`Object`].
//!
//! `lexer` makes tokens, `expand` walks statements and expands macros, `directives` obeys directives, `operands`
//! assembles one instruction by its row, and [`assemble`] resolves labels at the end. All faults of a text are
//! reported in one run, each with its place, a stable code and, where there is one, a suggestion.

mod case;
mod codes;
mod data;
mod directives;
mod expand;
mod expr;
mod lexer;
mod operands;
mod source;
mod state;
mod textbook;

pub use case::{Case, Cycles, Expect, STATEMENTS, Target as Looked, VLENS};
pub use codes::CODES;
pub use data::{Layout, unpack};
pub use directives::DIRECTIVES;
pub use expr::LEVELS;
pub use source::Sources;

use crate::diag::{Error, did_you_mean};
use crate::isa::table::{Alias, Op};
use crate::isa::{Object, flow};
use source::{Fault, Span};
use state::{Assembler, Target};
pub use state::{MAX_CONTROL, MAX_WORDS};
use std::collections::BTreeMap;

/// Most errors that one run reports.
const MAX_ERRORS: usize = 100;

/// The pseudo-instructions: macros that every program has.
pub const PRELUDE: &str = include_str!("prelude.vasm");

/// What the caller of the assembler binds.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Format parameters: `.format NAME` and the format that it stands for.
    pub formats: BTreeMap<String, String>,
    /// Constants, as by `.equ`; they win over an `.equ` of the same name.
    pub equs: BTreeMap<String, i64>,
}

/// Assembles the main text of `sources`.
///
/// # Errors
/// Every fault of the text (at most 100), each with its place and one of [`CODES`].
///
/// ```
/// use preon::isa::asm::{Options, Sources, assemble};
/// let object = assemble(&Sources::single("a.vasm", "start: li x5, 7\n j start"), &Options::default()).unwrap();
/// assert_eq!(object.words.len(), 2);
/// ```
pub fn assemble(sources: &Sources, options: &Options) -> Result<Object, Vec<Error>> {
    let mut asm = Assembler::walked(sources, options)?;
    for block in std::mem::take(&mut asm.blocks) {
        asm.check_block(&block);
    }
    asm.finish()
}

/// The tests of the main text of `sources`: the text is assembled once for each, with what the test binds on top of
/// `options`.
///
/// # Errors
/// As [`assemble`], and every fault of a test's own statements.
pub fn tests(sources: &Sources, options: &Options) -> Result<Vec<Case>, Vec<Error>> {
    let Some(main) = sources.find(sources.main(), u16::MAX) else { return Err(vec![no_source(sources)]) };
    let lines = lexer::lex(main, &sources.text(main), &mut Vec::new());
    let mut cases = Vec::new();
    for block in expand::test_blocks(&lines) {
        let refuse = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.into_error(sources)).collect::<Vec<_>>();
        let options = block.options(options).map_err(|fault| refuse(vec![fault]))?;
        let mut asm = Assembler::walked(sources, &options)?;
        if !asm.blocks.iter().any(|met| met.span == block.span) && asm.faults.is_empty() {
            let fault =
                Fault::new("E0119", block.span, "this test stands under a condition that its bindings make false");
            return Err(refuse(vec![fault]));
        }
        let object = asm.finish()?;
        cases.push(asm.case(&block, object).map_err(refuse)?);
    }
    Ok(cases)
}

fn no_source(sources: &Sources) -> Error {
    Error::usage(format!("there is no source text `{}`", sources.main()))
}

impl<'o> Assembler<'o> {
    /// An assembler that has read the main text.
    fn walked(sources: &Sources, options: &'o Options) -> Result<Self, Vec<Error>> {
        let mut asm = Assembler::new(sources, options);
        asm.file(asm.prelude, 0);
        match sources.find(sources.main(), u16::MAX) {
            Some(main) => asm.file(main, 0),
            None => return Err(vec![no_source(sources)]),
        }
        Ok(asm)
    }
}

impl Assembler<'_> {
    /// Resolves labels, checks loops and aliases, and hands the object over; symbols stay.
    fn finish(&mut self) -> Result<Object, Vec<Error>> {
        let externs = self.resolve();
        let entry = self.resolve_entry();
        self.check_options();
        let files = self.used_files();
        let object = Object {
            words: self.insts.iter().map(|inst| inst.encode()).collect(),
            entry,
            symbols: self.labels.iter().map(|(name, (word, _))| (name.clone(), *word)).collect(),
            formats: std::mem::take(&mut self.formats),
            lines: std::mem::take(&mut self.lines),
            files,
            control: std::mem::take(&mut self.control),
            dram: std::mem::take(&mut self.dram),
            sram: std::mem::take(&mut self.sram),
            params: std::mem::take(&mut self.params),
            externs,
        };
        self.check_aliases(&object);
        if self.faults.is_empty() {
            return Ok(object);
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|fault| (fault.span().file, fault.span().start));
        let mut errors: Vec<Error> = faults.into_iter().map(|fault| fault.into_error(&self.sources)).collect();
        if self.more > 0 {
            let least = if self.more >= state::MAX_COUNTED { "at least " } else { "" };
            errors.push(Error::bad_input(format!("{least}{} more errors are not shown", self.more)));
        }
        Err(errors)
    }

    /// Names of the files that instructions stem from; the line table is renumbered to it.
    fn used_files(&mut self) -> Vec<String> {
        let mut used: Vec<u16> = self.lines.iter().map(|(_, file, _)| *file).collect();
        used.sort_unstable();
        used.dedup();
        for (_, file, _) in &mut self.lines {
            *file = used.partition_point(|known| known < file) as u16;
        }
        used.into_iter().map(|file| self.sources.path(file).to_string()).collect()
    }

    /// Fills the label operands; returns the references that linking resolves.
    fn resolve(&mut self) -> Vec<(u32, String)> {
        let mut externs = Vec::new();
        for fixup in std::mem::take(&mut self.fixups) {
            let place = match &fixup.target {
                Target::Name(name) if self.externs.contains_key(name) && !self.labels.contains_key(name) => {
                    externs.push((fixup.word, name.clone()));
                    continue;
                }
                Target::Name(name) => self.labels.get(name).map(|(word, _)| *word),
                Target::Local { number, index } => {
                    index.and_then(|at| self.locals.get(number).and_then(|words| words.get(at))).copied()
                }
            };
            match place {
                Some(word) => self.patch(fixup.word, word, fixup.span),
                None => {
                    let fault = self.no_label(&fixup.target, fixup.span);
                    self.fault(fault);
                }
            }
        }
        externs
    }

    /// Sets the pc-relative immediate of `word` so that it reaches `target`.
    fn patch(&mut self, word: u32, target: u32, span: Span) {
        let Some(inst) = self.insts.get_mut(word as usize) else { return };
        inst.imm = (i64::from(target) - i64::from(word)) as i32;
        if inst.op == Op::Loop && self.insts.get(target as usize).map(|inst| inst.op) != Some(Op::Endl) {
            self.fault(
                Fault::new("E0117", span, "the label of a loop must stand at its `endl`")
                    .help("write the label in front of `endl`: `name: endl`"),
            );
        }
    }

    fn no_label(&self, target: &Target, span: Span) -> Fault {
        let Target::Name(name) = target else {
            return Fault::new("E0109", span, "there is no such numeric label in that direction");
        };
        let fault = Fault::new("E0109", span, format!("the label `{name}` is not defined"));
        match did_you_mean(name, self.labels.keys().map(String::as_str)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("a label that linking supplies is declared with `.extern`"),
        }
    }

    fn resolve_entry(&mut self) -> u32 {
        let Some((name, span)) = self.entry.take() else { return 0 };
        match self.labels.get(&name) {
            Some((word, _)) => *word,
            None => {
                let fault = self.no_label(&Target::Name(name), span);
                self.fault(fault);
                0
            }
        }
    }

    /// A bound format parameter that the text does not have is a mistake of the caller.
    fn check_options(&mut self) {
        for name in self.options.formats.keys() {
            if !self.format_params.contains_key(name) {
                self.fault(Fault::new(
                    "E0110",
                    Span::default(),
                    format!("the program has no format parameter `{name}`"),
                ));
            }
        }
    }

    /// Aliases must agree with what their slots are known to hold.
    fn check_aliases(&mut self, object: &Object) {
        if self.alias_uses.is_empty() || !self.faults.is_empty() {
            return;
        }
        let slots = flow::slots(&self.insts, object.entry);
        for (word, alias, span) in std::mem::take(&mut self.alias_uses) {
            let inst = &self.insts[word as usize];
            let wrong = flow::alias_formats(alias, inst).into_iter().find_map(|(slot, allowed)| {
                let held = object.formats.get(usize::from(slots[word as usize].get(slot)?))?;
                (!allowed.contains(&held.as_str())).then(|| (slot, held.clone(), allowed))
            });
            if let Some((slot, held, allowed)) = wrong {
                self.fault(mismatch(alias, slot, &held, allowed, span));
            }
        }
    }
}

fn mismatch(alias: &Alias, slot: u8, held: &str, allowed: &[&str], span: Span) -> Fault {
    let message = format!("`{}` is for {} in f{slot}, which holds {held}", alias.name, allowed.join(" or "));
    Fault::new("E0111", span, message).help("use the plain mnemonic, or bind the slot with `.fmt`")
}

#[cfg(test)]
mod tests;
