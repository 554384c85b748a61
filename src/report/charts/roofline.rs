//! Roofline: multiply-accumulates a cycle against multiply-accumulates a DRAM byte, under the machine's ceilings. Several
//! policies give one dot each; a single run gives one dot a step.

use super::kit::{self, Anchor, Colour, Drawing, FAINT, GRID, INK, Shape};
use super::{Chart, WIDTH, axis, axis::Axis, frame, shorten};
use crate::report::{story, units};
use crate::vpu::summary::RunSummary;

const PLOT: (f64, f64, f64, f64) = (84.0, WIDTH - 150.0, 92.0, 440.0);

/// A dot: name, MAC a byte, MAC a cycle, colour, radius.
struct Dot {
    name: String,
    intensity: f64,
    rate: f64,
    colour: Colour,
    radius: f64,
}

/// The chart of the first machine; `None` if nothing multiplied or nothing came from DRAM.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let focus = story::focus(runs)?;
    let here: Vec<&RunSummary> = runs.iter().filter(|run| run.machine == focus.machine).collect();
    let dots = if here.len() > 1 { policy_dots(&here) } else { step_dots(focus) };
    let bandwidth = focus.peak.dram_bytes_per_cycle;
    let ceilings = ceilings(&here);
    let top = ceilings.iter().map(|(peak, _)| *peak).fold(0.0, f64::max);
    if dots.is_empty() || bandwidth <= 0.0 || top <= 0.0 {
        return None;
    }
    let title = format!("{} on {} is bound by {}", focus.policy, focus.machine, story::shown(&focus.bound_by.what));
    let what = if here.len() > 1 { "one dot a policy" } else { "one dot a step, sized by cycles" };
    let subtitle = format!(
        "{what}; slanted: {} bytes a cycle from DRAM; level: peak of a unit for its formats",
        units::digits(bandwidth)
    );
    let mut drawing = frame(PLOT.3 + 70.0, &title, &subtitle, std::slice::from_ref(focus));
    let fold = |f: fn(&Dot) -> f64, start: f64, pick: fn(f64, f64) -> f64| dots.iter().map(f).fold(start, pick);
    let knee = top / bandwidth;
    let x_low = fold(|d| d.intensity, knee / 4.0, f64::min);
    let x = Axis::log(x_low, fold(|d| d.intensity, knee * 2.0, f64::max), PLOT.0, PLOT.1);
    let y = Axis::log(fold(|d| d.rate, x_low * bandwidth, f64::min), top, PLOT.3, PLOT.2);
    grid(&mut drawing, &x, &y);
    roofs(&mut drawing, &x, &y, bandwidth, &ceilings);
    let mut csv = String::from("name,macs_per_byte,macs_per_cycle\n");
    for dot in &dots {
        let (px, py) = (x.at(dot.intensity), y.at(dot.rate));
        drawing.shapes.push(Shape::Dot(px, py, dot.radius, dot.colour));
        csv += &format!("{},{},{}\n", crate::report::csv::field(&dot.name), dot.intensity, dot.rate);
    }
    label_dots(&mut drawing, &x, &y, &dots);
    Some(Chart { name: "roofline".into(), title, drawing, csv })
}

/// Labels the dots from top to bottom at the right of each, moved down where two would touch.
fn label_dots(drawing: &mut Drawing, x: &Axis, y: &Axis, dots: &[Dot]) {
    let mut order: Vec<&Dot> = dots.iter().collect();
    order.sort_by(|a, b| b.radius.total_cmp(&a.radius).then(b.rate.total_cmp(&a.rate)));
    order.truncate(14);
    order.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(a.intensity.total_cmp(&b.intensity)));
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for dot in order {
        let name = shorten(&dot.name, 26);
        let width = kit::text_width(&name, kit::SMALL);
        let px = (x.at(dot.intensity) + dot.radius + 3.0).min(WIDTH - width - 6.0);
        let mut py = y.at(dot.rate) + 9.0;
        while taken.iter().any(|(from, to, at)| px < *to && px + width > *from && (py - at).abs() < 13.0) {
            py += 2.0;
        }
        if py < PLOT.3 - 4.0 {
            drawing.text((px, py), kit::SMALL, name, Anchor::Start, INK);
            taken.push((px, px + width, py));
        }
    }
}

