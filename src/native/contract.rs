//! The contraction `y[m,n] = sum_k x[m,k] * w[n,k]` of two packed operands: class, terms, scales, kernel.
//!
//! One formula serves every type: term by term ([`terms`]), `total = fma(F, fl(s_x * s_w), total)` from +0, where `F` is
//! the unscaled dot product of the term. With one term that is `fl(F * c)`. Accumulators with chunks add their terms
//! unscaled and scale the total; a global scale of either side multiplies last.

use super::dots;
use super::kernels::{self, Code, Kernel, Pair, Rows};
use super::narrow::{self, Converter};
use super::operand::Operand;
use crate::diag::{Error, Result};
use crate::num::Isa;
use crate::num::func::fma;
use crate::num::{self, Accumulator, DotClass, FormatRef};
use crate::tensor::{Term, terms};
use std::ops::Range;

/// Result of a contraction, and how it was computed.
pub(super) struct Product {
    /// `[M,N]`, row-major.
    pub values: Vec<f32>,
    pub class: DotClass,
    pub kernel: &'static str,
}

/// What a contraction needs to know of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub isa: Isa,
    pub accumulator: Accumulator,
    /// Name of the node, which its draws depend on.
    pub node: &'a str,
    /// Elements of the node's output.
    pub outputs: usize,
    /// Row-major index in the output of the contraction's first result.
    pub first: usize,
}

/// Contracts `x` `[M,K]` with `w` `[N,K]`.
///
/// # Errors
/// Unsupported for a pair of types without a class or terms.
pub(super) fn contract(setting: Setting<'_>, x: &Operand<'_>, w: &Operand<'_>) -> Result<Product> {
    let accumulator = setting.accumulator;
    if x.cols != w.cols {
        return Err(Error::internal(format!("operands have {} and {} elements along k", x.cols, w.cols)));
    }
    let class = num::dot_class(x.format, w.format, accumulator)?;
    let terms = terms(&x.ty, &w.ty, x.cols, accumulator.chunk())?;
    let mut dots = Dots::new(setting, class, *x, *w);
    let mut values = vec![0.0f32; x.rows * w.rows];
    let mut unscaled = vec![0.0f32; x.rows * dots.lanes()];
    let scale = |m: usize, n: usize, term: &Term| {
        let at = term.k.start;
        x.scale(m, at, 0) * if term.ones { w.offset(n, at) } else { w.scale(n, at, term.plane) }
    };
    for n in (0..w.rows).step_by(dots.lanes()) {
        let outputs = n..(n + dots.lanes()).min(w.rows);
        for (g, term) in terms.iter().enumerate() {
            dots.run(outputs.clone(), (g, term), &mut unscaled);
            for m in 0..x.rows {
                for n in outputs.clone() {
                    let scale = if accumulator.chunk().is_some() { 1.0 } else { scale(m, n, term) };
                    let total = &mut values[m * w.rows + n];
                    *total = fma(unscaled[m * dots.lanes() + n - outputs.start], scale, *total);
                }
            }
        }
    }
    if accumulator.chunk().is_some() {
        let places = (0..x.rows).flat_map(|m| (0..w.rows).map(move |n| (m, n)));
        places.zip(&mut values).for_each(|((m, n), y)| *y = fma(*y, scale(m, n, &terms[0]), 0.0));
    }
    if x.ty.scale.global || w.ty.scale.global {
        let global = x.global * w.global;
        values.iter_mut().for_each(|y| *y = fma(*y, global, 0.0));
    }
    Ok(Product { values, class, kernel: dots.kernel_name() })
}

/// Unscaled dot products of all rows of `x` with a few rows of `w`.
enum Dots<'a> {
    Exact(Box<ExactDots<'a>>),
    Float(Box<FloatDots<'a>>),
}

impl<'a> Dots<'a> {
    fn new(setting: Setting<'_>, class: DotClass, x: Operand<'a>, w: Operand<'a>) -> Self {
        match class {
            DotClass::Exact | DotClass::Int24s | DotClass::Fp22 => {
                Dots::Exact(Box::new(ExactDots::new(setting, class, x, w)))
            }
            DotClass::PairBf16 | DotClass::PairFp16 | DotClass::Chain => {
                Dots::Float(Box::new(FloatDots::new(setting.isa, class, x, w)))
            }
        }
    }

    /// Rows of `w` that are contracted at a time.
    fn lanes(&self) -> usize {
        match self {
            Dots::Exact(_) => 1,
            Dots::Float(float) => float.lanes,
        }
    }

    fn kernel_name(&self) -> &'static str {
        match self {
            Dots::Exact(exact) => exact.kernel_name(),
            Dots::Float(float) => float.name,
        }
    }

    /// `out[m * lanes + j] = F` of row `m` of x and row `outputs.start + j` of w over the term and its number.
    fn run(&mut self, outputs: Range<usize>, (g, term): (usize, &Term), out: &mut [f32]) {
        match self {
            Dots::Exact(exact) => exact.run(outputs.start, (g, term), out),
            Dots::Float(float) => float.run(outputs, term, out),
        }
    }
}

