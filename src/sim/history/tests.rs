//! The sums of a history are the books of the run, for any program.

use super::*;
use crate::machine;
use crate::sim::observe::Step;
use crate::sim::tests::any_event;
use crate::sim::timing::UNITS;
use crate::sim::{CAUSES, Energy, Estimate, Group, Outcome, Place, Sim};
use proptest::prelude::*;

fn history(machine: &Machine, keep: Keep, events: &[Event]) -> (History, Outcome) {
    let (mut sim, mut history) = (Sim::new(machine, 4), History::new(machine, keep));
    events.iter().for_each(|event| sim.observe(event, &mut history));
    let outcome = sim.finish_observed(&mut history).unwrap();
    (history, outcome)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_are_the_books(events in prop::collection::vec(any_event(), 0..120), bins in 2usize..80, cycle: bool) {
        let machine = machine::load(if cycle { "dram-hbm2" } else { "edge" }).unwrap();
        let (history, outcome) = history(&machine, Keep { bins, window: None, pictures: true }, &events);
        let timeline = history.timeline.as_ref().unwrap();
        for unit in UNITS {
            let books = &outcome.timing.units[unit as usize];
            prop_assert_eq!(timeline.busy(unit, 0).iter().sum::<u64>(), books.busy_cycles, "{:?}", unit);
            for (cause, name) in CAUSES.iter().enumerate() {
                let kept: u64 = timeline.stalled(unit, cause).iter().sum();
                prop_assert_eq!(kept, books.stall_cycles[cause], "{:?} {}", unit, name);
            }
            for bin in 0..history.scale.used() {
                let stalled: u64 = (0..CAUSES.len()).map(|cause| timeline.stalled(unit, cause)[bin]).sum();
                prop_assert!(timeline.busy(unit, 0)[bin] + stalled <= history.scale.cycles(bin));
            }
        }
        for (level, place) in [Place::Dram, Place::Own, Place::Shared].into_iter().enumerate() {
            let kept = [0, 1].map(|way| history.traffic(level, way).iter().sum::<u64>());
            prop_assert_eq!(kept, <[u64; 2]>::from(outcome.ledger.bytes(place)), "{}", LEVELS[level]);
        }
        let energy: Energy = outcome.ledger.energy(&machine).unwrap();
        let moving = energy.sum(Estimate::Typical, |row| row.group != Group::Leakage);
        prop_assert_eq!(history.energy.iter().sum::<i128>(), moving);
        prop_assert!(history.scale.end <= outcome.timing.cycles);
    }

    #[test]
    fn a_window_is_a_part_of_the_whole(events in prop::collection::vec(any_event(), 1..60), from in 0u64..20) {
        let machine = machine::load("edge").unwrap();
        let (fine, _) = history(&machine, Keep { bins: 256, window: None, pictures: true }, &events);
        let width = fine.scale.width;
        let window = Some((from * width, (from + 16) * width));
        let (part, _) = history(&machine, Keep { bins: 4, window, pictures: true }, &events);
        let inside = |row: &[u64]| row.iter().skip(from as usize).take(16).sum::<u64>();
        for unit in UNITS {
            let (fine, part) = (fine.timeline.as_ref().unwrap(), part.timeline.as_ref().unwrap());
            prop_assert_eq!(inside(fine.busy(unit, 0)), part.busy(unit, 0).iter().sum::<u64>());
        }
        prop_assert_eq!(inside(fine.traffic(1, 0)), part.traffic(1, 0).iter().sum::<u64>());
        let whole: i128 = fine.energy.iter().skip(from as usize).take(16).sum();
        prop_assert_eq!(whole, part.energy.iter().sum::<i128>());
    }
}

#[test]
fn few_steps_are_groups_and_many_go_by_kernel() {
    let machine = machine::load("edge").unwrap();
    let object = crate::isa::Object::default();
    let names: Vec<String> = (0..12).map(|n| format!("block.{n}")).collect();
    let steps = |count: usize| {
        let kernel = |n: usize| if n.is_multiple_of(2) { "a/linear-array.vasm" } else { "softmax.vasm" };
        names[..count].iter().enumerate().map(|(n, name)| Step { name, kernel: kernel(n) }).collect()
    };
    let mut history = History::new(&machine, Keep { bins: 8, window: None, pictures: true });
    history.begin(&Program { object: &object, steps: steps(2) });
    assert_eq!(history.groups, ["block.0", "block.1", "between steps"]);
    history.begin(&Program { object: &object, steps: steps(12) });
    assert_eq!(history.groups, ["linear-array", "softmax", "between steps"]);
    assert_eq!([0, 7, 12, 99].map(|node| history.group(node)), [0, 1, 2, 2]);
}
