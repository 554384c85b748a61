//! Stored layouts: what the bytes of a tensor are in a file or in memory. Each is a pure function between dense packed
//! rows ([`super::pack`]) and its own bytes, without loss, counted in full; docs/storage.md defines their bits.
//!
//! | layout | serves | bytes of a row of n |
//! |---|---|---|
//! | `dense` | every format | ceil(n * bits / 8) |
//! | `planes` | codes of 8 bits or fewer | planes * ceil(n / 8) |
//! | `trits5` | three levels | ceil(n / 5) |
//! | `quints3` | five levels | ceil(7 * ceil(n / 3) / 8) |
//!
//! These are the [`Layout`]s of one size whatever the values. [`entropy`] and [`sparse`] depend on them; [`compare`] says
//! which is smallest.

pub mod compare;
mod digits;
pub mod entropy;
mod planes;
pub mod sparse;

pub use planes::{Patterns, patterns};

use super::pack::row_bytes;
use crate::diag::{Error, Result, did_you_mean};
use crate::num::FormatRef;

/// How the codes of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Packed codes without gaps: what every other layout is made from.
    Dense,
    /// Bit planes: bit i of every element of a row side by side.
    Planes,
    /// Five ternary digits a byte.
    Trits5,
    /// Three digits of base five in seven bits.
    Quints3,
}

/// What the bytes of a layout hold: `rows` rows of `cols` codes.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Element format.
    pub format: FormatRef,
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
}

impl Matrix {
    /// Bytes of the dense packed rows.
    ///
    /// # Errors
    /// BadInput if there are more than memory can address.
    pub fn dense_bytes(&self) -> Result<usize> {
        self.times_rows(Some(row_bytes(self.format, self.cols)))
    }
    /// Bytes of all rows of so many each; `None` and what memory cannot address are errors.
    fn times_rows(&self, row: Option<usize>) -> Result<usize> {
        let bytes = row.and_then(|row| row.checked_mul(self.rows)).filter(|bytes| *bytes <= isize::MAX as usize);
        bytes.ok_or_else(|| Error::bad_input(format!("{} x {} elements are too many", self.rows, self.cols)))
    }
    fn check_length(&self, what: &str, bytes: &[u8], wanted: usize) -> Result<()> {
        if bytes.len() == wanted {
            return Ok(());
        }
        let Matrix { format, rows, cols } = self;
        Err(Error::bad_input(format!(
            "{what} of {rows} x {cols} {} have {wanted} bytes, not {}",
            format.name,
            bytes.len()
        )))
    }
    /// A fault of the bytes of one row.
    fn fault(&self, row: usize, what: impl std::fmt::Display) -> Error {
        Error::bad_input(format!("row {row} of a stored {} tensor: {what}", self.format.name))
    }
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::Dense, Layout::Planes, Layout::Trits5, Layout::Quints3];

    /// Name in files, policies and reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Dense => "dense",
            Layout::Planes => "planes",
            Layout::Trits5 => "trits5",
            Layout::Quints3 => "quints3",
        }
    }
    /// The layout called `name`.
    ///
    /// # Errors
    /// BadInput for an unknown name.
    pub fn by_name(name: &str) -> Result<Layout> {
        Layout::ALL.into_iter().find(|layout| layout.name() == name).ok_or_else(|| {
            let names = Layout::ALL.map(Layout::name);
            let near = did_you_mean(name, names).map_or(String::new(), |near| format!("did you mean `{near}`? "));
            Error::bad_input(format!("unknown layout `{name}`")).help(format!("{near}one of {}", names.join(", ")))
        })
    }
    /// Bytes of a tensor in this layout, known before there are values.
    ///
    /// # Errors
    /// Unsupported if the layout does not serve the format; BadInput as [`Matrix::dense_bytes`].
    pub fn bytes(self, matrix: &Matrix) -> Result<usize> {
        match self {
            Layout::Dense => matrix.dense_bytes(),
            Layout::Planes => planes::bytes(matrix),
            Layout::Trits5 => digits::TRITS5.bytes(matrix),
            Layout::Quints3 => digits::QUINTS3.bytes(matrix),
        }
    }
    /// The bytes of this layout from dense packed rows.
    ///
    /// # Errors
    /// As [`Layout::bytes`]; BadInput if `dense` has a wrong length, set padding bits, or reserved codes where the layout
    /// has no place for them.
    pub fn pack(self, matrix: &Matrix, dense: &[u8]) -> Result<Vec<u8>> {
        check_dense(matrix, dense)?;
        match self {
            Layout::Dense => Ok(dense.to_vec()),
            Layout::Planes => planes::pack(matrix, dense),
            Layout::Trits5 => digits::TRITS5.pack(matrix, dense),
            Layout::Quints3 => digits::QUINTS3.pack(matrix, dense),
        }
    }
    /// The dense packed rows from bytes of this layout, which may come from anywhere.
    ///
    /// # Errors
    /// As [`Layout::bytes`]; BadInput for bytes that [`Layout::pack`] never writes.
    pub fn unpack(self, matrix: &Matrix, bytes: &[u8]) -> Result<Vec<u8>> {
        match self {
            Layout::Dense => check_dense(matrix, bytes).map(|()| bytes.to_vec()),
            Layout::Planes => planes::unpack(matrix, bytes),
            Layout::Trits5 => digits::TRITS5.unpack(matrix, bytes),
            Layout::Quints3 => digits::QUINTS3.unpack(matrix, bytes),
        }
    }
}

/// That a format and a layout do not go together, and why.
fn not_served(layout: Layout, format: FormatRef, why: &str) -> Error {
    Error::unsupported(format!("the layout {} does not store {}", layout.name(), format.name)).help(why.to_string())
}

/// Length and padding bits of dense packed rows.
fn check_dense(matrix: &Matrix, dense: &[u8]) -> Result<()> {
    matrix.check_length("dense rows", dense, matrix.dense_bytes()?)?;
    let used = matrix.cols % 8 * matrix.format.bits as usize % 8;
    let row = row_bytes(matrix.format, matrix.cols);
    if used != 0 {
        for (index, row) in dense.chunks_exact(row).enumerate() {
            if row[row.len() - 1] >> used != 0 {
                return Err(matrix.fault(index, "padding bits are set"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
