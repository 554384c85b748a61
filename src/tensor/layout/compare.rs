//! Which layout is smallest: the bytes of a tensor in each of them, and the density at which each begins to win.
//!
//! A density is the fraction of elements that are not zero. Sizes are those of the whole layout with its tables, before
//! any tensor exists; the entropy-coded size is then that of nonzero codes drawn evenly, which is the most they can take.

use super::entropy::{self, Model, TILE_SYMBOLS};
use super::sparse::{self, Order, zero_code};
use super::{Layout, Matrix};
use crate::diag::{Error, Result};
use crate::num::Format;

/// The size of a tensor in one layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Size {
    /// Name of the layout: that of a [`Layout`], or `mask`, `2:4`, `4:8`, `csr`, `csc`, `entropy`.
    pub layout: &'static str,
    /// Bytes; `None` where the layout does not serve this density (N:M keeps N of M) or format.
    pub bytes: Option<usize>,
    /// The layout is smaller than dense rows at every density below this one; 0 = never, 1 = always. For N:M it is
    /// N/M, where the zeros lie as it needs them, or 0.
    pub wins_below: f64,
}

/// Bytes of a tensor with a fraction `density` of nonzero codes in every layout that serves its format, dense first.
///
/// # Errors
/// Unsupported for a format without a zero; Usage for a density outside 0 to 1; BadInput for a tensor beyond memory.
pub fn sizes(matrix: &Matrix, density: f64) -> Result<Vec<Size>> {
    let Matrix { format, rows, cols } = *matrix;
    zero_code(format)?;
    if !(0.0..=1.0).contains(&density) {
        return Err(Error::usage(format!("a density is from 0 to 1, not {density}")));
    }
    let dense = matrix.dense_bytes()?;
    let kept = (density * (rows * cols) as f64).round() as usize;
    let row = |layout, bytes: &dyn Fn(usize) -> usize, peak: usize| Size {
        layout,
        bytes: Some(bytes(kept)),
        wins_below: matrix.threshold(bytes, dense, peak),
    };
    let all = rows * cols;
    let mut out: Vec<Size> = Vec::new();
    for layout in Layout::ALL {
        if let Ok(bytes) = layout.bytes(matrix) {
            let wins_below = if bytes < dense { 1.0 } else { 0.0 };
            out.push(Size { layout: layout.name(), bytes: Some(bytes), wins_below });
        }
    }
    out.push(row("mask", &|kept| matrix.masked(kept), all));
    for (layout, n, m) in [("2:4", 2, 4), ("4:8", 4, 8)] {
        let (bytes, share) = (matrix.n_of_m(n, m), n as f64 / m as f64);
        let wins_below = if bytes < dense { share } else { 0.0 };
        out.push(Size { layout, bytes: (density <= share).then_some(bytes), wins_below });
    }
    for (layout, order) in [("csr", Order::Rows), ("csc", Order::Columns)] {
        out.push(row(layout, &|kept| sparse::stored_bytes(order, rows, cols, format.bits, kept), all));
    }
    if format.bits <= 8 {
        // The entropy is greatest where all codes are equally likely.
        let peak = all - all.div_ceil(1 << format.bits);
        out.push(row("entropy", &|kept| matrix.coded(kept), peak));
    } else {
        out.push(Size { layout: "entropy", bytes: None, wins_below: 0.0 });
    }
    Ok(out)
}

/// Bytes of an entropy-coded tensor with these counts of codes of `format`, estimated to about two bytes a tile.
///
/// # Errors
/// Internal if `counts` has not one entry a code.
pub fn coded_bytes(format: &Format, counts: &[u64]) -> Result<usize> {
    if format.bits > 8 || counts.len() as u64 != format.codes() {
        return Err(Error::internal(format!("{} counts of codes of {}", counts.len(), format.name)));
    }
    let model = Model::of_counts(counts)?;
    let symbols: u64 = counts.iter().sum();
    Ok(coded_bytes_at(symbols, model.cross_entropy_bits(counts), model.codes().len()))
}

/// The layout's bytes with `bits` a code: per tile, the lengths' 7 bits and the 13 that ends of coding waste.
fn coded_bytes_at(symbols: u64, bits: f64, codes: usize) -> usize {
    let tiles = symbols.div_ceil(TILE_SYMBOLS.into()) as f64;
    entropy::HEADER + 1 + 3 * codes + ((symbols as f64 * bits + 20.0 * tiles) / 8.0).ceil() as usize
}

impl Matrix {
    /// One bit an element, then the kept codes.
    fn masked(&self, kept: usize) -> usize {
        (self.rows * self.cols).div_ceil(8) + (kept * self.format.bits as usize).div_ceil(8)
    }

    /// `n` codes with the place of each for every `m` elements of a row.
    fn n_of_m(&self, n: usize, m: usize) -> usize {
        let place = m.ilog2() as usize;
        self.rows * (self.cols.div_ceil(m) * n * (self.format.bits as usize + place)).div_ceil(8)
    }

