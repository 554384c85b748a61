//! Generic encode and decode of any [`Format`]: f32 bit patterns to codes and back (numerics contract, 1 and 2).
//!
//! Everything works on bit patterns; no f32 variable carries a NaN. A NaN keeps its sign and loses its payload.

use super::format::{Element, Format, Specials};
use super::func;

/// Rounding mode of an encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To nearest, ties to even.
    NearestEven,
    /// Toward zero.
    TowardZero,
    /// To nearest, ties away from zero.
    NearestAway,
    /// Toward positive infinity.
    Up,
    /// Toward negative infinity.
    Down,
    /// Up in magnitude with a probability that is the fraction of the way there, decided by one draw.
    Stochastic(Draw),
}

/// One draw of stochastic rounding: `bits` random bits, at most 32, as a number `random` below 2^bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draw {
    /// Which definition.
    pub kind: Stochastic,
    /// How many bits were drawn.
    pub bits: u32,
    /// The bits.
    pub random: u32,
}

/// Definitions of stochastic rounding with k bits r of a value at `delta` of the way (0 to 1) from one grid point to the
/// next of larger magnitude, as the gfloat library states them, and of the p-bit: a sign drawn with a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stochastic {
    /// Away if rne(delta 2^k) + r >= 2^k.
    Rounded,
    /// As `Rounded`, ties of delta 2^k to odd.
    RoundedOdd,
    /// Away if delta + (r + 1/2) 2^-k >= 1.
    Fast,
    /// Away if delta + r 2^-k >= 1: biased low by less than 2^-k.
    Fastest,
    /// The p-bit of formats with two levels: the upper one if r < p 2^k, p = sigmoid(fl(x / temperature)); the temperature
    /// as f32 bits. Elsewhere as `Rounded`.
    Sigmoid(u32),
    /// The p-bit with p = fl(fl(1 + clip(fl(x / range), -1, 1)) / 2); the range as f32 bits. Elsewhere as `Rounded`.
    Clip(u32),
}

impl Draw {
    /// Whether `rest / 2^shift`, below 1, rounds away from zero.
    fn away(self, rest: u64, shift: i32) -> bool {
        // Beyond 90 places a fraction of 24 bits is far below 2^-33 and never moves.
        if shift > 90 {
            return false;
        }
        let (one, shift) = (1u128 << self.bits, shift as u32);
        let (delta, random) = (u128::from(rest) << self.bits, u128::from(self.random));
        match self.kind {
            Stochastic::Fast => 2 * delta + ((2 * random + 1) << shift) >= one << (shift + 1),
            Stochastic::Fastest => delta + (random << shift) >= one << shift,
            Stochastic::Rounded | Stochastic::RoundedOdd | Stochastic::Sigmoid(_) | Stochastic::Clip(_) => {
                let (kept, part) = (delta >> shift, delta & ((1 << shift) - 1));
                let half = (1u128 << shift) >> 1;
                let odd = u128::from(self.kind != Stochastic::RoundedOdd);
                let up = shift > 0 && (part > half || (part == half && kept & 1 == odd));
                kept + u128::from(up) + random >= one
            }
        }
    }
    /// The p-bit at `x`: whether the upper of two levels is drawn. `None` if the draw is of another kind.
    fn upper(self, x: f32) -> Option<bool> {
        let p = match self.kind {
            Stochastic::Sigmoid(temperature) => func::sigmoid(x / f32::from_bits(temperature)),
            Stochastic::Clip(range) => {
                let ratio = x / f32::from_bits(range);
                let ratio = ratio.clamp(-1.0, 1.0);
                (1.0 + ratio) * 0.5
            }
            _ => return None,
        };
        // Both sides are exact in f64.
        Some(f64::from(self.random) < f64::from(p) * exp2_f64(u64::from(self.bits)))
    }
    /// Whether a value at the fraction `delta` between two levels of a codebook takes the farther one: as
    /// [`Draw::away`] with `delta` cut to 52 places.
    fn beyond(self, delta: f64) -> bool {
        self.away((delta * exp2_f64(52)) as u64, 52)
    }
}

fn exp2_f64(e: u64) -> f64 {
    f64::from_bits((1023 + e) << 52)
}

impl Rounding {
    /// Whether a finite value of this sign never rounds past the largest finite one (IEEE 754, 7.4).
    fn stops_at_largest(self, negative: bool) -> bool {
        match self {
            Rounding::TowardZero => true,
            Rounding::Up => negative,
            Rounding::Down => !negative,
            Rounding::NearestEven | Rounding::NearestAway | Rounding::Stochastic(_) => false,
        }
    }
}

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;
const QUIET_NAN: u32 = 0x7fc0_0000;

