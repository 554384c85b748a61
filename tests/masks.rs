//! Masked weights: the processor gives the native backend's bytes, the reference agrees, and what is masked multiplies
//! nothing, NaN and infinities included.

use preon::graph::{Def, Graph, InputData, NodeId, Op, eval, random};
use preon::policy::Policy;
use preon::tensor::{Mask, Recipe, Sparsity, Tensor, TensorType};
use preon::{Vpu, check, compile, machine, model, native};
use std::sync::Arc;

const PATTERNS: [&str; 4] = ["element:0.5", "2:4", "4:8", "block4x4:0.5"];

fn masked(tensor: &Tensor, sparsity: &str) -> Tensor {
    let (_, cols) = tensor.rows_cols();
    let mask = Mask::of_largest(Sparsity::parse(sparsity).unwrap(), cols, &tensor.to_f32());
    tensor.clone().with_mask(mask).unwrap()
}

fn run(spec: &str, machine_name: &str, (weights, activations, sparsity): (&str, &str, &str)) {
    let text = format!(
        "schema = \"preon.policy/1\"\nname = \"masked\"\n\n[[rule]]\nmatch = \"*\"\nweights = \"bf16\"\nactivations = \"{activations}\"\n\n[[rule]]\nmatch = \"blocks.*\"\noptional = true\nweights = \"{weights}\"\nsparsity = \"{sparsity}\"\n\n[[rule]]\nmatch = \"*fc*\"\noptional = true\nweights = \"{weights}\"\nsparsity = \"{sparsity}\"\n"
    );
    let policy = Policy::parse("masked.toml", &text).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let prepared = model::load(spec).unwrap().prepare(&model::Input::Default).unwrap();
    let mut vpu = Vpu::new(machine::load(machine_name).unwrap());
    vpu.set_precision(policy);
    vpu.options.check = true;
    let what = format!("{spec} on {machine_name}, {weights} x {activations}, {sparsity}");
    let result = match vpu.run(&prepared) {
        Ok(result) => result,
        // A machine may have no rate for the pair; nothing ran then.
        Err(error) if error.render(false).contains("E0404") => return,
        Err(error) => panic!("{what}: {}", error.render(false)),
    };
    let check = result.check.expect("asked for");
    let first = check.mismatches.first().map(|m| m.to_string()).unwrap_or_default();
    assert!(check.is_bit_exact(), "{what}: {} mismatches; {first}", check.mismatches.len());
    assert_eq!(result.summary.weights.iter().map(|w| w.bytes).sum::<u64>(), result.summary.bytes.weights);
    assert!(result.summary.weights.iter().any(|w| w.sparsity == sparsity && w.mask_bytes > 0), "{what}: no mask");
}

#[test]
fn masked_models_are_bit_exact() {
    // Every pattern with every kind of weights, inputs in turn.
    let activations = ["int8", "bf16", "mxfp4"];
    let weights = ["int8", "ternary", "binary", "colour2", "fp4e2m1/block32", "bf16"];
    let mut count = 0;
    for (p, sparsity) in PATTERNS.into_iter().enumerate() {
        for (w, weights) in weights.into_iter().enumerate() {
            let activations = activations[(p + w) % 3];
            run("builtin:mlp", ["edge", "hbm"][(p + w / 3) % 2], (weights, activations, sparsity));
            count += 1;
        }
    }
    for (i, weights) in ["ternary", "colour2", "fp4e2m1/block32"].into_iter().enumerate() {
        run("builtin:bitnet-tiny", ["edge", "hbm"][i % 2], (weights, activations[i % 3], PATTERNS[i]));
        count += 1;
    }
    assert_eq!(count, 27);
}

/// Masks every matrix that only linear nodes and embeddings read.
fn mask_weights(graph: &mut Graph, seed: u64) -> usize {
    let mut count = 0;
    for index in 0..graph.values.len() {
        let Def::Const(tensor) = &graph.values[index].def else { continue };
        let read = |node: &preon::graph::Node| {
            let at = node.inputs.iter().position(|input| input.0 as usize == index);
            at.is_none_or(|at| matches!((&node.op, at), (Op::Linear, 1) | (Op::Embedding, 0)))
        };
        if tensor.shape.len() == 2 && graph.nodes.iter().all(read) {
            let pattern = PATTERNS[(seed as usize + index) % PATTERNS.len()];
            graph.values[index].def = Def::Const(Arc::new(masked(tensor, pattern)));
            count += 1;
        }
    }
    count
}

