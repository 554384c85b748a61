//! How fast whole networks are timed: built-in workloads on machines with DRAM command by command, and estimated.
//!
//! `cargo bench --bench timing`. A round is what follows reading the machine and the list of layers: compiling, simulating
//! and reporting. docs/performance.md holds the goals and what other simulators take.

use criterion::{Criterion, criterion_group, criterion_main};
use preon::compile::kernels::Kernels;
use preon::machine::{self, Machine};
use preon::policy::{self, Policy};
use preon::vpu::workload::{Run, run};
use preon::vpu::{RunOptions, Vpu};
use preon::workload::builtin::{NAMES, Options};
use preon::workload::{self, Workload};
use std::hint::black_box;
use std::time::Duration;

fn load(name: &str) -> Machine {
    machine::load(name).expect("a built-in machine")
}

fn named(name: &str) -> Policy {
    policy::load(name).expect("a built-in policy")
}

fn cycles(layers: &Workload, machine: &Machine, policy: &Policy, how: &Run) -> u64 {
    run(layers, machine, policy, &Kernels::builtin(), how).expect("a report").cycles
}

fn simulated(c: &mut Criterion) {
    // `narrow` takes 32 bytes a request.
    let (hbm, narrow) = (load("hbm"), load("onnxim-like"));
    let bert = Options { seq: Some(128), ..Options::default() };
    let bitnet = Options { prefill: Some(512), decode: Some(128), ..Options::default() };
    let mut group = c.benchmark_group("timing");
    for (what, name, options, machine, policy) in [
        ("gemm-a int8 64 B", "gemm-a", Options::default(), &hbm, "int8"),
        ("gemm-a fp16 32 B", "gemm-a", Options::default(), &narrow, "fp16"),
        ("resnet50 int8", "resnet50", Options::default(), &hbm, "int8"),
        ("bert-base 128 int8", "bert-base", bert, &hbm, "int8"),
        ("bitnet-2b 512 + 128", "bitnet-2b", bitnet, &hbm, "w1.58a8"),
    ] {
        let layers = workload::load(name, &options).expect("a built-in workload");
        let policy = named(policy);
        group.bench_function(what, |b| b.iter(|| cycles(black_box(&layers), machine, &policy, &Run::default())));
    }
    for policy in ["int8", "fp16"] {
        let mut vpu = Vpu::new(hbm.clone());
        vpu.set_precision(named(policy));
        vpu.options = RunOptions { timing_only: true, check: false, ..RunOptions::default() };
        group.bench_function(format!("gemm --timing-only {policy}"), |b| {
            b.iter(|| vpu.gemm(512, 2560, 2560).expect("a summary").summary.cycles);
        });
    }
    group.finish();
}

fn estimated(c: &mut Criterion) {
    let (hbm, int8) = (load("hbm"), named("int8"));
    let mut group = c.benchmark_group("estimate");
    for (name, _) in NAMES {
        let layers = workload::load(name, &Options::default()).expect("a built-in workload");
        let how = Run { estimate: true, ..Run::default() };
        group.bench_function(name, |b| b.iter(|| cycles(black_box(&layers), &hbm, &int8, &how)));
    }
    group.finish();
}

criterion_group! {
    name = group;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(800))
        .without_plots();
    targets = simulated, estimated
}
criterion_main!(group);
