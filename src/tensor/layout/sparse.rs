//! Compressed sparse rows and columns (`preon.csr/1`): the codes that are not zero, with bit-packed indices.
//!
//! Any element format that has a zero composes with it. docs/storage.md states the bytes.

use super::entropy::{get_bits, put_bits};
use crate::diag::{Error, Result};
use crate::num::crc32::crc32;
use crate::num::{Format, cast, decode};
use crate::tensor::pack;

const MAGIC: &[u8; 8] = b"PREONCSR";
/// Bytes before the codes.
const HEADER: usize = 30;

/// Which index is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// CSR: elements row by row.
    Rows,
    /// CSC: elements column by column.
    Columns,
}

/// A sparse tensor in packed lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    order: Order,
    rows: usize,
    cols: usize,
    bits: u32,
    kept: usize,
    codes: Vec<u8>,
    indices: Vec<u8>,
    starts: Vec<u8>,
}

/// Bits of a number from 0 to `most`.
fn width_of(most: usize) -> u32 {
    usize::BITS - most.leading_zeros()
}

/// Bytes of `count` packed numbers of `width` bits.
fn packed_bytes(count: usize, width: u32) -> usize {
    (count as u128 * u128::from(width)).div_ceil(8) as usize
}

/// Bytes of a tensor of `rows` x `cols` codes of `bits` bits, of which `kept` are stored: the closed form.
pub fn stored_bytes(order: Order, rows: usize, cols: usize, bits: u32, kept: usize) -> usize {
    let (outer, inner) = if order == Order::Rows { (rows, cols) } else { (cols, rows) };
    let index = width_of(inner.saturating_sub(1));
    HEADER + packed_bytes(kept, bits) + packed_bytes(kept, index) + packed_bytes(outer + 1, width_of(kept))
}

/// Code of +0.
///
/// # Errors
/// Unsupported for a format without a zero.
pub fn zero_code(format: &Format) -> Result<u32> {
    let code = cast(format, 0.0);
    if decode(format, code) == 0 {
        return Ok(code);
    }
    let error = Error::unsupported(format!("{} has no zero, so nothing of it can be left out", format.name));
    Err(error.help("a mask composes with every format"))
}

impl Sparse {
    /// The elements of dense packed rows whose code is not that of +0 (a negative zero is kept).
    ///
    /// # Errors
    /// Unsupported for a format without a zero or more than 2^32 - 1 rows or columns; Internal if the payload has not
    /// the size of the rows.
    pub fn of_rows(order: Order, format: &Format, rows: usize, cols: usize, dense: &[u8]) -> Result<Sparse> {
        let zero = zero_code(format)?;
        let pitch = pack::row_bytes(format, cols);
        if dense.len() != rows * pitch {
            return Err(Error::internal(format!("{} bytes of {rows} x {cols} {}", dense.len(), format.name)));
        }
        let code = |row: usize, col: usize| pack::get(format, &dense[row * pitch..][..pitch], col);
        let (outer, inner) = if order == Order::Rows { (rows, cols) } else { (cols, rows) };
        let (mut codes, mut indices, mut starts) = (Vec::new(), Vec::new(), vec![0u64]);
        for o in 0..outer {
            for i in 0..inner {
                let code = if order == Order::Rows { code(o, i) } else { code(i, o) };
                if code != zero {
                    codes.push(code);
                    indices.push(i as u64);
                }
            }
            starts.push(codes.len() as u64);
        }
        Sparse::of_triple(order, format, (rows, cols), &codes, &indices, &starts)
    }

