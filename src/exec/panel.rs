//! Products of small integers on panels: weights laid out once, so that one instruction of a CPU meets many outputs.
//!
//! A panel holds [`OUTPUTS`] rows of weights, group after group of k: of each group the weights of all its rows. Inputs
//! lie row after row. Bytes come in groups of four, inputs offset by 128 because CPUs multiply unsigned by signed bytes;
//! words of 16 bits come in pairs. Both sides are padded with zeros. Few rows of weights, as those of a register, would
//! leave most of a panel empty: with AVX-512 they come in bytes too, in groups of eight for eight outputs.
//!
//! A sum of integers has one value in any order, so nothing here can change a result; that each leaf gives the value is
//! tested against [`super::operand::contract`], which stays the specification and serves every other case.

use super::acc::Tile;
#[cfg(target_arch = "x86_64")]
use super::arch;
use super::codes::Codes;
use super::operand::{Path, path};
use super::state::{Vectors, View};
use super::trap::Result;
use crate::num::{DotClass, Isa};
use std::sync::Arc;

/// Rows of a panel.
pub const OUTPUTS: usize = 32;
/// Rows of a panel of few.
pub const FEW: usize = 8;
/// Rows of inputs that a leaf may take at once.
const ROWS: usize = 8;
/// Groups whose weights stay in the nearest cache while all rows of inputs pass.
const BLOCK: usize = 192;
/// What inputs in bytes are offset by: 128, as the sign bit of a byte.
const OFFSET: u8 = 0x80;
/// Rows of weights that are laid out together.
const TOGETHER: usize = 8;

/// Sums of some rows of inputs with a panel.
pub type Sums = [[i32; OUTPUTS]];

/// One group of a panel: `G` weights of each of `N` outputs. It begins where a line of a cache does.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Group<W, const G: usize, const N: usize = OUTPUTS>(pub [[W; G]; N]);

#[cfg(target_arch = "x86_64")]
/// `R` rows of inputs of `count` groups, `pitch` groups from row to row of `x`.
pub fn rows<X, const R: usize>(x: &[X], pitch: usize, count: usize) -> [&[X]; R] {
    std::array::from_fn(|row| &x[row * pitch..][..count])
}

/// How a pair of formats is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// In bytes.
    #[default]
    Bytes,
    /// In bytes, at most [`FEW`] rows of weights.
    Few,
    /// In words of 16 bits.
    Words,
}

impl Layout {
    /// Terms of a group.
    fn group(self) -> usize {
        match self {
            Layout::Bytes => 4,
            Layout::Few => 8,
            Layout::Words => 2,
        }
    }
}

/// What serves a pair of formats on this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    isa: Isa,
    layout: Layout,
    /// Sums of two products of bytes, plus the offset, that 16 bits hold together.
    hold: usize,
    /// No product is larger in magnitude.
    largest: i64,
}

impl Leaf {
    /// The leaf of level `isa` for `weights` x `inputs`, if both are small integers and the level has one.
    pub fn of(isa: Isa, weights: &Codes, inputs: &Codes) -> Option<Leaf> {
        let small = |codes: &Codes| !codes.small.is_empty() && codes.specials.is_empty();
        if isa == Isa::Scalar || !small(weights) || !small(inputs) {
            return None;
        }
        let hold = weights.hold;
        let bytes = !weights.bytes.is_empty() && !inputs.bytes.is_empty() && (isa == Isa::Avx512 || hold > 0);
        let layout = if bytes { Layout::Bytes } else { Layout::Words };
        Some(Leaf { isa, layout, hold, largest: weights.largest * inputs.largest })
    }

