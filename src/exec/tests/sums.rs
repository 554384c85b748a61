//! Sums of every class, on registers and on the array, at every VLEN and split, against references written from the
//! numerics contract.

use super::*;
use crate::isa::table::Class;
use crate::num::{decode, format::find};
use proptest::prelude::*;

/// One product to compute: x [m,k] and w [n,k] as codes of the formats in slots `fx` and `fw`.
#[derive(Debug, Clone)]
struct Product {
    class: Class,
    fw: u8,
    fx: u8,
    shape: [usize; 3],
    w: Vec<u32>,
    x: Vec<u32>,
}

fn bits(slot: u8) -> u32 {
    find(Program::FORMATS[usize::from(slot) - 1]).unwrap().bits
}

fn container(slot: u8) -> u32 {
    find(Program::FORMATS[usize::from(slot) - 1]).unwrap().container_bits
}

fn values(slot: u8, codes: &[u32]) -> Vec<f32> {
    let format = find(Program::FORMATS[usize::from(slot) - 1]).unwrap();
    codes.iter().map(|code| f32::from_bits(decode(format, *code))).collect()
}

/// Rows of codes, each packed from a byte border.
fn pack(slot: u8, codes: &[u32], k: usize) -> Vec<u8> {
    let bits = bits(slot) as usize;
    let mut packed = Vec::new();
    for row in codes.chunks(k) {
        let mut bytes = vec![0u8; (k * bits).div_ceil(8)];
        for (i, code) in row.iter().enumerate() {
            for bit in 0..bits {
                bytes[(i * bits + bit) / 8] |= ((code >> bit & 1) as u8) << ((i * bits + bit) % 8);
            }
        }
        packed.extend(bytes);
    }
    packed
}

impl Product {
    fn w_row(&self) -> u64 {
        (self.shape[2] as u64 * u64::from(bits(self.fw))).div_ceil(8)
    }
    fn x_row(&self) -> u64 {
        (self.shape[2] as u64 * u64::from(bits(self.fx))).div_ceil(8)
    }

    /// Runs `program` with the operands in SRAM at 0 (w) and 0x4000 (x); bits of tile c0 as stored.
    fn run(&self, program: &Program, vlen: u32) -> Vec<u32> {
        let mut vm = program.vm(vlen);
        vm.write(SRAM, &pack(self.fw, &self.w, self.shape[2])).unwrap();
        vm.write(SRAM + 0x4000, &pack(self.fx, &self.x, self.shape[2])).unwrap();
        vm.run().unwrap();
        let [m, n, _] = self.shape;
        (0..m)
            .flat_map(|row| (0..n).map(move |col| (row, col)))
            .map(|(r, c)| vm.c(0, r, c).unwrap().to_bits())
            .collect()
    }

