//! How long the array's kernel takes with a tiling: the loop of `linear-array` step by step, by the rules of the engine
//! (docs/timing.md), without its instructions.
//!
//! A step is a tile of weights: its transfer, its way into the array and its sums. What the kernel issues between them is
//! counted by section of its text, in instructions and in scalar loads whose value the next instruction needs. Every time is the
//! latest of sums of others, so loops fall into step: a few passes are followed, and the rest repeat the last two.

use super::stream::{Pieces, Shares};
use super::tile::{After, Product};
use crate::machine::array::{Array, Tile};
use crate::machine::dram::Refresh;
use crate::machine::{DramModel, Machine};

/// Instructions, and scalar loads whose value is needed at once, of the sections of `linear-array`.
mod text {
    pub const ENTRY: [u64; 2] = [20, 2];
    pub const ROWS: [u64; 2] = [20, 4];
    pub const FETCH: [u64; 2] = [22, 6];
    pub const FETCH_ROWS: [u64; 2] = [12, 4];
    pub const FETCH_INPUTS: [u64; 2] = [17, 4];
    pub const PREAMBLE: [u64; 2] = [16, 4];
    pub const SCALES: [u64; 2] = [15, 4];
    pub const STEP: [u64; 2] = [5, 2];
    pub const LOAD: [u64; 2] = [8, 1];
    pub const SUM: [u64; 2] = [6, 2];
    pub const NEXT: [u64; 2] = [10, 2];
    pub const FOLD: [u64; 2] = [2, 0];
    pub const STORE: [u64; 2] = [3, 1];
    pub const KEEP: [u64; 2] = [16, 1];
    pub const ADVANCE: [u64; 2] = [5, 2];
    pub const TURN: [u64; 2] = [36, 8];
    /// The narrowing loop of four registers without its activation, and the loop of other epilogues a row and a register.
    pub const FOURS: [u64; 2] = [12, 0];
    pub const ROW: [u64; 2] = [7, 0];
    pub const CHUNK: [u64; 2] = [9, 0];
}

/// Where a clock stands in [`Clocks`].
mod at {
    pub const ISSUE: usize = 0;
    pub const DMA: usize = 1;
    pub const CHANNEL: usize = 2;
    pub const LOADER: usize = 3;
    pub const ARRAY: usize = 4;
    pub const ARRAY_START: usize = 5;
    pub const TILE_ENDS: usize = 6;
    /// The weights of the next step.
    pub const WEIGHTS: usize = 8;
    pub const FOLDER: usize = 9;
    pub const MOVER: usize = 10;
    /// When two sets of sums are free to be written.
    pub const SUMS: usize = 11;
    /// Their last results.
    pub const SUMMED: usize = 13;
    /// The tile of results in SRAM.
    pub const RESULTS: usize = 15;
    pub const INPUTS: usize = 16;
    pub const SCALES: usize = 17;
    pub const ENGINES: usize = 18;
    /// When DRAM would be done with posted writes too.
    pub const DRAINED: usize = 22;
    pub const QUEUE: usize = 23;
    pub const ALL: usize = 31;
}

/// Times from which on units, buffers and values are free or ready.
#[derive(Clone, Copy)]
struct Clocks([u64; at::ALL]);

impl Clocks {
    fn raise(&mut self, clock: usize, to: u64) {
        self.0[clock] = self.0[clock].max(to);
    }
    /// When all is over but posted writes, for which nobody waits.
    fn over(mut self) -> u64 {
        self.0[at::DRAINED] = 0;
        self.0.into_iter().max().unwrap_or(0)
    }
    /// `body` so many times: more than `followed` one by one, the rest as often again as the last two.
    fn repeat(&mut self, times: u64, followed: u64, body: &mut dyn FnMut(&mut Clocks)) {
        let pairs = times.saturating_sub(followed + 2) / 2;
        let alone = if pairs > 0 { times - 2 * pairs - 2 } else { times };
        for _ in 0..alone {
            body(self);
        }
        if pairs > 0 {
            let before = *self;
            body(self);
            body(self);
            for (clock, before) in self.0.iter_mut().zip(before.0) {
                *clock = clock.saturating_add(pairs.saturating_mul(*clock - before));
            }
        }
    }
}

