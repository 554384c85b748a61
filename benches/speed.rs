//! How fast Preon itself is on this computer: the native backend, the virtual processor, the simulator, the codecs.
//!
//! `cargo bench` takes under a minute. Rates are per multiply-accumulate, executed instruction or code. They say
//! nothing about the simulated machine, whose cycles do not depend on the computer that counts them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use preon::exec::{Config, Event, Mode, Status, Vm, Work};
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble};
use preon::native::{self, Isa};
use preon::num::bits::{Map, join, split};
use preon::num::bulk::{Decoder, Encoder, Mode::Fixed};
use preon::num::{Rounding, cast, format, value};
use preon::sim::Sim;
use preon::{compile, machine, model, policy};
use std::hint::black_box;
use std::time::Duration;

/// The native backend: one linear layer in int8, ternary and binary, at every level of this CPU.
fn native_linear(c: &mut Criterion) {
    let (m, n, k) = (64, 512, 512);
    let prepared = model::gemm(m, n, k, 0, false).expect("a product");
    let mut group = c.benchmark_group("native-linear");
    group.throughput(Throughput::Elements((m * n * k) as u64));
    for name in ["int8", "w1.58a8", "w1a1"] {
        let policy = policy::load(name).expect("a built-in policy");
        let graph = policy::apply(&prepared.graph, &policy).expect("an annotated graph");
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            group.bench_function(format!("{name}/{}", isa.name()), |b| {
                b.iter(|| native::run(&graph, &prepared.inputs, &native::Options { isa }).expect("a result"));
            });
        }
    }
    group.finish();
}

fn program(text: &str) -> Object {
    assemble(&Sources::single("bench.vasm", text), &Options::default()).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

/// Multiply-accumulates and instructions of a run.
fn work(vm: &mut Vm) -> (u64, u64) {
    let (mut terms, mut steps, mut event) = (0, 0, Event::new());
    loop {
        let status = vm.step(&mut event).expect("no trap");
        steps += 1;
        terms += match event.work {
            Work::Mac { terms, .. } => u64::from(terms),
            Work::TileMac { tm, tn, tk, .. } => u64::from(tm) * u64::from(tn) * u64::from(tk),
            _ => 0,
        };
        if status == Status::Halted {
            return (terms, steps);
        }
    }
}

/// The virtual processor: products on the array (16) and on registers (16384).
fn exec_products(c: &mut Criterion) {
    let edge = machine::load("edge").expect("a built-in machine");
    let mut group = c.benchmark_group("exec");
    for weights in ["int8", "ternary"] {
        let start = format!(
            ".fmt f1={weights}, f2=int8\n setacc c0, exact\n li x2, 0x1000000000000000\n li x4, 4096\n li x5, 256\n li x7, 16\n li x8, 16384\n"
        );
        let array = "settile.m x6, x5\n settile.n x6, x5\n settile.k x6, x5\n mm.w 0(x2), f1
            loop x7, end\n mm.x c0, 0(x2), f2\n end: endl\n halt";
        let registers = "setmac x6, x4, x5, f1, f2\n loop x8, end\n mac c0, v1, v2, f1, f2\n end: endl\n halt";
        for (name, body) in [("mm.x", array), ("mac", registers)] {
            let object = program(&format!("{start}{body}"));
            let new = || Vm::new(object.clone(), Config::of(&edge), Mode::Functional).expect("a machine");
            group.throughput(Throughput::Elements(work(&mut new()).0));
            group.bench_function(format!("{name}/{weights}"), |b| {
                b.iter_batched_ref(new, |vm| vm.run().expect("no trap"), criterion::BatchSize::LargeInput);
            });
        }
    }
    group.finish();
}

/// The simulator: instructions of a timing-only product, executed and priced.
fn timing_only(c: &mut Criterion) {
    let edge = machine::load("edge").expect("a built-in machine");
    let prepared = model::gemm(128, 1024, 1024, 0, true).expect("a product");
    let mut group = c.benchmark_group("timing-only");
    for name in ["int8", "w1.58a8"] {
        let policy = policy::load(name).expect("a built-in policy");
        let graph = policy::apply(&prepared.graph, &policy).expect("an annotated graph");
        let compiled = compile::compile(&graph, &edge, &compile::Options::default()).expect("a program");
        let config = Config { dram_bytes: compiled.dram_bytes, ..Config::of(&edge) };
        let new = || Vm::new(compiled.object.clone(), config.clone(), Mode::TimingOnly).expect("a machine");
        group.throughput(Throughput::Elements(work(&mut new()).1));
        group.bench_function(name, |b| {
            b.iter(|| {
                let (mut vm, mut sim) = (new(), Sim::new(&edge, compiled.steps.len()));
                let mut event = Event::new();
                while vm.step(&mut event).expect("no trap") == Status::Running {
                    sim.account(&event);
                }
                sim.finish().expect("a served program")
            });
        });
    }
    group.finish();
}

/// The codecs: 4096 values to codes and back.
fn codecs(c: &mut Criterion) {
    let values: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) * 0.0731).collect();
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(values.len() as u64));
    for name in ["int8", "ternary", "fp8e4m3", "fp4e2m1", "bf16"] {
        let format = format::find(name).expect("a built-in format");
        let codes: Vec<u32> = values.iter().map(|x| cast(format, *x)).collect();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| values.iter().fold(0, |sum, x| sum ^ cast(black_box(format), *x)));
        });
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| codes.iter().fold(0, |sum, code| sum ^ value(black_box(format), *code).to_bits()));
        });
    }
    group.finish();
}

