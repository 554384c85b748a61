//! Packed ternary and binary rows as bytes, in portable code: what the leaves use where a row is ragged.

/// Level of a ternary code: 0, +1, -1, and 0 for the reserved code.
pub(super) const TERNARY_LEVELS: [i8; 4] = [0, 1, -1, 0];

/// Codes of a ternary row as int8, zero beyond `k`.
pub(super) fn expand_ternary(w: &[u8], k: usize, out: &mut [i8]) {
    out.fill(0);
    for (i, level) in out[..k].iter_mut().enumerate() {
        *level = TERNARY_LEVELS[usize::from(w[i / 4] >> (2 * (i % 4)) & 3)];
    }
}

/// Codes of a binary row as int8 (clear +1, set -1), zero beyond `k`.
pub(super) fn expand_binary(w: &[u8], k: usize, out: &mut [i8]) {
    out.fill(0);
    for (i, level) in out[..k].iter_mut().enumerate() {
        *level = if w[i / 8] >> (i % 8) & 1 == 0 { 1 } else { -1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_levels_and_the_rest_zero() {
        let mut levels = [9i8; 8];
        expand_ternary(&[0b1110_0100, 0b0000_0110], 6, &mut levels);
        assert_eq!(levels, [0, 1, -1, 0, -1, 1, 0, 0]);
        expand_binary(&[0b0000_0101], 6, &mut levels);
        assert_eq!(levels, [-1, 1, -1, 1, 1, 1, 0, 0]);
    }
}
