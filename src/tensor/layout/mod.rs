//! Stored layouts: other ways than dense packed rows to keep the codes of a tensor in memory, each a pure function to
//! and from dense rows, with its bytes counted in full.

pub mod compare;
pub mod entropy;
pub mod sparse;
