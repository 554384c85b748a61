//! The native backend through its public door: every pair of formats on every instruction set against the scalar
//! specification and against a plain f64 sum, known answers of every op, and the errors.

use preon::check::{self, Captured};
use preon::diag::Kind;
use preon::graph::{Def, Graph, InputData, NodeId, Op, ValueId};
use preon::model;
use preon::native::{self, Isa, Options};
use preon::num::format::find;
use preon::num::{Accumulator, FormatRef};
use preon::tensor::{Scaling, Tensor, TensorType};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

const FORMATS: [&str; 10] =
    ["fp32", "fp16", "bf16", "fp8e4m3", "fp8e5m2", "fp4e2m1", "int8", "int4", "ternary", "binary"];

fn format(name: &str) -> FormatRef {
    find(name).expect("a built-in format")
}

fn fp32() -> TensorType {
    TensorType::plain(format("fp32"))
}

/// The type in which a format stores activations: casts are unscaled, the rest has one scale a row.
fn row_type(name: &str) -> TensorType {
    let scaling = if matches!(name, "fp32" | "fp16" | "bf16") { Scaling::None } else { Scaling::Row };
    TensorType::new(format(name), scaling)
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), values).expect("the sizes fit")
}

fn dense(shape: &[usize], values: &[f32]) -> InputData {
    InputData::Dense(Arc::new(tensor(shape, values)))
}

fn noise(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-2.0f32..2.0) * rng.random_range(0.0f32..1.0)).collect()
}

fn run(graph: &Graph, inputs: &[InputData], isa: Isa) -> native::Outputs {
    native::run(graph, inputs, &Options { isa }).expect("a served graph")
}

/// Every node lies within its bound of the f64 reference, and every level gives the same bytes.
fn judged(graph: &Graph, inputs: &[InputData], what: &str) -> native::Outputs {
    let outputs = run(graph, inputs, Isa::Scalar);
    let captured: Vec<Captured> = (0u32..)
        .zip(outputs.nodes())
        .map(|(i, output)| Captured { node: NodeId(i), tensor: output.tensor.clone(), kernel: "native".into() })
        .collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let report = check::compare(graph, &captured, &run(graph, inputs, isa));
        assert!(report.is_bit_exact(), "{what} on {}: {}", isa.name(), report.mismatches[0]);
    }
    let report = check::against_reference(graph, &captured, inputs).expect("every operand is there");
    assert!(report.strays.is_empty(), "{what}: {}", report.strays[0]);
    assert_eq!(report.nodes, graph.nodes.len());
    outputs
}

/// Output of the last node, dequantised.
fn last(graph: &Graph, inputs: &[InputData]) -> Vec<f32> {
    judged(graph, inputs, "one op").nodes().last().expect("a node").tensor.to_f32()
}

/// A graph of one op on fp32 inputs of the given shapes.
fn one_op(op: Op, operands: &[(&[usize], &[f32])]) -> Vec<f32> {
    let mut graph = Graph::default();
    let mut ids = Vec::new();
    let mut inputs = Vec::new();
    for (i, (shape, values)) in operands.iter().enumerate() {
        ids.push(graph.add_input(&format!("x{i}"), shape.to_vec(), fp32()));
        inputs.push(dense(shape, values));
    }
    graph.add_node("y", op, &ids).expect("the operands fit");
    last(&graph, &inputs)
}

/// `quantise -> linear` with constant weights.
fn linear(x: TensorType, w: Tensor, tokens: usize, accumulator: Accumulator) -> Graph {
    let mut graph = Graph::default();
    let k = w.shape[1];
    let weights = graph.add_const("w", Arc::new(w));
    let mut input = graph.add_input("x", vec![tokens, k], fp32());
    if x.format.name != "fp32" {
        input = graph.add_node("y.x", Op::Quantise { to: x }, &[input]).expect("quantises");
    }
    graph.add_node("y", Op::Linear, &[input, weights]).expect("the operands fit");
    graph.nodes.last_mut().expect("a node").accumulator = accumulator;
    graph
}

