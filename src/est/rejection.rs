//! Rejections on the wire: which HTTP status each reason has, and which words go with it.

use std::time::Duration;

use hyper::StatusCode;

use crate::{policy::Reason, registrar::Rejection};

/// When a client may try again if the refusal itself does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(5);

/// When a client asks again after a request that waits for a person, if the registrar does not say.
const DEFAULT_POLL: Duration = Duration::from_secs(60);

/// The longest text that a refusal may carry, in bytes.
const MAX_TEXT: usize = 1024;

/// A rejection as it goes over the wire.
#[derive(Debug)]
pub(super) struct WireRejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// Why, in one word and a sentence.
    pub rejection: Rejection,
    /// The methods that would be right, where the method was wrong. RFC 9110 §10.2.1.
    pub allow: Option<&'static str>,
}

impl WireRejection {
    /// The path exists, but not with this method. RFC 9110 §15.5.6.
    pub fn method_not_allowed(operation: &str, allow: &'static str) -> Self {
        let rejection = malformed(format!("The operation {operation} takes {allow}."));
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            rejection,
            allow: Some(allow),
        }
    }

    /// RFC 7030 §4.3 makes full CMC optional, and it is not offered here.
    pub fn full_cmc() -> Self {
        let rejection = reject(
            Reason::UnknownOperation,
            "Full CMC is not offered here. Send a PKCS#10 request to simpleenroll, simplereenroll or serverkeygen.",
        );
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            rejection,
            allow: None,
        }
    }

    /// When to try again: always said with 503 and 202 (RFC 7030 §4.2.3), otherwise if the registrar said it.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = match self.rejection.retry_after {
            Some(wait) => wait,
            None if self.status == StatusCode::SERVICE_UNAVAILABLE => DEFAULT_RETRY,
            None if self.status == StatusCode::ACCEPTED => DEFAULT_POLL,
            None => return None,
        };
        let started_second = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(started_second).max(1))
    }

    /// `Reason: sentence` and a newline, as RFC 8951 §3.1 wants errors: text for people. Our own faults are not explained
    /// to strangers.
    pub fn text(&self) -> String {
        let message = match self.rejection.reason {
            Reason::Internal => "The server met a fault of its own; its log says more.",
            _ => self.rejection.message.as_str(),
        };
        let mut text = format!("{}: {}", self.rejection.reason, message);
        text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        text.truncate(text.floor_char_boundary(MAX_TEXT - 1));
        text.push('\n');
        text
    }
}

impl From<Rejection> for WireRejection {
    fn from(rejection: Rejection) -> Self {
        Self {
            status: status(rejection.reason),
            rejection,
            allow: None,
        }
    }
}

/// A refusal that will stay one until the client sends something else.
pub(super) fn reject(reason: Reason, message: impl Into<String>) -> Rejection {
    Rejection {
        reason,
        message: message.into(),
        retry_after: None,
    }
}

/// A request that is not a well-formed EST request.
pub(super) fn malformed(message: impl Into<String>) -> Rejection {
    reject(Reason::MalformedRequest, message)
}

/// The HTTP status with which a refusal for this reason is answered.
pub fn http_status(reason: Reason) -> u16 {
    status(reason).as_u16()
}

