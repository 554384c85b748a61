//! What a run took: cycles by unit and cause, and by graph node.

use super::dram::Totals;
use crate::isa::Unit;

/// Units in the order of all tables here.
pub const UNITS: [Unit; 6] = [Unit::C, Unit::L, Unit::S, Unit::E, Unit::M, Unit::D];
/// Their names in reports.
pub const UNIT_NAMES: [&str; 6] = ["control", "load-store", "vector-mac", "elementwise", "array", "dma"];

/// Why a unit had work and did not do it. Where several causes end in the same cycle, the first of this list is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// An older access of the same bytes was not over, or the reservation table was full.
    Order,
    /// A register was not written yet.
    Raw,
    /// A register was still being read, or an older write of it was not over.
    War,
    /// A sum on the same accumulator was still in the pipeline.
    Acc,
    /// The array's weight buffers were all in use, or the weights were not loaded yet.
    Weights,
    /// All DMA engines were busy.
    Engine,
    /// Issue: the unit's queue was full.
    Queue,
    /// Issue: `dma.wait`.
    Wait,
    /// Issue: `epoch` or `halt` waited for the units; `bar` and `sig` for what touches memory, transfers aside.
    Drain,
    /// Other cores: `bar`, `wait.sig`, or the other members of a `dma.mc`.
    Sync,
}

/// Names of [`Cause`] in order.
pub const CAUSES: [&str; 10] = ["order", "raw", "war", "acc", "weights", "engine", "queue", "wait", "drain", "sync"];

/// What a cycle of the whole machine was spent on, judged by its oldest unfinished instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spent {
    /// Issuing: no older instruction was unfinished.
    Issue,
    /// The load-store unit.
    LoadStore,
    /// The multiply-accumulate unit.
    VectorMac,
    /// The element-wise unit.
    Elementwise,
    /// The array.
    Array,
    /// A transfer of DRAM.
    Dram,
    /// A transfer between on-chip memories.
    OnChip,
    /// Its oldest instruction waited, although nothing older was unfinished.
    Stall,
}

/// Names of [`Spent`] in order.
pub const SPENT: [&str; 8] = ["issue", "load-store", "vector-mac", "elementwise", "array", "dram", "on-chip", "stall"];

/// Cycles of one unit; `busy + stall + idle` is the run's total.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitTime {
    /// Working.
    pub busy_cycles: u64,
    /// Held up, by [`Cause`].
    pub stall_cycles: [u64; CAUSES.len()],
    /// Nothing to do.
    pub idle_cycles: u64,
    /// Instructions.
    pub instructions: u64,
}

impl UnitTime {
    /// All stalls.
    pub fn stalled(&self) -> u64 {
        self.stall_cycles.iter().sum()
    }
}

/// What a run took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// Cycles from the first issue to the end of the last unit.
    pub cycles: u64,
    /// Instructions issued (`endl` and `node` are free and not counted).
    pub instructions: u64,
    /// One row a unit, in the order of [`UNITS`].
    pub units: [UnitTime; 6],
    /// One row a node (the last: everything outside the stated nodes), by [`Spent`]; all rows sum to `cycles`.
    pub nodes: Vec<[u64; SPENT.len()]>,
    /// Rows that DRAM activated by node, in the order of `nodes`; zeros where DRAM is not modelled by its commands.
    pub activates: Vec<u64>,
    /// What DRAM did in all, for all cores.
    pub dram: Totals,
    /// Cycles in which the shared SRAM's port moved data.
    pub shared_busy_cycles: u64,
    /// Cycles in which the network between cores moved data.
    pub noc_busy_cycles: u64,
}

impl Timing {
    /// Cycles of all nodes by [`Spent`]; they sum to `cycles`.
    pub fn spent(&self) -> [u64; SPENT.len()] {
        let mut sum = [0; SPENT.len()];
        for row in &self.nodes {
            for (total, cycles) in sum.iter_mut().zip(row) {
                *total += cycles;
            }
        }
        sum
    }
    /// Cycles of one node.
    pub fn node_cycles(&self, node: u32) -> u64 {
        self.nodes.get(node as usize).map_or(0, |row| row.iter().sum())
    }
}

/// What limits a run (`compute`, `dram`, `sram` or `issue`) and one sentence with the figures behind it.
///
/// The resource with the largest share of busy cycles is the answer; the sentence gives all four shares and what most of
/// the whole machine's cycles were spent on.
pub fn bound_by(timing: &Timing) -> (&'static str, String) {
    let busy = |unit: usize| timing.units[unit].busy_cycles;
    let compute = busy(2).max(busy(3)).max(busy(4));
    let sram = busy(1).max(timing.shared_busy_cycles);
    let rows = [("compute", compute), ("dram", timing.dram.busy_cycles), ("sram", sram), ("issue", busy(0))];
    let total = timing.cycles.max(1);
    let percent = |n: u64| (n * 100 + total / 2) / total;
    let mut what = rows[0];
    for row in &rows[1..] {
        if row.1 > what.1 {
            what = *row;
        }
    }
    let spent = timing.spent();
    let most = (0..SPENT.len()).fold(0, |best, i| if spent[i] > spent[best] { i } else { best });
    let shares: Vec<String> = rows.iter().map(|(name, n)| format!("{name} {} %", percent(*n))).collect();
    let saturated =
        if percent(what.1) < 50 { "; no resource is busy half of the time, so latencies dominate" } else { "" };
    let evidence = format!(
        "busy: {}; {} % of the cycles belong to {}{saturated}",
        shares.join(", "),
        percent(spent[most]),
        SPENT[most]
    );
    (what.0, evidence)
}
