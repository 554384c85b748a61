//! `inspect`, `quantise` and `sensitivity` as people run them: files, schemas, refusals, and a quantised model that gives
//! the outputs of the policy that made it.

mod common;
#[path = "support/schema.rs"]
mod schema;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Output and exit code of a command line.
fn preon(arguments: &[&str]) -> (String, String, i32) {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_preon")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_string()
}

#[test]
fn json_follows_the_schema() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/look.schema.json")).unwrap();
    let wanted: Value = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = path(folder.path(), "q");
    for arguments in [
        &["inspect", "builtin:mlp", "-f", "json"][..],
        &["quantise", "builtin:mlp", "-p", "w1.58a8", "-o", &out, "-f", "json"],
        &["sensitivity", "builtin:mlp", "-p", "fp16,int4,ternary", "--activations", "int8", "-f", "json"],
        &["formats", "matrix", "-f", "json"],
    ] {
        let (stdout, stderr, code) = preon(arguments);
        assert_eq!(code, 0, "{stderr}");
        schema::validate(&wanted, &serde_json::from_str(&stdout).unwrap()).unwrap();
    }
}

/// Codes and scale of a BitNet layer, worked out here from the numbers alone.
#[test]
fn ternary_codes_of_a_bare_file_are_those_of_the_stated_operations() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..6 * 10).map(|i| ((i * 29 % 61) as f32 - 30.0) * 0.0137).collect();
    let bytes = |dtype: Dtype| -> Vec<u8> {
        match dtype {
            Dtype::BF16 => values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    };
    for dtype in [Dtype::F32, Dtype::BF16] {
        let data = bytes(dtype);
        let view = safetensors::tensor::TensorView::new(dtype, vec![6, 10], &data).unwrap();
        let source = path(folder.path(), "layer.safetensors");
        safetensors::serialize_to_file([("layer.w", &view)], None, Path::new(&source)).unwrap();
        let out = path(folder.path(), "out");
        let (_, stderr, code) = preon(&["quantise", &source, "-p", "w1.58a8", "-o", &out, "--force"]);
        assert_eq!(code, 0, "{stderr}");
        let w: Vec<f32> = match dtype {
            Dtype::BF16 => values.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect(),
            _ => values.clone(),
        };
        let mean = (w.iter().map(|v| f64::from(v.abs())).sum::<f64>() / w.len() as f64) as f32;
        let scale = mean.max(1e-5);
        let file = std::fs::read(Path::new(&out).join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let codes = tensors.tensor("layer.w").unwrap();
        assert_eq!((codes.dtype(), codes.shape()), (Dtype::U8, &[6, 3][..]));
        assert_eq!(tensors.tensor("layer.w.scales").unwrap().data(), scale.to_le_bytes());
        for (at, w) in w.iter().enumerate() {
            let q = (w * (1.0 / scale)).round_ties_even().clamp(-1.0, 1.0);
            let code = codes.data()[at / 10 * 3 + at % 10 / 4] >> (2 * (at % 10 % 4)) & 3;
            assert_eq!([0.0, 1.0, -1.0][usize::from(code)], q, "{dtype:?} element {at}");
        }
    }
}

#[test]
fn a_quantised_folder_runs_as_its_policy_did() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny");
    std::fs::create_dir(&model).unwrap();
    common::tiny_bert(&model);
    let (model, out) = (model.to_str().unwrap(), path(folder.path(), "quantised"));
    for policy in ["int4", "w1.58a8"] {
        let (_, stderr, code) = preon(&["quantise", model, "-p", policy, "-o", &out, "--force"]);
        assert_eq!(code, 0, "{stderr}");
        let run = |model: &str, more: &[&str], to: &str| {
            let report = path(folder.path(), to);
            let (_, stderr, code) = preon(&[&["run", model, "--no-check", "-o", &report], more].concat());
            assert_eq!(code, 0, "{stderr}");
            std::fs::read(format!("{report}/outputs/{policy}/embedding.npy")).unwrap()
        };
        assert_eq!(run(model, &["-p", policy], "a"), run(&out, &[], "b"), "{policy}");
        let (_, stderr, code) = preon(&["run", &out, "-p", "fp8", "-o", "-"]);
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains("is already in") && stderr.contains("policy.toml"), "{stderr}");
    }
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(Path::new(&out).join("manifest.json")).unwrap()).unwrap();
    for name in ["model.safetensors", "config.json", "tokenizer.json", "policy.toml", "quantised.json"] {
        assert_eq!(manifest["sha256"][name].as_str().map(str::len), Some(64), "{name}");
    }
    let (_, stderr, code) = preon(&["quantise", &out, "-p", "int4", "-o", &path(folder.path(), "again")]);
    assert_eq!(code, 4, "{stderr}");
}

