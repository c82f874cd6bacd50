//! Request bodies: reading them within limits, and every form in which clients send a PKCS#10 request.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};

use super::rejection::{malformed, reject};
use crate::{policy::Reason, registrar::Rejection};

/// How much of an over-long body is read and thrown away, so that the client is listening when we tell it.
const MAX_DISCARDED: usize = 1024 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads a body of at most `limit` bytes.
pub(super) async fn read<B>(mut body: B, limit: usize) -> Result<Vec<u8>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let too_large = || {
        reject(
            Reason::TooLarge,
            format!("The body is longer than {limit} bytes."),
        )
    };
    if body.size_hint().lower() > MAX_DISCARDED as u64 {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| malformed("The body ended early or its chunks are malformed.");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > MAX_DISCARDED {
            return Err(too_large());
        }
        if length > limit {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if length > limit {
        Err(too_large())
    } else {
        Ok(kept)
    }
}

/// Finds the PKCS#10 request in a body: base64 with any white space (RFC 8951 §3.1), PEM, or plain DER. What the
/// headers say of type and encoding does not matter, because clients disagree about both; the bytes are unambiguous.
pub(super) fn decode_csr(body: &[u8]) -> Result<Vec<u8>, Rejection> {
    // DER may end in a byte that is a white space in text, so only what comes before it is trimmed.
    let body = body.trim_ascii_start();
    match body {
        [] => Err(undecodable("The body is empty")),
        // A DER SEQUENCE whose length takes more than one octet. As text, the second character is none.
        [0x30, 0x80..=0xff, ..] => Ok(without_trailing_space(body).to_vec()),
        _ => match std::str::from_utf8(body) {
            Err(_) => Err(undecodable("The body is neither text nor a DER structure")),
            Ok(text) => decode_text(text),
        },
    }
}

/// A DER structure without the white space that some clients send behind it: what counts is the length that it declares.
fn without_trailing_space(body: &[u8]) -> &[u8] {
    let declared = match body {
        [_, 0x81, length, ..] => 3 + usize::from(*length),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return body,
    };
    match body.split_at_checked(declared) {
        Some((der, rest)) if rest.trim_ascii().is_empty() => der,
        _ => body,
    }
}

fn decode_text(text: &str) -> Result<Vec<u8>, Rejection> {
    let encoded = match armoured(text)? {
        Some(block) => block,
        None => text,
    };
    let compact: Vec<u8> = encoded
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let der = BASE64
        .decode(compact)
        .map_err(|_| undecodable("The body is not base64"))?;
    match der.first() {
        Some(0x30) => Ok(der),
        _ => Err(undecodable(
            "The body is base64, but not of a DER structure",
        )),
    }
}

/// The inside of the PEM block that holds the request; `None` if there is no PEM armour. RFC 7468 §7.
fn armoured(text: &str) -> Result<Option<&str>, Rejection> {
    if !text.contains("-----BEGIN ") {
        return Ok(None);
    }
    for label in ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"] {
        let begin = format!("-----BEGIN {label}-----");
        let Some((_, rest)) = text.split_once(&begin) else {
            continue;
        };
        return match rest.split_once(&format!("-----END {label}-----")) {
            Some((block, _)) => Ok(Some(block)),
            None => Err(undecodable("The body is PEM, but its END line is missing")),
        };
    }
    Err(undecodable(
        "The body is PEM, but holds no CERTIFICATE REQUEST",
    ))
}

fn undecodable(what: &str) -> Rejection {
    malformed(format!(
        "{what}. Send a PKCS#10 certificate request, DER in base64 (RFC 8951 section 3.1)."
    ))
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use http_body_util::Full;
    use proptest::prelude::*;

    use super::*;

    fn der() -> Vec<u8> {
        let mut der = vec![0x30, 0x82, 0x01, 0x00];
        der.extend((0..=255).collect::<Vec<u8>>());
        der
    }

    fn wrapped(columns: usize, end: &str) -> String {
        let encoded = BASE64_STANDARD.encode(der());
        let lines = encoded
            .as_bytes()
            .chunks(columns)
            .map(|line| std::str::from_utf8(line).unwrap());
        lines.map(|line| format!("{line}{end}")).collect()
    }

    #[test]
    fn der_that_ends_in_a_white_space_byte_is_kept_whole() {
        for last in [b' ', b'\n', b'\r', b'\t'] {
            let mut der = vec![0x30, 0x81, 0x80];
            der.extend([7; 127]);
            der.push(last);
            assert_eq!(decode_csr(&der).unwrap(), der);
            assert_eq!(decode_csr(&[&der[..], b"\r\n"].concat()).unwrap(), der);
        }
    }

    #[test]
    fn every_form_that_clients_send_is_understood() {
        let plain = BASE64_STANDARD.encode(der());
        let pem = |label: &str| {
            format!(
                "-----BEGIN {label}-----\n{}-----END {label}-----\n",
                wrapped(64, "\n")
            )
        };
        for body in [
            plain.clone(),
            format!("{plain}\r\n"),
            format!("\r\n {plain}\n\n"),
            plain.trim_end_matches('=').to_owned(),
            wrapped(64, "\n"),
            wrapped(76, "\r\n"),
            wrapped(1, " \t"),
            pem("CERTIFICATE REQUEST"),
            pem("NEW CERTIFICATE REQUEST"),
            pem("CERTIFICATE REQUEST").replace('\n', "\r\n"),
            format!(
                "Certificate Request:\n    Data:\n{}",
                pem("CERTIFICATE REQUEST")
            ),
        ] {
            assert_eq!(decode_csr(body.as_bytes()).unwrap(), der(), "{body}");
        }
        assert_eq!(decode_csr(&der()).unwrap(), der());
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_way_out() {
        for (body, expected) in [
            (&b""[..], "empty"),
            (b" \r\n", "empty"),
            (b"\xff\xfe", "neither text"),
            (b"csr=MIIB", "not base64"),
            (b"{\"csr\": 1}", "not base64"),
            (b"SGVsbG8gd29ybGQ=", "not of a DER"),
            (
                b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
                "no CERTIFICATE REQUEST",
            ),
            (b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB", "END line"),
            (b"-----END CERTIFICATE REQUEST-----", "not base64"),
        ] {
            let rejection = decode_csr(body).unwrap_err();
            assert_eq!(rejection.reason, Reason::MalformedRequest);
            assert!(
                rejection.message.contains(expected),
                "{}",
                rejection.message
            );
            assert!(
                rejection.message.contains("PKCS#10"),
                "{}",
                rejection.message
            );
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = |n: usize| Full::new(Bytes::from(vec![b'x'; n]));
        assert_eq!(read(body(100), 100).await.unwrap().len(), 100);
        for length in [101, MAX_DISCARDED, MAX_DISCARDED + 1] {
            assert_eq!(
                read(body(length), 100).await.unwrap_err().reason,
                Reason::TooLarge
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body: Vec<u8>) {
            let _ = decode_csr(&body);
        }

        #[test]
        fn base64_is_decoded_wherever_it_is_broken(tail: Vec<u8>, columns in 1usize..200) {
            let mut der = vec![0x30, 0x82];
            der.extend(tail);
            let encoded = BASE64_STANDARD.encode(&der);
            let lines: Vec<&[u8]> = encoded.as_bytes().chunks(columns).collect();
            prop_assert_eq!(decode_csr(&lines.join(&b"\r\n"[..])).unwrap(), der);
        }
    }
}
