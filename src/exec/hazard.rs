//! Which registers an instruction reads and writes, from its row: the scoreboard of `sim` stands on this.
//!
//! The rule: the first operand is written, the others are read. What departs from it is listed by name.

use super::event::RegSet;
use crate::isa::encode::Step;
use crate::isa::table::{Field, Operand, RegClass, Rule, When};
use crate::isa::{Inst, Op};

/// Registers that `inst` reads and writes. Tags, DMA shapes and format slots are taken at issue,
/// decoders live in the load/store unit, which works in order: none of these is recorded;
/// x0 and p0 are constants.
pub fn registers(inst: &Inst) -> (RegSet, RegSet) {
    let (mut reads, mut writes) = (RegSet::default(), RegSet::default());
    let first_is_read = first_is_source(inst.op);
    for (at, operand) in inst.op.row().operands.iter().enumerate() {
        let written = at == 0 && !first_is_read || is_count(inst.op, operand);
        let to = if written { &mut writes } else { &mut reads };
        match *operand {
            Operand::Reg { when: When::Sub(code), .. } if code != inst.sub_code() => {}
            Operand::Reg { when: When::Given, field, .. } if inst.get(field) == 0 => {}
            Operand::Reg { class, field, .. } => add(to, class, inst.get(field)),
            Operand::RegOrImm { field } if !inst.is_immediate() => add(to, RegClass::X, inst.get(field)),
            Operand::Base { field } => add(&mut reads, RegClass::X, inst.get(field)),
            Operand::Tile { field } => {
                add(to, RegClass::C, inst.get(field));
                add(&mut reads, RegClass::X, inst.get(Field::Rs3));
            }
            Operand::Mem { .. } => {
                let mem = inst.mem();
                add(&mut reads, RegClass::X, mem.base.into());
                if mem.step != Step::Stay {
                    add(&mut writes, RegClass::X, mem.base.into());
                }
                if let Step::Register(step) = mem.step {
                    add(&mut reads, RegClass::X, step.into());
                }
                if let Some(rows) = mem.rows {
                    add(&mut reads, RegClass::X, rows.into());
                }
            }
            Operand::Mask => add(&mut reads, RegClass::P, inst.pm.into()),
            _ => {}
        }
    }
    add_special(inst, &mut reads, &mut writes);
    (reads, writes)
}

/// Rows whose first operand is not written.
fn first_is_source(op: Op) -> bool {
    use Op::*;
    matches!(op, Sw | Branch | Loop | Node | SrSet | JmpMask | StBp | StM | StS | StC | MmW | MmS | MmWin | Bar | Sig)
}

/// The count that pack and expand give back.
fn is_count(op: Op, operand: &Operand) -> bool {
    matches!(op, Op::Pack | Op::Expand) && matches!(operand, Operand::Reg { class: RegClass::X, .. })
}

/// What the operands do not show: accumulation, register pairs, cleared sources.
fn add_special(inst: &Inst, reads: &mut RegSet, writes: &mut RegSet) {
    let pair = |n: u8| i64::from(n) + 1;
    match inst.op {
        Op::Lih => add(reads, RegClass::X, inst.rd.into()),
        Op::LdBp if inst.pm != 0 && !inst.pz => add(reads, RegClass::V, inst.rd.into()),
        Op::Mac | Op::Red | Op::Adc | Op::Cld => add(reads, RegClass::C, inst.rd.into()),
        Op::Macp => {
            add(reads, RegClass::C, inst.rd.into());
            (1..i64::from(inst.imm)).for_each(|plane| add(reads, RegClass::V, i64::from(inst.rs1) + plane));
        }
        Op::OptSgd | Op::OptAdam => {
            add(reads, RegClass::V, inst.rd.into());
            add(writes, RegClass::V, inst.rs1.into());
            if inst.op == Op::OptAdam {
                add(writes, RegClass::V, inst.rs2.into());
            }
        }
        Op::MmX if !inst.flag(3) => add(reads, RegClass::C, inst.rd.into()),
        Op::Setmac => add(writes, RegClass::X, pair(inst.rd)),
        Op::Fold => {
            add(writes, RegClass::C, inst.rs1.into());
            if !inst.flag(0) {
                add(reads, RegClass::C, inst.rd.into());
            }
        }
        Op::RedEnd => add(writes, RegClass::C, inst.rs1.into()),
        Op::Bit => drop_unused_sources(inst, reads),
        Op::Qset => {
            add(writes, RegClass::Q, pair(inst.rd));
            if inst.mode == Rule::Nv as u8 {
                add(reads, RegClass::Q, inst.rs3.into());
            }
        }
        Op::Quant => add(reads, RegClass::Q, pair(inst.rs2)),
        Op::Rope => {
            add(reads, RegClass::V, pair(inst.rs1));
            add(reads, RegClass::V, pair(inst.rs2));
            add(writes, RegClass::V, pair(inst.rd));
        }
        _ => {}
    }
}

