//! Decoded operands of a contraction, and the contraction of one row of inputs with rows of weights.
//!
//! The tile's class and the two formats choose a path. Class exact has three widths of integers, all exact: products
//! below 2^24 summed in i32 over 64 terms, products below 2^50 summed in i64 over 8192 terms, anything else in i128.

use super::acc::{Tile, special_product};
use super::codes::Codes;
use super::panel::{Layout, Weights};
use super::trap::{Result, Trap, TrapKind};
use crate::num::DotClass;

/// How the products of a pair of formats are computed and summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// Exact, both sides below 2^12 in magnitude.
    #[default]
    Small,
    /// Exact, products below 2^50.
    Wide,
    /// Exact, any product.
    Widest,
    /// In f32, in the order of the tile's class; `flushed` reads subnormal values as zeros.
    Real {
        /// Class pair with a bf16 carrier.
        flushed: bool,
    },
}

/// Path and quantum exponent of `weights` x `inputs` in a tile of `class`.
///
/// # Errors
/// ACC if the class does not serve the pair.
pub fn path(class: DotClass, weights: &Codes, inputs: &Codes) -> Result<(Path, i32)> {
    let served = match class {
        DotClass::Exact => weights.format.unit.is_some() && inputs.format.unit.is_some(),
        DotClass::Int24s | DotClass::Fp22 => {
            let span = if class == DotClass::Int24s { 22 } else { 47 };
            let exact = weights.format.unit.is_some() && inputs.format.unit.is_some();
            exact && weights.format.span + inputs.format.span <= span
        }
        DotClass::Chain => true,
        DotClass::PairBf16 => weights.in_bf16 && inputs.in_bf16,
        DotClass::PairFp16 => weights.in_fp16 && inputs.in_fp16,
    };
    if !served {
        let (w, x) = (&weights.format.name, &inputs.format.name);
        let class = class.name();
        let message =
            format!("a tile of class {class} cannot sum {w} weights times {x} inputs; setacc chooses the class");
        return Err(Trap::new(TrapKind::Acc, message));
    }
    if !Tile::counts(class) {
        return Ok((Path::Real { flushed: class == DotClass::PairBf16 }, 0));
    }
    let unit = weights.format.unit.unwrap_or(0) + inputs.format.unit.unwrap_or(0);
    let product = i128::from(weights.largest) * i128::from(inputs.largest);
    let special = !weights.specials.is_empty() || !inputs.specials.is_empty();
    let path = match product {
        // One by one, in order.
        _ if class != DotClass::Exact => Path::Wide,
        _ if !weights.small.is_empty() && !inputs.small.is_empty() && !special => Path::Small,
        _ if product < 1 << 50 => Path::Wide,
        _ => Path::Widest,
    };
    Ok((path, unit))
}

/// Rows of decoded codes; which vector is filled depends on the path.
#[derive(Debug, Clone, Default)]
pub struct Operand {
    k: usize,
    small: Vec<i16>,
    wide: Vec<i64>,
    real: Vec<f32>,
    /// Special marks; empty if the format has none.
    special: Vec<u8>,
    /// True for rows with a special mark.
    special_row: Vec<bool>,
}

impl Operand {
    /// Makes room for `rows` rows of `k` codes of `codes` on `path`.
    pub fn reset(&mut self, codes: &Codes, path: Path, rows: usize, k: usize) {
        self.k = k;
        let room = |wanted: bool| if wanted { rows * k } else { 0 };
        self.small.resize(room(path == Path::Small), 0);
        self.wide.resize(room(matches!(path, Path::Wide | Path::Widest)), 0);
        self.real.resize(room(matches!(path, Path::Real { .. })), 0.0);
        let marked = matches!(path, Path::Wide | Path::Widest) && !codes.specials.is_empty();
        self.special.resize(room(marked), 0);
        self.special_row.clear();
        self.special_row.resize(rows, false);
    }

    /// Decodes codes in containers into row `row`.
    pub fn set_row(&mut self, codes: &Codes, path: Path, row: usize, bytes: &[u8]) {
        let range = row * self.k..(row + 1) * self.k;
        match path {
            Path::Small => codes.unpack(bytes, &codes.small, &mut self.small[range]),
            Path::Wide | Path::Widest => {
                codes.unpack(bytes, &codes.integers, &mut self.wide[range.clone()]);
                if !self.special.is_empty() {
                    codes.unpack(bytes, &codes.specials, &mut self.special[range.clone()]);
                    self.special_row[row] = self.special[range].iter().any(|mark| *mark != 0);
                }
            }
            Path::Real { flushed } => codes.unpack_reals(bytes, flushed, &mut self.real[range]),
        }
    }

    /// Removes the terms of row `row` whose `live` is false from exact sums.
    pub fn kill(&mut self, path: Path, row: usize, live: &[bool]) {
        let base = row * self.k;
        for (k, _) in live.iter().enumerate().filter(|(_, live)| !**live) {
            match path {
                Path::Small => self.small[base + k] = 0,
                Path::Wide | Path::Widest => self.wide[base + k] = 0,
                Path::Real { .. } => {}
            }
        }
    }

    fn code(&self, row: usize, k: usize) -> (u8, i64) {
        let at = row * self.k + k;
        (self.special.get(at).copied().unwrap_or(0), self.wide[at])
    }
}

