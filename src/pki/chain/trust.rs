//! Whether a certificate from elsewhere leads to an authority that we were told to trust (RFC 5280 §6, as far as device
//! certificates of manufacturers need it).

use jiff::Timestamp;

use crate::pki::signature::SignatureError;
use crate::pki::{Certificate, ExtendedKeyUsage, KeyUsage, Name, PublicKeyError};

/// Longest path from a certificate to its trust anchor, in signatures.
pub const MAX_LINKS: usize = 8;

/// Most certificates, repetitions apart, that may be presented beside the leaf.
pub const MAX_PRESENTED: usize = 16;

/// Most signatures that are checked to find the path, whatever is presented.
pub const MAX_CHECKS: usize = 32;

/// Why a certificate is not trusted, in words for the owner of the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Somebody wants to enrol with a CA certificate.
    #[error(
        "the certificate {subject} is that of a certificate authority: use the certificate of a device"
    )]
    LeafIsAuthority {
        /// Its subject.
        subject: Name,
    },
    /// A trust anchor itself was presented as the leaf.
    #[error("the certificate {subject} is itself a trust anchor: use a certificate that it signed")]
    LeafIsAnchor {
        /// Its subject.
        subject: Name,
    },
    /// Over.
    #[error("the certificate {subject} expired at {not_after}: use a newer one")]
    Expired {
        /// Its subject.
        subject: Name,
        /// Its last second.
        not_after: Timestamp,
    },
    /// Not begun.
    #[error(
        "the certificate {subject} is not valid before {not_before}: wait, or correct the clock"
    )]
    NotYetValid {
        /// Its subject.
        subject: Name,
        /// Its first second.
        not_before: Timestamp,
    },
    /// A critical extension that we do not understand.
    #[error(
        "the certificate {subject} has the critical extension {oid}, which is not understood here: use a certificate without it"
    )]
    CriticalExtension {
        /// Its subject.
        subject: Name,
        /// The OID.
        oid: String,
    },
    /// Name constraints, which we would have to enforce.
    #[error(
        "the authority {subject} has name constraints, which are not understood here: trust an authority without them"
    )]
    NameConstraints {
        /// Its subject.
        subject: Name,
    },
    /// Extended key usages without clientAuth.
    #[error(
        "the certificate {subject} may not be used by TLS clients: use one with the extended key usage clientAuth, or without any"
    )]
    Purpose {
        /// Its subject.
        subject: Name,
    },
    /// A weak or unknown key.
    #[error("the key of the certificate {subject} is not acceptable: {error}")]
    Key {
        /// Its subject.
        subject: Name,
        /// Why not.
        #[source]
        error: PublicKeyError,
    },
    /// The issuer is a leaf.
    #[error(
        "{subject} is no certificate authority (CA:TRUE, and keyCertSign if it has key usages), so it cannot have signed a device's certificate: use a certificate that an authority signed"
    )]
    NotAnAuthority {
        /// The issuer's subject.
        subject: Name,
    },
    /// More authorities below one than it allows.
    #[error(
        "{subject} allows only {allowed} authorities between itself and a device, and there are more: have the certificate issued by another authority"
    )]
    PathLength {
        /// Its subject.
        subject: Name,
        /// How many it allows.
        allowed: u8,
    },
    /// A signature is wrong or weak.
    #[error("the signature in the certificate {subject} is not accepted: {error}")]
    Signature {
        /// Its subject.
        subject: Name,
        /// Why not.
        #[source]
        error: SignatureError,
    },
    /// Neither presented nor trusted.
    #[error(
        "the certificate {subject} was issued by {issuer}, which is neither trusted here nor among the presented certificates: present the whole chain, or have that authority added to the trust anchors"
    )]
    NoIssuer {
        /// Its subject.
        subject: Name,
        /// Its issuer.
        issuer: Name,
    },
    /// Longer than [`MAX_LINKS`].
    #[error("the chain of certificates has more than {MAX_LINKS} links: present a shorter one")]
    TooLong,
    /// More than [`MAX_PRESENTED`].
    #[error(
        "{count} certificates were presented beside that of the device: present at most {MAX_PRESENTED}, only those that lead to the root"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// More than [`MAX_CHECKS`].
    #[error(
        "the presented certificates form too many chains: present only those that lead to the root"
    )]
    TooMuchWork,
}

