//! Machine descriptions: what is in `machines/*.toml`, merged, checked, and resolved to numbers.
//!
//! [`load`] takes the name of a built-in machine or a path; [`load_with`] also lays single values over it. Every physical
//! figure names its source; every price states what it is per and which scope it counts. docs/machines.md lists every
//! key. Pure cost functions of a machine (cycles of a piece of work on a unit that is free) live in `cost.rs` and serve
//! both the simulator and the compiler's estimates.

pub mod array;
mod build;
mod cost;
pub mod dram;
pub mod energy;
mod load;
mod power;
pub mod schema;
mod show;
mod tree;
mod widen;

pub use array::{Array, ArrayCost, Layer, LayerCost, Mapping, RowCounts, RowStationary, Shape, Tile};
pub use dram::DramModel;
pub use power::Power;
pub use show::{Difference, Leaf, diff};
pub use widen::Datapath;

use crate::diag::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A resolved machine (see docs/machines.md for every key).
#[derive(Debug, Clone)]
pub struct Machine {
    /// Name.
    pub name: String,
    /// One sentence about it; may be empty.
    pub doc: String,
    /// Core clock.
    pub clock_hz: f64,
    /// Technology node.
    pub node_nm: f64,
    /// Vector length in bits: 2^5 .. 2^14.
    pub vlen_bits: u32,
    /// Words issued a cycle.
    pub issue_per_cycle: u32,
    /// Cycles until a scalar result can be used.
    pub scalar_latency: u32,
    /// Cycles until a scalar load from control memory can be used.
    pub control_latency: u32,
    /// Reservation-table entries.
    pub order_entries: u32,
    /// Entries of a scale vector: max(16, VLEN/16) if the file does not say.
    scale_entries: u32,
    /// Accumulator tiles.
    pub acc_tiles: u32,
    /// Sets of accumulator tiles that products use in turn.
    pub acc_sets: u32,
    /// Accumulator tiles: rows of each.
    pub acc_rows: u32,
    /// Columns of each.
    pub acc_cols: u32,
    /// Control memory bytes.
    pub control_bytes: u64,
    /// The units of the core.
    pub units: Units,
    /// Pairs (weights, inputs) that the file lists for the S unit, with terms a cycle; others by [`Machine::vector_path`].
    pub rates: Vec<(String, String, u32)>,
    /// The array, if the machine has one.
    pub array: Option<Array>,
    /// Own SRAM first, then the shared level if there is one.
    pub sram: Vec<Sram>,
    /// DRAM.
    pub dram: Dram,
    /// DMA engines.
    pub dma: Dma,
    /// Cores.
    pub cores: u32,
    /// The network between cores, if the machine has one.
    pub noc: Option<Noc>,
    /// Prices by dotted key without the leading `energy.`, for example `mac.ternary*int8` or `dram.read`.
    pub prices: BTreeMap<String, Price>,
    /// Static power.
    pub leakage: Vec<Leakage>,
    /// Supply, temperature, area, and figures of other scopes.
    pub power: Power,
    /// Sources by key, in the order of the file.
    pub sources: Vec<Source>,
    root: Arc<tree::Node>,
    widening: widen::Widening,
}

/// Queues, rates and latencies of the core's units.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    /// Queue of the load-store unit.
    pub l_queue: u32,
    /// Its register side, bytes a cycle.
    pub l_bytes_per_cycle: u32,
    /// Codes that its entropy decoders decode a cycle; 0 = it has none.
    pub l_codes_per_cycle: u32,
    /// Its latency beside the SRAM's, cycles.
    pub l_latency: u32,
    /// Queue of the multiply-accumulate unit.
    pub s_queue: u32,
    /// Latency of a sum, cycles.
    pub s_latency: u32,
    /// Accumulator entries filled, folded or moved a cycle.
    pub s_tile_lanes: u32,
    /// What a mask saves.
    pub s_skip: Skip,
    /// Outputs x terms that are skipped together.
    pub s_skip_granule: [u32; 2],
    /// Queue of the element-wise unit.
    pub e_queue: u32,
    /// Elements a cycle.
    pub e_lanes: u32,
    /// Latency, cycles.
    pub e_latency: u32,
    /// Divisions and special functions a cycle.
    pub e_special_lanes: u32,
    /// Their latency, cycles.
    pub e_special_latency: u32,
    /// Queue of the array.
    pub m_queue: u32,
}

/// What a mask saves the multiply-accumulate unit, and how its lanes share what is left. A lane serves the outputs of one
/// row of granules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Nothing: dead terms cost their cycles.
    None,
    /// All dead granules: live ones go to any lane.
    Balanced,
    /// A live granule stays in its lane, and all wait for the fullest.
    MaxOverLanes,
}

/// One SRAM level.
#[derive(Debug, Clone)]
pub struct Sram {
    /// Name: `own` or `shared`.
    pub name: String,
    /// Capacity.
    pub bytes: u64,
    /// Banks, each one access a cycle.
    pub banks: u32,
    /// Width of an access.
    pub width_bytes: u32,
    /// True if neighbouring words lie in neighbouring banks, so that strides meet; else a hash spreads them.
    pub modulo: bool,
    /// Latency, cycles.
    pub latency_cycles: u32,
}

