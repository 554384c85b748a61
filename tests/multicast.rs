//! Cores that share a mask and scales read them from DRAM once: `dma.mc` against private copies, in cycles, bytes and
//! commands, where DRAM is a channel of stated bandwidth and where it is all its commands.

use preon::exec::{Config, Cores, Mode};
use preon::isa::asm::{Options, Sources, assemble};
use preon::machine::{self, Machine};
use preon::sim::{Cause, Estimate, Place, Several, What, several, several_stepping};

/// Bytes that all want: a mask and scales.
const BYTES: u64 = 65_536;

fn machine(name: &str, model: &str, more: &[(&str, &str)]) -> Machine {
    let sets = [&[("dram.model", model)], more].concat();
    let sets: Vec<(String, String)> = sets.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    machine::load_with(name, &sets).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

/// Both models of DRAM; without refresh, which falls into one run and not into another.
fn both() -> [Machine; 2] {
    [machine("edge", "bandwidth", &[]), machine("edge", "cycle", &[("dram.refresh", "off")])]
}

/// x1 = core, x3 = SRAM, x6 = 64 KiB, x7 = a place of DRAM, x9 = everybody, x11 = the two that this core is one of. The clock by
/// the fast way and step by step.
fn run(machine: &Machine, text: &str, cores: u32) -> Several {
    let head = "csr x1, core; li x3, 1 << 60; li x6, 65536; li x7, 1 << 20; li x9, -1
        and x11, x1, -2; li x12, 3; sll x11, x12, x11\n";
    let object = assemble(&Sources::single("mc.vasm", format!("{head}{text}\nhalt\n")), &Options::default());
    let object = object.unwrap_or_else(|errors| panic!("{}", errors[0].render(false)));
    let config = Config { cores, fuel: Some(1_000_000), ..Config::of(machine) };
    let new = || Cores::new(object.clone(), config.clone(), Mode::Functional).expect("a program that fits");
    let fast = several(machine, 0, &mut new()).unwrap_or_else(|error| panic!("{}\n{text}", error.render(false)));
    let stepped = several_stepping(machine, 0, &mut new()).expect("the same program");
    assert_eq!((&fast.cores, &fast.ledger), (&stepped.cores, &stepped.ledger), "{text}");
    for core in &fast.cores {
        for unit in &core.units {
            assert_eq!(unit.busy_cycles + unit.stalled() + unit.idle_cycles, fast.cycles(), "{text}");
        }
        assert_eq!(core.spent().iter().sum::<u64>(), fast.cycles(), "{text}");
    }
    fast
}

fn read(run: &Several) -> u64 {
    run.ledger.bytes(Place::Dram).0
}

fn written(run: &Several) -> u64 {
    run.ledger.bytes(Place::Own).1
}

fn way(machine: &Machine) -> u64 {
    machine.noc.expect("a network").latency_cycles.into()
}

const PRIVATE: &str = "dma.ld t0, x3, x7, x6; dma.wait t0, 0";
const TOGETHER: &str = "dma.mc t0, x3, x7, x6, x9; dma.wait t0, 0";

#[test]
fn what_four_cores_share_is_read_once() {
    for machine in both() {
        let model = machine.dram.model;
        let (alone, private, together) =
            (run(&machine, PRIVATE, 1), run(&machine, PRIVATE, 4), run(&machine, TOGETHER, 4));
        assert_eq!((read(&alone), read(&private), read(&together)), (BYTES, 4 * BYTES, BYTES), "{model:?}");
        assert_eq!((written(&private), written(&together)), (4 * BYTES, 4 * BYTES), "{model:?}");
        // The members meet a way after the last came, and the bytes pass the network once: as long as one copy, and two ways.
        let ways = 2 * way(&machine);
        let one = alone.cycles();
        assert!(together.cycles().abs_diff(one + ways) <= 4, "{model:?}: {} against {one} + {ways}", together.cycles());
        // The channel is all that four private copies share: three more of them are three more streams.
        let stream = alone.cores[0].dram.busy_cycles;
        assert!(
            private.cycles() + 4 >= one + 3 * stream && private.cycles() <= 4 * one,
            "{model:?}: {}",
            private.cycles()
        );
        assert!(together.cycles() * 3 < private.cycles(), "{model:?}: {} {}", together.cycles(), private.cycles());
        assert_eq!(together.cores[0].dram.busy_cycles, stream, "{model:?}");
        let count = |what| together.ledger.count(|key| key.what == what);
        assert_eq!((count(What::NocBytes), count(What::DmaBytes)), (4 * BYTES, 4 * BYTES), "every member gets them");
        let energy = |run: &Several| run.ledger.energy(&machine).unwrap();
        assert!(energy(&together).total(Estimate::Typical) < energy(&private).total(Estimate::Typical), "{model:?}");
        let noc = energy(&together).sum(Estimate::Typical, |row| row.price_key == "core.noc");
        assert_eq!(noc, i128::from(4 * BYTES) * machine.price("core.noc").unwrap().attojoule[1]);
        // All members have the bytes in the same cycle.
        let waits = |core: usize| together.cores[core].units[0].stall_cycles[Cause::Wait as usize];
        assert!((1..4).all(|core| waits(core) == waits(0)), "{model:?}");
    }
}

#[test]
fn its_commands_are_those_of_one_copy() {
    for name in ["edge", "hbm"] {
        let machine = machine(name, "cycle", &[]);
        let (alone, private, together) =
            (run(&machine, PRIVATE, 1), run(&machine, PRIVATE, 4), run(&machine, TOGETHER, 4));
        let counts = |run: &Several| run.cores[0].dram.counts;
        let bursts = BYTES / u64::from(machine.dram.memory.as_ref().unwrap().burst_bytes);
        assert_eq!(counts(&together).reads, bursts, "{name}");
        assert_eq!(counts(&private).reads + counts(&private).forwarded, 4 * bursts, "{name}");
        assert_eq!(counts(&together).activates, counts(&alone).activates, "{name}");
        assert!(counts(&private).activates >= counts(&alone).activates, "{name}");
        assert_eq!(counts(&together).writes, 0);
        // Every row that is opened has an owner, and is paid once.
        let owned: u64 = together.cores.iter().flat_map(|core| &core.activates).sum();
        assert_eq!(owned, counts(&together).activates, "{name}");
        assert_eq!(together.ledger.count(|key| key.what == What::Activate), owned, "{name}");
        assert_eq!(together.cores[1].activates.iter().sum::<u64>(), 0, "{name}: the first member reads");
    }
}

#[test]
fn a_member_that_comes_late_is_waited_for() {
    for machine in both() {
        let on_time = run(&machine, TOGETHER, 4).cycles();
        for (core, late) in [(0, 1), (0, 300), (2, 300), (3, 5)] {
            let nops = "nop; ".repeat(late);
            let text = format!("li x5, {core}; bne x1, x5, go; {nops} go: {TOGETHER}");
            let run = run(&machine, &text, 4);
            // Two words to find out, which the late one goes through in time too.
            let more = run.cycles() - on_time;
            assert!(more.abs_diff(late as u64 + 2) <= 4, "{:?}: core {core}: {more}", machine.dram.model);
            let waited = run.cores[(core + 1) % 4].units[0].stall_cycles[Cause::Sync as usize];
            assert_eq!(waited, late as u64 + way(&machine), "{:?}: core {core}", machine.dram.model);
            let last = run.cores[core].units[0].stall_cycles[Cause::Sync as usize];
            assert_eq!((last, read(&run)), (way(&machine), BYTES));
        }
    }
}

#[test]
fn a_member_whose_older_transfer_is_under_way_comes_when_it_is_over() {
    for machine in both() {
        let older = "li x8, 1 << 22; li x13, 1 << 18; add x13, x13, x3";
        let busy = format!("{older}; bne x1, x0, go; dma.ld t1, x13, x8, x6; go: {TOGETHER}");
        let (alone, after) = (run(&machine, PRIVATE, 1), run(&machine, &busy, 2));
        let stream = alone.cores[0].dram.busy_cycles;
        assert_eq!(read(&after), 2 * BYTES);
        // Two engines: where the channel keeps order both are at work together, but not twice as fast as the channel.
        assert!(after.cycles() >= 2 * stream, "{:?}: {}", machine.dram.model, after.cycles());
        assert!(after.cycles() <= 2 * alone.cycles() + 2 * way(&machine) + 8, "{:?}", machine.dram.model);
        // Bytes of the older one on the way to where the collective one writes: in order.
        let same = busy.replace("add x13, x13, x3", "add x13, x3, 0");
        assert!(run(&machine, &same, 2).cycles() >= after.cycles(), "{:?}", machine.dram.model);
    }
}

#[test]
fn two_groups_of_two_read_twice_and_do_not_wait_for_each_other() {
    let two = "dma.mc t0, x3, x7, x6, x11; dma.wait t0, 0";
    for machine in both() {
        let (one, both) = (run(&machine, two, 2), run(&machine, two, 4));
        assert_eq!((read(&one), read(&both)), (BYTES, 2 * BYTES));
        assert_eq!((written(&one), written(&both)), (2 * BYTES, 4 * BYTES));
        let stream = one.cores[0].dram.busy_cycles;
        let more = both.cycles() - one.cycles();
        assert!(more <= stream + stream / 20 && more >= stream / 2, "{:?}: {more} {stream}", machine.dram.model);
        // The second pair comes a thousand cycles later; the first is not held up.
        let nops = "nop; ".repeat(1000);
        let late = format!("li x5, 2; bge x1, x5, slow; j go; slow: {nops} go: {two}");
        let waits = |run: &Several, core: usize| run.cores[core].units[0].stall_cycles[Cause::Sync as usize];
        let late = run(&machine, &late, 4);
        for core in 0..4 {
            assert_eq!(waits(&late, core), way(&machine), "{:?}: core {core}", machine.dram.model);
        }
        // Core 0 takes part in one group after the other.
        let chain = "li x5, 3; li x8, 5; li x13, 1; beq x1, x13, first; li x13, 2; beq x1, x13, second
            dma.mc t0, x3, x7, x6, x5; dma.mc t1, x3, x7, x6, x8; j end
            first: dma.mc t0, x3, x7, x6, x5; j end
            second: dma.mc t1, x3, x7, x6, x8
            end: dma.wait t0, 0; dma.wait t1, 0";
        let chain = run(&machine, chain, 3);
        assert_eq!((read(&chain), written(&chain)), (2 * BYTES, 4 * BYTES));
        assert!(chain.cycles() >= 2 * stream, "{:?}", machine.dram.model);
    }
}

#[test]
fn a_barrier_does_not_wait_for_bytes_on_their_way() {
    for machine in both() {
        let quiet = run(&machine, TOGETHER, 4);
        let barrier = run(&machine, "dma.mc t0, x3, x7, x6, x9; bar -1; dma.wait t0, 0", 4);
        let more = barrier.cycles().abs_diff(quiet.cycles());
        assert!(more <= 2, "{:?}: the barrier is passed while the bytes come: {more}", machine.dram.model);
        let after = run(&machine, "dma.mc t0, x3, x7, x6, x9; dma.wait t0, 0; bar -1", 4);
        assert!(after.cycles() >= quiet.cycles() + way(&machine), "{:?}", machine.dram.model);
        // A load of the bytes waits for them, and a barrier for the load.
        let used = "li x5, 32; setvl x0, x5, f2, f2; dma.mc t0, x3, x7, x6, x9; ld.bp v1, 0(x3), f2; bar -1";
        let used = run(&machine, &format!(".fmt f1=int8, f2=fp32\n{used}"), 4);
        assert!(used.cycles() >= quiet.cycles() + way(&machine), "{:?}", machine.dram.model);
        let held = |core: usize| used.cores[core].units[1].stall_cycles[Cause::Order as usize];
        assert!(held(0) + 100 > quiet.cycles() && held(3) == held(0), "{:?}: {}", machine.dram.model, held(0));
    }
}

#[test]
fn what_follows_on_a_member_waits_for_its_engine() {
    // One engine: it is a member's until the bytes are there, whoever reads them.
    for machine in ["bandwidth", "cycle"].map(|model| machine("hbm", model, &[("dma.engines", "1")])) {
        let next = "li x8, 1 << 22; li x13, 1 << 18; add x13, x13, x3; li x5, 64";
        let text = format!("{next}; dma.mc t0, x3, x7, x6, x9; dma.ld t1, x13, x8, x5; dma.wait t1, 0");
        let (alone, both) = (run(&machine, TOGETHER, 2), run(&machine, &text, 2));
        assert!(both.cycles() > alone.cycles(), "{:?}: {} {}", machine.dram.model, both.cycles(), alone.cycles());
        assert_eq!(read(&both), BYTES + 2 * 64);
    }
}

#[test]
fn a_source_on_chip_takes_no_command() {
    for model in ["bandwidth", "cycle"] {
        let machine = machine("hbm", model, &[]);
        let own = "li x8, 2 << 60; dma.st t1, x8, x3, x6; dma.wait t1, 0; bar -1";
        let text = format!("bne x1, x0, go; {own}; j read; go: bar -1; read: li x7, 2 << 60; {TOGETHER}");
        let run = run(&machine, &text, 4);
        assert_eq!((read(&run), run.ledger.bytes(Place::Shared)), (0, (BYTES, BYTES)), "{model}");
        assert_eq!(written(&run), 4 * BYTES, "{model}");
        assert!(run.cores[0].dram.counts.reads == 0 && run.cores[0].shared_busy_cycles > 0, "{model}");
    }
}
