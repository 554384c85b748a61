//! The energy column of the BitNet b1.58 2B4T report (arXiv 2504.12285, Table 1), by a law that gives all six figures.
//!
//! The report prints joules without a formula. These figures come out, to the printed digit, if one counts arithmetic only,
//! over T = 512 tokens:
//!
//! ```text
//! E = T N e_linear + L 2 d_q T^2 (e_mul16 + e_add16)
//! ```
//!
//! N are the weights outside the embeddings, e_linear an fp16 multiplication and addition (or one int8 addition for ternary
//! weights), and the second term full, not causal, attention in fp16; energies are the 7 nm table's. No byte is moved in it:
//! it must not be compared with a total that pays for memory. That the report was made so is an inference.

use super::anchors::ANCHORS;

/// Tokens that the column is for.
pub const TOKENS: u64 = 512;

/// A row of the report's table: dimensions of the model and the joules that are printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Name.
    pub name: &'static str,
    /// Layers.
    pub layers: u64,
    /// Width of the model.
    pub hidden: u64,
    /// Width of all queries together.
    pub queries: u64,
    /// Width of all keys, and of all values, together.
    pub keys: u64,
    /// Width of the feed-forward network, gated.
    pub feed_forward: u64,
    /// Ternary weights with int8 activations instead of fp16 throughout.
    pub ternary: bool,
    /// As printed, joule.
    pub published_j: f64,
}

const fn row(name: &'static str, shape: [u64; 5], ternary: bool, published_j: f64) -> Model {
    let [layers, hidden, queries, keys, feed_forward] = shape;
    Model { name, layers, hidden, queries, keys, feed_forward, ternary, published_j }
}

/// The six models. Dimensions: their published configurations, recalled but for BitNet's own.
pub const MODELS: [Model; 6] = [
    row("LLaMA 3.2 1B", [16, 2048, 2048, 512, 8192], false, 0.258),
    row("Gemma-3 1B", [26, 1152, 1024, 256, 6912], false, 0.186),
    row("Qwen2.5 1.5B", [28, 1536, 1536, 256, 8960], false, 0.347),
    row("SmolLM2 1.7B", [24, 2048, 2048, 2048, 8192], false, 0.425),
    row("MiniCPM 2B", [40, 2304, 2304, 2304, 5760], false, 0.649),
    row("BitNet b1.58 2B", [30, 2560, 2560, 640, 6912], true, 0.028),
];

/// Energy of an operation at 7 nm, picojoule.
fn pj(op: &str) -> f64 {
    ANCHORS.iter().find(|anchor| anchor.op == op).and_then(|anchor| anchor.pj_7nm).unwrap_or_default()
}

/// An fp16 multiplication and addition: attention, and linear layers in fp16.
pub fn fp16_mac_pj() -> f64 {
    pj("fp16 mul") + pj("fp16 add")
}

/// What a ternary weight costs: one int8 addition.
pub fn ternary_mac_pj() -> f64 {
    pj("int8 add")
}

impl Model {
    /// Weights of the linear layers: queries, keys, values, output, gate, up and down.
    pub fn weights(&self) -> u64 {
        let attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys;
        self.layers * (attention + 3 * self.hidden * self.feed_forward)
    }
    /// Multiply-accumulates of linear layers and of attention over `tokens`.
    pub fn macs(&self, tokens: u64) -> [u64; 2] {
        [tokens * self.weights(), self.layers * 2 * self.queries * tokens * tokens]
    }
    /// Joules of linear layers and of attention over `tokens`.
    pub fn joules(&self, tokens: u64) -> [f64; 2] {
        let [linear, attention] = self.macs(tokens);
        let each = if self.ternary { ternary_mac_pj() } else { fp16_mac_pj() };
        [linear as f64 * each * 1e-12, attention as f64 * fp16_mac_pj() * 1e-12]
    }
    /// The sum, with as many digits as the report prints.
    pub fn printed(&self) -> String {
        let [linear, attention] = self.joules(TOKENS);
        format!("{:.3}", linear + attention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_of_six_models_come_out_to_the_printed_digit() {
        for model in MODELS {
            assert_eq!(model.printed(), format!("{:.3}", model.published_j), "{}", model.name);
        }
        assert_eq!(MODELS[5].weights(), 2_084_044_800);
        let [linear, attention] = MODELS[5].joules(TOKENS);
        assert!((attention / (linear + attention) - 0.73).abs() < 0.005, "most of BitNet's figure is attention");
        // The 71.4 times less energy of arXiv 2402.17764 is the ratio of the two constants.
        assert_eq!(format!("{:.1}", fp16_mac_pj() / ternary_mac_pj()), "71.4");
    }
}
