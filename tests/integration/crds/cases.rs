//! Objects that the API server must refuse, with words that its answer must have.

use serde_json::{Value, json};

use crate::harness::{authority, device, group};

/// Objects that must not be created.
pub fn creations() -> Vec<(Value, &'static str)> {
    let ca = |name: &str, more: Value| {
        let mut spec = json!({ "selfSigned": {} });
        crate::harness::merge(&mut spec, more);
        authority(name, spec)
    };
    let long = "n".repeat(65);
    vec![
        (
            ca(&"n".repeat(64), json!({})),
            "metadata.name may have at most 63 characters",
        ),
        (
            authority("none", json!({})),
            "set exactly one of spec.selfSigned (a root) and spec.issuedBy",
        ),
        (
            ca("both", json!({ "issuedBy": { "name": "x" } })),
            "set exactly one of spec.selfSigned (a root)",
        ),
        (
            ca("subject", json!({ "subject": "Factory" })),
            "spec.subject must be a distinguished name such as",
        ),
        (
            ca("subject", json!({ "subject": "=" })),
            "spec.subject: Invalid value",
        ),
        (
            ca("validity", json!({ "validity": "forever" })),
            "spec.validity: Invalid value",
        ),
        (
            ca("validity", json!({ "validity": "10 years" })),
            "write a number with s, m, h, d, w or y and no spaces, such as 90d or 12h",
        ),
        (
            ca("validity", json!({ "validity": "10" })),
            "spec.validity: Invalid value",
        ),
        (
            ca("validity", json!({ "validity": "-1d" })),
            "spec.validity: Invalid value",
        ),
        (
            ca("validity", json!({ "validity": 90 })),
            "spec.validity: Invalid value",
        ),
        (
            ca("path", json!({ "pathLength": -1 })),
            "spec.pathLength: Invalid value",
        ),
        (
            ca("path", json!({ "pathLength": 11 })),
            "spec.pathLength: Invalid value",
        ),
        (
            ca("key", json!({ "keyAlgorithm": "DSA" })),
            "spec.keyAlgorithm: Unsupported value",
        ),
        (
            ca("key", json!({ "keyAlgorithm": "RSA-1024" })),
            "spec.keyAlgorithm: Unsupported value",
        ),
        (
            ca("deletion", json!({ "keyDeletion": "Maybe" })),
            "spec.keyDeletion: Unsupported value",
        ),
        (
            authority("parent", json!({ "issuedBy": { "name": "Not_A_Name" } })),
            "spec.issuedBy.name: Invalid value",
        ),
        (
            group("ref", "Not_A_Name", json!({})),
            "spec.authorityRef.name: Invalid value",
        ),
        (
            group("ref", "ca", json!({ "authorityRef": null })),
            "spec.authorityRef: Required value",
        ),
        (
            group(
                "subject",
                "ca",
                profile(json!({ "subject": "${registrationId}" })),
            ),
            "spec.profile.subject must be a distinguished name",
        ),
        (
            group(
                "subject",
                "ca",
                profile(json!({ "subject": "CN=all-the-same" })),
            ),
            "spec.profile.subject must contain ${registrationId}",
        ),
        (
            group("validity", "ca", profile(json!({ "validity": "90 days" }))),
            "spec.profile.validity: Invalid value",
        ),
        (
            group(
                "usage",
                "ca",
                profile(json!({ "keyUsages": ["keyCertSign"] })),
            ),
            "spec.profile.keyUsages[0]: Unsupported value",
        ),
        (
            group("usage", "ca", profile(json!({ "keyUsages": [] }))),
            "spec.profile.keyUsages: Invalid value",
        ),
        (
            group(
                "usage",
                "ca",
                profile(json!({ "extendedKeyUsages": ["any"] })),
            ),
            "spec.profile.extendedKeyUsages[0]: Unsupported value",
        ),
        (
            group("key", "ca", profile(json!({ "allowedKeys": ["RSA-1024"] }))),
            "spec.profile.allowedKeys[0]: Unsupported value",
        ),
        (
            group(
                "key",
                "ca",
                profile(json!({ "keyAlgorithm": "ecdsa-p256" })),
            ),
            "spec.profile.keyAlgorithm: Unsupported value",
        ),
        (
            group(
                "threshold",
                "ca",
                json!({ "renewal": { "threshold": "0%" } }),
            ),
            "spec.renewal.threshold: Invalid value",
        ),
        (
            group(
                "threshold",
                "ca",
                json!({ "renewal": { "threshold": "100%" } }),
            ),
            "write a percentage from 1% to 99%",
        ),
        (
            group(
                "threshold",
                "ca",
                json!({ "renewal": { "threshold": "soon" } }),
            ),
            "spec.renewal.threshold: Invalid value",
        ),
        (
            group("retry", "ca", json!({ "renewal": { "retry": "now" } })),
            "spec.renewal.retry: Invalid value",
        ),
        (
            group("status", "ca", json!({ "provisioningStatus": "enabled" })),
            "spec.provisioningStatus: Unsupported value",
        ),
        (
            group("open", "ca", passwords(json!({ "registration": "open" }))),
            "passwords.registration: Unsupported value",
        ),
        (
            group(
                "existing",
                "ca",
                passwords(json!({ "existing": "Sometimes" })),
            ),
            "passwords.existing: Unsupported value",
        ),
        (
            group("secret", "ca", passwords(json!({ "secretRef": null }))),
            "passwords.secretRef: Required value",
        ),
        (
            group(
                "pattern",
                "ca",
                json!({ "registrationId": { "pattern": "x".repeat(257) } }),
            ),
            "pattern: Too long",
        ),
        (
            group(
                "names",
                "ca",
                json!({ "allowedNames": { "dnsNames": vec!["a"; 65] } }),
            ),
            "allowedNames.dnsNames: Too many",
        ),
        (
            device(&long, "g", json!({})),
            "which may have at most 64 characters",
        ),
        (
            device("ref", "g", json!({ "groupRef": null })),
            "spec.groupRef: Required value",
        ),
        (
            device("id", "g", json!({ "registrationId": "" })),
            "spec.registrationId: Invalid value",
        ),
        (
            device("id", "g", json!({ "registrationId": "has space" })),
            "spec.registrationId may have letters, digits and -._:",
        ),
        (
            device("id", "g", json!({ "registrationId": "ends-badly-" })),
            "must begin and end with a letter or digit",
        ),
        (
            device("id", "g", json!({ "registrationId": "jürgen" })),
            "spec.registrationId may have letters, digits and -._:",
        ),
        (
            device("id", "g", json!({ "registrationId": long })),
            "spec.registrationId: Too long",
        ),
        (
            device("id", "g", json!({ "registrationId": "system:node:a" })),
            "spec.registrationId may not begin with 'system:'",
        ),
        (
            device("id", "g", json!({ "registrationId": "SYSTEM:masters" })),
            "spec.registrationId may not begin with 'system:'",
        ),
        (
            device("two", "g", json!({ "secretName": "s", "request": REQUEST })),
            "set at most one of spec.secretName",
        ),
        (
            device("request", "g", json!({ "request": "MIIBITCByAIBADAR" })),
            "spec.request must be a PEM certificate signing request",
        ),
        (
            device("secret", "g", json!({ "secretName": "Not_A_Name" })),
            "spec.secretName: Invalid value",
        ),
        (
            device("state", "g", json!({ "state": "Deleted" })),
            "spec.state: Unsupported value",
        ),
        (
            device("late", "g", json!({ "renewAfter": "9999-12-31T23:59:59Z" })),
            "spec.renewAfter must be before the year 9000",
        ),
        (
            device("after", "g", json!({ "renewAfter": "tomorrow" })),
            "spec.renewAfter: Invalid value",
        ),
        (
            device("names", "g", json!({ "dnsNames": vec!["a"; 33] })),
            "spec.dnsNames: Too many",
        ),
        (
            device("names", "g", json!({ "dnsNames": ["a".repeat(254)] })),
            "spec.dnsNames[0]: Too long",
        ),
        (
            device(
                "approval",
                "g",
                json!({ "approval": { "decision": "Approved", "keyFingerprint": "AB".repeat(32) } }),
            ),
            "spec.approval.keyFingerprint must be the 64 hexadecimal digits",
        ),
        (
            device(
                "reason",
                "g",
                json!({ "revocationReason": "KeyCompromise" }),
            ),
            "spec.revocationReason needs spec.state: Revoked",
        ),
        (
            group("way", "ca", bootstrap(json!({ "authorityRefs": null }))),
            "set authentication.bootstrap.authorityRefs or trustAnchors",
        ),
        (
            group("anchor", "ca", bootstrap(json!({ "trustAnchors": "MIIB" }))),
            "trustAnchors must hold CA certificates in PEM",
        ),
        (
            group("mapping", "ca", bootstrap(json!({ "mapping": {} }))),
            "set exactly one of authentication.bootstrap.mapping.expression and fingerprints",
        ),
        (
            group(
                "ra",
                "ca",
                json!({ "authentication": { "registrationAuthorities": [{ "authorityRef": { "name": "ca" }, "subject": "ra-1" }] } }),
            ),
            "registrationAuthorities[].subject must be a distinguished name",
        ),
        (
            group(
                "value",
                "ca",
                json!({ "registrationId": { "value": "${device}-x" } }),
            ),
            "spec.registrationId.value needs commonName",
        ),
        (
            group(
                "cn",
                "ca",
                json!({ "registrationId": { "commonName": "iotedged workload ca" } }),
            ),
            "spec.registrationId.commonName must contain ${device}",
        ),
        (
            group(
                "value",
                "ca",
                json!({ "registrationId": { "commonName": "x ${device}", "value": "something" } }),
            ),
            "spec.registrationId.value must contain ${device}",
        ),
        (
            group(
                "both",
                "ca",
                profile(json!({ "isCA": true, "registrationAuthority": true })),
            ),
            "set at most one of spec.profile.isCA and registrationAuthority",
        ),
        (
            group("path", "ca", profile(json!({ "pathLength": 0 }))),
            "spec.profile.pathLength needs isCA: true",
        ),
        (
            group(
                "key",
                "ca",
                profile(json!({ "isCA": true, "serverKeygen": "Enabled" })),
            ),
            "the server makes no CA keys",
        ),
        (
            token("a.b", json!({})),
            "metadata.name is a part of the token",
        ),
        (
            token("ids", json!({ "registrationIdPattern": ".*" })),
            "set exactly one of spec.registrationId and spec.registrationIdPattern",
        ),
        (
            token("hash", json!({ "tokenHash": "X".repeat(64) })),
            "spec.tokenHash must be 64 hexadecimal digits",
        ),
        (
            token("end", json!({ "expiresAt": null })),
            "set spec.expiresAt",
        ),
    ]
}