/// Integer level of every code of a format of class S, in units of `2^unit`; 0 for NaN and infinities.
struct Levels {
    format: FormatRef,
    unit: i32,
    of_code: Vec<i64>,
    /// Largest magnitude.
    largest: i64,
}

impl Levels {
    fn new(format: FormatRef) -> Self {
        let unit = format.unit.unwrap_or(0);
        let level = |code: u32| {
            let value = f64::from(f32::from_bits(num::decode(format, code)));
            if value.is_finite() { (value * f64::from(-unit).exp2()) as i64 } else { 0 }
        };
        let of_code: Vec<i64> = if format.bits <= 8 { (0..1 << format.bits).map(level).collect() } else { Vec::new() };
        let largest = of_code.iter().map(|l| l.abs()).max().unwrap_or(1 << (format.bits - 1));
        Levels { format, unit, of_code, largest }
    }

    /// Levels of a plane of row `r` in the columns `k`, appended to `out`.
    fn decode(&self, operand: &Operand<'_>, r: (usize, usize), k: Range<usize>, out: &mut Vec<i64>) {
        if self.of_code.is_empty() {
            let scale = f64::from(-self.unit).exp2();
            let value = |code| f64::from(f32::from_bits(num::decode(self.format, code)));
            operand.codes(r, k, |code| out.push((value(code) * scale) as i64));
        } else {
            operand.codes(r, k, |code| out.push(self.of_code[code as usize]));
        }
    }
}

/// What becomes of an exact sum.
enum Reading {
    /// It is rounded.
    Whole,
    /// It saturated on the way.
    Int24s,
    /// It was cut on the way.
    Fp22,
    /// A converter reads it. With the number of outputs, of those in a row, and the index of the first.
    Converted(Converter, [usize; 3]),
}

/// Class S, and what counts exact products in an accumulator of a given width.
struct ExactDots<'a> {
    reading: Reading,
    x: Operand<'a>,
    w: Operand<'a>,
    leaf: Option<&'static Kernel>,
    x_levels: Levels,
    w_levels: Levels,
    /// All levels of x, decoded when the scalar path first needs them.
    x_rows: Vec<i64>,
    x_special: Vec<bool>,
    w_special: Vec<bool>,
    w_row: Vec<i64>,
    sums: Vec<i64>,
}

impl<'a> ExactDots<'a> {
    fn new(setting: Setting<'_>, class: DotClass, x: Operand<'a>, w: Operand<'a>) -> Self {
        let (x_levels, w_levels) = (Levels::new(x.format), Levels::new(w.format));
        let reading = match (class, setting.accumulator) {
            (DotClass::Int24s, _) => Reading::Int24s,
            (DotClass::Fp22, _) => Reading::Fp22,
            (_, Accumulator::Adc { bits, noise_milli, rows }) => {
                let full = i128::from(rows) * i128::from(x_levels.largest) * i128::from(w_levels.largest);
                let sigma = (f64::from(noise_milli) * 65.536).round_ties_even() as i64;
                let converter = Converter { bits, full, sigma, draws: Converter::draws_of(setting.node) };
                Reading::Converted(converter, [setting.outputs, w.rows, setting.first])
            }
            _ => Reading::Whole,
        };
        let leaves = matches!(reading, Reading::Whole | Reading::Converted(..));
        ExactDots {
            leaf: Pair::exact(x.format, w.format)
                .filter(|_| leaves && (w.mask.is_none() || has_zero(w.format)))
                .and_then(|pair| kernels::choose(setting.isa, pair)),
            reading,
            x,
            w,
            x_levels,
            w_levels,
            x_rows: Vec::new(),
            x_special: special_rows(&x),
            w_special: special_rows(&w),
            w_row: Vec::new(),
            sums: vec![0; x.rows],
        }
    }

