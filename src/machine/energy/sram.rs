//! Law for memories: energy and leakage of a bank by size, width, cell and node, and of the wire to it.
//!
//! From 45 to 22 nm the figures are CACTI 7's, interpolated log-linearly in size and node and linearly in width (a word
//! four times as wide costs 1.4 to 3 times as much, not four times). CACTI ends at 22 nm; at 7 nm stand Jouppi's 64 bit
//! accesses, widened by the factors that CACTI shows. Cells have one port that reads and writes.

use super::anchors::Node;
use super::{Derived, Rule};
use crate::diag::{Error, Result};

/// Kind of cell: it decides the leakage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// High performance: fast, and leaks a thousand times more.
    Hp,
    /// Low standby power.
    Lstp,
}

impl Cell {
    /// The cell called `name`: `hp` or `lstp`.
    pub fn of(name: &str) -> Option<Cell> {
        match name {
            "hp" => Some(Cell::Hp),
            "lstp" => Some(Cell::Lstp),
            _ => None,
        }
    }
}

/// Capacities that CACTI was run for, KB; the law extrapolates to [`REACH_KB`].
pub const CHECKED_KB: [f64; 2] = [8.0, 4096.0];
/// Capacities that the law may be asked for, KB.
pub const REACH_KB: [f64; 2] = [1.0, 65536.0];
/// Widths that CACTI was run for, bits; the law extrapolates to [`REACH_BITS`].
pub const CHECKED_BITS: [f64; 2] = [64.0, 256.0];
/// Widths that the law may be asked for, bits.
pub const REACH_BITS: [f64; 2] = [8.0, 2048.0];

/// A row of CACTI: KB, then read and write pJ of a 64 bit word, of a 256 bit word (0: not run).
type Row = (f64, [f64; 2], [f64; 2]);

/// CACTI 7, 1 RW port, 360 K, energy-delay-leakage objective.
struct Table {
    nm: f64,
    cell: Cell,
    rows: &'static [Row],
    /// Leakage, uW/KB.
    leak_uw_per_kb: f64,
}

#[rustfmt::skip]
const CACTI: &[Table] = &[
    Table { nm: 45.0, cell: Cell::Hp, leak_uw_per_kb: 1050.0, rows: &[
        (8.0, [5.3, 6.5], [0.0; 2]), (32.0, [14.9, 12.7], [21.7, 41.4]), (128.0, [33.0, 21.2], [56.3, 66.5]),
        (1024.0, [67.7, 55.9], [180.0, 171.0]), (4096.0, [121.8, 109.9], [0.0; 2])] },
    Table { nm: 45.0, cell: Cell::Lstp, leak_uw_per_kb: 0.221, rows: &[
        (8.0, [6.1, 7.9], [0.0; 2]), (32.0, [17.0, 15.4], [26.8, 51.8]), (128.0, [32.3, 26.1], [73.8, 88.2]),
        (1024.0, [93.5, 76.2], [251.9, 245.3]), (4096.0, [188.7, 155.1], [0.0; 2])] },
    Table { nm: 32.0, cell: Cell::Hp, leak_uw_per_kb: 557.0, rows: &[
        (8.0, [2.9, 3.4], [0.0; 2]), (32.0, [8.5, 6.7], [12.2, 22.5]), (128.0, [14.4, 10.6], [31.9, 36.3]),
        (1024.0, [38.4, 30.8], [101.8, 94.6]), (4096.0, [68.8, 61.1], [0.0; 2])] },
    Table { nm: 32.0, cell: Cell::Lstp, leak_uw_per_kb: 0.265, rows: &[
        (8.0, [3.4, 4.3], [0.0; 2]), (32.0, [8.3, 7.5], [15.3, 28.6]), (128.0, [18.2, 14.1], [41.8, 48.7]),
        (1024.0, [52.0, 41.2], [140.6, 134.6]), (4096.0, [98.7, 87.9], [0.0; 2])] },
    Table { nm: 22.0, cell: Cell::Hp, leak_uw_per_kb: 269.0, rows: &[
        (8.0, [1.5, 1.7], [0.0; 2]), (32.0, [3.5, 2.8], [6.6, 11.6]), (128.0, [7.5, 5.1], [17.1, 18.7]),
        (1024.0, [18.4, 15.9], [54.6, 49.4]), (4096.0, [36.9, 32.0], [0.0; 2])] },
    Table { nm: 22.0, cell: Cell::Lstp, leak_uw_per_kb: 0.215, rows: &[
        (8.0, [1.6, 1.8], [0.0; 2]), (32.0, [3.8, 3.1], [7.1, 12.1]), (128.0, [7.4, 6.2], [19.1, 20.7]),
        (1024.0, [23.5, 17.5], [63.3, 58.1]), (4096.0, [43.9, 37.9], [0.0; 2])] },
];

