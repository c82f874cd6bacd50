//! The certificates of authorities: algorithms, names, lifespans, path lengths; judged by openssl.

use std::fs;

use devicecert::api::CertificateAuthority;
use serde_json::json;

use crate::harness::{
    CONVERGES, Facts, World, authority, condition, eventually, run_in, split_pem,
};

const ALGORITHMS: [(&str, &str); 6] = [
    ("ECDSA-P256", "NIST CURVE: P-256"),
    ("ECDSA-P384", "NIST CURVE: P-384"),
    ("RSA-2048", "Public-Key: (2048 bit)"),
    ("RSA-3072", "Public-Key: (3072 bit)"),
    ("RSA-4096", "Public-Key: (4096 bit)"),
    ("Ed25519", "ED25519 Public-Key"),
];

/// The chain in an authority's status: PEM, its own certificate first.
async fn chain(world: &World, name: &str) -> String {
    let ca: CertificateAuthority = world.until(name, "True").await;
    ca.status.unwrap().chain.unwrap()
}

fn openssl_text(der: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.der"), der).unwrap();
    run_in(
        dir.path(),
        "openssl x509 -inform DER -in c.der -noout -text -nameopt RFC2253,sep_comma_plus",
    )
    .unwrap()
}

#[tokio::test]
async fn every_key_algorithm_makes_roots_and_intermediates_that_openssl_accepts() {
    let world = World::new().await;
    for (number, (algorithm, _)) in ALGORITHMS.iter().enumerate() {
        // The order of writing differs, the name is the same: both begin with DC=com in the certificate.
        let subject = match number % 2 {
            0 => "CN=Root,OU=Line 4,OU=Plant 7,O=Example GmbH,DC=example,DC=com",
            _ => "/DC=com/DC=example/O=Example GmbH/OU=Plant 7/OU=Line 4/CN=Root",
        };
        let root = json!({ "selfSigned": {}, "keyAlgorithm": algorithm, "validity": "20y", "subject": subject });
        world
            .create(authority(&format!("root-{number}"), root))
            .await;
        // Each is signed by a root of the next algorithm.
        let parent = format!("root-{}", (number + 1) % ALGORITHMS.len());
        let child = json!({
            "issuedBy": { "name": parent }, "keyAlgorithm": algorithm, "validity": "10y", "pathLength": 0,
            "subject": "CN=Below,OU=Line 4,OU=Plant 7,O=Example GmbH,DC=example,DC=com",
        });
        world
            .create(authority(&format!("below-{number}"), child))
            .await;
    }
    let _operator = world.operator(&[]).await;

    let mut subjects = Vec::new();
    for (number, (algorithm, in_words)) in ALGORITHMS.iter().enumerate() {
        let root = chain(&world, &format!("root-{number}")).await;
        let facts = Facts::of_pem(&root);
        assert_eq!(split_pem(&root).len(), 1);
        assert_eq!(
            (facts.ca, &facts.issuer_der),
            (Some((true, None)), &facts.subject_der)
        );
        facts.verify(&root, "").unwrap();
        subjects.push(facts.subject_der.clone());

        let below = chain(&world, &format!("below-{number}")).await;
        let parent = chain(&world, &format!("root-{}", (number + 1) % ALGORITHMS.len())).await;
        let facts = Facts::of_pem(&below);
        assert_eq!(split_pem(&below)[1..], split_pem(&parent));
        assert_eq!(facts.ca, Some((true, Some(0))));
        assert_eq!(facts.issuer_der, Facts::of_pem(&parent).subject_der);
        facts.verify(&parent, "").unwrap();

        let text = openssl_text(&facts.der);
        assert!(text.contains(in_words), "{algorithm}: {text}");
        let subject = "Subject: CN=Below,OU=Line 4,OU=Plant 7,O=Example GmbH,DC=example,DC=com";
        assert!(text.contains(subject), "{text}");
        assert!(text.contains("X509v3 Key Usage: critical"), "{text}");
        assert!(text.contains("Certificate Sign, CRL Sign"), "{text}");
    }
    assert!(
        subjects.windows(2).all(|two| two[0] == two[1]),
        "both ways of writing mean one name"
    );
}

