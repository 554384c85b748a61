//! Sparsity pays: what in-unit skipping, skipped tiles and masked products cost, at 0, 50, 75 and 90 % zero, structured
//! and random, on two machines. The table of docs/sparsity.md is made here: `PREON_BLESS=1 cargo test --test sparsity`.

use preon::exec::{Config, Event, Mode, Status, Vm};
use preon::graph::{Graph, InputData, Op};
use preon::isa::asm::{Options, Sources, assemble};
use preon::machine::{self, Machine, Skip};
use preon::sim::{Outcome, Sim};
use preon::tensor::{Mask, Sparsity, Tensor, TensorType};
use preon::vpu::{What, execute, execute_observed};
use preon::{check, compile, native};
use std::fmt::Write;
use std::sync::Arc;
use watched::Watched;

#[path = "support/watched.rs"]
mod watched;

/// Zeros in a hundred.
const ZEROS: [u32; 4] = [0, 50, 75, 90];

/// Cases beyond the everyday ones: PREON_CASES=n repeats with n seeds.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("PREON_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn dice(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}

/// Which blocks of a grid live when `zero` of a hundred do not: random ones, or an even pattern of diagonals.
fn blocks(down: usize, across: usize, zero: u32, random: bool, seed: u64) -> Vec<bool> {
    let all = down * across;
    let live = all - all * zero as usize / 100;
    if random {
        let mut order: Vec<usize> = (0..all).collect();
        let mut next = dice(seed);
        (1..all).rev().for_each(|i| order.swap(i, next() as usize % (i + 1)));
        let mut grid = vec![false; all];
        order[..live].iter().for_each(|at| grid[*at] = true);
        return grid;
    }
    // The fraction of live blocks grows evenly along every row, which starts where the last one ended.
    (0..all).map(|at| (at + 1) * live / all > at * live / all).collect()
}

