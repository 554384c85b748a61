//! Tests of time and money: identities, both sides of every readiness, overlap, order, monotonicity, closed forms.

use super::*;
use crate::exec::Level;
use crate::exec::event::{Access, Blocks, EW_KINDS, EwKind, RegSet, Space, Work};
use crate::isa::{Op, Unit};
use crate::machine::{self, Machine};
use crate::num::DotClass;
use crate::num::format::find;
use proptest::prelude::*;

/// A machine whose DRAM is a channel of closed form, so that cycles can be written down.
fn edge() -> Machine {
    with(&[])
}

/// The same with every command of its DRAM.
fn by_commands() -> Machine {
    machine::load("edge").unwrap()
}

fn with(sets: &[(&str, &str)]) -> Machine {
    let sets = [("dram.model", "bandwidth")].iter().chain(sets).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    machine::load_with("edge", &sets.collect::<Vec<_>>()).unwrap()
}

fn event(op: Op, work: Work) -> Event {
    Event {
        core: 0,
        pc: 0,
        op,
        unit: op.unit(),
        node: 0,
        reads: RegSet::default(),
        writes: RegSet::default(),
        work,
        access: [Access::default(); 3],
        accesses: 0,
        blocks: Blocks::one(0, 0, 0),
    }
}

/// Registers as (class, number) pairs.
fn regs(mut event: Event, reads: &[(u32, u8)], writes: &[(u32, u8)]) -> Event {
    reads.iter().for_each(|(class, n)| event.reads.add(*class, *n));
    writes.iter().for_each(|(class, n)| event.writes.add(*class, *n));
    event
}

fn touch(mut event: Event, space: Space, write: bool, lo: u64, bytes: u64) -> Event {
    event.access[usize::from(event.accesses)] = Access { space, write, lo, hi: lo + bytes, bytes, runs: 1 };
    match write {
        true => event.blocks.to = lo,
        false => event.blocks.from = lo,
    }
    event.blocks.bytes = bytes;
    event.accesses += 1;
    event
}

fn add(elements: u32, reads: &[u8], write: u8) -> Event {
    let reads: Vec<_> = reads.iter().map(|n| (RegSet::V, *n)).collect();
    regs(event(Op::Ew, Work::Elementwise { kind: EwKind::Add, elements }), &reads, &[(RegSet::V, write)])
}

fn mac(terms: u32, tile: u8, weights: &str, inputs: &str) -> Event {
    let (weights, inputs) = (find(weights).unwrap().id, find(inputs).unwrap().id);
    let (live, granules, fullest) = (terms, terms, terms);
    let class = DotClass::Exact;
    let work = Work::Mac { outputs: 4, terms, live, granules, fullest, weights, inputs, class, row: 0 };
    regs(event(Op::Mac, work), &[(RegSet::V, 1), (RegSet::V, 2), (RegSet::C, tile)], &[(RegSet::C, tile)])
}

/// A transfer from DRAM at `from` to SRAM at `to`.
fn dma_in(from: u64, to: u64, bytes: u64, tag: u8) -> Event {
    let transfer = event(Op::DmaLd, Work::Dma { bytes, runs: 1, tag });
    touch(touch(transfer, Space::Dram, false, from, bytes), Space::Sram, true, to, bytes)
}

fn load(lo: u64, bytes: u64, register: u8) -> Event {
    let format = find("int8").unwrap().id;
    let load = event(Op::LdBp, Work::Move { bytes, rows: 1, format });
    regs(touch(load, Space::Sram, false, lo, bytes), &[], &[(RegSet::V, register)])
}

fn scalar() -> Event {
    event(Op::Alu, Work::None)
}

fn halt() -> Event {
    event(Op::Halt, Work::Drain)
}

fn run(machine: &Machine, events: &[Event]) -> Outcome {
    let mut sim = Sim::new(machine, 4);
    events.iter().for_each(|e| sim.account(e));
    let outcome = sim.finish().unwrap();
    check_identities(machine, &outcome);
    outcome
}

fn cycles(machine: &Machine, events: &[Event]) -> u64 {
    run(machine, events).timing.cycles
}