/// Jouppi's 64 bit accesses at 7 nm by KB.
const JOUPPI: &[(f64, f64)] = &[(8.0, 7.5), (32.0, 8.5), (1024.0, 14.0)];
/// What four times the width costs: low, typical (the square root of their product), high.
const WIDER: [f64; 3] = [1.4, 2.05, 3.0];

/// Reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

/// A bank of a memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bank {
    /// Capacity of the bank, KB.
    pub kb: f64,
    /// Bits of an access.
    pub bits: f64,
    /// Kind of cell.
    pub cell: Cell,
}

impl Bank {
    /// One access over `wire_mm` of wire: low is the bank without its wire, high one of four times the capacity with it.
    ///
    /// # Errors
    /// Bad input outside [`REACH_KB`] and [`REACH_BITS`].
    pub fn access(&self, way: Way, wire_mm: f64, node: Node) -> Result<Derived> {
        within("capacity of a bank", self.kb, REACH_KB, "KB")?;
        within("width of an access", self.bits, REACH_BITS, "bit")?;
        let pj = self.band(way, wire_mm, node);
        let Bank { kb, bits, .. } = *self;
        let cell = if self.cell == Cell::Hp { "hp" } else { "lstp" };
        let wire = if wire_mm > 0.0 { format!(" and {wire_mm:.3} mm of wire") } else { String::new() };
        Ok(Derived {
            pj,
            formula: format!("a {kb} KB bank of {bits} bit words, {cell} cells, at {} nm{wire}", node.nm),
            rule: Rule::Sram,
            extrapolated: self.is_extrapolated() || node.is_beyond(),
        })
    }

    /// Low, typical and high picojoule.
    fn band(&self, way: Way, wire_mm: f64, node: Node) -> [f64; 3] {
        let wire = wire_pj_per_bit_mm(node) * self.bits * wire_mm;
        let cacti = |kb: f64, nm: f64| Bank { kb, ..*self }.cacti(way, nm);
        let carried = |nm: f64| [cacti(self.kb, nm), cacti(self.kb, nm) + wire, cacti(4.0 * self.kb, nm) + wire];
        if node.nm >= 22.0 {
            return carried(node.nm.min(45.0)).map(|pj| pj * node.beyond);
        }
        let jouppi = power_law(JOUPPI, self.kb);
        let wider = (self.bits / 64.0).ln() / 4f64.ln();
        let seven = WIDER.map(|factor| jouppi * factor.powf(wider));
        let [low, typical, high] = if self.bits < 64.0 { [seven[2], seven[1], seven[0]] } else { seven };
        let seven = [low, typical + wire, high + wire];
        let t = ((22.0 / node.nm).ln() / (22.0f64 / 7.0).ln()).min(1.0);
        let at_22 = carried(22.0);
        let mut band: [f64; 3] = std::array::from_fn(|i| at_22[i].powf(1.0 - t) * seven[i].powf(t) * node.beyond);
        band.sort_by(f64::total_cmp);
        band
    }

    /// CACTI's figure from 45 to 22 nm, pJ.
    fn cacti(&self, way: Way, nm: f64) -> f64 {
        let tables = || CACTI.iter().filter(|table| table.cell == self.cell);
        let points: Vec<(f64, f64)> = tables().map(|table| (table.nm, self.of_table(table, way))).rev().collect();
        power_law(&points, nm)
    }