    /// Adds the products of all rows of `x` and `w` to the rows of an exact tile from `row` on, and says so; false if
    /// the tile cannot take them this way.
    pub fn contract(&self, tile: &mut Tile, row: usize, w: &Weights, x: &Inputs) -> bool {
        debug_assert_eq!((w.k, w.layout), (x.k, x.layout), "one product");
        debug_assert!(w.layout != Layout::Few || self.serves_few(), "the level was checked");
        let most = self.largest.saturating_mul(w.k as i64);
        let Some((out, stride)) = tile.near(row, x.rows, w.rows, most) else { return false };
        let to = Outputs { out, stride, columns: w.rows };
        if w.layout == Layout::Bytes {
            for row in to.out.chunks_mut(stride) {
                row.iter_mut().zip(&w.offsets).for_each(|(out, offset)| *out = out.wrapping_add(*offset));
            }
        }
        match w.layout {
            #[cfg(target_arch = "x86_64")]
            Layout::Few => {
                let (inputs, groups) = (x.bytes.as_chunks().0, w.k.div_ceil(8));
                for (row, x) in to.out.chunks_mut(stride).zip(inputs.chunks(groups.max(1))) {
                    let mut sums = arch::avx512::few(x, &w.few);
                    sums.iter_mut().zip(&w.offsets).for_each(|(sum, offset)| *sum = sum.wrapping_add(*offset));
                    match row.first_chunk_mut::<FEW>().filter(|_| to.columns == FEW) {
                        Some(row) => row.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.wrapping_add(sum)),
                        None => {
                            row[..to.columns].iter_mut().zip(sums).for_each(|(out, sum)| *out = out.wrapping_add(sum))
                        }
                    }
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Layout::Few => return false,
            Layout::Bytes => {
                let product = Product { rows: x.rows, groups: w.k.div_ceil(4), x: x.bytes.as_chunks().0, w: &w.bytes };
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => product.add(to, arch::avx512::bytes),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => {
                        product.add(to, |x, pitch, w, rows, sums| arch::avx2::bytes(x, pitch, w, rows, sums, self.hold))
                    }
                    _ => product.add(to, plain),
                }
            }
            Layout::Words => {
                let product = Product { rows: x.rows, groups: w.k.div_ceil(2), x: x.words.as_chunks().0, w: &w.words };
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 | Isa::Avx512 => product.add(to, arch::avx2::words),
                    _ => product.add(to, plain),
                }
            }
        }
        true
    }

    /// How its operands are laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }
    /// How they are where the weights are `rows` rows for one product, or few.
    pub fn layout_of(&self, rows: usize) -> Layout {
        if rows <= FEW && self.serves_few() { Layout::Few } else { self.layout }
    }
    fn serves_few(&self) -> bool {
        self.isa == Isa::Avx512 && self.layout == Layout::Bytes
    }
}

/// What is known of the pair of formats, and the class of sums, that an instruction met last.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    of: Option<(DotClass, [usize; 2])>,
    /// Path, and exponent of the quantum.
    path: (Path, i32),
    leaf: Option<Leaf>,
}

impl Pair {
    /// Path, quantum and leaf of formats `bound` of a program in sums of `class`.
    ///
    /// # Errors
    /// As [`path`].
    pub fn find(
        &mut self,
        class: DotClass,
        formats: &[Arc<Codes>],
        bound: [usize; 2],
    ) -> Result<(Path, i32, Option<&Leaf>)> {
        if self.of != Some((class, bound)) {
            let [weights, inputs] = bound.map(|format| &*formats[format]);
            let found = path(class, weights, inputs)?;
            self.leaf = Leaf::of(Isa::current(), weights, inputs).filter(|_| found.0 == Path::Small);
            (self.of, self.path) = (Some((class, bound)), found);
        }
        let (path, unit) = self.path;
        Ok((path, unit, self.leaf.as_ref()))
    }
}

/// Where sums go.
struct Outputs<'a> {
    out: &'a mut [i32],
    /// Entries from row to row.
    stride: usize,
    /// Entries of a row that there are outputs for.
    columns: usize,
}

/// Rows of inputs and panels of weights, both `groups` deep.
struct Product<'a, X, W, const G: usize> {
    rows: usize,
    groups: usize,
    x: &'a [[X; G]],
    w: &'a [Group<W, G>],
}

