//! A certificate authority of a test's own, by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// An authority in a folder of its own, and what it signs.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// The PEM files of a certificate and of its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// There is no `openssl`, or it fails.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        fs::write(at.join("ca.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")?;
        request(at, "ca", "/CN=authority of a test")?;
        openssl(at, "x509 -req -in ca.csr -signkey ca.key -out ca.pem -days 2 -extfile ca.ext")?;
        Ok(Self { folder })
    }

    /// The authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for 127.0.0.1 and `localhost`, good for servers and clients, with this common name, which is also an e-mail address
    /// `{name}@example.com` of it.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn issue(&self, name: &str) -> Result<Certificate> {
        let at = self.folder.path();
        let names = format!("subjectAltName=IP:127.0.0.1,DNS:localhost,email:{name}@example.com\n");
        fs::write(at.join(format!("{name}.ext")), names + "extendedKeyUsage=serverAuth,clientAuth\n")?;
        request(at, name, &format!("/CN={name}"))?;
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile {name}.ext"
        );
        openssl(at, &sign)?;
        Ok(Certificate { certificate: at.join(format!("{name}.pem")), key: at.join(format!("{name}.key")) })
    }
}

fn request(at: &Path, name: &str, subject: &str) -> Result<()> {
    openssl(at, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.raw"))?;
    openssl(at, &format!("pkcs8 -topk8 -nocrypt -in {name}.raw -out {name}.key"))?;
    run(at, ["req", "-new", "-key", &format!("{name}.key"), "-out", &format!("{name}.csr"), "-subj", subject])
}

fn openssl(at: &Path, arguments: &str) -> Result<()> {
    run(at, arguments.split(' '))
}

fn run<'a>(at: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(at).stdin(Stdio::null());
    let output = command.output().context("no openssl")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