/// Whether the pair is served; if so, its results are judged.
fn check_linear(rng: &mut ChaCha8Rng, x: TensorType, w: TensorType, k: usize, accumulator: Accumulator) -> bool {
    let (tokens, outputs) = (5, 9);
    let what = format!("{} x {} {:?} k={k} {accumulator:?}", x.format.name, w.format.name, w.scaling);
    let weights = Tensor::quantise(vec![outputs, k], &noise(rng, outputs * k), w).expect("finite weights");
    let graph = linear(x, weights, tokens, accumulator);
    let inputs = [dense(&[tokens, k], &noise(rng, tokens * k))];
    if let Err(error) = native::run(&graph, &inputs, &Options { isa: Isa::Scalar }) {
        assert_eq!(error.kind(), Kind::Unsupported, "{what}: {error}");
        return false;
    }
    judged(&graph, &inputs, &what);
    true
}

#[test]
fn every_pair_of_formats_agrees_on_every_level() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut served = 0;
    for x in FORMATS {
        for w in FORMATS {
            let cast = matches!(w, "fp32" | "fp16" | "bf16");
            let scalings: &[Scaling] = if cast {
                &[Scaling::None]
            } else {
                &[Scaling::Tensor, Scaling::Row, Scaling::Block(32), Scaling::Block(20)]
            };
            for (scaling, k) in scalings.iter().flat_map(|s| [1, 33, 64, 200].map(|k| (*s, k))) {
                let w = TensorType::new(format(w), scaling);
                served += usize::from(check_linear(&mut rng, row_type(x), w, k, Accumulator::Exact));
            }
            let w = TensorType::new(format(w), scalings[0]);
            check_linear(&mut rng, row_type(x), w, 65, Accumulator::F32);
        }
    }
    assert_eq!(served, 10 * (3 * 4 + 7 * 16), "every pair and scaling has a class");
}

/// The graph with weights in `w` and the operands of every product in `x`.
fn in_precision(graph: &Graph, x: TensorType, w: TensorType) -> Graph {
    let mut out = Graph { name: graph.name.clone(), ..Graph::default() };
    let mut map: Vec<ValueId> = Vec::new();
    for value in &graph.values {
        let product = |inputs: &[ValueId]| inputs.get(1).is_some_and(|id| graph.value(*id).name == value.name);
        let is_weight = graph.nodes.iter().any(|node| node.op == Op::Linear && product(&node.inputs));
        map.push(match &value.def {
            Def::Input => out.add_input(&value.name, value.shape.clone(), value.ty),
            Def::Indices => out.add_indices(&value.name, value.shape[0]),
            Def::Const(tensor) if is_weight => {
                let tensor = Tensor::quantise(tensor.shape.clone(), &tensor.to_f32(), w).expect("finite weights");
                out.add_const(&value.name, Arc::new(tensor))
            }
            Def::Const(tensor) => out.add_const(&value.name, tensor.clone()),
            Def::Node(id) => {
                let node = graph.node(*id);
                let mut inputs: Vec<ValueId> = node.inputs.iter().map(|id| map[id.0 as usize]).collect();
                let products = match node.op {
                    Op::Linear => 1,
                    Op::MatMul { .. } => 2,
                    _ => 0,
                };
                for (i, input) in inputs.iter_mut().take(products).enumerate() {
                    let name = format!("{}.{i}", node.name);
                    *input = out.add_node(&name, Op::Quantise { to: x }, &[*input]).expect("fits");
                }
                out.add_node(&node.name, node.op.clone(), &inputs).expect("fits")
            }
        });
    }
    out
}

#[test]
fn built_in_networks_lie_within_the_bounds_of_the_reference() {
    for (name, _) in model::builtins() {
        let model = model::load(&format!("builtin:{name}")).expect("a built-in model");
        let prepared = model.prepare(&model::Input::Length(5)).expect("a sample");
        judged(&prepared.graph, &prepared.inputs, name);
        for (x, w, scaling) in [
            ("bf16", "bf16", Scaling::None),
            ("fp8e4m3", "fp8e4m3", Scaling::Row),
            ("int8", "int8", Scaling::Row),
            ("int8", "ternary", Scaling::Tensor),
            ("int8", "binary", Scaling::Row),
            ("binary", "binary", Scaling::Row),
            ("int4", "int4", Scaling::Block(32)),
        ] {
            let graph = in_precision(&prepared.graph, row_type(x), TensorType::new(format(w), scaling));
            judged(&graph, &prepared.inputs, &format!("{name} in {x} x {w}"));
        }
    }
}

