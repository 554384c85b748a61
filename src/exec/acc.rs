//! Accumulator tiles: what a sum of products is made of, in each class of the numerics contract.
//!
//! An entry holds everything that its class needs to go on from where it stopped: the exact integer and the special
//! codes met (class exact), the running total (chain), or the total, both half-chains and the position in the group
//! of 32 (pair). So no result depends on how many terms one instruction brings.

use super::codes::{SPECIAL_MINUS, SPECIAL_NAN, SPECIAL_PLUS};
use super::trap::{Result, Trap, TrapKind};
use crate::num::DotClass;
use crate::num::func::{canonical, fma};

/// One tile of `rows` x `cols` entries.
#[derive(Debug, Clone)]
pub struct Tile {
    class: DotClass,
    /// Exponent of the quantum of an exact sum; unknown while the tile is clear.
    unit: Option<i32>,
    /// The chain's entries are results (of fold, a load or a reduction), not sums in progress.
    result: bool,
    /// Entries a row; at least 16, so that a reduction's partials fit row 0.
    stride: usize,
    /// Something was added or written since the tile was cleared (known in every mode).
    dirty: bool,
    /// Rows that may differ from zero.
    used: usize,
    /// An exact sum is `exact + near`: what is small is added to `near`, until that may leave its range.
    exact: Vec<i128>,
    near: Vec<i32>,
    /// No entry of `near` is larger in magnitude.
    most: i64,
    /// Entries of `exact` or `specials` may differ from zero.
    far: bool,
    /// Entries of `exact` may be near the end of 128 bits.
    wide: bool,
    specials: Vec<u8>,
    total: Vec<f32>,
    even: Vec<f32>,
    odd: Vec<f32>,
    phase: Vec<u8>,
}

/// What is known of a tile in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    class: DotClass,
    unit: Option<i32>,
    result: bool,
    dirty: bool,
    used: usize,
}

impl Tile {
    /// A clear tile of class exact; without contents in timing-only mode.
    pub fn new(rows: usize, cols: usize, values: bool) -> Tile {
        let stride = cols.max(16);
        let n = if values { rows * stride } else { 0 };
        Tile {
            class: DotClass::Exact,
            unit: None,
            result: false,
            stride,
            dirty: false,
            used: 0,
            exact: vec![0; n],
            near: vec![0; n],
            most: 0,
            far: false,
            wide: false,
            specials: vec![0; n],
            total: vec![0.0; n],
            even: vec![0.0; n],
            odd: vec![0.0; n],
            phase: vec![0; n],
        }
    }

    /// What is known of it in every mode.
    pub fn sums(&self) -> Sums {
        let Tile { class, unit, result, dirty, used, .. } = *self;
        Sums { class, unit, result, dirty, used }
    }

    /// Class of the sums.
    pub fn class(&self) -> DotClass {
        self.class
    }

    /// Clears all entries; the class stays.
    pub fn clear(&mut self) {
        let n = self.used * self.stride;
        match self.class {
            DotClass::Exact => {
                if self.far {
                    self.exact[..n].fill(0);
                    self.specials[..n].fill(0);
                }
                if self.most > 0 {
                    self.near[..n].fill(0);
                }
                (self.far, self.wide, self.most) = (false, false, 0);
            }
            DotClass::Int24s => {
                self.exact[..n].fill(0);
                self.specials[..n].fill(0);
            }
            DotClass::Fp22 => {
                self.exact[..n].fill(0);
                self.specials[..n].fill(0);
                self.total[..n].fill(0.0);
                self.even[..n].fill(0.0);
                self.phase[..n].fill(0);
            }
            DotClass::Chain => self.total[..n].fill(0.0),
            DotClass::PairBf16 | DotClass::PairFp16 => {
                self.total[..n].fill(0.0);
                self.even[..n].fill(0.0);
                self.odd[..n].fill(0.0);
                self.phase[..n].fill(0);
            }
        }
        self.used = 0;
        self.unit = None;
        self.result = false;
        self.dirty = false;
    }

    /// Clears the tile and gives it another class.
    pub fn set_class(&mut self, class: DotClass) {
        self.clear();
        self.class = class;
    }

    /// Fills all entries of a chain tile with -infinity, the start of a maximum.
    ///
    /// # Errors
    /// ACC if the tile has another class.
    pub fn fill_minus_infinity(&mut self) -> Result<()> {
        self.require_chain("c.fill -inf")?;
        self.total.fill(f32::NEG_INFINITY);
        self.used = self.total.len() / self.stride;
        (self.result, self.dirty) = (true, true);
        Ok(())
    }

