//! Machine descriptions: what is in `machines/*.toml`, resolved and checked.

/// A resolved machine (see docs/machines.md for every key). Filled by [`mod@crate::machine`]'s loader.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Name.
    pub name: String,
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
    /// Reservation-table entries.
    pub order_entries: u32,
    /// Accumulator tiles: rows of each.
    pub acc_rows: u32,
    /// Columns of each.
    pub acc_cols: u32,
    /// Control memory bytes.
    pub control_bytes: u64,
    /// The array, if the machine has one.
    pub array: Option<Array>,
    /// Own SRAM first, then the shared level if there is one.
    pub sram: Vec<Sram>,
    /// DRAM.
    pub dram: Dram,
}

/// A matrix array.
#[derive(Debug, Clone)]
pub struct Array {
    /// Physical rows (k).
    pub rows: u32,
    /// Physical columns (n).
    pub cols: u32,
    /// Pairs (weights, inputs) served, with cycles relative to int8.
    pub pairs: Vec<(String, String, u32)>,
}

/// One SRAM level.
#[derive(Debug, Clone)]
pub struct Sram {
    /// Name.
    pub name: String,
    /// Capacity.
    pub bytes: u64,
}

/// DRAM.
#[derive(Debug, Clone)]
pub struct Dram {
    /// Capacity.
    pub bytes: u64,
    /// Sustained bandwidth.
    pub bytes_per_cycle: f64,
    /// Unloaded latency.
    pub latency_cycles: u32,
}

impl Machine {
    /// Entries of a scale vector: max(16, VLEN/16).
    pub fn scale_entries(&self) -> u32 {
        (self.vlen_bits / 16).max(16)
    }
}