#[test]
fn integer_sums_are_exact_where_a_float_chain_is_not() {
    // 2^24 + 1 needs 25 bits: the sum of 1041 products of 127 * 127 and one of 1 * 1 must round once.
    let k = 2000;
    let w = TensorType::new(format("int8"), Scaling::Row);
    let values: Vec<f32> = (0..k).map(|i| if i % 3 == 0 { 1.0 } else { -0.5 + i as f32 / 4000.0 }).collect();
    let weights = Tensor::quantise(vec![1, k], &values, w).expect("finite");
    let codes = |t: &Tensor| t.payload.iter().map(|b| i64::from(*b as i8)).collect::<Vec<_>>();
    let w_codes = codes(&weights);
    let w_scale = weights.scales[0];
    let graph = linear(row_type("int8"), weights, 1, Accumulator::Exact);
    let outputs = run(&graph, &[dense(&[1, k], &values)], Isa::best());
    let x = &outputs.nodes()[0].tensor;
    let sum: i64 = codes(x).iter().zip(&w_codes).map(|(a, b)| a * b).sum();
    let expected = sum as f32 * (x.scales[0] * w_scale);
    assert_eq!(outputs.nodes()[1].tensor.to_f32()[0].to_bits(), expected.to_bits());
}

#[test]
fn known_linear_with_bias() {
    let mut graph = Graph::default();
    let x = graph.add_input("x", vec![1, 2], fp32());
    let w = graph.add_const("w", Arc::new(tensor(&[3, 2], &[1.0, 2.0, 3.0, 4.0, -1.0, 0.5])));
    let bias = graph.add_const("b", Arc::new(tensor(&[3], &[10.0, 20.0, 30.0])));
    graph.add_node("y", Op::Linear, &[x, w, bias]).expect("fits");
    assert_eq!(last(&graph, &[dense(&[1, 2], &[1.0, 10.0])]), [31.0, 63.0, 34.0]);
}

#[test]
fn grouped_heads_share_a_right_side() {
    let a: Vec<f32> = (0..4).map(|i| i as f32 + 1.0).collect();
    let y = one_op(Op::MatMul { group: 2 }, &[(&[4, 1, 1], &a), (&[2, 1, 1], &[10.0, 100.0])]);
    assert_eq!(y, [10.0, 20.0, 300.0, 400.0]);
    let y = one_op(
        Op::MatMul { group: 1 },
        &[(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), (&[1, 3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])],
    );
    assert_eq!(y, [1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
}

#[test]
fn known_elementwise() {
    let (a, b): (&[f32], &[f32]) = (&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0]);
    assert_eq!(one_op(Op::Add, &[(&[2, 2], a), (&[2], b)]), [11.0, 22.0, 13.0, 24.0]);
    assert_eq!(one_op(Op::Mul, &[(&[2, 2], a), (&[2], b)]), [10.0, 40.0, 30.0, 80.0]);
    assert_eq!(one_op(Op::Scale { factor: 0.5 }, &[(&[4], a)]), [0.5, 1.0, 1.5, 2.0]);
    let signed: &[f32] = &[-1.0, 0.0, 2.0];
    assert_eq!(one_op(Op::Relu, &[(&[3], signed)]), [0.0, 0.0, 2.0]);
    assert_eq!(one_op(Op::Relu2, &[(&[3], signed)]), [0.0, 0.0, 4.0]);
    let near = |got: Vec<f32>, want: [f64; 3]| {
        assert!(got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() < 1e-6), "{got:?} {want:?}");
    };
    near(one_op(Op::Gelu, &[(&[3], signed)]), [-0.158_655_253_931_457, 0.0, 1.954_499_736_103_642]);
    near(one_op(Op::Silu, &[(&[3], signed)]), [-0.268_941_421_369_995, 0.0, 1.761_594_155_955_765]);
}

