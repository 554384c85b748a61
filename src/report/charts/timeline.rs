//! What each unit did when: busy, coloured by step or kernel, and held up, in greys; the rest is idle.

use super::kit::{self, Anchor, Colour, Drawing, FAINT, GRID, INK};
use super::over_time::{Columns, cycle_axis, palette};
use super::{Chart, WIDTH, frame};
use crate::isa::Unit;
use crate::report::{story, units};
use crate::sim::history::{History, Timeline};
use crate::sim::{CAUSES, UNIT_NAMES, UNITS};
use crate::vpu::summary::RunSummary;

const LEFT: f64 = 110.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 96.0;
const ROW: f64 = 42.0;
/// Height of a unit that is busy all the time.
const FULL: f64 = 34.0;
/// Most groups with a colour of their own.
const COLOURS: usize = 6;

/// Causes of stalls by what is missing: name, grey, causes.
const WAITS: [(&str, Colour, &[&str]); 3] = [
    ("waits for data", (0x88, 0x88, 0x88), &["order", "raw", "war", "acc"]),
    ("waits for a unit", (0xb0, 0xb0, 0xb0), &["weights", "engine", "queue"]),
    ("waits as told", (0xd8, 0xd8, 0xd8), &["wait", "drain", "sync"]),
];

/// Index of [`WAITS`] for a cause; causes of later machines wait for a unit.
fn wait_kind(cause: usize) -> usize {
    WAITS.iter().position(|(_, _, causes)| causes.contains(&CAUSES[cause])).unwrap_or(1)
}

/// One share of a unit's time, column by column.
struct Layer {
    colour: Colour,
    cycles: Vec<u64>,
}

/// The chart; `None` if nothing was kept.
pub fn chart(run: &RunSummary, history: &History) -> Option<Chart> {
    let timeline = history.timeline.as_ref().filter(|_| history.scale.used() > 0)?;
    let columns = Columns::of(&history.scale);
    let shown: Vec<Unit> = UNITS.into_iter().filter(|unit| instructions(timeline, *unit, history) > 0).collect();
    let title = title(run, history, timeline);
    let subtitle = format!(
        "share of busy and stalled cycles of each unit, {} cycles a column, of {} · {}",
        units::count(columns.cycles(0)),
        run.policy,
        run.machine
    );
    let height = TOP + ROW * shown.len() as f64 + 66.0;
    let mut drawing = frame(height, &title, &subtitle, std::slice::from_ref(run));
    let ranked = palette(&busy_by_group(history, timeline), &history.groups, COLOURS);
    let mut legend: Vec<(String, Colour)> = ranked.legend.clone();
    legend.extend(WAITS.iter().map(|(name, colour, _)| ((*name).to_owned(), *colour)));
    drawing.legend(20.0, 72.0, &legend);
    let bottom = TOP + ROW * shown.len() as f64;
    cycle_axis(&mut drawing, &history.scale, (LEFT, RIGHT), (TOP - 4.0, bottom));
    let mut csv = String::from("unit,from_cycle,until_cycle,what,name,cycles\n");
    for (at, unit) in shown.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let name = UNIT_NAMES[*unit as usize];
        drawing.text((LEFT - 10.0, y + FULL / 2.0), kit::LABEL, name, Anchor::End, INK);
        drawing.line((LEFT, y + FULL), (RIGHT, y + FULL), GRID);
        let layers = layers(timeline, *unit, &columns, &ranked.colours);
        draw(&mut drawing, &columns, &layers, y);
        write(&mut csv, history, timeline, *unit, &columns);
    }
    drawing.text((LEFT, bottom + 30.0), kit::SMALL, "white: idle", Anchor::Start, FAINT);
    Some(Chart { name: "timeline".into(), title, drawing, csv })
}

fn instructions(timeline: &Timeline, unit: Unit, history: &History) -> u64 {
    (0..history.groups.len()).map(|group| timeline.busy(unit, group).iter().sum::<u64>()).sum()
}

/// Busy cycles of all units but control by group, which is busy with everything.
fn busy_by_group(history: &History, timeline: &Timeline) -> Vec<u64> {
    let of = |group| UNITS[1..].iter().map(|unit| timeline.busy(*unit, group).iter().sum::<u64>()).sum();
    (0..history.groups.len()).map(of).collect()
}

