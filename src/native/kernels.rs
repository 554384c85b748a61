//! The kernel table: one line for every leaf, and the choice among them.
//!
//! Integer leaves give exact sums of products, so any order is right. Float leaves have one output in each lane and
//! walk k upwards, so that each lane is the scalar chain.

use super::dots;
use crate::num::FormatRef;
use crate::num::Isa;

#[cfg(target_arch = "x86_64")]
use super::arch::{avx2, avx512};

/// What a kernel multiplies: activations first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// int8 x int8, exact.
    Int8Int8,
    /// int8 x ternary, exact.
    Int8Ternary,
    /// int8 x binary, exact.
    Int8Binary,
    /// binary x binary, exact.
    BinaryBinary,
    /// f32 x f32, one chain (class C).
    Chain,
    /// f32 x f32, pair order without flushing (class P where nothing can become tiny).
    TwoChains,
}

impl Pair {
    /// The exact pair of two formats, if it has leaves.
    pub fn exact(x: FormatRef, w: FormatRef) -> Option<Pair> {
        match (x.name.as_str(), w.name.as_str()) {
            ("int8", "int8") => Some(Pair::Int8Int8),
            ("int8", "ternary") => Some(Pair::Int8Ternary),
            ("int8", "binary") => Some(Pair::Int8Binary),
            ("binary", "binary") => Some(Pair::BinaryBinary),
            _ => None,
        }
    }
}

/// Rows that lie `stride` elements apart; only the first `k` codes of each are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// The first `len` elements of row `r`.
    pub fn row(&self, r: usize, len: usize) -> &'a [T] {
        &self.data[r * self.stride..r * self.stride + len]
    }
}

/// Exact sums of one packed weight row with every packed activation row: `sums[m] = sum_k x[m,k] * w[k]`.
pub(super) type SumsFn = fn(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]);

/// Dots of every activation row with a panel of `lanes` weight rows: `panel[k * lanes + j]` is element k of row j,
/// `out[m * lanes + j]` receives `F`.
pub(super) type LanesFn = fn(x: Rows<'_, f32>, panel: &[f32], k: usize, out: &mut [f32]);

/// Code of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    /// Integer sums.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only x86-64 has integer leaves"))]
    Sums(SumsFn),
    /// Float lanes.
    Lanes {
        /// Weight rows of a panel.
        lanes: usize,
        /// The leaf.
        run: LanesFn,
    },
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Kernel {
    pub name: &'static str,
    pub isa: Isa,
    pub pair: Pair,
    pub code: Code,
}

#[cfg(target_arch = "x86_64")]
const fn sums(name: &'static str, isa: Isa, pair: Pair, run: SumsFn) -> Kernel {
    Kernel { name, isa, pair, code: Code::Sums(run) }
}

const fn lanes(name: &'static str, isa: Isa, pair: Pair, lanes: usize, run: LanesFn) -> Kernel {
    Kernel { name, isa, pair, code: Code::Lanes { lanes, run } }
}

/// Every kernel, slowest level first.
pub(super) const KERNELS: &[Kernel] = &[
    lanes("scalar.chain", Isa::Scalar, Pair::Chain, 1, scalar_chain),
    lanes("scalar.pair", Isa::Scalar, Pair::TwoChains, 1, scalar_pair),
    #[cfg(target_arch = "x86_64")]
    sums("avx2.int8_int8", Isa::Avx2, Pair::Int8Int8, avx2::int8_int8),
    #[cfg(target_arch = "x86_64")]
    sums("avx2.int8_ternary", Isa::Avx2, Pair::Int8Ternary, avx2::int8_ternary),
    #[cfg(target_arch = "x86_64")]
    sums("avx2.int8_binary", Isa::Avx2, Pair::Int8Binary, avx2::int8_binary),
    #[cfg(target_arch = "x86_64")]
    sums("avx2.binary_binary", Isa::Avx2, Pair::BinaryBinary, avx2::binary_binary),
    #[cfg(target_arch = "x86_64")]
    lanes("avx2.chain", Isa::Avx2, Pair::Chain, avx2::LANES, avx2::chain),
    #[cfg(target_arch = "x86_64")]
    lanes("avx2.pair", Isa::Avx2, Pair::TwoChains, avx2::LANES, avx2::pair),
    #[cfg(target_arch = "x86_64")]
    sums("avx512.int8_int8", Isa::Avx512, Pair::Int8Int8, avx512::int8_int8),
    #[cfg(target_arch = "x86_64")]
    sums("avx512.int8_ternary", Isa::Avx512, Pair::Int8Ternary, avx512::int8_ternary),
    #[cfg(target_arch = "x86_64")]
    sums("avx512.int8_binary", Isa::Avx512, Pair::Int8Binary, avx512::int8_binary),
    #[cfg(target_arch = "x86_64")]
    sums("avx512.binary_binary", Isa::Avx512, Pair::BinaryBinary, avx512::binary_binary),
];

/// The best kernel for `pair` up to level `isa`, if the table has one.
pub(super) fn choose(isa: Isa, pair: Pair) -> Option<&'static Kernel> {
    KERNELS.iter().rev().find(|k| k.pair == pair && k.isa <= isa && k.isa.available())
}

fn scalar_chain(x: Rows<'_, f32>, panel: &[f32], k: usize, out: &mut [f32]) {
    for (r, y) in out.iter_mut().enumerate() {
        *y = dots::chain(x.row(r, k), panel);
    }
}

