//! Weights of which only live tiles lie in memory, for `linear-sparse`.
//!
//! A mask that kills whole tiles, or all but N of every M elements, makes weights smaller than their rows of codes: tiles
//! without a live element are left out, and of packed tiles only live codes are stored. Which tiles, and whether that
//! beats the rows with masks behind them (`linear-vector`), follows from the mask itself: every candidate's live tiles are
//! counted, and the least estimate wins. A map of live tiles goes to control memory, where `next.mask` walks it.

use super::place::ALIGN;
use super::tile::{self, Path, Product, sizes};
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::machine::Machine;
use crate::num::{DotClass, FormatRef, decode, dot_class};
use crate::tensor::{Mask, Scaling, Sparsity, Tensor, pack, rows_cols};
use std::collections::BTreeMap;
use std::ops::Range;

/// How weights are cut into tiles, and what a tile holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiles {
    /// Unit that multiplies.
    pub path: Path,
    /// Registers of weights a tile, or 1 on the array.
    pub groups: u64,
    /// Outputs of a register, or of a tile on the array.
    pub nl: u64,
    /// Terms of a tile.
    pub kt: u64,
    /// Bits of live elements stand behind every row of a tile.
    pub masked: bool,
    /// Outputs x terms of the blocks that a mask leaves out of a tile on the array.
    pub blocks: Option<(u64, u64)>,
    /// N of every M elements are live, and only they are stored.
    pub packed: Option<(u64, u64)>,
    /// Rows of inputs kept in SRAM, and outputs between epilogues.
    pub mt: u64,
    /// Outputs between epilogues.
    pub nt: u64,
    /// Bytes of a row of a tile: codes, then bits.
    pub row: u64,
    /// Of these, codes.
    pub codes: u64,
    /// Bytes of the most live tiles of `nt` outputs.
    pub longest: u64,
    /// Estimated cycles.
    pub cycles: u64,
}

