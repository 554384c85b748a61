//! The disassembler: text that assembles to the same words.
//!
//! Targets of branches become labels `L<word>`; a format row is shown by its name; an alias such as `mac.tern` is
//! printed where the slots are known to hold its formats ([`super::flow`]).

use super::encode::{Mem, Step, decode};
use super::flow::{self, Slots};
use super::table::{Alias, Op, Operand, RegClass, Row, When};
use super::{Inst, Object};
use crate::diag::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The text of one instruction by itself: targets as `.+n`, formats as rows of the table.
pub fn instruction(inst: &Inst) -> String {
    text(inst, None, |_| None)
}

/// The text of a whole program: `assemble(disassemble(object))` has the same words, entry, formats and control memory.
///
/// # Errors
/// Those of [`Object::verify`].
///
/// ```
/// use preon::isa::{asm::{Options, Sources, assemble}, disasm::disassemble};
/// let object = assemble(&Sources::single("a.vasm", "again: li x5, 7\n j again"), &Options::default()).unwrap();
/// let text = disassemble(&object).unwrap();
/// assert!(text.contains("jal     x0, L0"), "{text}");
/// ```
pub fn disassemble(object: &Object) -> Result<String> {
    let program = Program::new(object)?;
    let mut out = program.head();
    let symbols = by_word(&object.symbols);
    for (word, inst) in (0u32..).zip(&program.insts) {
        program.place(&mut out, word, &symbols);
        let _ = writeln!(out, "    {}", program.line(word, inst));
    }
    program.place(&mut out, program.insts.len() as u32, &symbols);
    Ok(out)
}

/// One instruction of a program with what stands around it.
#[derive(Debug, Clone)]
pub struct Line {
    /// Word address.
    pub word: u32,
    /// The instruction.
    pub inst: Inst,
    /// Its text.
    pub text: String,
    /// Symbols that name the word.
    pub symbols: Vec<String>,
    /// The label that other lines use for it.
    pub label: Option<String>,
    /// What the format slots are known to hold in front of it.
    pub slots: Slots,
}

/// Every instruction of a program, for listings.
///
/// # Errors
/// Those of [`Object::verify`].
pub fn annotated(object: &Object) -> Result<Vec<Line>> {
    let program = Program::new(object)?;
    let symbols = by_word(&object.symbols);
    let line = |(word, inst): (u32, &Inst)| Line {
        word,
        inst: *inst,
        text: program.line(word, inst),
        symbols: symbols.get(&word).into_iter().flatten().map(|name| (*name).to_string()).collect(),
        label: program.labels.contains(&word).then(|| program.label(word)),
        slots: program.slots[word as usize],
    };
    Ok((0u32..).zip(&program.insts).map(line).collect())
}

/// The text of every word, with labels `L<word>` and the names of formats.
///
/// # Errors
/// Those of [`Object::verify`].
pub fn lines(object: &Object) -> Result<Vec<String>> {
    let program = Program::new(object)?;
    Ok((0u32..).zip(&program.insts).map(|(word, inst)| program.line(word, inst)).collect())
}

/// Symbols of every word.
fn by_word(symbols: &[(String, u32)]) -> BTreeMap<u32, Vec<&str>> {
    let mut map: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (name, word) in symbols {
        map.entry(*word).or_default().push(name);
    }
    map
}

/// A decoded program with what its text needs.
struct Program<'a> {
    object: &'a Object,
    insts: Vec<Inst>,
    slots: Vec<Slots>,
    /// Words that need a label.
    labels: BTreeSet<u32>,
    /// Label operands that are written as an external name.
    externs: BTreeMap<u32, &'a str>,
    /// Letters in front of label numbers.
    prefix: String,
}

