//! Responses: the exact bytes that EST clients expect.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    http::Extensions,
};
use zeroize::Zeroizing;

use super::{
    lines::Lines,
    rejection::{WireRejection, reject},
};
use crate::{
    pki::cms,
    policy::Reason,
    registrar::{MadeKey, Rejection},
};

/// What goes back to a client.
pub(super) type Answer = Response<Full<Bytes>>;

/// RFC 7030 §4.1.3 has no parameter here; §4.2.3 has one. Clients compare both to the letter.
const CA_CERTIFICATES: &str = "application/pkcs7-mime";
const ISSUED_CERTIFICATE: &str = "application/pkcs7-mime; smime-type=certs-only";
/// RFC 7030 §4.5.2.
const ATTRIBUTES: &str = "application/csrattrs";
/// RFC 7030 §4.4.2, one for each [`MadeKey`].
const PLAIN_KEY: &str = "application/pkcs8";
const ENVELOPED_KEY: &str = "application/pkcs7-mime; smime-type=server-generated-key";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The only challenge, though tokens are taken as well: clients look no further than the first, and some of them
/// compare the whole header.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"estrealm\"");
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// Stands between the parts of an answer. Base64 has no hyphen, so no part can hold it.
macro_rules! boundary {
    () => {
        "estServerBoundary"
    };
}
const MULTIPART: HeaderValue =
    HeaderValue::from_static(concat!("multipart/mixed; boundary=", boundary!()));
const DELIMITER: &str = concat!("--", boundary!(), "\r\n");
const CLOSE_DELIMITER: &str = concat!("--", boundary!(), "--\r\n");

/// The answer to `/cacerts`. RFC 7030 §4.1.3.
pub(super) fn ca_certificates(certificates: &[Vec<u8>], lines: Lines) -> Result<Answer, Rejection> {
    Ok(base64(&certs_only(certificates)?, CA_CERTIFICATES, lines))
}

/// The answer to an enrolment: the issued certificate and nothing else. RFC 7030 §4.2.3.
pub(super) fn issued_certificate(certificate: Vec<u8>, lines: Lines) -> Result<Answer, Rejection> {
    Ok(base64(
        &certs_only(&[certificate])?,
        ISSUED_CERTIFICATE,
        lines,
    ))
}

/// The answer to `/serverkeygen`: the key, then its certificate. RFC 7030 §4.4.2. The body is wiped when it was sent.
pub(super) fn made_key(
    key: &MadeKey,
    certificate: Vec<u8>,
    lines: Lines,
) -> Result<Answer, Rejection> {
    let certificate = certs_only(&[certificate])?;
    let (key, media_type) = match key {
        MadeKey::Plain(key) => (key.as_slice(), PLAIN_KEY),
        MadeKey::Enveloped(cms) => (cms.as_slice(), ENVELOPED_KEY),
    };
    // All the room there is need of, so that no copy of the key is left behind in a smaller buffer.
    const AROUND_A_PART: usize = 256;
    let room = lines.length(key.len()) + lines.length(certificate.len()) + 3 * AROUND_A_PART;
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    for (der, media_type) in [
        (key, media_type),
        (certificate.as_slice(), ISSUED_CERTIFICATE),
    ] {
        let head = [
            DELIMITER,
            "Content-Type: ",
            media_type,
            "\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        ];
        head.iter()
            .for_each(|text| body.extend_from_slice(text.as_bytes()));
        lines.encode(der, &mut body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(CLOSE_DELIMITER.as_bytes());

    let mut answer = Answer::new(Full::from(Bytes::from_owner(body)));
    answer.headers_mut().insert(CONTENT_TYPE, MULTIPART);
    Ok(answer)
}

/// The answer to `/csrattrs`, RFC 7030 §4.5.2, RFC 8951 §3.2: `attributes` is the DER, empty where nothing particular is
/// wanted.
pub(super) fn attributes(attributes: &[u8], lines: Lines) -> Answer {
    if attributes.is_empty() {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return answer;
    }
    base64(attributes, ATTRIBUTES, lines)
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

fn certs_only(certificates: &[Vec<u8>]) -> Result<Vec<u8>, Rejection> {
    cms::certs_only(certificates).map_err(|error| {
        reject(
            Reason::Internal,
            format!("assembling a certs-only answer: {error}"),
        )
    })
}

fn base64(der: &[u8], media_type: &'static str, lines: Lines) -> Answer {
    let mut body = Vec::with_capacity(lines.length(der.len()));
    lines.encode(der, &mut body);
    let mut answer = Answer::new(Full::from(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(
        CONTENT_TRANSFER_ENCODING,
        HeaderValue::from_static("base64"),
    );
    answer
}
