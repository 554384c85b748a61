//! Networks that everybody measures, as lists of layers.

use super::{Act, Attention, Conv, Epilogue, Formats, Gemm, Kind, Layer, Pass, Phase, Pool, Workload};
use crate::diag::{Error, Result};
use crate::tensor::TensorType;

/// Names of the built-in workloads, and what they are.
pub const NAMES: [(&str, &str); 8] = [
    ("resnet50", "ResNet-50 v1.5, one image of 224 x 224 (stride 2 in the 3 x 3 convolutions)"),
    ("alexnet", "AlexNet with its two groups, one image of 227 x 227"),
    ("bert-base", "BERT-base, 12 layers; --seq tokens (128)"),
    ("bert-large", "BERT-large, 24 layers; --seq tokens (128)"),
    ("bitnet-2b", "BitNet b1.58 2B4T: --prefill tokens (512), then --decode tokens one by one (128)"),
    ("gemm-a", "one product of 512 x 2560 x 2560"),
    ("gemm-b", "one row times a matrix of 6912 x 2560"),
    ("bert-l-layer", "the six products of one BERT-large layer with 512 tokens, 16 heads as one product each"),
];

/// Choices that some of the built-in workloads have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Tokens of a sequence.
    pub seq: Option<u64>,
    /// Tokens of the prompt.
    pub prefill: Option<u64>,
    /// Tokens that are generated.
    pub decode: Option<u64>,
    /// Images or sequences at a time.
    pub batch: Option<u64>,
}

impl Options {
    /// Refuses options that `name` has no use for, but for those of the list.
    fn only(&self, name: &str, allowed: &[&str]) -> Result<()> {
        let given = [("seq", self.seq), ("prefill", self.prefill), ("decode", self.decode), ("batch", self.batch)];
        match given.iter().find(|(option, value)| value.is_some() && !allowed.contains(option)) {
            None => Ok(()),
            Some((option, _)) => Err(Error::usage(format!("`{name}` has no use for --{option}"))),
        }
    }
    /// Refuses all but `--batch` and `--seq`, which replace extents that an ONNX model leaves open.
    pub(super) fn none_given(&self, path: &str) -> Result<()> {
        let open: &[&str] = if path.ends_with(".onnx") { &["batch", "seq"] } else { &[] };
        self.only(path, open)
    }
}

/// The workload of that name, if there is one.
///
/// # Errors
/// Usage for an option that the workload has no use for.
pub fn build(name: &str, options: &Options) -> Result<Option<Workload>> {
    let Some((_, doc)) = NAMES.iter().find(|(known, _)| *known == name) else { return Ok(None) };
    let allowed: &[&str] = match name {
        "resnet50" | "alexnet" => &["batch"],
        "bert-base" | "bert-large" => &["seq", "batch"],
        "bitnet-2b" => &["prefill", "decode"],
        _ => &[],
    };
    options.only(name, allowed)?;
    let batch = options.batch.unwrap_or(1);
    let seq = options.seq.unwrap_or(128);
    let mut workload = match name {
        "resnet50" => resnet50(batch),
        "alexnet" => alexnet(batch),
        "bert-base" => bert(name, batch, seq, [12, 768, 12, 3072]),
        "bert-large" => bert(name, batch, seq, [24, 1024, 16, 4096]),
        "bitnet-2b" => bitnet(options.prefill.unwrap_or(512), options.decode.unwrap_or(128))?,
        "gemm-a" => Workload::new(name, vec![gemm("gemm", 512, 2560, 2560, Epilogue::default())]),
        "gemm-b" => Workload::new(name, vec![gemm("gemm", 1, 6912, 2560, Epilogue::default())]),
        _ => bert_l_layer(),
    };
    workload.notes.insert(0, (*doc).to_owned());
    Ok(Some(workload))
}

fn gemm(name: impl Into<String>, m: u64, n: u64, k: u64, then: Epilogue) -> Layer {
    Layer::new(name, Kind::Gemm(Gemm { m, n, k, then }))
}

fn biased(act: Option<Act>) -> Epilogue {
    Epilogue { bias: true, act, residual: false }
}

/// A convolution of `r` x `r` windows over a square image; padded so that stride 1 keeps the size.
fn conv(batch: u64, size: u64, c: u64, k: u64, r: u64, stride: u64) -> Conv {
    let then = biased(Some(Act::Relu));
    let (pad, dilation, groups) = (r / 2, 1, 1);
    Conv { batch, h: size, w: size, c, k, r, s: r, stride, pad, dilation, groups, then }
}

