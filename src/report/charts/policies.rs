//! Quality, energy and cycles of every policy, side by side.

use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, WIDTH, axis::Axis, frame, shorten};
use crate::report::{story, units};
use crate::vpu::summary::RunSummary;

/// Left edge of the first panel.
const LEFT: f64 = 110.0;
const BAR: f64 = 13.0;

/// One panel: heading, value of a run, value in words.
type Panel = (&'static str, fn(&RunSummary) -> f64, fn(f64) -> String);

const PANELS: [Panel; 3] = [
    ("quality", |run| run.quality.value, units::quality),
    ("energy", |run| run.energy_pj.total, units::energy),
    ("cycles", |run| run.cycles as f64, |v| units::short(v)),
];

/// The chart; `None` with fewer than two policies.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let (machines, policies) = (story::machines(runs), story::policies(runs));
    let focus = story::focus(runs)?;
    if policies.len() < 2 {
        return None;
    }
    let title = title(focus);
    let row = machines.len() as f64 * BAR + 9.0;
    let top = 106.0;
    let height = top + row * policies.len() as f64 + 36.0;
    let subtitle = format!("{} · energy and cycles of one input of {} tokens", focus.quality.metric, focus.tokens);
    let mut drawing = frame(height, &title, &subtitle, runs);
    let legend: Vec<_> = machines.iter().zip(kit::BRIGHT).map(|(name, colour)| (name.to_string(), colour)).collect();
    drawing.legend(LEFT, 68.0, &legend);
    let bottom = height - 34.0;
    let width = (WIDTH - LEFT - 20.0) / 3.0;
    for (index, policy) in policies.iter().enumerate() {
        let y = top + row * (index as f64 + 0.5) - 4.5;
        drawing.text((LEFT - 10.0, y), kit::LABEL, shorten(policy, 14), Anchor::End, INK);
    }
    for (panel, (name, value, words)) in PANELS.iter().enumerate() {
        let left = LEFT + width * panel as f64;
        let high = runs.iter().map(value).fold(0.0, f64::max);
        let axis = Axis::linear(0.0, high, left, left + width - 82.0);
        drawing.text((left, top - 16.0), kit::LABEL, *name, Anchor::Start, INK);
        drawing.line((left, top - 5.0), (left, bottom - 4.0), GRID);
        for (index, policy) in policies.iter().enumerate() {
            for (slot, machine) in machines.iter().enumerate() {
                let Some(run) = story::find(runs, machine, policy) else { continue };
                let y = top + row * index as f64 + BAR * slot as f64;
                let end = axis.at(value(run)).max(left + 1.0);
                drawing.rect(left, y, end - left, BAR - 2.0, kit::BRIGHT[slot % 7]);
                drawing.text((end + 5.0, y + 5.0), kit::SMALL, words(value(run)), Anchor::Start, FAINT);
            }
        }
    }
    Some(Chart { name: "policies".into(), title, drawing, csv: csv(runs) })
}

fn title(focus: &RunSummary) -> String {
    match focus.saved_vs_fp32.filter(|_| focus.policy != "fp32") {
        Some(saved) => format!(
            "{} on {}: {} {} at {} less energy than fp32",
            focus.policy,
            focus.machine,
            focus.quality.metric.split(' ').next().unwrap_or("quality"),
            units::quality(focus.quality.value),
            units::times(saved.energy)
        ),
        None => format!("No policy reaches {} beside {} on {}", story::GOOD_QUALITY, focus.policy, focus.machine),
    }
}

fn csv(runs: &[RunSummary]) -> String {
    let mut out = String::from("machine,policy,quality,energy_pj,cycles\n");
    for run in runs {
        let (quality, energy) = (run.quality.value, run.energy_pj.total);
        out += &format!("{},{},{quality},{energy},{}\n", run.machine, run.policy, run.cycles);
    }
    out
}
