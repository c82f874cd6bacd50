//! Proof that a CSR was made for its TLS connection, by a client that the operator has never heard of: Python's ssl.

use serde_json::json;

use super::{open, scene};
use crate::harness::{Facts, PASSWORD, fingerprint, run_in, split_pem};

/// Opens a connection, makes a CSR with its tls-unique as challengePassword, and enrols over the same connection. With `--late`
/// it enrols over another connection instead.
const CLIENT: &str = r#"
import base64, os, socket, ssl, subprocess, sys
port, late = int(sys.argv[1]), '--late' in sys.argv
context = ssl.create_default_context(cafile='root.pem')
context.maximum_version = ssl.TLSVersion.TLSv1_2
def connect():
    return context.wrap_socket(socket.create_connection(('localhost', port)), server_hostname='localhost')
tls = connect()
proof = base64.b64encode(tls.get_channel_binding('tls-unique')).decode()
open('c.cnf', 'w').write('[req]\ndistinguished_name=dn\nattributes=more\nprompt=no\nstring_mask=utf8only\n[dn]\nCN=bound-1\n[more]\nchallengePassword=' + proof + '\n')
csr = subprocess.run('openssl req -new -config c.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -outform DER',
                     shell=True, check=True, capture_output=True).stdout
if late:
    tls = connect()
body = base64.b64encode(csr)
login = base64.b64encode(sys.argv[2].encode()).decode()
tls.sendall((f'POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n'
             f'Content-Length: {len(body)}\r\nConnection: close\r\n\r\n').encode() + body)
answer = b''
while part := tls.recv(65536):
    answer += part
head, body = answer.split(b'\r\n\r\n', 1)
print(head.split(b' ')[1].decode(), body.decode())
"#;

#[tokio::test]
async fn a_bound_csr_enrols_on_its_own_connection_and_on_no_other() {
    let required = json!({ "authentication": { "channelBinding": "Required" } });
    let scene = scene(open(), required).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("root.pem"), scene.world.root_pem().await).unwrap();
    std::fs::write(dir.path().join("client.py"), CLIENT).unwrap();
    let run = |more: &str| {
        let script = format!(
            "python3 client.py {} u:{PASSWORD} {more}",
            scene.operator.est_port
        );
        run_in(dir.path(), &script).unwrap()
    };
    let late = run("--late");
    assert!(late.starts_with("400 ProofMismatch"), "{late}");
    let answer = run("");
    assert!(answer.starts_with("200 "), "{answer}");
    std::fs::write(dir.path().join("answer"), answer.trim_start_matches("200 ")).unwrap();
    let decode = "base64 -d answer | openssl pkcs7 -inform DER -print_certs";
    let pem = run_in(dir.path(), decode).unwrap();
    let issued = split_pem(&pem).remove(0);
    assert_eq!(Facts::of(&issued).subject, "CN=bound-1");
    assert_eq!(scene.world.record("bound-1").await, [fingerprint(&issued)]);
    // Clients are told beforehand: challengePassword is among the attributes (RFC 7030 section 4.5.2).
    let wanted = scene.anonymous.attributes("").await;
    assert_eq!(wanted.status, 200);
    std::fs::write(dir.path().join("attributes"), &wanted.body).unwrap();
    let listed = "base64 -d attributes | openssl asn1parse -inform DER";
    let listed = run_in(dir.path(), listed).unwrap();
    assert!(listed.contains("challengePassword"), "{listed}");
    // And nothing is wanted where nothing is required.
    let label = scene.world.served_group("plain", json!({})).await;
    assert_eq!(scene.anonymous.attributes(&label).await.status, 204);
}
