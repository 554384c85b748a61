//! Tiles of a matrix product: enumerates shapes that fit the scratch SRAM and takes the one with the least estimate.
//!
//! The estimate (`pace.rs`) follows the kernel's loop; it only ranks candidates. The candidates of a smaller machine are a
//! subset of a larger one's, so the least estimate never rises with SRAM.

use super::pace::{Outputs, Pace};
use super::stream::{Pieces, Shares};
use crate::diag::{Error, Result};
use crate::machine::{DramModel, Machine};
use crate::num::FormatRef;

/// A product to be tiled: `[m,k] x [n,k]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// Rows of inputs.
    pub m: u64,
    /// Outputs.
    pub n: u64,
    /// Depth, times the planes of the weights.
    pub k: u64,
    /// Elements between folds: a term, or `k`.
    pub kb: u64,
    /// True if there are several terms.
    pub blocked: bool,
    /// Planes of the weights.
    pub planes: u64,
    /// True if every term is followed by one of an offset.
    pub offset: bool,
    /// Bytes of the scales of an input row.
    pub x_scale_row: u64,
    /// Bytes of the scales of an output, offsets included.
    pub w_scale_row: u64,
    /// Weight format.
    pub w: FormatRef,
    /// Input format.
    pub x: FormatRef,
    /// True if a residual tile is read.
    pub residual: bool,
    /// Bytes of the mask behind every row of weights; 0 without one.
    pub mask_row: u64,
    /// Entropy-coded weights: rows of a tile, and bytes of the longest one.
    pub coded: Option<(u64, u64)>,
    /// Whether inputs, and results, lie on the chip.
    pub on_chip: [bool; 2],
    /// True if the sums of a tile are folded once, with scales that stay.
    pub one_term: bool,
    /// Bits of a result in memory.
    pub y_bits: u32,
    /// What follows on the tile of results.
    pub after: After,
}

/// What follows a product, on the tile of results in SRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Results are stored as they are.
    Nothing,
    /// The tile is narrowed as one run, behind an activation of so many operations an element or special functions.
    Narrow {
        /// Plain operations of the activation.
        plain: u64,
        /// Its special functions.
        special: u64,
    },
    /// Row by row, a register at a time.
    Rows {
        /// Plain operations an element.
        plain: u64,
        /// Special functions.
        special: u64,
    },
}

/// Most terms of a tile that `mm.w` takes.
pub(super) const DEEPEST: u64 = 1 << 16;

/// Which unit computes the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The matrix array: `linear-array`.
    Array,
    /// The vector unit: `linear-vector`.
    Vector,
}

/// A chosen tiling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiling {
    /// Unit.
    pub path: Path,
    /// Rows of inputs kept in SRAM.
    pub mt: u64,
    /// Outputs of a tile.
    pub nt: u64,
    /// Depth of a weight tile (array), or `k`.
    pub kt: u64,
    /// Outputs of one register view (vector), or `nt`.
    pub nl: u64,
    /// Scratch bytes.
    pub bytes: u64,
    /// Estimated cycles.
    pub cycles: u64,
    /// Cycles of them in which the unit multiplies.
    pub busy: u64,
}