impl<X, W, const G: usize> Product<'_, X, W, G> {
    /// Adds all sums. `leaf` gets inputs from its first row on, groups from row to row of them, as many groups of a panel
    /// as it shall do, and how many rows there are; it fills sums of some of them and says of how many.
    fn add(&self, to: Outputs<'_>, leaf: impl Fn(&[[X; G]], usize, &[Group<W, G>], usize, &mut Sums) -> usize) {
        match self.rows {
            1 => self.walk(to, leaf, &mut [[0; OUTPUTS]; 1]),
            _ => self.walk(to, leaf, &mut [[0; OUTPUTS]; ROWS]),
        }
    }

    fn walk(
        &self,
        to: Outputs<'_>,
        leaf: impl Fn(&[[X; G]], usize, &[Group<W, G>], usize, &mut Sums) -> usize,
        sums: &mut Sums,
    ) {
        let (mut panels, mut first) = (self.w, 0);
        while let Some((w, rest)) = panels.split_at_checked(self.groups).filter(|_| first < to.columns) {
            let outputs = first..to.columns.min(first + OUTPUTS);
            for (block, w) in w.chunks(BLOCK).enumerate() {
                let mut row = 0;
                while row < self.rows {
                    let x = &self.x[row * self.groups + block * BLOCK..];
                    let done = leaf(x, self.groups, w, self.rows - row, sums);
                    for (at, sums) in (row..).zip(&sums[..done]) {
                        let out = &mut to.out[at * to.stride..][outputs.clone()];
                        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.wrapping_add(*sum));
                    }
                    row += done;
                }
            }
            (panels, first) = (rest, first + OUTPUTS);
        }
    }
}

/// What every leaf computes: the sums of one row.
fn plain<X: Copy + Into<i32>, W: Copy + Into<i32>, const G: usize>(
    x: &[[X; G]],
    _: usize,
    w: &[Group<W, G>],
    _: usize,
    sums: &mut Sums,
) -> usize {
    sums[0].fill(0);
    for (x, w) in x.iter().zip(w) {
        for (sum, w) in sums[0].iter_mut().zip(&w.0) {
            *sum = x.iter().zip(w).fold(*sum, |sum, (&x, &w)| sum.wrapping_add(x.into() * w.into()));
        }
    }
    1
}

/// Rows of weights in panels.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    layout: Layout,
    rows: usize,
    k: usize,
    bytes: Vec<Group<i8, 4>>,
    few: Vec<Group<i8, 8, FEW>>,
    words: Vec<Group<i16, 2>>,
    /// Of every row: minus 128 times the sum of its weights, where these are bytes.
    offsets: Vec<i32>,
    /// Some rows, decoded.
    byte_rows: Vec<i8>,
    word_rows: Vec<i16>,
}

impl Weights {
    /// Lays out `rows` rows of `k` codes in containers, which begin every `pitch` bytes. Weights whose `live` is false are
    /// zeros; it is empty or has a row for each.
    pub fn fill(
        &mut self,
        codes: &Codes,
        layout: Layout,
        [rows, k]: [usize; 2],
        (bytes, pitch): (&[u8], usize),
        live: &[bool],
    ) {
        (self.layout, self.rows, self.k) = (layout, rows, k);
        self.offsets.clear();
        let row = |n: usize| &bytes[n * pitch..];
        match layout {
            Layout::Bytes => {
                let decode = |n: usize, to: &mut [i8]| codes.unpack_bytes(row(n), to);
                fill(&mut self.bytes, &mut self.byte_rows, [rows, k], live, decode);
                offsets(&mut self.offsets, &self.bytes, rows, k);
            }
            Layout::Few => {
                let decode = |n: usize, to: &mut [i8]| codes.unpack_bytes(row(n), to);
                fill(&mut self.few, &mut self.byte_rows, [rows, k], live, decode);
                offsets(&mut self.offsets, &self.few, rows, k);
            }
            Layout::Words => {
                let decode = |n: usize, to: &mut [i16]| codes.unpack(row(n), &codes.small, to);
                fill(&mut self.words, &mut self.word_rows, [rows, k], live, decode);
            }
        }
    }
}

/// Of every row of panels of bytes: minus 128 times the sum of its weights.
fn offsets<const G: usize, const N: usize>(to: &mut Vec<i32>, panels: &[Group<i8, G, N>], rows: usize, k: usize) {
    for panel in panels.chunks(k.div_ceil(G).max(1)) {
        let mut sums = [0i32; N];
        for group in panel {
            let all = |group: &[i8; G]| group.iter().fold(0, |sum, w| sum + i32::from(*w));
            sums.iter_mut().zip(&group.0).for_each(|(sum, group)| *sum = sum.wrapping_add(all(group)));
        }
        to.extend(sums.map(|sum| sum.wrapping_mul(-i32::from(OFFSET))));
    }
    to.resize(rows, 0);
}

