//! Gradients, transforms and optimiser steps against closed forms and f64, at every vector length.

use super::moves::{VLENS, by_register};
use super::*;
use crate::isa::table::{Act, Ew, Ste};
use crate::num::gradient;

const NAN_BITS: u32 = 0x7fc0_0000;

/// `instruction` at every vector length: the bits, which must be the same at all.
fn same_at_all(inputs: &[&[f32]], out: u8, instruction: impl Fn(&mut Program)) -> Vec<u32> {
    let results = VLENS.map(|vlen| by_register(vlen, inputs, out, &instruction));
    for (vlen, result) in VLENS.iter().zip(&results) {
        assert_eq!(result, &results[0], "VLEN {vlen}");
    }
    results[0].clone()
}

fn to_bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Values of both signs over several binades, without a pattern that a transform could hide.
fn samples(count: usize, seed: u32) -> Vec<f32> {
    let word = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(0x9e37_79b1);
    (0..count).map(|i| (word(i) as i32 as f32) * 2f32.powi((i % 7) as i32 - 33)).collect()
}

type Slope = fn(f32) -> f32;

#[test]
pub(super) fn gradients_through_activations() {
    let (s, g) = ([-2.0, -0.0, 0.5, 1.0, f32::NAN, f32::INFINITY], [1.0, 2.0, -4.0, f32::INFINITY, 1.0, 0.5]);
    let of = |act: Act| {
        same_at_all(&[&s, &g], 3, |p| {
            p.op(Op::ActG, |i| (i.rd, i.rs1, i.rs2, i.mode) = (3, 1, 2, act as u8));
        })
    };
    assert_eq!(of(Act::Relu)[..4], to_bits(&[0.0, 0.0, -4.0, f32::INFINITY]));
    assert_eq!(of(Act::Relu2)[..4], to_bits(&[0.0, 0.0, -4.0, f32::INFINITY]));
    assert_eq!(f32::from_bits(of(Act::Relu2)[5]), f32::INFINITY);
    let slopes: [(Act, Slope); 3] =
        [(Act::Gelu, gradient::gelu), (Act::Silu, gradient::silu), (Act::Gelut, gradient::gelut)];
    for (act, slope) in slopes {
        assert_eq!(of(act)[..3], to_bits(&[slope(-2.0), 1.0, -4.0 * slope(0.5)]), "{}: half at 0", act.name());
        assert_eq!(of(act)[3..], [f32::INFINITY.to_bits(), NAN_BITS, 0.5f32.to_bits()], "{}", act.name());
    }
    for act in [Act::Relu, Act::Relu2] {
        assert_eq!(of(act)[4], NAN_BITS);
    }
    for (act, want) in [(Act::Relu, (EwKind::Mul, 5)), (Act::Gelu, (EwKind::Special, 10))] {
        let mut p = Program::new();
        p.setvl(5, 1).op(Op::ActG, |i| i.mode = act as u8);
        assert_eq!(p.last_event().work, Work::Elementwise { kind: want.0, elements: want.1 });
    }
}

/// had of v1 with the signs of v2 into v3.
fn had(p: &mut Program) {
    p.op(Op::Had, |i| (i.rd, i.rs1, i.rs2) = (3, 1, 2));
}

#[test]
pub(super) fn hadamard() {
    // Small integers: every sum is exact, so the dense matrix of signs (-1)^popcount(i & j) must agree in every bit.
    let x: Vec<f32> = (0..48).map(|i| ((i * 37 + 11) % 64) as f32 - 32.0).collect();
    let signs: Vec<f32> = (0..48).map(|i| if i * 5 % 7 > 3 { -0.0 } else { 2.0 }).collect();
    let sign = |i: usize, j: usize| if (i & j).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
    let signed = |i: usize| if signs[i].is_sign_negative() { -x[i] } else { x[i] };
    let want: Vec<f32> =
        (0..48).map(|at| (0..16).fold(0.0, |sum, i| sum + sign(i, at % 16) * signed(at / 16 * 16 + i)) / 4.0).collect();
    for vlen in [512, 4096, 16384] {
        assert_eq!(by_register(vlen, &[&x, &signs], 3, had), to_bits(&want), "VLEN {vlen}");
    }
    // Its own inverse, with the signs on the other side; here exact again.
    let back = by_register(512, &[&want, &[1.0; 48]], 3, had);
    assert_eq!(back, to_bits(&(0..48).map(signed).collect::<Vec<_>>()));
    // A NaN spreads over its run and no further.
    let mut poisoned = x.clone();
    poisoned[20] = f32::from_bits(0xff80_0001);
    let got = by_register(4096, &[&poisoned, &signs], 3, had);
    assert!(got[16..32].iter().all(|bits| *bits == NAN_BITS) && got[..16] == to_bits(&want)[..16]);
    let mut p = Program::new();
    p.setvl(16, 1).op(Op::Had, |_| ());
    assert_eq!(p.last_event().work, Work::Elementwise { kind: EwKind::Add, elements: 64 });
}

