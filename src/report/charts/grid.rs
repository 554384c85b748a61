//! The grid of a number format: where its values lie on a linear and on a logarithmic scale, and how far a number is from
//! the nearest of them.

use super::axis::{self, Axis};
use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, WIDTH, sheet};
use crate::num::format::{Element, Format, ScaleRule};
use crate::num::value;
use crate::report::terminal;

const LEFT: f64 = 40.0;
const RIGHT: f64 = WIDTH - 40.0;

/// Finite values of a format, ascending, each once; `None` for formats of more than 16 bits, whose values cannot be
/// told apart in a picture.
pub fn values(format: &Format) -> Option<Vec<f64>> {
    if format.bits > 16 {
        return None;
    }
    let codes = 0..u32::try_from(format.codes()).ok()?;
    // Codes of a codebook beyond its list are reserved.
    let listed = match &format.element {
        Element::Codebook { levels } => levels.len(),
        Element::Real { values } => values.len(),
        _ => usize::MAX,
    };
    let mut all: Vec<f64> = codes.take(listed).map(|code| f64::from(value(format, code)) + 0.0).collect();
    all.retain(|v| v.is_finite());
    all.sort_by(f64::total_cmp);
    all.dedup();
    Some(all)
}

/// The least and the largest magnitude above zero.
fn magnitudes(values: &[f64]) -> Option<(f64, f64)> {
    let positive = values.iter().map(|v| v.abs()).filter(|v| *v > 0.0);
    let ends = positive.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    (ends.1 > 0.0).then_some(ends)
}

/// Powers of two between two positive numbers, at most about eight.
fn octaves(low: f64, high: f64) -> Vec<f64> {
    let (from, to) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let step = ((to - from) / 8 + 1).max(1);
    (from..=to).step_by(step as usize).map(|e| 2f64.powi(e)).collect()
}

