//! Convolutions of whole images, for arrays with two sets of sums: a call holds all of its images in SRAM, reads weights once
//! for all of them, and sums some tiles while it finishes others (`conv-whole`).

use super::conv::{Places, Types, bytes};
use crate::compile::place::ALIGN;
use crate::compile::tile::{estimate_of, sizes};
use crate::machine::Machine;
use crate::workload::Conv;

/// Tiles of a round, and accumulator tiles that the kernel uses.
const ROUND: u64 = 4;
const TILES: u32 = 8;
/// Most calls of a layer: each has parameters of its own.
const MOST_CALLS: u64 = 64;
/// Cycles of issue of a piece of weights, and of a tile that meets it, within a round.
const ISSUE: [u64; 2] = [24, 10];

/// A convolution in calls of whole images.
pub(super) struct Plan {
    /// Images of a call; pixels and channels of a tile; terms of a piece of weights.
    images: u64,
    mt: u64,
    nt: u64,
    kt: u64,
    /// Terms of a piece where all weights are there.
    kt_there: u64,
    /// Cycles by the rule that ranks tilings.
    pub cycles: u64,
    pub buffers: Vec<(&'static str, u64)>,
}

fn buffers(conv: &Conv, types: &Types, images: u64, [mt, nt]: [u64; 2]) -> Vec<(&'static str, u64)> {
    let weights = nt * bytes(types.w, conv.c * conv.r * conv.s);
    let tile = mt * bytes(types.y, nt);
    vec![
        ("bx", images * image_bytes(conv, types)),
        ("bw0", weights),
        ("bw1", if nt < conv.k { weights } else { 0 }),
        ("bs", 8 * conv.k),
        ("bt", if types.direct { 0 } else { 4 * mt * nt }),
        ("bres", if conv.then.residual { tile } else { 0 }),
        ("by0", tile),
        ("by1", tile),
    ]
}

fn image_bytes(conv: &Conv, types: &Types) -> u64 {
    conv.h * conv.w * bytes(types.x, conv.c)
}

/// The best calls and tiles that fit; nothing where the kernel does not serve the convolution or not even one image fits.
pub(super) fn plan(conv: &Conv, types: &Types, machine: &Machine, resident: bool, room: u64) -> Option<Plan> {
    if machine.acc_sets < 2 || machine.acc_tiles < TILES || conv.groups > 1 {
        return None;
    }
    let (oh, ow) = conv.out();
    let (pixels, depth) = (oh * ow, conv.c * conv.r * conv.s);
    let scales = u64::from(machine.scale_entries());
    // All tiles that the kernel uses have room in the sets together.
    let rows = u64::from(machine.acc_rows) * u64::from(machine.acc_sets) / u64::from(TILES);
    let most = pixels.min(rows.max(1)).min(scales);
    // Tiles of about one size.
    let mt = pixels.div_ceil(pixels.div_ceil(most));
    let mut best: Option<Plan> = None;
    for nt in sizes(conv.k, u64::from(machine.acc_cols).min(scales)) {
        if nt < conv.k && !(nt * u64::from(types.y.bits)).is_multiple_of(8) {
            continue;
        }
        let beside = buffers(conv, types, 0, [mt, nt]);
        let beside: u64 = beside.iter().map(|(_, bytes)| bytes.max(&1).next_multiple_of(ALIGN)).sum();
        let images = (room.saturating_sub(beside) / ALIGN * ALIGN / image_bytes(conv, types)).min(conv.batch);
        if images == 0 || conv.batch.div_ceil(images) > MOST_CALLS {
            continue;
        }
        let images = conv.batch.div_ceil(conv.batch.div_ceil(images));
        let (calls, outputs) = (conv.batch.div_ceil(images), conv.k.div_ceil(nt));
        let tiles = images * pixels.div_ceil(mt) * outputs;
        let (kt, exposed) = piece(conv, types, machine, nt, tiles);
        let pieces = tiles * depth.div_ceil(kt);
        let compute = pieces * machine.array_tile_cycles(mt, nt, kt.min(depth), types.w, types.x);
        let y = conv.batch * pixels * bytes(types.y, conv.k) * if conv.then.residual { 2 } else { 1 };
        let maps = if resident { 0 } else { conv.batch * image_bytes(conv, types) + y };
        let moved = calls * conv.k * bytes(types.w, depth) + maps;
        let issue = calls * (pieces * (ISSUE[0] / ROUND + ISSUE[1]) + tiles * 60);
        let cycles = estimate_of(machine, moved, calls * compute, issue) + calls * exposed;
        if best.as_ref().is_none_or(|best| cycles < best.cycles) {
            let kt_there = piece_there(machine, depth);
            let buffers = buffers(conv, types, images, [mt, nt]);
            best = Some(Plan { images, mt, nt, kt, kt_there, cycles, buffers });
        }
    }
    best
}

/// Rows of the array, in whole bytes of every format.
fn side(machine: &Machine) -> u64 {
    machine.array.as_ref().map_or(32, |array| u64::from(array.rows).next_multiple_of(32))
}

/// Terms of a piece of weights that are there: a piece is shifted in behind the last tile that meets the one before, so
/// smaller ones leave the array waiting less; but a round that does not fit in the array's queue keeps what follows it from
/// being issued.
fn piece_there(machine: &Machine, depth: u64) -> u64 {
    let pieces = (u64::from(machine.units.m_queue) / (2 * ROUND - 1)).max(1);
    depth.div_ceil(pieces).next_multiple_of(side(machine)).min(depth.next_multiple_of(32))
}

/// Terms of a piece, and what nothing hides of it: the first piece is waited for, and every piece is issued in every round.
fn piece(conv: &Conv, types: &Types, machine: &Machine, nt: u64, tiles: u64) -> (u64, u64) {
    let depth = conv.c * conv.r * conv.s;
    let price = |kt: u64| {
        let first = (nt * bytes(types.w, kt)) as f64 / machine.dram.bytes_per_cycle;
        let issue = depth.div_ceil(kt) * (tiles.div_ceil(ROUND) * ISSUE[0] + tiles * ISSUE[1]);
        (kt, first as u64 + issue)
    };
    let whole = price(depth.next_multiple_of(32));
    let pieces = std::iter::successors(Some(side(machine)), |kt| Some(2 * kt)).take_while(|kt| *kt < depth).map(price);
    pieces.chain([whole]).min_by_key(|(_, cycles)| *cycles).unwrap_or(whole)
}

impl Plan {
    /// The parameters of each call, without those of buffers. `had` says that the first piece of weights is there, `w_next` where
    /// those of an equal layer behind this one lie; 0 without one.
    pub fn calls(
        &self,
        conv: &Conv,
        types: &Types,
        at: &Places,
        (had, w_next): (bool, u64),
    ) -> Vec<Vec<(&'static str, u64)>> {
        let (oh, ow) = conv.out();
        let (x_image, y_image) = (image_bytes(conv, types), oh * ow * bytes(types.y, conv.k));
        let pixels = oh * ow;
        let first = ROUND.div_ceil(pixels.div_ceil(self.mt));
        let starts = (0..conv.batch).step_by(self.images as usize);
        let call = |start: u64| {
            let images = self.images.min(conv.batch - start);
            let x = at.x + start * x_image;
            let mut params = vec![
                ("images", images),
                ("x_image", x_image),
                ("y_image", y_image),
                ("first", first.min(images)),
                ("p", pixels),
                ("mt", self.mt),
                ("nt", self.nt),
                ("n", conv.k),
                ("kt", self.kt),
                ("kt_there", self.kt_there),
                ("x", x),
                ("x_next", x),
                ("had", u64::from(had && start == 0)),
                ("w_next", if start + images == conv.batch { w_next } else { 0 }),
                ("res", if at.res == 0 { 0 } else { at.res + start * y_image }),
                ("y", at.y + start * y_image),
            ];
            // Slots of the kernel.
            params.extend(["step", "waits", "waits_m", "waits_y"].map(|name| (name, 0)));
            params.extend(at.shared(conv, types));
            params
        };
        starts.map(call).collect()
    }
}
