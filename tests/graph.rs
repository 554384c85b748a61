//! Graphs as a whole: random ones are sound, survive their text form, and run natively within the reference's bounds;
//! unsound ones are refused with every fault named.

use preon::diag::Kind;
use preon::graph::{Graph, InputData, NodeId, Op, eval, random, text, verify};
use preon::native;
use preon::tensor::Tensor;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every node of a native run against the reference on that run's own operands.
fn judge_native(graph: &Graph, inputs: &[InputData]) -> Result<(), TestCaseError> {
    let options = native::Options::default();
    let outputs = native::run(graph, inputs, &options).map_err(|e| TestCaseError::fail(e.to_string()))?;
    for index in 0..graph.nodes.len() {
        let value = |id| {
            if let Some(at) = graph.inputs.iter().position(|input| *input == id) {
                return Some(inputs[at].clone());
            }
            let maker = graph.nodes.iter().position(|node| node.output == id)?;
            Some(InputData::Dense(Arc::new(outputs.node(NodeId(maker as u32)).tensor.clone())))
        };
        let node = NodeId(index as u32);
        let verdict = eval::judge(graph, node, &value, &outputs.node(node).tensor);
        let verdict = verdict.map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(verdict.passes(), "{}: {verdict:?}", graph.node(node).name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_graphs_are_sound_and_survive_their_text(seed: u64) {
        let (graph, inputs) = random::graph(seed).unwrap();
        prop_assert!(verify::faults(&graph).is_empty());
        prop_assert!(eval::check_inputs(&graph, &inputs).is_ok());
        let constants: BTreeMap<&str, Arc<Tensor>> = graph
            .values
            .iter()
            .enumerate()
            .filter_map(|(i, value)| Some((value.name.as_str(), graph.constant(preon::graph::ValueId(i as u32))?.clone())))
            .collect();
        for inline in [0, 64, usize::MAX] {
            let written = text::write(&graph, inline);
            let read = text::parse("g", &written, &|name| constants.get(name).cloned()).unwrap();
            prop_assert_eq!(text::write(&read, usize::MAX), text::write(&graph, usize::MAX));
        }
    }

    #[test]
    fn native_results_lie_within_the_bounds_of_the_reference(seed: u64) {
        let (graph, inputs) = random::graph(seed).unwrap();
        judge_native(&graph, &inputs)?;
    }
}

/// That every op occurs is a test of tests/ops.rs.
#[test]
fn many_formats_occur_in_random_graphs() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..200 {
        for node in &random::graph(seed).unwrap().0.nodes {
            if let Op::Quantise { to } = &node.op {
                *seen.entry(to.format.name.clone()).or_default() += 1;
            }
        }
    }
    assert!(seen.len() >= 18, "{seen:?}");
}

#[test]
fn all_faults_of_a_graph_are_reported_at_once() {
    let text =
        "schema = \"preon.graph/1\"\ngraph g\ninput x fp32[2,4]\nnode a = relu(x)\nnode b = gelu(a)\noutput y = b\n";
    let sound = text::parse("g", text, &|_| None).unwrap();
    let mut broken = sound.clone();
    broken.values[2].shape = vec![4, 2];
    broken.values[1].name = "x".into();
    broken.nodes.swap(0, 1);
    broken.outputs.clear();
    let faults: Vec<String> = verify::faults(&broken).iter().map(ToString::to_string).collect();
    for wanted in ["value `x` is defined twice", "computed only later", "no output", "is not the output of the node"] {
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted}: {faults:?}");
    }
    assert!(verify::verify(&broken).unwrap_err().help_text().unwrap().contains("more faults"));
}

#[test]
fn a_wrong_line_of_text_is_shown_with_its_place() {
    let head = "schema = \"preon.graph/1\"\ninput x fp32[2,4]\ninput z fp32[3]\n";
    for (line, place, message) in [
        ("node a = gellu(x)", "g:4:10", "there is no op `gellu` (did you mean `gelu`?)"),
        ("node a = add(x, q)", "g:4:17", "no value `q` is defined above"),
        ("node a = add(x, z)", "g:4:6", "end with that of `z`"),
        ("node a = scale(x) factor=big", "g:4:26", "a number is wanted here"),
        ("node a = relu(x) acc", "g:4:21", "`=` is wanted here"),
        ("node x = relu(x)", "g:4:6", "`x` is defined twice"),
        ("input y fp23[1]", "g:4:9", "fp23"),
        ("input y int8/diagonal[1]", "g:4:9", "scaling"),
        ("const c fp32[2] = 00000000", "g:4:19", "do not fit"),
        ("const c fp32[18446744073709551615] = 00", "g:4:38", "do not fit"),
        ("const c fp32[2]", "g:4:16", "neither written here nor known"),
        ("node \"a = relu(x)", "g:4:6", "not closed"),
        ("frobnicate", "g:4:1", "is no statement"),
    ] {
        let error = text::parse("g", &format!("{head}{line}\n"), &|_| None).unwrap_err();
        assert_eq!(error.kind(), Kind::BadInput);
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("{place}: ")) && shown.contains(message), "{line}: {shown}");
    }
    let error = text::parse("g", "graph g\n", &|_| None).unwrap_err();
    assert!(error.to_string().contains("schema"), "{error}");
}
