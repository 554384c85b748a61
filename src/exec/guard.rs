//! Guards: checksums of a product, exact to the bit, so that a flipped entry is found and located.

use super::Vm;
use super::acc::Tile;
use super::event::{Event, Work};
use super::tile::entries_of;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;

/// What stands for a row or column where none disagrees.
const NONE: u32 = u32::MAX;

/// Checks a tile against the sums of its rows and columns.
pub fn abft(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let [tm, tn, _] = vm.tile;
    if tm > vm.config.acc_rows || tn > vm.config.acc_cols {
        return Err(Trap::new(TrapKind::Shape, format!("a view of {tm} x {tn} entries of a smaller tile")));
    }
    event.work = Work::Tile { entries: entries_of(tm + 1, tn + 1)? - 1, fold: true };
    let [sums, of_rows, of_columns] = [inst.rs1, inst.rs2, inst.rs3].map(|n| &vm.c[usize::from(n)]);
    for checksums in [of_rows, of_columns] {
        sums.comparable(checksums)?;
    }
    if !vm.values {
        vm.x.set(inst.rd, None);
        return Ok(());
    }
    let (rows, columns) = (0..tm as usize, 0..tn as usize);
    let row_is_wrong = |m: &usize| !agree(sums, columns.clone().map(|n| (*m, n)), (of_rows, (*m, 0)));
    let column_is_wrong = |n: &usize| !agree(sums, rows.clone().map(|m| (m, *n)), (of_columns, (0, *n)));
    let row = rows.clone().find(row_is_wrong).map_or(NONE, |m| m as u32);
    let column = columns.clone().find(column_is_wrong).map_or(NONE, |n| n as u32);
    if inst.flag(0) && (row, column) != (NONE, NONE) {
        let name = |n: u32| if n == NONE { "none".to_string() } else { n.to_string() };
        let (row, column) = (name(row), name(column));
        let message =
            format!("c{} disagrees with its checksums: first wrong row {row}, first wrong column {column}", inst.rs1);
        return Err(Trap::new(TrapKind::Guard, message));
    }
    vm.x.set(inst.rd, Some(u64::from(row) << 32 | u64::from(column)));
    Ok(())
}

/// Whether the entries of `tile` at `places` add up to an entry of another tile, modulo 2^128. Codes that are no numbers
/// agree with such codes.
fn agree(tile: &Tile, places: impl Iterator<Item = (usize, usize)>, (checksums, at): (&Tile, (usize, usize))) -> bool {
    let (mut sum, mut special) = (0i128, false);
    for (row, col) in places {
        let (quanta, mark) = tile.quanta(row, col);
        sum = sum.wrapping_add(quanta);
        special |= mark;
    }
    let (want, wanted_special) = checksums.quanta(at.0, at.1);
    special == wanted_special && (special || sum == want)
}
