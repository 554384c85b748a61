//! Masks as operands and results, moves of live elements, rows of tiles, positions and breakpoints.

use super::*;
use crate::isa::table::{Class, MaskOp};

pub(super) const VLENS: [u32; 4] = [32, 512, 4096, 16384];

/// The bits of `instruction`'s result v`out` over elements of any number, a register of `vlen` bits at a time; v1, v2, ..
/// hold `inputs`. What the result register held before must not show.
pub(super) fn by_register(vlen: u32, inputs: &[&[f32]], out: u8, instruction: impl Fn(&mut Program)) -> Vec<u32> {
    let (all, room) = (inputs[0].len(), vlen as usize / 32);
    let mut bits = Vec::new();
    for start in (0..all).step_by(room) {
        let vl = room.min(all - start);
        let mut p = Program::new();
        p.setvl(vl as u64, 1);
        instruction(&mut p);
        let mut vm = p.vm(vlen);
        vm.v.get_mut(out).fill(0x5a);
        for (register, input) in (1..).zip(inputs) {
            vm.v.get_mut(register).fill(0x5a);
            (0..vl).for_each(|i| vm.v.set_f32(register, i, input[start + i]));
        }
        vm.run().expect("the test program halts");
        let found = floats(&vm, out);
        assert!(found[vl..].iter().all(|x| x.to_bits() == 0), "elements from vl on are zero");
        bits.extend(found[..vl].iter().map(|x| x.to_bits()));
    }
    bits
}

/// Sets mask `n` of a core to `bits`.
fn set_mask(vm: &mut Vm, n: usize, bits: &[bool]) {
    vm.p[n].reset(bits.len() as u32);
    for (i, bit) in (0..).zip(bits) {
        vm.p[n].set(i, *bit);
    }
}

/// A bit that depends on its position and a seed.
fn noise(i: usize, seed: usize) -> bool {
    (i * 2_654_435_761 + seed * 40_503) >> 7 & 3 > 1
}

#[test]
pub(super) fn breakpoints_change_nothing() {
    let mut p = Program::new();
    p.li(1, 7).op(Op::Brkpt, |_| ());
    let event = p.last_event();
    assert_eq!((event.unit, event.work, event.reads, event.writes), (Unit::C, Work::None, RegSet(0), RegSet(0)));
    p.alu(Alu::Add, 1, 1, 1);
    let vm = p.run();
    assert_eq!((vm.x(1), vm.pc() as usize), (Some(8), p.at()));
}

#[test]
pub(super) fn masks_are_stored() {
    // Bytes 8 and 9 of control memory: bits 3, 8 and 11 of twelve.
    let mut p = Program::new();
    p.li(1, CONTROL + 8).li(2, 12).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 1, 2));
    p.li(3, SRAM).li(4, u64::MAX);
    p.op(Op::Sw, |i| (i.rd, i.rs1, i.sub) = (4, 3, 3));
    for (count, mode) in [(12, 1), (20, 1), (0, 1), (9, 0)] {
        p.li(2, count).op(Op::StM, |i| (i.rd, i.rs1, i.rs3, i.mode) = (1, 3, 2, mode));
    }
    let event = p.last_event();
    assert_eq!(event.work, Work::Move { bytes: 2, rows: 1, format: event::NO_FORMAT });
    assert_eq!(event.touched()[0], Access { space: Space::Sram, write: true, lo: 5, hi: 7, bytes: 2, runs: 1 });
    let mut vm = p.run();
    assert_eq!(vm.x(3), Some(SRAM + 5), "two, three and no bytes");
    assert_eq!(vm.read(SRAM, 8).unwrap(), [0x08, 0x09, 0x08, 0x09, 0x00, 0x08, 0x01, 0xff]);
    for vlen in VLENS {
        let mut p = Program::new();
        p.li(1, SRAM).li(2, vlen.into()).op(Op::StM, |i| (i.rs1, i.rs3) = (1, 2));
        let mut vm = p.vm(vlen);
        vm.run().expect("halts");
        assert!(vm.read(SRAM, u64::from(vlen) / 8).unwrap().iter().all(|byte| *byte == 0xff), "p0 is all ones");
        let mut p = Program::new();
        p.li(1, SRAM).li(2, u64::from(vlen) + 1).op(Op::StM, |i| (i.rs1, i.rs3) = (1, 2));
        assert_eq!(p.vm(vlen).run().unwrap_err().kind(), TrapKind::Shape);
    }
}

#[test]
fn unknown_masks_are_not_stored_where_they_matter() {
    for (space, want) in [(SRAM, None), (CONTROL, Some(TrapKind::Data))] {
        let mut p = Program::new();
        p.li(1, SRAM).li(2, 9).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 1, 2));
        p.op(Op::MOp, |i| (i.rd, i.rs1, i.rs2) = (2, 0, 1));
        p.li(1, space).op(Op::StM, |i| (i.rd, i.rs1, i.rs3) = (2, 1, 2));
        let mut vm = Vm::new(p.object(), config(512), Mode::TimingOnly).expect("loads");
        assert_eq!(vm.run().err().map(|trap| trap.kind()), want);
        assert_eq!(vm.p(2, 0), None);
    }
}

