//! Where the cycles go: the longest steps of the run in focus, each split by what its cycles were spent on.

use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, WIDTH, axis, axis::Axis, colour_of, frame, shorten};
use crate::report::{story, units};
use crate::vpu::summary::{Layer, RunSummary};

const LEFT: f64 = 290.0;
const ROW: f64 = 19.0;
/// Steps shown; the others are added up in one last row.
const SHOWN: usize = 24;

/// The chart; `None` if the run has no steps.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let run = story::focus(runs)?;
    let longest = run.layers.iter().max_by_key(|layer| layer.cycles)?;
    let rows = rows(run);
    let share = longest.cycles as f64 / run.cycles.max(1) as f64;
    let name = shorten(&longest.name, 34);
    let title = format!("{name} takes {} of the cycles of {} on {}", units::percent(share), run.policy, run.machine);
    let mut causes: Vec<&str> = Vec::new();
    for cause in run.layers.iter().flat_map(|layer| layer.cycles_by.keys()) {
        if !causes.contains(&cause.as_str()) {
            causes.push(cause);
        }
    }
    let top = 92.0;
    let bottom = top + ROW * rows.len() as f64;
    let subtitle = format!("cycles by step of {} · {}, in program order", run.policy, run.machine);
    let mut drawing = frame(bottom + 62.0, &title, &subtitle, std::slice::from_ref(run));
    let legend: Vec<_> = causes.iter().map(|cause| (cause.to_string(), colour_of(cause))).collect();
    drawing.legend(20.0, 70.0, &legend);
    let high = rows.iter().map(|row| row.1).max().unwrap_or(1);
    let axis = Axis::linear(0.0, high as f64, LEFT, WIDTH - 110.0);
    for tick in axis.ticks() {
        drawing.line((axis.at(tick), top - 4.0), (axis.at(tick), bottom), GRID);
        drawing.text((axis.at(tick), bottom + 11.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
    }
    drawing.text((WIDTH - 78.0, bottom + 11.0), kit::SMALL, "cycles", Anchor::Start, FAINT);
    for (index, (name, cycles, parts)) in rows.iter().enumerate() {
        let y = top + ROW * index as f64;
        drawing.text((LEFT - 10.0, y + ROW / 2.0 - 2.0), kit::SMALL, shorten(name, 40), Anchor::End, INK);
        let mut done = 0;
        for (cause, part) in parts {
            let (from, to) = (axis.at(done as f64), axis.at((done + part) as f64));
            drawing.rect(from, y, to - from, ROW - 4.0, colour_of(cause));
            done += part;
        }
        let end = (axis.at(*cycles as f64) + 6.0, y + ROW / 2.0 - 2.0);
        drawing.text(end, kit::SMALL, units::count(*cycles), Anchor::Start, FAINT);
    }
    Some(Chart { name: "layers".into(), title, drawing, csv: csv(run) })
}

/// Name, cycles, cycles by cause.
type Row = (String, u64, Vec<(String, u64)>);

fn rows(run: &RunSummary) -> Vec<Row> {
    let mut order: Vec<usize> = (0..run.layers.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(run.layers[*index].cycles), *index));
    let mut shown: Vec<usize> = order.iter().copied().take(SHOWN).collect();
    shown.sort_unstable();
    let parts = |layer: &Layer| layer.cycles_by.iter().map(|(cause, part)| (cause.clone(), *part)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for index in &shown {
        let layer = &run.layers[*index];
        rows.push((layer.name.clone(), layer.cycles, parts(layer)));
    }
    if order.len() > SHOWN {
        let rest = &order[SHOWN..];
        let mut sum = std::collections::BTreeMap::<String, u64>::new();
        for (cause, part) in rest.iter().flat_map(|index| &run.layers[*index].cycles_by) {
            *sum.entry(cause.clone()).or_default() += part;
        }
        let cycles = rest.iter().map(|index| run.layers[*index].cycles).sum();
        rows.push((format!("{} shorter steps", rest.len()), cycles, sum.into_iter().collect()));
    }
    rows
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
