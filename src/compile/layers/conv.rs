//! Convolutions and pools: kernels that walk strips of an image, of which every byte is loaded once a strip; or, where sums
//! have room beside others, whole images ([`whole`]).

use super::{Formats, Program, codes, whole};
use crate::compile::link::{Bodies, link};
use crate::compile::lower::{Call, Lowered};
use crate::compile::place::{ALIGN, Arena, Workspace, dram_align};
use crate::compile::tile::{estimate_of, sizes};
use crate::compile::{Layout, Options, not_resident, on_chip};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::num::format::ScaleRule;
use crate::num::{DotClass, FormatRef, dot_class};
use crate::tensor::{Scaling, TensorType};
use crate::workload::{Act, Conv, Pool};
use std::sync::Arc;

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::unsupported(why).code("E0403"))
}

/// Whole bytes of `elements` codes.
pub(super) fn bytes(format: FormatRef, elements: u64) -> u64 {
    (elements * u64::from(format.bits)).div_ceil(8)
}

/// A convolution on the array, one group after the other, with its buffers in SRAM.
pub(super) struct Plan {
    /// Output rows of a strip, pixels and channels of a tile, terms of a piece of the window: all of them, or fewer.
    pub sr: u64,
    pub mt: u64,
    pub nt: u64,
    pub kt: u64,
    /// Cycles by the rule that ranks tilings.
    pub cycles: u64,
    buffers: Vec<(&'static str, u64)>,
}

/// Channels of the image and of the result in a group.
fn of_group(conv: &Conv) -> (u64, u64) {
    (conv.c / conv.groups, conv.k / conv.groups)
}

/// Terms of a window.
fn depth(conv: &Conv) -> u64 {
    of_group(conv).0 * conv.r * conv.s
}

/// Rows of the image that a strip of `sr` output rows needs at most.
fn strip_rows(conv: &Conv, sr: u64) -> u64 {
    let reach = (conv.r - 1) * conv.dilation + 1;
    // The first row is rounded down to a multiple of the stride.
    ((sr - 1) * conv.stride + reach + conv.stride - 1).min(conv.h)
}

fn buffers(conv: &Conv, types: &Types, sr: u64, [mt, nt, kt]: [u64; 3]) -> Vec<(&'static str, u64)> {
    let (c, n) = of_group(conv);
    let (oh, _) = conv.out();
    let strip = strip_rows(conv, sr) * conv.w * bytes(types.x, c);
    let weights = nt * bytes(types.w, kt);
    let tile = mt * bytes(types.y, nt);
    vec![
        ("bx0", strip),
        // The next strip, be it of the next image.
        ("bx1", if sr < oh || conv.batch * conv.groups > 1 { strip } else { 0 }),
        ("bw0", weights),
        ("bw1", if nt < n || kt < depth(conv) { weights } else { 0 }),
        ("bs", 8 * nt),
        ("bt", if types.direct { 0 } else { 4 * mt * nt }),
        ("bres", if conv.then.residual { tile } else { 0 }),
        ("by0", tile),
        ("by1", tile),
    ]
}

/// Largest extent in the record of `mm.win`.
pub(super) const MOST_EXTENT: u64 = 1 << 16;
/// Instructions of a piece of weights.
const PIECE_ISSUE: u64 = 42;

/// Rows of the array, in whole bytes of every format.
pub(super) fn side(machine: &Machine) -> u64 {
    machine.array.as_ref().map_or(32, |array| u64::from(array.rows).next_multiple_of(32))
}

/// Formats of the operands and of the result.
pub(super) struct Types {
    pub x: FormatRef,
    pub w: FormatRef,
    pub y: FormatRef,
    /// Tiles are stored as they are.
    pub direct: bool,
}

/// The best strips and tiles that fit.
fn plan(conv: &Conv, types: &Types, machine: &Machine, resident: bool, room: u64) -> Result<Plan> {
    let (c, n) = of_group(conv);
    let (oh, ow) = conv.out();
    let depth = depth(conv);
    let scales = u64::from(machine.scale_entries());
    let mt = (oh * ow).min(u64::from(machine.acc_rows)).min(scales);
    let (mut best, mut rank, mut least): (Option<Plan>, u64, u64) = (None, u64::MAX, u64::MAX);
    // Weights of whole windows are loaded once a strip, pieces of them for every tile of its pixels.
    let shorter = std::iter::successors(Some(side(machine)), |kt| Some(2 * kt)).take_while(|kt| *kt < depth);
    let depths: Vec<u64> = std::iter::once(depth).chain(shorter).collect();
    let widths = sizes(n, u64::from(machine.acc_cols).min(scales));
    for (nt, kt) in widths.into_iter().flat_map(|nt| depths.iter().map(move |kt| (nt, *kt))) {
        if nt < n && !(nt * u64::from(types.y.bits)).is_multiple_of(8) {
            continue;
        }
        // As many rows as fit, found by halving the range.
        let total = |sr: u64| -> u64 {
            if strip_rows(conv, sr) > MOST_EXTENT {
                return u64::MAX;
            }
            let sizes = buffers(conv, types, sr, [mt, nt, kt]);
            sizes.iter().map(|(_, bytes)| bytes.max(&1).next_multiple_of(ALIGN)).sum()
        };
        least = least.min(total(1));
        if total(1) > room {
            continue;
        }
        let (mut low, mut high) = (1, oh);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if total(middle) <= room { low = middle } else { high = middle - 1 }
        }
        // Strips of about one size.
        let sr = oh.div_ceil(oh.div_ceil(low));
        let (strips, tiles_of_pixels) = (oh.div_ceil(sr), (sr * ow).div_ceil(mt));
        let tiles = strips * tiles_of_pixels * n.div_ceil(nt);
        let sums = machine.array_tile_cycles(mt, nt, kt, types.w, types.x);
        let (compute, weights) = match kt < depth {
            true => {
                // One piece is on its way while another is summed: neither can hide more than that.
                let piece = nt * bytes(types.w, kt);
                let (setup, latency) = (machine.dma.setup_cycles, machine.dram.latency_cycles);
                let way = u64::from(setup) + u64::from(latency) + machine.dram_cycles(piece, nt);
                let pieces = tiles * depth.div_ceil(kt);
                (pieces * sums.max(way).max(PIECE_ISSUE), pieces * machine.dram.bus_bytes(piece, nt))
            }
            false => (tiles * sums, n * bytes(types.w, depth) * if nt < n { strips } else { 1 }),
        };
        let image = strips * strip_rows(conv, sr) * conv.w * bytes(types.x, c);
        let y = oh * ow * bytes(types.y, n) * if conv.then.residual { 2 } else { 1 };
        let work = conv.batch * conv.groups;
        let maps = if resident { 0 } else { image + y };
        let cycles = estimate_of(machine, work * (weights + maps), work * compute, work * tiles * 60);
        // Pieces are for where whole windows do badly, not for what is within the error of this rule.
        let of = if kt < depth { cycles.saturating_add(cycles / 2) } else { cycles };
        if of < rank {
            rank = of;
            best = Some(Plan { sr, mt, nt, kt, cycles, buffers: buffers(conv, types, sr, [mt, nt, kt]) });
        }
    }
    best.ok_or_else(|| {
        Error::unsupported(format!(
            "does not fit: the smallest strip and weights of the convolution need {least} bytes of SRAM, {} has {room} for it",
            machine.name
        ))
        .code("E0401")
        .help("use a machine with more SRAM, or narrower formats")
    })
}

