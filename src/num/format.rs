//! Number formats as rows of a table (`isa/formats.toml`).
//!
//! A [`Format`] is immutable and lives as long as the process, so that it is passed as the `Copy` handle
//! [`FormatRef`]. A user's own rows join the same table.

use crate::diag::Result;

/// Handle of a format; compare with [`Format::id`].
pub type FormatRef = &'static Format;

/// How codes of a format are interpreted.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// Sign, exponent and fraction fields.
    Float {
        /// Exponent bits.
        exp: u32,
        /// Fraction bits (without the hidden one).
        man: u32,
        /// Exponent bias.
        bias: i32,
        /// Which codes are NaN or infinite.
        specials: Specials,
    },
    /// Two's complement integer of `Format::bits` bits.
    Int,
    /// Explicit levels: code `i` is `levels[i] * 2^unit`; all levels are integers below 2^15 in magnitude.
    Codebook {
        /// Integer level of every code.
        levels: Vec<i32>,
    },
}

/// Special codes of a float element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Infinities and NaNs as IEEE 754.
    Ieee,
    /// OCP "fn": no infinity, NaN only where all exponent and fraction bits are set.
    Fn,
    /// No infinity, one NaN at the code of negative zero.
    Fnuz,
    /// Neither infinity nor NaN.
    None,
}

/// Rule by which a quantiser chooses the scale of a group of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleRule {
    /// No scale: a plain cast.
    Cast,
    /// The largest magnitude maps to the largest level.
    Absmax,
    /// The mean magnitude maps to one.
    Absmean,
}

/// One number format.
#[derive(Debug)]
pub struct Format {
    /// Index in the table; stable within a process.
    pub id: u16,
    /// Name used everywhere: command line, policies, reports.
    pub name: String,
    /// Bits of one code in dense storage.
    pub bits: u32,
    /// Bits of one code in a vector register: 1, 2, 4, 8, 16 or 32.
    pub container_bits: u32,
    /// Meaning of the codes.
    pub element: Element,
    /// Exponent of the common quantum of all finite values, `None` for fp16, bf16, fp32 (too wide to be exact).
    pub unit: Option<i32>,
    /// log2 of the largest magnitude in quanta, rounded up.
    pub span: u32,
    /// Largest finite magnitude.
    pub max: f32,
    /// How a quantiser scales into this format.
    pub rule: ScaleRule,
    /// True if models must be trained in this format for it to work well (ternary, binary); reports say so.
    pub trained_only: bool,
    /// One sentence for people.
    pub doc: String,
    /// Where the definition comes from.
    pub source: String,
    /// Value of every code for formats of 8 bits or fewer, as f32 bits; empty for wider ones.
    pub values: Vec<u32>,
    /// Integer of every code in quanta for formats of 8 bits or fewer with a unit; 0 for NaN and infinities.
    pub integers: Vec<i32>,
}

/// The table of formats, in the order of their rows: built-in ones first.
pub fn formats() -> Vec<FormatRef> {
    unimplemented!()
}

/// The format called `name`, or an error that suggests a near name and lists all.
pub fn find(name: &str) -> Result<FormatRef> {
    unimplemented!("{name}")
}

/// The format with this id.
pub fn by_id(id: u16) -> Option<FormatRef> {
    unimplemented!("{id}")
}
