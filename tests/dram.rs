//! DRAM against its reference: the figures of tests/data/dram/dramsim3.csv, run through the library as `preon dram` does,
//! and through a core program's view, the transfers of `sim::dram::Dram`.

use preon::machine::dram::{Memory, Page, Refresh};
use preon::machine::{self, Machine};
use preon::sim::dram::energy;
use preon::sim::dram::traffic::{Pattern, Request, Served, Stream, Traffic};
use preon::sim::dram::{Dram, Strided};

fn load(name: &str, sets: &[(&str, &str)]) -> Machine {
    let sets: Vec<(String, String)> = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    machine::load_with(name, &sets).unwrap_or_else(|e| panic!("{name}: {}", e.render(false)))
}

fn run(machine: &Machine, pattern: Pattern, requests: u64, issue: u32, write_share: f64, step: bool) -> Served {
    let mut memory = machine.dram.memory.clone().unwrap();
    memory.issue = issue;
    let mut traffic = Traffic::new(&memory, step);
    let burst_bytes = u64::from(memory.burst_bytes);
    Stream { pattern, burst_bytes, requests, write_share, seed: 1 }.each(|request| traffic.offer(&request));
    traffic.finish()
}

fn pattern(text: &str) -> Pattern {
    match text.strip_prefix("str") {
        Some(bytes) => Pattern::Stride(bytes.parse().unwrap()),
        None if text == "rand" => Pattern::Random(4 << 30),
        None => Pattern::Sequential,
    }
}

fn near(what: &str, got: f64, want: f64, share: f64) {
    assert!((got / want - 1.0).abs() <= share, "{what}: {got}, the reference has {want}");
}

/// Cycles, activations and refreshes are the reference's to the digit, its latency and energy to the printed one.
#[test]
fn every_row_of_the_reference_is_met() {
    let mut rows = 0;
    for line in include_str!("data/dram/dramsim3.csv").lines().filter(|line| !line.starts_with('#')).skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse::<f64>().unwrap();
        let machine = load(cells[0], &[]);
        let served = run(&machine, pattern(cells[1]), number(3) as u64, number(2) as u32, 0.0, false);
        let counts = served.counts();
        let exact = [served.clocks, counts.activates, counts.refreshes];
        assert_eq!(exact.map(|n| n as f64), [number(4), number(7), number(8)], "{line}");
        let bits = served.requests as f64 * f64::from(machine.dram.burst_bytes) * 8.0;
        let gb_s = bits / 8.0 * 1e3 / (served.clocks as f64 * f64::from(machine.dram.memory.as_ref().unwrap().tck_ps));
        near("bandwidth", gb_s, number(5), 0.001);
        near("latency", served.mean_latency(), number(9), 0.001);
        assert!((counts.row_hits as f64 / served.requests as f64 * 100.0 - number(6)).abs() < 0.051, "{line}");
        let parts = energy::parts(&machine, &counts, served.clocks).unwrap();
        let total = parts.iter().map(|part| part.attojoule[1]).sum::<i128>() as f64;
        near("energy in microjoule", total / 1e12, number(10), 0.005);
        let dynamic = parts[..3].iter().map(|part| part.attojoule[1]).sum::<i128>() as f64;
        near("dynamic energy a bit", dynamic / 1e6 / bits, number(12), 0.005);
        rows += 1;
    }
    assert_eq!(rows, 7);
}