/// Lays out rows that `decode` writes, [`TOGETHER`] at a time.
fn fill<W: Copy + Default, const G: usize, const N: usize>(
    panels: &mut Vec<Group<W, G, N>>,
    scratch: &mut Vec<W>,
    [rows, k]: [usize; 2],
    live: &[bool],
    decode: impl Fn(usize, &mut [W]),
) {
    let groups = k.div_ceil(G);
    if !rows.is_multiple_of(N) || !k.is_multiple_of(G) {
        panels.clear();
    }
    panels.resize(rows.div_ceil(N) * groups, Group([[W::default(); G]; N]));
    scratch.clear();
    scratch.resize(TOGETHER * groups * G, W::default());
    for first in (0..rows).step_by(TOGETHER) {
        let count = TOGETHER.min(rows - first);
        for (n, to) in (first..first + count).zip(scratch.chunks_exact_mut((groups * G).max(1))) {
            decode(n, &mut to[..k]);
            if !live.is_empty() {
                let live = &live[n * k..][..k];
                to.iter_mut().zip(live).filter(|(_, live)| !**live).for_each(|(w, _)| *w = W::default());
            }
        }
        let (rows, _) = scratch.as_chunks::<G>();
        let panel = &mut panels[first / N * groups..][..groups];
        for (at, group) in panel.iter_mut().enumerate() {
            let to = &mut group.0[first % N..][..count];
            to.iter_mut().enumerate().for_each(|(n, to)| *to = rows[n * groups + at]);
        }
    }
}

/// Rows of inputs.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    layout: Layout,
    rows: usize,
    k: usize,
    bytes: Vec<u8>,
    words: Vec<i16>,
    /// A row, decoded.
    decoded: Vec<i8>,
}

impl Inputs {
    /// Makes room for `rows` rows of `k` codes.
    pub fn reset(&mut self, layout: Layout, [rows, k]: [usize; 2]) {
        (self.layout, self.rows, self.k) = (layout, rows, k);
        let room = |wanted: bool, group: usize| if wanted { rows * k.next_multiple_of(group) } else { 0 };
        self.bytes.resize(room(layout != Layout::Words, layout.group()), 0);
        self.words.resize(room(layout == Layout::Words, layout.group()), 0);
    }

    /// Decodes codes in containers into row `row`.
    pub fn set_row(&mut self, codes: &Codes, row: usize, bytes: &[u8]) {
        let pitch = self.k.next_multiple_of(self.layout.group());
        match self.layout {
            Layout::Bytes | Layout::Few => {
                // What stands beyond k meets weights of zero.
                let to = &mut self.bytes[row * pitch..][..self.k];
                if codes.plain {
                    return to.iter_mut().zip(bytes).for_each(|(to, code)| *to = code ^ OFFSET);
                }
                self.decoded.resize(self.k, 0);
                codes.unpack_bytes(bytes, &mut self.decoded);
                to.iter_mut().zip(&self.decoded).for_each(|(to, level)| *to = *level as u8 ^ OFFSET);
            }
            Layout::Words => {
                codes.unpack(bytes, &codes.small, &mut self.words[row * pitch..][..self.k]);
            }
        }
    }

    /// Removes the terms of row `row` whose `live` is false.
    pub fn kill(&mut self, row: usize, live: &[bool]) {
        let pitch = self.k.next_multiple_of(self.layout.group());
        for (k, _) in live.iter().enumerate().filter(|(_, live)| !**live) {
            match self.layout {
                Layout::Bytes | Layout::Few => self.bytes[row * pitch + k] = OFFSET,
                Layout::Words => self.words[row * pitch + k] = 0,
            }
        }
    }
}

/// Operands of `mac` as they lie in vector registers, laid out until the register or what it is read as changes.
#[derive(Debug, Clone, Default)]
pub struct Held<T> {
    of_register: Vec<(Key, T)>,
}

/// What a register is read as. Nothing was read in the default view, which has no elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key {
    /// Format, as an index into the program's.
    pub format: usize,
    /// Layout.
    pub layout: Layout,
    /// View.
    pub view: View,
}

impl<T: Default> Held<T> {
    /// The operand in register `n`, filled if the register was written (`renewed`) or is read as something else.
    fn get(&mut self, n: u8, renewed: bool, key: Key, fill: impl FnOnce(&mut T)) -> &T {
        if self.of_register.is_empty() {
            self.of_register.resize_with(32, Default::default);
        }
        let (held, operand) = &mut self.of_register[usize::from(n)];
        if renewed || *held != key {
            fill(operand);
            *held = key;
        }
        operand
    }
}

