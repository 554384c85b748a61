//! What a bit pattern means: formats, codecs, rounding, per-element functions. No dot product lives here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@format`] | the table of formats and its rows |
//! | `table` | reading and validating such a table |
//! | [`codec`] | encode and decode of any format |
//! | [`bulk`] | the same for streams, by tables |
//! | [`bits`] | codes moved between bytes, packed bits and planes |
//! | [`block`] | formats whose elements share coded scales |
//! | [`colour`] | rows as sums of scaled sign planes |
//! | [`gguf`] | block types of GGUF files, byte for byte |
//! | [`bitnet`] | the packed ternary weights of BitNet checkpoints |
//! | [`isa`] | which instruction sets fast paths may use |
//! | `kernel` | what vectors need to encode |
//! | [`philox`] | the draws of stochastic rounding |
//! | [`stream`] | the words of stochastic bitstreams |
//! | [`subset`] | which format holds all values of another |
//! | [`class`] | which dot product a pair of formats has |
//! | [`mod@crc32`] | the checksum of the binary containers |
//! | [`func`] | f32 functions with stated bits, and single roundings |
//! | `coefficients` | the fitted coefficients of these functions |
//! | [`trig`] | sine and cosine |
//! | [`gradient`] | derivatives of activations, and those that stand in for that of rounding |

mod arch;
pub mod bitnet;
pub mod bits;
pub mod block;
pub mod bulk;
pub mod class;
pub mod codec;
pub(crate) mod coefficients;
pub mod colour;
pub mod crc32;
pub mod format;
pub mod func;
pub mod gguf;
pub mod gradient;
pub mod isa;
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only leaves read what vectors need"))]
mod kernel;
mod lazy;
pub mod philox;
pub mod stream;
pub mod subset;
mod table;
pub mod trig;

pub use class::{Accumulator, DotClass, dot_class};
pub use codec::{Draw, Rounding, Stochastic, cast, decode, encode, value};
pub use format::{Element, Format, FormatRef, ScaleRule, Specials, formats};
pub use isa::Isa;
pub use lazy::Lazy;
