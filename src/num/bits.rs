//! Codes moved between bytes, packed bits and bit planes: nothing here knows what a code means.
//!
//! Packed codes follow each other without gaps, first one in the low bits. A plane holds one bit of every code, first
//! one in bit 0 of its first byte. The functions here are portable and state the bits; leaves in `arch` do the
//! same for whole vectors.

use super::isa::Isa;

/// A map of codes of 8 bits or fewer, some of which have no image.
#[derive(Debug, Clone)]
pub struct Map {
    /// Image of every code; 0 where there is none.
    pub(super) image: [u8; 256],
    /// 1 for every code without an image.
    pub(super) none: [u8; 256],
}

impl Map {
    /// From a list of images by code; codes beyond its end have none.
    pub fn new(images: impl IntoIterator<Item = Option<u8>>) -> Self {
        let mut map = Map { image: [0; 256], none: [1; 256] };
        for (code, image) in images.into_iter().enumerate().take(256) {
            map.image[code] = image.unwrap_or(0);
            map.none[code] = u8::from(image.is_none());
        }
        map
    }
}

/// Bytes of `count` packed codes.
fn packed_bytes(bits: u32, count: usize) -> usize {
    count / 8 * bits as usize + (count % 8 * bits as usize).div_ceil(8)
}

/// Packs codes of 8 bits or fewer, one a byte, into `out`, which has just the bytes that they need.
///
/// # Panics
/// If `out` has another length.
pub fn pack(bits: u32, codes: &[u8], out: &mut [u8]) {
    assert_eq!(out.len(), packed_bytes(bits, codes.len()), "bytes of packed codes");
    let done = super::arch::pack(Isa::current(), bits, codes, out);
    let (whole, rest) = codes[done..].as_chunks::<8>();
    let bytes = &mut out[done / 8 * bits as usize..];
    let width = bits as usize;
    for (codes, bytes) in whole.iter().zip(bytes.chunks_exact_mut(width)) {
        bytes.copy_from_slice(&gather(bits, codes).to_le_bytes()[..width]);
    }
    let bytes = &mut bytes[whole.len() * width..];
    let length = bytes.len();
    bytes.copy_from_slice(&gather(bits, rest).to_le_bytes()[..length]);
}

/// At most eight codes in one word.
fn gather(bits: u32, codes: &[u8]) -> u64 {
    let mask = (1u64 << bits) - 1;
    codes.iter().rev().fold(0, |word, code| word << bits | u64::from(*code) & mask)
}