#[test]
fn nothing_half_written_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = [1.0f32, f32::NAN, 0.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensors = BTreeMap::from([("bad.w".to_string(), (Dtype::F32, vec![2, 2], data))]);
    common::write_weights(folder.path(), &tensors);
    let source = path(folder.path(), "model.safetensors");
    let (_, stderr, code) = preon(&["quantise", &source, "-p", "int8", "-o", &path(folder.path(), "out")]);
    assert_eq!(code, 3);
    assert!(stderr.contains("`bad.w`") && stderr.contains("element 1 is NaN"), "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/notes"), "keep").unwrap();
    let mine = path(folder.path(), "mine");
    let (_, stderr, code) = preon(&["quantise", "builtin:mlp", "-p", "int8", "-o", &mine, "--force"]);
    assert_eq!((code, std::fs::read_dir(&mine).unwrap().count()), (2, 1), "{stderr}");
}

#[test]
fn pictures_are_written_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let grid = path(folder.path(), "grid.svg");
    assert_eq!(preon(&["formats", "show", "fp6e3m2", "--svg", &grid]).2, 0);
    assert!(std::fs::read_to_string(&grid).unwrap().contains("fp6e3m2 has 63 values up to 28"));
    let page = path(folder.path(), "h.html");
    assert_eq!(preon(&["inspect", "builtin:mlp", "--histogram", "fc2.weight", "-p", "nf4", "--svg", &page]).2, 0);
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));
    let charts = path(folder.path(), "charts");
    assert_eq!(preon(&["sensitivity", "builtin:mlp", "-p", "int4,binary", "-o", &charts]).2, 0);
    for name in ["sensitivity-output.svg", "sensitivity-weights.png", "sensitivity.json", "sensitivity.csv"] {
        assert!(Path::new(&charts).join(name).is_file(), "{name}");
    }
}

#[test]
fn a_folder_made_from_a_builtin_runs_as_its_policy_did() {
    let folder = tempfile::tempdir().unwrap();
    let learned = path(folder.path(), "learned.toml");
    let text = "schema = \"preon.policy/1\"\nname = \"learned\"\n[[rule]]\nmatch = \"*\"\nweights = \"codebook8\"\nactivations = \"int8\"\n";
    std::fs::write(&learned, text).unwrap();
    let out = path(folder.path(), "quantised");
    for (model, policy, name) in [
        ("builtin:mlp", learned.as_str(), "learned"),
        ("builtin:mlp", "bf16", "bf16"),
        ("builtin:bitnet-tiny", "w1.58a8", "w1.58a8"),
    ] {
        let (_, stderr, code) = preon(&["quantise", model, "-p", policy, "-o", &out, "--force"]);
        assert_eq!(code, 0, "{stderr}");
        let run = |arguments: &[&str], to: &str| {
            let report = path(folder.path(), to);
            let (_, stderr, code) = preon(&[&["run", "--no-check", "-o", &report], arguments].concat());
            assert_eq!(code, 0, "{stderr}");
            std::fs::read(format!("{report}/outputs/{name}/logits.npy")).unwrap()
        };
        assert_eq!(run(&[model, "-p", policy], "a"), run(&[&out], "b"), "{model} {policy}");
        // Another length, too: tables of positions are the network's own.
        assert_eq!(run(&[model, "-p", policy, "--seq", "5"], "a"), run(&[&out, "--seq", "5"], "b"), "{model} {policy}");
    }
}

