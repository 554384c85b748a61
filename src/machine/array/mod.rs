//! Arrays: what the simulator and the compiler know of them, and the table of their kinds.
//!
//! An array is driven by `mm.w`, which loads a tile of weights, and `mm.x`, which sums a tile of inputs with it. How long
//! either takes is the law of the array's [`Kind`]. A new kind is one file in this folder, one row of [`KINDS`], and rows
//! of [`super::schema::KEYS`] for keys that no other kind has.

mod bit_composable;
mod dot_tree;
mod layer;
mod line_buffer;
mod row_stationary;
mod systolic;

pub use layer::{Layer, LayerCost, Shape};
pub use row_stationary::{Mapping, RowCounts, RowStationary};

use super::build::Reader;
use super::schema::Need;
use super::tree::Node;
use super::{Machine, load, schema};
use crate::diag::{Error, Result, did_you_mean};
use std::sync::Arc;

/// A tile of a product, as one `mm.w` and one `mm.x` see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tile {
    /// Rows of inputs; 0 where they are not known yet (`mm.w`).
    pub tm: u64,
    /// Outputs.
    pub tn: u64,
    /// Terms.
    pub tk: u64,
    /// The first product with these weights since they were loaded.
    pub first: bool,
    /// Terms whose sums are scaled one run at a time; 0 = all together.
    pub block: u64,
    /// Blocks of [`Array::cols`] outputs x [`Array::rows`] terms that a mask skips; for `mm.x` passes through them.
    pub dead: u64,
    /// Bits of a weight.
    pub weight_bits: u32,
    /// Bits of an input; 0 where they are not known yet (`mm.w`).
    pub input_bits: u32,
}

impl Tile {
    /// Blocks of `terms` x `outputs` that its weights fill, partial ones as whole, without the dead ones.
    fn blocks(&self, [terms, outputs]: [u32; 2]) -> u64 {
        let all = self.tn.div_ceil(u64::from(outputs)) * self.tk.div_ceil(u64::from(terms));
        all.saturating_sub(self.dead)
    }
    /// Passes of an input row through such blocks; runs of scaled terms make blocks of their own, for what has another
    /// scale cannot share a sum.
    fn passes(&self, [terms, outputs]: [u32; 2]) -> u64 {
        let run = |length: u64| length.div_ceil(u64::from(terms));
        let runs = match self.block {
            0 => run(self.tk),
            block => self.tk / block * run(block) + run(self.tk % block),
        };
        (self.tn.div_ceil(u64::from(outputs)) * runs).saturating_sub(self.dead)
    }
}

/// Cycles of a tile on the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArrayCost {
    /// Cycles during which the array is busy.
    pub occupied: u64,
    /// Cycles from then until the sums can be used.
    pub latency: u64,
}

/// How an array computes. Costs are of an array that is free.
pub trait Kind: std::any::Any + std::fmt::Debug + Send + Sync {
    /// Terms and outputs of a block: what works at once, what a partial tile is padded to, and what a mask skips.
    fn block(&self) -> [u32; 2];
    /// Cycles of loading a tile of weights; 0 where that is part of computing, or where weights do not stay.
    fn load(&self, tile: &Tile) -> u64;
    /// `tm` input rows, `row_cycles` each, with the loaded tile.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost;
    /// Products a cycle when all work, of weights and inputs of so many bits.
    fn peak(&self, row_cycles: u32, bits: [u32; 2]) -> f64 {
        let (_, [terms, outputs]) = (bits, self.block());
        f64::from(terms) * f64::from(outputs) / f64::from(row_cycles)
    }
    /// Times that each sum of a tile passes through its accumulator.
    fn sums(&self, tile: &Tile) -> u64 {
        match tile.block {
            0 => tile.tk.div_ceil(u64::from(self.block()[0])),
            block => tile.tk.div_ceil(block),
        }
    }
    /// The published law of whole layers on this machine, one after the other; `None` for a kind that has none.
    ///
    /// # Errors
    /// Unsupported, naming what the law does not speak of or the machine refuses.
    fn law(&self, machine: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        let _ = (machine, layers);
        Ok(None)
    }
    /// Whether [`Kind::law`] depends on the bits of the operands; if not, it is of those that the machine lists.
    fn law_counts_bits(&self) -> bool {
        false
    }
    /// What this kind takes for granted, for reports: what, and the value that the machine file chose.
    fn assumptions(&self) -> Vec<(String, String)>;
}

/// A matrix array.
#[derive(Debug, Clone)]
pub struct Array {
    /// Name of its kind, a row of [`KINDS`].
    pub name: &'static str,
    /// Terms (k) of a block.
    pub rows: u32,
    /// Outputs (n) of a block.
    pub cols: u32,
    /// Tiles of weights held: with two, loading one overlaps computing with the other.
    pub weight_buffers: u32,
    /// Pairs (weights, inputs) that the file lists, with the cycles that an input row occupies.
    pub pairs: Vec<(String, String, u32)>,
    /// Its law.
    pub kind: Arc<dyn Kind>,
}

