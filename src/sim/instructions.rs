//! Timing tests of every instruction from both sides: what depends on its result does not start a cycle before the time
//! that [`super::law`] states, and starts in that very cycle.
//!
//! Producers are the examples of the instruction table. What their results are, and who uses them, follows from the event
//! of the example alone, so a new row is tested without a line here; a row without any observable time fails.

use super::law::{Cost, cost};
use super::observe::{Observer, Times};
use super::*;
use crate::exec::event::{RegSet, Space, Work};
use crate::exec::{Config, Mode, Status, Vm};
use crate::isa::asm::{Options, Sources, assemble};
use crate::isa::table::{EXAMPLES, ROWS, Row};
use crate::isa::{Op, Unit};
use crate::machine;

#[derive(Default)]
struct Records(Vec<(Event, Times)>);

impl Observer for Records {
    const WANTED: bool = true;
    fn record(&mut self, event: &Event, times: &Times) {
        self.0.push((*event, *times));
    }
}

/// Two machines, whose registers hold what the examples load, and one on which no two latencies are the same; DRAM has
/// closed forms.
fn machines() -> Vec<Machine> {
    let plain = ("dram.model".to_owned(), "bandwidth".to_owned());
    let load = |name: &&str| machine::load_with(name, std::slice::from_ref(&plain)).unwrap();
    let mut all: Vec<Machine> = ["edge", "hbm"].iter().map(load).collect();
    let sets = [
        ("dram.model", "bandwidth"),
        ("core.scalar_latency", "3"),
        ("core.control_latency", "7"),
        ("unit.L.latency", "11"),
        ("unit.S.latency", "13"),
        ("unit.E.latency", "17"),
        ("unit.E.special_latency", "19"),
        ("sram.own.latency", "5"),
        ("dma.setup_cycles", "23"),
    ];
    let sets: Vec<_> = sets.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    all.push(machine::load_with("edge", &sets).unwrap());
    all
}

/// Statements around the example of a row.
#[derive(Default, Clone)]
struct Around {
    /// Before: after the units are idle.
    before: String,
    /// Instructions of one cycle without effect, between the two.
    between: u64,
    /// After: the last one is the user.
    user: String,
    /// Address in x30; 0 = some address in SRAM.
    address: u64,
}

/// What was executed: the record before the example, the example's event and times, and the first record of the user.
struct Run {
    before: Times,
    event: Event,
    example: Option<Times>,
    user: Option<Times>,
}

fn run(machine: &Machine, row: &Row, around: &Around) -> Run {
    let Around { before, between, user, .. } = around;
    // Never 0, so that the statement has two words in every run.
    let address = if around.address == 0 { 0x1000_0000_0000_8000 } else { around.address };
    let example = if row.op == Op::Endl { "" } else { row.example };
    let text = format!(
        "{EXAMPLES}{}\nli x30, {address:#x}\nli x29, 0x1000_0000_0000_8000\nloop x5, target\nepoch\n{before}\n{example}\n\
         target: endl\n.rept {between}\nadd x0, x0, 0\n.endr\n{user}\nuser: halt\n",
        row.setup
    );
    let object = assemble(&Sources::single("example", &*text), &Options::default());
    let object = object.unwrap_or_else(|errors| panic!("{}: {text}\n{errors:?}", row.name));
    let at = row.example_word(object.symbol("target").unwrap());
    // The user is the last word before `user:`, or the halt itself.
    let user = object.symbol("user").unwrap() - u32::from(!user.is_empty());
    let mut vm = Vm::new(object, Config::of(machine), Mode::Functional).unwrap();
    let (mut sim, mut records, mut event) = (Sim::new(machine, 0), Records::default(), Event::new());
    let (mut seen, mut steps) = (None, 0);
    loop {
        let status = vm.step(&mut event).unwrap_or_else(|trap| panic!("{}: {trap}\n{text}", row.name));
        let here = event.pc == at && seen.is_none();
        if here {
            seen = Some((event, records.0.last().map_or(Times::default(), |record| record.1)));
        }
        sim.observe(&event, &mut records);
        steps += 1;
        if status == Status::Halted || event.pc == user || (seen.is_some() && !here && row.op == Op::Jalr) {
            break;
        }
        assert!(steps < 5000, "{}: does not end\n{text}", row.name);
    }
    let (event, before) = seen.unwrap_or_else(|| panic!("{}: the example was not reached", row.name));
    let first = |pc: u32| records.0.iter().find(|(event, _)| event.pc == pc).map(|record| record.1);
    let user = if row.op == Op::Jalr { records.0.last().map(|record| record.1) } else { first(user) };
    let example = first(at).filter(|_| !matches!(row.op, Op::Endl | Op::Node));
    sim.finish().unwrap_or_else(|error| panic!("{}: {error}", row.name));
    Run { before, event, example, user }
}

