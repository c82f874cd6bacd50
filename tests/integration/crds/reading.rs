//! What kubectl shows of the custom resources: explanations, columns, short names.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Cluster, World, authority, device, group};

const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

#[test]
fn the_api_server_takes_the_crds_without_a_warning() {
    let apply = [
        "apply",
        "--server-side",
        "--warnings-as-errors",
        "--validate=strict",
        "-f",
        CRDS,
    ];
    let printed = Cluster::shared().kubectl(&apply, "").unwrap();
    assert_eq!(printed.lines().count(), 5, "{printed}");
}

#[test]
fn kubectl_explains_each_kind_and_field() {
    let cluster = Cluster::shared();
    for (path, words) in [
        (
            "certificateauthority",
            "signs the certificates of devices, or of other authorities",
        ),
        (
            "certificateauthority.spec",
            "Exactly one of selfSigned and issuedBy",
        ),
        ("dca.spec.validity", "a number with s, m, h, d, w or y"),
        ("dca.spec.keyDeletion", "Retain"),
        (
            "dca.status.conditions",
            "Ready says whether the CA can sign",
        ),
        (
            "enrollmentgroup",
            "who may enrol, which names and keys they may have",
        ),
        (
            "deg.spec.authentication.passwords.existing",
            "What a password may do to an ID that has a live",
        ),
        ("deg.spec.profile.subject", "${registrationId}"),
        ("deg.spec.renewal.threshold", "or a time before it expires"),
        ("deviceidentity", "A DeviceIdentity is one device"),
        (
            "did.spec.registrationId",
            "upper and lower case being the same",
        ),
        (
            "did.spec.secretName",
            "A Secret that belongs to something else is never touched",
        ),
        ("did.status.certificate.renewalTime", "When it is renewed"),
    ] {
        let printed = cluster.kubectl(&["explain", path], "").unwrap();
        let flowing = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flowing.contains(words),
            "{path} does not say {words:?}:\n{printed}"
        );
    }
}

#[test]
fn every_field_has_a_description() {
    let mut silent = Vec::new();
    for file in fs::read_dir(CRDS).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for crd in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            // (A BootstrapClaim has no status.)
            let parts = ["spec", "status"].into_iter();
            for part in parts.filter(|part| schema["properties"].get(part).is_some()) {
                find_silent(
                    &format!("{kind}.{part}"),
                    &schema["properties"][part],
                    &mut silent,
                );
            }
        }
    }
    assert_eq!(silent, [""; 0], "fields without a description");
}

fn find_silent(path: &str, schema: &Value, silent: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        silent.push(path.into());
    }
    for within in [schema, &schema["items"]] {
        for (name, field) in within["properties"].as_object().into_iter().flatten() {
            find_silent(&format!("{path}.{name}"), field, silent);
        }
    }
}

#[tokio::test]
async fn kubectl_shows_the_columns_that_matter() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "d-tls" })))
        .await;
    let _operator = world.operator(&[]).await;
    world
        .until::<devicecert::api::DeviceIdentity>("d", "True")
        .await;
    for (kind, columns, values) in [
        (
            "dca",
            "NAME READY REASON SUBJECT EXPIRES MESSAGE AGE",
            "root True AuthorityReady CN=root",
        ),
        (
            "deg",
            "NAME READY REASON AUTHORITY DEVICES NEXT-EXPIRY MESSAGE AGE",
            "g True GroupReady ca",
        ),
        (
            "did",
            "NAME PHASE READY REASON GROUP EXPIRES RENEWS SECRET MESSAGE AGE",
            "d Active True CertificateReady g",
        ),
    ] {
        let printed = world.kubectl(&["get", kind, "-o", "wide"]);
        let flowing: Vec<String> = printed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(flowing[0], columns);
        assert!(
            flowing.iter().any(|line| line.starts_with(values)),
            "{values}\n{printed}"
        );
    }
}

#[tokio::test]
async fn one_word_lists_all_kinds() {
    let world = World::new().await;
    world
        .create(authority("ca", json!({ "selfSigned": {} })))
        .await;
    world.create(group("g", "ca", json!({}))).await;
    world.create(device("d", "g", json!({}))).await;
    let printed = world.kubectl(&["get", "devicecert", "-o", "name"]);
    let mut names: Vec<&str> = printed.lines().collect();
    names.sort_unstable();
    let expected = [
        "certificateauthority.devicecert.dev/ca",
        "deviceidentity.devicecert.dev/d",
        "enrollmentgroup.devicecert.dev/g",
    ];
    assert_eq!(names, expected);
}
