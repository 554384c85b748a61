//! DMA: strided copies, fills and gathers between DRAM, SRAM and shared SRAM. Bytes move at once; the event says which
//! ranges and how many contiguous runs, and `sim` gives them their time.

use super::Vm;
use super::event::{Access, Blocks, Event, Space, Work};
use super::memory::bounding;
use super::spaces::Span;
use super::state::Level;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::{Inst, Op};

/// Sets one level of a shape.
pub fn dma_dim(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    if inst.rd == 0 {
        return Err(Trap::new(TrapKind::Shape, "d0 is constant: one block"));
    }
    let count = vm.known(inst.rs1, "a DMA shape")?;
    let src = vm.known(inst.rs2, "a DMA shape")? as i64;
    let dst = vm.known(inst.imm as u8, "a DMA shape")? as i64;
    let level = usize::from(inst.sub - 1);
    let shape = &mut vm.shapes[usize::from(inst.rd)];
    shape[level] = Level { count, src, dst };
    // A kernel that sets level 1 must not inherit the outer levels of the kernel before it.
    shape[level + 1..].fill(Level { count: 1, src: 0, dst: 0 });
    Ok(())
}

/// Waits for a tag.
pub fn dma_wait(_: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Wait { tag: inst.rd, left: inst.imm as u32 };
    Ok(())
}

/// Copy towards SRAM.
pub fn dma_ld(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    copy(vm, inst, event)
}

/// Copy from SRAM.
pub fn dma_st(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    copy(vm, inst, event)
}

/// A strided copy: the addresses and the shape that it takes from registers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Destination.
    pub to: u64,
    /// Source.
    pub from: u64,
    /// Bytes of a block.
    bytes: u64,
    /// Bytes of all blocks.
    pub total: u64,
    shape: [Level; 3],
}

impl Plan {
    /// The copy that `inst` describes.
    ///
    /// # Errors
    /// DATA for unknown registers; ADDR if it is larger than any memory.
    pub fn copy(vm: &Vm, inst: &Inst) -> Result<Plan> {
        let (to, from) = (vm.known(inst.rd, "a DMA address")?, vm.known(inst.rs1, "a DMA address")?);
        let bytes = vm.known(inst.rs2, "a DMA length")?;
        let shape = vm.shapes[usize::from(inst.mode)];
        let blocks = shape.iter().try_fold(1u64, |product, level| product.checked_mul(level.count));
        let total = blocks.and_then(|blocks| blocks.checked_mul(bytes)).filter(|total| *total < 1 << 60);
        let Some(total) = total else {
            let message = format!("a copy of {bytes} bytes for every index of {shape:?} is larger than any memory");
            return Err(Trap::new(TrapKind::Addr, message));
        };
        Ok(Plan { to, from, bytes, total, shape })
    }

    /// Its checked source and target; `None` if it has no bytes.
    ///
    /// # Errors
    /// ADDR if a side leaves its space.
    pub fn sides(&self, vm: &mut Vm) -> Result<Option<(Side, Side)>> {
        if self.total == 0 {
            return Ok(None);
        }
        let source = Side::new(vm, self.from, self.shape.map(|level| (level.count, level.src)), self.bytes)?;
        let target = Side::new(vm, self.to, self.shape.map(|level| (level.count, level.dst)), self.bytes)?;
        Ok(Some((source, target)))
    }

    /// Its blocks, from `source` to `target`.
    pub fn blocks(&self, source: &Side, target: &Side) -> Blocks {
        Blocks { bytes: self.bytes, from: source.at, to: target.at, levels: self.shape }
    }

    /// What it costs to do, in bytes: a block is worth at least 64.
    pub fn cost(&self) -> u64 {
        self.total.max(64 * (self.total / self.bytes.max(1)))
    }

