//! The instruction set: the table of `isa/vpu.toml`, its encoding, and its text form.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod asm;
pub mod disasm;
pub mod encode;
pub mod flow;
pub mod manual;
pub mod object;
pub mod table;
#[cfg(test)]
mod tests;

pub use encode::{DecodeError, Mem, Step, decode};
pub use manual::list;
pub use object::{Linked, Object, link};
pub use table::{Op, Unit};

/// One decoded instruction: every field of both encoding forms; fields that a row does not use are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inst {
    /// Opcode row.
    pub op: Op,
    /// Destination (or first) register.
    pub rd: u8,
    /// First source register.
    pub rs1: u8,
    /// Second source register.
    pub rs2: u8,
    /// Third source register.
    pub rs3: u8,
    /// Mask register; 0 = all.
    pub pm: u8,
    /// Mask skips work (`.z`) instead of only keeping values.
    pub pz: bool,
    /// Format slot of the first source.
    pub fa: u8,
    /// Format slot of the second source.
    pub fb: u8,
    /// Format slot of the destination.
    pub fd: u8,
    /// Mode bits.
    pub mode: u8,
    /// Tag, or a fifth register.
    pub aux: u8,
    /// Sub-operation of the I form; bit 8 = the last operand is an immediate.
    pub sub: u16,
    /// Immediate: 32 bits (I form) or 12 bits (V form), sign-extended.
    pub imm: i32,
}
