//! The messages between the EST front end and the registrar, and their bytes.
//!
//! A request says what came over the wire and nothing else: there is no field in which the front end could name a
//! principal, a device or a grant. Plain fields instead of JSON, because these are mostly DER: no base64, one copy of
//! each field, and no copies of secrets that a parser forgot.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    bytes::{Malformed, Reader, Writer},
    frame,
};
use crate::{
    policy::Reason,
    registrar::{
        Authorization, BasicCredentials, BearerToken, ChannelBindings, Credentials, Enrolled,
        EnrollmentRequest, MadeKey, Operation, Rejection, ServerIdentity,
    },
};

/// The answer to a frame of another version: a sentence. Never changes; see [`frame`].
pub(super) const UNSUPPORTED: u8 = 255;

const MAX_LABEL: usize = 512;
const MAX_TEXT: usize = 16 * 1024;
const MAX_BINDING: usize = 256;
/// A chain of certificates; what TLS lets through is bounded in bytes.
const MAX_CERTIFICATES: usize = 128;

/// What the front end asks.
#[derive(Debug)]
pub(super) enum Request {
    Authorities(Option<String>),
    Attributes(Option<String>),
    Enroll(Box<EnrollmentRequest>),
}

/// What the controller says.
pub(super) enum Response {
    /// The first frame of a connection: the front end is let in.
    Welcome,
    Authorities(Vec<Vec<u8>>),
    Attributes(Vec<u8>),
    Enrolled(Enrolled),
    Rejected(Rejection),
    /// What the EST server proves itself with from now on. Nobody asks for it.
    Identity(ServerIdentity),
    Unsupported(String),
}

