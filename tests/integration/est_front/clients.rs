//! Clients of the field, unchanged: strongSwan, curl, openssl. Debian: strongswan-pki libstrongswan-extra-plugins curl openssl.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{
    certificates::{csr, csr_base64, openssl},
    connection::post_with,
    server::{DEADLINE, Server},
};

/// A directory with `root.pem`, and a server to go with it.
async fn workshop() -> (Server, TempDir) {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("root.pem"), &server.registrar.root_pem).unwrap();
    (server, dir)
}

/// Runs a shell command in the directory, with `$URL` being the server.
async fn shell(dir: &Path, server: &Server, script: &str) -> Output {
    let mut command = Command::new("timeout");
    command
        .args([
            &DEADLINE.as_secs().to_string(),
            "bash",
            "-euo",
            "pipefail",
            "-c",
            script,
        ])
        .env("URL", server.url(""))
        .current_dir(dir);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// The same, for commands that must succeed. Returns what they printed.
pub async fn succeeds(dir: &Path, server: &Server, script: &str) -> String {
    let output = shell(dir, server, script).await;
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    out
}

#[tokio::test]
async fn strongswan_fetches_the_authorities() {
    let (server, dir) = workshop().await;
    let script = "pki --estca --url $URL --cacert root.pem --caout ca.pem --outform pem --force";
    succeeds(dir.path(), &server, script).await;
    openssl(dir.path(), &["verify", "-CAfile", "root.pem", "ca.pem"]);
}

#[tokio::test]
async fn strongswan_enrols_with_a_password_and_renews_with_its_certificate() {
    let (server, dir) = workshop().await;
    let enrol = "pki --gen --type ecdsa --size 256 --outform pem > key.pem
        pki --req --in key.pem --type priv --dn 'CN=device-1' > req.p10
        pki --est --url $URL --in req.p10 --cacert root.pem --userpass estuser:estpwd --outform pem > cert.pem";
    succeeds(dir.path(), &server, enrol).await;
    openssl(dir.path(), &["verify", "-CAfile", "root.pem", "cert.pem"]);

    let renew = "pki --gen --type ecdsa --size 256 --outform pem > new-key.pem
        pki --req --in new-key.pem --type priv --oldreq req.p10 > new.p10
        pki --est --url $URL --in new.p10 --cacert root.pem --cert cert.pem --key key.pem --outform pem > new.pem";
    succeeds(dir.path(), &server, renew).await;
    openssl(dir.path(), &["verify", "-CAfile", "root.pem", "new.pem"]);
    let seen = server.registrar.seen.lock().unwrap();
    assert!(seen.last().unwrap().credentials.basic().is_none());
    assert_eq!(seen.last().unwrap().credentials.chain.len(), 1);
}

#[tokio::test]
async fn strongswan_enrols_an_rsa_key() {
    let (server, dir) = workshop().await;
    let script = "pki --gen --type rsa --size 2048 > key.der
        pki --req --in key.der --dn 'CN=device-2' > req.p10
        pki --est --url $URL --in req.p10 --cacert root.pem --userpass estuser:estpwd --outform pem > cert.pem";
    succeeds(dir.path(), &server, script).await;
    openssl(dir.path(), &["verify", "-CAfile", "root.pem", "cert.pem"]);
}

#[tokio::test]
async fn strongswan_stops_at_a_wrong_password() {
    let (server, dir) = workshop().await;
    let script = "pki --gen --type ecdsa --size 256 > key.der
        pki --req --in key.der --dn 'CN=device-1' > req.p10
        pki --est --url $URL --in req.p10 --cacert root.pem --userpass estuser:wrong";
    let output = shell(dir.path(), &server, script).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("401"));
}

#[tokio::test]
async fn curl_answers_the_challenge_and_sends_chunks() {
    let (server, dir) = workshop().await;
    fs::write(dir.path().join("csr.b64"), csr_base64("device-1")).unwrap();
    let script = "curl -sS --fail --cacert root.pem --anyauth -u estuser:estpwd \
            -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' \
            -H 'Transfer-Encoding: chunked' --data-binary @csr.b64 $URL/.well-known/est/simpleenroll \
        | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs > cert.pem";
    succeeds(dir.path(), &server, script).await;
    openssl(dir.path(), &["verify", "-CAfile", "root.pem", "cert.pem"]);
    let text = fs::read_to_string(dir.path().join("cert.pem")).unwrap();
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 1);
    let seen = server.registrar.seen.lock().unwrap();
    let users = seen
        .iter()
        .map(|request| request.credentials.basic().map(|basic| basic.user.as_str()));
    assert_eq!(users.collect::<Vec<_>>(), [None, Some("estuser")]);
}

