//! Arrays of published simulators against their closed forms, through compiler and engine, on random shapes.
//!
//! The folds are those of SCALE-Sim 3.0.0 as measured: its print is one cycle less than each of these (`preon validate`
//! says so), and its output-stationary code counts R + C + K - 2 where its paper says 2R + C + K - 2.

use preon::machine;
use preon::policy;
use preon::vpu::{RunOptions, Vpu};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Cycles in which the array is busy, and all cycles, of a product `m, n, k` under a policy.
fn cycles(name: &str, sets: &[(String, String)], policy: &str, [m, n, k]: [u64; 3]) -> (u64, u64) {
    let mut vpu = Vpu::new(machine::load_with(name, sets).unwrap());
    vpu.set_precision(policy::load(policy).unwrap());
    vpu.options = RunOptions { timing_only: true, check: false, ..RunOptions::default() };
    let run = vpu.gemm(m as usize, n as usize, k as usize).unwrap().summary;
    let array = run.units.iter().find(|unit| unit.unit == "array").unwrap();
    let stalls: u64 = array.stall_cycles.values().sum();
    assert_eq!(array.busy_cycles + stalls + array.idle_cycles, run.cycles, "{name} {m} x {n} x {k}");
    (array.busy_cycles, run.cycles)
}

/// An extent up to `most`: small ones as often as large ones.
fn extent(rng: &mut ChaCha8Rng, most: f64) -> u64 {
    (most.ln() * rng.random::<f64>()).exp() as u64
}

fn shape(rng: &mut ChaCha8Rng) -> [u64; 3] {
    loop {
        let shape = [(); 3].map(|()| extent(rng, 9000.0).max(1));
        if [shape[0] * shape[1], shape[0] * shape[2], shape[1] * shape[2]].iter().all(|size| *size < 1 << 21) {
            return shape;
        }
    }
}

fn side(rows: u64, cols: u64) -> Vec<(String, String)> {
    vec![("array.rows".into(), rows.to_string()), ("array.cols".into(), cols.to_string())]
}

/// 50 shapes on 128 x 128 and on grids of random sides, half of them in a policy that scales its operands.
fn folds(name: &str, seed: u64, measured: [u64; 3], law: impl Fn([u64; 3], u64, u64) -> u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for case in 0..50 {
        let shape = if case == 0 { measured } else { shape(&mut rng) };
        let (r, c) = if case % 2 == 0 { (128, 128) } else { (extent(&mut rng, 400.0), extent(&mut rng, 400.0)) };
        let sets = if case % 2 == 0 { Vec::new() } else { side(r.max(1), c.max(1)) };
        let policy = if case % 4 < 2 { "fp32" } else { "int8" };
        let (busy, total) = cycles(name, &sets, policy, shape);
        let want = law(shape, r.max(1), c.max(1));
        assert_eq!(busy, want, "{name} {r} x {c}, {policy}: m, n, k = {shape:?}");
        if policy == "fp32" {
            assert!(total - want < 200, "{name}: {total} cycles for {want} of the array, {shape:?}");
        }
    }
}

#[test]
fn weight_stationary_folds_are_exact() {
    let law = |[m, n, k]: [u64; 3], r: u64, c: u64| k.div_ceil(r) * n.div_ceil(c) * (2 * r + c + m - 2);
    assert_eq!((law([512, 2560, 2560], 128, 128), law([64, 256, 256], 128, 128)), (357_600, 1_784));
    assert_eq!(law([1, 6912, 2560], 128, 128), 413_640);
    folds("scalesim-ws", 1, [64, 256, 256], law);
    for shape in [[512, 2560, 2560], [128, 3072, 768], [1, 768, 128], [40_000, 3, 7]] {
        assert_eq!(cycles("scalesim-ws", &[], "fp32", shape).0, law(shape, 128, 128));
    }
}

#[test]
fn output_stationary_folds_are_exact() {
    let law = |[m, n, k]: [u64; 3], r: u64, c: u64| m.div_ceil(r) * n.div_ceil(c) * (r + c + k - 2);
    assert_eq!(law([512, 2560, 2560], 128, 128), 225_120);
    folds("scalesim-os", 2, [128, 768, 768], law);
    let drained = [("array.output_drain".to_owned(), "counted".to_owned())];
    let shape = [300, 500, 900];
    assert_eq!(cycles("scalesim-os", &drained, "fp32", shape).0, law(shape, 128, 128) + 3 * 4 * 128);
    for shape in [[512, 2560, 2560], [3, 7, 40_000]] {
        assert_eq!(cycles("scalesim-os", &[], "fp32", shape).0, law(shape, 128, 128));
    }
}

#[test]
fn input_stationary_folds_are_exact() {
    let law = |[m, n, k]: [u64; 3], r: u64, c: u64| k.div_ceil(r) * m.div_ceil(c) * (2 * r + c + n - 2);
    assert_eq!(law([1, 6912, 2560], 128, 128), 145_880);
    folds("scalesim-is", 3, [128, 768, 768], law);
    for shape in [[1, 6912, 2560], [7, 40_000, 3]] {
        assert_eq!(cycles("scalesim-is", &[], "fp32", shape).0, law(shape, 128, 128));
    }
}

#[test]
fn values_in_ample_tiles_are_refused_in_a_sentence() {
    let mut vpu = Vpu::new(machine::load("scalesim-ws").unwrap());
    let error = vpu.gemm(4, 4, 4).unwrap_err().render(false);
    assert!(error.contains("65536 x 65536 entries") && error.contains("--timing-only"), "{error}");
}

#[test]
fn tiles_with_a_hidden_preload_are_exact() {
    let law = |[m, n, k]: [u64; 3]| k.div_ceil(128) * n.div_ceil(128) * m.max(4).max(128);
    assert_eq!(
        [[512, 2560, 2560], [1, 6912, 2560], [256, 256, 256]].map(law),
        [204_800, 138_240, 1_024],
        "as ONNXim counts them"
    );
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for case in 0..50 {
        let shape = match case {
            0 => [512, 2560, 2560],
            1 => [1, 6912, 2560],
            2 => [256, 256, 256],
            _ => shape(&mut rng),
        };
        assert_eq!(cycles("onnxim-like", &[], "policies/fp16.toml", shape).0, law(shape), "m, n, k = {shape:?}");
    }
}

/// Two sets of sums that take turns give the values that one set gives, on whole and ragged tiles.
#[test]
fn sums_that_take_turns_are_exact() {
    let sets = [("core.acc.rows", "48"), ("core.acc.cols", "64"), ("core.acc.sets", "2"), ("sram.own.bytes", "65536")];
    let sets = sets.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for case in 0..8 {
        let mut vpu = Vpu::new(machine::load_with("hbm", &sets).unwrap());
        vpu.set_precision(policy::load(["int8", "bf16", "fp32", "w1.58a8"][case % 4]).unwrap());
        vpu.options = RunOptions { check: true, ..RunOptions::default() };
        let [m, n, k] = [130.0, 200.0, 600.0].map(|most| extent(&mut rng, most).max(1) as usize);
        let run = vpu.gemm(m, n, k).unwrap().summary;
        assert_eq!(run.check.as_ref().map(|check| check.bit_exact), Some(true), "{m} x {n} x {k}");
    }
}
