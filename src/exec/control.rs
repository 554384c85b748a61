//! Scalar instructions, control flow, and the state that later instructions take at issue.

use super::event::{Access, Event, Space, Work};
use super::state::{Loop, View};
use super::trap::{Result, Trap, TrapKind};
use super::{Codes, Status, Vm};
use crate::isa::Inst;
use crate::isa::table::{Alu, Branch, Class, Csr, Dim};
use crate::num::DotClass;
use crate::num::philox::Draws;

impl Vm {
    /// Value of register `n`, which `what` depends on.
    ///
    /// # Errors
    /// DATA if it is unknown.
    pub(super) fn known(&self, n: u8, what: &str) -> Result<u64> {
        self.x(n).ok_or_else(|| {
            let message = format!("{what} depends on x{n}, which holds a value that timing-only mode does not compute");
            Trap::new(TrapKind::Data, message)
        })
    }

    /// Tables of the format bound to slot `slot`.
    ///
    /// # Errors
    /// FMT if none is.
    pub(super) fn codes(&self, slot: u8) -> Result<&Codes> {
        Ok(&self.formats[self.bound(slot)?])
    }

    /// Index of the format bound to slot `slot`.
    ///
    /// # Errors
    /// FMT if none is.
    pub(super) fn bound(&self, slot: u8) -> Result<usize> {
        let unbound = || Trap::new(TrapKind::Fmt, format!("format slot f{slot} is not bound; fmt.set binds it"));
        self.slots[usize::from(slot)].map(usize::from).ok_or_else(unbound)
    }

    fn jump(&mut self, inst: &Inst) {
        // A target outside the program traps when it is fetched.
        self.next_pc = self.pc.wrapping_add_signed(inst.imm);
    }
}

/// One scalar operation, as RISC-V defines it.
pub fn alu(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let b = if inst.is_immediate() { Some(i64::from(inst.imm) as u64) } else { vm.x(inst.rs2) };
    let value = vm.x(inst.rs1).zip(b).map(|(a, b)| compute(alu_op(inst), a, b));
    vm.x.set(inst.rd, value);
    Ok(())
}

fn alu_op(inst: &Inst) -> Alu {
    Alu::from_code(inst.sub & 0xff).expect("decode checks sub-operations")
}

fn compute(op: Alu, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    let shift = (b & 63) as u32;
    match op {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::And => a & b,
        Alu::Or => a | b,
        Alu::Xor => a ^ b,
        Alu::Sll => a << shift,
        Alu::Srl => a >> shift,
        Alu::Sra => (sa >> shift) as u64,
        Alu::Slt => u64::from(sa < sb),
        Alu::Sltu => u64::from(a < b),
        Alu::Min => sa.min(sb) as u64,
        Alu::Max => sa.max(sb) as u64,
        Alu::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Alu::Remu => a.checked_rem(b).unwrap_or(a),
    }
}

/// Replaces the high half of a register.
pub fn lih(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let high = u64::from(inst.imm as u32) << 32;
    let value = vm.x(inst.rd).map(|low| high | low & 0xffff_ffff);
    vm.x.set(inst.rd, value);
    Ok(())
}

/// The range of a scalar access: control memory or own SRAM, aligned to its width.
fn scalar_span(vm: &mut Vm, inst: &Inst, event: &mut Event, write: bool) -> Result<super::spaces::Span> {
    let width = 1u64 << (inst.sub & 3);
    let addr = vm.known(inst.rs1, "an address")?.wrapping_add_signed(inst.imm.into());
    if !addr.is_multiple_of(width) {
        let message = format!("address {addr:#x} is not a multiple of the {width} bytes accessed");
        return Err(Trap::new(TrapKind::Align, message));
    }
    let span = vm.memory.near(addr, width)?;
    if span.space == Space::Shared {
        let message = format!("address {addr:#x} is in shared SRAM, which scalar loads and stores do not reach");
        return Err(Trap::new(TrapKind::Addr, message));
    }
    event.touch(Access { space: span.space, write, lo: span.lo, hi: span.hi, bytes: width, runs: 1 });
    Ok(span)
}

