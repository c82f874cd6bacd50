//! A length of time as people write it for certificates: `30m`, `90d`, `20y`.

use std::fmt;
use std::str::FromStr;

/// Units from long to short, with their seconds. A year is 365 days.
const UNITS: [(char, i64); 6] = [
    ('y', 365 * 86_400),
    ('w', 7 * 86_400),
    ('d', 86_400),
    ('h', 3_600),
    ('m', 60),
    ('s', 1),
];

/// Longest lifespan: no certificate outlives the year 9999.
const MAX_SECONDS: i64 = 9_999 * 365 * 86_400;

/// How long a certificate lasts, or a part of that: at least one second, in whole seconds.
///
/// Written as numbers with the units `y` (365 days), `w`, `d`, `h`, `m` and `s`, from long to short, each at most once:
/// `60s`, `1h30m`, `90d`, `20y`, and also Go's `2160h0m0s`. [`Display`](fmt::Display) writes the longest unit that fits evenly
/// (`1h30m` becomes `90m`) and can be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifespan {
    seconds: i64,
}

/// Why text is no lifespan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifespanError {
    /// Not numbers with units from long to short.
    #[error(
        "`{text}` is no length of time: write whole numbers with units, such as 30m, 24h, 90d, 20y or 1h30m"
    )]
    Syntax {
        /// What was written.
        text: String,
    },
    /// Zero.
    #[error("a length of time of zero is not possible: use at least 1s")]
    Zero,
    /// Beyond the year 9999 in any case.
    #[error("`{text}` is too long: use at most 9999y")]
    TooLong {
        /// What was written.
        text: String,
    },
}

impl Lifespan {
    /// The length in seconds, from 1 to 9999 years.
    pub fn as_seconds(&self) -> i64 {
        self.seconds
    }

    /// A lifespan of that many seconds.
    ///
    /// # Errors
    /// [`LifespanError::Zero`] below 1, [`LifespanError::TooLong`] above 9999 years.
    pub fn from_seconds(seconds: i64) -> Result<Self, LifespanError> {
        match seconds {
            ..1 => Err(LifespanError::Zero),
            1..=MAX_SECONDS => Ok(Self { seconds }),
            _ => Err(LifespanError::TooLong {
                text: format!("{seconds}s"),
            }),
        }
    }
}

impl FromStr for Lifespan {
    type Err = LifespanError;

    fn from_str(text: &str) -> Result<Self, LifespanError> {
        let syntax = || LifespanError::Syntax {
            text: text.chars().take(40).collect(),
        };
        let too_long = || LifespanError::TooLong {
            text: text.chars().take(40).collect(),
        };
        let mut units = UNITS.iter();
        let mut rest = text;
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let unit = rest[digits..]
                .chars()
                .next()
                .filter(|_| digits > 0)
                .ok_or_else(syntax)?;
            // The iterator only moves on, so units must come from long to short.
            let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or_else(syntax)?;
            let number: i64 = rest[..digits].parse().map_err(|_| too_long())?;
            total = number
                .checked_mul(*seconds)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(too_long)?;
            rest = &rest[digits + unit.len_utf8()..];
        }
        if text.is_empty() {
            return Err(syntax());
        }
        Self::from_seconds(total).map_err(|error| match error {
            LifespanError::TooLong { .. } => too_long(),
            other => other,
        })
    }
}

impl fmt::Display for Lifespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let even = UNITS
            .iter()
            .find(|(_, seconds)| self.seconds % seconds == 0);
        // Seconds always fit evenly.
        let (unit, seconds) = even.unwrap_or(&('s', 1));
        write!(f, "{}{unit}", self.seconds / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Result<i64, LifespanError> {
        text.parse::<Lifespan>()
            .map(|lifespan| lifespan.as_seconds())
    }

    #[test]
    fn units_and_compounds_are_read() {
        for (text, expected) in [
            ("1s", 1),
            ("60s", 60),
            ("30m", 1_800),
            ("24h", 86_400),
            ("90d", 90 * 86_400),
            ("2w", 14 * 86_400),
            ("20y", 20 * 365 * 86_400),
            ("1h30m", 5_400),
            ("2160h0m0s", 90 * 86_400),
            ("9999y", MAX_SECONDS),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for text in [
            "", "5", "s", "-1s", "1.5h", " 1h", "1h ", "30m1h", "1h1h", "1ms", "1M", "1é", "1 h",
        ] {
            assert_eq!(
                seconds(text),
                Err(LifespanError::Syntax {
                    text: text.to_owned()
                }),
                "{text}"
            );
        }
        assert_eq!(seconds("0s"), Err(LifespanError::Zero));
        assert_eq!(seconds("0h0m"), Err(LifespanError::Zero));
        for text in [
            "10000y",
            "9999y1s",
            "99999999999999999999s",
            "9223372036854775807y",
        ] {
            assert_eq!(
                seconds(text),
                Err(LifespanError::TooLong {
                    text: text.to_owned()
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn display_prefers_the_longest_even_unit() {
        for (text, expected) in [
            ("1h30m", "90m"),
            ("24h", "1d"),
            ("90d", "90d"),
            ("365d", "1y"),
            ("61s", "61s"),
        ] {
            assert_eq!(text.parse::<Lifespan>().unwrap().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn display_reads_back(seconds in 1..=MAX_SECONDS) {
            let lifespan = Lifespan::from_seconds(seconds).unwrap();
            prop_assert_eq!(lifespan.to_string().parse(), Ok(lifespan));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Lifespan>();
        }
    }
}
