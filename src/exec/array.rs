//! Contraction on the array: a stationary tile of weights, times tiles of inputs from SRAM.

use super::acc::Tile;
use super::codes::Codes;
use super::event::{Access, Event, Work};
use super::memory::{Rows, bounding};
use super::operand::{Operand, contract, path};
use super::trap::{Result, Trap, TrapKind};
use super::window::Gather;
use super::{Scratch, Vm};
use crate::isa::Inst;
use crate::isa::table::Class;
use crate::num::DotClass;
use crate::num::func::{canonical, fma};

pub use super::window::mm_win;

fn shape(message: String) -> Trap {
    Trap::new(TrapKind::Shape, message)
}

/// A mask over blocks of a stationary tile.
struct Blocks {
    /// Outputs and terms of a block, and blocks along k.
    rows: u32,
    depth: u32,
    across: u32,
    /// One a block, those of the first outputs first.
    live: Vec<bool>,
}

impl Blocks {
    fn of(vm: &Vm, inst: &Inst, bits: u32) -> Result<Option<Blocks>> {
        if inst.pm == 0 {
            return Ok(None);
        }
        let [_, tn, tk] = vm.tile;
        let size = vm.known(inst.rd, "the size of a block")?;
        let (depth, rows) = (size as u32, (size >> 32) as u32);
        let rows = if rows == 0 { tn.max(1) } else { rows };
        if depth == 0 || (tk > depth && !(u64::from(depth) * u64::from(bits)).is_multiple_of(8)) {
            return Err(shape(format!("blocks of {depth} terms of {bits} bits do not begin on bytes")));
        }
        let (down, across) = (tn.div_ceil(rows), tk.div_ceil(depth));
        let mask = vm.known_mask(inst.pm)?;
        if u64::from(down) * u64::from(across) > mask.len.into() {
            let message = format!("a tile of {down} x {across} blocks under mask p{} of {} bits", inst.pm, mask.len);
            return Err(shape(message));
        }
        let live = (0..down * across).map(|block| mask.get(block)).collect();
        Ok(Some(Blocks { rows, depth, across, live }))
    }

    fn live(&self, n: u32, k: u32) -> bool {
        self.live[(n / self.rows * self.across + k / self.depth) as usize]
    }

    /// Pieces of memory that the live blocks of row `n` of `tk` terms are: first and last term.
    fn pieces(&self, n: u32, tk: u32) -> Vec<(u32, u32)> {
        let mut pieces: Vec<(u32, u32)> = Vec::new();
        for k in (0..tk).step_by(self.depth as usize).filter(|k| self.live(n, *k)) {
            let end = k.saturating_add(self.depth).min(tk);
            match pieces.last_mut() {
                Some(last) if last.1 == k => last.1 = end,
                _ => pieces.push((k, end)),
            }
        }
        pieces
    }

    /// Blocks of `cols` x `rows` of the array without a live term, and their terms an input row.
    fn dead(&self, [tn, tk]: [u32; 2], [cols, rows]: [u32; 2]) -> (u32, u32) {
        let mut dead = (0, 0);
        for n in (0..tn).step_by(cols as usize) {
            for k in (0..tk).step_by(rows as usize) {
                let (n_end, k_end) = (n.saturating_add(cols).min(tn), k.saturating_add(rows).min(tk));
                let outputs = (n / self.rows..=(n_end - 1) / self.rows).map(|block| block * self.rows);
                let touches =
                    |n: u32| (k / self.depth..=(k_end - 1) / self.depth).any(|b| self.live(n, b * self.depth));
                if !outputs.into_iter().any(touches) {
                    dead = (dead.0 + 1, dead.1 + (n_end - n) * (k_end - k));
                }
            }
        }
        dead
    }
}

/// Loads the stationary weights.
pub fn mm_w(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.bound(inst.fa)?;
    let [_, tn, tk] = vm.tile;
    let blocks = Blocks::of(vm, inst, vm.formats[format].format.bits)?;
    let row_bytes = vm.formats[format].bytes(tk.into());
    let rows = vm.rows(inst, event, false, tn, row_bytes)?;
    let codes = &vm.formats[format];
    let stationary = &mut vm.stationary;
    (stationary.format, stationary.tn, stationary.tk) = (Some(format), tn, tk);
    (stationary.decoded, stationary.laid_out) = (None, None);
    stationary.live.clear();
    stationary.dead = (0, 0);
    stationary.used = false;
    if let Some(blocks) = &blocks {
        stationary.dead = blocks.dead([tn, tk], vm.config.array_block);
        let access = &mut event.access[0];
        (access.bytes, access.runs) = (0, 0);
        for piece in (0..tn).flat_map(|n| blocks.pieces(n, tk)) {
            access.bytes += codes.bytes((piece.1 - piece.0).into());
            access.runs += 1;
        }
        event.accesses = u8::from(access.bytes > 0);
        if vm.values {
            stationary.live.extend((0..tn).flat_map(|n| (0..tk).map(move |k| (n, k))).map(|(n, k)| blocks.live(n, k)));
        }
    }
    event.work = Work::TileLoad { tn, tk, weights: codes.format.id, dead: stationary.dead.0 };
    if vm.values {
        let pitch = codes.register_bytes(tk.into()) as usize;
        stationary.bytes.clear();
        stationary.bytes.resize(tn as usize * pitch, 0);
        for n in 0..tn {
            let to = &mut stationary.bytes[n as usize * pitch..][..pitch];
            codes.widen(vm.memory.get(rows.row(n)), to, tk as usize);
        }
    }
    Ok(())
}

