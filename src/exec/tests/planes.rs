//! Weights in planes of bits against integers, at every vector length and class.

use super::*;
use crate::isa::table::{Class, Planes};
use crate::num::DotClass;

/// Slots: int8, ternary, binary, fp8e4m3, fp32.
const INT8: u8 = 4;
const TERNARY: u8 = 5;
const BINARY: u8 = 6;

/// Bit of plane `j`, output `n`, position `k`.
fn bit(j: usize, n: usize, k: usize) -> i64 {
    i64::from((j * 77 + n * 31 + k * 13 + k * k / 4) / 5 % 2 == 1)
}

fn trit(k: usize) -> i64 {
    (k as i64 * 7 + 2) % 3 - 1
}

/// What the planes of one weight mean, from the definition of the mode.
fn weight(mode: Planes, planes: usize, n: usize, k: usize) -> i64 {
    match mode {
        Planes::Tri | Planes::Colour => (0..planes).map(|j| 1 - 2 * bit(j, n, k)).sum(),
        Planes::Bits => (0..planes).map(|j| bit(j, n, k) << j).sum::<i64>() - (bit(planes - 1, n, k) << planes),
        Planes::Tern => match (bit(0, n, k), bit(1, n, k)) {
            (0, _) => 0,
            (_, negative) => 1 - 2 * negative,
        },
    }
}

/// macp over `depth` terms of ternary inputs in as many steps as the vector length needs; the core at the end.
fn run(vlen: u32, mode: Planes, planes: usize, class: Class, depth: usize, mask: Option<fn(usize) -> bool>) -> Vm {
    let mut p = Program::new();
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (2, class as u16)).li(1, 2).li(2, depth as u64).li(7, 1);
    p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, BINARY, TERNARY));
    let view = p.at();
    let pm = u8::from(mask.is_some());
    let fields = |i: &mut Inst| {
        (i.rd, i.rs1, i.rs2, i.rs3, i.fb, i.mode) = (2, 8, 1, 7, TERNARY, mode as u8);
        (i.imm, i.pm) = (planes as i32, pm);
    };
    p.op(Op::Macp, fields);
    let mut vm = p.vm(vlen);
    let mut event = Event::new();
    let mut done = 0;
    while done < depth {
        while vm.pc() as usize != view {
            vm.step(&mut event).expect("no trap");
        }
        let (nl, kd) = (vm.view.nl as usize, vm.view.kd as usize);
        assert_eq!(nl, 2, "both outputs fit");
        let count = kd.min(depth - done);
        for (n, plane) in (0..nl).flat_map(|n| (0..planes).map(move |j| (n, j))) {
            let pitch = vm.view.pitch as usize;
            for k in 0..count {
                let at = n * pitch + k;
                vm.v.get_mut(8 + plane as u8)[at / 8] &= !(1 << (at % 8));
                vm.v.get_mut(8 + plane as u8)[at / 8] |= (bit(plane, n, done + k) as u8) << (at % 8);
            }
        }
        vm.p[1].reset(kd as u32);
        let codes = vm.formats[usize::from(TERNARY) - 1].clone();
        for k in 0..kd {
            let x = if k < count { trit(done + k) } else { 0 };
            codes.put(vm.v.get_mut(1), k, x.rem_euclid(3) as u32);
            vm.p[1].set(k as u32, k < count && mask.is_none_or(|live| live(done + k)));
        }
        vm.step(&mut event).expect("no trap");
        done += count;
        vm.pc = view as u32;
    }
    vm
}

#[test]
pub(super) fn planes_make_weights() {
    let cases = [
        (Planes::Tri, 3),
        (Planes::Tri, 8),
        (Planes::Bits, 1),
        (Planes::Bits, 2),
        (Planes::Bits, 8),
        (Planes::Tern, 2),
    ];
    for (mode, planes) in cases {
        let want = |n| (0..48).map(|k| weight(mode, planes, n, k) * trit(k)).sum::<i64>() as f32;
        for vlen in [32, 512, 4096, 16384] {
            for class in [Class::Exact, Class::Chain, Class::PairBf16, Class::Int24s] {
                let vm = run(vlen, mode, planes, class, 48, None);
                let got = [vm.c(2, 1, 0), vm.c(2, 1, 1)];
                assert_eq!(
                    got,
                    [Some(want(0)), Some(want(1))],
                    "{} of {planes} at {vlen}, {}",
                    mode.name(),
                    class.name()
                );
            }
            let live = |k: usize| k % 3 != 1;
            let masked = |n| {
                let terms = (0..48).filter(|k| live(*k)).map(|k| weight(mode, planes, n, k) * trit(k));
                terms.sum::<i64>() as f32
            };
            let vm = run(vlen, mode, planes, Class::Exact, 48, Some(live));
            assert_eq!([vm.c(2, 1, 0), vm.c(2, 1, 1)], [Some(masked(0)), Some(masked(1))], "masked {}", mode.name());
        }
    }
}

