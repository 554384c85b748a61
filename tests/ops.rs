//! Every op alone, on every built-in machine: its kernel must leave the bytes of the native backend, and those must lie
//! within the bound of the f64 reference. tests/conformance.rs does the same for random graphs; here a new op that was
//! forgotten somewhere is named.

use preon::graph::{Graph, InputData, NodeId, eval, random, text};
use preon::model::{Input, Prepared};
use preon::tensor::Tensor;
use preon::{Vpu, machine, model, native, policy};
use std::sync::Arc;

/// The lines between the head of a graph's text and its output `y`. Shapes are ragged on purpose: tiles and vectors end
/// inside them. A new op needs a case here.
const CASES: &[&str] = &[
    "input x fp32[3,40]\nconst w fp32[33,40]\nconst b fp32[33]\nnode y = linear(x, w, b)",
    "input x fp32[4,3,20]\nconst k fp32[2,5,20]\nnode y = matmul(x, k) group=2",
    "input x fp32[3,70]\nconst b fp32[70]\nnode y = add(x, b)",
    "input x fp32[3,70]\nconst b fp32[3,70]\nnode y = mul(x, b)",
    "input x fp32[3,70]\nnode y = scale(x) factor=0.3",
    "input x fp32[2,5,5]\nconst b fp32[5,5]\nnode y = mask(x, b)",
    "input x fp32[3,70]\nnode y = softmax(x)",
    "input x fp32[3,70]\nconst g fp32[70]\nconst b fp32[70]\nnode y = layernorm(x, g, b) eps=1e-5",
    "input x fp32[3,70]\nconst g fp32[70]\nnode y = rmsnorm(x, g) eps=1e-5",
    "input x fp32[3,70]\nnode y = gelu(x)",
    "input x fp32[3,70]\nnode y = relu(x)",
    "input x fp32[3,70]\nnode y = relu2(x)",
    "input x fp32[3,70]\nnode y = silu(x)",
    "const t fp32[9,70]\nindices ids [3]\nnode y = embedding(t, ids)",
    "input x fp32[19,70]\nnode y = meanpool(x)",
    "input x fp32[3,70]\nnode y = l2norm(x)",
    // A reshape has no code of its own: the next op reads the same bytes.
    "input x fp32[3,70]\nnode r = reshape(x) shape=[7,30]\nnode y = relu(r)",
    "input x fp32[3,5,20]\nnode y = transpose(x) perm=[1,0,2]",
    "input x fp32[2,3,20]\nconst c fp32[3,10]\nconst s fp32[3,10]\nnode y = rope(x, c, s)",
    "input x fp32[3,70]\nnode y = quantise(x) to=int8/row",
    "input x fp32[3,70]\nnode y = quantise(x) to=bf16",
];

/// Values of both signs and many magnitudes, zero among them.
fn values(shape: &[usize], seed: usize) -> Arc<Tensor> {
    let value = |i: usize| ((i * 37 + seed * 11) % 101) as f32 * 0.07 - 3.5;
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Arc::new(Tensor::from_f32(shape.to_vec(), &values).unwrap())
}

/// Shape of the constant `name` in a case.
fn shape_of(case: &str, name: &str) -> Option<Vec<usize>> {
    let line = case.lines().find_map(|line| line.strip_prefix("const ")?.strip_prefix(name)?.strip_prefix(" fp32["))?;
    line.trim_end_matches(']').split(',').map(|n| n.parse().ok()).collect()
}

fn graph(case: &str) -> Graph {
    let text = format!("schema = \"{}\"\ngraph case\n{case}\noutput y = y\n", text::SCHEMA);
    let constant = |name: &str| Some(values(&shape_of(case, name)?, name.len() + usize::from(name.as_bytes()[0])));
    text::parse("case", &text, &constant).unwrap_or_else(|e| panic!("{case}\n{}", e.render(false)))
}

fn prepared(case: &str) -> Prepared {
    let graph = graph(case);
    let value = graph.value(graph.inputs[0]);
    let input = match case.contains("indices") {
        true => InputData::Ids((0..value.shape[0] as u32).map(|i| i * 4).collect()),
        false => InputData::Dense(values(&value.shape, 1)),
    };
    let mut prepared = model::load("builtin:mlp").unwrap().prepare(&Input::Default).unwrap();
    (prepared.graph, prepared.inputs) = (graph, vec![input]);
    prepared
}

/// Names of all ops: the match that gives them has an arm for each, or nothing compiles.
fn names() -> Vec<&'static str> {
    let source = include_str!("../src/graph/ops/mod.rs");
    let body = source.split_once("pub fn name(&self)").expect("Op::name").1.split_once("\n    }").expect("its end").0;
    let names: Vec<&str> = body.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")).collect();
    assert!(names.len() >= 20, "{names:?}");
    names
}

#[test]
fn every_op_has_a_case() {
    for name in names() {
        let found = CASES.iter().any(|case| case.contains(&format!(" = {name}(")));
        assert!(found, "op `{name}` has no case in tests/ops.rs");
    }
}

#[test]
fn random_graphs_draw_every_op() {
    let drawn: Vec<&str> =
        (0..200).flat_map(|seed| random::graph(seed).unwrap().0.nodes).map(|node| node.op.name()).collect();
    for name in names() {
        assert!(drawn.contains(&name), "op `{name}` never occurs in random graphs: src/graph/random.rs");
    }
}

#[test]
fn kernels_native_code_and_reference_agree() {
    for case in CASES {
        let prepared = prepared(case);
        for name in machine::general() {
            let mut vpu = Vpu::new(machine::load(name).unwrap());
            vpu.set_precision(policy::load("fp32").unwrap());
            let report = vpu.check(&prepared).unwrap_or_else(|e| panic!("{case}\n{}", e.render(false)));
            let first = report.mismatches.first().map(ToString::to_string).unwrap_or_default();
            assert!(report.is_bit_exact(), "on {name}:\n{case}\n{first}");
        }
        let graph = &prepared.graph;
        let outputs = native::run(graph, &prepared.inputs, &native::Options::default()).unwrap();
        for index in 0..graph.nodes.len() {
            let input = |id| match graph.inputs.first() == Some(&id) {
                true => Some(prepared.inputs[0].clone()),
                false => {
                    let maker = graph.nodes.iter().position(|node| node.output == id)?;
                    Some(InputData::Dense(Arc::new(outputs.node(NodeId(maker as u32)).tensor.clone())))
                }
            };
            let node = NodeId(index as u32);
            let verdict = eval::judge(graph, node, &input, &outputs.node(node).tensor).unwrap();
            assert!(verdict.passes(), "{case}\n{verdict:?}");
        }
    }
}