    /// Imports the triple of a CSR or CSC tensor as libraries keep it (`data`, `indices`, `indptr`): `codes` of `format`.
    /// Stored zeros are allowed and stay stored.
    ///
    /// # Errors
    /// BadInput if `indptr` has not one entry more than there are rows (columns), does not begin at 0, falls, or does not
    /// end at the number of elements; if an index is out of range, or indices of a row are not ascending (a duplicate
    /// included); if a code is wider than the format. Unsupported as [`Sparse::of_rows`].
    pub fn of_triple(
        order: Order,
        format: &Format,
        (rows, cols): (usize, usize),
        codes: &[u32],
        indices: &[u64],
        indptr: &[u64],
    ) -> Result<Sparse> {
        zero_code(format)?;
        if u32::try_from(rows.max(cols)).is_err() {
            return Err(Error::unsupported(format!("a sparse tensor of {rows} x {cols}")));
        }
        let (outer, inner) = if order == Order::Rows { (rows, cols) } else { (cols, rows) };
        let kept = codes.len();
        if let Some(code) = codes.iter().find(|code| **code & !format.mask() != 0) {
            return Err(Error::bad_input(format!("code {code:#x} is no code of {}", format.name)));
        }
        if indices.len() != kept {
            return Err(Error::bad_input(format!("{kept} data and {} indices do not belong together", indices.len())));
        }
        check_indices(inner as u64, outer, indices, indptr)?;
        let mut sparse = Sparse {
            order,
            rows,
            cols,
            bits: format.bits,
            kept,
            codes: vec![0; packed_bytes(kept, format.bits)],
            indices: vec![0; packed_bytes(kept, width_of(inner.saturating_sub(1)))],
            starts: vec![0; packed_bytes(outer + 1, width_of(kept))],
        };
        let (index_bits, start_bits) = sparse.widths();
        for (at, (code, index)) in codes.iter().zip(indices).enumerate() {
            put_bits(&mut sparse.codes, format.bits, at, (*code).into());
            put_bits(&mut sparse.indices, index_bits, at, *index);
        }
        indptr.iter().enumerate().for_each(|(at, start)| put_bits(&mut sparse.starts, start_bits, at, *start));
        Ok(sparse)
    }

    /// The triple: codes, inner indices, and where each row (column) begins.
    pub fn triple(&self) -> (Vec<u32>, Vec<u64>, Vec<u64>) {
        let (index_bits, start_bits) = self.widths();
        let codes = (0..self.kept).map(|at| get_bits(&self.codes, self.bits, at) as u32).collect();
        let indices = (0..self.kept).map(|at| get_bits(&self.indices, index_bits, at)).collect();
        let starts = (0..=self.extents().0).map(|at| get_bits(&self.starts, start_bits, at)).collect();
        (codes, indices, starts)
    }

    /// The tensor as dense packed rows of `format`.
    ///
    /// # Errors
    /// Internal if the format has another width; Unsupported if it has no zero.
    pub fn to_rows(&self, format: &Format) -> Result<Vec<u8>> {
        if format.bits != self.bits {
            return Err(Error::internal(format!("codes of {} bits are not {}", self.bits, format.name)));
        }
        let zero = zero_code(format)?;
        let pitch = pack::row_bytes(format, self.cols);
        let mut table = vec![zero; self.rows * self.cols];
        let (codes, indices, starts) = self.triple();
        for (outer, bounds) in starts.windows(2).enumerate() {
            for at in bounds[0] as usize..bounds[1] as usize {
                let inner = indices[at] as usize;
                let (row, col) = if self.order == Order::Rows { (outer, inner) } else { (inner, outer) };
                table[row * self.cols + col] = codes[at];
            }
        }
        let mut dense = vec![0; self.rows * pitch];
        for row in 0..self.rows {
            for col in 0..self.cols {
                pack::put(format, &mut dense[row * pitch..][..pitch], col, table[row * self.cols + col]);
            }
        }
        Ok(dense)
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }
    /// Stored elements.
    pub fn kept(&self) -> usize {
        self.kept
    }
    /// Bytes of the whole layout.
    pub fn stored_bytes(&self) -> usize {
        stored_bytes(self.order, self.rows, self.cols, self.bits, self.kept)
    }

    fn extents(&self) -> (usize, usize) {
        if self.order == Order::Rows { (self.rows, self.cols) } else { (self.cols, self.rows) }
    }
    /// Bits of an index and of a start.
    fn widths(&self) -> (u32, u32) {
        (width_of(self.extents().1.saturating_sub(1)), width_of(self.kept))
    }

