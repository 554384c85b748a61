//! Several cores: one engine each, which take turns by time.
//!
//! Every core has its next instruction at hand, executed but not yet timed. When it issues is a matter of its own engine
//! alone, unless it waits for other cores, so the instruction that issues first (of equal ones that of the lowest core)
//! can be timed for good; the channels that cores share are thus asked in the order of issue, as one core asks them in
//! the order of its program.

use super::channels::Channels;
use super::counts::Counts;
use super::engine::{Engine, Latest, Together, free};
use super::flight::Blocked;
use super::ledger::Ledger;
use super::observe::{Observer, On, Unobserved};
use super::rates::Rates;
use super::timing::{Cause, Timing};
use crate::diag::{self, Error};
use crate::exec::event::{Event, Work};
use crate::exec::{Cores, Status};
use crate::machine::Machine;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Result of a run on several cores.
#[derive(Debug, Clone)]
pub struct Several {
    /// Times of each core; all end in the same cycle, when the last one does. Busy cycles of the shared channels are those
    /// of all cores together.
    pub cores: Vec<Timing>,
    /// Counts of all cores together.
    pub ledger: Ledger,
}

impl Several {
    /// Cycles of the run.
    pub fn cycles(&self) -> u64 {
        self.cores.first().map_or(0, |core| core.cycles)
    }
    /// Instructions of all cores.
    pub fn instructions(&self) -> u64 {
        self.cores.iter().map(|core| core.instructions).sum()
    }
}

/// The next instruction of a core.
struct Turn {
    event: Event,
    /// Its issue as far as its own core says, or what DRAM has to do first.
    issue: Result<Latest, Blocked>,
    /// When other cores let it go on; `None` while that is open.
    released: Option<u64>,
}

impl Turn {
    /// Its issue, if it is known.
    fn at(&self) -> Option<u64> {
        self.issue.ok().filter(|_| self.released.is_some()).map(|issue| issue.at)
    }
}

/// A collective transfer whose bytes are on their way: the part that reads the source, and those that get them from it, each
/// by its core and number in flight.
struct OnItsWay {
    reader: (usize, u64),
    others: Vec<(usize, u64)>,
}

struct Core {
    engine: Engine,
    turn: Option<Turn>,
}

struct Run<'a, O> {
    observer: &'a mut O,
    cores: Vec<Core>,
    channels: Channels,
    counts: Counts,
    /// Groups that have come together and whose time is not known.
    meetings: Vec<u64>,
    on_their_way: Vec<OnItsWay>,
    /// When signals that nobody has taken yet arrive, by core and semaphore.
    signals: BTreeMap<(usize, u8), VecDeque<u64>>,
    latency: u64,
}

/// Runs `cores` to their end and prices them on `machine`, for a program whose node markers are 0 .. `nodes`.
///
/// # Errors
/// The trap that stopped the program; Unsupported for what the machine does not serve.
pub fn several(machine: &Machine, nodes: usize, cores: &mut Cores) -> diag::Result<Several> {
    several_observed(machine, nodes, cores, &mut Unobserved)
}

/// As [`several`], stepping as [`super::Sim::stepping`] does.
///
/// # Errors
/// Those of [`several`].
pub fn several_stepping(machine: &Machine, nodes: usize, cores: &mut Cores) -> diag::Result<Several> {
    take_turns(machine, nodes, cores, true, &mut Unobserved)
}

/// As [`several`]; `observer` is told of the instructions of all cores, in the order in which they issue, those behind an
/// open transfer of DRAM of the same core when it is over.
///
/// # Errors
/// Those of [`several`].
pub fn several_observed<O: Observer>(
    machine: &Machine,
    nodes: usize,
    cores: &mut Cores,
    observer: &mut O,
) -> diag::Result<Several> {
    take_turns(machine, nodes, cores, false, observer)
}