/// Finds the trust anchor of a device's certificate that somebody else issued, such as a manufacturer (IEEE 802.1AR IDevID).
///
/// The leaf may be of X.509 version 1. `presented` is what came with it, in any order, with repetitions and roots. Every
/// certificate on the path, the anchor too, must be valid at `now` and have no critical extension that is unknown here.
/// Authorities must be `CA:TRUE`, except for an anchor that is a self-issued certificate of version 1, and their path
/// lengths are kept. Name constraints are refused rather than ignored. Extended key usages of the leaf and of
/// intermediates must include clientAuth where there are any. Revocation is not looked at.
///
/// # Errors
/// The first hindrance on the way, in words.
pub fn verify(
    leaf: &Certificate,
    presented: &[Certificate],
    anchors: &[Certificate],
    now: Timestamp,
) -> Result<Certificate, ChainError> {
    let subject = || leaf.subject().clone();
    if anchors.contains(leaf) {
        return Err(ChainError::LeafIsAnchor { subject: subject() });
    }
    if leaf.is_ca() {
        return Err(ChainError::LeafIsAuthority { subject: subject() });
    }
    may_stand_below_anchor(leaf, now)?;
    let mut search = Search {
        presented: without_repetitions(leaf, presented, anchors)?,
        anchors,
        now,
        checks: 0,
        hindrance: None,
    };
    match search.climb(&mut vec![leaf])? {
        Some(anchor) => Ok(anchor.clone()),
        None => Err(search.hindrance.unwrap_or(ChainError::NoIssuer {
            subject: subject(),
            issuer: leaf.issuer().clone(),
        })),
    }
}

fn without_repetitions<'c>(
    leaf: &Certificate,
    presented: &'c [Certificate],
    anchors: &[Certificate],
) -> Result<Vec<&'c Certificate>, ChainError> {
    let mut unique: Vec<&Certificate> = Vec::new();
    for certificate in presented {
        if certificate != leaf && !anchors.contains(certificate) && !unique.contains(&certificate) {
            unique.push(certificate);
        }
        if unique.len() > MAX_PRESENTED {
            return Err(ChainError::TooMany {
                count: presented.len(),
            });
        }
    }
    Ok(unique)
}

/// A depth-first search from the leaf upwards.
struct Search<'c> {
    presented: Vec<&'c Certificate>,
    anchors: &'c [Certificate],
    now: Timestamp,
    /// Signatures checked so far.
    checks: usize,
    /// What stood in the way, for the answer if no way is found.
    hindrance: Option<ChainError>,
}

impl<'c> Search<'c> {
    /// The anchor above the end of `path`. An error ends the whole search.
    fn climb(
        &mut self,
        path: &mut Vec<&'c Certificate>,
    ) -> Result<Option<&'c Certificate>, ChainError> {
        let Some(&last) = path.last() else {
            return Ok(None);
        };
        let mut found_issuer = false;
        for anchor in self
            .anchors
            .iter()
            .filter(|anchor| may_be_issuer(anchor, last))
        {
            found_issuer = true;
            if self.is_signed(last, anchor)? && self.passes(may_be_anchor(anchor, path, self.now)) {
                return Ok(Some(anchor));
            }
        }
        for candidate in self.presented.clone() {
            if path.contains(&candidate) || !may_be_issuer(candidate, last) {
                continue;
            }
            found_issuer = true;
            if path.len() == MAX_LINKS {
                self.note(ChainError::TooLong);
                break;
            }
            if !self.is_signed(last, candidate)?
                || !self.passes(may_be_intermediate(candidate, path, self.now))
            {
                continue;
            }
            path.push(candidate);
            if let Some(anchor) = self.climb(path)? {
                return Ok(Some(anchor));
            }
            path.pop();
        }
        if !found_issuer {
            self.note(ChainError::NoIssuer {
                subject: last.subject().clone(),
                issuer: last.issuer().clone(),
            });
        }
        Ok(None)
    }

    fn is_signed(
        &mut self,
        certificate: &Certificate,
        by: &Certificate,
    ) -> Result<bool, ChainError> {
        if self.checks == MAX_CHECKS {
            return Err(ChainError::TooMuchWork);
        }
        self.checks += 1;
        let checked = certificate.check_signature(by);
        Ok(self.passes(checked.map_err(|error| ChainError::Signature {
            subject: certificate.subject().clone(),
            error,
        })))
    }

    fn passes(&mut self, checked: Result<(), ChainError>) -> bool {
        checked.map_err(|error| self.note(error)).is_ok()
    }

    /// The first hindrance tells most, but a namesake that did not sign tells least.
    fn note(&mut self, error: ChainError) {
        let nameless = |error: &ChainError| {
            matches!(
                error,
                ChainError::NoIssuer { .. }
                    | ChainError::Signature {
                        error: SignatureError::Invalid,
                        ..
                    }
            )
        };
        if self.hindrance.as_ref().is_none_or(nameless) {
            self.hindrance = Some(error);
        }
    }
}

