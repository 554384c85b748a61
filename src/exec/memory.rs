//! Addresses of load, store and array instructions, and the bit-packed loads and stores of vectors.

use super::Vm;
use super::event::{Access, Event, Space, Work};
use super::spaces::Span;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::encode::Step;
use crate::isa::{Inst, Op};
use std::ops::Range;

/// Checked rows of equal length in one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Space.
    pub space: Space,
    /// First byte of row 0.
    pub at: u64,
    /// Bytes from one row to the next, two's complement.
    pub stride: i64,
    /// Rows.
    pub count: u32,
    /// Bytes of each.
    pub bytes: u64,
}

impl Rows {
    /// Row `i`.
    pub fn row(&self, i: u32) -> Span {
        let lo = self.at.wrapping_add_signed(self.stride.wrapping_mul(i.into()));
        Span { space: self.space, lo, hi: lo + self.bytes }
    }
}

/// First address and length of the box around `bytes` bytes at `addr`, repeated by (count, stride) on each level.
///
/// # Errors
/// ADDR if it leaves the address space.
pub fn bounding(addr: u64, levels: &[(u64, i64)], bytes: u64) -> Result<(u64, u64)> {
    let (mut lo, mut hi) = (i128::from(addr), i128::from(addr) + i128::from(bytes));
    for &(count, stride) in levels {
        let reach = i128::from(count.saturating_sub(1)) * i128::from(stride);
        lo += reach.min(0);
        hi += reach.max(0);
    }
    let space = addr >> 60;
    let outside = |at: i128| at >> 60 != i128::from(space);
    if outside(lo) || outside((hi - 1).max(lo)) {
        let message = format!("{bytes} bytes at {addr:#x} with strides {levels:?} leave their address space");
        return Err(Trap::new(TrapKind::Addr, message));
    }
    Ok((lo as u64, (hi - lo) as u64))
}

impl Vm {
    /// The address of the memory operand.
    ///
    /// # Errors
    /// DATA if it is unknown.
    pub(super) fn address(&self, inst: &Inst) -> Result<u64> {
        Ok(self.known(inst.rs1, "an address")?.wrapping_add_signed(inst.imm.into()))
    }

    /// Moves the base register of the memory operand after `bytes` bytes were moved.
    ///
    /// # Errors
    /// DATA if the step is unknown.
    pub(super) fn advance(&mut self, inst: &Inst, bytes: u64) -> Result<()> {
        let by = match inst.mem().step {
            Step::Stay => return Ok(()),
            Step::Bytes => bytes,
            Step::Register(step) => self.known(step, "an address")?,
        };
        self.x.set(inst.rs1, Some(self.x.get(inst.rs1).wrapping_add(by)));
        Ok(())
    }

    /// The `count` rows of `bytes` bytes that the memory operand names, `rows xR` apart or contiguous, recorded in
    /// `event`; then moves the base register.
    ///
    /// # Errors
    /// ADDR if a row leaves its space or lies in DRAM; DATA for unknown addresses.
    pub(super) fn rows(&mut self, inst: &Inst, event: &mut Event, write: bool, count: u32, bytes: u64) -> Result<Rows> {
        let addr = self.address(inst)?;
        let stride = match inst.mem().rows {
            Some(register) => self.known(register, "a row pitch")? as i64,
            None => bytes as i64,
        };
        let moved = u64::from(count) * bytes;
        let (lo, len) = if moved == 0 { (addr, 0) } else { bounding(addr, &[(count.into(), stride)], bytes)? };
        let span = self.memory.near(lo, len)?;
        let runs = if stride == bytes as i64 { 1 } else { count.into() };
        event.touch(Access { space: span.space, write, lo: span.lo, hi: span.hi, bytes: moved, runs });
        self.advance(inst, moved)?;
        Ok(Rows { space: span.space, at: addr & ((1 << 60) - 1), stride, count, bytes })
    }
}

impl Vm {
    /// The rows that a vector, scales or a tile are stored to, none of which timing-only mode computes.
    ///
    /// # Errors
    /// Those of [`Vm::rows`].
    pub(super) fn stored(&mut self, inst: &Inst, event: &mut Event, count: u32, bytes: u64) -> Result<Rows> {
        let rows = self.rows(inst, event, true, count, bytes)?;
        for access in event.touched().iter().filter(|access| access.space == Space::Control && !self.values) {
            self.memory.leave_open(access.lo..access.hi);
        }
        Ok(rows)
    }

