//! Builders of the objects that tests create: small ones, to which a test adds what it is about.

use serde_json::{Map, Value, json};

/// A CertificateAuthority; `spec` says at least where its certificate comes from.
pub fn authority(name: &str, spec: Value) -> Value {
    object("CertificateAuthority", name, spec)
}

/// An EnrollmentGroup of an authority; `more` is merged into the spec.
pub fn group(name: &str, authority: &str, more: Value) -> Value {
    let mut spec = json!({ "authorityRef": { "name": authority } });
    merge(&mut spec, more);
    object("EnrollmentGroup", name, spec)
}

/// A DeviceIdentity in a group; `more` is merged into the spec.
pub fn device(name: &str, group: &str, more: Value) -> Value {
    let mut spec = json!({ "groupRef": { "name": group } });
    merge(&mut spec, more);
    object("DeviceIdentity", name, spec)
}

/// A password Secret with an htpasswd file.
pub fn password_secret(name: &str, file: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "stringData": { "auth": file },
    })
}

/// A line for each user, with the cheapest of hashes.
pub fn htpasswd(users: &[(&str, &str)]) -> String {
    users
        .iter()
        .map(|(user, password)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap()))
        .collect()
}

/// Merges as a JSON merge patch does (RFC 7396).
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(&key);
            }
            value => merge(&mut target[key], value),
        }
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "devicecert.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}
