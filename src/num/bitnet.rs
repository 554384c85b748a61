//! Ternary weights as BitNet b1.58 checkpoints store them (`uint8` tensors of the Transformers library).
//!
//! Byte (r, c) of a packed `[rows/4, cols]` tensor holds, in bits 2i+1..2i for i = 0..3, the trit + 1 of row
//! i * rows/4 + r and column c: the first quarter of the rows lies in the low bits.

use crate::diag::{Error, Result};

/// Trits (-1, 0, +1) of a `rows` x `cols` matrix from `packed`, row-major; the field value 3 is refused.
///
/// # Errors
/// BadInput if the rows are no multiple of 4, the bytes do not fit the shape, or a field is 3.
pub fn unpack(packed: &[u8], rows: usize, cols: usize) -> Result<Vec<i8>> {
    let quarter = quarter(rows)?;
    if Some(packed.len()) != quarter.checked_mul(cols) {
        return Err(Error::bad_input(format!("{} bytes do not hold {rows} x {cols} packed trits", packed.len())));
    }
    if let Some(at) = packed.iter().position(|byte| byte & byte >> 1 & 0x55 != 0) {
        return Err(Error::bad_input(format!("byte {at} has a field of 3, which is no trit")));
    }
    let field = |i: usize| packed.iter().map(move |byte| (byte >> (2 * i) & 3) as i8 - 1);
    Ok((0..4).flat_map(field).collect())
}

/// Packs a `rows` x `cols` matrix of trits, row-major.
///
/// # Errors
/// BadInput if the rows are no multiple of 4, the trits do not fit the shape, or one is not -1, 0 or +1.
pub fn pack(trits: &[i8], rows: usize, cols: usize) -> Result<Vec<u8>> {
    let quarter = quarter(rows)?;
    if Some(trits.len()) != rows.checked_mul(cols) {
        return Err(Error::bad_input(format!("{} trits are not {rows} x {cols}", trits.len())));
    }
    if let Some(at) = trits.iter().position(|trit| !(-1..=1).contains(trit)) {
        return Err(Error::bad_input(format!("element {at} is {}, which is no trit", trits[at])));
    }
    let size = quarter * cols;
    let byte = |at: usize| (0..4).fold(0, |byte, i| byte | ((trits[i * size + at] + 1) as u8) << (2 * i));
    Ok((0..size).map(byte).collect())
}

fn quarter(rows: usize) -> Result<usize> {
    match rows % 4 {
        0 => Ok(rows / 4),
        _ => Err(Error::bad_input(format!("packed trits come in multiples of 4 rows, not {rows}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_rows_stands_in_each_pair_of_bits() {
        // Rows 0 to 3 of one column: +1, 0, -1, 0 give fields 2, 1, 0, 1 from the low bits up.
        assert_eq!(pack(&[1, 0, -1, 0], 4, 1).unwrap(), [0b01_00_01_10]);
        // Eight rows: byte 0 has rows 0, 2, 4, 6.
        let trits = [1, -1, 0, 0, -1, 1, 0, 1];
        assert_eq!(pack(&trits, 8, 1).unwrap(), [0b01_00_01_10, 0b10_10_01_00]);
    }

    #[test]
    fn unpack_undoes_pack_and_shapes_are_checked() {
        let trits: Vec<i8> = (0..12 * 7i32).map(|i| (i * i % 3) as i8 - 1).collect();
        let packed = pack(&trits, 12, 7).unwrap();
        assert_eq!(packed.len(), 21);
        assert_eq!(unpack(&packed, 12, 7).unwrap(), trits);
        assert!(pack(&trits, 14, 6).unwrap_err().to_string().contains("multiples of 4"));
        assert!(pack(&[2, 0, 0, 0], 4, 1).unwrap_err().to_string().contains("element 0 is 2"));
        assert!(unpack(&packed, 12, 8).is_err());
        assert!(unpack(&[0b1101], 4, 1).unwrap_err().to_string().contains("byte 0"));
        assert!(unpack(&[], 0, 5).unwrap().is_empty());
    }
}