/// Somebody who must wait for an instruction: a statement, and the first cycle in which it may start.
struct User {
    what: String,
    statement: String,
    address: u64,
    from: u64,
}

/// Registers of a set, as the letter of their class and their number.
fn registers(set: RegSet) -> Vec<(char, u32)> {
    let classes =
        [('x', RegSet::X, 32), ('v', RegSet::V, 32), ('p', RegSet::P, 8), ('c', RegSet::C, 8), ('q', RegSet::Q, 16)];
    let all = classes.iter().flat_map(|&(letter, base, count)| (0..count).map(move |n| (letter, n, base + n)));
    all.filter(|(_, _, bit)| set.0 >> bit & 1 == 1).map(|(letter, n, _)| (letter, n)).collect()
}

/// All who must wait for the example that gave `event`, issued at `issue`, by the stated `cost`.
fn users(machine: &Machine, row: &Row, event: &Event, issue: u64, cost: Cost) -> Vec<User> {
    let start = issue + u64::from(event.unit != Unit::C);
    let (end, ready) = (start + cost.occupied_cycles, start + cost.ready_cycles());
    let mut users = Vec::new();
    let mut add = |what: String, statement: String, address: u64, from: u64| {
        users.push(User { what, statement, address, from });
    };
    for (class, n) in registers(event.writes) {
        let moved = issue + u64::from(machine.scalar_latency);
        let (statement, from) = match class {
            // Of L, M and D it is the moved base of an address.
            'x' if matches!(event.unit, Unit::L | Unit::M | Unit::D) => (format!("add x31, x{n}, 0"), moved),
            'x' => (format!("add x31, x{n}, 0"), ready),
            'v' => (format!("bit v31, v{n}, v{n}, v{n}, 0xf0"), ready),
            'p' => (format!("jmp.mask p{n}, .+1"), ready),
            'c' => (format!("setvl x0, x5, f3, f3; cmv v31, c{n}"), ready),
            _ => (format!("st.s q{n}, 0(x29), x5, f3"), ready),
        };
        add(format!("read of {class}{n}"), statement, 0, from);
    }
    for (class, n) in registers(RegSet(event.reads.0 & !event.writes.0)) {
        let statement = match class {
            'x' => continue,
            'v' => format!("bit v{n}, v31, v31, v31, 0xf0"),
            'p' => format!("ld.m p{n}, 0(x29), x5"),
            'c' => format!("c.fill c{n}, zero"),
            _ => format!("q.fill q{n}, x9"),
        };
        add(format!("write of {class}{n}"), statement, 0, end);
    }
    for access in event.touched().iter().filter(|access| matches!(access.space, Space::Sram | Space::Control)) {
        let address = (access.space as u64) << 60 | access.lo;
        if access.write {
            let over = if event.unit == Unit::D { ready } else { end };
            add("read of what it wrote".into(), "lw.b x31, 0(x30)".into(), address, over);
        } else {
            add("write of what it read".into(), "sw.b x0, 0(x30)".into(), address, end);
        }
    }
    match event.work {
        Work::Dma { tag, .. } => {
            add("wait for its tag".into(), format!("dma.wait t{tag}, 0"), 0, ready);
            add("end of the program".into(), String::new(), 0, ready);
        }
        Work::TileLoad { .. } => add("its weights".into(), "mm.x c5, 0(x29) rows x4, f2".into(), 0, end),
        Work::Mac { .. } | Work::TileMac { .. } => add("next sum of its tile".into(), row.example.to_string(), 0, end),
        _ => {}
    }
    if event.unit != Unit::C {
        add("epoch".into(), "epoch".into(), 0, ready);
    }
    users
}