/// A truth table reads only the sources that it depends on.
fn drop_unused_sources(inst: &Inst, reads: &mut RegSet) {
    *reads = RegSet::default();
    let table = inst.imm as u8;
    for (n, shift, mask) in [(inst.rs1, 4, 0x0f), (inst.rs2, 2, 0x33), (inst.rs3, 1, 0x55)] {
        if (table ^ table >> shift) & mask != 0 {
            add(reads, RegClass::V, n.into());
        }
    }
}

fn add(set: &mut RegSet, class: RegClass, n: i64) {
    let base = match class {
        RegClass::X => RegSet::X,
        RegClass::V => RegSet::V,
        RegClass::P => RegSet::P,
        RegClass::C => RegSet::C,
        RegClass::Q => RegSet::Q,
        RegClass::T | RegClass::D | RegClass::F | RegClass::E => return,
    };
    let constant = n == 0 && matches!(class, RegClass::X | RegClass::P);
    if !constant && n < i64::from(class.count()) {
        set.add(base, n as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[(u32, u8)]) -> RegSet {
        let mut set = RegSet::default();
        list.iter().for_each(|&(base, n)| set.add(base, n));
        set
    }

    #[test]
    fn accumulation_reads_and_writes_its_tile() {
        let mut inst = Inst::new(Op::Mac);
        (inst.rd, inst.rs1, inst.rs2, inst.rs3, inst.pm) = (2, 3, 4, 5, 1);
        let (reads, writes) = registers(&inst);
        let all = [(RegSet::C, 2), (RegSet::V, 3), (RegSet::V, 4), (RegSet::X, 5), (RegSet::P, 1)];
        assert_eq!((reads, writes), (set(&all), set(&all[..1])));
    }

    #[test]
    fn stores_write_only_their_moving_base() {
        let mut inst = Inst::new(Op::StBp);
        (inst.rd, inst.rs1, inst.mode) = (7, 10, 1);
        assert_eq!(registers(&inst), (set(&[(RegSet::V, 7), (RegSet::X, 10)]), set(&[(RegSet::X, 10)])));
    }

    #[test]
    fn truth_tables_read_what_they_depend_on() {
        let mut inst = Inst::new(Op::Bit);
        (inst.rd, inst.rs1, inst.rs2, inst.rs3) = (1, 2, 3, 4);
        let sources = [(RegSet::V, 2), (RegSet::V, 3), (RegSet::V, 4)];
        for (table, read) in [(0xc0, &sources[..2]), (0xe8, &sources), (0xaa, &sources[2..]), (0xff, &[])] {
            inst.imm = table;
            assert_eq!(registers(&inst), (set(read), set(&[(RegSet::V, 1)])), "{table:#x}");
        }
    }

    #[test]
    fn fold_clears_its_source_and_new_ignores_the_old_result() {
        let mut inst = Inst::new(Op::Fold);
        (inst.rd, inst.rs1, inst.rs2, inst.rs3) = (1, 0, 2, 3);
        let sources = [(RegSet::C, 0), (RegSet::Q, 2), (RegSet::Q, 3), (RegSet::C, 1)];
        assert_eq!(registers(&inst), (set(&sources), set(&[(RegSet::C, 0), (RegSet::C, 1)])));
        inst.mode = 1;
        assert_eq!(registers(&inst).0, set(&sources[..3]));
    }
}