/// Objects, and changes to them that must not be made.
pub fn changes() -> Vec<(Value, Value, &'static str)> {
    let source = "where a CA's certificate comes from cannot change";
    let subject = "spec.subject cannot change once the CA exists";
    let path = "spec.pathLength cannot change once the CA exists";
    let id = "spec.registrationId cannot change: create another DeviceIdentity";
    let secret = "spec.secretName cannot change: create another DeviceIdentity";
    let request = "spec.request cannot change: create another DeviceIdentity";
    let last = "Revoked is final: create another DeviceIdentity for a device that comes back";
    let root = |more: Value| {
        let mut spec = json!({ "selfSigned": {} });
        crate::harness::merge(&mut spec, more);
        authority("ca", spec)
    };
    let child = authority("ca", json!({ "issuedBy": { "name": "root" } }));
    let revoked = device("d", "g", json!({ "state": "Revoked" }));
    let held = device("d", "g", json!({ "secretName": "s" }));
    let asked = device("d", "g", json!({ "request": REQUEST }));
    let named = device("d", "g", json!({ "registrationId": "d" }));
    let plain = device("d", "g", json!({}));
    vec![
        (
            root(json!({})),
            json!({ "selfSigned": null, "issuedBy": { "name": "root" } }),
            source,
        ),
        (
            child.clone(),
            json!({ "issuedBy": null, "selfSigned": {} }),
            source,
        ),
        (child, json!({ "issuedBy": { "name": "other" } }), source),
        (root(json!({})), json!({ "subject": "CN=new" }), subject),
        (
            root(json!({ "subject": "CN=a" })),
            json!({ "subject": "CN=b" }),
            subject,
        ),
        (
            root(json!({ "subject": "CN=a" })),
            json!({ "subject": null }),
            subject,
        ),
        (root(json!({})), json!({ "pathLength": 1 }), path),
        (
            root(json!({ "pathLength": 1 })),
            json!({ "pathLength": 2 }),
            path,
        ),
        (
            root(json!({ "pathLength": 1 })),
            json!({ "pathLength": null }),
            path,
        ),
        (
            root(json!({})),
            json!({ "keyAlgorithm": "Ed25519" }),
            "spec.keyAlgorithm cannot change once the CA exists",
        ),
        (
            root(json!({})),
            json!({ "validity": "20y" }),
            "spec.validity cannot change once the CA exists",
        ),
        (
            plain.clone(),
            json!({ "groupRef": { "name": "other" } }),
            "spec.groupRef cannot change: delete the DeviceIdentity",
        ),
        (plain.clone(), json!({ "registrationId": "d" }), id),
        (named.clone(), json!({ "registrationId": "D" }), id),
        (named, json!({ "registrationId": null }), id),
        (plain.clone(), json!({ "secretName": "s" }), secret),
        (held.clone(), json!({ "secretName": "other" }), secret),
        (held, json!({ "secretName": null }), secret),
        (plain, json!({ "request": REQUEST }), request),
        (
            asked.clone(),
            json!({ "request": format!("{REQUEST}\n") }),
            request,
        ),
        (asked, json!({ "request": null }), request),
        (revoked.clone(), json!({ "state": "Active" }), last),
        (revoked.clone(), json!({ "state": "Suspended" }), last),
        (revoked, json!({ "state": null }), last),
        (
            token("t", json!({})),
            json!({ "registrationId": "other" }),
            "an EnrollmentToken cannot change",
        ),
        (
            claim(),
            json!({ "registrationId": "other" }),
            "a BootstrapClaim cannot change",
        ),
    ]
}

/// Something that begins like a CSR; the API server cannot look further.
pub const REQUEST: &str =
    "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----";

fn profile(profile: Value) -> Value {
    json!({ "profile": profile })
}

fn passwords(more: Value) -> Value {
    let mut passwords = json!({ "secretRef": { "name": "users" } });
    crate::harness::merge(&mut passwords, more);
    json!({ "authentication": { "passwords": passwords } })
}

fn bootstrap(more: Value) -> Value {
    let mut bootstrap = json!({ "authorityRefs": [{ "name": "maker" }] });
    crate::harness::merge(&mut bootstrap, more);
    json!({ "authentication": { "bootstrap": bootstrap } })
}

fn token(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "groupRef": { "name": "g" }, "registrationId": "d", "expiresAt": "2099-01-01T00:00:00Z", "tokenHash": "ab".repeat(32),
    });
    crate::harness::merge(&mut spec, more);
    object("EnrollmentToken", name, spec)
}

fn claim() -> Value {
    let spec = json!({ "groupRef": { "name": "g" }, "registrationId": "d", "fingerprint": "ab".repeat(32) });
    object("BootstrapClaim", "claim", spec)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "devicecert.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}