impl Tiles {
    /// Outputs of a tile.
    pub fn bh(&self) -> u64 {
        self.groups * self.nl
    }
    /// Bytes of a tile.
    pub fn tile_bytes(&self) -> u64 {
        self.bh() * self.row
    }
    /// Bits of the blocks of a tile on the array; 0 without.
    pub fn block_bits(&self) -> u64 {
        self.blocks.map_or(0, |(rows, cols)| (self.nl / rows) * (self.kt / cols))
    }
    /// Scratch ranges, as (parameter name, bytes).
    pub fn buffers(&self, product: &Product) -> [(&'static str, u64); 8] {
        let tile = 4 * self.mt * self.nt;
        [
            ("bx", self.mt * product.x_row()),
            ("bsx", self.mt * product.x_scale_row),
            ("bw0", self.longest),
            ("bw1", self.longest),
            ("bsw", self.nt * product.w_scale_row),
            ("bbias", 4 * self.nt),
            ("by", tile),
            ("bres", if product.residual { tile } else { 0 }),
        ]
    }
}

/// Weights in live tiles.
#[derive(Debug, Clone)]
pub struct SparseWeights {
    /// The constant.
    pub value: ValueId,
    /// How it is cut.
    pub tiles: Tiles,
    /// Live tiles, and all.
    pub live: u64,
    /// Tiles, dead ones included.
    pub all: u64,
    /// Address of the map in control memory; the table follows it.
    pub map: u64,
    /// Bytes of a row of the map, and of the whole map.
    pub map_row: u64,
    /// Address of the table, and of the bits of blocks behind it.
    pub table: u64,
    /// Address of the bits of blocks.
    pub bits: u64,
    /// Map, table and bits.
    pub control: Vec<u8>,
    /// Live tiles.
    pub payload: Vec<u8>,
}

/// The product that `node` is, if its weights may lie in tiles: one term, no planes, offsets, chunks or global scales, and
/// a sum in which absent terms leave no trace.
fn product(graph: &Graph, node: &Node, w: &Tensor) -> Option<Product> {
    let x = graph.value(node.inputs[0]);
    let (m, k) = rows_cols(&x.shape);
    let (n, _) = w.rows_cols();
    let single = |scaling: Scaling| matches!(scaling, Scaling::None | Scaling::Tensor | Scaling::Row);
    let plain = w.ty.planes == 1 && !w.ty.offset && !w.ty.scale.global && !x.ty.scale.global;
    let class = dot_class(x.ty.format, w.ty.format, node.accumulator).ok()?;
    let traceless = !matches!(class, DotClass::Int24s | DotClass::Fp22) && node.accumulator.chunk().is_none();
    if !plain
        || !traceless
        || !single(w.ty.scaling)
        || !single(x.ty.scaling)
        || w.store.0 == crate::tensor::Store::Entropy
    {
        return None;
    }
    let scale = |ty: &crate::tensor::TensorType, cols: usize| {
        (ty.scales_per_row(cols) * ty.scale.format.bits as usize / 8) as u64
    };
    Some(Product {
        m: m as u64,
        n: n as u64,
        k: k as u64,
        kb: k as u64,
        blocked: false,
        planes: 1,
        offset: false,
        x_scale_row: scale(&x.ty, k),
        w_scale_row: if matches!(w.ty.scaling, Scaling::Row) { scale(&w.ty, k) } else { 0 },
        w: w.ty.format,
        x: x.ty.format,
        residual: true,
        mask_row: k.div_ceil(8) as u64,
        coded: None,
        on_chip: [false; 2],
        one_term: true,
        y_bits: 32,
        after: tile::After::Nothing,
    })
}

/// How many elements of a mask are live in cells of one row x [`CELL`] terms.
struct Cells {
    across: usize,
    live: Vec<u8>,
    n: usize,
    k: usize,
    /// What [`Cells::tiles`] has counted.
    counted: BTreeMap<(u64, u64), Counts>,
}

/// Live elements of every tile, row of tiles by row, and whether each live tile is full.
type Counts = (Vec<u32>, bool);

/// Terms of a cell: tiles are as deep or multiples of it, for the pair order goes on at multiples of 32.
const CELL: usize = 32;

impl Cells {
    fn of(mask: &Mask, n: usize, k: usize) -> Cells {
        let across = k.div_ceil(CELL);
        let count = |row: usize, cell: usize| {
            let bytes = &mask.row(row)[cell * CELL / 8..];
            bytes.iter().take(CELL / 8).map(|byte| byte.count_ones() as u8).sum::<u8>()
        };
        let live = (0..n).flat_map(|row| (0..across).map(move |cell| (row, cell))).map(|(row, cell)| count(row, cell));
        Cells { across, live: live.collect(), n, k, counted: BTreeMap::new() }
    }

    /// Live elements of every tile of `bh` x `kt`.
    fn tiles(&mut self, bh: u64, kt: u64) -> &Counts {
        let counts = self.counted.remove(&(bh, kt)).unwrap_or_else(|| self.count(bh, kt));
        self.counted.entry((bh, kt)).or_insert(counts)
    }

