//! Constants and coefficients of the functions of the numerics contract, section 7. Written by
//! tests/scripts/fit_functions.py, which fits them; do not edit by hand.

/// 1 / ln 2.
pub(crate) const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b); // 0x1.715476p0
/// ln 2.
pub(crate) const LN_2: f32 = f32::from_bits(0x3f31_7218); // 0x1.62e43p-1
/// ln 2 cut to 16 bits: its product with an integer of 8 bits is exact.
pub(crate) const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200); // 0x1.62e4p-1
/// The rest of ln 2.
pub(crate) const LN_2_LOW: f32 = f32::from_bits(0x35bf_be8e); // 0x1.7f7d1cp-20
/// 1.5 * 2^23: adding it and taking it away rounds to an integer.
pub(crate) const SHIFTER: f32 = f32::from_bits(0x4b40_0000); // 0x1.8p23
/// Square root of 1/2.
pub(crate) const SQRT_HALF: f32 = f32::from_bits(0x3f35_04f3); // 0x1.6a09e6p-1
/// Below it exp is 0.
pub(crate) const EXP_LOWEST: f32 = f32::from_bits(0xc2ae_ac4f); // -0x1.5d589ep6
/// Above it exp is infinite.
pub(crate) const EXP_HIGHEST: f32 = f32::from_bits(0x42b1_7217); // 0x1.62e42ep6
/// Below it tanh is a polynomial.
pub(crate) const TANH_SPLIT: f32 = f32::from_bits(0x3f34_0000); // 0x1.68p-1
/// Below it erf is a polynomial.
pub(crate) const ERF_SPLIT: f32 = f32::from_bits(0x3f64_0000); // 0x1.c8p-1

/// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2, highest power first.
pub(crate) const EXP: [f32; 5] = [
    f32::from_bits(0x3ab5_239a), // 0x1.6a4734p-10
    f32::from_bits(0x3c09_3085), // 0x1.12610ap-7
    f32::from_bits(0x3d2a_ad3b), // 0x1.555a76p-5
    f32::from_bits(0x3e2a_aa26), // 0x1.55544cp-3
    f32::from_bits(0x3eff_fffb), // 0x1.fffff6p-2
];

/// log(1 + m) = m - m^2/2 + .. for |m| <= 1/3: the powers 10 to 3 of m.
pub(crate) const LOG: [f32; 8] = [
    f32::from_bits(0xbe0a_e62c), // -0x1.15cc58p-3
    f32::from_bits(0x3e11_a4d2), // 0x1.2349a4p-3
    f32::from_bits(0xbdf6_33b2), // -0x1.ec6764p-4
    f32::from_bits(0x3e0e_e9b4), // 0x1.1dd368p-3
    f32::from_bits(0xbe2a_f25c), // -0x1.55e4b8p-3
    f32::from_bits(0x3e4c_ef75), // 0x1.99deeap-3
    f32::from_bits(0xbe7f_fe74), // -0x1.fffce8p-3
    f32::from_bits(0x3eaa_aa7b), // 0x1.5554f6p-2
];

/// (tanh(x)/x - 1) / z in z = x^2 for |x| < 0.703125, highest power first.
pub(crate) const TANH: [f32; 5] = [
    f32::from_bits(0xbba6_6946), // -0x1.4cd28cp-8
    f32::from_bits(0x3ca3_fd02), // 0x1.47fa04p-6
    f32::from_bits(0xbd5b_3f08), // -0x1.b67e1p-5
    f32::from_bits(0x3e08_7c02), // 0x1.10f804p-3
    f32::from_bits(0xbeaa_aa71), // -0x1.5554e2p-2
];

/// erf(x)/x - 1 in x^2 for |x| < 0.890625, highest power first.
pub(crate) const ERF_LOW: [f32; 6] = [
    f32::from_bits(0xba1d_17d8), // -0x1.3a2fbp-11
    f32::from_bits(0x3ba3_974d), // 0x1.472e9ap-8
    f32::from_bits(0xbcdb_4327), // -0x1.b6864ep-6
    f32::from_bits(0x3de7_0cf8), // 0x1.ce19fp-4
    f32::from_bits(0xbec0_9371), // -0x1.8126e2p-2
    f32::from_bits(0x3e03_75d3), // 0x1.06eba6p-3
];

/// log(1 - erf(t)) + t for 0.890625 <= t <= 4: the powers 7 to 1 of t.
pub(crate) const ERF_HIGH: [f32; 7] = [
    f32::from_bits(0x37ed_a084), // 0x1.db4108p-16
    f32::from_bits(0xb759_d535), // -0x1.b3aa6ap-17
    f32::from_bits(0xbb23_6387), // -0x1.46c70ep-9
    f32::from_bits(0x3cb1_fd02), // 0x1.63fa04p-6
    f32::from_bits(0xbdd5_8991), // -0x1.ab1322p-4
    f32::from_bits(0xbf22_da4a), // -0x1.45b494p-1
    f32::from_bits(0xbe03_8723), // -0x1.070e46p-3
];