/// Scalar load, zero-extended.
pub fn lw(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let span = scalar_span(vm, inst, event, false)?;
    let value = vm.memory.real(span.space).then(|| {
        let mut bytes = [0; 8];
        let loaded = vm.memory.get(span);
        bytes[..loaded.len()].copy_from_slice(loaded);
        u64::from_le_bytes(bytes)
    });
    vm.x.set(inst.rd, value);
    Ok(())
}

/// Scalar store.
pub fn sw(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let span = scalar_span(vm, inst, event, true)?;
    if vm.memory.real(span.space) {
        let bytes = vm.known(inst.rd, "control memory")?.to_le_bytes();
        let to = vm.memory.get_mut(span);
        let width = to.len();
        to.copy_from_slice(&bytes[..width]);
    }
    Ok(())
}

/// Conditional branch.
pub fn branch(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let (a, b) = (vm.known(inst.rs1, "a branch")?, vm.known(inst.rs2, "a branch")?);
    let taken = match Branch::from_code(inst.sub).expect("decode checks sub-operations") {
        Branch::Beq => a == b,
        Branch::Bne => a != b,
        Branch::Blt => (a as i64) < b as i64,
        Branch::Bge => a as i64 >= b as i64,
    };
    if taken {
        vm.jump(inst);
    }
    Ok(())
}

/// Jump and link.
pub fn jal(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    vm.x.set(inst.rd, Some(u64::from(vm.pc) + 1));
    vm.jump(inst);
    Ok(())
}

/// Jump to a register and link.
pub fn jalr(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let target = vm.known(inst.rs1, "a jump")?.wrapping_add_signed(inst.imm.into());
    if target >= vm.code.len() as u64 {
        let message = format!("jump to word {target}, the program has {} words", vm.code.len());
        return Err(Trap::new(TrapKind::Addr, message));
    }
    vm.x.set(inst.rd, Some(u64::from(vm.pc) + 1));
    vm.next_pc = target as u32;
    Ok(())
}

/// Start of a hardware loop.
pub fn loop_(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let left = vm.known(inst.rs1, "a loop count")?;
    let end = vm.pc.wrapping_add_signed(inst.imm);
    if inst.imm <= 0 {
        return Err(Trap::new(TrapKind::Loop, "the end of a loop stands before its start"));
    }
    if left == 0 {
        vm.next_pc = end.saturating_add(1);
        return Ok(());
    }
    if vm.depth == vm.loops.len() {
        return Err(Trap::new(TrapKind::Loop, "loops nest at most 4 deep"));
    }
    vm.loops[vm.depth] = Loop { start: vm.pc + 1, end, left };
    vm.depth += 1;
    Ok(())
}

/// End of the innermost loop's body.
pub fn endl(vm: &mut Vm, _: &Inst, _: &mut Event) -> Result<()> {
    let pc = vm.pc;
    let innermost = vm.loops[..vm.depth].last_mut().filter(|innermost| innermost.end == pc);
    let Some(innermost) = innermost else {
        return Err(Trap::new(TrapKind::Loop, "endl is not the end of the innermost running loop"));
    };
    innermost.left -= 1;
    if innermost.left > 0 {
        vm.next_pc = innermost.start;
    } else {
        vm.depth -= 1;
    }
    Ok(())
}

/// Leaves the innermost loop.
pub fn brk(vm: &mut Vm, _: &Inst, _: &mut Event) -> Result<()> {
    let Some(innermost) = vm.loops[..vm.depth].last() else {
        return Err(Trap::new(TrapKind::Loop, "brk outside of a loop"));
    };
    vm.next_pc = innermost.end + 1;
    vm.depth -= 1;
    Ok(())
}

/// Sizes of the machine.
pub fn csr(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let config = &vm.config;
    let value = match Csr::from_code(inst.sub).expect("decode checks sub-operations") {
        Csr::Core => vm.core,
        Csr::Cores => config.cores,
        Csr::Vlen => config.vlen_bits,
        Csr::AccRows => config.acc_rows,
        Csr::AccCols => config.acc_cols,
        Csr::Qn => config.scale_entries,
    };
    vm.x.set(inst.rd, Some(value.into()));
    Ok(())
}

