//! Energy against quality: one dot a run, and the line of the runs that no other beats in both.

use super::kit::{self, Anchor, FAINT, GRID, INK, Shape};
use super::{Chart, WIDTH, axis, axis::Axis, frame, shorten};
use crate::report::{story, units};
use crate::vpu::summary::RunSummary;

/// The chart; `None` with fewer than three policies.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let machines = story::machines(runs);
    if story::policies(runs).len() < 3 {
        return None;
    }
    let front = front(runs);
    let title = title(runs, &front);
    let (left, right, top, bottom) = (84.0, WIDTH - 60.0, 92.0, 440.0);
    let metric = &runs[0].quality.metric;
    let subtitle =
        format!("{metric} against energy of one run; up and left is better; names and line for {}", machines[0]);
    let mut drawing = frame(bottom + 70.0, &title, &subtitle, runs);
    let energies = runs.iter().map(|run| run.energy_pj.total / 1e6);
    let (low, high) = energies.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    let x = Axis::log(low, high, left, right);
    let worst = runs.iter().map(|run| run.quality.value).fold(f64::INFINITY, f64::min);
    let best = runs.iter().map(|run| run.quality.value).fold(f64::NEG_INFINITY, f64::max);
    let y = Axis::linear(worst.min(best - 1e-3), best, bottom, top);
    grid(&mut drawing, &x, &y, metric);
    let at = |run: &RunSummary| (x.at(run.energy_pj.total / 1e6), y.at(run.quality.value));
    drawing.shapes.push(Shape::Line(front.iter().map(|run| at(run)).collect(), FAINT, 1));
    let legend: Vec<_> = machines.iter().zip(kit::BRIGHT).map(|(name, colour)| (name.to_string(), colour)).collect();
    drawing.legend(left, 70.0, &legend);
    let mut labels: Vec<(f64, f64, f64)> =
        runs.iter().map(|run| (at(run).0 - 6.0, at(run).0 + 6.0, at(run).1)).collect();
    for run in runs {
        let slot = machines.iter().position(|name| *name == run.machine).unwrap_or(0);
        let (px, py) = at(run);
        drawing.shapes.push(Shape::Dot(px, py, 5.0, kit::BRIGHT[slot % 7]));
        if slot == 0 {
            place_label(&mut drawing, &mut labels, (px, py), &shorten(&run.policy, 16));
        }
    }
    Some(Chart { name: "tradeoff".into(), title, drawing, csv: csv(runs) })
}

/// Names the policies that others beat in both, if there are any.
fn title(runs: &[RunSummary], front: &[&RunSummary]) -> String {
    let machine = &runs[0].machine;
    let here = runs.iter().filter(|run| run.machine == *machine);
    let beaten: Vec<&str> =
        here.filter(|run| !front.iter().any(|f| std::ptr::eq(*f, *run))).map(|run| run.policy.as_str()).collect();
    match beaten.as_slice() {
        [] => format!("On {machine} every saving of energy costs some quality"),
        [one] => format!("On {machine}, {one} is beaten in energy and in quality"),
        some => format!("On {machine}, {} are beaten in energy and in quality", some.join(", ")),
    }
}

fn grid(drawing: &mut kit::Drawing, x: &Axis, y: &Axis, metric: &str) {
    let (left, right, top, bottom) = (84.0, WIDTH - 60.0, 92.0, 440.0);
    for tick in x.ticks() {
        drawing.line((x.at(tick), top), (x.at(tick), bottom), GRID);
        drawing.text((x.at(tick), bottom + 12.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
    }
    for tick in y.ticks() {
        drawing.line((left, y.at(tick)), (right, y.at(tick)), GRID);
        drawing.text((left - 8.0, y.at(tick)), kit::SMALL, axis::label(tick), Anchor::End, FAINT);
    }
    drawing.text(((left + right) / 2.0, bottom + 32.0), kit::LABEL, "energy, µJ (logarithmic)", Anchor::Middle, INK);
    drawing.shapes.push(Shape::Upright(22.0, (top + bottom) / 2.0, kit::LABEL, metric.into(), INK));
}

/// Puts `text` beside a dot where it covers no other label, trying right, left, above and below.
fn place_label(drawing: &mut kit::Drawing, taken: &mut Vec<(f64, f64, f64)>, dot: (f64, f64), text: &str) {
    let width = kit::text_width(text, kit::SMALL);
    let mut spots = Vec::new();
    for ring in 0..4 {
        let dy = 14.0 * f64::from(ring);
        spots.extend([(dot.0 + 9.0, dot.1 + dy), (dot.0 + 9.0, dot.1 - dy)]);
        spots.extend([(dot.0 - 9.0 - width, dot.1 + dy), (dot.0 - 9.0 - width, dot.1 - dy)]);
        spots.extend([(dot.0 - width / 2.0, dot.1 - 15.0 - dy), (dot.0 - width / 2.0, dot.1 + 15.0 + dy)]);
    }
    let free = |(x, y): &(f64, f64)| {
        let clear = taken.iter().all(|(from, to, at)| x + width < *from || *x > *to || (y - at).abs() > 11.0);
        clear && *x > 86.0 && x + width < WIDTH - 10.0 && *y > 80.0 && *y < 434.0
    };
    let spot = spots.iter().copied().find(free).unwrap_or(spots[0]);
    taken.push((spot.0, spot.0 + width, spot.1));
    drawing.text(spot, kit::SMALL, text, Anchor::Start, INK);
}

/// Runs of the first machine that no other of it beats in both, by rising energy.
fn front(runs: &[RunSummary]) -> Vec<&RunSummary> {
    let machine = &runs[0].machine;
    let mut here: Vec<&RunSummary> = runs.iter().filter(|run| run.machine == *machine).collect();
    here.sort_by(|a, b| {
        a.energy_pj.total.total_cmp(&b.energy_pj.total).then(b.quality.value.total_cmp(&a.quality.value))
    });
    let mut best = f64::NEG_INFINITY;
    here.retain(|run| {
        let better = run.quality.value > best;
        best = best.max(run.quality.value);
        better
    });
    here
}

fn csv(runs: &[RunSummary]) -> String {
    let front: Vec<&RunSummary> = front(runs);
    let mut out = String::from("machine,policy,energy_uj,quality,on_front\n");
    for run in runs {
        let on_front = front.iter().any(|other| std::ptr::eq(*other, run));
        let energy = units::digits(run.energy_pj.total / 1e6);
        out += &format!("{},{},{energy},{},{on_front}\n", run.machine, run.policy, run.quality.value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn the_front_rises_in_energy_and_quality() {
        let runs = sample::two_machines();
        let front = front(&runs);
        assert!(front.len() > 1 && front.iter().all(|run| run.machine == "edge"));
        assert!(front.windows(2).all(|pair| pair[0].energy_pj.total < pair[1].energy_pj.total));
        assert!(front.windows(2).all(|pair| pair[0].quality.value < pair[1].quality.value));
    }
}
