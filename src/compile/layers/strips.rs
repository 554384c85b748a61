//! Convolutions in strips of the image (`conv-strips`): how large strips and tiles are, and how long they take.

use super::conv::{Host, MOST_EXTENT, Places, Types, bytes, depth, of_group, side};
use crate::compile::place::ALIGN;
use crate::compile::stream::Pieces;
use crate::compile::tile::{DEEPEST, about, extents, sizes};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::array::Tile;
use crate::workload::{Act, Conv};
use std::cell::Cell;

/// A convolution on the array, one group after the other, with its buffers in SRAM.
pub(super) struct Plan {
    /// Output rows of a strip, pixels and channels of a tile, terms of a piece of the window.
    sr: u64,
    mt: u64,
    nt: u64,
    pub kt: u64,
    /// Pieces of weights are fetched for every tile of pixels; if not, whole windows are there.
    pub fetched: bool,
    /// Cycles by the rule that ranks tilings.
    pub cycles: u64,
    /// Ranges of SRAM: parameter, bytes.
    pub buffers: [(&'static str, u64); 9],
}

/// The rule that ranks tilings is exact to about such a part.
const EXACT: u64 = 32;
/// Instructions of a piece of weights that is fetched, and of one that is there.
const PIECE_ISSUE: [u64; 2] = [42, 18];
/// Cycles of issue of a strip, and of its tiles of channels.
const STRIP_ISSUE: [u64; 2] = [60, 40];
/// Cycles of issue around a tile that nothing hides.
const TILE_ISSUE: u64 = 40;
/// The same around its narrowing.
const NARROW_ISSUE: u64 = 40;

/// Rows of the image that a strip of `sr` output rows needs at most.
fn strip_rows(conv: &Conv, sr: u64) -> u64 {
    let reach = (conv.r - 1) * conv.dilation + 1;
    // The first row is rounded down to a multiple of the stride.
    ((sr - 1) * conv.stride + reach + conv.stride - 1).min(conv.h)
}

/// Rows of strips of about one size, each about half of the one before, down to one row.
fn heights(rows: u64) -> Vec<u64> {
    let halved = (0..63).map(|power| 1 << power).take_while(|strips| *strips < rows);
    let mut all: Vec<u64> = halved.map(|strips| rows.div_ceil(strips)).chain([1]).collect();
    all.dedup();
    all
}

/// The best strips and tiles that fit: of those that take about the least time the ones that ask SRAM for the fewest bytes.
///
/// # Errors
/// Unsupported if not even the smallest do.
pub(super) fn plan(conv: &Conv, types: &Types, host: Host<'_>) -> Result<Plan> {
    let Host { machine, room, .. } = host;
    let (_, n) = of_group(conv);
    let (oh, ow) = conv.out();
    let depth = depth(conv);
    let scales = u64::from(machine.scale_entries());
    let mt = (oh * ow).min(u64::from(machine.acc_rows)).min(scales);
    let (mut found, mut rank, mut least): (Vec<(u64, u64, Plan)>, u64, u64) = (Vec::new(), u64::MAX, u64::MAX);
    let shorter =
        || std::iter::successors(Some(side(machine)), |kt| Some(2 * kt)).take_while(|kt| *kt < depth.min(DEEPEST));
    let whole = (depth <= DEEPEST).then_some(depth);
    let there = whole.into_iter().chain(shorter()).map(|kt| (kt, false));
    let ways: Vec<(u64, bool)> = there.chain(shorter().map(|kt| (kt, true))).collect();
    let heights = heights(oh);
    for nt in sizes(n, u64::from(machine.acc_cols).min(scales)) {
        if nt < n && !(nt * u64::from(types.y.bits)).is_multiple_of(8) {
            continue;
        }
        for (kt, fetched) in ways.iter().copied() {
            let pace = Pace { conv, types, host, fetched, tile: [mt, nt, kt], last: Cell::default() };
            if pace.bytes(1) > room {
                least = least.min(pace.bytes(1));
                continue;
            }
            // What no strips spare.
            let tiles = (oh * ow / mt) * (n / nt) * conv.batch * conv.groups;
            let sums = tiles.saturating_mul(pace.tile(mt, nt));
            for sr in heights.iter().copied() {
                if sums > about(rank, EXACT) {
                    break;
                }
                if pace.bytes(sr) > room {
                    continue;
                }
                let cycles = pace.cycles(sr);
                // Pieces are fetched where that is clearly faster: they are read again and again.
                let of = if fetched { cycles.saturating_add(cycles / 16) } else { cycles };
                rank = rank.min(of);
                found.push((of, pace.bytes(sr), Plan { sr, mt, nt, kt, fetched, cycles, buffers: pace.buffers(sr) }));
            }
        }
    }
    let near = found.into_iter().filter(|(of, ..)| *of <= about(rank, EXACT));
    let best = near.min_by_key(|(of, bytes, _)| (*bytes, *of));
    best.map(|(.., plan)| plan).ok_or_else(|| {
        if least == u64::MAX {
            return Error::unsupported(format!("a strip of the image has more than the {MOST_EXTENT} rows that windows on the array have"))
                .code("E0403");
        }
        Error::unsupported(format!(
            "does not fit: the smallest strip and weights of the convolution need {least} bytes of SRAM, {} has {room} for it",
            machine.name
        ))
        .code("E0401")
        .help("use a machine with more SRAM, or narrower formats")
    })
}

/// What follows the sums of a tile before those of the next are issued.
pub(super) fn follows(conv: &Conv, types: &Types, machine: &Machine, [m, n]: [u64; 2]) -> u64 {
    let entries = m * n;
    let stored = machine.fold_cycles(entries) + machine.move_cycles(4 * entries, m);
    if types.direct {
        return stored;
    }
    stored + narrowed(conv, types, machine, entries)
}

/// Cycles of `narrow_tile`: four registers are worked on while four others are loaded, and what is left goes one by one.
pub(super) fn narrowed(conv: &Conv, types: &Types, machine: &Machine, entries: u64) -> u64 {
    let units = &machine.units;
    let lanes = u64::from(machine.vlen_bits / 32).max(1);
    let [load, store] = [4 * lanes, bytes(types.y, lanes)].map(|bytes| machine.load_cycles(bytes));
    let [plain, special] = [false, true].map(|special| machine.elementwise_cycles(lanes, special));
    let latency = u64::from(units.e_latency);
    let residual = u64::from(conv.then.residual);
    let (bends, act, bent) = match conv.then.act.map(Act::operations) {
        None => (0, 0, 0),
        Some([bends, 0]) => (1, bends * plain, latency),
        Some([_, specials]) => (1, specials * special, u64::from(units.e_special_latency)),
    };
    // Of `count` registers: operations one behind the other as far as they wait, from the first operand to the last store.
    let chain = |count: u64| {
        let more = (count - 1) * act.max(plain);
        residual * 2 * (latency.max(count * plain)) + bent + more + latency + 2
    };
    let moves = 4 * (load + (1 + residual) * store);
    let works = 4 * ((1 + 2 * residual) * plain + act);
    let instructions = 4 * (3 + 3 * residual + bends);
    let queued = 4 * (2 + residual) <= u64::from(units.l_queue);
    let waits = if queued { bent + 3 * act.max(plain) + plain } else { chain(4) };
    let four = moves.max(works).max(instructions).max(waits);
    let read = load + residual * store + u64::from(units.l_latency + machine.own().latency_cycles);
    let registers = entries.div_ceil(lanes);
    NARROW_ISSUE + registers / 4 * four + registers % 4 * (read + chain(1)) + read
}

/// Of a tile on the array: cycles in which its weights are shifted in, in which it is summed, and until its sums are there.
pub(super) fn shifted(machine: &Machine, types: &Types, [m, n, tk]: [u64; 3]) -> (u64, u64, u64) {
    let Some(array) = &machine.array else { return (0, 0, 0) };
    let row_cycles = machine.array_path(types.w, types.x).map_or(1, |path| path.figure);
    let memory = machine.own();
    let (weight_bits, input_bits) = (types.w.bits, types.x.bits);
    let tile = Tile { tm: m, tn: n, tk, first: true, weight_bits, input_bits, ..Tile::default() };
    let cost = array.compute(&tile, row_cycles);
    let read = |rows: u64, bytes: u64| memory.cycles(memory.accesses(rows * bytes, rows));
    let load = match array.load(&tile) {
        0 => 0,
        load => load.max(read(n, bytes(types.w, tk))),
    };
    (load, cost.occupied.max(read(m, bytes(types.x, tk))), cost.latency + u64::from(memory.latency_cycles))
}

/// [`extents`] that occur.
pub(super) fn some(whole: u64, part: u64) -> impl Iterator<Item = (u64, u64)> {
    extents(whole, part).into_iter().filter(|(_, times)| *times > 0)
}

/// The kernel with a tiling on a machine.
struct Pace<'a> {
    conv: &'a Conv,
    types: &'a Types,
    host: Host<'a>,
    fetched: bool,
    /// Pixels, channels, terms of a piece.
    tile: [u64; 3],
    /// Cycles of the tile asked for last: extents, cycles.
    last: Cell<([u64; 2], u64)>,
}

impl Pace<'_> {
    fn strip_bytes(&self, sr: u64) -> u64 {
        let (c, _) = of_group(self.conv);
        strip_rows(self.conv, sr).saturating_mul(self.conv.w * bytes(self.types.x, c))
    }

