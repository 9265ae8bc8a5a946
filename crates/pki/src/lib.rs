//! The deployment's private authorities and the certificates that they sign.
//! Keys are made here and nowhere else; where they are kept is Secret Manager's
//! affair, and which authority the server trusts is a manifest's.
//!
//! ```text
//! CA ─▶ server's certificate        clients trust the CA (and its successor)
//! authority of a client ─▶ its certificate    the server trusts the authority
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, reason = "numbers of others are computed with"))]

mod files;

use dorainfra_base::error::Why;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use self::files::{ClientFiles, FilesError};

/// Clocks differ: certificates are valid from a little earlier.
const EARLIER: Duration = Duration::hours(1);
/// How long before its end a certificate is renewed, at most.
const RENEWED_BEFORE: Duration = Duration::days(30);
/// In each subject: told from certificates of other programs by it.
const ORGANIZATION: &str = "dorainfra";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the {what} certificate can't be made: {reason}")]
    NotMade {
        what: String,
        #[source]
        reason: Why,
    },
    #[error("the secret holds no certificate: {0}")]
    Damaged(#[source] Why),
    #[error("no rotation of the CA is under way")]
    NoSuccessor,
}

impl TlsError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMade { .. } => None,
            Self::Damaged(_) => {
                Some("disable that secret version and run `dorainfra apply` to make a new one".into())
            }
            Self::NoSuccessor => Some("`dorainfra credentials rotate ca` begins one".into()),
        }
    }
}

/// A certificate, its key and the authorities that its holder trusts, all PEM.
/// The payload of a secret version, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

/// An authority: what signs. The payload of its secret version, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    pub certificate: String,
    pub key: String,
    /// What whoever trusts it has to hold: its certificate, and its successor's.
    pub ca: String,
    /// Trusted already, and signs once the rotation is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Successor>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    pub certificate: String,
    pub key: String,
}

impl Credentials {
    /// As the stack's parts expect them: path in the stack's folder, contents.
    pub fn files(&self) -> [(&'static str, &str); 3] {
        [("tls/ca.crt", &self.ca), ("tls/client.crt", &self.certificate), ("tls/client.key", &self.key)]
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key", &"(secret)").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("key", &"(secret)").finish_non_exhaustive()
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Also a client: the machine asks itself whether it is ready.
    Server,
    Client,
}

impl Authority {
    /// A new one.
    pub fn new(common_name: &str, life: Duration, now: OffsetDateTime) -> Result<Self, TlsError> {
        let fails =
            |error: rcgen::Error| TlsError::NotMade { what: common_name.into(), reason: Why::of(error) };
        let key = KeyPair::generate().map_err(fails)?;
        let mut params = params(common_name, now, now.saturating_add(life));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(fails)?.pem();
        Ok(Self { ca: certificate.clone(), certificate, key: key.serialize_pem(), successor: None })
    }

    /// The same one with a successor, to be trusted before it signs. One that
    /// has a successor keeps it.
    pub fn overlapping(
        mut self,
        common_name: &str,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, TlsError> {
        if self.successor.is_none() {
            let next = Self::new(common_name, life, now)?;
            self.ca = format!("{}\n{}", self.certificate.trim_end(), next.certificate);
            self.successor = Some(Successor { certificate: next.certificate, key: next.key });
        }
        Ok(self)
    }

    /// The successor in its place.
    pub fn succeeded(self) -> Result<Self, TlsError> {
        let Successor { certificate, key } = self.successor.ok_or(TlsError::NoSuccessor)?;
        Ok(Self { ca: certificate.clone(), certificate, key, successor: None })
    }

    /// A new certificate that ends after `life`, or with the authority where
    /// that ends earlier. `trust` (PEM) is what its holder trusts.
    pub fn issue(
        &self,
        usage: Usage,
        common_name: &str,
        dns_names: &[String],
        life: Duration,
        trust: String,
        now: OffsetDateTime,
    ) -> Result<Credentials, TlsError> {
        let fails =
            |error: rcgen::Error| TlsError::NotMade { what: common_name.into(), reason: Why::of(error) };
        let ca_key = KeyPair::from_pem(&self.key).map_err(fails)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, ca_key).map_err(fails)?;
        let end = now.saturating_add(life).min(Validity::of(&self.certificate)?.not_after);
        let key = KeyPair::generate().map_err(fails)?;
        let mut params = params(common_name, now, end);
        for name in dns_names {
            params.subject_alt_names.push(rcgen::SanType::DnsName(name.as_str().try_into().map_err(fails)?));
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let certificate = params.signed_by(&key, &issuer).map_err(fails)?.pem();
        Ok(Credentials { certificate, key: key.serialize_pem(), ca: trust })
    }
}

fn params(common_name: &str, now: OffsetDateTime, end: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.not_before = now.saturating_sub(EARLIER);
    params.not_after = end;
    params
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// Of the first certificate in `pem`.
    pub fn of(pem: &str) -> Result<Self, TlsError> {
        let block = blocks(pem)?.swap_remove(0);
        let (_, certificate) =
            X509Certificate::from_der(&block.contents).map_err(|error| TlsError::Damaged(Why::of(error)))?;
        let validity = certificate.validity();
        Ok(Self {
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }

    /// Whether it is time for another one: 30 days before the end, and in the
    /// last third of a life that is shorter than 90 days.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        let seconds =
            |from: OffsetDateTime| self.not_after.unix_timestamp().saturating_sub(from.unix_timestamp());
        seconds(now) < RENEWED_BEFORE.whole_seconds().min(seconds(self.not_before) / 3)
    }

    pub fn is_over(&self, now: OffsetDateTime) -> bool {
        self.not_after <= now
    }
}

/// The SHA-256 of each certificate in `pem`, of its DER form, in lower-case hex.
pub fn fingerprints(pem: &str) -> Result<Vec<String>, TlsError> {
    Ok(blocks(pem)?.iter().map(|block| hex::encode(Sha256::digest(&block.contents))).collect())
}

/// Whether the first certificate in `leaf` is signed by the first in `authority`.
pub fn is_signed_by(leaf: &str, authority: &str) -> Result<bool, TlsError> {
    let damaged =
        |error: x509_parser::nom::Err<x509_parser::error::X509Error>| TlsError::Damaged(Why::of(error));
    let (leaf, authority) = (blocks(leaf)?.swap_remove(0), blocks(authority)?.swap_remove(0));
    let (_, leaf) = X509Certificate::from_der(&leaf.contents).map_err(damaged)?;
    let (_, authority) = X509Certificate::from_der(&authority.contents).map_err(damaged)?;
    Ok(authority.is_ca()
        && leaf.issuer() == authority.subject()
        && leaf.verify_signature(Some(authority.public_key())).is_ok())
}

/// The common name of the first certificate in `pem`, if this program made it.
fn name_of_ours(pem: &str) -> Option<String> {
    let block = blocks(pem).ok()?.swap_remove(0);
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    let subject = certificate.subject();
    let ours = subject.iter_organization().any(|name| name.as_str() == Ok(ORGANIZATION));
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    ours.then_some(name)
}

/// At least one.
fn blocks(pem: &str) -> Result<Vec<Pem>, TlsError> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(pem.as_bytes()).collect();
    let blocks = blocks.map_err(|error| TlsError::Damaged(Why::of(error)))?;
    let certificates: Vec<Pem> = blocks.into_iter().filter(|block| block.label == "CERTIFICATE").collect();
    match certificates.is_empty() {
        true => Err(TlsError::Damaged("there is no certificate in it".into())),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests;