    fn count(&self, bh: u64, kt: u64) -> Counts {
        let (bh, deep) = (bh as usize, kt as usize / CELL);
        let (down, across) = (self.n.div_ceil(bh), self.across.div_ceil(deep));
        let mut tiles = vec![0u32; down * across];
        for (at, live) in self.live.iter().enumerate() {
            tiles[at / self.across / bh * across + at % self.across / deep] += u32::from(*live);
        }
        let full = tiles.iter().enumerate().all(|(at, live)| {
            let (rows, cols) =
                ((self.n - at / across * bh).min(bh), (self.k - at % across * kt as usize).min(kt as usize));
            *live == 0 || *live as usize == rows * cols
        });
        (tiles, full)
    }
}

/// Whether a masked code can stand in a product instead of being absent: zero times anything that is a number.
fn zeros_do(product: &Product, class: DotClass) -> bool {
    let zero = (0..1u32 << product.w.bits.min(16)).any(|code| decode(product.w, code) == 0);
    let numbers = |format: FormatRef| {
        format.bits <= 8 && (0..1u32 << format.bits).all(|code| f32::from_bits(decode(format, code)).is_finite())
    };
    class == DotClass::Exact && zero && numbers(product.x) && numbers(product.w)
}

/// The best tiles for the weights of the linear node that alone reads `value`, if they beat rows with masks.
pub fn choose(graph: &Graph, machine: &Machine, value: ValueId, room: u64) -> Option<(Tiles, Product)> {
    let Def::Const(w) = &graph.value(value).def else { return None };
    let mask = w.mask.as_ref()?;
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&value));
    let node = readers.next().filter(|node| node.op == Op::Linear && node.inputs[1] == value)?;
    if readers.next().is_some() || node.inputs.iter().filter(|input| **input == value).count() > 1 {
        return None;
    }
    let product = product(graph, node, w)?;
    let class = dot_class(product.x, product.w, node.accumulator).ok()?;
    let mut cells = Cells::of(mask, product.n as usize, product.k as usize);
    let packed = packed(mask, product.n as usize, product.k as usize);
    let mut best: Option<Tiles> = None;
    let mut consider = |tiles: Tiles| {
        let buffers = tiles.buffers(&product);
        let bytes: u64 = buffers.iter().map(|(_, bytes)| bytes.max(&1).next_multiple_of(ALIGN)).sum();
        if bytes <= room && best.is_none_or(|best| tiles.cycles < best.cycles) {
            best = Some(tiles);
        }
    };
    if machine.vector_serves(product.w, product.x) {
        on_registers(machine, &product, &mut cells, packed, &mut consider);
    }
    if machine.array_serves(product.w, product.x) {
        let block = if zeros_do(&product, class) { None } else { Some(smallest(mask)) };
        on_array(machine, &product, &mut cells, block, &mut consider);
    }
    let rows = tile::choose(machine, &product, room).map_or(u64::MAX, |tiling| tiling.cycles);
    best.filter(|tiles| tiles.cycles < rows).map(|tiles| (tiles, product))
}

/// The blocks that live or die together.
fn smallest(mask: &Mask) -> (u64, u64) {
    match mask.sparsity {
        Sparsity::Block { rows, cols, .. } => (rows.into(), cols.into()),
        _ => (1, 1),
    }
}

/// N and M, if exactly N of every M elements of all rows are live.
fn packed(mask: &Mask, n: usize, k: usize) -> Option<(u64, u64)> {
    let Sparsity::Pattern { n: live, m } = mask.sparsity else { return None };
    let whole = k.is_multiple_of(m as usize) && CELL.is_multiple_of(m as usize);
    (whole && mask.live_count() == n * k / m as usize * live as usize).then_some((live.into(), m.into()))
}

/// What a candidate costs beside its multiplications: cycles of issue of a live tile, and of `bh` outputs.
const TILE_ISSUE: u64 = 12;
const GROUP_ISSUE: u64 = 24;
const EPILOGUE_ISSUE: u64 = 120;

fn on_registers(
    machine: &Machine,
    product: &Product,
    cells: &mut Cells,
    packed: Option<(u64, u64)>,
    consider: &mut impl FnMut(Tiles),
) {
    let vlen = u64::from(machine.vlen_bits);
    let (w_bits, x_bits) = (u64::from(product.w.container_bits), u64::from(product.x.container_bits));
    let cell = CELL as u64;
    for nl in sizes(product.n.next_power_of_two(), u64::from(machine.acc_cols.min(machine.scale_entries())).min(64)) {
        let pitch = 1u64 << (vlen / (nl * w_bits)).min(vlen / x_bits).max(1).ilog2();
        // The view of setmac must be whole in bytes and wide enough for a cell.
        if nl * pitch * w_bits > vlen || pitch < cell {
            continue;
        }
        for kt in (cell.ilog2()..=pitch.ilog2()).map(|power| 1u64 << power).filter(|kt| *kt < 2 * product.k) {
            if product.k.div_ceil(kt) > vlen {
                continue;
            }
            for groups in [1, 2, 4] {
                let &(ref tiles, full) = cells.tiles(groups * nl, kt);
                let packed = packed.filter(|_| !full);
                let codes = packed.map_or(kt, |(n, m)| kt * n / m) * u64::from(product.w.bits) / 8;
                let row = codes + if full { 0 } else { kt / 8 };
                let macs = machine.mac_cycles(nl * kt, product.w, product.x);
                let loads = machine.move_cycles(nl * kt * w_bits / 8, nl)
                    + if full { 0 } else { machine.move_cycles(nl * kt.div_ceil(8), nl) };
                let x_load = machine.load_cycles(kt * x_bits / 8);
                let cost = |mt: u64| (groups * mt * macs).max(groups * loads + mt * x_load);
                let each = 1 + u64::from(!full);
                let issue = |mt: u64| TILE_ISSUE + groups * each + mt * (2 + groups);
                let geometry = Tiles {
                    path: Path::Vector,
                    groups,
                    nl,
                    kt,
                    masked: !full,
                    blocks: None,
                    packed,
                    mt: 0,
                    nt: 0,
                    row,
                    codes,
                    longest: 0,
                    cycles: 0,
                };
                candidates(machine, product, tiles, geometry, (&cost, &issue), consider);
            }
        }
    }
}

