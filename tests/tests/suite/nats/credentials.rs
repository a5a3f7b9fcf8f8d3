//! Every form of credentials against a real server.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
use spanwire_model::ErrorKind;
use spanwire_nats::{Config, Credentials};
use spanwire_tests::nats::NatsServer;

use super::{config, connected, refused};

fn with(server: &NatsServer, credentials: Credentials) -> Config {
    Config { credentials, ..config(&server.url()) }
}

/// A file of its own, in a folder that lives as long.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_a_password_or_a_token() {
    let server = NatsServer::start_with(&["--user", "anna", "--pass", "s3cret"]).await.unwrap();
    let password = |password: &str| Credentials::Password { user: "anna".into(), password: password.into() };
    connected(&with(&server, password("s3cret"))).await;
    for wrong in [password("other"), Credentials::None, Credentials::Token("s3cret".into())] {
        assert_eq!(refused(with(&server, wrong)).await.kind, ErrorKind::Unavailable);
    }
    let server = NatsServer::start_with(&["--auth", "s3cret"]).await.unwrap();
    connected(&with(&server, Credentials::Token("s3cret".into()))).await;
    assert_eq!(refused(with(&server, Credentials::Token("other".into()))).await.kind, ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_of_an_nkey() {
    let (own, other) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users: [{{ nkey: {} }}] }}", own.public_key());
    let server = NatsServer::start_configured(&users).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seed_of = |name: &str, pair: &KeyPair| file(&folder, name, &format!("# a user\n{}\n", pair.seed().unwrap()));
    connected(&with(&server, Credentials::NkeySeedFile(seed_of("own", &own)))).await;
    let error = refused(with(&server, Credentials::NkeySeedFile(seed_of("other", &other)))).await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let broken = own.seed().unwrap().replace("SU", "SUX");
    for path in [file(&folder, "empty", ""), file(&folder, "broken", &broken), folder.path().join("missing")] {
        let error = refused(with(&server, Credentials::NkeySeedFile(path.clone()))).await;
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{error:?}");
        assert!(error.public.contains(&path.display().to_string()), "{error}");
        assert!(!format!("{error:?}").contains(&broken), "{error:?}");
    }
}

/// A JWT as NATS has them: signed with an nkey.
fn token(signer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "name": "test",
        "iss": signer.public_key(), "sub": subject.public_key(), "nats": nats,
    });
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// An operator's server with one account, and the account's key.
async fn operated() -> (NatsServer, KeyPair) {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let operator_token = token(&operator, &operator, json!({"type": "operator", "version": 2}));
    let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1, "wildcards": true});
    let account_token = token(&operator, &account, json!({"type": "account", "version": 2, "limits": limits}));
    let text = format!(
        "operator: {operator_token}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_token} }}\n",
        account.public_key()
    );
    (NatsServer::start_configured(&text).await.unwrap(), account)
}

/// A `.creds` file of a user who may use the subjects of the tenant `t` only.
fn credentials_of(signer: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let own = json!({"allow": ["sw.v1.t.>"]});
    let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": own, "sub": own});
    let (user_token, seed) = (token(signer, &user, claims), user.seed().unwrap());
    format!(
        "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credentials_file_of_an_operator() {
    let (server, account) = operated().await;
    let folder = tempfile::tempdir().unwrap();
    let own = file(&folder, "own.creds", &credentials_of(&account));
    let connection = connected(&with(&server, Credentials::File(own))).await;
    // What the token allows goes through, to itself too.
    let mut heard = connection.client.subscribe("sw.v1.t.evt.>").await.unwrap();
    connection.client.publish("sw.v1.t.evt.a.b.c", "x".into()).await.unwrap();
    assert!(super::within(futures::StreamExt::next(&mut heard)).await.is_some());

    let forged = file(&folder, "forged.creds", &credentials_of(&KeyPair::new_account()));
    assert_eq!(refused(with(&server, Credentials::File(forged))).await.kind, ErrorKind::Unavailable);
    assert_eq!(refused(config(&server.url())).await.kind, ErrorKind::Unavailable);
    for path in [file(&folder, "empty.creds", ""), folder.path().join("missing.creds")] {
        let error = refused(with(&server, Credentials::File(path.clone()))).await;
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{error:?}");
        assert!(error.public.contains(&path.display().to_string()), "{error}");
    }
}
