//! What a bit pattern means: formats, codecs, rounding, per-element functions. No dot product lives here.

pub mod class;
pub mod codec;
pub mod format;
pub mod func;

pub use class::{Accumulator, DotClass, dot_class};
pub use codec::{Rounding, decode, encode};
pub use format::{Element, Format, FormatRef, formats};