/// Published as bandwidth only: strides that leave fewer and fewer channels and banks, and one channel alone.
#[test]
fn strides_divide_the_bandwidth() {
    for (stride, gb_s) in [(4096, 31.0), (8192, 15.7), (65536, 4.9), (1 << 20, 1.24)] {
        let machine = load("dram-hbm2", &[]);
        let served = run(&machine, Pattern::Stride(stride), 16384, 8, 0.0, false);
        near("HBM2 GB/s", 16384.0 * 64.0 / served.clocks as f64, gb_s, 0.02);
    }
    let one = [("dram.channels", "1"), ("dram.bytes", "1073741824")];
    let served = run(&load("dram-hbm2", &one), Pattern::Sequential, 262_144, 8, 0.0, false);
    near("a stream of one channel", 262_144.0 * 64.0 / served.clocks as f64, 29.41, 0.005);
    let served = run(&load("dram-hbm2", &one), Pattern::Random(4 << 30), 65_536, 8, 0.0, false);
    near("random reads of one channel", 65_536.0 * 64.0 / served.clocks as f64, 7.86, 0.02);
    let groups_first = [("dram.address_map", "rochrabacobg")];
    let served = run(&load("dram-ddr4", &groups_first), Pattern::Sequential, 524_288, 1, 0.0, false);
    near("DDR4 with bank groups in the low bits", 524_288.0 * 64.0 / (served.clocks as f64 * 0.63), 24.24, 0.01);
}

/// One bank, row after row: tRC and refresh, nothing else.
#[test]
fn a_single_bank_gives_a_row_a_row_cycle() {
    for (name, stride, requests, gb_s) in [
        ("dram-hbm2", 1 << 18, 20_000, 1.239),
        ("dram-ddr4", 1 << 18, 20_000, 1.31),
        ("dram-lpddr4", 1 << 17, 20_000, 3.13),
    ] {
        let machine = load(name, &[]);
        let memory = machine.dram.memory.clone().unwrap();
        let served = run(&machine, Pattern::Stride(stride), requests, 8, 0.0, false);
        assert_eq!(served.channels.iter().filter(|c| c.activates > 0).count(), 1);
        let gb_s_here =
            requests as f64 * f64::from(memory.burst_bytes) * 1e3 / (served.clocks as f64 * f64::from(memory.tck_ps));
        near(name, gb_s_here, gb_s, 0.01);
    }
}

/// Reads so far apart that nothing queues, each of another row of one bank: precharge, activate, read, burst.
#[test]
fn an_unloaded_read_waits_for_its_commands_only() {
    for (name, row, clocks) in
        [("dram-hbm2", 1u64 << 18, 44.0), ("dram-ddr4", 1 << 18, 70.0), ("dram-lpddr4", 1 << 17, 55.0)]
    {
        let mut traffic = Traffic::new(load(name, &[]).dram.memory.as_ref().unwrap(), false);
        for n in 0..16 {
            traffic.offer(&Request { address: n * row, write: false, clock: n * 200 });
        }
        let latency = traffic.finish().mean_latency();
        assert!((latency - clocks).abs() <= 4.0, "{name}: {latency} for {clocks}");
    }
}

/// A request long after the others costs no more than one.
#[test]
fn idle_time_is_free() {
    let mut traffic = Traffic::new(load("dram-hbm2", &[]).dram.memory.as_ref().unwrap(), false);
    for clock in [0, 1 << 50] {
        traffic.offer(&Request { address: 64, write: false, clock });
    }
    let served = traffic.finish();
    let per_channel = (1u64 << 50) / 3900;
    assert!(served.counts().refreshes.abs_diff(8 * per_channel) <= 8, "every refresh is counted");
}