/// Cycles that fold the sums of an image, or of a group of its channels, and carry them to SRAM and back.
pub(super) fn finishing(conv: &Conv, machine: &Machine) -> u64 {
    let (oh, ow) = conv.out();
    let entries = oh * ow * of_group(conv).1;
    machine.fold_cycles(entries) + 2 * machine.load_cycles(4 * entries)
}

/// Scratch of a program's kernels.
pub(super) fn room(machine: &Machine) -> u64 {
    on_chip(machine).0
}

/// Ranges of memory, upwards: of DRAM, and of the chip where images have to lie there.
struct Ranges<'a> {
    machine: &'a Machine,
    next: u64,
    chip: Option<Arena>,
}

impl<'a> Ranges<'a> {
    fn new(machine: &'a Machine, layout: Layout) -> Self {
        Ranges { machine, next: layout.from, chip: layout.resident.then(|| on_chip(machine).1) }
    }
    /// A range of DRAM: weights.
    fn take(&mut self, bytes: u64) -> u64 {
        let at = self.next.next_multiple_of(dram_align(bytes));
        self.next = (at + bytes).next_multiple_of(ALIGN);
        at
    }
    /// A range for an image, or the one where it lies.
    fn image(&mut self, bytes: u64, known: Option<u64>) -> Result<u64> {
        match (&mut self.chip, known) {
            (None, Some(at)) => Ok(at),
            (None, None) => Ok(self.take(bytes)),
            (Some(chip), known) => {
                let kept = known.filter(|at| chip.keep(*at, bytes));
                let at = kept.or_else(|| chip.take(bytes, 0, usize::MAX));
                at.ok_or_else(|| not_resident("image", bytes, self.machine))
            }
        }
    }
}

