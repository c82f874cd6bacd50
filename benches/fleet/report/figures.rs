//! Every figure of the bench, with its unit and its bar.

use super::{Bar, Figure};

const fn figure(name: &'static str, unit: &'static str, bar: Bar) -> Figure {
    Figure { name, unit, bar }
}

/// Certificates that the operator brings into Secrets, of a group that is turned on.
pub const ISSUANCE_RATE: Figure = figure("issuance", "certificates/s", Bar::None);
/// From the call that turns the group on to the first device that is Ready; part of the above.
pub const ISSUANCE_WAKE: Figure = figure("issuance: first Ready after", "ms", Bar::None);
/// Writes in that time, without Events and the status of groups.
pub const ISSUANCE_WRITES: Figure =
    figure("issuance: API writes each", "writes", Bar::EachAtMost(3.0));
/// Processor time of the operator.
pub const ISSUANCE_CPU: Figure = figure("issuance: operator CPU each", "µs", Bar::None);
/// The same number of writes of the same size by a client that does nothing else.
pub const BARE_RATE: Figure = figure("bare client", "certificates/s", Bar::None);
/// Processor time of that client, and of the bench's own watch in the same process.
pub const BARE_CPU: Figure = figure("bare client: CPU each", "µs", Bar::None);
/// The first rate to the second.
pub const ISSUANCE_TO_BARE: Figure =
    figure("issuance / bare client", "ratio", Bar::MedianAtLeast(0.5));
/// Renewals that are all due at one moment.
pub const RENEWAL_RATE: Figure = figure("renewal", "certificates/s", Bar::None);
/// Writes in that time.
pub const RENEWAL_WRITES: Figure =
    figure("renewal: API writes each", "writes", Bar::EachAtMost(2.0));
/// A single device, from its creation to Ready.
pub const TRICKLE_LATENCY: Figure = figure("one device: created to Ready", "ms", Bar::None);
/// Writes in that time; one more than for issuance is allowed, once, for a finalizer.
pub const TRICKLE_WRITES: Figure = figure("one device: API writes", "writes", Bar::EachAtMost(3.0));
/// A deleted Secret, from the call that deletes it to the new one.
pub const REPAIR_LATENCY: Figure = figure(
    "deleted Secret restored after",
    "ms",
    Bar::EachAtMost(2000.0),
);

/// ECDSA P-256.
pub const SIGN: Figure = figure("openssl: ECDSA P-256 sign", "µs", Bar::None);
/// ECDSA P-256.
pub const VERIFY: Figure = figure("openssl: ECDSA P-256 verify", "µs", Bar::None);
/// X25519.
pub const AGREE: Figure = figure("openssl: X25519 agree", "µs", Bar::None);

/// The operator without devices.
pub const MEMORY_EMPTY: Figure = figure("memory without devices", "MB", Bar::None);
/// What each pending device adds.
pub const MEMORY_PENDING: Figure = figure("memory per pending device", "bytes", Bar::None);
/// What each device with a certificate adds.
pub const MEMORY_ISSUED: Figure = figure("memory per device, issued", "bytes", Bar::None);
/// What each device adds to an operator that is started among them.
pub const MEMORY_RESTARTED: Figure = figure("memory per device, after restart", "bytes", Bar::None);
/// The most that the restarted operator ever had.
pub const MEMORY_MOST: Figure = figure("memory at most, after restart", "MB", Bar::None);
/// A scrape of /metrics with all devices.
pub const SCRAPE_TIME: Figure = figure("scrape of /metrics, all devices", "ms", Bar::None);
/// From the start of the process to /readyz, with all devices.
pub const START_TIME: Figure = figure("start to ready, all devices", "s", Bar::None);

/// One way of enrolling over EST: its figures, and how often it needs each primitive.
#[derive(Debug)]
pub struct Way {
    /// Certificates.
    pub rate: Figure,
    /// From the request, or its handshake, to the answer.
    pub latency: Figure,
    /// Processor time of the operator, all of its work included.
    pub cpu: Figure,
    /// Writes.
    pub writes: Figure,
    /// OpenSSL's time for the same primitives.
    pub primitives: Figure,
    /// Processor time to that.
    pub ratio: Figure,
    /// ECDSA signatures made.
    pub signs: u32,
    /// ECDSA signatures checked.
    pub verifies: u32,
    /// X25519 operations; making a key counts as one.
    pub agrees: u32,
}

impl Way {
    /// Whether every request has a TLS handshake of its own.
    pub fn has_handshakes(&self) -> bool {
        self.agrees > 0
    }
}

macro_rules! way {
    ($name:literal, $writes:expr, $signs:literal, $verifies:literal, $agrees:literal) => {
        Way {
            rate: figure($name, "certificates/s", Bar::None),
            latency: figure(concat!($name, ": latency"), "ms", Bar::None),
            cpu: figure(concat!($name, ": operator CPU each"), "µs", Bar::None),
            writes: figure(
                concat!($name, ": API writes each"),
                "writes",
                Bar::EachAtMost($writes),
            ),
            primitives: figure(concat!($name, ": openssl sum"), "µs", Bar::None),
            ratio: figure(concat!($name, ": CPU / openssl sum"), "ratio", Bar::None),
            signs: $signs,
            verifies: $verifies,
            agrees: $agrees,
        }
    };
}

/// First enrolments by password (bcrypt of the lowest cost), on eight connections: the CSR is checked, the certificate signed.
pub static FIRST: Way = way!("EST first, 8 connections", 2.0, 1, 1, 0);
/// Renewals on one kept connection after the other: the CSR and the client certificate are checked, the new one signed.
pub static ONE_CONNECTION: Way = way!("EST renewal, 1 connection", 1.0, 1, 2, 0);
/// The same on eight at a time.
pub static EIGHT_CONNECTIONS: Way = way!("EST renewal, 8 connections", 1.0, 1, 2, 0);
/// The same with a full TLS 1.3 handshake each, eight at a time: the server also makes a key, agrees, signs, and checks the client.
pub static HANDSHAKES: Way = way!("EST renewal, handshake each", 1.0, 2, 3, 2);

/// Renewals on kept connections, planned at half the rate of eight connections; from the moment each was planned for.
pub const HALF_LOAD: Figure = figure("EST renewal at half load: latency", "ms", Bar::None);
/// Their 99th percentile to their median.
pub const HALF_LOAD_SPREAD: Figure = figure(
    "EST renewal at half load: p99 / median",
    "ratio",
    Bar::MedianAtMost(5.0),
);

/// The writes of such renewals alone, planned at the same rate.
pub const HALF_LOAD_BARE: Figure =
    figure("their writes alone at that rate: latency", "ms", Bar::None);
/// Their 99th percentile to their median.
pub const HALF_LOAD_BARE_SPREAD: Figure = figure(
    "their writes alone at that rate: p99 / median",
    "ratio",
    Bar::None,
);

/// The 99th percentile of the renewals to that of their writes alone.
pub const HALF_LOAD_TO_BARE: Figure = figure(
    "EST renewal at half load: p99 / p99 of the writes alone",
    "ratio",
    Bar::MedianAtMost(2.0),
);