/// A tile of results: rows and outputs.
pub(super) type Outputs = [u64; 2];

/// The kernel with its tiling on a machine.
pub(super) struct Pace<'a> {
    machine: &'a Machine,
    product: &'a Product,
    array: Option<&'a Array>,
    row_cycles: u32,
    tiling: [u64; 3],
    in_turn: bool,
    shares: &'a Shares,
    latency: u64,
    held: u64,
}

/// Cycles of DRAM that a transfer's bytes do not show: by commands a row is opened and a burst read.
fn latency(machine: &Machine) -> u64 {
    let dram = &machine.dram;
    let (DramModel::Cycle, Some(memory)) = (dram.model, &dram.memory) else { return dram.latency_cycles.into() };
    let clocks = memory.timing.rcd_rd + memory.timing.cl + memory.crossing[0] + memory.crossing[1];
    (f64::from(clocks) * f64::from(memory.tck_ps) * 1e-12 * machine.clock_hz) as u64
}

/// Cycles that DRAM takes for the writes that its channels' queues hold: without commands it posts none.
fn held(machine: &Machine) -> u64 {
    let (DramModel::Cycle, Some(memory)) = (machine.dram.model, &machine.dram.memory) else { return 0 };
    machine.dram_cycles(u64::from(memory.queue) * u64::from(memory.burst_bytes) * u64::from(memory.channels), 1)
}