fn types(conv: &Conv, formats: &Formats, machine: &Machine) -> Result<(Types, DotClass)> {
    let (w, x) = (&formats.weights, &formats.inputs);
    let plain =
        |ty: &TensorType| !matches!(ty.scaling, Scaling::Block(_) | Scaling::Tile(..)) && ty.planes == 1 && !ty.offset;
    if !plain(w) || !plain(x) {
        return refuse(format!("a convolution of {x} with {w} has no kernel: scales of blocks, planes and offsets"));
    }
    if !machine.array_serves(w.format, x.format) {
        let message = format!(
            "a convolution of {x} with {w} has no kernel on {}: its array does not serve the pair, or it has none",
            machine.name
        );
        return Err(Error::unsupported(message).code("E0404").help("list the product that it is, as a gemm"));
    }
    let Some(y) = codes(&formats.outputs) else {
        return refuse(format!("results of a convolution in {} have no kernel", formats.outputs));
    };
    let follows = conv.then.act.is_some() || conv.then.residual;
    let direct = !follows && y.format.rule == ScaleRule::Cast;
    let (_, n) = of_group(conv);
    let whole = |codes: u64| (codes * u64::from(y.format.bits)).is_multiple_of(8);
    if !whole(n) || !whole(u64::from(machine.vlen_bits / 32).max(1)) {
        return refuse(format!("a pixel of {n} channels of {y}, or a register, is no whole bytes"));
    }
    let class = dot_class(x.format, w.format, formats.accumulator)?;
    Ok((Types { x: x.format, w: w.format, y: y.format, direct }, class))
}

/// Where the operands of a convolution lie: in memory, and on the chip where activations stay there.
pub(super) struct Places {
    w: u64,
    bias: u64,
    /// Scales of the channels, or the bits of the one scale.
    sw: u64,
    pub x: u64,
    /// 0 without a residual.
    pub res: u64,
    pub y: u64,
}

impl Places {
    /// Places in the ranges of a program, in their order there.
    fn of(conv: &Conv, types: &Types, sws: bool, ranges: &mut Ranges<'_>, input: Option<u64>) -> Result<Places> {
        let (c, n) = of_group(conv);
        let (oh, ow) = conv.out();
        let images = conv.batch * conv.groups;
        let results = images * oh * ow * bytes(types.y, n);
        let w = ranges.take(conv.groups * n * bytes(types.w, c * conv.r * conv.s));
        let bias = if conv.then.bias { ranges.take(4 * conv.k) } else { 0 };
        let sw = if sws { ranges.take(4 * conv.k) } else { u64::from(1f32.to_bits()) };
        let x = ranges.image(images * conv.h * conv.w * bytes(types.x, c), input)?;
        let res = if conv.then.residual { ranges.image(results, None)? } else { 0 };
        Ok(Places { w, bias, sw, x, res, y: ranges.image(results, None)? })
    }

