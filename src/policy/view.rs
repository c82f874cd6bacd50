//! What the CEL expressions of a group see of a request.

use cel::Value;

use super::{
    Asked, Device, Principal, Variable,
    expression::{object, text, texts},
};
use crate::{
    api::DeviceState,
    pki::{Certificate, Csr, Name, SubjectAltNames},
};

/// `principal`, `csr` and `device`, for a group's rules.
pub(super) fn of_decision(
    principal: &Principal,
    asked: &Asked<'_>,
    device: &Device,
) -> Vec<Variable> {
    vec![
        ("principal", of_principal(principal)),
        ("csr", of_asked(asked)),
        ("device", of_device(device)),
    ]
}

/// `certificate` and `csr`, for the mapping of bootstrap certificates.
pub(super) fn of_mapping(certificate: &Certificate, csr: &Csr) -> Vec<Variable> {
    vec![
        ("certificate", of_certificate(certificate)),
        ("csr", of_asked(&Asked::Csr(csr))),
    ]
}

/// What rules see, with nothing in it: by this their fields are checked when a group is compiled.
pub(super) fn samples_for_rules() -> Vec<Variable> {
    let principal = [
        "type",
        "user",
        "token",
        "subject",
        "issuer",
        "commonName",
        "fingerprint",
    ];
    vec![
        ("principal", object(principal.map(|name| (name, text(""))))),
        ("csr", sample_csr()),
        (
            "device",
            object([
                ("registrationId", text("")),
                ("name", text("")),
                ("group", text("")),
                ("state", text("")),
                ("labels", object([])),
                ("hasCertificate", Value::Bool(false)),
            ]),
        ),
    ]
}

/// What mappings see, with nothing in it.
pub(super) fn samples_for_mapping() -> Vec<Variable> {
    let certificate = [
        ("subject", text("")),
        ("commonName", text("")),
        ("serialNumber", text("")),
        ("issuer", text("")),
        ("fingerprint", text("")),
        ("dnsNames", texts([""; 0])),
        ("uris", texts([""; 0])),
    ];
    vec![("certificate", object(certificate)), ("csr", sample_csr())]
}

fn sample_csr() -> Value {
    object([
        ("subject", text("")),
        ("commonName", text("")),
        ("dnsNames", texts([""; 0])),
        ("ipAddresses", texts([""; 0])),
        ("uris", texts([""; 0])),
        ("isCA", Value::Bool(false)),
        (
            "key",
            object([("algorithm", text("")), ("fingerprint", text(""))]),
        ),
    ])
}

fn of_principal(principal: &Principal) -> Value {
    let user = match principal {
        Principal::Password { user } => user.as_str(),
        _ => "",
    };
    let token = match principal {
        Principal::Token { token } => token.name.as_str(),
        _ => "",
    };
    let certificate = principal.certificate();
    let name = |of: fn(&Certificate) -> &Name| {
        text(certificate.map_or(String::new(), |c| of(c).to_string()))
    };
    object([
        ("type", text(principal.kind())),
        ("user", text(user)),
        ("token", text(token)),
        ("subject", name(Certificate::subject)),
        ("issuer", name(Certificate::issuer)),
        (
            "commonName",
            text(
                certificate
                    .and_then(|c| c.subject().common_name())
                    .unwrap_or_default(),
            ),
        ),
        (
            "fingerprint",
            text(certificate.map_or(String::new(), |c| c.fingerprint().to_string())),
        ),
    ])
}

fn of_asked(asked: &Asked<'_>) -> Value {
    let (none, no_names) = (None, SubjectAltNames::default());
    let (subject, sans) = match asked.csr() {
        Some(csr) => (Some(csr.subject()), csr.sans()),
        None => (none, &no_names),
    };
    let key = object([
        ("algorithm", text(asked.key().algorithm().to_string())),
        ("fingerprint", text(asked.key().fingerprint().to_string())),
    ]);
    object([
        (
            "subject",
            text(subject.map_or(String::new(), ToString::to_string)),
        ),
        (
            "commonName",
            text(subject.and_then(Name::common_name).unwrap_or_default()),
        ),
        ("dnsNames", texts(sans.dns.iter().cloned())),
        (
            "ipAddresses",
            texts(sans.ip.iter().map(ToString::to_string)),
        ),
        ("uris", texts(sans.uri.iter().cloned())),
        (
            "isCA",
            Value::Bool(asked.csr().is_some_and(Csr::asks_for_ca)),
        ),
        ("key", key),
    ])
}

fn of_device(device: &Device) -> Value {
    let state = match device.state {
        DeviceState::Active => "Active",
        DeviceState::Suspended => "Suspended",
        DeviceState::Revoked => "Revoked",
    };
    let labels: std::collections::HashMap<String, Value> = device
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), text(value.as_str())))
        .collect();
    object([
        ("registrationId", text(device.id.as_str())),
        ("name", text(device.name.as_str())),
        ("group", text(device.group.as_str())),
        ("state", text(state)),
        ("labels", Value::Map(labels.into())),
        ("hasCertificate", Value::Bool(device.current.is_some())),
    ])
}

fn of_certificate(certificate: &Certificate) -> Value {
    /// The attribute serialNumber of a subject, RFC 5280 appendix A.
    const SERIAL_NUMBER: &str = "2.5.4.5";
    let attributes = certificate.subject().attributes();
    let mut serial_numbers = attributes.iter().filter(|(oid, _)| oid == SERIAL_NUMBER);
    // Two of them would let two programs read two devices.
    let serial_number = match (serial_numbers.next(), serial_numbers.next()) {
        (Some((_, value)), None) => value.as_str(),
        _ => "",
    };
    let sans = certificate.sans();
    object([
        ("subject", text(certificate.subject().to_string())),
        (
            "commonName",
            text(certificate.subject().common_name().unwrap_or_default()),
        ),
        ("serialNumber", text(serial_number)),
        ("issuer", text(certificate.issuer().to_string())),
        ("fingerprint", text(certificate.fingerprint().to_string())),
        ("dnsNames", texts(sans.dns.iter().cloned())),
        ("uris", texts(sans.uri.iter().cloned())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pki::fixtures::{Ca, openssl_csr},
        policy::RegistrationId,
    };

    fn fields(value: &Value) -> Vec<String> {
        let Value::Map(map) = value else {
            return Vec::new();
        };
        let mut all: Vec<String> = map
            .map
            .iter()
            .flat_map(|(key, value)| {
                let inner = fields(value).into_iter();
                std::iter::once(key.to_string())
                    .chain(inner.map(move |field| format!("{key}.{field}")))
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_samples_have_the_fields_of_what_rules_really_see() {
        let csr = Csr::from_der(&openssl_csr("/CN=dev1", &[])).unwrap();
        let device = Device::unregistered("ns", "g", RegistrationId::parse("dev1").unwrap());
        let ca = Ca::root("CN=Root");
        let real = of_decision(&Principal::Operator, &Asked::Csr(&csr), &device)
            .into_iter()
            .chain(of_mapping(&ca.certificate, &csr));
        let samples = samples_for_rules().into_iter().chain(samples_for_mapping());
        for ((name, real), (sampled, sample)) in real.zip(samples) {
            assert_eq!((name, fields(&real)), (sampled, fields(&sample)));
        }
    }
}
