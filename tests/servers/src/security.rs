//! What a secured server of a test's own asks for: TLS with an authority that nobody else knows, a user and a password.

use std::{fs, path::Path};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// Keys and certificates of one server and its client.
#[derive(Debug, Clone)]
pub struct Security {
    /// PEM of the authority that signed both certificates.
    pub authority: String,
    /// Of the client.
    pub client: Identity,
    pub(crate) server: Identity,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM of the certificate.
    pub certificate: String,
    /// PEM of the key (PKCS #8).
    pub key: String,
}

impl Security {
    /// The user that the server knows.
    pub const USER: &str = "hub";
    /// A user who may do what detection does in Elasticsearch, and no more.
    pub const DETECTION_USER: &str = "ad-jobs";
    /// The password of both.
    pub const PASSWORD: &str = "of the tests alone";

    /// A new authority, and what it signs.
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name = named("an authority of the tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);
        Ok(Self { authority: certificate, client: sign(&issuer, Self::USER)?, server: sign(&issuer, "127.0.0.1")? })
    }

    /// Writes what a client needs into a folder: `ca.pem`, `client.pem`, `client.key` and `password`.
    ///
    /// # Panics
    /// Where the folder can't be written to.
    pub fn write_for_client(&self, folder: &Path) {
        let files = [
            ("ca.pem", &*self.authority),
            ("client.pem", &self.client.certificate),
            ("client.key", &self.client.key),
            ("password", Self::PASSWORD),
        ];
        for (name, content) in files {
            fs::write(folder.join(name), content).expect("a folder that can be written to");
        }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn sign(issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = named(name);
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}
