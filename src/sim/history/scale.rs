//! Time cut into equal bins: a fixed number of them, whose width doubles whenever a run outgrows them.

/// Bins of `width` cycles from cycle `from` on; nothing outside `from..until` is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// First cycle of the first bin.
    pub from: u64,
    /// The cycle in which the last bin ends, if that was chosen.
    pub until: u64,
    /// Cycles of a bin: a power of two.
    pub width: u64,
    /// Number of bins.
    pub bins: usize,
    /// One past the last cycle in which anything happened.
    pub end: u64,
}

impl Scale {
    /// `bins` bins of one cycle, for the cycles of `window` or all.
    pub fn new(bins: usize, window: Option<(u64, u64)>) -> Scale {
        let (from, until) = window.unwrap_or((0, u64::MAX));
        Scale { from, until, width: 1, bins, end: from }
    }

    /// Notes that something happens up to `cycle`; true, once for each time, if bins have to be merged in pairs for that.
    pub fn outgrown(&mut self, cycle: u64) -> bool {
        self.end = self.end.max(cycle.min(self.until));
        let grow = (self.end - self.from).div_ceil(self.width) > self.bins as u64;
        if grow {
            self.width *= 2;
        }
        grow
    }

    /// Bins in which something happened.
    pub fn used(&self) -> usize {
        (self.end - self.from).div_ceil(self.width) as usize
    }

    /// The bin of a cycle of the scale.
    pub fn bin(&self, cycle: u64) -> usize {
        ((cycle - self.from) / self.width) as usize
    }

    /// Cycles of a bin that lie before the end.
    pub fn cycles(&self, bin: usize) -> u64 {
        let from = self.from + bin as u64 * self.width;
        self.end.saturating_sub(from).min(self.width)
    }

    /// The parts of the cycles `from..to` bin by bin: (bin, first cycle, one past the last).
    pub fn parts(&self, from: u64, to: u64) -> impl Iterator<Item = (usize, u64, u64)> + use<> {
        let (scale, mut at, to) = (*self, from.max(self.from), to.min(self.until));
        std::iter::from_fn(move || {
            let start = at;
            (start < to).then(|| {
                let bin = scale.bin(start);
                at = to.min(scale.from + (bin as u64 + 1) * scale.width);
                (bin, start, at)
            })
        })
    }

    /// Spreads `amount` evenly over the cycles `from..to`, in whole units: what lies inside the scale, bin by bin.
    pub fn spread(&self, amount: u64, from: u64, to: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let to = to.max(from + 1);
        let until = move |cycle: u64| share(amount, cycle - from, to - from);
        self.parts(from, to).map(move |(bin, start, end)| (bin, until(end) - until(start)))
    }
}

/// The first `part` of `whole` equal parts of an amount, rounded down.
pub fn share(amount: u64, part: u64, whole: u64) -> u64 {
    (u128::from(amount) * u128::from(part) / u128::from(whole.max(1))) as u64
}

/// Merges bins in pairs.
pub fn merge<T: Copy + Default>(bins: &mut [T], join: impl Fn(T, T) -> T) {
    let half = bins.len().div_ceil(2);
    for at in 0..half {
        bins[at] = join(bins[2 * at], bins.get(2 * at + 1).copied().unwrap_or_default());
    }
    bins[half..].fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_what_they_cut() {
        let mut scale = Scale::new(8, None);
        while scale.outgrown(30) {}
        assert_eq!((scale.width, scale.used()), (4, 8));
        assert_eq!(scale.parts(3, 9).collect::<Vec<_>>(), [(0, 3, 4), (1, 4, 8), (2, 8, 9)]);
        assert_eq!(scale.parts(5, 5).count(), 0);
        assert_eq!([scale.cycles(6), scale.cycles(7), scale.cycles(8)], [4, 2, 0]);
    }

    #[test]
    fn nothing_is_lost_by_spreading_or_merging() {
        let mut scale = Scale::new(16, None);
        let mut bins = vec![0; 16];
        for (amount, from, to) in [(7, 0, 3), (1000, 2, 13), (5, 14, 14), (999, 40, 77)] {
            while scale.outgrown(to) {
                merge(&mut bins, |a, b| a + b);
            }
            scale.spread(amount, from, to).for_each(|(bin, part)| bins[bin] += part);
        }
        assert_eq!(bins.iter().sum::<u64>(), 7 + 1000 + 5 + 999);
        assert_eq!(scale.width, 8);
    }

    #[test]
    fn a_window_keeps_what_lies_in_it() {
        let mut scale = Scale::new(4, Some((100, 108)));
        while scale.outgrown(1000) {}
        assert_eq!((scale.width, scale.end), (2, 108));
        let inside: u64 = scale.spread(1000, 0, 1000).map(|(_, part)| part).sum();
        assert_eq!(inside, 8);
        assert_eq!(scale.spread(1000, 0, 100).count() + scale.spread(7, 108, 300).count(), 0);
    }
}
