//! `explain` answers as the EST server does: the same question to both, and the same word from both.

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use devicecert::api::{CertificateAuthority, DeviceIdentity, EnrollmentGroup};
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
use serde_json::{Value, json};

use super::{file, plugin};
use crate::{
    est::{Scene, open, scene},
    harness::{
        CONVERGES, Device, Est, PASSWORD, device, eventually, group, password_secret, run_in,
        split_pem,
    },
};

/// A scene, and a folder for what is asked.
struct Question {
    scene: Scene,
    dir: tempfile::TempDir,
}

impl Question {
    async fn of(passwords: Value, more: Value) -> Self {
        Self {
            scene: scene(passwords, more).await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// What explain says: `granted`, or the reason.
    fn explained(&self, csr: &str, proof: &[&str]) -> (String, String) {
        let path = file(&self.dir, "csr", csr);
        let question = ["explain", "--group", "g", "--csr", &path];
        let run = plugin(&self.scene.world, &[&question, proof].concat());
        let verdict = run
            .out
            .lines()
            .find_map(|line| line.strip_prefix("verdict: "));
        let verdict = verdict.unwrap_or_else(|| panic!("no verdict: {run:?}"));
        let word = match verdict.split(": ").collect::<Vec<_>>()[..] {
            ["granted"] => "granted",
            [_, reason, ..] => reason,
            _ => panic!("{verdict}"),
        };
        assert_eq!(run.code, i32::from(word != "granted"), "{run:?}");
        (word.to_owned(), run.out)
    }

    /// Asks both, the server until it has seen what changed, and expects this from both.
    async fn agree(&self, csr: &str, proof: &[&str], client: &Est, expected: &str) -> String {
        let (word, text) = self.explained(csr, proof);
        assert_eq!(word, expected, "explain says\n{text}");
        eventually(
            format!("the server says {expected}"),
            CONVERGES,
            async || {
                let reply = client.enroll("", csr).await;
                let word = match reply.status {
                    200 => "granted",
                    _ => reply.body.split(':').next().unwrap_or_default(),
                };
                if word != expected {
                    return Err(reply.body);
                }
                let verdict = format!(" with {}: {expected}: ", reply.status);
                assert!(reply.status == 200 || text.contains(&verdict), "{text}");
                Ok(())
            },
        )
        .await;
        text
    }

    /// The same for a request with the password of `u`.
    async fn agree_user(&self, csr: &str, expected: &str) -> String {
        let user = self.scene.user.clone();
        self.agree(csr, &["--user", "u"], &user, expected).await
    }

    async fn change_group(&self, spec: Value) {
        let patch = json!({ "spec": spec });
        self.scene.world.patch::<EnrollmentGroup>("g", patch).await;
    }
}

fn csr_for_a_ca(id: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, id);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let csr = params.serialize_request(&Device::new(id).key).unwrap();
    BASE64_STANDARD.encode(csr.der())
}

#[tokio::test]
async fn explain_and_the_server_agree_about_passwords_and_certificates() {
    let pattern = json!({ "registrationId": { "pattern": "cam-.*" } });
    let ask = Question::of(json!({ "registration": "Open" }), pattern).await;
    let cam1 = Device::new("cam-1");
    let text = ask.agree_user(&cam1.csr(), "granted").await;
    for line in [
        "subject    CN=cam-1",
        "purposes   clientAuth",
        "signed by  ",
        "pass  the key belongs to nobody else",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("device     cam-1 (not registered)"), "{text}");
    let anonymous = ask.scene.anonymous.clone();
    ask.agree(&cam1.csr(), &[], &anonymous, "CredentialsMissing")
        .await;
    ask.agree_user(&Device::new("pump-1").csr(), "RegistrationIdNotAllowed")
        .await;
    ask.agree_user(&Device::new("x y").csr(), "InvalidRegistrationId")
        .await;
    ask.agree_user(
        &Device::new("cam-2").csr_with(&["evil.example"]),
        "NameNotAllowed",
    )
    .await;
    ask.agree_user(&csr_for_a_ca("cam-2"), "AuthorityNotAllowed")
        .await;
    ask.agree_user("MAMCAQE=", "InvalidCsr").await;
    let thief = anonymous.user("v", PASSWORD);
    ask.agree(
        &Device::new("cam-1").csr(),
        &["--user", "v"],
        &thief,
        "SameKeyRequired",
    )
    .await;
    let twin = Device {
        id: "cam-3".into(),
        key: cam1.key,
    };
    ask.agree_user(&twin.csr(), "KeyInUse").await;

    // Renewal with the device's own certificate, which is on record by now.
    let cam4 = Device::new("cam-4");
    let certificate = ask.scene.user.enroll("", &cam4.csr()).await.certificate();
    let path = file(&ask.dir, "cam4.der", &certificate);
    let own = anonymous.certificate(&certificate, &cam4.key);
    ask.agree(&cam4.csr(), &["--cert", &path], &own, "granted")
        .await;
    ask.agree(
        &Device::new("cam-9").csr(),
        &["--cert", &path],
        &own,
        "SubjectMismatch",
    )
    .await;
    let stranger = Device::new("cam-4");
    let strange = stranger.self_signed();
    let strange_path = file(&ask.dir, "strange.der", &strange);
    let client = anonymous.certificate(&strange, &stranger.key);
    ask.agree(
        &stranger.csr(),
        &["--cert", &strange_path],
        &client,
        "UnknownCertificate",
    )
    .await;
    let request = file(
        &ask.dir,
        "request.pem",
        b"-----BEGIN CERTIFICATE REQUEST-----",
    );
    let mistaken = [
        "explain", "--group", "g", "--csr", &request, "--cert", &request,
    ];
    plugin(&ask.scene.world, &mistaken).complains(&["request.pem: there is no certificate in it"]);
    let suspended = json!({ "spec": { "state": "Suspended" } });
    ask.scene
        .world
        .patch::<DeviceIdentity>("cam-4", suspended)
        .await;
    ask.agree(&cam4.csr(), &["--cert", &path], &own, "Suspended")
        .await;
    ask.agree_user(&cam4.csr(), "Suspended").await;
}

#[tokio::test]
async fn explain_and_the_server_agree_about_the_settings_of_a_group() {
    let ask = Question::of(open(), json!({})).await;
    ask.scene.world.create(group("h", "ca", json!({}))).await;
    ask.scene.world.create(device("in-h", "h", json!({}))).await;
    ask.scene
        .world
        .create(device("inside", "g", json!({ "secretName": "inside-tls" })))
        .await;
    ask.agree_user(&Device::new("in-h").csr(), "WrongGroup")
        .await;
    ask.agree_user(&Device::new("inside").csr(), "WrongOrigin")
        .await;
    let csr = Device::new("cam-1").csr();
    let users = |ids: &str| json!({ "authentication": { "passwords": { "users": [{ "name": "u", "registrationIds": ids }] } } });
    for (change, back, expected) in [
        (users("other"), users(".*"), "IdNotAllowed"),
        (
            json!({ "rules": [{ "expression": "csr.commonName == 'x'", "message": "only x" }] }),
            json!({ "rules": null }),
            "RuleViolated",
        ),
        (
            json!({ "profile": { "allowedKeys": ["RSA-2048"] } }),
            json!({ "profile": { "allowedKeys": null } }),
            "KeyNotAllowed",
        ),
        (
            json!({ "authentication": { "channelBinding": "Required" } }),
            json!({ "authentication": { "channelBinding": "Optional" } }),
            "ProofRequired",
        ),
        (
            json!({ "authentication": { "passwords": { "registration": "PreRegistered" } } }),
            json!({ "authentication": { "passwords": { "registration": "Open" } } }),
            "NotRegistered",
        ),
        (
            json!({ "limits": { "devices": 1 } }),
            json!({ "limits": { "devices": null } }),
            "GroupFull",
        ),
        (
            json!({ "provisioningStatus": "Disabled" }),
            json!({ "provisioningStatus": "Enabled" }),
            "GroupDisabled",
        ),
        (
            json!({ "authorityRef": { "name": "nobody" } }),
            json!({ "authorityRef": { "name": "ca" } }),
            "AuthorityNotFound",
        ),
        (
            json!({ "profile": { "subject": "CN=${registrationId}.${oops}" } }),
            json!({ "profile": { "subject": "CN=${registrationId}" } }),
            "GroupInvalid",
        ),
        (
            json!({ "approval": "Manual", "limits": { "pendingRequests": 1 } }),
            json!({}),
            "PendingApproval",
        ),
    ] {
        ask.change_group(change).await;
        ask.agree_user(&csr, expected).await;
        ask.change_group(back).await;
    }
    // One waits now, and there is room for one.
    ask.agree_user(&Device::new("cam-2").csr(), "GroupFull")
        .await;
    ask.change_group(json!({ "approval": "Automatic" })).await;
    let suspended = json!({ "spec": { "suspended": true } });
    ask.scene
        .world
        .patch::<CertificateAuthority>("ca", suspended)
        .await;
    ask.agree_user(&csr, "Suspended").await;
}

#[tokio::test]
async fn explain_and_the_server_agree_about_tokens_and_bootstrap_certificates() {
    let maker = tempfile::tempdir().unwrap();
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem \
        -subj '/CN=Maker' -days 30 -addext keyUsage=critical,keyCertSign 2>/dev/null
        for name in one two; do
          openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -subj /CN=batch -out r.pem 2>/dev/null
          openssl x509 -req -in r.pem -CA root.pem -CAkey root.key -CAcreateserial -days 20 -out $name.pem 2>/dev/null
        done";
    run_in(maker.path(), script).unwrap();
    let read = |name: &str| fs::read_to_string(maker.path().join(name)).unwrap();
    let bootstrap = json!({
        "trustAnchors": read("root.pem"), "registration": "Open", "mapping": { "expression": "csr.commonName" },
    });
    let authentication = json!({ "tokens": {}, "bootstrap": bootstrap, "passwords": null });
    let ask = Question::of(open(), json!({ "authentication": authentication })).await;
    let anonymous = ask.scene.anonymous.clone();

    let make = [
        "token",
        "--group",
        "g",
        "--pattern",
        "pump-.*",
        "--name",
        "t",
    ];
    let text = plugin(&ask.scene.world, &make).printed().trim().to_owned();
    let client = anonymous.bearer(&text);
    let proof = ["--token", "t"];
    ask.agree(&Device::new("cam-1").csr(), &proof, &client, "IdNotAllowed")
        .await;
    ask.agree(&Device::new("pump-1").csr(), &proof, &client, "granted")
        .await;
    ask.agree(
        &Device::new("pump-2").csr(),
        &proof,
        &client,
        "TokenConsumed",
    )
    .await;
    let csr = Device::new("pump-3").csr();
    assert_eq!(ask.explained(&csr, &["--token", "missing"]).0, "WrongToken");
    ask.agree_user(&csr, "WrongToken").await;

    let key = rcgen::KeyPair::from_pem(&read("one.key")).unwrap();
    let client = anonymous.certificate(&split_pem(&read("one.pem"))[0], &key);
    let path = maker.path().join("one.pem");
    let proof = ["--cert", path.to_str().unwrap()];
    ask.agree(&Device::new("edge-1").csr(), &proof, &client, "granted")
        .await;
    ask.agree(
        &Device::new("edge-2").csr(),
        &proof,
        &client,
        "BootstrapPinned",
    )
    .await;
    let key = rcgen::KeyPair::from_pem(&read("two.key")).unwrap();
    let client = anonymous.certificate(&split_pem(&read("two.pem"))[0], &key);
    let path = maker.path().join("two.pem");
    let proof = ["--cert", path.to_str().unwrap()];
    ask.agree(
        &Device::new("edge-1").csr(),
        &proof,
        &client,
        "SameKeyRequired",
    )
    .await;
}

#[tokio::test]
async fn who_sees_only_the_namespace_gets_an_answer_that_says_what_it_did_not_look_at() {
    let ask = Question::of(open(), json!({ "approval": "Manual" })).await;
    let world = &ask.scene.world;
    let rules =
        json!([{ "apiGroups": ["devicecert.dev"], "resources": ["*"], "verbs": ["get", "list"] }]);
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "reader" }, "rules": rules });
    world.create(role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "User", "name": "carol", "apiGroup": "rbac.authorization.k8s.io" }],
    });
    world.create(binding).await;
    let csr = file(&ask.dir, "cam.csr", Device::new("cam-1").csr_pem());
    let question = [
        "explain", "--group", "g", "--csr", &csr, "--user", "u", "--id", "cam-2", "--as", "carol",
    ];
    let run = eventually("carol may read", CONVERGES, async || {
        let run = plugin(world, &question);
        if run.out.contains("verdict") {
            Ok(run)
        } else {
            Err(format!("{run:?}"))
        }
    })
    .await;
    for words in [
        "verdict: waits with 202: PendingApproval",
        "not looked at: deviceidentities of other namespaces",
        "not looked at: the admission policy",
        "the password of u is right",
        "for the registration ID cam-1, not for cam-2",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    // A change can be tried before it is made.
    let manifest = "apiVersion: devicecert.dev/v1alpha1\nkind: EnrollmentGroup\nmetadata: { name: g }\nspec:\n  authorityRef: { name: ca }\n\
        \u{20}\u{20}authentication: { passwords: { secretRef: { name: users }, registration: Open } }\n";
    let manifest = file(&ask.dir, "group.yaml", manifest);
    let tried = [
        "explain", "--group", "g", "--csr", &csr, "--user", "u", "--file", &manifest,
    ];
    assert!(plugin(world, &tried).printed().contains("verdict: granted"));
}