    fn buffers(&self, sr: u64) -> [(&'static str, u64); 9] {
        let Pace { conv, types, tile: [mt, nt, kt], .. } = *self;
        let (_, n) = of_group(conv);
        let (oh, _) = conv.out();
        let strip = self.strip_bytes(sr);
        let weights = nt * bytes(types.w, if self.fetched { kt } else { depth(conv) });
        let tile = mt * bytes(types.y, nt);
        [
            ("bx0", strip),
            // The next strip, be it of the next image.
            ("bx1", if sr < oh || conv.batch * conv.groups > 1 { strip } else { 0 }),
            ("bw0", weights),
            ("bw1", if nt < n || self.fetched { weights } else { 0 }),
            ("bs", 8 * nt),
            ("bt", if types.direct { 0 } else { 4 * mt * nt }),
            ("bres", if conv.then.residual { tile } else { 0 }),
            ("by0", tile),
            ("by1", tile),
        ]
    }

    /// Bytes of all buffers; all there are where `mm.win` cannot hold the strip.
    fn bytes(&self, sr: u64) -> u64 {
        if strip_rows(self.conv, sr) > MOST_EXTENT {
            return u64::MAX;
        }
        self.buffers(sr).iter().map(|(_, bytes)| bytes.max(&1).next_multiple_of(ALIGN)).sum()
    }

    /// Cycles of a transfer of weights of `n` channels and `k` terms.
    fn fetch(&self, n: u64, k: u64) -> u64 {
        let Pace { types, host: Host { machine, shares, .. }, .. } = *self;
        let piece = Pieces::whole(n * bytes(types.w, k));
        shares.cycles(machine, piece).max(piece.all().div_ceil(u64::from(machine.dma.bytes_per_cycle)))
    }

    /// Until the sums of a tile are there: the first piece of weights is shifted in, then each while the one before is summed.
    fn sums(&self, m: u64, n: u64) -> u64 {
        let Pace { types, host: Host { machine, .. }, .. } = *self;
        let Some(array) = &machine.array else { return 0 };
        let (depth, kt) = (depth(self.conv), self.tile[2]);
        let piece = |tk: u64| shifted(machine, types, [m, n, tk]);
        let count = depth.div_ceil(kt);
        let (load, summed, _) = piece(kt.min(depth));
        let (last_load, last, latency) = piece(depth - (count - 1) * kt);
        let least = match self.fetched {
            true => PIECE_ISSUE[0].max(self.host.way() + self.fetch(n, kt)),
            false => PIECE_ISSUE[1],
        };
        let cycles = if array.weight_buffers > 1 {
            load + (count - 1) * summed.max(load).max(least) + last
        } else {
            (count - 1) * (load + summed).max(least) + last_load + last
        };
        cycles + latency
    }

    fn tile(&self, m: u64, n: u64) -> u64 {
        if let (extents, cycles) = self.last.get()
            && extents == [m, n]
        {
            return cycles;
        }
        let (sums, follows) = (self.sums(m, n), follows(self.conv, self.types, self.host.machine, [m, n]));
        // Tiles that are stored as they are leave issue free for the next sums.
        let cycles = if self.types.direct { sums.max(follows).max(TILE_ISSUE) } else { sums + follows + TILE_ISSUE };
        self.last.set(([m, n], cycles));
        cycles
    }

    /// Cycles of a strip of `rows`, beside which another comes where there is one.
    fn strip(&self, rows: u64, another: bool) -> u64 {
        let Pace { conv, types, tile: [mt, nt, kt], .. } = *self;
        let ((_, n), (_, ow), depth) = (of_group(conv), conv.out(), depth(conv));
        let pixels = rows * ow;
        let (mut compute, mut results, mut scales) = (STRIP_ISSUE[0], 0, 0);
        // Transfers are served in turn, so results wait behind what is fetched: two tiles of them have room meanwhile.
        let ahead = 2 * self.tile(mt.min(pixels), nt);
        let behind = |fetch: u64, work: u64| work + fetch.saturating_sub(ahead.min(work));
        for (channels, times) in some(n, nt) {
            let tiles: u64 = some(pixels, mt).map(|(m, times)| times * self.tile(m, channels)).sum();
            // Those of the next channels come meanwhile, before the results.
            let next = if self.fetched || nt == n { 0 } else { self.host.way() + self.fetch(nt, depth) };
            compute += times * (behind(next, tiles) + STRIP_ISSUE[1]);
            let codes = Pieces::of(bytes(types.y, channels), pixels, bytes(types.y, n));
            results += times * self.host.maps(codes);
            scales += times * 2 * self.host.moved(Pieces::whole(4 * channels));
        }
        let weights = match self.fetched {
            true => pixels.div_ceil(mt) * depth.div_ceil(kt) * self.fetch(n, kt),
            false if nt < n => self.fetch(n, depth),
            false => 0,
        };
        let image = if another { self.host.maps(Pieces::whole(self.strip_bytes(rows))) } else { 0 };
        behind(image, compute).max(weights + scales + image + if conv.then.residual { 2 } else { 1 } * results)
    }

    /// Cycles of the convolution in strips of `sr` rows.
    fn cycles(&self, sr: u64) -> u64 {
        let Pace { conv, types, tile: [mt, nt, kt], .. } = *self;
        let (oh, _) = conv.out();
        let (whole, rest) = (oh / sr, oh % sr);
        let strips = match rest {
            0 => (whole - 1) * self.strip(sr, true) + self.strip(sr, false),
            rest => whole * self.strip(sr, true) + self.strip(rest, false),
        };
        let images = conv.batch * conv.groups;
        let strip = self.host.alone(Pieces::whole(self.strip_bytes(sr)));
        let last = self.host.maps(Pieces::whole(mt * bytes(types.y, nt)));
        let weights = self.fetch(nt, if self.fetched { kt } else { depth(conv) });
        // All weights are loaded once where they are one tile and the same for every image.
        let kept = !self.fetched && conv.groups == 1 && nt == conv.k;
        let loads = if kept { 1 } else { images };
        let cycles = images.saturating_mul(strip + strips + last + 2 * self.host.way());
        cycles.saturating_add(loads.saturating_mul(weights))
    }
}

impl Plan {
    /// The parameters of each call, without those of buffers.
    pub fn calls(&self, conv: &Conv, types: &Types, at: &Places) -> Vec<Vec<(&'static str, u64)>> {
        let (c, n) = of_group(conv);
        let (oh, ow) = conv.out();
        let x_row = conv.w * bytes(types.x, c);
        let (x_image, y_image) = (conv.h * x_row, oh * ow * bytes(types.y, n));
        // Groups change weights, images of a batch do not: groups are the outer loop of a call where there are any.
        let (outer, calls) = if conv.groups > 1 { (conv.groups, conv.batch) } else { (conv.batch, 1) };
        let by_group = |bytes: u64| if conv.groups > 1 { bytes } else { 0 };
        let call = |call: u64| {
            let (x_at, y_at) = (call * outer * x_image, call * outer * y_image);
            let mut params = vec![
                ("outer", outer),
                ("x_outer", x_image),
                ("w_outer", by_group(n * bytes(types.w, c * conv.r * conv.s))),
                ("n_outer", by_group(4 * n)),
                ("y_outer", y_image),
                ("oh", oh),
                ("ow", ow),
                ("sr", self.sr),
                ("mt", self.mt),
                ("nt", self.nt),
                ("kt", self.kt),
                ("n", n),
                ("h", conv.h),
                ("stride", conv.stride),
                ("pad", conv.pad),
                ("reach", (conv.r - 1) * conv.dilation + 1),
                ("x", at.x + x_at),
                ("x_row", x_row),
                ("res", if at.res == 0 { 0 } else { at.res + y_at }),
                ("y", at.y + y_at),
            ];
            params.extend(at.shared(conv, types));
            params
        };
        (0..calls).map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::room;
    use super::*;
    use crate::compile::stream::Shares;
    use crate::workload::Epilogue;

    #[test]
    fn deep_windows_come_in_pieces_where_a_tile_of_their_weights_has_little_room() {
        let then = Epilogue::default();
        let conv = |c, r| Conv {
            batch: 1,
            h: 40,
            w: 40,
            c,
            k: 90,
            r,
            s: r,
            stride: 1,
            pad: r / 2,
            dilation: 1,
            groups: 1,
            then,
        };
        let fetched = |conv: &Conv, sram: &str| {
            let machine = crate::machine::load_with("hbm", &[("sram.own.bytes".into(), sram.into())]).unwrap();
            let int8 = crate::num::format::find("int8").unwrap();
            let types = Types { x: int8, w: int8, y: int8, direct: false };
            let host = Host { machine: &machine, shares: &Shares::default(), resident: false, room: room(&machine) };
            plan(conv, &types, host).unwrap().fetched
        };
        assert!(!fetched(&conv(160, 5), "2097152"));
        assert!(fetched(&conv(160, 5), "131072"));
        assert!(!fetched(&conv(16, 3), "65536"));
    }
}
