//! Approval by people: of the key that they saw, and only by those who may.

use devicecert::api::{ApprovalDecision, DeviceIdentity};
use serde_json::{Value, json};

use super::{at_a_terminal, plugin};
use crate::{
    est::{Scene, open, scene},
    harness::{CONVERGES, Device, eventually},
};

async fn pending_key(scene: &Scene, name: &str) -> String {
    let device: DeviceIdentity = scene.world.get(name).await;
    device
        .status
        .unwrap()
        .pending_request
        .unwrap()
        .key_fingerprint
}

#[tokio::test]
async fn the_key_that_was_seen_is_approved_and_no_other() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let run = |arguments: &[&str]| plugin(&scene.world, arguments);
    assert!(run(&["pending"]).printed().contains("nothing waits"));
    run(&["approve", "cam-1"]).complains(&["there is no DeviceIdentity cam-1 in namespace"]);
    let (first, second) = (Device::new("cam-1"), Device::new("cam-1"));
    scene
        .user
        .enroll("", &first.csr())
        .await
        .refuses(202, "PendingApproval", &[]);
    let seen = pending_key(&scene, "cam-1").await;
    let list = run(&["pending"]);
    for word in ["cam-1", &seen, "ECDSA-P256", "CN=cam-1", "Password/u"] {
        assert!(list.printed().contains(word), "{word}: {}", list.out);
    }
    run(&["approve", "cam-1"])
        .complains(&["without a terminal", &format!("approve cam-1 --key {seen}")]);
    // Meanwhile somebody else asks in the device's name. A request that has just come stays for a person to look at; an old
    // one makes way.
    let ask = async |device: &Device| {
        let reply = scene.user.enroll("", &device.csr()).await;
        reply.refuses(202, "PendingApproval", &[]);
    };
    let grow_old = async || {
        let old = json!({ "pendingRequest": { "requestedAt": "2001-01-01T00:00:00Z" } });
        scene
            .world
            .patch_status::<devicecert::api::DeviceIdentity>("cam-1", old)
            .await;
    };
    ask(&second).await;
    assert_eq!(pending_key(&scene, "cam-1").await, seen);
    grow_old().await;
    ask(&second).await;
    run(&["approve", "cam-1", "--key", &seen]).complains(&["another key waits"]);
    grow_old().await;
    ask(&first).await;
    let colons = seen.to_uppercase();
    assert!(
        run(&["approve", "cam-1", "--key", &colons])
            .printed()
            .contains("approved")
    );
    assert!(
        run(&["pending"]).printed().contains("nothing waits"),
        "what is decided waits for the device"
    );
    first.owns(&scene.user.enroll("", &first.csr()).await.certificate());
    run(&["approve", "cam-1", "--key", &seen]).complains(&["no request waits"]);
    run(&["deny", "a", "b", "--key", &seen]).complains(&["one device"]);
}

#[tokio::test]
async fn a_denial_tells_the_device_why_and_can_be_taken_back() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let device = Device::new("cam-1");
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(202, "PendingApproval", &[]);
    let key = pending_key(&scene, "cam-1").await;
    let deny = [
        "deny",
        "cam-1",
        "--key",
        &key,
        "--reason",
        "unknown serial number",
    ];
    assert!(plugin(&scene.world, &deny).printed().contains("denied"));
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(403, "Denied", &["unknown serial number"]);
    plugin(&scene.world, &["approve", "cam-1", "--key", &key]).printed();
    let approved: DeviceIdentity = scene.world.get("cam-1").await;
    let approval = approved.spec.approval.unwrap();
    assert_eq!(
        (approval.decision, approval.reason),
        (ApprovalDecision::Approved, None)
    );
    device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
}

#[tokio::test]
async fn who_lacks_the_verb_is_told_which() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let device = Device::new("cam-1");
    scene
        .user
        .enroll("", &device.csr())
        .await
        .refuses(202, "PendingApproval", &[]);
    let key = pending_key(&scene, "cam-1").await;
    let role = |name: &str, rules: Value| json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": name }, "rules": [rules] });
    let bind = |role: &str, user: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": format!("{role}-{user}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
            "subjects": [{ "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io" }],
        })
    };
    let group = "devicecert.dev";
    let owner = json!({ "apiGroups": [group], "resources": ["deviceidentities"], "verbs": ["*"] });
    let approver = json!({ "apiGroups": [group], "resources": ["enrollmentgroups"], "resourceNames": ["g"], "verbs": ["approve"] });
    for object in [
        role("owner", owner),
        role("approver", approver),
        bind("owner", "alice"),
        bind("owner", "bob"),
        bind("approver", "bob"),
    ] {
        scene.world.create(object).await;
    }
    // The API server learns of new roles a moment later; before, alice may not even look.
    let refused = eventually("alice may look, but not approve", CONVERGES, async || {
        let run = plugin(
            &scene.world,
            &["approve", "cam-1", "--key", &key, "--as", "alice"],
        );
        if run.out.contains(&key) {
            Ok(run)
        } else {
            Err(format!("{run:?}"))
        }
    })
    .await;
    refused.complains(&["verb \"approve\" on enrollmentgroups/g"]);
    let untouched: DeviceIdentity = scene.world.get("cam-1").await;
    assert_eq!(untouched.spec.approval, None);
    eventually("bob approves", CONVERGES, async || {
        let run = plugin(
            &scene.world,
            &["approve", "cam-1", "--key", &key, "--as", "bob"],
        );
        if run.code == 0 {
            Ok(())
        } else {
            Err(format!("{run:?}"))
        }
    })
    .await;
    device.owns(&scene.user.enroll("", &device.csr()).await.certificate());
}

#[tokio::test]
async fn at_a_terminal_each_request_is_shown_and_asked_about() {
    let scene = scene(open(), json!({ "approval": "Manual" })).await;
    let (one, two) = (Device::new("cam-1"), Device::new("cam-2"));
    for device in [&one, &two] {
        let reply = scene.user.enroll("", &device.csr()).await;
        reply.refuses(202, "PendingApproval", &[]);
    }
    let both = ["approve", "cam-1", "cam-2"];
    at_a_terminal(&scene.world, &both, "n").complains(&[
        "approve this key? (y/N)",
        &pending_key(&scene, "cam-1").await,
        "CN=cam-1",
        "cam-1: nothing was decided",
    ]);
    let none: DeviceIdentity = scene.world.get("cam-1").await;
    assert_eq!(none.spec.approval, None);
    let run = at_a_terminal(&scene.world, &both, "y\ny");
    assert!(run.printed().contains("cam-2 approved"), "{run:?}");
    one.owns(&scene.user.enroll("", &one.csr()).await.certificate());
    two.owns(&scene.user.enroll("", &two.csr()).await.certificate());
}
