//! The `Authorization` header: one of it, of a scheme that we know.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{basic, bearer, rejection::malformed};
use crate::registrar::{Authorization, Rejection};

/// The longest credentials after the name of the scheme, in bytes.
pub(super) const MAX_CREDENTIALS: usize = 4096;

/// Takes the credentials out of the header. `None` where the client sent none; an error, in words, where it sent
/// something that cannot be read: half-understood credentials are never ignored.
pub(super) fn take(headers: &mut HeaderMap) -> Result<Option<Authorization>, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let found = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(parse(value)?),
        (Some(_), Some(_)) => {
            return Err(malformed(
                "The request carries more than one Authorization header; send one.",
            ));
        }
    };
    headers.remove(AUTHORIZATION);
    Ok(found)
}

/// Reads `SCHEME credentials`, RFC 9110 §11.6.2. What the client sent is repeated in no sentence, neither here nor by the
/// schemes: it is secret however malformed.
pub(super) fn parse(value: &HeaderValue) -> Result<Authorization, Rejection> {
    let bytes = value.as_bytes().trim_ascii();
    let end = bytes.iter().position(|byte| *byte == b' ');
    let (scheme, credentials) = bytes.split_at(end.unwrap_or(bytes.len()));
    if credentials.len() > MAX_CREDENTIALS {
        return Err(malformed(format!(
            "The credentials are longer than {MAX_CREDENTIALS} bytes."
        )));
    }
    let credentials = credentials.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"Basic") && end.is_some() {
        basic::parse(credentials).map(Authorization::Basic)
    } else if scheme.eq_ignore_ascii_case(b"Bearer") && end.is_some() {
        bearer::parse(credentials).map(Authorization::Bearer)
    } else {
        Err(malformed(
            "The Authorization header must be of the form: Basic BASE64(user:password), or: Bearer TOKEN.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Reason;

    fn parsed(value: &[u8]) -> Result<Authorization, Rejection> {
        parse(&HeaderValue::from_bytes(value).unwrap())
    }

    #[test]
    fn the_scheme_decides_and_its_case_does_not_matter() {
        for value in ["Basic dTpw", "bAsIc   dTpw  ", " BASIC dTpw"] {
            let found = parsed(value.as_bytes()).unwrap();
            assert!(
                matches!(found, Authorization::Basic(basic) if basic.user == "u"),
                "{value}"
            );
        }
        for value in ["Bearer abc.123", "bEARER   abc.123 "] {
            let found = parsed(value.as_bytes()).unwrap();
            assert!(
                matches!(found, Authorization::Bearer(token) if *token.0 == "abc.123"),
                "{value}"
            );
        }
    }

    #[test]
    fn other_schemes_are_refused_in_words_that_do_not_repeat_them() {
        for value in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Bearer",
            b"Bearer ",
            b"BasicZXN0dXNlcjplc3Rwd2Q=",
            b"BearerZXN0dXNlcjplc3Rwd2Q=",
            b"Digest username=\"estuser\"",
            b"ZXN0dXNlcjplc3Rwd2Q=",
            b"B\xe4sic xx",
        ] {
            let rejection = parsed(value).unwrap_err();
            assert_eq!(rejection.reason, Reason::MalformedRequest, "{value:?}");
            assert!(!rejection.message.contains("ZXN0") && !rejection.message.contains("estuser"));
        }
    }

    #[test]
    fn length_is_bounded() {
        for scheme in ["Basic", "Bearer"] {
            let value = |length: usize| format!("{scheme} {}", "A".repeat(length));
            let rejection = parsed(value(MAX_CREDENTIALS).as_bytes()).unwrap_err();
            assert!(rejection.message.contains("longer than 4096"));
        }
        assert!(parsed(format!("Bearer {}", "A".repeat(MAX_CREDENTIALS - 1)).as_bytes()).is_ok());
    }

    #[test]
    fn the_header_is_taken_away_and_two_are_too_many() {
        let mut headers = HeaderMap::new();
        assert!(take(&mut headers).unwrap().is_none());
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        assert!(take(&mut headers).unwrap().is_some());
        assert!(headers.is_empty());
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer dTpw"));
        assert!(take(&mut headers).is_err());
    }

    proptest! {
        #[test]
        fn any_value_is_understood_or_refused(bytes: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = parse(&value);
            }
        }
    }
}