    /// On the array, k in pieces of `piece`.
    fn on_array(&self, piece: usize) -> Vec<u32> {
        let [m, n, k] = self.shape.map(|n| n as u64);
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, self.class as u16)).li(3, self.w_row()).li(4, self.x_row());
        for k0 in (0..k).step_by(piece) {
            p.tile([m, n, (k - k0).min(piece as u64)]);
            p.li(1, SRAM + k0 * u64::from(bits(self.fw)) / 8).li(2, SRAM + 0x4000 + k0 * u64::from(bits(self.fx)) / 8);
            p.op(Op::MmW, |i| (i.rs1, i.rs3, i.fa, i.mode) = (1, 3, self.fw, 4));
            p.op(Op::MmX, |i| (i.rd, i.rs1, i.rs3, i.fb, i.mode) = (0, 2, 4, self.fx, 4));
        }
        self.run(&p, 512)
    }

    /// On registers of `vlen` bits, `nl` outputs at a time wanted. None if setmac cannot grant all outputs at once.
    fn on_registers(&self, vlen: u32) -> Option<Vec<u32>> {
        let [m, n, k] = self.shape.map(|n| n as u64);
        let (bw, bx) = (u64::from(bits(self.fw)), u64::from(bits(self.fx)));
        let (cw, cx) = (u64::from(container(self.fw)), u64::from(container(self.fx)));
        let most = (u64::from(vlen) / cw / n).min(u64::from(vlen) / cx);
        let pitch = 1u64 << most.checked_ilog2()?;
        if [bw, bx, cw, cx].iter().any(|bits| !(pitch * bits).is_multiple_of(8)) {
            return None;
        }
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, self.class as u16)).li(3, self.w_row()).li(9, n);
        for k0 in (0..k).step_by(pitch as usize) {
            p.li(8, k - k0).op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 9, 8, self.fw, self.fx));
            p.li(1, SRAM + k0 * bw / 8).op(Op::LdBp, |i| (i.rd, i.rs1, i.rs3, i.fd, i.mode) = (1, 1, 3, self.fw, 4));
            p.op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (12, 11, self.fx, self.fx));
            for row in 0..m {
                p.li(2, SRAM + 0x4000 + row * self.x_row() + k0 * bx / 8).li(5, row);
                p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (2, 2, self.fx));
                p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.rs3, i.fa, i.fb) = (0, 1, 2, 5, self.fw, self.fx));
            }
        }
        Some(self.run(&p, vlen))
    }

    fn reference(&self) -> Vec<u32> {
        let k = self.shape[2];
        let (w, x) = (values(self.fw, &self.w), values(self.fx, &self.x));
        let dot = match self.class {
            Class::Exact => exact,
            Class::Chain => chain,
            Class::PairBf16 => |w: &[f32], x: &[f32]| pair(w, x, true),
            Class::PairFp16 => |w: &[f32], x: &[f32]| pair(w, x, false),
            Class::Int24s => saturating,
            Class::Fp22 => fp22,
        };
        x.chunks(k).flat_map(|x| w.chunks(k).map(|w| dot(w, x)).collect::<Vec<_>>()).map(canonical_bits).collect()
    }
}

fn canonical_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }
}

/// Products as integers in quanta of 2^-32, which all pairs of formats of at most 8 bits have.
fn exact(w: &[f32], x: &[f32]) -> f32 {
    let special: Vec<f32> = w.iter().zip(x).map(|(w, x)| w * x).filter(|p| !p.is_finite()).collect();
    if !special.is_empty() {
        return special.iter().fold(special[0], |sum, p| if sum == *p { sum } else { f32::NAN });
    }
    let quanta = |x: &f32| (f64::from(*x) * 2f64.powi(16)) as i128;
    let sum: i128 = w.iter().zip(x).map(|(w, x)| quanta(w) * quanta(x)).sum();
    sum as f32 * 2f32.powi(-32)
}

/// Quanta of int8 products are ones; those of the other operands of these tests are 2^-9 or coarser.
fn saturating(w: &[f32], x: &[f32]) -> f32 {
    let add = |sum: f64, (w, x): (&f32, &f32)| (sum + f64::from(*w) * f64::from(*x)).clamp(-8_388_608.0, 8_388_607.0);
    w.iter().zip(x).fold(0.0, add) as f32
}

/// Every sum of 32 products of these tests is exact in f64.
fn fp22(w: &[f32], x: &[f32]) -> f32 {
    let cut = |x: f64| f64::from_bits(x.to_bits() & !((1 << 39) - 1));
    let products: Vec<f64> = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).collect();
    let block = |block: &[f64]| block.chunks(32).fold(0.0, |acc, group| cut(acc + group.iter().sum::<f64>()));
    products.chunks(128).fold(0f32, |total, products| total + block(products) as f32) + 0.0
}

fn chain(w: &[f32], x: &[f32]) -> f32 {
    w.iter().zip(x).fold(0.0, |total, (w, x)| w.mul_add(*x, total)) + 0.0
}