#[test]
fn hadamard_needs_whole_runs_and_is_addv_and_subv() {
    for (vlen, vl, kind) in [(512, 8, Some(TrapKind::Shape)), (32, 1, Some(TrapKind::Shape)), (32, 0, None)] {
        let mut p = Program::new();
        p.setvl(vl, 1).op(Op::Had, |i| (i.rd, i.rs1, i.rs2) = (3, 1, 2));
        assert_eq!(p.vm(vlen).run().err().map(|trap| trap.kind()), kind, "{vl} at {vlen}");
    }
    // One element a register at VLEN 32: the butterflies by name, on values whose sums round.
    let x = samples(16, 3);
    let mut p = Program::new();
    p.setvl(1, 1).f32(1, 0.25).op(Op::Bcast, |i| (i.rd, i.rs1) = (20, 1));
    for distance in [1, 2, 4, 8u8] {
        for i in (0..16u8).filter(|i| i & distance == 0) {
            for (to, op) in [(18, Ew::Addv), (i + distance, Ew::Subv)] {
                p.op(Op::Ew, |inst| (inst.rd, inst.rs1, inst.rs2, inst.mode) = (to, i, i + distance, op as u8));
            }
            p.op(Op::Ew, |inst| (inst.rd, inst.rs1, inst.rs2, inst.mode) = (i, 18, 19, Ew::Addv as u8));
        }
    }
    for n in 0..16 {
        p.op(Op::Ew, |i| (i.rd, i.rs1, i.rs2, i.mode) = (n, n, 20, Ew::Mulv as u8));
    }
    let mut vm = p.vm(32);
    (0..16).for_each(|n| vm.v.set_f32(n as u8, 0, x[n]));
    vm.v.set_f32(19, 0, -0.0);
    vm.run().expect("halts");
    let by_steps: Vec<u32> = (0..16).map(|n| floats(&vm, n)[0].to_bits()).collect();
    assert_eq!(by_register(512, &[&x, &[1.0; 16]], 3, had), by_steps);
}

/// ste of kind `kind` with gradients v1 at v2, parameter in x1 if given, format slot `slot`.
fn ste(kind: Ste, parameter: Option<f32>, slot: u8) -> impl Fn(&mut Program) {
    move |p| {
        p.f32(1, parameter.unwrap_or(99.0));
        let given = u8::from(parameter.is_some());
        p.op(Op::Ste, |i| (i.rd, i.rs1, i.rs2, i.mode, i.rs3, i.fa) = (3, 1, 2, kind as u8, given, slot));
    }
}