fn machine_with(name: &str, sets: &[(&str, &str)]) -> Machine {
    let sets: Vec<(String, String)> = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    machine::load_with(name, &sets).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// Runs a program with `memory` in its SRAM and control memory; the core when it halts, and what it cost.
fn run(machine: &Machine, text: &str, equs: &[(&str, i64)], memory: &[(u64, Vec<u8>)]) -> (Vm, Outcome) {
    let options =
        Options { equs: equs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(), ..Options::default() };
    let object = assemble(&Sources::single("sparse.vasm", text), &options)
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n")));
    let mut vm = Vm::new(object, Config::of(machine), Mode::Functional).unwrap();
    memory.iter().for_each(|(at, bytes)| vm.write(*at, bytes).unwrap());
    let mut sim = Sim::new(machine, 1);
    let mut event = Event::new();
    loop {
        let status = vm.step(&mut event).unwrap_or_else(|trap| panic!("{}", preon::Error::from(trap)));
        sim.account(&event);
        if status == Status::Halted {
            return (vm, sim.finish().unwrap());
        }
    }
}

const SRAM: u64 = 1 << 60;
const CONTROL: u64 = 3 << 60;

// ---- in-unit skipping ----

/// One row of outputs after the other, registers of 8 x KD; a register without a live element is not read at all.
const MAC_STREAM: &str = "
    .fmt    f1=ternary, f2=bf16
    setacc  c0, pair.bf16
    li      x3, 8
    li      x4, DEPTH
    setmac  x14, x3, x4, f1, f2         # 8 x DEPTH
    setvl   x0, x4, f2, f2
    li      x5, 0x1000_0000_0000_0000   # weights, a register after the other
    li      x6, 0x1000_0000_0004_0000   # masks
    li      x7, 0x1000_0000_0006_0000   # inputs
    li      x8, DEPTH / 4               # bytes of a weight row
    li      x9, DEPTH / 8               # bytes of a mask row
    ld.bp   v2, 0(x7), f2
    li      x20, REGISTERS
    li      x21, 8 * DEPTH / 4
    li      x22, 8 * DEPTH / 8
    loop    x20, registers
      ld.mv   p1, 0(x6)+x22 rows x9
      jmp.mask p1, dead
      ld.bp   v1, 0(x5) rows x8, f1
      mac     c0, v1, v2, f1, f2, p1.z .n
dead:
      add     x5, x5, x21
registers: endl
    halt
";

/// Live granules of every register, and of the fullest row of granules of each.
fn live_granules(
    live: &dyn Fn(usize, usize) -> bool,
    registers: usize,
    depth: usize,
    granule: [usize; 2],
) -> Vec<(u64, u64)> {
    let [rows, cols] = granule;
    let full = |n: usize, k: usize| (n..n + rows).any(|n| (k..k + cols).any(|k| live(n, k)));
    let row = |n: usize| (0..depth).step_by(cols).filter(|k| full(n, *k)).count() as u64;
    let of = |register: usize| (8 * register..8 * register + 8).step_by(rows).map(row);
    (0..registers).map(|register| (of(register).sum(), of(register).max().unwrap_or(0))).collect()
}

/// Cycles of the S unit on masks with blocks of `block`, and what the law asks for.
fn stream(
    machine: &Machine,
    depth: usize,
    granule: [usize; 2],
    block: [usize; 2],
    zero: u32,
    random: bool,
    seed: u64,
) -> (u64, u64) {
    let registers = 24;
    let (down, across) = (8 * registers / block[0], depth / block[1]);
    let grid = blocks(down, across, zero, random, seed);
    let live = |n: usize, k: usize| grid[n / block[0] * across + k / block[1]];
    let mut next = dice(seed + 1);
    let weights: Vec<u32> = (0..8 * registers * depth).map(|_| next() % 3).collect();
    let inputs: Vec<i32> = (0..depth).map(|_| (next() % 17) as i32 - 8).collect();
    let bits = |count: usize, bit: &dyn Fn(usize) -> bool| {
        let mut bytes = vec![0u8; count / 8];
        (0..count).filter(|at| bit(*at)).for_each(|at| bytes[at / 8] |= 1 << (at % 8));
        bytes
    };
    let codes = weights.chunks(4).map(|four| four.iter().rev().fold(0, |byte, code| byte << 2 | *code as u8)).collect();
    let mask = bits(8 * registers * depth, &|at| live(at / depth, at % depth));
    let x = inputs.iter().flat_map(|x| (((*x as f32).to_bits() >> 16) as u16).to_le_bytes()).collect();
    let equs = [("DEPTH", depth as i64), ("REGISTERS", registers as i64)];
    let memory = [(SRAM, codes), (SRAM + 0x4_0000, mask), (SRAM + 0x6_0000, x)];
    let (vm, outcome) = run(machine, MAC_STREAM, &equs, &memory);
    for n in 0..8 {
        let terms = (0..registers * depth).map(|at| (8 * (at / depth) + n, at % depth)).filter(|(n, k)| live(*n, *k));
        let sum: i32 = terms.map(|(n, k)| [0, 1, -1][weights[n * depth + k] as usize] * inputs[k]).sum();
        assert_eq!(vm.c(0, 0, n), Some(sum as f32), "the answer does not change");
    }
    let rate = u64::from(machine.s_terms_per_cycle("ternary", "bf16").unwrap());
    let each = rate / (granule[0] * granule[1]) as u64;
    let lanes = 8 / granule[0] as u64;
    let law =
        live_granules(&live, registers, depth, granule).into_iter().map(|(live, fullest)| match machine.units.s_skip {
            Skip::None => {
                if live > 0 {
                    (8 * depth as u64).div_ceil(rate)
                } else {
                    0
                }
            }
            Skip::Balanced => live.div_ceil(each),
            Skip::MaxOverLanes => (fullest * lanes).div_ceil(each),
        });
    (outcome.timing.units[2].busy_cycles, law.sum())
}

/// (machine, elements of k in a register of bf16, granule).
const UNITS: [(&str, usize, [usize; 2]); 2] = [("edge", 128, [4, 16]), ("hbm", 256, [4, 16])];

#[test]
fn in_unit_skipping_follows_the_law() {
    for (name, depth, granule) in UNITS {
        for law in ["none", "balanced", "max_over_lanes"] {
            let sets = [("unit.S.skip", law), ("unit.S.skip_granule", "[4, 16]")];
            let machine = machine_with(name, &sets);
            for seed in seeds() {
                for zero in ZEROS {
                    for (block, random) in [([4, 16], true), ([4, 16], false), ([8, 32], true), ([8, 32], false)] {
                        let (busy, want) = stream(&machine, depth, granule, block, zero, random, seed);
                        let what =
                            format!("{name} {law} {block:?} {zero} % random {random}: {busy} cycles, law {want}");
                        assert!(10 * busy.abs_diff(want) <= want, "{what}");
                    }
                }
            }
        }
    }
}

// ---- skipped tiles ----

/// ROWS rows of up to 64 tiles; a live tile is worth a mac of 32 cycles.
const TILES: &str = "
    .fmt    f1=ternary, f2=bf16
    setacc  c0, pair.bf16
    li      x3, 16
    li      x4, DEPTH
    setmac  x14, x3, x4, f1, f2
    setvl   x0, x4, f2, f2
    li      x6, 0x3000_0000_0000_1000   # a map row of 8 bytes after the other
    li      x7, 0x1000_0000_0000_0000
    li      x8, 8
    li      x9, 64
    li      x20, ROWS
    ld.bp   v2, 0(x7), f2
    loop    x20, rows
      ld.m    p1, 0(x6)+x8, x9
      jmp.mask p1, row_done
      li      x10, 0
live: next.mask x10, p1, x10, row_done
      sll     x11, x10, 5
      add     x11, x11, x7
      ld.bp   v1, 0(x11), f1
      mac     c0, v1, v2, f1, f2
      mac     c0, v1, v2, f1, f2
      add     x10, x10, 1
      j       live
row_done:
rows: endl
    halt
";

/// Cycles of a grid of tiles.
fn tiles(machine: &Machine, depth: usize, grid: &[u64]) -> u64 {
    let map = grid.iter().flat_map(|row| row.to_le_bytes()).collect();
    let equs = [("DEPTH", depth as i64), ("ROWS", grid.len() as i64)];
    run(machine, TILES, &equs, &[(CONTROL + 0x1000, map), (SRAM, vec![0; 8192])]).1.timing.cycles
}

#[test]
fn a_skipped_tile_costs_at_most_two_cycles() {
    for (name, depth, _) in UNITS {
        let machine = machine_with(name, &[]);
        // What a live tile is worth: one more in a row.
        let worth = tiles(&machine, depth / 2, &[u64::MAX]) - tiles(&machine, depth / 2, &[u64::MAX >> 1]);
        assert!(worth >= 20, "{name}: a live tile is worth {worth} cycles");
        for zero in ZEROS {
            for random in [false, true] {
                let grid = blocks(32, 64, zero, random, 7);
                let row = |bits: &[bool]| bits.iter().rev().fold(0u64, |row, bit| row << 1 | u64::from(*bit));
                let sparse: Vec<u64> = grid.chunks(64).map(row).collect();
                // The same live tiles with nothing between them.
                let live = grid.iter().filter(|live| **live).count() as u64;
                let packed: Vec<u64> =
                    sparse.iter().map(|row| u64::MAX.checked_shr(64 - row.count_ones()).unwrap_or(0)).collect();
                let (with, without) = (tiles(&machine, depth / 2, &sparse), tiles(&machine, depth / 2, &packed));
                let dead = 32 * 64 - live;
                let cost = with.saturating_sub(without);
                assert!(cost <= 2 * dead, "{name} {zero} % random {random}: {cost} cycles for {dead} dead tiles");
            }
        }
        // Whole rows of dead tiles: one jmp.mask each.
        let half: Vec<u64> = (0..32).map(|row| if row % 2 == 0 { u64::MAX } else { 0 }).collect();
        let (with, without) = (tiles(&machine, depth / 2, &half), tiles(&machine, depth / 2, &half[..1].repeat(16)));
        assert!(with - without <= 2 * 16 * 64, "{name}: {} cycles for 16 dead rows", with - without);
    }
}

// ---- whole products ----

/// What a masked product came to.
struct Product {
    kernel: String,
    cycles: u64,
    dram_bytes: u64,
    macs: (u64, u64, u64),
}

/// y = x . w in `formats`, w of 256 x 1024 masked by `pattern`, or dense.
fn product(machine: &Machine, formats: (&str, &str), m: usize, mask: Option<Mask>) -> Product {
    let (n, k) = (256, 1024);
    let mut next = dice(11);
    let mut values = |count: usize| (0..count).map(|_| (next() % 2001) as f32 / 1000.0 - 1.0).collect::<Vec<_>>();
    let (w, x) = (values(n * k), values(m * k));
    let ty = |name: &str| TensorType::parse(name).unwrap();
    let mut w = Tensor::quantise(vec![n, k], &w, ty(formats.0)).unwrap();
    if let Some(mask) = mask {
        w = w.with_mask(mask).unwrap();
    }
    let mut graph = Graph { name: "product".into(), ..Graph::default() };
    let dense = Tensor::from_f32(vec![m, k], &x).unwrap();
    let input = graph.add_input("x", vec![m, k], dense.ty);
    let read = graph.add_node("q", Op::Quantise { to: ty(formats.1) }, &[input]).unwrap();
    let w = graph.add_const("w", Arc::new(w));
    let y = graph.add_node("y", Op::Linear, &[read, w]).unwrap();
    graph.outputs.push(("y".into(), y));
    let inputs = [InputData::Dense(Arc::new(dense))];
    let compiled = compile::compile(&graph, machine, &compile::Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let ran = execute(&compiled, &graph, &inputs, machine, What::Both).unwrap_or_else(|e| panic!("{e}"));
    let whole = execute_observed(&compiled, &graph, &inputs, machine, What::Both, &mut Watched);
    let whole = whole.unwrap_or_else(|e| panic!("{e}")).outcome.expect("asked for");
    let apart = ran.outcome.as_ref().expect("asked for");
    assert_eq!((&apart.timing, &apart.ledger), (&whole.timing, &whole.ledger), "masks may decide");
    let expected = native::run(&graph, &inputs, &native::Options::default()).unwrap();
    let report = check::compare(&graph, &ran.captured, &expected);
    let kernel = compiled.steps[1].kernel.clone();
    let first = report.mismatches.first().map(ToString::to_string).unwrap_or_default();
    assert!(report.is_bit_exact(), "{} {formats:?} {kernel}: {first}", machine.name);
    let outcome = ran.outcome.expect("asked for");
    Product {
        kernel,
        cycles: outcome.timing.node_cycles(1),
        dram_bytes: outcome.ledger.bytes(preon::sim::Place::Dram).0,
        macs: outcome.ledger.macs(),
    }
}

/// A mask of 256 x 1024 with blocks of `rows` x `cols`.
fn block_mask([rows, cols]: [usize; 2], zero: u32, random: bool) -> Mask {
    let (n, k) = (256, 1024);
    let across = k / cols;
    let grid = blocks(n / rows, across, zero, random, 5);
    let mut bits = vec![0u8; n * k / 8];
    let live = |at: usize| grid[at / k / rows * across + at % k / cols];
    (0..n * k).filter(|at| live(*at)).for_each(|at| bits[at / 8] |= 1 << (at % 8));
    let sparsity = Sparsity::Block { rows: rows as u32, cols: cols as u32, milli: zero * 10 };
    Mask::new(sparsity, (n, k), bits).unwrap()
}

fn pattern_mask(text: &str) -> Mask {
    let mut next = dice(3);
    let values: Vec<f32> = (0..256 * 1024).map(|_| (next() % 2001) as f32 / 1000.0 - 1.0).collect();
    Mask::of_largest(Sparsity::parse(text).unwrap(), 1024, &values)
}

/// One row of the table.
fn row(table: &mut String, of: [&str; 4], zero: &str, p: &Product, dense: &Product) {
    let [machine, pair, rows, pattern] = of;
    let share = |a: u64, b: u64| format!("{:.2}", a as f64 / b as f64);
    let _ = writeln!(
        table,
        "| {machine} | {pair} | {rows} | {pattern} | {zero} | {} | {} | {} | {} | {} |",
        p.kernel,
        p.cycles,
        share(p.cycles, dense.cycles),
        p.dram_bytes,
        share(p.dram_bytes, dense.dram_bytes)
    );
}

fn products() -> String {
    let mut table = String::from(
        "| machine | weights * inputs | rows of x | masked | zero | kernel | cycles | of dense | DRAM bytes read | of dense |\n|---|---|---:|---|---:|---|---:|---:|---:|---:|\n",
    );
    // Blocks as large as the array, or as a register of weights.
    let cases = [
        ("edge", ("ternary", "int8"), 1, 32),
        ("edge", ("int8", "int8"), 16, 32),
        ("hbm", ("ternary", "int8"), 1, 64),
        ("hbm", ("bf16", "bf16"), 16, 128),
    ];
    for (name, pair, m, size) in cases {
        let machine = machine_with(name, &[]);
        let x_type = if pair.1 == "bf16" { "bf16" } else { "int8/row" };
        let dense = product(&machine, (pair.0, x_type), m, None);
        let (text, rows) = (format!("{} * {}", pair.0, pair.1), m.to_string());
        row(&mut table, [name, &text, &rows, "–"], "–", &dense, &dense);
        for random in [false, true] {
            let kind = &format!("{size}x{size}, {}", if random { "random" } else { "structured" });
            let (mut last, mut whole) = (None, None);
            for zero in ZEROS {
                let p = product(&machine, (pair.0, x_type), m, Some(block_mask([size, size], zero, random)));
                assert!(p.macs.0 + p.macs.1 > 0, "{name}: something is multiplied");
                if zero > 0 {
                    assert_eq!(p.kernel, "linear-sparse", "{name} {text} {kind} {zero} %");
                    // Dead blocks are not fetched: what is left of the weights, and x.
                    let weights = dense.dram_bytes * u64::from(100 - zero) / 100;
                    assert!(
                        p.dram_bytes <= weights + dense.dram_bytes / 10 + 4 * 1024 * m as u64 * 2,
                        "{name} {kind} {zero} %: {} bytes",
                        p.dram_bytes
                    );
                }
                // Cycles follow what is left, up to what does not shrink with it; bytes fall with every step. Tiles of a mask are
                // others than dense ones, whose sums may take turns: a mask without zeros may cost more, and is the whole.
                let whole = *whole.get_or_insert(p.cycles.max(dense.cycles));
                assert!(whole <= 2 * dense.cycles, "{name} {kind}: {whole} cycles without zeros");
                let most = u64::from(100 - zero + 30) * whole / 100;
                assert!(p.cycles <= most, "{name} {kind} {zero} %: {} cycles of {whole}", p.cycles);
                let fewer = last.is_none_or(|last| p.dram_bytes < last);
                assert!(fewer, "{name} {kind} {zero} %: as many bytes as with fewer zeros");
                row(&mut table, [name, &text, &rows, kind], &format!("{zero} %"), &p, &dense);
                last = Some(p.dram_bytes);
            }
        }
        for (pattern, zero) in [
            ("block16x16:0.75", "75 %"),
            ("block4x4:0.75", "75 %"),
            ("2:4", "50 %"),
            ("4:8", "50 %"),
            ("element:0.9", "90 %"),
        ] {
            let p = product(&machine, (pair.0, x_type), m, Some(pattern_mask(pattern)));
            row(&mut table, [name, &text, &rows, pattern], zero, &p, &dense);
        }
    }
    table
}

/// S unit cycles of streams of macs beside the law.
fn units() -> String {
    let mut table = String::from(
        "| machine | skip | blocks | zero | cycles of the S unit | ceil(live / granules a cycle) |\n|---|---|---|---:|---:|---:|\n",
    );
    for (name, depth, granule) in UNITS {
        for law in ["balanced", "max_over_lanes"] {
            let machine = machine_with(name, &[("unit.S.skip", law), ("unit.S.skip_granule", "[4, 16]")]);
            for random in [false, true] {
                for zero in ZEROS {
                    let (busy, want) = stream(&machine, depth, granule, [4, 16], zero, random, 0);
                    let kind = if random { "4x16, random" } else { "4x16, structured" };
                    let _ = writeln!(table, "| {name} | {law} | {kind} | {zero} % | {busy} | {want} |");
                }
            }
        }
    }
    table
}

#[test]
fn the_page_about_sparsity_has_the_figures_that_this_test_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sparsity.md");
    let mut page = std::fs::read_to_string(path).expect("the page");
    for (name, made) in [("units", units()), ("products", products())] {
        let (start, end) = (format!("<!-- {name}: made by tests/sparsity.rs -->\n"), format!("<!-- end of {name} -->"));
        let from = page.find(&start).expect("the mark of the table") + start.len();
        let to = page.find(&end).expect("the mark behind the table");
        if std::env::var_os("PREON_BLESS").is_some() {
            page.replace_range(from..to, &made);
            std::fs::write(path, &page).expect("the page is written");
        } else {
            assert_eq!(
                &page[from..to],
                made,
                "docs/sparsity.md is out of date: PREON_BLESS=1 cargo test --test sparsity"
            );
        }
    }
}