    /// Parameters that both kernels have alike.
    pub fn shared(&self, conv: &Conv, types: &Types) -> [(&'static str, u64); 11] {
        let (c, n) = of_group(conv);
        let depth = c * conv.r * conv.s;
        let pair = |low: u64, high: u64| low | high << 32;
        [
            ("depth", depth),
            ("rec0", pair(c, conv.h)),
            ("rec1", pair(conv.w, conv.r)),
            ("rec2", pair(conv.s, conv.stride)),
            ("rec3", pair(conv.pad, conv.dilation)),
            ("w", self.w),
            ("w_row", bytes(types.w, depth)),
            ("sx", u64::from(1f32.to_bits())),
            ("sw", self.sw),
            ("bias", self.bias),
            ("y_row", bytes(types.y, n)),
        ]
    }
}

/// The program of a convolution.
pub(super) fn conv(
    conv: &Conv,
    formats: &Formats,
    machine: &Machine,
    options: &Options,
    bodies: &mut Bodies,
) -> Result<Program> {
    let (types, class) = types(conv, formats, machine)?;
    check_record(conv)?;
    let room = room(machine);
    let resident = options.layout.resident;
    let strips = plan(conv, &types, machine, resident, room);
    let whole = whole::plan(conv, &types, machine, resident, room);
    // Strips finish every tile before they sum the next.
    let serial = |strips: &Plan| strips.cycles + conv.batch * conv.groups * finishing(conv, machine);
    let whole = whole.filter(|whole| strips.as_ref().map_or(true, |strips| whole.cycles <= serial(strips)));
    let strips = if whole.is_some() { None } else { Some(strips?) };
    let sws = matches!(formats.weights.scaling, Scaling::Row);
    let mut ranges = Ranges::new(machine, options.layout);
    let places = Places::of(conv, &types, sws, &mut ranges, options.layout.input)?;
    check_dram(machine, ranges.next)?;
    let mut consts = constants(conv, &types, class, sws);
    let (kernel, calls, buffers) = match (whole, strips) {
        (Some(plan), _) => {
            let [had, next] = options.layout.equals;
            let w_next = if next { ranges.next } else { 0 };
            ("conv-whole", plan.calls(conv, &types, &places, (had, w_next)), plan.buffers)
        }
        (None, Some(plan)) => {
            consts.push(("PIECES", i64::from(plan.kt < depth(conv))));
            ("conv-strips", strip_calls(conv, &types, &plan, &places), plan.buffers)
        }
        (None, None) => return Err(Error::internal("a convolution without a plan")),
    };
    let mut lowered = lowered(conv.macs());
    for mut params in calls {
        let mut workspace = Workspace::new(room);
        for (name, size) in &buffers {
            params.push((name, workspace.take(*size, &format!("buffer `{name}`"))?));
        }
        if let Some((_, first)) = params.iter().find(|(name, _)| *name == "bx") {
            params.push(("bx_next", *first));
        }
        lowered.workspace_bytes = workspace.used();
        lowered.calls.push(Call {
            kernel,
            formats: vec![("W", types.w), ("X", types.x), ("Y", types.y)],
            consts: consts.clone(),
            params,
        });
    }
    finish(lowered, options, machine, bodies, (ranges.next, places.y))
}

/// Refuses what the record of `mm.win` cannot hold.
fn check_record(conv: &Conv) -> Result<()> {
    let (c, _) = of_group(conv);
    let fields = [
        ("channels of a group", c),
        ("columns of the image", conv.w),
        ("rows of the window", conv.r),
        ("columns of the window", conv.s),
        ("stride", conv.stride),
        ("pad", conv.pad),
        ("dilation", conv.dilation),
    ];
    match fields.into_iter().find(|(_, value)| *value > MOST_EXTENT) {
        None => Ok(()),
        Some((name, value)) => refuse(format!("{name}: {value}; windows on the array have at most {MOST_EXTENT}")),
    }
}

/// The parameters of each call of `conv-strips`, without those of buffers.
fn strip_calls(conv: &Conv, types: &Types, plan: &Plan, at: &Places) -> Vec<Vec<(&'static str, u64)>> {
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
            ("sr", plan.sr),
            ("mt", plan.mt),
            ("nt", plan.nt),
            ("kt", plan.kt),
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

fn constants(conv: &Conv, types: &Types, class: DotClass, sws: bool) -> Vec<(&'static str, i64)> {
    let class = DotClass::ALL.iter().position(|known| *known == class).expect("every class is listed");
    let act = match conv.then.act {
        None => 0,
        Some(Act::Relu) => 1,
        Some(Act::Relu2) => 2,
        Some(Act::Gelu) => 3,
        Some(Act::Silu) => 4,
    };
    vec![
        ("CLASS", class as i64),
        ("SWS", i64::from(sws)),
        ("BIAS", i64::from(conv.then.bias)),
        ("RES", i64::from(conv.then.residual)),
        ("ACT", act),
        ("DIRECT", i64::from(types.direct)),
        ("WBITS", i64::from(types.w.bits)),
        ("YBITS", i64::from(types.y.bits)),
    ]
}

fn lowered(macs_dense: u64) -> Lowered {
    Lowered { calls: Vec::new(), workspace_bytes: 0, macs_dense, loops: Vec::new() }
}

fn check_dram(machine: &Machine, end: u64) -> Result<()> {
    if end > machine.dram.bytes {
        let message = format!("the layer needs {end} bytes of DRAM, {} has {}", machine.name, machine.dram.bytes);
        return Err(Error::unsupported(message).code("E0401"));
    }
    Ok(())
}

fn finish(
    lowered: Lowered,
    options: &Options,
    machine: &Machine,
    bodies: &mut Bodies,
    (dram_end, output): (u64, u64),
) -> Result<Program> {
    let kernels = lowered.calls.first().map(|call| options.kernels.whose(call.kernel)).into_iter().collect();
    let sram_bytes = lowered.workspace_bytes;
    let object = link(&[lowered], &options.kernels, 0, machine, bodies)?;
    Ok(Program { object: Arc::new(object), kernels, steps: 1, dram_end, output, sram_bytes, indices: None })
}

/// The program of a pool: rows of windows first, then their columns.
pub(super) fn pool(
    pool: &Pool,
    formats: &Formats,
    machine: &Machine,
    options: &Options,
    bodies: &mut Bodies,
) -> Result<Program> {
    let window = &pool.window;
    let (Some(x), Some(y)) = (codes(&formats.inputs), codes(&formats.outputs)) else {
        return refuse(format!("a pool of {} to {} has no kernel: scales of blocks", formats.inputs, formats.outputs));
    };
    let whole = |ty: &TensorType| (window.c * u64::from(ty.format.bits)).is_multiple_of(8);
    if !whole(&x) || !whole(&y) {
        return refuse(format!("{} channels of {x} or {y} are no whole bytes a pixel", window.c));
    }
    let lanes = machine.vlen_bits / 32;
    if [x, y].iter().any(|ty| !(lanes * ty.format.bits).is_multiple_of(8)) {
        let name = &machine.name;
        return refuse(format!("a register of {lanes} f32 becomes no whole bytes of {x} or {y} on {name}"));
    }
    let (oh, ow) = window.out();
    let (x_row, y_row) = (window.w * bytes(x.format, window.c), ow * bytes(y.format, window.c));
    let mut dram = Ranges::new(machine, options.layout);
    let x_at = dram.image(window.batch * window.h * x_row, options.layout.input)?;
    let y_at = dram.image(window.batch * oh * y_row, None)?;
    check_dram(machine, dram.next)?;
    let mut params = vec![
        ("images", window.batch),
        ("h", window.h),
        ("w", window.w),
        ("c", window.c),
        ("oh", oh),
        ("ow", ow),
        ("r", window.r),
        ("s", window.s),
        ("stride", window.stride),
        ("pad", window.pad),
        ("x", x_at),
        ("x_row", x_row),
        ("y", y_at),
        ("y_row", y_row),
        ("part", u64::from((1.0 / (window.r * window.s) as f32).to_bits())),
    ];
    let places = ((ow - 1) * window.stride + 1) * bytes(y.format, window.c);
    let sums = 4 * (window.w + 2 * window.pad) * window.c;
    let rows = window.r * x_row;
    let buffers = |ahead: bool| -> Result<(Vec<(&'static str, u64)>, u64)> {
        let mut workspace = Workspace::new(room(machine));
        let mut take = |name: &str, size: u64| workspace.take(size, &format!("buffer `{name}`"));
        let (bx0, bv, by0) = (take("bx0", rows)?, take("bv", sums)?, take("by0", places)?);
        let (bx1, by1) = if ahead { (take("bx1", rows)?, take("by1", places)?) } else { (bx0, by0) };
        Ok((vec![("bx0", bx0), ("bx1", bx1), ("bv", bv), ("by0", by0), ("by1", by1)], workspace.used()))
    };
    // One row of results has no next one.
    let (ahead, (at, used)) = match buffers(true) {
        Ok(both) if oh > 1 => (true, both),
        _ => (false, buffers(false)?),
    };
    params.extend(at);
    let mut lowered = lowered(0);
    lowered.workspace_bytes = used;
    let formats = vec![("X", x.format), ("Y", y.format)];
    let bits = |format: FormatRef| i64::from(format.bits);
    let [mean, ahead] = [pool.mean, ahead].map(i64::from);
    let consts = vec![("MEAN", mean), ("AHEAD", ahead), ("XBITS", bits(x.format)), ("YBITS", bits(y.format))];
    lowered.calls.push(Call { kernel: "pool", formats, consts, params });
    finish(lowered, options, machine, bodies, (dram.next, y_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Epilogue;

    #[test]
    fn deep_windows_come_in_pieces_where_a_tile_of_their_weights_has_little_room() {
        let then = Epilogue::default();
        let conv = |c, r| Conv {
            batch: 1,
            h: 9,
            w: 10,
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
        let kt = |conv: &Conv, sram: &str| {
            let machine = crate::machine::load_with("hbm", &[("sram.own.bytes".into(), sram.into())]).unwrap();
            let int8 = crate::num::format::find("int8").unwrap();
            let types = Types { x: int8, w: int8, y: int8, direct: false };
            plan(conv, &types, &machine, false, room(&machine)).unwrap().kt
        };
        assert_eq!(kt(&conv(160, 5), "2097152"), 4000);
        assert!(kt(&conv(160, 5), "65536") <= 1024);
        assert_eq!(kt(&conv(16, 3), "65536"), 144);
    }
}
