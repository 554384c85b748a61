//! The keys of a machine file (schema preon.machine/1): the only list of them.
//!
//! Checking, defaults, `machine show` and the key table of docs/machines.md all come from [`KEYS`]. A `*` in a path
//! stands for any name. To add a key: a row here, a field of `Machine`, and a line in the reader.

use super::array::{KINDS, Row};
use std::sync::LazyLock;

/// Name of the file format.
pub const SCHEMA: &str = "preon.machine/1";

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A structural choice of this machine: a whole number in a range, both ends included.
    Count(u64, u64),
    /// Two structural numbers, each in the range: `[4, 16]`.
    Pair(u64, u64),
    /// A physical figure, positive: `[value, "source"]`, `{ value = .., source = ".." }`, or a bare value where the
    /// table around it has `source`.
    Figure,
    /// As `Figure`, and zero is allowed.
    FigureOrZero,
    /// Points of voltage and frequency: `[[volts, hz, "source"], ..]`.
    Points,
    /// A price: `{ pj = [low, typical, high], per = "..", scope = "..", source = ".." }`; `per`, `scope` and `source` may
    /// stand once in the table around it.
    Price,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Need {
    /// It must.
    Required,
    /// It may be absent.
    Optional,
    /// If absent, this TOML value stands.
    Default(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path; `*` = any name.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// Unit, or empty.
    pub unit: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
}

impl Key {
    /// Largest figure that may stand there: beyond any machine, and small enough that sums of energy and time over any run
    /// are exact.
    pub fn largest(&self) -> f64 {
        if matches!(self.unit, "Hz" | "B/s") { 1e15 } else { 1e9 }
    }
}

/// Tables that may be absent as a whole; every other table must be there.
pub const OPTIONAL_TABLES: &[&str] = &["array", "rate", "rate.S", "sram.shared", "energy.shared", "noc"];

/// Degrees of trust of a source.
pub const TRUST: &[&str] = &["measured", "synthesized", "model", "derived", "extrapolated", "recalled", "choice"];

/// Scopes that a price may have; values of different scopes never add.
pub const SCOPES: &[&str] = &["circuit", "macro", "core", "device", "device+phy", "system"];

/// How words lie in banks.
pub const BANK_MAP: &[&str] = &["spread", "modulo"];

/// Laws of skipping, in the order of [`super::Skip`].
pub const SKIP: &[&str] = &["none", "balanced", "max_over_lanes"];

/// Kinds of element-wise work that have a price. A machine may leave out the kinds on bits, from [`BITWISE`] on: it then
/// has no price for a program that uses them.
pub const ELEMENTWISE: &[&str] =
    &["add", "mul", "fma", "div", "special", "convert", "copy", "bit", "pop", "lfsr", "sobol", "philox"];
/// Index of the first kind of [`ELEMENTWISE`] that works on bits.
pub const BITWISE: usize = 7;

const fn key(path: &'static str, kind: Kind, need: Need, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind, need, unit, doc }
}

use Kind::{Count, Figure, FigureOrZero, Pair, Points, Price, Text, Word};
use Need::{Default, Optional, Required};

/// Every key of a machine file.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("schema", Word(&[SCHEMA]), Required, "", "Name and version of this file format."),
    key("name", Text, Required, "", "Name of the machine, as reports print it."),
    key("doc", Text, Optional, "", "One sentence about the machine."),
    key("extends", Text, Optional, "", "Built-in machine or path (relative to this file) that this file is laid over."),
    key("sources.*.cite", Text, Required, "", "Where figures with this key come from."),
    key("sources.*.trust", Word(TRUST), Required, "", "How far to trust it."),
    key("machine.clock_hz", Figure, Required, "Hz", "Clock of the core, the array and the SRAM."),
    key("machine.node_nm", Figure, Required, "nm", "Technology node."),
    key("machine.vf", Points, Optional, "", "Supplies with their clocks; the first is where `machine.clock_hz` and the prices hold."),
    key("machine.vdd", Figure, Optional, "V", "Supply of the run (`--vf`), for machines with `machine.vf`; without it the first point's."),
    key("machine.vth", Figure, Optional, "V", "Threshold of the transistors, to estimate the clock below the lowest point."),
    key("machine.temperature_k", Figure, Default("[300, \"choice\"]"), "K", "For k T ln 2, and for leakage against voltage."),
    key("machine.cores", Count(1, 64), Default("1"), "", "Cores that `exec` starts, with all of [core], [unit], [array], [dma] and `sram.own` each; compiled models run on one."),
    key("machine.scopes.logic", Word(SCOPES), Required, "", "The scope that counts for arithmetic and register prices."),
    key("machine.scopes.sram", Word(SCOPES), Required, "", "The scope that counts for SRAM prices."),
    key("machine.scopes.dram", Word(SCOPES), Required, "", "The scope that counts for DRAM prices."),
    key("core.vlen_bits", Count(32, 16384), Required, "bit", "Length of a vector register; a power of two."),
    key("core.issue_per_cycle", Count(1, 8), Default("1"), "", "Instructions issued a cycle, in order."),
    key("core.scalar_latency", Count(1, 64), Default("1"), "cycles", "Until a scalar result can be used."),
    key("core.control_latency", Count(1, 64), Default("2"), "cycles", "Until a scalar load from control memory can be used."),
    key("core.control_bytes", Count(1024, 1 << 40), Required, "B", "Capacity of control memory."),
    key("core.order_entries", Count(1, 64), Default("16"), "", "Unfinished memory ranges that order is kept for."),
    key("core.scale_entries", Count(16, 65536), Optional, "", "Entries of a scale vector: the most rows and columns of a tile that is scaled; without it the larger of 16 and VLEN/16."),
    key("core.acc.tiles", Count(8, 8), Default("8"), "", "Accumulator tiles c0..c7."),
    key("core.acc.sets", Count(1, 2), Default("1"), "", "Sets of accumulator tiles that products use in turn: with 2, the next outputs are summed while the last ones are folded and stored. Two sets are two memories of `rows` x `cols` sums in all, in which a tile folds into its own place; products of several terms sum in one and fold into the other, and the vector unit's c0..c7 are eight tiles of a quarter of the columns."),
    key("core.acc.rows", Count(1, 65536), Required, "", "Rows of an accumulator tile (m)."),
    key("core.acc.cols", Count(16, 65536), Required, "", "Columns of an accumulator tile (n)."),
    key("unit.L.queue", Count(1, 64), Default("8"), "", "Instructions that may wait for the load-store unit."),
    key("unit.L.bytes_per_cycle", Count(1, 1 << 20), Required, "B/cycle", "Register side of the load-store unit."),
    key("unit.L.codes_per_cycle", Count(1, 1 << 14), Optional, "codes/cycle", "Codes that `ld.ec` decodes a cycle; without it the machine has no entropy decoder."),
    key("unit.L.latency", Count(1, 1024), Required, "cycles", "From the last byte to a usable register, beside the SRAM's own."),
    key("unit.S.queue", Count(1, 64), Default("8"), "", "Instructions that may wait for the multiply-accumulate unit."),
    key("unit.S.latency", Count(1, 1024), Required, "cycles", "From the last term to a usable accumulator; chained sums do not wait for it."),
    key("unit.S.tile_lanes", Count(1, 1 << 20), Required, "entries/cycle", "Accumulator entries filled, folded or moved a cycle."),
    key("unit.S.skip", Word(SKIP), Default("\"balanced\""), "", "What a mask saves `mac` with `.z`: nothing; the dead granules, its lanes sharing the live ones; or as many as the fullest lane lacks."),
    key("unit.S.skip_granule", Pair(1, 16384), Default("[1, 1]"), "", "Outputs x terms that are skipped together: a granule costs what a dense one does while one of its terms is live."),
    key("unit.E.queue", Count(1, 64), Default("4"), "", "Instructions that may wait for the element-wise unit."),
    key("unit.E.lanes", Count(1, 1 << 20), Required, "elements/cycle", "Adds, multiplies, conversions a cycle."),
    key("unit.E.latency", Count(1, 1024), Required, "cycles", "Of those."),
    key("unit.E.special_lanes", Count(1, 1 << 20), Required, "elements/cycle", "Divisions and special functions a cycle."),
    key("unit.E.special_latency", Count(1, 1024), Required, "cycles", "Of those."),
    key("unit.M.queue", Count(1, 64), Default("4"), "", "Instructions that may wait for the array."),
    key("rate.S.*", Count(1, 1 << 24), Required, "terms/cycle", "Rate of the pair `weights*inputs` on the S unit; a pair listed neither here nor for the array runs on a wider one. Without the table the machine has no multiply-accumulate unit beside its array."),
    key("array.kind", Word(&["systolic", "dot_tree", "line_buffer", "bit_composable", "row_stationary"]), Required, "", "How the array computes."),
    key("array.stationary", Word(&["weight", "output", "input"]), Optional, "", "What stays in the array while the other two pass: `mm.w` and `mm.x` are the same for all."),
    key("array.rows", Count(1, 65536), Optional, "", "Physical rows (k; m where outputs stay)."),
    key("array.cols", Count(1, 65536), Optional, "", "Physical columns (n; m where inputs stay)."),
    key("array.weight_buffers", Count(1, 2), Default("2"), "", "Weight tiles held: with two, loading overlaps computing."),
    key("array.weight_rows_per_cycle", Count(1, 65536), Optional, "", "Rows of the operand that stays, shifted in a cycle."),
    key("array.weight_load", Word(&["apart", "with_sums"]), Optional, "", "Loading weights takes cycles of its own (`mm.w`), or is part of the first `mm.x`: at least as long where fill and drain overlap, before it where they do not."),
    key("array.min_stream", Count(1, 65536), Optional, "", "Operand rows that a pass costs at least."),
    key("array.fill_drain", Word(&["overlapped", "per_fold"]), Optional, "", "Whether the next tile's inputs follow at once or after fill and drain."),
    key("array.output_drain", Word(&["beside", "counted"]), Optional, "", "Where outputs stay: whether shifting them out hides beside the next tile, or takes `rows` cycles more."),
    key("array.atomic_c", Count(1, 65536), Optional, "", "Terms of an output that are multiplied and added at once."),
    key("array.atomic_k", Count(1, 65536), Optional, "", "Outputs at once."),
    key("array.kernels_per_cycle", Count(1, 65536), Optional, "", "Outputs whose `atomic_c` weights are loaded in a cycle."),
    key("array.channel_align", Count(1, 65536), Optional, "", "Layer law: input and output channels are stored in groups of so many."),
    key("array.k_align", Count(1, 65536), Optional, "", "Layer law: outputs are computed in groups of so many."),
    key("array.winograd", Word(&["off", "law"]), Optional, "", "Whether the layer law counts 3x3 convolutions of stride 1 as Winograd's (2.25 times fewer products, 16/9 times the weights); programs never do."),
    key("array.window", Count(1, 15), Optional, "", "Rows and columns of the largest kernel; odd."),
    key("array.inputs", Count(1, 65536), Optional, "", "Input channels."),
    key("array.outputs", Count(1, 65536), Optional, "", "Output channels, each with a compute unit of its own."),
    key("array.stagger", Count(1, 256), Optional, "", "Words that the weights of a kernel's pixel take in a compute unit's memory; one is loaded a cycle."),
    key("array.pipeline", Count(1, 64), Optional, "cycles", "From a window to its outputs."),
    key("array.image", Count(4, 65536), Optional, "", "Pixels that the line buffer is wide, and modulus of its row counters: an image has fewer rows."),
    key("array.max_bits", Count(1, 64), Optional, "bit", "Width of operands that a unit multiplies whole."),
    key("array.min_bits", Count(1, 64), Optional, "bit", "Width of the parts it can be split into."),
    key("array.weight_buffer", Count(1, 1 << 40), Optional, "B", "Buffer of weights, of all units, both halves."),
    key("array.input_buffer", Count(1, 1 << 40), Optional, "B", "Buffer of inputs."),
    key("array.output_buffer", Count(1, 1 << 40), Optional, "B", "Buffer of sums."),
    key("array.weight_words", Count(1, 65536), Optional, "", "Words of the weight pad of an element."),
    key("array.input_words", Count(1, 65536), Optional, "", "Words of its input pad."),
    key("array.sum_words", Count(1, 65536), Optional, "", "Words of its pad of partial sums."),
    key("array.words_per_cycle", Count(1, 65536), Optional, "", "Words of weights brought to the elements in a cycle."),
    key("array.pass_cycles", FigureOrZero, Optional, "cycles", "Layer law: overhead of a processing pass."),
    key("array.clock_mw", FigureOrZero, Optional, "mW", "Layer law: power of clock and control while a layer is processed."),
    key("array.pad_pj", FigureOrZero, Optional, "pJ", "Layer law: energy of a multiply-accumulate, and of a word of a pad."),
    key("array.hop_words", FigureOrZero, Optional, "", "Layer law: energy of a sum passed to the next element, in words of a pad."),
    key("array.buffer_words", FigureOrZero, Optional, "", "Layer law: energy of a word of the global buffer, in words of a pad."),
    key("array.cycles.*", Count(1, 1024), Required, "cycles", "Cycles an input row occupies for the pair `weights*inputs`; a pair listed for the S unit only goes there."),
    key("sram.own.bytes", Count(4096, 1 << 40), Required, "B", "Capacity of the core's own SRAM."),
    key("sram.own.banks", Count(1, 4096), Required, "", "Banks, each one access a cycle."),
    key("sram.own.width_bytes", Count(1, 4096), Required, "B", "Width of an access."),
    key("sram.own.latency", Count(1, 1024), Required, "cycles", "Of an access."),
    key("sram.own.bank_map", Word(BANK_MAP), Default("\"spread\""), "", "Which bank a word lies in: by a hash, so that any pieces spread evenly; or `modulo`, word after word, so that strides meet in banks."),
    key("sram.own.cell", Word(&["lstp", "hp"]), Default("\"lstp\""), "", "Cells, for `energy.law`: low standby power or high performance."),
    key("sram.own.wire_mm", FigureOrZero, Optional, "mm", "Wire between a bank and the core, for `energy.law`; without it half the side of the memory."),
    key("sram.shared.bytes", Count(4096, 1 << 44), Required, "B", "Capacity of the shared second level."),
    key("sram.shared.banks", Count(1, 4096), Required, "", "Banks, each one access a cycle."),
    key("sram.shared.width_bytes", Count(1, 4096), Required, "B", "Width of an access."),
    key("sram.shared.latency", Count(1, 1024), Required, "cycles", "Of an access."),
    key("sram.shared.bank_map", Word(BANK_MAP), Default("\"spread\""), "", "Which bank a word lies in: by a hash, so that any pieces spread evenly; or `modulo`, word after word, so that strides meet in banks."),
    key("sram.shared.cell", Word(&["lstp", "hp"]), Default("\"lstp\""), "", "Cells, for `energy.law`: low standby power or high performance."),
    key("sram.shared.wire_mm", FigureOrZero, Optional, "mm", "Wire between a bank and the core, for `energy.law`; without it half the side of the memory."),
    key("dram.model", Word(&["bandwidth", "cycle", "ideal"]), Default("\"bandwidth\""), "", "`bandwidth`: a first-come channel of stated bandwidth and latency; `cycle`: every command of every bank (docs/dram.md); `ideal`: no time at all."),
    key("dram.standard", Text, Required, "", "LPDDR4-2400 x64, HBM2, ...: its first word names the device whose figures stand where this file gives none."),
    key("dram.bytes", Count(1 << 20, 1 << 50), Required, "B", "Capacity."),
    key("dram.peak_bytes_per_s", Figure, Required, "B/s", "Peak of all channels; with `cycle` it must fit the shape."),
    key("dram.efficiency", Figure, Required, "", "Share of the peak that a stream reaches (refresh, turnaround), at most 1."),
    key("dram.latency_ns", FigureOrZero, Required, "ns", "From request to data on an idle channel."),
    key("dram.row_bytes", Figure, Required, "B", "Bytes that one activation opens; with `cycle` it must fit the shape."),
    key("dram.burst_bytes", Figure, Required, "B", "Smallest transfer; shorter runs cost a whole one; with `cycle` it must fit the shape."),
    key("dram.channels", Count(1, 64), Optional, "", "Cycle-level: channels; this and every number of the shape is a power of two."),
    key("dram.pseudo_channels", Count(1, 8), Optional, "", "Pseudo-channels of a channel, each with its own banks and data bus."),
    key("dram.ranks", Count(1, 16), Optional, "", "Ranks of a channel; at most 64 banks in all of them."),
    key("dram.bank_groups", Count(1, 16), Optional, "", "Bank groups of a rank."),
    key("dram.banks", Count(1, 64), Optional, "", "Banks of a group."),
    key("dram.rows", Count(1, 1 << 24), Optional, "", "Rows of a bank."),
    key("dram.columns", Count(1, 65536), Optional, "", "Bursts of a row."),
    key("dram.bus_bits", Count(8, 4096), Optional, "bit", "Data bus of a channel or pseudo-channel."),
    key("dram.burst_length", Count(1, 256), Optional, "beats", "Beats of a burst."),
    key("dram.tck_ps", Count(50, 100_000), Optional, "ps", "The DRAM clock."),
    key("dram.address_map", Text, Optional, "", "Fields of an address, most significant first, such as `rorabgbachco`: row, rank, bank group, bank, channel, pseudo-channel (pc), column; bits inside a burst are dropped first. Without one, or where the standard was changed after it was stated, that of the standard."),
    key("dram.queue", Count(1, 4096), Default("32"), "", "Reads, and writes, that wait in a channel."),
    key("dram.bank_queue", Count(1, 64), Default("8"), "", "Commands that wait for a bank."),
    key("dram.row_hit_cap", Count(0, 65536), Default("4"), "", "Hits after which a request of another row may close an open one."),
    key("dram.page", Word(&["open", "closed"]), Default("\"open\""), "", "Whether a row stays open after a column command."),
    key("dram.refresh", Word(&["all_bank", "per_bank", "off"]), Default("\"all_bank\""), "", "Every bank of a rank at once with the ranks staggered, one bank after the other, or not at all (to measure what refresh costs)."),
    key("dram.commands", Word(&["one", "row_and_column"]), Optional, "", "What may issue in a clock; HBM has a bus for row and one for column commands."),
    key("dram.issue", Count(1, 4096), Optional, "bursts/clock", "Requests taken in a DRAM clock, in order; as many as channels if not given."),
    key("dram.crossing_in", Count(0, 4096), Default("0"), "clocks", "From a DMA engine to a channel's queue."),
    key("dram.crossing_out", Count(0, 4096), Default("0"), "clocks", "From the data bus to the SRAM."),
    key("dram.timing.cl", FigureOrZero, Optional, "clocks", "Read to first data."),
    key("dram.timing.cwl", FigureOrZero, Optional, "clocks", "Write to first data."),
    key("dram.timing.rcd_rd", FigureOrZero, Optional, "clocks", "Activate to read."),
    key("dram.timing.rcd_wr", FigureOrZero, Optional, "clocks", "Activate to write."),
    key("dram.timing.rp", FigureOrZero, Optional, "clocks", "Precharge to activate."),
    key("dram.timing.ras", FigureOrZero, Optional, "clocks", "Activate to precharge."),
    key("dram.timing.rc", FigureOrZero, Optional, "clocks", "Activate to activate of a bank."),
    key("dram.timing.ccd_s", FigureOrZero, Optional, "clocks", "Column command to column command, another bank group."),
    key("dram.timing.ccd_l", FigureOrZero, Optional, "clocks", "The same in one bank group."),
    key("dram.timing.rrd_s", FigureOrZero, Optional, "clocks", "Activate to activate, another bank group."),
    key("dram.timing.rrd_l", FigureOrZero, Optional, "clocks", "The same in one bank group."),
    key("dram.timing.faw", FigureOrZero, Optional, "clocks", "Window of four activates of a rank."),
    key("dram.timing.wr", FigureOrZero, Optional, "clocks", "Last write data to precharge."),
    key("dram.timing.rtp", FigureOrZero, Optional, "clocks", "Read to precharge."),
    key("dram.timing.wtr_s", FigureOrZero, Optional, "clocks", "Last write data to read, another bank group."),
    key("dram.timing.wtr_l", FigureOrZero, Optional, "clocks", "The same in one bank group."),
    key("dram.timing.rtrs", FigureOrZero, Optional, "clocks", "Gap of the data bus between ranks and from reads to writes."),
    key("dram.timing.ppd", FigureOrZero, Optional, "clocks", "Precharge to precharge of a rank."),
    key("dram.timing.rfc", FigureOrZero, Optional, "clocks", "Refresh of a rank."),
    key("dram.timing.refi", FigureOrZero, Optional, "clocks", "Between refreshes of a rank."),
    key("dram.timing.rfc_pb", FigureOrZero, Optional, "clocks", "Refresh of a bank; 0: the device has none."),
    key("dram.timing.burst", FigureOrZero, Optional, "clocks", "Clocks that a burst holds the data bus."),
    key("dma.engines", Count(1, 64), Required, "", "Transfers in progress at once."),
    key("dma.queue", Count(1, 256), Default("8"), "", "Transfers that may wait."),
    key("dma.bytes_per_cycle", Count(1, 1 << 20), Required, "B/cycle", "Of one engine."),
    key("dma.outstanding_bursts", Count(1, 1 << 20), Default("1024"), "", "Bursts of all transfers that a cycle-level DRAM may still owe."),
    key("dma.setup_cycles", Count(0, 65536), Required, "cycles", "From a free engine to its first request."),
    key("dma.wire_mm", Figure, Optional, "mm", "Wire that a byte of a transfer passes, for `energy.law`; without it 1 mm."),
    key("noc.bytes_per_cycle", Count(1, 1 << 20), Required, "B/cycle", "Of the network between the cores; a `dma.mc` passes it once."),
    key("noc.latency", Count(0, 65536), Required, "cycles", "Of a signal, of the end of a meeting, and of the first byte to another core."),
    key("noc.wire_mm", Figure, Optional, "mm", "Wire between two cores, for `energy.law`; without it 2 mm."),
    key("energy.law", Word(&["anchored"]), Optional, "", "`anchored`: prices, wires and leakage that the file leaves out follow the laws of docs/energy.md; DRAM does not."),
    key("energy.mac.*", Price, Required, "per op", "One multiply-accumulate of the pair `weights*inputs`."),
    key("energy.elementwise.*", Price, Required, "per op", "One element of add, mul, fma, div, special, convert or copy; of these optional kinds, one bit: bit, pop, lfsr, sobol, philox."),
    key("energy.core.fold", Price, Required, "per op", "One accumulator entry scaled and added."),
    key("energy.core.issue", Price, Required, "per instruction", "Fetch, decode and issue."),
    key("energy.core.register", Price, Required, "per byte", "A byte of a vector, mask or scale register read or written."),
    key("energy.core.accumulator", Price, Required, "per op", "An accumulator entry read or written."),
    key("energy.core.decode", Price, Optional, "per op", "A code decoded by `ld.ec`; needed where `unit.L.codes_per_cycle` is."),
    key("energy.core.gated", Price, Optional, "per op", "A term that a mask skipped: the clock gate and control of its lane; without it skipped terms cost nothing."),
    key("energy.core.control", Price, Required, "per access", "A scalar access of control memory."),
    key("energy.core.dma", Price, Required, "per byte", "A byte through a DMA engine."),
    key("energy.core.noc", Price, Optional, "per byte", "A byte to another core's SRAM, and to each member of a `dma.mc`; needed where `[noc]` is."),
    key("energy.own.read", Price, Required, "per access", "A read of the core's own SRAM."),
    key("energy.own.write", Price, Required, "per access", "A write of it."),
    key("energy.shared.read", Price, Required, "per access", "A read of the shared SRAM."),
    key("energy.shared.write", Price, Required, "per access", "A write of it."),
    key("energy.dram.activate", Price, Required, "per row", "A row opened and closed."),
    key("energy.dram.read", Price, Required, "per bit", "A bit read."),
    key("energy.dram.write", Price, Required, "per bit", "A bit written."),
    key("energy.dram.refresh", Price, Optional, "per refresh", "A refresh of a rank, with `dram.model = \"cycle\"`."),
    key("energy.dram.active", Price, Optional, "per ns of a rank", "Background of a rank with an open row, with `dram.model = \"cycle\"`; `static.dram_mw` then counts nothing."),
    key("energy.dram.precharged", Price, Optional, "per ns of a rank", "Background of a rank whose rows are closed."),
    key("energy.beside.*", Price, Optional, "as that price", "A figure of another scope for the price of that key, such as `\"dram.read\"`: reports show what it would make, and never add it."),
    key("static.core_mw", FigureOrZero, Required, "mW", "Leakage of core, registers and control memory."),
    key("static.array_mw", FigureOrZero, Required, "mW", "Leakage of the array."),
    key("static.own_mw", FigureOrZero, Required, "mW", "Leakage of the core's own SRAM."),
    key("static.shared_mw", FigureOrZero, Required, "mW", "Leakage of the shared SRAM."),
    key("static.dram_mw", FigureOrZero, Required, "mW", "Background and refresh power of DRAM."),
    key("static.area_mm2", Figure, Optional, "mm2", "Area of the chip without DRAM, for the power density."),
    key("static.limit_w_per_mm2", Figure, Optional, "W/mm2", "Power density that the cooling bears; reports warn above it."),
];

