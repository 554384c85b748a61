//! Architectural state and one pure function per instruction. Knows no clock; emits one [`Event`] per instruction.

pub mod event;

pub use event::{Access, Event, RegSet, Work};
