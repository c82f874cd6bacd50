//! Responses: the exact bytes that EST clients expect.

use base64::prelude::{BASE64_STANDARD, Engine};
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Bytes,
    header::{
        ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
    },
    http::Extensions,
};

use super::rejection::{WireRejection, reject};
use crate::{
    pki::{certificate::Certificate, cms},
    policy::Reason,
    registrar::Rejection,
};

/// What goes back to a client.
pub(super) type Answer = Response<Full<Bytes>>;

/// RFC 7030 §4.1.3 has no parameter here; §4.2.3 has one. Clients compare both to the letter.
const CA_CERTIFICATES: HeaderValue = HeaderValue::from_static("application/pkcs7-mime");
const ISSUED_CERTIFICATE: HeaderValue =
    HeaderValue::from_static("application/pkcs7-mime; smime-type=certs-only");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"estrealm\"");
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// How base64 is broken into lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// One line without an end. RFC 8951 §3.1.
    One,
    /// Lines of 64 characters, each ended by LF: libest reads nothing else.
    Of64,
}

impl Lines {
    /// What the client that sent these headers can read.
    pub fn for_client(headers: &HeaderMap) -> Self {
        let libest = |agent: &HeaderValue| agent.as_bytes().starts_with(b"libest");
        if headers.get(USER_AGENT).is_some_and(libest) {
            Lines::Of64
        } else {
            Lines::One
        }
    }
}

/// The answer to `/cacerts`. RFC 7030 §4.1.3.
pub(super) fn ca_certificates(certificates: &[Vec<u8>], lines: Lines) -> Result<Answer, Rejection> {
    certs_only(certificates, CA_CERTIFICATES, lines)
}

/// The answer to an enrolment: the issued certificate and nothing else. RFC 7030 §4.2.3.
pub(super) fn issued_certificate(certificate: Vec<u8>, lines: Lines) -> Result<Answer, Rejection> {
    certs_only(&[certificate], ISSUED_CERTIFICATE, lines)
}

/// The answer to `/csrattrs` where nothing particular is wanted. RFC 7030 §4.5.2.
pub(super) fn no_content() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A refusal in words. `spelling` comes from [`super::header_case`].
pub(super) fn refused(refusal: &WireRejection, spelling: &Extensions) -> Answer {
    let mut answer = Answer::new(Full::from(refusal.text()));
    *answer.status_mut() = refusal.status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    if let Some(allow) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        answer.extensions_mut().extend(spelling.clone());
    }
    answer
}

fn certs_only(
    certificates: &[Vec<u8>],
    media_type: HeaderValue,
    lines: Lines,
) -> Result<Answer, Rejection> {
    let internal = |what: &str, error: &dyn std::fmt::Display| {
        reject(
            Reason::Internal,
            format!("{what} for a certs-only answer: {error}"),
        )
    };
    let parsed = certificates
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| internal("reading the certificates", &error))?;
    let cms = cms::certs_only(&parsed).map_err(|error| internal("assembling the CMS", &error))?;

    let mut answer = Answer::new(Full::from(base64(&cms, lines)));
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer.headers_mut().insert(
        CONTENT_TRANSFER_ENCODING,
        HeaderValue::from_static("base64"),
    );
    Ok(answer)
}

fn base64(der: &[u8], lines: Lines) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    match lines {
        Lines::One => encoded,
        Lines::Of64 => {
            let mut broken = String::with_capacity(encoded.len() + encoded.len() / 64 + 1);
            let mut rest = encoded.as_str();
            while !rest.is_empty() {
                let (line, after) = rest.split_at(rest.len().min(64));
                broken.push_str(line);
                broken.push('\n');
                rest = after;
            }
            broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libest_gets_lines() {
        for (agent, expected) in [
            ("libest 1.0", Lines::Of64),
            ("libest-2.1.0", Lines::Of64),
            ("curl/7.88 libest", Lines::One),
            ("", Lines::One),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            assert_eq!(Lines::for_client(&headers), expected, "{agent}");
        }
        assert_eq!(Lines::for_client(&HeaderMap::new()), Lines::One);
    }

    #[test]
    fn lines_are_64_characters_each_ended_by_a_line_feed() {
        for (bytes, lines) in [(0, 0), (48, 1), (49, 2), (96, 2), (1000, 21)] {
            let broken = base64(&vec![7; bytes], Lines::Of64);
            assert_eq!(broken.lines().count(), lines, "{bytes}");
            assert!(broken.lines().all(|line| line.len() <= 64));
            assert!(broken.is_empty() || broken.ends_with('\n'));
            assert_eq!(
                broken.replace('\n', ""),
                base64(&vec![7; bytes], Lines::One)
            );
        }
    }
}
