//! The whole path on the built-in models: every policy on the general and the small machines computes, costs, and agrees with the native
//! backend bit for bit.

use preon::{Vpu, machine, model, policy};
use watched::Watched;

#[path = "support/watched.rs"]
mod watched;

fn run(spec: &str, machine_name: &str, policy_name: &str) {
    let prepared = model::load(spec).unwrap().prepare(&model::Input::Default).unwrap();
    let mut vpu = Vpu::new(machine::load(machine_name).unwrap());
    vpu.set_precision(policy::load(policy_name).unwrap());
    vpu.options.check = true;
    let result =
        vpu.run(&prepared).unwrap_or_else(|e| panic!("{spec} {machine_name} {policy_name}: {}", e.render(false)));
    let check = result.check.expect("asked for");
    let first = check.mismatches.first().map(|m| m.to_string()).unwrap_or_default();
    assert!(
        check.is_bit_exact(),
        "{spec} on {machine_name} under {policy_name}: {} mismatches of {}; {first}",
        check.mismatches.len(),
        check.nodes
    );
    let summary = result.summary;
    assert_eq!(summary.layers.iter().map(|layer| layer.cycles).sum::<u64>(), summary.cycles);
    assert_eq!(summary.weights.iter().map(|w| w.bytes).sum::<u64>(), summary.bytes.weights);
    assert!(summary.cycles > 0 && summary.energy_pj.total > 0.0);
}

/// Whether registers are too short for the codes of a policy, which is an error (tests/energy.rs): binary inputs are
/// quantised a register of fp32 at a time, and binary weights share one with int8 inputs.
fn too_narrow(machine_name: &str, policy_name: &str) -> bool {
    let bits = machine::load(machine_name).unwrap().vlen_bits;
    policy_name == "w1a1" && bits < 256 || policy_name == "w1a8" && bits < 64
}

#[test]
fn every_policy_on_every_general_machine_is_bit_exact() {
    for spec in ["builtin:mlp", "builtin:bitnet-tiny"] {
        for machine_name in machine::general() {
            for name in policy::names() {
                run(spec, machine_name, name);
            }
        }
    }
}

#[test]
fn the_small_machines_are_bit_exact_where_registers_hold_whole_bytes() {
    for machine_name in ["textbook-32", "mcu"] {
        for name in policy::names().filter(|name| !too_narrow(machine_name, name)) {
            run("builtin:mlp", machine_name, name);
        }
    }
}