    /// ACC unless the tile is of class chain.
    ///
    /// # Errors
    /// ACC, naming `what` and the class.
    pub fn require_chain(&self, what: &str) -> Result<()> {
        if self.class == DotClass::Chain {
            return Ok(());
        }
        let message = format!("{what} needs a tile of class chain, this one has sums of class {}", self.class.name());
        Err(Trap::new(TrapKind::Acc, message))
    }

    /// Notes that sums are added: in quanta of 2^`unit` for class exact.
    ///
    /// # Errors
    /// ACC if the tile already holds sums in another quantum.
    pub fn begin(&mut self, unit: i32) -> Result<()> {
        (self.result, self.dirty) = (false, true);
        if !Tile::counts(self.class) {
            return Ok(());
        }
        match self.unit.replace(unit) {
            Some(old) if old != unit => {
                let message =
                    format!("the tile holds sums in quanta of 2^{old}, this pair has 2^{unit}; fold it first");
                Err(Trap::new(TrapKind::Acc, message))
            }
            _ => Ok(()),
        }
    }

    fn at(&mut self, row: usize, col: usize) -> usize {
        self.used = self.used.max(row + 1);
        row * self.stride + col
    }

    /// Adds `sum` quanta to an exact entry.
    ///
    /// # Errors
    /// ACC if the exact sum leaves 128 bits.
    pub fn add_exact(&mut self, row: usize, col: usize, sum: i128, specials: u8) -> Result<()> {
        let i = self.at(row, col);
        self.far = true;
        self.specials[i] |= specials;
        let total = self.sum(i).checked_add(sum).ok_or_else(|| {
            Trap::new(TrapKind::Acc, format!("the exact sum of entry [{row}][{col}] leaves 128 bits"))
        })?;
        (self.exact[i], self.near[i]) = (total, 0);
        self.wide |= total.unsigned_abs() >> 120 != 0;
        Ok(())
    }

    /// The exact sum of entry `i`. It does not overflow: whoever adds sees to it.
    fn sum(&self, i: usize) -> i128 {
        self.exact[i] + i128::from(self.near[i])
    }

    /// `count` rows from `row` on as integers of 32 bits, to each of which at most `most` in magnitude is going to be
    /// added in the first `cols` columns, and the entries from row to row; nothing if that is not possible.
    pub fn near(&mut self, row: usize, count: usize, cols: usize, most: i64) -> Option<(&mut [i32], usize)> {
        const LIMIT: i64 = i32::MAX as i64;
        let rows = row * self.stride..(row + count) * self.stride;
        if self.class != DotClass::Exact
            || self.wide
            || cols > self.stride
            || rows.end > self.near.len()
            || most > LIMIT
        {
            return None;
        }
        if self.most + most > LIMIT {
            let n = self.used * self.stride;
            for (exact, near) in self.exact[..n].iter_mut().zip(&mut self.near[..n]) {
                *exact += i128::from(std::mem::take(near));
            }
            (self.most, self.far) = (0, true);
        }
        self.most += most;
        self.used = self.used.max(row + count);
        Some((&mut self.near[rows], self.stride))
    }

    /// Whether sums of `class` count quanta in integers.
    pub fn counts(class: DotClass) -> bool {
        matches!(class, DotClass::Exact | DotClass::Int24s | DotClass::Fp22)
    }

    /// Adds the products of `w` and `x`, in quanta, to an entry of class int24s or fp22, ascending. A product that a mask
    /// took away is zero and keeps its place.
    pub fn add_narrow(&mut self, row: usize, col: usize, w: &[i64], x: &[i64], specials: u8) {
        let i = self.at(row, col);
        self.specials[i] |= specials;
        if self.class == DotClass::Int24s {
            const LIMIT: i64 = 1 << 23;
            let add = |sum: i64, (w, x): (&i64, &i64)| (sum + w * x).clamp(-LIMIT, LIMIT - 1);
            self.exact[i] = w.iter().zip(x).fold(self.exact[i] as i64, add).into();
            return;
        }
        let unit = self.unit.unwrap_or(0);
        for (w, x) in w.iter().zip(x) {
            self.exact[i] += i128::from(*w) * i128::from(*x);
            self.phase[i] += 1;
            if self.phase[i].is_multiple_of(32) {
                self.even[i] = cut(self.even[i] as i128 + std::mem::take(&mut self.exact[i])) as f32;
            }
            if self.phase[i] == 128 {
                self.total[i] += round_scaled(self.even[i] as i128, unit);
                (self.even[i], self.phase[i]) = (0.0, 0);
            }
        }
    }

