//! A BERT encoder (Devlin et al., arXiv:1810.04805, section 3 and appendix A) with mean pooling and L2 normalisation
//! (Reimers and Gurevych, arXiv:1908.10084): one unit vector a text. One input at a time, so nothing is padded and no
//! position is masked.

use super::config::Config;
use super::tokenizer::{Limits, Tokenizer};
use super::weights::Weights;
use super::{Input, Kind, Network, Prepared};
use crate::diag::{Error, Result};
use crate::graph::{Graph, InputData, Op, ValueId};
use crate::tensor::Tensor;
use std::path::Path;
use std::sync::Arc;

/// Text of the default input: every letter, nine words.
const SAMPLE: &str = "the quick brown fox jumps over the lazy dog";

/// A weight matrix or norm with its bias, under the name that it has in the file.
struct Pair {
    name: String,
    weight: Arc<Tensor>,
    bias: Arc<Tensor>,
}

/// One encoder layer.
struct Layer {
    name: String,
    query: Pair,
    key: Pair,
    value: Pair,
    attention: Pair,
    attention_norm: Pair,
    intermediate: Pair,
    output: Pair,
    output_norm: Pair,
}

/// A loaded encoder.
pub(super) struct Bert {
    tokenizer: Tokenizer,
    limits: Limits,
    hidden: usize,
    heads: usize,
    eps: f32,
    activation: Op,
    words: Arc<Tensor>,
    positions: Arc<Tensor>,
    types: Arc<Tensor>,
    norm: Pair,
    layers: Vec<Layer>,
}

impl Bert {
    /// Reads `model.safetensors` and `tokenizer.json` of a folder whose `config.json` is `config`.
    pub(super) fn load(folder: &Path, config: &Config) -> Result<Self> {
        let hidden = config.extent("hidden_size")?;
        let heads = config.extent("num_attention_heads")?;
        let wide = config.extent("intermediate_size")?;
        let depth = config.extent("num_hidden_layers")?;
        let types = config.extent("type_vocab_size")?;
        let limits =
            Limits { vocab: config.extent("vocab_size")?, positions: config.extent("max_position_embeddings")? };
        let eps = config.number("layer_norm_eps")?;
        let activation = activation(config)?;
        if hidden % heads != 0 {
            return Err(Error::bad_input(format!(
                "`hidden_size` {hidden} is not a multiple of `num_attention_heads` {heads}"
            ))
            .in_file(config.path()));
        }
        refuse_variants(folder, config)?;
        let mut file = Weights::open(&folder.join("model.safetensors"))?;
        file.accept_prefix("bert.", "embeddings.word_embeddings.weight");
        let mut pair = |name: String, shape: &[usize]| -> Result<Pair> {
            let weight = file.take(&format!("{name}.weight"), shape)?;
            let bias = file.take(&format!("{name}.bias"), &shape[..1])?;
            Ok(Pair { name, weight, bias })
        };
        let mut layers = Vec::new();
        for index in 0..depth {
            let name = format!("encoder.layer.{index}");
            let square = [hidden, hidden];
            layers.push(Layer {
                query: pair(format!("{name}.attention.self.query"), &square)?,
                key: pair(format!("{name}.attention.self.key"), &square)?,
                value: pair(format!("{name}.attention.self.value"), &square)?,
                attention: pair(format!("{name}.attention.output.dense"), &square)?,
                attention_norm: pair(format!("{name}.attention.output.LayerNorm"), &[hidden])?,
                intermediate: pair(format!("{name}.intermediate.dense"), &[wide, hidden])?,
                output: pair(format!("{name}.output.dense"), &[hidden, wide])?,
                output_norm: pair(format!("{name}.output.LayerNorm"), &[hidden])?,
                name,
            });
        }
        let norm = pair("embeddings.LayerNorm".into(), &[hidden])?;
        Ok(Bert {
            tokenizer: Tokenizer::read(&folder.join("tokenizer.json"))?,
            words: file.take("embeddings.word_embeddings.weight", &[limits.vocab, hidden])?,
            positions: file.take("embeddings.position_embeddings.weight", &[limits.positions, hidden])?,
            types: file.take("embeddings.token_type_embeddings.weight", &[types, hidden])?,
            limits,
            hidden,
            heads,
            eps,
            activation,
            norm,
            layers,
        })
    }

    /// Sum of word, segment and position vectors, normalised: `[T, hidden]`.
    fn embed(&self, graph: &mut Graph, tokens: usize) -> Result<ValueId> {
        let ids = graph.add_indices("input_ids", tokens);
        let words = graph.add_const("embeddings.word_embeddings.weight", self.words.clone());
        let segment = first_rows(&self.types, &[self.hidden])?;
        let segment = graph.add_const("embeddings.token_type_embeddings.weight", segment);
        let positions = first_rows(&self.positions, &[tokens, self.hidden])?;
        let positions = graph.add_const("embeddings.position_embeddings.weight", positions);
        let x = graph.add_node("embeddings.word_embeddings", Op::Embedding, &[words, ids])?;
        let x = graph.add_node("embeddings.token_type_embeddings", Op::Add, &[x, segment])?;
        let x = graph.add_node("embeddings.position_embeddings", Op::Add, &[x, positions])?;
        self.add_norm(graph, &self.norm, x)
    }

    fn add_norm(&self, graph: &mut Graph, pair: &Pair, x: ValueId) -> Result<ValueId> {
        add_pair(graph, pair, Op::LayerNorm { eps: self.eps }, x)
    }

