//! The values of a tensor with the grid of a format over them.

use super::axis::{self, Axis};
use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, WIDTH, sheet, shorten};
use crate::look::Histogram;
use crate::report::{terminal, units};

const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 30.0;

/// What the picture shows, in one sentence.
fn title(h: &Histogram) -> String {
    let noise = h.sqnr_db.map_or("no noise".to_string(), |db| format!("{db:.1} dB"));
    let levels = match h.levels.len() {
        0 => "a grid too fine to draw".to_string(),
        n => format!("{n} levels"),
    };
    format!("{} in {}: {levels}, {noise}, {} clipped", shorten(&h.tensor, 48), h.ty, units::percent(h.clipped))
}

/// The share of the width where a value lies.
fn share(h: &Histogram, v: f64) -> f64 {
    (v - h.range.0) / (h.range.1 - h.range.0)
}

/// The histogram in braille, the grid as a line of marks below it.
pub fn text(h: &Histogram) -> String {
    const LINES: usize = 8;
    let most = h.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let dots = |count: &u64| match count {
        0 => 0,
        n => ((*n as f64 / most * (4 * LINES) as f64).round() as usize).max(1),
    };
    let heights: Vec<usize> = h.counts.iter().map(dots).collect();
    let mut out = format!("{}\n\n", title(h));
    for line in terminal::columns(&heights, LINES) {
        out += &format!("  {}\n", line.trim_end_matches('\u{2800}'));
    }
    if !h.levels.is_empty() {
        let mut set = vec![false; terminal::COLUMNS];
        h.levels.iter().for_each(|v| set[terminal::column(share(h, *v))] = true);
        out += &format!("  {}\n", terminal::marks(&set, '╵').trim_end());
    }
    let shown: Vec<(f64, String)> = [0.0, 0.25, 0.5, 0.75, 1.0]
        .iter()
        .map(|at| {
            let v = h.range.0 + at * (h.range.1 - h.range.0);
            (*at, axis::label((v * 1e4).round() / 1e4))
        })
        .collect();
    out + &format!("  {}\n  {}; marks below it are the format's levels\n", terminal::labels(&shown).trim_end(), h.unit)
}

/// The chart.
pub fn chart(h: &Histogram) -> Chart {
    let title = title(h);
    let subtitle = format!("share of the weights in each of {} bins; lines are the format's levels", h.counts.len());
    let mut drawing = sheet(380.0, &title, &subtitle, &format!("{} · {}", shorten(&h.tensor, 60), h.ty));
    let (top, bottom) = (70.0, 310.0);
    let total = h.counts.iter().sum::<u64>().max(1) as f64;
    let most = h.counts.iter().copied().max().unwrap_or(0) as f64 / total;
    let y = Axis::linear(0.0, 100.0 * most, bottom, top);
    for tick in y.ticks() {
        drawing.line((LEFT, y.at(tick)), (RIGHT, y.at(tick)), GRID);
        drawing.text((LEFT - 6.0, y.at(tick)), kit::SMALL, format!("{} %", axis::label(tick)), Anchor::End, FAINT);
    }
    let x = |v: f64| LEFT + share(h, v) * (RIGHT - LEFT);
    let width = (RIGHT - LEFT) / h.counts.len() as f64;
    for (bin, count) in h.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = y.at(100.0 * *count as f64 / total);
        drawing.rect(LEFT + width * bin as f64, height, width - 0.6, bottom - height, kit::BRIGHT[0]);
    }
    for level in &h.levels {
        drawing.line((x(*level), top), (x(*level), bottom + 6.0), kit::BRIGHT[1]);
    }
    // The axis of the values is held to the range, so its ticks are those of a round axis inside it.
    let ticks = Axis::linear(h.range.0, h.range.1, 0.0, 1.0).ticks();
    for tick in ticks.into_iter().filter(|v| *v >= h.range.0 && *v <= h.range.1) {
        drawing.text((x(tick), bottom + 17.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
    }
    drawing.text(((LEFT + RIGHT) / 2.0, bottom + 36.0), kit::LABEL, &h.unit, Anchor::Middle, INK);
    let step = (h.range.1 - h.range.0) / h.counts.len() as f64;
    let rows = h.counts.iter().enumerate().map(|(bin, count)| {
        let from = h.range.0 + step * bin as f64;
        format!("bin,{from},{},{count}\n", from + step)
    });
    let levels = h.levels.iter().map(|v| format!("level,{v},{v},\n"));
    let csv = format!("kind,from,to,count\n{}", rows.chain(levels).collect::<String>());
    Chart { name: "histogram".into(), title, drawing, csv }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look;
    use crate::tensor::TensorType;

    #[test]
    fn both_pictures_show_the_grid() {
        let values: Vec<f32> = (0..256).map(|i| ((i as f32) * 0.37).sin() * (i as f32) / 256.0).collect();
        let ty = TensorType::parse("fp4e2m1/row").unwrap();
        let h = look::histogram("w", &[4, 64], &values, ty).unwrap();
        let text = text(&h);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("w in fp4e2m1/row: 15 levels") && text.matches('╵').count() == 15, "{text}");
        let chart = chart(&h);
        let reds =
            chart.drawing.shapes.iter().filter(|s| matches!(s, kit::Shape::Line(_, c, _) if *c == kit::BRIGHT[1]));
        assert_eq!(reds.count(), 15);
        assert!(kit::svg(&chart.drawing).is_ok());
    }
}