    /// Adds the products of `w` and `x` to a chain entry, ascending; `live` false skips a term.
    pub fn add_chain(&mut self, row: usize, col: usize, w: &[f32], x: &[f32], live: &[bool]) {
        let i = self.at(row, col);
        let mut total = self.total[i];
        if live.is_empty() {
            for (&w, &x) in w.iter().zip(x) {
                total = fma(w, x, total);
            }
        } else {
            for ((&w, &x), _) in w.iter().zip(x).zip(live).filter(|(_, live)| **live) {
                total = fma(w, x, total);
            }
        }
        self.total[i] = total;
    }

    /// Adds the products of `w` and `x` to a pair entry. A term with `live` false adds nothing but keeps its place.
    pub fn add_pair(&mut self, row: usize, col: usize, w: &[f32], x: &[f32], live: &[bool]) {
        let i = self.at(row, col);
        let flush = self.class == DotClass::PairBf16;
        let (mut total, mut even, mut odd, mut phase) = (self.total[i], self.even[i], self.odd[i], self.phase[i]);
        for (k, (&w, &x)) in w.iter().zip(x).enumerate() {
            if live.is_empty() || live[k] {
                let half = if phase & 1 == 0 { &mut even } else { &mut odd };
                *half = fma_flushed(w, x, *half, flush);
            }
            phase += 1;
            if phase == 32 {
                total = close_group(total, even, odd, flush);
                (even, odd, phase) = (0.0, 0.0, 0);
            }
        }
        (self.total[i], self.even[i], self.odd[i], self.phase[i]) = (total, even, odd, phase);
    }

    /// The rounded value F of an entry: never -0 for a sum, canonical if NaN.
    pub fn value(&self, row: usize, col: usize) -> f32 {
        let i = row * self.stride + col;
        canonical(match self.class {
            DotClass::Fp22 if self.specials[i] == 0 => {
                let open = cut(self.even[i] as i128 + self.exact[i]);
                self.total[i] + round_scaled(open, self.unit.unwrap_or(0)) + 0.0
            }
            DotClass::Exact if !self.far => round_scaled(self.near[i].into(), self.unit.unwrap_or(0)) + 0.0,
            DotClass::Exact | DotClass::Int24s | DotClass::Fp22 => match self.specials[i] {
                0 => round_scaled(self.sum(i), self.unit.unwrap_or(0)) + 0.0,
                SPECIAL_PLUS => f32::INFINITY,
                SPECIAL_MINUS => f32::NEG_INFINITY,
                _ => f32::NAN,
            },
            DotClass::Chain if self.result => self.total[i],
            DotClass::Chain => self.total[i] + 0.0,
            DotClass::PairBf16 | DotClass::PairFp16 => {
                let flush = self.class == DotClass::PairBf16;
                match self.phase[i] {
                    0 => self.total[i] + 0.0,
                    _ => close_group(self.total[i], self.even[i], self.odd[i], flush) + 0.0,
                }
            }
        })
    }

    /// [`Tile::value`] of the first entries of a row.
    pub fn values(&self, row: usize, out: &mut [f32]) {
        let first = row * self.stride;
        let entries = first..first + out.len();
        match (self.class, self.unit.unwrap_or(0)) {
            (DotClass::Exact, unit @ -100..=50) if !self.far => {
                let unit = power(unit);
                out.iter_mut().zip(&self.near[entries]).for_each(|(out, sum)| *out = *sum as f32 * unit + 0.0);
            }
            (DotClass::Chain, _) if self.result => {
                out.iter_mut().zip(&self.total[entries]).for_each(|(out, total)| *out = canonical(*total));
            }
            _ => out.iter_mut().enumerate().for_each(|(col, out)| *out = self.value(row, col)),
        }
    }

    /// The first `cols` entries of a row of a chain tile, to write.
    pub fn results(&mut self, row: usize, cols: usize) -> &mut [f32] {
        let first = self.at(row, 0);
        &mut self.total[first..first + cols]
    }

    /// Makes this a chain tile of results, ready for [`Tile::put`]: cleared if `new`, else going on from the chain
    /// that it holds.
    ///
    /// # Errors
    /// ACC, naming `what`, if the tile holds sums of another class and is not `new`.
    pub fn become_result(&mut self, new: bool, what: &str) -> Result<()> {
        if new || !self.dirty {
            self.set_class(DotClass::Chain);
        }
        self.require_chain(what)?;
        (self.result, self.dirty) = (true, true);
        Ok(())
    }

    /// Writes an entry of a chain tile.
    pub fn put(&mut self, row: usize, col: usize, value: f32) {
        let i = self.at(row, col);
        self.total[i] = value;
    }

