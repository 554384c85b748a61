//! Every built-in policy applied to every built-in model: a sound graph in which each rule had its effect.

use preon::graph::{Op, verify};
use preon::{model, policy};

#[test]
fn built_in_policies_serve_built_in_models() {
    for (name, _) in model::builtins() {
        let prepared = model::load(&format!("builtin:{name}"))
            .and_then(|m| m.prepare(&model::Input::Default))
            .expect("a built-in model");
        for p in policy::built_ins() {
            let graph = policy::apply(&prepared.graph, &p).unwrap_or_else(|e| panic!("{name} {}: {e}", p.name));
            let faults = verify::faults(&graph);
            assert!(faults.is_empty(), "{name} {}: {faults:?}", p.name);
            let quantised = graph.nodes.iter().filter(|n| matches!(n.op, Op::Quantise { .. })).count();
            assert_eq!(quantised == 0, p.name == "fp32", "{name} {}: {quantised} quantise nodes", p.name);
            assert_eq!(graph.inputs.len(), prepared.inputs.len());
        }
    }
}

#[test]
fn bitnet_holds_its_weights_in_ternary_and_its_ends_in_bf16() {
    let prepared = model::load("builtin:bitnet-tiny").and_then(|m| m.prepare(&model::Input::Default)).expect("a model");
    let plan = policy::plan(&prepared.graph, &policy::load("w1.58a8").expect("a policy")).expect("a plan");
    let of = |value: &str| {
        let found = plan.iter().find(|a| a.value == value && a.role == policy::Role::Weights);
        match found.unwrap_or_else(|| panic!("{value} is not assigned")).setting {
            policy::Setting::Type(ty) => ty.to_string(),
            policy::Setting::Accumulator(a) => a.name(),
            policy::Setting::Store(store) => store.name().to_owned(),
        }
    };
    assert_eq!(of("blocks.0.gate.weight"), "ternary/tensor");
    assert_eq!([of("embed.weight"), of("head.weight")], ["bf16", "bf16"]);
    let ternary = plan.iter().filter(|a| {
        a.setting == policy::Setting::Type(preon::tensor::TensorType::parse("ternary/tensor").expect("a type"))
    });
    assert_eq!(ternary.count(), 4 * 7);
}