fn take_turns<O: Observer>(
    machine: &Machine,
    nodes: usize,
    cores: &mut Cores,
    step: bool,
    observer: &mut O,
) -> diag::Result<Several> {
    let rates = Arc::new(Rates::new(machine));
    let engines = (0..cores.count()).map(|core| Core { engine: Engine::new(&rates, nodes, core), turn: None });
    let mut run = Run {
        observer,
        cores: engines.collect(),
        channels: Channels::new(machine, step),
        counts: Counts::new(&rates, nodes),
        meetings: Vec::new(),
        on_their_way: Vec::new(),
        signals: BTreeMap::new(),
        latency: machine.noc.map_or(0, |noc| noc.latency_cycles.into()),
    };
    loop {
        for core in 0..run.cores.len() {
            run.fetch(core, cores)?;
        }
        run.meet();
        let first = run.first();
        let blocked = run.cores.iter().filter_map(|core| core.turn.as_ref()?.issue.err()).map(|blocked| blocked.before);
        match (first, blocked.min()) {
            // DRAM may not go past what can issue next: that may ask it too.
            (Some((at, _)), Some(before)) if run.channels.now() < at => run.progress(before.min(at))?,
            (Some((_, core)), _) => run.commit(core),
            (None, Some(before)) => run.progress(before)?,
            (None, None) if cores.halted() => return run.finish(machine),
            (None, None) => return Err(cores.deadlock().into()),
        }
    }
}

