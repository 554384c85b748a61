//! How fast a simulated product is beside the same product on this computer: functional and timing simulation of a
//! ternary 512 x 2560 x 2560 on one core, over the fastest native kernels of this CPU and over the peak of its VNNI, in
//! one run.
//!
//! `cargo bench --bench simulate` prints the rates and then the ratios: work in turn, the fastest round of each, in time
//! on the processor where the system tells it (Linux), else on the clock. `-- --ratios` leaves out the first part.

mod arch;

use criterion::{Criterion, Throughput, criterion_group};
use preon::compile::{self, Compiled};
use preon::machine::{self, Machine};
use preon::model::Prepared;
use preon::vpu::{What, execute};
use preon::{graph::Graph, model, native, policy};
use std::time::{Duration, Instant};

/// Rows, outputs, depth.
const SHAPE: [usize; 3] = [512, 2560, 2560];
/// Rounds of which the fastest counts.
const ROUNDS: usize = 5;

/// A product under a policy.
struct Product {
    prepared: Prepared,
    graph: Graph,
}

impl Product {
    fn new([m, n, k]: [usize; 3]) -> Product {
        let prepared = model::gemm(m, n, k, 1, false).expect("a product");
        let policy = policy::load("w1.58a8").expect("a built-in policy");
        Product { graph: policy::apply(&prepared.graph, &policy).expect("an annotated graph"), prepared }
    }

    fn native(&self) {
        native::run(&self.graph, &self.prepared.inputs, &native::Options::default()).expect("a result");
    }

    fn simulate(&self, (machine, compiled): &(Machine, Compiled), what: What) {
        execute(compiled, &self.graph, &self.prepared.inputs, machine, what).expect("a result");
    }

    /// `name`, with its array or without, and the program for it.
    fn on(&self, name: &str, array: bool) -> (Machine, Compiled) {
        let mut machine = machine::load(name).expect("a built-in machine");
        machine.array = machine.array.filter(|_| array);
        let compiled = compile::compile(&self.graph, &machine, &compile::Options::default()).expect("a program");
        (machine, compiled)
    }
}

/// Nanoseconds that this thread was on a processor.
fn on_processor() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn seconds(work: impl Fn()) -> f64 {
    let (clock, before) = (Instant::now(), on_processor());
    work();
    match (before, on_processor()) {
        (Some(before), Some(after)) if after > before => (after - before) as f64 / 1e9,
        _ => clock.elapsed().as_secs_f64(),
    }
}

/// The machines and their programs.
fn machines(product: &Product) -> [(&'static str, (Machine, Compiled)); 3] {
    [
        ("hbm", product.on("hbm", true)),
        ("hbm without array", product.on("hbm", false)),
        ("edge without array", product.on("edge", false)),
    ]
}

fn macs() -> f64 {
    SHAPE.iter().product::<usize>() as f64
}

fn simulate(c: &mut Criterion) {
    let product = Product::new(SHAPE);
    let mut group = c.benchmark_group("simulate");
    group.throughput(Throughput::Elements(macs() as u64));
    group.bench_function("native", |b| b.iter(|| product.native()));
    for (name, on) in &machines(&product) {
        group.bench_function(format!("{name}/values and time"), |b| b.iter(|| product.simulate(on, What::Both)));
        group.bench_function(format!("{name}/time"), |b| b.iter(|| product.simulate(on, What::Time)));
    }
    group.finish();
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn ratios() {
    let product = Product::new(SHAPE);
    // The same without most of its outputs: what is not the product.
    let rest = Product::new([SHAPE[0], 32, SHAPE[2]]);
    let (machines, macs) = (machines(&product), macs());
    // As many products as the layer has, on registers.
    let steps = arch::vnni(1).map_or(0, |macs_a_step| macs as u64 / macs_a_step);
    let mut best = [f64::INFINITY; 6];
    for _ in 0..ROUNDS {
        let round = [
            seconds(|| product.native()),
            seconds(|| rest.native()),
            seconds(|| _ = arch::vnni(steps)),
            seconds(|| product.simulate(&machines[0].1, What::Both)),
            seconds(|| product.simulate(&machines[1].1, What::Both)),
            seconds(|| product.simulate(&machines[2].1, What::Both)),
        ];
        best.iter_mut().zip(round).for_each(|(best, new)| *best = best.min(new));
    }
    let [layer, rest, peak, simulated @ ..] = best;
    let kernel = (layer - rest) * SHAPE[1] as f64 / (SHAPE[1] - 32) as f64;
    let level = native::Options::default().isa.name();
    println!("native {level}: {:.1} GMAC/s the layer, {:.1} its kernel", macs / layer / 1e9, macs / kernel / 1e9);
    if steps > 0 {
        println!("the peak of VNNI: {:.0} GMAC/s", macs / peak / 1e9);
    }
    for ((name, _), time) in machines.iter().zip(simulated) {
        let [of_layer, of_kernel, of_peak] = [layer, kernel, peak].map(|seconds| 100.0 * seconds / time);
        let of_peak = if steps > 0 { format!(", {of_peak:.1} % of the peak") } else { String::new() };
        println!(
            "{name}: {:.2} GMAC/s, {of_layer:.1} % of the layer, {of_kernel:.1} % of its kernel{of_peak}",
            macs / time / 1e9
        );
    }
}

criterion_group! {
    name = group;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(800))
        .without_plots();
    targets = simulate
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments != ["--ratios"] {
        group();
        Criterion::default().configure_from_args().final_summary();
    }
    if arguments.is_empty() || arguments == ["--ratios"] {
        ratios();
    }
}
