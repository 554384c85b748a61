//! Reading models: a tiny BERT folder gives the embedding that an independent NumPy BERT computes, and every way in
//! which such a folder can be damaged gives one sentence with its place and the right exit code.

mod common;

use preon::diag::{Error, Kind, Place};
use preon::graph::{InputData, eval, verify};
use preon::model::{self, Input, Model};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const TEXT: &str = "The quick fox jumps over a lazy zebra!";

fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    common::tiny_bert(dir.path());
    dir
}

fn load(dir: &Path) -> preon::diag::Result<Model> {
    model::load(dir.to_str().unwrap())
}

fn embedding(dir: &Path) -> Vec<f64> {
    let prepared = load(dir).unwrap().prepare(&Input::Text(TEXT.into())).unwrap();
    eval::run(&prepared.graph, &prepared.inputs).unwrap().last().unwrap().values.clone()
}

/// The error of a folder after `damage`; everything about it but the sentence is checked here.
fn refusal(damage: impl FnOnce(&Path), kind: Kind, file: &str) -> String {
    let dir = folder();
    damage(dir.path());
    let error = load(dir.path()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let path = match error.place() {
        Place::File(path) | Place::Tensor { path, .. } => path,
        other => panic!("{error} has no file but {other:?}"),
    };
    assert!(path.ends_with(file), "{path} is not {file}");
    assert!(!error.message().contains('\n') && error.message().len() < 200, "{error}");
    error.to_string()
}

/// Config with one key set, or removed with null.
fn with_key(key: &str, value: Value) -> impl FnOnce(&Path) {
    let mut config = common::config();
    match value {
        Value::Null => drop(config.as_object_mut().unwrap().remove(key)),
        value => config[key] = value,
    }
    move |dir: &Path| fs::write(dir.join("config.json"), config.to_string()).unwrap()
}

fn with_weights(damage: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&Path) {
    move |dir: &Path| {
        let path = dir.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_tokens_are_those_of_the_text_without_padding() {
    let dir = folder();
    let prepared = load(dir.path()).unwrap().prepare(&Input::Text(TEXT.into())).unwrap();
    // [CLS] the quick fox jump ##s over a lazy [UNK] ! [SEP]
    assert_eq!(prepared.inputs, [InputData::Ids(vec![2, 4, 5, 7, 8, 9, 10, 14, 11, 1, 23, 3])]);
    assert_eq!((prepared.tokens, prepared.padding), (12, 0));
    verify::verify(&prepared.graph).unwrap();
    let longer = load(dir.path()).unwrap().prepare(&Input::Length(17)).unwrap();
    assert_eq!(longer.tokens, 17);
    let InputData::Ids(ids) = &longer.inputs[0] else { panic!("ids are wanted") };
    assert_eq!((ids[0], ids[16]), (2, 3));
    assert_eq!(&ids[1..6], &ids[11..16], "the inner tokens repeat");
}

/// The golden vector is the output of `tests/reference/bert_numpy.py` for this folder and text:
/// `cargo test --test model -- --ignored write_tiny_bert` writes the folder to `target/tiny-bert`.
#[test]
fn the_reference_agrees_with_an_independent_numpy_bert() {
    let dir = folder();
    let golden = include_str!("data/tiny_bert_embedding.txt");
    let golden: Vec<f64> =
        golden.lines().filter(|line| !line.starts_with('#')).map(|line| line.parse().unwrap()).collect();
    let got = embedding(dir.path());
    assert_eq!(got.len(), golden.len());
    for (got, want) in got.iter().zip(&golden) {
        // The graph states 1/sqrt(8) and eps in f32.
        assert!((got - want).abs() < 1e-7, "{got} {want}");
    }
}

#[test]
#[ignore = "writes the folder behind tests/data/tiny_bert_embedding.txt"]
fn write_tiny_bert() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tiny-bert");
    fs::create_dir_all(&dir).unwrap();
    common::tiny_bert(&dir);
    assert!(load(&dir).is_ok());
}

#[test]
fn sixteen_bit_weights_and_prefixed_names_give_the_same_model() {
    let dir = folder();
    let plain = embedding(dir.path());
    for dtype in [Dtype::F16, Dtype::BF16] {
        common::write_weights(dir.path(), &common::weights(dtype));
        assert_eq!(embedding(dir.path()), plain, "{dtype:?}");
    }
    let prefixed = common::weights(Dtype::F32).into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor));
    common::write_weights(dir.path(), &prefixed.collect());
    assert_eq!(embedding(dir.path()), plain);
}

