//! Tiles of a matrix product: enumerates shapes that fit the scratch SRAM and takes the one with the least estimate.
//!
//! The estimate is `max(compute, DRAM bytes / bandwidth, issue)` in cycles; it only ranks candidates. The candidates of a
//! smaller machine are a subset of a larger one's, so the estimate is monotone in SRAM.

use crate::diag::{Error, Result};
use crate::machine::{DramModel, Machine};
use crate::num::FormatRef;

/// A product to be tiled: `[m,k] x [n,k]`.
#[derive(Debug, Clone, Copy)]
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
}

/// Most terms of a tile that `mm.w` takes.
const DEEPEST: u64 = 1 << 16;

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
    fn dram_bytes(&self, mt: u64) -> u64 {
        self.m * self.x_row() + self.m.div_ceil(mt) * self.n * self.w_row() + 4 * self.m * self.n
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
    let mut best: Option<Tiling> = None;
    let mut least = u64::MAX;
    let mut consider = |tiling: Tiling| {
        least = least.min(tiling.bytes);
        if tiling.bytes <= room && best.as_ref().is_none_or(|b| tiling.cycles < b.cycles) {
            best = Some(tiling);
        }
    };
    if array {
        array_candidates(machine, product, room, &mut consider);
    }
    if vector {
        vector_candidates(machine, product, &mut consider);
    }
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

fn estimate(machine: &Machine, product: &Product, mt: u64, compute: u64, issue: u64) -> u64 {
    estimate_of(machine, product.dram_bytes(mt), compute, issue)
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
fn extents(whole: u64, tile: u64) -> [(u64, u64); 2] {
    [(tile, whole / tile), (whole % tile, u64::from(!whole.is_multiple_of(tile)))]
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
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|size| seen.insert(*size));
    all
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
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|k| seen.insert(*k));
    all
}

fn array_candidates(machine: &Machine, product: &Product, room: u64, consider: &mut impl FnMut(Tiling)) {
    let Some(array) = &machine.array else { return };
    let scales = u64::from(machine.scale_entries());
    let sides = [array.rows, array.cols];
    let depths = depths(product, sides);
    let row_cycles = machine.array_path(product.w, product.x).map_or(1, |path| path.figure);
    let bits = [product.w.bits, product.x.bits];
    let rows = u64::from(machine.acc_rows).min(scales);
    let in_turn = product.sums_in_turn(machine);
    // Blocks of one size, so that the next block's sums last as long as what follows these.
    let equal = in_turn.then(|| product.m.div_ceil(product.m.div_ceil(rows)));
    for mt in array_sizes(product.m, rows, sides).into_iter().chain(equal) {
        for nt in array_sizes(product.n, u64::from(machine.acc_cols).min(scales), sides) {
            let outputs = || extents(product.m, mt).into_iter().flat_map(|m| extents(product.n, nt).map(|n| (m, n)));
            for kt in depths.iter().copied() {
                let bytes = product.bytes(Path::Array, mt, nt, kt);
                let tiling = Tiling { path: Path::Array, mt, nt, kt, nl: nt, bytes, cycles: u64::MAX };
                if bytes > room {
                    consider(tiling);
                    continue;
                }
                let (mut compute, mut tiles) = (0, 0);
                for ((m, times_m), (n, times_n)) in outputs().filter(|((_, a), (_, b))| a * b > 0) {
                    let times = times_m * times_n;
                    for (k, times_k) in extents(product.k, kt).into_iter().filter(|k| k.1 > 0) {
                        compute += times * times_k * array.tile_cycles([m, n, k], row_cycles, bits);
                        tiles += times * times_k;
                    }
                    compute += times * product.k.div_ceil(product.kb) * machine.fold_cycles(m * n);
                }
                let cycles = match in_turn {
                    false => estimate(machine, product, mt, compute, tiles * 50),
                    true => in_pieces(machine, product, [mt, nt, kt], compute, tiles * 50),
                };
                consider(Tiling { cycles, ..tiling });
            }
        }
    }
}

