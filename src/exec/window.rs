//! Windows of an image: what rows of inputs are for the array while `mm.win` is in force (implicit im2col).

use super::Vm;
use super::codes::Codes;
use super::event::{Access, Event};
use super::spaces::Span;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use std::ops::Range;

/// Geometry of a convolution, and where the rows of the next products begin in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    channels: u32,
    height: u32,
    width: u32,
    /// Rows and columns of the window.
    size: [u32; 2],
    stride: u32,
    pad: u32,
    dilation: u32,
    /// Output pixels of a row, and all of them.
    across: u32,
    pixels: u64,
    /// Output pixel of row 0, and element of the window at k = 0.
    first: [u64; 2],
}

/// Bytes of a record.
const RECORD: u64 = 32;
/// Largest extent of a record.
const MOST: u32 = 1 << 16;

impl Window {
    fn of(record: &[u8], first: [u64; 2]) -> Result<Window> {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| record[4 * at + byte]));
        let [channels, height, width, rows, cols, stride, pad, dilation] = [0, 1, 2, 3, 4, 5, 6, 7].map(word);
        let names = ["C", "H", "W", "R", "S", "stride", "pad", "dilation"];
        for (at, name) in names.into_iter().enumerate() {
            if word(at) > MOST || (word(at) == 0 && name != "pad") {
                let message = format!("the convolution record has {name} = {}; it must be 1 to {MOST}", word(at));
                return Err(Trap::new(TrapKind::Shape, message));
            }
        }
        let outputs = |extent: u32, window: u32| {
            let reach = u64::from(dilation) * u64::from(window - 1) + 1;
            (u64::from(extent) + 2 * u64::from(pad)).checked_sub(reach).map(|rest| rest / u64::from(stride) + 1)
        };
        let (Some(down), Some(across)) = (outputs(height, rows), outputs(width, cols)) else {
            let message = format!(
                "a window of {rows} x {cols}, dilation {dilation}, is larger than {height} x {width} + pad {pad}"
            );
            return Err(Trap::new(TrapKind::Shape, message));
        };
        let (across, pixels, size) = (across as u32, down * across, [rows, cols]);
        Ok(Window { channels, height, width, size, stride, pad, dilation, across, pixels, first })
    }

    /// Elements of a window.
    fn elements(&self) -> u64 {
        u64::from(self.channels) * u64::from(self.size[0]) * u64::from(self.size[1])
    }

    /// `tk` terms by the pixel of the window that they are channels of: terms, its row and column, the first channel.
    fn places(&self, tk: u32) -> impl Iterator<Item = (Range<usize>, [u64; 2], usize)> + '_ {
        let mut k = 0;
        std::iter::from_fn(move || {
            (k < tk).then(|| {
                let (channels, at) = (u64::from(self.channels), self.first[1] + u64::from(k));
                let (channel, place) = (at % channels, at / channels);
                let count = (channels - channel).min(u64::from(tk - k)) as u32;
                let terms = k as usize..(k + count) as usize;
                k += count;
                (terms, [place / u64::from(self.size[1]), place % u64::from(self.size[1])], channel as usize)
            })
        })
    }

    /// Where output `out` has step `step` of its window along an axis of the image; nothing in the padding.
    fn along(&self, out: u64, step: u64, extent: u32) -> Option<u64> {
        let at = out * u64::from(self.stride) + step * u64::from(self.dilation);
        at.checked_sub(self.pad.into()).filter(|at| *at < extent.into())
    }

    /// Those among the outputs `out` that have step `step` of their windows in the image: where [`Window::along`] has a place.
    fn inside(&self, out: Range<u64>, step: u64, extent: u32) -> Range<u64> {
        let (pad, step) = (u64::from(self.pad), step * u64::from(self.dilation));
        let from = |at: u64| at.saturating_sub(step).div_ceil(self.stride.into());
        out.start.max(from(pad))..out.end.min(from(pad + u64::from(extent)))
    }

    /// The runs of row `m` of `tk` terms: terms, and the image pixel that they are channels of with the first channel, or
    /// nothing where they are padding.
    fn runs(&self, m: u32, tk: u32) -> impl Iterator<Item = (Range<usize>, Option<(u64, usize)>)> + '_ {
        let pixel = self.first[0] + u64::from(m);
        let (oy, ox) = (pixel / u64::from(self.across), pixel % u64::from(self.across));
        self.places(tk).map(move |(terms, [r, s], channel)| {
            let source = self.along(oy, r, self.height).zip(self.along(ox, s, self.width));
            (terms, source.map(|(y, x)| (y * u64::from(self.width) + x, channel)))
        })
    }

    /// What `tm` rows of `tk` terms have in the image: the first and the last pixel, terms and runs.
    fn extent(&self, tm: u32, tk: u32) -> Extent {
        let (across, width) = (u64::from(self.across), u64::from(self.width));
        let (first, end) = (self.first[0], self.first[0] + u64::from(tm));
        let mut extent = Extent { pixels: [u64::MAX, 0], terms: 0, runs: 0 };
        for (terms, [r, s], _) in self.places(tk) {
            for oy in first / across..end.div_ceil(across) {
                let Some(y) = self.along(oy, r, self.height) else { continue };
                let row = oy * across;
                let xs = self.inside(first.saturating_sub(row)..across.min(end - row), s, self.width);
                let [left, right] = [xs.start, xs.end.saturating_sub(1)].map(|ox| self.along(ox, s, self.width));
                let (false, Some(left), Some(right)) = (xs.is_empty(), left, right) else { continue };
                let [lowest, highest] = extent.pixels;
                extent.pixels = [lowest.min(y * width + left), highest.max(y * width + right)];
                extent.terms += (xs.end - xs.start) * terms.len() as u64;
                extent.runs += xs.end - xs.start;
            }
        }
        extent
    }
}

