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

/// The manifests' spelling → Google's: a name becomes a link, by its field.
/// What is a link already stays as it is.
pub fn linked(project: &str, mut body: Value, place: &Value) -> Value {
    let zone = place["zone"].as_str().unwrap_or_default().to_owned();
    let region = match place["region"].as_str() {
        Some(region) => region.to_owned(),
        None => zone.rsplit_once('-').map(|(region, _)| region.to_owned()).unwrap_or_default(),
    };
    let link = |value: &mut Value, collection: &str| {
        if let Some(name) = value.as_str().filter(|name| !name.contains('/')) {
            *value = json!(format!("projects/{project}/{collection}/{name}"));
        }
    };
    for (field, collection) in [
        ("machineType", format!("zones/{zone}/machineTypes")),
        ("type", format!("zones/{zone}/diskTypes")),
        ("network", "global/networks".to_owned()),
        ("subnetwork", format!("regions/{region}/subnetworks")),
        ("backendService", format!("regions/{region}/backendServices")),
        ("sourceSnapshot", "global/snapshots".to_owned()),
    ] {
        // The type of what is in no zone is a word, not a link.
        if let Some(value) = body.get_mut(field).filter(|_| field != "type" || !zone.is_empty()) {
            link(value, &collection);
        }
    }
    for (list, field, collection) in [
        ("disks", "source", format!("zones/{zone}/disks")),
        ("networkInterfaces", "network", "global/networks".to_owned()),
        ("networkInterfaces", "subnetwork", format!("regions/{region}/subnetworks")),
    ] {
        for item in body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(value) = item.get_mut(field) {
                link(value, &collection);
            }
        }
    }
    for list in ["resourcePolicies", "healthChecks"] {
        for item in body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            link(item, &format!("regions/{region}/{list}"));
        }
    }
    for backend in body.get_mut("backends").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(group) = backend["group"].as_str().filter(|group| group.starts_with("zones/")) {
            backend["group"] = json!(group_link(project, group));
        }
    }
    body
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
        let body = json!({"machineType": "e2-medium", "disks": [{"source": "d"}], "resourcePolicies": ["s"],
            "networkInterfaces": [{"network": "global/networks/other"}]});
        assert_eq!(
            linked("p", body, &json!({"zone": "europe-west1-b"})),
            json!({
                "machineType": "projects/p/zones/europe-west1-b/machineTypes/e2-medium",
                "disks": [{"source": "projects/p/zones/europe-west1-b/disks/d"}],
                "resourcePolicies": ["projects/p/regions/europe-west1/resourcePolicies/s"],
                "networkInterfaces": [{"network": "global/networks/other"}],
            })
        );
    }
}