    fn kernel_name(&self) -> &'static str {
        match (&self.reading, self.leaf) {
            (_, Some(kernel)) => kernel.name,
            (Reading::Int24s, _) => "scalar.int24s",
            (Reading::Fp22, _) => "scalar.fp22",
            _ => "scalar.exact",
        }
    }

    fn run(&mut self, n: usize, (g, term): (usize, &Term), out: &mut [f32]) {
        let unit = self.x_levels.unit + if term.ones { 0 } else { self.w_levels.unit };
        if self.leaf_sums(n, term) {
            for (m, (f, sum)) in out.iter_mut().zip(&self.sums).enumerate() {
                *f = self.read(i128::from(*sum), unit, (g, m, n));
            }
            return;
        }
        if self.x_rows.is_empty() {
            for m in 0..self.x.rows {
                self.x_levels.decode(&self.x, (m, 0), 0..self.x.cols, &mut self.x_rows);
            }
        }
        self.w_row.clear();
        match term.ones {
            true => self.w_row.resize(term.k.len(), 1),
            false => self.w_levels.decode(&self.w, (n, term.plane), term.k.clone(), &mut self.w_row),
        }
        self.w.drop_masked(n, term.k.clone(), &mut self.w_row);
        let wide = self.x_levels.largest.saturating_mul(self.w_levels.largest) >= 1 << 50;
        for (m, f) in out.iter_mut().enumerate() {
            let x_row = &self.x_rows[m * self.x.cols..][term.k.clone()];
            *f = self.special(m, n, term).unwrap_or_else(|| match self.reading {
                Reading::Int24s => dots::round_sum(narrow::int24s(x_row, &self.w_row), unit),
                Reading::Fp22 => narrow::fp22(x_row, &self.w_row, unit),
                _ => self.read(dots::exact_sum(x_row, &self.w_row, wide), unit, (g, m, n)),
            });
        }
    }

    /// `F` of an exact sum in quanta of `2^unit`, the sum of term `g` of output `[m,n]`.
    fn read(&self, sum: i128, unit: i32, (g, m, n): (usize, usize, usize)) -> f32 {
        match &self.reading {
            Reading::Converted(converter, [outputs, columns, first]) => {
                let index = g * outputs + first + m * columns + n;
                dots::round_sum(converter.read(sum, index as u64), unit + 1 - converter.bits as i32)
            }
            _ => dots::round_sum(sum, unit),
        }
    }

    /// Sums by the leaf; false if there is none or the term does not begin on a byte.
    fn leaf_sums(&mut self, n: usize, term: &Term) -> bool {
        let start = term.k.start;
        let (x_bit, w_bit) = (start * self.x.format.bits as usize, start * self.w.format.bits as usize);
        let Some(Kernel { code: Code::Sums(run), .. }) = self.leaf else { return false };
        if term.ones || !x_bit.is_multiple_of(8) || !w_bit.is_multiple_of(8) {
            return false;
        }
        let data = self.x.payload.get(x_bit / 8..).unwrap_or(&[]);
        let rows = Rows { data, stride: self.x.row_bytes() };
        run(rows, &self.w.plane(n, term.plane)[w_bit / 8..], term.k.len(), &mut self.sums);
        true
    }

    fn special(&self, m: usize, n: usize, term: &Term) -> Option<f32> {
        if !self.x_special[m] && !self.w_special[n] {
            return None;
        }
        let (mut xs, mut ws) = (Vec::new(), Vec::new());
        self.x.values((m, 0), term.k.clone(), &mut xs);
        match term.ones {
            true => ws.resize(term.k.len(), 1.0),
            false => self.w.values((n, term.plane), term.k.clone(), &mut ws),
        }
        // What is masked multiplies nothing: zero times zero.
        self.w.drop_masked(n, term.k.clone(), &mut xs);
        self.w.drop_masked(n, term.k.clone(), &mut ws);
        dots::special(&xs, &ws)
    }
}

/// Whether some code is zero: masked codes are it, and leaves may multiply by them.
fn has_zero(format: FormatRef) -> bool {
    format.sorted.iter().any(|code| num::value(format, *code) == 0.0)
}

/// Which rows hold a NaN or an infinity.
fn special_rows(operand: &Operand<'_>) -> Vec<bool> {
    let format = operand.format;
    let special = |code: u32| !f32::from_bits(num::decode(format, code)).is_finite();
    if format.bits > 8 || !(0..1 << format.bits).any(special) {
        return vec![false; operand.rows];
    }
    let row_is_special = |r| {
        let mut found = false;
        operand.codes((r, 0), 0..operand.cols, |code| found |= special(code));
        found
    };
    (0..operand.rows).map(row_is_special).collect()
}

