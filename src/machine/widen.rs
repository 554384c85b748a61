//! The widening law: which listed pair of formats gives its datapath to a pair that a machine file does not list.
//!
//! A pair listed for the S unit or for the array runs where it is listed, as listed. Any other pair (W, X) runs, on either
//! unit, on the datapath of a listed pair (W', X') of that unit such that W' holds every finite value of W and X' those of
//! X: of several the fastest, then the one of the least typical energy, then the first of the file. So nothing is refused
//! where fp32*fp32 is listed, nothing is free, and listed figures are never touched.

use super::{Array, Machine, Price};
use crate::num::Lazy;
use crate::num::format::{FormatRef, find, with_learned};
use crate::num::subset::holds;
use std::collections::BTreeMap;

/// Where a pair of formats is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datapath<'a> {
    /// Weights of the listed pair.
    pub weights: &'a str,
    /// Inputs of the listed pair.
    pub inputs: &'a str,
    /// Its terms a cycle (S unit) or cycles an input row (array).
    pub figure: u32,
    /// The pair itself is not listed: it runs on a wider one.
    pub widened: bool,
}

impl Datapath<'_> {
    /// Key of its price without `energy.`.
    pub fn price_key(&self) -> String {
        format!("mac.{}*{}", self.weights, self.inputs)
    }
}

/// Rows of listed pairs, by the ids of the formats that were known when the machine was read. A row is found when it is
/// first asked for: a run asks for few of the pairs.
#[derive(Debug, Clone, Default)]
pub(super) struct Widening {
    formats: usize,
    vector: Vec<Lazy<Option<u16>>>,
    array: Vec<Lazy<Option<u16>>>,
    candidates: [Vec<Candidate>; 2],
}

/// A listed pair with what decides between several.
#[derive(Debug, Clone)]
struct Candidate {
    weights: FormatRef,
    inputs: FormatRef,
    /// Least is best: cost, then typical attojoule; the row number decides last.
    cost: (u64, i128),
}

type Pairs = [(String, String, u32)];

fn candidates(pairs: &Pairs, prices: &BTreeMap<String, Price>, faster: impl Fn(u32) -> u64) -> Vec<Candidate> {
    let row = |(weights, inputs, figure): &(String, String, u32)| {
        let energy = prices.get(&format!("mac.{weights}*{inputs}")).map_or(i128::MAX, |price| price.attojoule[1]);
        Some(Candidate { weights: find(weights).ok()?, inputs: find(inputs).ok()?, cost: (faster(*figure), energy) })
    };
    // Rows were checked to name formats when the file was read, so none is dropped and numbers are those of the list.
    pairs.iter().filter_map(row).collect()
}

/// Row of the pair itself or, unless it is `elsewhere`, of the best wider one.
fn choose(list: &[Candidate], weights: FormatRef, inputs: FormatRef, elsewhere: bool) -> Option<usize> {
    let own = list.iter().position(|c| c.weights.id == weights.id && c.inputs.id == inputs.id);
    if own.is_some() || elsewhere {
        return own;
    }
    let wide = |(_, c): &(usize, &Candidate)| holds(c.weights, weights) && holds(c.inputs, inputs);
    list.iter().enumerate().filter(wide).min_by_key(|(at, c)| (c.cost, *at)).map(|(at, _)| at)
}

fn listed(list: &[Candidate], weights: FormatRef, inputs: FormatRef) -> bool {
    list.iter().any(|c| c.weights.id == weights.id && c.inputs.id == inputs.id)
}

/// Both units' candidates: more terms a cycle are better, fewer cycles a row are better.
fn both(rates: &Pairs, array: Option<&Array>, prices: &BTreeMap<String, Price>) -> [Vec<Candidate>; 2] {
    let array = array.map_or(&[][..], |array| &array.pairs);
    [candidates(rates, prices, |terms| u64::MAX - u64::from(terms)), candidates(array, prices, u64::from)]
}

/// Whether a pair stands in the tables: there may be many learned formats, which few pairs have.
fn tabled((weights, inputs): (FormatRef, FormatRef)) -> bool {
    !weights.is_learned() && !inputs.is_learned()
}

impl Widening {
    /// Tables, still empty, for all pairs of the formats known now.
    pub(super) fn new(rates: &Pairs, array: Option<&Array>, prices: &BTreeMap<String, Price>) -> Widening {
        let formats = with_learned().len();
        let table = || vec![Lazy::new(); formats * formats];
        Widening { formats, vector: table(), array: table(), candidates: both(rates, array, prices) }
    }
}

impl Machine {
    /// The datapath of the S unit that multiplies the pair; `None` if it is not served there.
    pub fn vector_path(&self, weights: FormatRef, inputs: FormatRef) -> Option<Datapath<'_>> {
        self.path(weights, inputs, false)
    }
    /// The datapath of the array that multiplies the pair; `None` without an array or if it is not served there.
    pub fn array_path(&self, weights: FormatRef, inputs: FormatRef) -> Option<Datapath<'_>> {
        self.path(weights, inputs, true)
    }

    fn path(&self, weights: FormatRef, inputs: FormatRef, array: bool) -> Option<Datapath<'_>> {
        let (w, x) = (usize::from(weights.id), usize::from(inputs.id));
        let known = self.widening.formats;
        let [vector, arrays] = &self.widening.candidates;
        let (own, other) = if array { (arrays, vector) } else { (vector, arrays) };
        let chosen = || choose(own, weights, inputs, listed(other, weights, inputs));
        let row = if w < known && x < known && tabled((weights, inputs)) {
            let table = if array { &self.widening.array } else { &self.widening.vector };
            table[w * known + x].get_or_init(|| chosen().map(|at| at as u16)).map(usize::from)
        } else {
            // A learned format, or one that joined the table after the machine was read.
            chosen()
        };
        let pairs = if array { &self.array.as_ref()?.pairs } else { &self.rates };
        let (wide_w, wide_x, figure) = pairs.get(row?)?;
        let widened = *wide_w != weights.name || *wide_x != inputs.name;
        Some(Datapath { weights: wide_w, inputs: wide_x, figure: *figure, widened })
    }
}
