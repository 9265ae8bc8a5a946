//! Where metrics are written to and read from, and an HTTP client for it.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use dorainfra_base::error::{Why, chain};
use dorainfra_pki::Credentials;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which program answers at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    Mimir,
    /// Debian's Prometheus, standing in for Mimir in the sandbox.
    StandIn,
}

/// The endpoint: Mimir, or the Prometheus that stands in for it.
#[derive(Clone, Debug)]
pub struct Target {
    /// `https://mimir.NAME.internal:9009`, without a path; the name in the
    /// server's certificate.
    pub base_url: String,
    /// Where that name is found; its port is the URL's.
    pub connect: SocketAddr,
    pub write_path: String,
    pub query_prefix: String,
    pub ready_path: String,
    /// Sent as `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// For mutual TLS. `None`: plain HTTP, or the system's trust.
    pub tls: Option<Credentials>,
    pub flavour: Flavour,
}

/// Why there is no client for a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`{url}` is not the address of an endpoint: {message}")]
    Address {
        url: String,
        #[source]
        message: Why,
    },
    #[error("the {what} of the client cannot be used: {message}")]
    Credentials {
        what: &'static str,
        #[source]
        message: Why,
    },
    #[error("no HTTP client can be made: {0}")]
    Client(#[source] Why),
}

impl TargetError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some("give it as https://HOST:PORT".into()),
            Self::Credentials { .. } => {
                Some("`dorainfra apply` makes new ones when those in Secret Manager are damaged".into())
            }
            Self::Client(_) => None,
        }
    }
}

impl Target {
    /// A target with the paths of its flavour.
    pub fn new(flavour: Flavour, base_url: impl Into<String>, connect: SocketAddr) -> Self {
        let (write_path, ready_path) = match flavour {
            Flavour::Mimir => ("/api/v1/push", "/ready"),
            Flavour::StandIn => ("/prometheus/api/v1/write", "/prometheus/-/ready"),
        };
        Self {
            base_url: base_url.into(),
            connect,
            write_path: write_path.into(),
            query_prefix: "/prometheus".into(),
            ready_path: ready_path.into(),
            tenant: None,
            tls: None,
            flavour,
        }
    }

    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    #[must_use]
    pub fn with_tls(mut self, credentials: Credentials) -> Self {
        self.tls = Some(credentials);
        self
    }

    pub fn write_url(&self) -> String {
        self.url(&self.write_path)
    }

    pub fn ready_url(&self) -> String {
        self.url(&self.ready_path)
    }

    /// `path` is one of the query API: `/api/v1/query`.
    pub fn query_url(&self, path: &str) -> String {
        self.url(&format!("{}{path}", self.query_prefix))
    }

    /// Mimir's API for the upload of blocks; `step` is one of it: `start`.
    pub fn block_url(&self, block: &str, step: &str) -> String {
        self.url(&format!("/api/v1/upload/block/{block}/{step}"))
    }

    /// The engine's own metrics. Both flavours serve them on the same port.
    pub fn metrics_url(&self) -> String {
        match self.flavour {
            Flavour::Mimir => self.url("/metrics"),
            Flavour::StandIn => self.query_url("/metrics"),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }

    /// A client that finds the endpoint's name at [`Target::connect`], trusts the
    /// private CA and nothing else, and shows its certificate. Proxies of the
    /// environment are not used: the endpoint is private.
    pub fn http_client(&self) -> Result<reqwest::Client, TargetError> {
        let address = |message: Why| TargetError::Address { url: self.base_url.clone(), message };
        let url = reqwest::Url::parse(&self.base_url).map_err(|error| address(Why::of(error)))?;
        let host = url.host_str().ok_or_else(|| address("it names no host".into()))?;
        if url.port_or_known_default() != Some(self.connect.port()) {
            return Err(address(format!("its port is not that of {}", self.connect).into()));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dorainfra/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            // A server that refuses a client certificate says so after the handshake
            // (TLS 1.3). HTTP/2 loses these words; shards want a connection each, too.
            .http1_only()
            // Whoever sends us elsewhere is not the endpoint: what is sent there would
            // count as accepted.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .resolve(host, self.connect);
        if let Some(tls) = &self.tls {
            let broken = |what| {
                move |error: reqwest::Error| TargetError::Credentials { what, message: Why::reason(error) }
            };
            let authorities =
                reqwest::Certificate::from_pem_bundle(tls.ca.as_bytes()).map_err(broken("CA certificate"))?;
            if authorities.is_empty() {
                let message = "it holds no certificate".into();
                return Err(TargetError::Credentials { what: "CA certificate", message });
            }
            let identity =
                reqwest::Identity::from_pem(format!("{}\n{}", tls.certificate, tls.key).as_bytes())
                    .map_err(broken("certificate or key"))?;
            builder = builder.tls_certs_only(authorities).identity(identity);
        }
        builder.build().map_err(|error| TargetError::Client(Why::reason(error)))
    }
}

/// What to do where TLS failed: each run reads the certificates anew, so they have ended, or
/// the server has others.
pub const TLS_HINT: &str = "`dorainfra credentials list` shows the certificates and until when they are valid; \
                            `dorainfra apply` renews them on both sides";

/// What TLS objected to, if it is TLS that failed: then repeating is no use.
pub fn tls_failure(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()).map(explain)
}

fn explain(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
    match error {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => {
            "the server's certificate was not issued by the deployment's CA".into()
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the server's certificate has expired".into()
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "the server's certificate is for another name".into()
        }
        Tls::AlertReceived(Alert::CertificateRequired) => "the server wants a client certificate".into(),
        Tls::AlertReceived(
            Alert::BadCertificate | Alert::UnknownCA | Alert::CertificateUnknown | Alert::CertificateExpired,
        ) => format!("the server does not accept the client certificate ({error})"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_flavour() {
        let address: SocketAddr = "127.0.0.1:9009".parse().unwrap();
        let mimir = Target::new(Flavour::Mimir, "https://mimir.x.internal:9009/", address);
        assert_eq!(mimir.write_url(), "https://mimir.x.internal:9009/api/v1/push");
        assert_eq!(mimir.query_url("/api/v1/query"), "https://mimir.x.internal:9009/prometheus/api/v1/query");
        let standin = Target::new(Flavour::StandIn, "http://127.0.0.1:9009", address);
        assert_eq!(standin.write_url(), "http://127.0.0.1:9009/prometheus/api/v1/write");
        assert_eq!(standin.ready_url(), "http://127.0.0.1:9009/prometheus/-/ready");
    }

    #[test]
    fn a_damaged_certificate_is_named_and_not_shown() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address: SocketAddr = "127.0.0.1:9009".parse().unwrap();
        let credentials =
            Credentials { certificate: "not a certificate".into(), key: "sesame".into(), ca: String::new() };
        let target = Target::new(Flavour::Mimir, "https://m:9009", address).with_tls(credentials);
        assert!(!format!("{target:?}").contains("sesame"));
        let error = target.http_client().unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_port_that_differs_is_found_before_the_first_call() {
        let target = Target::new(Flavour::Mimir, "https://m:9009", "127.0.0.1:9010".parse().unwrap());
        assert!(matches!(target.http_client(), Err(TargetError::Address { .. })));
    }
}