#[test]
fn random_graphs_with_masks_agree_with_the_processor_and_the_reference() {
    let machine = machine::load_with("edge", &[("core.vlen_bits".into(), "512".into())]).unwrap();
    let (mut compared, mut masks) = (0, 0);
    for seed in 0..60 {
        let (mut graph, inputs) = random::graph(seed).unwrap();
        masks += mask_weights(&mut graph, seed);
        let expected = native::run(&graph, &inputs, &native::Options::default()).unwrap();
        for (index, node) in graph.nodes.iter().enumerate() {
            let value = |id| match graph.value(id).def {
                Def::Node(maker) => Some(InputData::Dense(expected.node(maker).tensor.clone().into())),
                _ => graph.inputs.iter().position(|input| *input == id).map(|at| inputs[at].clone()),
            };
            let id = NodeId(index as u32);
            let verdict = eval::judge(&graph, id, &value, &expected.node(id).tensor).unwrap();
            assert!(verdict.passes(), "seed {seed}, {}: {verdict:?}", node.name);
        }
        let Ok(compiled) = compile::compile(&graph, &machine, &compile::Options::default()) else { continue };
        let run = preon::vpu::execute(&compiled, &graph, &inputs, &machine, preon::vpu::What::Values).unwrap();
        let report = check::compare(&graph, &run.captured, &expected);
        let first = report.mismatches.first().map(ToString::to_string).unwrap_or_default();
        assert!(report.is_bit_exact(), "seed {seed}: {first}");
        compared += report.nodes;
    }
    assert!(compared > 60 && masks > 60, "{compared} nodes, {masks} masks");
}

#[test]
fn what_is_masked_multiplies_nothing() {
    let machine = machine::load("edge").unwrap();
    // NaN and infinities stand where 2:4 keeps nothing: columns 0 and 2 of every group of the weights below.
    let mut x = vec![1.0f32; 64];
    (x[0], x[2], x[34], x[36]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN);
    for (w_type, x_type) in
        [("bf16", "bf16"), ("fp32", "fp32"), ("fp8e4m3", "fp8e4m3"), ("binary/row", "bf16"), ("colour2", "fp16")]
    {
        let mut graph = Graph { name: "special".into(), ..Graph::default() };
        let dense = Tensor::from_f32(vec![1, 64], &x).unwrap();
        let input = graph.add_input("x", vec![1, 64], dense.ty);
        let w: Vec<f32> = (0..128).map(|i| if i % 2 == 1 { 1.0 + (i % 7) as f32 } else { 0.125 }).collect();
        let ty = TensorType::parse(w_type).unwrap();
        let sparsity = Sparsity::parse("2:4").unwrap();
        let w =
            Tensor::quantise_with(vec![2, 64], &w, ty, &Recipe { sparsity: Some(sparsity), ..Recipe::default() }, "w")
                .unwrap();
        assert!(!w.live(0, 0) && !w.live(1, 34) && w.live(0, 1));
        let w = graph.add_const("w", Arc::new(w));
        let to = TensorType::parse(x_type).unwrap();
        let cast = matches!(to.scaling, preon::tensor::Scaling::None) && x_type != "fp32";
        let read = if cast { graph.add_node("cast", Op::Quantise { to }, &[input]).unwrap() } else { input };
        let y = graph.add_node("y", Op::Linear, &[read, w]).unwrap();
        graph.outputs.push(("y".into(), y));
        let inputs = [InputData::Dense(Arc::new(dense))];
        let expected = native::run(&graph, &inputs, &native::Options::default()).unwrap();
        let got = expected.named(&graph, "y").unwrap().to_f32();
        assert!(got.iter().all(|y| y.is_finite() && *y != 0.0), "{w_type} x {x_type}: {got:?}");
        let scalar = native::run(&graph, &inputs, &native::Options { isa: native::Isa::Scalar }).unwrap();
        assert_eq!(scalar.named(&graph, "y"), expected.named(&graph, "y"));
        let Ok(compiled) = compile::compile(&graph, &machine, &compile::Options::default()) else { continue };
        let run = preon::vpu::execute(&compiled, &graph, &inputs, &machine, preon::vpu::What::Values).unwrap();
        assert!(check::compare(&graph, &run.captured, &expected).is_bit_exact(), "{w_type} x {x_type}");
    }
}
