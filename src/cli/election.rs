//! The flags of the leader election.

use std::time::Duration;

use clap::{ArgAction, Args};

use crate::{cluster::ElectionTimes, pki::Lifespan};

/// How replicas agree on the one that reconciles.
#[derive(Debug, Args)]
pub(super) struct ElectionArgs {
    /// Reconcile only while this process holds the Lease devicecert-operator in the key namespace. Turn it off only where
    /// there will never be a second process.
    #[arg(
        long,
        value_name = "BOOL",
        env = "DEVICECERT_LEADER_ELECTION",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    leader_election: bool,

    /// How long the other replicas wait for a leader that has stopped renewing the Lease, before one takes over.
    #[arg(
        long,
        value_name = "TIME",
        env = "DEVICECERT_LEASE_DURATION",
        default_value = "15s"
    )]
    lease_duration: Lifespan,

    /// How long a leader that cannot renew the Lease goes on; shorter than --lease-duration.
    #[arg(
        long,
        value_name = "TIME",
        env = "DEVICECERT_RENEW_DEADLINE",
        default_value = "10s"
    )]
    renew_deadline: Lifespan,

    /// How often the Lease is renewed, or looked at; up to a fifth is added by chance.
    #[arg(
        long,
        value_name = "TIME",
        env = "DEVICECERT_RETRY_PERIOD",
        default_value = "2s"
    )]
    retry_period: Lifespan,
}

impl ElectionArgs {
    /// The times; `None` where there is no election.
    pub(super) fn validate(&self) -> Result<Option<ElectionTimes>, String> {
        // A lifespan is positive.
        let time = |span: Lifespan| Duration::from_secs(span.as_seconds().unsigned_abs());
        let times = ElectionTimes::new(
            time(self.lease_duration),
            time(self.renew_deadline),
            time(self.retry_period),
        )?;
        Ok(self.leader_election.then_some(times))
    }
}