/// The status of each reason. RFC 7030 §4.2.3, RFC 9110 §15.
fn status(reason: Reason) -> StatusCode {
    use Reason::*;
    match reason {
        CredentialsMissing | WrongPassword | WrongToken => StatusCode::UNAUTHORIZED,
        PendingApproval => StatusCode::ACCEPTED,

        InvalidCsr
        | MalformedRequest
        | InvalidRegistrationId
        | ProofRequired
        | ProofMismatch
        | UnknownDecryptKey => StatusCode::BAD_REQUEST,
        TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        UnknownLabel | UnknownOperation | GroupNotFound => StatusCode::NOT_FOUND,

        // Another request of the same kind will fare no better until a person changes something.
        PasswordsDisabled
        | UnknownCertificate
        | CertificateExpired
        | Expired
        | NameMismatch
        | NameTaken
        | NameNotAllowed
        | RegistrationIdNotAllowed
        | NotRegistered
        | KeyNotAllowed
        | SameKeyRequired
        | CertificateExists
        | SubjectMismatch
        | AuthorityNotAllowed
        | WrongGroup
        | WrongOrigin
        | GroupDisabled
        | Suspended
        | Revoked
        | Denied
        | ApprovalRequired
        | TokenExpired
        | TokenConsumed
        | TokensDisabled
        | BootstrapDenied
        | BootstrapPinned
        | RegistrationAuthorityNotListed
        | IdNotAllowed
        | RuleViolated
        | KeyInUse
        | KeyCompromised
        | ServerKeygenDisabled
        | GroupFull => StatusCode::FORBIDDEN,
        TooManyCertificates | RenewedTooOften | TooManyFailures => StatusCode::TOO_MANY_REQUESTS,

        // Nothing is wrong with the request: our side is not in order, for a moment or until someone repairs it.
        ApiUnavailable | Conflict | NotReady | Overloaded | AuthorityNotFound
        | AuthorityNotReady | GroupInvalid | PasswordsUnavailable | KeyLost | KeyMismatch
        | InUse | InvalidSpec | StatusLost | ApprovalNotProtected | AuditUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }

        // Reasons that can never be a refusal of an EST request: giving one is a fault of ours.
        AwaitingEnrollment
        | Issued
        | Renewed
        | CertificateReady
        | ValidityShortened
        | AuthorityReady
        | Adopted
        | Recovered
        | LeaderElection
        | UnconstrainedAuthority
        | GroupReady
        | WritingSecret
        | SecretRestored
        | Released
        | SecretNotOwned
        | SecretRefused
        | Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: Reason, retry_after: Option<Duration>) -> WireRejection {
        WireRejection::from(Rejection {
            reason,
            message: "Do something else.".into(),
            retry_after,
        })
    }

    #[test]
    fn every_reason_is_a_client_or_server_error_but_for_the_one_that_waits() {
        for &reason in Reason::ALL {
            let status = status(reason);
            let error = status.is_client_error() || status.is_server_error();
            let waits = reason == Reason::PendingApproval && status == StatusCode::ACCEPTED;
            assert!(error || waits, "{reason}: {status}");
        }
    }

    #[test]
    fn every_503_and_202_says_when_to_try_again_and_never_at_once() {
        for &reason in Reason::ALL {
            let refusal = refusal(reason, None);
            let expected = match refusal.status {
                StatusCode::SERVICE_UNAVAILABLE => Some(5),
                StatusCode::ACCEPTED => Some(60),
                _ => None,
            };
            assert_eq!(refusal.retry_after_seconds(), expected, "{reason}");
        }
        let after = |wait| refusal(Reason::NotReady, Some(wait)).retry_after_seconds();
        assert_eq!(after(Duration::ZERO), Some(1));
        assert_eq!(after(Duration::from_millis(1001)), Some(2));
        assert_eq!(after(Duration::from_secs(30)), Some(30));
    }

    #[test]
    fn the_text_is_the_reason_and_the_sentence() {
        let text = refusal(Reason::SubjectMismatch, None).text();
        assert_eq!(text, "SubjectMismatch: Do something else.\n");
    }

    #[test]
    fn the_text_of_our_own_faults_gives_nothing_away() {
        let refusal = WireRejection::from(reject(Reason::Internal, "key file /etc/ca.key is odd"));
        assert_eq!(
            refusal.text(),
            "Internal: The server met a fault of its own; its log says more.\n"
        );
    }

    #[test]
    fn the_text_is_one_bounded_line_of_printable_characters() {
        let message = format!("CN \"\x1b[31m\r\n{}\" is bad.", "ü".repeat(2000));
        let text = WireRejection::from(malformed(message)).text();
        assert!(text.len() <= MAX_TEXT);
        assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1);
        assert!(text.ends_with('\n'));
    }
}
