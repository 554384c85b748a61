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
