//! A convolver that sees one whole window a cycle: a line buffer feeds a compute unit for every output channel.
//!
//! The layer law is the mechanism of CUTIE (pulp-platform/CUTIE, its open RTL): a writer moves `window` pixels a cycle from
//! the activation memory into a buffer of `window` lines, a reader takes one window a cycle from it, and a controller lets
//! each of them go on only where it cannot overtake the other. So a layer takes about a cycle an input pixel of a wide
//! image, more of a narrow one, where the two get in each other's way, and a strided layer is bound by the writer. Weights
//! of a layer are loaded a word a cycle, while the line buffer fills.

use super::{ArrayCost, Keys, Kind, Layer, LayerCost, Row, Shape, Tile};
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::schema::Need::{Default, Required};
use std::sync::Arc;

/// The row of this kind.
pub(super) const ROW: Row = Row {
    name: "line_buffer",
    keys: &[
        ("window", Required),
        ("inputs", Required),
        ("outputs", Required),
        ("stagger", Default("1")),
        ("pipeline", Default("2")),
        ("image", Default("64")),
    ],
    read,
};

/// Cycles from the start signal until the first layer is set up.
const SET_UP: u64 = 3;
/// Cycles from there, beside its words, until a layer's weights let the reader go on.
const WEIGHTS: u64 = 3;
/// Cycles from the last window of a layer until the next is set up.
const HAND_OVER: u64 = 4;
/// Cycles from the last window of all until the end is signalled.
const DRAIN: u64 = 3;
/// Rows and columns of the windows that the open RTL has: its controller lets the reader go on without the writer in the
/// last row only, so that with wider windows the last rows of an image wait for ever.
const LAW_WINDOW: u32 = 3;
/// Cycles without a step of writer or reader after which none comes: what they may do depends on their places alone, and
/// settles in two.
const IDLE: u32 = 4;

/// A line-buffer convolver.
#[derive(Debug)]
struct LineBuffer {
    window: u32,
    inputs: u32,
    outputs: u32,
    stagger: u32,
    pipeline: u32,
    image: u32,
}

fn read(keys: &Keys<'_>) -> Result<Arc<dyn Kind>> {
    let window = keys.count("window")?;
    if window % 2 == 0 {
        return Err(Error::bad_input(format!("`array.window` must be odd, not {window}: a window has a middle pixel")));
    }
    Ok(Arc::new(LineBuffer {
        window,
        inputs: keys.count("inputs")?,
        outputs: keys.count("outputs")?,
        stagger: keys.count("stagger")?,
        pipeline: keys.count("pipeline")?,
        image: keys.count("image")?,
    }))
}

/// A place in an image.
#[derive(Clone, Copy)]
struct Place {
    row: i64,
    col: i64,
}

/// The line buffer at work on one layer.
struct Feed {
    /// Rows and columns of the image, pixels that the writer moves at once, and how far a window reaches from its middle.
    rows: i64,
    cols: i64,
    burst: i64,
    reach: i64,
    /// Windows: the first column, one past the last row and column, steps down and across.
    first: i64,
    end: Place,
    step: Place,
    writer: Place,
    reader: Place,
    /// What each of them may do in this cycle; a writer that may wrap goes on in the next row.
    may_write: bool,
    may_wrap: bool,
    may_read: bool,
}

impl Feed {
    /// Cycle of the last window, of a layer set up at `start` whose windows may be asked for from `ready` on; `None` where
    /// writer and reader wait for each other for ever.
    fn run(mut self, start: u64, ready: u64) -> Option<u64> {
        let (mut now, mut last, mut idle) = (start + 1, start, 0);
        while idle <= IDLE {
            if self.may_read {
                last = now;
            }
            let moves = self.may_read || self.may_write;
            if self.step(now >= ready) {
                return Some(last);
            }
            idle = if moves || now < ready { 0 } else { idle + 1 };
            now += 1;
        }
        None
    }

    /// One cycle; true when no window is left.
    fn step(&mut self, ready: bool) -> bool {
        let written = self.writer;
        if self.may_write {
            self.writer.col += self.burst;
            if self.writer.col >= self.cols {
                self.writer.col = if self.may_wrap { self.writer.col - self.cols } else { 0 };
                self.writer.row += 1;
            }
        }
        if self.may_read {
            self.reader.col += self.step.col;
            if self.reader.col >= self.end.col {
                self.reader.col = self.first;
                self.reader.row += self.step.row;
            }
        }
        self.may_wrap = self.wraps();
        // What is on its way in this cycle can be read in the one after next: distances are to the place before it.
        let (rows_ahead, cols_ahead) = (written.row - self.reader.row, written.col - self.reader.col);
        let over = ready && self.reader.row >= self.end.row && !self.last_row(written);
        self.may_read = ready
            && !over
            && (self.last_row(written)
                || rows_ahead > self.reach
                || (rows_ahead == self.reach && cols_ahead > self.reach));
        self.may_write = self.writer.row != self.rows
            && (rows_ahead < self.reach
                || (rows_ahead == self.reach && self.writer.row == written.row)
                || (rows_ahead > self.reach && -cols_ahead >= 2 * self.burst + self.reach));
        over
    }

