//! Why there is no blueprint.

use dorainfra_engine::ResourceId;
use dorainfra_render::RenderError;

#[derive(Debug, thiserror::Error)]
pub enum BlueprintError {
    #[error("`zones` is empty")]
    NoZone,
    #[error("this machine's address, which `access.allow` names as `caller`, is not known")]
    UnknownCaller,
    #[error("`access.allow` opens port 9009 to the whole world")]
    OpenToTheWorld,
    #[error("`{0}` is an IPv6 range, but the machine has an IPv4 address only")]
    Ipv6(String),
    #[error("`{0}` is not a CIDR")]
    BadCidr(String),
    /// The engine would resolve such a value, or fail to.
    #[error("the value of `{field}` holds `${{`, which would read as a reference to a resource")]
    Reserved { field: String },
    #[error("`{0}` is not a SHA-256 in lower-case hex")]
    BadDigest(String),
    #[error(transparent)]
    Render(#[from] RenderError),
    /// What a resource template rendered is not a manifest.
    #[error("{file}{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Manifest {
        file: String,
        /// In the template, not in what was rendered.
        line: Option<usize>,
        message: String,
    },
    #[error("{file}, line {line}: {id} is declared a second time")]
    Twice { file: String, line: usize, id: ResourceId },
}

impl BlueprintError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoZone => "name one zone of the region, for example `zones: [europe-west1-b]`",
            Self::UnknownCaller => "name the addresses instead, for example `access.allow: [203.0.113.7/32]`",
            Self::OpenToTheWorld => {
                "name the addresses that need it; if the whole world is meant, say `access.public: i-understand`"
            }
            Self::Ipv6(_) => "name the IPv4 range from which you reach the machine",
            Self::BadCidr(_) => "write an address and a prefix length, for example 203.0.113.7/32",
            Self::Reserved { .. } => "write the value without `${`",
            Self::BadDigest(_) => return None,
            Self::Render(error) => return error.hint(),
            Self::Manifest { .. } => {
                "a resource is a YAML document with `kind`, `name` and `body`, and with `protect`, \
                 `arbiter`, `rolling`, `dependsOn` and `notes` where needed"
            }
            Self::Twice { .. } => "a kind and a name together are unique within a deployment",
        };
        Some(hint.to_owned())
    }
}
