//! Behaviour of names, with OpenSSL as the second opinion.

use proptest::prelude::*;

use super::*;
use crate::pki::fixtures;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn hex(name: &Name) -> String {
    name.as_der()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn text_starts_with_the_last_rdn_and_types_follow_the_standard() {
    let expected = concat!(
        "3043",
        "31133011060a0992268993f22c64011916",
        "03636f6d",                             // DC=com, IA5String
        "310b3009060355040613024445",           // C=DE, PrintableString
        "3110300e060355040a0c074578616d706c65", // O=Example, UTF8String
        "310d300b06035504030c04526f6f74",       // CN=Root, UTF8String
    );
    assert_eq!(hex(&name("CN=Root,O=Example,C=DE,DC=com")), expected);
}

#[test]
fn both_forms_and_all_spellings_give_the_same_bytes() {
    let expected = name("CN=Root,OU=b,OU=a,O=Example,DC=example,DC=com");
    for text in [
        "/DC=com/DC=example/O=Example/OU=a/OU=b/CN=Root",
        "cn=Root, ou=b, ou=a, o=Example, dc=example, dc=com",
        "CN = Root , OU = b , OU = a , O = Example , DC = example , DC = com",
        "2.5.4.3=Root,OU=b,OU=a,organizationName=Example,DC=example,0.9.2342.19200300.100.1.25=com",
        "CN=#0c04526f6f74,OU=b,OU=a,O=Example,DC=example,DC=com",
        r"CN=R\6Fot,OU=b,OU=a,O=Example,DC=example,DC=com",
    ] {
        assert_eq!(name(text), expected, "{text}");
    }
}

#[test]
fn openssl_makes_the_same_bytes_of_the_slash_form() {
    for text in [
        "/DC=com/DC=example/O=Example/OU=a/OU=b/CN=Root",
        "/C=DE/ST=Berlin/L=Berlin/O=Müller \\/ Söhne/CN=a+UID=b/emailAddress=a@example.com/serialNumber=1",
        "/CN=x\\+y\\\\z/GN=A/SN=B/title=C/street=D",
    ] {
        let request = fixtures::openssl_csr(text, &["-utf8"]);
        let request = crate::pki::Csr::from_der(&request).unwrap();
        assert_eq!(request.subject(), &name(text), "{text}");
    }
}

#[test]
fn openssl_prints_the_same_text() {
    let text =
        r#"CN=Caf\C3\A9 \"x\"\, y\; \<z\>,OU=\ lead,OU=trail\ ,OU=\#1,O=a\\b,UID=u+CN=v,DC=com"#;
    let subject = name(text);
    let certificate = fixtures::Ca::root(text).certificate;
    assert_eq!(certificate.subject(), &subject);
    let printed = fixtures::openssl(
        &["x509", "-noout", "-subject", "-nameopt", "RFC2253"],
        certificate.to_pem().as_bytes(),
    );
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(
        Name::parse(printed.trim_end().strip_prefix("subject=").unwrap()),
        Ok(subject)
    );
}

#[test]
fn display_escapes_what_rfc_4514_asks_for() {
    for (text, expected) in [
        (r"CN=a\,b\+c\=d", r"CN=a\,b\+c=d"),
        (r"CN=\20a\20", r"CN=\ a\ "),
        (r"CN=\ ", r"CN=\ "),
        (r"CN=\#a#", r"CN=\#a#"),
        (r#"CN=\"\;\<\>\\"#, r#"CN=\"\;\<\>\\"#),
        ("/CN=a,b;c", r"CN=a\,b\;c"),
        (
            "1.3.6.1.4.1.99999.1=text",
            "1.3.6.1.4.1.99999.1=#0c0474657874",
        ),
        ("E=a@b.c", "emailAddress=a@b.c"),
        ("UID=b+CN=a", "CN=a+UID=b"),
        ("", ""),
    ] {
        assert_eq!(name(text).to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_no_name_is_refused_with_the_attribute() {
    let long = |n| format!("CN={}", "é".repeat(n));
    assert!(Name::parse(&long(64)).is_ok());
    let at = |attribute: &str| attribute.to_owned();
    for (text, expected) in [
        (
            long(65),
            NameError::TooManyCharacters {
                attribute: at("CN"),
                length: 65,
                longest: 64,
            },
        ),
        (
            format!("O={}", "x".repeat(65)),
            NameError::TooManyCharacters {
                attribute: at("O"),
                length: 65,
                longest: 64,
            },
        ),
        (
            at("C=Germany"),
            NameError::Country {
                value: at("Germany"),
            },
        ),
        (at("C=D1"), NameError::Country { value: at("D1") }),
        (
            at("CN="),
            NameError::Empty {
                attribute: at("CN"),
            },
        ),
        (at("CN=a,,O=b"), NameError::EmptyPart),
        (at("CN=a,"), NameError::EmptyPart),
        (at("/"), NameError::EmptyPart),
        (at("CN=a+,O=b"), NameError::EmptyPart),
        (at("Root"), NameError::NoEquals { part: at("Root") }),
        (at("/CN=a/b"), NameError::NoEquals { part: at("b") }),
        (
            at("XX=a"),
            NameError::UnknownAttribute { keyword: at("XX") },
        ),
        (at("=a"), NameError::UnknownAttribute { keyword: at("") }),
        (
            at("CN=a;b"),
            NameError::Unescaped {
                attribute: at("CN"),
                character: ';',
            },
        ),
        (
            at(r"CN=a\"),
            NameError::Escape {
                attribute: at("CN"),
            },
        ),
        (
            at(r"CN=a\x"),
            NameError::Escape {
                attribute: at("CN"),
            },
        ),
        (
            at(r"CN=\FF"),
            NameError::Escape {
                attribute: at("CN"),
            },
        ),
        (
            at("CN=#xyz"),
            NameError::Hex {
                attribute: at("CN"),
            },
        ),
        (
            at("CN=#"),
            NameError::Hex {
                attribute: at("CN"),
            },
        ),
        (
            at("1.2.3=#0c05"),
            NameError::Hex {
                attribute: at("1.2.3"),
            },
        ),
        (
            at("1.2.3=#050000"),
            NameError::Hex {
                attribute: at("1.2.3"),
            },
        ),
        (
            at("CN=#13016f"),
            NameError::HexType {
                attribute: at("CN"),
                expected: "UTF8String",
            },
        ),
        (
            at("CN=a+CN=b"),
            NameError::Repeated {
                attribute: at("CN"),
            },
        ),
        (
            at("DC=exämple"),
            NameError::Character {
                attribute: at("DC"),
                character: 'ä',
                allowed: "ASCII characters",
            },
        ),
        (
            at("serialNumber=a_b"),
            NameError::Character {
                attribute: at("serialNumber"),
                character: '_',
                allowed: "ASCII letters, digits, spaces and '()+,-./:=?",
            },
        ),
        (
            at(r"CN=a\00b"),
            NameError::Character {
                attribute: at("CN"),
                character: '\0',
                allowed: "characters that can be printed",
            },
        ),
        ("a".repeat(MAX_TEXT + 1), NameError::TooLong),
    ] {
        assert_eq!(Name::parse(&text), Err(expected), "{text}");
    }
}

/// A name with one CN of this tag and content.
fn foreign(tag: u8, content: &[u8]) -> Name {
    let value = [&[0x06, 3, 0x55, 4, 3, tag, content.len() as u8], content].concat();
    let attribute = [&[0x30, value.len() as u8], value.as_slice()].concat();
    let rdn = [&[0x31, attribute.len() as u8], attribute.as_slice()].concat();
    Name::from_der(&[&[0x30, rdn.len() as u8], rdn.as_slice()].concat()).unwrap()
}

#[test]
fn common_names_of_every_string_type_are_read() {
    for (tag, content) in [
        (12, "Gerät".as_bytes()),
        (20, b"Ger\xe4t"),
        (30, b"\0G\0e\0r\0\xe4\0t"),
        (28, b"\0\0\0G\0\0\0e\0\0\0r\0\0\0\xe4\0\0\0t"),
    ] {
        let foreign = foreign(tag, content);
        assert_eq!(foreign.common_name().as_deref(), Some("Gerät"));
        assert_eq!(foreign.to_string(), "CN=Gerät");
        assert!(foreign.same_text(&name("CN=Gerät")));
        assert_eq!(foreign == name("CN=Gerät"), tag == 12);
    }
    for tag in [18, 19, 22, 26] {
        assert_eq!(foreign(tag, b"123").common_name().as_deref(), Some("123"));
    }
}

#[test]
fn a_common_name_that_programs_could_read_differently_is_none() {
    assert_eq!(name("O=Example").common_name(), None);
    assert_eq!(name("CN=a,CN=a").common_name(), None);
    assert_eq!(name("CN=a+UID=b,O=c").common_name().as_deref(), Some("a"));
    for (tag, content) in [
        (12, &b"a\0b"[..]),
        (12, b"\xff"),
        (19, b"\xe4"),
        (30, b"\0a\0"),
        (30, b"\xd8\0"),
        (2, b"1"),
    ] {
        let foreign = foreign(tag, content);
        assert_eq!(foreign.common_name(), None);
        assert!(foreign.to_string().starts_with("2.5.4.3=#"), "{foreign}");
        assert!(!foreign.same_text(&name("CN=a")));
    }
}

#[test]
fn same_text_needs_the_same_case_and_order() {
    let both = |a: &str, b: &str| name(a).same_text(&name(b));
    assert!(both("CN=a,O=b", "CN=a,O=b"));
    assert!(!both("CN=a,O=b", "CN=A,O=b"));
    assert!(!both("CN=a,O=b", "O=b,CN=a"));
    assert!(!both("CN=a,O=b", "CN=a+O=b"));
    assert!(!both("CN=a", "CN=a,CN=a"));
}

#[test]
fn attributes_come_in_the_order_of_the_encoding() {
    let at = |oid: &str, value: &str| (oid.to_owned(), value.to_owned());
    let expected = [
        at("2.5.4.10", "b"),
        at("1.2.3", "#0500"),
        at("2.5.4.3", "a"),
    ];
    assert_eq!(name("CN=a,1.2.3=#0500,O=b").attributes(), expected);
    assert!(name("").is_empty() && !name("CN=a").is_empty());
}

#[test]
fn der_that_is_not_canonical_is_refused() {
    let good = name("CN=a").as_der().to_vec();
    let long_length = [&[0x30, 0x81, good.len() as u8 - 2], &good[2..]].concat();
    let inner_rest = [&[0x30, good.len() as u8], &good[2..], &[5, 0]].concat();
    let outer_rest = [good.as_slice(), &[0]].concat();
    for der in [
        &long_length,
        &inner_rest,
        &outer_rest,
        &good[1..].to_vec(),
        &vec![],
        &vec![0x31, 0],
    ] {
        assert_eq!(Name::from_der(der), Err(NameError::Der), "{der:?}");
    }
    assert_eq!(Name::from_der(&[0x30, 0]), Ok(name("")));
    let padded_oid = [
        0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x04, 0x55, 0x04, 0x80, 0x03, 0x0c, 0x01, b'a',
    ];
    assert_eq!(Name::from_der(&padded_oid), Err(NameError::Der));
    assert_eq!(foreign(0x2c, b"a").common_name(), None);
}

/// Values with the characters that matter to the syntax.
fn value() -> impl Strategy<Value = String> {
    proptest::string::string_regex(r#"[ -~äß漢😀\\,+"<>;=/#$\{\}]{1,20}"#).unwrap()
}

fn backslashed(value: &str) -> String {
    value.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn display_reads_back_to_the_same_bytes(
        rdns in proptest::collection::vec(
            proptest::collection::btree_map(prop::sample::select(vec!["CN", "O", "OU", "UID", "L", "1.2.3.4"]), value(), 1..3),
            0..5,
        ),
    ) {
        let rdn = |rdn: &std::collections::BTreeMap<&str, String>| -> String {
            let parts: Vec<_> = rdn.iter().map(|(key, value)| format!("{key}={}", backslashed(value))).collect();
            parts.join("+")
        };
        let text: Vec<_> = rdns.iter().map(rdn).collect();
        let made = Name::parse(&text.join(",")).unwrap();
        prop_assert_eq!(&Name::parse(&made.to_string()).unwrap(), &made);
        prop_assert_eq!(&Name::from_der(made.as_der()).unwrap(), &made);
        let count: usize = rdns.iter().map(|rdn| rdn.len()).sum();
        prop_assert_eq!(made.attributes().len(), count);
    }

    #[test]
    fn whatever_text_is_accepted_reads_back(text in r#"(/|)((CN|O|dc|1\.2\.3)[ =]=?[ -~ä\\]{0,8}[,+/]?){0,4}"#) {
        if let Ok(made) = Name::parse(&text) {
            prop_assert_eq!(&Name::parse(&made.to_string()).unwrap(), &made);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".{0,60}") {
        let _ = Name::parse(&text);
        let _ = NameTemplate::parse(&text);
        if let Ok(name) = Name::from_der(&bytes) {
            let _ = (name.to_string(), name.common_name(), name.attributes());
        }
    }

    #[test]
    fn damaged_der_never_panics(position in 0..40_usize, byte: u8) {
        let mut der = name("CN=Root+UID=x,O=Example,DC=com").as_der().to_vec();
        let length = der.len();
        der[position % length] = byte;
        if let Ok(name) = Name::from_der(&der) {
            prop_assert_eq!(name.as_der(), &der[..]);
            let _ = (name.to_string(), name.common_name(), name.attributes());
        }
    }
}
