//! Manual approval: a person approves a key, and nobody else can.

use devicecert::api::{DeviceIdentity, DevicePhase, EnrollmentGroup};
use serde_json::json;

use super::{open, scene};
use crate::harness::{CONVERGES, Cluster, Device, World, authority, condition, eventually, group};

#[tokio::test]
async fn a_key_waits_for_a_person_and_polling_changes_nothing() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let device = Device::new("cam-1");
    let csr = device.csr();
    let reply = scene.user.enroll("", &csr).await;
    reply.refuses(
        202,
        "PendingApproval",
        &["kubectl devicecert approve cam-1"],
    );
    assert!(reply.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    let pending: DeviceIdentity = scene.world.get("cam-1").await;
    let request = pending.status.clone().unwrap().pending_request.unwrap();
    assert_eq!(
        (request.subject.as_str(), request.requester.as_str()),
        ("CN=cam-1", "Password/u")
    );
    assert_eq!(
        pending.status.as_ref().unwrap().phase,
        Some(DevicePhase::PendingApproval)
    );
    for _ in 0..3 {
        scene
            .user
            .enroll("", &csr)
            .await
            .refuses(202, "PendingApproval", &[]);
    }
    let same: DeviceIdentity = scene.world.get("cam-1").await;
    assert_eq!(
        same.metadata.resource_version, pending.metadata.resource_version,
        "polling writes nothing"
    );

    let approval = json!({ "decision": "Approved", "keyFingerprint": request.key_fingerprint });
    scene
        .world
        .patch::<DeviceIdentity>("cam-1", json!({ "spec": { "approval": approval } }))
        .await;
    let certificate = scene.user.enroll("", &csr).await.certificate();
    device.owns(&certificate);
    let done: DeviceIdentity = scene.world.until("cam-1", "True").await;
    assert_eq!(done.status.unwrap().pending_request, None);

    // The approved key renews; another one waits again, though the certificate is good.
    let client = scene.anonymous.certificate(&certificate, &device.key);
    device.owns(&client.reenroll("", &device.csr()).await.certificate());
    let other = Device::new("cam-1");
    client
        .reenroll("", &other.csr())
        .await
        .refuses(202, "PendingApproval", &[]);
    let waiting: DeviceIdentity = scene.world.get("cam-1").await;
    assert!(waiting.status.unwrap().pending_request.is_some());
}

#[tokio::test]
async fn a_denied_key_is_refused_and_reject_answers_403() {
    let scene = scene(open(), json!({ "approval": "Manual", "pending": "Reject" })).await;
    let device = Device::new("cam-1");
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(403, "ApprovalRequired", &["approve"]);
    let pending: DeviceIdentity = scene.world.get("cam-1").await;
    let key = pending
        .status
        .unwrap()
        .pending_request
        .unwrap()
        .key_fingerprint;
    let approval =
        json!({ "decision": "Denied", "keyFingerprint": key, "reason": "unknown serial number" });
    scene
        .world
        .patch::<DeviceIdentity>("cam-1", json!({ "spec": { "approval": approval } }))
        .await;
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(403, "Denied", &["unknown serial number"]);
    let denied: DeviceIdentity = scene.world.until("cam-1", "Denied").await;
    assert_eq!(denied.status.unwrap().phase, Some(DevicePhase::Denied));
}

#[tokio::test]
async fn a_secret_and_a_request_wait_too() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let csr = Device::new("r1").csr_pem();
    for (name, spec) in [
        ("s1", json!({ "secretName": "s1-tls" })),
        ("r1", json!({ "request": csr })),
    ] {
        scene
            .world
            .create(crate::harness::device(name, "g", spec))
            .await;
        let pending: DeviceIdentity = scene.world.until(name, "PendingApproval").await;
        let key = pending
            .status
            .unwrap()
            .pending_request
            .unwrap()
            .key_fingerprint;
        let approval = json!({ "decision": "Approved", "keyFingerprint": key });
        scene
            .world
            .patch::<DeviceIdentity>(name, json!({ "spec": { "approval": approval } }))
            .await;
        scene.world.until::<DeviceIdentity>(name, "True").await;
    }
}

#[tokio::test]
async fn only_holders_of_the_verb_may_approve_at_creation_too() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let namespace = &scene.world.namespace;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "owner" },
        "rules": [{ "apiGroups": ["devicecert.dev"], "resources": ["deviceidentities"], "verbs": ["*"] }],
    });
    let approver = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "approver" },
        "rules": [{ "apiGroups": ["devicecert.dev"], "resources": ["enrollmentgroups"], "resourceNames": ["g"], "verbs": ["approve"] }],
    });
    let bind = |role: &str, user: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": format!("{role}-{user}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
            "subjects": [{ "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io" }],
        })
    };
    for object in [
        role,
        approver,
        bind("owner", "alice"),
        bind("owner", "bob"),
        bind("approver", "bob"),
    ] {
        scene.world.create(object).await;
    }
    let key = "ab".repeat(32);
    let object = |name: &str| {
        let spec = json!({ "approval": { "decision": "Approved", "keyFingerprint": key } });
        let mut object = crate::harness::device(name, "g", spec);
        object["metadata"]["namespace"] = json!(namespace);
        object.to_string()
    };
    let create = |user: &str, name: &str| {
        scene
            .world
            .cluster
            .kubectl(&["create", "--as", user, "-f", "-"], &object(name))
    };
    // The API server learns of new roles and policies a moment later.
    eventually("bob may approve", CONVERGES, async || {
        create("bob", "by-bob").map_err(|e| e.to_string())
    })
    .await;
    let refused = create("alice", "by-alice").unwrap_err();
    assert!(
        refused.contains("verb \"approve\"") && refused.contains("kubectl devicecert approve"),
        "{refused}"
    );
    scene
        .world
        .create(crate::harness::device("plain", "g", json!({})))
        .await;
    let patch =
        json!({ "spec": { "approval": { "decision": "Approved", "keyFingerprint": key } } })
            .to_string();
    let approve = |user: &str| {
        scene.world.cluster.kubectl(
            &[
                "-n",
                namespace,
                "patch",
                "did",
                "plain",
                "--as",
                user,
                "--type=merge",
                "-p",
                &patch,
            ],
            "",
        )
    };
    assert!(approve("alice").unwrap_err().contains("verb \"approve\""));
    approve("bob").unwrap();
    // What is there may stay when somebody else changes something else.
    let other = [
        "-n",
        namespace,
        "patch",
        "did",
        "plain",
        "--as",
        "alice",
        "--type=merge",
        "-p",
        r#"{"spec":{"state":"Suspended"}}"#,
    ];
    scene.world.cluster.kubectl(&other, "").unwrap();
}

