//! The deployment's private CA and the certificates that it signs. Keys are
//! made here and nowhere else; where they are kept is Secret Manager's affair.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How long the CA lives.
const CA_LIFE: Duration = Duration::days(3650);
/// How long a server's or client's certificate lives.
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks differ: certificates are valid from a little earlier.
const EARLIER: Duration = Duration::hours(1);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the {what} certificate can't be made: {reason}")]
    NotMade { what: String, reason: String },
    #[error("the secret holds no certificate: {0}")]
    Damaged(String),
}

impl TlsError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMade { .. } => None,
            Self::Damaged(_) => {
                Some("disable that secret version and run `dorainfra apply` to make a new one".into())
            }
        }
    }
}

/// A certificate, its key and the CA that vouches for it, all PEM. The payload
/// of a secret version, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key", &"(secret)").finish_non_exhaustive()
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Also a client: replicas talk to each other, and the machine asks itself
    /// whether it is ready.
    Server,
    Client,
}

/// A new CA.
pub fn authority(common_name: &str, now: OffsetDateTime) -> Result<Credentials, TlsError> {
    let fails = |error: rcgen::Error| TlsError::NotMade { what: "CA".into(), reason: error.to_string() };
    let key = KeyPair::generate().map_err(fails)?;
    let mut params = params(common_name, now, CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(fails)?.pem();
    Ok(Credentials { ca: certificate.clone(), certificate, key: key.serialize_pem() })
}

/// A new certificate, signed by `authority`.
pub fn issue(
    authority: &Credentials,
    usage: Usage,
    common_name: &str,
    dns_names: &[String],
    now: OffsetDateTime,
) -> Result<Credentials, TlsError> {
    let fails =
        |error: rcgen::Error| TlsError::NotMade { what: common_name.into(), reason: error.to_string() };
    let ca_key = KeyPair::from_pem(&authority.key).map_err(fails)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, ca_key).map_err(fails)?;
    let key = KeyPair::generate().map_err(fails)?;
    let mut params = params(common_name, now, LEAF_LIFE);
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
    Ok(Credentials { certificate, key: key.serialize_pem(), ca: authority.certificate.clone() })
}

fn params(common_name: &str, now: OffsetDateTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, "dorainfra");
    params.not_before = now - EARLIER;
    params.not_after = now + life;
    params
}

/// When a certificate (PEM) ends.
pub fn expiry(pem: &str) -> Result<OffsetDateTime, TlsError> {
    let damaged = |reason: String| TlsError::Damaged(reason);
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| damaged(error.to_string()))?;
    let (_, certificate) =
        X509Certificate::from_der(&block.contents).map_err(|error| damaged(error.to_string()))?;
    Ok(certificate.validity().not_after.to_datetime())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_signed_by_its_authority_and_ends_before_it() {
        let now = OffsetDateTime::now_utc();
        let ca = authority("test CA", now).unwrap();
        let leaf = issue(&ca, Usage::Server, "mimir", &["mimir.test.internal".into()], now).unwrap();
        assert_eq!(leaf.ca, ca.certificate);
        assert!(expiry(&leaf.certificate).unwrap() < expiry(&ca.certificate).unwrap());
        let pem = |text: &str| x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap().1.contents;
        let (ca_der, leaf_der) = (pem(&ca.certificate), pem(&leaf.certificate));
        let (_, ca) = X509Certificate::from_der(&ca_der).unwrap();
        let (_, leaf) = X509Certificate::from_der(&leaf_der).unwrap();
        assert_eq!(leaf.issuer(), ca.subject());
        assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    }

    #[test]
    fn a_key_is_never_shown() {
        let ca = authority("test CA", OffsetDateTime::now_utc()).unwrap();
        assert!(!format!("{ca:?}").contains("PRIVATE"));
    }

    #[test]
    fn damage_is_told() {
        assert!(expiry("nothing").is_err());
    }
}
