//! Convolutions of whole images, for arrays with two sets of sums: a call holds all of its images in SRAM, reads weights once
//! for all of them, and sums some tiles while it finishes others (`conv-whole`).

use super::conv::{Host, MOST_EXTENT, Places, Types, bytes, depth, side};
use super::strips::{narrowed, shifted};
use crate::compile::place::ALIGN;
use crate::compile::stream::Pieces;
use crate::compile::tile::sizes;
use crate::machine::Machine;
use crate::workload::Conv;
use std::collections::VecDeque;

/// Tiles of a round, and accumulator tiles that the kernel uses.
const ROUND: u64 = 4;
const TILES: u32 = 8;
/// Most calls of a layer: each has parameters of its own.
const MOST_CALLS: u64 = 64;
/// Cycles of issue of a piece of weights, and of a tile that meets it, within a round.
const ISSUE: [u64; 2] = [24, 10];
/// The same where a round begins, of a tile that is finished, but for its narrowing, and of a piece that is asked for.
const ROUND_ISSUE: u64 = 12;
const FINISH_ISSUE: u64 = 10;
const FETCH_ISSUE: u64 = 41;
/// Cycles of issue of a call before its first transfer, and from there to its first sums.
const START: u64 = 70;

/// A convolution in calls of whole images.
pub(super) struct Plan {
    /// Images of a call; pixels and channels of a tile; terms of a piece of weights.
    images: u64,
    mt: u64,
    nt: u64,
    pub kt: u64,
    /// Terms of a piece where all weights are there.
    kt_there: u64,
    /// Cycles by the rule that ranks tilings.
    pub cycles: u64,
    pub buffers: Vec<(&'static str, u64)>,
}

fn buffers(conv: &Conv, types: &Types, images: u64, [mt, nt]: [u64; 2]) -> Vec<(&'static str, u64)> {
    let weights = nt * bytes(types.w, depth(conv));
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
pub(super) fn plan(conv: &Conv, types: &Types, host: Host<'_>) -> Option<Plan> {
    let Host { machine, room, .. } = host;
    if machine.acc_sets < 2 || machine.acc_tiles < TILES || conv.groups > 1 || conv.h > MOST_EXTENT {
        return None;
    }
    let (oh, ow) = conv.out();
    let pixels = oh * ow;
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
        let calls = conv.batch.div_ceil(images);
        let least = best.as_ref().map_or(u64::MAX, |best| best.cycles);
        let paces = pieces(conv, machine).map(|kt| Pace::new(conv, types, host, images, [mt, nt, kt]));
        let paces = paces.filter(|pace| calls.saturating_mul(pace.busy()) < least);
        let Some((cycles, kt)) = paces.map(|pace| (calls * pace.cycles(), pace.tile[2])).min() else { continue };
        if best.as_ref().is_none_or(|best| cycles < best.cycles) {
            let kt_there = piece_there(machine, depth(conv));
            let buffers = buffers(conv, types, images, [mt, nt]);
            best = Some(Plan { images, mt, nt, kt, kt_there, cycles, buffers });
        }
    }
    best
}

/// The kernel with a tiling on a machine: its rounds one after the other, each summed while the tiles of the one before it are
/// finished.
struct Pace<'a> {
    conv: &'a Conv,
    types: &'a Types,
    host: Host<'a>,
    images: u64,
    /// Pixels, channels, terms of a piece that is fetched.
    tile: [u64; 3],
    /// Folding a tile, storing it in f32, and narrowing it.
    ends: [u64; 3],
    /// Pieces that are fetched, and those that are there.
    steps: [Steps; 2],
}

/// Pieces of weights that a round walks.
#[derive(Clone, Copy)]
struct Steps {
    pieces: u64,
    /// Of one, and of the last: shifting it in, a tile that meets it, and until the sums of that are there.
    whole: (u64, u64, u64),
    last: (u64, u64, u64),
}

/// Times from which on units and buffers are free.
#[derive(Default)]
struct Clocks {
    issue: u64,
    array: u64,
    /// When weights can be shifted into the array.
    loader: u64,
    finished: u64,
    /// When what the array's queue holds begins.
    queued: VecDeque<u64>,
}