#[test]
pub(super) fn estimators() {
    let s = [-9.0, -1.0, -0.75, 0.0, 0.25, 1.0, 2.5, 6.0, 7.0, f32::NAN];
    let cases: &[(Ste, Option<f32>, u8, [f32; 9])] = &[
        (Ste::Identity, None, 0, [1.0; 9]),
        (Ste::Clip, None, 0, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        (Ste::Clip, Some(2.5), 0, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
        (Ste::Bireal, None, 0, [0.0, 0.0, 0.5, 2.0, 1.5, 0.0, 0.0, 0.0, 0.0]),
        (Ste::Pact, None, 0, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
        (Ste::PactAlpha, None, 0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
        (Ste::PactAlpha, Some(2.5), 0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        // int3: -4 to 3; ternary: -1 to 1.
        (Ste::Lsq, None, 9, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
        (Ste::Lsq, None, 5, [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        // To nearest even less the value: -0.75 -> -1, 2.5 -> 2.
        (Ste::LsqStep, None, 9, [-4.0, 0.0, -0.25, 0.0, -0.25, 0.0, -0.5, 3.0, 3.0]),
    ];
    for (kind, parameter, slot, want) in cases {
        let got = same_at_all(&[&[2.0; 10], &s], 3, ste(*kind, *parameter, *slot));
        let want: Vec<f32> = want.iter().map(|d| 2.0 * d).collect();
        assert_eq!(got[..9], to_bits(&want), "{} {parameter:?}", kind.name());
        let at_nan = if *kind == Ste::Identity { 2f32.to_bits() } else { NAN_BITS };
        assert_eq!(got[9], at_nan, "{}", kind.name());
    }
    // tanh: k (1 - tanh(k s)^2), exactly k at 0 and within rounding elsewhere.
    for (k, parameter) in [(1.0, None), (3.0, Some(3.0))] {
        let got = same_at_all(&[&[1.0; 10], &s], 3, ste(Ste::Tanh, parameter, 0));
        for (got, s) in got.iter().zip(s).take(9) {
            let exact = k / (k * f64::from(s)).cosh().powi(2);
            assert!((f64::from(f32::from_bits(*got)) - exact).abs() < 1e-6, "{k} {s}");
        }
        assert_eq!(got[3], (k as f32).to_bits());
    }
    // dge on int3 (unit intervals): |2u - 1|^(1/k - 1) / k; 1/2 of k = 2 a quarter in: (1/2) (1/2)^(-1/2).
    let got = same_at_all(&[&[1.0; 10], &s], 3, ste(Ste::Dge, Some(2.0), 9));
    assert!((f32::from_bits(got[4]) - 0.5f32.sqrt()).abs() < 1e-6);
    assert_eq!((got[6], got[8], got[9]), (3f32.to_bits(), 0, NAN_BITS), "a middle, beyond, NaN");
    let got = same_at_all(&[&[1.0; 10], &s], 3, ste(Ste::Dge, None, 9));
    assert!((f32::from_bits(got[1]) - 0.2).abs() < 1e-7, "1/k at a point");
}

#[test]
fn estimators_refuse_formats_without_a_grid_and_are_not_free() {
    for slot in [1, 2, 12] {
        for kind in [Ste::Lsq, Ste::LsqStep, Ste::Dge] {
            let mut p = Program::new();
            ste(kind, None, slot)(p.setvl(1, 1));
            assert_eq!(p.trap().kind(), TrapKind::Fmt, "{} of {}", kind.name(), Program::FORMATS[slot as usize - 1]);
        }
    }
    for code in 0..Ste::NAMES.len() as u8 {
        let mut p = Program::new();
        p.setvl(3, 1).op(Op::Ste, |i| (i.mode, i.fa) = (code, 4));
        let Work::Elementwise { kind, elements } = p.last_event().work else { panic!("elementwise work") };
        assert!(elements >= 3 && kind != EwKind::Copy, "{}", Ste::NAMES[usize::from(code)]);
    }
}

/// A program that has hyper-parameters in q2 and an optimiser step on v1, ...
fn step(hyper: &[f32], op: Op, mode: u8) -> impl Fn(&mut Program) {
    let hyper = hyper.to_vec();
    move |p| {
        p.li(30, SRAM + 0x100);
        for (n, value) in hyper.iter().enumerate() {
            p.f32(29, *value).op(Op::Sw, |i| (i.rd, i.rs1, i.sub, i.imm) = (29, 30, 2, 4 * n as i32));
        }
        p.li(29, hyper.len() as u64).op(Op::LdS, |i| (i.rd, i.rs1, i.rs2, i.fa) = (2, 30, 29, 1));
        p.op(op, |i| (i.rd, i.rs1, i.rs2, i.aux, i.mode) = (1, 2, 3, 2, mode));
        if op == Op::OptAdam {
            p.insts.last_mut().expect("just added").rs3 = 4;
        }
    }
}

#[test]
pub(super) fn sgd() {
    // Powers of two: every operation is exact. h = g + w/4, m' = m/2 + h, w' = w - m'/8 or w - (m'/2 + h)/8.
    let (w, m, g) = ([4.0, -8.0, 0.0, 1.0], [2.0, 0.0, 0.0, f32::INFINITY], [1.0, 0.0, f32::NAN, 0.0]);
    for (mode, want) in [(0, [3.625, -7.75]), (1, [3.5625, -7.625])] {
        let run = step(&[0.125, 0.5, 0.25], Op::OptSgd, mode);
        let weights = same_at_all(&[&w, &m, &g], 1, &run);
        assert_eq!(weights, [to_bits(&want), vec![NAN_BITS, f32::NEG_INFINITY.to_bits()]].concat());
        let moments = same_at_all(&[&w, &m, &g], 2, &run);
        assert_eq!(moments, [to_bits(&[3.0, -2.0]), vec![NAN_BITS, f32::INFINITY.to_bits()]].concat());
    }
    for (mode, elements) in [(0, 15), (1, 20)] {
        let mut p = Program::new();
        step(&[0.1, 0.9, 0.0], Op::OptSgd, mode)(p.setvl(5, 1));
        let event = p.last_event();
        assert_eq!(event.work, Work::Elementwise { kind: EwKind::Fma, elements });
        let (mut reads, mut writes) = (RegSet::default(), RegSet::default());
        [1, 2, 3].iter().for_each(|n| reads.add(RegSet::V, *n));
        reads.add(RegSet::Q, 2);
        [1, 2].iter().for_each(|n| writes.add(RegSet::V, *n));
        assert_eq!((event.reads, event.writes), (reads, writes));
    }
}

#[test]
pub(super) fn adam() {
    // First step, b1 = b2 = 1/2, no eps: the corrected moments are g and g^2, so w' = w (1 - lr wd) - lr sign(g).
    let (w, g) = ([4.0, -2.0, 1.0, 0.0], [3.0, -0.5, f32::NAN, 0.0]);
    let run = step(&[0.5, 0.5, 0.5, 0.0, 0.25, 2.0, 2.0], Op::OptAdam, 0);
    let inputs: [&[f32]; 4] = [&w, &[0.0; 4], &[0.0; 4], &g];
    let weights = same_at_all(&inputs, 1, &run);
    assert_eq!(weights, [to_bits(&[3.0, -1.25]), vec![NAN_BITS; 2]].concat(), "0/0 without eps");
    assert_eq!(same_at_all(&inputs, 2, &run)[..2], to_bits(&[1.5, -0.25]));
    assert_eq!(same_at_all(&inputs, 3, &run)[..2], to_bits(&[4.5, 0.125]));
    // Usual hyper-parameters over ten steps against f64.
    let (lr, b1, b2, eps, wd) = (1e-3, 0.9, 0.999, 1e-8, 0.01);
    let (mut state, mut exact) = ([samples(5, 1), vec![0.0; 5], vec![0.0; 5]], [[0.0; 3]; 5]);
    (0..5).for_each(|i| exact[i][0] = f64::from(state[0][i]));
    for t in 1..=10 {
        let g = samples(5, 10 * t);
        let corrections = [b1, b2].map(|b: f64| (1.0 / (1.0 - b.powi(t as i32))) as f32);
        let hyper = [lr as f32, b1 as f32, b2 as f32, eps as f32, wd as f32, corrections[0], corrections[1]];
        let run = step(&hyper, Op::OptAdam, 0);
        let inputs: [&[f32]; 4] = [&state[0], &state[1], &state[2], &g];
        let next = [1, 2, 3].map(|out| {
            let bits = same_at_all(&inputs, out, &run);
            bits.into_iter().map(f32::from_bits).collect::<Vec<_>>()
        });
        for (i, [w, m, v]) in exact.iter_mut().enumerate() {
            let g = f64::from(g[i]);
            (*m, *v) = (b1 * *m + (1.0 - b1) * g, b2 * *v + (1.0 - b2) * g * g);
            let (mh, vh) = (*m / (1.0 - b1.powi(t as i32)), *v / (1.0 - b2.powi(t as i32)));
            *w = *w * (1.0 - lr * wd) - lr * mh / (vh.sqrt() + eps);
            for (got, want) in [(next[0][i], *w), (next[1][i], *m)] {
                assert!((f64::from(got) - want).abs() <= 1e-5 * want.abs() + 1e-7, "step {t}: {got} and {want}");
            }
            // f32 holds 1 - b2 to 6e-5 only, as every f32 implementation does.
            assert!((f64::from(next[2][i]) - *v).abs() <= 1e-4 * *v);
        }
        state = next;
    }
    let mut p = Program::new();
    step(&[0.1; 7], Op::OptAdam, 0)(p.setvl(5, 1));
    assert_eq!(p.last_event().work, Work::Elementwise { kind: EwKind::Fma, elements: 120 });
}

#[test]
fn optimiser_steps_need_different_registers() {
    for (op, [w, m, v, g]) in [
        (Op::OptSgd, [1, 1, 2, 0]),
        (Op::OptSgd, [1, 2, 2, 0]),
        (Op::OptAdam, [1, 2, 3, 1]),
        (Op::OptAdam, [4, 2, 2, 1]),
    ] {
        let mut p = Program::new();
        p.setvl(1, 1).op(op, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (w, m, v, g));
        assert_eq!(p.trap().kind(), TrapKind::Shape, "{op:?} {w} {m} {v} {g}");
    }
    let mut p = Program::new();
    step(&[0.1; 7], Op::OptAdam, 0)(p.setvl(1, 1));
    let small = Config { scale_entries: 6, ..config(32) };
    let mut program = Program::new();
    program.setvl(1, 1).op(Op::OptAdam, |i| (i.rd, i.rs1, i.rs2, i.rs3) = (1, 2, 3, 4));
    let trap = Vm::new(program.object(), small, Mode::Functional).unwrap().run().unwrap_err();
    assert_eq!(trap.kind(), TrapKind::Shape, "7 hyper-parameters of 6 entries");
}