impl Array {
    /// Cycles of loading a tile of weights.
    pub fn load(&self, tile: &Tile) -> u64 {
        self.kind.load(tile)
    }
    /// `tm` input rows through a loaded tile, `row_cycles` each.
    pub fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        self.kind.compute(tile, row_cycles)
    }
    /// Cycles of a tile of `tm, tn, tk` in a stream of such tiles: the longer of loading the next tile and computing this
    /// one where the array holds two, their sum where it holds one. `bits` are those of a weight and an input.
    pub fn tile_cycles(&self, [tm, tn, tk]: [u64; 3], row_cycles: u32, bits: [u32; 2]) -> u64 {
        let [weight_bits, input_bits] = bits;
        let tile = Tile { tm, tn, tk, first: true, weight_bits, input_bits, ..Tile::default() };
        let (load, compute) = (self.load(&tile), self.compute(&tile, row_cycles));
        if self.weight_buffers > 1 { load.max(compute.occupied) } else { load + compute.occupied + compute.latency }
    }
    /// The published law of whole layers, one after the other, where this kind has one.
    ///
    /// # Errors
    /// As [`Kind::law`].
    pub fn law(&self, machine: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        layers.iter().try_for_each(Layer::bounded)?;
        self.kind.law(machine, layers)
    }
}

/// A row of the table of kinds.
pub struct Row {
    /// Value of `array.kind`.
    pub name: &'static str,
    /// Keys of [array] that it takes beside `kind`, `weight_buffers` and `cycles`, without `array.`, and whether they must
    /// be there. Their values and sentences are in [`super::schema::KEYS`].
    pub keys: &'static [(&'static str, Need)],
    /// Reads it.
    read: fn(&Keys<'_>) -> Result<Arc<dyn Kind>>,
}

/// Every kind of array.
pub const KINDS: &[Row] = &[systolic::ROW, dot_tree::ROW, line_buffer::ROW, bit_composable::ROW, row_stationary::ROW];

/// Keys of [array] that every kind has.
const COMMON: [&str; 3] = ["kind", "weight_buffers", "cycles"];

/// Reads the keys of [array] by their names alone. They were checked: a key that must be there, is.
pub(super) struct Keys<'a>(&'a Reader<'a>);

impl Keys<'_> {
    /// A structural number.
    pub(super) fn count(&self, name: &str) -> Result<u32> {
        self.0.small(&format!("array.{name}"))
    }
    /// A physical figure.
    pub(super) fn figure(&self, name: &str) -> Result<f64> {
        Ok(self.0.figure(&format!("array.{name}"))?.0)
    }
    /// A word; empty if the key is absent.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        self.0.text(&format!("array.{name}"))
    }
}

/// The array of a checked tree.
pub(super) fn read(r: &Reader<'_>, pairs: Vec<(String, String, u32)>) -> Result<Array> {
    let name = r.text("array.kind")?;
    let row = KINDS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| Error::internal(format!("array kind `{name}` was not checked")))?;
    let kind = (row.read)(&Keys(r))?;
    let [rows, cols] = kind.block();
    Ok(Array { name: row.name, rows, cols, weight_buffers: r.small("array.weight_buffers")?, pairs, kind })
}

/// Checks that [array] has the keys of its kind and no others, and fills in their defaults.
pub(super) fn normalise(root: &mut Node) -> Result<()> {
    let Some(array) = root.get("array") else { return Ok(()) };
    let kind = array.get("kind").and_then(Node::text).unwrap_or_default();
    let Some(row) = KINDS.iter().find(|row| row.name == kind) else { return Ok(()) };
    let taken = || COMMON.into_iter().chain(row.keys.iter().map(|key| key.0));
    if let Some(odd) = array.entries().iter().find(|entry| !taken().any(|name| name == entry.key)) {
        let error = odd.at.error(format!("an array of kind `{kind}` has no key `{}`", odd.key));
        return Err(match did_you_mean(&odd.key, taken()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("its keys are: {}", taken().collect::<Vec<_>>().join(", "))),
        });
    }
    let home = root.from.clone();
    for (name, need) in row.keys {
        let key = schema::find(&["array", name]);
        let key = key.ok_or_else(|| Error::internal(format!("`array.{name}` is not in the schema")))?;
        load::require(root, &schema::Key { need: *need, ..*key }, &["array", name], 0, &home)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{load, parse};

    #[test]
    fn the_schema_has_every_key_of_every_kind_and_its_word() {
        for row in KINDS {
            for (name, need) in row.keys {
                let key = schema::find(&["array", name]).unwrap_or_else(|| panic!("{}: array.{name}", row.name));
                assert_eq!(key.need, Need::Optional, "{}: the kind says whether array.{name} must be there", row.name);
                if let Need::Default(value) = need {
                    assert!(format!("x = {value}").parse::<toml::Table>().is_ok(), "{}: default of {name}", row.name);
                }
            }
            let kinds = schema::find(&["array", "kind"]).unwrap();
            assert!(matches!(kinds.kind, schema::Kind::Word(words) if words.contains(&row.name)));
        }
    }

    #[test]
    fn an_array_has_the_keys_of_its_kind_only() {
        let text = "extends = \"edge\"\nname = \"m\"\n[array]\natomic_c = 64\n";
        let error = parse("m.toml", text).unwrap_err().render(false);
        assert!(error.contains("atomic_c"), "{error}");
        let edge = load("edge").unwrap();
        let array = edge.array.as_ref().unwrap();
        assert_eq!((array.name, array.kind.block()), ("systolic", [array.rows, array.cols]));
    }
}