#[test]
pub(super) fn masks_combine_up_to_the_shorter() {
    type Function = fn(bool, bool) -> bool;
    let table: [(MaskOp, Function); 4] = [
        (MaskOp::MAnd, |a, b| a & b),
        (MaskOp::MOr, |a, b| a | b),
        (MaskOp::MXor, |a, b| a ^ b),
        (MaskOp::MAndn, |a, b| a & !b),
    ];
    for vlen in VLENS {
        for (op, want) in table {
            for [la, lb] in [[vlen as usize, 29], [31, 32], [0, 5], [1, 1]] {
                let [a, b] = [(la, 1), (lb, 2)].map(|(n, seed)| (0..n).map(|i| noise(i, seed)).collect::<Vec<_>>());
                let mut p = Program::new();
                p.op(Op::MOp, |i| (i.rd, i.rs1, i.rs2, i.mode) = (1, 1, 2, op as u8));
                p.op(Op::MOp, |i| (i.rd, i.rs1, i.rs2, i.mode) = (3, 0, 2, MaskOp::MAndn as u8));
                let mut vm = p.vm(vlen);
                set_mask(&mut vm, 1, &a);
                set_mask(&mut vm, 2, &b);
                vm.run().expect("halts");
                for i in 0..vlen as usize {
                    let of = |f: Function| i < la.min(lb) && f(a[i], b[i]);
                    assert_eq!(vm.p(1, i as u32), Some(of(want)), "{} {i}", op.name());
                    assert_eq!(vm.p(3, i as u32), Some(i < lb && !b[i]), "inverted {i}");
                }
                assert_eq!((vm.p[1].len as usize, vm.p[3].len as usize), (la.min(lb), lb));
            }
        }
    }
    let mut p = Program::new();
    p.op(Op::MOp, |i| (i.rd, i.rs1, i.rs2) = (0, 1, 2));
    assert_eq!(p.trap().kind(), TrapKind::Shape, "p0 is constant");
    let mut p = Program::new();
    p.op(Op::MOp, |i| (i.rd, i.rs1, i.rs2) = (1, 0, 0));
    assert_eq!(p.last_event().work, Work::Elementwise { kind: EwKind::Bit, elements: 512 });
}

/// Runs pack or expand of format slot `slot` on codes 1, 2, 3, .. (mod the format's) under a mask; the codes and the count.
fn moved(vlen: u32, op: Op, slot: u8, mask: &[bool], vl: usize) -> (Vec<u32>, Option<u64>) {
    let mut p = Program::new();
    p.li(31, vl as u64).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, slot, slot));
    p.op(op, |i| (i.rd, i.rs1, i.rs2, i.fa, i.rs3) = (1, 1, 1, slot, 5));
    let mut vm = p.vm(vlen);
    set_mask(&mut vm, 1, mask);
    let codes = vm.formats[usize::from(slot) - 1].clone();
    let all = (vlen / codes.bits) as usize;
    (0..all).for_each(|i| codes.put(vm.v.get_mut(1), i, code(i, codes.format.bits)));
    vm.run().expect("halts");
    ((0..all).map(|i| codes.code(vm.v(1).expect("functional"), i)).collect(), vm.x(5))
}

/// A code that names its position as well as its bits allow.
fn code(i: usize, bits: u32) -> u32 {
    let spread = (i as u32 + 1).wrapping_mul(2_654_435_761);
    if bits == 32 { spread } else { (i as u32 + 1) % (1 << bits) }
}

#[test]
pub(super) fn live_elements_move_to_the_front_and_back() {
    for vlen in VLENS {
        for slot in [1u8, 2, 4, 5, 6, 9] {
            let format = find(Program::FORMATS[usize::from(slot) - 1]).unwrap();
            let (room, bits) = ((vlen / format.container_bits) as usize, format.bits);
            for vl in [room, 1, room.saturating_sub(3).max(1)] {
                for mask in [vec![], vec![false; vl], vec![true; vl], (0..vl).map(|i| noise(i, 7)).collect()] {
                    let live: Vec<usize> = (0..vl).filter(|i| mask.get(*i) == Some(&true)).collect();
                    let zero = crate::num::cast(format, 0.0);
                    let mut packed = vec![zero; room];
                    let mut expanded = vec![zero; room];
                    for (k, i) in live.iter().enumerate() {
                        (packed[k], expanded[*i]) = (code(*i, bits), code(k, bits));
                    }
                    let count = Some(live.len() as u64);
                    let what = format!("{} of {vl} at {vlen}", format.name);
                    assert_eq!(moved(vlen, Op::Pack, slot, &mask, vl), (packed, count), "pack {what}");
                    assert_eq!(moved(vlen, Op::Expand, slot, &mask, vl), (expanded, count), "expand {what}");
                }
            }
        }
    }
}

