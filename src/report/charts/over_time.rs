//! What the charts over time have in common: columns of pixels, colours of steps, the axis of cycles.

use super::axis;
use super::kit::{self, Anchor, BRIGHT, Colour, Drawing, FAINT, GRID};
use crate::sim::history::Scale;

/// Most columns of a chart.
const MOST: usize = 300;
/// Groups that have no colour of their own.
const OTHERS: Colour = (0x8c, 0x6d, 0x31);

/// Bins of a history, several to a column of the chart.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    scale: Scale,
    /// Bins of a column.
    bins: usize,
    /// Columns.
    pub count: usize,
    /// Cycles of all columns.
    pub total: u64,
}

impl Columns {
    /// As many columns as fit.
    pub fn of(scale: &Scale) -> Columns {
        let bins = scale.used().div_ceil(MOST).max(1);
        let total = (scale.end - scale.from).max(1);
        Columns { scale: *scale, bins, count: scale.used().div_ceil(bins), total }
    }
    /// First cycle of a column, from the first of all on.
    pub fn start(&self, column: usize) -> u64 {
        (column * self.bins) as u64 * self.scale.width
    }
    /// Cycles of a column.
    pub fn cycles(&self, column: usize) -> u64 {
        self.of_bins(column).map(|bin| self.scale.cycles(bin)).sum()
    }
    /// The bins of a column.
    pub fn of_bins(&self, column: usize) -> std::ops::Range<usize> {
        column * self.bins..((column + 1) * self.bins).min(self.scale.used())
    }
    /// Sums of bins, column by column.
    pub fn sums(&self, bins: &[u64]) -> Vec<u64> {
        (0..self.count).map(|column| bins[self.of_bins(column)].iter().sum()).collect()
    }
}

/// Colours of the groups of steps.
pub struct Palette {
    /// One a group.
    pub colours: Vec<Colour>,
    /// Names and colours of those that are shown, the largest first.
    pub legend: Vec<(String, Colour)>,
}

/// Colours for the largest `most` groups; the others share one.
pub fn palette(sizes: &[u64], names: &[String], most: usize) -> Palette {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|group| sizes[*group] > 0).collect();
    order.sort_by_key(|group| (std::cmp::Reverse(sizes[*group]), *group));
    let mut colours = vec![OTHERS; sizes.len()];
    let mut legend = Vec::new();
    for (rank, group) in order.iter().take(most).enumerate() {
        colours[*group] = BRIGHT[rank % BRIGHT.len()];
        legend.push((super::shorten(&names[*group], 22), colours[*group]));
    }
    if order.len() > most {
        legend.push(("other steps".into(), OTHERS));
    }
    Palette { colours, legend }
}

/// Ticks and lines of the cycles below a chart that reaches from `x.0` to `x.1` and `y.0` to `y.1`.
pub fn cycle_axis(drawing: &mut Drawing, scale: &Scale, x: (f64, f64), y: (f64, f64)) {
    let (from, end) = (scale.from as f64, scale.end.max(scale.from + 1) as f64);
    let ticks = axis::Axis::linear(from, end, x.0, x.1).ticks();
    for tick in ticks.into_iter().filter(|tick| (from..=end).contains(tick)) {
        let at = x.0 + (tick - from) / (end - from) * (x.1 - x.0);
        drawing.line((at, y.0), (at, y.1 + 4.0), GRID);
        // The last label gives way to the name of the axis.
        if at < x.1 - 60.0 {
            drawing.text((at, y.1 + 13.0), kit::SMALL, axis::label(tick), Anchor::Middle, FAINT);
        }
    }
    drawing.text((x.1, y.1 + 13.0), kit::SMALL, "cycles", Anchor::End, FAINT);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::charts::Chart;
    use crate::sim::history::History;
    use crate::vpu::summary::RunSummary;
    use crate::vpu::{RunOptions, Vpu};
    use crate::{machine, model, policy};

    /// A small run and its history.
    pub fn of_mlp() -> (RunSummary, History) {
        let mut vpu = Vpu::new(machine::load("edge").unwrap());
        vpu.set_precision(policy::load("int8").unwrap());
        vpu.options = RunOptions { timing_only: true, check: false, history: true, ..RunOptions::default() };
        let prepared = model::load("builtin:mlp").unwrap().prepare(&model::Input::Default).unwrap();
        let run = vpu.run(&prepared).unwrap();
        (run.summary, run.history.unwrap())
    }

    /// Texts and rectangles lie on the sheet, and they are not too many for a page.
    pub fn stays_on_its_sheet(chart: &Chart) {
        let (width, height) = (chart.drawing.width, chart.drawing.height);
        for shape in &chart.drawing.shapes {
            match shape {
                kit::Shape::Rect(x0, y0, x1, y1, _) => {
                    assert!(*x0 >= 0.0 && *x1 <= width && *y0 >= 0.0 && *y1 <= height, "{shape:?}");
                    assert!(x0 <= x1 && y0 <= y1, "{shape:?}");
                }
                kit::Shape::Text(x, y, size, text, anchor, _) => {
                    let long = kit::text_width(text, *size);
                    let left = match anchor {
                        Anchor::Start => *x,
                        Anchor::Middle => x - long / 2.0,
                        Anchor::End => x - long,
                    };
                    assert!(left >= 0.0 && left + long <= width && *y > 0.0 && *y < height, "{shape:?}");
                }
                _ => {}
            }
        }
        assert!(chart.drawing.shapes.len() < 12_000, "{} shapes", chart.drawing.shapes.len());
        assert!(chart.csv.lines().count() > 1);
        assert!(!kit::svg(&chart.drawing).unwrap().contains("NaN"));
    }

    #[test]
    fn columns_lose_no_cycle() {
        for end in [1, 7, 299, 300, 301, 1000, 12_345] {
            let mut scale = Scale::new(1024, None);
            while scale.outgrown(end) {}
            let columns = Columns::of(&scale);
            assert!(columns.count <= MOST && columns.count > 0, "{end}");
            assert_eq!((0..columns.count).map(|column| columns.cycles(column)).sum::<u64>(), end);
            assert_eq!(columns.sums(&[1; 1024]).iter().sum::<u64>() as usize, scale.used());
        }
    }

    #[test]
    fn the_largest_groups_have_colours() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
        let palette = palette(&[5, 0, 9, 7], &names, 2);
        assert_eq!(palette.colours, [OTHERS, OTHERS, BRIGHT[0], BRIGHT[1]]);
        let legend: Vec<&str> = palette.legend.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(legend, ["c", "d", "other steps"]);
    }
}
