//! The one vocabulary of outcomes: why something was granted, refused, or is waiting.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why something happened or did not. The same word stands in the condition, the Event, the metric label,
        /// the log line and at the head of the HTTP answer, so they can never disagree.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason there is, in the order of this page.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The CamelCase word that users see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    // Things that went well.
    /// A first certificate was issued.
    Issued,
    /// A certificate was renewed.
    Renewed,
    /// The certificate is in place, and a Secret holds it where one is wanted.
    CertificateReady,
    /// A certificate was issued, but for a shorter time than asked, because its issuer ends first.
    ValidityShortened,
    /// The certificate authority holds its key and may sign.
    AuthorityReady,
    /// An existing CA key was found and taken up again instead of being replaced.
    Adopted,
    /// The enrolment group is complete and open.
    GroupReady,
    /// A deleted or damaged Secret was put back.
    SecretRestored,
    /// The object is being deleted and nothing holds it any more.
    Released,
    /// An expired certificate was renewed within the group's recoveryWindow.
    Recovered,
    /// A replica of the operator became the leader, or stopped being it.
    LeaderElection,

    // Things that wait for another object or a person.
    /// A person must approve the request first.
    PendingApproval,
    /// A person must approve the request first; the group answers that with a refusal (pending: Reject).
    ApprovalRequired,
    /// A person denied the request.
    Denied,
    /// The group wants manual approval, but nothing in the cluster protects the approval from its own devices' owners.
    ApprovalNotProtected,
    /// The certificate is recorded and on its way into its Secret.
    WritingSecret,
    /// The device has not enrolled yet.
    AwaitingEnrollment,
    /// The named CertificateAuthority does not exist.
    AuthorityNotFound,
    /// The CertificateAuthority exists but cannot sign now.
    AuthorityNotReady,
    /// The EnrollmentGroup does not exist.
    GroupNotFound,
    /// The EnrollmentGroup has a setting that cannot be used.
    GroupInvalid,
    /// The EnrollmentGroup has provisioningStatus Disabled.
    GroupDisabled,
    /// The CA's private key is missing; a person must restore it.
    KeyLost,
    /// The key that was found does not fit what the object declares.
    KeyMismatch,
    /// The object is being deleted, but certificates that are still valid depend on it.
    InUse,
    /// The group makes CAs under a root that also signs devices, and nothing limits the names that those CAs may certify.
    UnconstrainedAuthority,
    /// The object's specification cannot be carried out.
    InvalidSpec,
    /// The status that recorded the certificates is gone, while the Secret shows that there was one.
    StatusLost,
    /// The certificate has expired.
    Expired,

    // The requester did not prove who it is.
    /// The request carried neither a password nor a client certificate.
    CredentialsMissing,
    /// The user name or the password is wrong.
    WrongPassword,
    /// The group does not accept passwords.
    PasswordsDisabled,
    /// The group's password Secret is missing or unreadable.
    PasswordsUnavailable,
    /// The client certificate is not one that is recorded for a device.
    UnknownCertificate,
    /// The client certificate has expired or is not valid yet.
    CertificateExpired,

    /// The enrolment token is unknown, or not for this group.
    WrongToken,
    /// The enrolment token has expired.
    TokenExpired,
    /// The enrolment token was used before.
    TokenConsumed,
    /// The group does not accept tokens.
    TokensDisabled,
    /// This bootstrap certificate is on the group's list of denied ones.
    BootstrapDenied,
    /// This bootstrap certificate belongs to another registration ID.
    BootstrapPinned,
    /// The certificate is that of a registration authority which the group does not list.
    RegistrationAuthorityNotListed,
    /// The CSR carries no proof that it was made for this TLS connection, and the group requires one.
    ProofRequired,
    /// The CSR's challengePassword does not belong to this TLS connection.
    ProofMismatch,

    // The requester is known, but may not have what it asks.
    /// The object's name does not follow from its registration ID.
    NameMismatch,
    /// The object name that the registration ID leads to is held by another registration ID.
    NameTaken,
    /// A requested name is not within allowedNames.
    NameNotAllowed,
    /// The registration ID is malformed or too long.
    InvalidRegistrationId,
    /// The registration ID does not match the group's pattern.
    RegistrationIdNotAllowed,
    /// The group takes only devices that were registered before.
    NotRegistered,
    /// The credentials may not claim this registration ID.
    IdNotAllowed,
    /// A rule of the group (spec.rules) says no.
    RuleViolated,
    /// The key is of a kind that the group does not allow.
    KeyNotAllowed,
    /// The key is certified for somebody else: another device, a CA, or the EST server.
    KeyInUse,
    /// The key was revoked because it is compromised.
    KeyCompromised,
    /// The group does not let the server make keys.
    ServerKeygenDisabled,
    /// The key with which the new private key should be encrypted is not known.
    UnknownDecryptKey,
    /// A live certificate exists, and the credentials used may only renew it with the same key.
    SameKeyRequired,
    /// A live certificate exists, and the credentials used may not replace it.
    CertificateExists,
    /// The subject or a subject alternative name differs from the certificate that is being renewed.
    SubjectMismatch,
    /// A certificate that may sign others was asked for.
    AuthorityNotAllowed,
    /// The device belongs to another group.
    WrongGroup,
    /// The operator itself holds this device's key, so it cannot enrol from outside.
    WrongOrigin,
    /// The device, or the CA, is suspended.
    Suspended,
    /// The device was revoked, which is final.
    Revoked,
    /// The identity has as many valid certificates as it may have.
    TooManyCertificates,
    /// The group has as many devices, or pending requests, as it may have.
    GroupFull,
    /// The identity has renewed more often than it may.
    RenewedTooOften,

    // The request cannot be understood.
    /// The CSR is malformed, badly signed, or has an unacceptable key.
    InvalidCsr,
    /// The request is not a well-formed EST request.
    MalformedRequest,
    /// The EST label names no group.
    UnknownLabel,
    /// The EST operation does not exist here.
    UnknownOperation,
    /// The request body is too large.
    TooLarge,

    // Our side cannot answer now.
    /// The Kubernetes API server cannot be reached, so nothing can be recorded.
    ApiUnavailable,
    /// Others changed the same object at the same moment, several times.
    Conflict,
    /// The operator has not finished starting.
    NotReady,
    /// The server has more work than it accepts at a time.
    Overloaded,
    /// Too many requests from this address failed.
    TooManyFailures,
    /// The audit log cannot be written, and the operator is configured not to issue without it.
    AuditUnavailable,
    /// A Secret of that name exists and does not belong to this object.
    SecretNotOwned,
    /// The API server did not let the operator store the Secret (a quota, an admission policy, an immutable Secret).
    SecretRefused,
    /// A fault of the operator itself.
    Internal,
}

impl Reason {
    /// Whether the request waits for a person, however the group answers that.
    pub const fn awaits_approval(self) -> bool {
        matches!(self, Self::PendingApproval | Self::ApprovalRequired)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A decision against a request: the one word, and a sentence that says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// The one word.
    pub reason: Reason,
    /// The sentence, for whoever asked. Holds nothing secret.
    pub message: String,
}

impl Refusal {
    /// A refusal in words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
