//! Bit vectors: truth tables, funnel shifts, streams and counts against bit-by-bit references at every vector length.

use super::*;
use crate::isa::table::{Fill, Red};
use crate::num::stream::{Source, Words};

/// Slot of binary: elements of one bit.
const BITS: u8 = 6;
const VLENS: [u32; 5] = [32, 64, 512, 4096, 16384];

/// Pseudo-random bytes that a test can name.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    Words::new(Source::Philox, seed, 0).take(bytes).map(|word| word as u8).collect()
}

/// A core whose v1, v2, v3 hold patterns.
fn core(program: &Program, vlen: u32) -> Vm {
    let mut vm = program.vm(vlen);
    for n in 1..4u8 {
        vm.v.get_mut(n).copy_from_slice(&pattern(n.into(), vlen as usize / 8));
    }
    vm.run().expect("the test program halts");
    vm
}

fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

#[test]
pub(super) fn truth_tables() {
    for vlen in VLENS {
        for table in [0x00, 0xff, 0xc0, 0xc3, 0xe4, 0x3c, 0x96, 0xe8, 0x1b] {
            // The last vl leaves a part of a byte, and vd is a source.
            for vl in [u64::from(vlen), 29] {
                let mut p = Program::new();
                p.setvl(vl, 1).li(31, vl).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, BITS, BITS));
                p.op(Op::Bit, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.imm) = (3, 1, 2, 3, table));
                let vm = core(&p, vlen);
                let [a, b, c] = [1, 2, 3].map(|seed| pattern(seed, vlen as usize / 8));
                for i in 0..vlen as usize {
                    let index = 4 * bit(&a, i) + 2 * bit(&b, i) + bit(&c, i);
                    let want = if i < vl as usize { (table >> index) as u8 & 1 } else { 0 };
                    assert_eq!(bit(vm.v(3).expect("functional"), i), want, "{table:#x}, bit {i} of {vl}");
                }
            }
        }
    }
}

#[test]
pub(super) fn funnel() {
    for vlen in [32, 512] {
        for (vl, count) in [(u64::from(vlen), 0), (u64::from(vlen), 7), (29, 13), (29, 29), (29, 57), (29, u64::MAX)] {
            let mut p = Program::new();
            p.li(4, count).li(31, vl).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, BITS, BITS));
            p.op(Op::Rot, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (1, 1, 2, 4));
            let vm = core(&p, vlen);
            let [a, b] = [1, 2].map(|seed| pattern(seed, vlen as usize / 8));
            for i in 0..vlen as usize {
                let at = ((i as u128 + u128::from(count)) % (2 * u128::from(vl))) as usize;
                let from = if at < vl as usize { bit(&a, at) } else { bit(&b, at - vl as usize) };
                let want = if i < vl as usize { from } else { 0 };
                assert_eq!(bit(vm.v(1).expect("functional"), i), want, "bit {i}, {vl} bits by {count}");
            }
        }
    }
    let mut p = Program::new();
    p.op(Op::Rot, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (3, 1, 2, 4));
    assert!(core(&p, 512).v(3).is_some_and(|v| v.iter().all(|byte| *byte == 0)), "vl = 0");
}

/// Bits `from..to` of a stream as the processor makes them, a register at a time.
fn generated(vlen: u32, kind: u8, (p, key): (u64, u64), from: u64, count: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    while bits.len() < count {
        let vl = (count - bits.len()).min(vlen as usize);
        let mut program = Program::new();
        program.li(1, p).li(2, key).li(3, from + bits.len() as u64).li(4, vl as u64);
        program.op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (4, 4, BITS, BITS));
        program.op(Op::ScGen, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.mode) = (5, 1, 2, 3, kind));
        let vm = core(&program, vlen);
        let register = vm.v(5).expect("functional");
        bits.extend((0..vl).map(|i| bit(register, i)));
        assert!((vl..vlen as usize).all(|i| bit(register, i) == 0));
    }
    bits
}

#[test]
pub(super) fn streams() {
    let sources = [Source::Lfsr, Source::Sobol, Source::Philox];
    for (kind, source) in (0..).zip(sources) {
        for (p, key) in [(0, 1), (1 << 31, 2), (0x1234_5678, 0xfeed_0000_0003), (1 << 32, 4), (u64::MAX, 5)] {
            let words = Words::new(source, key, 65_500);
            let want: Vec<u8> = words.take(300).map(|word| u8::from(u64::from(word) < p)).collect();
            for vlen in VLENS {
                assert_eq!(generated(vlen, kind, (p, key), 65_500, 300), want, "{source:?} {p:#x} at {vlen}");
            }
            let ones = want.iter().filter(|bit| **bit == 1).count();
            assert!(p != 0 || ones == 0);
            assert!(p < 1 << 32 || ones == 300);
        }
    }
}

#[test]
fn counts_of_ones_are_exact_sums() {
    for vlen in VLENS {
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (1, 1)).op(Op::CFill, |i| (i.rd, i.mode) = (1, Fill::Zero as u8));
        p.li(7, 29).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 7, BITS, BITS));
        p.op(Op::Red, |i| (i.rd, i.rs1, i.rs2, i.mode) = (1, 1, 7, Red::Pop as u8));
        p.li(7, 32).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 7, BITS, BITS));
        p.op(Op::Red, |i| (i.rd, i.rs1, i.rs2, i.mode) = (1, 2, 0, Red::Pop as u8));
        p.setvl(1, 1).op(Op::RedEnd, |i| (i.rd, i.rs1, i.mode) = (4, 1, Red::Pop as u8));
        let ones = |seed, n| (0..n).filter(|i| bit(&pattern(seed, 4), *i) == 1).count();
        assert_eq!(floats(&core(&p, vlen), 4)[0], (ones(1, 29) + ones(2, 32)) as f32);
    }
}

#[test]
fn events_tell_the_bits_that_were_worked_on() {
    let mut p = Program::new();
    p.li(31, 300).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, BITS, BITS));
    let kinds: [(Op, u8, EwKind); 6] = [
        (Op::Bit, 0, EwKind::Bit),
        (Op::Rot, 0, EwKind::Bit),
        (Op::ScGen, 0, EwKind::Lfsr),
        (Op::ScGen, 1, EwKind::Sobol),
        (Op::ScGen, 2, EwKind::Philox),
        (Op::Red, Red::Pop as u8, EwKind::Pop),
    ];
    for (op, mode, kind) in kinds {
        if op == Op::Red {
            p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, 1));
        }
        p.op(op, |i| i.mode = mode);
        assert_eq!(p.last_event().work, Work::Elementwise { kind, elements: 300 }, "{op:?} {mode}");
    }
}

#[test]
fn timing_only_mode_needs_no_bits_and_no_known_operands() {
    let mut p = Program::new();
    // x5 comes from SRAM: unknown without values.
    p.li(1, SRAM).op(Op::Lw, |i| (i.rd, i.rs1, i.sub) = (5, 1, 3));
    p.li(31, 300).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (31, 31, BITS, BITS));
    p.op(Op::ScGen, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (1, 5, 5, 5));
    p.op(Op::Rot, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (2, 1, 1, 5));
    p.op(Op::Bit, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.imm) = (3, 1, 2, 3, 0xe8));
    p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, 1)).op(Op::Red, |i| (i.rd, i.rs1, i.mode) = (0, 3, Red::Pop as u8));
    let mut vm = Vm::new(p.object(), config(512), Mode::TimingOnly).expect("loads");
    assert_eq!(vm.run().err().map(|trap| trap.to_string()), None);
    assert_eq!(vm.v(3), None);
}
