//! A grid of multiply-accumulate cells through which operands move from neighbour to neighbour.
//!
//! Weights stay: `rows` terms x `cols` outputs are shifted in from the top, then each input row enters skewed and leaves
//! `rows + cols - 2` cycles later. A tile is walked block by block; a partial block costs a whole one (padded edge).

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
        ("fill_drain", Default("\"overlapped\"")),
    ],
    read,
};

/// How the next tile's inputs follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FillDrain {
    /// At once: fill and drain are latency only.
    Overlapped,
    /// After fill and drain of the tile before: they occupy the array.
    PerFold,
}

/// A systolic array.
#[derive(Debug)]
struct Systolic {
    rows: u32,
    cols: u32,
    weight_rows_per_cycle: u32,
    fill_drain: FillDrain,
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    Ok(Arc::new(Systolic {
        rows: keys.count("rows")?,
        cols: keys.count("cols")?,
        weight_rows_per_cycle: keys.count("weight_rows_per_cycle")?,
        fill_drain: match keys.text("fill_drain")?.as_str() {
            "per_fold" => FillDrain::PerFold,
            _ => FillDrain::Overlapped,
        },
    }))
}

impl Systolic {
    /// Passes of an input row through the tile: its blocks, or where sums of `block` terms are scaled one by one, those of
    /// each such run, for what has another scale cannot share a column.
    fn passes(&self, tile: &Tile) -> u64 {
        let run = |terms: u64| terms.div_ceil(u64::from(self.rows));
        let across = tile.tn.div_ceil(u64::from(self.cols));
        match tile.block {
            0 => across * run(tile.tk),
            block => across * (tile.tk / block * run(block) + run(tile.tk % block)),
        }
    }
}

impl Kind for Systolic {
    fn block(&self) -> [u32; 2] {
        [self.rows, self.cols]
    }
    /// All physical rows are shifted in, block after block.
    fn load(&self, tile: &Tile) -> u64 {
        let blocks = tile.tn.div_ceil(u64::from(self.cols)) * tile.tk.div_ceil(u64::from(self.rows));
        (blocks - tile.dead) * u64::from(self.rows.div_ceil(self.weight_rows_per_cycle))
    }
    /// Overlapped: the rows occupy the array, fill and drain (rows + cols - 2) are latency. Per fold: fill and drain
    /// occupy the array too, in every block.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let fill_drain = u64::from(self.rows) + u64::from(self.cols) - 2;
        let (passes, stream) = (self.passes(tile) - tile.dead, tile.tm * u64::from(row_cycles));
        match self.fill_drain {
            FillDrain::Overlapped => ArrayCost { occupied: (passes * stream).max(1), latency: fill_drain },
            FillDrain::PerFold => ArrayCost { occupied: (passes * (stream + fill_drain)).max(1), latency: 0 },
        }
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        let value = match self.fill_drain {
            FillDrain::Overlapped => "overlapped",
            FillDrain::PerFold => "perfold",
        };
        vec![("Fill and drain of the array between tiles".to_owned(), value.to_owned())]
    }
}