    /// Self-attention of one layer before its output projection: `[T, hidden]`.
    fn add_attention(&self, graph: &mut Graph, layer: &Layer, x: ValueId) -> Result<ValueId> {
        let (tokens, width) = (graph.value(x).shape[0], self.hidden / self.heads);
        let base = format!("{}.attention.self", layer.name);
        let heads = |graph: &mut Graph, pair: &Pair, perm: [usize; 3]| -> Result<ValueId> {
            let y = add_pair(graph, pair, Op::Linear, x)?;
            let split = Op::Reshape { shape: vec![tokens, self.heads, width] };
            let y = graph.add_node(&format!("{}.split", pair.name), split, &[y])?;
            graph.add_node(&format!("{}.heads", pair.name), Op::Transpose { perm: perm.to_vec() }, &[y])
        };
        let query = heads(graph, &layer.query, [1, 0, 2])?;
        let key = heads(graph, &layer.key, [1, 0, 2])?;
        let value = heads(graph, &layer.value, [1, 2, 0])?;
        let factor = (1.0 / (width as f64).sqrt()) as f32;
        let scores = graph.add_node(&format!("{base}.scores"), Op::MatMul { group: 1 }, &[query, key])?;
        let scaled = graph.add_node(&format!("{base}.scaled"), Op::Scale { factor }, &[scores])?;
        let probs = graph.add_node(&format!("{base}.probs"), Op::Softmax, &[scaled])?;
        let context = graph.add_node(&format!("{base}.context"), Op::MatMul { group: 1 }, &[probs, value])?;
        let swap = Op::Transpose { perm: vec![1, 0, 2] };
        let merged = graph.add_node(&format!("{base}.context.tokens"), swap, &[context])?;
        let flat = Op::Reshape { shape: vec![tokens, self.hidden] };
        graph.add_node(&format!("{base}.context.rows"), flat, &[merged])
    }

    fn add_layer(&self, graph: &mut Graph, layer: &Layer, x: ValueId) -> Result<ValueId> {
        let name = &layer.name;
        let context = self.add_attention(graph, layer, x)?;
        let y = add_pair(graph, &layer.attention, Op::Linear, context)?;
        let y = graph.add_node(&format!("{name}.attention.output.add"), Op::Add, &[y, x])?;
        let x = self.add_norm(graph, &layer.attention_norm, y)?;
        let y = add_pair(graph, &layer.intermediate, Op::Linear, x)?;
        let act = format!("{name}.intermediate.{}", self.activation.name());
        let y = graph.add_node(&act, self.activation.clone(), &[y])?;
        let y = add_pair(graph, &layer.output, Op::Linear, y)?;
        let y = graph.add_node(&format!("{name}.output.add"), Op::Add, &[y, x])?;
        self.add_norm(graph, &layer.output_norm, y)
    }
}

impl Network for Bert {
    fn kind(&self) -> Kind {
        Kind::Encoder
    }

    fn prepare(&self, input: &Input) -> Result<Prepared> {
        let tokens = self.tokenizer.tokens(input, SAMPLE, &self.limits)?;
        let count = tokens.ids.len();
        let mut graph = Graph::default();
        let mut x = self.embed(&mut graph, count)?;
        for layer in &self.layers {
            x = self.add_layer(&mut graph, layer, x)?;
        }
        let mean = graph.add_node("pooling.mean", Op::MeanPool, &[x])?;
        let unit = graph.add_node("pooling.l2norm", Op::L2Norm, &[mean])?;
        graph.outputs.push(("embedding".into(), unit));
        Ok(Prepared { graph, inputs: vec![InputData::Ids(tokens.ids)], tokens: count, padding: 0, text: tokens.text })
    }
}

/// `op(x, weight, bias)`, named as the weights are.
fn add_pair(graph: &mut Graph, pair: &Pair, op: Op, x: ValueId) -> Result<ValueId> {
    let weight = graph.add_const(&format!("{}.weight", pair.name), pair.weight.clone());
    let bias = graph.add_const(&format!("{}.bias", pair.name), pair.bias.clone());
    graph.add_node(&pair.name, op, &[x, weight, bias])
}

/// The leading elements of a table, in fp32, as a tensor of `shape`.
fn first_rows(table: &Tensor, shape: &[usize]) -> Result<Arc<Tensor>> {
    Tensor::from_f32(shape.to_vec(), &table.to_f32()[..shape.iter().product()]).map(Arc::new)
}

fn activation(config: &Config) -> Result<Op> {
    match config.text("hidden_act")? {
        "gelu" => Ok(Op::Gelu),
        "relu" => Ok(Op::Relu),
        "silu" | "swish" => Ok(Op::Silu),
        other => Err(Error::unsupported(format!("the activation `{other}` of key `hidden_act` is not served"))
            .in_file(config.path())
            .help("gelu, relu and silu are")),
    }
}

/// Refuses kinds of BERT whose result this graph would not give.
fn refuse_variants(folder: &Path, config: &Config) -> Result<()> {
    let position = config.text_or("position_embedding_type", "absolute")?;
    if position != "absolute" {
        return Err(Error::unsupported(format!("position embeddings of type `{position}` are not served"))
            .in_file(config.path()));
    }
    if config.flag_or("is_decoder", false)? {
        return Err(Error::unsupported("a BERT used as a decoder is not served").in_file(config.path()));
    }
    let pooling = folder.join("1_Pooling").join("config.json");
    if pooling.exists() {
        let pooling = Config::read(&pooling)?;
        if !pooling.flag_or("pooling_mode_mean_tokens", true)? {
            return Err(Error::unsupported("only mean pooling of tokens is served").in_file(pooling.path()));
        }
    }
    Ok(())
}