/// Binds a format slot.
pub fn fmt_set(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let row = inst.imm as usize;
    if row >= vm.formats.len() {
        let message = format!("format {row} of a program that has {}", vm.formats.len());
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    vm.slots[usize::from(inst.rd)] = Some(row as u16);
    Ok(())
}

/// Sets one side of the tile view.
pub fn settile(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let dim = Dim::from_code(inst.sub).expect("decode checks sub-operations");
    let most = match dim {
        Dim::M => vm.config.acc_rows,
        Dim::N => vm.config.acc_cols,
        Dim::K => vm.config.tile_k,
    };
    let granted = vm.known(inst.rs1, "a tile size")?.min(most.into());
    vm.tile[dim as usize] = granted as u32;
    vm.x.set(inst.rd, Some(granted));
    Ok(())
}

/// Sets the class of a tile.
pub fn setacc(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let class = match Class::from_code(inst.sub).expect("decode checks sub-operations") {
        Class::Exact => DotClass::Exact,
        Class::Chain => DotClass::Chain,
        Class::PairBf16 => DotClass::PairBf16,
        Class::PairFp16 => DotClass::PairFp16,
        Class::Int24s => DotClass::Int24s,
        Class::Fp22 => DotClass::Fp22,
    };
    vm.c[usize::from(inst.rd)].set_class(class);
    Ok(())
}

/// Sets the draws of stochastic rounding.
pub fn sr_set(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let known = [inst.rd, inst.rs1, inst.rs2].map(|n| vm.x(n));
    vm.draws = match known {
        [Some(key), Some(counter), Some(base)] => Some((Draws::of(key, counter), base)),
        _ => None,
    };
    Ok(())
}

/// Sets the ledger key.
pub fn node(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let key = vm.known(inst.rs1, "a ledger key")?;
    vm.node = u32::try_from(key).map_err(|_| Trap::new(TrapKind::Data, format!("ledger key {key} exceeds 32 bits")))?;
    Ok(())
}

/// Waits for all units.
pub fn epoch(_: &mut Vm, _: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Drain;
    Ok(())
}

/// A place where a debugger stops.
pub fn brkpt(_: &mut Vm, _: &Inst, _: &mut Event) -> Result<()> {
    Ok(())
}

/// Ends the program.
pub fn halt(vm: &mut Vm, _: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Drain;
    vm.status = Status::Halted;
    vm.next_pc = vm.pc;
    Ok(())
}

/// Sets the element count.
pub fn setvl(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let bits = vm.codes(inst.fa)?.bits.max(vm.codes(inst.fb)?.bits);
    let most = vm.config.vlen_bits / bits;
    vm.vl = vm.known(inst.rs1, "an element count")?.min(most.into()) as u32;
    vm.x.set(inst.rd, Some(vm.vl.into()));
    Ok(())
}

/// Sets the view of a contraction on registers.
pub fn setmac(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let (w, x) = (vm.codes(inst.fa)?, vm.codes(inst.fb)?);
    let wanted = vm.known(inst.rs1, "a view")?.min(vm.config.acc_cols.min(1 << 14).into()) as u32;
    let depth = vm.known(inst.rs2, "a view")?;
    let vlen = vm.config.vlen_bits;
    let mut nl = wanted;
    let pitch = loop {
        // VLEN and container widths are powers of two, and so is the largest pitch.
        let most = (vlen / w.bits / nl.max(1)).min(vlen / x.bits);
        let pitch = if most == 0 { 0 } else { 1 << most.ilog2() };
        if pitch != 0 && w.whole_bytes(pitch) && x.whole_bytes(pitch) {
            break pitch;
        }
        if nl <= 1 {
            let (w, x) = (&w.format.name, &x.format.name);
            let message = format!("{w} weights with {x} inputs have no view of whole bytes at VLEN {vlen}");
            return Err(Trap::new(TrapKind::Shape, message));
        }
        nl /= 2;
    };
    if inst.rd == 31 {
        return Err(Trap::new(TrapKind::Shape, "setmac writes xd and x(d+1); x31 has no next register"));
    }
    vm.view = View { nl, kd: depth.min(pitch.into()) as u32, pitch };
    vm.x.set(inst.rd, Some(nl.into()));
    vm.x.set(inst.rd + 1, Some(vm.view.kd.into()));
    Ok(())
}