    /// Refuses to go on from contents of control memory that timing-only mode did not compute.
    ///
    /// # Errors
    /// DATA.
    pub(super) fn read_known(&self, event: &Event) -> Result<()> {
        // Vectors, scales and tiles stay unknown.
        let Range { start, end } = *self.memory.open();
        if start >= end || matches!(event.op, Op::LdBp | Op::LdS | Op::LdC) {
            return Ok(());
        }
        let open =
            |access: &&Access| access.space == Space::Control && !access.write && access.lo < end && start < access.hi;
        match event.touched().iter().find(open) {
            None => Ok(()),
            Some(Access { lo, hi, .. }) => {
                let message = format!(
                    "bytes {lo:#x} to {hi:#x} of control memory: vectors, scales or tiles, which timing-only mode does \
                    not compute, were stored to {start:#x} to {end:#x}"
                );
                Err(Trap::new(TrapKind::Data, message))
            }
        }
    }
}

/// Bit-packed load into a register.
pub fn ld_bp(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    if inst.pm != 0 {
        return spread(vm, inst, event);
    }
    let format = vm.bound(inst.fd)?;
    let codes = &vm.formats[format];
    let id = codes.format.id;
    let by_rows = inst.mem().rows.is_some();
    let (count, elements, pitch) = if by_rows { (vm.view.nl, vm.view.kd, vm.view.pitch) } else { (1, vm.vl, 0) };
    let reach = if by_rows { u64::from(pitch) * u64::from(count) } else { elements.into() };
    if reach * u64::from(codes.bits) > u64::from(vm.config.vlen_bits) {
        return Err(too_wide(vm, reach, &codes.format.name));
    }
    let (bytes, pitch) = (codes.bytes(elements.into()), codes.register_bytes(pitch.into()) as usize);
    let rows = vm.rows(inst, event, false, count, bytes)?;
    event.work = Work::Move { bytes: bytes * u64::from(count), rows: count, format: id };
    if !vm.values {
        return Ok(());
    }
    let codes = &vm.formats[format];
    let register = vm.v.get_mut(inst.rd);
    let mut filled = 0;
    for row in 0..count {
        let from = vm.memory.get(rows.row(row));
        let at = row as usize * pitch;
        let to = if row + 1 < count { at + pitch } else { register.len() };
        codes.widen(from, &mut register[at..to], elements as usize);
        codes.clear_tail(&mut register[at..to], elements as usize);
        filled = to;
    }
    codes.clear_tail(&mut register[filled..], 0);
    Ok(())
}

/// Load of live elements only: vl codes a row, which go to the set bits of the mask, in order.
fn spread(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.bound(inst.fd)?;
    let codes = &vm.formats[format];
    let mask = &vm.p[usize::from(inst.pm)];
    let by_rows = inst.mem().rows.is_some();
    let (count, elements, pitch) = if by_rows { (vm.view.nl, vm.view.kd, vm.view.pitch) } else { (1, mask.len, 0) };
    let reach = if by_rows { u64::from(pitch) * u64::from(count) } else { elements.into() };
    if reach * u64::from(codes.bits) > u64::from(vm.config.vlen_bits) {
        return Err(too_wide(vm, reach, &codes.format.name));
    }
    for row in (0..count).filter(|_| !mask.opaque) {
        let live = (0..elements).filter(|k| mask.get(row * pitch + k)).count();
        if live != vm.vl as usize {
            let message = format!("row {row} of mask p{} has {live} live elements, memory has vl = {}", inst.pm, vm.vl);
            return Err(Trap::new(TrapKind::Shape, message));
        }
    }
    let (bytes, id) = (codes.bytes(vm.vl.into()), codes.format.id);
    let rows = vm.rows(inst, event, false, count, bytes)?;
    event.work = Work::Move { bytes: bytes * u64::from(count), rows: count, format: id };
    if !vm.values {
        return Ok(());
    }
    let (codes, mask) = (&vm.formats[format], &vm.p[usize::from(inst.pm)]);
    let register = vm.v.get_mut(inst.rd);
    if inst.pz {
        codes.clear_tail(register, 0);
    }
    for row in 0..count {
        let from = vm.memory.get(rows.row(row));
        let places = (row * pitch..row * pitch + elements).filter(|at| mask.get(*at));
        places.enumerate().for_each(|(i, at)| codes.put(register, at as usize, codes.stored(from, i)));
    }
    Ok(())
}

/// Bit-packed store of a register.
pub fn st_bp(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.bound(inst.fd)?;
    let codes = &vm.formats[format];
    if u64::from(vm.vl) * u64::from(codes.bits) > u64::from(vm.config.vlen_bits) {
        return Err(too_wide(vm, vm.vl.into(), &codes.format.name));
    }
    let (bytes, id) = (codes.bytes(vm.vl.into()), codes.format.id);
    let rows = vm.stored(inst, event, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: id };
    if vm.values {
        vm.formats[format].narrow(vm.v.get(inst.rd), vm.memory.get_mut(rows.row(0)), vm.vl as usize);
    }
    Ok(())
}

#[cold]
pub(super) fn too_wide(vm: &Vm, elements: u64, format: &str) -> Trap {
    let message = format!("{elements} elements of {format} do not fit a register of {} bits", vm.config.vlen_bits);
    Trap::new(TrapKind::Shape, message)
}
