//! Functions of single values over slices: `num::func` value by value, or the twin of the instruction set.

use crate::num::{Isa, func};

#[cfg(target_arch = "x86_64")]
use super::arch::{avx2_lanes, avx512_lanes};

/// A function of one f32 (numerics contract, section 7). Every instruction set gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// e^x.
    Exp,
    /// Natural logarithm.
    Log,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x times the sigmoid.
    Silu,
    /// x times the normal distribution, by erf.
    Gelu,
    /// The positive part.
    Relu,
    /// Square of the positive part.
    Relu2,
}

impl Function {
    /// Every function.
    pub const ALL: [Function; 9] = [
        Function::Exp,
        Function::Log,
        Function::Tanh,
        Function::Erf,
        Function::Sigmoid,
        Function::Silu,
        Function::Gelu,
        Function::Relu,
        Function::Relu2,
    ];

    /// Name as the contract has it.
    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp",
            Function::Log => "log",
            Function::Tanh => "tanh",
            Function::Erf => "erf",
            Function::Sigmoid => "sigmoid",
            Function::Silu => "silu",
            Function::Gelu => "gelu",
            Function::Relu => "relu",
            Function::Relu2 => "relu2",
        }
    }

    /// The specification.
    pub fn scalar(self) -> fn(f32) -> f32 {
        match self {
            Function::Exp => func::exp,
            Function::Log => func::log,
            Function::Tanh => func::tanh,
            Function::Erf => func::erf,
            Function::Sigmoid => func::sigmoid,
            Function::Silu => func::silu,
            Function::Gelu => func::gelu,
            Function::Relu => func::relu,
            Function::Relu2 => func::relu2,
        }
    }

    /// Replaces every value by its function, with the best twin up to level `isa`.
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        match Isa::best().min(isa) {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512_lanes::apply(self, values),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2_lanes::apply(self, values),
            _ => {
                let function = self.scalar();
                values.iter_mut().for_each(|v| *v = function(*v));
            }
        }
    }
}
