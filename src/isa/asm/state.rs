//! What the assembler knows while it walks the text: symbols, labels, sections, emitted words, faults.

use super::case::Block;
use super::expr::Symbols;
use super::source::{Fault, Sources, Span};
use super::{MAX_ERRORS, Options};
use crate::diag::did_you_mean;
use crate::isa::table::{Alias, RegClass};
use crate::isa::{Inst, object::CONTROL_BASE};
use crate::num;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Most instruction words of one object.
pub const MAX_WORDS: usize = 1 << 24;
/// Most bytes of initial control memory.
pub const MAX_CONTROL: usize = 1 << 24;
/// Most statements that expansion may produce.
const MAX_STATEMENTS: u32 = 1 << 22;
/// Most faults that are counted without being shown; the walk ends there.
pub(super) const MAX_COUNTED: usize = 1000;

/// Where statements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Instructions.
    Code,
    /// Initial control memory.
    Control,
    /// Initial DRAM.
    Dram,
    /// Initial SRAM of every core.
    Sram,
}

/// A reference to a code label, resolved at the end.
pub struct Fixup {
    /// Word whose immediate waits.
    pub word: u32,
    /// What was written.
    pub target: Target,
    /// Where.
    pub span: Span,
}

/// What a label operand names.
pub enum Target {
    /// A label.
    Name(String),
    /// `1b`, `1f`: the index among the definitions of that number.
    Local {
        /// Number.
        number: u64,
        /// Index of the definition; `None` for `1b` without one.
        index: Option<usize>,
    },
}

/// A macro: parameters and body.
pub struct Macro {
    /// Name.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// Parameter names, each with its default.
    pub params: Vec<(String, Option<Vec<super::lexer::Token>>)>,
    /// Statements of the body.
    pub body: Vec<super::lexer::Line>,
}

/// The assembler.
pub struct Assembler<'o> {
    pub(super) sources: Sources,
    pub(super) options: &'o Options,
    pub(super) prelude: u16,
    pub(super) symbols: BTreeMap<String, (i64, Span)>,
    pub(super) macros: BTreeMap<String, Rc<Macro>>,
    pub(super) labels: BTreeMap<String, (u32, Span)>,
    pub(super) locals: BTreeMap<u64, Vec<u32>>,
    pub(super) insts: Vec<Inst>,
    pub(super) lines: Vec<(u32, u16, u32)>,
    pub(super) fixups: Vec<Fixup>,
    pub(super) alias_uses: Vec<(u32, &'static Alias, Span)>,
    pub(super) section: Section,
    pub(super) control: Vec<u8>,
    pub(super) dram: Vec<u8>,
    pub(super) sram: Vec<u8>,
    pub(super) formats: Vec<String>,
    pub(super) format_params: BTreeMap<String, (String, Span)>,
    pub(super) params: Vec<String>,
    pub(super) externs: BTreeMap<String, Span>,
    pub(super) entry: Option<(String, Span)>,
    pub(super) faults: Vec<Fault>,
    /// Macro uses that are being expanded, outermost first.
    pub(super) calls: Vec<(Rc<Macro>, Span)>,
    pub(super) expansions: u64,
    /// The textbook spelling is taken.
    pub(super) textbook: bool,
    /// Faults that are not kept.
    pub(super) more: usize,
    /// Tests met so far.
    pub(super) blocks: Vec<Block>,
    budget: u32,
}

/// Value of a symbol that the caller binds.
const BOUND: Span = Span { file: u16::MAX, start: 0, end: 0 };

impl<'o> Assembler<'o> {
    pub(super) fn new(sources: &Sources, options: &'o Options) -> Self {
        let mut sources = sources.clone();
        let prelude = sources.count() as u16;
        sources.add("<pseudo-instructions>", super::PRELUDE);
        let symbols = options.equs.iter().map(|(name, value)| (name.clone(), (*value, BOUND))).collect();
        Assembler {
            sources,
            options,
            prelude,
            symbols,
            macros: BTreeMap::new(),
            labels: BTreeMap::new(),
            locals: BTreeMap::new(),
            insts: Vec::new(),
            lines: Vec::new(),
            fixups: Vec::new(),
            alias_uses: Vec::new(),
            section: Section::Code,
            control: Vec::new(),
            dram: Vec::new(),
            sram: Vec::new(),
            formats: Vec::new(),
            format_params: BTreeMap::new(),
            params: Vec::new(),
            externs: BTreeMap::new(),
            entry: None,
            faults: Vec::new(),
            calls: Vec::new(),
            expansions: 0,
            textbook: false,
            more: 0,
            blocks: Vec::new(),
            budget: MAX_STATEMENTS,
        }
    }

    /// Records a fault; one inside a macro says in which use.
    pub(super) fn fault(&mut self, mut fault: Fault) {
        let outer = self.calls.iter().find(|(called, _)| called.span.file != self.prelude);
        if fault.span().file == self.prelude {
            fault = fault.moved(self.calls.first().map_or(Span::default(), |(_, span)| *span));
        }
        if let Some((called, span)) = outer {
            let place = format!("{}:{}", self.sources.path(span.file), self.sources.line_of(*span));
            fault = fault.inside(&format!("in the use of macro `{}` at {place}", called.name));
        }
        if self.faults.len() < MAX_ERRORS {
            self.faults.push(fault);
            return;
        }
        self.more += 1;
        if self.more >= MAX_COUNTED {
            self.budget = 0;
        }
    }