/// A value in a few characters: whole numbers and short decimals as they are, other powers of two as `2^e`.
fn short(v: f64) -> String {
    let exponent = v.abs().log2();
    if v != 0.0 && exponent.fract() == 0.0 && exponent.abs() > 6.0 {
        return format!("{}2^{exponent}", if v < 0.0 { "-" } else { "" });
    }
    let text = format!("{v:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.len() > 8 || text == "0" && v != 0.0 { format!("{v:.2e}") } else { text.to_string() }
}

/// The grid in braille, for a terminal of 80 columns; empty for a format of more than 16 bits.
pub fn text(format: &Format) -> String {
    let Some(all) = values(format) else { return String::new() };
    let Some((least, most)) = magnitudes(&all) else { return String::new() };
    let (first, last) = (all[0], all[all.len() - 1]);
    let mut out = format!("\ngrid, linear: {} values\n", all.len());
    out += &strip(all.iter().map(|v| (v - first) / (last - first)));
    let place = |v: f64| (v - first) / (last - first);
    let mut ticks = vec![(0.0, short(first))];
    for share in [0.25, 0.5, 0.75] {
        let at = first + share * (last - first);
        // Zero is worth a label where the middle is nearly zero.
        let at = if at.abs() < 0.02 * (last - first) { 0.0 } else { at };
        ticks.push((place(at), short(at)));
    }
    ticks.push((1.0, short(last)));
    out += &format!("  {}\n", terminal::labels(&ticks).trim_end());
    let positive: Vec<f64> = all.iter().copied().filter(|v| *v > 0.0).collect();
    let positive =
        if positive.is_empty() { all.iter().map(|v| v.abs()).filter(|v| *v > 0.0).collect() } else { positive };
    let span = (most / least).log2();
    if span > 0.0 {
        let place = |v: f64| (v / least).log2() / span;
        out += &format!("\ngrid, log2: {} values above zero\n", positive.len());
        out += &strip(positive.iter().map(|v| place(*v)));
        let mut ticks: Vec<(f64, String)> = octaves(least, most).into_iter().map(|v| (place(v), short(v))).collect();
        if ticks.last().is_none_or(|(share, _)| *share < 0.94) {
            ticks.push((1.0, short(most)));
        }
        out += &format!("  {}\n", terminal::labels(&ticks).trim_end());
    }
    out
}

/// Shares of the width as columns of dots: one dot a value, and where a column holds more, up to eight by their logarithm.
fn strip(shares: impl Iterator<Item = f64>) -> String {
    let mut counts = vec![0usize; terminal::COLUMNS];
    shares.for_each(|share| counts[terminal::column(share)] += 1);
    let most = counts.iter().copied().max().unwrap_or(1);
    let height = |count: usize| match (count, most) {
        (0, _) => 0,
        (_, 1) => 8,
        _ => 2 + (6.0 * (count as f64).ln() / (most as f64).ln()).round() as usize,
    };
    let lines = terminal::columns(&counts.into_iter().map(height).collect::<Vec<_>>(), 2);
    lines.into_iter().map(|line| format!("  {}\n", line.trim_end_matches('\u{2800}'))).collect()
}

/// The nearest value of an ascending list.
fn nearest(all: &[f64], x: f64) -> f64 {
    let at = all.partition_point(|v| *v < x);
    let (low, high) = (all[at.saturating_sub(1)], all[at.min(all.len() - 1)]);
    if (x - low).abs() <= (high - x).abs() { low } else { high }
}

/// The chart; `None` for formats of more than 16 bits.
pub fn chart(format: &Format) -> Option<Chart> {
    let all = values(format)?;
    let (least, most) = magnitudes(&all)?;
    let title = title(format, &all, most);
    let unit = match format.rule {
        ScaleRule::Cast => "value",
        _ => "value before the scale",
    };
    let subtitle = format!("{}: {unit}, on a linear and on a logarithmic axis", format.doc);
    let mut drawing = sheet(420.0, &title, &subtitle, &format!("{}, {} bits", format.name, format.bits));
    let (first, last) = (all[0].min(0.0), all[all.len() - 1].max(0.0));
    let at = |v: f64| LEFT + (v - first) / (last - first) * (RIGHT - LEFT);
    let marks: Vec<f64> = [-1.0, -0.5, 0.0, 0.5, 1.0].iter().map(|share| share * most).collect();
    let marks: Vec<f64> = marks.into_iter().filter(|v| *v >= first && *v <= last).collect();
    strip_panel(&mut drawing, (72.0, 118.0), "all values, linear", all.iter().map(|v| at(*v)));
    ticks(&mut drawing, 118.0, marks.iter().map(|v| (at(*v), *v)));
    let log = Axis::log(least, most, LEFT, RIGHT);
    let log_ticks: Vec<(f64, f64)> = log.ticks().into_iter().map(|v| (log.at(v), v)).collect();
    let positive = all.iter().filter(|v| **v > 0.0).map(|v| log.at(*v));
    strip_panel(&mut drawing, (172.0, 218.0), "values above zero, logarithmic", positive);
    ticks(&mut drawing, 218.0, log_ticks.iter().copied());
    let (top, bottom) = (276.0, 370.0);
    drawing.text((LEFT, top - 12.0), kit::LABEL, "rounding error of a number there, in % of it", Anchor::Start, INK);
    let error = |x: f64| 100.0 * (nearest(&all, x) - x).abs() / x;
    let (low, high) = log.range();
    let points: Vec<(f64, f64)> =
        (0..=1200).map(|i| low * (high / low).powf(f64::from(i) / 1200.0)).map(|x| (x, error(x).min(50.0))).collect();
    let worst = points.iter().filter(|(x, _)| *x >= least && *x <= most).map(|(_, e)| *e).fold(0.0, f64::max);
    let scale = Axis::linear(0.0, worst.max(1e-6), bottom, top);
    for tick in scale.ticks() {
        drawing.line((LEFT, scale.at(tick)), (RIGHT, scale.at(tick)), GRID);
        drawing.text((LEFT - 5.0, scale.at(tick)), kit::SMALL, axis::label(tick), Anchor::End, FAINT);
    }
    ticks(&mut drawing, bottom, log_ticks.into_iter());
    let line = points.iter().map(|(x, e)| (log.at(*x), scale.at(*e))).collect();
    drawing.shapes.push(kit::Shape::Line(line, kit::BRIGHT[1], 1));
    let csv = all.iter().map(|v| format!("{v}\n")).collect::<String>();
    Some(Chart { name: format!("grid-{}", format.name), title, drawing, csv: format!("value\n{csv}") })
}

/// A heading and a bar at every place.
fn strip_panel(drawing: &mut kit::Drawing, (top, bottom): (f64, f64), name: &str, places: impl Iterator<Item = f64>) {
    drawing.text((LEFT, top), kit::LABEL, name, Anchor::Start, INK);
    places.for_each(|x| drawing.rect(x - 0.5, top + 12.0, 1.0, bottom - top - 12.0, kit::BRIGHT[0]));
}

/// An axis with a label at each (place, value) where there is room for it.
fn ticks(drawing: &mut kit::Drawing, bottom: f64, at: impl Iterator<Item = (f64, f64)>) {
    drawing.line((LEFT, bottom), (RIGHT, bottom), GRID);
    let mut end = f64::NEG_INFINITY;
    for (x, value) in at {
        let text = axis::label(value);
        drawing.line((x, bottom), (x, bottom + 4.0), FAINT);
        let half = kit::text_width(&text, kit::SMALL) / 2.0;
        if x - half > end + 6.0 {
            drawing.text((x, bottom + 13.0), kit::SMALL, text, Anchor::Middle, FAINT);
            end = x + half;
        }
    }
}

/// What the grid does, in one sentence.
fn title(format: &Format, all: &[f64], most: f64) -> String {
    let inner = all.iter().filter(|v| v.abs() <= most / 4.0).count();
    let share = inner as f64 / all.len() as f64;
    let spread = match share {
        s if s > 0.35 => format!("{:.0} % of them within a quarter of its range", 100.0 * s),
        _ if all.len() > 4 => "evenly spread over its range".to_string(),
        _ => "no more".to_string(),
    };
    format!("{} has {} values up to {}, {spread}", format.name, all.len(), axis::label(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::{find, formats};

    #[test]
    fn every_format_has_a_picture_that_fits_80_columns() {
        for format in formats() {
            let text = text(format);
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{}\n{text}", format.name);
            assert_eq!(text.is_empty(), format.bits > 16, "{}", format.name);
            if let Some(chart) = chart(format) {
                assert!(kit::svg(&chart.drawing).unwrap().contains(&format.name));
                assert_eq!(chart.csv.lines().count(), 1 + values(format).unwrap().len());
            }
        }
    }

    #[test]
    fn values_are_each_once_and_reserved_codes_are_none() {
        assert_eq!(values(find("ternary").unwrap()).unwrap(), [-1.0, 0.0, 1.0]);
        assert_eq!(values(find("fp4e2m1").unwrap()).unwrap().len(), 15);
        assert_eq!(values(find("fp16").unwrap()).unwrap().len(), 63487);
        assert!(values(find("fp32").unwrap()).is_none());
        assert_eq!(nearest(&[-1.0, 0.0, 1.0], 0.4), 0.0);
        assert_eq!(nearest(&[-1.0, 0.0, 1.0], 9.0), 1.0);
    }
}