impl Request {
    /// The frame of a request.
    pub fn encode(&self, id: u64) -> Zeroizing<Vec<u8>> {
        let label = |label: &Option<String>, to: &mut Writer| {
            to.optional(label.as_deref().map(str::as_bytes));
        };
        match self {
            Self::Authorities(of) => frame::build(1, id, |to| label(of, to)),
            Self::Attributes(of) => frame::build(2, id, |to| label(of, to)),
            Self::Enroll(request) => frame::build(3, id, |to| {
                let EnrollmentRequest {
                    label: of,
                    operation,
                    csr,
                    credentials,
                    bindings,
                    peer,
                } = request.as_ref();
                label(of, to);
                to.u8(match operation {
                    Operation::Enroll => 1,
                    Operation::Reenroll => 2,
                    Operation::ServerKeygen => 3,
                });
                to.bytes(csr);
                let Credentials {
                    authorization,
                    chain,
                } = credentials;
                match authorization {
                    None => to.u8(0),
                    Some(Authorization::Basic(BasicCredentials { user, password })) => {
                        to.u8(1);
                        to.bytes(user.as_bytes());
                        to.bytes(password.as_bytes());
                    }
                    Some(Authorization::Bearer(BearerToken(token))) => {
                        to.u8(2);
                        to.bytes(token.as_bytes());
                    }
                }
                to.list(chain);
                let ChannelBindings { exporter, unique } = bindings;
                to.optional(exporter.as_deref());
                to.optional(unique.as_deref());
                to.address(*peer);
            }),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(body);
        let request = match kind {
            1 => Self::Authorities(read_label(&mut from)?),
            2 => Self::Attributes(read_label(&mut from)?),
            3 => Self::Enroll(Box::new(read_enrollment(&mut from)?)),
            _ => return Err(Malformed("no request is of that kind")),
        };
        from.end()?;
        Ok(request)
    }
}

fn read_label(from: &mut Reader<'_>) -> Result<Option<String>, Malformed> {
    from.optional(|from| from.text(MAX_LABEL).map(str::to_owned))
}

fn read_secret(from: &mut Reader<'_>) -> Result<Zeroizing<String>, Malformed> {
    let text = from.text(frame::REQUEST_LIMIT)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_enrollment(from: &mut Reader<'_>) -> Result<EnrollmentRequest, Malformed> {
    Ok(EnrollmentRequest {
        label: read_label(from)?,
        operation: match from.u8()? {
            1 => Operation::Enroll,
            2 => Operation::Reenroll,
            3 => Operation::ServerKeygen,
            _ => return Err(Malformed("there is no such operation")),
        },
        csr: from.bytes(frame::REQUEST_LIMIT)?.to_vec(),
        credentials: Credentials {
            authorization: match from.u8()? {
                0 => None,
                1 => Some(Authorization::Basic(BasicCredentials {
                    user: from.text(frame::REQUEST_LIMIT)?.to_owned(),
                    password: read_secret(from)?,
                })),
                2 => Some(Authorization::Bearer(BearerToken(read_secret(from)?))),
                _ => return Err(Malformed("there is no such authorization")),
            },
            chain: from.list(MAX_CERTIFICATES, frame::REQUEST_LIMIT)?,
        },
        bindings: ChannelBindings {
            exporter: from.optional(|from| from.bytes(MAX_BINDING).map(<[u8]>::to_vec))?,
            unique: from.optional(|from| from.bytes(MAX_BINDING).map(<[u8]>::to_vec))?,
        },
        peer: from.address()?,
    })
}

impl Response {
    /// The frame of an answer to the request `id`; 0 if nobody asked.
    pub fn encode(&self, id: u64) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Welcome => frame::build(1, id, |_| {}),
            Self::Authorities(chain) => frame::build(2, id, |to| to.list(chain)),
            Self::Attributes(der) => frame::build(3, id, |to| to.bytes(der)),
            Self::Enrolled(enrolled) => frame::build(4, id, |to| match enrolled {
                Enrolled::Certificate(certificate) => {
                    to.u8(1);
                    to.bytes(certificate);
                }
                Enrolled::WithKey { certificate, key } => {
                    let (tag, key) = match key {
                        MadeKey::Plain(key) => (2, key.as_slice()),
                        MadeKey::Enveloped(key) => (3, key.as_slice()),
                    };
                    to.u8(tag);
                    to.bytes(certificate);
                    to.bytes(key);
                }
            }),
            Self::Rejected(Rejection {
                reason,
                message,
                retry_after,
            }) => frame::build(5, id, |to| {
                to.bytes(reason.as_str().as_bytes());
                to.bytes(up_to(message, MAX_TEXT).as_bytes());
                let millis = retry_after.map(|wait| wait.as_millis().try_into());
                let millis: Option<u64> = millis.map(|wait| wait.unwrap_or(u64::MAX));
                to.optional(
                    millis
                        .map(u64::to_be_bytes)
                        .as_ref()
                        .map(<[u8; 8]>::as_slice),
                );
            }),
            Self::Identity(identity) => identity_frame(identity),
            Self::Unsupported(words) => frame::build(UNSUPPORTED, id, |to| {
                to.raw(up_to(words, MAX_TEXT).as_bytes());
            }),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(body);
        let response = match kind {
            1 => Self::Welcome,
            2 => Self::Authorities(from.list(MAX_CERTIFICATES, frame::RESPONSE_LIMIT)?),
            3 => Self::Attributes(from.bytes(frame::RESPONSE_LIMIT)?.to_vec()),
            4 => Self::Enrolled(read_enrolled(&mut from)?),
            5 => Self::Rejected(read_rejection(&mut from)?),
            6 => Self::Identity(ServerIdentity {
                chain: from.list(MAX_CERTIFICATES, frame::RESPONSE_LIMIT)?,
                key: Zeroizing::new(from.bytes(frame::RESPONSE_LIMIT)?.to_vec()),
            }),
            UNSUPPORTED => return Ok(Self::Unsupported(unsupported(body))),
            _ => return Err(Malformed("no answer is of that kind")),
        };
        from.end()?;
        Ok(response)
    }
}

/// The frame of [`Response::Identity`], from an identity that others use too.
pub(super) fn identity_frame(identity: &ServerIdentity) -> Zeroizing<Vec<u8>> {
    frame::build(6, 0, |to| {
        to.list(&identity.chain);
        to.bytes(&identity.key);
    })
}

/// The sentence of an [`UNSUPPORTED`] frame, of whatever version.
pub(super) fn unsupported(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT)]).into_owned()
}

fn read_enrolled(from: &mut Reader<'_>) -> Result<Enrolled, Malformed> {
    let tag = from.u8()?;
    let certificate = from.bytes(frame::RESPONSE_LIMIT)?.to_vec();
    let mut key = || from.bytes(frame::RESPONSE_LIMIT).map(<[u8]>::to_vec);
    let key = match tag {
        1 => return Ok(Enrolled::Certificate(certificate)),
        2 => MadeKey::Plain(Zeroizing::new(key()?)),
        3 => MadeKey::Enveloped(key()?),
        _ => return Err(Malformed("nothing is enrolled in that way")),
    };
    Ok(Enrolled::WithKey { certificate, key })
}

fn read_rejection(from: &mut Reader<'_>) -> Result<Rejection, Malformed> {
    let word = from.text(MAX_TEXT)?;
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == word);
    Ok(Rejection {
        reason: *reason.ok_or(Malformed("there is no such reason"))?,
        message: from.text(MAX_TEXT)?.to_owned(),
        retry_after: from
            .optional(|from| Reader::new(from.bytes(8)?).u64())?
            .map(Duration::from_millis),
    })
}

fn up_to(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