#[test]
fn weights_are_read_once_and_shared() {
    let dir = folder();
    let model = load(dir.path()).unwrap();
    let prepare = |text: &str| model.prepare(&Input::Text(text.into())).unwrap().graph;
    let (a, b) = (prepare("the cat"), prepare("the cat sat on a mat."));
    let weight = |graph: &preon::graph::Graph| {
        let name = "encoder.layer.1.output.dense.weight";
        let at = graph.values.iter().position(|value| value.name == name).unwrap();
        graph.constant(preon::graph::ValueId(at as u32)).unwrap().clone()
    };
    assert!(std::sync::Arc::ptr_eq(&weight(&a), &weight(&b)));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let dir = folder();
    let model = load(dir.path()).unwrap();
    let refused = |input: Input| -> Error { model.prepare(&input).unwrap_err() };
    let long = refused(Input::Text("the cat ".repeat(11)));
    assert_eq!(long.kind(), Kind::BadInput);
    assert!(long.to_string().contains("24 tokens, but the model takes at most 20"), "{long}");
    let unknown = refused(Input::Tokens(vec![2, 24, 3]));
    assert_eq!(unknown.kind(), Kind::BadInput);
    assert!(unknown.to_string().contains("token id 24 is not in the vocabulary of 24 tokens"), "{unknown}");
    let missing = refused(Input::File(dir.path().join("none.txt")));
    assert!(missing.to_string().ends_with("none.txt: the file does not exist"), "{missing}");
    fs::write(dir.path().join("latin1.txt"), b"caf\xe9").unwrap();
    assert!(refused(Input::File(dir.path().join("latin1.txt"))).to_string().contains("not UTF-8"));
    assert_eq!(refused(Input::Length(0)).kind(), Kind::BadInput);
}

#[test]
fn a_config_that_does_not_serve_names_the_key() {
    let key = |key, value, kind| refusal(with_key(key, value), kind, "config.json");
    assert!(key("hidden_size", Value::Null, Kind::BadInput).contains("key `hidden_size` is missing"));
    assert!(key("layer_norm_eps", json!("small"), Kind::BadInput).contains("`layer_norm_eps` must be a finite number"));
    assert!(key("num_hidden_layers", json!(-1), Kind::BadInput).contains("`num_hidden_layers` must be a whole number"));
    assert!(key("vocab_size", json!(1e30), Kind::BadInput).contains("`vocab_size`"));
    assert!(key("num_attention_heads", json!(3), Kind::BadInput).contains("not a multiple"));
    assert!(key("model_type", json!("llama"), Kind::Unsupported).contains("type `llama`"));
    assert!(key("hidden_act", json!("gelu_new"), Kind::Unsupported).contains("`gelu_new`"));
    assert!(key("position_embedding_type", json!("relative_key"), Kind::Unsupported).contains("relative_key"));
    let text = |text: &'static str| {
        refusal(move |dir| fs::write(dir.join("config.json"), text).unwrap(), Kind::BadInput, "config.json")
    };
    assert!(text("{\"model_type\":").contains("not valid JSON"));
    assert!(text("[1, 2]").contains("not a JSON object"));
    assert!(text("").contains("empty (0 bytes)"));
}

#[test]
fn damaged_weights_are_one_sentence() {
    let file = |damage: fn(&mut Vec<u8>)| refusal(with_weights(damage), Kind::BadInput, "model.safetensors");
    assert!(file(|bytes| bytes.truncate(bytes.len() - 100)).contains("truncated or damaged"));
    assert!(file(|bytes| bytes.truncate(200)).contains("truncated or no safetensors file"));
    assert!(file(|bytes| bytes.truncate(5)).contains("too short"));
    assert!(file(Vec::clear).contains("empty (0 bytes)"));
    assert!(
        file(|bytes| bytes[..8].copy_from_slice(&(1u64 << 30).to_le_bytes())).contains("header of 1073741824 bytes")
    );
    assert!(file(|bytes| bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes())).contains("18446744073709551615 bytes"));
    assert!(file(|bytes| bytes[8] = b'!').contains("damaged header"));
    assert!(file(|bytes| bytes.extend([0; 4])).contains("truncated or damaged"));
    let directory = refusal(
        |dir| {
            fs::remove_file(dir.join("model.safetensors")).unwrap();
            fs::create_dir(dir.join("model.safetensors")).unwrap();
        },
        Kind::BadInput,
        "model.safetensors",
    );
    assert!(directory.contains("is a directory, not a file"));
    let absent = refusal(|dir| fs::remove_file(dir.join("tokenizer.json")).unwrap(), Kind::BadInput, "tokenizer.json");
    assert!(absent.contains("does not exist"));
    let odd = refusal(|dir| fs::write(dir.join("tokenizer.json"), "{}").unwrap(), Kind::BadInput, "tokenizer.json");
    assert!(odd.contains("not a tokenizer"));
    // Damage at which the tokenizers library panics.
    let broken = common::tokenizer().to_string().replace("WordPiece\",\"prefix", "Word\u{1}Piece\",\"prefix");
    assert_ne!(broken, common::tokenizer().to_string());
    let mut charsmap = common::tokenizer();
    charsmap["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" });
    for text in [broken, charsmap.to_string()] {
        let odd = refusal(|dir| fs::write(dir.join("tokenizer.json"), text).unwrap(), Kind::BadInput, "tokenizer.json");
        assert!(odd.contains("not a tokenizer"), "{odd}");
    }
}