    /// Moves the bytes from `source` to the blocks whose first stands at `to`.
    pub fn run(&self, vm: &mut Vm, source: &Side, to: (Space, u64)) {
        if vm.values {
            for_each_block(&self.shape, |src, dst| {
                let (to_at, from_at) = (to.1.wrapping_add_signed(dst), source.at.wrapping_add_signed(src));
                vm.memory.copy((to.0, to_at), (source.span.space, from_at), self.bytes);
            });
        }
    }
}

/// One side of a strided copy: its bounding range, runs, and the offset of index (0,0,0).
pub struct Side {
    /// The box around it.
    pub span: Span,
    /// Offset of the first block, in the terms of `span`.
    pub at: u64,
    /// Contiguous runs.
    pub runs: u64,
}

impl Side {
    fn new(vm: &mut Vm, addr: u64, levels: [(u64, i64); 3], bytes: u64) -> Result<Side> {
        let (lo, len) = bounding(addr, &levels, bytes)?;
        let span = vm.memory.span(lo, len)?;
        if span.space == Space::Control {
            let message = format!("address {addr:#x} is in control memory, which DMA does not reach");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        let (mut block, mut runs) = (bytes as i64, 1u64);
        for (count, stride) in levels {
            if runs == 1 && (stride == block || count == 1) {
                block = block.saturating_mul(count as i64);
            } else {
                runs = runs.saturating_mul(count);
            }
        }
        Ok(Side { span, at: span.lo + (addr - lo), runs })
    }

    /// The side as an access of `bytes` bytes.
    pub fn access(&self, write: bool, bytes: u64) -> Access {
        let Span { space, lo, hi } = self.span;
        Access { space, write, lo, hi, bytes, runs: self.runs }
    }
}

fn copy(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let plan = Plan::copy(vm, inst)?;
    let Some((source, target)) = plan.sides(vm)? else {
        event.work = Work::Dma { bytes: 0, runs: 0, tag: inst.aux };
        return Ok(());
    };
    event.work = Work::Dma { bytes: plan.total, runs: source.runs.max(target.runs), tag: inst.aux };
    event.touch(source.access(false, plan.total));
    event.touch(target.access(true, plan.total));
    event.blocks = plan.blocks(&source, &target);
    vm.afford(plan.cost())?;
    plan.run(vm, &source, (target.span.space, target.at));
    Ok(())
}

/// Calls `block` with the source and destination displacement of every index, level 1 innermost.
fn for_each_block(shape: &[Level; 3], mut block: impl FnMut(i64, i64)) {
    let [one, two, three] = shape;
    for i3 in 0..three.count as i64 {
        for i2 in 0..two.count as i64 {
            for i1 in 0..one.count as i64 {
                block(i1 * one.src + i2 * two.src + i3 * three.src, i1 * one.dst + i2 * two.dst + i3 * three.dst);
            }
        }
    }
}

/// Every contiguous piece of the transfer `inst`, which has just been executed: range, and whether it is written.
///
/// # Errors
/// Those of `piece`.
pub fn pieces(vm: &mut Vm, inst: &Inst, piece: &mut dyn FnMut(Span, bool) -> Result<()>) -> Result<()> {
    match inst.op {
        Op::DmaGat => {
            let [to, from, bytes, count, table] =
                [inst.rd, inst.rs1, inst.rs2, inst.rs3, inst.imm as u8].map(|n| vm.x.get(n));
            for i in 0..count {
                let entry = vm.memory.span(table + 4 * i, 4)?;
                let entry = vm.memory.get(entry);
                let index = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
                let row = vm.memory.span(from + u64::from(index) * bytes, bytes)?;
                piece(row, false)?;
            }
            let target = vm.memory.span(to, count * bytes)?;
            let table = vm.memory.span(table, 4 * count)?;
            piece(target, true)?;
            piece(table, false)
        }
        Op::DmaFill => {
            let span = vm.memory.span(vm.x.get(inst.rd), vm.x.get(inst.rs2))?;
            piece(span, true)
        }
        _ => {
            let plan = Plan::copy(vm, inst)?;
            let Some((source, target)) = plan.sides(vm)? else { return Ok(()) };
            for (side, write) in [(source, false), (target, true)] {
                let stride = |level: &Level| if write { level.dst } else { level.src };
                let (mut bytes, mut levels) = (plan.bytes, plan.shape);
                // Levels without gaps are one piece.
                for level in &mut levels {
                    if level.count != 1 && stride(level) != bytes as i64 {
                        break;
                    }
                    bytes *= level.count;
                    level.count = 1;
                }
                let mut done = Ok(());
                for_each_block(&levels, |src, dst| {
                    let lo = side.at.wrapping_add_signed(if write { dst } else { src });
                    if done.is_ok() {
                        done = piece(Span { space: side.span.space, lo, hi: lo + bytes }, write);
                    }
                });
                done?;
            }
            Ok(())
        }
    }
}

/// Fills a range with one byte.
pub fn dma_fill(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (to, bytes) = (vm.known(inst.rd, "a DMA address")?, vm.known(inst.rs2, "a DMA length")?);
    let side = Side::new(vm, to, [(1, 0); 3], bytes)?;
    event.work = Work::Dma { bytes, runs: side.runs, tag: inst.aux };
    event.touch(side.access(true, bytes));
    event.blocks = Blocks::one(bytes, side.at, side.at);
    if vm.values {
        vm.memory.get_mut(side.span).fill(inst.imm as u8);
    }
    Ok(())
}

/// Gathers rows by a table of indices in control memory.
pub fn dma_gat(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (to, from) = (vm.known(inst.rd, "a DMA address")?, vm.known(inst.rs1, "a DMA address")?);
    let (bytes, count) = (vm.known(inst.rs2, "a DMA length")?, vm.known(inst.rs3, "a DMA count")?);
    let table = vm.known(inst.imm as u8, "a DMA address")?;
    let total = count.saturating_mul(bytes);
    let indices = vm.memory.span(table, count.saturating_mul(4))?;
    if indices.space != Space::Control {
        let message = format!("the index table at {table:#x} is not in control memory");
        return Err(Trap::new(TrapKind::Addr, message));
    }
    event.work = Work::Dma { bytes: total, runs: count, tag: inst.aux };
    if total == 0 {
        return Ok(());
    }
    let target = Side::new(vm, to, [(1, 0); 3], total)?;
    let (mut lo, mut hi) = (u64::MAX, 0);
    for i in 0..count {
        let at = indices.lo + 4 * i;
        let entry = vm.memory.get(Span { space: Space::Control, lo: at, hi: at + 4 });
        let index = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        // 2^32 rows times a length below 2^60: no overflow in 128 bits, and the range check refuses what is too far.
        let row = u128::from(from) + u128::from(index) * u128::from(bytes);
        let row = u64::try_from(row).ok().filter(|row| row >> 60 == from >> 60).ok_or_else(|| {
            Trap::new(TrapKind::Addr, format!("row {index} of {bytes} bytes from {from:#x} leaves its address space"))
        })?;
        let source = Side::new(vm, row, [(1, 0); 3], bytes)?;
        (lo, hi) = (source.span.lo.min(lo), source.span.hi.max(hi));
        vm.memory.copy((target.span.space, target.at + i * bytes), (source.span.space, source.at), bytes);
        if i + 1 == count {
            event.touch(Access { space: source.span.space, write: false, lo, hi, bytes: total, runs: count });
            // Time takes the rows as evenly spaced from the first to the last.
            let apart = (hi - bytes - lo).checked_div(count - 1).unwrap_or(0);
            let rows = Level { count, src: apart as i64, dst: bytes as i64 };
            event.blocks = Blocks { bytes, from: lo, to: target.at, levels: [rows, Level::ONE, Level::ONE] };
        }
    }
    event.touch(target.access(true, total));
    event.touch(Access {
        space: Space::Control,
        write: false,
        lo: indices.lo,
        hi: indices.hi,
        bytes: 4 * count,
        runs: 1,
    });
    Ok(())
}