/// `block` is the size of blocks that must be left out of a tile; `None` if zeros may stand in for them.
fn on_array(
    machine: &Machine,
    product: &Product,
    cells: &mut Cells,
    block: Option<(u64, u64)>,
    consider: &mut impl FnMut(Tiles),
) {
    let cell = CELL as u64;
    let most = u64::from(machine.acc_cols).min(u64::from(machine.scale_entries())).min(256);
    let deepest = product.k.next_multiple_of(cell).min(4096);
    for nl in sizes(product.n.next_power_of_two(), most).filter(|nl| *nl >= 8) {
        for kt in (cell.ilog2()..=deepest.ilog2()).map(|power| 1u64 << power) {
            if product.k.div_ceil(kt) > u64::from(machine.vlen_bits) {
                continue;
            }
            let &(ref tiles, full) = cells.tiles(nl, kt);
            let inside = |size: u64, tile: u64| if size.is_multiple_of(tile) { tile } else { size };
            let blocks = block.filter(|_| !full).map(|(rows, cols)| (inside(rows, nl), inside(cols, kt)));
            let fits = |(rows, cols): (u64, u64)| {
                nl.is_multiple_of(rows)
                    && kt.is_multiple_of(cols)
                    && (cols * u64::from(product.w.bits)).is_multiple_of(8)
                    && (nl / rows) * (kt / cols) <= u64::from(machine.vlen_bits)
            };
            if !blocks.is_none_or(fits) {
                continue;
            }
            let issue = TILE_ISSUE + if blocks.is_some() { 7 } else { 0 };
            let codes = kt * u64::from(product.w.bits) / 8;
            let cost = |mt: u64| machine.array_tile_cycles(mt, nl, kt.min(product.k), product.w, product.x);
            let geometry = Tiles {
                path: Path::Array,
                groups: 1,
                nl,
                kt,
                masked: false,
                blocks,
                packed: None,
                mt: 0,
                nt: 0,
                row: codes,
                codes,
                longest: 0,
                cycles: 0,
            };
            candidates(machine, product, tiles, geometry, (&cost, &|_| issue), consider);
        }
    }
}

/// Every mt and nt for tiles of one geometry; `cost` is the compute of a live tile, `issue` its instructions.
fn candidates(
    machine: &Machine,
    product: &Product,
    tiles: &[u32],
    geometry: Tiles,
    (cost, issue): (&dyn Fn(u64) -> u64, &dyn Fn(u64) -> u64),
    consider: &mut impl FnMut(Tiles),
) {
    let bh = geometry.bh();
    let across = product.k.div_ceil(geometry.kt) as usize;
    let live: Vec<u64> = tiles.chunks(across).map(|row| row.iter().filter(|live| **live > 0).count() as u64).collect();
    let all: u64 = live.iter().sum();
    let scales = u64::from(machine.scale_entries());
    let whole = product.n.next_multiple_of(bh);
    for mt in sizes(product.m, u64::from(machine.acc_rows).min(scales)) {
        for nt in [bh, whole.min((256 / bh).max(1) * bh)] {
            let longest = live.chunks((nt / bh) as usize).map(|rows| rows.iter().sum::<u64>()).max().unwrap_or(0);
            let passes = product.m.div_ceil(mt);
            let groups = live.len() as u64;
            let compute = passes * (all * cost(mt) + groups * machine.fold_cycles(mt * bh));
            let issued = passes
                * (all * issue(mt)
                    + groups * (GROUP_ISSUE + 6 * geometry.groups)
                    + product.n.div_ceil(nt) * EPILOGUE_ISSUE);
            let bytes = product.m * product.x_row() + passes * all * geometry.tile_bytes() + 4 * product.m * product.n;
            let cycles = tile::estimate_of(machine, bytes, compute, issued);
            let longest = longest * geometry.tile_bytes();
            consider(Tiles { mt, nt, longest, cycles, ..geometry });
        }
    }
}