/// Words that a table may hold beside its keys, as defaults for the figures and prices in it.
pub const GROUP_WORDS: &[&str] = &["source", "per", "scope"];

/// The segments of every key, in the order of [`KEYS`].
static SEGMENTS: LazyLock<Vec<Vec<&'static str>>> =
    LazyLock::new(|| KEYS.iter().map(|key| key.path.split('.').collect()).collect());

/// True if `path` begins as the segments of a pattern do.
fn begins(pattern: &[&str], path: &[&str]) -> bool {
    pattern.iter().zip(path).all(|(segment, name)| segment == name || *segment == "*")
}

/// True if the segments of `pattern` match `path`.
pub fn matches(pattern: &str, path: &[&str]) -> bool {
    let segments: Vec<&str> = pattern.split('.').collect();
    segments.len() == path.len() && begins(&segments, path)
}

/// The key at a path; a group word (`source`, ...) is never an instance of `*`.
pub fn find(path: &[&str]) -> Option<&'static Key> {
    let group_word = path.last().is_some_and(|name| GROUP_WORDS.contains(name));
    let found = |pattern: &&Vec<&str>| pattern.len() == path.len() && begins(pattern, path);
    let mut all = KEYS.iter().zip(SEGMENTS.iter());
    all.find(|(k, pattern)| found(pattern) && !(group_word && k.path.ends_with('*'))).map(|(key, _)| key)
}