impl Product {
    fn row_bytes(&self, format: FormatRef, elements: u64) -> u64 {
        (elements * u64::from(format.bits)).div_ceil(8)
    }
    /// Bytes of one row of inputs.
    pub fn x_row(&self) -> u64 {
        self.row_bytes(self.x, self.k / self.planes)
    }
    /// Bytes of the codes of one row of weights, all planes.
    pub fn w_codes(&self) -> u64 {
        self.planes * self.row_bytes(self.w, self.k / self.planes)
    }
    /// Bytes of so many elements of a row of weights.
    pub(super) fn w_piece(&self, elements: u64) -> u64 {
        self.row_bytes(self.w, elements)
    }
    /// The same of a row of inputs.
    pub(super) fn x_piece(&self, elements: u64) -> u64 {
        self.row_bytes(self.x, elements)
    }
    /// The same of a row of results.
    pub(super) fn y_piece(&self, elements: u64) -> u64 {
        (elements * u64::from(self.y_bits)).div_ceil(8)
    }
    /// Bytes of one row of weights, the mask included.
    pub fn w_row(&self) -> u64 {
        self.w_codes() + self.mask_row
    }
    /// Whether the array can walk the terms: planes must begin on a byte, and it has neither sums of inputs for offsets, nor
    /// masks of elements, nor a decoder.
    fn array_walks(&self) -> bool {
        let plane = self.k / self.planes;
        !self.offset
            && self.mask_row == 0
            && self.coded.is_none()
            && (self.planes == 1 || (self.kb == plane && plane.is_multiple_of(8)))
    }
    /// Whether the array sums the next outputs while the last ones are folded and stored.
    pub fn sums_in_turn(&self, machine: &Machine) -> bool {
        machine.acc_sets > 1 && self.one_term
    }
    /// Scratch ranges of a tiling, as (parameter name, bytes), the same for both kernels.
    pub fn buffers(&self, path: Path, mt: u64, nt: u64, kt: u64) -> [(&'static str, u64); 9] {
        let w_tile = match path {
            Path::Array => nt * self.row_bytes(self.w, kt),
            Path::Vector => nt * self.w_row(),
        };
        let tile = 4 * mt * nt;
        [
            ("bx", mt * self.x_row()),
            ("bsx", mt * self.x_scale_row),
            ("bw0", w_tile),
            ("bw1", w_tile),
            ("bsw", nt * self.w_scale_row),
            ("bbias", 4 * nt),
            ("by", tile),
            ("bres", if self.residual { tile } else { 0 }),
            ("bcoded", self.coded.map_or(0, |(_, longest)| longest)),
        ]
    }
    fn bytes(&self, path: Path, mt: u64, nt: u64, kt: u64) -> u64 {
        self.buffers(path, mt, nt, kt)
            .iter()
            .map(|(_, bytes)| bytes.max(&1).next_multiple_of(super::place::ALIGN))
            .sum()
    }
    /// Bytes that a tiling with such rows moves to and from DRAM.
    pub(super) fn dram_bytes(&self, mt: u64) -> u64 {
        self.m * self.x_row() + self.weight_bytes(mt) + 4 * self.m * self.n
    }
    fn weight_bytes(&self, mt: u64) -> u64 {
        self.m.div_ceil(mt) * self.n * self.w_row()
    }
    /// How long a tiling keeps DRAM busy, in bytes of a stream: its own, and those that channels and banks could have moved
    /// which pieces of rows of weights leave idle.
    fn dram_busy(&self, machine: &Machine, tiling: &Tiling, shares: &Shares) -> u64 {
        let rows = Pieces::of(self.w_piece(tiling.kt.min(self.k)), self.n, self.w_row());
        let share = if tiling.path == Path::Array { shares.of(machine, rows) } else { 1.0 };
        let idle = self.weight_bytes(tiling.mt) as f64 * (1.0 / share - 1.0);
        self.dram_bytes(tiling.mt).saturating_add(idle as u64)
    }
}

/// Powers of two from `from` downwards, starting with `most` itself where that is smaller.
pub(super) fn sizes(most: u64, from: u64) -> impl Iterator<Item = u64> {
    let first = most.min(from).max(1);
    std::iter::once(first).chain((0..first.ilog2()).rev().map(|power| 1 << power))
}

/// The best tiling in `room` bytes.
///
/// # Errors
/// Unsupported if no unit of the machine serves the format pair, or if not even the smallest tile fits.
pub fn choose(machine: &Machine, product: &Product, room: u64) -> Result<Tiling> {
    let array = machine.array_serves(product.w, product.x) && product.array_walks();
    let vector = machine.vector_serves(product.w, product.x);
    if !array && !vector {
        return Err(Error::unsupported(format!(
            "machine {} has no rate for weights {} with inputs {}",
            machine.name, product.w.name, product.x.name
        ))
        .code("E0404")
        .help("add the pair to [rate.S] or to the array's pairs of the machine file"));
    }
    let (found, least) = candidates(machine, product, room);
    let best = best_of(machine, product, found);
    best.ok_or_else(|| {
        if least == u64::MAX {
            let text = format!(
                "weights {} with inputs {} have no tile whose registers hold whole bytes of both at VLEN {}",
                product.w.name, product.x.name, machine.vlen_bits
            );
            return Error::unsupported(text)
                .code("E0401")
                .help("use formats of more equal width, or a machine with longer registers");
        }
        Error::unsupported(format!(
            "does not fit: the smallest tile of a product {} x {} x {} in {} x {} needs {least} bytes of SRAM, {} has {room} for it",
            product.m, product.n, product.k, product.w.name, product.x.name, machine.name
        ))
        .code("E0401")
        .help("use a machine with more SRAM, or narrower formats")
    })
}

/// All tilings in `room` bytes with a lower bound of their cycles, the lowest first, and the fewest bytes of any.
fn candidates(machine: &Machine, product: &Product, room: u64) -> (Vec<Tiling>, u64) {
    let mut found: Vec<Tiling> = Vec::new();
    let mut least = u64::MAX;
    let mut consider = |tiling: Tiling| {
        least = least.min(tiling.bytes);
        if tiling.bytes <= room {
            found.push(tiling);
        }
    };
    if machine.array_serves(product.w, product.x) && product.array_walks() {
        array_candidates(machine, product, room, &mut consider);
    }
    if machine.vector_serves(product.w, product.x) {
        vector_candidates(machine, product, &mut consider);
    }
    found.sort_by_key(|tiling| (tiling.cycles, tiling.bytes));
    (found, least)
}

/// Tilings that are taken for good rivals of the best one.
const RIVALS: usize = 2;

/// Other tilings that may be better than the `best` one, as far as the estimate knows of short programs, the likeliest first: at
/// most a third longer. The best of the other unit is among them, since the estimates of the two err apart.
pub(super) fn rivals(machine: &Machine, product: &Product, room: u64, best: &Tiling) -> Vec<Tiling> {
    let shares = Shares::default();
    let near = |tiling: &Tiling| tiling.cycles <= best.cycles.saturating_add(best.cycles / 3);
    let shape = |tiling: &Tiling| (tiling.path, [tiling.mt, tiling.nt, tiling.kt, tiling.nl]);
    let refine = |tiling: Tiling| Tiling { cycles: refined(machine, product, &tiling, &shares), ..tiling };
    let (found, _) = candidates(machine, product, room);
    let mut rivals: Vec<Tiling> =
        found.into_iter().filter(near).filter(|tiling| shape(tiling) != shape(best)).map(refine).filter(near).collect();
    rivals.sort_by_key(|tiling| (tiling.cycles, tiling.bytes));
    let elsewhere = rivals.iter().skip(RIVALS).find(|tiling| tiling.path != best.path).copied();
    rivals.truncate(RIVALS);
    let met = rivals.iter().any(|tiling| tiling.path != best.path);
    rivals.extend(elsewhere.filter(|_| !met));
    rivals
}

/// What takes about as long as `least` by a rule that is exact to such a part: refreshes, latencies, and in which order commands
/// come are worth some cycles of a short program.
pub(super) fn about(least: u64, part: u64) -> u64 {
    least.saturating_add((least / part).max((least / 16).min(1600)))
}

/// How long a tiling may take that is no worse than one of `least`, as far as the estimate knows, and one that asks for less SRAM.
fn equal(machine: &Machine, least: u64) -> [u64; 2] {
    match machine.dram.model {
        DramModel::Ideal => [least; 2],
        DramModel::Bandwidth => [least.saturating_add(least / 128); 2],
        DramModel::Cycle => [least.saturating_add(least / 64), about(least, 64)],
    }
}

/// Of the tilings that take about the least time those that keep the multiplying unit busy for the shortest are left. Of these
/// that take the least time, as far as the estimate knows, one keeps DRAM busy for the shortest; and of those that take about
/// that time, and keep DRAM busy no longer, the one that asks SRAM for the fewest bytes is best. So a larger memory brings another
/// tiling only where that is better.
fn best_of(machine: &Machine, product: &Product, found: Vec<Tiling>) -> Option<Tiling> {
    let shares = Shares::default();
    let mut least = u64::MAX;
    let mut near: Vec<(Tiling, u64)> = Vec::new();
    for tiling in found {
        if tiling.cycles > equal(machine, least)[1] {
            break;
        }
        let cycles = refined(machine, product, &tiling, &shares);
        least = least.min(cycles);
        near.push((Tiling { cycles, ..tiling }, product.dram_busy(machine, &tiling, &shares)));
    }
    near.retain(|(tiling, _)| tiling.cycles <= equal(machine, least)[1]);
    let busy = near.iter().map(|(tiling, _)| tiling.busy).min()?;
    near.retain(|(tiling, _)| tiling.busy <= busy);
    let [same, about] = equal(machine, near.iter().map(|(tiling, _)| tiling.cycles).min()?);
    let shortest = near.iter().filter(|(tiling, _)| tiling.cycles <= same).map(|(_, dram)| *dram).min()?;
    let near = near.into_iter().filter(|(tiling, dram)| tiling.cycles <= about && *dram <= shortest);
    near.map(|(tiling, _)| tiling).min_by_key(|tiling| (tiling.bytes, tiling.cycles))
}

/// Cycles of a tiling of which `cycles` is no more than a lower bound.
fn refined(machine: &Machine, product: &Product, tiling: &Tiling, shares: &Shares) -> u64 {
    let Tiling { mt, nt, kt, nl, .. } = *tiling;
    let pace = Pace::new(machine, product, [mt, nt, kt], shares);
    match tiling.path {
        Path::Array => pace.cycles(),
        Path::Vector => pace.vector_cycles(&|outputs| vector_work(machine, product, outputs, nl)),
    }
}

/// Cycles of `compute` beside so many bytes of DRAM and cycles of issue.
pub(super) fn estimate_of(machine: &Machine, dram_bytes: u64, compute: u64, issue: u64) -> u64 {
    let dram = match machine.dram.model {
        DramModel::Ideal => 0,
        _ => (dram_bytes as f64 / machine.dram.bytes_per_cycle) as u64,
    };
    // A small term for the smaller two, so that ties go to the tiling with less of everything.
    compute.max(dram).max(issue) + (compute + dram + issue) / 64
}

/// Extents of `whole` in tiles of `tile`: each extent with how often it occurs.
pub(super) fn extents(whole: u64, tile: u64) -> [(u64, u64); 2] {
    [(tile, whole / tile), (whole % tile, u64::from(!whole.is_multiple_of(tile)))]
}

/// Each once, where it comes first.
fn distinct(mut all: Vec<u64>) -> Vec<u64> {
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|size| seen.insert(*size));
    all
}

