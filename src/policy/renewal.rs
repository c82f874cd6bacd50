//! When a certificate is renewed: the group's threshold, brought forward by a jitter that follows from the device's UID.

use jiff::{SignedDuration, Timestamp};

use crate::pki::{Lifespan, Threshold, Validity};

/// The share of a certificate's life over which a fleet's renewals are spread: one twentieth.
const SPREAD: i64 = 20;

/// The moment at which the certificate of the device with this UID is renewed. The same device always gets the same
/// jitter, so restarts change nothing, and the renewals of a fleet are spread over 5 % of the certificates' life.
pub fn renewal_time(validity: Validity, threshold: Threshold, uid: &str) -> Timestamp {
    let point = threshold.point(validity);
    let life = validity.not_after.as_second() - validity.not_before.as_second();
    // Never earlier than half of the way to the threshold, however the two settings meet.
    let before_point = point.as_second() - validity.not_before.as_second();
    let spread_ms = (life * 1000 / SPREAD).min(before_point * 1000 / 2).max(0);
    let early = SignedDuration::from_millis((spread_ms as f64 * fraction(uid)) as i64);
    point.checked_sub(early).unwrap_or(point)
}

/// A number in [0, 1) that follows from the UID alone.
fn fraction(uid: &str) -> f64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, uid.as_bytes());
    let number = digest
        .as_ref()
        .iter()
        .take(6)
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    number as f64 / (1_u64 << 48) as f64
}

/// How long to wait after a failed attempt: a share of the certificate's life, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryInterval {
    /// So many percent of the life.
    Percent(u8),
    /// This long.
    Time(Lifespan),
}

impl RetryInterval {
    /// Parses `4%` or `10m`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(number) => match number.parse::<u8>() {
                Ok(percent @ 1..=99) => Ok(Self::Percent(percent)),
                _ => Err(format!("{text:?} is not a percentage from 1% to 99%")),
            },
            None => text.parse().map(Self::Time).map_err(|e| format!("{e}")),
        }
    }

    /// The wait for certificates of this lifespan, between one second and one day.
    pub fn wait(self, lifespan: Lifespan) -> SignedDuration {
        let millis = match self {
            Self::Percent(percent) => lifespan
                .as_seconds()
                .saturating_mul(10)
                .saturating_mul(i64::from(percent)),
            Self::Time(time) => time.as_seconds().saturating_mul(1000),
        };
        SignedDuration::from_millis(millis.clamp(1_000, 86_400_000))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn validity(start: i64, life: i64) -> Validity {
        Validity {
            not_before: Timestamp::from_second(start).unwrap(),
            not_after: Timestamp::from_second(start + life).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn renewal_is_inside_the_life_and_at_most_a_twentieth_of_it_before_the_threshold(
            life in 60_i64..700_000_000, percent in 1_u8..=99, uid in "[a-f0-9]{32}"
        ) {
            let validity = validity(1_000_000, life);
            let threshold: Threshold = format!("{percent}%").parse().unwrap();
            let renewal = renewal_time(validity, threshold, &uid);
            prop_assert!(renewal <= threshold.point(validity));
            prop_assert!(renewal > validity.not_before && renewal < validity.not_after);
            let early = threshold.point(validity).duration_since(renewal);
            prop_assert!(early.as_millis() <= i128::from(life) * 1000 / 20);
        }

        #[test]
        fn the_jitter_of_a_device_never_changes(life in 60_i64..700_000_000, uid in "[a-f0-9-]{36}") {
            let threshold: Threshold = "80%".parse().unwrap();
            prop_assert_eq!(
                renewal_time(validity(5, life), threshold, &uid),
                renewal_time(validity(5, life), threshold, &uid)
            );
        }
    }

    #[test]
    fn a_fleet_is_spread_evenly() {
        let threshold: Threshold = "80%".parse().unwrap();
        let mut tenths = [0; 10];
        for device in 0..10_000 {
            let uid = format!("uid-{device}");
            let early = threshold
                .point(validity(0, 100_000))
                .duration_since(renewal_time(validity(0, 100_000), threshold, &uid));
            tenths[(early.as_millis() / 500_000).clamp(0, 9) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (800..1200).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn the_retry_interval_is_a_share_or_a_time() {
        let minute: Lifespan = "60s".parse().unwrap();
        assert_eq!(
            RetryInterval::parse("4%").unwrap().wait(minute),
            SignedDuration::from_millis(2400)
        );
        assert_eq!(
            RetryInterval::parse("10m").unwrap().wait(minute),
            SignedDuration::from_secs(600)
        );
        assert_eq!(
            RetryInterval::parse("1%").unwrap().wait(minute),
            SignedDuration::from_secs(1)
        );
        for bad in ["0%", "100%", "x", "%", ""] {
            assert!(RetryInterval::parse(bad).is_err(), "{bad}");
        }
    }
}