fn policy_dots(runs: &[&RunSummary]) -> Vec<Dot> {
    let dots = runs.iter().filter(|run| run.macs.executed > 0 && run.dram_bytes() > 0 && run.cycles > 0);
    dots.map(|run| Dot {
        name: run.policy.clone(),
        intensity: run.macs.executed as f64 / run.dram_bytes() as f64,
        rate: run.macs.executed as f64 / run.cycles as f64,
        colour: kit::BRIGHT[0],
        radius: 5.0,
    })
    .collect()
}

fn step_dots(run: &RunSummary) -> Vec<Dot> {
    let layers = run.layers.iter().filter(|layer| layer.macs > 0 && layer.dram_bytes > 0 && layer.cycles > 0);
    layers
        .map(|layer| Dot {
            name: layer.name.clone(),
            intensity: layer.macs as f64 / layer.dram_bytes as f64,
            rate: layer.macs as f64 / layer.cycles as f64,
            colour: kit::BRIGHT[0],
            radius: 3.0 + 9.0 * (layer.cycles as f64 / run.cycles.max(1) as f64).sqrt(),
        })
        .collect()
}

/// Distinct peaks, each with the names of what reaches it.
fn ceilings(runs: &[&RunSummary]) -> Vec<(f64, String)> {
    let mut out: Vec<(f64, Vec<String>)> = Vec::new();
    for pair in runs.iter().flat_map(|run| &run.peak.macs_per_cycle) {
        let name = if pair.weights == pair.inputs {
            pair.weights.clone()
        } else {
            format!("{}×{}", pair.weights, pair.inputs)
        };
        match out.iter_mut().find(|(peak, _)| *peak == pair.peak) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => out.push((pair.peak, vec![name])),
        }
    }
    out.sort_by(|a, b| b.0.total_cmp(&a.0));
    let told = |names: Vec<String>| match names.as_slice() {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    out.into_iter().map(|(peak, names)| (peak, told(names))).collect()
}

fn roofs(drawing: &mut Drawing, x: &Axis, y: &Axis, bandwidth: f64, ceilings: &[(f64, String)]) {
    let (low, high) = x.range();
    let top = ceilings.first().map_or(1.0, |(peak, _)| *peak);
    let start = low.max(y.range().0 / bandwidth);
    let slant = vec![(x.at(start), y.at(start * bandwidth)), (x.at(top / bandwidth), y.at(top))];
    drawing.shapes.push(Shape::Line(slant, INK, 2));
    let mut last = f64::NEG_INFINITY;
    for (peak, names) in ceilings {
        let level = vec![(x.at(peak / bandwidth), y.at(*peak)), (x.at(high), y.at(*peak))];
        drawing.shapes.push(Shape::Line(level, FAINT, 1));
        let py = y.at(*peak).max(last + 13.0);
        drawing.text((PLOT.1 + 6.0, py), kit::SMALL, shorten(names, 22), Anchor::Start, FAINT);
        last = py;
    }
}

fn grid(drawing: &mut Drawing, x: &Axis, y: &Axis) {
    let (left, right, top, bottom) = PLOT;
    for tick in x.ticks() {
        drawing.line((x.at(tick), top), (x.at(tick), bottom), GRID);
        drawing.text((x.at(tick), bottom + 12.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
    }
    for tick in y.ticks() {
        drawing.line((left, y.at(tick)), (right, y.at(tick)), GRID);
        drawing.text((left - 8.0, y.at(tick)), kit::SMALL, axis::label(tick), Anchor::End, FAINT);
    }
    let middle = ((left + right) / 2.0, bottom + 32.0);
    drawing.text(middle, kit::LABEL, "multiply-accumulates a byte from or to DRAM", Anchor::Middle, INK);
    drawing.shapes.push(Shape::Upright(
        22.0,
        (top + bottom) / 2.0,
        kit::LABEL,
        "multiply-accumulates a cycle".into(),
        INK,
    ));
}
