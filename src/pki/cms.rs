//! The certs-only CMS message (RFC 5652 §5.1 without signers), in which EST hands out certificates (RFC 7030 §4.1.3).

use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::EncapsulatedContentInfo;
use der::asn1::{Any, AnyRef, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode, Sequence};

use super::certificate::{Certificate, CertificateError};

/// Most certificates that we read from or put into one message.
pub const MAX_CERTIFICATES: usize = 64;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// Why there is no certs-only message to be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmsError {
    /// Nothing to put into it.
    #[error("a certs-only message needs at least one certificate: give one")]
    Empty,
    /// Too much to put into it, or in it.
    #[error("the message has {count} certificates: at most {MAX_CERTIFICATES} are possible")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Not a certs-only message.
    #[error(
        "this is no certs-only CMS message in DER (RFC 7030 §4.1.3): check that it is what an EST server answered, without base64"
    )]
    Malformed,
    /// One of its certificates is none.
    #[error("a certificate in the message is unusable: {0}")]
    Certificate(#[from] CertificateError),
}

/// RFC 5652 §5.1. Certificates are carried as the DER they are.
#[derive(Sequence)]
struct SignedData {
    version: CmsVersion,
    digest_algorithms: SetOfVec<Any>,
    content: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    crls: Option<SetOfVec<Any>>,
    signers: SetOfVec<Any>,
}

/// The DER of a message with these certificates (DER), each once.
///
/// Whether they are certificates is for whoever issued them to know; here they need only be one DER value each.
///
/// They are in a SET OF, which DER sorts: the reader finds the leaf by its key, not by its place.
///
/// # Errors
/// [`CmsError::Empty`] for none, [`CmsError::TooMany`] beyond [`MAX_CERTIFICATES`], [`CmsError::Malformed`] for what is no DER.
pub fn certs_only<C: AsRef<[u8]>>(certificates: &[C]) -> Result<Vec<u8>, CmsError> {
    if certificates.is_empty() {
        return Err(CmsError::Empty);
    }
    if certificates.len() > MAX_CERTIFICATES {
        return Err(CmsError::TooMany {
            count: certificates.len(),
        });
    }
    encode(certificates).map_err(|_| CmsError::Malformed)
}

/// The certificates of a message in DER, in the order in which they stand.
///
/// # Errors
/// [`CmsError::Malformed`] if it is no certs-only message; a message without certificates is [`CmsError::Empty`].
pub fn parse_certs_only(der: &[u8]) -> Result<Vec<Certificate>, CmsError> {
    let message = ContentInfo::from_der(der).map_err(|_| CmsError::Malformed)?;
    let data: SignedData = message
        .content
        .decode_as()
        .map_err(|_| CmsError::Malformed)?;
    if message.content_type != SIGNED_DATA || !data.signers.is_empty() {
        return Err(CmsError::Malformed);
    }
    let certificates = data.certificates.unwrap_or_default();
    if certificates.is_empty() {
        return Err(CmsError::Empty);
    }
    if certificates.len() > MAX_CERTIFICATES {
        return Err(CmsError::TooMany {
            count: certificates.len(),
        });
    }
    let read = |any: &Any| {
        Ok(Certificate::from_der(
            &any.to_der().map_err(|_| CmsError::Malformed)?,
        )?)
    };
    certificates.iter().map(read).collect()
}

fn encode<C: AsRef<[u8]>>(certificates: &[C]) -> der::Result<Vec<u8>> {
    let mut unique: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    unique.sort();
    unique.dedup();
    let certificates = unique
        .into_iter()
        .map(Any::from_der)
        .collect::<der::Result<Vec<_>>>()?;
    let data = SignedData {
        // RFC 5652 §5.1: version 1 with nothing but X.509 certificates and id-data.
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        content: EncapsulatedContentInfo {
            econtent_type: DATA,
            econtent: None,
        },
        certificates: Some(SetOfVec::try_from(certificates)?),
        crls: None,
        signers: SetOfVec::new(),
    };
    let content = data.to_der()?;
    ContentInfo {
        content_type: SIGNED_DATA,
        content: AnyRef::from_der(&content)?.into(),
    }
    .to_der()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::fixtures::{self, Ca};

    #[test]
    fn certificates_come_back_whatever_their_order() {
        let root = Ca::root("DC=com,DC=example,O=Example,OU=a,OU=b");
        let leaf = root.leaf("CN=device");
        let both = [leaf.clone(), root.certificate.clone()];
        let message = certs_only(&both).unwrap();
        let back = parse_certs_only(&message).unwrap();
        assert_eq!(back.len(), 2);
        assert!(both.iter().all(|certificate| back.contains(certificate)));
        assert_eq!(
            certs_only(&[root.certificate.clone(), leaf.clone(), leaf]).unwrap(),
            message
        );
    }

    #[test]
    fn openssl_reads_the_message() {
        let root = Ca::root("CN=Root");
        let message = certs_only(&[root.leaf("CN=device"), root.certificate.clone()]).unwrap();
        let printed = fixtures::openssl(
            &["pkcs7", "-inform", "DER", "-print_certs", "-noout"],
            &message,
        );
        let printed = String::from_utf8(printed).unwrap();
        assert!(
            printed.contains("subject=CN = Root") && printed.contains("subject=CN = device"),
            "{printed}"
        );
        fixtures::openssl(
            &["cms", "-cmsout", "-inform", "DER", "-noout", "-print"],
            &message,
        );
    }

    #[test]
    fn the_message_of_openssl_is_read() {
        let root = Ca::root("CN=Root");
        let message = fixtures::openssl(
            &[
                "crl2pkcs7",
                "-nocrl",
                "-outform",
                "DER",
                "-certfile",
                "/dev/stdin",
            ],
            root.certificate.to_pem().as_bytes(),
        );
        assert_eq!(parse_certs_only(&message).unwrap(), [root.certificate]);
    }

    #[test]
    fn none_and_too_many_are_refused() {
        assert_eq!(certs_only::<Certificate>(&[]), Err(CmsError::Empty));
        let certificate = Ca::root("CN=Root").certificate;
        assert!(certs_only(&vec![certificate.clone(); MAX_CERTIFICATES]).is_ok());
        let count = MAX_CERTIFICATES + 1;
        assert_eq!(
            certs_only(&vec![certificate; count]),
            Err(CmsError::TooMany { count })
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let certificate = Ca::root("CN=Root").certificate;
        let mut trailing = certs_only(std::slice::from_ref(&certificate)).unwrap();
        trailing.push(0);
        for bytes in [&[][..], &[0x30, 0], certificate.der(), &trailing] {
            assert_eq!(parse_certs_only(bytes), Err(CmsError::Malformed));
        }
    }
}
