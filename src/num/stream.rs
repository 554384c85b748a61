//! Words that stochastic bitstreams compare with a probability: bit i of a stream is `word(i) < p`.
//!
//! Every source is a function of key and position alone, so that a stream has the same bits however it is cut.
//! docs/unconventional.md states them for a third party.

use super::philox::{Draws, Use};
use std::sync::LazyLock;

/// Where the words of a stream come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Linear feedback shift register of 16 bits, x^16 + x^15 + x^13 + x^4 + 1, stepped 16 times a word.
    Lfsr,
    /// Sobol sequence in Gray-code order with a digital shift.
    Sobol,
    /// Philox4x32-10.
    Philox,
}

/// The words of one stream from a position on, without end.
#[derive(Debug, Clone)]
pub struct Words {
    source: Source,
    key: u64,
    position: u64,
    /// Register of the lfsr, block of philox.
    state: [u32; 4],
}

impl Words {
    /// Words of the stream `key` from `position` on.
    ///
    /// ```
    /// use preon::num::stream::{Source, Words};
    /// let whole: Vec<u32> = Words::new(Source::Lfsr, 7, 0).take(100).collect();
    /// let part: Vec<u32> = Words::new(Source::Lfsr, 7, 60).take(40).collect();
    /// assert_eq!(whole[60..], part);
    /// ```
    pub fn new(source: Source, key: u64, position: u64) -> Words {
        let mut words = Words { source, key, position, state: [0; 4] };
        match source {
            Source::Lfsr => words.state[0] = lfsr_at(key, position).into(),
            Source::Sobol => {}
            Source::Philox => words.state = words.block(),
        }
        words
    }

    /// The philox block of the position.
    fn block(&self) -> [u32; 4] {
        Draws::new(self.key, "sc.gen", 0, Use::Stream).quad(self.position >> 2)
    }
}

impl Iterator for Words {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let position = self.position;
        self.position = position.wrapping_add(1);
        Some(match self.source {
            Source::Lfsr => {
                let state = self.state[0] as u16;
                self.state[0] = (0..LEAP).fold(state, |state, _| lfsr_step(state)).into();
                u32::from(state) << 16
            }
            Source::Sobol => sobol(self.key, position as u32),
            Source::Philox => {
                let word = self.state[(position & 3) as usize];
                if self.position & 3 == 0 {
                    self.state = self.block();
                }
                word
            }
        })
    }
}

/// Steps of the register a word: all its bits are new.
const LEAP: u32 = 16;
/// Positions after which a 16-bit register is back where it was.
const PERIOD: u64 = 65535;

/// One step: the sum of the taps 16, 15, 13 and 4 enters at the low end.
fn lfsr_step(state: u16) -> u16 {
    let sum = state >> 15 ^ state >> 14 ^ state >> 12 ^ state >> 3;
    state << 1 | sum & 1
}

/// A linear map of 16 bits: the image of every single bit.
type Map = [u16; 16];

fn apply(map: &Map, state: u16) -> u16 {
    (0..16).filter(|bit| state >> bit & 1 == 1).fold(0, |sum, bit| sum ^ map[bit])
}

/// The register of stream `key` at `position`.
fn lfsr_at(key: u64, position: u64) -> u16 {
    // Maps of 1, 2, 4, .. words; the distance is below 2^16.
    static JUMPS: LazyLock<[Map; 16]> = LazyLock::new(|| {
        let word: Map = std::array::from_fn(|bit| (0..LEAP).fold(1u16 << bit, |state, _| lfsr_step(state)));
        let mut jumps = [word; 16];
        for n in 1..16 {
            jumps[n] = std::array::from_fn(|bit| apply(&jumps[n - 1], jumps[n - 1][bit]));
        }
        jumps
    });
    let (start, distance) = ((key % PERIOD) as u16 + 1, position % PERIOD);
    (0..16).filter(|n| distance >> n & 1 == 1).fold(start, |state, n| apply(&JUMPS[n], state))
}

/// Degree, inner coefficients and first direction numbers of dimensions 1 to 7: S. Joe and F. Y. Kuo, Constructing
/// Sobol sequences with better two-dimensional projections, SIAM J. Sci. Comput. 30 (2008), table new-joe-kuo-6.
const JOE_KUO: [(usize, u32, [u32; 5]); 7] = [
    (1, 0, [1, 0, 0, 0, 0]),
    (2, 1, [1, 3, 0, 0, 0]),
    (3, 1, [1, 3, 1, 0, 0]),
    (3, 2, [1, 1, 1, 0, 0]),
    (4, 1, [1, 1, 3, 3, 0]),
    (4, 4, [1, 3, 5, 13, 0]),
    (5, 2, [1, 1, 5, 5, 17]),
];