    /// The image is written and the reader on its last row.
    fn last_row(&self, written: Place) -> bool {
        written.row == self.rows && self.reader.row == self.end.row - 1
    }

    /// Whether pixels past the end of a row may go into the next: there is one, and they overwrite nothing to be read.
    fn wraps(&self) -> bool {
        let past = self.writer.col + self.burst;
        let in_the_way = || self.writer.row > self.reader.row && self.reader.col < past % self.cols + self.reach;
        self.cols >= self.burst && past > self.cols && self.writer.row + 1 < self.rows && !in_the_way()
    }
}

impl LineBuffer {
    fn block_of(&self) -> [u32; 2] {
        [self.window * self.window * self.inputs, self.outputs]
    }

    /// Checks a layer, and gives the words of its weights and the line buffer before its first cycle.
    fn feed(&self, layer: &Layer) -> Result<(u64, Feed)> {
        let refuse = |why: String| Err(Error::unsupported(format!("the line buffer cannot hold this layer: {why}")));
        let Shape::Conv { height, width, channels, outputs, kernel, stride, pad, groups } = layer.shape else {
            return Err(Error::unsupported("the layer law of line_buffer speaks of convolutions only"));
        };
        let (window, image) = (u64::from(self.window), u64::from(self.image));
        let side = kernel[0];
        if side != kernel[1] || side % 2 == 0 || side > window {
            return refuse(format!("kernels are odd squares up to {window}x{window}, not {}x{}", side, kernel[1]));
        }
        if groups != 1 || layer.batch != 1 {
            return refuse("it takes one image and no groups".to_owned());
        }
        // The channels of a word are loaded together; of fewer the weight loader never ends.
        let word = u64::from(self.inputs / self.stagger).max(1);
        if !(word..=u64::from(self.inputs)).contains(&channels) || outputs > u64::from(self.outputs) || outputs == 0 {
            let (low, high, out) = (word, self.inputs, self.outputs);
            return refuse(format!("it has {channels} -> {outputs} channels, of {low} to {high} -> 1 to {out}"));
        }
        if stride.iter().any(|step| !(1..=window).contains(step)) {
            return refuse(format!("its strides are {}x{}, of 1 to {window}", stride[0], stride[1]));
        }
        if height == 0 || width == 0 || width > image {
            return refuse(format!("an image is 1 to {image} pixels wide, not {width}"));
        }
        let reach = (window - 1) / 2;
        let same = pad == [(side - 1) / 2; 2];
        let first = match (same, pad, side == window) {
            (true, ..) => 0,
            (false, [0, 0], true) if height > 2 * reach && width > 2 * reach => reach,
            _ => return refuse(format!("padding {}x{} is neither none nor half the kernel", pad[0], pad[1])),
        };
        let end = Place { row: (height - first) as i64, col: (width - first) as i64 };
        // The reader's row counter goes one step past the last row it reads, and must not wrap.
        let past = first + (height - 2 * first).div_ceil(stride[0]) * stride[0];
        if past >= image {
            return refuse(format!("it has {height} rows, and the counter of rows ends before {image}"));
        }
        let corner = Place { row: first as i64, col: first as i64 };
        let feed = Feed {
            rows: height as i64,
            cols: width as i64,
            burst: window as i64,
            reach: reach as i64,
            first: first as i64,
            end,
            step: Place { row: stride[0] as i64, col: stride[1] as i64 },
            writer: Place { row: 0, col: 0 },
            reader: corner,
            may_write: true,
            may_wrap: false,
            may_read: false,
        };
        Ok((side * side * (channels / word), feed))
    }

    /// Cycles of a stack of layers from the start signal to the end signal. The weights that a layer waits for are those of
    /// the layer after it; the last one waits for none, unless it is the only one.
    fn stack(&self, layers: &[Layer]) -> Result<u64> {
        if self.window != LAW_WINDOW {
            let (law, own) = (LAW_WINDOW, self.window);
            let what = "the layer law of line_buffer speaks of `array.window`";
            return Err(Error::unsupported(format!("{what} = {law}, that of the published RTL, not {own}")));
        }
        let layers: Vec<(u64, Feed)> = layers.iter().map(|layer| self.feed(layer)).collect::<Result<_>>()?;
        let words: Vec<u64> = layers.iter().map(|layer| layer.0).collect();
        let (mut start, mut last) = (SET_UP, 0);
        for (at, (own, feed)) in layers.into_iter().enumerate() {
            let waits = words.get(at + 1).copied().or((at == 0).then_some(own));
            let ready = waits.map_or(0, |words| start + WEIGHTS + words);
            let stuck = || Error::unsupported("writer and reader of the line buffer wait for each other in this layer");
            last = feed.run(start, ready).ok_or_else(stuck)?;
            start = last + HAND_OVER;
        }
        Ok(last + DRAIN)
    }
}