/// [`sizes`], then the sides of the array doubled again and again, so that whole passes are among the candidates of arrays
/// whose sides are no powers of two.
fn array_sizes(most: u64, from: u64, sides: [u32; 2]) -> Vec<u64> {
    let mut all: Vec<u64> = sizes(most, from).collect();
    let limit = most.min(from);
    for side in sides.map(u64::from) {
        let doubled = std::iter::successors(Some(side), |size| Some(2 * size)).take_while(|size| *size <= limit);
        all.extend(doubled.chain(Some(limit / side * side).filter(|size| *size > 0)));
    }
    distinct(all)
}

/// Depths of tiles: whole bytes in every format, at most what `mm.w` takes; first those that fit most memories, then all
/// of k at once, which spares an output-stationary array its fills.
fn depths(product: &Product, sides: [u32; 2]) -> Vec<u64> {
    if product.blocked {
        return vec![product.kb];
    }
    let deepest = product.k.next_multiple_of(32);
    let mut all: Vec<u64> = array_sizes(deepest, 4096, sides).into_iter().map(|k| k.next_multiple_of(32)).collect();
    all.push(if deepest <= DEEPEST { deepest } else { DEEPEST });
    // Passes of other multiples end in the middle of a grid.
    let sides = sides.map(|side| u64::from(side) * if side % 32 == 0 { 1 } else { 32 });
    all.extend(sides.map(|side| DEEPEST / side * side).into_iter().filter(|k| (1..deepest).contains(k)));
    distinct(all)
}