/// DRAM.
#[derive(Debug, Clone)]
pub struct Dram {
    /// How it is timed.
    pub model: DramModel,
    /// For people.
    pub standard: String,
    /// Capacity.
    pub bytes: u64,
    /// Sustained bandwidth: peak x efficiency, per core cycle.
    pub bytes_per_cycle: f64,
    /// Sustained bandwidth.
    pub bytes_per_second: u64,
    /// Unloaded latency.
    pub latency_cycles: u32,
    /// Bytes that one activation opens.
    pub row_bytes: u32,
    /// Smallest transfer.
    pub burst_bytes: u32,
    /// Shape, timing and queues for the cycle-level model, where the file or its standard gives them.
    pub memory: Option<dram::Memory>,
}

/// DMA engines.
#[derive(Debug, Clone, Copy)]
pub struct Dma {
    /// Transfers in progress at once.
    pub engines: u32,
    /// Transfers that may wait.
    pub queue: u32,
    /// Bytes a cycle of one engine.
    pub bytes_per_cycle: u32,
    /// Cycles from a free engine to its first request.
    pub setup_cycles: u32,
    /// Bursts of all transfers that the cycle-level DRAM may still owe.
    pub outstanding_bursts: u32,
}

/// The network between cores.
#[derive(Debug, Clone, Copy)]
pub struct Noc {
    /// Bytes a cycle.
    pub bytes_per_cycle: u32,
    /// Cycles of a signal, of the end of a meeting, and until the first byte arrives.
    pub latency_cycles: u32,
}

/// One price, per counted unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// Low, typical and high, attojoule per counted unit.
    pub attojoule: [i128; 3],
    /// Low, typical and high as the file states them, picojoule.
    pub pj: [f64; 3],
    /// What the file states them per.
    pub per: String,
    /// What is inside the figure.
    pub scope: String,
    /// Key of the source.
    pub source: String,
}

/// Static power of one part of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Leakage {
    /// Part: `core`, `array`, `own`, `shared` or `dram`.
    pub part: String,
    /// Power.
    pub milliwatt: f64,
    /// Energy a core cycle.
    pub attojoule_per_cycle: i128,
    /// Key of the source.
    pub source: String,
}

/// Where figures come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Key.
    pub key: String,
    /// What to cite.
    pub cite: String,
    /// measured, synthesized, model, derived, recalled or choice.
    pub trust: String,
}

/// Names of the built-in machines.
pub fn builtin() -> Vec<&'static str> {
    load::built_in().map(|b| b.0).collect()
}

/// The machines that serve every built-in policy and list every common pair: what demonstrations, reference cards and
/// tests of whole models run on. The others are small, for one purpose, or after published ones.
pub fn general() -> Vec<&'static str> {
    vec!["edge", "hbm"]
}

/// Reads, merges and checks the machine called `name_or_path`: a built-in name, or the path of a TOML file.
///
/// # Errors
/// Bad input with file, line and column: not TOML, an unknown key, a wrong type, a figure that is missing, negative or
/// has no known source, a price of another scope, a machine that extends itself.
///
/// ```
/// let edge = preon::machine::load("edge")?;
/// assert_eq!(edge.vlen_bits, 2048);
/// # Ok::<(), preon::Error>(())
/// ```
pub fn load(name_or_path: &str) -> Result<Machine> {
    load_with(name_or_path, &[])
}

/// As [`load`], with single values laid over the file: `("dram.latency_ns", "80")`. A value that is not TOML is a string.
///
/// # Errors
/// As [`load`]; an error in a value points at its `--set`.
pub fn load_with(name_or_path: &str, sets: &[(String, String)]) -> Result<Machine> {
    build::machine(load::tree(name_or_path, sets)?)
}

/// A machine from the text of a file; `path` stands in its errors. `extends` in it is relative to the current folder.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &str, text: &str) -> Result<Machine> {
    build::machine(load::tree_of_text(path, text)?)
}

/// Checks a machine file without using it.
///
/// # Errors
/// As [`load`].
pub fn check(name_or_path: &str) -> Result<()> {
    load(name_or_path).map(|_| ())
}

impl Machine {
    /// Peak of the DRAM in bytes a second as it is stated, and of the shape of its standard, where these contradict each
    /// other: figures of that shape are then not of this machine.
    pub fn contradicted_peak(&self) -> Option<[f64; 2]> {
        let (stated, _) = load::figure(&self.root, &["dram", "peak_bytes_per_s"])?;
        let of_shape = self.dram.memory.as_ref()?.peak_bytes_per_s();
        (!build::agree(stated, of_shape)).then_some([stated, of_shape])
    }
    /// Entries of a scale vector.
    pub fn scale_entries(&self) -> u32 {
        self.scale_entries
    }
    /// The shared second level, if there is one.
    pub fn shared(&self) -> Option<&Sram> {
        self.sram.get(1)
    }
    /// The core's own SRAM.
    pub fn own(&self) -> &Sram {
        &self.sram[0]
    }
    /// Cite and trust of a source key; `choice` and `--set` need no row in the file.
    pub fn source(&self, key: &str) -> Source {
        let own = |cite: &str| Source { key: key.to_owned(), cite: cite.to_owned(), trust: "choice".to_owned() };
        match self.sources.iter().find(|s| s.key == key) {
            Some(source) => source.clone(),
            None if key == "--set" => own("given on the command line"),
            None => own("a choice of this machine"),
        }
    }
}

#[cfg(test)]
mod tests;
