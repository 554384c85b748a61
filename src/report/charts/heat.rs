//! Layers by formats as a heat map, in text and as a chart: how much of a weight's signal each format keeps, and how far the
//! model's result moves.

use super::kit::{self, Anchor, Colour, FAINT, INK, Shape};
use super::{Chart, WIDTH, sheet, shorten};
use crate::look::{Cell, Distance, FormatRow, Sensitivity};
use crate::report::units;

const LEFT: f64 = 236.0;
/// Where the names of the columns may begin, below the subtitle.
const HEAD: f64 = 56.0;
const ROW: f64 = 17.0;

/// What a cell is coloured by.
struct Measure {
    name: &'static str,
    subtitle: &'static str,
    /// Value of a cell; larger is better.
    value: fn(&Cell) -> Option<f64>,
    /// Value of a whole format, for the last row.
    whole: fn(&FormatRow) -> Option<f64>,
    /// The value in a few characters.
    words: fn(f64) -> String,
    /// Values at which the colours are palest and darkest.
    range: (f64, f64),
}

/// -20 log10 of the relative error, so that more is better and a factor of ten is 20.
fn decibel(distance: Option<Distance>) -> Option<f64> {
    let relative = distance?.relative_l2?;
    (relative > 0.0).then(|| -20.0 * relative.log10())
}

/// Rounded, without a sign on zero.
fn whole_decibels(db: f64) -> String {
    format!("{:.0}", db.round() + 0.0)
}

/// Length of the dotted prefix that all layer names share, so that labels keep what tells them apart.
fn shared_prefix(found: &Sensitivity) -> usize {
    let mut names = found.layers.iter().map(|layer| layer.name.as_str());
    let (Some(first), true) = (names.next(), found.layers.len() > 1) else { return 0 };
    let shared = names.fold(first.len(), |length, name| {
        first.bytes().zip(name.bytes()).take(length).take_while(|(a, b)| a == b).count()
    });
    first.as_bytes()[..shared].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1)
}

const MEASURES: [Measure; 2] = [
    Measure {
        name: "sensitivity-weights",
        subtitle: "SQNR of the weight in dB (darker is noisier); last row: all weights",
        value: |cell| cell.sqnr_db,
        whole: |format| format.sqnr_db,
        words: whole_decibels,
        range: (0.0, 45.0),
    },
    Measure {
        name: "sensitivity-output",
        subtitle: "error of the model's result in dB below the result (darker is worse); last row: all layers at once",
        value: |cell| decibel(cell.result),
        whole: |format| decibel(format.all_layers),
        words: whole_decibels,
        range: (0.0, 70.0),
    },
];

/// Paul Tol's "YlOrBr", palest first.
const SHADES: [Colour; 9] = [
    (0xff, 0xff, 0xe5),
    (0xff, 0xf7, 0xbc),
    (0xfe, 0xe3, 0x91),
    (0xfe, 0xc4, 0x4f),
    (0xfb, 0x9a, 0x29),
    (0xec, 0x70, 0x14),
    (0xcc, 0x4c, 0x02),
    (0x99, 0x34, 0x04),
    (0x66, 0x25, 0x06),
];

/// Nothing to show: the pair is refused.
const REFUSED: Colour = (0xee, 0xee, 0xee);

/// Index of the shade: 0 for the best.
fn shade(value: f64, (worst, best): (f64, f64)) -> usize {
    let share = ((best - value) / (best - worst)).clamp(0.0, 1.0);
    (share * (SHADES.len() - 1) as f64).round() as usize
}

/// Heat maps of the weights' noise and of the result's error.
pub fn charts(found: &Sensitivity) -> Vec<Chart> {
    MEASURES.iter().rev().map(|measure| chart(found, measure)).collect()
}

fn chart(found: &Sensitivity, measure: &Measure) -> Chart {
    let (columns, rows) = (found.formats.len().max(1), found.layers.len());
    let title = title(found, measure);
    let width = (WIDTH - LEFT - 20.0) / columns as f64;
    let size = kit::SMALL.min(width);
    let names: Vec<String> = found.formats.iter().map(|format| short_type(&format.ty)).collect();
    let longest = names.iter().map(|name| kit::text_width(name, size)).fold(0.0, f64::max);
    let top = HEAD + longest + 8.0;
    let height = top + ROW * (rows as f64 + 1.6) + 40.0;
    let acts = found.activations.as_ref().map_or(String::new(), |ty| format!(", activations {ty}"));
    let footer = format!("{}, {} tokens{acts}", found.model, found.tokens);
    let mut drawing = sheet(height, &title, measure.subtitle, &footer);
    for (at, name) in names.into_iter().enumerate() {
        let x = LEFT + width * (at as f64 + 0.5);
        let y = top - 8.0 - kit::text_width(&name, size) / 2.0;
        drawing.shapes.push(Shape::Upright(x, y, size, name, INK));
    }
    let mut row = |y: f64, name: &str, values: &mut dyn Iterator<Item = (Option<f64>, bool)>| {
        drawing.text((LEFT - 8.0, y + ROW / 2.0), kit::SMALL, shorten(name, 34), Anchor::End, INK);
        for (at, (value, refused)) in values.enumerate() {
            let x = LEFT + width * at as f64;
            let shade = value.map_or(0, |value| shade(value, measure.range));
            let colour = if refused { REFUSED } else { SHADES[shade] };
            drawing.rect(x, y, width - 1.0, ROW - 1.0, colour);
            let words = match value {
                Some(value) => (measure.words)(value),
                None if refused => "–".into(),
                None => "=".into(),
            };
            let ink = if shade >= 5 && !refused { (0xff, 0xff, 0xff) } else { (0x33, 0x33, 0x33) };
            drawing.text((x + width / 2.0, y + ROW / 2.0), 9.5, words, Anchor::Middle, ink);
        }
    };
    let prefix = shared_prefix(found);
    let by_output = measure.name == MEASURES[1].name;
    for (at, layer) in found.layers.iter().enumerate() {
        let cells = &found.cells[at * found.formats.len()..][..found.formats.len()];
        let mut values = cells.iter().map(|cell| ((measure.value)(cell), by_output && cell.result.is_none()));
        row(top + ROW * at as f64, &layer.name[prefix..], &mut values);
    }
    let mut values = found.formats.iter().map(|f| ((measure.whole)(f), by_output && f.refused.is_some()));
    row(top + ROW * (rows as f64 + 0.4), "all", &mut values);
    let y = top + ROW * (rows as f64 + 1.6) + 12.0;
    legend(&mut drawing, y, measure.range);
    Chart { name: measure.name.into(), title, drawing, csv: csv(found) }
}