#[tokio::test]
async fn rules_that_do_not_apply_are_told_from_those_that_hold() {
    let ask = Question::of(open(), json!({})).await;
    let (word, text) = ask.explained(&Device::new("cam-1").csr(), &["--user", "u"]);
    assert_eq!(word, "granted");
    for line in [
        "  pass  the credentials may claim the ID\n",
        "  n/a   an expired certificate is within the recovery window\n",
        "  n/a   the CSR is bound to its TLS connection, where it must be\n",
        "  n/a   the server may make keys, if it is asked to\n",
        "  n/a   the key is of an allowed kind\n",
        "  n/a   the credentials may replace a live certificate\n",
        "  n/a   the group's own rules hold\n",
        "  n/a   a person has approved the key, where one must\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let rule = json!({ "spec": { "rules": [{ "expression": "csr.commonName.startsWith('cam')" }], "approval": "Manual" } });
    ask.scene.world.patch::<EnrollmentGroup>("g", rule).await;
    let (_, text) = ask.explained(&Device::new("cam-1").csr(), &["--user", "u"]);
    assert!(
        text.contains("  pass  the group's own rules hold\n"),
        "{text}"
    );
    assert!(
        text.contains("  FAIL  a person has approved the key"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missing_password_secret_is_a_refusal_as_at_the_server() {
    let ask = Question::of(open(), json!({})).await;
    let csr = Device::new("cam-1").csr();
    ask.scene.world.delete::<Secret>("users").await;
    ask.agree_user(&csr, "PasswordsUnavailable").await;
    let broken = password_secret("users", "u:plain\n");
    ask.scene.world.create(broken).await;
    eventually(
        "the operator's complaint is repeated",
        CONVERGES,
        async || {
            let (_, text) = ask.explained(&csr, &["--user", "u"]);
            let words =
                "the operator says of the group's passwords: the password Secret users has no user";
            if text.contains(words) {
                Ok(())
            } else {
                Err(text)
            }
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_secret_is_never_repeated() {
    let ask = Question::of(json!({}), json!({ "authentication": { "tokens": {} } })).await;
    let world = &ask.scene.world;
    let csr = file(&ask.dir, "csr", Device::new("cam-1").csr());
    let explain = |more: &[&str]| {
        let question = ["explain", "--group", "g", "--csr", &csr];
        plugin(world, &[&question, more].concat())
    };
    let made = plugin(world, &["token", "--group", "g", "--id", "cam-1"]);
    let token = made.printed().trim();
    let secret = token.rsplit('.').next().unwrap();
    for text in [token, secret] {
        let run = explain(&["--token", text]);
        run.complains(&["--token takes the name of the EnrollmentToken object"]);
        assert!(
            !run.err.contains(secret) && !run.out.contains(secret),
            "{run:?}"
        );
    }
    let users = "apiVersion: v1\nkind: Secret\nmetadata: { name: users }\nstringData: { auth: 'u:$2y$05$hash' }\n---\n";
    let manifest = |more: &str| {
        format!(
            "{users}apiVersion: devicecert.dev/v1alpha1\nkind: EnrollmentGroup\nmetadata: {{ name: g }}\nspec:\n  authorityRef: \
             {{ name: ca }}\n  {more}\n"
        )
    };
    let open = "authentication: { passwords: { secretRef: { name: users }, registration: Open } }";
    for (more, words) in [
        ("authentification: {}", "spec.authentification is no field"),
        ("x: [", "is not YAML"),
    ] {
        let path = file(&ask.dir, "wrong.yaml", manifest(more));
        let run = explain(&["--user", "u", "--file", &path]);
        run.complains(&["wrong.yaml: ", words]);
        assert!(!run.err.contains("hash"), "{run:?}");
    }
    let path = file(&ask.dir, "right.yaml", manifest(open));
    let run = explain(&["--user", "u", "--file", &path]);
    assert!(run.printed().contains("verdict: granted"), "{run:?}");
}
