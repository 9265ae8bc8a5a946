//! How Compute and the manifests write the same thing: links there, names here.

use serde_json::{Map, Value, json};

use super::short;

/// `zones/Z/instanceGroups/G` → the full link, which is all that a backend takes.
pub fn group_link(project: &str, group: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/projects/{project}/{group}")
}

/// Google's spelling → the manifests': a link becomes the name at its end.
pub fn spelled(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = if key == "selfLink" { value } else { spelled(value) };
                (key, value)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(spelled).collect(),
        // A backend's groups are in several zones: their names alone would not tell.
        Value::String(link) if link.contains("/instanceGroups/") => {
            json!(link.find("zones/").map_or(link.as_str(), |at| &link[at..]))
        }
        Value::String(link) if link.starts_with("http") && link.contains("/projects/") => json!(short(&link)),
        other => other,
    }
}

/// Where a collection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Zone,
    Region,
    Global,
}

/// A field of a kind that names another resource.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Dotted; of a list, all its items.
    pub field: &'static str,
    pub to: To,
}

/// Where what a field names is.
#[derive(Clone, Copy, Debug)]
pub enum To {
    /// In a collection, in the place of the resource that names it.
    In(Scope, &'static str),
    /// Where the name says: `zones/Z/instanceGroups/G`.
    Named,
}

impl Link {
    pub const fn new(field: &'static str, scope: Scope, collection: &'static str) -> Self {
        Self { field, to: To::In(scope, collection) }
    }

    pub const fn named(field: &'static str) -> Self {
        Self { field, to: To::Named }
    }
}

/// The manifests' spelling → Google's: a name becomes a link. What is a link already stays as
/// it is. `place` has the zone or region.
pub fn linked(links: &[Link], project: &str, mut body: Value, place: &Value) -> Value {
    let zone = place["zone"].as_str().unwrap_or_default();
    let region = place["region"].as_str().or(zone.rsplit_once('-').map(|(region, _)| region));
    let region = region.unwrap_or_default();
    for Link { field, to } in links {
        each(&mut body, field, &|name| match to {
            To::Named => name.starts_with("zones/").then(|| group_link(project, name)),
            To::In(..) if name.contains('/') => None,
            To::In(scope, collection) => {
                let place = match scope {
                    Scope::Zone => format!("zones/{zone}"),
                    Scope::Region => format!("regions/{region}"),
                    Scope::Global => "global".to_owned(),
                };
                Some(format!("projects/{project}/{place}/{collection}/{name}"))
            }
        });
    }
    body
}

/// Writes anew the texts at a path, where `link` has another for them.
fn each(value: &mut Value, path: &str, link: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, path, link)),
        Value::Object(fields) => {
            let (field, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(inner) = fields.get_mut(field) {
                each(inner, rest, link);
            }
        }
        Value::String(name) if path.is_empty() => {
            if let Some(link) = link(name) {
                *name = link;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_spelled_as_manifests_do() {
        let answer = json!({
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b",
            "type": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b/diskTypes/pd-ssd",
            "users": ["https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/i"],
            "group": "https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/g",
        });
        assert_eq!(
            spelled(answer),
            json!({
                "zone": "europe-west1-b",
                "type": "pd-ssd",
                "users": ["i"],
                "group": "zones/z/instanceGroups/g",
            })
        );
    }

    #[test]
    fn names_become_links_by_their_field() {
        let links = [
            Link::new("machineType", Scope::Zone, "machineTypes"),
            Link::new("disks.source", Scope::Zone, "disks"),
            Link::new("resourcePolicies", Scope::Region, "resourcePolicies"),
            Link::new("networkInterfaces.network", Scope::Global, "networks"),
            Link::new("description", Scope::Global, "nothing"),
            Link::named("backends.group"),
        ];
        let body = json!({"machineType": "e2-medium", "disks": [{"source": "d"}, {"boot": true}],
            "resourcePolicies": ["s"], "networkInterfaces": [{"network": "global/networks/other"}],
            "backends": [{"group": "zones/z/instanceGroups/g"}, {"group": "https://there/g"}]});
        assert_eq!(
            linked(&links, "p", body, &json!({"zone": "europe-west1-b"})),
            json!({
                "machineType": "projects/p/zones/europe-west1-b/machineTypes/e2-medium",
                "disks": [{"source": "projects/p/zones/europe-west1-b/disks/d"}, {"boot": true}],
                "resourcePolicies": ["projects/p/regions/europe-west1/resourcePolicies/s"],
                "networkInterfaces": [{"network": "global/networks/other"}],
                "backends": [{"group": group_link("p", "zones/z/instanceGroups/g")}, {"group": "https://there/g"}],
            })
        );
    }
}