/// Start of one user with `between` instructions in the way, and the cycle in which it could have started if nothing but its
/// place in the program held it up.
fn start(machine: &Machine, row: &Row, user: &User, between: u64) -> (u64, u64) {
    let around = Around { between, user: user.statement.clone(), address: user.address, ..Around::default() };
    let ran = run(machine, row, &around).user.unwrap_or_else(|| panic!("{}: {} did not run", row.name, user.what));
    let at_issue = ran.at_issue.map_or(0, |wait| wait.until - wait.from);
    let on_control = ran.start == ran.issue;
    let arrival = if on_control { ran.issue - at_issue } else { ran.issue + 1 };
    let name = format!("{} on {}, {} ({}), {between} between", row.name, machine.name, user.what, user.statement);
    assert!(ran.start >= user.from, "{name}: starts at {}, before {}", ran.start, user.from);
    (ran.start, arrival)
}

/// Every user of the row's example from both sides; gives how many of them had to wait.
fn both_sides(machine: &Machine, row: &Row) -> usize {
    let alone = run(machine, row, &Around::default());
    let stated = cost(machine, &alone.event).unwrap();
    let Some(times) = alone.example else { return 0 };
    let name = format!("{} on {}", row.name, machine.name);
    if alone.event.unit != Unit::C || row.op != Op::Halt {
        let start = times.issue + u64::from(alone.event.unit != Unit::C);
        let stated = (start, start + stated.occupied_cycles, start + stated.ready_cycles());
        assert_eq!((times.start, times.end, times.ready), stated, "{name}: start, end and use of its result");
    }
    let mut waiting = 0;
    for user in users(machine, row, &alone.event, times.issue, stated) {
        let name = format!("{name}, {}", user.what);
        // Late enough, it starts when it arrives, and each instruction less in the way lets it arrive a cycle earlier.
        let late = user.from - times.issue;
        let (at, arrival) = start(machine, row, &user, late);
        assert_eq!(at, arrival, "{name}: waits although the result is there");
        let start_after = |between: u64| start(machine, row, &user, between);
        if let Some(between) = (late + user.from).checked_sub(arrival) {
            assert_eq!(start_after(between), (user.from, user.from), "{name}: not ready in time");
            if let Some(between) = between.checked_sub(1) {
                assert_eq!(start_after(between), (user.from, user.from - 1), "{name}: ready a cycle early");
                waiting += 1;
            }
        }
    }
    waiting
}

/// The scalars that an instruction reads are loaded late: it issues when they are there, and not before.
fn scalars_are_awaited(machine: &Machine, row: &Row) -> usize {
    let alone = run(machine, row, &Around::default());
    if alone.example.is_none() {
        return 0;
    }
    let scalars: Vec<u32> = registers(alone.event.reads).into_iter().filter(|r| r.0 == 'x').map(|r| r.1).collect();
    for n in &scalars {
        for between in [0, 1] {
            let load = format!("sw.d x{n}, 0(x29)\nepoch\nlw.d x{n}, 0(x29)\n");
            let before = format!("{load}.rept {between}\nadd x0, x0, 0\n.endr\n");
            let ran = run(machine, row, &Around { before, ..Around::default() });
            // The load issued `between` cycles before the last record ahead of the example.
            let loaded = ran.before.issue - between;
            let latency = machine.own().latency_cycles.max(machine.scalar_latency);
            let ready = (loaded + u64::from(latency)).max(ran.before.issue + 1);
            let issue = ran.example.unwrap().issue;
            assert_eq!(issue, ready, "{} on {}: issue after x{n}", row.name, machine.name);
        }
    }
    scalars.len()
}

/// A control instruction takes one cycle of issue, or none if it is free of charge.
fn takes_its_slot(machine: &Machine, row: &Row) {
    let ran = run(machine, row, &Around { user: "add x31, x0, 0".into(), ..Around::default() });
    let stated = cost(machine, &ran.event).unwrap();
    let taken = stated.occupied_cycles.min(1);
    match ran.user {
        Some(next) => assert_eq!(next.issue, ran.before.issue + 1 + taken, "{} on {}", row.name, machine.name),
        None => assert_eq!(row.op, Op::Halt, "{}: nothing follows", row.name),
    }
}

#[test]
fn every_instruction_is_ready_when_the_manual_says_and_not_before() {
    let machines = machines();
    for row in ROWS {
        let mut waits = 0;
        for machine in &machines {
            waits += both_sides(machine, row) + scalars_are_awaited(machine, row);
            if row.unit == Unit::C {
                takes_its_slot(machine, row);
            }
        }
        assert!(waits > 0 || row.unit == Unit::C, "instruction `{}` has no result that anything waits for", row.name);
    }
}