#[tokio::test]
async fn curl_sends_pem_and_der_with_a_client_certificate() {
    let (server, dir) = workshop().await;
    let identity = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["device-1".to_owned()]).unwrap();
    let certificate = params
        .signed_by(&identity, server.registrar.issuer())
        .unwrap();
    fs::write(
        dir.path().join("id.pem"),
        certificate.pem() + &identity.serialize_pem(),
    )
    .unwrap();
    fs::write(dir.path().join("csr.der"), csr("device-1")).unwrap();
    openssl(
        dir.path(),
        &["req", "-inform", "DER", "-in", "csr.der", "-out", "csr.pem"],
    );
    for (version, file) in [("--tls-max 1.2", "csr.pem"), ("--tlsv1.3", "csr.der")] {
        let script = format!(
            "curl -sS --fail --cacert root.pem --cert id.pem {version} -H 'Content-Type: application/pkcs10' \
                --data-binary @{file} -o /dev/null -w '%{{http_code}} %{{content_type}}' \
                $URL/.well-known/est/simplereenroll"
        );
        let printed = succeeds(dir.path(), &server, &script).await;
        assert_eq!(printed, "200 application/pkcs7-mime; smime-type=certs-only");
    }
    // OpenSSL adds the issuer when it finds it among its trust anchors.
    for chain in server.registrar.chains_seen() {
        assert_eq!(
            chain,
            [certificate.der().to_vec(), server.registrar.root.clone()]
        );
    }
}

#[tokio::test]
async fn curl_hears_a_refusal_of_a_body_that_is_too_large() {
    let (server, dir) = workshop().await;
    for megabytes in [1, 30] {
        let script = format!(
            "head -c {megabytes}M /dev/zero > big
             curl -sS --cacert root.pem -u estuser:estpwd -H 'Content-Type: application/pkcs10' \
                --data-binary @big $URL/.well-known/est/simpleenroll"
        );
        let printed = succeeds(dir.path(), &server, &script).await;
        assert_eq!(printed, "TooLarge: The body is longer than 65536 bytes.\n");
    }
}

#[tokio::test]
async fn openssl_sees_the_chain_and_no_ca_names() {
    let (server, dir) = workshop().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let script = format!(
            "openssl s_client {version} -connect ${{URL#https://}} -CAfile root.pem -verify_return_error \
                -showcerts -alpn http/1.1 < /dev/null"
        );
        let printed = succeeds(dir.path(), &server, &script).await;
        assert!(
            printed.contains("No client certificate CA names sent"),
            "{printed}"
        );
        assert!(printed.contains("Verify return code: 0 (ok)"), "{printed}");
        assert!(printed.contains("ALPN protocol: http/1.1"), "{printed}");
        assert_eq!(printed.matches("BEGIN CERTIFICATE").count(), 2, "{printed}");
    }
}

#[tokio::test]
async fn openssl_resumes_its_session_in_either_version() {
    let (server, dir) = workshop().await;
    let request = "GET /.well-known/est/cacerts HTTP/1.1\r\nConnection: close\r\n\r\n";
    fs::write(dir.path().join("request"), request).unwrap();
    for (resumed, version) in (1..).zip(["-tls1_2", "-tls1_3"]) {
        let ask = format!(
            "openssl s_client {version} -connect ${{URL#https://}} -CAfile root.pem -ign_eof < request 2> /dev/null"
        );
        let script = format!("{ask} -sess_out session; {ask} -sess_in session");
        let printed = succeeds(dir.path(), &server, &script).await;
        assert!(printed.contains("New, TLSv1"), "{printed}");
        assert!(printed.contains("Reused, TLSv1"), "{printed}");
        assert_eq!(printed.matches("HTTP/1.1 200 OK").count(), 2, "{printed}");
        assert_eq!(server.counters.handshakes_resumed(), resumed);
    }
}

#[tokio::test]
async fn openssl_reads_the_refusal_byte_by_byte() {
    let (server, dir) = workshop().await;
    fs::write(
        dir.path().join("request"),
        post_with(
            "/.well-known/est/simpleenroll",
            "Connection: close\r\n",
            &csr_base64("device-1"),
        ),
    )
    .unwrap();
    let script = "openssl s_client -quiet -ign_eof -connect ${URL#https://} -CAfile root.pem < request 2> /dev/null";
    let printed = succeeds(dir.path(), &server, script).await;
    let (before, after) = printed.split_once("Date: ").unwrap();
    assert_eq!(
        before,
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\n\
         WWW-Authenticate: Basic realm=\"estrealm\"\r\nConnection: close\r\nContent-Length: 54\r\n"
    );
    let body = after.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        body,
        "CredentialsMissing: Send a password or a certificate.\n"
    );
}
