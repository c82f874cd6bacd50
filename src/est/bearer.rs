//! A bearer token, RFC 6750 §2.1.

use zeroize::Zeroizing;

use super::rejection::malformed;
use crate::registrar::{BearerToken, Rejection};

/// Reads what follows `Bearer`: a `b64token`. The caller bounds its length.
pub(super) fn parse(token: &[u8]) -> Result<BearerToken, Rejection> {
    let malformed = || {
        malformed(
            "The bearer token must be of letters, digits and the characters -._~+/ with = only at its end.",
        )
    };
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let (body, _) = token.split_at(token.len() - padding);
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if body.is_empty() || !body.iter().all(allowed) {
        return Err(malformed());
    }
    let text = std::str::from_utf8(token).map_err(|_| malformed())?;
    Ok(BearerToken(Zeroizing::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_characters_of_the_standard_are_taken_as_they_are() {
        for token in ["a", "dcet_0123456789-._~+/AZ", "YWJj", "YWI=", "YQ=="] {
            assert_eq!(*parse(token.as_bytes()).unwrap().0, token);
        }
    }

    #[test]
    fn other_characters_are_refused_in_words_that_do_not_repeat_them() {
        for token in [
            &b""[..],
            b"=",
            b"==",
            b"a=b",
            b"s3cret two",
            b"s3cret,",
            b"s3cret:x",
            b"\"s3cret\"",
            "s3crét".as_bytes(),
            b"s3cret\xff",
        ] {
            let rejection = parse(token).unwrap_err();
            assert!(!rejection.message.contains("s3cr"), "{}", rejection.message);
        }
    }

    #[test]
    fn debug_output_does_not_hold_the_token() {
        assert!(!format!("{:?}", parse(b"s3cret").unwrap()).contains("s3cret"));
    }
}