impl<O: Observer> Run<'_, O> {
    /// Executes the next instruction of `core` that costs anything, if it may go on and has none at hand.
    fn fetch(&mut self, core: usize, cores: &mut Cores) -> diag::Result<()> {
        let mut event = Event::new();
        while self.cores[core].turn.is_none() && cores.ready(core) {
            let status = cores.step(core, &mut event)?;
            if free(&event) {
                continue;
            }
            let issue = self.cores[core].engine.issue::<O>(&event, &self.channels);
            let alone = !matches!(event.work, Work::Meet { .. } | Work::Multicast { .. } | Work::Await { .. });
            self.cores[core].turn = Some(Turn { event, issue, released: alone.then_some(0) });
            match event.work {
                Work::Meet { group } | Work::Multicast { group, .. } if status != Status::Blocked => {
                    self.meetings.push(group);
                }
                Work::Await { semaphore } => {
                    let signal = self.signals.get_mut(&(core, semaphore)).and_then(VecDeque::pop_front);
                    signal.into_iter().for_each(|at| self.release(core, at));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Groups all of whose members have come at a known time go on together.
    fn meet(&mut self) {
        let cores = &self.cores;
        let came = |group: u64| {
            let turns = members(group).map(|member| cores[member].turn.as_ref()?.issue.ok().map(|issue| issue.at));
            turns.collect::<Option<Vec<u64>>>().and_then(|came| came.into_iter().max())
        };
        let met: Vec<(u64, u64)> = self.meetings.iter().filter_map(|&group| Some((group, came(group)?))).collect();
        for (group, last) in met {
            self.meetings.retain(|other| *other != group);
            let at = last + if group.count_ones() > 1 { self.latency } else { 0 };
            members(group).for_each(|member| self.release(member, at));
        }
    }

    /// What `core` waits for has come at `at`.
    fn release(&mut self, core: usize, at: u64) {
        let Core { engine, turn: Some(turn) } = &mut self.cores[core] else { return };
        turn.released = Some(at);
        if let Ok(issue) = &mut turn.issue {
            if at > issue.at {
                engine.stall(turn.event.node, at);
            }
            issue.wait::<O>(at, Cause::Sync, On::Cores);
        }
    }

    /// The core whose instruction issues first, and when.
    fn first(&self) -> Option<(u64, usize)> {
        let turns = self.cores.iter().enumerate();
        turns.filter_map(|(core, state)| Some((state.turn.as_ref()?.at()?, core))).min()
    }

    /// Lets DRAM go on to the end of its next transfer, or to the cycle `before`, and asks those anew that waited for it.
    fn progress(&mut self, before: u64) -> diag::Result<()> {
        let before = self.cores.iter().map(|core| core.engine.wake()).fold(before, u64::min);
        match self.channels.advance(before) {
            Some(over) => {
                let (core, seq) = ((over.id >> 48) as usize, over.id & ((1 << 48) - 1));
                self.cores[core].engine.land(seq, over.end_cycle, over.activates);
            }
            None if before == u64::MAX && self.channels.quiet() => {
                return Err(Error::internal("an instruction waits for a transfer that nobody makes"));
            }
            None => {}
        }
        self.cores.iter_mut().for_each(|core| core.engine.settle::<O>(&mut self.channels));
        self.arrive();
        for core in 0..self.cores.len() {
            let Core { engine, turn } = &mut self.cores[core];
            engine.leave(self.observer);
            if let Some(error) = engine.error() {
                return Err(error.clone());
            }
            let Some(turn) = turn.as_mut().filter(|turn| turn.issue.is_err()) else { continue };
            turn.issue = engine.issue::<O>(&turn.event, &self.channels);
            if let (Ok(_), Some(at)) = (turn.issue, turn.released) {
                self.release(core, at);
            }
        }
        Ok(())
    }

    /// Collective transfers whose bytes have come end for every member.
    fn arrive(&mut self) {
        let mut left = Vec::new();
        for way in std::mem::take(&mut self.on_their_way) {
            match self.cores[way.reader.0].engine.ready(way.reader.1) {
                None => left.push(way),
                Some(done) => {
                    for (core, seq) in way.others {
                        self.cores[core].engine.follow(seq, done);
                        self.cores[core].engine.settle::<O>(&mut self.channels);
                    }
                }
            }
        }
        self.on_their_way = left;
    }

    fn commit(&mut self, core: usize) {
        let Some(turn) = self.cores[core].turn.take() else { return };
        let Ok(issue) = turn.issue else { return };
        match turn.event.work {
            Work::Multicast { group, .. } => {
                self.cores[core].turn = Some(turn);
                self.collective(group);
            }
            Work::Signal { core: target, semaphore } => {
                let target = usize::from(target);
                let way = if target == core { 1 } else { self.latency.max(1) };
                let at = issue.at + way;
                self.time(core, &turn.event, issue);
                let waits = self.cores[target].turn.as_ref().is_some_and(|turn| {
                    turn.released.is_none() && matches!(turn.event.work, Work::Await { semaphore: s } if s == semaphore)
                });
                if waits {
                    self.release(target, at);
                } else {
                    self.signals.entry((target, semaphore)).or_default().push_back(at);
                }
            }
            _ => {
                self.time(core, &turn.event, issue);
            }
        }
    }

    /// Times and counts one instruction; the end of its work, if it is known.
    fn time(&mut self, core: usize, event: &Event, issue: Latest) -> Option<u64> {
        let engine = &mut self.cores[core].engine;
        self.counts.add(event, engine.rates());
        engine.commit(event, issue, &mut self.channels, self.observer)
    }

    /// The parts of a collective transfer start together. The lowest member's reads the source; the others get the bytes
    /// from it, so that theirs has the range but moves nothing.
    fn collective(&mut self, group: u64) {
        let starts = members(group).filter_map(|member| {
            let Core { engine, turn } = &self.cores[member];
            turn.as_ref().and_then(|turn| Some(engine.dma_start_at(&turn.event, turn.at()?)))
        });
        let start = starts.fold(0, u64::max);
        let (mut done, mut parts) = (Some(0), Vec::new());
        for (n, member) in members(group).enumerate() {
            let Some(Turn { mut event, issue: Ok(issue), .. }) = self.cores[member].turn.take() else { continue };
            if n > 0 {
                (event.access[0].bytes, event.access[0].runs) = (0, 0);
            }
            let engine = &mut self.cores[member].engine;
            parts.push((member, engine.next_in_flight()));
            engine.together = Some(Together { start, done });
            let end = self.time(member, &event, issue);
            self.cores[member].engine.together = None;
            done = end.and_then(|end| Some(done?.max(end)));
        }
        if let (None, [reader, others @ ..]) = (done, parts.as_slice()) {
            self.on_their_way.push(OnItsWay { reader: *reader, others: others.to_vec() });
            self.arrive();
        }
    }

    fn finish(mut self, machine: &Machine) -> diag::Result<Several> {
        while self.cores.iter().any(|core| !core.engine.settled()) {
            self.progress(u64::MAX)?;
        }
        let cycles = self.cores.iter().map(|core| core.engine.cycles()).fold(0, u64::max);
        let mut cores = Vec::new();
        for core in self.cores.drain(..) {
            cores.push(core.engine.finish_at(cycles, &mut self.channels)?);
        }
        let ledger = self.counts.ledger(&cores, machine);
        Ok(Several { cores, ledger })
    }
}

/// The cores of a group.
fn members(group: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |member| group >> member & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Config, Mode, Vm};
    use crate::isa::Object;
    use crate::isa::asm::{Options, Sources, assemble};
    use crate::machine;
    use crate::sim::{CAUSES, Estimate, Outcome, Place, Sim, What};

    /// The head sets x1 = core, x2 = cores, x3 = SRAM, x4 = shared SRAM, x9 = -1.
    fn object(text: &str) -> Object {
        let head = "csr x1, core; csr x2, cores; li x3, 1 << 60; li x4, 2 << 60; li x9, -1; .fmt f1=int8, f2=fp32\n";
        let object = assemble(&Sources::single("t.vasm", format!("{head}{text}\nhalt\n")), &Options::default());
        object.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
    }

    /// A machine whose DRAM is a channel of closed form.
    fn plain(name: &str) -> Machine {
        machine::load_with(name, &[("dram.model".to_owned(), "bandwidth".to_owned())]).unwrap()
    }

    fn on(name: &str, text: &str, cores: u32) -> Several {
        let machine = plain(name);
        let config = Config { cores, fuel: Some(1_000_000), ..Config::of(&machine) };
        let mut cores = Cores::new(object(text), config, Mode::Functional).unwrap();
        let several = several(&machine, 0, &mut cores).unwrap_or_else(|error| panic!("{}", error.render(false)));
        for core in &several.cores {
            for unit in &core.units {
                let sum = unit.busy_cycles + unit.stalled() + unit.idle_cycles;
                assert_eq!(sum, several.cycles(), "every cycle of a unit has a name");
            }
            assert_eq!(core.spent().iter().sum::<u64>(), several.cycles(), "every cycle has a node");
        }
        several
    }

    fn edge(text: &str, cores: u32) -> Several {
        on("edge", text, cores)
    }

    fn synced(several: &Several, core: usize) -> u64 {
        several.cores[core].units[0].stall_cycles[Cause::Sync as usize]
    }

    /// Loads, stores, transfers and sums, some of them in each other's way.
    const WORK: &str = "li x6, 4096; li x7, 64; li x8, 12; sll x10, x1, 16; setvl x0, x7, f2, f2
        loop x8, e; dma.ld t0, x3, x10, x6; ld.bp v1, 0(x3), f2; addv v2, v1, v1; st.bp v2, 0(x3), f2
        dma.st t1, x10, x3, x6; add x10, x10, x6; dma.wait t1, 1; e: endl; dma.wait t1, 0";

    #[test]
    fn one_core_takes_what_it_takes_alone() {
        let machine = plain("edge");
        let mut vm = Vm::new(object(WORK), Config::of(&machine), Mode::Functional).unwrap();
        let (mut sim, mut event) = (Sim::new(&machine, 0), Event::new());
        loop {
            let status = vm.step(&mut event).unwrap();
            sim.account(&event);
            if status == Status::Halted {
                break;
            }
        }
        let Outcome { timing, ledger } = sim.finish().unwrap();
        let several = edge(WORK, 1);
        assert_eq!((several.cores, several.ledger), (vec![timing], ledger));
    }

    #[test]
    fn cores_share_the_dram_channel() {
        let (one, four) = (edge(WORK, 1), edge(WORK, 4));
        assert_eq!(four.cores[0].dram.busy_cycles, 4 * one.cores[0].dram.busy_cycles);
        assert!(four.cycles() >= four.cores[0].dram.busy_cycles && four.cycles() < 4 * one.cycles());
        let bytes = |several: &Several| several.ledger.bytes(Place::Dram);
        assert_eq!(bytes(&four), (4 * bytes(&one).0, 4 * bytes(&one).1));
    }

    #[test]
    fn the_channel_is_asked_in_the_order_of_issue() {
        // Both cores ask for the same bytes; core 0 does so `n` scalar instructions later.
        let end = |n: usize, core: usize| {
            let text = format!(
                "li x6, 65536; li x7, 1 << 20; bne x1, x0, go; {} go: dma.ld t0, x3, x7, x6; dma.wait t0, 0",
                "nop; ".repeat(n)
            );
            let several = edge(&text, 2);
            several.cores[core].units[0].stall_cycles[Cause::Wait as usize]
        };
        // At the same cycle the lower core goes first, later it waits for the other.
        let alone = end(0, 0);
        assert!(end(0, 1) > alone + alone / 2, "core 1 is served second");
        assert_eq!(end(40, 1), alone, "core 1 is served first");
        assert!(end(40, 0) > alone + alone / 2);
    }

    #[test]
    fn a_barrier_ends_a_way_after_its_last_core() {
        let way = plain("edge").noc.unwrap().latency_cycles;
        let wait = |late: usize| {
            let text = format!("bne x1, x0, go; {} go: bar -1", "nop; ".repeat(late));
            let several = edge(&text, 4);
            (several.cycles(), synced(&several, 0), synced(&several, 1))
        };
        let (base, first, other) = wait(0);
        assert_eq!((first, other), (u64::from(way), u64::from(way)), "all come together");
        for late in [1, 50] {
            let (cycles, first, other) = wait(late);
            assert_eq!((cycles, first), (base + late as u64, u64::from(way)), "the last waits for the way only");
            assert_eq!(other, u64::from(way) + late as u64);
        }
        assert_eq!(synced(&edge("bar -1", 1), 0), 0, "one core alone has nobody to wait for");
    }

    #[test]
    fn a_signal_arrives_a_way_after_it_was_sent() {
        let way = u64::from(plain("edge").noc.unwrap().latency_cycles);
        let text = |late: usize, early: usize| {
            let (late, early) = ("nop; ".repeat(late), "nop; ".repeat(early));
            format!("li x8, 1; beq x1, x0, send; {early} wait.sig 3; j done; send: {late} sig x8, 3; done: nop")
        };
        // Sent at the cycle of the wait: the whole way; then one cycle less for each cycle that the wait comes later.
        let waits = |late: usize, early: usize| synced(&edge(&text(late, early), 2), 1);
        assert_eq!(waits(20, 0), 20 + way);
        assert_eq!(waits(0, way as usize - 1), 1, "not there yet");
        assert_eq!(waits(0, way as usize), 0, "there");
    }

    #[test]
    fn a_release_waits_for_stores_but_not_for_transfers() {
        // How long core 1 waits for core 0, which does one thing more before it comes.
        let waits = |what: &str| {
            let head = "li x6, 1024; li x7, 0; setvl x0, x6, f2, f2; bne x1, x0, go";
            synced(&edge(&format!("{head}; {what}; go: bar -1"), 2), 1)
        };
        let quiet = waits("nop");
        assert_eq!(waits("st.bp v1, 0(x3), f2"), quiet + 1, "the store's cycle in its unit");
        assert_eq!(waits("dma.ld t0, x3, x7, x6"), quiet);
        assert!(waits("dma.ld t0, x3, x7, x6; dma.wait t0, 0") > quiet + 50);
    }

    #[test]
    fn a_collective_copy_reads_once_what_four_copies_read_four_times() {
        let machine = plain("edge");
        let bytes = 65536;
        let private = format!("li x6, {bytes}; li x7, 1 << 20; dma.ld t0, x3, x7, x6; dma.wait t0, 0");
        let together = format!("li x6, {bytes}; li x7, 1 << 20; dma.mc t0, x3, x7, x6, x9; dma.wait t0, 0");
        let (private, together) = (edge(&private, 4), edge(&together, 4));
        let read = |several: &Several| several.ledger.bytes(Place::Dram).0;
        assert_eq!((read(&private), read(&together)), (4 * bytes, bytes));
        let written = |several: &Several| several.ledger.bytes(Place::Own).1;
        assert_eq!((written(&private), written(&together)), (4 * bytes, 4 * bytes));
        // The channel serves four copies one after the other, the collective one is as long as one of them.
        let one = (bytes as f64 / machine.dram.bytes_per_cycle).ceil() as u64;
        let saved = private.cycles() - together.cycles();
        let way = 2 * u64::from(machine.noc.unwrap().latency_cycles);
        assert!(saved.abs_diff(3 * one - way) <= 4, "saved {saved} cycles of {}; a copy takes {one}", private.cycles());
        assert_eq!(together.cores[0].dram.busy_cycles, one);
        // Every member's bytes have passed the network and its own DMA engine; nothing else differs in kind.
        let count = |what| together.ledger.count(|key| key.what == what);
        assert_eq!((count(What::NocBytes), count(What::DmaBytes)), (4 * bytes, 4 * bytes));
        let energy = |several: &Several| several.ledger.energy(&machine).unwrap();
        let noc = energy(&together).sum(Estimate::Typical, |row| row.price_key == "core.noc");
        assert_eq!(noc, i128::from(4 * bytes) * machine.price("core.noc").unwrap().attojoule[1]);
        assert!(energy(&together).total(Estimate::Typical) < energy(&private).total(Estimate::Typical));
        // The members start with the last of them.
        let late = format!(
            "li x6, {bytes}; li x7, 1 << 20; bne x1, x0, go; {} go: dma.mc t0, x3, x7, x6, x9; dma.wait t0, 0",
            "nop; ".repeat(30)
        );
        assert_eq!(edge(&late, 4).cycles(), together.cycles() + 31, "a branch and 30 words later");
    }

    #[test]
    fn bytes_to_another_core_pass_the_network() {
        let text =
            "li x6, 4096; li x7, 4 << 60 | 1 << 48; bne x1, x0, done; dma.st t0, x7, x3, x6; dma.wait t0, 0; done: nop";
        let several = edge(text, 2);
        let count = |what| several.ledger.count(|key| key.what == what);
        assert_eq!((count(What::NocBytes), several.ledger.bytes(Place::Own)), (4096, (4096, 4096)));
        assert_eq!(several.cores[1].noc_busy_cycles, 4096 / 64);
    }

    #[test]
    fn leakage_counts_every_core_and_shared_parts_once() {
        let (one, four) = (on("hbm", WORK, 1), on("hbm", WORK, 4));
        let machine = plain("hbm");
        for (part, leakage) in machine.leakage.iter().enumerate() {
            let leak = |several: &Several| several.ledger.count(|key| key.place == Place::Static(part as u8));
            let once = ["shared", "dram"].contains(&leakage.part.as_str());
            assert_eq!(leak(&four), if once { 1 } else { 4 } * four.cycles(), "{}", leakage.part);
            assert_eq!(leak(&one), one.cycles());
        }
    }

    #[test]
    fn what_the_program_does_wrong_is_an_error() {
        let machine = plain("edge");
        let config = Config { cores: 2, ..Config::of(&machine) };
        for (text, part) in [("wait.sig 0", "no core can go on"), ("sw.d x1, 0(x0)", "on core 0"), ("bar 8", "core 3")]
        {
            let mut cores = Cores::new(object(text), config.clone(), Mode::TimingOnly).unwrap();
            let error = several(&machine, 0, &mut cores).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(CAUSES[Cause::Sync as usize], "sync");
    }
}