fn scalar_pair(x: Rows<'_, f32>, panel: &[f32], k: usize, out: &mut [f32]) {
    for (r, y) in out.iter_mut().enumerate() {
        *y = dots::pair(x.row(r, k), panel, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::io::Write;

    const LENGTHS: [usize; 12] = [0, 1, 7, 31, 32, 33, 63, 64, 65, 1000, 4096, 140_001];
    const ROWS: usize = 5;

    /// Runs `test` on every kernel of the table that this CPU has, and insists that it has the scalar ones.
    fn each_available(test: impl Fn(&Kernel)) {
        let mut ran = Vec::new();
        for kernel in KERNELS {
            if kernel.isa.available() {
                test(kernel);
                ran.push(kernel.name);
            } else {
                // Straight to stderr, past the capture of the test runner: a skipped leaf must be seen.
                writeln!(std::io::stderr(), "skipped: this CPU cannot run {}", kernel.name).expect("stderr is open");
            }
        }
        assert!(ran.contains(&"scalar.chain"), "{ran:?}");
    }

    /// Level of code `i` of a packed row, read bit by bit: nothing is shared with the kernels.
    fn level(bits: usize, row: &[u8], i: usize) -> i64 {
        let code =
            (0..bits).fold(0, |code, b| code | u32::from(row[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1) << b);
        match (bits, code) {
            (8, code) => i64::from(code as u8 as i8),
            (2, 1) | (1, 0) => 1,
            (2, 2) | (1, 1) => -1,
            _ => 0,
        }
    }

    fn bits(pair: Pair) -> (usize, usize) {
        match pair {
            Pair::Int8Int8 => (8, 8),
            Pair::Int8Ternary => (8, 2),
            Pair::Int8Binary => (8, 1),
            Pair::BinaryBinary => (1, 1),
            Pair::Chain | Pair::TwoChains => (32, 32),
        }
    }

    fn check_sums(kernel: &Kernel, run: SumsFn, k: usize, x_byte: impl FnMut() -> u8, w_byte: impl FnMut() -> u8) {
        let (x_bits, w_bits) = bits(kernel.pair);
        let stride = (k * x_bits).div_ceil(8) + 3;
        let x: Vec<u8> = std::iter::repeat_with(x_byte).take(ROWS * stride).collect();
        let w: Vec<u8> = std::iter::repeat_with(w_byte).take((k * w_bits).div_ceil(8)).collect();
        let mut sums = vec![7i64; ROWS];
        run(Rows { data: &x, stride }, &w, k, &mut sums);
        let levels = |bits: usize, row: &[u8]| (0..k).map(|i| level(bits, row, i)).collect::<Vec<_>>();
        let w_levels = levels(w_bits, &w);
        for (r, sum) in sums.iter().enumerate() {
            let expected = dots::exact_sum(&levels(x_bits, &x[r * stride..]), &w_levels, true);
            assert_eq!(i128::from(*sum), expected, "{} k={k} row {r}", kernel.name);
        }
    }

    #[test]
    fn integer_leaves_equal_the_scalar_sums() {
        each_available(|kernel| {
            let Code::Sums(run) = kernel.code else { return };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut other = ChaCha8Rng::seed_from_u64(2);
            for k in LENGTHS {
                check_sums(kernel, run, k, || rng.random(), || other.random());
                for x in [0x80, 0x7f, 0x00, 0xff] {
                    for w in [0x80, 0x7f, 0x55, 0xaa, 0xff] {
                        check_sums(kernel, run, k, || x, || w);
                    }
                }
            }
        });
    }

    /// Values that make order and rounding visible: mixed magnitudes, zeros, and, if asked, infinities and NaN.
    fn values(rng: &mut ChaCha8Rng, count: usize, special: bool) -> Vec<f32> {
        let one = |_| match rng.random_range(0..if special { 1200 } else { 1000 }) {
            0..=9 => 0.0,
            10..=19 => -0.0,
            20..=999 => f32::from_bits(rng.random_range(0x3000_0000u32..0x4800_0000) | rng.random_range(0u32..2) << 31),
            1000..=1190 => f32::from_bits(rng.random()),
            1191..=1195 => f32::INFINITY,
            _ => f32::NAN,
        };
        (0..count).map(one).collect()
    }

    fn canonical_bits(x: f32) -> u32 {
        crate::num::func::canonical(x).to_bits()
    }

    #[test]
    fn float_leaves_equal_the_scalar_chains() {
        each_available(|kernel| {
            let Code::Lanes { lanes, run } = kernel.code else { return };
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            for (k, special) in LENGTHS.into_iter().filter(|k| *k <= 4096).flat_map(|k| [(k, false), (k, true)]) {
                let (x, panel) = (values(&mut rng, ROWS * (k + 2), special), values(&mut rng, k * lanes, special));
                for rows in 1..=ROWS {
                    let mut out = vec![0.5f32; rows * lanes];
                    run(Rows { data: &x, stride: k + 2 }, &panel, k, &mut out);
                    for (i, got) in out.iter().enumerate() {
                        let row = &x[i / lanes * (k + 2)..][..k];
                        let column: Vec<f32> = panel.iter().skip(i % lanes).step_by(lanes).copied().collect();
                        let expected = match kernel.pair {
                            Pair::Chain => dots::chain(row, &column),
                            _ => dots::pair(row, &column, false),
                        };
                        assert_eq!(canonical_bits(*got), canonical_bits(expected), "{} k={k} {i}", kernel.name);
                    }
                }
            }
        });
    }

    #[test]
    fn every_level_has_the_integer_pairs() {
        for isa in Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar && isa.available()) {
            for pair in [Pair::Int8Int8, Pair::Int8Ternary, Pair::Int8Binary, Pair::BinaryBinary] {
                assert_eq!(choose(isa, pair).map(|kernel| kernel.isa), Some(isa), "{pair:?}");
            }
        }
        assert!(choose(Isa::Scalar, Pair::Int8Int8).is_none());
        assert_eq!(choose(Isa::Scalar, Pair::Chain).map(|kernel| kernel.name), Some("scalar.chain"));
    }
}
