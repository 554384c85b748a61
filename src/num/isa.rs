//! Which CPU instruction sets fast paths may use: found at run time, or forced by `PREON_ISA`.

use crate::diag::{Error, Kind, Result};
use std::sync::OnceLock;

/// Instruction set of fast paths; every level gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Portable code: the specification.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VNNI and VPOPCNTDQ.
    Avx512,
}

impl Isa {
    /// Every level, slowest first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// Name as `PREON_ISA` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this CPU has every feature of the level.
    pub fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512vpopcntdq")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The highest level that this CPU has.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Isa::Scalar)
    }

    /// The level called `name`.
    ///
    /// # Errors
    /// Usage for an unknown name, Unsupported if this CPU lacks the level.
    pub fn by_name(name: &str) -> Result<Isa> {
        let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == name) else {
            return Err(Error::usage(format!("unknown instruction set `{name}` in PREON_ISA"))
                .help("use scalar, avx2 or avx512, or leave PREON_ISA unset"));
        };
        if !isa.available() {
            return Err(Error::new(Kind::Unsupported, format!("this CPU cannot run the {name} kernels of PREON_ISA"))
                .help(format!("the best level here is {}", Isa::best().name())));
        }
        Ok(isa)
    }

    /// What `PREON_ISA` forces, else [`Isa::best`].
    ///
    /// # Errors
    /// As [`Isa::by_name`].
    pub fn from_env() -> Result<Isa> {
        match std::env::var("PREON_ISA") {
            Ok(name) => Isa::by_name(&name),
            Err(std::env::VarError::NotPresent) => Ok(Isa::best()),
            Err(std::env::VarError::NotUnicode(_)) => Err(Error::usage("PREON_ISA is not valid text")),
        }
    }

    /// [`Isa::from_env`], asked once, for code without an error of its own: a `PREON_ISA` that names no level of this CPU
    /// means scalar here, which gives the same bits.
    pub fn current() -> Isa {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Isa::from_env().unwrap_or(Isa::Scalar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(Isa::by_name("scalar").expect("always there"), Isa::Scalar);
        let error = Isa::by_name("sse9").expect_err("no such level");
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().contains("sse9"));
        for isa in Isa::ALL {
            assert_eq!(Isa::by_name(isa.name()).is_ok(), isa.available());
        }
    }

    #[test]
    fn the_best_level_is_available() {
        assert!(Isa::best().available());
    }
}
