//! What a vector needs to know to encode f32 values into codes of 8 bits or fewer: a few numbers that follow from the
//! format's row, the rounding mode and the specification ([`super::codec`]). No format is known here by name.

use super::codec::{Rounding, encode, exp2};
use super::format::{Element, Format, Specials};

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;
const QUIET_NAN: u32 = 0x7fc0_0000;

/// How whole vectors are encoded.
#[derive(Debug, Clone)]
pub(super) enum Kernel {
    /// A small float to nearest even.
    Float(Float),
    /// A two's complement integer to nearest even.
    Int(Int),
    /// Any step function of at most 16 steps.
    Steps(Steps),
}

/// An integer of `bits` bits of `x * per_unit`.
#[derive(Debug, Clone)]
pub(super) struct Int {
    pub(super) bits: u32,
    pub(super) per_unit: f32,
}

/// A float of `bits` bits. With `a` the bits of |x|, `t = a - offset` has the exponent and fraction of the code above
/// `drop` bits that are rounded off; below `least_normal` the sum |x| + `magic` has the code in its low bits, rounded by
/// the addition.
#[derive(Debug, Clone)]
pub(super) struct Float {
    pub(super) bits: u32,
    pub(super) drop: u32,
    pub(super) offset: i32,
    pub(super) least_normal: i32,
    pub(super) magic: f32,
    /// The greatest code of a magnitude: the largest value, or what follows it if values do not saturate.
    pub(super) limit: i32,
    /// Code of NaN and of -NaN.
    pub(super) nan: [i32; 2],
    /// Whether there is no code of -0.
    pub(super) one_zero: bool,
}

/// Step i is taken from key `borders[i - 1]` on, where the key of x orders f32 bits as signed integers, -0 before +0.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) borders: Vec<i32>,
    /// Code of every step; 0 beyond the last.
    pub(super) codes: [u8; 16],
    /// A key with the code of NaN.
    pub(super) nan: i32,
}

impl Kernel {
    /// The kernel of a format in a mode, if it has one.
    pub(super) fn of(format: &Format, mode: Rounding, saturate: bool) -> Option<Kernel> {
        if format.bits > 8 {
            return None;
        }
        match (&format.element, mode) {
            (Element::Float { .. }, Rounding::NearestEven) => float(format, saturate).map(Kernel::Float),
            (Element::Int, Rounding::NearestEven) => {
                Some(Kernel::Int(Int { bits: format.bits, per_unit: exp2(-format.unit.unwrap_or(0)) }))
            }
            _ => None,
        }
        .or_else(|| steps(format, mode, saturate).map(Kernel::Steps))
    }
}

fn float(format: &Format, saturate: bool) -> Option<Float> {
    let Element::Float { exp, man, bias, specials } = format.element else { return None };
    let code = |x: u32, saturate| encode(format, x, Rounding::NearestEven, saturate) as i32;
    let largest = code(INFINITY, true);
    let limit = if saturate || specials == Specials::None { largest } else { largest + 1 };
    // What a value beyond the largest becomes must follow it; the sum that rounds subnormals must be a normal f32.
    let (least, magic) = (1 - bias, 24 - bias - man as i32);
    if code(INFINITY, saturate) != limit || least < -126 || magic > 127 || 1 + exp + man != format.bits {
        return None;
    }
    Some(Float {
        bits: format.bits,
        drop: 23 - man,
        offset: (127 - bias) << 23,
        least_normal: exp2(least).to_bits() as i32,
        magic: exp2(magic),
        limit,
        nan: [code(QUIET_NAN, saturate), code(SIGN | QUIET_NAN, saturate)],
        one_zero: code(SIGN, saturate) == 0,
    })
}

/// Orders f32 bits as signed integers; its own inverse.
fn key(x: u32) -> i32 {
    (x ^ ((x as i32 >> 31) as u32 >> 1)) as i32
}

/// The steps of an encode, found by halving the way between values where the code changes: it changes monotonely between
/// neighbouring values of the format, zeros and infinities.
fn steps(format: &Format, mode: Rounding, saturate: bool) -> Option<Steps> {
    let code = |key_of: i32| encode(format, key(key_of as u32) as u32, mode, saturate) as u8;
    let finite = format.values.iter().copied().filter(|value| value & !SIGN < INFINITY);
    let mut seeds: Vec<i32> = finite.chain([0, SIGN, INFINITY, SIGN | INFINITY]).map(key).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let (mut starts, mut codes) = (vec![seeds[0]], vec![code(seeds[0])]);
    for pair in seeds.windows(2) {
        let mut low = pair[0];
        while code(low) != code(pair[1]) {
            // The first key after `low` with another code.
            let (mut same, mut other) = (low, pair[1]);
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                if code(middle) == code(low) { same = middle } else { other = middle }
            }
            starts.push(other);
            codes.push(code(other));
            low = other;
            if codes.len() > 16 {
                return None;
            }
        }
    }
    let nan = encode(format, QUIET_NAN, mode, saturate);
    let at = codes.iter().position(|code| u32::from(*code) == nan)?;
    if encode(format, SIGN | QUIET_NAN, mode, saturate) != nan {
        return None;
    }
    codes.resize(16, 0);
    let codes = codes.try_into().expect("16 of them");
    Some(Steps { nan: starts[at], borders: starts[1..].to_vec(), codes })
}
