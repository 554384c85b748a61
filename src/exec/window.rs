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

    /// The runs of row `m` of `tk` terms: terms, and the image pixel that they are channels of with the first channel, or
    /// nothing where they are padding.
    fn runs(&self, m: u32, tk: u32) -> impl Iterator<Item = (Range<usize>, Option<(u64, usize)>)> + '_ {
        let pixel = self.first[0] + u64::from(m);
        let (oy, ox) = (pixel / u64::from(self.across), pixel % u64::from(self.across));
        let mut k = 0;
        std::iter::from_fn(move || {
            (k < tk).then(|| {
                let (channels, at) = (u64::from(self.channels), self.first[1] + u64::from(k));
                let (channel, place) = (at % channels, at / channels);
                let (r, s) = (place / u64::from(self.size[1]), place % u64::from(self.size[1]));
                let count = (channels - channel).min(u64::from(tk - k)) as u32;
                let along = |out: u64, step: u64, extent: u32| {
                    let at = out * u64::from(self.stride) + step * u64::from(self.dilation);
                    at.checked_sub(self.pad.into()).filter(|at| *at < extent.into())
                };
                let source = along(oy, r, self.height)
                    .zip(along(ox, s, self.width))
                    .map(|(y, x)| (y * u64::from(self.width) + x, channel as usize));
                let terms = k as usize..(k + count) as usize;
                k += count;
                (terms, source)
            })
        })
    }
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
        let (mut lowest, mut highest, mut bits, mut runs) = (u64::MAX, 0, 0, 0);
        for m in 0..tm {
            for (terms, source) in window.runs(m, tk) {
                let Some((at, _)) = source else { continue };
                (lowest, highest) = (lowest.min(at), highest.max(at));
                bits += terms.len() as u64 * u64::from(code_bits);
                runs += 1;
            }
        }
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