#[tokio::test]
async fn lifespans_reach_from_a_minute_to_decades() {
    let world = World::new().await;
    let lifespans = [
        ("20y", 20 * 365 * 86_400),
        ("90d", 90 * 86_400),
        ("24h", 86_400),
        ("60s", 60),
    ];
    for (lifespan, _) in lifespans {
        let spec = json!({ "selfSigned": {}, "validity": lifespan });
        world
            .create(authority(&format!("ca-{lifespan}"), spec))
            .await;
    }
    world
        .create(authority(
            "too-short",
            json!({ "selfSigned": {}, "validity": "59s" }),
        ))
        .await;
    let longer = json!({ "issuedBy": { "name": "ca-90d" }, "validity": "20y" });
    world
        .create(authority("longer-than-its-issuer", longer))
        .await;
    let began = jiff::Timestamp::now().as_second();
    let _operator = world.operator(&[]).await;

    for (lifespan, seconds) in lifespans {
        let facts = Facts::of_pem(&chain(&world, &format!("ca-{lifespan}")).await);
        let ended = jiff::Timestamp::now().as_second();
        let issued = facts.not_after - seconds;
        assert!(
            (began..=ended).contains(&issued),
            "{lifespan} counts from now: {began} {issued} {ended}"
        );
        let back_dating = (seconds / 100).min(60);
        assert_eq!(facts.not_before, issued - back_dating, "{lifespan}");
    }
    let short: CertificateAuthority = world.until("too-short", "InvalidSpec").await;
    let words = condition(&short, "Ready").unwrap().message;
    assert!(words.contains("write 60s or more"), "{words}");
    let clipped = Facts::of_pem(&chain(&world, "longer-than-its-issuer").await);
    assert_eq!(
        clipped.not_after,
        Facts::of_pem(&chain(&world, "ca-90d").await).not_after
    );
    // The shortest one expires while we watch, and says so by itself.
    world
        .until::<CertificateAuthority>("ca-60s", "Expired")
        .await;
}

#[tokio::test]
async fn an_intermediate_waits_for_its_parent_and_then_becomes_ready_by_itself() {
    let world = World::new().await;
    world
        .create(authority(
            "grandchild",
            json!({ "issuedBy": { "name": "child" } }),
        ))
        .await;
    world
        .create(authority(
            "child",
            json!({ "issuedBy": { "name": "parent" } }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    let child: CertificateAuthority = world.until("child", "AuthorityNotFound").await;
    let words = condition(&child, "Ready").unwrap().message;
    assert!(
        words.contains("waits for the CertificateAuthority parent"),
        "{words}"
    );
    let grandchild: CertificateAuthority = world.until("grandchild", "AuthorityNotReady").await;
    let words = condition(&grandchild, "Ready").unwrap().message;
    assert!(
        words.contains("waits for its issuer") && words.contains("child"),
        "{words}"
    );

    world
        .create(authority("parent", json!({ "selfSigned": {} })))
        .await;
    let began = std::time::Instant::now();
    let chain = chain(&world, "grandchild").await;
    // Woken by its parent; the idle look comes every 30 s only.
    assert!(
        began.elapsed().as_secs() < 20,
        "it took {:?}",
        began.elapsed()
    );
    let [_, child, root] = &split_pem(&chain)[..] else {
        panic!("three certificates, not {chain}")
    };
    let pem = |der: &Vec<u8>| pem(der);
    Facts::of_pem(&chain)
        .verify(&pem(root), &pem(child))
        .unwrap();
}

fn pem(der: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64_STANDARD.encode(der)
    )
}

#[tokio::test]
async fn path_lengths_are_kept_and_a_child_that_breaks_them_is_told() {
    let world = World::new().await;
    world
        .create(authority(
            "one",
            json!({ "selfSigned": {}, "pathLength": 1 }),
        ))
        .await;
    world
        .create(authority(
            "zero",
            json!({ "issuedBy": { "name": "one" }, "pathLength": 0 }),
        ))
        .await;
    world
        .create(authority(
            "below-zero",
            json!({ "issuedBy": { "name": "zero" } }),
        ))
        .await;
    world
        .create(authority(
            "as-long",
            json!({ "issuedBy": { "name": "one" }, "pathLength": 1 }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    assert_eq!(
        Facts::of_pem(&chain(&world, "one").await).ca,
        Some((true, Some(1)))
    );
    assert_eq!(
        Facts::of_pem(&chain(&world, "zero").await).ca,
        Some((true, Some(0)))
    );
    for (name, words) in [
        (
            "below-zero",
            "the issuing CA has pathLength 0: it can sign devices, but no CA below it",
        ),
        ("as-long", "spec.pathLength here may be at most 0"),
    ] {
        let refused: CertificateAuthority = world.until(name, "InvalidSpec").await;
        let message = condition(&refused, "Ready").unwrap().message;
        assert!(message.contains(words), "{message}");
    }
    let keys = world.key_secrets().list(&Default::default()).await.unwrap();
    assert_eq!(
        keys.items.len(),
        2,
        "no key is made for an authority that cannot be"
    );
}

#[tokio::test]
async fn names_that_cannot_be_are_explained() {
    let world = World::new().await;
    for (name, subject) in [("open", "CN=a,O"), ("attribute", "CN=a,NOSUCH=b")] {
        world
            .create(authority(
                name,
                json!({ "selfSigned": {}, "subject": subject }),
            ))
            .await;
    }
    let _operator = world.operator(&[]).await;
    for name in ["open", "attribute"] {
        let refused: CertificateAuthority = world.until(name, "InvalidSpec").await;
        let message = condition(&refused, "Ready").unwrap().message;
        assert!(message.contains("spec.subject"), "{message}");
    }
    eventually("Events say the same", CONVERGES, async || {
        let described = world.kubectl(&["describe", "dca", "attribute"]);
        match described.contains("InvalidSpec") && described.contains("Warning") {
            true => Ok(()),
            false => Err(described),
        }
    })
    .await;
}
