//! Preon: a virtual accelerator for low-bit AI.
//!
//! One compiled program of Preon's own instruction set computes a neural network's real outputs at any
//! precision, tells the cycles and joules that takes on a machine written in TOML, and is checked bit for bit
//! against a native CPU backend that runs the same graph. [`Vpu`] is the front door.
//!
//! Modules stand on floors; a module uses lower floors only (held by `tests/tidy.rs`):
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`num`] formats, codecs, per-element functions; [`diag`] errors |
//! | 1 | [`tensor`] packed values; [`isa`] instructions, assembler; [`machine`] descriptions |
//! | 2 | [`graph`] the network; [`workload`] layers without weights; [`exec`] what instructions do |
//! | 3 | [`policy`] precision; [`model`] readers; [`native`] CPU backend; [`compile`]; [`sim`] cycles and joules |
//! | 4 | [`check`] virtual against native; [`look`] what a precision does to a model's tensors; [`debug`] programs step by step |
//! | 5 | [`vpu`] the facade |
//! | 6 | [`report`] tables, charts, HTML |
//! | 7 | [`cli`] verbs: the only place that prints or exits |

pub mod check;
pub mod cli;
pub mod compile;
pub mod debug;
pub mod diag;
pub mod exec;
pub mod graph;
pub mod isa;
pub mod look;
pub mod machine;
pub mod model;
pub mod native;
pub mod num;
pub mod policy;
pub mod report;
pub mod sim;
pub mod tensor;
pub mod vpu;
pub mod workload;

pub use diag::{Error, Result};
pub use vpu::Vpu;