#[test]
fn moves_of_elements_copy_them_and_know_their_number_when_they_can() {
    for op in [Op::Pack, Op::Expand] {
        let mut p = Program::new();
        p.setvl(5, 1).op(op, |i| (i.rd, i.rs1, i.rs2, i.fa, i.rs3) = (1, 2, 1, 4, 5));
        let event = p.last_event();
        assert_eq!(event.work, Work::Elementwise { kind: EwKind::Copy, elements: 5 });
        let mut set = RegSet::default();
        [(RegSet::V, 1), (RegSet::X, 5)].iter().for_each(|&(class, n)| set.add(class, n));
        assert_eq!(event.writes, set);
        let mut p = Program::new();
        p.li(31, 500).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, 6, 6));
        p.op(op, |i| (i.rd, i.rs1, i.rs2, i.fa) = (1, 2, 1, 4));
        assert_eq!(p.trap().kind(), TrapKind::Shape, "500 int8 in 512 bits");
        for (space, want) in [(CONTROL, Some(3)), (SRAM, None)] {
            let mut p = Program::new();
            p.li(1, space + 8).li(2, 12).op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 1, 2)).setvl(12, 1);
            p.op(op, |i| (i.rd, i.rs1, i.rs2, i.fa, i.rs3) = (1, 2, 1, 1, 5));
            let mut vm = Vm::new(p.object(), config(512), Mode::TimingOnly).expect("loads");
            vm.run().expect("halts");
            assert_eq!(vm.x(5), want);
        }
    }
}

#[test]
fn unknown_bits_of_nan_move_as_they_are() {
    let payload = f32::from_bits(0xffc1_2345);
    let packed = by_register(512, &[&[1.0, payload]], 3, |p| {
        p.op(Op::Pack, |i| (i.rd, i.rs1, i.rs2, i.fa) = (3, 1, 0, 1));
    });
    assert_eq!(packed, [0x3f80_0000, 0xffc1_2345], "p0 keeps all");
}

#[test]
pub(super) fn registers_become_rows_of_tiles() {
    for vlen in [512, 4096, 16384] {
        let mut p = Program::new();
        p.li(1, 2).vector(1, &[1.5, -0.0, f32::NAN, 4.0]).op(Op::Cld, |i| (i.rd, i.rs1, i.rs3) = (3, 1, 1));
        p.vector(2, &[9.0]).op(Op::Cld, |i| (i.rd, i.rs1, i.rs3) = (3, 2, 1));
        p.op(Op::Cld, |i| (i.rd, i.rs1) = (3, 2)).setvl(4, 1).op(Op::Cmv, |i| (i.rd, i.rs1, i.rs3) = (4, 3, 1));
        let mut vm = p.vm(vlen);
        vm.run().expect("halts");
        let row = floats(&vm, 4)[..5].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(row, [9.0f32.to_bits(), 1 << 31, 0x7fc0_0000, 4f32.to_bits(), 0]);
        assert_eq!([vm.c(3, 0, 0), vm.c(3, 0, 1), vm.c(3, 1, 0)], [Some(9.0), Some(0.0), Some(0.0)]);
    }
    let mut p = Program::new();
    p.li(1, 8).setvl(1, 1).op(Op::Cld, |i| (i.rd, i.rs1, i.rs3) = (3, 1, 1));
    assert_eq!(p.trap().kind(), TrapKind::Shape, "row 8 of 8");
    let mut p = Program::new();
    p.setvl(16, 1).op(Op::Cld, |i| (i.rd, i.rs1) = (3, 1));
    assert_eq!(p.last_event().work, Work::Tile { entries: 16, fold: false });
    // Sums in progress are no results.
    let mut p = Program::new();
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (3, Class::Exact as u16)).li(1, 1).li(2, 8);
    p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, 4, 4));
    p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (3, 1, 2, 4, 4)).op(Op::Cld, |i| (i.rd, i.rs1) = (3, 1));
    assert_eq!(p.trap().kind(), TrapKind::Acc);
}

#[test]
pub(super) fn positions() {
    let starts = [0u64, 5, -3i64 as u64, (1 << 24) - 2, u64::MAX, 1 << 63, (1 << 63) - 1];
    for start in starts {
        let want: Vec<u32> = (0..40).map(|i| ((start as i64 as f64 + f64::from(i)) as f32).to_bits()).collect();
        for vlen in VLENS {
            let room = vlen as usize / 32;
            let mut got = Vec::new();
            for at in (0..40).step_by(room) {
                let blank = vec![0.0; room.min(40 - at)];
                got.extend(by_register(vlen, &[&blank], 1, |p| {
                    p.li(1, start.wrapping_add(at as u64)).op(Op::Idx, |i| (i.rd, i.rs1) = (1, 1));
                }));
            }
            // Around 2^63 the start wraps from one register to the next; within one it does not.
            if !(1 << 62..=(1 << 63) + 64).contains(&start) {
                assert_eq!(got, want, "{start} at {vlen}");
            }
            assert_eq!(got[0], want[0]);
        }
    }
    let mut p = Program::new();
    p.setvl(7, 1).op(Op::Idx, |i| (i.rd, i.rs1) = (1, 1));
    assert_eq!(p.last_event().work, Work::Elementwise { kind: EwKind::Convert, elements: 7 });
}