fn pair(w: &[f32], x: &[f32], flush: bool) -> f32 {
    let daz = |x: f32| if flush && x.is_subnormal() { x * 0.0 } else { x };
    // The operands of these tests keep every f64 sum of one product and one f32 exact, so that "tiny after rounding to
    // 24 bits with unbounded exponent" can be read off the f64 value.
    let step = |a: f32, b: f32, c: f32| {
        let tiny = (f64::from(a) * f64::from(b) + f64::from(c)).abs() < 2f64.powi(-126) - 2f64.powi(-151);
        let sum = a.mul_add(b, c);
        if flush && tiny { 0f32.copysign(sum) } else { sum }
    };
    let mut total = 0f32;
    for (w, x) in w.chunks(32).zip(x.chunks(32)) {
        let mut half = [0f32; 2];
        for (j, (w, x)) in w.iter().zip(x).enumerate() {
            half[j % 2] = step(daz(*w), daz(*x), half[j % 2]);
        }
        total = step(1.0, step(1.0, half[0], half[1]), total);
    }
    total + 0.0
}

/// Pairs of slots with the class under test.
const PAIRS: &[(Class, u8, u8)] = &[
    (Class::Exact, 4, 4),
    (Class::Exact, 5, 4),
    (Class::Exact, 6, 6),
    (Class::Exact, 6, 4),
    (Class::Exact, 7, 4),
    (Class::Exact, 7, 7),
    (Class::Exact, 8, 7),
    (Class::Exact, 8, 8),
    (Class::Chain, 1, 1),
    (Class::Chain, 5, 1),
    (Class::Chain, 2, 3),
    (Class::PairBf16, 2, 2),
    (Class::PairBf16, 4, 2),
    (Class::PairBf16, 7, 7),
    (Class::PairFp16, 3, 3),
    (Class::PairFp16, 8, 3),
    // Codes narrower than their containers, real levels, wide integers.
    (Class::Exact, 9, 4),
    (Class::Exact, 4, 9),
    (Class::Exact, 10, 10),
    (Class::Exact, 9, 10),
    (Class::Exact, 12, 12),
    (Class::Exact, 12, 9),
    (Class::PairBf16, 10, 2),
    (Class::PairBf16, 15, 2),
    (Class::PairFp16, 9, 3),
    (Class::Chain, 11, 2),
    (Class::Chain, 11, 11),
    (Class::Chain, 14, 4),
    (Class::Chain, 12, 2),
    (Class::Chain, 13, 13),
    (Class::Chain, 10, 13),
    // Narrow accumulators: 300 products of 127 * 127 leave 23 bits.
    (Class::Int24s, 4, 4),
    (Class::Int24s, 9, 4),
    (Class::Fp22, 4, 4),
    (Class::Fp22, 7, 7),
    (Class::Fp22, 10, 9),
];

fn product() -> impl Strategy<Value = Product> {
    let shapes = (1usize..4, 1usize..5, prop::sample::select(vec![1usize, 7, 31, 32, 33, 64, 100]));
    (prop::sample::select(PAIRS.to_vec()), shapes, any::<u64>()).prop_map(|((class, fw, fx), (m, n, k), seed)| {
        let mut state = seed | 1;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 32) as u32
        };
        let mut codes = |slot: u8, count: usize| (0..count).map(|_| moderate(slot, next())).collect::<Vec<_>>();
        let (w, x) = (codes(fw, n * k), codes(fx, m * k));
        Product { class, fw, fx, shape: [m, n, k], w, x }
    })
}