fn legend(drawing: &mut kit::Drawing, y: f64, (worst, best): (f64, f64)) {
    for (at, colour) in SHADES.iter().rev().enumerate() {
        drawing.rect(LEFT + 30.0 + 16.0 * at as f64, y, 16.0, 9.0, *colour);
    }
    let end = LEFT + 30.0 + 16.0 * SHADES.len() as f64;
    drawing.text((LEFT + 24.0, y + 5.0), kit::SMALL, format!("{worst}"), Anchor::End, FAINT);
    drawing.text(
        (end + 6.0, y + 5.0),
        kit::SMALL,
        format!("{best} dB;  =  no loss,  –  refused"),
        Anchor::Start,
        FAINT,
    );
}

/// A type without the scaling that its name implies anyway.
fn short_type(ty: &str) -> String {
    ty.strip_suffix("/row").or_else(|| ty.strip_suffix("/tensor")).unwrap_or(ty).to_string()
}

/// The finding in one sentence.
fn title(found: &Sensitivity, measure: &Measure) -> String {
    let worst = found.cells.iter().filter_map(|cell| Some(((measure.value)(cell)?, cell)));
    let Some((value, cell)) = worst.min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return format!("{}: nothing is lost in any of these formats", found.model);
    };
    let layer = shorten(&cell.layer, 40);
    match measure.name {
        "sensitivity-weights" => format!("{layer} in {} keeps least of its weight: {value:.1} dB", cell.ty),
        _ => {
            let moved = cell.result.and_then(|d| d.relative_l2).unwrap_or(0.0);
            format!("{layer} in {} moves the result most: by {}", cell.ty, units::percent(moved))
        }
    }
}

/// Every cell, and each format over all layers.
pub fn csv(found: &Sensitivity) -> String {
    let number = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
    let line = |layer: &str, ty: &str, sqnr: Option<f64>, result: Option<Distance>| {
        let layer = crate::report::csv::field(layer);
        let (cosine, l2) = (number(result.map(|d| d.cosine)), number(result.and_then(|d| d.relative_l2)));
        format!("{layer},{ty},{},{cosine},{l2}\n", number(sqnr))
    };
    let mut out = String::from("layer,type,sqnr_db,cosine,relative_l2\n");
    found.cells.iter().for_each(|cell| out += &line(&cell.layer, &cell.ty, cell.sqnr_db, cell.result));
    found.formats.iter().for_each(|f| out += &line("(all)", &f.ty, f.sqnr_db, f.all_layers));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look;
    use crate::model::{self, Input};
    use crate::tensor::TensorType;

    #[test]
    fn a_heat_map_has_a_cell_a_layer_and_format() {
        let prepared = model::load("builtin:mlp").unwrap().prepare(&Input::Default).unwrap();
        let types = ["fp16", "int4", "binary"].iter().map(|ty| TensorType::parse(ty).unwrap()).collect();
        let options = look::Options { types, activations: None, threads: 1 };
        let found = look::sensitivity(&prepared, &options, &|_| {}).unwrap();
        for chart in charts(&found) {
            assert_eq!(chart.csv.lines().count(), 1 + 3 * 3 + 3);
            let rectangles = chart.drawing.shapes.iter().filter(|s| matches!(s, Shape::Rect(..))).count();
            assert_eq!(rectangles, 3 * 3 + 3 + SHADES.len());
            assert!(kit::svg(&chart.drawing).unwrap().contains("binary"), "{}", chart.title);
        }
    }

    #[test]
    fn labels_lose_only_what_all_layers_share() {
        let prepared = model::load("builtin:mlp").unwrap().prepare(&Input::Default).unwrap();
        let types = vec![TensorType::parse("int4").unwrap()];
        let options = look::Options { types, activations: None, threads: 1 };
        let mut found = look::sensitivity(&prepared, &options, &|_| {}).unwrap();
        assert_eq!(shared_prefix(&found), 0);
        let mut name = |at: usize, name: &str| found.layers[at].name = name.into();
        (0..3).for_each(|at| name(at, &format!("encoder.layer.1{at}.value")));
        assert_eq!(shared_prefix(&found), "encoder.layer.".len());
    }

    #[test]
    fn worse_is_darker() {
        assert_eq!((shade(45.0, (0.0, 45.0)), shade(-3.0, (0.0, 45.0))), (0, SHADES.len() - 1));
        assert_eq!(
            (whole_decibels(-0.3), whole_decibels(0.4), whole_decibels(-1.6)),
            ("0".into(), "0".into(), "-2".into())
        );
        assert_eq!(short_type("int4/row"), "int4");
        assert_eq!(short_type("int4/block32"), "int4/block32");
    }
}