impl<'a> Program<'a> {
    fn new(object: &'a Object) -> Result<Self> {
        object.verify()?;
        let insts: Vec<Inst> = object.words.iter().filter_map(|word| decode(*word).ok()).collect();
        let slots = flow::slots(&insts, object.entry);
        let mut externs = BTreeMap::new();
        for (word, name) in &object.externs {
            let inst = &insts[*word as usize];
            if inst.imm == 0 && has_label(inst) && plain(name) {
                externs.insert(*word, name.as_str());
            }
        }
        let mut labels = BTreeSet::from([object.entry]);
        labels.extend(
            (0u32..)
                .zip(&insts)
                .filter(|(word, _)| !externs.contains_key(word))
                .filter_map(|(word, inst)| target(&insts, word, inst)),
        );
        let mut prefix = "L".to_string();
        while object
            .params
            .iter()
            .chain(object.externs.iter().map(|(_, name)| name))
            .any(|name| name.starts_with(&prefix))
        {
            prefix.push('_');
        }
        Ok(Program { object, insts, slots, labels, externs, prefix })
    }

    /// Directives in front of the instructions.
    fn head(&self) -> String {
        let mut out = String::new();
        let mut list = |word: &str, names: &[&str]| {
            if !names.is_empty() {
                let _ = writeln!(out, "{word} {}", names.join(", "));
            }
        };
        list(".formats", &self.object.formats.iter().map(String::as_str).collect::<Vec<_>>());
        let params: Vec<&str> = self.object.params.iter().map(String::as_str).collect();
        let distinct = params.iter().collect::<BTreeSet<_>>().len() == params.len();
        if distinct && params.iter().all(|name| plain(name)) {
            list(".param", &params);
        }
        list(".extern", &self.externs.values().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
        if self.object.entry != 0 {
            list(".entry", &[&self.label(self.object.entry)]);
        }
        let object = self.object;
        let sections = [(".control", &object.control), (".dram", &object.dram), (".sram", &object.sram)];
        for (name, bytes) in sections.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let _ = writeln!(out, "{name}");
            for chunk in bytes.chunks(16) {
                let bytes: Vec<String> = chunk.iter().map(|byte| format!("{byte:#04x}")).collect();
                let _ = writeln!(out, "    .byte {}", bytes.join(", "));
            }
            out += ".code\n";
        }
        out
    }

    fn label(&self, word: u32) -> String {
        format!("{}{word}", self.prefix)
    }

    /// Symbols (as comments) and the label of a word.
    fn place(&self, out: &mut String, word: u32, symbols: &BTreeMap<u32, Vec<&str>>) {
        for name in symbols.get(&word).into_iter().flatten() {
            let _ = writeln!(out, "# {}", name.escape_debug());
        }
        if self.labels.contains(&word) {
            let _ = writeln!(out, "{}:", self.label(word));
        }
    }

    fn line(&self, word: u32, inst: &Inst) -> String {
        let row = inst.op.row();
        let slots = &self.slots[word as usize];
        let alias = row.aliases.iter().find(|alias| self.matches(alias, inst, slots));
        text(inst, alias, |operand| match operand {
            Operand::Fmt => self.object.formats.get(inst.imm as usize).cloned(),
            Operand::Label => match self.externs.get(&word) {
                Some(name) => Some((*name).to_string()),
                None => target(&self.insts, word, inst).map(|target| self.label(target)),
            },
            _ => None,
        })
    }

    /// True if the fields that the alias fixes hold its values and every slot that it restricts is known to hold one of
    /// its formats.
    fn matches(&self, alias: &'static Alias, inst: &Inst, slots: &Slots) -> bool {
        let fixed = alias.fixed.iter().all(|(field, value)| inst.get(*field) == *value);
        fixed
            && flow::alias_formats(alias, inst).into_iter().all(|(slot, allowed)| {
                let held = slots.get(slot).and_then(|row| self.object.formats.get(usize::from(row)));
                held.is_some_and(|held| allowed.contains(&held.as_str()))
            })
    }
}

/// A name that `.param` and `.extern` take.
fn plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
        && RegClass::parse(name).is_none()
}

fn has_label(inst: &Inst) -> bool {
    inst.op.row().operands.contains(&Operand::Label)
}