/// He et al. 2015, in the variant with stride 2 in the 3 x 3 convolution; normalisation is folded into weights and bias.
fn resnet50(batch: u64) -> Workload {
    let mut layers = vec![Layer::new("conv1", Kind::Conv(conv(batch, 224, 3, 64, 7, 2)))];
    let window = Conv { then: Epilogue::default(), ..conv(batch, 112, 64, 64, 3, 2) };
    layers.push(Layer::new("maxpool", Kind::Pool(Pool { window, mean: false })));
    let (mut size, mut channels) = (56, 64);
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let mut push = |part: &str, conv: Conv| layers.push(Layer::new(name(part), Kind::Conv(conv)));
            push("conv1", conv(batch, size, channels, width, 1, 1));
            push("conv2", conv(batch, size, width, width, 3, stride));
            if block == 0 {
                push("downsample", Conv { then: biased(None), ..conv(batch, size, channels, 4 * width, 1, stride) });
            }
            size /= stride;
            channels = 4 * width;
            let then = Epilogue { residual: true, ..biased(Some(Act::Relu)) };
            push("conv3", Conv { then, ..conv(batch, size, width, channels, 1, 1) });
        }
    }
    let window = Conv { pad: 0, then: Epilogue::default(), ..conv(batch, 7, 2048, 2048, 7, 1) };
    layers.push(Layer::new("avgpool", Kind::Pool(Pool { window, mean: true })));
    layers.push(gemm("fc", batch, 1000, 2048, biased(None)));
    let mut workload = Workload::new("resnet50", layers);
    workload.notes.push("batch normalisation is folded into weights and bias; residuals are added by conv3".into());
    workload
}

/// Krizhevsky et al. 2012, without the local response normalisation.
fn alexnet(batch: u64) -> Workload {
    let of = |size, c, k, r, groups, pad| Conv { groups, pad, ..conv(batch, size, c, k, r, 1) };
    let pool = |size, c| {
        let window = Conv { pad: 0, then: Epilogue::default(), ..conv(batch, size, c, c, 3, 2) };
        Kind::Pool(Pool { window, mean: false })
    };
    let layers = vec![
        Layer::new("conv1", Kind::Conv(Conv { stride: 4, ..of(227, 3, 96, 11, 1, 0) })),
        Layer::new("pool1", pool(55, 96)),
        Layer::new("conv2", Kind::Conv(of(27, 96, 256, 5, 2, 2))),
        Layer::new("pool2", pool(27, 256)),
        Layer::new("conv3", Kind::Conv(of(13, 256, 384, 3, 1, 1))),
        Layer::new("conv4", Kind::Conv(of(13, 384, 384, 3, 2, 1))),
        Layer::new("conv5", Kind::Conv(of(13, 384, 256, 3, 2, 1))),
        Layer::new("pool5", pool(13, 256)),
        gemm("fc6", batch, 4096, 9216, biased(Some(Act::Relu))),
        gemm("fc7", batch, 4096, 4096, biased(Some(Act::Relu))),
        gemm("fc8", batch, 1000, 4096, biased(None)),
    ];
    let mut workload = Workload::new("alexnet", layers);
    workload.notes.push("local response normalisation is left out".into());
    workload
}

/// Sums of a residual stream are held in fp32, as norms read them.
fn wide(layer: Layer) -> Layer {
    let fp32 = TensorType::parse("fp32").ok();
    Layer { formats: Formats { outputs: fp32, ..layer.formats }, ..layer }
}

/// Devlin et al. 2018: layers, width, heads, width of the feed-forward part.
fn bert(name: &str, batch: u64, seq: u64, [layers, d, heads, ffn]: [u64; 4]) -> Workload {
    let m = batch * seq;
    let pass = |pass, cols| Kind::Pass { pass, rows: m, cols };
    let attention = Attention { batch, queries: seq, keys: seq, heads, kv_heads: heads, width: d / heads };
    let residual = Epilogue { residual: true, ..biased(None) };
    let list = vec![
        wide(Layer::new("embeddings.word", Kind::Embedding { rows: 30522, cols: d, tokens: m })),
        Layer::new("embeddings.norm", pass(Pass::LayerNorm, d)),
        Layer::new("embeddings.quantise", pass(Pass::Quantise, d)),
        gemm("attention.qkv", m, d, d, biased(None)).times(3 * layers),
        Layer::new("attention.heads", Kind::Attention(attention)).times(layers),
        wide(gemm("attention.output", m, d, d, residual)).times(layers),
        Layer::new("attention.norm", pass(Pass::LayerNorm, d)).times(layers),
        Layer::new("attention.quantise", pass(Pass::Quantise, d)).times(layers),
        gemm("ffn.intermediate", m, ffn, d, biased(Some(Act::Gelu))).times(layers),
        wide(gemm("ffn.output", m, d, ffn, residual)).times(layers),
        Layer::new("ffn.norm", pass(Pass::LayerNorm, d)).times(layers),
        Layer::new("ffn.quantise", pass(Pass::Quantise, d)).times(layers),
        gemm("pooler", batch, d, d, biased(None)),
    ];
    let mut workload = Workload::new(name, list);
    workload.phases = vec![Phase { name: "encode".into(), tokens: m }];
    workload
        .notes
        .push("the residual stream and norms are fp32; sums of embeddings beside that of words are left out".into());
    workload
}

