//! Block types of GGUF files (llama.cpp), byte for byte: f32 to blocks as its reference quantisers write them, and back.
//!
//! What differs from the formats of this project: factors are products with fl(1/d) of the unrounded scale d, ties go away
//! from zero, the stored scale is an f16 (so decoding multiplies by a slightly other number), and nothing is refused but
//! NaN and infinity. Where a factor overflows because d is tiny, every code is that of a zero, as x86 gives it.

use super::codec::{Rounding, decode, encode};
use super::format::{FormatRef, find};
use crate::diag::{Error, Result};

/// A type of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Q1_0,
    Q2_0,
    Q4_0,
    Q8_0,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
    I2S,
}

/// A container of GGUF: blocks of a fixed number of elements and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Container {
    /// Name used everywhere.
    pub name: &'static str,
    kind: Kind,
    /// Elements of a block.
    pub elements: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Bytes after the last block: `gguf-i2_s` ends with the f32 scale of the tensor, padded to 32 bytes.
    pub tail: usize,
    /// One sentence for people.
    pub doc: &'static str,
    half: FormatRef,
}

/// Name, kind, elements and bytes of a block, bytes behind the last one, sentence.
const CONTAINERS: [(&str, Kind, usize, usize, usize, &str); 9] = [
    ("gguf-q1_0", Kind::Q1_0, 128, 18, 0, "signs under the mean magnitude"),
    ("gguf-q2_0", Kind::Q2_0, 64, 18, 0, "-1 to +2 under the largest magnitude"),
    ("gguf-q4_0", Kind::Q4_0, 32, 18, 0, "int4 whose -8 is the element of largest magnitude"),
    ("gguf-q8_0", Kind::Q8_0, 32, 34, 0, "int8, largest magnitude to 127"),
    ("gguf-tq1_0", Kind::Tq1_0, 256, 54, 0, "trits, 5 a byte, under the largest magnitude"),
    ("gguf-tq2_0", Kind::Tq2_0, 256, 66, 0, "trits, 4 a byte, under the largest magnitude"),
    ("gguf-mxfp4", Kind::Mxfp4, 32, 17, 0, "E2M1 under an E8M0 scale"),
    ("gguf-nvfp4", Kind::Nvfp4, 64, 36, 0, "four times 16 E2M1 under an unsigned E4M3 scale"),
    ("gguf-i2_s", Kind::I2S, 128, 32, 32, "trits of BitNet, 4 a byte, one f32 scale a tensor"),
];

/// Powers of 3 for the five digits of a byte, the first digit highest.
const DIGITS: [u16; 5] = [81, 27, 9, 3, 1];
/// Twice the values of the E2M1 codes.
const E2M1_DOUBLED: [f32; 16] = [0., 1., 2., 3., 4., 6., 8., 12., 0., -1., -2., -3., -4., -6., -8., -12.];
/// Below this an element of `gguf-i2_s` is zero.
const I2S_ZERO: f64 = 1e-6;

/// All containers.
///
/// # Errors
/// Only where the built-in table lacks fp16.
pub fn containers() -> Result<Vec<Container>> {
    let half = find("fp16")?;
    let of = |(name, kind, elements, bytes, tail, doc)| Container { name, kind, elements, bytes, tail, doc, half };
    Ok(CONTAINERS.into_iter().map(of).collect())
}

impl Container {
    /// The container called `name`, if there is one.
    ///
    /// # Errors
    /// As [`containers`].
    pub fn find(name: &str) -> Result<Option<Container>> {
        Ok(containers()?.into_iter().find(|container| container.name == name))
    }
    /// Whether a block depends on the whole tensor, so that a stream must be read to its end first.
    pub fn is_whole(&self) -> bool {
        self.tail > 0
    }

    /// Appends the bytes of the blocks of `x`; of a whole tensor, if the container is one of whole tensors.
    ///
    /// # Errors
    /// BadInput if `x` is not made of whole blocks or holds NaN or infinity.
    pub fn encode(&self, x: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
        if !x.len().is_multiple_of(self.elements) {
            return Err(Error::bad_input(format!("{} elements are no blocks of {}", x.len(), self.elements)));
        }
        if let Some(at) = x.iter().position(|x| !x.is_finite()) {
            return Err(Error::bad_input(format!("{} holds no NaN or infinity, but element {at} is one", self.name)));
        }
        if self.kind == Kind::I2S {
            encode_i2s(x, bytes);
            return Ok(());
        }
        for x in x.chunks(self.elements) {
            match self.kind {
                Kind::Q1_0 => self.encode_q1(x, bytes),
                Kind::Q2_0 => self.encode_q2(x, bytes),
                Kind::Q4_0 => self.encode_q4(x, bytes),
                Kind::Q8_0 => self.encode_q8(x, bytes),
                Kind::Tq1_0 => self.encode_tq1(x, bytes),
                Kind::Tq2_0 => self.encode_tq2(x, bytes),
                Kind::Mxfp4 => encode_mxfp4(x, bytes),
                Kind::Nvfp4 => encode_nvfp4(x, bytes),
                Kind::I2S => {}
            }
        }
        Ok(())
    }