/// The unit that is busy most, and what holds up a unit longest.
fn title(run: &RunSummary, history: &History, timeline: &Timeline) -> String {
    let cycles = history.scale.end.saturating_sub(history.scale.from).max(1) as f64;
    let busiest = UNITS[1..].iter().map(|unit| (instructions(timeline, *unit, history), *unit));
    let busiest = busiest.fold((0, Unit::C), |best, next| if next.0 > best.0 { next } else { best });
    let stalls = UNITS.iter().flat_map(|unit| (0..CAUSES.len()).map(move |cause| (*unit, cause)));
    let stalls = stalls.map(|(unit, cause)| (timeline.stalled(unit, cause).iter().sum::<u64>(), unit, cause));
    let most = stalls.fold((0, Unit::C, 0), |best, next| if next.0 > best.0 { next } else { best });
    let share = |part: u64| units::percent(part as f64 / cycles);
    let mut text = format!("{} is busy {} of the cycles", UNIT_NAMES[busiest.1 as usize], share(busiest.0));
    if most.0 > 0 {
        text += &format!(
            "; {} is held up most, {} by \u{201c}{}\u{201d}",
            UNIT_NAMES[most.1 as usize],
            share(most.0),
            CAUSES[most.2]
        );
    }
    format!("{text} ({})", story::shown(&run.policy))
}

/// Shares from the bottom up: busy groups, then waits; those that never happen are left out.
fn layers(timeline: &Timeline, unit: Unit, columns: &Columns, colours: &[Colour]) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut add = |colour: Colour, cycles: Vec<u64>| match layers.iter_mut().find(|l| l.colour == colour) {
        Some(known) => known.cycles.iter_mut().zip(cycles).for_each(|(sum, more)| *sum += more),
        None => layers.push(Layer { colour, cycles }),
    };
    for (group, colour) in colours.iter().enumerate() {
        add(*colour, columns.sums(timeline.busy(unit, group)));
    }
    for cause in 0..CAUSES.len() {
        add(WAITS[wait_kind(cause)].1, columns.sums(timeline.stalled(unit, cause)));
    }
    layers.retain(|layer| layer.cycles.iter().any(|cycles| *cycles > 0));
    layers
}

/// Stacks the layers; neighbouring columns of equal shares are one rectangle.
fn draw(drawing: &mut Drawing, columns: &Columns, layers: &[Layer], y: f64) {
    let width = (RIGHT - LEFT) / columns.total as f64;
    let x = |cycle: u64| LEFT + cycle as f64 * width;
    let shares = |column: usize| -> Vec<u64> { layers.iter().map(|layer| layer.cycles[column]).collect() };
    let mut first = 0;
    while first < columns.count {
        let mut last = first + 1;
        let (these, span) = (shares(first), columns.cycles(first));
        while last < columns.count && columns.cycles(last) == span && shares(last) == these {
            last += 1;
        }
        let (from, to) = (columns.start(first), columns.start(last - 1) + columns.cycles(last - 1));
        let mut floor = y + FULL;
        for (layer, cycles) in layers.iter().zip(these).filter(|(_, cycles)| *cycles > 0) {
            let height = FULL * cycles as f64 / span.max(1) as f64;
            drawing.rect(x(from), floor - height, x(to) - x(from), height, layer.colour);
            floor -= height;
        }
        first = last;
    }
}

fn write(csv: &mut String, history: &History, timeline: &Timeline, unit: Unit, columns: &Columns) {
    let name = UNIT_NAMES[unit as usize];
    let mut row = |what: &str, which: &str, bins: &[u64]| {
        for (column, cycles) in columns.sums(bins).into_iter().enumerate().filter(|(_, cycles)| *cycles > 0) {
            let from = history.scale.from + columns.start(column);
            let until = from + columns.cycles(column);
            *csv += &format!("{name},{from},{until},{what},{},{cycles}\n", crate::report::csv::field(which));
        }
    };
    for (group, which) in history.groups.iter().enumerate() {
        row("busy", which, timeline.busy(unit, group));
    }
    for (cause, which) in CAUSES.iter().enumerate() {
        row("stalled", which, timeline.stalled(unit, cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts::over_time::tests::{of_mlp, stays_on_its_sheet};

    #[test]
    fn columns_hold_the_cycles_of_the_books() {
        let (run, history) = of_mlp();
        let chart = chart(&run, &history).unwrap();
        stays_on_its_sheet(&chart);
        let sum = |unit: &str, what: &str| -> u64 {
            let rows = chart.csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
            rows.filter(|row| row[0] == unit && row[3] == what).map(|row| row[5].parse::<u64>().unwrap()).sum()
        };
        for unit in &run.units {
            assert_eq!(sum(&unit.unit, "busy"), unit.busy_cycles, "{}", unit.unit);
            assert_eq!(sum(&unit.unit, "stalled"), unit.stall_cycles.values().sum::<u64>(), "{}", unit.unit);
        }
        assert!(chart.title.contains("is busy") && chart.title.contains('%'), "{}", chart.title);
    }

    #[test]
    fn every_cause_is_a_kind_of_waiting() {
        for (_, _, causes) in WAITS {
            assert!(causes.iter().all(|cause| CAUSES.contains(cause)), "{causes:?}");
        }
        let named: usize = WAITS.iter().map(|(_, _, causes)| causes.len()).sum();
        assert_eq!(named, CAUSES.len(), "a cause without a grey");
    }
}