impl SparseWeights {
    /// Cuts the weights `w` of `value` into `tiles`; its map goes to `map` in control memory.
    pub fn cut(value: ValueId, w: &Tensor, tiles: Tiles, map: u64) -> Option<SparseWeights> {
        let mask = w.mask.as_ref()?;
        let (n, k) = w.rows_cols();
        let (bh, kt) = (tiles.bh() as usize, tiles.kt as usize);
        let (down, across) = (n.div_ceil(bh), k.div_ceil(kt));
        let (counts, _) = Cells::of(mask, n, k).count(tiles.bh(), tiles.kt);
        let map_row = across.div_ceil(8);
        let table = (down * map_row).next_multiple_of(8);
        let mut control = vec![0; table];
        let mut payload = Vec::new();
        let mut blocks: Vec<u8> = Vec::new();
        let mut starts = Vec::new();
        for i in 0..down {
            if (i * bh).is_multiple_of(tiles.nt as usize) {
                starts.push(payload.len() as u64);
            }
            for j in (0..across).filter(|j| counts[i * across + j] > 0) {
                control[i * map_row + j / 8] |= 1 << (j % 8);
                let rows = (i * bh..(i + 1) * bh).map(|row| (row < n).then_some(row));
                rows.for_each(|row| tiles.push_row(&mut payload, w, mask, row, j * kt..((j + 1) * kt).min(k)));
                tiles.push_blocks(&mut blocks, mask, i * bh..((i + 1) * bh).min(n), j * kt..((j + 1) * kt).min(k));
            }
        }
        let ends = starts.iter().skip(1).copied().chain([payload.len() as u64]);
        for (start, end) in starts.iter().zip(ends) {
            control.extend(start.to_le_bytes());
            control.extend((end - start).to_le_bytes());
        }
        let (live, all) = (payload.len() as u64 / tiles.tile_bytes().max(1), (down * across) as u64);
        let (map_row, table, bits) = (map_row as u64, map + table as u64, map + control.len() as u64);
        control.extend(blocks);
        Some(SparseWeights { value, tiles, live, all, map, map_row, table, bits, control, payload })
    }
}

impl Tiles {
    /// The bits of the blocks of a tile of the elements `rows` x `cols`, in the order of `mm.w`.
    fn push_blocks(&self, to: &mut Vec<u8>, mask: &Mask, rows: Range<usize>, cols: Range<usize>) {
        let Some((height, width)) = self.blocks else { return };
        let start = to.len();
        to.resize(start + self.block_bits().div_ceil(8) as usize, 0);
        let across = cols.len().div_ceil(width as usize);
        for (i, row) in rows.step_by(height as usize).enumerate() {
            let live = |j: &usize| mask.live(row, cols.start + j * width as usize);
            (0..across).filter(live).map(|j| i * across + j).for_each(|at| to[start + at / 8] |= 1 << (at % 8));
        }
    }

    /// One row of a tile: the codes of the columns `cols` of row `row` (zeros beyond the last), and their bits.
    fn push_row(&self, to: &mut Vec<u8>, w: &Tensor, mask: &Mask, row: Option<usize>, cols: Range<usize>) {
        let start = to.len();
        to.resize(start + self.row as usize, 0);
        let Some(row) = row else {
            // Beyond the last output: packed rows still have as many live elements as their codes.
            if let Some((n, m)) = self.packed {
                let live = (0..cols.len() as u64).filter(|at| at % m < n);
                live.for_each(|at| to[start + (self.codes + at / 8) as usize] |= 1 << (at % 8));
            }
            return;
        };
        let (codes, bits) = to[start..].split_at_mut(self.codes as usize);
        let mut at = 0;
        for (i, col) in cols.enumerate() {
            let live = mask.live(row, col);
            if self.packed.is_none() || live {
                pack::set(w.ty.format, codes, at, pack::get(w.ty.format, w.row(row), col));
                at += 1;
            }
            if self.masked && live {
                bits[i / 8] |= 1 << (i % 8);
            }
        }
    }
}
