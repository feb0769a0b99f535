//! Connections that are encrypted, and certificates that change.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{PASSWORD, Server, Work, run, until};

/// An authority, and the file that it is trusted by.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this machine, and its key.
    fn certificate(&self) -> (String, String) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority and would speak these protocols.
    fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().unwrap();
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(client)
    }
}

/// Puts a certificate and its key where the server looks for them.
fn install(work: &Work, (certificate, key): &(String, String)) {
    work.file("key.pem", key);
    work.file("certificate.pem", certificate);
}

/// The server over the directory `data`, with the certificate that is installed.
fn start(work: &Work) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.args(["--tls-certificate-file", "certificate.pem", "--tls-key-file", "key.pem"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    Server::start(&mut command, &work.path(""))
}

/// The certificate that a client who was never here is shown, if it trusts this authority.
fn shown(server: &Server, trusted: &Authority) -> Result<CertificateDer<'static>, String> {
    asked(connect(server, &trusted.client(&[])))
}

fn asked(
    mut stream: StreamOwned<ClientConnection, TcpStream>,
) -> Result<CertificateDer<'static>, String> {
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(stream.conn.peer_certificates().unwrap()[0].clone())
}

fn connect(
    server: &Server,
    client: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(client), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(&server.address).unwrap())
}

/// Looks again and again until the log says this.
fn until_logged(server: &Server, words: &str) {
    until(words, || server.log().contains(words).then_some(()));
}

#[test]
fn the_client_trusts_a_server_by_its_own_authority_and_no_other() {
    let work = Work::new();
    let authority = Authority::new();
    install(&work, &authority.certificate());
    let server = start(&work);
    let url = format!("https://{}", server.address);
    assert!(server.announced.contains(&format!("granary listening on {url}")));
    let trusted = work.file("authority.pem", &authority.0.pem());
    let other = work.file("other.pem", &Authority::new().0.pem());
    work.file("content", "some bytes");

    let client = |arguments: &[&str]| {
        let mut command = work.granary(arguments);
        command.env("GRANARY_URL", &url).env("GRANARY_PASSWORD", PASSWORD);
        command
    };
    let pushed = run(&mut client(&["push", "content", "--dataset", "d", "--ca-file", &trusted]));
    assert_eq!(pushed.status, 0, "{pushed:?}");
    let pulled = run(client(&["pull", "--dataset", "d", "copy"]).env("GRANARY_CA_FILE", &trusted));
    assert_eq!(pulled.status, 0, "{pulled:?}");
    assert_eq!(std::fs::read_to_string(work.path("copy/content")).unwrap(), "some bytes");

    let refused = run(&mut client(&["ls", "--ca-file", &other]));
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.complained.contains("certificate"), "{refused:?}");
    let no_pem = run(&mut client(&["ls", "--ca-file", "content"]));
    assert_eq!(no_pem.status, 1, "{no_pem:?}");
    assert!(no_pem.complained.contains("content holds no certificate in PEM form"), "{no_pem:?}");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_as_the_client_chooses() {
    let work = Work::new();
    let authority = Authority::new();
    install(&work, &authority.certificate());
    let server = start(&work);

    let client = authority.client(&[b"h2", b"http/1.1"]);
    let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(client).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://localhost/livez");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (hyper::Version::HTTP_2, 200));
    answer.into_body().collect().await.unwrap();

    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        asked(connect(&server, &authority.client(protocols))).unwrap();
    }
}

#[test]
fn a_new_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let work = Work::new();
    let (first, second) = (Authority::new(), Authority::new());
    install(&work, &first.certificate());
    let server = start(&work);
    let mut lasting = connect(&server, &first.client(&[]));
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    lasting.write_all(request).unwrap();
    assert!(lasting.read(&mut [0; 4096]).unwrap() > 0);
    shown(&server, &first).unwrap();
    shown(&server, &second).unwrap_err();

    install(&work, &second.certificate());
    until_logged(&server, "took the new certificate");
    let good = shown(&server, &second).unwrap();
    shown(&server, &first).unwrap_err();
    // Who is connected stays so.
    lasting.write_all(request).unwrap();
    assert!(lasting.read(&mut [0; 4096]).unwrap() > 0);

    work.file("certificate.pem", "no certificate");
    until_logged(&server, "certificate.pem holds no certificate in PEM form");
    assert_eq!(shown(&server, &second).unwrap(), good);
    work.file("certificate.pem", &second.certificate().0);
    until_logged(&server, "are no pair");
    assert_eq!(shown(&server, &second).unwrap(), good);
    std::fs::remove_file(work.path("key.pem")).unwrap();
    until_logged(&server, "cannot read the certificate's key");
    assert_eq!(shown(&server, &second).unwrap(), good);

    let newest = second.certificate();
    install(&work, &newest);
    until("the newest certificate", || (shown(&server, &second).unwrap() != good).then_some(()));
    assert!(!server.log().contains("PRIVATE KEY"));
}

#[test]
fn what_cannot_be_served_with_is_told_before_anything_is_made() {
    let work = Work::new();
    let authority = Authority::new();
    let (certificate, key) = authority.certificate();
    work.file("certificate.pem", &certificate);
    work.file("key.pem", &key);
    work.file("other-key.pem", &authority.certificate().1);
    work.file("empty.pem", "");
    let refusals = |certificate: &str, key: &str| {
        let mut said = Vec::new();
        for command in [&["config", "check"][..], &["serve"]] {
            let mut command = work.granary(command);
            command.args(["--listen", "127.0.0.1:0"]);
            for (flag, file) in [("--tls-certificate-file", certificate), ("--tls-key-file", key)] {
                if !file.is_empty() {
                    command.args([flag, file]);
                }
            }
            let ended = run(&mut command);
            assert_eq!(ended.status, 1, "{ended:?}");
            said.push(ended.complained);
        }
        assert_eq!(said[0].lines().last(), said[1].lines().last());
        said.remove(0)
    };
    for (certificate, key, words) in [
        ("certificate.pem", "", "name the file of its key too"),
        ("", "key.pem", "name the certificate too"),
        ("nowhere.pem", "key.pem", "cannot read the certificate: nowhere.pem: No such file"),
        ("empty.pem", "key.pem", "empty.pem holds no certificate in PEM form"),
        ("key.pem", "key.pem", "key.pem holds no certificate in PEM form"),
        ("certificate.pem", "certificate.pem", "certificate.pem holds no private key"),
        ("certificate.pem", "other-key.pem", "are no pair"),
    ] {
        let said = refusals(certificate, key);
        assert!(said.contains(words), "{words}: {said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    assert!(!Path::new(&work.path("granary-data")).join("admin-password").exists());
    let mut good = work.granary(&["config", "check", "--tls-certificate-file", "certificate.pem"]);
    let good = run(good.args(["--tls-key-file", "key.pem"]));
    assert_eq!(good.status, 0, "{good:?}");
}
