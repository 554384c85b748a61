//! Cycles of one piece of work on a unit that is free: pure functions of the machine, used by the simulator and by the
//! compiler's estimates alike, so that the two cannot drift apart.

use super::array::Tile;
use super::{Dram, DramModel, Machine, Price, Sram};
use crate::diag::{Error, Result};
use crate::num::FormatRef;
use crate::num::format::find;

impl Machine {
    /// Terms a cycle of the pair on the S unit, if it is served, listed or widened.
    pub fn s_terms_per_cycle(&self, weights: &str, inputs: &str) -> Option<u32> {
        self.vector_path(find(weights).ok()?, find(inputs).ok()?).map(|path| path.figure)
    }
    /// Cycles that an input row of the pair occupies in the array, if the array serves it, listed or widened.
    pub fn array_row_cycles(&self, weights: &str, inputs: &str) -> Option<u32> {
        self.array_path(find(weights).ok()?, find(inputs).ok()?).map(|path| path.figure)
    }
    /// True if the S unit serves the pair.
    pub fn vector_serves(&self, weights: FormatRef, inputs: FormatRef) -> bool {
        self.vector_path(weights, inputs).is_some()
    }
    /// True if the machine has an array that serves the pair.
    pub fn array_serves(&self, weights: FormatRef, inputs: FormatRef) -> bool {
        self.array_path(weights, inputs).is_some()
    }
    /// Key and price of one multiply-accumulate of the pair, on the array or the S unit: those of its datapath.
    ///
    /// # Errors
    /// Unsupported, naming the key, if the pair is not served or has no price.
    pub fn mac_price(&self, weights: &str, inputs: &str, array: bool) -> Result<(String, &Price)> {
        let path = match (find(weights), find(inputs)) {
            (Ok(w), Ok(x)) => {
                if array {
                    self.array_path(w, x)
                } else {
                    self.vector_path(w, x)
                }
            }
            _ => None,
        };
        let key = path.map_or_else(|| format!("mac.{weights}*{inputs}"), |path| path.price_key());
        let price = self.price(&key)?;
        Ok((key, price))
    }
    /// Cycles of `terms` multiply-accumulates on the S unit: ceil(terms / rate), at least 1; `terms` themselves for a pair
    /// that is not served (ask [`Machine::vector_serves`] first).
    pub fn mac_cycles(&self, terms: u64, weights: FormatRef, inputs: FormatRef) -> u64 {
        let rate = self.vector_path(weights, inputs).map_or(1, |path| path.figure);
        terms.div_ceil(u64::from(rate)).max(1)
    }
    /// `Array::tile_cycles` of a pair; 0 without an array.
    pub fn array_tile_cycles(&self, tm: u64, tn: u64, tk: u64, weights: FormatRef, inputs: FormatRef) -> u64 {
        let Some(array) = &self.array else { return 0 };
        let row_cycles = self.array_path(weights, inputs).map_or(1, |path| path.figure);
        array.tile_cycles([tm, tn, tk], row_cycles, [weights.bits, inputs.bits])
    }
    /// Cycles from the last input row of such a tile to its sums; 0 without an array.
    pub fn array_latency(&self, tm: u64, tn: u64, tk: u64, weights: FormatRef, inputs: FormatRef) -> u64 {
        let Some(array) = &self.array else { return 0 };
        let row_cycles = self.array_path(weights, inputs).map_or(1, |path| path.figure);
        let (weight_bits, input_bits) = (weights.bits, inputs.bits);
        array.compute(&Tile { tm, tn, tk, first: true, weight_bits, input_bits, ..Tile::default() }, row_cycles).latency
    }
    /// Cycles that the S unit folds, fills or moves `entries` accumulator entries.
    pub fn fold_cycles(&self, entries: u64) -> u64 {
        entries.div_ceil(u64::from(self.units.s_tile_lanes)).max(1)
    }
    /// Cycles of loading or storing `bytes` in one contiguous piece.
    pub fn load_cycles(&self, bytes: u64) -> u64 {
        self.move_cycles(bytes, 1)
    }
    /// Peak multiply-accumulates a cycle of the pair: the better of array and S unit; 0 if neither serves it.
    pub fn peak_macs_per_cycle(&self, weights: &str, inputs: &str) -> f64 {
        let s = self.s_terms_per_cycle(weights, inputs).map_or(0.0, f64::from);
        let bits = |name: &str| find(name).map_or(0, |format| format.bits);
        let array = match (&self.array, self.array_row_cycles(weights, inputs)) {
            (Some(array), Some(cycles)) => array.kind.peak(cycles, [weights, inputs].map(bits)),
            _ => 0.0,
        };
        if array > s { array } else { s }
    }
    /// Cycles that the E unit is busy with `elements`; `special` for divisions and special functions.
    pub fn elementwise_cycles(&self, elements: u64, special: bool) -> u64 {
        let lanes = if special { self.units.e_special_lanes } else { self.units.e_lanes };
        elements.div_ceil(u64::from(lanes)).max(1)
    }
    /// Cycles that the L unit is busy moving `bytes` in `runs` contiguous pieces between registers and own SRAM.
    pub fn move_cycles(&self, bytes: u64, runs: u64) -> u64 {
        let register_side = bytes.div_ceil(u64::from(self.units.l_bytes_per_cycle));
        register_side.max(self.own().cycles(self.own().accesses(bytes, runs))).max(1)
    }
    /// Cycles that `bytes` in `runs` contiguous pieces occupy DRAM, without latency.
    pub fn dram_cycles(&self, bytes: u64, runs: u64) -> u64 {
        if self.dram.model == DramModel::Ideal {
            return 0;
        }
        let bus = u128::from(self.dram.bus_bytes(bytes, runs));
        let clock = self.clock_hz.round() as u128;
        u64::try_from((bus * clock).div_ceil(u128::from(self.dram.bytes_per_second.max(1)))).unwrap_or(u64::MAX)
    }
    /// The price `key` (`mac.ternary*int8`, `dram.read`, ...).
    ///
    /// # Errors
    /// Unsupported, naming the key: an event without a price is never free.
    pub fn price(&self, key: &str) -> Result<&Price> {
        self.prices.get(key).ok_or_else(|| {
            Error::unsupported(format!("machine `{}` has no price `energy.{key}`", self.name))
                .help(format!("add it under [energy.{}]", key.split('.').next().unwrap_or(key)))
        })
    }
}

