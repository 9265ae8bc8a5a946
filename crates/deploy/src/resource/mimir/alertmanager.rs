//! `mimir.alertmanager`: the user's own configuration of Mimir's alertmanager. It has
//! secrets in it: nothing of it is ever told but its SHA-256. Our mark is a comment
//! in its first line, which Mimir keeps.

use std::collections::BTreeMap;

use dorainfra_engine::{KindSpec, Manifest, Mark, Observed, Ownership, ProviderError, ResourceId};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::api::{MimirApi, MimirError};
use crate::blueprint::Content;
use crate::blueprint::alertmanager_config;

pub(super) const SPEC: KindSpec = KindSpec { keep_on_destroy: true, ..KindSpec::plain("mimir.alertmanager") };

/// There is one for each tenant.
const NAME: &str = "config";
const MARK: &str = "# managed-by=dorainfra ";

fn marked(text: &str, mark: &Mark) -> String {
    format!("{MARK}deployment={} digest={}\n{text}", mark.deployment, mark.digest)
}

/// There is room for one only. So where the manifest wants ours, another one is a
/// change of it, to be put back; where it does not, one without our mark is
/// somebody's, and stays.
fn observed(deployment: &str, text: &str, unmarked: Ownership) -> Observed {
    let (mark, own) = match text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n')) {
        Some((mark, own)) => (mark, own),
        None => ("", text),
    };
    let word = |name: &str| {
        mark.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let ownership = match word("deployment") {
        Some(owner) if owner == deployment => Ownership::Ours,
        Some(owner) => Ownership::Other(owner),
        None => unmarked,
    };
    Observed {
        id: ResourceId::new(SPEC.kind, NAME),
        body: json!({"sha256": hex::encode(Sha256::digest(own))}),
        ownership,
        applied: word("digest"),
    }
}

pub(super) async fn read(api: &MimirApi, deployment: &str) -> Result<Option<Observed>, MimirError> {
    Ok(api.alertmanager().await?.map(|text| observed(deployment, &text, Ownership::Ours)))
}

pub(super) async fn list(api: &MimirApi, deployment: &str) -> Result<Option<Observed>, MimirError> {
    let seen = api.alertmanager().await?.map(|text| observed(deployment, &text, Ownership::Unmarked));
    Ok(seen.filter(|seen| seen.ownership == Ownership::Ours))
}

/// The file with the digest that the manifest names, with our mark.
///
/// # Errors
/// It cannot be read, or is another one by now.
pub(super) async fn text(
    contents: &BTreeMap<String, Content>,
    manifest: &Manifest,
    mark: &Mark,
) -> Result<String, ProviderError> {
    let fails =
        |message: String| ProviderError::new(message, "run the command again: it reads the file anew");
    let wanted = manifest.body["sha256"].as_str().unwrap_or_default();
    let text = match contents.get(wanted) {
        Some(Content::Private(private)) => {
            let mut texts = [None, None];
            for (text, path) in texts.iter_mut().zip([&private.path, &private.watchdog]) {
                let Some(path) = path else { continue };
                let read = tokio::fs::read_to_string(path).await;
                *text = Some(read.map_err(|error| {
                    fails(format!("{} can't be read: {error}", path.display())).because(error)
                })?);
            }
            match texts {
                [Some(own), None] => own,
                [own, watchdog] => alertmanager_config(own.as_deref(), watchdog.as_deref())
                    .map_err(|error| fails(format!("the alertmanager's configuration {error}")))?,
            }
        }
        Some(Content::Bytes(_) | Content::File(_)) | None => {
            return Err(fails("the alertmanager's configuration is not at hand".into()));
        }
    };
    if hex::encode(Sha256::digest(&text)) != wanted {
        return Err(fails("the alertmanager's configuration was changed after it was planned".into()));
    }
    Ok(marked(&text, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_comes_back_and_the_digest_is_that_of_the_users_own_text() {
        let mark = Mark { deployment: "dora".into(), digest: "0123".into() };
        let own = "route: {receiver: a}\nreceivers: [{name: a}]\n";
        let seen = |deployment: &str, text: &str| observed(deployment, text, Ownership::Unmarked);
        let ours = seen("dora", &marked(own, &mark));
        assert_eq!(ours.ownership, Ownership::Ours);
        assert_eq!(ours.applied.as_deref(), Some("0123"));
        assert_eq!(ours.body["sha256"], hex::encode(Sha256::digest(own)));
        assert_eq!(seen("other", &marked(own, &mark)).ownership, Ownership::Other("dora".into()));
        assert_eq!((seen("dora", own).ownership, seen("dora", own).body), (Ownership::Unmarked, ours.body));
    }
}
