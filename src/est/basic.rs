//! User name and password, HTTP Basic, RFC 7617.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::rejection::malformed;
use crate::registrar::{BasicCredentials, Rejection};

/// The longest user name, in bytes.
const MAX_USER: usize = 256;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads what follows `Basic`. The caller bounds its length.
pub(super) fn parse(encoded: &[u8]) -> Result<BasicCredentials, Rejection> {
    // Decoded in place, so that no copy is left behind when the end turns out to be malformed.
    let mut decoded = Zeroizing::new(vec![0; encoded.len()]);
    let length = BASE64
        .decode_slice(encoded, &mut decoded)
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

    fn encoded(plain: impl AsRef<[u8]>) -> String {
        BASE64_STANDARD.encode(plain)
    }

    #[test]
    fn user_and_password_are_split_at_the_first_colon() {
        for (value, user, password) in [
            ("ZXN0dXNlcjplc3Rwd2Q=", "estuser", "estpwd"),
            ("ZXN0dXNlcjplc3Rwd2Q", "estuser", "estpwd"),
            (&encoded("u:p:q"), "u", "p:q"),
            (&encoded(":token"), "", "token"),
            (&encoded("u:"), "u", ""),
            (&encoded("jürgen:pässwörd"), "jürgen", "pässwörd"),
        ] {
            let found = parse(value.as_bytes()).unwrap();
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
            "ZXN0dXN!lcjplc3Rwd2Q=",
            "ZXN0dXN lcjplc3Rwd2Q=",
            &encoded("nocolon"),
            &encoded(b"u:\xff"),
            &encoded("u:p\n"),
            &encoded("u\0:p"),
        ] {
            let rejection = parse(value.as_bytes()).unwrap_err();
            assert_eq!(rejection.reason, Reason::MalformedRequest, "{value}");
            assert!(!rejection.message.contains("ZXN0") && !rejection.message.contains("nocolon"));
        }
    }

    #[test]
    fn the_length_of_the_user_name_is_bounded() {
        let user = |n| encoded(format!("{}:p", "u".repeat(n)));
        assert!(parse(user(MAX_USER).as_bytes()).is_ok());
        assert!(parse(user(MAX_USER + 1).as_bytes()).is_err());
    }

    #[test]
    fn debug_output_does_not_hold_the_password() {
        let credentials = parse(encoded("estuser:s3cret").as_bytes()).unwrap();
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