/// Value of `code` as f32 bits, exact. A NaN is 0x7fc00000 with the sign of the code; bits above the code are ignored.
pub fn decode(format: &Format, code: u32) -> u32 {
    match format.values.get((code & format.mask()) as usize) {
        Some(value) => *value,
        None => decode_any(format, code),
    }
}

/// Code of the f32 with bits `x` under `mode`. A result beyond the largest finite value becomes that value if
/// `saturate` or if `mode` directs a finite value towards zero there, else infinity or, where the format has none, NaN; formats with neither (ints, FP4, codebooks) always
/// saturate. NaN without a NaN code: floats give +max, ints and codebooks the code nearest to zero.
///
/// Codebooks round to the nearest level; a tie goes to the level of even rank, ranks counted from the smallest level
/// that is not negative (so ternary ties go to 0 and the tie of binary, +-0, to +1). Between two levels on either side of
/// zero with no zero among them, `TowardZero` takes the nearer one, at 0 the positive one.
pub fn encode(format: &Format, x: u32, mode: Rounding, saturate: bool) -> u32 {
    match &format.element {
        Element::Float { exp, man, bias, specials } => {
            let fields = Fields { exp: *exp, man: *man, bias: *bias, specials: *specials };
            fields.encode(x, mode, saturate) << (format.bits - 1 - exp - man)
        }
        Element::Int => match format.unit {
            None | Some(0) => encode_int(format.bits, x, mode),
            Some(unit) => encode_int(format.bits, (f32::from_bits(x) * exp2(-unit)).to_bits(), mode),
        },
        Element::Squares => encode_squares(x),
        Element::Codebook { .. } | Element::Real { .. } => encode_level(format, x, mode, saturate),
    }
}

/// The plain cast of the contract: nearest even, saturating where the format's row says so. This is the last step of
/// every quantiser and of every store in a format.
pub fn cast(format: &Format, x: f32) -> u32 {
    encode(format, x.to_bits(), Rounding::NearestEven, format.saturate)
}

/// The f32 value of `code`; NaN is canonical.
pub fn value(format: &Format, code: u32) -> f32 {
    func::canonical(f32::from_bits(decode(format, code)))
}

/// `code` of `bits` bits as a two's complement integer.
pub(super) fn sign_extend(code: u32, bits: u32) -> i64 {
    i64::from((code << (32 - bits)) as i32 >> (32 - bits))
}

/// Decodes by the definition of the element, without the table of values.
pub(super) fn decode_any(format: &Format, code: u32) -> u32 {
    let code = code & format.mask();
    match &format.element {
        Element::Float { exp, man, bias, specials } => {
            let fields = Fields { exp: *exp, man: *man, bias: *bias, specials: *specials };
            fields.decode(code >> (format.bits - 1 - exp - man))
        }
        Element::Int => (sign_extend(code, format.bits) as f32 * exp2(format.unit.unwrap_or(0))).to_bits(),
        Element::Squares => {
            let (p1, p2) = (f32::from_bits(code << 16), f32::from_bits(code & 0xffff_0000));
            func::fma(p1, p1, p2 * p2).to_bits()
        }
        Element::Codebook { levels } => {
            let level = levels.get(code as usize).copied().unwrap_or(0);
            (level as f32 * exp2(format.unit.unwrap_or(0))).to_bits()
        }
        Element::Real { values } => values.get(code as usize).copied().unwrap_or(0.0).to_bits(),
    }
}

/// Code of the largest finite value of a float or int.
pub(super) fn max_code(format: &Format) -> u32 {
    match &format.element {
        Element::Float { exp, man, bias, specials } => {
            let fields = Fields { exp: *exp, man: *man, bias: *bias, specials: *specials };
            fields.largest() << (format.bits - 1 - exp - man)
        }
        // The largest p1 alone.
        Element::Squares => 0x5f7f,
        _ => (1 << (format.bits - 1)) - 1,
    }
}

/// 2^e for -126 <= e <= 127.
pub(super) fn exp2(e: i32) -> f32 {
    f32::from_bits(((e + 127) as u32) << 23)
}

/// Whether the magnitude `kept + rest / 2^bits_of_rest` is rounded up; `rest` is compared with `half`.
fn rounds_up(mode: Rounding, negative: bool, odd: bool, rest: u64, half: u64) -> bool {
    match mode {
        Rounding::NearestEven => rest > half || (rest == half && odd),
        Rounding::NearestAway => rest >= half,
        Rounding::TowardZero => false,
        Rounding::Up => rest != 0 && !negative,
        Rounding::Down => rest != 0 && negative,
        // `round_to` has decided these by their draw.
        Rounding::Stochastic(_) => false,
    }
}

/// Magnitude and exponent of finite f32 bits: |x| = magnitude * 2^exponent.
fn split(x: u32) -> (u64, i32) {
    let (field, fraction) = ((x >> 23) & 0xff, u64::from(x & 0x7f_ffff));
    if field == 0 { (fraction, -149) } else { (fraction | 0x80_0000, field as i32 - 150) }
}