/// Every cycle and every joule has exactly one owner.
fn check_identities(machine: &Machine, outcome: &Outcome) {
    let timing = &outcome.timing;
    for (unit, name) in timing.units.iter().zip(UNIT_NAMES) {
        assert_eq!(unit.busy_cycles + unit.stalled() + unit.idle_cycles, timing.cycles, "{name}: {unit:?}");
    }
    assert_eq!(timing.spent().iter().sum::<u64>(), timing.cycles, "cycles by node");
    assert_eq!(timing.units.iter().map(|u| u.instructions).sum::<u64>(), timing.instructions);
    let energy = outcome.ledger.energy(machine).unwrap();
    for estimate in [Estimate::Low, Estimate::Typical, Estimate::High] {
        let nodes = (0..=outcome.ledger.nodes).map(|n| energy.sum(estimate, |r| r.key.node == n)).sum::<i128>();
        assert_eq!(nodes, energy.total(estimate), "by node");
    }
    let total = energy.total(Estimate::Typical);
    assert_eq!(energy.by_place().iter().map(|(_, _, aj)| aj).sum::<i128>(), total, "by place");
    assert_eq!(energy.groups().iter().sum::<i128>(), total, "by group");
    let arithmetic: i128 = energy.operations().iter().map(|row| row.each[1] * i128::from(row.count)).sum();
    assert_eq!(arithmetic, energy.groups()[0], "operations multiply out");
    let leaked = outcome.ledger.count(|k| k.what == What::Leak);
    assert_eq!(leaked, timing.cycles * machine.leakage.len() as u64, "every part leaks in every cycle");
}

#[test]
fn kinds_of_work_have_the_names_of_the_machine_file() {
    assert_eq!(EW_KINDS, machine::schema::ELEMENTWISE[..]);
    assert_eq!(EwKind::Philox as usize, EW_KINDS.len() - 1);
    assert_eq!(EwKind::Bit as usize, machine::schema::BITWISE);
    for (i, unit) in UNITS.into_iter().enumerate() {
        assert_eq!(unit as usize, i);
    }
}

#[test]
fn bits_go_by_the_width_of_a_lane_and_streams_by_lanes() {
    // edge: 64 lanes of 32 bits, 16 special ones; one register of 2048 bits.
    for (kind, busy) in [
        (EwKind::Bit, 1),
        (EwKind::Pop, 1),
        (EwKind::Lfsr, 2048 / 64),
        (EwKind::Sobol, 2048 / 64),
        (EwKind::Philox, 2048 / 16),
    ] {
        let machine = edge();
        let outcome = run(&machine, &[event(Op::Bit, Work::Elementwise { kind, elements: 2048 })]);
        assert_eq!(outcome.timing.units[3].busy_cycles, busy, "{kind:?}");
        let energy = outcome.ledger.energy(&machine).expect("all kinds have prices");
        let price = machine.price(&format!("elementwise.{}", EW_KINDS[kind as usize])).expect("a price").attojoule[1];
        assert_eq!(energy.groups()[0], 2048 * price, "{kind:?}");
    }
}

#[test]
fn an_empty_run_takes_nothing() {
    let outcome = run(&edge(), &[]);
    assert_eq!((outcome.timing.cycles, outcome.ledger.rows.len()), (0, 0));
}

#[test]
fn a_result_is_ready_at_its_latency_and_not_before() {
    // Issue at 0, start at 1, one cycle for 64 elements, latency 4: ready at 6.
    let machine = edge();
    let first = add(64, &[1], 2);
    // Dependent: start at 6, end at 7, ready at 11; independent: start at 2, ready at 7.
    let timing = run(&machine, &[first, add(64, &[2], 3)]).timing;
    assert_eq!(timing.cycles, 11);
    assert_eq!(timing.units[3].stall_cycles[Cause::Raw as usize], 6 - 2, "not ready at 5, ready at 6");
    assert_eq!(cycles(&machine, &[first, add(64, &[1], 3)]), 7);
    let mut late = vec![first];
    late.extend([scalar(); 5]);
    late.push(add(64, &[2], 3));
    let timing = run(&machine, &late).timing;
    assert_eq!((timing.units[3].stalled(), timing.cycles), (0, 12), "arrives at 7: ready");
}

#[test]
fn a_scalar_that_a_unit_computes_is_ready_at_its_latency_and_not_before() {
    // Issue at 0, start at 1, one cycle for 64 entries or elements, latency 4: ready at 6.
    let machine = edge();
    let check = regs(event(Op::Abft, Work::Tile { entries: 64, fold: true }), &[(RegSet::C, 0)], &[(RegSet::X, 5)]);
    let moves = Work::Elementwise { kind: EwKind::Copy, elements: 64 };
    let pack = regs(event(Op::Pack, moves), &[(RegSet::V, 1), (RegSet::P, 1)], &[(RegSet::V, 2), (RegSet::X, 5)]);
    let reader = regs(scalar(), &[(RegSet::X, 5)], &[(RegSet::X, 6)]);
    let waited = |first: Event, between: usize| {
        let events = [vec![first], vec![scalar(); between], vec![reader]].concat();
        run(&machine, &events).timing.units[0].stall_cycles[Cause::Raw as usize]
    };
    for first in [check, pack] {
        assert_eq!((waited(first, 0), waited(first, 4), waited(first, 5)), (5, 1, 0), "{:?}", first.op);
    }
    // The moved base of a load is known as soon as the load has issued.
    let mut moving = load(0, 256, 1);
    moving.writes.add(RegSet::X, 5);
    assert_eq!(waited(moving, 0), 0);
}

