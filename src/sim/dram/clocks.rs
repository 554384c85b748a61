//! Two clocks, converted exactly: cycles of the core and clocks of DRAM, both counted from a common moment.

/// Core cycles and DRAM clocks.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    /// DRAM clocks a core cycle, as a fraction in lowest terms.
    dram: u128,
    core: u128,
    /// A moment in both.
    origin: (u64, u64),
}

/// Picoseconds a second.
const PICO: u128 = 1_000_000_000_000;

impl Clocks {
    pub fn new(clock_hz: u64, tck_ps: u32) -> Clocks {
        let (dram, core) = (PICO, u128::from(clock_hz.max(1)) * u128::from(tck_ps.max(1)));
        let common = gcd(dram, core);
        Clocks { dram: dram / common, core: core / common, origin: (0, 0) }
    }
    /// The first DRAM clock at or after a core cycle.
    #[inline]
    pub fn dram(&self, cycle: u64) -> u64 {
        if cycle == u64::MAX {
            return u64::MAX;
        }
        let since = u128::from(cycle.saturating_sub(self.origin.0));
        self.origin.1 + u64::try_from((since * self.dram).div_ceil(self.core)).unwrap_or(u64::MAX >> 1)
    }
    /// The first core cycle at or after a DRAM clock.
    #[inline]
    pub fn core(&self, clock: u64) -> u64 {
        let since = u128::from(clock.saturating_sub(self.origin.1));
        self.origin.0 + u64::try_from((since * self.core).div_ceil(self.dram)).unwrap_or(u64::MAX >> 1)
    }
    /// Core cycles that so many DRAM clocks last, rounded up.
    pub fn length(&self, clocks: u64) -> u64 {
        u64::try_from((u128::from(clocks) * self.core).div_ceil(self.dram)).unwrap_or(u64::MAX >> 1)
    }
    /// From now on, core cycle `cycle` and DRAM clock `clock` are the same moment.
    pub fn anchor(&mut self, cycle: u64, clock: u64) {
        self.origin = (cycle, clock);
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::Clocks;

    #[test]
    fn a_moment_is_never_earlier_in_the_other_clock() {
        for (hz, tck) in [(1_000_000_000, 1000), (1_000_000_000, 833), (700_000_000, 630), (1_410_000_000, 625)] {
            let clocks = Clocks::new(hz, tck);
            for cycle in (0..100_000u64).step_by(37) {
                let clock = clocks.dram(cycle);
                let time = |clock: u64| u128::from(clock) * u128::from(tck) * u128::from(hz);
                assert!(time(clock) >= u128::from(cycle) * super::PICO);
                assert!(clock == 0 || time(clock - 1) < u128::from(cycle) * super::PICO);
                assert!(clocks.core(clock) >= cycle);
            }
        }
    }

    #[test]
    fn equal_clocks_are_equal() {
        let clocks = Clocks::new(1_000_000_000, 1000);
        assert_eq!((clocks.dram(12345), clocks.core(12345)), (12345, 12345));
    }
}