/// Names fit, and the key identifiers do not contradict each other.
fn may_be_issuer(issuer: &Certificate, of: &Certificate) -> bool {
    let ids = (of.authority_key_id(), issuer.subject_key_id());
    issuer.subject() == of.issuer() && !matches!(ids, (Some(wanted), Some(has)) if wanted != has)
}

fn may_be_anchor(
    anchor: &Certificate,
    path: &[&Certificate],
    now: Timestamp,
) -> Result<(), ChainError> {
    is_current(anchor, now)?;
    has_nothing_unknown(anchor)?;
    // Version 1 has no way to say CA:TRUE; a person chose this one.
    if anchor.version() < 3 && anchor.is_self_issued() {
        return Ok(());
    }
    may_sign(anchor, path)
}

fn may_be_intermediate(
    authority: &Certificate,
    path: &[&Certificate],
    now: Timestamp,
) -> Result<(), ChainError> {
    may_stand_below_anchor(authority, now)?;
    may_sign(authority, path)
}

fn may_stand_below_anchor(certificate: &Certificate, now: Timestamp) -> Result<(), ChainError> {
    is_current(certificate, now)?;
    has_nothing_unknown(certificate)?;
    let subject = || certificate.subject().clone();
    let purposes = certificate.extended_key_usages();
    if !purposes.is_empty() && !purposes.iter().any(is_for_clients) {
        return Err(ChainError::Purpose { subject: subject() });
    }
    match certificate.public_key() {
        Ok(_) => Ok(()),
        Err(error) => Err(ChainError::Key {
            subject: subject(),
            error,
        }),
    }
}

fn is_for_clients(purpose: &ExtendedKeyUsage) -> bool {
    // anyExtendedKeyUsage, RFC 5280 §4.2.1.12.
    *purpose == ExtendedKeyUsage::ClientAuth || purpose.oid() == "2.5.29.37.0"
}

fn is_current(certificate: &Certificate, now: Timestamp) -> Result<(), ChainError> {
    let validity = certificate.validity();
    let subject = || certificate.subject().clone();
    if validity.contains(now) {
        return Ok(());
    }
    if now < validity.not_before {
        return Err(ChainError::NotYetValid {
            subject: subject(),
            not_before: validity.not_before,
        });
    }
    Err(ChainError::Expired {
        subject: subject(),
        not_after: validity.not_after,
    })
}

fn has_nothing_unknown(certificate: &Certificate) -> Result<(), ChainError> {
    let subject = || certificate.subject().clone();
    if let Some(oid) = certificate.unknown_critical_extension() {
        return Err(ChainError::CriticalExtension {
            subject: subject(),
            oid: oid.to_owned(),
        });
    }
    if certificate.has_name_constraints() {
        return Err(ChainError::NameConstraints { subject: subject() });
    }
    Ok(())
}

/// RFC 5280 §6.1.4 (k) to (n).
fn may_sign(authority: &Certificate, path: &[&Certificate]) -> Result<(), ChainError> {
    let subject = || authority.subject().clone();
    let may_sign = authority
        .key_usages()
        .is_none_or(|usages| usages.contains(&KeyUsage::KeyCertSign));
    if !authority.is_ca() || !may_sign {
        return Err(ChainError::NotAnAuthority { subject: subject() });
    }
    // The leaf does not count, nor do self-issued certificates.
    let below = path
        .iter()
        .skip(1)
        .filter(|ca| !ca.is_self_issued())
        .count();
    match authority.path_length() {
        Some(allowed) if below > usize::from(allowed) => Err(ChainError::PathLength {
            subject: subject(),
            allowed,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