/// True if a path names a table of keys.
pub fn is_table(path: &[&str]) -> bool {
    SEGMENTS.iter().any(|pattern| pattern.len() > path.len() && begins(pattern, path))
}

/// The names that may follow a path (`*` for any), in the order of [`KEYS`], without repetition.
pub fn children(path: &[&str]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for pattern in SEGMENTS.iter().filter(|pattern| pattern.len() > path.len() && begins(pattern, path)) {
        if !names.contains(&pattern[path.len()]) {
            names.push(pattern[path.len()]);
        }
    }
    names
}

impl Kind {
    /// What may stand there, in words.
    pub fn describe(self) -> String {
        match self {
            Text => "text".to_owned(),
            Word(words) => words.join(", "),
            Count(low, high) if low == high => format!("{low}"),
            Count(low, high) => format!("{low} to {high}"),
            Pair(low, high) => format!("[a, b], each {low} to {high}"),
            Figure => "figure above zero".to_owned(),
            FigureOrZero => "figure".to_owned(),
            Points => "[[V, Hz, source], ..]".to_owned(),
            Price => "price".to_owned(),
        }
    }
}

/// Whether kinds of arrays need the key `name` (the first that takes it speaks for all), and which ones take it; `None`
/// for keys that all have.
fn array_need(name: &str) -> Option<(Need, String)> {
    let takes = |row: &'static Row| Some((row.name, row.keys.iter().find(|key| key.0 == name)?.1));
    let kinds: Vec<(&str, Need)> = KINDS.iter().filter_map(takes).collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.0).collect();
    Some((kinds.first()?.1, names.join(", ")))
}

/// The key table of docs/machines.md.
pub fn key_table() -> String {
    let mut text = String::from("| key | value | unit | default | what |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let need = |need: Need| match need {
            Required => "required".to_owned(),
            Optional => "none".to_owned(),
            Default(value) => format!("`{value}`"),
        };
        let (need, of) = match key.path.strip_prefix("array.").map(array_need).unwrap_or_default() {
            Some((its, kinds)) => (need(its), format!("{kinds}: ")),
            None => (need(key.need), String::new()),
        };
        let row = format!("| `{}` | {} | {} | {need} | {of}{} |\n", key.path, key.kind.describe(), key.unit, key.doc);
        text.push_str(&row);
    }
    text
}
