//! What is known of a kind of resource, for people.

use schemars::JsonSchema;
use serde::Serialize;

use super::kinds;

/// How a kind of resource is treated.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KindFacts {
    /// As a plan names it: `compute.disk`.
    pub kind: String,
    /// Fields that can't be changed in place: another value replaces the resource.
    pub replaced_by: Vec<String>,
    /// The kind whose resource one of these can't outlive.
    pub lives_in: Option<String>,
    /// Kinds whose resources are deleted after those of this kind.
    pub uses: Vec<String>,
    /// `destroy` leaves it as it is.
    pub kept_on_destroy: bool,
    /// Whether one is known by the deployment's mark; else by its place.
    pub marked: bool,
    /// What an account needs for it, of the project's permissions.
    pub permissions: Vec<String>,
    /// What Terraform calls it; `None`: it can't take one over.
    pub terraform: Option<String>,
}

/// What is known of a kind of Google's; `None`: there is none of that name.
pub fn kind_facts(name: &str) -> Option<KindFacts> {
    let kinds = kinds();
    let kind = kinds.iter().find(|kind| kind.spec().kind == name)?;
    let (spec, texts) = (kind.spec(), |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect());
    let permissions = kind.permissions().iter();
    Some(KindFacts {
        kind: name.to_owned(),
        replaced_by: texts(spec.immutable),
        lives_in: spec.lives_in.map(str::to_owned),
        uses: texts(spec.uses),
        kept_on_destroy: spec.keep_on_destroy,
        marked: spec.markable,
        permissions: permissions
            .flat_map(|(collection, verbs)| verbs.iter().map(move |verb| format!("{collection}.{verb}")))
            .collect(),
        terraform: kind.exported().terraform.map(str::to_owned),
    })
}

/// The names of all of them.
pub fn kind_names() -> Vec<&'static str> {
    kinds().iter().map(|kind| kind.spec().kind).collect()
}