#[test]
fn known_softmax_and_mask() {
    let inf = f32::INFINITY;
    let scores: &[f32] = &[1.0, 1.0, 5.0, 6.0];
    let bias: &[f32] = &[0.0, -inf, -inf, -inf];
    let masked = one_op(Op::Mask, &[(&[1, 2, 2], scores), (&[2, 2], bias)]);
    assert_eq!(masked, [1.0, -inf, -inf, -inf]);
    let y = one_op(Op::Softmax, &[(&[1, 2, 2], &masked)]);
    assert_eq!(y.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [1.0f32.to_bits(), 0, 0, 0]);
    let y = one_op(Op::Softmax, &[(&[1, 3], &[0.0, 2f32.ln(), f32::NAN])]);
    assert!(y.iter().all(|v| v.to_bits() == 0x7fc0_0000));
    let y = one_op(Op::Softmax, &[(&[1, 2], &[0.0, 3f32.ln()])]);
    assert!((y[0] - 0.25).abs() < 1e-6 && (y[1] - 0.75).abs() < 1e-6, "{y:?}");
}

#[test]
fn known_norms() {
    let x: &[f32] = &[1.0, 2.0, 3.0, 4.0];
    let y = one_op(Op::LayerNorm { eps: 0.0 }, &[(&[1, 4], x), (&[4], &[1.0; 4]), (&[4], &[1.0; 4])]);
    let d = 1.25f64.sqrt();
    for (got, v) in y.iter().zip([-1.5, -0.5, 0.5, 1.5]) {
        assert!((f64::from(*got) - (1.0 + v / d)).abs() < 1e-6, "{y:?}");
    }
    let y = one_op(Op::RmsNorm { eps: 0.25 }, &[(&[1, 2], &[0.75, -0.5]), (&[2], &[2.0, 4.0])]);
    let r = 1.0 / (f64::from(0.75f32.powi(2) + 0.25) / 2.0 + 0.25).sqrt();
    assert!((f64::from(y[0]) - 1.5 * r).abs() < 1e-6 && (f64::from(y[1]) + 2.0 * r).abs() < 1e-6, "{y:?}");
    assert_eq!(one_op(Op::L2Norm, &[(&[2, 2], &[3.0, 4.0, 0.0, -0.0])]), [0.6, 0.8, 0.0, 0.0]);
    assert_eq!(one_op(Op::MeanPool, &[(&[2, 2], &[1.0, 2.0, 3.0, 6.0])]), [2.0, 4.0]);
}

#[test]
fn layer_norm_adds_beta_without_rounding_first() {
    let (x, gamma) = ([0.5f32, -0.5, 1.5, -1.5], [0.3f32, 1.7, 0.9, 1.1]);
    let beta = [0, 1, 2, 3].map(|i: usize| -(x[i] * (1.0 / 1.25f32.sqrt()) * gamma[i]));
    let y = one_op(Op::LayerNorm { eps: 0.0 }, &[(&[1, 4], &x), (&[4], &gamma), (&[4], &beta)]);
    let scaled = x.map(|v| v * (1.0 / 1.25f32.sqrt()));
    let fused: Vec<f32> = (0..4).map(|i| scaled[i].mul_add(gamma[i], beta[i])).collect();
    let rounded_twice: Vec<f32> = (0..4).map(|i| scaled[i] * gamma[i] + beta[i]).collect();
    assert_eq!(y, fused);
    assert_ne!(y, rounded_twice, "what is left is the rounding error of the product");
}

#[test]
fn known_moves() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let y = one_op(Op::Transpose { perm: vec![1, 0, 2] }, &[(&[2, 3, 4], &x)]);
    assert_eq!(y[4..8], [12.0, 13.0, 14.0, 15.0]);
    let y = one_op(Op::Transpose { perm: vec![1, 0] }, &[(&[2, 3], &x[..6])]);
    assert_eq!(y, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(one_op(Op::Reshape { shape: vec![4, 6] }, &[(&[2, 3, 4], &x)]), x);
    let y = one_op(Op::Rope, &[(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]), (&[1, 2], &[0.5, 1.0]), (&[1, 2], &[2.0, 0.0])]);
    assert_eq!(y, [-5.5, 2.0, 3.5, 4.0]);
}