#[test]
fn reading_holds_off_writing() {
    let machine = edge();
    // A long read of v1 by E, until 21, then a load into v1.
    let timing = run(&machine, &[add(64 * 20, &[1], 2), load(0, 256, 1)]).timing;
    assert_eq!(timing.units[1].stall_cycles[Cause::War as usize], 21 - 2);
    let other = run(&machine, &[add(64 * 20, &[1], 2), load(0, 256, 3)]).timing;
    assert_eq!(other.units[1].stalled(), 0);
}

#[test]
fn sums_on_one_tile_follow_each_other_without_latency() {
    let machine = edge();
    let mut sums = vec![mac(1024, 0, "ternary", "int8"); 10];
    // One cycle each from 1 on, then the latency of the last: 11 + 4.
    assert_eq!(cycles(&machine, &sums), 15);
    let work = Work::Tile { entries: 64, fold: false };
    sums.push(regs(event(Op::Cmv, work), &[(RegSet::C, 0)], &[(RegSet::V, 5)]));
    assert_eq!(cycles(&machine, &sums), 15 + 1 + 4, "a reader waits for the latency");
}

#[test]
fn rates_are_those_of_the_file() {
    let machine = edge();
    for (weights, inputs, terms) in &machine.rates {
        let outcome = run(&machine, &[mac(terms * 100, 0, weights, inputs)]);
        assert_eq!(outcome.timing.units[2].busy_cycles, 100, "{weights}*{inputs}");
        assert_eq!(outcome.ledger.macs(), (u64::from(terms * 100), u64::from(terms * 100), 0));
    }
}

#[test]
fn an_unserved_pair_is_refused_by_name() {
    let machine = with(&[("rate.S.fp32*fp32", "none")]);
    let mut sim = Sim::new(&machine, 1);
    sim.account(&mac(16, 0, "fp32", "fp32"));
    let error = sim.finish().unwrap_err();
    assert_eq!(error.message(), "machine `edge` does not serve `fp32*fp32` on its S unit");
}

#[test]
fn an_unlisted_pair_takes_the_time_and_energy_of_a_wider_one() {
    let machine = edge();
    let [narrow, wide] = ["int3", "int4"].map(|weights| run(&machine, &[mac(25600, 0, weights, "int8")]));
    assert_eq!(narrow.timing.units[2].busy_cycles, 100);
    let energy = |outcome: &Outcome| outcome.ledger.energy(&machine).unwrap();
    assert_eq!(energy(&narrow).total(Estimate::Typical), energy(&wide).total(Estimate::Typical));
    let row = |outcome: &Outcome| energy(outcome).operations()[0].clone();
    assert_eq!((row(&narrow).price_key, row(&narrow).widened()), ("mac.int4*int8".into(), Some("int3*int8".into())));
    assert_eq!((row(&wide).price_key, row(&wide).widened()), ("mac.int4*int8".into(), None));
}

#[test]
fn a_missing_price_is_an_error_and_never_zero() {
    let machine = edge();
    let ledger = run(&machine, &[mac(16, 0, "ternary", "int8")]).ledger;
    let mut without = machine;
    without.prices.remove("mac.ternary*int8");
    let error = ledger.energy(&without).unwrap_err();
    assert_eq!(error.message(), "machine `edge` has no price `energy.mac.ternary*int8`");
}

#[test]
fn changing_a_price_moves_the_total_by_its_count() {
    let events = [mac(1000, 0, "ternary", "int8"), add(77, &[1], 2), dma_in(0, 0, 4096, 0), halt()];
    let base = edge();
    let ledger = run(&base, &events).ledger;
    let total = |m: &Machine| ledger.energy(m).unwrap().total(Estimate::Typical);
    let dearer = with(&[("energy.mac.ternary*int8.pj", "1.0")]);
    let each = base.price("mac.ternary*int8").unwrap().attojoule[1];
    assert_eq!(total(&dearer) - total(&base), 1000 * (1_000_000 - each));
}

#[test]
fn skipped_terms_are_counted_and_free() {
    let machine = edge();
    let mut sparse = mac(1024, 0, "ternary", "int8");
    if let Work::Mac { live, .. } = &mut sparse.work {
        *live = 256;
    }
    let outcome = run(&machine, &[sparse]);
    assert_eq!(outcome.ledger.macs(), (1024, 256, 768));
    let energy = outcome.ledger.energy(&machine).unwrap();
    let each = machine.price("mac.ternary*int8").unwrap().attojoule[1];
    assert_eq!(energy.groups()[0], 256 * each);
    // Unless the machine says what a gated lane still takes.
    let gated = with(&[
        ("energy.core.gated.pj", "0.25"),
        ("energy.core.gated.per", "op"),
        ("energy.core.gated.scope", "circuit"),
    ]);
    let energy = run(&gated, &[sparse]).ledger.energy(&gated).unwrap();
    assert_eq!(energy.groups()[0], 256 * each + 768 * 250_000);
}

