//! What one client, and all of them together, may use up.

use std::time::Duration;

use clap::{Args, value_parser};

/// The bounds of the front end. Every one of them holds before a client has proved anything.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. A further one takes the place of the one that has waited longest without a request; if all are
    /// at work it is accepted and dropped at once.
    pub max_connections: usize,
    /// Open connections from one source: an IPv4 address, or an IPv6 network of 64 bits. A further one takes the place of
    /// one of the same source. 0: no such limit. A source that has failed too often gets a sixteenth of it.
    pub max_connections_per_source: usize,
    /// TLS handshakes at the same time. Further ones wait for a second, then they are dropped.
    pub max_handshakes: usize,
    /// Requests that are at the registrar at the same time; further ones get 503 at once.
    pub max_requests: usize,
    /// How many failures of one source and of one kind (wrong passwords or tokens; unknown certificates; malformed requests
    /// and handshakes) are forgiven each minute. While there are more, requests of that kind get 429. 0: no such limit.
    pub failures_per_minute: u32,
    /// How many failures of one source and of one kind may come at once before that. At least 1.
    pub failure_burst: u32,
    /// From the accepted connection to the finished TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// From the first byte of a request to the answer.
    pub request_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// A request body, in bytes as they are on the wire (without chunk framing).
    pub max_body_bytes: usize,
    /// A request line with its header, in bytes. Less than 8,192 counts as 8,192.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_source: 256,
            max_handshakes: 512,
            max_requests: 1024,
            failures_per_minute: 120,
            failure_burst: 100,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_body_bytes: 64 * 1024,
            max_header_bytes: 16 * 1024,
        }
    }
}

/// The arguments that set [`Limits`], for a role that serves EST. Each has a variable `DEVICECERT_EST_...`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of the EST server")]
pub struct LimitArgs {
    /// How many connections may be open; a further one takes the place of the one that has been idle longest.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_MAX_CONNECTIONS", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    est_max_connections: u32,

    /// How many connections one IPv4 address, or one IPv6 /64 network, may have open. 0 sets no limit: right where a load
    /// balancer hides where clients come from.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_MAX_CONNECTIONS_PER_SOURCE", default_value_t = 256, value_parser = value_parser!(u32).range(0..=1_000_000))]
    est_max_connections_per_source: u32,

    /// How many TLS handshakes may be under way; further ones wait for a second, then they are dropped.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_MAX_HANDSHAKES", default_value_t = 512, value_parser = value_parser!(u32).range(1..=1_000_000))]
    est_max_handshakes: u32,

    /// How many requests may be under way; further ones are answered 503 at once.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_MAX_REQUESTS", default_value_t = 1024, value_parser = value_parser!(u32).range(1..=1_000_000))]
    est_max_requests: u32,

    /// How many failures of one source are forgiven each minute, wrong passwords and others each for themselves; what
    /// goes beyond is answered 429. 0 sets no limit.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_FAILURES_PER_MINUTE", default_value_t = 120, value_parser = value_parser!(u32).range(0..=1_000_000))]
    est_failures_per_minute: u32,

    /// How many failures of one source may come at once before --est-failures-per-minute holds.
    #[arg(long, value_name = "COUNT", env = "DEVICECERT_EST_FAILURE_BURST", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000_000))]
    est_failure_burst: u32,

    /// How many seconds a connection may stay open without a request.
    #[arg(long, value_name = "SECONDS", env = "DEVICECERT_EST_IDLE_SECONDS", default_value_t = 60, value_parser = value_parser!(u32).range(1..=86_400))]
    est_idle_seconds: u32,

    /// How many seconds a request may take, from its first byte to its answer.
    #[arg(long, value_name = "SECONDS", env = "DEVICECERT_EST_REQUEST_SECONDS", default_value_t = 60, value_parser = value_parser!(u32).range(1..=3_600))]
    est_request_seconds: u32,
}

impl LimitArgs {
    /// The limits that they set; what has no argument keeps its default.
    pub fn limits(&self) -> Limits {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Limits {
            max_connections: count(self.est_max_connections),
            max_connections_per_source: count(self.est_max_connections_per_source),
            max_handshakes: count(self.est_max_handshakes),
            max_requests: count(self.est_max_requests),
            failures_per_minute: self.est_failures_per_minute,
            failure_burst: self.est_failure_burst,
            idle_timeout: Duration::from_secs(self.est_idle_seconds.into()),
            request_timeout: Duration::from_secs(self.est_request_seconds.into()),
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(arguments: &[&str]) -> Result<Limits, clap::Error> {
        let all = ["program"].iter().chain(arguments);
        Program::try_parse_from(all).map(|program| program.limits.limits())
    }

    #[test]
    fn without_arguments_the_defaults_hold() {
        let (set, default) = (limits(&[]).unwrap(), Limits::default());
        assert_eq!(format!("{set:?}"), format!("{default:?}"));
    }

    #[test]
    fn each_argument_sets_its_limit() {
        let set = limits(&[
            "--est-max-connections=1",
            "--est-max-connections-per-source=0",
            "--est-max-handshakes=3",
            "--est-max-requests=4",
            "--est-failures-per-minute=5",
            "--est-failure-burst=6",
            "--est-idle-seconds=7",
            "--est-request-seconds=8",
        ])
        .unwrap();
        assert_eq!(
            (set.max_connections, set.max_connections_per_source),
            (1, 0)
        );
        assert_eq!((set.max_handshakes, set.max_requests), (3, 4));
        assert_eq!((set.failures_per_minute, set.failure_burst), (5, 6));
        assert_eq!(set.idle_timeout, Duration::from_secs(7));
        assert_eq!(set.request_timeout, Duration::from_secs(8));
    }

    #[test]
    fn what_would_serve_nobody_is_refused() {
        for argument in [
            "--est-max-connections=0",
            "--est-max-handshakes=0",
            "--est-max-requests=0",
            "--est-failure-burst=0",
            "--est-idle-seconds=0",
            "--est-request-seconds=0",
        ] {
            assert!(limits(&[argument]).is_err(), "{argument}");
        }
    }
}
