//! Behaviour of subject alternative names.

use proptest::prelude::*;

use super::*;

fn names(dns: &[&str], ip: &[&str], uri: &[&str]) -> SubjectAltNames {
    SubjectAltNames::parse(dns, ip, uri).unwrap()
}

fn dns(name: &str) -> Result<SubjectAltNames, SanError> {
    SubjectAltNames::parse(&[name], &[], &[])
}

#[test]
fn names_survive_der_in_their_order() {
    let names = names(
        &[
            "b.example.com",
            "*.a.example.com",
            "host",
            "xn--bcher-kva.example",
        ],
        &["192.0.2.1", "2001:db8::1"],
        &[
            "spiffe://example.com/device/1",
            "urn:dev:mac:0024befffe804ff1",
        ],
    );
    assert_eq!(SubjectAltNames::decode(&names.encode().unwrap()), Ok(names));
}

#[test]
fn dns_names_become_lower_case() {
    assert_eq!(dns("Host.Example.COM").unwrap().dns, ["host.example.com"]);
}

#[test]
fn what_is_no_dns_name_is_refused() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert!(dns(&longest).is_ok());
    let too_long = format!("{longest}a");
    for name in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a\0b",
        "a.com\0.evil.com",
        "*",
        "*.",
        "a.*",
        "*a.com",
        "a.*.com",
        "*.*.com",
        "bücher.example",
        &"a".repeat(64),
        &too_long,
    ] {
        assert!(matches!(dns(name), Err(SanError::Dns { .. })), "{name:?}");
    }
    assert_eq!(
        dns("192.0.2.1"),
        Err(SanError::DnsIsIp {
            name: "192.0.2.1".to_owned()
        })
    );
}

#[test]
fn what_is_no_ip_address_or_uri_is_refused() {
    for text in [
        "",
        "1.2.3",
        "1.2.3.4/24",
        "::g",
        "host",
        "fe80::1%eth0",
        "010.0.0.1",
    ] {
        assert!(SubjectAltNames::parse(&[], &[text], &[]).is_err(), "{text}");
    }
    for text in [
        "",
        "host",
        ":x",
        "1a:x",
        "a:",
        "http://a b",
        "http://ä",
        "http://a\0b",
        &format!("a:{}", "x".repeat(2047)),
    ] {
        assert!(
            SubjectAltNames::parse(&[], &[], &[text]).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn fields_that_were_filled_by_hand_are_checked_when_encoding() {
    let bad = SubjectAltNames {
        dns: vec!["a\0b".to_owned()],
        ..Default::default()
    };
    assert!(matches!(bad.encode(), Err(SanError::Dns { .. })));
    let other = SubjectAltNames {
        other: vec!["rfc822Name".to_owned()],
        ..Default::default()
    };
    assert_eq!(
        other.encode(),
        Err(SanError::NotIssued {
            kind: "rfc822Name".to_owned()
        })
    );
}

#[test]
fn types_that_we_do_not_issue_are_named() {
    let extension: &[u8] = &[
        0x30, 0x1d, // SEQUENCE
        0x81, 0x03, b'a', b'@', b'b', // rfc822Name
        0xa0, 0x07, 0x06, 0x02, 0x2a, 0x03, 0xa0, 0x01, 0x05, // otherName 1.2.3
        0xa4, 0x02, 0x30, 0x00, // directoryName
        0x88, 0x02, 0x2a, 0x03, // registeredID
        0xa5, 0x00, // ediPartyName
        0xa3, 0x00, // x400Address
        0x82, 0x01, b'h', // dNSName
    ];
    let expected = SubjectAltNames {
        dns: vec!["h".to_owned()],
        other: [
            "rfc822Name",
            "otherName 1.2.3",
            "directoryName",
            "registeredID",
            "ediPartyName",
            "x400Address",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Default::default()
    };
    assert_eq!(SubjectAltNames::decode(extension), Ok(expected));
}

#[test]
fn malformed_names_are_refused_in_requests_and_listed_in_foreign_certificates() {
    let nul: &[u8] = &[0x30, 0x05, 0x82, 0x03, b'a', 0, b'b'];
    assert_eq!(
        SubjectAltNames::decode(nul),
        Err(SanError::Dns {
            name: "a\0b".to_owned()
        })
    );
    let foreign = SubjectAltNames::decode_foreign(nul).unwrap();
    assert!(
        foreign.dns.is_empty() && foreign.other.len() == 1,
        "{foreign:?}"
    );
    let network: &[u8] = &[0x30, 0x0a, 0x87, 0x08, 192, 0, 2, 0, 255, 255, 255, 0];
    assert_eq!(
        SubjectAltNames::decode(network),
        Err(SanError::IpLength { length: 8 })
    );
    for broken in [
        &[][..],
        &[0x30, 0x00],
        &[0x30, 0x05, 0x82],
        &[0x30, 0x03, 0x82, 0x01, b'a', 0],
    ] {
        assert_eq!(
            SubjectAltNames::decode(broken),
            Err(SanError::Malformed),
            "{broken:?}"
        );
    }
}

#[test]
fn sets_are_the_same_whatever_order_and_case() {
    let some = names(&["a", "b"], &["::1"], &["a:b"]);
    assert!(some.same_set(&names(&["B", "a", "b"], &["::1"], &["a:b"])));
    assert!(!some.same_set(&names(&["a", "b"], &["::1"], &[])));
    assert!(!some.same_set(&names(&["a"], &["::1"], &["a:b"])));
    assert!(SubjectAltNames::default().is_empty() && !some.is_empty());
}

proptest! {
    #[test]
    fn every_accepted_name_survives_der(
        dns in prop::collection::vec("(\\*\\.)?[a-zA-Z0-9]([a-z0-9-]{0,20}[a-z])(\\.[a-z]{1,10}){0,3}", 0..4),
        v4: Vec<[u8; 4]>,
        v6: Vec<[u8; 16]>,
        uri in prop::collection::vec("[a-z][a-z0-9+.-]{0,5}:[!-~]{1,30}", 1..3),
    ) {
        let ip: Vec<_> = v4.into_iter().map(IpAddr::from).chain(v6.into_iter().map(IpAddr::from)).collect();
        let ip: Vec<_> = ip.iter().map(IpAddr::to_string).collect();
        if let Ok(names) = SubjectAltNames::parse(&dns, &ip, &uri) {
            let back = SubjectAltNames::decode(&names.encode().unwrap()).unwrap();
            prop_assert!(back.same_set(&names));
            prop_assert_eq!(back, names);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in ".{0,40}") {
        let _ = SubjectAltNames::decode(&bytes);
        let _ = SubjectAltNames::decode_foreign(&bytes);
        let _ = SubjectAltNames::parse(&[&text], &[&text], &[&text]);
    }
}
