//! TLS to a real server: whom the node trusts, and how it proves who it is.

use std::fs;

use spanwire_model::ErrorKind;
use spanwire_nats::{Config, Tls};
use spanwire_tests::{
    certificates::{Authority, Certificate},
    nats::NatsServer,
};

use super::{config, connected, refused};

async fn server(authority: &Authority, more: &str) -> NatsServer {
    let Certificate { certificate, key } = authority.issue("server").unwrap();
    let (certificate, key, ca) = (certificate.display(), key.display(), authority.file());
    let ca = ca.display();
    let tls = format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\", {more} }}");
    NatsServer::start_configured(&tls).await.unwrap()
}

fn trusting(server: &NatsServer, authority: &Authority) -> Config {
    let tls = Tls { ca_file: Some(authority.file()), ..Tls::default() };
    Config { tls, ..config(&server.url()) }
}

fn with_own(config: &Config, own: &Certificate) -> Config {
    let mut config = config.clone();
    config.tls.client_files = Some((own.certificate.clone(), own.key.clone()));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_for_its_authority() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = server(&authority, "").await;
    let _connection = connected(&trusting(&server, &authority)).await;
    let facts = server.connections().await.unwrap();
    assert_eq!(facts[0]["tls_version"], "1.3", "{facts}");
    let by_address = Config { urls: vec![server.url().replace("nats://", "tls://")], ..trusting(&server, &authority) };
    connected(&by_address).await;
    for stranger in [trusting(&server, &other), config(&server.url())] {
        let error = refused(stranger).await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
        assert!(error.public.contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_there_is_no_connection_where_it_is_asked_for() {
    let authority = Authority::new().unwrap();
    let server = NatsServer::start().await.unwrap();
    connected(&config(&server.url())).await;
    let required = Config { tls: Tls { required: true, ..Tls::default() }, ..config(&server.url()) };
    let by_address = config(&server.url().replace("nats://", "tls://"));
    for asking in [required, by_address, trusting(&server, &authority)] {
        assert_eq!(refused(asking).await.kind, ErrorKind::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_proves_who_it_is_with_its_certificate() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = server(&authority, "verify: true").await;
    let nobody = trusting(&server, &authority);
    assert_eq!(refused(nobody.clone()).await.kind, ErrorKind::Unavailable);
    assert_eq!(refused(with_own(&nobody, &other.issue("node").unwrap())).await.kind, ErrorKind::Unavailable);
    let own = authority.issue("node").unwrap();
    connected(&with_own(&nobody, &own)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_may_be_renewed_while_the_node_runs() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let mut server = server(&authority, "verify: true").await;
    let own = authority.issue("node").unwrap();
    let connection = connected(&with_own(&trusting(&server, &authority), &own)).await;
    let mut link = connection.link.clone();
    super::within(link.wait_for(|link| link.connects == 1)).await.unwrap();
    // What is on the disk is what counts at the next handshake: first a wrong one, then a new good one.
    let wrong = other.issue("node").unwrap();
    let swap = |with: &Certificate| {
        fs::copy(&with.certificate, &own.certificate).unwrap();
        fs::copy(&with.key, &own.key).unwrap();
    };
    let good = authority.issue("renewed").unwrap();
    swap(&wrong);
    server.restart().await.unwrap();
    super::within(server.logged("tls: ")).await;
    assert_eq!(link.borrow().connects, 1);
    swap(&good);
    super::within(link.wait_for(|link| link.connects == 2)).await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new().unwrap();
    let (own, other) = (authority.issue("own").unwrap(), authority.issue("other").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    let with = |ca: Option<&std::path::Path>, certificate: &std::path::Path, key: &std::path::Path| Tls {
        required: true,
        ca_file: Some(ca.map_or_else(|| authority.file(), Into::into)),
        client_files: Some((certificate.into(), key.into())),
    };
    for (tls, part) in [
        (with(Some(&missing), &own.certificate, &own.key), "tls_ca"),
        (with(Some(&empty), &own.certificate, &own.key), "tls_ca"),
        (with(None, &missing, &own.key), "tls_cert"),
        (with(None, &empty, &own.key), "tls_cert"),
        (with(None, &own.certificate, &missing), "tls_key"),
        (with(None, &own.certificate, &own.certificate), "tls_key"),
        (with(None, &own.certificate, &other.key), "tls_key"),
    ] {
        let mut config = Config { tls, ..config("nats://127.0.0.1:1") };
        config.connect_in_background = true;
        let error = spanwire_nats::connect(&config).await.map(|_| "connected").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{error:?}");
        assert!(error.public.contains(&format!("{part} /")), "{error}");
    }
}
