//! The chart kit: a list of shapes in logical pixels, painted by plotters as SVG text or as a PNG file at twice the
//! size, with a font that travels inside the binary. Charts build the list; only this file knows plotters.

use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use crate::diag::{Error, Result};

static FONT: &[u8] = include_bytes!("../../../reports/fonts/DejaVuSans-subset.ttf");

/// A colour, red, green, blue.
pub type Colour = (u8, u8, u8);

/// Text and axes; the page turns it into its own text colour.
pub const INK: Colour = (0x22, 0x22, 0x22);
/// Secondary text.
pub const FAINT: Colour = (0x77, 0x77, 0x77);
/// Grid lines.
pub const GRID: Colour = (0xdd, 0xdd, 0xdd);
/// Paul Tol's "bright" scheme, distinguishable for colour-blind readers: blue, red, green, yellow, cyan, purple, grey.
pub const BRIGHT: [Colour; 7] = [
    (0x44, 0x77, 0xaa),
    (0xee, 0x66, 0x77),
    (0x22, 0x88, 0x33),
    (0xcc, 0xbb, 0x44),
    (0x66, 0xcc, 0xee),
    (0xaa, 0x33, 0x77),
    (0xbb, 0xbb, 0xbb),
];

/// Text sizes.
pub const TITLE: f64 = 19.0;
/// Labels and legends.
pub const LABEL: f64 = 13.0;
/// Tick labels and footers.
pub const SMALL: f64 = 11.5;

/// Which point of a text stands at the given place; the vertical middle always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// One thing to paint; lengths in logical pixels, y downwards.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A filled rectangle from corner to corner.
    Rect(f64, f64, f64, f64, Colour),
    /// An open line through points.
    Line(Vec<(f64, f64)>, Colour, u32),
    /// A filled circle: centre and radius.
    Dot(f64, f64, f64, Colour),
    /// Text: place, size, words, anchor, colour.
    Text(f64, f64, f64, String, Anchor, Colour),
    /// Text that reads upwards, centred at a place.
    Upright(f64, f64, f64, String, Colour),
}

/// A picture: size and shapes in painting order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drawing {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Shapes.
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Drawing { width, height, shapes: Vec::new() }
    }
    /// Adds a rectangle by corner and extent.
    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        self.shapes.push(Shape::Rect(x, y, x + width, y + height, colour));
    }
    /// Adds a line of one pixel.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        self.shapes.push(Shape::Line(vec![from, to], colour, 1));
    }
    /// Adds text.
    pub fn text(&mut self, at: (f64, f64), size: f64, text: impl Into<String>, anchor: Anchor, colour: Colour) {
        self.shapes.push(Shape::Text(at.0, at.1, size, text.into(), anchor, colour));
    }
    /// Adds a legend line of coloured squares from `x` to the right, closer and smaller if the sheet is too narrow.
    pub fn legend(&mut self, mut x: f64, y: f64, entries: &[(String, Colour)]) {
        let names = |size: f64| entries.iter().map(|(name, _)| 15.0 + text_width(name, size)).sum::<f64>();
        let room = self.width - x - 10.0;
        let size = if names(LABEL) + 12.0 * entries.len() as f64 <= room { LABEL } else { SMALL };
        let gap = ((room - names(size)) / entries.len().max(1) as f64).clamp(4.0, 18.0);
        for (name, colour) in entries {
            self.rect(x, y - 5.0, 10.0, 10.0, *colour);
            self.text((x + 15.0, y), size, name, Anchor::Start, INK);
            x += 15.0 + text_width(name, size) + gap;
        }
    }
}

fn register_font() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let ok = plotters::style::register_font("sans-serif", FontStyle::Normal, FONT).is_ok();
        debug_assert!(ok, "the embedded font is readable");
    });
}

/// Width of a text in logical pixels.
pub fn text_width(text: &str, size: f64) -> f64 {
    register_font();
    ("sans-serif", size * FONT_SCALE).into_font().box_size(text).map_or(0.0, |(width, _)| f64::from(width))
}

/// plotters asks for line height where people mean em size.
const FONT_SCALE: f64 = 1.24;