    fn coded(&self, kept: usize) -> usize {
        let all = (self.rows * self.cols) as u64;
        // Ternary has a code that is never written.
        let nonzero = self.format.sorted.len().max(2) - 1;
        let zeros = entropy::entropy_bits(&[all - kept as u64, kept as u64]);
        let which = if all == 0 { 0.0 } else { kept as f64 / all as f64 * (nonzero as f64).log2() };
        coded_bytes_at(all, zeros + which, nonzero + 1)
    }

    /// Largest density below which `bytes` stays under `dense`, where `bytes` rises up to `peak` kept elements and is at
    /// its greatest there.
    fn threshold(&self, bytes: &dyn Fn(usize) -> usize, dense: usize, peak: usize) -> f64 {
        if bytes(peak) < dense {
            return 1.0;
        }
        let (mut below, mut above) = (0, peak);
        while below < above {
            let middle = below + (above - below) / 2;
            if bytes(middle) < dense {
                below = middle + 1;
            } else {
                above = middle;
            }
        }
        below as f64 / (self.rows * self.cols).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::entropy::{Coded, histogram};
    use super::*;
    use crate::num::format::find;

    fn of(name: &str, rows: usize, cols: usize, density: f64) -> Vec<Size> {
        sizes(&Matrix { format: find(name).unwrap(), rows, cols }, density).unwrap()
    }
    fn row<'a>(sizes: &'a [Size], layout: &str) -> &'a Size {
        sizes.iter().find(|size| size.layout == layout).unwrap()
    }

    #[test]
    fn the_closed_forms_of_a_square_of_int8() {
        let table = of("int8", 1024, 1024, 0.1);
        assert_eq!(row(&table, "dense").bytes, Some(1 << 20));
        let kept = 104_858;
        assert_eq!(row(&table, "mask").bytes, Some((1 << 17) + kept));
        // Codes of 8 bits, indices of 10, 1025 starts of 17.
        let csr = 30 + kept + (kept * 10usize).div_ceil(8) + (1025 * 17usize).div_ceil(8);
        assert_eq!(row(&table, "csr").bytes, Some(csr));
        assert_eq!(row(&table, "csc").bytes, Some(csr));
        assert_eq!(row(&table, "2:4").bytes, Some((1 << 20) / 2 + (1 << 20) / 8));
        // A mask wins below 7/8, CSR below 8/18 less its starts.
        assert!((row(&table, "mask").wins_below - 0.875).abs() < 1e-3);
        let csr = row(&table, "csr").wins_below;
        assert!(csr > 0.43 && csr < 8.0 / 18.0, "{csr}");
        assert_eq!(row(&table, "2:4").wins_below, 0.5);
    }

    #[test]
    fn ternary_is_hardly_worth_an_index() {
        let table = of("ternary", 1024, 1024, 0.6);
        assert_eq!(row(&table, "2:4").bytes, None);
        assert_eq!(row(&table, "trits5"), &Size { layout: "trits5", bytes: Some(1024 * 205), wins_below: 1.0 });
        assert_eq!(row(&table, "planes").wins_below, 0.0);
        assert_eq!(row(&table, "entropy").wins_below, 1.0, "2 bits a trit are never the entropy");
        assert!((row(&table, "mask").wins_below - 0.5).abs() < 1e-3);
        assert!(row(&table, "csr").wins_below < 2.0 / 12.0);
    }

    #[test]
    fn an_estimate_is_what_coding_gives() {
        let format = find("ternary").unwrap();
        for (every, density) in [(2, 0.5), (10, 0.1)] {
            let n = 1 << 18;
            let code = |i: u64| if i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33 & 1 == 0 { 1 } else { 2 };
            let codes: Vec<u8> = (0..n).map(|i: u64| if i.is_multiple_of(every) { code(i) } else { 0 }).collect();
            let dense: Vec<u8> =
                codes.chunks(4).map(|c| c.iter().rev().fold(0, |byte, code| byte << 2 | code)).collect();
            let exact = Coded::of_rows(format, 512, 512, &dense, TILE_SYMBOLS).unwrap().stored_bytes() as f64;
            let mut counts = histogram(2, &codes);
            counts[3] = 0;
            let estimate = coded_bytes(format, &counts).unwrap() as f64;
            assert!((estimate / exact - 1.0).abs() < 2e-3, "{estimate} for {exact}");
            let blind = row(&of("ternary", 512, 512, density), "entropy").bytes.unwrap() as f64;
            assert!((blind / exact - 1.0).abs() < 3e-3, "{blind} for {exact}");
        }
    }

    #[test]
    fn what_does_not_apply_is_said() {
        let refused = |name: &str, density: f64| {
            let matrix = Matrix { format: find(name).unwrap(), rows: 4, cols: 4 };
            sizes(&matrix, density).unwrap_err().to_string()
        };
        assert!(refused("binary", 0.5).contains("no zero"));
        assert!(refused("int8", 1.5).contains("from 0 to 1"));
        assert_eq!(row(&of("fp16", 64, 64, 0.1), "entropy").bytes, None);
        assert_eq!(row(&of("int8", 0, 0, 0.0), "dense").bytes, Some(0));
    }
}