#[test]
fn false_metadata_of_a_quantised_file_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = path(folder.path(), "q");
    assert_eq!(preon(&["quantise", "builtin:mlp", "-p", "w1.58a8", "-o", &out]).2, 0);
    let file = Path::new(&out).join("model.safetensors");
    let good = std::fs::read(&file).unwrap();
    let length = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..length]).unwrap();
    for (after, from, to, why) in [
        (
            "\"fc1.weight.scales\":",
            "F32",
            "I32",
            "`fc1.weight.scales` is I32 [1], but ternary/tensor calls for F32 [1]",
        ),
        (
            "\"fc1.weight\":",
            "\"U8\"",
            "\"I8\"",
            "`fc1.weight` is I8 [256, 16], but ternary/tensor calls for U8 [256, 16]",
        ),
        ("\"fc1.weight\":", "[256,16]", "[512,8] ", "calls for U8 [256, 16]"),
        ("\"fc1.weight.scales\":", "[1]", "[ ]", "`fc1.weight.scales` is F32 []"),
        ("\\\"codes\\\"", "-1.0", "-1.5", "states other values of `ternary`"),
        ("__metadata__", "ternary/tensor", "ternary/tenzor", "unknown scaling `tenzor`"),
        ("__metadata__", "ternary/tensor", "codebook8_0000", "unknown format `codebook8_0000`"),
        ("__metadata__", "[256,64]", "[256,99]", "calls for U8 [256, 25]"),
        ("__metadata__", "fc1.weight", "fc9.weight", "metadata of a tensor `fc9.weight` that it does not hold"),
    ] {
        let at = header.find(after).unwrap_or_else(|| panic!("{after}: {header}"));
        let at = at + header[at..].find(from).unwrap_or_else(|| panic!("{from} after {after}: {header}"));
        assert_eq!(from.len(), to.len());
        let mut bad = good.clone();
        bad[8 + at..][..to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&file, bad).unwrap();
        let (stdout, stderr, code) = preon(&["run", &out, "-o", "-"]);
        assert!(code == 3 && stdout.is_empty() && stderr.contains(why), "{to}: {code} {stderr}");
    }
    common::write_weights(folder.path(), &BTreeMap::new());
    let empty = path(folder.path(), "model.safetensors");
    for verb in [&["inspect", &empty][..], &["quantise", &empty, "-p", "int8", "-o", &path(folder.path(), "e")]] {
        let (_, stderr, code) = preon(verb);
        assert!(code == 3 && stderr.contains("holds no tensors"), "{code} {stderr}");
    }
}

#[test]
fn nodes_are_dumped_by_pattern_and_settings_and_colours_reach_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let out = path(folder.path(), "r");
    let dump = |pattern: &str| preon(&["run", "builtin:mlp", "--no-fuse", "--no-check", "-o", &out, "--dump", pattern]);
    let (_, stderr, code) = dump("fc*");
    assert_eq!(code, 0, "{stderr}");
    for name in ["fc1", "fc2", "fc3", "logits"] {
        assert!(Path::new(&out).join(format!("outputs/int8/{name}.npy")).is_file(), "{name}");
    }
    let (_, stderr, code) = dump("gc*");
    assert!(code == 2 && stderr.contains("no node `gc*` to dump"), "{stderr}");
    let (stdout, _, code) = preon(&["machine", "show", "edge", "--resolved", "--set", "machine.clock_hz=2e9"]);
    assert!(code == 0 && stdout.contains("clock_hz = [2000000000.0, \"--set\"]"), "{stdout}");
    assert_ne!(preon(&["machine", "show", "edge", "--set", "dram.latency=77"]).2, 0);
    let (_, plain, code) = preon(&["rnu"]);
    assert!(code == 2 && !plain.contains('\x1b'), "{plain}");
    let (_, coloured, code) = preon(&["rnu", "--color", "always"]);
    assert!(code == 2 && coloured.contains('\x1b'), "{coloured}");
    let (_, stderr, code) = preon(&["run", "builtin:mlp", "-m", "edge,edge", "-o", "-"]);
    assert!(code == 2 && stderr.contains("two machines are called `edge`"), "{stderr}");
}

#[test]
fn what_has_no_kernel_names_the_line_that_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let policy = path(folder.path(), "p.toml");
    let text = "schema = \"preon.policy/1\"\nname = \"p\"\n\n[[rule]]\nmatch = \"*\"\nweights = \"ternary\"\n\n[[rule]]\n\
        match = \"fc2\"\nstore = \"entropy\"\nsparsity = \"2:4\"\n";
    std::fs::write(&policy, text).unwrap();
    for verb in [&["run", "builtin:mlp", "-p", &policy, "-o", "-"][..], &["check", "builtin:mlp", "-p", &policy]] {
        let (_, stderr, code) = preon(verb);
        assert!(code == 4 && stderr.contains("E0403") && stderr.contains("node `fc2"), "{stderr}");
        assert!(stderr.contains("p.toml:5 and") && stderr.contains("p.toml:9"), "{stderr}");
    }
}
