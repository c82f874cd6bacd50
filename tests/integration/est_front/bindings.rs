//! Channel bindings: what the server computes is what other TLS implementations compute at the client's end.

use std::{fs, path::Path};

use devicecert::registrar::ChannelBindings;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use super::{
    certificates::{csr_base64, openssl},
    clients::succeeds,
    connection::{Client, post},
    server::Server,
};

/// Enrols over TLS 1.2 with Python's ssl and prints its tls-unique.
const PYTHON: &str = "
import os, ssl, socket
context = ssl.create_default_context(cafile='root.pem')
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers(os.environ['CIPHER'])
if os.environ.get('CERT'):
    context.load_cert_chain(os.environ['CERT'])
if os.environ.get('NO_EMS'):
    context.options |= 1
session = None
for _ in range(int(os.environ.get('ROUNDS', '1'))):
    raw = socket.create_connection(('localhost', int(os.environ['URL'].rsplit(':', 1)[1])))
    tls = context.wrap_socket(raw, server_hostname='localhost', session=session)
    tls.sendall(open('request', 'rb').read())
    answer = tls.recv(20)
    assert answer.startswith(b'HTTP/1.1 200'), answer
    session = tls.session
    print(tls.get_channel_binding('tls-unique').hex(), tls.session_reused)
    tls.close()
";

async fn workshop() -> (Server, TempDir) {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("root.pem", &server.registrar.root_pem);
    write("client.py", PYTHON);
    write(
        "request",
        &post("/.well-known/est/simpleenroll", &csr_base64("device-1")),
    );
    client_certificate(
        dir.path(),
        "ec.pem",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    );
    client_certificate(
        dir.path(),
        "rsa.pem",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    );
    (server, dir)
}

fn client_certificate(dir: &Path, name: &str, genpkey: &[&str]) {
    openssl(dir, &[&["genpkey", "-out", "key.pem"], genpkey].concat());
    let certificate = openssl(
        dir,
        &[
            "req",
            "-x509",
            "-new",
            "-key",
            "key.pem",
            "-subj",
            "/CN=device-1",
        ],
    );
    let key = fs::read_to_string(dir.join("key.pem")).unwrap();
    fs::write(dir.join(name), key + &certificate).unwrap();
}

fn seen(server: &Server) -> Vec<ChannelBindings> {
    let seen = server.registrar.seen.lock().unwrap();
    seen.iter()
        .map(|request| request.bindings.clone())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn tls_unique_is_what_openssl_says_it_is() {
    let (server, dir) = workshop().await;
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        for certificate in ["", "ec.pem", "rsa.pem"] {
            for no_ems in ["", "1"] {
                let script =
                    format!("CIPHER={cipher} CERT={certificate} NO_EMS={no_ems} python3 client.py");
                let printed = succeeds(dir.path(), &server, &script).await;
                let (unique, _) = printed.split_once(' ').unwrap();
                let bindings = seen(&server).pop().unwrap();
                assert_eq!(hex(&bindings.unique.unwrap()), unique, "{script}");
                // Only with the extended master secret is a session tied to its handshake. RFC 9266 section 4.2.
                assert_eq!(bindings.exporter.is_some(), no_ems.is_empty(), "{script}");
            }
        }
    }
    let chains = server.registrar.chains_seen();
    assert!(chains.iter().any(|chain| !chain.is_empty()));
}

#[tokio::test]
async fn a_resumed_session_has_no_tls_unique() {
    let (server, dir) = workshop().await;
    let script = "CIPHER=ECDHE+AESGCM CERT=ec.pem ROUNDS=2 python3 client.py";
    let printed = succeeds(dir.path(), &server, script).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines[0].ends_with("False") && lines[1].ends_with("True"),
        "{printed}"
    );
    let [full, resumed] = &seen(&server)[..] else {
        panic!("not two requests")
    };
    assert_eq!(
        hex(full.unique.as_ref().unwrap()),
        lines[0].split(' ').next().unwrap()
    );
    assert_eq!(resumed.unique, None);
    let chains = server.registrar.chains_seen();
    assert_eq!((chains[0].len(), &chains[0]), (1, &chains[1]));
    assert_eq!(server.counters.handshakes_resumed(), 1);
}

#[tokio::test]
async fn the_exporter_is_what_the_client_exports_in_either_version() {
    let server = Server::start().await;
    for version in [&TLS12, &TLS13] {
        let client = Client::of_version(&server, None, &[version]);
        for round in ["full", "resumed"] {
            let mut connection = client.connect(server.address).await.unwrap();
            let request = post("/.well-known/est/simpleenroll", &csr_base64("device-1"));
            for _ in 0..2 {
                assert_eq!(connection.exchange(&request).await.status(), 200);
                let session = connection.stream.get_ref().1;
                let exported = session
                    .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
                    .unwrap();
                let bindings = seen(&server).pop().unwrap();
                assert_eq!(bindings.exporter.unwrap(), exported, "{version:?} {round}");
                let unique = *version == TLS12 && round == "full";
                assert_eq!(bindings.unique.is_some(), unique, "{version:?} {round}");
            }
        }
    }
    let mut exporters: Vec<_> = seen(&server).into_iter().map(|b| b.exporter).collect();
    exporters.dedup();
    assert_eq!(exporters.len(), 4);
}

#[tokio::test]
async fn openssl_exports_the_same_in_tls_1_3() {
    let (server, dir) = workshop().await;
    let script = "(cat request; until grep -q HTTP/1.1 out; do read -t 0.05 <> <(:) || true; done) \
        | openssl s_client -connect ${URL#https://} -CAfile root.pem -tls1_3 -keymatexport EXPORTER-Channel-Binding \
          -keymatexportlen 32 -ign_eof > out 2> /dev/null & \
        until grep -q HTTP/1.1 out 2> /dev/null; do read -t 0.05 <> <(:) || true; done; kill %1 2> /dev/null; cat out";
    let printed = succeeds(dir.path(), &server, script).await;
    let exported = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("Keying material: "))
        .unwrap();
    let bindings = seen(&server).pop().unwrap();
    assert_eq!(hex(&bindings.exporter.unwrap()).to_uppercase(), exported);
}

#[tokio::test]
async fn tls_unique_does_not_depend_on_how_the_client_cuts_its_records() {
    let (server, dir) = workshop().await;
    // The RSA certificate fills several of the smallest records.
    let script = "sed 's/^Host: localhost/Connection: close/' request \
        | openssl s_client -connect ${URL#https://} -CAfile root.pem -tls1_2 -cert rsa.pem -max_send_frag 512 \
          -ign_eof -quiet 2> /dev/null";
    let printed = succeeds(dir.path(), &server, script).await;
    assert!(printed.starts_with("HTTP/1.1 200"), "{printed}");
    let bindings = seen(&server).pop().unwrap();
    assert_eq!(bindings.unique.unwrap().len(), 12);
}
