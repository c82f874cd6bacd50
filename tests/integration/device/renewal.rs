//! Renewals: on time, three times over; keys kept or changed; asked for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use devicecert::api::{ConditionStatus, DeviceIdentity};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use super::{Contents, in_order};
use crate::harness::{CONVERGES, Device, Facts, World, condition, device, eventually, group};

/// How often each certificate is renewed before the test is content.
const RENEWALS: usize = 3;
/// How late a renewal may be, and how late its Secret: ten times what an idle machine needs.
const LATE: Duration = Duration::from_secs(10);

/// One certificate, as it came to be seen.
struct Seen {
    record: Facts,
    renewal_time: jiff::Timestamp,
    at: jiff::Timestamp,
}

/// A certificate of a minute is due after 45 to 48 s, so this test takes two and a half minutes; others run meanwhile.
#[tokio::test]
async fn a_60_second_certificate_is_renewed_three_times_on_time() {
    let world = World::new().await;
    world.pki(json!({ "profile": { "validity": "60s" } })).await;
    world
        .create(group(
            "keeps",
            "ca",
            json!({ "profile": { "validity": "60s" }, "renewal": { "rotateKey": false } }),
        ))
        .await;
    let asked = Device::new("asked");
    world
        .create(device("rotates", "g", json!({ "secretName": "rotates" })))
        .await;
    world
        .create(device("keeps", "keeps", json!({ "secretName": "keeps" })))
        .await;
    world
        .create(device("asked", "g", json!({ "request": asked.csr_pem() })))
        .await;
    let _operator = world.operator(&[]).await;

    let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let mut keys: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut events = watcher(world.api::<DeviceIdentity>(), watcher::Config::default())
        .touched_objects()
        .boxed();
    let began = Instant::now();
    while seen.len() < 3
        || seen
            .values()
            .any(|certificates| certificates.len() <= RENEWALS)
    {
        assert!(
            began.elapsed() < Duration::from_secs(240),
            "the renewals take too long"
        );
        let wait = tokio::time::timeout(Duration::from_secs(70), events.try_next());
        let device = wait
            .await
            .expect("a certificate is renewed in time")
            .unwrap()
            .unwrap();
        let name = device.name_any();
        let at = jiff::Timestamp::now();
        let status = device.status.clone().unwrap_or_default();
        let Some(certificate) = status.certificate else {
            continue;
        };
        let ready =
            condition(&device, "Ready").is_some_and(|ready| ready.status == ConditionStatus::True);
        let known = seen.entry(name.clone()).or_default();
        assert!(
            ready || known.len() <= 1,
            "{name} was Ready and is not any more"
        );
        if known
            .last()
            .is_some_and(|last| last.record.fingerprint() == certificate.fingerprint)
            || !ready
        {
            continue;
        }
        let record = match certificate.pem {
            Some(pem) => Facts::of_pem(&pem),
            // The record comes first, and the Secret at once after it.
            None => {
                eventually(format!("the Secret {name} follows"), LATE, async || {
                    let secret: Secret = world.get(&name).await;
                    let contents = Contents::read(&secret)?;
                    contents.check()?;
                    let leaf = contents.leaf();
                    if leaf.fingerprint() == certificate.fingerprint {
                        Ok(leaf)
                    } else {
                        Err("the old one".to_string())
                    }
                })
                .await
            }
        };
        assert_eq!(record.fingerprint(), certificate.fingerprint);
        if let Some(last) = known.last() {
            assert!(
                at >= last.renewal_time,
                "{name} was renewed before it was due"
            );
            let late = at.duration_since(last.renewal_time);
            assert!(
                late < LATE.try_into().unwrap(),
                "{name} was renewed {late:?} after it was due"
            );
            assert!(
                at.as_second() < last.record.not_after,
                "{name} was renewed after it had expired"
            );
            assert_eq!(
                status.previous.len(),
                1,
                "expired certificates leave the record"
            );
        }
        keys.entry(name.clone())
            .or_default()
            .push(record.key.clone());
        known.push(Seen {
            record,
            renewal_time: certificate.renewal_time.0,
            at,
        });
    }

    for (name, certificates) in &seen {
        let life = |seen: &Seen| (seen.record.not_after - seen.record.not_before) as f64;
        let shares: Vec<f64> = certificates
            .iter()
            .map(|seen| {
                let lived = seen.renewal_time.as_millisecond() as f64 / 1000.0
                    - seen.record.not_before as f64;
                lived / life(seen)
            })
            .collect();
        assert!(
            shares.iter().all(|share| (0.74..=0.801).contains(share)),
            "{name}: {shares:?}"
        );
        // The jitter is the device's own and stays with it, to the second that certificates are counted in.
        assert!(
            shares.iter().all(|share| (share - shares[0]).abs() < 0.03),
            "{name}: {shares:?}"
        );
        assert!(certificates.windows(2).all(|two| two[0].at < two[1].at));
        let keys = &keys[name];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        let expected = if name == "rotates" { keys.len() } else { 1 };
        assert_eq!(distinct.len(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_renewal_rotates_the_key_unless_the_group_keeps_it() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(group(
            "keeps",
            "ca",
            json!({ "renewal": { "rotateKey": false } }),
        ))
        .await;
    world
        .create(device("rotates", "g", json!({ "secretName": "rotates" })))
        .await;
    world
        .create(device("keeps", "keeps", json!({ "secretName": "keeps" })))
        .await;
    let _operator = world.operator(&[]).await;
    for name in ["rotates", "keeps"] {
        world.until::<DeviceIdentity>(name, "True").await;
        let before = Contents::of(&world, name).await;
        world.renew(name).await;
        let after = eventually(format!("{name} is renewed"), CONVERGES, async || {
            let contents = in_order(&world, name, name).await?;
            let same = contents.leaf().serial == before.leaf().serial;
            if same {
                Err("the old one".to_string())
            } else {
                Ok(contents)
            }
        })
        .await;
        assert_eq!(after.key == before.key, name == "keeps");
        let record = world.record(name).await;
        assert_eq!(
            record,
            [after.leaf().fingerprint(), before.leaf().fingerprint()]
        );
        // Once is enough: the certificate is newer than renewAfter now.
        world
            .create(device(
                &format!("after-{name}"),
                "g",
                json!({ "secretName": format!("after-{name}") }),
            ))
            .await;
        world
            .until::<DeviceIdentity>(&format!("after-{name}"), "True")
            .await;
        assert_eq!(world.record(name).await, record);
    }
    // A key that was lost with its Secret is a new one, also where keys are kept.
    let before = Contents::of(&world, "keeps").await;
    world.delete::<Secret>("keeps").await;
    let after = eventually("the Secret is back", CONVERGES, async || {
        in_order(&world, "keeps", "keeps").await
    })
    .await;
    assert_ne!(after.key, before.key);
}

#[tokio::test]
async fn renew_after_waits_for_its_moment() {
    let world = World::new().await;
    world.pki(json!({})).await;
    world
        .create(device("d", "g", json!({ "secretName": "s" })))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    let first = world.record("d").await;
    let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
    world
        .patch::<DeviceIdentity>("d", json!({ "spec": { "renewAfter": moment.to_string() } }))
        .await;
    let seen = eventually("d is renewed", CONVERGES, async || {
        match world.record("d").await {
            record if record == first => Err("not yet"),
            _ => Ok(jiff::Timestamp::now()),
        }
    })
    .await;
    assert!(
        seen >= moment,
        "renewed {:?} too early",
        moment.duration_since(seen)
    );
    assert_eq!(world.record("d").await[1..], first);
}

#[tokio::test]
async fn changed_names_get_a_new_certificate() {
    let world = World::new().await;
    world
        .pki(json!({ "allowedNames": { "dnsNames": ["*.example.com"] } }))
        .await;
    world
        .create(device(
            "d",
            "g",
            json!({ "secretName": "s", "dnsNames": ["a.example.com"] }),
        ))
        .await;
    let _operator = world.operator(&[]).await;
    world.until::<DeviceIdentity>("d", "True").await;
    let first = Contents::of(&world, "s").await;
    assert_eq!(first.leaf().names, ["DNS:a.example.com"]);
    world
        .patch::<DeviceIdentity>(
            "d",
            json!({ "spec": { "dnsNames": ["a.example.com", "b.example.com"] } }),
        )
        .await;
    eventually("the certificate has both names", CONVERGES, async || {
        let contents = in_order(&world, "d", "s").await?;
        let names = contents.leaf().names;
        if names == ["DNS:a.example.com", "DNS:b.example.com"] {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await;
    // A name that is not allowed changes nothing in the Secret, and is told.
    let good = Contents::of(&world, "s").await;
    world
        .patch::<DeviceIdentity>("d", json!({ "spec": { "dnsNames": ["www.bank.example"] } }))
        .await;
    eventually("the refusal is told", CONVERGES, async || {
        let device: DeviceIdentity = world.get("d").await;
        match condition(&device, "Issued") {
            Some(issued) if issued.reason == "NameNotAllowed" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(Contents::of(&world, "s").await.version, good.version);
}
