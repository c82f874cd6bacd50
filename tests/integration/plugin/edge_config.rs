//! `edge-config`: TOML that a parser takes, with what the group says in the places where certd looks.

use serde_json::{Value, json};

use super::{file, plugin};
use crate::{
    est::{open, scene},
    harness::{authority, device, group, run_in},
};

/// What Python's parser makes of it.
fn parsed(toml: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    file(&dir, "config.toml", toml);
    let script = "python3 -c 'import json, tomllib; print(json.dumps(tomllib.load(open(\"config.toml\", \"rb\"))))'";
    serde_json::from_str(&run_in(dir.path(), script).unwrap()).unwrap()
}

#[tokio::test]
async fn the_configuration_parses_and_names_the_group_and_its_edge_ca() {
    let scene = scene(
        open(),
        json!({ "renewal": { "threshold": "70%", "retry": "2%" } }),
    )
    .await;
    scene
        .world
        .create(authority(
            "edge",
            json!({ "issuedBy": { "name": "root" }, "pathLength": 1 }),
        ))
        .await;
    let edge = json!({
        "profile": { "isCA": true },
        "registrationId": { "commonName": "iotedged workload ca ${device}", "value": "${device}-edge-ca" },
        "authentication": { "tokens": {} },
    });
    scene.world.create(group("edge-cas", "edge", edge)).await;
    scene.world.create(device("edge-1", "g", json!({}))).await;
    let arguments = [
        "edge-config",
        "edge-1",
        "--est-url",
        "https://est.example.com:8443",
        "--user",
        "estuser",
    ];
    let run = plugin(&scene.world, &arguments);
    let config = parsed(run.printed());
    assert!(!run.err.contains("Warning"), "{}", run.err);
    let est = &config["cert_issuance"]["est"];
    let url = |group: &str| {
        format!(
            "https://est.example.com:8443/.well-known/est/{}.{group}",
            scene.world.namespace
        )
    };
    assert_eq!(
        est["trusted_certs"],
        json!(["file:///etc/aziot/est-ca.pem"])
    );
    assert_eq!(est["urls"], json!({ "default": url("g") }));
    assert_eq!(
        est["auth"],
        json!({ "username": "estuser", "password": "PASSWORD" })
    );
    let auto_renew = json!({ "rotate_key": true, "threshold": "70%", "retry": "2%" });
    let identity = json!({ "method": "est", "common_name": "edge-1", "auto_renew": auto_renew });
    let attestation =
        json!({ "method": "x509", "registration_id": "edge-1", "identity_cert": identity });
    assert_eq!(
        config["provisioning"],
        json!({ "attestation": attestation })
    );
    let edge_ca = &config["edge_ca"];
    assert_eq!(edge_ca["common_name"], "iotedged workload ca edge-1");
    assert_eq!(edge_ca["url"], json!(url("edge-cas")));
    assert_eq!(edge_ca["auto_renew"]["threshold"], "80%");

    // Without an address and with a group that is not for IoT Edge.
    scene
        .world
        .create(group("h", "ca", json!({ "approval": "Manual" })))
        .await;
    scene
        .world
        .create(device("edge-2", "h", json!({ "secretName": "edge-2-tls" })))
        .await;
    let run = plugin(&scene.world, &["edge-config", "edge-2"]);
    parsed(run.printed());
    for word in [
        "--est-url",
        "neither secretName nor request",
        "approval: Manual",
        "no authentication",
    ] {
        assert!(run.err.contains(word), "{word}: {}", run.err);
    }
}
