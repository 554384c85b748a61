//! The instruction table as Rust: types of a row, and the rows that build.rs generates from `isa/vpu.toml`.
//!
//! Encoder, decoder, assembler, disassembler and manual are written against [`Row`] and [`Operand`] only; none of
//! them knows an instruction by name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

include!(concat!(env!("OUT_DIR"), "/isa_rows.rs"));

/// What every example of the table finds set: formats, addresses, sizes.
pub const EXAMPLES: &str = include_str!("../../isa/examples.vasm");

/// Execution unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Control.
    C,
    /// Load/store.
    L,
    /// Multiply-accumulate.
    S,
    /// Element-wise.
    E,
    /// Array.
    M,
    /// DMA.
    D,
}

impl Unit {
    /// What the unit does, in one or two words.
    pub fn title(self) -> &'static str {
        match self {
            Unit::C => "control",
            Unit::L => "load/store",
            Unit::S => "multiply-accumulate",
            Unit::E => "element-wise",
            Unit::M => "array",
            Unit::D => "DMA",
        }
    }
}

/// One instruction row.
#[derive(Debug)]
pub struct Row {
    /// The row's `Op`.
    pub op: Op,
    /// Name; the mnemonic unless `sub` spells it.
    pub name: &'static str,
    /// Opcode byte.
    pub code: u8,
    /// Encoding form.
    pub form: Form,
    /// Unit that executes it.
    pub unit: Unit,
    /// File of `exec` that holds its function.
    pub family: &'static str,
    /// Name of that function.
    pub function: &'static str,
    /// Sub-operations that are part of the mnemonic.
    pub sub: Option<Sub>,
    /// Operands in the order of the text.
    pub operands: &'static [Operand],
    /// Other names of the opcode for given formats.
    pub aliases: &'static [Alias],
    /// What it does, in one or two sentences.
    pub semantics: &'static str,
    /// Statements that the example needs before it, besides [`EXAMPLES`]; most need none.
    pub setup: &'static str,
    /// One statement; it assembles, and runs after [`EXAMPLES`] and `setup`.
    pub example: &'static str,
    /// The lines from which a reader could write its function; their words are those of docs/isa.md.
    pub pseudo: &'static str,
}

/// Encoding form; see the head of `isa/vpu.toml` for the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 32-bit immediate, opcodes below 128.
    I,
    /// Three sources, mask, format slots, opcodes from 128.
    V,
}

/// A field of an instruction word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Destination register.
    Rd,
    /// First source.
    Rs1,
    /// Second source.
    Rs2,
    /// Third source.
    Rs3,
    /// Mask register.
    Pm,
    /// Mask skips.
    Pz,
    /// Format slot of the destination.
    Fd,
    /// Format slot of the first source.
    Fa,
    /// Format slot of the second source.
    Fb,
    /// Mode bits.
    Mode,
    /// Tag.
    Aux,
    /// Sub-operation.
    Sub,
    /// Immediate.
    Imm,
}

/// A register class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegClass {
    /// Scalars.
    X,
    /// Vectors.
    V,
    /// Masks.
    P,
    /// Accumulator tiles.
    C,
    /// Scale vectors.
    Q,
    /// DMA tags.
    T,
    /// DMA shapes.
    D,
    /// Format slots.
    F,
    /// Entropy decoders.
    E,
}

impl RegClass {
    /// Every class.
    pub const ALL: [RegClass; 9] = [Self::X, Self::V, Self::P, Self::C, Self::Q, Self::T, Self::D, Self::F, Self::E];
    /// Its letter in the text.
    pub fn letter(self) -> char {
        ['x', 'v', 'p', 'c', 'q', 't', 'd', 'f', 'e'][self as usize]
    }
    /// Number of registers.
    pub fn count(self) -> u8 {
        [32, 32, 8, 8, 16, 16, 4, 16, 4][self as usize]
    }
    /// Class and number of a register's name, whether or not a register of that number exists.
    pub fn parse(word: &str) -> Option<(RegClass, u32)> {
        let class = RegClass::ALL.into_iter().find(|class| word.starts_with(class.letter()))?;
        let digits = &word[1..];
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| (class, digits.parse().unwrap_or(u32::MAX)))
    }
    /// What the class holds, for messages.
    pub fn title(self) -> &'static str {
        [
            "scalar register",
            "vector register",
            "mask register",
            "tile",
            "scale register",
            "tag",
            "DMA shape",
            "format slot",
            "entropy decoder",
        ][self as usize]
    }
}

