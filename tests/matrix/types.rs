//! Every type that the tables give: formats of elements, scalings, formats of scales, composites.

use preon::num::format::{CODEBOOK, ScaleRule};
use preon::num::{Accumulator, Element, formats};
use preon::tensor::TensorType;

/// Types that meet.
pub struct Types {
    /// Of weights and tables.
    pub weights: Vec<TensorType>,
    /// Of run-time operands.
    pub activations: Vec<TensorType>,
}

fn parsed(names: &[String]) -> Vec<TensorType> {
    let mut types: Vec<TensorType> = Vec::new();
    for name in names {
        let ty = TensorType::parse(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        if !types.contains(&ty) {
            types.push(ty);
        }
    }
    types
}

impl Types {
    /// From the built-in table of formats and the names of composites.
    pub fn of_the_tables() -> Self {
        let (mut weights, mut activations) = (Vec::new(), Vec::new());
        for format in formats().into_iter().filter(|f| f.element != Element::Squares) {
            let name = &format.name;
            if format.rule == ScaleRule::Cast {
                weights.push(name.clone());
                // Its table is learned from a whole tensor before a run.
                if *name != CODEBOOK {
                    activations.push(name.clone());
                }
                continue;
            }
            for scaling in ["tensor", "row", "block16", "block32", "block32:e8m0"] {
                weights.push(format!("{name}/{scaling}"));
            }
            for scaling in ["row", "block32"] {
                activations.push(format!("{name}/{scaling}"));
            }
            if format.element == Element::Int {
                weights.extend(["row+offset", "block32+offset"].map(|s| format!("{name}/{s}")));
            }
        }
        // Further scalings, spread over formats: each is one code path, whatever the element.
        let more = [
            "int4/block128",
            "fp8e4m3/block128:bf16",
            "int4/block32:bf16",
            "int8/row:fp16",
            "ternary/block64:fp16",
            "fp4e2m1/row:squares",
            "ternary/tensor:squares",
            "binary/block32:bf16",
            "int8/32x32",
            "fp6e3m2/8x16:fp16",
            "fp4e2m1/16x16:e8m0",
            "nvfp4/16x16",
            "mxfp8e4m3/block16",
            "mxfp4:ceil",
            "mxfp4:rceil",
            "mxfp8e4m3:even",
            "int8/none",
            "nf4",
            "binary*2/tensor",
        ];
        weights.extend(more.map(String::from));
        weights.extend(TensorType::composite_names().map(String::from));
        let more = [
            "mxfp4:ceil",
            "mxfp8e4m3:rceil",
            "mxint8:even",
            "mxfp8e5m2/block16",
            "nf4",
            "int8/block128",
            "ternary/block64",
        ];
        activations.extend(more.map(String::from));
        let composites = TensorType::composite_names().filter(|name| !name.starts_with("colour"));
        activations.extend(composites.map(String::from));
        Types { weights: parsed(&weights), activations: parsed(&activations) }
    }
}

/// Accumulators, each spelling once.
pub fn accumulators() -> Vec<Accumulator> {
    let spellings = ["f32", "f32c(32)", "f32c(64)", "int24s", "fp22", "adc(8,0.5,32)", "adc(6,0,64)", "adc(12,1.5)"];
    spellings.iter().map(|text| Accumulator::parse(text).expect("a spelling of the manual")).collect()
}