fn array_candidates(machine: &Machine, product: &Product, room: u64, consider: &mut impl FnMut(Tiling)) {
    let Some(array) = &machine.array else { return };
    let scales = u64::from(machine.scale_entries());
    let sides = [array.rows, array.cols];
    let depths = depths(product, sides);
    let row_cycles = machine.array_path(product.w, product.x).map_or(1, |path| path.figure);
    let bits = [product.w.bits, product.x.bits];
    let rows = u64::from(machine.acc_rows).min(scales);
    let mut blocks = array_sizes(product.m, rows, sides);
    if product.sums_in_turn(machine) {
        // Blocks of one size, so that the next block's sums last as long as what follows these, and none has too few rows.
        blocks = distinct(blocks.into_iter().map(|mt| product.m.div_ceil(product.m.div_ceil(mt))).collect());
    }
    for mt in blocks {
        for nt in array_sizes(product.n, u64::from(machine.acc_cols).min(scales), sides) {
            let outputs = || extents(product.m, mt).into_iter().flat_map(|m| extents(product.n, nt).map(|n| (m, n)));
            for kt in depths.iter().copied() {
                let bytes = product.bytes(Path::Array, mt, nt, kt);
                let tiling = Tiling { path: Path::Array, mt, nt, kt, nl: nt, bytes, cycles: u64::MAX, busy: u64::MAX };
                if bytes > room {
                    consider(tiling);
                    continue;
                }
                let mut compute = 0;
                for ((m, times_m), (n, times_n)) in outputs().filter(|((_, a), (_, b))| a * b > 0) {
                    for (k, times_k) in extents(product.k, kt).into_iter().filter(|k| k.1 > 0) {
                        compute += times_m * times_n * times_k * array.tile_cycles([m, n, k], row_cycles, bits);
                    }
                }
                let dram = machine.dram_cycles(product.dram_bytes(mt), 1);
                consider(Tiling { cycles: compute.max(dram / 2), busy: compute, ..tiling });
            }
        }
    }
}