/// Word that the label operand names, if a label can stand there.
fn target(insts: &[Inst], word: u32, inst: &Inst) -> Option<u32> {
    if !has_label(inst) {
        return None;
    }
    let target = i64::from(word) + i64::from(inst.imm);
    let target = u32::try_from(target).ok().filter(|target| *target as usize <= insts.len())?;
    let endl = insts.get(target as usize).is_some_and(|inst| inst.op == Op::Endl);
    (inst.op != Op::Loop || endl).then_some(target)
}

impl Row {
    /// The mnemonic of an instruction of this row, aliases aside.
    pub fn spelling(&self, inst: &Inst) -> String {
        match &self.sub {
            Some(sub) => sub.spell(self.name, sub.names.get(usize::from(inst.sub_code())).copied().unwrap_or("?")),
            None => self.name.to_string(),
        }
    }
}

/// The instruction under its own mnemonic or an alias; `named` may give an operand a better text than its number.
pub(super) fn text(inst: &Inst, alias: Option<&Alias>, named: impl Fn(&Operand) -> Option<String>) -> String {
    let mut out = alias.map_or_else(|| inst.op.row().spelling(inst), |alias| alias.name.to_string());
    let mut gap = " ".repeat(8usize.saturating_sub(out.len()).max(1));
    for operand in inst.op.row().operands {
        let shown = match operand {
            _ if alias.is_some_and(|alias| alias.fixes(operand)) => continue,
            Operand::Reg { field, when, .. } => match when {
                When::Sub(code) if *code != inst.sub_code() => continue,
                When::Given if inst.get(*field) == 0 => continue,
                _ => show(operand, inst),
            },
            Operand::Mask if inst.pm == 0 && !inst.pz => continue,
            Operand::Choice { field, .. } if inst.get(*field) == 0 => continue,
            Operand::Segment if inst.imm == 0 => continue,
            Operand::Flag { name, bit } => {
                if inst.flag(*bit) {
                    out += &format!(" {name}");
                }
                continue;
            }
            _ => named(operand).unwrap_or_else(|| show(operand, inst)),
        };
        out += &gap;
        out += &shown;
        gap = ", ".to_string();
    }
    out
}

/// One operand as text.
fn show(operand: &Operand, inst: &Inst) -> String {
    match *operand {
        Operand::Reg { class, field, .. } => format!("{}{}", class.letter(), inst.get(field)),
        Operand::RegOrImm { field: _ } if inst.is_immediate() => inst.imm.to_string(),
        Operand::RegOrImm { field } => format!("x{}", inst.get(field)),
        Operand::Imm | Operand::Fmt => inst.imm.to_string(),
        Operand::Bits => format!("{:#x}", inst.imm as u32),
        Operand::Num { field, .. } => inst.get(field).to_string(),
        Operand::Label => format!(".{:+}", inst.imm),
        Operand::Base { field } => format!("{}(x{})", inst.imm, inst.get(field)),
        Operand::Mem { .. } => memory(&inst.mem()),
        Operand::Tile { field } if inst.rs3 == 0 => format!("c{}", inst.get(field)),
        Operand::Tile { field } => format!("c{}[x{}]", inst.get(field), inst.rs3),
        Operand::Enum { field, names } | Operand::Choice { field, names } => {
            names.get(inst.get(field) as usize).copied().unwrap_or("?").to_string()
        }
        Operand::Segment => format!("seg {}", inst.imm),
        Operand::Flag { name, .. } => name.to_string(),
        Operand::Mask => format!("p{}{}", inst.pm, if inst.pz { ".z" } else { "" }),
    }
}

fn memory(mem: &Mem) -> String {
    let step = match mem.step {
        Step::Stay => String::new(),
        Step::Bytes => "+".to_string(),
        Step::Register(number) => format!("+x{number}"),
    };
    let rows = mem.rows.map_or(String::new(), |number| format!(" rows x{number}"));
    format!("{}(x{}){step}{rows}", mem.offset, mem.base)
}