/// One layer of BERT-large as peers run it: products only.
fn bert_l_layer() -> Workload {
    let none = Epilogue::default();
    let layers = vec![
        gemm("qkv", 512, 3072, 1024, none),
        gemm("scores", 512, 512, 64, none).times(16),
        gemm("values", 512, 64, 512, none).times(16),
        gemm("output", 512, 1024, 1024, none),
        gemm("ffn1", 512, 4096, 1024, none),
        gemm("ffn2", 512, 1024, 4096, none),
    ];
    Workload::new("bert-l-layer", layers)
}

/// The layers of one block, `times` times; `attention` are numbers of keys with their counts.
fn bitnet_block(layers: &mut Vec<Layer>, prefix: &str, m: u64, phase: usize, times: u64, attention: &[(u64, u64)]) {
    const D: u64 = 2560;
    const FFN: u64 = 6912;
    const KV: u64 = 5 * 128;
    let none = Epilogue::default();
    let pass = |pass, cols| Kind::Pass { pass, rows: m, cols };
    let mut push = |layer: Layer, count: u64| {
        layers.push(Layer { name: format!("{prefix}.{}", layer.name), phase, count, ..layer });
    };
    let residual = Epilogue { residual: true, ..none };
    push(Layer::new("attn.norm", pass(Pass::RmsNorm, D)), times);
    push(Layer::new("attn.quantise", pass(Pass::Quantise, D)), times);
    push(wide(gemm("q_proj", m, D, D, none)), times);
    push(wide(gemm("kv_proj", m, KV, D, none)), 2 * times);
    push(Layer::new("rope", Kind::Pass { pass: Pass::Rope, rows: m, cols: 128 }), (20 + 5) * times);
    for &(keys, count) in attention {
        let heads = Attention { batch: 1, queries: m, keys, heads: 20, kv_heads: 5, width: 128 };
        push(wide(Layer::new(format!("attn.heads.{keys}"), Kind::Attention(heads))), count);
    }
    push(Layer::new("attn.sub_norm", pass(Pass::RmsNorm, D)), times);
    push(Layer::new("o.quantise", pass(Pass::Quantise, D)), times);
    push(wide(gemm("o_proj", m, D, D, residual)), times);
    push(Layer::new("ffn.norm", pass(Pass::RmsNorm, D)), times);
    push(Layer::new("ffn.quantise", pass(Pass::Quantise, D)), times);
    push(wide(gemm("gate_proj", m, FFN, D, Epilogue { act: Some(Act::Relu2), ..none })), times);
    push(wide(gemm("up_proj", m, FFN, D, none)), times);
    push(Layer::new("ffn.gate", pass(Pass::Mul, FFN)), times);
    push(Layer::new("ffn.sub_norm", Kind::Pass { pass: Pass::RmsNorm, rows: 2 * m, cols: FFN / 2 }), times);
    push(Layer::new("down.quantise", pass(Pass::Quantise, FFN)), times);
    push(wide(gemm("down_proj", m, D, FFN, residual)), times);
}

/// Ma et al. 2025 (arXiv 2504.12285): 30 blocks of 2560, 20 heads of 128 on 5 of keys and values, gated 6912.
fn bitnet(prefill: u64, decode: u64) -> Result<Workload> {
    const BLOCKS: u64 = 30;
    const VOCAB: u64 = 128_256;
    if prefill + decode == 0 || prefill + decode > 4096 {
        return Err(Error::usage(format!("bitnet-2b serves 1 to 4096 tokens, not {}", prefill + decode)));
    }
    let mut layers = Vec::new();
    let mut phases = Vec::new();
    let mut phase = |layers: &mut Vec<Layer>, name: &str, m: u64, times: u64, attention: &[(u64, u64)]| {
        let at = phases.len();
        let head = |layer: Layer| Layer { name: format!("{name}.{}", layer.name), phase: at, count: times, ..layer };
        layers.push(head(wide(Layer::new("embed", Kind::Embedding { rows: VOCAB, cols: 2560, tokens: m }))));
        bitnet_block(layers, name, m, at, BLOCKS * times, attention);
        // Only the last row is asked for its next token.
        layers.push(head(Layer::new("norm", Kind::Pass { pass: Pass::RmsNorm, rows: 1, cols: 2560 })));
        layers.push(head(wide(gemm("head", 1, VOCAB, 2560, Epilogue::default()))));
        phases.push(Phase { name: name.into(), tokens: m * times });
    };
    if prefill > 0 {
        phase(&mut layers, "prefill", prefill, 1, &[(prefill, BLOCKS)]);
    }
    if decode > 0 {
        let keys: Vec<(u64, u64)> = (0..decode).map(|token| (prefill + token + 1, BLOCKS)).collect();
        phase(&mut layers, "decode", 1, decode, &keys);
    }
    let mut workload = Workload::new("bitnet-2b", layers);
    workload.phases = phases;
    workload.notes.push(
        "rows are quantised token by token in front of every ternary product; the residual stream, norms and results of \
         products are fp32; keys and values are written once, by their products, and read in the policy's format; the norm \
         of 6912 elements is counted as two rows of 3456"
            .into(),
    );
    Ok(workload)
}
