//! Tests of policies on a small attention graph.

use super::*;
use crate::diag::Kind;
use crate::graph::{Graph, Op, ValueId, verify};
use crate::num;
use crate::tensor::{Scaling, Tensor};

const HEAD: &str = "schema = \"preon.policy/1\"\nname = \"p\"\n";

fn policy(rules: &str) -> Policy {
    Policy::parse("p.toml", &format!("{HEAD}{rules}")).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(text: &str) -> Error {
    match Policy::parse("p.toml", text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

fn weight(graph: &mut Graph, name: &str, shape: &[usize]) -> ValueId {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect();
    let tensor = Tensor::from_f32(shape.to_vec(), &values).expect("a tensor");
    graph.add_const(name, Arc::new(tensor))
}

/// embed, then q and k of the same rows, their scores, and a head.
fn small() -> Graph {
    let mut g = Graph { name: "small".into(), ..Graph::default() };
    let ids = g.add_indices("ids", 3);
    let table = weight(&mut g, "embed.weight", &[10, 8]);
    let (wq, wk) = (weight(&mut g, "layer.0.q.weight", &[8, 8]), weight(&mut g, "layer.0.k.weight", &[8, 8]));
    let bias = weight(&mut g, "layer.0.q.bias", &[8]);
    let head = weight(&mut g, "head.weight", &[5, 8]);
    let x = g.add_node("embed", Op::Embedding, &[table, ids]).expect("embed");
    let q = g.add_node("layer.0.q", Op::Linear, &[x, wq, bias]).expect("q");
    let k = g.add_node("layer.0.k", Op::Linear, &[x, wk]).expect("k");
    let split = |g: &mut Graph, name: &str, v| {
        let rows = g.add_node(&format!("{name}.split"), Op::Reshape { shape: vec![3, 2, 4] }, &[v]).expect("split");
        g.add_node(&format!("{name}.heads"), Op::Transpose { perm: vec![1, 0, 2] }, &[rows]).expect("heads")
    };
    let (qh, kh) = (split(&mut g, "layer.0.q", q), split(&mut g, "layer.0.k", k));
    let scores = g.add_node("layer.0.scores", Op::MatMul { group: 1 }, &[qh, kh]).expect("scores");
    let logits = g.add_node("head", Op::Linear, &[x, head]).expect("head");
    g.outputs = vec![("scores".into(), scores), ("logits".into(), logits)];
    g
}

fn node<'g>(graph: &'g Graph, name: &str) -> &'g crate::graph::Node {
    graph.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

fn operand_types(graph: &Graph, name: &str) -> Vec<String> {
    node(graph, name).inputs.iter().map(|id| graph.value(*id).ty.to_string()).collect()
}

#[test]
fn built_in_policies_parse_and_survive_their_resolved_form() {
    let all = built_ins();
    assert_eq!(names().count(), 10);
    for (policy, name) in all.iter().zip(names()) {
        assert_eq!(policy.name, name);
        assert!(!policy.doc.is_empty());
        let again = Policy::parse("r.toml", &policy.resolved()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(again.resolved(), policy.resolved());
        assert_eq!(again.rules.len(), policy.rules.len());
    }
}

#[test]
fn every_built_in_policy_gives_a_sound_graph() {
    for policy in built_ins() {
        let graph = apply(&small(), &policy).unwrap_or_else(|e| panic!("{}: {e}", policy.name));
        let faults = verify::faults(&graph);
        assert!(faults.is_empty(), "{}: {faults:?}", policy.name);
        assert_eq!(graph.inputs.len(), 1);
        assert_eq!(graph.outputs.len(), 2);
    }
    let plain = apply(&small(), &load("fp32").unwrap()).unwrap();
    assert_eq!(plain.nodes.len(), small().nodes.len());
}

#[test]
fn a_value_is_quantised_once_for_all_its_readers() {
    let graph = apply(&small(), &load("int8").unwrap()).unwrap();
    let quantised: Vec<&str> =
        graph.nodes.iter().filter(|n| matches!(n.op, Op::Quantise { .. })).map(|n| n.name.as_str()).collect();
    assert_eq!(quantised, ["embed.as.int8", "layer.0.q.heads.as.int8", "layer.0.k.heads.as.int8"]);
    assert_eq!(operand_types(&graph, "layer.0.q"), ["int8/row", "int8/row", "fp32"]);
    assert_eq!(operand_types(&graph, "layer.0.scores"), ["int8/row", "int8/row"]);
    assert_eq!(operand_types(&graph, "embed"), ["int8/row", "fp32"]);
    // Only the quantised weight is left, under its own name.
    assert_eq!(graph.values.iter().filter(|v| v.name == "head.weight").count(), 1);
}

#[test]
fn later_rules_win_key_by_key() {
    let policy = policy(
        "[[rule]]\nmatch = \"*\"\nweights = \"int8/row\"\nactivations = \"int8/row\"\n\
         [[rule]]\nmatch = \"head.weight\"\nweights = \"fp32\"\n\
         [[rule]]\nmatch = \"layer.*.scores\"\nkv = \"bf16\"\nattention = \"fp16\"\naccumulator = \"f32\"\n",
    );
    let graph = apply(&small(), &policy).unwrap();
    assert_eq!(operand_types(&graph, "head"), ["int8/row", "fp32"]);
    assert_eq!(operand_types(&graph, "layer.0.scores"), ["fp16", "bf16"]);
    assert_eq!(node(&graph, "layer.0.scores").accumulator, Accumulator::F32);
    assert_eq!(node(&graph, "head").accumulator, Accumulator::Exact);
    let plan = plan(&small(), &policy).unwrap();
    let shown: Vec<String> =
        plan.iter().map(|a| format!("{} {} {} {}", a.node, a.role.name(), a.value, a.rule)).collect();
    let wanted = [
        "embed weights embed.weight 0",
        "layer.0.q weights layer.0.q.weight 0",
        "layer.0.q activations embed 0",
        "layer.0.k weights layer.0.k.weight 0",
        "layer.0.k activations embed 0",
        "layer.0.scores kv layer.0.k.heads 2",
        "layer.0.scores attention layer.0.q.heads 2",
        "layer.0.scores accumulator layer.0.scores 2",
        "head weights head.weight 1",
        "head activations embed 0",
    ];
    assert_eq!(shown, wanted);
    assert_eq!(policy.line(1), 8);
}

#[test]
fn activations_reach_matmul_unless_attention_is_given() {
    let with = policy("[[rule]]\nmatch = \"*\"\nactivations = \"int8/row\"\n");
    assert_eq!(operand_types(&apply(&small(), &with).unwrap(), "layer.0.scores"), ["int8/row", "fp32"]);
    let without =
        policy("[[rule]]\nmatch = \"*\"\nattention = \"fp32\"\n[[rule]]\nmatch = \"*\"\nactivations = \"int8/row\"\n");
    assert_eq!(operand_types(&apply(&small(), &without).unwrap(), "layer.0.scores"), ["fp32", "fp32"]);
}

#[test]
fn a_shared_weight_may_be_held_in_two_types() {
    let mut g = small();
    let (x, table) = (node(&g, "embed").output, node(&g, "embed").inputs[0]);
    let tied = g.add_node("tied", Op::Linear, &[x, table]).unwrap();
    g.outputs.push(("tied".into(), tied));
    let policy = policy(
        "[[rule]]\nmatch = \"embed\"\nweights = \"bf16\"\n[[rule]]\nmatch = \"tied\"\nweights = \"int4/block4\"\n\
         activations = \"bf16\"\n",
    );
    let graph = apply(&g, &policy).unwrap();
    assert!(verify::faults(&graph).is_empty());
    assert_eq!(operand_types(&graph, "embed")[0], "bf16");
    assert_eq!(operand_types(&graph, "tied"), ["bf16", "int4/block4"]);
}

#[test]
fn a_rule_that_matches_nothing_is_an_error_at_its_line() {
    let text = "[[rule]]\nmatch = \"haed\"\nweights = \"int8/row\"\n";
    let error = apply(&small(), &policy(text)).unwrap_err();
    assert_eq!(error.kind(), Kind::BadInput);
    let said = error.to_string();
    assert!(said.starts_with("p.toml:4:9: the rule \"haed\" matches no node or weight"), "{said}");
    // `embed` has no keys and values, so this rule sets nothing although it matches.
    let idle = policy("[[rule]]\nmatch = \"embed\"\nkv = \"int8/row\"\n");
    assert!(apply(&small(), &idle).unwrap_err().message().contains("sets nothing"));
    assert!(plan(&small(), &idle).is_err());
    let optional = policy(&text.replace("weights", "optional = true\nweights"));
    assert!(apply(&small(), &optional).is_ok());
    let near = policy("[[rule]]\nmatch = \"layer.0.score\"\nkv = \"int8/row\"\n");
    assert!(apply(&small(), &near).unwrap_err().help_text().unwrap().starts_with("did you mean `layer.0.scores`?"));
}

#[test]
fn files_are_refused_with_their_place() {
    let rule = |line: &str| format!("{HEAD}[[rule]]\nmatch = \"*\"\n{line}\n");
    let bad = [
        (String::new(), "p.toml:1:1: this is not a policy: it has no `schema`"),
        ("schema = 1\n".into(), "p.toml:1:10: `schema` must be a string"),
        ("schema = \"preon.policy/9\"\n".into(), "p.toml:1:10: this is not a policy that can be read"),
        ("schema = \"preon.policy/1\"\n".into(), "p.toml:1:1: a policy needs a `name`"),
        ("schema = ".into(), "p.toml:1:"),
        (rule("wieghts = \"int8\""), "p.toml:5:1: unknown key `wieghts` (did you mean `weights`? keys here are match"),
        (rule("weights = \"int9\""), "p.toml:5:11: unknown format `int9` (did you mean `int8`? known formats"),
        (rule("weights = \"int8/rows\""), "p.toml:5:11: unknown scaling `rows` of int8"),
        (rule("weights = \"int8/block0\""), "p.toml:5:11: int8/block0: a block has at least one element"),
        (rule("weights = 8"), "p.toml:5:11: `weights` must be a string"),
        (rule("optional = 1"), "p.toml:5:12: `optional` must be true or false"),
        (rule("accumulator = \"f64\""), "p.toml:5:15: unknown accumulator `f64` (one of exact, f32, "),
        (rule("optional = true"), "p.toml:4:9: this rule sets nothing"),
        (rule("").replace("\"*\"", "\"a[\""), "p.toml:4:9: `[` without `]`"),
        (rule("kv = \"bf16\"").replace("match = \"*\"", ""), "p.toml:3:1: a rule needs a `match`"),
        (format!("{HEAD}rule = 3\n"), "p.toml:3:8: rules are written as [[rule]] tables"),
    ];
    for (text, wanted) in bad {
        let error = refused(&text);
        assert_eq!(error.kind(), Kind::BadInput, "{error}");
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
}

#[test]
fn known_but_unserved_keys_are_refused_by_name() {
    for key in ["gradients", "optimizer", "accumulation", "grad_estimator"] {
        for text in [format!("{HEAD}{key} = \"x\"\n"), format!("{HEAD}[[rule]]\nmatch = \"*\"\n{key} = \"x\"\n")] {
            let error = refused(&text);
            assert_eq!(error.kind(), Kind::Unsupported, "{error}");
            assert!(error.message().starts_with(&format!("`{key}`")), "{error}");
            assert!(error.to_string().starts_with("p.toml:"), "{error}");
        }
    }
}

#[test]
fn scalings_that_are_not_served_are_refused() {
    for (line, why) in [
        ("activations = \"int4/tensor\"", "only weights have scales"),
        ("kv = \"int8/tensor\"", "only weights have scales"),
        ("weights = \"bf16/row\"", "takes no scale"),
    ] {
        let error = refused(&format!("{HEAD}[[rule]]\nmatch = \"*\"\n{line}\n"));
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn a_second_policy_and_a_damaged_weight_are_refused() {
    let once = apply(&small(), &load("bf16").unwrap()).unwrap();
    let error = apply(&once, &load("bf16").unwrap()).unwrap_err();
    assert!(error.message().contains("policies start from fp32"), "{error}");
    let mut damaged = small();
    let bad = Tensor::from_f32(vec![5, 8], &[f32::NAN; 40]).unwrap();
    let at = damaged.values.iter().position(|v| v.name == "head.weight").unwrap();
    damaged.values[at].def = crate::graph::Def::Const(Arc::new(bad));
    let error = apply(&damaged, &load("int8").unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::BadInput);
    assert!(error.to_string().starts_with("small: tensor `head.weight`: element 0 is NaN"), "{error}");
}

#[test]
fn formats_that_models_are_trained_in_say_so() {
    let notes_of = |name: &str| notes(&plan(&small(), &load(name).unwrap()).unwrap());
    assert_eq!(notes_of("int8"), Vec::<String>::new());
    let wanted = "2 weight tensors are held in ternary, which keeps a model's quality only if it was trained in it";
    assert_eq!(notes_of("w1.58a8"), [wanted]);
}

#[test]
fn default_scalings_follow_the_rule_of_the_format() {
    let of = |text: &str| TensorType::parse(text).unwrap().scaling;
    assert_eq!([of("bf16"), of("int8"), of("ternary")], [Scaling::None, Scaling::Row, Scaling::Tensor]);
    assert_eq!([of("int8/tensor"), of("fp4e2m1/block16")], [Scaling::Tensor, Scaling::Block(16)]);
}

#[test]
fn names_and_paths_are_told_apart() {
    let error = load("int9").unwrap_err();
    assert!(
        error.to_string().starts_with("there is no policy `int9` (did you mean `int8`? built in: fp32, bf16"),
        "{error}"
    );
    let missing = load("no/such.toml").unwrap_err();
    assert_eq!(missing.to_string(), "no/such.toml: there is no such file");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    assert!(load(folder.path().to_str().unwrap()).unwrap_err().message().contains("not a file"));
    std::fs::write(&path, format!("{HEAD}[[rule]]\nmatch = \"*\"\nweights = \"int4/block8\"\n")).unwrap();
    assert_eq!(load(path.to_str().unwrap()).unwrap().rules.len(), 1);
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(load(path.to_str().unwrap()).unwrap_err().message().contains("not a text file"));
}

#[test]
fn recipes_say_how_weights_become_codes() {
    let policy = policy(
        "[[rule]]\nmatch = \"*\"\nweights = \"int4/block8\"\ncalibration = \"mse\"\nsparsity = \"2:4\"\n\
         [[rule]]\nmatch = \"head\"\nrounding = \"sr\"\nseed = 7\n",
    );
    assert_eq!(Policy::parse("r.toml", &policy.resolved()).unwrap().resolved(), policy.resolved());
    assert!(policy.resolved().contains("rounding = \"sr\"\nseed = 7\n"), "{}", policy.resolved());
    let found = plan(&small(), &policy).unwrap();
    let recipes = found.iter().filter(|a| a.role == Role::Recipe);
    assert_eq!(recipes.map(|a| a.rule).collect::<Vec<_>>(), [0, 0, 0, 1]);
    let graph = apply(&small(), &policy).unwrap();
    let values = graph.constant(node(&graph, "head").inputs[1]).unwrap().to_f32();
    let zeros = values.chunks(4).map(|run| run.iter().filter(|v| **v == 0.0).count());
    assert!(zeros.into_iter().all(|zeros| zeros >= 2), "{values:?}");
    for (line, why) in [
        ("sparsity = \"2:4\"", "another format than fp32"),
        ("double_quant = true", "goes with `weights` in blocks"),
        ("weights = \"mxfp4\"\ndouble_quant = true", "double_quant cannot make mxfp4 weights"),
        ("weights = \"mxfp4\"\ncalibration = \"mse\"", "calibration mse cannot make mxfp4 weights"),
    ] {
        let text = format!("{HEAD}[[rule]]\nmatch = \"*\"\n{line}\n");
        let error = plan(&small(), &Policy::parse("p.toml", &text).unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.message().contains(why), "{error}");
    }
    for key in ["activations", "kv", "attention"] {
        for name in ["codebook8", &num::format::learned(&[1.0; 8]).unwrap().name] {
            let error = refused(&format!("{HEAD}[[rule]]\nmatch = \"*\"\n{key} = \"{name}\"\n"));
            assert!(error.message().contains("cannot be codebook8: its table is learned"), "{error}");
        }
    }
    let text = format!("{HEAD}[[rule]]\nmatch = \"*\"\nweights = \"codebook8\"\n");
    let learned = Policy::parse("p.toml", &text).unwrap();
    let graph = apply(&small(), &learned).unwrap();
    let types = |graph: &Graph| ["layer.0.q", "layer.0.k", "head"].map(|name| operand_types(graph, name)[1].clone());
    assert!(types(&graph).iter().all(|ty| ty.starts_with("codebook8_")), "{:?}", types(&graph));
    assert_eq!(types(&graph)[0], types(&graph)[1], "equal weights have one table");
    assert_ne!(types(&graph)[0], types(&graph)[2]);
    // What is held in a learned table is what the policy asks for, so it may be applied again.
    assert_eq!(types(&apply(&graph, &learned).unwrap()), types(&graph));
    assert_eq!(Policy::parse("r.toml", &learned.resolved()).unwrap().rules[0].weights, learned.rules[0].weights);
    let text = format!("{HEAD}[[rule]]\nmatch = \"*\"\nweights = \"nf4\"\ndouble_quant = true\n");
    let double = Policy::parse("p.toml", &text).unwrap();
    assert_eq!(Policy::parse("r.toml", &double.resolved()).unwrap().resolved(), double.resolved());
    assert!(double.resolved().contains("double_quant = true\n"), "{}", double.resolved());
    let graph = apply(&small(), &double).unwrap();
    assert!(graph.constant(node(&graph, "head").inputs[1]).unwrap().double_bytes.is_some());
    for line in [
        "double_quant = \"x\"",
        "calibration = \"best\"",
        "sparsity = \"4:2\"",
        "rounding = \"odd\"",
        "seed = -1",
        "seed = \"a\"",
    ] {
        let error = refused(&format!("{HEAD}[[rule]]\nmatch = \"*\"\n{line}\n"));
        assert!(error.message().starts_with("this is no `"), "{error}");
    }
    let error = refused(&format!("{HEAD}[[rule]]\nmatch = \"*\"\nweights = \"int4\"\nseed = 7\n"));
    assert!(error.to_string().starts_with("p.toml:6:8: this `seed` draws nothing"), "{error}");
    for key in ["rounding = \"sr\"", "rotate = \"hadamard\""] {
        let text =
            format!("[[rule]]\nmatch = \"*\"\nseed = 7\n[[rule]]\nmatch = \"head\"\nweights = \"int4\"\n{key}\n");
        assert_eq!(Policy::parse("p.toml", &format!("{HEAD}{text}")).unwrap().rules[0].recipe.seed, Some(7));
    }
}
