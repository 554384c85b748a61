//! Table rows (generated from isa/vpu.toml by build.rs).
/// Op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// halt
    Halt,
}
/// Execution unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Control.
    C,
    /// Load/store.
    L,
    /// Multiply-accumulate.
    S,
    /// Element-wise.
    E,
    /// Array.
    M,
    /// DMA.
    D,
}