/// Scales of runs of k, for the next product.
#[derive(Debug, Clone, Copy)]
pub struct BlockScales {
    /// Addresses of the scales of weights and inputs; 0 = ones.
    at: [u64; 2],
    /// Bytes from row to row of either.
    pitch: i64,
    /// Format of the scales, as an index into the program's.
    format: usize,
    /// Terms of a run.
    block: u32,
    /// Class of the sums of a run.
    class: DotClass,
}

/// Takes block scales for the next mm.x.
pub fn mm_s(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let block = inst.imm as u32;
    if !block.is_multiple_of(8) {
        return Err(shape(format!("runs of {block} terms do not begin on bytes; they are multiples of 8")));
    }
    let class = Class::from_code(inst.mode.into()).expect("decode checks enumerations");
    let class = DotClass::ALL.into_iter().find(|c| c.name() == class.name()).expect("every class has a row");
    vm.block_scales = Some(BlockScales {
        at: [vm.known(inst.rs1, "an address")?, vm.known(inst.rs2, "an address")?],
        pitch: vm.known(inst.rs3, "a row pitch")? as i64,
        format: vm.bound(inst.fa)?,
        block,
        class,
    });
    Ok(())
}

impl BlockScales {
    /// Checks `count` rows of `runs` scales of operand `side`, and records them in `event`.
    fn rows(&self, vm: &mut Vm, event: &mut Event, side: usize, count: u32, runs: u32) -> Result<Option<Rows>> {
        let at = self.at[side];
        if at == 0 {
            return Ok(None);
        }
        let bytes = vm.formats[self.format].bytes(runs.into());
        let (lo, len) = bounding(at, &[(count.into(), self.pitch)], bytes)?;
        let span = vm.memory.near(lo, len)?;
        let moved = u64::from(count) * bytes;
        let access =
            Access { space: span.space, write: false, lo: span.lo, hi: span.hi, bytes: moved, runs: count.into() };
        event.touch(access);
        Ok(Some(Rows { space: span.space, at: at & ((1 << 60) - 1), stride: self.pitch, count, bytes }))
    }
}

/// Rows of inputs: in memory as they are, or windows of an image.
enum Inputs {
    Rows(Rows),
    Windows(Gather),
}

impl Inputs {
    /// The rows of codes of `format` (an index into the program's) that `inst` names.
    fn of(vm: &mut Vm, inst: &Inst, event: &mut Event, format: usize) -> Result<Inputs> {
        let [tm, _, tk] = vm.tile;
        let bytes = vm.formats[format].bytes(tk.into());
        let bits = vm.formats[format].format.bits;
        Ok(match vm.window {
            Some(window) => Inputs::Windows(Gather::new(vm, inst, event, window, bits)?),
            None => Inputs::Rows(vm.rows(inst, event, false, tm, bytes)?),
        })
    }

    /// Codes of row `m` in containers: where they lie, or in `room`.
    fn codes<'a>(&self, vm: &'a super::Spaces, codes: &Codes, m: u32, tk: u32, room: &'a mut [u8]) -> &'a [u8] {
        match self {
            Inputs::Rows(rows) if codes.bits == codes.format.bits => vm.get(rows.row(m)),
            _ => {
                self.row(vm, codes, m, tk, room);
                room
            }
        }
    }

    /// Codes of row `m` into containers.
    fn row(&self, vm: &super::Spaces, codes: &Codes, m: u32, tk: u32, to: &mut [u8]) {
        match self {
            Inputs::Rows(rows) => codes.widen(vm.get(rows.row(m)), to, tk as usize),
            Inputs::Windows(gather) => gather.row(vm.get(gather.image()), codes, m, tk, to),
        }
    }
}

