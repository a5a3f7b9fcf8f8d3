//! TLS as a client of NATS: version 1.3, the authorities to trust, the node's own certificate.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
    version::TLS13,
};
use spanwire_model::Result;

use super::{Tls, connection::invalid};

/// What the client needs for TLS. Reads files.
pub(super) async fn client_config(tls: Tls) -> Result<ClientConfig> {
    let built = tokio::task::spawn_blocking(move || build(&tls)).await;
    built.map_err(|error| invalid(format!("cannot read the files of nats tls: {error}")))?
}

fn build(tls: &Tls) -> Result<ClientConfig> {
    let roots = match &tls.ca_file {
        Some(file) => read_authorities(file)?,
        None => system_authorities()?,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| invalid(format!("cannot use tls 1.3: {error}")))?
        .with_root_certificates(roots);
    Ok(match &tls.client_files {
        Some((certificate, key)) => {
            let files = OwnCertificate::read(certificate.clone(), key.clone(), provider)?;
            builder.with_client_cert_resolver(Arc::new(files))
        }
        None => builder.with_no_client_auth(),
    })
}

fn read_authorities(file: &Path) -> Result<RootCertStore> {
    let wrong = |what: String| invalid(format!("nats tls_ca {}: {what}", file.display()));
    let certificates = certificates_in(file).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(wrong("no certificate in it".into())) } else { Ok(roots) }
}

fn system_authorities() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(invalid("this machine trusts no certificate authority: set tls_ca of nats".into()));
    }
    Ok(roots)
}

fn certificates_in(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(file)?;
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// The node's own certificate. Read anew for each handshake, so that it can be renewed while the node runs.
#[derive(Debug)]
struct OwnCertificate {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    /// What was read last without an error.
    last: Mutex<Arc<CertifiedKey>>,
}

impl OwnCertificate {
    fn read(certificate: PathBuf, key: PathBuf, provider: Arc<CryptoProvider>) -> Result<Self> {
        let first = load(&certificate, &key, &provider).map_err(invalid)?;
        Ok(Self { certificate, key, provider, last: Mutex::new(Arc::new(first)) })
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match load(&self.certificate, &self.key, &self.provider) {
            Ok(read) => *last = Arc::new(read),
            // It may be half written: the one before may still be good.
            Err(problem) => tracing::warn!("{problem}; going on with what was read before"),
        }
        Some(last.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// `Err` says which file and why, and nothing of what is in it.
fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> std::result::Result<CertifiedKey, String> {
    let chain =
        certificates_in(certificate).map_err(|error| format!("nats tls_cert {}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("nats tls_cert {}: no certificate in it", certificate.display()));
    }
    let wrong = |what: &dyn std::fmt::Display| format!("nats tls_key {}: {what}", key.display());
    let text = fs::read(key).map_err(|error| wrong(&error))?;
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|_| wrong(&"no private key in it"))?;
    CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(&format!("it is not the key of {}", certificate.display())),
        other => wrong(&other),
    })
}
