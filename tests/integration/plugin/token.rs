//! Tokens: printed once, alone on the standard output, and good for one device.

use std::fs;

use devicecert::api::EnrollmentToken;
use serde_json::json;

use super::plugin;
use crate::{
    est::scene,
    harness::{Device, Facts, device, run_in},
};

#[tokio::test]
async fn a_printed_token_enrols_its_device_with_curl() {
    let scene = scene(json!({}), json!({ "authentication": { "tokens": {} } })).await;
    let arguments = [
        "token", "--group", "g", "--id", "Pump-7", "--ttl", "90m", "--name", "for-pump",
    ];
    let made = plugin(&scene.world, &arguments);
    let text = made.printed().strip_suffix('\n').unwrap().to_owned();
    assert!(
        text.starts_with("dct.for-pump.") && !text.contains(char::is_whitespace),
        "{text}"
    );
    assert!(
        made.err.contains("curl") && made.err.contains("Bearer") && made.err.contains("Pump-7")
    );
    assert!(
        !made.err.contains(&text) && !made.err.contains("Warning"),
        "{}",
        made.err
    );
    let object: EnrollmentToken = scene.world.get("for-pump").await;
    let left = object
        .spec
        .expires_at
        .unwrap()
        .0
        .duration_since(jiff::Timestamp::now());
    assert!((85..=90).contains(&left.as_mins()), "{left}");
    assert!(
        !serde_json::to_string(&object.spec.token_hash)
            .unwrap()
            .contains(&text)
    );

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    let enrol = |credentials: &str| {
        format!(
            "curl -sS --fail-with-body --cacert root.pem {credentials} -H 'Content-Type: application/pkcs10' --data-binary @csr \
             https://127.0.0.1:{}/.well-known/est/{}.g/simpleenroll",
            scene.operator.est_port, scene.world.namespace
        )
    };
    let device = Device::new("Pump-7");
    fs::write(dir.path().join("csr"), device.csr()).unwrap();
    let script = format!(
        "{} | base64 -d | openssl pkcs7 -inform DER -print_certs | openssl x509 -outform DER -out leaf.der",
        enrol(&format!("--user Pump-7:{text}"))
    );
    run_in(dir.path(), &script).unwrap();
    let leaf = fs::read(dir.path().join("leaf.der")).unwrap();
    device.owns(&leaf);
    let recorded: devicecert::api::DeviceIdentity = scene.world.get("pump-7").await;
    let newest = recorded.status.unwrap().certificate.unwrap();
    assert_eq!(newest.serial_number, Facts::of(&leaf).serial);

    // Another one, made up by the plugin, as Bearer; a third device finds it used.
    let made = plugin(
        &scene.world,
        &["token", "--group", "g", "--pattern", "pump-[0-9]"],
    );
    let text = made.printed().trim().to_owned();
    assert!(text.starts_with("dct.token-"), "{text}");
    fs::write(dir.path().join("csr"), Device::new("pump-8").csr()).unwrap();
    let bearer = enrol(&format!("-H 'Authorization: Bearer {text}'"));
    run_in(dir.path(), &bearer).unwrap();
    fs::write(dir.path().join("csr"), Device::new("pump-9").csr()).unwrap();
    let refused = run_in(dir.path(), &bearer).unwrap_err();
    assert!(refused.contains("TokenConsumed"), "{refused}");
    // For whom a token is, and who has used it, is in the list.
    let listed = scene.world.kubectl(&["get", "det"]);
    let line = listed.lines().find(|line| line.contains("pump-[0-9]"));
    assert!(line.is_some_and(|line| line.contains("pump-8")), "{listed}");
}

#[tokio::test]
async fn what_could_never_be_used_is_refused_or_warned_of() {
    let scene = scene(
        json!({}),
        json!({ "registrationId": { "pattern": "cam-[0-9]+" } }),
    )
    .await;
    let token = |arguments: &[&str]| plugin(&scene.world, &[&["token"], arguments].concat());
    token(&["--group", "g", "--id", "pump-1"]).complains(&[
        "RegistrationIdNotAllowed",
        "pump-1 does not match the pattern",
    ]);
    token(&["--group", "g", "--id", "x-"]).complains(&["InvalidRegistrationId"]);
    token(&["--group", "g", "--pattern", "("]).complains(&[
        "--pattern: '('",
        "regular expression",
        "pump-[0-9]+",
    ]);
    token(&["--group", "g", "--id", "cam-1", "--name", "a.b"]).complains(&["--name a.b"]);
    let none: Vec<EnrollmentToken> = scene
        .world
        .api()
        .list(&Default::default())
        .await
        .unwrap()
        .items;
    assert_eq!(none, [], "nothing was made");

    let closed = token(&["--group", "g", "--id", "cam-1", "--name", "t"]);
    closed.printed();
    assert!(
        closed.err.contains("no authentication.tokens"),
        "{}",
        closed.err
    );
    let nowhere = token(&["--group", "nowhere", "--id", "cam-1"]);
    nowhere.printed();
    assert!(
        nowhere.err.contains("there is no EnrollmentGroup"),
        "{}",
        nowhere.err
    );
    token(&["--group", "g", "--id", "cam-1", "--name", "t"])
        .complains(&["EnrollmentToken t already"]);
    let tokens =
        json!({ "spec": { "authentication": { "tokens": { "registration": "PreRegistered" } } } });
    scene
        .world
        .patch::<devicecert::api::EnrollmentGroup>("g", tokens)
        .await;
    let unregistered = token(&["--group", "g", "--id", "cam-1"]);
    unregistered.printed();
    assert!(
        unregistered
            .err
            .contains("DeviceIdentity cam-1: create it first"),
        "{}",
        unregistered.err
    );
    for ttl in ["-1h", "0s", "soon", "24 h", "1.5h"] {
        let odd = token(&["--group", "g", "--id", "cam-1", "--ttl", ttl]);
        assert_eq!(odd.code, 2, "{odd:?}");
        let accepted = odd.err.contains("such as 30m, 24h") || odd.err.contains("at least 1s");
        assert!(accepted, "{ttl}: {}", odd.err);
    }
    token(&["--group", "g", "--id", "cam-1", "--ttl", "9000y"])
        .complains(&["write, for example, 30m"]);

    // Devices that would be refused, token or not.
    let world = &scene.world;
    let kept = json!({ "secretName": "tls", "registrationId": "cam-2" });
    world.create(device("cam-2", "g", kept)).await;
    world.create(device("cam-3", "other", json!({}))).await;
    world
        .create(device("cam-4", "g", json!({ "state": "Revoked" })))
        .await;
    world
        .create(device("cam-5", "g", json!({ "state": "Suspended" })))
        .await;
    for (id, words) in [
        ("cam-2", "the operator itself keeps its certificate valid"),
        (
            "cam-3",
            "registered in the EnrollmentGroup other: write --group other",
        ),
        ("cam-4", "it is Revoked, which is final"),
    ] {
        token(&["--group", "g", "--id", id]).complains(&["no token was made", words]);
    }
    let suspended = token(&["--group", "g", "--id", "cam-5"]);
    suspended.printed();
    assert!(
        suspended.err.contains("cam-5 is Suspended"),
        "{}",
        suspended.err
    );
}