/// Pieces of weights on their way: when the first two are there, how far apart the others come at least, and how long after they
/// are asked for; they are asked for by and by, two ahead, or together (0).
#[derive(Clone, Copy)]
struct Coming {
    first: [u64; 2],
    apart: u64,
    way: u64,
}

/// A round that is summed and waits to be finished: its tiles, when the first is there, and from one to the next.
struct Round {
    tiles: u64,
    first: u64,
    apart: u64,
}

impl<'a> Pace<'a> {
    fn new(conv: &'a Conv, types: &'a Types, host: Host<'a>, images: u64, tile: [u64; 3]) -> Pace<'a> {
        let machine = host.machine;
        let entries = tile[0] * tile[1];
        let fold = machine.fold_cycles(entries) + u64::from(machine.units.s_latency);
        let narrow = if types.direct { 0 } else { narrowed(conv, types, machine, entries) };
        let ends = [fold, machine.move_cycles(4 * entries, tile[0]), narrow];
        let depth = depth(conv);
        let steps = [tile[2], piece_there(machine, depth)].map(|kt| {
            let pieces = depth.div_ceil(kt);
            let [whole, last] =
                [kt.min(depth), depth - (pieces - 1) * kt].map(|tk| shifted(machine, types, [tile[0], tile[1], tk]));
            Steps { pieces, whole, last }
        });
        Pace { conv, types, host, images, tile, ends, steps }
    }

    /// Cycles in which the array sums, at least.
    fn busy(&self) -> u64 {
        let (oh, ow) = self.conv.out();
        let tiles = self.images * (oh * ow / self.tile[0]) * self.conv.k.div_ceil(self.tile[1]);
        let of = |steps: &Steps| (steps.pieces - 1) * steps.whole.1 + steps.last.1;
        tiles * self.steps.iter().map(of).min().unwrap_or(0)
    }

    /// Cycles of a call.
    fn cycles(&self) -> u64 {
        let Pace { conv, types, host, images, tile: [mt, nt, kt], .. } = *self;
        let (oh, ow) = conv.out();
        let of_image = (oh * ow).div_ceil(mt);
        let (groups, pieces) = (conv.k.div_ceil(nt), self.steps[0].pieces);
        let image = Pieces::whole(image_bytes(conv, types));
        let (image, alone) = (host.maps(image), host.alone(image));
        let piece = host.moved(weights(conv, types, nt, kt));
        let engines = u64::from(host.machine.dma.engines).max(1);
        let apart = piece.max((host.way() + piece) / engines).max(FETCH_ISSUE);
        let way = START + host.way() + piece;
        let images_first = ROUND.div_ceil(of_image).min(images) * image;
        let mut coming = Coming { first: [way, way + images_first.max(alone)], apart, way: host.way() + piece };
        let mut clocks = Clocks { issue: 2 * START, ..Clocks::default() };
        let (mut waits, mut most): (Option<Round>, u64) = (None, ROUND);
        for group in 0..groups {
            let all = images * of_image;
            let mut left = all;
            while left > 0 {
                let tiles = left.min(most);
                let met = if group == 0 { way + ((all - left + tiles) * image / of_image).max(alone) } else { 0 };
                let round = self.sum(&mut clocks, tiles, met, (left == all).then_some(coming));
                if left == all && group + 1 < groups {
                    // Those of the next channels are asked for before anything else is issued.
                    let first = clocks.issue + FETCH_ISSUE + host.way() + piece;
                    coming = Coming { first: [first, first + apart], apart, way: 0 };
                    clocks.issue += FETCH_ISSUE * pieces;
                }
                if let Some(before) = waits.replace(round) {
                    self.finish(&mut clocks, &before);
                }
                left -= tiles;
                most = 2 * ROUND - 1 - most;
            }
        }
        if let Some(last) = waits {
            self.finish(&mut clocks, &last);
        }
        let codes = |pixels| host.maps(Pieces::of(bytes(types.y, nt), pixels, bytes(types.y, conv.k)));
        let results = images * codes(oh * ow * groups) * if conv.then.residual { 2 } else { 1 };
        let dram = host.way() + images * image + results + groups * pieces * piece;
        let last = if host.resident { 0 } else { codes(mt) + host.way() };
        clocks.finished.max(dram) + last
    }

    /// Sums a round of so many tiles, whose pixels are there at `met`; in pieces as they are `coming`, or all are there.
    fn sum(&self, clocks: &mut Clocks, tiles: u64, met: u64, coming: Option<Coming>) -> Round {
        let Steps { pieces, whole, last } = self.steps[usize::from(coming.is_none())];
        let queue = self.host.machine.units.m_queue as usize;
        let mut round = Round { tiles, first: 0, apart: 0 };
        clocks.issue += ROUND_ISSUE;
        let (mut ready, mut asked) = (0, [0; 2]);
        for piece in 0..pieces {
            let (load, summed, latency) = if piece + 1 == pieces { last } else { whole };
            if let Some(coming) = coming {
                let asked_for = if coming.way > 0 { asked[0] + coming.way } else { 0 };
                ready = coming.first.get(piece as usize).copied().unwrap_or((ready + coming.apart).max(asked_for));
                asked = [asked[1], clocks.issue];
            }
            let start = clocks.loader.max(ready).max(clocks.issue);
            let sums = (start + load).max(clocks.array).max(met);
            clocks.array = sums + tiles * summed;
            // The next weights are issued behind the last tile.
            clocks.loader = clocks.array - summed;
            round = Round { first: sums + summed + latency, apart: summed, ..round };
            // Weights, and two instructions a tile: what the array's queue does not hold is not issued.
            clocks.queued.push_back(start);
            (0..tiles).for_each(|tile| clocks.queued.extend([sums + tile * summed; 2]));
            clocks.issue += ISSUE[0] + tiles * ISSUE[1];
            while clocks.queued.len() > queue {
                clocks.issue = clocks.issue.max(clocks.queued.pop_front().unwrap_or(0));
            }
        }
        round
    }

    /// Finishes a round: each tile is folded while the one before it is narrowed.
    fn finish(&self, clocks: &mut Clocks, round: &Round) {
        let [fold, stored, narrow] = self.ends;
        let mut there = 0;
        for tile in 0..round.tiles {
            let folded = clocks.issue.max(round.first + tile * round.apart).max(there) + fold;
            if tile > 0 && narrow > 0 {
                clocks.issue = clocks.issue.max(there) + narrow;
            }
            clocks.issue += FINISH_ISSUE;
            there = clocks.issue.max(folded) + stored;
        }
        clocks.finished = clocks.issue.max(there) + narrow;
        if narrow > 0 {
            clocks.issue = clocks.finished;
        }
    }
}

/// Terms of a piece of weights that are there: a piece is shifted in behind the last tile that meets the one before, so
/// smaller ones leave the array waiting less; but a round that does not fit in the array's queue keeps what follows it from
/// being issued.
fn piece_there(machine: &Machine, depth: u64) -> u64 {
    let pieces = (u64::from(machine.units.m_queue) / (2 * ROUND - 1)).max(1);
    depth.div_ceil(pieces).next_multiple_of(side(machine)).min(depth.next_multiple_of(32))
}

/// A piece of weights in memory, where each lies by itself.
fn weights(conv: &Conv, types: &Types, nt: u64, kt: u64) -> Pieces {
    Pieces::whole(nt * bytes(types.w, kt.min(depth(conv))))
}

/// Terms of a piece of weights that is fetched: all of a window, or sides of the array.
fn pieces(conv: &Conv, machine: &Machine) -> impl Iterator<Item = u64> {
    let depth = depth(conv);
    let shorter = std::iter::successors(Some(side(machine)), |kt| Some(2 * kt)).take_while(move |kt| *kt < depth);
    shorter.chain([depth.next_multiple_of(32)])
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

#[cfg(test)]
mod tests {
    use super::super::{Formats, Program, compile};
    use crate::compile::Options;
    use crate::compile::place::{ALIGN, PAGE, dram_align};
    use crate::diag::Result;
    use crate::exec::{Config, Mode, Vm};
    use crate::machine::{Machine, load_with};
    use crate::num::{Accumulator, format};
    use crate::tensor::{Scaling, TensorType};
    use crate::workload::{Act, Conv, Epilogue, Kind};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// `hbm` with so many sets of sums.
    fn machine(sets: u32, more: &[(&str, &str)]) -> Machine {
        let sets = [("core.acc.sets".to_owned(), sets.to_string())];
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        load_with("hbm", &sets.into_iter().chain(more).collect::<Vec<_>>()).unwrap()
    }

    fn program(conv: &Conv, outputs: &str, machine: &Machine) -> Result<Program> {
        let plain = |name| TensorType::plain(format::find(name).unwrap());
        let int8 = plain("int8");
        let formats = Formats {
            weights: TensorType { scaling: Scaling::Row, ..int8 },
            inputs: int8,
            outputs: plain(outputs),
            attention: int8,
            kv: int8,
            accumulator: Accumulator::default(),
        };
        compile(&Kind::Conv(*conv), &formats, machine, &Options::default(), &mut Default::default())
    }

    /// Where operands lie: weights, bias, scales, image, residual; as far as they are there, as in DRAM.
    fn places(conv: &Conv, pixels: u64) -> [u64; 5] {
        let sizes = [
            conv.k * conv.c * conv.r * conv.s,
            if conv.then.bias { 4 * conv.k } else { 0 },
            4 * conv.k,
            conv.batch * conv.h * conv.w * conv.c,
            conv.batch * pixels * conv.k,
        ];
        let mut at = PAGE;
        sizes.map(|size| {
            let from = at.next_multiple_of(dram_align(size));
            at = (from + size).next_multiple_of(ALIGN);
            from
        })
    }

    /// A byte of weights, image and residual: a small number.
    fn small(at: u64) -> i8 {
        (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as i8 - 3
    }

    fn bias(k: u64) -> f32 {
        (k % 5) as f32 * -2.0 + 0.5
    }

    fn scale(k: u64) -> f32 {
        (k % 5) as f32 * 0.25 + 0.5
    }

    /// The result's bytes.
    fn run(conv: &Conv, program: &Program, machine: &Machine, result: u64) -> Vec<u8> {
        let config = Config { dram_bytes: program.dram_end, ..Config::of(machine) };
        let mut vm = Vm::new(program.object.clone(), config, Mode::Functional).unwrap();
        let bytes: Vec<u8> = (0..program.dram_end).map(|at| small(at) as u8).collect();
        vm.write(0, &bytes).unwrap();
        let [_, biases, scales, ..] = places(conv, 0);
        let floats = |of: fn(u64) -> f32| (0..conv.k).flat_map(|k| of(k).to_le_bytes()).collect::<Vec<u8>>();
        if conv.then.bias {
            vm.write(biases, &floats(bias)).unwrap();
        }
        vm.write(scales, &floats(scale)).unwrap();
        vm.run().unwrap();
        vm.read(program.output, result).unwrap().to_vec()
    }

    /// The same by definition, of weights in panels of so many terms.
    fn plain(conv: &Conv, panel: u64, wide: bool) -> Vec<u8> {
        let (oh, ow) = conv.out();
        let [weights, _, _, image, residual] = places(conv, oh * ow);
        let depth = conv.r * conv.s * conv.c;
        let weight = |k: u64, term: u64| {
            let first = term / panel * panel;
            small(weights + first * conv.k + k * panel.min(depth - first) + (term - first))
        };
        let mut bytes = Vec::new();
        for at in 0..conv.batch * oh * ow * conv.k {
            let (k, pixel) = (at % conv.k, at / conv.k);
            let (ox, oy, of) = (pixel % ow, pixel / ow % oh, pixel / ow / oh);
            let mut sum = 0;
            for term in 0..depth {
                let (c, s, r) = (term % conv.c, term / conv.c % conv.s, term / conv.c / conv.s);
                let (y, x) =
                    ((oy * conv.stride + r).wrapping_sub(conv.pad), (ox * conv.stride + s).wrapping_sub(conv.pad));
                if y < conv.h && x < conv.w {
                    let code = small(image + ((of * conv.h + y) * conv.w + x) * conv.c + c);
                    sum += i32::from(code) * i32::from(weight(k, term));
                }
            }
            let mut value = sum as f32 * scale(k) + if conv.then.bias { bias(k) } else { 0.0 };
            if conv.then.residual {
                value += f32::from(small(residual + at));
            }
            if conv.then.act.is_some() {
                value = value.max(0.0);
            }
            match wide {
                true => {
                    // bf16: to nearest even.
                    let bits = value.to_bits();
                    bytes.extend_from_slice(&(bits + 0x7fff + (bits >> 16 & 1)).to_le_bytes()[2..]);
                }
                false => bytes.push(value.round_ties_even().clamp(-128.0, 127.0) as i8 as u8),
            }
        }
        bytes
    }

    /// Says where a program's values are not those wanted.
    fn wrong(conv: &Conv, program: &Program, machine: &Machine, wanted: &[u8]) -> Option<String> {
        let got = run(conv, program, machine, wanted.len() as u64);
        let first = (0..wanted.len()).find(|at| got[*at] != wanted[*at])?;
        Some(format!("{:?}: wrong from byte {first} of {} on", program.kernels, wanted.len()))
    }

    #[test]
    fn values_are_those_by_definition() {
        let then = |bias, residual, act| Epilogue { bias, residual, act };
        let conv = |batch, h, c, k, r, stride, pad, then| {
            let (w, s, dilation, groups) = (h + 1, r, 1, 1);
            Conv { batch, h, w, c, k, r, s, stride, pad, dilation, groups, then }
        };
        let cases = [
            (conv(1, 24, 3, 40, 3, 1, 1, then(true, false, Some(Act::Relu))), "int8"),
            (conv(9, 15, 16, 32, 3, 2, 1, then(true, true, None)), "int8"),
            (conv(3, 23, 8, 300, 1, 1, 0, then(false, false, None)), "bf16"),
            (conv(2, 13, 40, 24, 5, 1, 2, then(false, true, Some(Act::Relu))), "int8"),
            // In little SRAM the windows of this one come in pieces.
            (conv(1, 9, 160, 90, 5, 1, 2, then(true, true, Some(Act::Relu))), "int8"),
        ];
        let mut seen = 0;
        for (conv, outputs) in cases {
            // Less SRAM: fewer images a call, or fewer channels a tile.
            for (sets, sram, vlen) in [1, 2].iter().flat_map(|sets| {
                [("2097152", "512"), ("2097152", "4096"), ("65536", "4096")].map(|(sram, vlen)| (*sets, sram, vlen))
            }) {
                let machine = machine(sets, &[("sram.own.bytes", sram), ("core.vlen_bits", vlen)]);
                let program = program(&conv, outputs, &machine).unwrap();
                seen += u32::from(program.kernels == ["conv-whole"]);
                let wanted = plain(&conv, program.panel.unwrap(), outputs == "bf16");
                assert_eq!(wrong(&conv, &program, &machine, &wanted), None, "{conv:?} in {sram}, VLEN {vlen}");
            }
        }
        assert!(seen >= 9, "only {seen} of 15 ran whole images");
    }

    #[test]
    fn values_of_random_convolutions_are_those_by_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut ran = 0;
        while ran < 40 {
            let [h, w] = [(); 2].map(|()| rng.random_range(1..20));
            let (r, s, c, k) =
                (rng.random_range(1..6), rng.random_range(1..4), rng.random_range(1..80), rng.random_range(1..70));
            let act = rng.random_bool(0.5).then_some(Act::Relu);
            let wide = rng.random_bool(0.3);
            // The residual is read as int8.
            let then = Epilogue { bias: rng.random_bool(0.5), residual: !wide && rng.random_bool(0.3), act };
            let (batch, stride, pad) = (rng.random_range(1..4), rng.random_range(1..3), rng.random_range(0..=r / 2));
            let conv = Conv { batch, h: h + r, w: w + s, c, k, r, s, stride, pad, dilation: 1, groups: 1, then };
            let (sets, sram) = (rng.random_range(1..3), [16_384, 32_768, 65_536, 1 << 20][rng.random_range(0..4)]);
            let machine = machine(sets, &[("sram.own.bytes", &format!("{sram}"))]);
            let Ok(program) = program(&conv, if wide { "bf16" } else { "int8" }, &machine) else { continue };
            ran += 1;
            let wanted = plain(&conv, program.panel.unwrap(), wide);
            assert_eq!(wrong(&conv, &program, &machine, &wanted), None, "{conv:?} in {sram}");
        }
    }

    /// Small images whose tiles share the weights of a round: strips would load them for every image.
    #[test]
    fn images_that_share_weights_run_whole() {
        let then = Epilogue::default();
        let conv =
            Conv { batch: 5, h: 4, w: 4, c: 512, k: 256, r: 3, s: 3, stride: 1, pad: 1, dilation: 1, groups: 1, then };
        assert_eq!(program(&conv, "int8", &machine(2, &[])).unwrap().kernels, ["conv-whole"]);
    }
}