/// `magnitude * 2^exponent` in units of `2^quantum`, rounded.
///
/// `base` is what is added to the result to make a code: its parity decides ties to even, which matters where a float has
/// no fraction bits.
fn round_to(magnitude: u64, exponent: i32, quantum: i32, base: u64, rule: (Rounding, bool)) -> u64 {
    let (mode, negative) = rule;
    let shift = quantum - exponent;
    if shift <= 0 {
        return magnitude << (-shift).min(39);
    }
    if let Rounding::Stochastic(draw) = mode {
        let kept = if shift < 64 { magnitude >> shift } else { 0 };
        let rest = if shift < 64 { magnitude & ((1 << shift) - 1) } else { magnitude };
        return kept + u64::from(draw.away(rest, shift));
    }
    // Beyond 26 places everything of a 24-bit magnitude is below a quarter of a quantum: one sticky bit tells all.
    let (magnitude, shift) = if shift > 26 { (u64::from(magnitude != 0), 26) } else { (magnitude, shift) };
    let kept = magnitude >> shift;
    let rest = magnitude & ((1 << shift) - 1);
    kept + u64::from(rounds_up(mode, negative, (base + kept) & 1 == 1, rest, 1 << (shift - 1)))
}

/// The fields of a float code, right-justified.
struct Fields {
    exp: u32,
    man: u32,
    bias: i32,
    specials: Specials,
}

impl Fields {
    fn sign(&self) -> u32 {
        1 << (self.exp + self.man)
    }
    /// Code of the largest finite magnitude.
    fn largest(&self) -> u32 {
        let all = self.sign() - 1;
        match self.specials {
            Specials::Ieee => all - (1 << self.man),
            Specials::Fn => all - 1,
            Specials::Fnuz | Specials::None => all,
        }
    }
    fn infinity(&self) -> u32 {
        self.largest() + 1
    }
    /// NaN code with this sign, if the format has a NaN.
    fn nan(&self, negative: bool) -> Option<u32> {
        let sign = if negative { self.sign() } else { 0 };
        match self.specials {
            Specials::Ieee => Some(sign | self.infinity() | 1 << (self.man - 1)),
            Specials::Fn => Some(sign | (self.sign() - 1)),
            Specials::Fnuz => Some(self.sign()),
            Specials::None => None,
        }
    }

    fn decode(&self, code: u32) -> u32 {
        let magnitude = code & (self.sign() - 1);
        let negative = code & self.sign() != 0;
        let sign = if negative { SIGN } else { 0 };
        if magnitude == 0 && negative && self.specials == Specials::Fnuz {
            return SIGN | QUIET_NAN;
        }
        if magnitude > self.largest() {
            let infinite = self.specials == Specials::Ieee && magnitude == self.infinity();
            return sign | if infinite { INFINITY } else { QUIET_NAN };
        }
        let (field, fraction) = ((magnitude >> self.man) as i32, magnitude & ((1 << self.man) - 1));
        let (significand, field) = if field == 0 { (fraction, 1) } else { (fraction | 1 << self.man, field) };
        if significand == 0 {
            return sign;
        }
        // Normalise into the fields of an f32.
        let top = 31 - significand.leading_zeros() as i32;
        let exponent = field - self.bias - self.man as i32 + top;
        if exponent < -126 {
            return sign | significand << (field - self.bias - self.man as i32 + 149);
        }
        sign | ((exponent + 127) as u32) << 23 | (significand << (23 - top)) & 0x7f_ffff
    }

    fn encode(&self, x: u32, mode: Rounding, saturate: bool) -> u32 {
        let negative = x & SIGN != 0;
        let magnitude = x & !SIGN;
        if magnitude > INFINITY {
            return self.nan(negative).unwrap_or(self.largest());
        }
        if magnitude == INFINITY {
            return self.overflow(negative, saturate);
        }
        let (significand, exponent) = split(x);
        let least = 1 - self.bias - self.man as i32;
        let top = exponent + 63 - significand.leading_zeros() as i32;
        let quantum = (top - self.man as i32).max(least);
        let base = ((quantum - least) as u64) << self.man;
        let rounded = round_to(significand, exponent, quantum, base, (mode, negative));
        if rounded == 0 {
            return if negative && self.specials != Specials::Fnuz { self.sign() } else { 0 };
        }
        // A carry out of the significand moves into the exponent field by itself.
        let code = base + rounded;
        if code > u64::from(self.largest()) {
            return self.overflow(negative, saturate || mode.stops_at_largest(negative));
        }
        code as u32 | if negative { self.sign() } else { 0 }
    }