fn vector_candidates(machine: &Machine, product: &Product, consider: &mut impl FnMut(Tiling)) {
    let scales = u64::from(machine.scale_entries());
    let vlen = u64::from(machine.vlen_bits);
    let (w_bits, x_bits) = (u64::from(product.w.container_bits), u64::from(product.x.container_bits));
    // Two sets are eight tiles of a quarter of the columns.
    let columns = u64::from(machine.acc_cols) / if machine.acc_sets > 1 { 4 } else { 1 };
    for nl in sizes(product.n, columns.min(64).min(scales)) {
        // The register view of setmac: a power of two that fits and is whole bytes on both sides, in memory too.
        let pitch = pitch_of(machine, product, nl);
        let dense = [product.w, product.x].map(|format| u64::from(format.bits));
        let whole = |bits: u64| (pitch * bits).is_multiple_of(8);
        // The ones of an offset are read as signs, in the same view.
        if nl * pitch * w_bits > vlen
            || (product.mask_row > 0 && !pitch.is_multiple_of(8))
            || ![w_bits, x_bits].into_iter().chain(dense).all(whole)
            || (product.offset && !whole(1))
        {
            continue;
        }
        for mt in sizes(product.m, u64::from(machine.acc_rows).min(scales)) {
            // A tile of w is so many whole coded tiles.
            let tile_rows = product.coded.map_or(1, |(rows, _)| rows);
            let whole = |nt: &u64| *nt >= nl && (nt.is_multiple_of(tile_rows) || *nt >= product.n);
            let one_tile = product.coded.map(|(rows, _)| rows.min(product.n)).filter(whole);
            for nt in sizes(product.n, 256).filter(whole).chain(one_tile) {
                let macs = machine.mac_cycles(product.n * product.k, product.w, product.x).saturating_mul(product.m);
                let cycles = macs.max(machine.dram_cycles(product.dram_bytes(mt), 1) / 2);
                let bytes = product.bytes(Path::Vector, mt, nt, product.k);
                consider(Tiling { path: Path::Vector, mt, nt, kt: product.k, nl, bytes, cycles, busy: macs });
            }
        }
    }
}