/// A part of an image that windows cover.
struct Extent {
    /// The first and the last; the other way round where there is none.
    pixels: [u64; 2],
    terms: u64,
    runs: u64,
}

/// Takes a convolution record, or goes back to plain rows.
pub fn mm_win(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let record = vm.known(inst.rs1, "an address")?;
    let first = [vm.known(inst.rs2, "a pixel")?, vm.known(inst.rs3, "a term")?];
    if record == 0 {
        vm.window = None;
        return Ok(());
    }
    if record >> 60 != 3 {
        let message = format!("the convolution record at {record:#x} is not in control memory");
        return Err(Trap::new(TrapKind::Addr, message));
    }
    let span = vm.memory.near(record, RECORD)?;
    event.touch(Access { space: span.space, write: false, lo: span.lo, hi: span.hi, bytes: RECORD, runs: 1 });
    vm.window = Some(Window::of(vm.memory.get(span), first)?);
    Ok(())
}

/// Image bytes that rows of a product are gathered from.
pub struct Gather {
    window: Window,
    image: Span,
    /// First image pixel of the range, and bytes from pixel to pixel.
    lowest: u64,
    pitch: u64,
}

impl Gather {
    /// Checks the rows `0..tm` of `tk` terms that the memory operand of `inst` names, and records them in `event`.
    ///
    /// # Errors
    /// SHAPE beyond the window or the last pixel; ADDR if the image leaves its space.
    pub fn new(vm: &mut Vm, inst: &Inst, event: &mut Event, window: Window, code_bits: u32) -> Result<Gather> {
        let packed = |codes: u32| (u64::from(codes) * u64::from(code_bits)).div_ceil(8);
        let [tm, _, tk] = vm.tile;
        let (pixel, term) = (window.first[0], window.first[1]);
        let beyond = |first: u64, count: u32, all: u64| first.checked_add(count.into()).is_none_or(|end| end > all);
        if beyond(pixel, tm, window.pixels) || beyond(term, tk, window.elements()) {
            let message = format!(
                "{tm} windows from pixel {pixel} and {tk} terms from term {term} of {} windows of {} terms",
                window.pixels,
                window.elements()
            );
            return Err(Trap::new(TrapKind::Shape, message));
        }
        let pixel_bytes = packed(window.channels);
        let pitch = match inst.mem().rows {
            Some(register) => vm.known(register, "a pixel pitch")?,
            None => pixel_bytes,
        };
        vm.afford(u64::from(tm) * packed(tk))?;
        let Extent { pixels, terms, runs } = window.extent(tm, tk);
        let ([lowest, highest], bits) = (pixels, terms * u64::from(code_bits));
        let address = vm.address(inst)?;
        if bits == 0 {
            let image = vm.memory.near(address, 0)?;
            vm.advance(inst, 0)?;
            return Ok(Gather { window, image, lowest: 0, pitch });
        }
        let reach = u128::from(highest - lowest) * u128::from(pitch) + u128::from(pixel_bytes);
        let low = u128::from(address) + u128::from(lowest) * u128::from(pitch);
        if (low + reach - 1) >> 60 != u128::from(address >> 60) {
            let message =
                format!("pixels {lowest} to {highest} of the image at {address:#x} leave their address space");
            return Err(Trap::new(TrapKind::Addr, message));
        }
        let image = vm.memory.near(low as u64, reach as u64)?;
        let bytes = bits.div_ceil(8);
        event.touch(Access { space: image.space, write: false, lo: image.lo, hi: image.hi, bytes, runs });
        vm.advance(inst, bytes)?;
        Ok(Gather { window, image, lowest, pitch })
    }

