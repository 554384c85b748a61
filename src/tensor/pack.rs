//! Packing codes into rows and back. A row starts on a byte; element 0 stands in the low bits of the first byte and
//! codes follow each other without gaps, so that a 3-bit code may straddle two bytes. Padding bits are zero.

use crate::num::Format;

/// Bytes of a packed row of `cols` elements.
pub fn row_bytes(format: &Format, cols: usize) -> usize {
    match format.bits {
        8 | 16 | 32 => cols * (format.bits as usize / 8),
        // `cols` may be near usize::MAX / 8 in a hostile header: split off the whole bytes first.
        bits => cols / 8 * bits as usize + (cols % 8 * bits as usize).div_ceil(8),
    }
}

/// Reads code `index` of a packed row.
pub fn get(format: &Format, row: &[u8], index: usize) -> u32 {
    match format.bits {
        8 => u32::from(row[index]),
        16 => u32::from(u16::from_le_bytes([row[2 * index], row[2 * index + 1]])),
        32 => u32::from_le_bytes([row[4 * index], row[4 * index + 1], row[4 * index + 2], row[4 * index + 3]]),
        bits => {
            let (first, shift, last) = address(bits, index);
            let word = (first..=last).rev().fold(0u64, |word, byte| word << 8 | u64::from(row[byte]));
            (word >> shift) as u32 & format.mask()
        }
    }
}

/// Writes code `index` of a packed row (the bits must be zero before); bits above the code are ignored.
pub fn put(format: &Format, row: &mut [u8], index: usize, code: u32) {
    let code = code & format.mask();
    match format.bits {
        8 => row[index] = code as u8,
        16 => row[2 * index..2 * index + 2].copy_from_slice(&(code as u16).to_le_bytes()),
        32 => row[4 * index..4 * index + 4].copy_from_slice(&code.to_le_bytes()),
        bits => {
            let (first, shift, last) = address(bits, index);
            let bytes = (u64::from(code) << shift).to_le_bytes();
            for (at, byte) in (first..=last).zip(bytes) {
                row[at] |= byte;
            }
        }
    }
}

/// Writes code `index` of a packed row over what is there.
pub fn set(format: &Format, row: &mut [u8], index: usize, code: u32) {
    if matches!(format.bits, 8 | 16 | 32) {
        return put(format, row, index, code);
    }
    let old = get(format, row, index);
    let (first, shift, last) = address(format.bits, index);
    let flipped = (u64::from((old ^ code) & format.mask()) << shift).to_le_bytes();
    for (at, byte) in (first..=last).zip(flipped) {
        row[at] ^= byte;
    }
}

/// First byte, shift inside it, and last byte of a code.
fn address(bits: u32, index: usize) -> (usize, usize, usize) {
    let bits = bits as usize;
    let start = index * bits;
    (start / 8, start % 8, (start + bits - 1) / 8)
}

/// Packs codes into one row.
pub fn pack_row(format: &Format, codes: &[u32]) -> Vec<u8> {
    let mut row = vec![0; row_bytes(format, codes.len())];
    for (index, code) in codes.iter().enumerate() {
        put(format, &mut row, index, *code);
    }
    row
}

/// Unpacks `n` codes of one row.
pub fn unpack_row(format: &Format, row: &[u8], n: usize) -> Vec<u32> {
    (0..n).map(|index| get(format, row, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;
    use proptest::prelude::*;

    /// A format of any width: only `bits` matters here.
    fn of_width(bits: u32) -> Format {
        Format { bits, ..find("int4").expect("a row of the table").clone() }
    }

    proptest! {
        #[test]
        fn packing_is_undone_by_unpacking(bits in 1u32..=32, codes in prop::collection::vec(any::<u32>(), 0..70)) {
            let format = of_width(bits);
            let codes: Vec<u32> = codes.iter().map(|c| c & format.mask()).collect();
            let row = pack_row(&format, &codes);
            prop_assert_eq!(row.len(), (codes.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack_row(&format, &row, codes.len()), codes.clone());
            // The bits of the row are those of the codes, low ones first, and the padding is zero.
            let mut bit_list = Vec::new();
            for code in &codes {
                bit_list.extend((0..bits).map(|b| code >> b & 1));
            }
            bit_list.resize(row.len() * 8, 0);
            let packed: Vec<u32> = row.iter().flat_map(|b| (0..8).map(move |s| u32::from(*b >> s) & 1)).collect();
            prop_assert_eq!(packed, bit_list);
        }
    }

    #[test]
    fn row_bytes_round_up_and_do_not_overflow() {
        let bytes = |bits, cols| row_bytes(&of_width(bits), cols);
        assert_eq!([bytes(1, 9), bytes(2, 5), bytes(4, 3), bytes(6, 4), bytes(3, 3), bytes(16, 3)], [2, 2, 2, 3, 2, 6]);
        assert_eq!(bytes(4, usize::MAX), usize::MAX / 8 * 4 + 4);
    }
}