#[test]
fn a_transfer_takes_setup_bandwidth_and_latency() {
    let machine = edge();
    let bytes = 1 << 20;
    let outcome = run(&machine, &[dma_in(0, 0, bytes, 0)]);
    let channel = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(machine.dram.bytes_per_second)) as u64;
    assert_eq!(outcome.timing.dram.busy_cycles, channel);
    assert_eq!(outcome.timing.cycles, 1 + 16 + channel + u64::from(machine.dram.latency_cycles));
    assert_eq!(outcome.ledger.bytes(Place::Dram), (bytes, 0));
    assert_eq!(outcome.ledger.bytes(Place::Own), (0, bytes));
    assert_eq!(outcome.ledger.count(|k| k.what == What::Activate), bytes / 8192);
    let short = run(&machine, &[dma_in(0, 0, 1, 0)]).ledger;
    assert_eq!(short.count(|k| k.place == Place::Dram && k.what == What::Read), 128, "a byte costs a burst");
}

#[test]
fn rows_that_touch_are_one_piece() {
    let machine = edge();
    let rows = |apart: i64, runs: u64| {
        let mut rows = dma_in(0, 0, 4096, 0);
        rows.blocks.bytes = 32;
        rows.blocks.levels[0] = Level { count: 128, src: apart, dst: 32 };
        (rows.access[0].runs, rows.access[0].hi) = (runs, apart as u64 * 127 + 32);
        cycles(&machine, &[rows])
    };
    assert_eq!(rows(32, 1), cycles(&machine, &[dma_in(0, 0, 4096, 0)]));
    assert_eq!(rows(64, 128), cycles(&machine, &[dma_in(0, 0, 128 * 128, 0)]), "each is a burst of 128 bytes");
}

#[test]
fn transfers_and_computing_overlap() {
    let machine = edge();
    let mut both = vec![dma_in(0, 0, 100_000, 0)];
    let work = vec![add(64 * 100, &[1], 2); 50];
    let (alone, computing) = (cycles(&machine, &both), cycles(&machine, &work));
    both.extend(work);
    let together = cycles(&machine, &both);
    assert!(together <= alone.max(computing) + 2, "{together} against {alone} and {computing}");
}

#[test]
fn a_load_waits_for_the_transfer_that_fills_it_and_only_for_that() {
    let machine = edge();
    let done = cycles(&machine, &[dma_in(0, 0, 4096, 0)]);
    // The load starts in the cycle in which the transfer is over; one cycle and two latencies later it is ready.
    let hit = run(&machine, &[dma_in(0, 0, 4096, 0), load(4095, 1, 1)]).timing;
    assert_eq!(hit.cycles, done + 1 + 2 + 2);
    assert_eq!(hit.units[1].stall_cycles[Cause::Order as usize], done - 2);
    let miss = run(&machine, &[dma_in(0, 0, 4096, 0), load(4096, 1, 1)]).timing;
    assert_eq!((miss.units[1].stalled(), miss.cycles), (0, done));
}

#[test]
fn a_transfer_waits_for_the_load_that_still_reads_its_target() {
    let machine = edge();
    let long = load(0, 25_600, 1); // 100 cycles, from 1 to 101
    let timing = run(&machine, &[long, dma_in(0, 0, 128, 0)]).timing;
    assert_eq!(timing.units[5].stall_cycles[Cause::Order as usize], 101 - 2);
    let timing = run(&machine, &[long, dma_in(0, 25_600, 128, 0)]).timing;
    assert_eq!(timing.units[5].stalled(), 0);
}

#[test]
fn dma_wait_blocks_issue_until_its_tag_is_down() {
    let machine = edge();
    let transfer = dma_in(0, 0, 4096, 3);
    let done = cycles(&machine, &[transfer]);
    let wait = |tag, left| event(Op::DmaWait, Work::Wait { tag, left });
    let timing = run(&machine, &[transfer, wait(3, 0)]).timing;
    assert_eq!(timing.cycles, done + 1);
    assert_eq!(timing.units[0].stall_cycles[Cause::Wait as usize], done - 1);
    assert_eq!(cycles(&machine, &[transfer, wait(3, 1)]), done);
    assert_eq!(cycles(&machine, &[transfer, wait(4, 0)]), done);
}

#[test]
fn halt_drains_every_unit() {
    let machine = edge();
    let done = cycles(&machine, &[dma_in(0, 0, 4096, 0)]);
    assert_eq!(cycles(&machine, &[dma_in(0, 0, 4096, 0), halt()]), done + 1);
}

