//! A program alone on its core, from start to end, with the passes of loops that cost the same passed over.
//!
//! [`Vm::alike`] says where passes do the same, the clock (`engine/passes.rs`) when they also take the same. Then one pass
//! tells the cycles and counts of all that follow it: what is left out is exact, not estimated.

use super::Sim;
use super::engine::passes::{Head, Pass, Stream};
use super::order::From;
use crate::exec::{Access, Event, Mark, Moved, Result, Row, Space, Status, Vm};
use crate::isa::{Op, Unit};
use std::collections::VecDeque;

/// So many passes must follow for a look at one to be worth it.
const FEW: u64 = 2;
/// After so many passes that differ, this run of a loop goes on without looking.
const LOOKS: u32 = 6;
/// What a look costs, and a comparison with what is known, in instructions that could have been run instead.
const LOOK: i64 = 12;
const COMPARISON: i64 = 3;
/// A loop is looked at no more once that has cost so many instructions more than it has spared.
const CREDIT: i64 = 500;
/// Most instructions of a pass that is looked at.
const LONGEST: usize = 512;
/// Passes of one loop that are kept for when it is entered again.
const KEPT: usize = 8;

/// A pass whose next ones cost the same.
struct Known {
    mark: Mark,
    head: Head,
    events: Vec<Event>,
    streams: Vec<Stream>,
    rows: Vec<Row>,
    /// Scalars that it loads: where, and what.
    scalars: Vec<(Access, Option<u64>)>,
    moved: Moved,
    pass: Pass,
}

/// What is known of a loop.
#[derive(Default)]
struct Loop {
    passes: VecDeque<Known>,
    /// Passes that were left when it was given up.
    given_up: Option<u64>,
    /// Instructions that were passed over, less what that cost.
    spared: i64,
}

/// Runs `vm` from where it stands to its `halt` and accounts for all that it does. How many passes of loops were passed over.
///
/// # Errors
/// The trap that stopped the program.
pub fn run(vm: &mut Vm, sim: &mut Sim) -> Result<u64> {
    run_while(vm, sim, |_| true).map(|passes| passes.unwrap_or(0))
}

/// As [`run`] for as long as `goes_on` says so, which is asked now and then and at the end; `None` once it does not.
///
/// # Errors
/// The trap that stopped the program.
pub fn run_while(vm: &mut Vm, sim: &mut Sim, goes_on: impl Fn(&Vm) -> bool) -> Result<Option<u64>> {
    let mut event = Event::new();
    // By the first word.
    let mut loops: Vec<Option<Box<Loop>>> = Vec::new();
    loops.resize_with(vm.object().words.len(), || None);
    let mut passes = 0;
    loop {
        let status = vm.step(&mut event)?;
        sim.account(&event);
        if !goes_on(vm) {
            return Ok(None);
        }
        if status == Status::Halted {
            return Ok(Some(passes));
        }
        if event.op == Op::Endl && vm.alike() > 0 {
            let known = loops[vm.pc() as usize].get_or_insert_default();
            if known.spared > -CREDIT {
                passes += pass_over(vm, sim, &mut event, known)?;
            }
        }
    }
}

/// At the head of a pass: runs passes until one costs what the one before it did, and passes over those that follow; how many.
fn pass_over(vm: &mut Vm, sim: &mut Sim, event: &mut Event, known: &mut Loop) -> Result<u64> {
    let (end, first) = (vm.end_of_loop(), vm.alike());
    // The same loop again, or half of it later.
    let looks = known.given_up.is_none_or(|then| first > then || first < then / 2);
    let mut events = Vec::new();
    for _ in 0..LOOKS {
        let passes = again(vm, sim, known);
        if passes > 0 || !looks || vm.alike() < FEW {
            return Ok(passes);
        }
        known.spared -= LOOK;
        let (mark, head) = (vm.mark(), sim.engine.head(vm.node()));
        events.clear();
        loop {
            vm.step(event)?;
            sim.account(event);
            if event.op == Op::Endl && Some(event.pc) == end {
                break;
            }
            if events.len() == LONGEST {
                known.given_up = Some(first);
                return Ok(0);
            }
            events.push(*event);
        }
        let Some((streams, rows)) = streams(vm, &mark, &events) else { continue };
        let Some(pass) = sim.engine.pass_since(&head, &events, &streams) else { continue };
        let moved = vm.since(&mark);
        let stays = pass.stands_for_others();
        let loads = events.iter().filter(|event| event.op == Op::Lw).flat_map(Event::touched);
        let scalars = loads.map(|access| (*access, vm.scalar(access))).collect();
        let this = Known { mark, head, events: std::mem::take(&mut events), streams, rows, scalars, moved, pass };
        let passes = jump(vm, sim, &this, (&this.streams, &this.rows));
        known.spared += passes as i64 * this.events.len() as i64;
        if stays {
            known.passes.truncate(KEPT - 1);
            known.passes.push_front(this);
        }
        if passes > 0 {
            return Ok(passes);
        }
    }
    known.given_up = Some(first);
    Ok(0)
}

