//! The arguments of the bench. Every count is bounded by one of them, and every wait by a deadline.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// Measures the operator on a local control plane.
#[derive(Debug, Parser)]
#[command(name = "hack/bench.sh")]
pub struct Args {
    /// The control plane; only one on a loopback address is accepted, because the bench fills it.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,

    /// The operator to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_devicecert-operator"))]
    pub operator: PathBuf,

    /// As how many processes it runs: `run`, or `controller` and `est` with a socket between them.
    #[arg(long, value_enum, default_value_t = Roles::One)]
    pub roles: Roles,

    /// How often everything that is compared is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Secret-backed devices per round; 0 leaves issuance out.
    #[arg(long, default_value_t = 200)]
    pub certificates: usize,

    /// Devices per round that are created one after the other, for the latency of each.
    #[arg(long, default_value_t = 40)]
    pub trickle: usize,

    /// Devices per round that enrol over EST; 0 leaves EST out.
    #[arg(long, default_value_t = 200)]
    pub enrolments: usize,

    /// How many Secrets are deleted to see them restored.
    #[arg(long, default_value_t = 20)]
    pub restores: usize,

    /// Devices for the memory measurement; 0 leaves it out. Up to 5,000 get certificates, more stay pending.
    #[arg(long, default_value_t = 2000)]
    pub devices: usize,

    /// How many devices the operator reconciles, and the bare client writes, at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,

    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench/fleet.json")]
    pub out: PathBuf,

    /// cargo passes this to benches.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// As how many processes the operator runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Roles {
    /// `run`.
    One,
    /// `controller` and `est`, as in a pod.
    Two,
}

impl Args {
    /// Whether anything but memory is to be measured.
    pub fn wants_rounds(&self) -> bool {
        self.certificates > 0 || self.enrolments > 0 || self.restores > 0
    }

    /// How many writes the bench itself makes at a time.
    pub fn writers(&self) -> usize {
        usize::from(self.concurrency)
    }
}

/// How long `count` things may take at most: far longer than they should, so that only a standstill is a failure.
pub fn patience(count: usize) -> Duration {
    Duration::from_secs(60 + count as u64 / 5)
}