    /// The layout as docs/storage.md states it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.stored_bytes());
        body.extend((self.rows as u32).to_le_bytes());
        body.extend((self.cols as u32).to_le_bytes());
        body.extend((self.kept as u64).to_le_bytes());
        body.extend([u8::from(self.order == Order::Columns), self.bits as u8]);
        [&self.codes, &self.indices, &self.starts].into_iter().for_each(|list| body.extend(list));
        [&MAGIC[..], &crc32(&body).to_le_bytes(), &body].concat()
    }

    /// Reads a layout of `rows` x `cols` codes of `format` (known from the tensor's header, so that a few hostile bytes
    /// cannot ask for much memory).
    ///
    /// # Errors
    /// BadInput if the bytes are not exactly such a layout, or its lists are not those of a sparse tensor.
    pub fn from_bytes(bytes: &[u8], format: &Format, (rows, cols): (usize, usize)) -> Result<Sparse> {
        let wrong = |what: &str| Error::bad_input(format!("the sparse tensor is damaged: {what}"));
        if bytes.len() < HEADER || &bytes[..8] != MAGIC {
            return Err(Error::bad_input("this is not a sparse tensor").help("they begin with `PREONCSR`"));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if crc32(&bytes[12..]) != u32_at(8) {
            return Err(wrong("its checksum does not match"));
        }
        if (u32_at(12) as usize, u32_at(16) as usize) != (rows, cols) {
            return Err(wrong(&format!("it is {} x {}, not {rows} x {cols}", u32_at(12), u32_at(16))));
        }
        let order = match bytes[28] {
            0 => Order::Rows,
            1 => Order::Columns,
            _ => return Err(wrong("its header is not possible")),
        };
        if u32::from(bytes[29]) != format.bits {
            return Err(wrong(&format!("it holds codes of {} bits, not {}", bytes[29], format.bits)));
        }
        let stated = u64::from(u32_at(20)) | u64::from(u32_at(24)) << 32;
        // A stored element takes at least one bit, and no place holds two.
        let most = (bytes.len() as u64 * 8).min(rows as u64 * cols as u64);
        let kept = usize::try_from(stated).ok().filter(|_| stated <= most).ok_or_else(|| wrong("it ends early"))?;
        if stored_bytes(order, rows, cols, format.bits, kept) != bytes.len() {
            return Err(wrong("its lists do not fill it"));
        }
        let (codes, rest) = bytes[HEADER..].split_at(packed_bytes(kept, format.bits));
        let inner = if order == Order::Rows { cols } else { rows };
        let (indices, starts) = rest.split_at(packed_bytes(kept, width_of(inner.saturating_sub(1))));
        let [codes, indices, starts] = [codes, indices, starts].map(<[u8]>::to_vec);
        let raw = Sparse { order, rows, cols, bits: format.bits, kept, codes, indices, starts };
        let (codes, indices, starts) = raw.triple();
        let checked = Sparse::of_triple(order, format, (rows, cols), &codes, &indices, &starts)?;
        if checked == raw { Ok(checked) } else { Err(wrong("its padding is not zero")) }
    }
}