/// Unpacks codes of 8 bits or fewer into one byte each.
///
/// # Panics
/// If there are fewer bytes than the codes need.
pub fn unpack(bits: u32, bytes: &[u8], codes: &mut [u8]) {
    assert!(bytes.len() >= packed_bytes(bits, codes.len()), "bytes of packed codes");
    let (mask, width) = (((1u16 << bits) - 1) as u8, bits as usize);
    for (codes, bytes) in codes.chunks_mut(8).zip(bytes.chunks(width)) {
        let mut word = word(bytes);
        for code in codes {
            *code = word as u8 & mask;
            word >>= bits;
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(bytes) => u64::from_le_bytes(bytes),
        Err(_) => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// The bits above `count` packed codes in the last of their bytes.
pub fn padding(bits: u32, count: usize, bytes: &[u8]) -> u8 {
    match (bytes.last(), count % 8 * bits as usize % 8) {
        (Some(last), used @ 1..) => last >> used,
        _ => 0,
    }
}

/// Splits `count` packed codes into the planes of their images; plane after plane, each on its own bytes. Returns
/// whether every code has an image.
///
/// # Panics
/// If `bytes` is too short or `planes` is not a whole number of planes.
pub fn split(bits: u32, bytes: &[u8], count: usize, map: &Map, planes: &mut [u8]) -> bool {
    let plane = count.div_ceil(8);
    assert!(bytes.len() >= packed_bytes(bits, count) && planes.len().is_multiple_of(plane.max(1)), "planes of codes");
    let (mut none, mut done) = (0, 0);
    if bits == 2 && planes.len() == 2 * plane {
        let (first, second) = planes.split_at_mut(plane);
        (done, none) = super::arch::split2(Isa::current(), map, &bytes[..count / 4], first, second);
    }
    let bytes = &bytes[done * bits as usize..];
    for (index, bytes) in (done..plane).zip(bytes.chunks(bits as usize)) {
        let (mut codes, mut images) = ([0; 8], [0; 8]);
        let present = (count - 8 * index).min(8);
        unpack(bits, bytes, &mut codes[..present]);
        for (code, image) in codes.iter().zip(&mut images).take(present) {
            *image = map.image[usize::from(*code)];
            none |= map.none[usize::from(*code)];
        }
        let turned = transpose(u64::from_le_bytes(images)).to_le_bytes();
        planes[index..].iter_mut().step_by(plane).zip(turned).for_each(|(byte, turned)| *byte = turned);
    }
    none == 0
}

/// Joins planes to `count` packed codes, the images of the bits that an element has in the planes. Returns whether every
/// element has an image. Undoes [`split`] under the inverse map.
///
/// # Panics
/// If `planes` is not a whole number of planes, at most 8, or `bytes` has another length than the codes need.
pub fn join(bits: u32, planes: &[u8], count: usize, map: &Map, bytes: &mut [u8]) -> bool {
    let plane = count.div_ceil(8);
    assert!(bytes.len() == packed_bytes(bits, count) && planes.len().is_multiple_of(plane.max(1)), "planes of codes");
    let (mut none, mut done) = (0, 0);
    if bits == 2 && planes.len() == 2 * plane {
        let (first, second) = planes.split_at(plane);
        (done, none) = super::arch::join2(Isa::current(), map, &first[..count / 8], &second[..count / 8], bytes);
    }
    let bytes = &mut bytes[done * bits as usize..];
    for (index, bytes) in (done..plane).zip(bytes.chunks_mut(bits as usize)) {
        let mut rows = [0; 8];
        planes[index..].iter().step_by(plane).zip(&mut rows).for_each(|(byte, row)| *row = *byte);
        let mut codes = transpose(u64::from_le_bytes(rows)).to_le_bytes();
        let present = (count - 8 * index).min(8);
        for code in &mut codes[..present] {
            none |= map.none[usize::from(*code)];
            *code = map.image[usize::from(*code)];
        }
        let length = bytes.len();
        bytes.copy_from_slice(&gather(bits, &codes[..present]).to_le_bytes()[..length]);
    }
    none == 0
}

/// Bit j of byte i becomes bit i of byte j: three rounds that swap blocks across the diagonal.
fn transpose(x: u64) -> u64 {
    let swap = |x: u64, shift: u32, mask: u64| {
        let moved = (x ^ x >> shift) & mask;
        x ^ moved ^ moved << shift
    };
    let x = swap(x, 7, 0x00aa_00aa_00aa_00aa);
    let x = swap(x, 14, 0x0000_cccc_0000_cccc);
    swap(x, 28, 0x0000_0000_f0f0_f0f0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_bits_are_those_of_the_codes(bits in 1u32..=8, codes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mask = ((1u16 << bits) - 1) as u8;
            let mut packed = vec![0xff; packed_bytes(bits, codes.len())];
            pack(bits, &codes, &mut packed);
            let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
            for (index, code) in codes.iter().enumerate() {
                for b in 0..bits {
                    prop_assert_eq!(bit(index * bits as usize + b as usize), u32::from(code >> b & 1));
                }
            }
            prop_assert_eq!(padding(bits, codes.len(), &packed), 0);
            let mut again = vec![0; codes.len()];
            unpack(bits, &packed, &mut again);
            prop_assert_eq!(again, codes.iter().map(|code| code & mask).collect::<Vec<_>>());
        }

        #[test]
        fn planes_hold_the_bits_of_the_images(bits in 1u32..=8, seed in any::<u8>(), codes in prop::collection::vec(any::<u8>(), 0..700)) {
            // An invertible map with a hole at the highest code.
            let last = (1u16 << bits) - 1;
            let image = |code: u8| ((u16::from(code) + u16::from(seed)) & last) as u8;
            let forth = Map::new((0..=last).map(|code| (code != last || bits == 1).then(|| image(code as u8))));
            let back = Map::new((0..=last).map(|code| {
                let of = code.wrapping_sub(u16::from(seed)) & last;
                (of != last || bits == 1).then_some(of as u8)
            }));
            let codes: Vec<u8> = codes.iter().map(|code| code & last as u8).collect();
            let mut packed = vec![0; packed_bytes(bits, codes.len())];
            pack(bits, &codes, &mut packed);
            let plane = codes.len().div_ceil(8);
            let mut planes = vec![0xff; plane * bits as usize];
            let whole = split(bits, &packed, codes.len(), &forth, &mut planes);
            prop_assert_eq!(whole, bits == 1 || codes.iter().all(|code| u16::from(*code) != last));
            for (index, code) in codes.iter().enumerate().filter(|(_, code)| u16::from(**code) != last) {
                for b in 0..bits as usize {
                    prop_assert_eq!(planes[b * plane + index / 8] >> (index % 8) & 1, image(*code) >> b & 1);
                }
            }
            if whole {
                let mut again = vec![0xff; packed.len()];
                prop_assert!(join(bits, &planes, codes.len(), &back, &mut again));
                prop_assert_eq!(again, packed);
            }
        }
    }

    #[test]
    fn one_plane_pattern_without_image_is_seen_wherever_it_stands() {
        let map = Map::new([Some(0), Some(1), None, Some(2)]);
        for at in 0..300 {
            let mut planes = vec![0u8; 2 * 38];
            planes[38 + at / 8] |= 1 << (at % 8);
            assert!(!join(2, &planes, 300, &map, &mut [0; 75]), "{at}");
        }
    }
}
