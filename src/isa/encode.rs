//! Instruction words: [`Inst`] to 64 bits and back.
//!
//! The row's operands say which fields are used and which values they may hold; every other bit must be zero. So
//! [`decode`] accepts exactly the words that the assembler can write.

use super::Inst;
use super::table::{Field, Form, Op, Operand, Row, When};
use std::fmt;

/// Why a word is not an instruction (trap ILL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// No row has this opcode byte.
    Opcode(u8),
    /// A field holds a value that the row does not allow.
    Field {
        /// Row.
        op: Op,
        /// Field.
        field: Field,
    },
    /// Bits that the row does not use are set.
    Unused(Op),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Opcode(code) => write!(f, "opcode {code:#04x} is not in the instruction table"),
            DecodeError::Field { op, field } => {
                write!(f, "field {} of `{}` holds a value that it does not allow", field.name(), op.row().name)
            }
            DecodeError::Unused(op) => write!(f, "bits that `{}` does not use are set", op.row().name),
        }
    }
}

/// How the base register of a memory operand moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `imm(xB)`: not at all.
    Stay,
    /// `imm(xB)+`: by the bytes moved.
    Bytes,
    /// `imm(xB)+xS`: by the value of register S.
    Register(u8),
}

/// The memory operand of an instruction that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mem {
    /// Base register.
    pub base: u8,
    /// Offset in bytes.
    pub offset: i32,
    /// What is added to the base register afterwards.
    pub step: Step,
    /// Register with the row pitch in bytes, when `rows` was written.
    pub rows: Option<u8>,
}

/// Mode bit of `rows xR`.
const ROWS_BIT: u8 = 4;
/// Sub bit that says that the last operand is an immediate.
const IMM_BIT: u16 = 0x100;

impl Field {
    /// Lowest bit and width in `form`; `None` where the form lacks the field.
    pub fn bits(self, form: Form) -> Option<(u32, u32)> {
        let v = |at, width| (form == Form::V).then_some((at, width));
        match self {
            Field::Rd => Some((8, 5)),
            Field::Rs1 => Some((13, 5)),
            Field::Rs2 => Some((18, 5)),
            Field::Rs3 => v(23, 5),
            Field::Pm => v(28, 3),
            Field::Pz => v(31, 1),
            Field::Fd => v(32, 4),
            Field::Fa => v(36, 4),
            Field::Fb => v(40, 4),
            Field::Mode => v(44, 4),
            Field::Aux => v(48, 4),
            Field::Sub => (form == Form::I).then_some((23, 9)),
            Field::Imm => Some(if form == Form::I { (32, 32) } else { (52, 12) }),
        }
    }
    /// Name as in the table.
    pub fn name(self) -> &'static str {
        ["rd", "rs1", "rs2", "rs3", "pm", "pz", "fd", "fa", "fb", "mode", "aux", "sub", "imm"][self as usize]
    }
    /// All fields.
    pub const ALL: [Field; 13] = [
        Field::Rd,
        Field::Rs1,
        Field::Rs2,
        Field::Rs3,
        Field::Pm,
        Field::Pz,
        Field::Fd,
        Field::Fa,
        Field::Fb,
        Field::Mode,
        Field::Aux,
        Field::Sub,
        Field::Imm,
    ];
}

impl Inst {
    /// An instruction of row `op` with every field zero.
    pub fn new(op: Op) -> Self {
        let (rd, rs1, rs2, rs3, pm, fa, fb, fd, mode, aux) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        Inst { op, rd, rs1, rs2, rs3, pm, pz: false, fa, fb, fd, mode, aux, sub: 0, imm: 0 }
    }

    /// The value of a field (sign-extended for the immediate).
    pub fn get(&self, field: Field) -> i64 {
        match field {
            Field::Rd => i64::from(self.rd),
            Field::Rs1 => i64::from(self.rs1),
            Field::Rs2 => i64::from(self.rs2),
            Field::Rs3 => i64::from(self.rs3),
            Field::Pm => i64::from(self.pm),
            Field::Pz => i64::from(self.pz),
            Field::Fd => i64::from(self.fd),
            Field::Fa => i64::from(self.fa),
            Field::Fb => i64::from(self.fb),
            Field::Mode => i64::from(self.mode),
            Field::Aux => i64::from(self.aux),
            Field::Sub => i64::from(self.sub),
            Field::Imm => i64::from(self.imm),
        }
    }

