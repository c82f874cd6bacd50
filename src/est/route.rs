//! Paths: which operation is called, under which label. RFC 7030 §3.2.2.

use hyper::Method;
use percent_encoding::percent_decode_str;

use super::rejection::reject;
use crate::{
    policy::Reason,
    registrar::{Operation, Rejection},
};

/// Where EST lives. RFC 7030 §3.2.2, RFC 8615.
const PREFIX: &str = "/.well-known/est/";

/// The longest label, in bytes after percent-decoding.
const MAX_LABEL: usize = 128;

/// A path, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The path label; `None` where the client used none.
    pub label: Option<String>,
    /// What is asked for.
    pub call: Call,
}

/// The operations that RFC 7030 §3.2.2 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// §4.1
    CaCerts,
    /// §4.5
    CsrAttrs,
    /// §4.2, §4.4
    Enroll(Operation),
    /// §4.3
    FullCmc,
}

impl Call {
    /// The name in the path.
    pub fn name(self) -> &'static str {
        match self {
            Call::CaCerts => "cacerts",
            Call::CsrAttrs => "csrattrs",
            Call::Enroll(Operation::Enroll) => "simpleenroll",
            Call::Enroll(Operation::Reenroll) => "simplereenroll",
            Call::Enroll(Operation::ServerKeygen) => "serverkeygen",
            Call::FullCmc => "fullcmc",
        }
    }

    /// The methods that the operation takes, as an `Allow` header lists them.
    pub fn methods(self) -> &'static str {
        match self {
            Call::CaCerts | Call::CsrAttrs => "GET, HEAD",
            Call::Enroll(_) | Call::FullCmc => "POST",
        }
    }

    /// Whether the operation takes this method.
    pub fn takes(self, method: &Method) -> bool {
        self.methods()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }

    fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|call| call.name() == name)
    }
}

const ALL: [Call; 6] = [
    Call::CaCerts,
    Call::CsrAttrs,
    Call::Enroll(Operation::Enroll),
    Call::Enroll(Operation::Reenroll),
    Call::Enroll(Operation::ServerKeygen),
    Call::FullCmc,
];

/// Whether a path part is the name of an operation, so that it can be no label.
pub fn is_operation(name: &str) -> bool {
    Call::from_name(name).is_some()
}

impl Route {
    /// Reads `/.well-known/est/{operation}` or `/.well-known/est/{label}/{operation}`.
    pub fn parse(path: &str) -> Result<Self, Rejection> {
        let rest = path.strip_prefix(PREFIX).ok_or_else(unknown_operation)?;
        let (label, name) = match rest.rsplit_once('/') {
            None => (None, rest),
            Some((label, name)) => (Some(label), name),
        };
        let call = Call::from_name(name).ok_or_else(unknown_operation)?;
        let label = label.map(parse_label).transpose()?;
        Ok(Self { label, call })
    }
}

fn parse_label(encoded: &str) -> Result<String, Rejection> {
    let decoded: Vec<u8> = percent_decode_str(encoded).collect();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if decoded.is_empty() || decoded.len() > MAX_LABEL || !decoded.iter().all(allowed) {
        return Err(reject(
            Reason::UnknownLabel,
            format!(
                "The label in the path must be 1 to {MAX_LABEL} of the characters A-Z, a-z, 0-9, '.', '_' and '-', \
                 for example /.well-known/est/NAMESPACE.GROUP/cacerts."
            ),
        ));
    }
    Ok(decoded.iter().copied().map(char::from).collect())
}

fn unknown_operation() -> Rejection {
    reject(
        Reason::UnknownOperation,
        "EST is served at /.well-known/est/OPERATION and /.well-known/est/LABEL/OPERATION, where OPERATION is \
         cacerts, csrattrs, simpleenroll, simplereenroll, serverkeygen or fullcmc.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(label: Option<&str>, call: Call) -> Route {
        Route {
            label: label.map(str::to_owned),
            call,
        }
    }

    #[test]
    fn operations_are_found_with_and_without_a_label() {
        for (path, expected) in [
            ("/.well-known/est/cacerts", route(None, Call::CaCerts)),
            ("/.well-known/est/csrattrs", route(None, Call::CsrAttrs)),
            (
                "/.well-known/est/simpleenroll",
                route(None, Call::Enroll(Operation::Enroll)),
            ),
            (
                "/.well-known/est/default.factory/simplereenroll",
                route(Some("default.factory"), Call::Enroll(Operation::Reenroll)),
            ),
            (
                "/.well-known/est/a_b-C9/serverkeygen",
                route(Some("a_b-C9"), Call::Enroll(Operation::ServerKeygen)),
            ),
            ("/.well-known/est/fullcmc", route(None, Call::FullCmc)),
            (
                "/.well-known/est/f%61ctory%2Eone/cacerts",
                route(Some("factory.one"), Call::CaCerts),
            ),
        ] {
            assert_eq!(Route::parse(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let path = |n: usize| format!("/.well-known/est/{}/cacerts", "x".repeat(n));
        assert_eq!(
            Route::parse(&path(MAX_LABEL)).unwrap().label.unwrap().len(),
            MAX_LABEL
        );
        assert_eq!(
            Route::parse(&path(MAX_LABEL + 1)).unwrap_err().reason,
            Reason::UnknownLabel
        );
    }

    #[test]
    fn other_characters_are_no_label() {
        for label in [
            "", "a%2Fb", "a/b", "%00", "a%20b", "a%zz", "%", "..%2f..", "ü", "a;b",
        ] {
            let path = format!("/.well-known/est/{label}/cacerts");
            assert_eq!(
                Route::parse(&path).unwrap_err().reason,
                Reason::UnknownLabel,
                "{label}"
            );
        }
    }

    #[test]
    fn an_unknown_operation_is_answered_with_the_known_ones() {
        for path in [
            "/",
            "/cacerts",
            "/.well-known/est",
            "/.well-known/est/",
            "/.well-known/est/cacerts/",
            "/.well-known/est/CACerts",
            "/.well-known/est/factory/enroll",
            "*",
            "",
        ] {
            let rejection = Route::parse(path).unwrap_err();
            assert_eq!(rejection.reason, Reason::UnknownOperation, "{path}");
            for operation in ALL.map(Call::name) {
                assert!(rejection.message.contains(operation), "{path}: {operation}");
            }
        }
    }

    #[test]
    fn each_operation_takes_the_methods_of_the_standard() {
        assert!(Call::CaCerts.takes(&Method::GET));
        assert!(Call::CaCerts.takes(&Method::HEAD));
        assert!(!Call::CaCerts.takes(&Method::POST));
        assert!(Call::Enroll(Operation::Enroll).takes(&Method::POST));
        assert!(!Call::Enroll(Operation::Reenroll).takes(&Method::PUT));
    }
}
