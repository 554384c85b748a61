//! Counter-based random numbers: Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
//!
//! A draw depends on seed, tensor, step, use and element alone (numerics contract, 2.4), never on threads or tiles.

/// What a draw is for; one stream each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Operands of the forward pass and plain encodes.
    Forward = 0,
    /// Operands of the data gradient.
    DataGradient = 1,
    /// Operands of the weight gradient.
    WeightGradient = 2,
    /// State of the optimiser.
    Optimiser = 3,
    /// Dropout.
    Dropout = 4,
    /// Sampling of tokens.
    Sampling = 5,
    /// Bits of stochastic streams.
    Stream = 6,
}

/// The draws of one tensor at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    key: [u32; 2],
    tensor: u32,
    step: u32,
}

impl Draws {
    /// Draws for the elements of the tensor called `name`.
    pub fn new(seed: u64, name: &str, step: u32, purpose: Use) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        Draws { key, tensor: fnv1a(name.as_bytes()) as u32, step: step.wrapping_mul(16).wrapping_add(purpose as u32) }
    }
    /// Draws under a key, for the tensor and step that the upper words of the counter name: low half the tensor, high
    /// half 16 * step + use.
    pub fn of(key: u64, counter: u64) -> Self {
        Draws { key: [key as u32, (key >> 32) as u32], tensor: counter as u32, step: (counter >> 32) as u32 }
    }
    /// The upper words of the counter, as [`Draws::of`] takes them.
    pub fn counter(&self) -> u64 {
        u64::from(self.step) << 32 | u64::from(self.tensor)
    }
    /// Four words for the elements `4 * quad` to `4 * quad + 3` in row-major order.
    pub fn quad(&self, quad: u64) -> [u32; 4] {
        philox([quad as u32, (quad >> 32) as u32, self.tensor, self.step], self.key)
    }
    /// The word of element `index`; its top k bits are a draw of k bits.
    pub fn word(&self, index: u64) -> u32 {
        self.quad(index >> 2)[(index & 3) as usize]
    }
}

/// FNV-1a, 64 bits: the number of a tensor's name.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Ten rounds of Philox4x32.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xd251_1f53;
        let b = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_authors() {
        // Random123 1.14, kat_vectors, philox4x32 with 10 rounds.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let digits = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let answer = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(philox(digits, [0xa409_3822, 0x299f_31d0]), answer);
    }

    #[test]
    fn a_draw_depends_on_all_that_names_it() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        let draws = Draws::new(7, "x", 3, Use::Dropout);
        assert_eq!(draws.word(6), philox([1, 0, fnv1a(b"x") as u32, 52], [7, 0])[2]);
        assert_eq!(Draws::of(7, 52 << 32 | fnv1a(b"x") & 0xffff_ffff), draws);
        let others = [
            Draws::new(7 << 32, "x", 3, Use::Dropout),
            Draws::new(7, "y", 3, Use::Dropout),
            Draws::new(7, "x", 4, Use::Dropout),
            Draws::new(7, "x", 3, Use::Forward),
        ];
        assert!(others.iter().all(|other| other.word(6) != draws.word(6)));
    }
}