/// Sub-operations that are part of a row's mnemonic.
#[derive(Debug)]
pub struct Sub {
    /// Names, indexed by code.
    pub names: &'static [&'static str],
    /// Field that holds the code: `Sub` (low 8 bits) or `Mode`.
    pub field: Field,
    /// Written `name.sub` instead of `sub`.
    pub suffix: bool,
}

/// Another name of an opcode, valid for given formats or given fields only.
#[derive(Debug)]
pub struct Alias {
    /// Mnemonic.
    pub name: &'static str,
    /// Formats that slot `fa` may hold; empty = any.
    pub fa: &'static [&'static str],
    /// Formats that slot `fb` may hold; empty = any.
    pub fb: &'static [&'static str],
    /// Formats that slot `fd` may hold; empty = any.
    pub fd: &'static [&'static str],
    /// Fields that the alias fixes with their values; their operands are not written.
    pub fixed: &'static [(Field, i64)],
}

impl Alias {
    /// True if the alias stands for `operand`, which is then not part of its text.
    pub fn fixes(&self, operand: &Operand) -> bool {
        operand.field().is_some_and(|field| self.fixed.iter().any(|(fixed, _)| *fixed == field))
    }
}

/// When a register operand is part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// With this sub-operation only; else its field is 0.
    Sub(u16),
    /// Optional; absent = register 0.
    Given,
}

/// One operand: how it is written and which fields it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg {
        /// Class.
        class: RegClass,
        /// Field with its number.
        field: Field,
        /// When it is written.
        when: When,
    },
    /// A scalar register in `field`, or a signed 32-bit immediate (sub bit 8 set).
    RegOrImm {
        /// Field of the register.
        field: Field,
    },
    /// Signed immediate.
    Imm,
    /// Immediate written signed or unsigned.
    Bits,
    /// A number from `lo` to `hi`.
    Num {
        /// Field.
        field: Field,
        /// Least value.
        lo: u32,
        /// Greatest value.
        hi: u32,
    },
    /// Pc-relative target in words.
    Label,
    /// Name of a format; the field is a row of the object's format table.
    Fmt,
    /// `imm(xB)`.
    Base {
        /// Field of the base register.
        field: Field,
    },
    /// `imm(xB)`, `imm(xB)+`, `imm(xB)+xS`, optionally `rows xR`: base rs1, step rs2, rows rs3.
    Mem {
        /// `rows xR` may follow.
        rows: bool,
        /// `+xS` exists; rs2 is free where it does not.
        steps: bool,
    },
    /// `cN` or `cN[xR]` with the row register in rs3.
    Tile {
        /// Field of the tile number.
        field: Field,
    },
    /// One of `names`.
    Enum {
        /// Field with its code.
        field: Field,
        /// Names, indexed by code.
        names: &'static [&'static str],
    },
    /// One of `names` that may be left out: the first then.
    Choice {
        /// Field with its code.
        field: Field,
        /// Names, indexed by code.
        names: &'static [&'static str],
    },
    /// Optional `seg N`, N from 1 to 2047 in the immediate; absent = 0.
    Segment,
    /// Suffix `name` after the operands; bit `bit` of mode.
    Flag {
        /// Its text, with the leading dot.
        name: &'static str,
        /// Bit of mode.
        bit: u8,
    },
    /// Trailing `pN` or `pN.z`.
    Mask,
}

impl Operand {
    /// The field of an operand that fills just one and is always written.
    pub fn field(&self) -> Option<Field> {
        match *self {
            Operand::Reg { field, .. } | Operand::Num { field, .. } | Operand::Enum { field, .. } => Some(field),
            _ => None,
        }
    }
}

