//! Behaviour of validities and thresholds.

use proptest::prelude::*;

use super::*;
use crate::pki::fixtures::now;

fn lifespan(text: &str) -> Lifespan {
    text.parse().unwrap()
}

fn at(seconds_from_now: i64) -> Timestamp {
    at_second(now().as_second() + seconds_from_now)
}

fn starting(text: &str, issuer: Option<Validity>) -> Result<(Validity, Clipped), ValidityError> {
    Validity::starting(now(), lifespan(text), issuer)
}

#[test]
fn it_begins_a_hundredth_early_but_at_most_a_minute() {
    for (text, seconds, early) in [
        ("1s", 1, 0),
        ("99s", 99, 0),
        ("100s", 100, 1),
        ("10m", 600, 6),
        ("90d", 7_776_000, 60),
    ] {
        let expected = Validity {
            not_before: at(-early),
            not_after: at(seconds),
        };
        assert_eq!(starting(text, None), Ok((expected, Clipped::No)), "{text}");
    }
}

#[test]
fn fractions_of_a_second_are_dropped() {
    let late = now() + std::time::Duration::from_millis(999);
    assert_eq!(
        Validity::starting(late, lifespan("1h"), None),
        starting("1h", None)
    );
}

#[test]
fn it_never_leaves_its_issuer() {
    let issuer = Validity {
        not_before: at(-5),
        not_after: at(3_600),
    };
    let (validity, clipped) = starting("90d", Some(issuer)).unwrap();
    assert_eq!((validity, clipped), (issuer, Clipped::ToIssuer));
    let (validity, clipped) = starting("1h", Some(issuer)).unwrap();
    assert_eq!((validity.not_after, clipped), (at(3_600), Clipped::No));
    assert!(validity.is_within(&issuer));
}

#[test]
fn an_issuer_that_is_over_or_has_not_begun_gives_nothing() {
    let expired = Validity {
        not_before: at(-10),
        not_after: at(0),
    };
    assert_eq!(
        starting("1h", Some(expired)),
        Err(ValidityError::IssuerExpired { not_after: at(0) })
    );
    let future = Validity {
        not_before: at(1),
        not_after: at(10),
    };
    assert_eq!(
        starting("1h", Some(future)),
        Err(ValidityError::IssuerNotYetValid { not_before: at(1) })
    );
    let last_second = Validity {
        not_before: at(0),
        not_after: at(1),
    };
    assert!(starting("1h", Some(last_second)).is_ok());
}

#[test]
fn the_end_of_time_is_the_end_of_the_year_9999() {
    assert_eq!(LATEST.as_second(), Timestamp::MAX.as_second());
    let (validity, clipped) = starting("9999y", None).unwrap();
    assert_eq!((validity.not_after, clipped), (LATEST, Clipped::No));
    assert_eq!(
        validity.to_asn1().unwrap().not_after.to_string(),
        "9999-12-31T23:59:59Z"
    );
    // 99991231235959Z is beyond jiff.
    assert_eq!(Validity::from_seconds(0, 253_402_300_799).not_after, LATEST);
}

#[test]
fn times_from_2050_on_are_generalized() {
    let last = Timestamp::constant(YEAR_2050 - 1, 0);
    assert!(matches!(time(last), Ok(Time::UtcTime(_))));
    assert!(matches!(
        time(Timestamp::constant(YEAR_2050, 0)),
        Ok(Time::GeneralTime(_))
    ));
    assert_eq!(last.to_string(), "2049-12-31T23:59:59Z");
    let early = Timestamp::constant(-1, 0);
    assert_eq!(time(early), Err(ValidityError::TooEarly { time: early }));
}

#[test]
fn a_validity_contains_both_its_ends() {
    let validity = Validity {
        not_before: at(0),
        not_after: at(10),
    };
    let inside = [
        at(0),
        at(5),
        at(10),
        at(10) + std::time::Duration::from_millis(500),
    ];
    assert!(inside.into_iter().all(|time| validity.contains(time)));
    assert!(!validity.contains(at(-1)) && !validity.contains(at(11)));
}

#[test]
fn thresholds_are_a_share_or_the_time_left() {
    let validity = Validity {
        not_before: at(0),
        not_after: at(1_000),
    };
    let point = |text: &str| text.parse::<Threshold>().unwrap().point(validity);
    assert_eq!(point("80%"), at(800));
    assert_eq!(point("1%"), at(10));
    assert_eq!(point("99%"), at(990));
    assert_eq!(point("100s"), at(900));
    assert_eq!(point("999s"), at(1));
    // As long as the life or longer: the middle.
    assert_eq!(point("1000s"), at(500));
    assert_eq!(point("90d"), at(500));
    let never = Validity {
        not_before: at(10),
        not_after: at(0),
    };
    assert_eq!("80%".parse::<Threshold>().unwrap().point(never), at(10));
}

#[test]
fn other_thresholds_are_refused_in_words() {
    for text in ["0%", "100%", "+5%", "80.5%", "%", "-1%", "256%", "80 %"] {
        assert_eq!(
            text.parse::<Threshold>(),
            Err(ThresholdError::Percent {
                text: text.to_owned()
            })
        );
    }
    for text in ["", "80", "soon", "0s"] {
        assert!(
            matches!(text.parse::<Threshold>(), Err(ThresholdError::TimeLeft(_))),
            "{text}"
        );
    }
    for text in ["80%", "30m", "1y"] {
        assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
    }
}

proptest! {
    #[test]
    fn a_validity_covers_now_and_stays_within_its_issuer(
        seconds in 1..400_000_000_i64, before in 0..100_000_i64, after in 1..400_000_000_i64,
    ) {
        let issuer = Validity { not_before: at(-before), not_after: at(after) };
        let (validity, clipped) = Validity::starting(now(), Lifespan::from_seconds(seconds).unwrap(), Some(issuer)).unwrap();
        prop_assert!(validity.is_within(&issuer));
        prop_assert!(validity.contains(now()));
        prop_assert!(validity.not_after > now());
        prop_assert_eq!(clipped == Clipped::ToIssuer, seconds > after);
        let backdating = now().as_second() - validity.not_before.as_second();
        prop_assert!(backdating <= 60);
        // Both ends tell when it was made, also where the issuer cut it short.
        let life = validity.not_after.as_second() - validity.not_before.as_second();
        prop_assert!(backdating == (life / 101).min(60) || validity.not_before == issuer.not_before);
    }

    #[test]
    fn a_threshold_lies_within_the_life(percent in 1..=99_u8, left in 1..1_000_000_i64, life in 0..1_000_000_i64) {
        let validity = Validity { not_before: at(0), not_after: at(life) };
        for threshold in [Due::Percent(percent), Due::TimeLeft(Lifespan::from_seconds(left).unwrap())].map(Threshold) {
            let point = threshold.point(validity);
            prop_assert!(validity.not_before <= point && point <= validity.not_after);
            prop_assert_eq!(threshold.to_string().parse(), Ok(threshold));
        }
    }
}