impl Held<Weights> {
    /// The weights in register `n` of `v`.
    pub fn weights(&mut self, v: &mut Vectors, n: u8, key: Key, codes: &Codes) -> &Weights {
        let renewed = v.renewed(n, 0);
        self.get(n, renewed, key, |weights| {
            let Key { layout, view, .. } = key;
            let pitch = (view.pitch * codes.bits / 8) as usize;
            weights.fill(codes, layout, [view.nl as usize, view.kd as usize], (v.get(n), pitch), &[]);
        })
    }
}

impl Held<Inputs> {
    /// The inputs in register `n` of `v`.
    pub fn inputs(&mut self, v: &mut Vectors, n: u8, key: Key, codes: &Codes) -> &Inputs {
        let renewed = v.renewed(n, 1);
        self.get(n, renewed, key, |inputs| {
            inputs.reset(key.layout, [1, key.view.kd as usize]);
            inputs.set_row(codes, 0, v.get(n));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::operand::{Operand, contract};
    use super::*;
    use crate::num::format;
    use proptest::prelude::*;

    /// Every format whose codes are small integers.
    fn formats() -> Vec<Codes> {
        let all = format::formats().into_iter().map(Codes::new);
        all.filter(|codes| !codes.small.is_empty() && codes.specials.is_empty()).collect()
    }

    /// A product of random codes, or of the extreme ones.
    #[derive(Debug, Clone)]
    struct Case {
        formats: [usize; 2],
        /// m, n, k.
        shape: [usize; 3],
        w: Vec<u8>,
        x: Vec<u8>,
        live_w: Vec<bool>,
        live_x: Vec<bool>,
    }

    /// Rows of codes in containers.
    fn rows(codes: &Codes, rows: usize, k: usize, seed: u64, extreme: bool) -> Vec<u8> {
        let mut draws = seed;
        let pitch = codes.register_bytes(k as u64) as usize;
        let mut bytes = vec![0; rows * pitch];
        let largest = (0..codes.integers.len()).max_by_key(|code| codes.integers[*code].abs()).unwrap_or(0);
        for row in bytes.chunks_mut(pitch.max(1)) {
            for i in 0..k {
                draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let code = if extreme { largest as u32 } else { (draws >> 33) as u32 & codes.format.mask() };
                codes.put(row, i, code);
            }
        }
        bytes
    }

    fn case(count: usize) -> impl Strategy<Value = Case> {
        let depth = prop_oneof![1..=40usize, 700..=900usize];
        let shape = (1..=11usize, prop_oneof![1..=8usize, 1..=70usize], depth);
        (0..count, 0..count, shape, any::<[u64; 2]>(), 0..4u32).prop_flat_map(|(fw, fx, (m, n, k), seeds, kind)| {
            let shape = [m, n, k];
            let all = formats();
            let w = rows(&all[fw], n, k, seeds[0], kind == 0);
            let x = rows(&all[fx], m, k, seeds[1], kind == 0);
            let masks =
                |wanted: bool, count: usize| prop::collection::vec(any::<bool>(), if wanted { count } else { 0 });
            (masks(kind == 1, n * k), masks(kind == 2, k)).prop_map(move |(live_w, live_x)| Case {
                formats: [fw, fx],
                shape,
                w: w.clone(),
                x: x.clone(),
                live_w,
                live_x,
            })
        })
    }

    /// The sums by the specification, added twice from row 1 on.
    fn specified(case: &Case, weights: &Codes, inputs: &Codes) -> Tile {
        let [m, n, k] = case.shape;
        let (path, unit) = path(DotClass::Exact, weights, inputs).expect("an exact pair");
        assert_eq!(path, Path::Small);
        let (mut w, mut x) = (Operand::default(), Operand::default());
        w.reset(weights, path, n, k);
        x.reset(inputs, path, m, k);
        let pitch = [weights, inputs].map(|codes| codes.register_bytes(k as u64) as usize);
        for row in 0..n {
            w.set_row(weights, path, row, &case.w[row * pitch[0]..]);
            w.kill(path, row, case.live_w.get(row * k..(row + 1) * k).unwrap_or_default());
        }
        for row in 0..m {
            x.set_row(inputs, path, row, &case.x[row * pitch[1]..]);
            x.kill(path, row, &case.live_x);
        }
        let mut tile = Tile::new(m + 1, n, true);
        for _ in 0..2 {
            tile.begin(unit).expect("one quantum");
            for row in 0..m {
                contract(&mut tile, row + 1, (&w, n), (&x, row), path, &[]).expect("small sums");
            }
        }
        tile
    }

    /// The same by a leaf.
    fn by_leaf(leaf: Leaf, layout: Layout, case: &Case, weights: &Codes, inputs: &Codes) -> Tile {
        let [m, n, k] = case.shape;
        let (mut w, mut x) = (Weights::default(), Inputs::default());
        let pitch = [weights, inputs].map(|codes| codes.register_bytes(k as u64) as usize);
        w.fill(weights, layout, [n, k], (&case.w, pitch[0]), &case.live_w);
        x.reset(layout, [m, k]);
        for row in 0..m {
            x.set_row(inputs, row, &case.x[row * pitch[1]..]);
            x.kill(row, &case.live_x);
        }
        let (_, unit) = path(DotClass::Exact, weights, inputs).expect("an exact pair");
        let mut tile = Tile::new(m + 1, n, true);
        for _ in 0..2 {
            tile.begin(unit).expect("one quantum");
            assert!(leaf.contract(&mut tile, 1, &w, &x));
        }
        tile
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_leaf_gives_the_sums_of_the_specification(case in case(formats().len())) {
            let all = formats();
            let [weights, inputs] = case.formats.map(|format| &all[format]);
            let want = specified(&case, weights, inputs);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                let Some(leaf) = Leaf::of(isa, weights, inputs) else { continue };
                for layout in [leaf.layout(), leaf.layout_of(case.shape[1])] {
                    let tile = by_leaf(leaf, layout, &case, weights, inputs);
                    for (row, col) in (0..=case.shape[0]).flat_map(|row| (0..case.shape[1]).map(move |col| (row, col))) {
                        let place = format!("{leaf:?} {layout:?} [{row}][{col}]");
                        prop_assert_eq!(tile.quanta(row, col), want.quanta(row, col), "{}", place);
                        prop_assert_eq!(tile.value(row, col).to_bits(), want.value(row, col).to_bits(), "{}", place);
                    }
                }
            }
        }
    }

    #[test]
    fn the_formats_of_low_bits_have_leaves_here() {
        let find = |name: &str| Codes::new(format::find(name).expect("a format"));
        for (w, x) in [("ternary", "int8"), ("binary", "int8"), ("triplet", "int4"), ("int4", "int8"), ("int8", "int8")]
        {
            let served = |isa| Leaf::of(isa, &find(w), &find(x)).is_some();
            assert!(!served(Isa::Scalar) && served(Isa::Avx2) && served(Isa::Avx512), "{w} x {x}");
        }
        assert_eq!(Leaf::of(Isa::Avx2, &find("bf16"), &find("int8")), None);
        assert_eq!(Leaf::of(Isa::Avx2, &find("int8"), &find("fp8e4m3")), None);
    }

    #[test]
    fn sums_go_on_where_32_bits_end() {
        let int8 = Codes::new(format::find("int8").expect("a format"));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let Some(leaf) = Leaf::of(isa, &int8, &int8) else { continue };
            let k = 1 << 15;
            let (codes, mut w, mut x) = (vec![0x80; k], Weights::default(), Inputs::default());
            let layout = leaf.layout_of(1);
            w.fill(&int8, layout, [1, k], (&codes, k), &[]);
            x.reset(layout, [1, k]);
            x.set_row(&int8, 0, &codes);
            let mut tile = Tile::new(1, 1, true);
            tile.begin(0).expect("one quantum");
            for times in 1..=20i128 {
                assert!(leaf.contract(&mut tile, 0, &w, &x));
                assert_eq!(tile.quanta(0, 0), (times << 29, false));
            }
            tile.add_exact(0, 0, 1 << 125, 0).expect("room");
            assert!(!leaf.contract(&mut tile, 0, &w, &x), "an entry near the end of 128 bits is checked at every step");
            assert_eq!(tile.quanta(0, 0), ((20 << 29) + (1 << 125), false));
            tile.clear();
            assert!(leaf.contract(&mut tile, 0, &w, &x));
            assert_eq!(tile.quanta(0, 0), (1 << 29, false));
        }
    }
}