#[tokio::test]
async fn without_the_policy_a_manual_group_issues_nothing_and_says_so() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start("unprotected")));
    let world = World::within(cluster).await;
    world
        .create(authority("root", json!({ "selfSigned": {} })))
        .await;
    world
        .create(group("g", "root", json!({ "approval": "Manual" })))
        .await;
    let _operator = world.operator(&[]).await;
    let unprotected: EnrollmentGroup = world.until("g", "ApprovalNotProtected").await;
    let ready = condition(&unprotected, "Ready").unwrap();
    assert!(
        ready
            .message
            .contains("ValidatingAdmissionPolicy devicecert-approval"),
        "{}",
        ready.message
    );
    let approved = json!({ "secretName": "d-tls", "approval": { "decision": "Approved", "keyFingerprint": "ab".repeat(32) } });
    world
        .create(crate::harness::device("d", "g", approved))
        .await;
    let device: DeviceIdentity = world.until("d", "ApprovalNotProtected").await;
    assert_eq!(device.status.unwrap().certificate, None);
}

#[tokio::test]
async fn an_approval_is_for_the_names_that_were_shown() {
    let names = json!({ "approval": "Manual", "allowedNames": { "dnsNames": ["*.example.com"] } });
    let scene = scene(open(), names).await;
    let device = Device::new("cam-1");
    let harmless = device.csr_with(&["cam1.example.com"]);
    scene
        .user
        .enroll("", &harmless)
        .await
        .refuses(202, "PendingApproval", &[]);
    let pending: DeviceIdentity = scene.world.get("cam-1").await;
    let request = pending.status.unwrap().pending_request.unwrap();
    assert_eq!(request.subject_alt_names, ["DNS:cam1.example.com"]);
    let greedy = device.csr_with(&["admin.example.com"]);
    scene
        .user
        .enroll("", &greedy)
        .await
        .refuses(202, "PendingApproval", &[]);
    let approval = json!({ "decision": "Approved", "keyFingerprint": request.key_fingerprint });
    scene
        .world
        .patch::<DeviceIdentity>("cam-1", json!({ "spec": { "approval": approval } }))
        .await;
    scene.user.enroll("", &greedy).await.refuses(
        403,
        "NameNotAllowed",
        &["admin.example.com", "approved for other names"],
    );
    device.owns(&scene.user.enroll("", &harmless).await.certificate());
    // Nor later.
    scene
        .user
        .enroll("", &greedy)
        .await
        .refuses(403, "NameNotAllowed", &[]);
}

#[tokio::test]
async fn another_key_that_asks_does_not_widen_what_was_approved() {
    let names = json!({ "approval": "Manual", "allowedNames": { "dnsNames": ["*.example.com"] } });
    let scene = scene(open(), names).await;
    let device = Device::new("cam-1");
    let harmless = device.csr_with(&["cam1.example.com"]);
    let waits = |reply: crate::harness::Reply| reply.refuses(202, "PendingApproval", &[]);
    waits(scene.user.enroll("", &harmless).await);
    let pending: DeviceIdentity = scene.world.get("cam-1").await;
    let request = pending.status.unwrap().pending_request.unwrap();
    // It has waited for longer than another may not take its place.
    let old = json!({ "pendingRequest": { "requestedAt": "2001-01-01T00:00:00Z" } });
    scene
        .world
        .patch_status::<DeviceIdentity>("cam-1", old)
        .await;
    let approval = json!({ "decision": "Approved", "keyFingerprint": request.key_fingerprint });
    scene
        .world
        .patch::<DeviceIdentity>("cam-1", json!({ "spec": { "approval": approval } }))
        .await;
    let other = Device::new("cam-1");
    waits(scene.user.enroll("", &other.csr()).await);
    let pending: DeviceIdentity = scene.world.get("cam-1").await;
    let shown = pending.status.unwrap().pending_request.unwrap();
    assert_ne!(shown.key_fingerprint, request.key_fingerprint);

    let greedy = device.csr_with(&["admin.example.com"]);
    scene.user.enroll("", &greedy).await.refuses(
        403,
        "NameNotAllowed",
        &["admin.example.com", "approved for other names"],
    );
    device.owns(&scene.user.enroll("", &harmless).await.certificate());
}
