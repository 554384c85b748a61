//! The functions of the numerics contract, section 7, on vectors: one text, instantiated for every vector type.
//!
//! A module that calls `functions!` brings the types `F` (f32 lanes), `I` (i32 lanes) and `M` (a truth value for each
//! lane), and one-instruction operations on them; what is written here follows `num::func` line by line, with both
//! sides of every branch computed and one selected. So a twin is right if the operations of its module are.

/// Defines the functions and `apply` for the vector type in scope; `$features` are the CPU features of its operations.
macro_rules! functions {
    ($features:literal) => {
        use crate::native::functions::Function;
        use crate::num::coefficients as c;
        use crate::num::func::NAN;

        #[target_feature(enable = $features)]
        #[inline]
        fn horner<const N: usize>(x: F, coefficients: &[f32; N]) -> F {
            coefficients[1..].iter().fold(splat(coefficients[0]), |p, c| fma(p, x, splat(*c)))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn abs(x: F) -> F {
            from_bits(int_and(bits(x), int_splat(0x7fff_ffff)))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn neg(x: F) -> F {
            from_bits(int_xor(bits(x), int_splat(i32::MIN)))
        }

        /// `magnitude`, which is not negative, with the sign of `sign`.
        #[target_feature(enable = $features)]
        #[inline]
        fn with_sign(magnitude: F, sign: F) -> F {
            from_bits(int_xor(bits(magnitude), int_and(bits(sign), int_splat(i32::MIN))))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn canonical(x: F) -> F {
            select(is_nan(x), splat(NAN), x)
        }

        /// 2^e for -126 <= e <= 127.
        #[target_feature(enable = $features)]
        #[inline]
        fn exp2(e: I) -> F {
            from_bits(int_shift_23(int_add(e, int_splat(127))))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn exp(x: F) -> F {
            let (one, shifter) = (splat(1.0), splat(c::SHIFTER));
            let j = sub(fma(x, splat(c::LOG2_E), shifter), shifter);
            let r = fma(j, splat(-c::LN_2_LOW), fma(j, splat(-c::LN_2_HIGH), x));
            let p = fma(fma(horner(r, &c::EXP), r, one), r, one);
            let j = int_max(int_min(to_int(j), int_splat(128)), int_splat(-126));
            let h = int_half(int_add(j, int_and(int_half(j), int_splat(1))));
            let y = mul(mul(p, exp2(h)), exp2(int_sub(j, h)));
            let y = select(less(x, splat(c::EXP_LOWEST)), splat(0.0), y);
            let y = select(less(splat(c::EXP_HIGHEST), x), splat(f32::INFINITY), y);
            select(is_nan(x), splat(NAN), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn log(x: F) -> F {
            let (one, zero, infinity) = (splat(1.0), splat(0.0), splat(f32::INFINITY));
            let subnormal = less(x, splat(f32::MIN_POSITIVE));
            let a = select(subnormal, mul(x, splat(8_388_608.0)), x);
            let i = select(subnormal, splat(-23.0), zero);
            let e = int_and(int_sub(bits(a), int_splat(0x3f2a_aaab)), int_splat(!0x7f_ffff));
            let m = sub(from_bits(int_sub(bits(a), e)), one);
            let i = fma(to_float(e), splat(1.0 / 8_388_608.0), i);
            let s = mul(m, m);
            let [c10, c9, c8, c7, c6, c5, c4, c3] = c::LOG;
            let r = fma(fma(fma(splat(c10), s, splat(c8)), s, splat(c6)), s, splat(c4));
            let t = fma(fma(splat(c9), s, splat(c7)), s, splat(c5));
            let r = fma(fma(fma(t, m, r), m, splat(c3)), m, splat(-0.5));
            let y = fma(i, splat(c::LN_2), fma(r, s, m));
            let y = select(equal(x, zero), splat(f32::NEG_INFINITY), y);
            let y = select(equal(x, infinity), infinity, y);
            let y = select(less(x, zero), splat(NAN), y);
            select(is_nan(x), splat(NAN), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn tanh(x: F) -> F {
            let (one, magnitude, z) = (splat(1.0), abs(x), mul(x, x));
            let low = fma(mul(horner(z, &c::TANH), z), x, x);
            let high = sub(one, div(splat(2.0), add(exp(mul(splat(2.0), magnitude)), one)));
            let y = select(less(magnitude, splat(c::TANH_SPLIT)), low, with_sign(high, x));
            select(is_nan(x), splat(NAN), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn erf(x: F) -> F {
            let (one, t, s) = (splat(1.0), abs(x), mul(x, x));
            let low = fma(horner(s, &c::ERF_LOW), x, x);
            let [c7, c6, c5, c4, c3, c2, c1] = c::ERF_HIGH;
            let r = fma(splat(c7), t, splat(c6));
            let r = fma(r, s, fma(splat(c5), t, splat(c4)));
            let r = fma(fma(fma(r, t, splat(c3)), t, splat(c2)), t, splat(c1));
            let high = sub(one, exp(fma(r, t, neg(t))));
            let high = select(less(splat(4.0), t), one, high);
            let y = select(less(t, splat(c::ERF_SPLIT)), low, with_sign(high, x));
            select(is_nan(x), splat(NAN), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn sigmoid(x: F) -> F {
            let one = splat(1.0);
            canonical(div(one, add(one, exp(neg(x)))))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn silu(x: F) -> F {
            let y = canonical(div(x, add(splat(1.0), exp(neg(x)))));
            select(equal(x, splat(f32::NEG_INFINITY)), splat(-0.0), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn gelu(x: F) -> F {
            let y = canonical(mul(mul(splat(0.5), x), add(splat(1.0), erf(mul(x, splat(c::SQRT_HALF))))));
            select(equal(x, splat(f32::NEG_INFINITY)), splat(-0.0), y)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn relu(x: F) -> F {
            select(is_nan(x), splat(NAN), select(less(splat(0.0), x), x, splat(0.0)))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn relu2(x: F) -> F {
            let r = relu(x);
            canonical(mul(r, r))
        }

        /// `f` of every value; the last vector is filled up with zeros.
        #[target_feature(enable = $features)]
        #[inline]
        fn each(values: &mut [f32], f: impl Fn(F) -> F) {
            let (whole, rest) = values.as_chunks_mut::<LANES>();
            for lanes in whole {
                store(lanes, f(load(lanes)));
            }
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            let filled = last;
            store(&mut last, f(load(&filled)));
            rest.copy_from_slice(&last[..rest.len()]);
        }

        #[target_feature(enable = $features)]
        fn apply_here(function: Function, values: &mut [f32]) {
            match function {
                Function::Exp => each(values, |x| exp(x)),
                Function::Log => each(values, |x| log(x)),
                Function::Tanh => each(values, |x| tanh(x)),
                Function::Erf => each(values, |x| erf(x)),
                Function::Sigmoid => each(values, |x| sigmoid(x)),
                Function::Silu => each(values, |x| silu(x)),
                Function::Gelu => each(values, |x| gelu(x)),
                Function::Relu => each(values, |x| relu(x)),
                Function::Relu2 => each(values, |x| relu2(x)),
            }
        }

        /// `function` of every value, in place.
        pub(in crate::native) fn apply(function: Function, values: &mut [f32]) {
            assert!(detected(), "the caller checks the CPU");
            // SAFETY: the features of the operations were detected above.
            unsafe { apply_here(function, values) };
        }
    };
}

pub(super) use functions;
