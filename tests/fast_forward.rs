//! Time that is jumped over is time that was stepped through: random programs, on one core and on several, with every model
//! of DRAM, take the same cycles, counts and joules either way. (Layers of workloads: `tests/workloads.rs`.)

use preon::exec::{Config, Cores, Event, Mode, Status, Vm};
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble};
use preon::machine::{self, Machine};
use preon::sim::{self, Estimate, Ledger, Sim, Timing, several, several_stepping};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicU64, Ordering};

#[path = "support/programs.rs"]
mod programs;

/// `PREON_CASES` programs: 1,000 are asked for, a hundredth of them every day.
fn cases() -> u64 {
    std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Machines of different memories, queues and engines.
fn machine(rng: &mut ChaCha8Rng) -> Machine {
    let mut one_of = |values: &[&str]| values[rng.random_range(0..values.len())].to_owned();
    let name = one_of(&["edge", "hbm"]);
    let sets = [
        ("dram.model", one_of(&["cycle", "cycle", "cycle", "bandwidth", "ideal"])),
        ("dma.engines", one_of(&["1", "2", "4"])),
        ("dma.queue", one_of(&["1", "3", "8"])),
        ("core.issue_per_cycle", one_of(&["1", "2"])),
        ("core.order_entries", one_of(&["4", "16", "64"])),
        ("machine.clock_hz", one_of(&["1e9", "0.7e9", "2.3e9"])),
        ("dram.refresh", one_of(&["all_bank", "off"])),
        ("dram.queue", one_of(&["4", "32"])),
        ("dram.page", one_of(&["open", "open", "closed"])),
    ];
    let sets: Vec<(String, String)> = sets.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    machine::load_with(&name, &sets).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn object(text: &str) -> Object {
    assemble(&Sources::single("random.vasm", text), &Options::default())
        .unwrap_or_else(|errors| panic!("{}\n{text}", errors[0].render(false)))
}

/// Cycles of every core, and the counts of all.
type Books = (Vec<Timing>, Ledger);
/// Passes of loops that were passed over, in all.
static PASSES: AtomicU64 = AtomicU64::new(0);

fn alone(machine: &Machine, object: &Object, step: bool) -> Books {
    let config = Config { fuel: Some(10_000_000), ..Config::of(machine) };
    let mut vm = Vm::new(object.clone(), config, Mode::TimingOnly).expect("a program that fits");
    let (mut sim, mut event) = (Sim::stepping(machine, 1, step), Event::new());
    if !step {
        let passes = sim::run(&mut vm, &mut sim).unwrap_or_else(|trap| panic!("{trap}"));
        PASSES.fetch_add(passes, Ordering::Relaxed);
        let outcome = sim.finish().expect("the machine serves all");
        return (vec![outcome.timing], outcome.ledger);
    }
    loop {
        let status = vm.step(&mut event).unwrap_or_else(|trap| panic!("{trap}"));
        sim.account(&event);
        if status == Status::Halted {
            let outcome = sim.finish().expect("the machine serves all");
            return (vec![outcome.timing], outcome.ledger);
        }
    }
}

fn together(machine: &Machine, object: &Object, cores: u32, step: bool) -> Books {
    let config = Config { cores, fuel: Some(10_000_000), ..Config::of(machine) };
    let mut cores = Cores::new(object.clone(), config, Mode::TimingOnly).expect("a program that fits");
    let run = if step { several_stepping } else { several };
    let several = run(machine, 1, &mut cores).unwrap_or_else(|error| panic!("{}", error.render(false)));
    (several.cores, several.ledger)
}

#[test]
fn random_programs_take_what_they_take_step_by_step() {
    let (mut cycles, mut instructions, mut transfers) = (0, 0, 0);
    for seed in 0..cases() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let machine = machine(&mut rng);
        let cores = [1, 1, 2, 4, 3][rng.random_range(0..5)];
        let text = programs::program(seed, cores, machine.shared().is_some());
        let object = object(&text);
        let run = |step| match cores {
            1 => alone(&machine, &object, step),
            _ => together(&machine, &object, cores, step),
        };
        let (fast, stepped) = (run(false), run(true));
        let place = format!("seed {seed}, {cores} cores, {} {:?}\n{text}", machine.name, machine.dram.model);
        assert_eq!(fast.0, stepped.0, "{place}");
        assert_eq!(fast.1, stepped.1, "{place}");
        for estimate in [Estimate::Low, Estimate::Typical, Estimate::High] {
            let total = |books: &Books| books.1.energy(&machine).expect("everything has a price").total(estimate);
            assert_eq!(total(&fast), total(&stepped), "{place}");
        }
        for core in &fast.0 {
            for unit in &core.units {
                assert_eq!(unit.busy_cycles + unit.stalled() + unit.idle_cycles, core.cycles, "{place}");
            }
            assert_eq!(core.spent().iter().sum::<u64>(), core.cycles, "{place}");
            instructions += core.instructions;
            transfers += core.units[5].instructions;
        }
        cycles += fast.0[0].cycles;
    }
    // What is compared is no idle talk.
    let (cases, passes) = (cases(), PASSES.load(Ordering::Relaxed));
    assert!(
        cycles > 1000 * cases && instructions > 50 * cases && transfers > 5 * cases && passes > cases,
        "{cycles} {instructions} {transfers} {passes}"
    );
}

/// Passes whose rows leave the tile are run, and trap where they do: upwards, downwards, by steps that are larger than a row.
#[test]
fn a_loop_that_leaves_its_tile_traps_there() {
    let machine = machine::load("edge").unwrap();
    for (row, step, passes) in [(0, 1, 64), (40, 5, 5), (63, -3, 22), (7, 0, 500), (0, 64, 1), (0, 1_i64 << 40, 1)] {
        let program = |passes: u32| {
            object(&format!(
                ".fmt f1=ternary, f2=int8\n setacc c0, exact\n li x4, 16\n li x5, 64\n setmac x14, x4, x5, f1, f2\n
                 li x15, {row}\n li x6, {step}\n li x8, {passes}\n
                 loop x8, end\n mac c0[x15], v1, v2, f1, f2\n add x15, x15, x6\nend: endl\n halt\n"
            ))
        };
        let trap = |fast: bool, passes: u32| {
            let mut vm = Vm::new(program(passes), Config::of(&machine), Mode::TimingOnly).expect("a program");
            let (mut sim, mut event) = (Sim::new(&machine, 1), Event::new());
            let done =
                if fast { sim::run(&mut vm, &mut sim).map(drop) } else { loop_of(&mut vm, &mut sim, &mut event) };
            (done.map_err(|trap| trap.to_string()), vm.x(15), sim.cycles())
        };
        let whole = trap(true, passes);
        assert_eq!((&whole, whole.0.is_ok()), (&trap(false, passes), true), "{row} {step}");
        if step != 0 {
            let beyond = trap(true, passes + 9);
            assert_eq!((&beyond, beyond.0.is_err()), (&trap(false, passes + 9), true), "{row} {step}");
        }
    }
}

fn loop_of(vm: &mut Vm, sim: &mut Sim, event: &mut Event) -> preon::exec::Result<()> {
    while vm.step(event)? != Status::Halted {
        sim.account(event);
    }
    sim.account(event);
    Ok(())
}

/// A loop that is entered again, where its store now lies where the next pass loads: what was known of it says nothing.
#[test]
fn a_loop_whose_accesses_meet_the_second_time_is_not_taken_for_known() {
    let machine = machine::load_with("edge", &[]).unwrap();
    for (far, near) in [(65_536, 128), (128, 65_536), (65_536, 0), (65_536, 256)] {
        let text = format!(
            "li x3, 1 << 60\n .fmt f3=fp32\n li x4, 32\n setvl x0, x4, f3, f3\n li x5, 2\n li x6, {far}\n li x7, {near}\n
             loop x5, outer\n mv x26, x3\n add x27, x3, x6\n li x8, 40\n
             loop x8, inner\n ld.bp v1, 0(x26)+, f3\n addv v2, v3, v4\n st.bp v5, 0(x27)+, f3\ninner: endl\n
             mv x6, x7\n epoch\nouter: endl\n halt\n"
        );
        let object = object(&text);
        let (fast, stepped) = (alone(&machine, &object, false), alone(&machine, &object, true));
        assert_eq!((&fast.0, &fast.1), (&stepped.0, &stepped.1), "{far}, then {near}");
    }
}