/// `drop` moves text down: a bitmap centres the box with its descenders, an SVG viewer the letters.
fn paint<B: DrawingBackend>(drawing: &Drawing, area: &DrawingArea<B, Shift>, scale: f64, drop: f64) -> Result<()> {
    let px = |v: f64| (v * scale).round() as i32;
    let fill = |colour: Colour| RGBColor(colour.0, colour.1, colour.2).filled();
    for shape in &drawing.shapes {
        let painted = match shape {
            Shape::Rect(x0, y0, x1, y1, colour) => {
                area.draw(&Rectangle::new([(px(*x0), px(*y0)), (px(*x1), px(*y1))], fill(*colour)))
            }
            Shape::Line(points, colour, width) => {
                let color = RGBColor(colour.0, colour.1, colour.2).to_rgba();
                let style = ShapeStyle { color, filled: false, stroke_width: (f64::from(*width) * scale) as u32 };
                area.draw(&PathElement::new(points.iter().map(|(x, y)| (px(*x), px(*y))).collect::<Vec<_>>(), style))
            }
            Shape::Dot(x, y, r, colour) => area.draw(&Circle::new((px(*x), px(*y)), px(*r).max(1), fill(*colour))),
            Shape::Text(x, y, size, text, anchor, colour) => {
                let horizontal = match anchor {
                    Anchor::Start => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::End => HPos::Right,
                };
                area.draw_text(text, &text_style(*size * scale, *colour, horizontal, false), (px(*x), px(*y + drop)))
            }
            Shape::Upright(x, y, size, text, colour) => {
                area.draw_text(text, &text_style(*size * scale, *colour, HPos::Center, true), (px(*x), px(*y)))
            }
        };
        painted.map_err(|e| Error::internal(format!("a chart cannot be drawn: {e}")))?;
    }
    area.present().map_err(|e| Error::internal(format!("a chart cannot be written: {e}")))
}

fn text_style(size: f64, colour: Colour, horizontal: HPos, upright: bool) -> TextStyle<'static> {
    let font = ("sans-serif", size * FONT_SCALE).into_font();
    let font = if upright { font.transform(FontTransform::Rotate270) } else { font };
    let color = RGBColor(colour.0, colour.1, colour.2).to_backend_color();
    TextStyle { font, color, pos: Pos::new(horizontal, VPos::Center) }
}

/// The picture as SVG text with a transparent ground.
///
/// # Errors
/// Internal if plotters fails.
pub fn svg(drawing: &Drawing) -> Result<String> {
    register_font();
    let mut text = String::new();
    let size = (drawing.width.ceil() as u32, drawing.height.ceil() as u32);
    paint(drawing, &SVGBackend::with_string(&mut text, size).into_drawing_area(), 1.0, 0.0)?;
    Ok(text)
}

/// Writes the picture as a PNG of twice its size on white.
///
/// # Errors
/// Internal if plotters fails or the file cannot be written.
pub fn write_png(drawing: &Drawing, path: &Path) -> Result<()> {
    register_font();
    let size = (2 * drawing.width.ceil() as u32, 2 * drawing.height.ceil() as u32);
    let area = BitMapBackend::new(path, size).into_drawing_area();
    area.fill(&plotters::style::WHITE).map_err(|e| Error::internal(format!("a chart cannot be drawn: {e}")))?;
    paint(drawing, &area, 2.0, 1.8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_needs_no_font_of_the_system() {
        assert!(text_width("µJ · 10⁶ ≥ α", 12.0) > 40.0);
        let mut drawing = Drawing::new(100.0, 40.0);
        drawing.text((10.0, 20.0), LABEL, "<µJ & more>", Anchor::Start, INK);
        let text = svg(&drawing).unwrap();
        assert!(text.starts_with("<svg") && text.contains("&lt;µJ &amp; more&gt;"), "{text}");
    }

    #[test]
    fn a_png_is_twice_the_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png(&Drawing::new(30.0, 20.0), &path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert_eq!(bytes[16..24], [0, 0, 0, 60, 0, 0, 0, 40]);
    }
}
