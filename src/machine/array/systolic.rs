//! A grid of multiply-accumulate cells through which operands move from neighbour to neighbour.
//!
//! What stays decides what the grid's two sides are, and what streams past. A *pass* is one grid full of what stays:
//!
//! | stays | rows x cols of the grid | streams | passes of a tile | filled by |
//! |---|---|---|---|---|
//! | weights | k x n | m rows of inputs | ceil(k/R) ceil(n/C) | `mm.w`, R rows |
//! | inputs | k x m | n rows of weights | ceil(k/R) ceil(m/C) | `mm.x`, R rows |
//! | outputs | m x n | k pairs of operands | ceil(m/R) ceil(n/C) | nothing |
//!
//! Operands enter skewed, so a pass needs `R + C - 2` cycles beside its stream: latency where the next pass follows at once
//! (`overlapped`), cycles of the array where it does not (`per_fold`). A partial pass costs a whole one (padded edge). With
//! `per_fold` these are SCALE-Sim's folds: 2R + C + M - 2, 2R + C + N - 2 and R + C + K - 2 cycles; with `overlapped`,
//! `weight_load = "with_sums"` and `min_stream = 4` ONNXim's, which start max(R, max(M, 4)) cycles after each other.

use super::{ArrayCost, Keys, Kind, Row, Tile};
use crate::diag::Result;
use crate::machine::schema::Need::{Default, Required};
use std::sync::Arc;

/// The row of this kind.
pub(super) const ROW: Row = Row {
    name: "systolic",
    keys: &[
        ("stationary", Default("\"weight\"")),
        ("rows", Required),
        ("cols", Required),
        ("weight_rows_per_cycle", Default("1")),
        ("weight_load", Default("\"apart\"")),
        ("min_stream", Default("1")),
        ("fill_drain", Default("\"overlapped\"")),
        ("output_drain", Default("\"beside\"")),
    ],
    read,
};

/// What stays in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stays {
    Weight,
    Output,
    Input,
}

/// A systolic array.
#[derive(Debug)]
struct Systolic {
    stays: Stays,
    rows: u64,
    cols: u64,
    /// Cycles of filling the grid with what stays.
    fill_grid: u64,
    /// `mm.w` takes no cycles of its own.
    with_sums: bool,
    min_stream: u64,
    /// Fill and drain of a pass occupy the array.
    per_fold: bool,
    /// Cycles of shifting outputs out, of every pass.
    output_drain: u64,
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    let (rows, cols) = (keys.count("rows")?, keys.count("cols")?);
    let stays = match keys.text("stationary")?.as_str() {
        "output" => Stays::Output,
        "input" => Stays::Input,
        _ => Stays::Weight,
    };
    let counted = stays == Stays::Output && keys.text("output_drain")? == "counted";
    Ok(Arc::new(Systolic {
        stays,
        rows: rows.into(),
        cols: cols.into(),
        fill_grid: u64::from(rows.div_ceil(keys.count("weight_rows_per_cycle")?)),
        with_sums: keys.text("weight_load")? == "with_sums",
        min_stream: keys.count("min_stream")?.into(),
        per_fold: keys.text("fill_drain")? == "per_fold",
        output_drain: if counted { rows.into() } else { 0 },
    }))
}

impl Systolic {
    /// Grids of terms that a tile is walked in. What has another scale cannot share a column, so runs of `block` terms that
    /// are scaled one by one start a grid each.
    fn grids_of_terms(&self, tile: &Tile) -> u64 {
        let run = |terms: u64| terms.div_ceil(self.rows);
        match tile.block {
            0 => run(tile.tk),
            block => tile.tk / block * run(block) + run(tile.tk % block),
        }
    }

    /// Passes, operand rows that stream in each, and cycles of a pass that the stream cannot hide.
    fn walk(&self, tile: &Tile) -> (u64, u64, u64) {
        let across = |extent: u64, side: u64| extent.div_ceil(side);
        match self.stays {
            Stays::Weight => {
                let passes = across(tile.tn, self.cols) * self.grids_of_terms(tile) - tile.dead;
                (passes, tile.tm, if self.with_sums && tile.first { self.fill_grid } else { 0 })
            }
            Stays::Input => (across(tile.tm, self.cols) * self.grids_of_terms(tile), tile.tn, self.fill_grid),
            Stays::Output => {
                let runs = if tile.block == 0 { 1 } else { tile.tk.div_ceil(tile.block) };
                let passes = across(tile.tm, self.rows) * across(tile.tn, self.cols) * runs;
                // Runs are equal but for the last: the whole stream is what matters.
                (passes, tile.tk.div_ceil(runs), 0)
            }
        }
    }
}

