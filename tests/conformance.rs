//! Random graphs of every op, ragged shapes and twelve formats: the compiled program on the virtual processor gives the
//! native backend's bytes, fused and unfused, on machines of different vector length, array and memory.

#![expect(clippy::print_stdout, reason = "the nightly run shows how much was compared")]

use preon::check;
use preon::compile::{self, Options};
use preon::graph::random;
use preon::machine::{self, Machine};
use preon::native;
use preon::num::formats;
use preon::vpu::{What, execute};

/// `PREON_CASES` graphs (default 200).
fn cases() -> u64 {
    std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

fn machines() -> Vec<Machine> {
    let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let short =
        [("core.vlen_bits", "256"), ("core.acc.rows", "8"), ("core.acc.cols", "16"), ("sram.own.bytes", "65536")];
    let machines = [
        machine::load("edge").expect("built in"),
        machine::load("hbm").expect("built in"),
        machine::load_with("edge", &set(&[("array", "none")])).expect("an edge machine without an array"),
        machine::load_with("edge", &set(&short)).expect("a small edge machine"),
    ];
    machines.into_iter().map(serve_every_pair).collect()
}

/// The same machine with a rate for every pair of formats; only values are compared here, so no pair needs a price.
fn serve_every_pair(mut machine: Machine) -> Machine {
    for weights in formats() {
        for inputs in formats() {
            if !machine.vector_serves(weights, inputs) {
                machine.rates.push((weights.name.clone(), inputs.name.clone(), 64));
            }
        }
    }
    machine
}

/// What came of some graphs: nodes compared and judged, programs refused.
#[derive(Default)]
struct Tally {
    compared: usize,
    judged: usize,
    refused: u64,
}

/// One graph, fused and unfused, on every machine; unfused also against the f64 reference, node by node.
fn agree(seed: u64, machines: &[Machine], tally: &mut Tally) {
    let (graph, inputs) = random::graph(seed).expect("a valid random graph");
    let expected = native::run(&graph, &inputs, &native::Options::default()).expect("native serves random graphs");
    let mut judged = false;
    for machine in machines {
        for fuse in [false, true] {
            let compiled = match compile::compile(&graph, machine, &Options { fuse, ..Options::default() }) {
                Ok(compiled) => compiled,
                Err(error) => {
                    // A kernel that does not exist yet, or a tile that does not fit, is refused by name.
                    assert_eq!(error.kind(), preon::diag::Kind::Unsupported, "seed {seed}: {error}");
                    assert!(!error.message().is_empty());
                    tally.refused += 1;
                    continue;
                }
            };
            let place = format!("seed {seed} on {}, fuse {fuse}", machine.name);
            let execution =
                execute(&compiled, &graph, &inputs, machine, What::Values).unwrap_or_else(|e| panic!("{place}: {e}"));
            let report = check::compare(&graph, &execution.captured, &expected);
            let first = report.mismatches.first().map(ToString::to_string).unwrap_or_default();
            assert!(report.is_bit_exact(), "{place}: {first}");
            tally.compared += report.nodes;
            // The bytes are the same everywhere, so one run stands for all.
            if !fuse && !judged {
                let reference = check::against_reference(&graph, &execution.captured, &inputs)
                    .unwrap_or_else(|e| panic!("{place}: reference: {e}"));
                assert!(reference.strays.is_empty(), "{place}: reference: {}", reference.strays[0]);
                tally.judged += reference.nodes;
                judged = true;
            }
        }
    }
}

/// A graph that trapped, long after the first hundreds: its product with offsets began with the vector length of the kernel before.
#[test]
fn a_kernel_does_not_depend_on_the_vector_length_it_finds() {
    let mut tally = Tally::default();
    agree(4755, &machines(), &mut tally);
    assert!(tally.compared > 0);
}

#[test]
fn random_graphs_agree_on_four_machines() {
    let machines = machines();
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let share = &|first: u64| {
        let mut tally = Tally::default();
        (first..cases()).step_by(workers as usize).for_each(|seed| agree(seed, &machines, &mut tally));
        tally
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|first| scope.spawn(move || share(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a mismatch stands above")).collect()
    });
    let compared: usize = tallies.iter().map(|tally| tally.compared).sum();
    let judged: usize = tallies.iter().map(|tally| tally.judged).sum();
    let refused: u64 = tallies.iter().map(|tally| tally.refused).sum();
    println!(
        "{} graphs: {compared} nodes compared, {judged} held against the reference, {refused} of {} programs refused",
        cases(),
        8 * cases()
    );
    assert!(compared as u64 > 8 * cases(), "{compared} nodes compared");
    assert!(judged as u64 > cases(), "{judged} nodes judged");
    // Embedding tables with block scales are not served.
    assert!(refused < 2 * cases(), "{refused} of {} programs refused", 8 * cases());
}