impl<'a> Pace<'a> {
    pub fn new(machine: &'a Machine, product: &'a Product, tiling: [u64; 3], shares: &'a Shares) -> Pace<'a> {
        let array = machine.array.as_ref();
        let row_cycles = machine.array_path(product.w, product.x).map_or(1, |path| path.figure);
        let in_turn = product.sums_in_turn(machine);
        let (latency, held) = (latency(machine), held(machine));
        Pace { machine, product, array, row_cycles, tiling, in_turn, shares, latency, held }
    }

    /// Cycles of the whole product.
    pub fn cycles(&self) -> u64 {
        let mut clocks = Clocks([0; at::ALL]);
        self.issue(&mut clocks, text::ENTRY);
        let [mt, ..] = self.tiling;
        let m = self.product.m;
        // Of sums that take turns: the tile that waits for its fold, and which set is its.
        let mut turn = (None, 0);
        clocks.repeat(m / mt, 1, &mut |clocks| self.rows(clocks, mt, &mut turn));
        if !m.is_multiple_of(mt) {
            self.rows(&mut clocks, m % mt, &mut turn);
        }
        if let (Some(outputs), set) = turn {
            self.finish(&mut clocks, outputs, set);
        }
        self.refreshed(clocks.over())
    }

    /// `cycles` and what refreshes add: a transfer of weights that meets one is late by as much of it as the step has no
    /// cycles to spare. Where transfers take all the time, the stated share of the peak says it.
    fn refreshed(&self, cycles: u64) -> u64 {
        let dram = &self.machine.dram;
        let (DramModel::Cycle, Some(memory)) = (dram.model, &dram.memory) else { return cycles };
        if memory.refresh != Refresh::AllBank {
            return cycles;
        }
        let [mt, nt, kt] = self.tiling;
        let extents = [mt.min(self.product.m), nt.min(self.product.n), kt.min(self.product.k)];
        let step = self.array.map_or(0, |array| array.load(&self.tile(extents))).max(self.compute(extents).0);
        let pieces = Pieces::of(self.product.w_piece(extents[2]), extents[1], self.product.w_row());
        let moving = self.machine.dram_cycles(pieces.all(), 1) as f64 / self.shares.of(self.machine, pieces);
        let spare = step as f64 - moving - f64::from(dram.latency_cycles + self.machine.dma.setup_cycles);
        let clock = f64::from(memory.tck_ps) * 1e-12 * self.machine.clock_hz;
        let late = (f64::from(memory.timing.rfc) * clock - spare).max(0.0);
        let often = 1.0 / (f64::from(memory.timing.refi.max(1)) * clock);
        if spare > 0.0 { cycles + (cycles as f64 * late * often) as u64 } else { cycles }
    }

    /// Cycles of the whole product on the vector unit: `linear-vector`, which takes `work` cycles for a tile of results.
    pub fn vector_cycles(&self, work: &dyn Fn(Outputs) -> [u64; 2]) -> u64 {
        let mut clocks = Clocks([0; at::ALL]);
        self.issue(&mut clocks, text::ENTRY);
        let Product { m, n, .. } = *self.product;
        let [mt, nt, _] = self.tiling;
        let rows = |clocks: &mut Clocks, tm: u64| {
            self.issue(clocks, text::ROWS);
            let x = Pieces::whole(tm * self.product.x_row());
            clocks.0[at::INPUTS] = self.load(clocks, 0, x, self.product.on_chip[0]);
            if self.product.x_scale_row > 0 {
                let scales = Pieces::whole(tm * self.product.x_scale_row);
                clocks.0[at::SCALES] = self.load(clocks, 0, scales, self.product.on_chip[0]);
            }
            self.fetch_rows(clocks, nt.min(n));
            let tiles = n.div_ceil(nt);
            clocks.repeat(tiles.saturating_sub(2), 2, &mut |clocks| self.vector_tile(clocks, [tm, nt], Some(nt), work));
            let last = n - (tiles - 1) * nt;
            if tiles > 1 {
                self.vector_tile(clocks, [tm, nt], Some(last), work);
            }
            self.vector_tile(clocks, [tm, last], None, work);
        };
        clocks.repeat(m / mt, 1, &mut |clocks| rows(clocks, mt));
        if !m.is_multiple_of(mt) {
            rows(&mut clocks, m % mt);
        }
        clocks.over()
    }

    /// Starts the transfer of whole rows of weights.
    fn fetch_rows(&self, clocks: &mut Clocks, tn: u64) {
        self.issue(clocks, text::FETCH_ROWS);
        clocks.0[at::WEIGHTS] = self.load(clocks, 0, Pieces::whole(tn * self.product.w_row()), false);
    }

    /// A tile of results on the vector unit, of which the first group is stored after the second figure of `work`.
    fn vector_tile(
        &self,
        clocks: &mut Clocks,
        outputs: Outputs,
        next: Option<u64>,
        work: &dyn Fn(Outputs) -> [u64; 2],
    ) {
        let weights = clocks.0[at::WEIGHTS];
        self.issue(clocks, text::PREAMBLE);
        if self.product.w_scale_row > 0 {
            self.issue(clocks, text::SCALES);
            let ready = self.load(clocks, 0, Pieces::whole(outputs[1] * self.product.w_scale_row), false);
            clocks.raise(at::SCALES, ready);
        }
        if let Some(next) = next {
            self.fetch_rows(clocks, next);
        }
        let [whole, first] = work(outputs);
        let stored = clocks.0[at::RESULTS].max(clocks.0[at::SCALES]).saturating_sub(first);
        let start = clocks.0[at::ISSUE].max(weights).max(clocks.0[at::INPUTS]).max(stored);
        clocks.raise(at::ISSUE, start + whole);
        clocks.raise(at::MOVER, start + whole);
        self.after(clocks, outputs);
        self.issue(clocks, text::KEEP);
        let ready = clocks.0[at::MOVER];
        clocks.0[at::RESULTS] = self.store(clocks, ready, self.results(outputs), self.product.on_chip[1]);
        self.issue(clocks, text::ADVANCE);
    }

    fn issue(&self, clocks: &mut Clocks, [instructions, needed]: [u64; 2]) {
        let latency = u64::from(self.machine.control_latency).saturating_sub(1);
        clocks.0[at::ISSUE] += instructions.div_ceil(u64::from(self.machine.issue_per_cycle)) + needed * latency;
    }

    /// A transfer from memory that may start at `from`; when the bytes are there.
    fn load(&self, clocks: &mut Clocks, from: u64, pieces: Pieces, chip: bool) -> u64 {
        self.transfer(clocks, from, pieces, chip, false)
    }

    /// The same to memory.
    fn store(&self, clocks: &mut Clocks, from: u64, pieces: Pieces, chip: bool) -> u64 {
        self.transfer(clocks, from, pieces, chip, true)
    }

    fn transfer(&self, clocks: &mut Clocks, from: u64, pieces: Pieces, chip: bool, write: bool) -> u64 {
        let dma = &self.machine.dma;
        let engines = (dma.engines as usize).clamp(1, at::DRAINED - at::ENGINES);
        let engine = (at::ENGINES..at::ENGINES + engines).min_by_key(|engine| clocks.0[*engine]).unwrap_or(at::ENGINES);
        let start = from.max(clocks.0[at::ISSUE] + 1).max(clocks.0[engine]).max(clocks.0[at::DMA]);
        clocks.0[at::DMA] = start;
        let request = start + u64::from(dma.setup_cycles);
        let mut moved = request + pieces.all().div_ceil(u64::from(dma.bytes_per_cycle));
        let mut latency = u64::from(self.machine.own().latency_cycles);
        if chip {
            let level = self.machine.shared().unwrap_or(self.machine.own());
            moved = moved.max(request + level.cycles(level.accesses(pieces.all(), pieces.runs)));
            latency = latency.max(u64::from(level.latency_cycles));
        } else {
            // Posted writes are over when the channels' queues hold them, and reads pass those that wait there.
            let (cycles, held) = (self.shares.cycles(self.machine, pieces), self.held);
            clocks.0[at::DRAINED] = clocks.0[at::DRAINED].max(request) + cycles;
            let behind = clocks.0[at::DRAINED].saturating_sub(held);
            if write && held > 0 {
                latency = 0;
            } else {
                clocks.0[at::CHANNEL] = clocks.0[at::CHANNEL].max(request) + cycles;
                latency = latency.max(self.latency);
            }
            clocks.raise(at::CHANNEL, behind);
            moved = moved.max(if write && held > 0 { behind } else { clocks.0[at::CHANNEL] });
        }
        // By commands an engine waits for its last burst.
        clocks.0[engine] = if self.machine.dram.model == DramModel::Cycle { moved + latency } else { moved };
        moved + latency
    }

    /// `tm` rows of inputs, and all outputs with them.
    fn rows(&self, clocks: &mut Clocks, tm: u64, turn: &mut (Option<Outputs>, usize)) {
        let Product { n, k, x_scale_row, on_chip, .. } = *self.product;
        let [_, nt, kt] = self.tiling;
        self.issue(clocks, text::ROWS);
        if !self.in_turn {
            // Rows of inputs lie one after the other.
            let read = clocks.0[at::ARRAY];
            clocks.0[at::INPUTS] = self.load(clocks, read, Pieces::whole(tm * self.product.x_row()), on_chip[0]);
        }
        if x_scale_row > 0 {
            clocks.0[at::SCALES] = self.load(clocks, 0, Pieces::whole(tm * x_scale_row), on_chip[0]);
        }
        // The first inputs lie where the last rows' were, which the array read before its last steps.
        let steps = k.div_ceil(kt);
        let since = match steps {
            1 => 0,
            _ => (steps - 2) * self.compute([tm, nt, kt]).0 + self.compute([tm, nt, k - (steps - 1) * kt]).0,
        };
        let read = clocks.0[at::ARRAY].saturating_sub(since);
        self.fetch(clocks, [tm, nt.min(n), kt.min(k)], Some(read));
        let mut first = true;
        let tiles = n.div_ceil(nt);
        let mut tile = |clocks: &mut Clocks, tn: u64, next: Option<u64>| {
            self.outputs(clocks, [tm, tn], next, first, turn);
            first = false;
        };
        tile(clocks, nt.min(n), (tiles > 1).then(|| nt.min(n - nt)));
        if tiles > 1 {
            // Of all tiles but the first and the last two, the next one is whole too.
            clocks.repeat(tiles.saturating_sub(3), 2, &mut |clocks| tile(clocks, nt, Some(nt)));
            let last = n - (tiles - 1) * nt;
            if tiles > 2 {
                tile(clocks, nt, Some(last));
            }
            tile(clocks, last, None);
        }
    }

    /// Starts the transfer of a tile of weights, and with the first outputs of rows that take turns of the inputs they meet,
    /// whose buffer is free at `inputs`.
    fn fetch(&self, clocks: &mut Clocks, [tm, tn, tk]: [u64; 3], inputs: Option<u64>) {
        self.issue(clocks, text::FETCH);
        let pieces = Pieces::of(self.product.w_piece(tk), tn, self.product.w_row());
        // The buffer is that of the weights before these.
        let read = clocks.0[at::LOADER];
        clocks.0[at::WEIGHTS] = self.load(clocks, read, pieces, false);
        if let (true, Some(read)) = (self.in_turn, inputs) {
            self.issue(clocks, text::FETCH_INPUTS);
            let row = self.product.x_row();
            let pieces = Pieces::of(self.product.x_piece(tk), tm, row);
            clocks.0[at::INPUTS] = self.load(clocks, read, pieces, self.product.on_chip[0]);
        }
    }

    /// A tile of outputs; `next` are those of the tile behind it, whose first weights are fetched meanwhile.
    fn outputs(
        &self,
        clocks: &mut Clocks,
        [tm, tn]: Outputs,
        next: Option<u64>,
        first: bool,
        turn: &mut (Option<Outputs>, usize),
    ) {
        let Product { k, kb, w_scale_row, .. } = *self.product;
        let kt = self.tiling[2];
        let set = if self.in_turn && turn.0.is_some() { 1 - turn.1 } else { turn.1 };
        self.issue(clocks, text::PREAMBLE);
        if w_scale_row > 0 {
            self.issue(clocks, text::SCALES);
            let ready = self.load(clocks, 0, Pieces::whole(tn * w_scale_row), false);
            clocks.raise(at::SCALES, ready);
        }
        let steps = k.div_ceil(kt);
        let last = k - (steps - 1) * kt;
        let mut done = 0;
        // Inputs come with the first outputs' weights.
        let mut step = |clocks: &mut Clocks, tk: u64, fetch: Option<[u64; 2]>, inputs: bool| {
            self.step(clocks, [tm, tn, tk], fetch, first && inputs, set);
            done += tk;
            if self.product.blocked && done % kb == 0 && done < k {
                self.fold(clocks, [tm, tn], set);
            }
        };
        clocks.repeat(steps.saturating_sub(2), 4, &mut |clocks| step(clocks, kt, Some([tn, kt]), true));
        if steps > 1 {
            step(clocks, kt, Some([tn, last]), true);
        }
        step(clocks, last, next.map(|next| [next, kt.min(k)]), false);
        clocks.0[at::SUMMED + set] = clocks.0[at::ARRAY] + self.compute([tm, tn, last]).1;
        if self.in_turn {
            if let (Some(waiting), set) = *turn {
                self.issue(clocks, text::TURN);
                self.finish(clocks, waiting, set);
            }
            *turn = (Some([tm, tn]), set);
        } else {
            self.finish(clocks, [tm, tn], set);
        }
    }

    fn tile(&self, [tm, tn, tk]: [u64; 3]) -> Tile {
        let [weight_bits, input_bits] = [self.product.w.bits, self.product.x.bits];
        Tile { tm, tn, tk, first: true, weight_bits, input_bits, ..Tile::default() }
    }

    /// Cycles that a tile occupies the array, and until its sums can be used.
    fn compute(&self, extents: [u64; 3]) -> (u64, u64) {
        let Some(array) = self.array else { return (0, 0) };
        let cost = array.compute(&self.tile(extents), self.row_cycles);
        let memory = self.machine.own();
        let reads = memory.cycles(memory.accesses(extents[0] * self.product.x_piece(extents[2]), extents[0]));
        (cost.occupied.max(reads), cost.latency + u64::from(memory.latency_cycles))
    }

    /// One tile of weights: `fetch` is the next one, of outputs and depth.
    fn step(&self, clocks: &mut Clocks, extents: [u64; 3], fetch: Option<[u64; 2]>, inputs: bool, set: usize) {
        let [tm, tn, tk] = extents;
        self.issue(clocks, text::STEP);
        let weights = clocks.0[at::WEIGHTS];
        let met = clocks.0[at::INPUTS];
        if let Some([next, depth]) = fetch {
            self.fetch(clocks, [tm, next, depth], inputs.then_some(0));
        }
        self.issue(clocks, text::LOAD);
        let memory = self.machine.own();
        let reads = memory.cycles(memory.accesses(tn * self.product.w_piece(tk), tn));
        let load = match self.array.map_or(0, |array| array.load(&self.tile(extents))) {
            0 => 0,
            load => load.max(reads),
        };
        let older =
            if self.array.is_some_and(|array| array.weight_buffers > 1) { at::TILE_ENDS + 1 } else { at::TILE_ENDS };
        let free = [at::LOADER, older, at::ARRAY_START].map(|clock| clocks.0[clock]).into_iter().max().unwrap_or(0);
        let start = self.queue(clocks, free.max(weights));
        let loaded = start + load;
        clocks.0[at::LOADER] = loaded;
        clocks.0[at::ARRAY_START] = start;
        clocks.0[at::TILE_ENDS + 1] = clocks.0[at::TILE_ENDS];
        self.issue(clocks, text::SUM);
        let free = clocks.0[at::ARRAY].max(clocks.0[at::SUMS + set]);
        let start = self.queue(clocks, free.max(loaded).max(met));
        clocks.0[at::ARRAY] = start + self.compute(extents).0;
        clocks.0[at::ARRAY_START] = start;
        clocks.0[at::TILE_ENDS] = clocks.0[at::ARRAY];
        self.issue(clocks, text::NEXT);
    }

    /// The array's queue: an instruction issues when the one a queue's length before it has started. When this one starts.
    fn queue(&self, clocks: &mut Clocks, free: u64) -> u64 {
        let entries = (self.machine.units.m_queue as usize).clamp(1, at::ALL - at::QUEUE);
        let queue = &mut clocks.0[at::QUEUE..at::QUEUE + entries];
        let oldest = queue[0];
        queue.rotate_left(1);
        clocks.raise(at::ISSUE, oldest);
        let start = free.max(clocks.0[at::ISSUE] + 1);
        clocks.0[at::QUEUE + entries - 1] = start;
        start
    }

    /// Folds the sums of a set; when the results can be used.
    fn fold(&self, clocks: &mut Clocks, [tm, tn]: Outputs, set: usize) -> u64 {
        self.issue(clocks, text::FOLD);
        let latency = u64::from(self.machine.units.s_latency);
        let ready = [at::FOLDER, at::SUMMED + set, at::SCALES].map(|clock| clocks.0[clock]);
        let sums = clocks.0[at::ARRAY] + self.compute([tm, tn, 1]).1;
        let sums = if self.in_turn { 0 } else { sums };
        let start = ready.into_iter().fold(clocks.0[at::ISSUE] + 1, u64::max).max(sums);
        clocks.0[at::FOLDER] = start + self.machine.fold_cycles(tm * tn);
        clocks.0[at::SUMS + set] = clocks.0[at::FOLDER] + latency;
        clocks.0[at::FOLDER] + latency
    }

    /// Fold, results in SRAM, what follows the product, results in memory.
    fn finish(&self, clocks: &mut Clocks, [tm, tn]: Outputs, set: usize) {
        let folded = self.fold(clocks, [tm, tn], set);
        self.issue(clocks, text::STORE);
        let start = [at::MOVER, at::RESULTS].map(|clock| clocks.0[clock]).into_iter().fold(folded, u64::max);
        clocks.0[at::MOVER] = start + self.machine.move_cycles(4 * tm * tn, tm);
        if !self.in_turn {
            // The next sums begin with an empty tile.
            clocks.0[at::SUMS + set] += 1 + u64::from(self.machine.units.s_latency);
        }
        self.after(clocks, [tm, tn]);
        self.issue(clocks, text::KEEP);
        let ready = clocks.0[at::MOVER];
        clocks.0[at::RESULTS] = self.store(clocks, ready, self.results([tm, tn]), self.product.on_chip[1]);
        self.issue(clocks, text::ADVANCE);
    }

    fn results(&self, [tm, tn]: Outputs) -> Pieces {
        Pieces::of(self.product.y_piece(tn), tm, self.product.y_piece(self.product.n))
    }

    /// What follows the product, register by register: as long as its instructions, or as the chain from load to store.
    fn after(&self, clocks: &mut Clocks, [tm, tn]: Outputs) {
        let machine = self.machine;
        let units = &machine.units;
        let lanes = u64::from(machine.vlen_bits / 32).max(1);
        let load = machine.load_cycles(4 * lanes);
        let read = load + u64::from(units.l_latency + machine.own().latency_cycles);
        let latencies = [u64::from(units.e_latency), u64::from(units.e_special_latency)];
        let [plain, special] = [false, true].map(|special| machine.elementwise_cycles(lanes, special));
        let (times, [instructions, loops], chain) = match self.product.after {
            After::Nothing => return,
            After::Narrow { plain: plains, special: specials } => {
                let more = if plains + specials > 0 { 4 } else { 0 };
                // Loads, an activation and conversions follow each other register by register; the last store waits for all.
                let (each, latency) =
                    if specials > 0 { (specials * special, latencies[1]) } else { (plains * plain, latencies[0]) };
                let worked = match each {
                    0 => 3 * load.max(plain) + plain,
                    _ => (3 * load.max(each) + each).max(each + latency) + 4 * plain,
                };
                let chain = read + worked + latencies[0] + load;
                // As one run: rows of a tile as they lie, the outputs that the last one does not have too.
                ((tm * self.tiling[1]).div_ceil(4 * lanes), [text::FOURS[0] + more, 0], chain)
            }
            After::Rows { plain: plains, special: specials } => {
                let chain = read
                    + load
                    + plains * (plain + latencies[0])
                    + specials * special
                    + if specials > 0 { latencies[1] } else { 0 };
                let chunks = tn.div_ceil(lanes);
                (tm * chunks, [text::CHUNK[0] + 2 * (plains + specials), text::ROW[0] / chunks], chain)
            }
        };
        let issue = (instructions + loops).div_ceil(u64::from(machine.issue_per_cycle));
        let start = clocks.0[at::MOVER].max(clocks.0[at::ISSUE]);
        if self.product.residual {
            let ready = self.load(clocks, 0, self.results([tm, tn]), false);
            clocks.raise(at::MOVER, ready);
        }
        let end = start.max(clocks.0[at::MOVER]) + times * issue.max(chain);
        clocks.0[at::MOVER] = end;
        // A load and a store of each register, and those around them: what the queue holds does not keep issue waiting.
        let registers = (tm * self.tiling[1]).div_ceil(lanes).max(tm);
        if 2 * registers + 2 <= u64::from(units.l_queue) {
            clocks.0[at::ISSUE] += times * issue;
        } else {
            clocks.raise(at::ISSUE, end);
        }
    }
}