impl Op {
    /// The row of this op.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
    /// The op with this opcode byte.
    pub fn from_code(code: u8) -> Option<Op> {
        static BY_CODE: LazyLock<[Option<Op>; 256]> = LazyLock::new(|| {
            let mut table = [None; 256];
            ROWS.iter().for_each(|row| table[usize::from(row.code)] = Some(row.op));
            table
        });
        BY_CODE[usize::from(code)]
    }
    /// The unit that executes it.
    pub fn unit(self) -> Unit {
        self.row().unit
    }
}

impl Row {
    /// The program around the row's example: [`EXAMPLES`], its setup, the example itself (the first word of its source
    /// line), and the end of a loop at `target`, which an example may jump to.
    pub fn example_program(&self) -> String {
        let example = if self.op == Op::Endl { String::new() } else { format!("{}\n", self.example) };
        format!("{EXAMPLES}{}\nloop x5, target\n{example}target: endl\nhalt\n", self.setup)
    }
    /// Word of the example in that program, whose label `target` is at word `target`.
    pub fn example_word(&self, target: u32) -> u32 {
        target - u32::from(self.op != Op::Endl)
    }
    /// Every mnemonic of the row with its sub-operation code, aliases excluded.
    pub fn mnemonics(&self) -> Vec<(String, u16)> {
        match &self.sub {
            None => vec![(self.name.to_string(), 0)],
            Some(sub) => (0u16..).zip(sub.names).map(|(code, name)| (sub.spell(self.name, name), code)).collect(),
        }
    }
}

/// What a mnemonic stands for.
#[derive(Debug, Clone, Copy)]
pub struct Mnemonic {
    /// Row.
    pub op: Op,
    /// Sub-operation code, 0 for rows without.
    pub sub: u16,
    /// The alias, if the mnemonic is one.
    pub alias: Option<&'static Alias>,
}

/// Every mnemonic, aliases included, in alphabetical order.
pub fn mnemonics() -> &'static BTreeMap<String, Mnemonic> {
    static ALL: LazyLock<BTreeMap<String, Mnemonic>> = LazyLock::new(|| {
        let mut all = BTreeMap::new();
        for row in ROWS {
            let own = row.mnemonics().into_iter().map(|(name, sub)| (name, Mnemonic { op: row.op, sub, alias: None }));
            let named = |alias: &'static Alias| Mnemonic { op: row.op, sub: 0, alias: Some(alias) };
            all.extend(own.chain(row.aliases.iter().map(|alias| (alias.name.to_string(), named(alias)))));
        }
        all
    });
    &ALL
}

impl Sub {
    /// The mnemonic of sub-operation `name` of row `row`.
    pub fn spell(&self, row: &str, name: &str) -> String {
        if self.suffix { format!("{row}.{name}") } else { name.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_op() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.op as usize, at, "{}", row.name);
            assert_eq!(Op::from_code(row.code), Some(row.op));
            assert_eq!(row.form == Form::V, row.code >= 128);
        }
    }

    #[test]
    fn mnemonics_are_lower_case_and_unique() {
        let mut all: Vec<String> = ROWS.iter().flat_map(|row| row.mnemonics().into_iter().map(|m| m.0)).collect();
        all.extend(ROWS.iter().flat_map(|row| row.aliases).map(|alias| alias.name.to_string()));
        assert!(all.iter().all(|name| name.to_lowercase() == *name));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(
            ["add", "lw.d", "beq", "ld.bp", "mac.tern", "xnor.popc", "fmav"]
                .iter()
                .all(|m| all.contains(&m.to_string()))
        );
    }

    #[test]
    fn sub_enums_know_their_names() {
        assert_eq!(Alu::from_code(1), Some(Alu::Sub));
        assert_eq!(Csr::from_code(3).map(Csr::name), Some("acc.rows"));
        assert_eq!(Fill::NegInf.name(), "-inf");
        assert_eq!(Alu::from_code(Alu::NAMES.len() as u16), None);
    }
}
