//! What a password may do: register, renew, replace; and how its Secret is read.

use std::time::Duration;

use devicecert::api::{DeviceIdentity, EnrollmentGroup};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::{open, scene};
use crate::harness::{Device, PASSWORD, device, eventually, group, htpasswd};

#[tokio::test]
async fn without_credentials_the_client_is_told_to_authenticate() {
    let scene = scene(open(), json!({})).await;
    let reply = scene.anonymous.enroll("", &Device::new("x").csr()).await;
    reply.refuses(401, "CredentialsMissing", &["HTTP Basic"]);
    assert_eq!(
        reply.header("WWW-Authenticate"),
        Some("Basic realm=\"estrealm\"")
    );
}

#[tokio::test]
async fn a_wrong_password_or_user_is_refused_alike() {
    let scene = scene(open(), json!({})).await;
    let csr = Device::new("x").csr();
    let mut bodies = Vec::new();
    for (user, password) in [("u", "wrong"), ("nobody", PASSWORD), ("", ""), ("u", "")] {
        let reply = scene.anonymous.user(user, password).enroll("", &csr).await;
        reply.refuses(401, "WrongPassword", &[]);
        bodies.push(reply.body);
    }
    bodies.dedup();
    assert_eq!(
        bodies.len(),
        1,
        "the answer tells nothing about which users exist"
    );
    assert!(
        scene
            .world
            .api::<DeviceIdentity>()
            .get_opt("x")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn unknown_devices_register_only_where_the_group_is_open() {
    let scene = scene(json!({ "registration": "PreRegistered" }), json!({})).await;
    let unknown = Device::new("unknown");
    scene.user.enroll("", &unknown.csr()).await.refuses(
        403,
        "NotRegistered",
        &["create its DeviceIdentity"],
    );
    assert!(
        scene
            .world
            .api::<DeviceIdentity>()
            .get_opt("unknown")
            .await
            .unwrap()
            .is_none()
    );
    scene.world.create(device("known", "g", json!({}))).await;
    let known: DeviceIdentity = scene.world.until("known", "AwaitingEnrollment").await;
    assert!(
        crate::harness::condition(&known, "Ready")
            .unwrap()
            .message
            .contains("simpleenroll")
    );
    let known = Device::new("known");
    known.owns(&scene.user.enroll("", &known.csr()).await.certificate());
}

#[tokio::test]
async fn a_password_renews_with_the_same_key_unless_the_group_says_otherwise() {
    // Each: the setting, then what the same key, a new key of the same user, and a new key of another user get.
    let cases = [
        ("SameKey", 200, 200, "SameKeyRequired"),
        ("Any", 200, 200, ""),
        ("Never", 403, 403, "CertificateExists"),
    ];
    for (existing, same, new, other) in cases {
        let scene = scene(
            json!({ "registration": "Open", "existing": existing }),
            json!({}),
        )
        .await;
        let device = Device::new("d");
        scene.user.enroll("", &device.csr()).await.certificate();
        assert_eq!(
            scene.user.enroll("", &device.csr()).await.status,
            same,
            "{existing}"
        );
        assert_eq!(
            scene.user.enroll("", &Device::new("d").csr()).await.status,
            new,
            "{existing}"
        );
        let reply = scene
            .anonymous
            .user("v", PASSWORD)
            .enroll("", &Device::new("d").csr())
            .await;
        match other {
            "" => assert_eq!(reply.status, 200),
            reason => reply.refuses(403, reason, &["live certificate"]),
        }
    }
}

#[tokio::test]
async fn a_password_of_one_group_opens_nothing_in_another() {
    let scene = scene(open(), json!({})).await;
    let world = &scene.world;
    let passwords =
        json!({ "secretRef": { "name": "users" }, "registration": "Open", "existing": "Any" });
    let more = json!({ "authentication": { "passwords": passwords } });
    world.create(group("open", "ca", more)).await;
    world.create(group("closed", "ca", json!({}))).await;
    world.until::<EnrollmentGroup>("open", "True").await;
    world.create(device("theirs", "closed", json!({}))).await;
    let label = format!("{}.open", world.namespace);
    let device = Device::new("theirs");
    scene
        .user
        .enroll(&label, &device.csr())
        .await
        .refuses(403, "WrongGroup", &["closed"]);
    let closed = format!("{}.closed", world.namespace);
    scene
        .user
        .enroll(&closed, &device.csr())
        .await
        .refuses(403, "PasswordsDisabled", &[]);
    assert!(world.record("theirs").await.is_empty());
}

#[tokio::test]
async fn a_changed_password_counts_within_two_seconds() {
    let scene = scene(open(), json!({})).await;
    let device = Device::new("d");
    scene.user.enroll("", &device.csr()).await.certificate();
    let file = htpasswd(&[("u", "another-one-5521")]);
    scene
        .world
        .patch::<Secret>("users", json!({ "stringData": { "auth": file } }))
        .await;
    let new = scene.anonymous.user("u", "another-one-5521");
    eventually(
        "the new password counts",
        Duration::from_secs(20),
        async || match new.enroll("", &device.csr()).await.status {
            200 => Ok(()),
            status => Err(status),
        },
    )
    .await;
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(401, "WrongPassword", &[]);
}

#[tokio::test]
async fn a_group_without_its_password_secret_fails_closed_and_says_so() {
    let scene = scene(open(), json!({})).await;
    scene.world.delete::<Secret>("users").await;
    let device = Device::new("d");
    eventually(
        "passwords are no longer accepted",
        Duration::from_secs(20),
        async || {
            let reply = scene.user.enroll("", &device.csr()).await;
            if reply.status == 503 {
                Ok(())
            } else {
                Err(reply.body)
            }
        },
    )
    .await;
    let reply = scene.user.enroll("", &device.csr()).await;
    reply.refuses(503, "PasswordsUnavailable", &["kubectl describe"]);
    // A look at the group tells its owner; any change of it makes the operator look.
    scene
        .world
        .patch::<EnrollmentGroup>("g", json!({ "spec": { "renewal": { "retry": "5%" } } }))
        .await;
    scene
        .world
        .until::<EnrollmentGroup>("g", "PasswordsUnavailable")
        .await;
}

#[tokio::test]
async fn argon2_hashes_are_accepted_and_breakable_ones_are_not() {
    let scene = scene(open(), json!({})).await;
    let set = async |file: String| {
        let data = json!({ "stringData": { "auth": file } });
        scene.world.patch::<Secret>("users", data).await;
    };
    let dora = scene.anonymous.user("dora", "argon-horse");
    let device = Device::new("d");
    set(format!("dora:{}\n", argon2_hash("argon-horse"))).await;
    eventually("argon2 is accepted", Duration::from_secs(20), async || {
        let reply = dora.enroll("", &device.csr()).await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply.body)
        }
    })
    .await;
    let wrong = scene.anonymous.user("dora", "argon-mule");
    let reply = wrong.enroll("", &device.csr()).await;
    reply.refuses(401, "WrongPassword", &[]);

    // The password as it is, and the MD5 of old htpasswd files.
    for hash in ["argon-horse", "$apr1$zzzzzzzz$zzzzzzzzzzzzzzzzzzzzzz"] {
        set(format!("dora:{hash}\n")).await;
        let reply = eventually("nobody may", Duration::from_secs(20), async || {
            let reply = dora.enroll("", &Device::new("never").csr()).await;
            match reply.status {
                503 => Ok(reply),
                _ => Err(reply.body),
            }
        })
        .await;
        reply.refuses(503, "PasswordsUnavailable", &[]);
        assert!(reply.header("Retry-After").is_some());
    }
}

/// In the PHC string format, as `argon2 -e` prints it.
fn argon2_hash(password: &str) -> String {
    use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
    let (salt, mut hash) = (b"a salt of 16 byt", [0; 32]);
    let argon2 = argon2::Argon2::default();
    argon2
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .unwrap();
    let [salt, hash] = [&salt[..], &hash].map(|bytes| BASE64_STANDARD_NO_PAD.encode(bytes));
    format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")
}