/// Multiplies a tile of inputs with the stationary weights.
pub fn mm_x(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let [tm, tn, tk] = vm.tile;
    let stationary = &vm.stationary;
    let Some(format) = stationary.format.filter(|_| (stationary.tn, stationary.tk) == (tn, tk)) else {
        let held = match stationary.format {
            None => "no weights".to_string(),
            Some(_) => format!("weights of {} x {}", stationary.tn, stationary.tk),
        };
        return Err(shape(format!("the tile view is {tn} x {tk}, the array holds {held}; mm.w loads them")));
    };
    let bound = vm.bound(inst.fb)?;
    let rows = Inputs::of(vm, inst, event, bound)?;
    let scales = vm.block_scales.take();
    let tile = &mut vm.c[usize::from(inst.rd)];
    if inst.flag(3) {
        tile.clear();
    }
    let (weights, inputs) = (&vm.formats[format], &vm.formats[bound]);
    let class = scales.map_or(tile.class(), |scales| scales.class);
    let (path, unit, leaf) = vm.pair.find(class, &vm.formats, [format, bound])?;
    let (dead, dead_terms) = vm.stationary.dead;
    let block = scales.map_or(0, |scales| scales.block);
    let first = !std::mem::replace(&mut vm.stationary.used, true);
    let (weights_id, inputs_id) = (weights.format.id, inputs.format.id);
    event.work =
        Work::TileMac { tm, tn, tk, first, dead, dead_terms, block, weights: weights_id, inputs: inputs_id, class };
    if let Some(scales) = scales {
        return scaled(vm, inst, event, scales, (&rows, bound));
    }
    tile.begin(unit)?;
    if !vm.values {
        return Ok(());
    }
    let Scratch { inputs: x, panel_inputs, codes, .. } = &mut vm.scratch;
    codes.clear();
    if let Some(leaf) = leaf {
        vm.stationary.lay_out(weights, leaf.layout());
        panel_inputs.reset(leaf.layout(), [tm as usize, tk as usize]);
        codes.resize(inputs.register_bytes(tk.into()) as usize, 0);
        for m in 0..tm {
            panel_inputs.set_row(inputs, m as usize, rows.codes(&vm.memory, inputs, m, tk, codes));
        }
        if leaf.contract(tile, 0, &vm.stationary.panels, panel_inputs) {
            return Ok(());
        }
    }
    vm.stationary.decode(weights, path);
    x.reset(inputs, path, tm as usize, tk as usize);
    codes.resize(inputs.register_bytes(tk.into()) as usize, 0);
    for m in 0..tm {
        rows.row(&vm.memory, inputs, m, tk, codes);
        x.set_row(inputs, path, m as usize, codes);
    }
    let stationary = &vm.stationary;
    for m in 0..tm as usize {
        contract(tile, m, (&stationary.weights, tn as usize), (x, m), path, &stationary.live)?;
    }
    Ok(())
}

/// The product with block scales: run after run of k, its sums folded into f32 results.
fn scaled(
    vm: &mut Vm,
    inst: &Inst,
    event: &mut Event,
    by: BlockScales,
    (rows, format): (&Inputs, usize),
) -> Result<()> {
    let [tm, tn, tk] = vm.tile;
    let runs = tk.div_ceil(by.block);
    let of_weights = by.rows(vm, event, 0, tn, runs)?;
    let of_inputs = by.rows(vm, event, 1, tm, runs)?;
    let to = &mut vm.c[usize::from(inst.rd)];
    to.become_result(false, "mm.x after mm.s")?;
    if !vm.values {
        return Ok(());
    }
    let (weights, inputs) = (&vm.formats[vm.stationary.format.expect("mm.x checks it")], &vm.formats[format]);
    let (path, unit) = path(by.class, weights, inputs)?;
    let mut sums = Tile::new(tm as usize, tn as usize, true);
    let codes = &mut vm.scratch.codes;
    codes.clear();
    codes.resize(inputs.register_bytes(tk.into()) as usize, 0);
    let all: Vec<Vec<u8>> = (0..tm)
        .map(|m| {
            rows.row(&vm.memory, inputs, m, tk, codes);
            codes.clone()
        })
        .collect();
    let scale = |rows: &Option<Rows>, row: usize, run: usize| match rows {
        Some(rows) => canonical(vm.formats[by.format].load(vm.memory.get(rows.row(row as u32)), run)),
        None => 1.0,
    };
    let (mut w, mut x, mut live) = (Operand::default(), Operand::default(), Vec::new());
    let w_pitch = weights.register_bytes(tk.into()) as usize;
    for run in 0..runs as usize {
        let first = run * by.block as usize;
        let count = (by.block as usize).min(tk as usize - first);
        w.reset(weights, path, tn as usize, count);
        x.reset(inputs, path, tm as usize, count);
        live.clear();
        for n in 0..tn as usize {
            w.set_row(
                weights,
                path,
                n,
                &vm.stationary.bytes[n * w_pitch..][weights.register_bytes(first as u64) as usize..],
            );
            if !vm.stationary.live.is_empty() {
                live.extend_from_slice(&vm.stationary.live[n * tk as usize + first..][..count]);
                w.kill(path, n, &live[n * count..]);
            }
        }
        sums.set_class(by.class);
        sums.begin(unit)?;
        for (m, codes) in all.iter().enumerate() {
            x.set_row(inputs, path, m, &codes[inputs.register_bytes(first as u64) as usize..]);
            contract(&mut sums, m, (&w, tn as usize), (&x, m), path, &live)?;
        }
        for m in 0..tm as usize {
            for n in 0..tn as usize {
                let factor = scale(&of_inputs, m, run) * scale(&of_weights, n, run);
                let total = canonical(fma(sums.value(m, n), factor, to.value(m, n)));
                to.put(m, n, total);
            }
        }
    }
    Ok(())
}