/// Every pattern, page policy, refresh and standard: stepping each clock finds the same figures.
#[test]
fn stepping_every_clock_changes_nothing() {
    let variants: &[(&str, &[(&str, &str)])] = &[
        ("dram-hbm2", &[]),
        ("dram-hbm2", &[("dram.page", "closed")]),
        ("dram-hbm2", &[("dram.address_map", "robabgracoch"), ("dram.queue", "8"), ("dram.bank_queue", "2")]),
        ("dram-ddr4", &[]),
        ("dram-ddr4", &[("dram.address_map", "chrorabacobg"), ("dram.row_hit_cap", "1")]),
        ("dram-lpddr4", &[("dram.page", "closed"), ("dram.refresh", "off")]),
        ("hbm", &[("dram.standard", "HBM3")]),
        ("hbm", &[("dram.standard", "HBM3"), ("dram.refresh", "per_bank")]),
        ("edge", &[("dram.standard", "LPDDR5"), ("dram.refresh", "per_bank")]),
        ("edge", &[("dram.standard", "DDR3")]),
    ];
    let patterns = [
        (Pattern::Sequential, 0.0),
        (Pattern::Sequential, 0.3),
        (Pattern::Stride(4096 + 192), 0.5),
        (Pattern::Random(1 << 14), 0.5),
        (Pattern::Random(1 << 26), 0.4),
        (Pattern::Copy, 0.0),
    ];
    for (name, sets) in variants {
        let machine = load(name, sets);
        let sparse = [false, true].map(|step| {
            let mut traffic = Traffic::new(machine.dram.memory.as_ref().unwrap(), step);
            (0..4u64).for_each(|n| traffic.offer(&Request { address: n << 13, write: false, clock: n * n * 30_001 }));
            traffic.finish()
        });
        assert_eq!(sparse[0], sparse[1], "{name} {sets:?}: seldom");
        for (pattern, writes) in patterns {
            for issue in [1, 3, 8] {
                let fast = run(&machine, pattern, 3000, issue, writes, false);
                let slow = run(&machine, pattern, 3000, issue, writes, true);
                assert_eq!(fast, slow, "{name} {sets:?} {pattern:?} {writes} {issue}");
                let counts = fast.counts();
                assert!(counts.activates >= counts.precharges && counts.bus_clocks > 0);
            }
        }
    }
}

/// The best that a stream of each standard can do, from its figures: the peak less refresh. DDR4's map keeps a row in one
/// bank group, which costs it a third; two ranks hide some of each other's refreshes.
#[test]
fn streams_of_every_standard_come_near_their_peak() {
    for (name, standard, low) in [
        ("hbm", "HBM2", 0.97),
        ("hbm", "HBM3", 0.97),
        ("edge", "LPDDR4", 0.97),
        ("edge", "LPDDR5", 0.96),
        ("edge", "DDR4", 0.66),
        ("edge", "DDR3", 0.97),
    ] {
        let machine = load(name, &[("dram.standard", standard), ("dram.bytes", "1073741824")]);
        let memory = machine.dram.memory.clone().unwrap();
        let requests = 200_000u64;
        let served = run(&machine, Pattern::Sequential, requests, 64, 0.0, false);
        let t = &memory.timing;
        let refresh = 1.0 - f64::from(t.rfc) / f64::from(t.refi);
        let clocks = requests as f64 * f64::from(t.burst) / f64::from(memory.channels) / refresh;
        let share = clocks / served.clocks as f64;
        assert!((low..1.05).contains(&share), "{standard}: {share} of {clocks} clocks");
    }
}

fn transfer(machine: &Machine, parts: &[(Strided, bool)], step: bool) -> Vec<preon::sim::dram::Done> {
    let mut dram = Dram::stepping(machine, step);
    for (id, (strided, write)) in (0..).zip(parts) {
        dram.start(id, id * 7, strided, *write);
    }
    std::iter::from_fn(|| dram.advance(u64::MAX)).collect()
}

/// A transfer of 64 MiB takes what the reference's stream takes.
#[test]
fn a_transfer_streams_as_the_reference_does() {
    for (name, cycles) in
        [("dram-hbm2", 284_539.0), ("dram-ddr4", 6_312_360.0 * 0.63), ("dram-lpddr4", 4_429_811.0 * 0.83)]
    {
        let machine = load(name, &[]);
        let done = transfer(&machine, &[(Strided::contiguous(0, 64 << 20), false)], false);
        near(name, done[0].end_cycle as f64, cycles, 0.005);
        assert_eq!(done[0].bursts, (64 << 20) / u64::from(machine.dram.burst_bytes));
        assert!(done[0].activates + done[0].row_hits >= done[0].bursts);
    }
}