    fn overflow(&self, negative: bool, saturate: bool) -> u32 {
        let sign = if negative { self.sign() } else { 0 };
        if saturate || self.specials == Specials::None {
            return sign | self.largest();
        }
        match self.specials {
            Specials::Ieee => sign | self.infinity(),
            _ => self.nan(negative).unwrap_or(self.largest()),
        }
    }
}

/// The two bf16 roots of a sum of squares; NaN stays NaN, negative values are zero.
fn encode_squares(x: u32) -> u32 {
    let value = f32::from_bits(x);
    if value.is_nan() {
        return 0x7fc0;
    }
    if value <= 0.0 {
        return 0;
    }
    let value = f64::from(if value > f32::MAX { f32::MAX } else { value });
    // Both roots are truncated before the last rounding, so that the sum of squares stays finite.
    let p1 = (func::round_f64(value.sqrt()).to_bits() >> 16).min(0x5f7f);
    let p1 = if f64::from(f32::from_bits(p1 << 16)).powi(2) > value { p1 - 1 } else { p1 };
    let rest = value - f64::from(f32::from_bits(p1 << 16)).powi(2);
    let p2 = func::round_f64(rest.sqrt()).to_bits();
    let p2 = (p2 + 0x7fff + (p2 >> 16 & 1)) >> 16;
    p2 << 16 | p1
}

fn encode_int(bits: u32, x: u32, mode: Rounding) -> u32 {
    let negative = x & SIGN != 0;
    let magnitude = x & !SIGN;
    if mode == Rounding::NearestEven && magnitude < 0x4a80_0000 {
        // |x| < 2^22: f32 counts in ones around 1.5 * 2^23, so adding x to it rounds x to nearest even.
        const ONES: f32 = 12_582_912.0;
        let rounded = (f32::from_bits(x) + ONES).to_bits() as i32 - ONES.to_bits() as i32;
        let largest = i32::MAX >> (32 - bits);
        return rounded.clamp(!largest, largest) as u32 & (u32::MAX >> (32 - bits));
    }
    let limit = (1u64 << (bits - 1)) - u64::from(!negative);
    let rounded = if magnitude > INFINITY {
        0
    } else if magnitude >= 0x4f00_0000 {
        limit
    } else {
        let (significand, exponent) = split(x);
        round_to(significand, exponent, 0, 0, (mode, negative)).min(limit)
    };
    let signed = if negative { -(rounded as i64) } else { rounded as i64 };
    signed as u32 & (u32::MAX >> (32 - bits))
}

/// The nearest level. Of codebooks only those of powers of two (E8M0) have a NaN: it stands for NaN, for negative values
/// and, without saturation, for values that round beyond the last power.
fn encode_level(format: &Format, x: u32, mode: Rounding, saturate: bool) -> u32 {
    let nan = format.values.iter().position(|v| v & !SIGN > INFINITY);
    let largest = f64::from(format.max);
    let x = if x & !SIGN > INFINITY { f64::NAN } else { f64::from(f32::from_bits(x)) };
    if let Some(nan) = nan
        && (x.is_nan() || x < 0.0 || (!saturate && x > 1.5 * largest))
    {
        return nan as u32;
    }
    // NaN takes the code of zero, whatever is drawn.
    let (x, mode) = if x.is_nan() { (0.0, Rounding::NearestEven) } else { (x, mode) };
    let level = |rank: usize| f64::from(f32::from_bits(format.values[format.sorted[rank] as usize]));
    if mode == Rounding::NearestEven && !format.thresholds.is_empty() {
        return format.sorted[format.thresholds.partition_point(|border| f64::from(*border) < x)];
    }
    if let Rounding::Stochastic(draw) = mode
        && let [low, high] = format.sorted[..]
        && let Some(upper) = draw.upper(x as f32)
    {
        return if upper { high } else { low };
    }
    let above = format.sorted.partition_point(|code| f64::from(f32::from_bits(format.values[*code as usize])) <= x);
    let last = format.sorted.len() - 1;
    if above == 0 {
        return format.sorted[0];
    }
    if above > last || level(above - 1) == x {
        return format.sorted[above - 1];
    }
    let (low, high) = (above - 1, above);
    let (twice, middle) = (2.0 * x, level(low) + level(high));
    let up = match mode {
        Rounding::Up => true,
        Rounding::Down => false,
        Rounding::Stochastic(draw) if level(high) <= 0.0 => {
            !draw.beyond((level(high) - x) / (level(high) - level(low)))
        }
        Rounding::Stochastic(draw) => draw.beyond((x - level(low)) / (level(high) - level(low))),
        Rounding::TowardZero if level(high) <= 0.0 => true,
        Rounding::TowardZero if level(low) >= 0.0 => false,
        _ if twice != middle => twice > middle,
        Rounding::NearestAway | Rounding::TowardZero => x >= 0.0,
        Rounding::NearestEven => high.abs_diff(format.rank_zero) % 2 == 0,
    };
    format.sorted[if up { high } else { low }]
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