/// Passes over what is left of a loop where the pass that is about to begin will cost what one did that is known; how many.
fn again(vm: &mut Vm, sim: &mut Sim, known: &mut Loop) -> u64 {
    let same = |known: &Known| {
        if known.events[0].node != vm.node() || !sim.engine.may_be_at(&known.head, &known.pass) {
            return None;
        }
        // Another time it may load other scalars.
        if known.scalars.iter().any(|(access, scalar)| vm.scalar(access) != *scalar) {
            return None;
        }
        let ways = vm.ways(&known.mark, &known.events)?;
        let moved = known.streams.iter().zip(ways.accesses).map(|(stream, distance)| Stream { distance, ..*stream });
        let moved: Vec<Stream> = moved.collect();
        // Streams start a pass back, where the pass before this one has been.
        let at = |(stream, moved): (&Stream, &Stream)| {
            let by = moved.distance.wrapping_sub(stream.distance);
            let (lo, hi) = (stream.access.lo.wrapping_add_signed(by), stream.access.hi.wrapping_add_signed(by));
            Stream { access: Access { lo, hi, ..stream.access }, ..*stream }
        };
        let streams: Vec<Stream> = known.streams.iter().zip(&moved).map(at).collect();
        let rows: Vec<Row> = known.rows.iter().zip(&ways.rows).map(|(row, way)| row.before(way)).collect();
        sim.engine.is_at(&known.head, &known.pass, &moved).then_some((streams, rows))
    };
    known.spared -= COMPARISON * known.passes.len() as i64;
    let Some((found, (streams, rows))) = known.passes.iter().find_map(|known| Some((known, same(known)?))) else {
        return 0;
    };
    let passes = jump(vm, sim, found, (&streams, &rows));
    known.spared += passes as i64 * found.events.len() as i64;
    passes
}

/// The accesses of a pass and its rows of tiles; `None` if the next one may do anything but the same at other places.
fn streams(vm: &Vm, mark: &Mark, pass: &[Event]) -> Option<(Vec<Stream>, Vec<Row>)> {
    let ways = vm.ways(mark, pass)?;
    let accesses = pass.iter().flat_map(|event| (0..).zip(event.touched()).map(|(n, access)| (event.pc, n, access)));
    let stream = |((pc, n, access), distance): ((u32, u8, &Access), i64)| {
        let from = From { pc, n };
        Stream { access: *access, from, distance }
    };
    let streams: Vec<Stream> = accesses.zip(ways.accesses).map(stream).collect();
    // Scalars are loaded again from where they were, where nobody may write. All else is the work of one unit, which serves in
    // order: so no access of a loop ever waits for another of it, wherever they lie.
    let scalars = streams.iter().any(|stream| stream.access.space == Space::Control && stream.access.write);
    let one_unit = pass.iter().all(|event| event.accesses == 0 || matches!(event.unit, Unit::C | Unit::L));
    (one_unit && !scalars).then_some((streams, ways.rows))
}

/// Passes over as many passes as one can be sure of, at `streams` and `rows`; how many.
fn jump(vm: &mut Vm, sim: &mut Sim, known: &Known, (streams, rows): (&[Stream], &[Row])) -> u64 {
    let exist = |passes: u64| {
        streams.iter().all(|stream| {
            let (lo, hi) = stream.reach(passes);
            vm.has(stream.access.space, lo, hi)
        })
    };
    let mut passes = vm.room_for(vm.alike(), &known.moved, rows).min(known.pass.most());
    while passes > 0 && !(exist(passes) && sim.engine.apart(streams, passes)) {
        passes /= 2;
    }
    if passes == 0 {
        return 0;
    }
    vm.pass_over(passes, &known.moved);
    let (node, now) = (known.events[0].node, sim.channels.now());
    sim.engine.pass_over(&known.pass, node, streams, passes, now);
    let rates = sim.engine.rates().clone();
    known.events.iter().for_each(|event| sim.counts.add_times(event, passes, &rates));
    passes
}
