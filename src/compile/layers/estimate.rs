//! What a layer should take, without compiling or stepping it: the longest of what each resource needs, plus what nothing
//! overlaps: the first tile in and the last one out.
//!
//! Resources are the unit that multiplies, DRAM as a stream, the element-wise and the load-store unit, and issue. Where
//! the machine's array has a published law of whole layers, that law is the estimate. More SRAM, or more lanes, never
//! makes it longer: they only divide.

use super::Formats;
use super::conv::room;
use crate::machine::array::{Layer as LawLayer, Shape};
use crate::machine::{DramModel, Machine};
use crate::num::FormatRef;
use crate::tensor::TensorType;
use crate::workload::{Attention, Conv, Epilogue, Gemm, Kind, Pass, Pool};

/// Work of a layer by resource, in cycles.
#[derive(Default)]
struct Work {
    compute: f64,
    dram_bytes: f64,
    elements: f64,
    moves: f64,
    issue: f64,
    /// What nothing hides: cycles.
    alone: f64,
}

impl Work {
    fn cycles(&self, machine: &Machine) -> f64 {
        let dram = self.dram_bytes / stream(machine);
        let longest = [dram, self.elements, self.moves, self.issue].into_iter().fold(self.compute, f64::max);
        longest + self.alone
    }
}

/// Bytes of `rows` rows of `cols` elements, scales included.
fn bytes(ty: &TensorType, rows: u64, cols: u64) -> f64 {
    let count = |extent: u64| usize::try_from(extent).unwrap_or(usize::MAX >> 32);
    rows as f64 * ty.row_bytes(count(cols)) as f64 + ty.side_bytes(count(rows), count(cols)) as f64
}

/// Estimated cycles of one instance of a layer.
pub fn estimate(kind: &Kind, formats: &Formats, machine: &Machine) -> u64 {
    if let Some(cycles) = law(kind, formats, machine) {
        return cycles;
    }
    let cycles = match kind {
        Kind::Gemm(gemm) => self::gemm(gemm, formats, machine).cycles(machine),
        Kind::Conv(conv) => self::conv(conv, formats, machine).cycles(machine),
        Kind::Attention(shape) => attention(shape, formats, machine),
        Kind::Pass { pass, rows, cols } => self::pass(*pass, *rows, *cols, &formats.inputs, machine),
        Kind::Pool(pool) => self::pool(pool, formats, machine),
        Kind::Embedding { cols, tokens, .. } => {
            let dram_bytes = bytes(&formats.weights, *tokens, *cols) + 4.0 * (tokens * cols) as f64;
            let issue = (tokens * (8 + 5 * cols.div_ceil(lanes(machine)))) as f64;
            Work { dram_bytes, issue, alone: latency(machine), ..Work::default() }.cycles(machine)
        }
    };
    cycles.ceil() as u64
}

/// f32 elements of a register.
fn lanes(machine: &Machine) -> u64 {
    u64::from(machine.vlen_bits / 32).max(1)
}

/// Bytes a cycle of a stream between DRAM and SRAM: what DRAM sustains; an ideal one leaves what the DMA engines move.
fn stream(machine: &Machine) -> f64 {
    let engines = f64::from(machine.dma.bytes_per_cycle) * f64::from(machine.dma.engines.max(1));
    if machine.dram.model == DramModel::Ideal { engines } else { machine.dram.bytes_per_cycle }
}

/// From the first request to the first use.
fn latency(machine: &Machine) -> f64 {
    f64::from(machine.dram.latency_cycles) + f64::from(machine.dma.setup_cycles)
}

fn law(kind: &Kind, formats: &Formats, machine: &Machine) -> Option<u64> {
    // A law holds for what the array multiplies; other formats are the S unit's.
    let array =
        machine.array.as_ref().filter(|_| machine.array_serves(formats.weights.format, formats.inputs.format))?;
    let (shape, batch, residual) = match kind {
        Kind::Gemm(g) => (Shape::Gemm { m: g.m, n: g.n, k: g.k }, 1, g.then.residual),
        Kind::Conv(c) if c.dilation == 1 => {
            let shape = Shape::Conv {
                height: c.h,
                width: c.w,
                channels: c.c,
                outputs: c.k,
                kernel: [c.r, c.s],
                stride: [c.stride; 2],
                pad: [c.pad; 2],
                groups: c.groups,
            };
            (shape, c.batch, c.then.residual)
        }
        _ => return None,
    };
    let (weight_bits, input_bits) = (formats.weights.format.bits, formats.inputs.format.bits);
    let layer = LawLayer { shape, batch, weight_bits, input_bits, residual, pooled: None, unrolled: false };
    array.law(machine, &[layer]).ok().flatten().map(|cost| cost.cycles)
}