/// Conversions beside a plain copy, far beyond the caches. A byte that is read counts once and so does a byte that is
/// written, for the copy and the conversions alike.
fn conversions(c: &mut Criterion) {
    const COUNT: usize = 1 << 24;
    let x: Vec<u32> =
        (0..COUNT as u32).map(|i| (f32::from(i.wrapping_mul(40_503) as u16) / 16_384.0 - 2.0).to_bits()).collect();
    let (mut y, mut bytes) = (x.clone(), Vec::new());
    let mut group = c.benchmark_group("conversion");
    group.throughput(Throughput::Bytes(8 * COUNT as u64));
    group.bench_function("copy", |b| b.iter(|| black_box(&mut y).copy_from_slice(black_box(&x))));
    for name in ["fp8e4m3", "fp8e5m2", "fp4e2m1", "ternary", "int8"] {
        let format = format::find(name).expect("a built-in format");
        group.throughput(Throughput::Bytes((4 * COUNT + COUNT * format.bits as usize / 8) as u64));
        let (encoder, decoder) = (Encoder::new(format, Fixed(Rounding::NearestEven), true), Decoder::new(format));
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| encoder.encode_packed(black_box(&x), 0, &mut bytes))
        });
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| decoder.decode_into(black_box(&bytes), &mut y)));
    }
    // Packed ternary in rows of 16384 elements; here the copy is that of the packed bytes.
    let (row, forth) = (4096, Map::new([Some(0), Some(1), Some(3)]));
    let back = Map::new([Some(0), Some(1), None, Some(2)]);
    let (packed, mut planes) = (vec![0b0010_0100u8; 4 * COUNT], vec![1; 4 * COUNT]);
    let mut again = planes.clone();
    group.throughput(Throughput::Bytes(8 * COUNT as u64));
    group.bench_function("copy/ternary", |b| b.iter(|| black_box(&mut again).copy_from_slice(black_box(&packed))));
    group.bench_function("split/ternary", |b| {
        b.iter(|| {
            let rows = packed.chunks_exact(row).zip(planes.chunks_exact_mut(row));
            rows.fold(true, |good, (from, to)| good & split(2, from, 4 * row, &forth, to))
        });
    });
    group.bench_function("join/ternary", |b| {
        b.iter(|| {
            let rows = planes.chunks_exact(row).zip(again.chunks_exact_mut(row));
            rows.fold(true, |good, (from, to)| good & join(2, from, 4 * row, &back, to))
        });
    });
    group.finish();
}

criterion_group! {
    name = speed;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots();
    targets = native_linear, exec_products, timing_only, codecs, conversions
}
criterion_main!(speed);
