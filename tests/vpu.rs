//! The whole path on the built-in models: every policy on every machine computes, costs, and agrees with the native
//! backend bit for bit.

use preon::{Vpu, machine, model, policy};

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

#[test]
fn every_policy_on_every_machine_is_bit_exact() {
    for spec in ["builtin:mlp", "builtin:bitnet-tiny"] {
        for machine_name in machine::builtin() {
            for name in policy::names() {
                run(spec, machine_name, name);
            }
        }
    }
}
