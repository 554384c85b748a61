//! The charts of a report. Each is a function from runs to a [`Chart`]: a picture whose title states the finding, and
//! the plotted points as CSV.

pub mod axis;
pub mod energy;
pub mod grid;
pub mod heat;
pub mod histogram;
pub mod kit;
pub mod layers;
pub mod over_time;
pub mod policies;
pub mod roofline;
pub mod sram;
pub mod timeline;
pub mod tornado;
pub mod tradeoff;

use crate::sim::history::History;
use crate::vpu::summary::{ComponentEnergy, EnergyPart, RunSummary};
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
    let charts = [
        policies::chart(runs),
        tradeoff::chart(runs),
        energy::chart(runs),
        tornado::chart(runs),
        layers::chart(runs),
        roofline::chart(runs),
    ];
    charts.into_iter().flatten().collect()
}

/// What the run in focus did over time, if that was kept; `histories` stand in the order of the runs.
pub fn over_time_of(runs: &[RunSummary], histories: &[Option<&History>]) -> Vec<Chart> {
    let focus = super::story::focus(runs);
    let history = runs.iter().zip(histories).find(|(run, _)| focus.is_some_and(|focus| std::ptr::eq(*run, focus)));
    let Some((run, Some(history))) = history else { return Vec::new() };
    [timeline::chart(run, history), sram::chart(run, history)].into_iter().flatten().collect()
}

/// A sheet whose footer names the runs.
fn frame(height: f64, title: &str, subtitle: &str, runs: &[RunSummary]) -> Drawing {
    let models = super::story::models(runs).join(", ");
    let machines = super::story::machines(runs).join(", ");
    sheet(height, title, subtitle, &format!("{models} · {machines}"))
}

/// An empty picture with its title, a line below it that says what is plotted, and a footer that names what was looked at.
fn sheet(height: f64, title: &str, subtitle: &str, footer: &str) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, height);
    let mut size = kit::TITLE;
    while size > 12.0 && kit::text_width(title, size) > WIDTH - 40.0 {
        size -= 0.5;
    }
    drawing.text((20.0, 24.0), size, title, Anchor::Start, INK);
    drawing.text((20.0, 46.0), kit::LABEL, subtitle, Anchor::Start, FAINT);
    drawing.text((WIDTH - 20.0, height - 12.0), kit::SMALL, format!("{footer} · preon"), Anchor::End, FAINT);
    drawing
}

/// Families of components and causes, in the order of legends and bars, each with its colour: the same in every chart.
const FAMILIES: [(&str, Colour); 10] = [
    ("multiply-accumulate", kit::BRIGHT[0]),
    ("element-wise", kit::BRIGHT[4]),
    ("core", kit::BRIGHT[5]),
    ("issue", kit::BRIGHT[5]),
    ("load-store", kit::BRIGHT[2]),
    ("SRAM", kit::BRIGHT[2]),
    ("on-chip copies", kit::BRIGHT[3]),
    ("DRAM", kit::BRIGHT[1]),
    ("static DRAM power", (0xf6, 0xb3, 0xbb)),
    ("leakage", kit::BRIGHT[6]),
];

/// The family of an energy component: an index into [`FAMILIES`].
fn energy_family(row: &ComponentEnergy) -> usize {
    let name = row.component.as_str();
    let family = match row.part {
        EnergyPart::Leakage if name.starts_with("dram") => "static DRAM power",
        EnergyPart::Leakage => "leakage",
        _ => match name {
            "array" | "vector-mac" => "multiply-accumulate",
            "elementwise" => "element-wise",
            "dram" => "DRAM",
            "dma" => "on-chip copies",
            name if name.contains("sram") => "SRAM",
            _ => "core",
        },
    };
    family_index(family)
}

/// The family of what cycles were spent on: an index into [`FAMILIES`].
fn cycle_family(cause: &str) -> usize {
    family_index(match cause {
        "array" | "vector-mac" | "compute" => "multiply-accumulate",
        "elementwise" => "element-wise",
        "load-store" => "load-store",
        "dram" => "DRAM",
        "on-chip" | "dma" => "on-chip copies",
        "issue" | "control" => "issue",
        _ => "core",
    })
}

fn family_index(name: &str) -> usize {
    FAMILIES.iter().position(|(known, _)| *known == name).unwrap_or(2)
}

/// Sums of amounts by family, in the order of [`FAMILIES`].
fn by_family(amounts: impl Iterator<Item = (usize, f64)>) -> [f64; FAMILIES.len()] {
    let mut sums = [0.0; FAMILIES.len()];
    amounts.for_each(|(family, amount)| sums[family] += amount);
    sums
}

/// Legend entries of the families that are above zero somewhere.
fn legend_of(rows: &[[f64; FAMILIES.len()]]) -> Vec<(String, Colour)> {
    let used = |at: &usize| rows.iter().any(|row| row[*at] > 0.0);
    (0..FAMILIES.len()).filter(used).map(|at| (FAMILIES[at].0.to_string(), FAMILIES[at].1)).collect()
}

/// Draws the families of one bar from the axis' zero; returns where it ends.
fn stack(drawing: &mut Drawing, axis: &axis::Axis, y: f64, height: f64, parts: &[f64; FAMILIES.len()]) -> f64 {
    let mut done = 0.0;
    for (part, (_, colour)) in parts.iter().zip(FAMILIES) {
        let (from, to) = (axis.at(done), axis.at(done + part));
        if *part > 0.0 {
            drawing.rect(from, y, to - from, height, colour);
        }
        done += part;
    }
    axis.at(done)
}

/// Text of at most `limit` characters, with an ellipsis in the middle if it was longer.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= limit {
        return text.to_string();
    }
    let keep = limit.saturating_sub(1);
    let head: String = chars[..keep / 3].iter().collect();
    let tail: String = chars[chars.len() - (keep - keep / 3)..].iter().collect();
    format!("{head}…{tail}")
}

/// [`shorten`] to at most `width` logical pixels.
fn fit(text: &str, width: f64, size: f64) -> String {
    let limits = (8..=text.chars().count()).rev();
    let fitting = limits.map(|limit| shorten(text, limit)).find(|short| kit::text_width(short, size) <= width);
    fitting.unwrap_or_else(|| shorten(text, 8))
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
        assert_eq!(fit("short", 200.0, kit::SMALL), "short");
        let wide = fit(&"encoder.layer.*.attention.output.LayerNorm".repeat(2), 280.0, kit::SMALL);
        assert!(wide.contains('…') && kit::text_width(&wide, kit::SMALL) <= 280.0, "{wide}");
    }

    #[test]
    fn a_legend_of_eight_families_stays_on_the_sheet() {
        let mut drawing = Drawing { width: WIDTH, height: 100.0, shapes: Vec::new() };
        let entries: Vec<_> = FAMILIES
            .iter()
            .filter(|f| !["issue", "load-store"].contains(&f.0))
            .map(|f| (f.0.to_string(), f.1))
            .collect();
        drawing.legend(20.0, 70.0, &entries);
        for shape in &drawing.shapes {
            if let kit::Shape::Text(x, _, size, text, _, _) = shape {
                assert!(x + kit::text_width(text, *size) <= WIDTH - 5.0, "`{text}` leaves the sheet");
            }
        }
    }
}