fn embedding(table: Tensor, ids: &[u32]) -> preon::Result<Vec<f32>> {
    let mut graph = Graph::default();
    let table = graph.add_const("table", Arc::new(table));
    let ids_value = graph.add_indices("ids", ids.len());
    graph.add_node("y", Op::Embedding, &[table, ids_value]).expect("fits");
    let outputs = native::run(&graph, &[InputData::Ids(ids.to_vec())], &Options::default())?;
    Ok(outputs.nodes()[0].tensor.to_f32())
}

#[test]
fn embedding_takes_rows_and_scales_them() {
    let values = [1.0, -2.0, 0.5, 4.0, 8.0, -1.0];
    let y = embedding(tensor(&[3, 2], &values), &[2, 0, 2]).expect("ids in range");
    assert_eq!(y, [8.0, -1.0, 1.0, -2.0, 8.0, -1.0]);
    for scaling in [Scaling::Tensor, Scaling::Row, Scaling::Block(1)] {
        let table = Tensor::quantise(vec![3, 2], &values, TensorType::new(format("int8"), scaling));
        let table = table.expect("finite");
        let all = table.to_f32();
        let y = embedding(table, &[1, 2]).expect("ids in range");
        assert_eq!(y, all[2..6], "{scaling:?}");
    }
    let error = embedding(tensor(&[3, 2], &values), &[3]).expect_err("outside");
    assert_eq!(error.kind(), Kind::BadInput);
    assert!(error.to_string().contains("token id 3") && error.to_string().contains("node `y`"), "{error}");
}

fn quantised(name: &str, row: &[f32]) -> Tensor {
    let mut graph = Graph::default();
    let x = graph.add_input("x", vec![1, row.len()], fp32());
    graph.add_node("q", Op::Quantise { to: row_type(name) }, &[x]).expect("fits");
    run(&graph, &[dense(&[1, row.len()], row)], Isa::Scalar).node(NodeId(0)).tensor.clone()
}

#[test]
fn rows_are_quantised_by_the_rules_of_their_format() {
    let q = quantised("int8", &[1.0, -1.0, 0.5, 0.0]);
    assert_eq!(q.payload, [127, 129, 64, 0]);
    assert_eq!(q.scales[0].to_bits(), (1.0f32 / 127.0).to_bits());
    let q = quantised("int4", &[7.0, -7.0, 3.0, 0.4]);
    assert_eq!((q.payload.as_slice(), q.scales[0]), (&[0x97, 0x03][..], 1.0));
    let q = quantised("ternary", &[2.0, -2.0, 0.0, 0.5]);
    assert_eq!((q.payload.as_slice(), q.scales[0]), (&[0b0000_1001][..], 1.125));
    let q = quantised("binary", &[1.0, -3.0, -0.0, 0.0]);
    assert_eq!((q.payload.as_slice(), q.scales[0]), (&[0b0010][..], 1.0));
    let q = quantised("fp8e4m3", &[448.0, -1.0, 0.0]);
    assert_eq!((q.payload.as_slice(), q.scales[0]), (&[0x7e, 0xb8, 0x00][..], 1.0));
    let q = quantised("fp4e2m1", &[-12.0, 2.0]);
    assert_eq!((q.payload.as_slice(), q.scales[0]), (&[0x2f][..], 2.0));
    assert_eq!(quantised("bf16", &[1.0]).payload, [0x80, 0x3f]);
    assert_eq!(quantised("fp16", &[1e6]).payload, [0x00, 0x7c]);
}

