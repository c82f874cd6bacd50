//! The `Authorization` header: HTTP Basic, RFC 7617.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::rejection::malformed;
use crate::registrar::{BasicCredentials, Rejection};

/// The longest encoded credentials, in bytes.
const MAX_ENCODED: usize = 4096;
/// The longest user name, in bytes.
const MAX_USER: usize = 256;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Takes the credentials out of the header. `None` where the client sent none; an error, in words, where it sent
/// something that cannot be read: half-understood credentials are never ignored.
pub(super) fn take(headers: &mut HeaderMap) -> Result<Option<BasicCredentials>, Rejection> {
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

fn parse(value: &HeaderValue) -> Result<BasicCredentials, Rejection> {
    // What the client sent is not repeated in any of these sentences: it is secret however malformed.
    let not_basic =
        || malformed("The Authorization header must be of the form: Basic BASE64(user:password).");
    let bytes = value.as_bytes().trim_ascii();
    let (scheme, encoded) = bytes.split_at_checked(5).ok_or_else(not_basic)?;
    if !scheme.eq_ignore_ascii_case(b"Basic") || !encoded.starts_with(b" ") {
        return Err(not_basic());
    }
    if encoded.len() > MAX_ENCODED {
        return Err(malformed(format!(
            "The credentials are longer than {MAX_ENCODED} bytes."
        )));
    }
    // Decoded in place, so that no copy is left behind when the end turns out to be malformed.
    let mut decoded = Zeroizing::new(vec![0; encoded.len()]);
    let length = BASE64
        .decode_slice(encoded.trim_ascii(), &mut decoded)
        .map_err(|_| malformed("The credentials in the Authorization header are not base64."))?;
    let text = std::str::from_utf8(&decoded[..length])
        .map_err(|_| malformed("The user name and the password must be UTF-8."))?;
    if text.chars().any(char::is_control) {
        return Err(malformed(
            "The user name and the password must not hold control characters.",
        ));
    }
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| malformed("The credentials have no ':' between user name and password."))?;
    if user.len() > MAX_USER {
        return Err(malformed(format!(
            "The user name is longer than {MAX_USER} bytes."
        )));
    }
    Ok(BasicCredentials {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::policy::Reason;

    fn parsed(value: &[u8]) -> Result<BasicCredentials, Rejection> {
        parse(&HeaderValue::from_bytes(value).unwrap())
    }

    fn encoded(plain: impl AsRef<[u8]>) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(plain))
    }

    #[test]
    fn user_and_password_are_split_at_the_first_colon() {
        for (value, user, password) in [
            ("Basic ZXN0dXNlcjplc3Rwd2Q=", "estuser", "estpwd"),
            ("Basic ZXN0dXNlcjplc3Rwd2Q", "estuser", "estpwd"),
            ("bAsIc   ZXN0dXNlcjplc3Rwd2Q=  ", "estuser", "estpwd"),
            (&encoded("u:p:q"), "u", "p:q"),
            (&encoded(":token"), "", "token"),
            (&encoded("u:"), "u", ""),
            (&encoded("jürgen:pässwörd"), "jürgen", "pässwörd"),
        ] {
            let found = parsed(value.as_bytes()).unwrap();
            assert_eq!(
                (found.user.as_str(), found.password.as_str()),
                (user, password),
                "{value}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words_that_do_not_repeat_it() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicZXN0dXNlcjplc3Rwd2Q=",
            "Bearer ZXN0dXNlcjplc3Rwd2Q=",
            "Digest username=\"estuser\"",
            "Basic ZXN0dXN!lcjplc3Rwd2Q=",
            "Basic ZXN0dXN lcjplc3Rwd2Q=",
            "ZXN0dXNlcjplc3Rwd2Q=",
            &encoded("nocolon"),
            &encoded(b"u:\xff"),
            &encoded("u:p\n"),
            &encoded("u\0:p"),
        ] {
            let rejection = parsed(value.as_bytes()).unwrap_err();
            assert_eq!(rejection.reason, Reason::MalformedRequest, "{value}");
            assert!(!rejection.message.contains("ZXN0") && !rejection.message.contains("nocolon"));
        }
        assert!(parsed(b"B\xe4sic xx").is_err());
    }

    #[test]
    fn length_is_bounded() {
        let user = |n| encoded(format!("{}:p", "u".repeat(n)));
        assert!(parsed(user(MAX_USER).as_bytes()).is_ok());
        assert!(parsed(user(MAX_USER + 1).as_bytes()).is_err());
        assert!(parsed(encoded("u:".to_owned() + &"p".repeat(3 * 1020)).as_bytes()).is_ok());
        assert!(parsed(encoded("u:".to_owned() + &"p".repeat(3 * 1030)).as_bytes()).is_err());
    }

    #[test]
    fn the_header_is_taken_away_and_two_are_too_many() {
        let mut headers = HeaderMap::new();
        assert!(take(&mut headers).unwrap().is_none());
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        assert_eq!(take(&mut headers).unwrap().unwrap().user, "u");
        assert!(headers.is_empty());
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        assert!(take(&mut headers).is_err());
    }

    #[test]
    fn debug_output_does_not_hold_the_password() {
        let credentials = parsed(encoded("estuser:s3cret").as_bytes()).unwrap();
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
