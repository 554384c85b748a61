//! The charts of a report. Each is a function from runs to a [`Chart`]: a picture whose title states the finding, and
//! the plotted points as CSV.

pub mod axis;
pub mod energy;
pub mod kit;
pub mod layers;
pub mod policies;
pub mod roofline;
pub mod tradeoff;

use crate::vpu::summary::RunSummary;
use kit::{Anchor, Colour, Drawing, FAINT, INK};

/// A finished chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// File name without extension.
    pub name: String,
    /// What the chart shows, in one sentence; also drawn on top.
    pub title: String,
    /// The picture.
    pub drawing: Drawing,
    /// The plotted points, with a header line.
    pub csv: String,
}

/// Width of every chart.
pub const WIDTH: f64 = 880.0;

/// Every chart that these runs allow, in the order of the report.
pub fn all(runs: &[RunSummary]) -> Vec<Chart> {
    let charts =
        [policies::chart(runs), tradeoff::chart(runs), energy::chart(runs), layers::chart(runs), roofline::chart(runs)];
    charts.into_iter().flatten().collect()
}

/// An empty picture with its title, a line below it that says what is plotted, and a footer that names the runs.
fn frame(height: f64, title: &str, subtitle: &str, runs: &[RunSummary]) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, height);
    let mut size = kit::TITLE;
    while size > 12.0 && kit::text_width(title, size) > WIDTH - 40.0 {
        size -= 0.5;
    }
    drawing.text((20.0, 24.0), size, title, Anchor::Start, INK);
    drawing.text((20.0, 46.0), kit::LABEL, subtitle, Anchor::Start, FAINT);
    let models = super::story::models(runs).join(", ");
    let machines = super::story::machines(runs).join(", ");
    drawing.text(
        (WIDTH - 20.0, height - 12.0),
        kit::SMALL,
        format!("{models} · {machines} · preon"),
        Anchor::End,
        FAINT,
    );
    drawing
}

/// The colour of an energy component or a cause of cycles: the same in every chart.
fn colour_of(name: &str) -> Colour {
    let known = [
        (["array", "compute", "mac"], 0),
        (["dram", "dma", "memory"], 1),
        (["sram", "load", "l"], 2),
        (["shared", "register", "registers"], 3),
        (["vector", "elementwise", "e"], 4),
        (["issue", "control", "scalar"], 5),
        (["leakage", "idle", "background"], 6),
    ];
    let name = name.to_lowercase();
    let exact = known.iter().find(|(names, _)| names.contains(&name.as_str()));
    let near = || known.iter().find(|(names, _)| names.iter().any(|n| n.len() > 1 && name.contains(n)));
    match exact.or_else(near) {
        Some((_, index)) => kit::BRIGHT[*index],
        None => {
            let sum = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let tint = |shift: u32| 0x60 + ((sum >> shift) & 0x7f) as u8;
            (tint(0), tint(7), tint(14))
        }
    }
}

/// Text of at most `limit` characters, with an ellipsis in the middle if it was longer.
fn shorten(text: &str, limit: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= limit {
        return text.to_string();
    }
    let keep = limit.saturating_sub(1);
    let head: String = chars[..keep / 3].iter().collect();
    let tail: String = chars[chars.len() - (keep - keep / 3)..].iter().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn every_chart_stays_on_its_sheet_and_has_points() {
        for runs in [sample::two_machines(), sample::runs(), sample::runs()[..1].to_vec()] {
            let charts = all(&runs);
            assert!(charts.len() >= 3, "{}", charts.len());
            for chart in charts {
                assert!(chart.csv.lines().count() > 1, "{}", chart.name);
                assert!(!kit::svg(&chart.drawing).unwrap().contains("NaN"), "{}", chart.name);
                for shape in &chart.drawing.shapes {
                    if let kit::Shape::Text(x, y, size, text, anchor, _) = shape {
                        let width = kit::text_width(text, *size);
                        let left = match anchor {
                            Anchor::Start => *x,
                            Anchor::Middle => x - width / 2.0,
                            Anchor::End => x - width,
                        };
                        let inside = left >= 0.0 && left + width <= WIDTH && *y > 0.0 && *y < chart.drawing.height;
                        assert!(inside, "{}: `{text}` at {x},{y} leaves the sheet", chart.name);
                    }
                }
            }
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("encoder.layer.0.attention.output.dense", 20), "encode….output.dense");
        assert_eq!(shorten("short", 20), "short");
    }
}