    /// The partials of a reduction: row 0 of a chain tile.
    pub fn partials(&mut self) -> &mut [f32] {
        self.used = self.used.max(1);
        &mut self.total[..self.stride]
    }

    /// Entries of a row; at least 16.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Quanta of an exact entry, and whether it met a code that is no number.
    pub fn quanta(&self, row: usize, col: usize) -> (i128, bool) {
        let i = row * self.stride + col;
        (self.sum(i), self.specials[i] != 0)
    }

    /// Checks that the sums of two tiles can be compared as integers.
    ///
    /// # Errors
    /// ACC unless both are of class exact and count the same quantum, if both hold sums.
    pub fn comparable(&self, other: &Tile) -> Result<()> {
        if let Some(tile) = [self, other].iter().find(|tile| tile.class != DotClass::Exact) {
            let message = format!("abft compares exact sums, one of its tiles has class {}", tile.class.name());
            return Err(Trap::new(TrapKind::Acc, message));
        }
        match (self.unit, other.unit) {
            (Some(a), Some(b)) if a != b => {
                let message = format!("sums in quanta of 2^{a} and checksums in quanta of 2^{b} cannot be compared");
                Err(Trap::new(TrapKind::Acc, message))
            }
            _ => Ok(()),
        }
    }

    /// What a converter of `bits` bits with noise makes of an exact entry; its full scale is `full` quanta.
    ///
    /// # Errors
    /// ACC if an intermediate integer leaves 128 bits.
    pub fn convert(&mut self, row: usize, col: usize, full: i64, bits: u32, noise: i64) -> Result<()> {
        let i = self.at(row, col);
        let sum = self.sum(i);
        // In units of 2^-32 steps of full / 2^(bits-1): exact, then rounded once.
        let scaled = sum.checked_mul(1 << (bits - 1)).and_then(|n| n.checked_mul(1 << 32));
        let exact = scaled.and_then(|n| n.checked_add(i128::from(noise).checked_mul(full.into())?));
        let Some(exact) = exact else {
            let message = format!("the sum of entry [{row}][{col}] is too wide for a converter of {bits} bits");
            return Err(Trap::new(TrapKind::Acc, message));
        };
        let step = i128::from(full) << 32;
        let (whole, rest) = (exact.div_euclid(step), exact.rem_euclid(step));
        let code = whole + i128::from(2 * rest > step || (2 * rest == step && whole & 1 == 1));
        let most = 1i128 << (bits - 1);
        (self.exact[i], self.near[i]) = (code.clamp(-most, most - 1) * i128::from(full), 0);
        self.far = true;
        Ok(())
    }

    /// Notes that the entries of an exact tile, which [`Tile::convert`] changes, are in quanta 2^`by` finer.
    ///
    /// # Errors
    /// ACC if the tile has another class.
    pub fn refine(&mut self, by: i32) -> Result<()> {
        if self.class != DotClass::Exact {
            let message = format!("adc reads exact sums, this tile has class {}", self.class.name());
            return Err(Trap::new(TrapKind::Acc, message));
        }
        self.unit = self.unit.map(|unit| unit - by);
        Ok(())
    }
}

/// `sum` without what is below its 14 highest bits: exact as f32.
fn cut(sum: i128) -> i128 {
    let drop = (128 - sum.unsigned_abs().leading_zeros()).saturating_sub(14);
    let kept = (sum.unsigned_abs() >> drop << drop) as i128;
    if sum < 0 { -kept } else { kept }
}

/// fma, flushed to a zero of its sign if the result is tiny after rounding to 24 bits with unbounded exponent.
///
/// An f32 result below 2^-126 may have been rounded at the subnormal grid, so the decision is taken on the same
/// operation scaled by 2^100, where the grid is that of normal numbers.
fn fma_flushed(a: f32, b: f32, c: f32, flush: bool) -> f32 {
    const SMALLEST: f32 = f32::MIN_POSITIVE;
    let sum = fma(a, b, c);
    if flush && sum.abs() <= SMALLEST {
        let up = f32::from_bits((127 + 50) << 23);
        let scaled = fma(a * up, b * up, c * up * up);
        if scaled != 0.0 && scaled.abs() < SMALLEST * up * up {
            return 0f32.copysign(sum);
        }
    }
    sum
}

/// total + (even + odd); the sums of f32 values below 2^-126 are exact, so flushing looks at the result.
fn close_group(total: f32, even: f32, odd: f32, flush: bool) -> f32 {
    let add = |a: f32, b: f32| {
        let sum = a + b;
        if flush && sum.is_subnormal() { 0f32.copysign(sum) } else { sum }
    };
    add(total, add(even, odd))
}

