//! Where the energy goes: components stacked, one bar a policy, one panel a machine.

use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, FAMILIES, WIDTH, axis, axis::Axis, by_family, energy_family, frame, legend_of, shorten, stack};
use crate::report::{story, units};
use crate::vpu::summary::RunSummary;

const LEFT: f64 = 110.0;
const ROW: f64 = 22.0;

/// The chart.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let focus = story::focus(runs)?;
    let machines = story::machines(runs);
    let title = title(focus)?;
    let rows_of = |machine: &str| runs.iter().filter(|run| run.machine == machine).count();
    let panel = |machine: &str| rows_of(machine) as f64 * ROW + 62.0;
    let height = 92.0 + machines.iter().map(|m| panel(m)).sum::<f64>() + 20.0;
    let mut drawing =
        frame(height, &title, "energy of one run by component; arithmetic, movement and leakage together", runs);
    let all: Vec<_> = runs.iter().map(|run| families(run, 1.0)).collect();
    drawing.legend(20.0, 70.0, &legend_of(&all));
    let mut top = 98.0;
    let mut csv = String::from("machine,policy,component,part,energy_pj\n");
    for machine in &machines {
        let here: Vec<&RunSummary> = runs.iter().filter(|run| run.machine == *machine).collect();
        let high = here.iter().map(|run| run.energy_pj.total).fold(0.0, f64::max);
        let (scale, unit) = unit_of(high);
        let axis = Axis::linear(0.0, high / scale, LEFT, WIDTH - 110.0);
        let bottom = top + 14.0 + ROW * here.len() as f64;
        drawing.text((20.0, top), kit::LABEL, *machine, Anchor::Start, INK);
        for tick in axis.ticks() {
            drawing.line((axis.at(tick), top + 10.0), (axis.at(tick), bottom), GRID);
            drawing.text((axis.at(tick), bottom + 10.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
        }
        drawing.text((WIDTH - 78.0, bottom + 10.0), kit::SMALL, unit, Anchor::Start, FAINT);
        for (index, run) in here.iter().enumerate() {
            let y = top + 14.0 + ROW * index as f64;
            drawing.text((LEFT - 10.0, y + ROW / 2.0 - 2.0), kit::LABEL, shorten(&run.policy, 14), Anchor::End, INK);
            let end = stack(&mut drawing, &axis, y, ROW - 5.0, &families(run, scale));
            for row in &run.energy_by_component {
                let part = format!("{:?}", row.part).to_lowercase();
                csv += &format!("{machine},{},{},{part},{}\n", run.policy, row.component, row.pj);
            }
            let end = (end + 6.0, y + ROW / 2.0 - 2.0);
            drawing.text(end, kit::SMALL, units::energy(run.energy_pj.total), Anchor::Start, FAINT);
        }
        top = bottom + 48.0;
    }
    Some(Chart { name: "energy".into(), title, drawing, csv })
}

/// Energy of a run by family, in units of `scale` picojoules.
fn families(run: &RunSummary, scale: f64) -> [f64; FAMILIES.len()] {
    by_family(run.energy_by_component.iter().map(|row| (energy_family(row), row.pj / scale)))
}

/// Picojoules of the unit that suits `pj`, and its name.
fn unit_of(pj: f64) -> (f64, &'static str) {
    match pj {
        v if v >= 1e12 => (1e12, "J"),
        v if v >= 1e9 => (1e9, "mJ"),
        v if v >= 1e6 => (1e6, "µJ"),
        v if v >= 1e3 => (1e3, "nJ"),
        _ => (1.0, "pJ"),
    }
}

fn title(focus: &RunSummary) -> Option<String> {
    let sums = families(focus, 1.0);
    let (largest, pj) = FAMILIES.iter().zip(sums).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let share = if focus.energy_pj.total > 0.0 { pj / focus.energy_pj.total } else { 0.0 };
    Some(format!(
        "{} takes {} of the energy of {} on {}",
        largest.0,
        units::percent(share),
        focus.policy,
        focus.machine
    ))
}
