//! Groups: open, disabled, invalid, deleted, and what their status counts.

use std::time::{Duration, Instant};

use devicecert::api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;

use super::in_order;
use crate::harness::{
    CONVERGES, PASSWORD, RESTORED, World, authority, condition, device, eventually, group,
    htpasswd, password_secret,
};

/// Ten times the pace at which a group's counts are written.
const COUNTED: Duration = Duration::from_secs(100);

/// Much shorter than the time after which a group is looked at without cause.
const PROMPT: Duration = Duration::from_secs(20);

/// Waits until the group's Ready has this reason, and returns its message.
async fn says(world: &World, group: &str, reason: &str) -> String {
    eventually(format!("group {group} says {reason}"), PROMPT, async || {
        let group: EnrollmentGroup = world.get(group).await;
        let ready = condition(&group, "Ready");
        match ready.filter(|ready| ready.reason == reason) {
            Some(ready) => Ok(ready.message),
            None => Err(format!("{:?}", condition(&group, "Ready"))),
        }
    })
    .await
}

#[tokio::test]
async fn a_group_says_soon_that_a_way_in_is_closed_and_goes_on_with_the_others() {
    let world = World::new().await;
    let vendor =
        json!({ "authentication": { "bootstrap": { "authorityRefs": [{ "name": "vendor" }] } } });
    world.pki(vendor).await;
    let line = json!([{ "authorityRef": { "name": "line" }, "subject": "CN=ra" }]);
    let ras = json!({ "authentication": { "registrationAuthorities": line } });
    world.create(group("ras", "ca", ras)).await;
    let _operator = world.operator(&[]).await;
    let message = says(&world, "g", "AuthorityNotFound").await;
    assert!(
        message.contains("authentication.bootstrap.authorityRefs names the CertificateAuthority")
            && message.contains("vendor, which does not exist: create it"),
        "{message}"
    );
    let message = says(&world, "ras", "AuthorityNotFound").await;
    assert!(
        message.contains("authentication.registrationAuthorities names"),
        "{message}"
    );
    // The group as such is open.
    world
        .create(device("d", "g", json!({ "secretName": "d" })))
        .await;
    world.until::<DeviceIdentity>("d", "True").await;

    for name in ["vendor", "line"] {
        world
            .create(authority(name, json!({ "selfSigned": {} })))
            .await;
    }
    says(&world, "g", "GroupReady").await;
    says(&world, "ras", "GroupReady").await;
    world.delete::<CertificateAuthority>("vendor").await;
    says(&world, "g", "AuthorityNotFound").await;
}

#[tokio::test]
async fn a_group_says_soon_that_its_password_secret_is_gone_or_broken() {
    let world = World::new().await;
    let users = json!({ "authentication": { "passwords": { "secretRef": { "name": "users" } } } });
    let secret = password_secret("users", &htpasswd(&[("u", PASSWORD)]));
    world.create(secret.clone()).await;
    world.pki(users).await;
    let _operator = world.operator(&[]).await;
    says(&world, "g", "GroupReady").await;
    world.delete::<Secret>("users").await;
    let message = says(&world, "g", "PasswordsUnavailable").await;
    assert!(
        message.contains("users does not exist: create it"),
        "{message}"
    );
    world.create(secret).await;
    says(&world, "g", "GroupReady").await;
    world
        .patch::<Secret>("users", json!({ "stringData": { "auth": "u:plain" } }))
        .await;
    says(&world, "g", "PasswordsUnavailable").await;
}

#[tokio::test]
async fn a_group_says_that_its_authority_has_no_room_for_the_cas_that_it_makes() {
    let world = World::new().await;
    world.pki(json!({ "profile": { "isCA": true } })).await;
    let _operator = world.operator(&[]).await;
    let message = says(&world, "g", "AuthorityNotAllowed").await;
    assert!(
        message.contains("ca has pathLength 0, so it cannot certify a CA with pathLength 0: let"),
        "{message}"
    );
    let roomy = json!({ "issuedBy": { "name": "root" }, "validity": "5y", "pathLength": 1 });
    world.create(authority("roomy", roomy)).await;
    world
        .patch::<EnrollmentGroup>(
            "g",
            json!({ "spec": { "authorityRef": { "name": "roomy" } } }),
        )
        .await;
    says(&world, "g", "GroupReady").await;
}

