//! Traps: how a program stops when an instruction has no meaning. Every trap says in one sentence what the operands
//! were, and which source line the instruction came from.

use super::inspect::Value;
use crate::diag::{Error, Kind, Place};
use crate::isa::Object;

/// Result of executing one instruction.
pub type Result<T> = std::result::Result<T, Trap>;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrapKind {
    /// Not an instruction, or the program counter left the program.
    Ill,
    /// A format slot is unbound, or the format does not serve this instruction.
    Fmt,
    /// An address outside its space, or a space that this unit cannot reach.
    Addr,
    /// A scalar access that is not aligned to its width.
    Align,
    /// A view, tile or register range that does not fit.
    Shape,
    /// The class of an accumulator tile does not serve this, or its exact sum overflowed.
    Acc,
    /// An entropy decoder is not open, has too few codes left, or its tile or model is damaged.
    Ec,
    /// Hardware loops nested too deep or left open.
    Loop,
    /// Two cores touch the same bytes, one of them writing, and nothing says which comes first.
    Race,
    /// Every core that has not halted waits for another.
    Deadlock,
    /// The program used up its fuel.
    Fuel,
    /// A checksum of a product disagrees with it (`abft .t`).
    Guard,
    /// Timing-only mode: control flow or an address depends on a value that does not exist.
    Data,
}

impl TrapKind {
    /// Short name, as isa.md and tests write it.
    pub fn name(self) -> &'static str {
        match self {
            TrapKind::Ill => "ILL",
            TrapKind::Fmt => "FMT",
            TrapKind::Addr => "ADDR",
            TrapKind::Align => "ALIGN",
            TrapKind::Shape => "SHAPE",
            TrapKind::Acc => "ACC",
            TrapKind::Ec => "EC",
            TrapKind::Loop => "LOOP",
            TrapKind::Race => "RACE",
            TrapKind::Deadlock => "DEADLOCK",
            TrapKind::Fuel => "FUEL",
            TrapKind::Guard => "GUARD",
            TrapKind::Data => "DATA",
        }
    }
}

/// A trap: kind, place and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: TrapKind,
    pc: u32,
    node: u32,
    message: String,
    line: Option<(String, u32)>,
    operands: Vec<Value>,
    core: Option<usize>,
}

impl Trap {
    /// A trap whose place is filled in by the stepping loop.
    #[cold]
    pub(super) fn new(kind: TrapKind, message: impl Into<String>) -> Self {
        let line = None;
        Trap(Box::new(Inner { kind, pc: 0, node: 0, message: message.into(), line, operands: Vec::new(), core: None }))
    }
    /// Adds where it happened.
    #[cold]
    pub(super) fn at(mut self, pc: u32, node: u32, object: &Object) -> Self {
        self.0.pc = pc;
        self.0.node = node;
        self.0.line = line_of(object, pc);
        self
    }
    /// Adds what the operands of the instruction were; fuel ends after an instruction, whatever its operands were.
    #[cold]
    pub(super) fn with(mut self, operands: Vec<Value>) -> Self {
        if self.0.kind != TrapKind::Fuel {
            self.0.operands = operands;
        }
        self
    }
    /// Adds on which of several cores.
    #[cold]
    pub(super) fn on(mut self, core: usize) -> Self {
        self.0.core = Some(core);
        self
    }
    /// The core, where there are several.
    pub fn core(&self) -> Option<usize> {
        self.0.core
    }
    /// What went wrong.
    pub fn kind(&self) -> TrapKind {
        self.0.kind
    }
    /// Word address of the instruction.
    pub fn pc(&self) -> u32 {
        self.0.pc
    }
    /// Ledger key in force.
    pub fn node(&self) -> u32 {
        self.0.node
    }
    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// Operands of the instruction with their values, and the sizes that it takes from the state, when it stopped.
    pub fn operands(&self) -> &[Value] {
        &self.0.operands
    }
    /// The operands in one line: `x5 = 0x10, vl = 8`.
    pub fn operand_text(&self) -> String {
        let texts: Vec<String> = self.0.operands.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        texts.join(", ")
    }
    /// Source file and line, if the object knows them.
    pub fn line(&self) -> Option<(&str, u32)> {
        self.0.line.as_ref().map(|(file, line)| (file.as_str(), *line))
    }
}

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let core = self.0.core.map(|core| format!(" on core {core}")).unwrap_or_default();
        write!(f, "trap {}{core} at word {}: {}", self.0.kind.name(), self.0.pc, self.0.message)
    }
}

impl std::error::Error for Trap {}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Error {
        let mut error = Error::new(Kind::Fault, trap.to_string());
        if !trap.0.operands.is_empty() {
            error = error.note(format!("operands: {}", trap.operand_text()));
        }
        match &trap.0.line {
            Some((file, line)) => error.at(Place::File(format!("{file}:{line}"))),
            None => error,
        }
    }
}

/// Source file and line of word `pc`: the last entry of the line table at or before it.
pub fn line_of(object: &Object, pc: u32) -> Option<(String, u32)> {
    let after = object.lines.partition_point(|(word, _, _)| *word <= pc);
    let (_, file, line) = object.lines.get(after.checked_sub(1)?)?;
    Some((object.files.get(usize::from(*file))?.clone(), *line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_becomes_a_fault_with_its_line() {
        let object = Object { files: vec!["a.vasm".into()], lines: vec![(0, 0, 3), (4, 0, 9)], ..Object::default() };
        let error = Error::from(Trap::new(TrapKind::Addr, "address 0x5 is outside DRAM").at(5, 2, &object));
        assert_eq!(error.kind().exit_code(), 5);
        assert_eq!(error.to_string(), "a.vasm:9: trap ADDR at word 5: address 0x5 is outside DRAM");
        assert_eq!(line_of(&object, 3), Some(("a.vasm".into(), 3)));
    }
}