    /// A fixed part and a part a bit: through the 64 and the 256 bit rows, whose ratio is held where only one was run.
    fn of_table(&self, table: &Table, way: Way) -> f64 {
        let narrow: Vec<(f64, f64)> = table.rows.iter().map(|row| (row.0, row.1[way as usize])).collect();
        let wide = table.rows.iter().filter(|row| row.2[way as usize] > 0.0);
        let ratios: Vec<(f64, f64)> = wide.map(|row| (row.0, row.2[way as usize] / row.1[way as usize])).collect();
        let (first, last) = (ratios[0].0, ratios[ratios.len() - 1].0);
        let at_64 = power_law(&narrow, self.kb);
        let at_256 = at_64 * power_law(&ratios, self.kb.clamp(first, last));
        (at_64 + (at_256 - at_64) * (self.bits - 64.0) / 192.0).max(at_64 * self.bits / 64.0 / 4.0)
    }

    /// Whether the bank lies outside what CACTI was run for.
    pub fn is_extrapolated(&self) -> bool {
        let inside = |value: f64, [low, high]: [f64; 2]| (low..=high).contains(&value);
        !inside(self.kb, CHECKED_KB) || !inside(self.bits, CHECKED_BITS)
    }
}

/// Leakage of `kb` of such cells, milliwatt; below 22 nm as at 22 nm, above 45 nm as at 45 nm.
pub fn leakage_mw(kb: f64, cell: Cell, node: Node) -> Derived {
    let points: Vec<(f64, f64)> =
        CACTI.iter().filter(|t| t.cell == cell).map(|t| (t.nm, t.leak_uw_per_kb)).rev().collect();
    let uw = power_law(&points, node.nm.clamp(22.0, 45.0));
    let formula = format!("{kb} KB x {uw:.4} uW/KB (360 K)");
    Derived { pj: [kb * uw / 1e3; 3], formula, rule: Rule::SramLeak, extrapolated: node.is_beyond() }
}

/// Half the side of the square that `bytes` of six-transistor cells fill at 50 % array efficiency, mm: 0.092 um^2 a cell
/// at 22 nm, with the square of the node.
pub fn wire_mm(bytes: f64, node: Node) -> f64 {
    let um2 = bytes * 8.0 * 0.092 * (node.nm / 22.0).powi(2) / 0.5;
    um2.sqrt() / 2.0 / 1e3
}

/// A millimetre of wire, picojoule a bit: low, typical, high by node.
const WIRE: &[(f64, [f64; 3])] = &[(7.0, [0.05, 0.06, 0.1]), (14.0, [0.05, 0.1, 0.2])];

fn wire_band(node: Node) -> [f64; 3] {
    let nm = node.nm.clamp(7.0, 14.0);
    std::array::from_fn(|i| power_law(&WIRE.iter().map(|row| (row.0, row.1[i])).collect::<Vec<_>>(), nm))
}

/// Typical energy of a bit over a millimetre of wire, picojoule.
pub fn wire_pj_per_bit_mm(node: Node) -> f64 {
    wire_band(node)[1]
}

/// A byte over `mm` of wire.
pub fn wire(mm: f64, node: Node) -> Derived {
    let band = wire_band(node);
    let formula = format!("8 bits x {mm} mm x {:.1} fJ/bit/mm", band[1] * 1e3);
    Derived { pj: band.map(|pj| pj * 8.0 * mm), formula, rule: Rule::Wire, extrapolated: node.is_beyond() }
}

/// Straight lines on double logarithmic paper through points in rising order; the outermost ones go on.
fn power_law(points: &[(f64, f64)], x: f64) -> f64 {
    let at = points.iter().position(|point| point.0 >= x).unwrap_or(points.len()).clamp(1, points.len() - 1);
    let ((x0, y0), (x1, y1)) = (points[at - 1], points[at]);
    let t = (x / x0).ln() / (x1 / x0).ln();
    y0 * (y1 / y0).powf(t)
}