#[tokio::test]
async fn a_disabled_group_issues_nothing_and_shows_when_its_first_device_expires() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "d" })))
        .await;
    let _operator = world.operator(&[]).await;
    let alive: DeviceIdentity = world.until("d", "True").await;
    let expiry = alive.status.unwrap().certificate.unwrap().not_after.0;
    world
        .patch::<EnrollmentGroup>("g", json!({ "spec": { "provisioningStatus": "Disabled" } }))
        .await;
    world.until::<EnrollmentGroup>("g", "GroupDisabled").await;

    world.renew("d").await;
    world
        .create(device("new", "g", json!({ "secretName": "new" })))
        .await;
    let waiting: DeviceIdentity = world.until("new", "GroupDisabled").await;
    assert!(
        condition(&waiting, "Ready")
            .unwrap()
            .message
            .contains("is Disabled")
    );
    let refused = eventually("the refused renewal is told", CONVERGES, async || {
        let device: DeviceIdentity = world.get("d").await;
        match condition(&device, "Issued") {
            Some(issued) if issued.reason == "GroupDisabled" => Ok(device),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(world.record("d").await.len(), 1, "not renewed");
    // What the device has is still good, and says until when.
    let ready = condition(&refused, "Ready").unwrap();
    assert_eq!(ready.reason, "CertificateReady");
    assert!(
        ready
            .message
            .contains("its renewal is refused (GroupDisabled)"),
        "{}",
        ready.message
    );

    eventually(
        "the group says when its first device expires",
        COUNTED,
        async || {
            let group: EnrollmentGroup = world.get("g").await;
            let ready = condition(&group, "Ready").unwrap();
            let status = group.status.unwrap();
            let said = ready
                .message
                .contains(&format!("Its first certificate expires at {expiry}"));
            if said && status.next_expiry.map(|time| time.0) == Some(expiry) {
                Ok(())
            } else {
                Err(ready.message)
            }
        },
    )
    .await;

    world
        .patch::<EnrollmentGroup>("g", json!({ "spec": { "provisioningStatus": "Enabled" } }))
        .await;
    world.until::<DeviceIdentity>("new", "True").await;
    eventually(
        "the renewal is made up for",
        CONVERGES,
        async || match world.record("d").await.len() {
            2 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
}

#[tokio::test]
async fn a_group_counts_its_devices() {
    let world = World::new().await;
    world.pki(json!({})).await;
    for (name, more) in [
        ("a", json!({ "secretName": "a" })),
        ("b", json!({ "secretName": "b" })),
        ("outside", json!({})),
        ("suspended", json!({ "state": "Suspended" })),
        ("revoked", json!({ "state": "Revoked" })),
    ] {
        world.create(device(name, "g", more)).await;
    }
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("a", "True").await;
    world.until::<DeviceIdentity>("b", "True").await;
    eventually("the group's status counts right", COUNTED, async || {
        let status = world
            .get::<EnrollmentGroup>("g")
            .await
            .status
            .unwrap_or_default();
        let expected = json!({ "Active": 2, "Pending": 1, "Suspended": 1, "Revoked": 1 });
        let phases = serde_json::to_value(&status.phases).unwrap();
        if phases == expected && status.devices == Some(5) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_is_deleted_waits_for_its_certificates() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "d" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    world.delete::<EnrollmentGroup>("g").await;
    let words = eventually("the group says why it stays", CONVERGES, async || {
        let group: EnrollmentGroup = world.get("g").await;
        match condition(&group, "Terminating") {
            Some(found) => Ok(found.message),
            None => Err(format!("{:?}", group.status)),
        }
    })
    .await;
    assert!(
        words.contains("1 certificates of this group are still valid"),
        "{words}"
    );
    world
        .create(device("pending", "g", json!({ "secretName": "pending" })))
        .await;
    world.until::<DeviceIdentity>("pending", "InUse").await;
    // Who is in keeps being served: the Secret comes back.
    world
        .delete::<k8s_openapi::api::core::v1::Secret>("d")
        .await;
    eventually("the Secret is back", RESTORED, async || {
        in_order(&world, "d", "d").await.map(drop)
    })
    .await;
    let group: EnrollmentGroup = world.get("g").await;
    assert_eq!(group.finalizers(), ["devicecert.dev/in-use"]);
    world.delete::<DeviceIdentity>("d").await;
    world.until_gone::<EnrollmentGroup>("g").await;
    // Devices are never owned by groups: what has no certificate stays, and hears at once that its group is gone.
    let began = Instant::now();
    world
        .until::<DeviceIdentity>("pending", "GroupNotFound")
        .await;
    assert!(began.elapsed() < RESTORED, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_group_that_cannot_be_used_says_which_field_to_change() {
    let world = World::new().await;
    world.pki(json!({})).await;
    let cases = [
        (
            "validity",
            json!({ "profile": { "validity": "30s" } }),
            "spec.profile.validity",
        ),
        (
            "order",
            json!({ "profile": { "validity": "1s1h" } }),
            "spec.profile.validity",
        ),
        (
            "pattern",
            json!({ "registrationId": { "pattern": "cam-[0-9" } }),
            "spec.registrationId.pattern",
        ),
        (
            "subject",
            json!({ "profile": { "subject": "CN=${registrationId},NOSUCH=x" } }),
            "spec.profile.subject",
        ),
        (
            "system",
            json!({ "profile": { "subject": "O=system:masters,CN=${registrationId}" } }),
            "spec.profile.subject",
        ),
        (
            "network",
            json!({ "allowedNames": { "ipAddresses": ["10.0.0.0/99"] } }),
            "spec.allowedNames",
        ),
        (
            "placeholder",
            json!({ "allowedNames": { "dnsNames": ["${serial}.x"] } }),
            "spec.allowedNames",
        ),
    ];
    for (name, more, _) in &cases {
        world.create(group(name, "ca", more.clone())).await;
        world
            .create(device(name, name, json!({ "secretName": name })))
            .await;
    }
    world
        .create(device("good", "g", json!({ "secretName": "good" })))
        .await;
    let _operator = world.operator(&[]).await;
    for (name, _, field) in cases {
        let told: EnrollmentGroup = world.until(name, "GroupInvalid").await;
        let words = condition(&told, "Ready").unwrap().message;
        assert!(words.contains(field), "{name}: {words}");
        let device: DeviceIdentity = world.until(name, "GroupInvalid").await;
        assert_eq!(condition(&device, "Ready").unwrap().message, words);
        assert_eq!(world.record(name).await, [""; 0]);
    }
    world.until::<DeviceIdentity>("good", "True").await;
    // Corrected, it serves at once.
    world
        .patch::<EnrollmentGroup>(
            "validity",
            json!({ "spec": { "profile": { "validity": "60s" } } }),
        )
        .await;
    let began = Instant::now();
    world.until::<DeviceIdentity>("validity", "True").await;
    assert!(began.elapsed() < RESTORED, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_becomes_ready_wakes_all_that_waits_for_it() {
    let world = World::new().await;
    const CHAINS: usize = 8;
    for number in 0..CHAINS {
        let (root, ca) = (format!("r{number}"), format!("i{number}"));
        world
            .create(authority(&root, json!({ "selfSigned": {} })))
            .await;
        let issued = json!({ "issuedBy": { "name": root } });
        world.create(authority(&ca, issued)).await;
        world
            .create(group(&format!("g{number}"), &ca, json!({})))
            .await;
    }
    let _operator = world.operator(&[]).await;
    let began = Instant::now();
    for number in 0..CHAINS {
        let name = format!("g{number}");
        world.until::<EnrollmentGroup>(&name, "True").await;
    }
    assert!(began.elapsed() < RESTORED, "it took {:?}", began.elapsed());
}