    /// Appends the values of whole blocks (of a whole tensor with its tail) as f32 bits; NaN is canonical.
    ///
    /// # Errors
    /// BadInput if the bytes are no whole blocks.
    pub fn decode(&self, bytes: &[u8], values: &mut Vec<u32>) -> Result<()> {
        let blocks = bytes.len().checked_sub(self.tail).filter(|n| n.is_multiple_of(self.bytes));
        let Some(blocks) = blocks else {
            let tail = if self.tail > 0 { format!(" and {} more", self.tail) } else { String::new() };
            return Err(Error::bad_input(format!("{} bytes are no blocks of {}{tail}", bytes.len(), self.bytes)));
        };
        let (blocks, tail) = bytes.split_at(blocks);
        let scale = tail.first_chunk().map_or(0.0, |scale| f32::from_le_bytes(*scale));
        let mut put = |value: f32| values.push(super::func::canonical(value).to_bits());
        for block in blocks.chunks(self.bytes) {
            match self.kind {
                Kind::Q1_0 => {
                    let d = self.half(block, 0);
                    (0..128).for_each(|j| put(if block[2 + j / 8] >> (j % 8) & 1 == 1 { d } else { -d }));
                }
                Kind::Q2_0 => {
                    let d = self.half(block, 0);
                    (0..64).for_each(|j| put((f32::from(block[2 + j / 4] >> (2 * (j % 4)) & 3) - 1.0) * d));
                }
                Kind::Q4_0 => {
                    let d = self.half(block, 0);
                    (0..32).for_each(|j| put(d * (f32::from(nibble(&block[2..], j)) - 8.0)));
                }
                Kind::Q8_0 => {
                    let d = self.half(block, 0);
                    block[2..].iter().for_each(|code| put(f32::from(code.cast_signed()) * d));
                }
                Kind::Tq1_0 => {
                    let d = self.half(block, 52);
                    (0..256).for_each(|j| {
                        let (byte, digit) = digit_of(j);
                        let rest = (u32::from(block[byte]) * 3u32.pow(digit as u32)) & 0xff;
                        put(d * (((rest * 3) >> 8) as f32 - 1.0));
                    });
                }
                Kind::Tq2_0 => {
                    let d = self.half(block, 64);
                    (0..256).for_each(|j| {
                        let byte = block[j / 128 * 32 + j % 32];
                        put(d * (f32::from(byte >> (2 * (j % 128 / 32)) & 3) - 1.0));
                    });
                }
                Kind::Mxfp4 => {
                    let d = half_power(block[0]);
                    (0..32).for_each(|j| put(d * E2M1_DOUBLED[usize::from(nibble(&block[1..], j))]));
                }
                Kind::Nvfp4 => (0..64).for_each(|j| {
                    let code = block[4 + j / 16 * 8 + j % 8] >> (4 * (j % 16 / 8)) & 15;
                    put(half_e4m3(block[j / 16]) * E2M1_DOUBLED[usize::from(code)]);
                }),
                Kind::I2S => (0..128).for_each(|j| {
                    let code = block[j % 32] >> (6 - 2 * (j / 32)) & 3;
                    put([-1.0, 0.0, 1.0, 0.0][usize::from(code)] * scale);
                }),
            }
        }
        Ok(())
    }

    /// The two bytes of an f16 scale.
    fn put_half(&self, d: f32, bytes: &mut Vec<u8>) {
        let code = encode(self.half, d.to_bits(), Rounding::NearestEven, false);
        bytes.extend((code as u16).to_le_bytes());
    }
    fn half(&self, block: &[u8], at: usize) -> f32 {
        f32::from_bits(decode(self.half, u32::from(block[at]) | u32::from(block[at + 1]) << 8))
    }

