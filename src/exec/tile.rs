//! Accumulator tiles as a whole: clear, fold scales in, move to registers and memory.

use super::Vm;
#[cfg(target_arch = "x86_64")]
use super::arch;
use super::event::{Event, Work};
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::Fill;
#[cfg(target_arch = "x86_64")]
use crate::num::Isa;
use crate::num::codec::cast;
use crate::num::format::ScaleRule;
use crate::num::func::{canonical, fma};

impl Vm {
    /// The tile row that register `n` chooses.
    ///
    /// # Errors
    /// SHAPE beyond the tile, DATA if unknown.
    pub(super) fn tile_row(&self, n: u8) -> Result<usize> {
        let row = self.known(n, "a tile row")?;
        if row >= self.config.acc_rows.into() {
            let message = format!("row {row} of a tile of {} rows", self.config.acc_rows);
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok(row as usize)
    }
}

/// Clears a tile, or fills it with -infinity.
pub fn c_fill(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Tile { entries: 0, fold: false };
    let tile = &mut vm.c[usize::from(inst.rd)];
    match Fill::from_code(inst.mode.into()).expect("decode checks enumerations") {
        Fill::Zero => tile.clear(),
        Fill::NegInf => tile.fill_minus_infinity()?,
    }
    Ok(())
}

/// Multiplies rounded sums by their scales and adds them to results.
pub fn fold(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let [tm, tn, _] = vm.tile;
    let entries = vm.config.scale_entries;
    if tm > entries || tn > entries {
        let message = format!("a tile of {tm} x {tn} needs more than the {entries} entries of a scale vector");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let pair = [usize::from(inst.rd), usize::from(inst.rs1)];
    let Ok([to, from]) = vm.c.get_disjoint_mut(pair) else {
        let message = format!("fold needs two tiles, both operands are c{}", inst.rd);
        return Err(Trap::new(TrapKind::Shape, message));
    };
    let new = inst.flag(0);
    to.become_result(new, "fold without .new")?;
    event.work = Work::Tile { entries: entries_of(tm, tn)?, fold: true };
    if vm.values {
        let scales = |q: u8| &vm.q[usize::from(q) * entries as usize..][..entries as usize];
        let (of_weights, of_inputs) = (scales(inst.rs2), scales(inst.rs3));
        let mut sums = vec![0.0; tn as usize];
        for (m, of_input) in of_inputs[..tm as usize].iter().enumerate() {
            from.values(m, &mut sums);
            // Where `to` is new its entries are zeros.
            scale_into(to.results(m, tn as usize), &sums, *of_input, &of_weights[..tn as usize]);
        }
    }
    from.clear();
    Ok(())
}

/// Adds sums times their scales to results; a multiplication that is added at once rounds once.
fn scale_into(results: &mut [f32], sums: &[f32], of_input: f32, of_weights: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if Isa::current() != Isa::Scalar {
        return arch::avx2::scale_into(results, sums, of_input, of_weights);
    }
    for ((result, sum), of_weight) in results.iter_mut().zip(sums).zip(of_weights) {
        *result = canonical(fma(*sum, of_input * of_weight, canonical(*result)));
    }
}

/// Exact sums as an analogue-to-digital converter reads them.
pub fn adc(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let [tm, tn, _] = vm.tile;
    let bits = inst.imm as u32;
    if tm > vm.config.acc_rows || tn > vm.config.acc_cols {
        return Err(Trap::new(TrapKind::Shape, format!("a view of {tm} x {tn} entries of a smaller tile")));
    }
    event.work = Work::Tile { entries: entries_of(tm, tn)?, fold: true };
    let tile = &mut vm.c[usize::from(inst.rd)];
    tile.refine(bits as i32 - 1)?;
    if !vm.values {
        return Ok(());
    }
    let full = vm.x.get(inst.rs1) as i64;
    let sigma = vm.x.get(inst.rs2) as i64;
    if full <= 0 || !(0..=1 << 32).contains(&sigma) {
        let message = format!("a converter of full scale {full} with a noise of {sigma} / 2^16 steps");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let (pitch, draws) = (vm.x.get(inst.rs3), vm.draws);
    for m in 0..tm as usize {
        for n in 0..tn as usize {
            let noise = match draws.filter(|_| sigma != 0) {
                Some((draws, base)) => {
                    let index = base.wrapping_add(pitch.wrapping_mul(m as u64)).wrapping_add(n as u64);
                    sigma * normal(draws.quad(2 * index), draws.quad(2 * index + 1))
                }
                None => 0,
            };
            tile.convert(m, n, full, bits, noise)?;
        }
    }
    Ok(())
}

/// The sum of twelve 16-bit halves of eight words, low halves first, about its mean: nearly normal, of deviation 2^16.
fn normal(one: [u32; 4], two: [u32; 4]) -> i64 {
    let halves = one.into_iter().chain(two).flat_map(|word| [word & 0xffff, word >> 16]);
    halves.take(12).fold(0, |sum, half| sum + i64::from(half)) - 12 * 65535 / 2
}

/// Entries of a tile, as events count them.
pub(super) fn entries_of(tm: u32, tn: u32) -> Result<u32> {
    let many = || Trap::new(TrapKind::Shape, format!("a tile of {tm} x {tn} is more than 2^32 - 1 entries"));
    tm.checked_mul(tn).ok_or_else(many)
}

/// vl as f32 elements and as entries of a row, for moves between the two, and that row.
fn row_of(vm: &Vm, inst: &Inst) -> Result<(u32, usize)> {
    let (vl, row) = (vm.f32_elements()?, vm.tile_row(inst.rs3)?);
    if vl > vm.config.acc_cols.max(16) {
        let message = format!("{vl} entries of a tile row of {}", vm.config.acc_cols);
        return Err(Trap::new(TrapKind::Shape, message));
    }
    Ok((vl, row))
}

/// Row of a tile to a register.
pub fn cmv(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (vl, row) = row_of(vm, inst)?;
    event.work = Work::Tile { entries: vl, fold: false };
    if vm.values {
        for i in 0..vl as usize {
            vm.v.set_f32(inst.rd, i, vm.c[usize::from(inst.rs1)].value(row, i));
        }
        vm.v.zero_f32_from(inst.rd, vl as usize);
    }
    Ok(())
}

/// Register to row of a tile.
pub fn cld(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (vl, row) = row_of(vm, inst)?;
    event.work = Work::Tile { entries: vl, fold: false };
    let tile = &mut vm.c[usize::from(inst.rd)];
    tile.become_result(false, "cld")?;
    if vm.values {
        (0..vl as usize).for_each(|i| tile.put(row, i, vm.v.f32(inst.rs1, i)));
    }
    Ok(())
}

/// Tile to memory.
pub fn st_c(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.bound(inst.fd)?;
    let codes = &vm.formats[format];
    if codes.format.rule != ScaleRule::Cast {
        let message = format!("st.c rounds to formats without a scale; {} has one", codes.format.name);
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    let [tm, tn, _] = vm.tile;
    let (bytes, id) = (codes.bytes(tn.into()), codes.format.id);
    let rows = vm.stored(inst, event, tm, bytes)?;
    event.work = Work::Move { bytes: u64::from(tm) * bytes, rows: tm, format: id };
    if vm.values {
        let (codes, tile) = (&vm.formats[format], &vm.c[usize::from(inst.rd)]);
        let mut values = Vec::new();
        for m in 0..tm {
            let to = vm.memory.get_mut(rows.row(m));
            if codes.is_f32 {
                // Values are canonical, so that their codes are their bits.
                values.resize(tn as usize, 0.0);
                tile.values(m as usize, &mut values);
                to.as_chunks_mut().0.iter_mut().zip(&values).for_each(|(to, value)| *to = value.to_le_bytes());
                continue;
            }
            for n in 0..tn as usize {
                codes.store(to, n, cast(codes.format, tile.value(m as usize, n)));
            }
        }
    }
    Ok(())
}

/// Memory to tile.
pub fn ld_c(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let codes = vm.codes(inst.fd)?;
    let id = codes.format.id;
    if !codes.is_f32 {
        let message = format!("ld.c loads fp32 entries, not {}", codes.format.name);
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    let [tm, tn, _] = vm.tile;
    let bytes = 4 * u64::from(tn);
    let rows = vm.rows(inst, event, false, tm, bytes)?;
    event.work = Work::Move { bytes: u64::from(tm) * bytes, rows: tm, format: id };
    let tile = &mut vm.c[usize::from(inst.rd)];
    tile.become_result(true, "ld.c")?;
    if vm.values {
        for m in 0..tm {
            for (n, b) in vm.memory.get(rows.row(m)).chunks_exact(4).enumerate() {
                tile.put(m as usize, n, f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            }
        }
    }
    Ok(())
}