impl Kind for LineBuffer {
    fn block(&self) -> [u32; 2] {
        self.block_of()
    }
    /// All words of a kernel, for every block.
    fn load(&self, tile: &Tile) -> u64 {
        tile.blocks(self.block_of()) * u64::from(self.window * self.window * self.stagger)
    }
    /// A window a cycle through every block. The stalls of narrow and strided images are the layer law's: a tile does not
    /// know its image.
    fn compute(&self, tile: &Tile, row_cycles: u32) -> ArrayCost {
        let occupied = tile.passes(self.block_of()) * tile.tm * u64::from(row_cycles);
        ArrayCost { occupied: occupied.max(1), latency: self.pipeline.into() }
    }
    fn law(&self, _: &Machine, layers: &[Layer]) -> Result<Option<LayerCost>> {
        let cycles = if layers.is_empty() { 0 } else { self.stack(layers)? };
        Ok(Some(LayerCost { cycles, compute_cycles: cycles, ..LayerCost::default() }))
    }
    fn assumptions(&self) -> Vec<(String, String)> {
        vec![("Stalls of the line buffer".to_owned(), "in the layer law only".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTIE: LineBuffer = LineBuffer { window: 3, inputs: 96, outputs: 96, stagger: 2, pipeline: 2, image: 64 };

    fn layer(width: u64, height: u64, kernel: u64, stride: u64) -> Layer {
        let (kernel, stride, pad) = ([kernel; 2], [stride; 2], [kernel / 2; 2]);
        let shape = Shape::Conv { height, width, channels: 96, outputs: 96, kernel, stride, pad, groups: 1 };
        Layer { shape, batch: 1, weight_bits: 2, input_bits: 2, residual: false, pooled: None, unrolled: false }
    }

    #[test]
    fn wide_images_take_a_cycle_a_pixel_and_narrow_ones_stall() {
        let one = |w, h, k, s| CUTIE.stack(&[layer(w, h, k, s)]).unwrap();
        assert!((9..=56).all(|w| (4..=63).all(|h| one(w, h, 3, 1) == w * h + 27)), "9 <= W <= 56");
        assert_eq!([one(8, 8, 3, 1), one(4, 4, 3, 1), one(4, 16, 3, 1), one(62, 62, 3, 1)], [97, 47, 119, 3873]);
        assert_eq!([one(32, 32, 3, 2), one(16, 16, 1, 1), one(24, 3, 3, 1)], [375, 269, 99]);
    }

    #[test]
    fn weights_are_hidden_in_the_last_layer_of_a_stack_only() {
        let stack = |n| CUTIE.stack(&vec![layer(16, 16, 3, 1); n]).unwrap();
        assert_eq!([stack(1), stack(2), stack(3), stack(5)], [283, 550, 831, 1393]);
    }

    #[test]
    fn what_the_hardware_does_not_hold_is_refused_by_name() {
        let why = |layer: Layer| CUTIE.stack(&[layer]).unwrap_err().message().to_owned();
        assert!(why(layer(8, 64, 3, 1)).contains("64 rows"), "{}", why(layer(8, 64, 3, 1)));
        assert!(why(layer(8, 63, 3, 2)).contains("63 rows"));
        assert!(why(layer(65, 8, 3, 1)).contains("65"));
        assert!(why(layer(8, 8, 5, 1)).contains("5x5"));
        assert!(why(layer(8, 8, 3, 4)).contains("4x4"));
        assert!(why(Layer { batch: 2, ..layer(8, 8, 3, 1) }).contains("one image"));
        assert_eq!(CUTIE.stack(&[layer(64, 8, 3, 1)]).unwrap(), 64 * 8 + 29, "64 columns are no trouble");
    }

    #[test]
    fn windows_that_the_rtl_does_not_have_are_refused_and_their_deadlock_ends() {
        let wide = |window| LineBuffer { window, ..CUTIE };
        for window in [1, 5, 7, 15] {
            let error = wide(window).stack(&[layer(13, 13, 1, 1)]).unwrap_err();
            assert!(error.message().contains("array.window"), "{}", error.message());
        }
        assert_eq!(wide(5).feed(&layer(13, 13, 5, 1)).unwrap().1.run(3, 0), None);
    }

    #[test]
    fn a_tile_takes_a_window_a_cycle() {
        let tile = Tile { tm: 100, tn: 97, tk: 864, ..Tile::default() };
        assert_eq!(CUTIE.compute(&tile, 1), ArrayCost { occupied: 200, latency: 2 });
        assert_eq!(CUTIE.load(&tile), 2 * 18);
    }
}