    /// The codes of row `m` into containers.
    pub fn row(&self, vm_bytes: &[u8], codes: &Codes, m: u32, tk: u32, to: &mut [u8]) {
        codes.clear_tail(to, 0);
        for (terms, source) in self.window.runs(m, tk) {
            let Some((pixel, channel)) = source else { continue };
            let from = &vm_bytes[((pixel - self.lowest) * self.pitch) as usize..];
            terms.enumerate().for_each(|(i, at)| codes.put(to, at, codes.stored(from, channel + i)));
        }
    }

    /// The range of the image that [`Gather::row`] reads.
    pub fn image(&self) -> Span {
        self.image
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn window(rng: &mut impl Rng) -> Option<Window> {
        let mut record = [0; RECORD as usize];
        let words = [rng.random_range(1..4u32), rng.random_range(1..9), rng.random_range(1..9), rng.random_range(1..5)]
            .into_iter()
            .chain([rng.random_range(1..5), rng.random_range(1..4), rng.random_range(0..6), rng.random_range(1..4)]);
        for (bytes, word) in record.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Window::of(&record, [0, 0]).ok()
    }

    #[test]
    fn the_extent_of_rows_is_that_of_their_runs() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut padded = 0;
        for _ in 0..5000 {
            let Some(mut window) = window(&mut rng) else { continue };
            window.first = [rng.random_range(0..window.pixels), rng.random_range(0..window.elements())];
            let tm = rng.random_range(0..=window.pixels - window.first[0]) as u32;
            let tk = rng.random_range(0..=window.elements() - window.first[1]) as u32;
            let all = (0..tm).flat_map(|m| window.runs(m, tk));
            let inside: Vec<(usize, u64)> = all.filter_map(|(terms, at)| Some((terms.len(), at?.0))).collect();
            let Extent { pixels, terms, runs } = window.extent(tm, tk);
            assert_eq!(terms, inside.iter().map(|(terms, _)| *terms as u64).sum::<u64>(), "{window:?} {tm} x {tk}");
            assert_eq!(runs, inside.len() as u64, "{window:?} {tm} x {tk}");
            let of = inside.iter().map(|(_, pixel)| *pixel);
            if let (Some(lowest), Some(highest)) = (of.clone().min(), of.max()) {
                assert_eq!(pixels, [lowest, highest], "{window:?} {tm} x {tk}");
            }
            padded += usize::from(terms < u64::from(tm) * u64::from(tk));
        }
        assert!(padded > 1000, "{padded} with padding");
    }
}