/// Elements of a register view of `nl` outputs along k.
fn pitch_of(machine: &Machine, product: &Product, nl: u64) -> u64 {
    let vlen = u64::from(machine.vlen_bits);
    let (w_bits, x_bits) = (u64::from(product.w.container_bits), u64::from(product.x.container_bits));
    1 << (vlen / (nl * w_bits)).min(vlen / x_bits).max(1).ilog2()
}

/// Cycles of `linear-vector` for a tile of results, and of its first group: four registers of outputs share the rows of x, the
/// rest go one by one. A group takes as long as its instructions (of a row of x, a chunk of k, a term, and once), or as its
/// products, the loads of weights that they wait for, and the fold and store behind.
fn vector_work(machine: &Machine, product: &Product, [tm, tn]: Outputs, nl: u64) -> [u64; 2] {
    let group = |registers: u64, width: u64, [row, step, term, once]: [u64; 4]| {
        let pitch = pitch_of(machine, product, width);
        let (w_bits, x_bits) = (u64::from(product.w.container_bits), u64::from(product.x.container_bits));
        let steps = (product.k / product.kb) * product.kb.div_ceil(pitch) + (product.k % product.kb).div_ceil(pitch);
        let depth = pitch.min(product.kb);
        let macs = machine.mac_cycles(width * depth, product.w, product.x);
        let terms = product.k.div_ceil(product.kb);
        let x_loads = tm * machine.load_cycles(depth * x_bits / 8);
        let masks = if product.mask_row > 0 { machine.move_cycles(width * depth.div_ceil(8), width) } else { 0 };
        let w_loads = machine.move_cycles(width * depth * w_bits / 8, width) + masks;
        let fold = machine.fold_cycles(tm * width);
        let store = machine.move_cycles(4 * tm * width, tm);
        let products = steps * ((registers * tm * macs).max(x_loads) + registers * w_loads);
        let work = products + terms * (registers * fold + u64::from(machine.units.s_latency)) + registers * store;
        let instructions = steps * (row * tm + step) + (terms - 1) * term + once;
        work.max(instructions.div_ceil(u64::from(machine.issue_per_cycle)))
    };
    let four = |width| group(4, width, [6, 21, 50, 60]);
    let one = |width| group(1, width, [3, 18, 32, 36]);
    let (quads, singles, rest) = (tn / (4 * nl), tn % (4 * nl) / nl, tn % nl);
    let all = [(quads, four(nl)), (singles, one(nl)), (u64::from(rest > 0), one(rest.max(1)))].into_iter();
    let first = all.clone().find(|(times, _)| *times > 0).map_or(0, |(_, work)| work);
    [all.map(|(times, work)| times * work).sum(), first]
}
