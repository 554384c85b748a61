//! Random graphs of every op, ragged shapes and twelve formats: the compiled program on the virtual processor gives the
//! native backend's bytes, fused and unfused, on machines of different vector length, array and memory.

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

#[test]
fn random_graphs_agree_on_four_machines() {
    let machines = machines();
    let (mut compared, mut refused) = (0, 0u64);
    for seed in 0..cases() {
        let (graph, inputs) = random::graph(seed).expect("a valid random graph");
        let expected = native::run(&graph, &inputs, &native::Options::default()).expect("native serves random graphs");
        for machine in &machines {
            for fuse in [false, true] {
                let compiled = match compile::compile(&graph, machine, &Options { fuse, ..Options::default() }) {
                    Ok(compiled) => compiled,
                    Err(error) => {
                        // A kernel that does not exist yet, or a tile that does not fit, is refused by name.
                        assert_eq!(error.kind(), preon::diag::Kind::Unsupported, "seed {seed}: {error}");
                        assert!(!error.message().is_empty());
                        refused += 1;
                        continue;
                    }
                };
                let execution = execute(&compiled, &graph, &inputs, machine, What::Values)
                    .unwrap_or_else(|e| panic!("seed {seed} on {}, fuse {fuse}: {e}", machine.name));
                let report = check::compare(&graph, &execution.captured, &expected);
                let first = report.mismatches.first().map(ToString::to_string).unwrap_or_default();
                assert!(report.is_bit_exact(), "seed {seed} on {}, fuse {fuse}: {first}", machine.name);
                compared += report.nodes;
            }
        }
    }
    assert!(compared as u64 > 8 * cases(), "{compared} nodes compared");
    // Embedding tables with block scales are not served.
    assert!(refused < 2 * cases(), "{refused} of {} programs refused", 8 * cases());
}
