//! What is printed, and what is warned of, for groups of several kinds. That TOML takes it is for the integration tests.

use super::*;
use serde_json::{Value, json};

fn group(name: &str, more: Value) -> Group {
    let mut spec = json!({ "authorityRef": { "name": "ca" } });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let object = json!({
        "apiVersion": "devicecert.dev/v1alpha1", "kind": "EnrollmentGroup",
        "metadata": { "name": name, "namespace": "ns" }, "spec": spec,
    });
    Group::compile(&serde_json::from_value(object).unwrap()).unwrap()
}

fn options(user: Option<&str>) -> EdgeConfig {
    EdgeConfig {
        device: "edge-1".into(),
        est_url: "https://est.example.com:8443/".into(),
        user: user.map(String::from),
        trusted_cert: "/etc/aziot/est-ca.pem".into(),
    }
}

fn print(group: &Group, edge_groups: &[Group], user: Option<&str>) -> (String, Vec<String>) {
    let device = Device::unregistered("ns", "g", RegistrationId::parse("edge-1").unwrap());
    let options = options(user);
    let plan = Plan {
        device: &device,
        group,
        edge_ca: edge_ca(edge_groups, &device),
        options: &options,
    };
    (toml::of(&plan), warnings::of(&plan, edge_groups))
}

#[test]
fn a_group_made_for_iot_edge_gets_no_warning() {
    let passwords = json!({ "passwords": { "secretRef": { "name": "users" }, "existing": "Any" } });
    let renewal = json!({ "threshold": "30d", "retry": "90s", "rotateKey": false });
    let group = group(
        "g",
        json!({ "authentication": passwords, "renewal": renewal }),
    );
    let (text, warnings) = print(&group, &[], Some("estuser"));
    assert_eq!(warnings, [""; 0]);
    for line in [
        "default = \"https://est.example.com:8443/.well-known/est/ns.g\"",
        "username = \"estuser\"",
        "registration_id = \"edge-1\"",
        "common_name = \"edge-1\"",
        "rotate_key = false\nthreshold = \"30day\"\nretry = \"2min\"",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("[edge_ca]"));
}

#[test]
fn the_edge_ca_has_the_common_name_that_leads_to_an_id_of_its_own() {
    let ids =
        json!({ "commonName": "iotedged workload ca ${device}", "value": "${device}-edge-ca" });
    let framed = group(
        "e",
        json!({ "profile": { "isCA": true }, "registrationId": ids, "authentication": { "tokens": {} } }),
    );
    let plain = group(
        "e",
        json!({ "profile": { "isCA": true }, "authentication": { "bootstrap": { "authorityRefs": [{ "name": "x" }] } } }),
    );
    let leaf = group(
        "g",
        json!({ "authentication": { "bootstrap": { "authorityRefs": [{ "name": "x" }] } } }),
    );
    let (text, _) = print(&leaf, std::slice::from_ref(&framed), None);
    assert!(
        text.contains("bootstrap_identity_cert = ")
            && text.contains("[cert_issuance.est.identity_auto_renew]")
    );
    assert!(
        text.contains("common_name = \"iotedged workload ca edge-1\""),
        "{text}"
    );
    assert!(
        text.contains("token --group e --id edge-1-edge-ca"),
        "{text}"
    );
    let (text, warnings) = print(&leaf, std::slice::from_ref(&plain), None);
    assert!(
        text.contains("file:///etc/aziot/edge-ca-bootstrap.pem"),
        "{text}"
    );
    assert!(
        warnings[0].contains("one registration ID, ever"),
        "{warnings:?}"
    );
    assert!(text.contains("common_name = \"edge-1-edge-ca\""), "{text}");
    let (text, warnings) = print(&leaf, &[framed, plain], None);
    assert!(!text.contains("[edge_ca]"));
    assert!(warnings[0].contains("2 groups"), "{warnings:?}");
}

#[test]
fn what_certd_cannot_work_with_is_said() {
    let passwords =
        json!({ "passwords": { "secretRef": { "name": "users" } }, "channelBinding": "Required" });
    let profile = json!({ "extendedKeyUsages": ["serverAuth"] });
    let bad = group(
        "g",
        json!({ "authentication": passwords, "approval": "Manual", "profile": profile }),
    );
    let (_, warnings) = print(&bad, &[], None);
    let all = warnings.join("\n");
    for word in [
        "approval: Manual",
        "pending: Poll",
        "channelBinding",
        "clientAuth",
        "existing is not Any",
    ] {
        assert!(all.contains(word), "{word} is not in:\n{all}");
    }
    let (text, warnings) = print(&group("g", json!({})), &[], None);
    assert!(
        text.contains("takes nobody new") && warnings[0].contains("no authentication"),
        "{warnings:?}"
    );
}

#[test]
fn strings_are_quoted_as_toml_wants_them() {
    assert_eq!(
        toml::quoted("a\"b\\c\u{7f}\n"),
        "\"a\\\"b\\\\c\\u007F\\u000A\""
    );
}

#[test]
fn the_address_of_the_server_is_https() {
    for wrong in [
        "est.example.com",
        "http://est.example.com",
        "https://",
        "https://est example",
        "",
    ] {
        assert!(est_url(wrong).is_err(), "{wrong}");
    }
    est_url("https://est.example.com:8443/.well-known/est").unwrap();
}
