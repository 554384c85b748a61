//! A map of the SRAM over time: which addresses hold bytes that are still to be read, of which step, and where bytes move.

use super::kit::{self, Anchor, Colour, Drawing, FAINT, INK};
use super::over_time::{Columns, cycle_axis, palette};
use super::{Chart, WIDTH, frame};
use crate::report::units;
use crate::sim::history::{History, Map};
use crate::vpu::summary::RunSummary;

const LEFT: f64 = 110.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 96.0;
const HEIGHT: f64 = 256.0;
/// Rows of the chart, at most: pairs of rows of the history.
const ROWS: usize = 64;
/// Most groups with a colour of their own.
const COLOURS: usize = 6;

/// What a cell shows: the group whose bytes lie there, and whether any of them move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    group: usize,
    moves: bool,
}

/// The chart; `None` if the SRAM was not used.
pub fn chart(run: &RunSummary, history: &History) -> Option<Chart> {
    let map = history.map.as_ref().filter(|map| map.used() > 0 && history.scale.used() > 0)?;
    let columns = Columns::of(&history.scale);
    let title = title(run, history);
    let subtitle = format!(
        "addresses of SRAM over time for {} · {}: pale where bytes wait for their last read, dark where they move",
        run.policy, run.machine
    );
    let bottom = TOP + HEIGHT;
    let mut drawing = frame(bottom + 62.0, &title, &subtitle, std::slice::from_ref(run));
    let colours = palette(&held_by_group(history, map), &history.groups, COLOURS);
    drawing.legend(20.0, 72.0, &colours.legend);
    let merged = map.used().div_ceil(ROWS);
    let rows = map.used().div_ceil(merged);
    let high = HEIGHT / rows as f64;
    let width = (RIGHT - LEFT) / columns.total as f64;
    let mut csv = String::from("from_byte,until_byte,from_cycle,until_cycle,holds_bytes_of,bytes_read,bytes_written\n");
    cycle_axis(&mut drawing, &history.scale, (LEFT, RIGHT), (TOP, bottom));
    for row in 0..rows {
        let of = row * merged..((row + 1) * merged).min(map.used());
        let cells: Vec<Option<Cell>> =
            (0..columns.count).map(|column| cell(map, of.clone(), &columns, column)).collect();
        let y = bottom - high * (row + 1) as f64;
        let mut first = 0;
        while first < cells.len() {
            let same = cells[first..].iter().take_while(|cell| **cell == cells[first]).count();
            if let Some(cell) = cells[first] {
                let (from, last) = (columns.start(first), first + same - 1);
                let until = columns.start(last) + columns.cycles(last);
                let colour = if cell.moves { colours.colours[cell.group] } else { pale(colours.colours[cell.group]) };
                let x = LEFT + from as f64 * width;
                drawing.rect(x, y, (until - from) as f64 * width, high, colour);
            }
            first += same;
        }
        write(&mut csv, history, map, of, &columns);
    }
    addresses(&mut drawing, map, rows * merged);
    Some(Chart { name: "sram".into(), title, drawing, csv })
}

/// The latest group in a cell that holds anything.
fn cell(map: &Map, rows: std::ops::Range<usize>, columns: &Columns, column: usize) -> Option<Cell> {
    let bins = columns.of_bins(column);
    let held = rows.clone().filter_map(|row| map.held(row)[bins.clone()].iter().rev().copied().find(|held| *held > 0));
    let moves = rows.clone().any(|row| bins.clone().any(|bin| map.read(row)[bin] + map.written(row)[bin] > 0));
    let group = held.max()?;
    Some(Cell { group: usize::from(group) - 1, moves })
}

fn held_by_group(history: &History, map: &Map) -> Vec<u64> {
    let mut sizes = vec![0; history.groups.len()];
    for row in 0..map.used() {
        map.held(row).iter().filter(|held| **held > 0).for_each(|held| sizes[usize::from(*held) - 1] += 1);
    }
    sizes
}

/// Half-way to white, and some more.
fn pale(colour: Colour) -> Colour {
    let lift = |c: u8| (u16::from(c) + 3 * (255 - u16::from(c)) / 5) as u8;
    (lift(colour.0), lift(colour.1), lift(colour.2))
}

fn title(run: &RunSummary, history: &History) -> String {
    let whole = history.sram_bytes();
    let used = history.in_use().first().map_or_else(Vec::new, |used| used.bytes(&history.scale));
    let most = used.iter().copied().max().unwrap_or(0);
    let weights =
        used.iter().enumerate().map(|(bin, bytes)| u128::from(*bytes) * u128::from(history.scale.cycles(bin)));
    let cycles = history.scale.end.saturating_sub(history.scale.from).max(1);
    let mean = (weights.sum::<u128>() / u128::from(cycles)) as u64;
    format!(
        "{} keeps at most {} of {} SRAM in use, {} on average",
        run.policy,
        units::bytes(most),
        units::bytes(whole),
        units::bytes(mean)
    )
}

/// Addresses on the left: the first, the last, and quarters between them.
fn addresses(drawing: &mut Drawing, map: &Map, rows: usize) {
    let whole = rows as u64 * map.row_bytes();
    for quarter in 0..=4u64 {
        let y = TOP + HEIGHT * (4 - quarter) as f64 / 4.0;
        let label = if quarter == 0 { "0".to_owned() } else { units::bytes(whole * quarter / 4) };
        drawing.text((LEFT - 8.0, y), kit::SMALL, label, Anchor::End, FAINT);
    }
    drawing.shapes.push(kit::Shape::Upright(24.0, TOP + HEIGHT / 2.0, kit::LABEL, "address".into(), INK));
}

fn write(csv: &mut String, history: &History, map: &Map, rows: std::ops::Range<usize>, columns: &Columns) {
    let bytes = map.row_bytes();
    for column in 0..columns.count {
        let bins = columns.of_bins(column);
        let sum = |of: fn(&Map, usize) -> &[u64]| -> u64 {
            rows.clone().map(|row| of(map, row)[bins.clone()].iter().sum::<u64>()).sum()
        };
        let (read, written) = (sum(Map::read), sum(Map::written));
        let held = cell(map, rows.clone(), columns, column);
        if read + written == 0 && held.is_none() {
            continue;
        }
        let name = held.map_or("", |cell| history.groups[cell.group].as_str());
        let from = history.scale.from + columns.start(column);
        *csv += &format!(
            "{},{},{from},{},{},{read},{written}\n",
            rows.start as u64 * bytes,
            rows.end as u64 * bytes,
            from + columns.cycles(column),
            crate::report::csv::field(name),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts::over_time::tests::{of_mlp, stays_on_its_sheet};

    #[test]
    fn the_map_holds_the_bytes_of_the_books() {
        let (run, history) = of_mlp();
        let chart = chart(&run, &history).unwrap();
        stays_on_its_sheet(&chart);
        let sum = |field: usize| -> u64 {
            chart.csv.lines().skip(1).map(|line| line.split(',').nth(field).unwrap().parse::<u64>().unwrap()).sum()
        };
        let own = [0, 1].map(|way| history.traffic(1, way).iter().sum::<u64>());
        assert_eq!([sum(5), sum(6)], own);
        assert!(own[0] > 0 && own[0] <= run.bytes.sram_read);
        assert!(chart.title.contains("SRAM in use"), "{}", chart.title);
    }

    #[test]
    fn what_waits_is_paler_than_what_moves() {
        for colour in kit::BRIGHT {
            let pale = pale(colour);
            assert!(pale.0 >= colour.0 && pale.1 >= colour.1 && pale.2 >= colour.2 && pale != colour);
        }
    }
}