/// 2^unit, normal in f32.
fn power(unit: i32) -> f32 {
    f32::from_bits(((unit + 127) as u32) << 23)
}

/// `sum` * 2^`unit`, rounded once to f32, to nearest even, gradual underflow; zero is +0.
pub fn round_scaled(sum: i128, unit: i32) -> f32 {
    // Rounded once, by the conversion: what follows is exact, as 2^unit and the result are normal.
    if let (Ok(sum), -100..=50) = (i64::try_from(sum), unit) {
        return sum as f32 * power(unit);
    }
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0.0;
    }
    let bits = 128 - magnitude.leading_zeros() as i32;
    // Bits dropped so that 24 remain, or fewer where the lowest bit of f32, 2^-149, is above them.
    let drop = (bits - 24).max(-149 - unit).max(0);
    let rounded = match drop {
        0 => magnitude,
        129.. => 0,
        _ => {
            let kept = magnitude.checked_shr(drop as u32).unwrap_or(0);
            let half = 1u128 << (drop - 1);
            let rest = magnitude & (half << 1).wrapping_sub(1);
            kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
        }
    };
    // At most 2^24 times a power of two that f64 holds: exact until the last conversion, which is exact or infinite.
    let value = (rounded as f64 * 2f64.powi(unit + drop)) as f32;
    if sum < 0 { -value } else { value }
}

/// Mark of the product of two codes of which at least one is special; `w` and `x` are (mark, integer).
pub fn special_product(w: (u8, i64), x: (u8, i64)) -> u8 {
    let infinite = SPECIAL_PLUS | SPECIAL_MINUS;
    let sign = |(mark, integer): (u8, i64)| {
        if mark == 0 { integer.signum() } else { 1 - i64::from(mark == SPECIAL_MINUS) * 2 }
    };
    if (w.0 | x.0) & SPECIAL_NAN != 0 {
        return SPECIAL_NAN;
    }
    if (w.0 | x.0) & infinite == 0 {
        return 0;
    }
    match sign(w) * sign(x) {
        0 => SPECIAL_NAN,
        1 => SPECIAL_PLUS,
        _ => SPECIAL_MINUS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_sums_round_once_and_to_even() {
        assert_eq!(round_scaled((1 << 24) + 1, 0), 16_777_216.0);
        assert_eq!(round_scaled((1 << 24) + 3, 0), 16_777_220.0);
        assert_eq!(round_scaled(-(1 << 25) - 3, -1), -16_777_218.0);
        assert_eq!(round_scaled(1, -149), f32::from_bits(1));
        assert_eq!(round_scaled(1, -150), 0.0, "a tie of the subnormal grid goes to even");
        assert_eq!(round_scaled(3, -150), f32::from_bits(2));
        assert_eq!(round_scaled(-1, -400).to_bits(), (-0f32).to_bits());
        assert_eq!(round_scaled(i128::MAX, 10), f32::INFINITY);
        assert_eq!(round_scaled(0, 5).to_bits(), 0);
        for n in [7i128, 12345678901234567, -98765432109876543210] {
            assert_eq!(round_scaled(n, 0), n as f32);
        }
    }

    #[test]
    fn flushing_looks_at_the_sum_rounded_with_unbounded_exponent() {
        let tiny = f32::MIN_POSITIVE;
        // 2^-126 - 1.25 * 2^-151 rounds up to 2^-126 gradually, but is tiny with an unbounded exponent.
        let a = -1.25 * 2f32.powi(-75);
        let b = 2f32.powi(-76);
        assert_eq!(fma(a, b, tiny), tiny);
        assert_eq!(fma_flushed(a, b, tiny, true).to_bits(), 0);
        assert_eq!(fma_flushed(a, b, tiny, false), tiny);
        assert_eq!(fma_flushed(1.0, 0.0, tiny, true), tiny);
    }

    #[test]
    fn special_codes_multiply_as_numbers_do() {
        let (plus, minus) = ((SPECIAL_PLUS, 0), (SPECIAL_MINUS, 0));
        assert_eq!(special_product(plus, (0, 0)), SPECIAL_NAN);
        assert_eq!(special_product(plus, minus), SPECIAL_MINUS);
        assert_eq!(special_product(minus, (0, -3)), SPECIAL_PLUS);
        assert_eq!(special_product((SPECIAL_NAN, 0), (0, 3)), SPECIAL_NAN);
        assert_eq!(special_product((0, 2), (0, 3)), 0);
    }
}