    /// Sets a field; the value must fit it (bits above are dropped).
    pub fn set(&mut self, field: Field, value: i64) {
        match field {
            Field::Rd => self.rd = value as u8,
            Field::Rs1 => self.rs1 = value as u8,
            Field::Rs2 => self.rs2 = value as u8,
            Field::Rs3 => self.rs3 = value as u8,
            Field::Pm => self.pm = value as u8,
            Field::Pz => self.pz = value != 0,
            Field::Fd => self.fd = value as u8,
            Field::Fa => self.fa = value as u8,
            Field::Fb => self.fb = value as u8,
            Field::Mode => self.mode = value as u8,
            Field::Aux => self.aux = value as u8,
            Field::Sub => self.sub = value as u16,
            Field::Imm => self.imm = value as i32,
        }
    }

    /// Code of the sub-operation of a row with `sub`, else 0.
    pub fn sub_code(&self) -> u16 {
        match &self.op.row().sub {
            None => 0,
            Some(sub) if sub.field == Field::Sub => self.sub & !IMM_BIT,
            Some(sub) => self.get(sub.field) as u16,
        }
    }

    /// Sets the sub-operation code of a row with `sub`.
    pub fn set_sub_code(&mut self, code: u16) {
        if let Some(sub) = &self.op.row().sub {
            let kept = if sub.field == Field::Sub { self.sub & IMM_BIT } else { 0 };
            self.set(sub.field, i64::from(code | kept));
        }
    }

    /// True if the operand `xi` is the immediate and not register rs2.
    pub fn is_immediate(&self) -> bool {
        self.sub & IMM_BIT != 0
    }

    /// Says that the operand `xi` is the immediate.
    pub fn set_immediate(&mut self) {
        self.sub |= IMM_BIT;
    }

    /// The memory operand; meaningful for rows with `mem`.
    pub fn mem(&self) -> Mem {
        let step = match self.mode & 3 {
            0 => Step::Stay,
            1 => Step::Bytes,
            _ => Step::Register(self.rs2),
        };
        let rows = (self.mode & ROWS_BIT != 0).then_some(self.rs3);
        Mem { base: self.rs1, offset: self.imm, step, rows }
    }

    /// Sets the memory operand of a row with `mem`.
    pub fn set_mem(&mut self, mem: Mem) {
        (self.rs1, self.imm) = (mem.base, mem.offset);
        let (mode, step) = match mem.step {
            Step::Stay => (0, 0),
            Step::Bytes => (1, 0),
            Step::Register(number) => (2, number),
        };
        self.rs2 = step;
        self.mode = self.mode & !7 | mode;
        if let Some(rows) = mem.rows {
            self.rs3 = rows;
            self.mode |= ROWS_BIT;
        }
    }

    /// True if bit `bit` of mode is set (a `flag` operand).
    pub fn flag(&self, bit: u8) -> bool {
        self.mode >> bit & 1 != 0
    }

    /// The instruction word. Fields of a valid instruction fit; [`Inst::check`] tells.
    pub fn encode(&self) -> u64 {
        let row = self.op.row();
        let mut word = u64::from(row.code);
        for field in Field::ALL {
            if let Some((at, width)) = field.bits(row.form) {
                word |= (self.get(field) as u64 & ((1 << width) - 1)) << at;
            }
        }
        word
    }

    /// The fields of a word, unchecked.
    #[inline(always)]
    fn of_word(op: Op, word: u64, form: Form) -> Inst {
        let field = |field: Field| {
            field.bits(form).map_or(0, |(at, width)| {
                let value = (word >> at & ((1 << width) - 1)) as i64;
                if field == Field::Imm { value << (64 - width) >> (64 - width) } else { value }
            })
        };
        let byte = |name: Field| field(name) as u8;
        Inst {
            op,
            rd: byte(Field::Rd),
            rs1: byte(Field::Rs1),
            rs2: byte(Field::Rs2),
            rs3: byte(Field::Rs3),
            pm: byte(Field::Pm),
            pz: byte(Field::Pz) != 0,
            fa: byte(Field::Fa),
            fb: byte(Field::Fb),
            fd: byte(Field::Fd),
            mode: byte(Field::Mode),
            aux: byte(Field::Aux),
            sub: field(Field::Sub) as u16,
            imm: field(Field::Imm) as i32,
        }
    }

    /// Checks every field against the row.
    ///
    /// # Errors
    /// The first field that holds a value that its operand does not allow, or unused fields that are not zero.
    pub fn check(&self) -> Result<(), DecodeError> {
        let row = self.op.row();
        let mut allowed = Inst::new(self.op);
        if let Some(sub) = &row.sub {
            let code = self.sub_code();
            if usize::from(code) >= sub.names.len() {
                return Err(DecodeError::Field { op: self.op, field: sub.field });
            }
            allowed.set_sub_code(code);
        }
        for operand in row.operands {
            self.copy_operand(operand, row, &mut allowed)?;
        }
        if allowed == *self { Ok(()) } else { Err(DecodeError::Unused(self.op)) }
    }