/// Transfers end in order of time; asking in small steps, or stepping every clock, gives the same ends.
#[test]
fn transfers_do_not_depend_on_how_time_is_asked_for() {
    let wide =
        |address, write| (Strided { address, run_bytes: 320, levels: [(3, 1 << 20), (5, 4096), (7, 512)] }, write);
    let parts = [
        wide(0, false),
        (Strided::contiguous(1 << 22, 40_000), true),
        wide(1 << 24, true),
        (Strided::contiguous(100, 1), false),
        (Strided { address: 0, run_bytes: 64, levels: [(0, 0), (1, 0), (1, 0)] }, false),
    ];
    for (name, sets) in [
        ("dram-hbm2", vec![]),
        ("dram-lpddr4", vec![]),
        ("dram-ddr4", vec![("dma.outstanding_bursts", "16"), ("dram.crossing_in", "3"), ("dram.crossing_out", "5")]),
    ] {
        let machine = load(name, &sets);
        let whole = transfer(&machine, &parts, false);
        assert_eq!(whole.len(), parts.len());
        assert!(whole.windows(2).all(|pair| pair[0].end_cycle <= pair[1].end_cycle));
        assert_eq!(whole, transfer(&machine, &parts, true), "{name}: stepped");
        let mut dram = Dram::new(&machine);
        let (mut ends, mut next) = (Vec::new(), 0);
        for before in (0..).step_by(13) {
            while next < parts.len() && next as u64 * 7 < before {
                dram.start(next as u64, next as u64 * 7, &parts[next].0, parts[next].1);
                next += 1;
            }
            ends.extend(std::iter::from_fn(|| dram.advance(before)));
            if ends.len() == parts.len() {
                break;
            }
        }
        let sorted = |mut all: Vec<preon::sim::dram::Done>| {
            all.sort_by_key(|done| done.id);
            all.iter().map(|done| (done.id, done.bursts)).collect::<Vec<_>>()
        };
        assert_eq!(sorted(ends), sorted(whole), "{name}");
    }
}

/// Numbers of a case, by SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    /// Queues, caps and policies of a controller, most often the machine's own.
    fn controller(&mut self, memory: &mut Memory) {
        if self.below(3) == 0 {
            memory.queue = self.of(&[1, 2, 8, 32, 64]);
            memory.bank_queue = self.of(&[1, 2, 8, 16]);
            memory.row_hit_cap = self.of(&[0, 1, 4, 64]);
            memory.dual_command = self.below(2) == 0;
        }
        if self.below(5) == 0 {
            memory.page = Page::Closed;
        }
        if self.below(4) == 0 {
            memory.refresh = Refresh::None;
        }
        memory.issue = self.of(&[1, 2, 8, 16]);
        memory.outstanding = self.of(&[4, 64, 1024, 1024]);
    }
    /// Bursts between two runs of a stream: next to each other, or a power of two or anything apart.
    fn stride(&mut self) -> u64 {
        match self.below(3) {
            0 => 1,
            1 => 1 << self.below(14),
            _ => 1 + self.below(400),
        }
    }
}