/// Cycles of a product on the better unit, and the rows of inputs that pass each loaded tile of weights.
fn multiply(machine: &Machine, [m, n, k]: [u64; 3], w: FormatRef, x: FormatRef) -> (f64, u64) {
    let scales = u64::from(machine.scale_entries());
    let mt = m.min(u64::from(machine.acc_rows)).min(scales);
    let mut best = f64::INFINITY;
    if machine.array_serves(w, x) {
        let nt = n.min(u64::from(machine.acc_cols)).min(scales);
        let tile = machine.array_tile_cycles(mt, nt, k, w, x) as f64;
        best = (m as f64 / mt as f64).ceil() * (n as f64 / nt as f64).ceil() * tile;
    }
    if machine.vector_serves(w, x) {
        let rate = (machine.mac_cycles(1 << 20, w, x) as f64 / f64::from(1 << 20)).min(1.0);
        best = best.min(m as f64 * n as f64 * k as f64 * rate);
    }
    (best, mt)
}

/// What follows a product: passes of the load-store and element-wise units, and instructions, an element.
fn follow(machine: &Machine, elements: f64, then: Epilogue, stored: bool, work: &mut Work) {
    let registers = elements / lanes(machine) as f64;
    let bytes_per_cycle = f64::from(machine.units.l_bytes_per_cycle);
    work.moves += 4.0 * elements / bytes_per_cycle;
    if stored && !then.bias && then.act.is_none() && !then.residual {
        return;
    }
    work.moves += 8.0 * elements / bytes_per_cycle;
    work.issue += 12.0 * registers;
    let plain = f64::from(machine.units.e_lanes);
    let special = f64::from(machine.units.e_special_lanes).max(1.0);
    let [bend, smooth] = then.act.map_or([0.0; 2], |act| act.operations().map(|operations| operations as f64));
    let act = bend * elements / plain + smooth * elements / special;
    work.elements +=
        act + elements / plain * (1.0 + f64::from(u8::from(then.bias)) + f64::from(u8::from(then.residual)));
}

fn gemm(gemm: &Gemm, formats: &Formats, machine: &Machine) -> Work {
    let &Gemm { m, n, k, then } = gemm;
    let (compute, mt) = multiply(machine, [m, n, k], formats.weights.format, formats.inputs.format);
    // Rows of inputs that stay on chip beside two narrow tiles of weights.
    let row = bytes(&formats.inputs, 1, k);
    let fit = ((room(machine) as f64 / 2.0 / row.max(1.0)).floor() as u64).clamp(1, mt);
    let passes = m.div_ceil(fit) as f64;
    let (x, w) = (bytes(&formats.inputs, m, k), bytes(&formats.weights, n, k));
    let y = bytes(&formats.outputs, m, n);
    let dram_bytes = x + passes * w + y * if then.residual { 2.0 } else { 1.0 };
    let mut work = Work { compute, dram_bytes, ..Work::default() };
    work.issue = (m.div_ceil(mt) * n.div_ceil(u64::from(machine.acc_cols))) as f64 * 60.0;
    follow(machine, (m * n) as f64, then, formats.outputs.format.name == "fp32", &mut work);
    let first = (row * mt as f64 + w / n as f64) / stream(machine);
    work.alone = 2.0 * latency(machine) + first;
    work
}

fn conv(conv: &Conv, formats: &Formats, machine: &Machine) -> Work {
    let (oh, ow) = conv.out();
    let (c, n) = (conv.c / conv.groups, conv.k / conv.groups);
    let depth = c * conv.r * conv.s;
    let times = (conv.batch * conv.groups) as f64;
    let (compute, mt) = multiply(machine, [oh * ow, n, depth], formats.weights.format, formats.inputs.format);
    let image = conv.h as f64 * bytes(&formats.inputs, conv.w, c);
    let weights = bytes(&formats.weights, n, depth);
    // Half of the room holds strips; what does not fit makes more of them, each of which reads its border and all weights.
    let half = room(machine) as f64 / 2.0;
    let strips = (2.0 * image / half).ceil().max(1.0);
    let border = (strips - 1.0) * conv.r.saturating_sub(conv.stride) as f64 * bytes(&formats.inputs, conv.w, c);
    let again = if 2.0 * weights > half { strips } else { 1.0 };
    let y = (oh * ow) as f64 * bytes(&formats.outputs, 1, n) * if conv.then.residual { 2.0 } else { 1.0 };
    let mut work = Work {
        compute: times * compute,
        dram_bytes: times * (image + border + again * weights + y),
        issue: times * ((oh * ow).div_ceil(mt) * n.div_ceil(u64::from(machine.acc_cols))) as f64 * 60.0,
        ..Work::default()
    };
    let then = Epilogue { bias: false, ..conv.then };
    follow(machine, times * (oh * ow * n) as f64, then, formats.outputs.format.name == "fp32", &mut work);
    let first = (conv.r as f64 * image / conv.h as f64 + weights / n as f64) / stream(machine);
    work.alone = times * (2.0 * latency(machine) + first);
    work
}

