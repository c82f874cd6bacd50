//! When a certificate is valid, and when it is due for renewal.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use der::DateTime;
use der::asn1::{GeneralizedTime, UtcTime};
use jiff::Timestamp;
use x509_cert::time::Time;

use super::{Lifespan, LifespanError};

/// The last second that [`jiff`] knows. Times beyond it, such as the 99991231235959Z of RFC 5280 §4.1.2.5 ("no well-defined
/// expiration date", usual in IDevIDs), are read as this one, and this one is written as 99991231235959Z.
pub const LATEST: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// The first second of 2050, from which on GeneralizedTime is written (RFC 5280 §4.1.2.5).
const YEAR_2050: i64 = 2_524_608_000;

/// Longest time by which a certificate is dated back, for devices whose clock is slow.
const MAX_BACKDATING: i64 = 60;

/// The time in which a certificate is valid, both ends included, in whole seconds.
///
/// A foreign certificate may have `not_after` before `not_before`; it is never valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Validity {
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
}

/// Whether a validity had to end before the lifespan that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipped {
    /// It lasts as long as asked.
    No,
    /// It ends with its issuer.
    ToIssuer,
}

/// Why there is no validity to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// The issuer is over.
    #[error("the issuing certificate expired at {not_after}: renew the authority first")]
    IssuerExpired {
        /// The issuer's last second.
        not_after: Timestamp,
    },
    /// The issuer has not begun.
    #[error("the issuing certificate is not valid before {not_before}: wait, or correct the clock")]
    IssuerNotYetValid {
        /// The issuer's first second.
        not_before: Timestamp,
    },
    /// DER cannot say this time.
    #[error("{time} is before 1970 and cannot stand in a certificate: correct the clock")]
    TooEarly {
        /// The time.
        time: Timestamp,
    },
}

impl Validity {
    /// The validity of a certificate made at `now` that shall last for `lifespan`.
    ///
    /// It ends `lifespan` after `now`, and never after its issuer ([`Clipped`] tells). It begins 1 % of the time from `now` to
    /// its end before `now`, at most a minute, and never before its issuer. `issuer` is `None` for a self-signed certificate.
    ///
    /// # Errors
    /// If the issuer is expired, or not yet valid, at `now`.
    pub fn starting(
        now: Timestamp,
        lifespan: Lifespan,
        issuer: Option<Validity>,
    ) -> Result<(Validity, Clipped), ValidityError> {
        let seconds = now.as_second();
        let wanted = at_second(seconds.saturating_add(lifespan.as_seconds()));
        let not_after = issuer.map_or(wanted, |issuer| wanted.min(issuer.not_after));
        // From what is left after clipping: whoever knows both ends can then tell when the certificate was made.
        let life = not_after.as_second().saturating_sub(seconds);
        let backdating = (life / 100).clamp(0, MAX_BACKDATING);
        let not_before = at_second(seconds.saturating_sub(backdating));
        let Some(issuer) = issuer else {
            return Ok((
                Self {
                    not_before,
                    not_after,
                },
                Clipped::No,
            ));
        };
        if issuer.not_after.as_second() <= seconds {
            return Err(ValidityError::IssuerExpired {
                not_after: issuer.not_after,
            });
        }
        if issuer.not_before > now {
            return Err(ValidityError::IssuerNotYetValid {
                not_before: issuer.not_before,
            });
        }
        let clipped = if wanted > issuer.not_after {
            Clipped::ToIssuer
        } else {
            Clipped::No
        };
        let validity = Self {
            not_before: not_before.max(issuer.not_before),
            not_after,
        };
        Ok((validity, clipped))
    }

    /// True from the first second to the last.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.not_before <= time && time.as_second() <= self.not_after.as_second()
    }

    /// True if this validity lies within `outer`.
    pub fn is_within(&self, outer: &Validity) -> bool {
        outer.not_before <= self.not_before && self.not_after <= outer.not_after
    }

    /// Seconds from the first to the last; 0 if that is negative.
    fn life(&self) -> i64 {
        self.not_after
            .as_second()
            .saturating_sub(self.not_before.as_second())
            .max(0)
    }

    /// A validity from Unix times, saturated at both ends of what [`jiff`] knows.
    pub(super) fn from_seconds(not_before: i64, not_after: i64) -> Self {
        Self {
            not_before: at_second(not_before),
            not_after: at_second(not_after),
        }
    }

    /// The ASN.1 of both times.
    pub(super) fn to_asn1(self) -> Result<x509_cert::time::Validity, ValidityError> {
        Ok(x509_cert::time::Validity {
            not_before: time(self.not_before)?,
            not_after: time(self.not_after)?,
        })
    }
}

/// The moment in a certificate's life at which something is due: `80%` of it, or `30m` before its end.
///
/// [`Display`](fmt::Display) writes what [`FromStr`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Threshold(Due);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Due {
    /// 1 to 99.
    Percent(u8),
    TimeLeft(Lifespan),
}

/// Why text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Not a whole percentage from 1 to 99.
    #[error(
        "`{text}` is no share of a lifetime: write a whole percentage from 1% to 99%, such as 80%"
    )]
    Percent {
        /// What was written.
        text: String,
    },
    /// Neither a percentage nor a length of time.
    #[error(
        "a threshold is a percentage of the lifetime (80%) or the time left before expiry (30m)"
    )]
    TimeLeft(#[source] LifespanError),
}

impl Threshold {
    /// The moment, in whole seconds and never before `not_before`.
    ///
    /// If the time left is as long as the whole life or longer, it is the middle of the life: renewing a certificate the
    /// moment it is issued would never end.
    pub fn point(&self, validity: Validity) -> Timestamp {
        let life = validity.life();
        let elapsed = match self.0 {
            // A life is at most 3·10¹¹ seconds.
            Due::Percent(percent) => life * i64::from(percent) / 100,
            Due::TimeLeft(left) if left.as_seconds() >= life => life / 2,
            Due::TimeLeft(left) => life - left.as_seconds(),
        };
        at_second(validity.not_before.as_second().saturating_add(elapsed))
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let Some(digits) = text.strip_suffix('%') else {
            return text
                .parse()
                .map(|left| Self(Due::TimeLeft(left)))
                .map_err(ThresholdError::TimeLeft);
        };
        match digits.parse() {
            Ok(percent @ 1..=99) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self(Due::Percent(percent)))
            }
            _ => Err(ThresholdError::Percent {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Due::Percent(percent) => write!(f, "{percent}%"),
            Due::TimeLeft(left) => left.fmt(f),
        }
    }
}

fn at_second(second: i64) -> Timestamp {
    let saturated = if second > 0 { LATEST } else { Timestamp::MIN };
    Timestamp::from_second(second).unwrap_or(saturated)
}

/// UTCTime until 2049, then GeneralizedTime (RFC 5280 §4.1.2.5).
fn time(timestamp: Timestamp) -> Result<Time, ValidityError> {
    let too_early = || ValidityError::TooEarly { time: timestamp };
    let second = timestamp.as_second();
    if second >= LATEST.as_second() {
        return Ok(Time::GeneralTime(GeneralizedTime::from_date_time(
            DateTime::INFINITY,
        )));
    }
    let since_1970 = Duration::from_secs(u64::try_from(second).map_err(|_| too_early())?);
    if second < YEAR_2050 {
        UtcTime::from_unix_duration(since_1970)
            .map(Time::UtcTime)
            .map_err(|_| too_early())
    } else {
        GeneralizedTime::from_unix_duration(since_1970)
            .map(Time::GeneralTime)
            .map_err(|_| too_early())
    }
}

#[cfg(test)]
mod tests;
