//! Weight formats by activation formats: every pair of both general machines runs on both backends with equal bits within the
//! bounds of the f64 reference, or is refused with a reason, and few are.

use preon::machine;
use preon::vpu::{ACTIVATIONS, MatrixPair as Pair, matrix};

#[test]
fn every_pair_is_equal_or_refused_with_its_reason() {
    for name in machine::general() {
        let found = matrix(&machine::load(name).unwrap(), 2, &|_, _| {}).unwrap();
        let wrong: Vec<&Pair> = found.pairs.iter().filter(|pair| pair.mismatch.is_some()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        assert_eq!(found.pairs.len(), found.weights.len() * ACTIVATIONS.len());
        assert!(found.weights.len() > 40, "{:?}", found.weights);
        for pair in &found.pairs {
            assert_eq!(pair.refused.is_some(), pair.class.is_none(), "{pair:?}");
            assert_ne!(pair.refused.as_deref(), Some(""), "{pair:?}");
        }
        let totals = found.totals;
        assert_eq!(totals.equal + totals.refused, totals.pairs);
        assert!(totals.refused * 20 <= totals.pairs, "{name}: {totals:?}");
    }
}

/// Classes of pairs that the numerics contract names, and the one format that is no more than the reference.
#[test]
fn classes_are_those_of_the_contract() {
    let found = matrix(&machine::load("edge").unwrap(), 1, &|_, _| {}).unwrap();
    let class = |weights: &str, activations: &str| {
        let pair = found.pairs.iter().find(|pair| pair.weights == weights && pair.activations == activations).unwrap();
        pair.class.clone().or(pair.refused.clone()).unwrap()
    };
    assert_eq!(class("ternary", "int8"), "exact");
    assert_eq!(class("mxfp4", "nvfp4"), "exact");
    assert_eq!(class("int4", "bf16"), "pair.bf16");
    assert_eq!(class("fp16", "fp8e4m3"), "pair.fp16");
    assert_eq!(class("nf4", "binary"), "chain");
    assert_eq!([class("codebook8", "int8"), class("codebook8", "bf16")], ["chain", "chain"]);
    assert!(class("fp64", "fp32").contains("reference"));
}