/// As [`estimate`], where sums of the next outputs begin while the last ones are stored and inputs come piece by piece with
/// the weights: nothing hides the first piece of both, pieces of rows shorter than a burst of every channel leave channels
/// idle, and what lies on the chip passes its DMA alone.
fn in_pieces(machine: &Machine, product: &Product, [mt, nt, kt]: [u64; 3], compute: u64, issue: u64) -> u64 {
    let (x, w) = (product.row_bytes(product.x, kt), product.row_bytes(product.w, kt));
    let stripe = match (machine.dram.model, &machine.dram.memory) {
        (DramModel::Cycle, Some(memory)) => u64::from(memory.channels) * u64::from(machine.dram.burst_bytes),
        _ => 1,
    };
    let share = if kt >= product.k { 1.0 } else { (x.min(w) as f64 / stripe as f64).min(1.0) };
    let on_chip = |at: usize, bytes: u64| if product.on_chip[at] { bytes } else { 0 };
    let inputs = on_chip(0, product.m * product.x_row());
    let dram = (product.dram_bytes(mt) - inputs - on_chip(1, 4 * product.m * product.n)) as f64 / share;
    let dma = f64::from(machine.dma.bytes_per_cycle);
    let input = if product.on_chip[0] { dma } else { machine.dram.bytes_per_cycle * share };
    let first = (x * mt) as f64 / input + (w * nt) as f64 / (machine.dram.bytes_per_cycle * share);
    let moved = (inputs as f64 / dma) as u64;
    // Weights are not read again for a first piece that is a little shorter.
    let again = dram / machine.dram.bytes_per_cycle / 32.0;
    estimate_of(machine, dram as u64, compute.max(moved), issue) + (first + again) as u64
}

fn vector_candidates(machine: &Machine, product: &Product, consider: &mut impl FnMut(Tiling)) {
    let scales = u64::from(machine.scale_entries());
    let vlen = u64::from(machine.vlen_bits);
    let (w_bits, x_bits) = (u64::from(product.w.container_bits), u64::from(product.x.container_bits));
    // Two sets are eight tiles of a quarter of the columns.
    let columns = u64::from(machine.acc_cols) / if machine.acc_sets > 1 { 4 } else { 1 };
    for nl in sizes(product.n, columns.min(64).min(scales)) {
        // The register view of setmac: a power of two that fits and is whole bytes on both sides, in memory too.
        let pitch = 1u64 << (vlen / (nl * w_bits)).min(vlen / x_bits).max(1).ilog2();
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
                // Within a tile, groups of four registers of outputs share the rows of x; the rest go one by one.
                let of = |outputs: u64| (outputs / (4 * nl), (outputs % (4 * nl)).div_ceil(nl));
                let (full, tail) = (of(nt), of(product.n % nt));
                let tiles = product.m.div_ceil(mt);
                let quads = tiles * (product.n / nt * full.0 + tail.0);
                let singles = tiles * (product.n / nt * full.1 + tail.1);
                let steps =
                    (product.k / product.kb) * product.kb.div_ceil(pitch) + (product.k % product.kb).div_ceil(pitch);
                let depth = pitch.min(product.kb);
                let macs = machine.mac_cycles(nl * depth, product.w, product.x);
                let folds = product.k.div_ceil(product.kb) * machine.fold_cycles(mt * nl);
                let x_loads = mt * machine.load_cycles(depth * x_bits / 8);
                let masks = if product.mask_row > 0 { machine.move_cycles(nl * depth.div_ceil(8), nl) } else { 0 };
                let w_loads = machine.move_cycles(nl * depth * w_bits / 8, nl) + masks;
                let cost = |n: u64| steps * (n * mt * macs).max(x_loads + n * w_loads) + n * folds;
                let compute = quads * cost(4) + singles * cost(1);
                let issue = quads * (steps * (6 * mt + 36) + 60) + singles * (steps * (3 * mt + 24) + 36);
                let cycles = estimate(machine, product, mt, compute, issue);
                let bytes = product.bytes(Path::Vector, mt, nt, product.k);
                consider(Tiling { path: Path::Vector, mt, nt, kt: product.k, nl, bytes, cycles });
            }
        }
    }
}