#[test]
fn a_tokenizer_whose_parts_contradict_each_other_is_refused_at_the_text() {
    let dir = folder();
    let mut tokenizer = common::tokenizer();
    tokenizer["post_processor"]["special_tokens"] = json!({});
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let answer = load(dir.path()).and_then(|model| model.prepare(&Input::Text(TEXT.into())).map(drop));
    assert_eq!(answer.unwrap_err().kind(), Kind::BadInput);
}

#[test]
fn a_wrong_tensor_is_named() {
    let name = "encoder.layer.1.intermediate.dense.weight";
    let tensor = |damage: fn(&mut common::Stored)| {
        let damage = move |dir: &Path| {
            let mut weights = common::weights(Dtype::F32);
            damage(weights.get_mut(name).unwrap());
            common::write_weights(dir, &weights);
        };
        let shown = refusal(damage, Kind::BadInput, "model.safetensors");
        assert!(shown.contains(&format!("tensor `{name}`")), "{shown}");
        shown
    };
    assert!(tensor(|stored| stored.0 = Dtype::I32).contains("of type I32; F32, F16 and BF16 are read"));
    assert!(
        tensor(|stored| stored.1 = vec![16, 40]).contains("has shape [16, 40], but config.json calls for [40, 16]")
    );
    assert!(tensor(|stored| stored.2[8..12].copy_from_slice(&f32::NAN.to_le_bytes())).contains("element 2 is NaN"));
    let without = |dir: &Path| {
        let mut weights = common::weights(Dtype::F32);
        weights.remove(name);
        common::write_weights(dir, &weights);
    };
    assert!(refusal(without, Kind::BadInput, "model.safetensors").contains("is missing from the file"));
    let deeper = refusal(with_key("num_hidden_layers", json!(1_000_000)), Kind::BadInput, "model.safetensors");
    assert!(deeper.contains("encoder.layer.2."), "{deeper}");
}

#[test]
fn a_file_in_place_of_a_folder_is_refused() {
    let dir = folder();
    let error = load(&dir.path().join("config.json")).unwrap_err();
    assert_eq!(error.kind(), Kind::BadInput);
    assert!(error.to_string().contains("a model is a folder"), "{error}");
}

#[test]
fn rows_of_numbers_are_read_from_a_file() {
    let dir = TempDir::new().unwrap();
    let mlp = model::load("builtin:mlp").unwrap();
    let path = dir.path().join("rows.csv");
    let row = |value: &str| vec![value; 64].join(",") + "\n";
    fs::write(&path, row("0.5") + &row("-1")).unwrap();
    assert_eq!(mlp.prepare(&Input::File(path.clone())).unwrap().tokens, 2);
    fs::write(&path, row("0.5") + "1,2\n").unwrap();
    let short = mlp.prepare(&Input::File(path.clone())).unwrap_err();
    assert!(short.to_string().contains("line 2: has 2 numbers, not 64"), "{short}");
    fs::write(&path, row("x")).unwrap();
    assert!(mlp.prepare(&Input::File(path)).unwrap_err().to_string().contains("`x` is not a finite number"));
    assert_eq!(mlp.prepare(&Input::Text("hello".into())).unwrap_err().kind(), Kind::Usage);
}

