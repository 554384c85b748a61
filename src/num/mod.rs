//! What a bit pattern means: formats, codecs, rounding, per-element functions. No dot product lives here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@format`] | the table of formats and its rows |
//! | `table` | reading and validating such a table |
//! | [`codec`] | encode and decode of any format |
//! | [`bulk`] | the same for streams, by tables |
//! | [`block`] | formats whose elements share coded scales |
//! | [`philox`] | the draws of stochastic rounding |
//! | [`class`] | which dot product a pair of formats has |
//! | [`mod@crc32`] | the checksum of the binary containers |
//! | [`func`] | f32 functions with stated bits, and single roundings |
//! | [`gradient`] | derivatives that stand in for that of rounding |

pub mod block;
pub mod bulk;
pub mod class;
pub mod codec;
pub mod crc32;
pub mod format;
pub mod func;
pub mod gradient;
pub mod philox;
mod table;

pub use class::{Accumulator, DotClass, dot_class};
pub use codec::{Draw, Rounding, Stochastic, cast, decode, encode, value};
pub use format::{Element, Format, FormatRef, ScaleRule, Specials, formats};