#[test]
fn a_full_queue_stops_issue() {
    let machine = edge();
    let events: Vec<Event> = (0..10).map(|i| add(64 * 50, &[1], 2 + i)).collect();
    let timing = run(&machine, &events).timing;
    // The tenth issues when the second, eight places before it, starts at 51.
    assert_eq!(timing.units[0].stall_cycles[Cause::Queue as usize], 51 - 9);
    assert_eq!(timing.units[3].busy_cycles, 500);
    assert_eq!(run(&machine, &events[..9]).timing.units[0].stalled(), 0);
}

#[test]
fn hardware_loops_and_node_markers_are_free() {
    let machine = edge();
    let mut events = vec![scalar()];
    events.extend([event(Op::Endl, Work::None); 100]);
    events.extend([event(Op::Node, Work::None); 100]);
    let outcome = run(&machine, &events);
    assert_eq!((outcome.timing.cycles, outcome.timing.instructions), (1, 1));
}

fn tile_load(tn: u32, tk: u32) -> Event {
    event(Op::MmW, Work::TileLoad { tn, tk, weights: find("int8").unwrap().id, dead: 0 })
}

fn tile_mac(tm: u32, tn: u32, tk: u32, tile: u8) -> Event {
    let int8 = find("int8").unwrap().id;
    let work = Work::TileMac {
        tm,
        tn,
        tk,
        first: true,
        dead: 0,
        dead_terms: 0,
        block: 0,
        weights: int8,
        inputs: int8,
        class: DotClass::Exact,
    };
    regs(event(Op::MmX, work), &[(RegSet::C, tile)], &[(RegSet::C, tile)])
}

fn tiles(count: usize, rows: u32) -> Vec<Event> {
    (0..count).flat_map(|_| [tile_load(32, 32), tile_mac(rows, 32, 32, 0)]).collect()
}

#[test]
fn a_fold_on_the_array_takes_its_closed_form() {
    // Per fold: R to load, M + R + C - 2 to compute: SCALE-Sim's weight-stationary 2R + C + M - 2.
    let (r, c, m) = (32, 32, 50);
    let machine = with(&[("array.fill_drain", "per_fold"), ("array.weight_buffers", "1")]);
    for n in [1, 2, 7] {
        assert_eq!(cycles(&machine, &tiles(n, m)), 1 + n as u64 * u64::from(2 * r + c + m - 2));
    }
    // Double buffered and overlapped: the first load, then max(load, stream) a tile, then the drain.
    let expected = 1 + u64::from(r) + 7 * u64::from(m) + u64::from(r + c - 2);
    assert_eq!(cycles(&edge(), &tiles(7, m)), expected);
}

/// A tile of 64 x 64 on the 32 x 32 array, 50 rows of inputs: `dead` of its four blocks masked, folds every `block`.
fn masked_tile(machine: &Machine, dead: u32, block: u32) -> u64 {
    let (mut load, mut product) = (tile_load(64, 64), tile_mac(50, 64, 64, 0));
    if let Work::TileLoad { dead: d, .. } = &mut load.work {
        *d = dead;
    }
    if let Work::TileMac { dead: d, dead_terms, block: b, .. } = &mut product.work {
        (*d, *dead_terms, *b) = (dead, dead * 32 * 32, block);
    }
    run(machine, &[load, product]).timing.units[4].busy_cycles
}

#[test]
fn masked_blocks_cost_nothing_and_scaled_runs_a_pass_each() {
    let overlapped = with(&[("array.weight_buffers", "1")]);
    let per_fold = with(&[("array.fill_drain", "per_fold"), ("array.weight_buffers", "1")]);
    for dead in 0..4 {
        let blocks = u64::from(4 - dead);
        assert_eq!(masked_tile(&overlapped, dead, 0), blocks * (32 + 50), "{dead} dead");
        assert_eq!(masked_tile(&per_fold, dead, 0), blocks * (32 + 50 + 62), "{dead} dead");
    }
    // Runs of 16 leave half of the rows idle: two blocks along n, four runs along k; runs of 40 take two passes, then one.
    for (block, passes) in [(64, 4), (32, 4), (16, 8), (40, 6), (8, 16)] {
        assert_eq!(masked_tile(&overlapped, 0, block), 4 * 32 + passes * 50, "runs of {block}");
        assert_eq!(masked_tile(&per_fold, 0, block), 4 * 32 + passes * (50 + 62), "runs of {block}");
    }
    // Energy: what is masked is counted as skipped, what is scaled as folded.
    let mut product = tile_mac(50, 64, 64, 0);
    if let Work::TileMac { dead, dead_terms, block, .. } = &mut product.work {
        (*dead, *dead_terms, *block) = (1, 1024, 32);
    }
    let ledger = run(&edge(), &[tile_load(64, 64), product]).ledger;
    assert_eq!(ledger.macs(), (50 * 4096, 50 * 3072, 50 * 1024));
    assert_eq!(ledger.count(|key| key.what == What::Fold), 50 * 64 * 2);
}