/// A code of the format in `slot`: any finite one for 8 bits or fewer; wider ones near 1.
fn moderate(slot: u8, random: u32) -> u32 {
    match slot {
        1 | 13 => random & 0x80ff_ffff | (0x3f00_0000 + (random & 3 << 23)),
        2 => random & 0x80ff | (0x3f00 + (random >> 8 & 0x80)),
        3 => random & 0x83ff | (0x3000 + (random >> 4 & 0xc00)),
        5 => random % 3,
        7 if random & 0x7f == 0x7f => 0,
        8 if random & 0x7f > 0x7b => 0x7b,
        15 => 120 + random % 16,
        _ => random & ((1 << bits(slot)) - 1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_and_vlen_gives_the_bits_of_the_naive_sum(product in product()) {
        let want = product.reference();
        for piece in [8, 32, 40, 4096] {
            prop_assert_eq!(&product.on_array(piece), &want, "array, {} deep", piece);
        }
        for vlen in [32, 64, 256, 512, 4096] {
            if let Some(got) = product.on_registers(vlen) {
                prop_assert_eq!(&got, &want, "VLEN {}", vlen);
            }
        }
    }
}

#[test]
fn special_codes_of_fp8_give_the_specials_of_the_products() {
    // E5M2: 0x7c +inf, 0xfc -inf, 0x7e NaN, 0x3c 1.0, 0xbc -1.0
    let cases: [([u32; 3], [u32; 3], u32); 6] = [
        ([0x7c, 0x3c, 0x3c], [0x3c, 0x3c, 0x3c], 0x7f80_0000),
        ([0x7c, 0x3c, 0x3c], [0xbc, 0x3c, 0x3c], 0xff80_0000),
        ([0x7c, 0xfc, 0x3c], [0x3c, 0x3c, 0x3c], 0x7fc0_0000),
        ([0x7c, 0x3c, 0x3c], [0x00, 0x3c, 0x3c], 0x7fc0_0000),
        ([0x3c, 0x3c, 0x3c], [0x3c, 0x7e, 0x3c], 0x7fc0_0000),
        ([0x7c, 0x7c, 0x3c], [0x3c, 0x7c, 0x3c], 0x7f80_0000),
    ];
    for (w, x, want) in cases {
        let product = Product { class: Class::Exact, fw: 8, fx: 8, shape: [1, 1, 3], w: w.to_vec(), x: x.to_vec() };
        assert_eq!(product.on_array(4096), [want], "{w:x?} {x:x?}");
        assert_eq!(product.on_array(1), [want], "{w:x?} {x:x?}");
        assert_eq!(product.on_registers(512), Some(vec![want]), "{w:x?} {x:x?}");
    }
}

#[test]
fn pair_sums_flush_tiny_values_and_read_subnormal_operands_as_zero() {
    // bf16: 0x0040 subnormal, 0x0080 = 2^-126, 0x3f80 = 1, 0x2000 = 2^-63
    let pairs = [(0x0040, 0x3f80, 0), (0x0080, 0x3f80, 0x0080_0000), (0x2000, 0x1f80, 0), (0x2000, 0x9f80, 0)];
    for (w, x, want) in pairs {
        let product = Product { class: Class::PairBf16, fw: 2, fx: 2, shape: [1, 1, 1], w: vec![w], x: vec![x] };
        assert_eq!(product.on_array(1), [want], "{w:x} {x:x}");
    }
}

#[test]
fn masked_terms_are_absent_but_keep_their_place() {
    for (class, fw, fx) in PAIRS.iter().copied().filter(|(_, fw, fx)| bits(*fw) <= 8 && bits(*fx) <= 8 && *fx != 10) {
        let k = 8usize;
        let code = |slot: u8, i: usize| moderate(slot, 0x9e37_79b9u32.wrapping_mul(i as u32 + 3) >> 7);
        let (w, x): (Vec<u32>, Vec<u32>) = (0..k).map(|i| (code(fw, i), code(fx, i + 40))).unzip();
        let mut p = Program::new();
        // The mask is byte 0xb5 of control memory at 100.
        p.li(6, CONTROL + 100).li(7, 0xb5).op(Op::Sw, |i| (i.rd, i.rs1) = (7, 6)).li(7, 8);
        p.op(Op::LdM, |i| (i.rd, i.rs1, i.rs3) = (1, 6, 7)).li(9, 1);
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, class as u16));
        p.op(Op::Setmac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb) = (10, 9, 7, fw, fx));
        p.li(1, SRAM).li(2, SRAM + 0x4000).op(Op::Setvl, |i| (i.rd, i.rs1, i.fa, i.fb) = (12, 11, fw, fx));
        p.op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (1, 1, fw)).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd) = (2, 2, fx));
        p.op(Op::Mac, |i| (i.rd, i.rs1, i.rs2, i.fa, i.fb, i.pm) = (0, 1, 2, fw, fx, 1));
        let product = Product { class, fw, fx, shape: [1, 1, k], w, x };
        let (wv, xv) = (values(fw, &product.w), values(fx, &product.x));
        let live: Vec<f32> = wv.iter().enumerate().map(|(i, w)| if 0xb5 >> i & 1 == 1 { *w } else { 0.0 }).collect();
        let want = match class {
            Class::Exact => exact(&live, &xv),
            Class::Chain => chain(&live, &xv),
            Class::PairBf16 => pair(&live, &xv, true),
            Class::PairFp16 => pair(&live, &xv, false),
            Class::Int24s => saturating(&live, &xv),
            Class::Fp22 => fp22(&live, &xv),
        };
        assert_eq!(product.run(&p, 512), [want.to_bits()], "{class:?} {fw} {fx}");
    }
}

