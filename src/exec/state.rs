//! Registers of one core. Vectors, scales and tiles have no contents in timing-only mode; scalars and masks do,
//! each with a mark for "value unknown" (opaque).

/// Scalar registers; x0 is always 0.
#[derive(Debug, Clone, Default)]
pub struct Scalars {
    value: [u64; 32],
    opaque: u32,
    was_opaque: bool,
}

impl Scalars {
    /// Value of register `n`; 0 if opaque.
    pub fn get(&self, n: u8) -> u64 {
        self.value[usize::from(n)]
    }
    /// True if the value of register `n` is unknown.
    pub fn is_opaque(&self, n: u8) -> bool {
        self.opaque >> n & 1 == 1
    }
    /// True if a register has ever been unknown.
    pub fn was_opaque(&self) -> bool {
        self.was_opaque
    }
    /// Writes register `n`; `None` makes it opaque. Writes to x0 are dropped.
    pub fn set(&mut self, n: u8, value: Option<u64>) {
        if n != 0 {
            self.value[usize::from(n)] = value.unwrap_or(0);
            self.opaque = self.opaque & !(1 << n) | (u32::from(value.is_none()) << n);
            self.was_opaque |= value.is_none();
        }
    }
}

/// One mask register.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// Bits in order, 64 a word; bits from `len` on are 0.
    pub bits: Vec<u64>,
    /// Number of valid bits.
    pub len: u32,
    /// Contents unknown (timing-only mode).
    pub opaque: bool,
}

impl Mask {
    /// A mask of `len` ones in a register of `vlen` bits.
    pub fn ones(vlen: u32, len: u32) -> Mask {
        let mut mask = Mask { bits: vec![0; vlen.div_ceil(64) as usize], len, opaque: false };
        (0..len).for_each(|i| mask.set(i, true));
        mask
    }
    /// Bit `i`; 0 beyond the length.
    pub fn get(&self, i: u32) -> bool {
        i < self.len && self.bits[(i / 64) as usize] >> (i % 64) & 1 == 1
    }
    /// Writes bit `i`.
    pub fn set(&mut self, i: u32, bit: bool) {
        let word = &mut self.bits[(i / 64) as usize];
        *word = *word & !(1 << (i % 64)) | (u64::from(bit) << (i % 64));
    }
    /// Zeros of length `len`, all known.
    pub fn reset(&mut self, len: u32) {
        self.bits.fill(0);
        (self.len, self.opaque) = (len, false);
    }
    /// Index of the lowest set bit at or above `from`.
    pub fn next(&self, from: u64) -> Option<u32> {
        let first = usize::try_from(from / 64).ok().filter(|&word| word < self.bits.len())?;
        let head = self.bits[first] & (u64::MAX << (from % 64));
        let words = std::iter::once(head).chain(self.bits[first + 1..].iter().copied());
        let at = words.enumerate().find(|(_, word)| *word != 0);
        at.map(|(i, word)| (first + i) as u32 * 64 + word.trailing_zeros()).filter(|&i| i < self.len)
    }
    /// Set bits below `n`.
    pub fn count(&self, n: u32) -> u32 {
        let n = n.min(self.len);
        let whole: u32 = self.bits[..(n / 64) as usize].iter().map(|word| word.count_ones()).sum();
        let rest = if n.is_multiple_of(64) { 0 } else { self.bits[(n / 64) as usize] & ((1 << (n % 64)) - 1) };
        whole + rest.count_ones()
    }
}

/// Vector registers v0..v31 as bytes.
#[derive(Debug, Clone)]
pub struct Vectors {
    bytes: Vec<u8>,
    width: usize,
    /// One bit a register for either of two readers: it may have been written since they asked last.
    renewed: u64,
}

impl Vectors {
    /// Zeroed registers of `vlen_bits` each; none in timing-only mode.
    pub fn new(vlen_bits: u32, values: bool) -> Vectors {
        let width = (vlen_bits / 8) as usize;
        Vectors { bytes: vec![0; if values { 32 * width } else { 0 }], width, renewed: !0 }
    }
    /// Bytes of register `n`.
    pub fn get(&self, n: u8) -> &[u8] {
        &self.bytes[usize::from(n) * self.width..][..self.width]
    }
    /// Whether register `n` may have been written since `reader`, 0 or 1, asked for it last.
    pub fn renewed(&mut self, n: u8, reader: u32) -> bool {
        let bit = 1 << (u32::from(n) + 32 * reader);
        let renewed = self.renewed & bit != 0;
        self.renewed &= !bit;
        renewed
    }
    /// The same, to write.
    pub fn get_mut(&mut self, n: u8) -> &mut [u8] {
        self.renewed |= 0x1_0000_0001 << n;
        &mut self.bytes[usize::from(n) * self.width..][..self.width]
    }
    /// Element `i` of register `n` as f32.
    pub fn f32(&self, n: u8, i: usize) -> f32 {
        let at = usize::from(n) * self.width + 4 * i;
        f32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }
    /// Writes element `i` of register `n` as f32.
    pub fn set_f32(&mut self, n: u8, i: usize, value: f32) {
        self.renewed |= 0x1_0000_0001 << n;
        let at = usize::from(n) * self.width + 4 * i;
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    /// Bit `i` of register `n`: 0 or 1.
    pub fn bit(&self, n: u8, i: usize) -> u8 {
        self.bytes[usize::from(n) * self.width + i / 8] >> (i % 8) & 1
    }
    /// Zeros all elements of register `n` from the `from`-th f32 on.
    pub fn zero_f32_from(&mut self, n: u8, from: usize) {
        self.get_mut(n)[4 * from..].fill(0);
    }
}

/// View of a contraction on registers (set by setmac).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Outputs.
    pub nl: u32,
    /// Terms an output.
    pub kd: u32,
    /// Elements from one weight row to the next.
    pub pitch: u32,
}

/// One level of a DMA shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Repetitions.
    pub count: u64,
    /// Bytes from one source block to the next, two's complement.
    pub src: i64,
    /// Bytes from one destination block to the next.
    pub dst: i64,
}

impl Level {
    /// One repetition.
    pub const ONE: Level = Level { count: 1, src: 0, dst: 0 };
}

/// One running hardware loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loop {
    /// First word of the body.
    pub start: u32,
    /// Word of its endl.
    pub end: u32,
    /// Repetitions left, this one included.
    pub left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x0_stays_zero_and_known() {
        let mut x = Scalars::default();
        x.set(0, Some(5));
        x.set(0, None);
        x.set(3, None);
        assert_eq!((x.get(0), x.is_opaque(0), x.is_opaque(3)), (0, false, true));
        x.set(3, Some(9));
        assert_eq!((x.get(3), x.is_opaque(3)), (9, false));
    }

    #[test]
    fn masks_scan_and_count_up_to_their_length() {
        let mut mask = Mask::ones(128, 0);
        mask.reset(100);
        for i in [3, 64, 99] {
            mask.set(i, true);
        }
        assert_eq!((mask.next(0), mask.next(4), mask.next(65), mask.next(100)), (Some(3), Some(64), Some(99), None));
        assert_eq!((mask.count(3), mask.count(4), mask.count(64), mask.count(128)), (0, 1, 1, 3));
        assert_eq!(mask.next(u64::MAX), None);
        assert_eq!(Mask::ones(32, 32).count(32), 32);
    }
}
