//! The facade: one virtual processor, a machine and a policy, that runs, checks and prices prepared models.

pub mod summary;

use crate::check::CheckReport;
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::model::Prepared;
use crate::policy::Policy;
use summary::RunSummary;

/// What a run should do beyond the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Fuse element-wise epilogues into the kernel that produces their input.
    pub fuse: bool,
    /// Only count cycles and joules; values are not computed.
    pub timing_only: bool,
    /// Compare every node with the native backend.
    pub check: bool,
    /// Explain this layer: loop nest, tiles, counts.
    pub explain: Option<String>,
    /// Nodes whose outputs are kept beside the model's own.
    pub dump: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { fuse: true, timing_only: false, check: true, explain: None, dump: Vec::new(), seed: 0 }
    }
}

/// What a run gives.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// Figures.
    pub summary: RunSummary,
    /// Outputs: name, shape, values.
    pub outputs: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// The explanation that was asked for.
    pub explain: Option<String>,
    /// The program as text.
    pub program: String,
    /// The cross-check, if it was asked for.
    pub check: Option<CheckReport>,
}

/// The virtual processing unit.
#[derive(Debug, Clone)]
pub struct Vpu {
    /// What a run should do beyond the defaults.
    pub options: RunOptions,
    machine: Machine,
    policy: Option<Policy>,
}

impl Vpu {
    /// A processor of this description, without a policy: everything in FP32.
    pub fn new(machine: Machine) -> Self {
        Vpu { options: RunOptions::default(), machine, policy: None }
    }
    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
    /// Which formats weights and activations take from now on.
    pub fn set_precision(&mut self, policy: Policy) {
        self.policy = Some(policy);
    }
    /// Compiles and executes the model.
    ///
    /// # Errors
    /// Unsupported if the machine or the policy cannot serve an op; Fault if the program traps.
    pub fn run(&mut self, prepared: &Prepared) -> Result<RunResult> {
        let _ = prepared;
        Err(Error::unsupported("running is not furnished yet"))
    }
    /// Runs and compares every node with the native backend.
    ///
    /// # Errors
    /// As [`Vpu::run`]. Differences are not errors: they are in the report.
    pub fn check(&mut self, prepared: &Prepared) -> Result<CheckReport> {
        let _ = prepared;
        Err(Error::unsupported("checking is not furnished yet"))
    }
    /// One matrix product of random operands, `[m, k]` by `[n, k]`.
    ///
    /// # Errors
    /// As [`Vpu::run`].
    pub fn gemm(&mut self, m: usize, n: usize, k: usize) -> Result<RunResult> {
        let _ = (m, n, k);
        Err(Error::unsupported("gemm is not furnished yet"))
    }
}