/// Direction words of the eight dimensions; dimension 0 is van der Corput's.
fn directions() -> &'static [[u32; 32]; 8] {
    static TABLE: LazyLock<[[u32; 32]; 8]> = LazyLock::new(|| {
        let mut table = [[0u32; 32]; 8];
        table[0] = std::array::from_fn(|bit| 1 << (31 - bit));
        for (words, (degree, inner, first)) in table[1..].iter_mut().zip(JOE_KUO) {
            for bit in 0..32 {
                words[bit] = if bit < degree {
                    first[bit] << (31 - bit)
                } else {
                    let old = words[bit - degree];
                    (1..degree)
                        .fold(old ^ old >> degree, |sum, k| sum ^ ((inner >> (degree - 1 - k) & 1) * words[bit - k]))
                };
            }
        }
        table
    });
    &TABLE
}

/// Point `index` of dimension `key mod 8`, shifted by the high half of the key.
fn sobol(key: u64, index: u32) -> u32 {
    let words = &directions()[(key % 8) as usize];
    let gray = index ^ index >> 1;
    let shift = (key >> 32) as u32;
    (0..32).filter(|bit| gray >> bit & 1 == 1).fold(shift, |sum, bit| sum ^ words[bit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_visits_every_state_once() {
        let mut seen = vec![false; 65536];
        for word in Words::new(Source::Lfsr, 1, 0).take(65535) {
            assert!(!std::mem::replace(&mut seen[(word >> 16) as usize], true));
        }
        assert!(!seen[0] && seen[1..].iter().all(|seen| *seen));
        assert_eq!(Words::new(Source::Lfsr, 1, 65535).next(), Words::new(Source::Lfsr, 1, 0).next());
        assert_eq!(Words::new(Source::Lfsr, 4, 0).next(), Some(5 << 16), "the key is the state");
        // Worked by hand: of the taps only bit 3 is met in the first six steps.
        let steps = (0..6).scan(5u16, |state, _| {
            *state = lfsr_step(*state);
            Some(*state)
        });
        assert_eq!(steps.collect::<Vec<_>>(), [10, 21, 42, 85, 170, 341]);
    }

    #[test]
    fn the_first_sobol_points_are_the_published_ones() {
        // Joe and Kuo's example output for ten points in three dimensions, in units of 1/16.
        let points = [
            [0, 0, 0],
            [8, 8, 8],
            [12, 4, 4],
            [4, 12, 12],
            [6, 6, 10],
            [14, 14, 2],
            [10, 2, 14],
            [2, 10, 6],
            [3, 5, 15],
            [11, 13, 7],
        ];
        for (i, point) in (0..).zip(points) {
            let found = [0, 1, 2].map(|key| sobol(key, i) >> 28);
            assert_eq!(found, point, "point {i}");
        }
        for key in 0..8 {
            let mut seen = [false; 1024];
            (0..1024).for_each(|i| seen[(sobol(key, i) >> 22) as usize] = true);
            assert!(seen.iter().all(|seen| *seen), "dimension {key} fills every interval");
            assert_eq!(sobol(key | 0xdead_beef << 32, 77), sobol(key, 77) ^ 0xdead_beef);
        }
    }

    #[test]
    fn words_depend_on_the_position_alone() {
        for source in [Source::Lfsr, Source::Sobol, Source::Philox] {
            let key = 0x1234_5678_9abc_def3;
            for start in [0u64, 65530, 1 << 20, (1 << 40) - 3] {
                let whole: Vec<u32> = Words::new(source, key, start).take(70).collect();
                for cut in [1, 2, 3, 32, 67] {
                    let part: Vec<u32> = Words::new(source, key, start + cut).take(70 - cut as usize).collect();
                    assert_eq!(whole[cut as usize..], part, "{source:?} from {start}+{cut}");
                }
            }
        }
        let philox = Words::new(Source::Philox, 9, 6).next();
        assert_eq!(philox, Some(Draws::new(9, "sc.gen", 0, Use::Stream).word(6)));
    }
}