    /// Copies the fields of one operand into `to`, checking their values.
    fn copy_operand(&self, operand: &Operand, row: &Row, to: &mut Inst) -> Result<(), DecodeError> {
        let mut copy = |field: Field, lo: i64, hi: i64| {
            let value = self.get(field);
            to.set(field, value);
            if (lo..=hi).contains(&value) { Ok(()) } else { Err(DecodeError::Field { op: self.op, field }) }
        };
        let (imm_lo, imm_hi) = row.form.imm_range();
        match *operand {
            Operand::Reg { class, field, when } => match when {
                When::Sub(code) if code != self.sub_code() => Ok(()),
                _ => copy(field, 0, i64::from(class.count()) - 1),
            },
            Operand::RegOrImm { field: _ } if self.is_immediate() => {
                copy(Field::Imm, imm_lo, imm_hi)?;
                to.set_immediate();
                Ok(())
            }
            Operand::RegOrImm { field } => copy(field, 0, 31),
            Operand::Imm | Operand::Bits | Operand::Label => copy(Field::Imm, imm_lo, imm_hi),
            Operand::Fmt => copy(Field::Imm, 0, i64::from(u16::MAX)),
            Operand::Num { field, lo, hi } => copy(field, i64::from(lo), i64::from(hi)),
            Operand::Base { field } => {
                copy(field, 0, 31)?;
                copy(Field::Imm, imm_lo, imm_hi)
            }
            Operand::Mem { rows, steps } => {
                copy(Field::Rs1, 0, 31)?;
                copy(Field::Imm, imm_lo, imm_hi)?;
                let mode = self.mode & if rows { 7 } else { 3 };
                if mode & 3 == 3 || (mode & 3 == 2 && !steps) {
                    return Err(DecodeError::Field { op: self.op, field: Field::Mode });
                }
                if mode & 3 == 2 {
                    copy(Field::Rs2, 0, 31)?;
                }
                if mode & ROWS_BIT != 0 {
                    copy(Field::Rs3, 0, 31)?;
                }
                to.mode |= mode;
                Ok(())
            }
            Operand::Tile { field } => {
                copy(field, 0, 7)?;
                copy(Field::Rs3, 0, 31)
            }
            Operand::Enum { field, names } | Operand::Choice { field, names } => copy(field, 0, names.len() as i64 - 1),
            Operand::Segment => copy(Field::Imm, 0, imm_hi),
            Operand::Flag { name: _, bit } => {
                to.mode |= self.mode & 1 << bit;
                Ok(())
            }
            Operand::Mask => {
                copy(Field::Pm, 0, 7)?;
                copy(Field::Pz, 0, 1)
            }
        }
    }
}

impl Form {
    /// Least and greatest signed immediate.
    pub fn imm_range(self) -> (i64, i64) {
        match self {
            Form::I => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Form::V => (-2048, 2047),
        }
    }
}

/// The instruction that `word` encodes.
///
/// # Errors
/// An unknown opcode, a field value that the row does not allow, or set bits that it does not use.
pub fn decode(word: u64) -> Result<Inst, DecodeError> {
    let op = Op::from_code(word as u8).ok_or(DecodeError::Opcode(word as u8))?;
    let inst = match op.row().form {
        Form::I => Inst::of_word(op, word, Form::I),
        Form::V => Inst::of_word(op, word, Form::V),
    };
    inst.check()?;
    Ok(inst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::table::ROWS;

    #[test]
    fn unused_bits_and_unknown_opcodes_are_refused() {
        assert_eq!(decode(0xff), Err(DecodeError::Opcode(0xff)));
        assert_eq!(decode(Inst::new(Op::Halt).encode() | 1 << 40), Err(DecodeError::Unused(Op::Halt)));
        let csr = Inst { sub: 6, ..Inst::new(Op::Csr) };
        assert_eq!(decode(csr.encode()), Err(DecodeError::Field { op: Op::Csr, field: Field::Sub }));
    }

    #[test]
    fn every_single_bit_either_round_trips_or_is_refused() {
        for row in ROWS {
            for bit in 8..64 {
                let word = Inst::new(row.op).encode() | 1 << bit;
                if let Ok(inst) = decode(word) {
                    assert_eq!(inst.encode(), word, "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn memory_operands_read_back() {
        let mem = Mem { base: 3, offset: -2048, step: Step::Register(9), rows: Some(31) };
        let mut inst = Inst { rd: 7, fd: 2, ..Inst::new(Op::LdBp) };
        inst.set_mem(mem);
        assert_eq!(decode(inst.encode()), Ok(inst));
        assert_eq!(inst.mem(), mem);
        let mut store = Inst::new(Op::StBp);
        store.set_mem(mem);
        assert_eq!(store.check(), Err(DecodeError::Unused(Op::StBp)), "st.bp has no rows form");
    }
}
