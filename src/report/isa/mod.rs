//! The instruction set for readers: reference cards, docs/isa.md and the editors' grammar, all from the instruction table.
//!
//! What the table says comes from [`crate::isa`]. What an example reads, writes and takes comes from running it
//! ([`crate::exec`]) and from the law of time ([`crate::sim::law`]), so no figure of the manual is typed by hand.

mod card;
pub mod grammar;
mod markdown;

pub use card::{Alias, Card, Cost, Field, Operand, card, summary};
pub use markdown::{manual, text};

#[cfg(test)]
mod tests;