    fn encode_q1(&self, x: &[f32], bytes: &mut Vec<u8>) {
        // f32 sums in order of the elements.
        self.put_half(x.iter().fold(0f32, |sum, x| sum + x.abs()) / 128.0, bytes);
        let byte = |x: &[f32]| x.iter().rev().fold(0, |byte, x| byte << 1 | u8::from(*x >= 0.0));
        bytes.extend(x.chunks(8).map(byte));
    }
    fn encode_q2(&self, x: &[f32], bytes: &mut Vec<u8>) {
        let d = largest(x).abs();
        self.put_half(d, bytes);
        let id = reciprocal(d);
        let byte = |x: &[f32]| x.iter().rev().fold(0, |byte, x| byte << 2 | (away(x * id) + 1).clamp(0, 3) as u8);
        bytes.extend(x.chunks(4).map(byte));
    }
    fn encode_q4(&self, x: &[f32], bytes: &mut Vec<u8>) {
        let d = largest(x) / -8.0;
        self.put_half(d, bytes);
        let id = reciprocal(d);
        let code = |x: &f32| whole(x * id + 8.5).clamp(0, 15) as u8;
        bytes.extend(x[..16].iter().zip(&x[16..]).map(|(low, high)| code(low) | code(high) << 4));
    }
    fn encode_q8(&self, x: &[f32], bytes: &mut Vec<u8>) {
        let d = largest(x).abs() / 127.0;
        self.put_half(d, bytes);
        let id = reciprocal(d);
        bytes.extend(x.iter().map(|x| away(x * id) as u8));
    }
    fn encode_tq1(&self, x: &[f32], bytes: &mut Vec<u8>) {
        let id = reciprocal(largest(x).abs());
        let mut sums = [0u16; 52];
        for (j, x) in x.iter().enumerate() {
            let (byte, digit) = digit_of(j);
            sums[byte] += DIGITS[digit] * (away(x * id) + 1) as u16;
        }
        // The byte is the base-3 fraction sum / 243 in 1/256, rounded up, so that digits come out by multiplying.
        bytes.extend(sums.map(|sum| (sum * 256).div_ceil(243) as u8));
        self.put_half(largest(x).abs(), bytes);
    }
    fn encode_tq2(&self, x: &[f32], bytes: &mut Vec<u8>) {
        let id = reciprocal(largest(x).abs());
        let mut packed = [0u8; 64];
        for (j, x) in x.iter().enumerate() {
            packed[j / 128 * 32 + j % 32] |= ((away(x * id) + 1) as u8) << (2 * (j % 128 / 32));
        }
        bytes.extend(packed);
        self.put_half(largest(x).abs(), bytes);
    }
}

/// Byte and digit of element `j` of a `tq1_0` block: 32 bytes of five digits, 16 of five, 4 of four.
fn digit_of(j: usize) -> (usize, usize) {
    match j {
        0..160 => (j % 32, j / 32),
        160..240 => (32 + (j - 160) % 16, (j - 160) / 16),
        _ => (48 + (j - 240) % 4, (j - 240) / 4),
    }
}

/// The first element of largest magnitude, with its sign; 0 of nothing but zeros.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max: f32, x| if x.abs() > max.abs() { *x } else { max })
}

fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Toward zero; NaN and infinities to 0.
fn whole(x: f32) -> i32 {
    if x.is_finite() { x as i32 } else { 0 }
}

/// To nearest, ties away from zero; NaN and infinities to 0.
fn away(x: f32) -> i32 {
    whole(x.round())
}

/// Element `j` of 32 nibbles: the low ones of all bytes, then the high ones.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    bytes[j % 16] >> (4 * (j / 16)) & 15
}

/// Half of the value of an E8M0 code; 0xff is no NaN here.
fn half_power(code: u8) -> f32 {
    f32::from_bits(if code < 2 { 0x0020_0000 << code } else { u32::from(code - 1) << 23 })
}