/// Scores, softmax, probabilities and values follow each other.
fn attention(shape: &Attention, formats: &Formats, machine: &Machine) -> f64 {
    let heads = shape.batch * shape.kv_heads;
    let rows = shape.queries * (shape.heads / shape.kv_heads);
    let types = Formats { inputs: formats.attention, weights: formats.kv, ..*formats };
    let product = |n: u64, k: u64, outputs: TensorType| {
        let then = Epilogue::default();
        let mut work = gemm(&Gemm { m: rows, n, k, then }, &Formats { outputs, ..types }, machine);
        // Scores stay on chip as far as they fit.
        let chip = machine.shared().map_or(machine.own().bytes / 4, |level| level.bytes) as f64;
        let scores = 4.0 * (heads * rows * shape.keys) as f64;
        if scores <= chip {
            work.dram_bytes -= bytes(&types.inputs, rows, k).min(work.dram_bytes) * 0.5;
        }
        heads as f64 * work.cycles(machine)
    };
    let fp32 = TensorType::parse("fp32").unwrap_or(formats.outputs);
    let soft = pass(Pass::Softmax, heads * rows, shape.keys, &formats.inputs, machine);
    let cast = match formats.attention.format.name.as_str() {
        "fp32" => 0.0,
        _ => pass(Pass::Quantise, heads * rows, shape.keys, &formats.attention, machine),
    };
    product(shape.keys, shape.width, fp32) + soft + cast + product(shape.width, shape.keys, formats.outputs)
}

/// Instructions a register and a row, element-wise and special operations an element.
fn steps(pass: Pass) -> [f64; 4] {
    match pass {
        Pass::Add | Pass::Mul => [4.0, 10.0, 1.0, 0.0],
        Pass::Act(act) => {
            let [plain, special] = act.operations().map(|operations| operations as f64);
            [3.0, 10.0, plain, special]
        }
        Pass::Rope => [9.0, 12.0, 4.0, 0.0],
        Pass::LayerNorm => [14.0, 40.0, 6.0, 0.0],
        Pass::RmsNorm => [8.0, 30.0, 4.0, 0.0],
        Pass::Softmax => [11.0, 40.0, 4.0, 1.0],
        Pass::Quantise => [5.0, 24.0, 4.0, 0.0],
    }
}

fn pass(pass: Pass, rows: u64, cols: u64, to: &TensorType, machine: &Machine) -> f64 {
    let elements = (rows * cols) as f64;
    let [by_register, by_row, plain, special] = steps(pass);
    let inputs = if matches!(pass, Pass::Add | Pass::Mul | Pass::Rope) { 2.0 } else { 1.0 };
    let y = if pass == Pass::Quantise { bytes(to, rows, cols) } else { 4.0 * elements };
    let registers = cols.div_ceil(lanes(machine));
    // The latencies of what happens to a register add up; the kernels work on four at a time, but on pairs one by one.
    let turns = if pass == Pass::Rope { registers } else { registers.div_ceil(4) };
    let u = &machine.units;
    let load = f64::from(u.l_latency + machine.own().latency_cycles);
    let chain = load + plain * f64::from(u.e_latency + 1) + special * f64::from(u.e_special_latency);
    let work = Work {
        dram_bytes: 4.0 * elements * inputs + y,
        elements: plain * elements / f64::from(machine.units.e_lanes)
            + special * elements / f64::from(machine.units.e_special_lanes).max(1.0),
        moves: 12.0 * elements / f64::from(machine.units.l_bytes_per_cycle),
        issue: rows as f64
            * (turns as f64 * by_register.max(chain) + (registers - turns) as f64 * by_register + by_row),
        alone: 2.0 * latency(machine),
        ..Work::default()
    };
    work.cycles(machine)
}

fn pool(pool: &Pool, formats: &Formats, machine: &Machine) -> f64 {
    let window = &pool.window;
    let (oh, ow) = window.out();
    let lanes = lanes(machine);
    // Registers of a row, down its windows and along them: instructions and element-wise operations of each.
    let down = oh * (window.w * window.c).div_ceil(lanes);
    let along = oh * (((ow - 1) * window.stride + 1) * window.c).div_ceil(lanes);
    let issue = down * (3 * window.r + 3) + along * (2 * window.s + 4) + 60 * oh;
    let operations = down * (2 * window.r - 1) + along * (window.s + 1);
    // The rows of every window, whether windows share them or rows lie between them.
    let x = (oh * window.r) as f64 * bytes(&formats.inputs, window.w, window.c);
    let y = (oh * ow) as f64 * bytes(&formats.outputs, 1, window.c);
    let work = Work {
        dram_bytes: window.batch as f64 * (x + y),
        elements: (window.batch * operations * lanes) as f64 / f64::from(machine.units.e_lanes),
        issue: (window.batch * issue) as f64,
        // Each row of the result waits for its rows of the image.
        alone: (window.batch * oh) as f64 * latency(machine),
        ..Work::default()
    };
    work.cycles(machine)
}