/// Types, accumulators and layouts that no built-in policy has.
#[test]
fn every_kind_of_type_accumulator_and_store_is_bit_exact_and_costs_the_same_without_values() {
    let rules = [
        ("mxfp4", "mxfp4", ""),
        ("mxfp8e4m3:ceil", "mxfp8e5m2:even", ""),
        ("mxint8", "mxfp6e2m3:rceil", ""),
        ("nvfp4/16x16", "nvfp4", ""),
        ("nvfp4", "int8", ""),
        ("nf4", "bf16", ""),
        ("codebook8", "int8", ""),
        ("codebook8", "mxfp4", ""),
        ("codebook8", "bf16", "store = \"entropy\""),
        ("colour3", "mxfp4", ""),
        ("colour2/tensor", "int8", ""),
        ("int4/block32+offset", "nvfp4", ""),
        ("int3+offset", "fp32", ""),
        ("int4/row:squares", "int8/block32", ""),
        ("fp6e3m2/block64:bf16", "ternary/block32", ""),
        ("int8", "int8", "accumulator = \"f32c(64)\""),
        ("ternary", "int8", "accumulator = \"int24s\""),
        ("fp8e4m3", "int8", "accumulator = \"fp22\""),
        ("int8", "int4", "accumulator = \"adc(6,0.5,64)\""),
        ("ternary", "int8", "store = \"entropy\""),
        ("int4/block32", "bf16", "store = \"entropy\""),
        ("ternary", "int8", "store = \"trits5\""),
    ];
    let prepared = model::load("builtin:mlp").unwrap().prepare(&model::Input::Default).unwrap();
    for machine_name in ["edge", "hbm"] {
        for (weights, activations, more) in rules {
            let text = format!(
                "schema = \"preon.policy/1\"\nname = \"t\"\n[[rule]]\nmatch = \"*\"\nweights = \"{weights}\"\n\
                activations = \"{activations}\"\n{more}\n"
            );
            let mut vpu = Vpu::new(machine::load(machine_name).unwrap());
            vpu.set_precision(policy::Policy::parse("t.toml", &text).unwrap());
            vpu.options.check = true;
            let place = format!("{weights} x {activations} {more} on {machine_name}");
            let whole = vpu.run_observed(&prepared, &mut Watched);
            let whole = whole.unwrap_or_else(|e| panic!("{place}: {}", e.render(false)));
            let check = whole.check.expect("asked for");
            assert!(check.is_bit_exact(), "{place}: {:?}", check.mismatches.first());
            assert_eq!(whole.summary.weights.iter().map(|w| w.bytes).sum::<u64>(), whole.summary.bytes.weights);
            vpu.options.check = false;
            let apart = vpu.run(&prepared).unwrap_or_else(|e| panic!("{place}: {}", e.render(false)));
            assert_eq!(apart.outputs, whole.outputs, "{place}");
            assert_eq!(apart.summary.cycles, whole.summary.cycles, "{place}");
            assert_eq!(apart.summary.units, whole.summary.units, "{place}");
            assert_eq!(apart.summary.energy_pj.total, whole.summary.energy_pj.total, "{place}");
            vpu.options.timing_only = true;
            let timed = vpu.run(&prepared).unwrap_or_else(|e| panic!("{place}: {}", e.render(false)));
            assert_eq!(timed.summary.cycles, whole.summary.cycles, "{place}");
            assert_eq!(timed.summary.energy_pj.total, whole.summary.energy_pj.total, "{place}");
            assert_eq!(more.contains("entropy"), whole.summary.assumptions.iter().any(|a| a.text.contains("decode")));
        }
    }
}

/// A timing-only product is made of shapes alone; it takes the cycles and the joules of the product with values.
#[test]
fn a_product_of_shapes_takes_what_one_of_values_takes() {
    for machine_name in ["edge", "hbm"] {
        for policy_name in ["fp32", "fp16", "int8", "w1.58a8", "w1a1"] {
            let policy = policy::load(policy_name).unwrap();
            let run = |timing_only: bool| {
                let mut vpu = Vpu::new(machine::load(machine_name).unwrap());
                vpu.set_precision(policy.clone());
                vpu.options.check = false;
                vpu.options.timing_only = timing_only;
                let operands = preon::vpu::gemm_operands([33, 70, 96], 0, timing_only, std::slice::from_ref(&policy));
                let run = vpu.run_observed(&operands.unwrap(), &mut Watched);
                run.unwrap_or_else(|e| panic!("{policy_name}: {}", e.render(false))).summary
            };
            let (values, shapes) = (run(false), run(true));
            assert_eq!(values.cycles, shapes.cycles, "{policy_name} on {machine_name}");
            assert_eq!(values.units, shapes.units, "{policy_name} on {machine_name}");
            assert_eq!(values.energy_pj.total, shapes.energy_pj.total, "{policy_name} on {machine_name}");
            let hollow = preon::vpu::gemm_operands([33, 70, 96], 0, true, std::slice::from_ref(&policy)).unwrap();
            let tensors = hollow.graph.values.iter().filter_map(|value| match &value.def {
                preon::graph::Def::Const(tensor) => Some(tensor.is_hollow()),
                _ => None,
            });
            assert!(tensors.into_iter().all(|is_hollow| is_hollow != policy.looks_at_values()), "{policy_name}");
        }
    }
}