#[test]
fn a_sum_of_elements_does_not_depend_on_vlen() {
    let values: Vec<f32> = (0..100).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1.37).collect();
    let sum = |vlen: u32| {
        let step = u64::from(vlen / 32);
        let mut p = Program::new();
        p.op(Op::Setacc, |i| (i.rd, i.sub) = (0, Class::Chain as u16)).li(1, SRAM);
        for at in (0..100).step_by(step as usize) {
            p.setvl(step.min(100 - at), 1).op(Op::LdBp, |i| (i.rd, i.rs1, i.fd, i.mode) = (1, 1, 1, 1));
            p.li(2, at).op(Op::Red, |i| (i.rd, i.rs1, i.rs2) = (0, 1, 2));
        }
        p.op(Op::RedEnd, |i| (i.rd, i.rs1) = (1, 0));
        let mut vm = p.vm(vlen);
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        vm.write(SRAM, &bytes).unwrap();
        vm.run().unwrap();
        vm.c(0, 0, 0).unwrap().to_bits()
    };
    let mut lanes = [0f32; 16];
    values.iter().enumerate().for_each(|(i, x)| lanes[i % 16] += x);
    for half in [8, 4, 2, 1] {
        (0..half).for_each(|j| lanes[j] += lanes[j + half]);
    }
    for vlen in [32, 64, 256, 512, 4096] {
        assert_eq!(sum(vlen), lanes[0].to_bits(), "VLEN {vlen}");
    }
}

#[test]
fn an_exact_sum_beyond_128_bits_traps() {
    let mut tile = Tile::new(1, 1, true);
    tile.begin(0).unwrap();
    tile.add_exact(0, 0, i128::MAX, 0).unwrap();
    assert_eq!(tile.add_exact(0, 0, 1, 0).unwrap_err().kind(), TrapKind::Acc);
}

#[test]
fn narrow_accumulators_saturate_and_truncate_in_the_order_of_k() {
    let k = 1200;
    // Products of 2^14 up to the limit, then of -2^14: what saturation dropped is missing at the end.
    let x: Vec<u32> = (0..k).map(|i| if i < 700 { 0x80 } else { 0x7f }).collect();
    let product = Product { class: Class::Int24s, fw: 4, fx: 4, shape: [1, 1, k], w: vec![0x80; k], x };
    let want = (8_388_607 - 500 * 128 * 127) as f32;
    assert_eq!((product.on_array(64), product.reference()), (vec![want.to_bits()], vec![want.to_bits()]));
    assert_eq!(product.on_registers(512), Some(vec![want.to_bits()]));
    let codes = |seed: usize| (0..300).map(|i| (i * 89 + seed * 31) as u32 % 127).collect::<Vec<_>>();
    let product = Product { class: Class::Fp22, fw: 7, fx: 7, shape: [1, 1, 300], w: codes(1), x: codes(2) };
    assert_eq!(product.on_array(40), product.reference());
    assert_eq!(product.on_registers(256), Some(product.reference()));
}