/// Half of the value of an unsigned E4M3 code; 0 and 0x7f are 0.
fn half_e4m3(code: u8) -> f32 {
    let (field, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match (code, field) {
        (0 | 0x7f, _) => 0.0,
        (_, 0) => fraction * super::codec::exp2(-10),
        _ => (1.0 + fraction / 8.0) * super::codec::exp2(field - 8),
    }
}

/// Unsigned E4M3 code of a positive value: ties up, everything from 256 on gives 448.
fn e4m3_code(x: f32) -> u8 {
    let x = if x > 448.0 { 448.0 } else { x };
    let bits = x.to_bits();
    let field = (bits >> 23) as i32 - 120;
    match field {
        _ if x <= 0.0 => 0,
        ..=0 => whole(x * 512.0 + 0.5).clamp(0, 7) as u8,
        // A carry out of the fraction moves into the field.
        1..15 => {
            let code = (field as u32) << 3 | bits >> 20 & 7;
            let code = code + (bits >> 19 & 1);
            if code >= 15 << 3 { 0x7e } else { code as u8 }
        }
        _ => 0x7e,
    }
}

/// The first E2M1 code whose value under `d` (half the scale) is nearest by a difference in f32.
fn nearest(x: f32, d: f32) -> u8 {
    let error = |code: usize| (E2M1_DOUBLED[code] * d - x).abs();
    (1..16).fold(0, |best, code| if error(code) < error(best) { code } else { best }) as u8
}

fn encode_mxfp4(x: &[f32], bytes: &mut Vec<u8>) {
    let a = largest(x).abs();
    // The logarithm is an f32: it may round up to a whole number just below a power of two.
    let exponent = if a > 0.0 { (f64::from(a).log2() as f32).floor() as i32 + 125 } else { 0 };
    let code = exponent as u8;
    let d = half_power(code);
    bytes.push(code);
    bytes.extend(x[..16].iter().zip(&x[16..]).map(|(low, high)| nearest(*low, d) | nearest(*high, d) << 4));
}

fn encode_nvfp4(x: &[f32], bytes: &mut Vec<u8>) {
    let scales = x.chunks(16).map(|x| e4m3_code(largest(x).abs() / 6.0)).collect::<Vec<u8>>();
    bytes.extend(&scales);
    for (x, scale) in x.chunks(16).zip(scales) {
        let d = half_e4m3(scale);
        bytes.extend(x[..8].iter().zip(&x[8..]).map(|(low, high)| nearest(*low, d) | nearest(*high, d) << 4));
    }
}

/// Signs of a whole tensor and its largest magnitude: what is given should be ternary already.
fn encode_i2s(x: &[f32], bytes: &mut Vec<u8>) {
    let code = |x: f32| match x {
        _ if f64::from(x.abs()) < I2S_ZERO => 1,
        _ if x > 0.0 => 2,
        _ => 0u8,
    };
    for x in x.chunks(128) {
        bytes.extend((0..32).map(|p| (0..4).fold(0, |byte, i| byte << 2 | code(x[32 * i + p]))));
    }
    bytes.extend(largest(x).abs().to_le_bytes());
    bytes.extend([0; 28]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u32> {
        let word = |at| u32::from_str_radix(&text[at..at + 8], 16).unwrap();
        (0..text.len()).step_by(8).map(word).collect()
    }

    #[test]
    fn blocks_are_those_of_the_published_quantisers_byte_for_byte() {
        let data: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/gguf-blocks.json")).expect("a JSON file");
        let x: Vec<f32> =
            data["x"].as_array().unwrap().iter().map(|x| words(x.as_str().unwrap())[0]).map(f32::from_bits).collect();
        for container in containers().unwrap() {
            let (mut bytes, mut values) = (Vec::new(), Vec::new());
            container.encode(&x, &mut bytes).unwrap();
            assert_eq!(bytes.len(), x.len() / container.elements * container.bytes + container.tail);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, data["blocks"][container.name].as_str().unwrap(), "{}", container.name);
            container.decode(&bytes, &mut values).unwrap();
            assert!(values == words(data["values"][container.name].as_str().unwrap()), "{}", container.name);
        }
    }

    #[test]
    fn odd_blocks_are_written_as_the_reference_writes_them() {
        let encode = |name: &str, x: &[f32]| {
            let mut bytes = Vec::new();
            Container::find(name).unwrap().unwrap().encode(x, &mut bytes).map(|()| bytes)
        };
        // Just below 2^6 the f32 logarithm is 6 already; just below 2^1 it is not.
        let scale = |a: f32| encode("gguf-mxfp4", &[a.next_down(); 32]).unwrap()[0];
        assert_eq!([scale(64.0), scale(2.0)], [125 + 6, 125]);
        // 1 / d overflows: the codes of zero, an f16 scale of zero.
        assert_eq!(encode("gguf-q8_0", &[1e-40; 32]).unwrap(), [0; 34]);
        assert_eq!(encode("gguf-q4_0", &[1e-44; 32]).unwrap()[..3], [0, 0x80, 0]);
        assert_eq!([1.0f32, 300.0, 0.017, 0.001, 0.0, 250.0].map(e4m3_code), [56, 126, 9, 1, 0, 126]);
        assert!(encode("gguf-q8_0", &[1.0; 33]).unwrap_err().to_string().contains("no blocks of 32"));
        assert!(encode("gguf-q8_0", &[f32::NAN; 32]).unwrap_err().to_string().contains("element 0"));
        assert_eq!(encode("gguf-i2_s", &[]).unwrap(), [0; 32]);
    }

    #[test]
    fn broken_bytes_are_refused() {
        for container in containers().unwrap() {
            let short = vec![0; container.bytes + container.tail - 1];
            assert!(container.decode(&short, &mut Vec::new()).is_err(), "{}", container.name);
        }
        assert!(Container::find("gguf-q9").unwrap().is_none());
    }
}