/// Adds the products of row `m` of `x` and rows 0..`n` of `w` to row `row` of `tile`; terms with `live` false are absent,
/// and already zero on one side on an exact path. `live` is empty (all), one row for all of `w`, or a row for each.
///
/// # Errors
/// ACC if an exact sum leaves 128 bits.
pub fn contract(
    tile: &mut Tile,
    row: usize,
    (w, n): (&Operand, usize),
    (x, m): (&Operand, usize),
    path: Path,
    live: &[bool],
) -> Result<()> {
    let k = w.k;
    let inputs = m * k..(m + 1) * k;
    for col in 0..n {
        let weights = col * k..(col + 1) * k;
        let live = if live.len() > k { &live[weights.clone()] } else { live };
        match path {
            Path::Small => {
                let sum = dot_small(&w.small[weights], &x.small[inputs.clone()]);
                tile.add_exact(row, col, sum.into(), 0)?;
            }
            Path::Wide | Path::Widest => {
                let (wide_w, wide_x) = (&w.wide[weights], &x.wide[inputs.clone()]);
                if tile.class() != DotClass::Exact {
                    let specials = specials((w, col), (x, m), live);
                    tile.add_narrow(row, col, wide_w, wide_x, specials);
                    continue;
                }
                let sum = if path == Path::Wide { dot_wide(wide_w, wide_x) } else { dot_widest(wide_w, wide_x) };
                tile.add_exact(row, col, sum, specials((w, col), (x, m), live))?;
            }
            Path::Real { .. } if tile.class() == DotClass::Chain => {
                tile.add_chain(row, col, &w.real[weights], &x.real[inputs.clone()], live);
            }
            Path::Real { .. } => tile.add_pair(row, col, &w.real[weights], &x.real[inputs.clone()], live),
        }
    }
    Ok(())
}

/// Marks of the products of row `col` of `w` and row `m` of `x`.
fn specials((w, col): (&Operand, usize), (x, m): (&Operand, usize), live: &[bool]) -> u8 {
    if !w.special_row[col] && !x.special_row[m] {
        return 0;
    }
    let alive = (0..w.k).filter(|&k| live.is_empty() || live[k]);
    alive.fold(0, |marks, k| marks | special_product(w.code(col, k), x.code(m, k)))
}

/// Exact for magnitudes below 2^12: 64 products stay below 2^30.
fn dot_small(w: &[i16], x: &[i16]) -> i64 {
    let blocks = w.chunks(64).zip(x.chunks(64));
    blocks.fold(0, |total, (w, x)| {
        let block = w.iter().zip(x).fold(0i32, |sum, (&w, &x)| sum + i32::from(w) * i32::from(x));
        total + i64::from(block)
    })
}

/// Exact for products below 2^50: 8192 of them stay below 2^63.
fn dot_wide(w: &[i64], x: &[i64]) -> i128 {
    let blocks = w.chunks(8192).zip(x.chunks(8192));
    blocks.fold(0, |total, (w, x)| total + i128::from(w.iter().zip(x).fold(0i64, |sum, (&w, &x)| sum + w * x)))
}

/// Exact for any integers of a format: at most 2^126 before 2^62 terms.
fn dot_widest(w: &[i64], x: &[i64]) -> i128 {
    w.iter().zip(x).fold(0, |sum, (&w, &x)| sum + i128::from(w) * i128::from(x))
}

/// The weights that mm.w left in the array.
#[derive(Debug, Clone, Default)]
pub struct Stationary {
    /// Index of the format in the program's table; `None` before the first mm.w.
    pub format: Option<usize>,
    /// Outputs.
    pub tn: u32,
    /// Terms an output.
    pub tk: u32,
    /// Codes in containers, row after row.
    pub bytes: Vec<u8>,
    /// Terms that count, row after row; empty if all do.
    pub live: Vec<bool>,
    /// Blocks of the array without a live term, and their terms.
    pub dead: (u32, u32),
    /// Some product used them already.
    pub used: bool,
    /// The same decoded, valid for path `decoded`.
    pub weights: Operand,
    /// Path for which `weights` is valid.
    pub decoded: Option<Path>,
    /// The same in panels, valid for layout `laid_out`.
    pub panels: Weights,
    /// Layout for which `panels` is valid.
    pub laid_out: Option<Layout>,
}

impl Stationary {
    /// Decodes the weights for `path`, once.
    pub fn decode(&mut self, codes: &Codes, path: Path) {
        if self.decoded == Some(path) {
            return;
        }
        let (rows, k) = (self.tn as usize, self.tk as usize);
        self.weights.reset(codes, path, rows, k);
        let row_bytes = codes.register_bytes(k as u64) as usize;
        for row in 0..rows {
            self.weights.set_row(codes, path, row, &self.bytes[row * row_bytes..][..row_bytes]);
            if !self.live.is_empty() {
                self.weights.kill(path, row, &self.live[row * k..][..k]);
            }
        }
        self.decoded = Some(path);
    }

    /// Lays the weights out in panels, once.
    pub fn lay_out(&mut self, codes: &Codes, layout: Layout) {
        if self.laid_out != Some(layout) {
            let (rows, k) = (self.tn as usize, self.tk as usize);
            let pitch = codes.register_bytes(k as u64) as usize;
            self.panels.fill(codes, layout, [rows, k], (&self.bytes, pitch), &self.live);
            self.laid_out = Some(layout);
        }
    }
}