#[test]
fn the_law_of_a_machine_says_what_a_mask_saves() {
    let mut sparse = mac(1024 * 8, 0, "ternary", "int8");
    if let Work::Mac { live, granules, fullest, .. } = &mut sparse.work {
        (*live, *granules, *fullest) = (1000, 1024 * 2, 1024 * 3 + 1);
    }
    for (law, want) in [("none", 8), ("balanced", 2), ("max_over_lanes", 4)] {
        let machine = with(&[("unit.S.skip", law)]);
        assert_eq!(run(&machine, &[sparse]).timing.units[2].busy_cycles, want, "{law}");
    }
    let bad = machine::load_with("edge", &[("unit.S.skip_granule".into(), "[4]".into())]).unwrap_err();
    assert!(bad.message().contains("`unit.S.skip_granule` must be two integers from 1 to 16384"), "{bad}");
}

#[test]
fn arrays_with_two_buffers_load_while_they_compute() {
    let one = with(&[("array.weight_buffers", "1")]);
    let (slow, fast) = (run(&one, &tiles(16, 32)).timing, run(&edge(), &tiles(16, 32)).timing);
    assert_eq!(slow.cycles - fast.cycles, 15 * 32);
    assert_eq!(slow.units[4].stalled(), 0, "a load is busy time, not a stall");
}

#[test]
fn nodes_own_their_cycles() {
    let machine = edge();
    let at = |mut e: Event, node: u32| {
        e.node = node;
        e
    };
    let hidden = mac(1024 * 30, 0, "ternary", "int8");
    let events = [at(add(64 * 100, &[1], 5), 0), at(hidden, 1), at(add(64, &[5], 3), 9), at(halt(), 9)];
    let timing = run(&machine, &events).timing;
    assert_eq!(timing.node_cycles(0), 105, "the older instruction owns the overlap");
    assert_eq!(timing.node_cycles(1), 0);
    assert_eq!(timing.nodes[4].iter().sum::<u64>(), timing.cycles - 105, "node 9 was not stated");
}

#[test]
fn the_bound_is_the_busiest_resource() {
    let machine = edge();
    let (what, evidence) = bound_by(&run(&machine, &[dma_in(0, 0, 1 << 20, 0), halt()]).timing);
    assert_eq!(what, "dram");
    assert!(evidence.contains("dram 100 %"), "{evidence}");
    let bound = |events: &[Event]| bound_by(&run(&machine, events).timing).0;
    assert_eq!(bound(&[mac(1 << 24, 0, "ternary", "int8"), halt()]), "compute");
    assert_eq!(bound(&[scalar(); 100]), "issue");
    let loads: Vec<Event> = (0..100).map(|i| load(0, 2560, i % 16)).collect();
    assert_eq!(bound(&loads), "sram");
}

fn decode(symbols: u32, bytes: u64, register: u8) -> Event {
    let format = find("ternary").unwrap().id;
    let load = event(Op::LdEc, Work::Decode { symbols, bytes, format });
    regs(touch(load, Space::Sram, false, 0, bytes), &[], &[(RegSet::V, register)])
}

#[test]
fn decoding_takes_its_codes_or_its_bytes_and_has_a_price() {
    let machine = edge();
    let base = cycles(&machine, &[decode(1, 1, 1)]);
    let rate = machine.units.l_codes_per_cycle;
    assert_eq!(cycles(&machine, &[decode(10 * rate, 20, 1)]) - base, 9, "codes bind");
    let bytes = u64::from(machine.units.l_bytes_per_cycle) * 7;
    assert_eq!(cycles(&machine, &[decode(rate, bytes, 1)]) - base, 6, "bytes bind");
    let outcome = run(&machine, &[decode(1000, 100, 1), decode(24, 3, 2)]);
    assert_eq!(outcome.ledger.bytes_by_format().get("ternary"), Some(&103));
    let energy = outcome.ledger.energy(&machine).unwrap();
    let row = energy.rows.iter().find(|row| row.price_key == "core.decode").unwrap();
    assert_eq!((row.count, row.key.place, row.group), (1024, Place::Unit(Unit::L), Group::Movement));
    assert_eq!(row.attojoule[1], 1024 * machine.price("core.decode").unwrap().attojoule[1]);
    assert_eq!(row.source, "anslaw");

    let mut none = Sim::new(&without_decoder(), 1);
    none.account(&decode(1, 1, 1));
    assert!(none.finish().unwrap_err().to_string().contains("has no entropy decoder"));
}

fn without_decoder() -> Machine {
    let mut machine = edge();
    machine.units.l_codes_per_cycle = 0;
    machine
}