/// Whether `indices` and `indptr` are those of `outer` runs of ascending indices below `inner`.
fn check_indices(inner: u64, outer: usize, indices: &[u64], indptr: &[u64]) -> Result<()> {
    if indptr.len() != outer + 1 {
        return Err(Error::bad_input(format!("indptr has {} entries, {} are needed", indptr.len(), outer + 1)));
    }
    if indptr[0] != 0 || indptr[outer] != indices.len() as u64 || !indptr.is_sorted() {
        let message = format!("indptr must rise from 0 to the number of elements, {}", indices.len());
        return Err(Error::bad_input(message));
    }
    for (o, bounds) in indptr.windows(2).enumerate() {
        let run = &indices[bounds[0] as usize..bounds[1] as usize];
        if let Some(index) = run.iter().find(|index| **index >= inner) {
            return Err(Error::bad_input(format!("index {index} in run {o} is beyond the {inner} places")));
        }
        if let Some(pair) = run.windows(2).find(|pair| pair[0] >= pair[1]) {
            let what = if pair[0] == pair[1] { "stands twice" } else { "is not sorted" };
            return Err(
                Error::bad_input(format!("index {} in run {o} {what}", pair[1])).help("sort and sum duplicates first")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;
    use proptest::prelude::*;

    #[test]
    fn the_matrix_of_the_textbook() {
        // 1 0 2 / 0 0 3 / 4 5 6 as libraries keep it.
        let format = find("int4").unwrap();
        let (data, indices, indptr) = ([1, 2, 3, 4, 5, 6], [0, 2, 2, 0, 1, 2], [0, 2, 3, 6]);
        let csr = Sparse::of_triple(Order::Rows, format, (3, 3), &data, &indices, &indptr).unwrap();
        let dense = csr.to_rows(format).unwrap();
        assert_eq!(dense, [0x01, 0x02, 0x00, 0x03, 0x54, 0x06]);
        assert_eq!(Sparse::of_rows(Order::Rows, format, 3, 3, &dense).unwrap(), csr);
        let csc = Sparse::of_rows(Order::Columns, format, 3, 3, &dense).unwrap();
        assert_eq!(csc.triple(), (vec![1, 4, 5, 2, 3, 6], vec![0, 2, 2, 0, 1, 2], vec![0, 2, 3, 6]));
        // 6 codes of 4 bits, 6 indices of 2 bits, 4 starts of 3 bits.
        assert_eq!(csr.to_bytes().len(), 30 + 3 + 2 + 2);
        assert_eq!(csr.to_bytes()[30..], [0x21, 0x43, 0x65, 0b00_10_10_00, 0b10_01, 0b11_010_000, 0b1100]);
    }

    #[test]
    fn wrong_triples_are_refused_by_name() {
        let format = find("int8").unwrap();
        let of = |codes: &[u32], indices: &[u64], indptr: &[u64]| {
            Sparse::of_triple(Order::Rows, format, (2, 3), codes, indices, indptr).map(|_| ()).unwrap_err().to_string()
        };
        assert!(of(&[1, 2], &[0, 3], &[0, 2, 2]).contains("index 3 in run 0 is beyond the 3"));
        assert!(of(&[1, 2], &[1, 1], &[0, 2, 2]).contains("index 1 in run 0 stands twice"));
        assert!(of(&[1, 2], &[2, 0], &[0, 0, 2]).contains("index 0 in run 1 is not sorted"));
        assert!(of(&[1, 2], &[0, 1], &[0, 2]).contains("2 entries, 3 are needed"));
        assert!(of(&[1, 2], &[0, 1], &[0, 2, 1]).contains("must rise from 0"));
        assert!(of(&[1], &[0, 1], &[0, 1, 2]).contains("1 data and 2 indices"));
        assert!(of(&[0x100], &[0], &[0, 1, 1]).contains("0x100 is no code"));
        let binary = find("binary").unwrap();
        assert!(Sparse::of_rows(Order::Rows, binary, 1, 1, &[0]).unwrap_err().to_string().contains("has no zero"));
    }

    proptest! {
        #[test]
        fn dense_rows_come_back_from_both_orders(
            name in prop::sample::select(vec!["ternary", "int4", "int3", "fp8e4m3", "fp32", "fp16"]),
            (rows, cols) in (0usize..9, 0usize..20), seed in prop::collection::vec(any::<u32>(), 180),
            density in 0u32..5, at in any::<prop::sample::Index>(), flip in 1u8..=255, reseal in any::<bool>(),
        ) {
            let format = find(name).unwrap();
            let zero = zero_code(format).unwrap();
            let code = |n: &u32| if n % 4 < density { n >> 3 & format.mask() } else { zero };
            let codes: Vec<u32> = seed[..rows * cols].iter().map(code).collect();
            let dense: Vec<u8> =
                (0..rows).flat_map(|row| pack::pack_row(format, &codes[row * cols..][..cols])).collect();
            for order in [Order::Rows, Order::Columns] {
                let sparse = Sparse::of_rows(order, format, rows, cols, &dense).unwrap();
                prop_assert_eq!(&sparse.to_rows(format).unwrap(), &dense);
                prop_assert_eq!(sparse.kept(), codes.iter().filter(|code| **code != zero).count());
                let bytes = sparse.to_bytes();
                prop_assert_eq!(bytes.len(), sparse.stored_bytes());
                prop_assert_eq!(&Sparse::from_bytes(&bytes, format, (rows, cols)).unwrap(), &sparse);
                let mut damaged = bytes.clone();
                damaged[at.index(bytes.len())] ^= flip;
                if reseal {
                    let sum = crc32(&damaged[12..]).to_le_bytes();
                    damaged[8..12].copy_from_slice(&sum);
                }
                match Sparse::from_bytes(&damaged, format, (rows, cols)) {
                    Ok(read) => {
                        prop_assert!(reseal);
                        prop_assert_eq!(read.to_bytes(), damaged);
                        prop_assert!(read.to_rows(format).is_ok());
                    }
                    Err(error) => prop_assert!(!error.to_string().is_empty()),
                }
            }
        }
    }
}
