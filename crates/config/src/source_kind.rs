//! The types of sources: the one list of them.

use serde::{Deserialize, Serialize};

/// The types of sources, by what the configuration calls them; and whether they are forges.
macro_rules! kinds {
    ($($kind:ident = $name:literal, forge: $forge:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum SourceKind {
            $(#[serde(rename = $name)] $kind,)+
        }

        impl SourceKind {
            pub const ALL: &[Self] = &[$(Self::$kind),+];
            pub const NAMES: &[&str] = &[$($name),+];

            /// As the configuration says it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            pub const fn is_forge(self) -> bool {
                match self { $(Self::$kind => $forge,)+ }
            }
        }
    };
}

kinds! {
    Git = "git", forge: false;
    Github = "github", forge: true;
    Gitlab = "gitlab", forge: true;
    File = "file", forge: false;
    Cdevents = "cdevents", forge: false;
    Webhook = "webhook", forge: false;
}