#[test]
fn colours_go_to_rows_of_their_own() {
    for vlen in [32, 512, 16384] {
        let vm = run(vlen, Planes::Colour, 3, Class::Exact, 48, None);
        for plane in 0..3 {
            for n in 0..2 {
                let want: i64 = (0..48).map(|k| (1 - 2 * bit(plane, n, k)) * trit(k)).sum();
                assert_eq!(vm.c(2, 1 + plane, n), Some(want as f32), "plane {plane}, output {n} at {vlen}");
            }
        }
        assert_eq!(vm.c(2, 4, 0), Some(0.0));
    }
}

/// The program up to macp of `planes` planes in `mode` from v`first`, into row x7 = `row`.
fn single(mode: Planes, planes: i32, first: u8, row: u64) -> Program {
    let mut p = Program::new();
    p.li(1, 2).li(2, 16).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, BINARY, INT8)).li(7, row);
    p.op(Op::Macp, |i| {
        (i.rd, i.rs1, i.rs2, i.rs3, i.fb, i.mode, i.imm) = (2, first, 1, 7, INT8, mode as u8, planes);
    });
    p
}

#[test]
fn planes_cost_by_their_number() {
    let binary = find("binary").unwrap().id;
    let inputs = find("int8").unwrap().id;
    for (mode, planes, outputs) in [(Planes::Tri, 3, 2), (Planes::Bits, 8, 2), (Planes::Colour, 4, 8)] {
        let event = single(mode, planes, 8, 0).last_event();
        let terms = planes as u32 * 32;
        let class = DotClass::Exact;
        let (live, granules, fullest) = (terms, terms, terms);
        let (weights, row) = (binary, 0);
        assert_eq!(event.work, Work::Mac { outputs, terms, live, granules, fullest, weights, inputs, class, row });
        let mut reads = RegSet::default();
        (0..planes as u8).for_each(|plane| reads.add(RegSet::V, 8 + plane));
        [(RegSet::V, 1), (RegSet::X, 7), (RegSet::C, 2)].iter().for_each(|&(class, n)| reads.add(class, n));
        assert_eq!(event.reads, reads);
    }
    // A mask with .z leaves out work as mac does.
    let mut p = single(Planes::Tri, 3, 8, 0);
    let inst = p.insts.last_mut().expect("macp");
    (inst.pm, inst.pz) = (1, true);
    let Work::Mac { terms, live, .. } = p.last_event().work else { panic!("a product") };
    assert_eq!((terms, live), (96, 0), "p1 is empty");
}

#[test]
fn planes_that_do_not_fit_trap() {
    for (mode, planes, first, row) in [
        (Planes::Tern, 3, 8, 0),
        (Planes::Tern, 1, 8, 0),
        (Planes::Tri, 4, 29, 0),
        (Planes::Tri, 1, 8, 8),
        (Planes::Colour, 3, 8, 6),
    ] {
        assert_eq!(single(mode, planes, first, row).trap().kind(), TrapKind::Shape, "{} {planes}", mode.name());
    }
    let mut p = Program::new();
    p.li(1, 4).li(2, 4).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, INT8, INT8));
    p.setvl(1, 1).op(Op::Macp, |i| (i.rd, i.rs1, i.rs2, i.fb, i.imm) = (2, 8, 1, 1, 2));
    assert_eq!(p.vm(128).run().unwrap_err().kind(), TrapKind::Shape, "a view of int8 with fp32 inputs");
}

#[test]
fn nan_inputs_reach_the_sums() {
    let mut p = Program::new();
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (2, Class::Chain as u16)).li(1, 1).li(2, 8);
    p.vector(1, &[1.0, f32::NAN]);
    p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 1, 2, BINARY, 1));
    p.op(Op::Macp, |i| (i.rd, i.rs1, i.rs2, i.fb, i.imm) = (2, 8, 1, 1, 3));
    assert_eq!(p.run().c(2, 0, 0).map(f32::to_bits), Some(0x7fc0_0000));
}
