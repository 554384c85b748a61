//! Where the cycles go: the longest steps of the run in focus, each split by what its cycles were spent on.

use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, FAMILIES, WIDTH, axis, axis::Axis, by_family, cycle_family, fit, frame, legend_of, shorten, stack};
use crate::report::{story, units};
use crate::vpu::summary::RunSummary;

const LEFT: f64 = 290.0;
const ROW: f64 = 19.0;
/// Bars shown; the others are added up in one last row.
const SHOWN: usize = 24;

/// The chart; `None` if the run has no steps.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let run = story::focus(runs)?;
    let rows = rows(run);
    let longest = rows.iter().filter(|row| row.steps > 0).max_by_key(|row| row.cycles)?;
    let share = longest.cycles as f64 / run.cycles.max(1) as f64;
    let first = longest.name.split(' ').next().unwrap_or_default();
    let name = shorten(first, 40);
    let title = format!("{name} takes {} of the cycles of {} on {}", units::percent(share), run.policy, run.machine);
    let top = 92.0;
    let bottom = top + ROW * rows.len() as f64;
    let subtitle = format!("cycles by step of {} · {}, in program order", run.policy, run.machine);
    let mut drawing = frame(bottom + 62.0, &title, &subtitle, std::slice::from_ref(run));
    let all: Vec<_> = rows.iter().map(|row| row.parts).collect();
    drawing.legend(20.0, 70.0, &legend_of(&all));
    let high = rows.iter().map(|row| row.cycles).max().unwrap_or(1);
    let axis = Axis::linear(0.0, high as f64, LEFT, WIDTH - 110.0);
    for tick in axis.ticks() {
        drawing.line((axis.at(tick), top - 4.0), (axis.at(tick), bottom), GRID);
        drawing.text((axis.at(tick), bottom + 11.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
    }
    drawing.text((WIDTH - 78.0, bottom + 11.0), kit::SMALL, "cycles", Anchor::Start, FAINT);
    for (index, row) in rows.iter().enumerate() {
        let y = top + ROW * index as f64;
        let label = (LEFT - 10.0, y + ROW / 2.0 - 2.0);
        drawing.text(label, kit::SMALL, fit(&fused(&row.name), LEFT - 20.0, kit::SMALL), Anchor::End, INK);
        let end = stack(&mut drawing, &axis, y, ROW - 4.0, &row.parts);
        drawing.text((end + 6.0, label.1), kit::SMALL, units::count(row.cycles), Anchor::Start, FAINT);
    }
    Some(Chart { name: "layers".into(), title, drawing, csv: csv(run) })
}

/// One bar: a step, several steps of the same name but for a number, or the rest (which has no steps).
struct Row {
    name: String,
    steps: usize,
    cycles: u64,
    parts: [f64; FAMILIES.len()],
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.cycles += other.cycles;
        self.parts.iter_mut().zip(other.parts).for_each(|(sum, part)| *sum += part);
    }
}

/// The bars in program order: single steps if they are few, else steps of equal name in all blocks together.
fn rows(run: &RunSummary) -> Vec<Row> {
    let alone = run.layers.len() <= SHOWN;
    let mut rows: Vec<Row> = Vec::new();
    for layer in &run.layers {
        let name = if alone { layer.name.clone() } else { without_numbers(&layer.name) };
        let parts = by_family(layer.cycles_by.iter().map(|(cause, cycles)| (cycle_family(cause), *cycles as f64)));
        let row = Row { name, steps: 1, cycles: layer.cycles, parts };
        match rows.iter_mut().find(|known| known.name == row.name).filter(|_| !alone) {
            Some(known) => {
                known.add(&row);
                known.steps += 1;
            }
            None => rows.push(row),
        }
    }
    for row in rows.iter_mut().filter(|row| row.steps > 1) {
        row.name = format!("{} ({}×)", row.name, row.steps);
    }
    if rows.len() > SHOWN {
        let mut cycles: Vec<u64> = rows.iter().map(|row| row.cycles).collect();
        cycles.sort_unstable_by(|a, b| b.cmp(a));
        let least = cycles[SHOWN - 1];
        let (kept, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.cycles >= least);
        let mut rest = Row { name: "the others".into(), steps: 0, cycles: 0, parts: [0.0; FAMILIES.len()] };
        others.iter().for_each(|row| rest.add(row));
        rows = kept;
        rows.push(rest);
    }
    rows
}

/// A name with its numbers left out: `blocks.3.up` -> `blocks.*.up`.
fn without_numbers(name: &str) -> String {
    let words = name.split(' ').map(|word| {
        let parts = word.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
        parts.collect::<Vec<_>>().join(".")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A fused step with the parents of its later names said once: `a.b.up + a.b.relu` -> `a.b.up + relu`.
fn fused(name: &str) -> String {
    let mut names = name.split(" + ");
    let first = names.next().unwrap_or_default();
    let (parent, _) = first.rsplit_once('.').unwrap_or_default();
    let later = names.map(|name| name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name));
    std::iter::once(first).chain(later).collect::<Vec<_>>().join(" + ")
}

fn csv(run: &RunSummary) -> String {
    let mut out = String::from("layer,cause,cycles\n");
    for layer in &run.layers {
        for (cause, cycles) in &layer.cycles_by {
            out += &format!("{},{cause},{cycles}\n", crate::report::csv::field(&layer.name));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn a_fused_step_says_its_parents_once() {
        assert_eq!(fused("a.*.output.dense + a.*.output.add (6×)"), "a.*.output.dense + add (6×)");
        assert_eq!(fused("a.*.down + b.*.add"), "a.*.down + b.*.add");
        assert_eq!(fused("fc1 + relu1"), "fc1 + relu1");
        assert_eq!(fused("fc3"), "fc3");
    }

    #[test]
    fn blocks_are_added_up_and_nothing_is_lost() {
        let mut run = sample::runs().remove(0);
        let layers = run.layers.clone();
        run.layers = (0..6)
            .flat_map(|block| {
                layers.iter().cloned().map(move |mut layer| {
                    layer.name = layer.name.replace("block0", &format!("block.{block}"));
                    layer
                })
            })
            .collect();
        let rows = rows(&run);
        assert_eq!(rows.len(), layers.len());
        assert!(rows.iter().any(|row| row.name == "block.*.ffn.up + block.*.relu2 (6×)"), "{}", rows[2].name);
        assert_eq!(rows.iter().map(|row| row.cycles).sum::<u64>(), run.layers.iter().map(|l| l.cycles).sum::<u64>());
    }
}