/// The tiny model with one matrix as sparse rows: half of each row of it is stored.
fn with_sparse_rows(
    damage: impl FnOnce(&mut std::collections::BTreeMap<String, common::Stored>),
) -> impl FnOnce(&Path) {
    move |dir: &Path| {
        let mut tensors = common::weights(Dtype::F32);
        let (_, shape, bytes) = tensors.remove(SPARSE).unwrap();
        let (mut indptr, mut indices, mut values) = (vec![0i64], Vec::new(), Vec::new());
        for row in 0..shape[0] {
            for col in (row % 2..shape[1]).step_by(2) {
                indices.extend((col as i32).to_le_bytes());
                values.extend(&bytes[4 * (row * shape[1] + col)..][..4]);
            }
            indptr.push(values.len() as i64 / 4);
        }
        let count = values.len() / 4;
        let indptr: Vec<u8> = indptr.iter().flat_map(|at| at.to_le_bytes()).collect();
        tensors.insert(format!("{SPARSE}.indptr"), (Dtype::I64, vec![shape[0] + 1], indptr));
        tensors.insert(format!("{SPARSE}.indices"), (Dtype::I32, vec![count], indices));
        tensors.insert(format!("{SPARSE}.values"), (Dtype::F32, vec![count], values));
        damage(&mut tensors);
        common::write_weights(dir, &tensors);
    }
}

const SPARSE: &str = "encoder.layer.0.intermediate.dense.weight";

#[test]
fn sparse_rows_are_masked_weights_in_every_format() {
    use preon::{Vpu, machine, policy};
    let dir = folder();
    with_sparse_rows(|_| {})(dir.path());
    let prepared = load(dir.path()).unwrap().prepare(&Input::Text(TEXT.into())).unwrap();
    let weight = |graph: &preon::graph::Graph| {
        let at = graph.values.iter().position(|value| value.name == SPARSE).unwrap();
        graph.constant(preon::graph::ValueId(at as u32)).unwrap().clone()
    };
    let own = weight(&prepared.graph);
    let live = |tensor: &preon::tensor::Tensor| {
        let (rows, cols) = tensor.rows_cols();
        (0..rows).all(|row| (0..cols).all(|col| tensor.live(row, col) == (row % 2 == col % 2)))
    };
    assert!(own.mask.is_some() && live(&own) && own.ty.to_string() == "fp32");
    for (weights, activations) in [("fp32", "fp32"), ("int4", "int8"), ("codebook8", "bf16"), ("binary", "int8")] {
        let text = format!(
            "schema = \"preon.policy/1\"\nname = \"p\"\n[[rule]]\nmatch = \"encoder.*\"\nweights = \"{weights}\"\n\
            activations = \"{activations}\"\n"
        );
        let policy = policy::Policy::parse("p.toml", &text).unwrap();
        let held = weight(&policy::apply(&prepared.graph, &policy).unwrap());
        assert!(held.mask.is_some() && live(&held), "{weights}");
        let mut vpu = Vpu::new(machine::load("edge").unwrap());
        vpu.set_precision(policy);
        let report = vpu.check(&prepared).unwrap_or_else(|e| panic!("{weights}: {}", e.render(false)));
        assert!(report.is_bit_exact(), "{weights}: {:?}", report.mismatches.first());
    }
}

#[test]
fn damaged_sparse_rows_name_their_tensor() {
    type Tensors = std::collections::BTreeMap<String, common::Stored>;
    let name = |part: &str| format!("{SPARSE}.{part}");
    type Damage<'a> = &'a dyn Fn(&mut Tensors);
    let cases: [(&str, Damage<'_>, &str); 7] = [
        ("missing", &|t| drop(t.remove(&name("indices"))), "has sparse rows without"),
        (
            "twice",
            &|t| drop(t.insert(SPARSE.into(), (Dtype::F32, vec![1], vec![0; 4]))),
            "both dense and as sparse rows",
        ),
        ("type", &|t| t.get_mut(&name("indices")).unwrap().0 = Dtype::F32, "places are I32, I64, U32 or U64"),
        ("range", &|t| t.get_mut(&name("indices")).unwrap().2[2] = 1, "is "),
        ("negative", &|t| t.get_mut(&name("indptr")).unwrap().2[7] = 0x80, "no place is below 0"),
        ("falls", &|t| t.get_mut(&name("indptr")).unwrap().2[8] = 0xff, "indptr"),
        (
            "nan",
            &|t| t.get_mut(&name("values")).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            "element 0 is NaN",
        ),
    ];
    for (case, damage, why) in cases {
        let text = refusal(with_sparse_rows(damage), Kind::BadInput, "model.safetensors");
        assert!(text.contains(why) && text.contains(SPARSE), "{case}: {text}");
    }
}