/// Any instruction of a small program.
pub(super) fn any_event() -> impl Strategy<Value = Event> {
    let register = 0u8..6;
    prop_oneof![
        (1u32..2000, register.clone(), register.clone()).prop_map(|(n, a, b)| add(n, &[a], b)),
        (1u32..5000, 0u8..3).prop_map(|(n, c)| mac(n, c, "ternary", "int8")),
        (0u64..8192, 1u64..4096, register).prop_map(|(lo, n, v)| load(lo, n, v)),
        (0u64..100_000, 0u64..8192, 1u64..9000, 0u8..3).prop_map(|(from, to, n, tag)| dma_in(from, to, n, tag)),
        (0u8..3, 0u32..3).prop_map(|(tag, left)| event(Op::DmaWait, Work::Wait { tag, left })),
        (1u32..2000, 0u64..900, 0u8..6).prop_map(|(n, bytes, v)| decode(n, bytes, v)),
        (1u32..33, 1u32..65).prop_map(|(n, k)| tile_load(n, k)),
        (1u32..65, 1u32..33, 1u32..65, 0u8..3).prop_map(|(m, n, k, c)| tile_mac(m, n, k, c)),
        Just(scalar()),
        Just(event(Op::Epoch, Work::Drain)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn books_balance_for_any_program(events in prop::collection::vec(any_event(), 0..120), nodes in 0u32..6) {
        let mark = |(i, mut e): (usize, Event)| { e.node = i as u32 % (nodes + 1); e };
        let events: Vec<Event> = events.into_iter().enumerate().map(mark).collect();
        for machine in [edge(), by_commands()] {
            let (outcome, again) = (run(&machine, &events), run(&machine, &events));
            prop_assert_eq!(outcome.timing, again.timing);
            prop_assert_eq!(outcome.ledger, again.ledger);
        }
    }

    #[test]
    fn less_bandwidth_never_helps(events in prop::collection::vec(any_event(), 0..80)) {
        let mut last = u64::MAX;
        for bandwidth in ["1e9", "4e9", "19.2e9", "100e9"] {
            let now = cycles(&with(&[("dram.peak_bytes_per_s", bandwidth)]), &events);
            prop_assert!(now <= last, "{} cycles at {} B/s, {} at less", now, bandwidth, last);
            last = now;
        }
    }

    #[test]
    fn no_run_beats_its_bounds(events in prop::collection::vec(any_event(), 0..80)) {
        let machine = edge();
        let outcome = run(&machine, &events);
        let (read, written) = outcome.ledger.bytes(Place::Dram);
        prop_assert!(outcome.timing.cycles as f64 >= (read + written) as f64 / machine.dram.bytes_per_cycle);
        let array = outcome.ledger.count(|k| k.what == What::Mac && k.place == Place::Unit(Unit::M));
        prop_assert!(outcome.timing.cycles >= array / 1024);
    }
}

/// Everything that an observer is told.
#[derive(Default)]
struct Records(Vec<(Event, observe::Times)>);

impl Observer for Records {
    const WANTED: bool = true;
    fn record(&mut self, event: &Event, times: &observe::Times) {
        self.0.push((*event, *times));
    }
}

fn observed(machine: &Machine, events: &[Event]) -> (Vec<(Event, observe::Times)>, Outcome) {
    let (mut sim, mut records) = (Sim::new(machine, 4), Records::default());
    events.iter().for_each(|event| sim.observe(event, &mut records));
    sim.come_down(&mut records);
    (records.0, sim.finish().unwrap())
}

#[test]
fn an_observer_is_told_what_an_instruction_waits_for() {
    let wait = event(Op::DmaWait, Work::Wait { tag: 3, left: 0 });
    let (records, _) = observed(&edge(), &[dma_in(0, 0, 4096, 3), wait, load(0, 32, 1), add(8, &[1], 2)]);
    let (transfer, waiting) = (records[0].1, records[1].1.at_issue.unwrap());
    assert_eq!((waiting.cause, waiting.on), (Cause::Wait, observe::On::Tag(3)));
    assert_eq!((waiting.from, waiting.until), (1, transfer.ready));
    assert_eq!(records[2].1.at_issue, None);
    let starved = records[3].1.in_unit.unwrap();
    assert_eq!((starved.cause, starved.on), (Cause::Raw, observe::On::Register(RegSet::V as u8 + 1)));
    assert_eq!((starved.until, records[3].1.start), (records[2].1.ready, records[2].1.ready));
    let (records, _) = observed(&edge(), &[dma_in(0, 0, 4096, 3), load(0, 32, 1)]);
    let blocked = records[1].1.in_unit.unwrap();
    assert_eq!((blocked.cause, blocked.on), (Cause::Order, observe::On::Range(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Watching changes nothing, and the waits told are the stalls booked.
    #[test]
    fn records_add_up_to_the_books(events in prop::collection::vec(any_event(), 0..120)) {
        for machine in [edge(), by_commands()] {
            let (records, outcome) = observed(&machine, &events);
            prop_assert_eq!(&outcome.timing, &run(&machine, &events).timing);
            for unit in [Unit::C, Unit::L, Unit::S, Unit::E] {
                let booked = &outcome.timing.units[unit as usize];
                let mut waited = [0; CAUSES.len()];
                for (event, times) in &records {
                    let at_issue = times.at_issue.filter(|_| unit == Unit::C);
                    for wait in at_issue.into_iter().chain(times.in_unit.filter(|_| event.unit == unit)) {
                        waited[wait.cause as usize] += wait.until - wait.from;
                    }
                }
                prop_assert_eq!(waited, booked.stall_cycles, "{:?} on {}", unit, machine.name);
            }
        }
    }

    /// Runs of hits that DRAM issues in one step are those that it would issue clock by clock.
    #[test]
    fn stepping_gives_the_same(events in prop::collection::vec(any_event(), 0..120)) {
        let machine = by_commands();
        let mut sim = Sim::stepping(&machine, 4, true);
        events.iter().for_each(|event| sim.account(event));
        let (stepped, outcome) = (sim.finish().unwrap(), run(&machine, &events));
        prop_assert_eq!(stepped.timing, outcome.timing);
        prop_assert_eq!(stepped.ledger, outcome.ledger);
    }

    /// Whatever is known late: nothing starts before what it needs is there, and units keep their order.
    #[test]
    fn nothing_starts_before_what_it_needs(events in prop::collection::vec(any_event(), 0..120)) {
        let (records, _) = observed(&by_commands(), &events);
        for (n, (event, times)) in records.iter().enumerate() {
            for (older, its) in &records[..n] {
                prop_assert!(its.issue <= times.issue);
                let order = older.unit == event.unit && !matches!(event.unit, Unit::C | Unit::M);
                prop_assert!(!order || its.start <= times.start, "{:?} overtakes in its unit", event);
                let (reads, writes) = (event.reads.0 >> 32, event.writes.0 >> 32);
                let needs = (older.writes.0 >> 32) & reads & !(0xff << (RegSet::C - 32)) != 0;
                prop_assert!(!needs || its.ready <= times.start, "{:?} reads what is not written", event);
                let spoils = (older.reads.0 >> 32) & writes & !(0xff << (RegSet::C - 32)) != 0;
                prop_assert!(!spoils || its.end <= times.start, "{:?} writes what is still read", event);
                for (a, b) in older.touched().iter().flat_map(|a| event.touched().iter().map(move |b| (a, b))) {
                    let clash = a.space == b.space && a.lo < b.hi && b.lo < a.hi && (a.write || b.write);
                    let over = if older.unit == Unit::D && a.write { its.ready } else { its.end };
                    prop_assert!(!clash || over <= times.start, "{:?} before its bytes are there", event);
                }
            }
        }
    }
}

#[test]
fn a_stream_of_transfers_has_the_bandwidth_of_the_reference() {
    // DRAMsim3, 64 MiB of reads in sequence: GB/s of three configurations (docs/dram.md).
    for (name, reference) in [("dram-hbm2", 235.85e9), ("dram-ddr4", 16.88e9), ("dram-lpddr4", 18.25e9)] {
        let machine = machine::load(name).unwrap();
        let piece = 1 << 18;
        let events: Vec<Event> = (0..256).map(|n| dma_in(n * piece, n % 2 * piece, piece, 0)).collect();
        let outcome = run(&machine, &events);
        let seconds = outcome.timing.cycles as f64 / machine.clock_hz;
        let bandwidth = (256 * piece) as f64 / seconds;
        assert!(
            (bandwidth / reference - 1.0).abs() < 0.03,
            "{name}: {:.2} GB/s, reference {:.2}",
            bandwidth / 1e9,
            reference / 1e9
        );
        let opened = outcome.ledger.count(|key| key.what == What::Activate);
        assert_eq!(opened, outcome.timing.dram.counts.activates, "{name}: every row that is opened has an owner");
        assert!(outcome.timing.dram.counts.refreshes > 0, "{name} refreshes");
    }
}

#[test]
fn an_epoch_brings_dram_to_rest() {
    // After it the same transfers take the same time, whatever was before.
    let machine = by_commands();
    let after = |before: &[Event]| {
        let mut events = before.to_vec();
        events.extend([event(Op::Epoch, Work::Drain), scalar()]);
        let start = cycles(&machine, &events);
        events.extend((0..40).map(|n| dma_in(n * 5000, n % 4 * 8192, 4096, 0)));
        events.push(event(Op::Epoch, Work::Drain));
        cycles(&machine, &events) - start
    };
    let rows: Vec<Event> = (0..30).map(|n| dma_in(n * 1_000_003 % 9_000_000 / 64 * 64, 0, 640, 1)).collect();
    let quiet = after(&[]);
    assert_eq!(after(&rows), quiet);
    assert_eq!(after(&rows[..7]), quiet);
    assert_eq!(after(&[vec![scalar(); 5000], rows].concat()), quiet, "also where refreshes would fall elsewhere");
}