fn within(what: &str, value: f64, [low, high]: [f64; 2], unit: &str) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let error = format!("the law of SRAM reaches from {low} to {high} {unit}, but the {what} is {value} {unit}");
    Err(Error::bad_input(error).help("state this price in the machine file, with its source"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(nm: f64) -> Node {
        Node::new(nm).unwrap()
    }

    fn pj(kb: f64, bits: f64, cell: Cell, way: Way, nm: f64) -> f64 {
        Bank { kb, bits, cell }.access(way, 0.0, node(nm)).unwrap().pj[1]
    }

    #[test]
    fn rows_of_the_tables_come_back_as_they_are() {
        for table in CACTI {
            for (kb, narrow, wide) in table.rows {
                for (way, at) in [(Way::Read, 0), (Way::Write, 1)] {
                    assert!((pj(*kb, 64.0, table.cell, way, table.nm) / narrow[at] - 1.0).abs() < 1e-9);
                    if wide[at] > 0.0 {
                        assert!((pj(*kb, 256.0, table.cell, way, table.nm) / wide[at] - 1.0).abs() < 1e-9);
                    }
                }
            }
        }
        for (kb, jouppi) in JOUPPI {
            assert!((pj(*kb, 64.0, Cell::Lstp, Way::Read, 7.0) / jouppi - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn sizes_follow_the_published_exponents() {
        // Read energy of 64 bit words against size from 8 KB to 4 MB: the fits that are quoted with the tables.
        for (cell, nm, exponent) in [
            (Cell::Hp, 45.0, 0.50),
            (Cell::Lstp, 45.0, 0.55),
            (Cell::Hp, 32.0, 0.51),
            (Cell::Lstp, 32.0, 0.54),
            (Cell::Hp, 22.0, 0.51),
            (Cell::Lstp, 22.0, 0.53),
        ] {
            let ratio = pj(4096.0, 64.0, cell, Way::Read, nm) / pj(8.0, 64.0, cell, Way::Read, nm);
            assert!((ratio.ln() / 512f64.ln() - exponent).abs() < 0.01, "{cell:?} {nm}: {}", ratio.ln() / 512f64.ln());
        }
        // Against Horowitz's 10, 20 and 100 pJ.
        for (kb, horowitz, percent) in [(8.0, 10.0, -39.0), (32.0, 20.0, -15.0), (1024.0, 100.0, -6.0)] {
            let error: f64 = 100.0 * (pj(kb, 64.0, Cell::Lstp, Way::Read, 45.0) / horowitz - 1.0);
            assert!((error - percent).abs() < 1.0, "{kb} KB: {error}");
        }
    }

    #[test]
    fn larger_wider_and_further_cost_more() {
        for nm in [130.0, 45.0, 40.0, 22.0, 16.0, 7.0, 5.0] {
            for cell in [Cell::Hp, Cell::Lstp] {
                let sizes: Vec<f64> =
                    [1.0, 4.0, 8.0, 60.0, 500.0, 4096.0, 65536.0].map(|kb| pj(kb, 128.0, cell, Way::Read, nm)).into();
                assert!(sizes.windows(2).all(|w| w[0] < w[1]) && sizes[0] > 0.0, "{nm} {sizes:?}");
                let widths: Vec<f64> =
                    [8.0, 32.0, 64.0, 100.0, 256.0, 512.0].map(|bits| pj(32.0, bits, cell, Way::Read, nm)).into();
                assert!(widths.windows(2).all(|w| w[0] < w[1]) && widths[0] > 0.0, "{nm} {widths:?}");
                for bits in [32.0, 64.0, 512.0] {
                    let [low, typical, high] =
                        Bank { kb: 32.0, bits, cell }.access(Way::Write, 1.0, node(nm)).unwrap().pj;
                    assert!(low <= typical && typical <= high, "{nm} {bits}: {low} {typical} {high}");
                }
            }
        }
        assert!(leakage_mw(8.0, Cell::Hp, node(45.0)).pj[1] > 1e3 * leakage_mw(8.0, Cell::Lstp, node(45.0)).pj[1]);
    }

    #[test]
    fn outside_the_runs_is_marked_and_far_outside_is_refused() {
        let bank = |kb: f64, bits: f64| Bank { kb, bits, cell: Cell::Lstp };
        assert!(!bank(32.0, 128.0).access(Way::Read, 0.0, node(22.0)).unwrap().extrapolated);
        assert!(bank(4.0, 128.0).access(Way::Read, 0.0, node(22.0)).unwrap().extrapolated);
        assert!(bank(32.0, 512.0).access(Way::Read, 0.0, node(22.0)).unwrap().extrapolated);
        assert!(bank(32.0, 128.0).access(Way::Read, 0.0, node(65.0)).unwrap().extrapolated);
        let error = bank(0.5, 64.0).access(Way::Read, 0.0, node(22.0)).unwrap_err();
        assert!(error.message().contains("1 to 65536 KB, but the capacity of a bank is 0.5 KB"), "{error}");
        assert!(bank(32.0, 4096.0).access(Way::Read, 0.0, node(22.0)).is_err());
    }
}
