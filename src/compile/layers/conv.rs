//! Convolutions and pools: kernels that walk strips of an image, of which every byte is loaded once a strip; or, where sums
//! have room beside others, whole images ([`whole`]).

use super::{Formats, Program, codes, strips, whole};
use crate::compile::link::{Bodies, link};
use crate::compile::lower::{Call, Lowered};
use crate::compile::place::{ALIGN, Arena, Workspace, dram_align};
use crate::compile::stream::{Pieces, Shares};
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

/// Channels of the image and of the result in a group.
pub(super) fn of_group(conv: &Conv) -> (u64, u64) {
    (conv.c / conv.groups, conv.k / conv.groups)
}

/// Terms of a window.
pub(super) fn depth(conv: &Conv) -> u64 {
    of_group(conv).0 * conv.r * conv.s
}

/// Largest extent in the record of `mm.win`.
pub(super) const MOST_EXTENT: u64 = 1 << 16;
/// Rows of the array, in whole bytes of every format.
pub(super) fn side(machine: &Machine) -> u64 {
    machine.array.as_ref().map_or(32, |array| u64::from(array.rows).next_multiple_of(32))
}

/// What a convolution is planned for.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    pub machine: &'a Machine,
    pub shares: &'a Shares,
    /// Images and results stay on the chip.
    pub resident: bool,
    /// Bytes of SRAM for buffers.
    pub room: u64,
}

impl Host<'_> {
    /// From the request of bytes of DRAM until they begin to come.
    pub fn way(&self) -> u64 {
        u64::from(self.machine.dma.setup_cycles) + u64::from(self.machine.dram.latency_cycles)
    }

    /// Cycles of a stream of such transfers.
    pub fn moved(&self, pieces: Pieces) -> u64 {
        let engines = u64::from(self.machine.dma.bytes_per_cycle) * u64::from(self.machine.dma.engines).max(1);
        self.shares.cycles(self.machine, pieces).max(pieces.all().div_ceil(engines))
    }

    /// The same of one transfer, which one engine moves, for images.
    pub fn alone(&self, pieces: Pieces) -> u64 {
        let engine = pieces.all().div_ceil(u64::from(self.machine.dma.bytes_per_cycle));
        if self.resident { 0 } else { self.moved(pieces).max(engine) }
    }

    /// The same for images and results.
    pub fn maps(&self, pieces: Pieces) -> u64 {
        if self.resident { 0 } else { self.moved(pieces) }
    }
}

/// Formats of the operands and of the result.
pub(super) struct Types {
    pub x: FormatRef,
    pub w: FormatRef,
    pub y: FormatRef,
    /// Tiles are stored as they are.
    pub direct: bool,
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
    check_size(conv, &types, machine)?;
    let room = room(machine);
    let host = Host { machine, shares: &Shares::default(), resident: options.layout.resident, room };
    let strips = strips::plan(conv, &types, host);
    let whole = whole::plan(conv, &types, host);
    let whole = whole.filter(|whole| strips.as_ref().map_or(true, |strips| whole.cycles <= strips.cycles));
    let strips = if whole.is_some() { None } else { Some(strips?) };
    let sws = matches!(formats.weights.scaling, Scaling::Row);
    let mut ranges = Ranges::new(machine, options.layout);
    let places = Places::of(conv, &types, sws, &mut ranges, options.layout.input)?;
    check_dram(machine, ranges.next)?;
    let mut consts = constants(conv, &types, class, sws);
    let (kernel, panel, calls, buffers) = match (whole, strips) {
        (Some(plan), _) => {
            let [had, next] = options.layout.equals;
            let w_next = if next { ranges.next } else { 0 };
            ("conv-whole", plan.kt, plan.calls(conv, &types, &places, (had, w_next)), plan.buffers)
        }
        (None, Some(plan)) => {
            consts.push(("PIECES", i64::from(plan.fetched)));
            let panel = if plan.fetched { plan.kt } else { depth(conv) };
            ("conv-strips", panel, plan.calls(conv, &types, &places), plan.buffers.to_vec())
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
    let program = finish(lowered, options, machine, bodies, (ranges.next, places.y))?;
    Ok(Program { panel: Some(panel), ..program })
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

/// Refuses weights and images of more bytes than can be counted before they are laid out.
fn check_size(conv: &Conv, types: &Types, machine: &Machine) -> Result<()> {
    let (oh, ow) = conv.out();
    let product = |factors: &[u64]| factors.iter().fold(1u128, |all, factor| all.saturating_mul(u128::from(*factor)));
    let bits = [
        product(&[conv.k, depth(conv), types.w.bits.into()]),
        product(&[conv.batch, conv.h, conv.w, conv.c, types.x.bits.into()]),
        product(&[conv.batch, oh, ow, conv.k, types.y.bits.into()]),
    ];
    let bytes = bits.into_iter().fold(0u128, u128::saturating_add) / 8;
    if bytes < 1 << 56 { Ok(()) } else { check_dram(machine, u64::try_from(bytes).unwrap_or(u64::MAX)) }
}

/// Constants that both kernels have alike.
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
    Ok(Program {
        object: Arc::new(object),
        kernels,
        steps: 1,
        dram_end,
        output,
        sram_bytes,
        indices: None,
        panel: None,
    })
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