/// The standards with their own maps and with others that put other fields lowest.
fn memories() -> Vec<Machine> {
    [
        ("dram-hbm2", "", ""),
        ("dram-hbm2", "", "rorabacobgch"),
        ("dram-hbm2", "", "robabgracoch"),
        ("dram-hbm2", "", "chrobabgraco"),
        ("hbm", "", ""),
        ("hbm", "HBM3", "rorabacobgchpc"),
        ("hbm", "HBM3", "rorabgbachpcco"),
        ("onnxim-like", "", ""),
        ("dram-ddr4", "", ""),
        ("dram-ddr4", "", "rochrabacobg"),
        ("dram-ddr4", "", "robabgcochra"),
        ("edge", "DDR3", ""),
        ("dram-lpddr4", "", ""),
        ("dram-lpddr4", "", "rochrabacobg"),
        ("edge", "LPDDR5", ""),
    ]
    .map(|(name, standard, map)| {
        let sets = [("dram.standard", standard), ("dram.address_map", map)];
        load(name, &sets.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
    })
    .to_vec()
}

/// `PREON_CASES` cases, one of every memory without it.
fn cases(memories: usize) -> u64 {
    std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(3 * memories as u64)
}

/// A few streams, each of its own stride and kind, take turns in pieces: run issue and stepping find the same figures.
#[test]
fn streams_that_take_turns_are_as_stepped() {
    let machines = memories();
    for case in 0..cases(machines.len()) {
        let mut draw = Draw(case);
        let mut memory = machines[case as usize % machines.len()].dram.memory.clone().unwrap();
        draw.controller(&mut memory);
        let burst = u64::from(memory.burst_bytes);
        let mut streams: Vec<(u64, u64, bool)> =
            (0..1 + draw.below(4)).map(|_| (draw.below(1 << 20), draw.stride(), draw.below(3) == 0)).collect();
        let mut requests = Vec::new();
        while requests.len() < 2500 {
            let at = draw.below(streams.len() as u64) as usize;
            let (next, stride, write) = &mut streams[at];
            let clock = if draw.below(12) == 0 { requests.len() as u64 * draw.below(16) } else { 0 };
            for _ in 0..1 + draw.below(80) {
                requests.push(Request { address: *next * burst, write: *write, clock });
                *next += *stride;
            }
        }
        let served = [false, true].map(|step| {
            let mut traffic = Traffic::new(&memory, step);
            requests.iter().for_each(|request| traffic.offer(request));
            traffic.finish()
        });
        assert_eq!(served[0], served[1], "case {case}: {memory:?}");
    }
}

/// Strided transfers of several engines: run issue and stepping find the same ends and the same commands, and so does a
/// caller that asks for time in small pieces.
#[test]
fn strided_transfers_are_as_stepped() {
    let machines = memories();
    for case in 0..cases(machines.len()) {
        let mut draw = Draw(!case);
        let mut machine = machines[case as usize % machines.len()].clone();
        machine.dram.model = machine::DramModel::Cycle;
        draw.controller(machine.dram.memory.as_mut().unwrap());
        let mut at = 0;
        let parts: Vec<(u64, Strided, bool)> = (0..2 + draw.below(6))
            .map(|_| {
                at += draw.of(&[0, 1, 40, 500, 3000]);
                let aligned = draw.below(2) == 0;
                let run_bytes =
                    if aligned { 512 << draw.below(4) } else { draw.of(&[1, 32, 64, 128, 320, 2048, 5000]) };
                let pitch = if aligned { 512 * (1 + draw.below(9)) } else { draw.stride() * 64 };
                let pitch = pitch.cast_signed();
                let strided = Strided {
                    address: if aligned { draw.below(1 << 8) << 12 } else { draw.below(1 << 24) },
                    run_bytes,
                    levels: [(1 + draw.below(3), 1 << 20), (1 + draw.below(5), 8192), (1 + draw.below(24), pitch)],
                };
                (at, strided, draw.below(3) == 0)
            })
            .collect();
        let run = |step: bool, piece: u64| {
            let mut dram = Dram::stepping(&machine, step);
            let (mut ends, mut next, mut before) = (Vec::new(), 0, 0);
            while ends.len() < parts.len() {
                before = if piece == 0 { u64::MAX } else { before + piece };
                while next < parts.len() && parts[next].0 < before {
                    dram.start(next as u64, parts[next].0, &parts[next].1, parts[next].2);
                    next += 1;
                }
                ends.extend(std::iter::from_fn(|| dram.advance(before)));
            }
            let last = ends.iter().map(|done| done.end_cycle).max().unwrap();
            (ends, dram.totals(last + 20_000))
        };
        let (fast, slow) = (run(false, 0), run(true, 0));
        assert_eq!(fast, slow, "case {case}: {:?}", machine.dram.memory);
        let ends = |run: &(Vec<preon::sim::dram::Done>, _)| {
            let mut ends: Vec<_> = run.0.iter().map(|done| (done.id, done.end_cycle, done.bursts)).collect();
            ends.sort_unstable();
            ends
        };
        let pieces = run(false, 1 + draw.below(30));
        assert_eq!(ends(&fast), ends(&pieces), "case {case}: in pieces, {:?}", machine.dram.memory);
    }
}

/// Short transfers of the same few bytes, each started when the one before is over, as a program that waits does: reads of what
/// waits to be written end at once, and nothing may have been decided beyond such an end.
#[test]
fn transfers_that_wait_for_each_other_are_as_stepped() {
    let machines = memories();
    for case in 0..cases(machines.len()) {
        let mut draw = Draw(!case);
        let machine = &machines[case as usize % machines.len()];
        let parts: Vec<(u64, Strided, bool)> = (0..12)
            .map(|_| {
                let gap = draw.of(&[0, 0, 1, 2, 30]);
                let strided = Strided::contiguous(draw.below(8) * 64, draw.of(&[64, 128, 256, 1024]));
                (gap, strided, draw.below(2) == 0)
            })
            .collect();
        let run = |step: bool| {
            let mut dram = Dram::stepping(machine, step);
            let mut at = 100;
            let mut ends = Vec::new();
            for (id, (gap, strided, write)) in (0..).zip(&parts) {
                dram.start(id, at + gap, strided, *write);
                let done = match step {
                    true => (at + gap + 1..).find_map(|before| dram.advance(before)),
                    false => dram.advance(u64::MAX),
                };
                ends.extend(done);
                at = ends.last().expect("it ends").end_cycle;
            }
            (ends, dram.totals(at + 5000))
        };
        assert_eq!(run(false), run(true), "case {case}: {:?}", machine.dram.memory);
    }
}

/// After a rest, the same transfers take the same time, whatever came before.
#[test]
fn a_rest_forgets_what_came_before() {
    for name in ["dram-hbm2", "dram-ddr4", "dram-lpddr4"] {
        let machine = load(name, &[]);
        let after = |before: u64| {
            let mut dram = Dram::new(&machine);
            dram.start(0, 5, &Strided::contiguous(4096, before), true);
            let end = dram.advance(u64::MAX).unwrap().end_cycle;
            let rest = dram.quiesce(end);
            assert!(rest > end, "{name}: drains, closes and refreshes");
            let totals = dram.totals(rest);
            assert_eq!(totals.counts.writes + totals.counts.forwarded, before / u64::from(machine.dram.burst_bytes));
            assert_eq!(totals.counts.activates, totals.counts.precharges);
            dram.start(1, rest + 3, &Strided::contiguous(1 << 20, 1 << 20), false);
            let done = dram.advance(u64::MAX).unwrap();
            (done.end_cycle - rest, done.activates, done.row_hits)
        };
        let first = after(1 << 12);
        assert_eq!(first, after(1 << 18), "{name}");
        assert_eq!(first, after(12 << 12), "{name}");
    }
}

/// The other two models answer as their words say.
#[test]
fn bandwidth_and_ideal_are_first_come_and_free() {
    let machine = load("edge", &[("dram.model", "bandwidth")]);
    let mut dram = Dram::new(&machine);
    let cycles = |bytes, runs| machine.dram_cycles(bytes, runs);
    dram.start(7, 100, &Strided::contiguous(0, 1000), false);
    dram.start(8, 50, &Strided { address: 0, run_bytes: 100, levels: [(1, 0), (1, 0), (3, 4096)] }, true);
    assert_eq!(dram.advance(100), None);
    let first = dram.advance(u64::MAX).unwrap();
    assert_eq!((first.id, first.end_cycle), (7, 100 + cycles(1000, 1)));
    let second = dram.advance(u64::MAX).unwrap();
    assert_eq!((second.id, second.end_cycle), (8, first.end_cycle + cycles(300, 3)));
    let mut free = Dram::new(&load("edge", &[("dram.model", "ideal")]));
    free.start(1, 40, &Strided::contiguous(0, 1 << 30), false);
    assert_eq!(free.advance(41).unwrap().end_cycle, 40);
    assert_eq!(free.advance(u64::MAX), None);
}

/// `PREON_BLESS=1 cargo test --test dram` writes the table into the page.
#[test]
fn the_page_lists_every_standard() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dram.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- standards: generated -->\n", "<!-- end of standards -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (table, tail) = rest.split_once(end).unwrap();
    let wanted = machine::dram::standards_table();
    if std::env::var_os("PREON_BLESS").is_some() {
        return std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
    }
    assert_eq!(table, wanted, "docs/dram.md is out of date: run PREON_BLESS=1 cargo test --test dram");
}