impl Kind for Systolic {
    fn block(&self) -> [u32; 2] {
        [self.rows as u32, self.cols as u32]
    }
    /// All physical rows are shifted in, block after block.
    fn load(&self, tile: &Tile) -> u64 {
        if self.stays != Stays::Weight || self.with_sums {
            return 0;
        }
        let blocks = tile.tn.div_ceil(self.cols) * tile.tk.div_ceil(self.rows);
        (blocks - tile.dead) * self.fill_grid
    }
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let (passes, rows, filling) = self.walk(tile);
        let stream = rows.max(self.min_stream) * u64::from(row_cycles);
        let skew = self.rows + self.cols - 2 + self.output_drain;
        if self.per_fold {
            return ArrayCost { occupied: (passes * (filling + stream + skew)).max(1), latency: 0 };
        }
        let interval = stream.max(filling);
        // The last results come out `skew` after the last operands went in.
        ArrayCost { occupied: (passes * interval).max(1), latency: skew.saturating_sub(interval - stream) }
    }
    fn sums(&self, tile: &Tile) -> u64 {
        match (self.stays, tile.block) {
            (Stays::Output, 0) => 1,
            (_, 0) => tile.tk.div_ceil(self.rows),
            (_, block) => tile.tk.div_ceil(block),
        }
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        let stays = match self.stays {
            Stays::Weight => "weights",
            Stays::Output => "outputs",
            Stays::Input => "inputs; a mask of blocks saves no cycles",
        };
        let fill_drain = if self.per_fold { "perfold" } else { "overlapped" };
        let mut rows = vec![("Fill and drain of the array between tiles", fill_drain)];
        if self.stays != Stays::Weight {
            rows.push(("What stays in the array", stays));
        }
        if self.with_sums {
            rows.push(("Loading weights", "part of the first product with them"));
        }
        rows.into_iter().map(|(what, value)| (what.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn array(stays: Stays, rows: u64, cols: u64) -> Systolic {
        let fill_grid = rows;
        Systolic { stays, rows, cols, fill_grid, with_sums: false, min_stream: 1, per_fold: true, output_drain: 0 }
    }

    fn tile(tm: u64, tn: u64, tk: u64) -> Tile {
        Tile { tm, tn, tk, first: true, ..Tile::default() }
    }

    proptest! {
        #[test]
        fn a_whole_tile_takes_the_published_folds(
            (m, n, k) in (1u64..5000, 1u64..5000, 1u64..5000), (r, c) in (1u64..300, 1u64..300),
        ) {
            let cost = |array: &Systolic| {
                let (load, sums) = (array.load(&tile(m, n, k)), array.compute(&tile(m, n, k), 1));
                assert_eq!(sums.latency, 0);
                load + sums.occupied
            };
            let weight = k.div_ceil(r) * n.div_ceil(c) * (2 * r + c + m - 2);
            let input = k.div_ceil(r) * m.div_ceil(c) * (2 * r + c + n - 2);
            let output = m.div_ceil(r) * n.div_ceil(c) * (r + c + k - 2);
            prop_assert_eq!(cost(&array(Stays::Weight, r, c)), weight);
            prop_assert_eq!(cost(&array(Stays::Input, r, c)), input);
            prop_assert_eq!(cost(&array(Stays::Output, r, c)), output);
            // The paper also counts shifting the outputs out.
            let paper = Systolic { output_drain: r, ..array(Stays::Output, r, c) };
            prop_assert_eq!(cost(&paper), m.div_ceil(r) * n.div_ceil(c) * (2 * r + c + k - 2));
            // Loading with the first product costs the same where nothing hides.
            let with_sums = Systolic { with_sums: true, ..array(Stays::Weight, r, c) };
            prop_assert_eq!(cost(&with_sums), weight);
        }

        #[test]
        fn overlapped_passes_follow_each_other_and_end_after_the_skew(
            (m, n, k) in (1u64..600, 1u64..5000, 1u64..5000), r in 1u64..300,
        ) {
            let array =
                Systolic { with_sums: true, min_stream: 4, per_fold: false, ..array(Stays::Weight, r, 128) };
            let passes = k.div_ceil(r) * n.div_ceil(128);
            let cost = array.compute(&tile(m, n, k), 1);
            prop_assert_eq!((array.load(&tile(m, n, k)), cost.occupied), (0, passes * r.max(m.max(4))));
            // One pass is over r + 128 - 2 + max(m, 4) cycles after its start, unless the next one starts later.
            let one = array.compute(&tile(m, 1, 1), 1);
            prop_assert_eq!(one.occupied + one.latency, (r + 126 + m.max(4)).max(r));
            let again = array.compute(&Tile { first: false, ..tile(m, n, k) }, 1);
            prop_assert_eq!(again.occupied, passes * m.max(4));
        }
    }

    #[test]
    fn runs_of_terms_with_their_own_scales_take_passes_of_their_own() {
        let runs = |stays| {
            let array = Systolic { per_fold: false, ..array(stays, 32, 32) };
            let tile = Tile { block: 24, ..tile(64, 64, 60) };
            (array.compute(&tile, 1).occupied, array.sums(&tile), array.sums(&self::tile(64, 64, 60)))
        };
        assert_eq!(runs(Stays::Weight), (2 * 3 * 64, 3, 2));
        assert_eq!(runs(Stays::Input), (2 * 3 * 64, 3, 2));
        assert_eq!(runs(Stays::Output), (2 * 2 * 60, 3, 1), "three runs, 60 terms in all");
    }
}
