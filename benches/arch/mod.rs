//! What products of bytes cost a core at the very least: VNNI on registers, with nothing to load, lay out or store.

/// Multiply-accumulates of `steps` steps, all of them executed; `None` if this CPU has no AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
pub fn vnni(steps: u64) -> Option<u64> {
    let detected = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    // SAFETY: the features were detected above.
    detected.then(|| unsafe { dots(steps) })
}

#[cfg(not(target_arch = "x86_64"))]
pub fn vnni(_: u64) -> Option<u64> {
    None
}

/// Enough chains of sums that none waits for the one before it.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 16;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dots(steps: u64) -> u64 {
    use std::arch::x86_64::*;
    let [x, w] = [3, 1].map(|byte| std::hint::black_box(_mm512_set1_epi8(byte)));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, x, w);
        }
    }
    std::hint::black_box(sums);
    steps * CHAINS as u64 * 64
}