    /// Counts one statement or repetition; false when the program is too large (or has too many faults) to go on.
    pub(super) fn spend(&mut self, span: Span) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        if self.budget == 0 {
            self.fault(Fault::new("E0114", span, format!("expansion yields more than {MAX_STATEMENTS} statements")));
        }
        self.budget > 0
    }

    /// Appends an instruction.
    pub(super) fn emit(&mut self, inst: Inst, span: Span) -> Result<(), Fault> {
        if self.section != Section::Code {
            let fault = Fault::new("E0118", span, "instructions cannot stand in a section of data");
            return Err(fault.help("go back with `.code`"));
        }
        if self.insts.len() >= MAX_WORDS {
            return Err(Fault::new("E0114", span, format!("a program has at most {MAX_WORDS} words")));
        }
        // The innermost text that somebody wrote: a line of a macro, but never one of a pseudo-instruction.
        let uses = self.calls.iter().rev().map(|(_, span)| *span);
        let from = std::iter::once(span).chain(uses).find(|at| at.file != self.prelude).unwrap_or(span);
        self.lines.push((self.insts.len() as u32, from.file, self.sources.line_of(from)));
        self.insts.push(inst);
        Ok(())
    }

    /// Defines `name: value` for expressions; a value that the caller bound stays.
    pub(super) fn define(&mut self, name: &str, value: i64, span: Span) -> Result<(), Fault> {
        reserved(name, span)?;
        match self.place_of(name) {
            Some(at) if at == BOUND => Ok(()),
            Some(at) => Err(self.duplicate(name, span, at)),
            None => {
                self.symbols.insert(name.to_string(), (value, span));
                Ok(())
            }
        }
    }

    /// Where a symbol or label is defined.
    fn place_of(&self, name: &str) -> Option<Span> {
        self.symbols.get(name).map(|(_, at)| *at).or_else(|| self.labels.get(name).map(|(_, at)| *at))
    }

    pub(super) fn duplicate(&self, name: &str, span: Span, at: Span) -> Fault {
        let fault = Fault::new("E0108", span, format!("`{name}` is defined twice"));
        match at {
            BOUND => fault.help("the caller of the assembler defines it"),
            _ => fault.help(format!("first at {}:{}", self.sources.path(at.file), self.sources.line_of(at))),
        }
    }

    /// First address and contents of the section of data at hand; `None` in code.
    pub(super) fn section_memory(&mut self) -> Option<(u64, &mut Vec<u8>)> {
        match self.section {
            Section::Code => None,
            Section::Control => Some((CONTROL_BASE, &mut self.control)),
            Section::Dram => Some((0, &mut self.dram)),
            Section::Sram => Some((1 << 60, &mut self.sram)),
        }
    }

    /// Defines a label here: a word address in code, an address of memory in a section of data.
    pub(super) fn define_label(&mut self, name: &str, span: Span) -> Result<(), Fault> {
        if let Some((base, bytes)) = self.section_memory() {
            let address = base + bytes.len() as u64;
            return self.define(name, address as i64, span);
        }
        reserved(name, span)?;
        if let Some(at) = self.place_of(name) {
            return Err(self.duplicate(name, span, at));
        }
        self.labels.insert(name.to_string(), (self.insts.len() as u32, span));
        Ok(())
    }

    /// Row of the format called `name` (a format, or a parameter bound to one) in the object's table.
    pub(super) fn format(&mut self, name: &str, span: Span) -> Result<i32, Fault> {
        let bound = self.format_params.get(name).map(|(format, _)| format.clone());
        let format = bound.unwrap_or_else(|| name.to_string());
        if num::format::find(&format).is_err() {
            return Err(unknown_format(&format, self.format_params.keys().cloned(), span));
        }
        let row = self.formats.iter().position(|known| *known == format).unwrap_or_else(|| {
            self.formats.push(format);
            self.formats.len() - 1
        });
        Ok(row as i32)
    }
}

/// A fault for a format that is neither in the table nor a parameter.
pub fn unknown_format(name: &str, params: impl Iterator<Item = String>, span: Span) -> Fault {
    let rows = num::format::formats().into_iter().map(|format| format.name.to_string());
    let known: Vec<String> = rows.chain(params).collect();
    let fault = Fault::new("E0110", span, format!("there is no format `{name}`"));
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help(format!("formats: {}", known.join(", "))),
    }
}

/// Refuses names that read as registers.
fn reserved(name: &str, span: Span) -> Result<(), Fault> {
    if RegClass::parse(name).is_some() {
        return Err(
            Fault::new("E0108", span, format!("`{name}` is the name of a register")).help("choose another name")
        );
    }
    Ok(())
}

impl Symbols for Assembler<'_> {
    fn value(&self, name: &str, span: Span) -> Result<i64, Fault> {
        if let Some((value, _)) = self.symbols.get(name) {
            return Ok(*value);
        }
        if self.labels.contains_key(name) {
            let fault = Fault::new("E0107", span, format!("`{name}` is a code label, not a number"));
            return Err(fault.help("code moves when it is linked: only branches, jumps and loops name labels"));
        }
        let fault = Fault::new("E0107", span, format!("the symbol `{name}` is not defined here"));
        Err(match did_you_mean(name, self.symbols.keys().map(String::as_str)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("define it before its use with `.equ`, `.param` or a label in `.control`"),
        })
    }
}