/// Classes P and C.
struct FloatDots<'a> {
    class: DotClass,
    w: Operand<'a>,
    lanes: usize,
    run: kernels::LanesFn,
    name: &'static str,
    /// Values of x, `[M,K]`, subnormals read as zero in class P with the bf16 carrier.
    x: Vec<f32>,
    x_rows: usize,
    least_x: i32,
    /// Whether x has a NaN or an infinity, which a zero in a masked place would turn into NaN.
    special_x: bool,
    rows: Vec<f32>,
    panel: Vec<f32>,
}

impl<'a> FloatDots<'a> {
    fn new(isa: Isa, class: DotClass, x: Operand<'a>, w: Operand<'a>) -> Self {
        let pair = if class == DotClass::Chain { Pair::Chain } else { Pair::TwoChains };
        let kernel = kernels::choose(isa, pair).expect("the table has a scalar kernel for every float pair");
        let Code::Lanes { lanes, run } = kernel.code else { unreachable!("float pairs have lanes") };
        let mut values = x.all_values();
        if class == DotClass::PairBf16 {
            values.iter_mut().for_each(|v| *v = dots::subnormals_as_zero(*v));
        }
        let least_x = least_exponent(&values);
        let special_x = values.iter().any(|v| !v.is_finite());
        let (name, x_rows) = (kernel.name, x.rows);
        let (rows, panel) = (Vec::new(), Vec::new());
        FloatDots { class, w, lanes, run, name, x: values, x_rows, least_x, special_x, rows, panel }
    }

    fn run(&mut self, outputs: Range<usize>, term: &Term, out: &mut [f32]) {
        let (k, len) = (term.k.clone(), term.k.len());
        self.rows.clear();
        for n in outputs.clone() {
            match term.ones {
                true => self.rows.resize(self.rows.len() + len, 1.0),
                false => self.w.values((n, term.plane), k.clone(), &mut self.rows),
            }
            let row = self.rows.len() - len;
            self.w.drop_masked(n, k.clone(), &mut self.rows[row..]);
        }
        if self.class == DotClass::PairBf16 {
            self.rows.iter_mut().for_each(|v| *v = dots::subnormals_as_zero(*v));
            // Products are multiples of 2^(ex + ew - 14): above this bound nothing can become tiny.
            if self.least_x + least_exponent(&self.rows) < -112 {
                return self.run_scalar(outputs, k, out);
            }
        }
        if self.special_x && self.w.mask.is_some() {
            return self.run_scalar(outputs, k, out);
        }
        self.panel.clear();
        self.panel.resize(len * self.lanes, 0.0);
        for (j, row) in (0..outputs.len()).map(|j| (j, &self.rows[j * len..(j + 1) * len])) {
            for (i, value) in row.iter().enumerate() {
                self.panel[i * self.lanes + j] = *value;
            }
        }
        let stride = self.w.cols;
        let data = self.x.get(k.start..).unwrap_or(&[]);
        (self.run)(Rows { data, stride }, &self.panel, len, out);
    }

    /// Pair by pair of rows: results that may become tiny, and masks over special values.
    fn run_scalar(&self, outputs: Range<usize>, k: Range<usize>, out: &mut [f32]) {
        for m in 0..self.x_rows {
            let mut x_row = self.x[m * self.w.cols..][k.clone()].to_vec();
            for (j, n) in outputs.clone().enumerate() {
                let w_row = &self.rows[j * k.len()..(j + 1) * k.len()];
                if self.special_x && self.w.mask.is_some() {
                    x_row.copy_from_slice(&self.x[m * self.w.cols..][k.clone()]);
                    self.w.drop_masked(n, k.clone(), &mut x_row);
                }
                out[m * self.lanes + j] = match self.class {
                    DotClass::Chain => dots::chain(&x_row, w_row),
                    class => dots::pair(&x_row, w_row, class == DotClass::PairBf16),
                };
            }
        }
    }
}

/// Least exponent of the non-zero finite values; large if there is none.
fn least_exponent(values: &[f32]) -> i32 {
    let exponent = |v: &f32| (v.to_bits() >> 23 & 0xff) as i32 - 127;
    values.iter().filter(|v| **v != 0.0).map(exponent).min().unwrap_or(256)
}
