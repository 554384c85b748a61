//! Which price decides: for the run in focus, how far the band of each single price moves the total, widest first.

use super::kit::{self, Anchor, FAINT, GRID, INK};
use super::{Chart, WIDTH, axis, axis::Axis, frame, shorten};
use crate::report::story;
use crate::vpu::summary::{PriceUse, RunSummary};

const LEFT: f64 = 250.0;
const ROW: f64 = 24.0;
/// Most bars drawn; the points of the CSV are all.
const BARS: usize = 12;

/// The chart; `None` if no price of the run has a band.
pub fn chart(runs: &[RunSummary]) -> Option<Chart> {
    let run = story::focus(runs)?;
    let total = run.energy_pj.total;
    let mut rows: Vec<(&PriceUse, f64, f64)> = run
        .joules
        .iter()
        .flat_map(|joules| &joules.prices)
        .map(|used| (used, (used.pj.low - used.pj.typical) / total, (used.pj.high - used.pj.typical) / total))
        .filter(|(_, low, high)| high - low > 0.0)
        .collect();
    rows.sort_by(|a, b| (b.2 - b.1).total_cmp(&(a.2 - a.1)).then_with(|| a.0.key.cmp(&b.0.key)));
    let &(first, low, high) = rows.first()?;
    let title = format!(
        "{} decides most for {} on {}: its band alone moves the total from {:+.1} % to {:+.1} %",
        first.key,
        run.policy,
        run.machine,
        100.0 * low,
        100.0 * high
    );
    let drawn = &rows[..rows.len().min(BARS)];
    let height = 120.0 + ROW * drawn.len() as f64;
    let mut drawing =
        frame(height, &title, "change of the run's energy at the low and the high end of each price", runs);
    let least = drawn.iter().fold(0.0f64, |least, row| if row.1 < least { row.1 } else { least });
    let most = drawn.iter().fold(0.0f64, |most, row| if row.2 > most { row.2 } else { most });
    let axis = Axis::linear(100.0 * least, 100.0 * most, LEFT, WIDTH - 120.0);
    let (top, bottom) = (66.0, 66.0 + ROW * drawn.len() as f64);
    for tick in axis.ticks() {
        drawing.line((axis.at(tick), top), (axis.at(tick), bottom), GRID);
        let label = format!("{} %", axis::label(tick));
        drawing.text((axis.at(tick), bottom + 12.0), kit::SMALL, label, Anchor::Middle, FAINT);
    }
    for (index, (used, low, high)) in drawn.iter().enumerate() {
        let y = top + ROW * index as f64;
        let [from, zero, to] = [100.0 * low, 0.0, 100.0 * high].map(|value| axis.at(value));
        drawing.rect(from, y + 3.0, zero - from, ROW - 8.0, kit::BRIGHT[0]);
        drawing.rect(zero, y + 3.0, to - zero, ROW - 8.0, kit::BRIGHT[1]);
        drawing.text((LEFT - 10.0, y + ROW / 2.0 - 1.0), kit::LABEL, shorten(&used.key, 30), Anchor::End, INK);
        let end = (WIDTH - 112.0, y + ROW / 2.0 - 1.0);
        drawing.text(end, kit::SMALL, used.trust.clone(), Anchor::Start, FAINT);
    }
    let mut csv = String::from("machine,policy,price,trust,low_share,high_share\n");
    for (used, low, high) in &rows {
        csv += &format!("{},{},{},{},{low},{high}\n", run.machine, run.policy, used.key, used.trust);
    }
    Some(Chart { name: "tornado".into(), title, drawing, csv })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    #[test]
    fn the_widest_band_comes_first_and_stands_in_the_title() {
        let chart = chart(&sample::runs()).unwrap();
        let rows: Vec<&str> = chart.csv.lines().skip(1).collect();
        let width = |row: &&str| {
            let ends: Vec<f64> = row.split(',').skip(4).map(|field| field.parse().unwrap()).collect();
            ends[1] - ends[0]
        };
        assert!(rows.len() >= 2 && rows.windows(2).all(|pair| width(&pair[0]) >= width(&pair[1])), "{rows:?}");
        assert!(chart.title.starts_with(rows[0].split(',').nth(2).unwrap()), "{}", chart.title);
        let mut bare = sample::runs();
        bare.iter_mut().for_each(|run| run.joules = None);
        assert!(super::chart(&bare).is_none());
    }
}
