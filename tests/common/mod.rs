//! A tiny BERT in a Hugging Face folder, for tests that need a real file to read or to damage.
#![allow(dead_code, reason = "every test file uses its own part of these helpers")]

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Width of the hidden state.
pub const HIDDEN: usize = 16;
/// Rows of the embedding table.
pub const VOCAB: usize = 24;
/// Most tokens of one input.
pub const POSITIONS: usize = 20;
const WIDE: usize = 40;
const LAYERS: usize = 2;

/// Words of the vocabulary after the special ones; `##` continues a word.
const WORDS: [&str; 20] = [
    "the", "quick", "brown", "fox", "jump", "##s", "over", "lazy", "dog", "##ed", "a", "cat", "sat", "on", "mat", ".",
    ",", "##ing", "run", "!",
];

/// `config.json` of the tiny model.
pub fn config() -> Value {
    json!({
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": WIDE,
        "vocab_size": VOCAB,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute"
    })
}

fn vocab() -> Vec<&'static str> {
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().chain(WORDS).collect()
}

/// A WordPiece `tokenizer.json` that asks, as MiniLM's does, for padding and truncation to a fixed length.
pub fn tokenizer() -> Value {
    let ids: BTreeMap<&str, usize> = vocab().into_iter().enumerate().map(|(id, piece)| (piece, id)).collect();
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let piece = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let sequence = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": { "max_length": 12, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": { "strategy": { "Fixed": 12 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]"), sequence, piece("[SEP]")],
            "pair": [piece("[CLS]"), sequence, piece("[SEP]"),
                     { "Sequence": { "id": "B", "type_id": 1 } }, { "SpecialToken": { "id": "[SEP]", "type_id": 1 } }],
            "special_tokens": {
                "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] }
            }
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": ids }
    })
}

/// A tensor to be written: type, shape, bytes.
pub type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// Multiples of 1/64 in [-1, 1), so that they are exact in every 16-bit float; a different run for every name.
fn noise(name: &str, count: usize) -> Vec<f32> {
    let mut state =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 57) as i32 - 64) as f32 / 64.0
    };
    (0..count).map(|_| next()).collect()
}

/// The bytes of fp32 values in a safetensors type.
fn stored(values: &[f32], shape: &[usize], dtype: Dtype) -> Stored {
    let bytes = values.iter().flat_map(|v| match dtype {
        Dtype::F32 => v.to_le_bytes().to_vec(),
        Dtype::BF16 => v.to_le_bytes()[2..].to_vec(),
        Dtype::F16 => half_bits(*v).to_le_bytes().to_vec(),
        other => panic!("the helper does not write {other:?}"),
    });
    (dtype, shape.to_vec(), bytes.collect())
}

/// Bits of a value that fp16 holds exactly and that is zero or normal there.
fn half_bits(v: f32) -> u16 {
    let bits = v.to_bits();
    if v == 0.0 {
        return 0;
    }
    ((bits >> 16 & 0x8000) | ((bits >> 13 & 0x3_ffff) - (112 << 10)) & 0x7fff) as u16
}

/// All tensors of the tiny model.
pub fn weights(dtype: Dtype) -> BTreeMap<String, Stored> {
    let mut all = BTreeMap::new();
    let mut put = |name: String, shape: &[usize]| {
        let mut values = noise(&name, shape.iter().product());
        if name.ends_with("LayerNorm.weight") {
            values.iter_mut().for_each(|v| *v = 1.0 + *v / 2.0);
        }
        all.insert(name, stored(&values, shape, dtype));
    };
    put("embeddings.word_embeddings.weight".into(), &[VOCAB, HIDDEN]);
    put("embeddings.position_embeddings.weight".into(), &[POSITIONS, HIDDEN]);
    put("embeddings.token_type_embeddings.weight".into(), &[2, HIDDEN]);
    let mut pairs = vec![("embeddings.LayerNorm".to_string(), vec![HIDDEN])];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attention.self.query", vec![HIDDEN, HIDDEN]),
            ("attention.self.key", vec![HIDDEN, HIDDEN]),
            ("attention.self.value", vec![HIDDEN, HIDDEN]),
            ("attention.output.dense", vec![HIDDEN, HIDDEN]),
            ("attention.output.LayerNorm", vec![HIDDEN]),
            ("intermediate.dense", vec![WIDE, HIDDEN]),
            ("output.dense", vec![HIDDEN, WIDE]),
            ("output.LayerNorm", vec![HIDDEN]),
        ] {
            pairs.push((format!("encoder.layer.{layer}.{name}"), shape));
        }
    }
    for (name, shape) in pairs {
        put(format!("{name}.weight"), &shape);
        put(format!("{name}.bias"), &shape[..1]);
    }
    all
}

/// Writes `model.safetensors`.
pub fn write_weights(dir: &Path, tensors: &BTreeMap<String, Stored>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fit the shape"))
    });
    serialize_to_file(views, None, &dir.join("model.safetensors")).expect("the file is written");
}

/// Writes the whole folder: config.json, model.safetensors, tokenizer.json, vocab.txt.
pub fn tiny_bert(dir: &Path) {
    fs::write(dir.join("config.json"), config().to_string()).expect("the file is written");
    fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).expect("the file is written");
    fs::write(dir.join("vocab.txt"), vocab().join("\n") + "\n").expect("the file is written");
    write_weights(dir, &weights(Dtype::F32));
}