impl Sram {
    /// Accesses that `bytes` in `runs` equal contiguous pieces take; each piece starts a new access.
    pub fn accesses(&self, bytes: u64, runs: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let width = u64::from(self.width_bytes);
        if runs <= 1 { bytes.div_ceil(width) } else { runs * bytes.div_ceil(runs).div_ceil(width) }
    }
    /// Cycles of `accesses` spread over all banks.
    pub fn cycles(&self, accesses: u64) -> u64 {
        accesses.div_ceil(u64::from(self.banks))
    }
    /// Cycles of `runs` pieces of `run_bytes` each, `stride` bytes apart. Spread by a hash that is an even share. With
    /// neighbouring words in neighbouring banks it is what the fullest bank has to do: pieces start in every gcd(stride in words, banks)th bank only, so that a stride of all
    /// banks leaves one of them all the work. A stride that is no whole number of words spreads like one that has no
    /// factor in common with the banks.
    pub fn strided_cycles(&self, runs: u64, run_bytes: u64, stride: u64) -> u64 {
        let (width, banks) = (u64::from(self.width_bytes), u64::from(self.banks));
        let words = run_bytes.div_ceil(width);
        if !self.modulo || !stride.is_multiple_of(width) {
            return self.cycles(runs * words);
        }
        let apart = gcd(stride / width, banks);
        runs.div_ceil(banks / apart) * words.div_ceil(apart)
    }
    /// Bytes a cycle of all banks.
    pub fn bytes_per_cycle(&self) -> u64 {
        u64::from(self.banks) * u64::from(self.width_bytes)
    }
}

impl Dram {
    /// Bytes on the bus for `bytes` in `runs` equal contiguous pieces: each piece is rounded up to whole bursts.
    pub fn bus_bytes(&self, bytes: u64, runs: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let (runs, burst) = (runs.max(1), u64::from(self.burst_bytes));
        runs.saturating_mul(bytes.div_ceil(runs).div_ceil(burst)).saturating_mul(burst)
    }
    /// Estimated row activations for `bytes` in `runs` equal contiguous pieces: each piece opens its own rows.
    pub fn activations(&self, bytes: u64, runs: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        let runs = runs.max(1);
        runs * bytes.div_ceil(runs).div_ceil(u64::from(self.row_bytes))
    }
}

/// Greatest common divisor; that of 0 and `b` is `b`.
fn gcd(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { gcd(b % a, a) }
}

#[cfg(test)]
mod tests {
    use crate::machine;

    #[test]
    fn strides_meet_in_banks() {
        // 32 banks of 64 bytes.
        let mut own = machine::load("hbm").unwrap().own().clone();
        assert_eq!(own.strided_cycles(32, 64, 2048), 1, "a hash spreads them");
        own.modulo = true;
        let counted = |own: &machine::Sram, runs: u64, bytes: u64, stride: u64| {
            let (width, banks) = (u64::from(own.width_bytes), own.banks as usize);
            let mut load = vec![0u64; banks];
            for run in 0..runs {
                (0..bytes.div_ceil(width)).for_each(|word| load[((run * stride / width + word) as usize) % banks] += 1);
            }
            load.into_iter().max().unwrap()
        };
        assert_eq!(own.strided_cycles(32, 64, 64), 1);
        assert_eq!(own.strided_cycles(32, 64, 2048), 32, "all in one bank");
        assert_eq!(own.strided_cycles(32, 64, 2048 + 64), 1, "a row of padding");
        for banks in [1, 8, 12, 32] {
            own.banks = banks;
            for (runs, words, stride) in
                [(8, 4, 8), (8, 16, 20), (5, 3, 6), (16, 1, 3), (4, 40, 40), (7, 2, 0), (9, 1, 16)]
            {
                let (bytes, stride) = (words * 64, stride * 64);
                let (law, exact) = (own.strided_cycles(runs, bytes, stride), counted(&own, runs, bytes, stride));
                assert!(law >= exact, "{runs} x {words} words every {stride} bytes on {banks} banks: {law} < {exact}");
                if runs % 4 == 0 && stride > 0 && banks != 12 {
                    assert_eq!(law, exact, "{runs} x {words} words every {stride} bytes on {banks} banks");
                }
            }
        }
    }
}