#[test]
fn zero_and_poisoned_rows_have_defined_scales() {
    for name in ["fp8e4m3", "fp8e5m2", "fp4e2m1"] {
        assert_eq!(quantised(name, &[0.0, 0.0]).scales, [1.0], "{name}");
        assert_eq!(quantised(name, &[1e-45, 0.0]).scales, [f32::from_bits(1)], "{name}");
    }
    assert_eq!(quantised("int8", &[0.0]).scales[0].to_bits(), (1e-5f32 / 127.0).to_bits());
    for name in ["int8", "int4", "ternary", "binary", "fp8e4m3", "fp4e2m1"] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let q = quantised(name, &[1.0, bad, -1.0]);
            assert_eq!(q.scales[0].to_bits(), 0x7fc0_0000, "{name}");
            assert!(q.payload.iter().all(|b| *b == 0), "{name}");
        }
    }
}

#[test]
fn inputs_must_fit_the_graph() {
    let graph = linear(fp32(), tensor(&[1, 2], &[1.0, 1.0]), 1, Accumulator::Exact);
    for inputs in [vec![], vec![dense(&[2, 1], &[0.0; 2])], vec![InputData::Ids(vec![1])]] {
        let error = native::run(&graph, &inputs, &Options::default()).expect_err("does not fit");
        assert_eq!(error.kind(), Kind::BadInput);
    }
}

/// `y = x . w` for one row of x and one row of w.
fn dot(x: &str, w: Tensor, values: &[f32], isa: Isa) -> f32 {
    let graph = linear(row_type(x), w, 1, Accumulator::Exact);
    run(&graph, &[dense(&[1, values.len()], values)], isa).nodes().last().expect("a node").tensor.to_f32()[0]
}

#[test]
fn bf16_products_flush_where_fp32_ones_do_not() {
    let tiny = 2f32.powi(-70);
    let weights = |name| Tensor::quantise(vec![1, 2], &[tiny, 0.0], TensorType::plain(format(name))).expect("finite");
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        assert_eq!(dot("bf16", weights("bf16"), &[tiny, 1.0], isa).to_bits(), 0, "{}", isa.name());
        assert_eq!(dot("bf16", weights("fp32"), &[tiny, 1.0], isa), 2f32.powi(-140), "{}", isa.name());
        let subnormal = Tensor::quantise(vec![1, 1], &[2f32.powi(-130)], TensorType::plain(format("bf16")));
        assert_eq!(dot("bf16", subnormal.expect("finite"), &[2f32.powi(100)], isa).to_bits(), 0, "{}", isa.name());
    }
}

#[test]
fn special_codes_in_exact_sums() {
    let weights = |name: &str, codes: &[u8]| {
        let ty = TensorType::new(format(name), Scaling::Tensor);
        Tensor::new(vec![1, codes.len()], ty, codes.to_vec(), vec![0.5]).expect("one byte a code")
    };
    // e5m2: 0x7c is +inf, 0xfc -inf, 0x3c is 1; e4m3: 0x7f is NaN, 0x38 is 1.
    assert_eq!(dot("int8", weights("fp8e5m2", &[0x7c, 0x3c]), &[1.0, 2.0], Isa::best()), f32::INFINITY);
    assert_eq!(dot("int8", weights("fp8e5m2", &[0xfc, 0x3c]), &[1.0, 2.0], Isa::best()), f32::NEG_INFINITY);
    for (name, codes, x) in [
        ("fp8e5m2", [0x7c, 0xfc], [1.0, 1.0]),
        ("fp8e5m2", [0x7c, 0x3c], [0.0, 1.0]),
        ("fp8e4m3", [0x7f, 0x38], [0.0, 1.0]),
    ] {
        assert_eq!(dot("int8", weights(name, &codes), &x, Isa::best()).to_bits(), 0x7fc0_0000, "{name} {codes:?}");
    }
    assert_eq!(dot("int8", weights("fp8e4m3", &[0x38, 0x38]), &[127.0, -1.0], Isa::best()), 63.0);
}

#[test]
fn a_poisoned_row_stays_nan_through_integers() {
    let w = Tensor::quantise(vec![1, 2], &[1.0, 1.0], row_type("int8")).expect("finite");
    assert_eq!(dot("int8", w, &[f32::INFINITY, 1.0], Isa::best()).to_bits(), 0x7fc0_0000);
}
