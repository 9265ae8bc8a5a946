//! A Mimir that somebody made by hand: found in a project, so that its bucket and blocks become a
//! deployment's. Only looked at here: what is changed, `apply --adopt` changes, and what is deleted, its
//! owner deletes.
//!
//! A bucket is known by Mimir's layout, `[PREFIX/]TENANT/ULID/meta.json`; a machine by the word `mimir` in
//! its name or its metadata; a firewall rule by letting the world in at Mimir's ports.

use std::collections::BTreeSet;

use dorainfra_gcp::{Api, Call, Client, encoded};
use dorainfra_render::{Context, Overrides, Renderer};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::{InputError, Result};

/// How many folders of a bucket are looked into: those of Mimir are few, and no bucket is read whole.
const FOLDERS: usize = 50;
/// How many blocks are read at a time.
const AT_ONCE: usize = 32;
/// Where dorainfra's Mimir has its blocks.
const BLOCKS: &str = "blocks/";
/// Mimir's own: HTTP and gRPC.
const PORTS: [u16; 2] = [9009, 9095];

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Handmade {
    pub project: String,
    pub bucket: String,
    /// As the configuration spells it: `europe-west1`, `EU`.
    pub location: String,
    /// Before the tenant's folder: empty, or with a `/` at its end.
    pub prefix: String,
    pub tenant: String,
    pub blocks: usize,
    /// Milliseconds since 1970 of the oldest sample and the newest; `None` without a block.
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub machines: Vec<Machine>,
    /// Firewall rules that let the world in.
    pub rules: Vec<String>,
    pub grants: Vec<Grant>,
    /// Accounts of those machines that somebody made for them.
    pub accounts: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    pub name: String,
    pub zone: String,
    pub network: String,
    pub subnet: String,
    pub runs: bool,
}

/// A role on the bucket that such a machine's account has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grant {
    pub role: String,
    pub member: String,
}

impl Handmade {
    /// Whether the blocks are where dorainfra's Mimir has its own.
    pub fn in_place(&self) -> bool {
        self.prefix == BLOCKS
    }

    /// How many days of samples there are, up to `now` (milliseconds since 1970).
    pub fn days(&self, now: i64) -> i64 {
        self.from.map_or(0, |from| (now - from).max(0) / 86_400_000 + 1)
    }

    /// The keys of a configuration that takes it over, as `--set` has them.
    pub fn settings(&self, now: i64) -> Vec<String> {
        const YEAR: i64 = 366;
        let mut settings = vec![
            format!("mimir.bucket={}", self.bucket),
            format!("mimir.bucket_location={}", self.location),
            format!("mimir.tenant={}", self.tenant),
            // The compactor deletes what is older: nothing of what is there, for a year at least.
            format!("mimir.retention={}d", (self.days(now) + YEAR).max(2 * YEAR)),
        ];
        if let Some(machine) = self.machines.first() {
            settings.push(format!("zones=[{}]", machine.zone));
            settings
                .push(format!("region={}", machine.zone.rsplit_once('-').map_or("", |(region, _)| region)));
            if machine.network != "default" {
                settings.push(format!("network.name={}", machine.network));
                settings.push(format!("network.subnet={}", machine.subnet));
            }
        } else if self.location.contains('-') {
            settings.push(format!("region={}", self.location));
        }
        settings
    }

    /// What to do, in its order, as a text to be read and copied from.
    ///
    /// # Errors
    /// A value that no shell can be told.
    pub fn steps(&self) -> Result<String> {
        let mut values = serde_json::to_value(self).expect("texts and numbers are plain data");
        values["in_place"] = self.in_place().into();
        values["first_day"] = self.from.map(|from| from / 1000).into();
        let overrides = Overrides::default();
        let renderer = Renderer::new(&overrides);
        Ok(renderer.render("adopt/steps.sh.j2", &Context::new(&values))?.text)
    }
}

/// Blocks of a tenant in a bucket.
#[derive(Clone, Debug, PartialEq)]
struct Blocks {
    bucket: Value,
    prefix: String,
    tenant: String,
    ids: Vec<String>,
}

/// Looks for a Mimir in the client's project.
///
/// # Errors
/// There is none, or more than one: `bucket` and `tenant` then say which.
pub async fn find(client: &Client, bucket: Option<&str>, tenant: Option<&str>) -> Result<Handmade> {
    let project = client.project().to_owned();
    let list = Call::get(Api::Storage, "storage/v1/b").query("project", &project);
    let buckets = client.list(list, "items").await?;
    let ours = |resource: &Value| resource["labels"]["managed-by"] == "dorainfra";
    let asked = buckets
        .iter()
        .filter(|found| !ours(found) && bucket.is_none_or(|bucket| found["name"].as_str() == Some(bucket)));
    let mut unseen = Vec::new();
    let mut found = Vec::new();
    for candidate in asked.clone() {
        let name = candidate["name"].as_str().unwrap_or_default();
        match blocks(client, candidate).await {
            Ok(more) => found.extend(more),
            Err(error) => unseen.push(format!("bucket {name}: {error}")),
        }
    }
    found.retain(|blocks| tenant.is_none_or(|tenant| blocks.tenant == tenant));
    let blocks = match &found[..] {
        [one] => one,
        [] => {
            let looked = asked.filter_map(|bucket| bucket["name"].as_str()).map(str::to_owned).collect();
            return Err(InputError::NothingToAdopt { project, looked, unseen }.into());
        }
        several => {
            let found = several.iter().map(|blocks| {
                let bucket = blocks.bucket["name"].as_str().unwrap_or_default();
                format!("mimir.bucket={bucket}, mimir.tenant={}", blocks.tenant)
            });
            return Err(InputError::SeveralToAdopt { project, found: found.collect() }.into());
        }
    };
    let name = blocks.bucket["name"].as_str().unwrap_or_default().to_owned();
    let (from, to) = spans(client, &name, blocks).await?;
    let (machines, emails) = or_unseen(machines(client).await, "machines", &mut unseen);
    let rules = or_unseen(rules(client).await, "firewall rules", &mut unseen);
    let grants = or_unseen(grants(client, &name, &emails).await, "who may use the bucket", &mut unseen);
    // What Google made for everybody is nobody's to delete.
    let own = format!("@{project}.iam.gserviceaccount.com");
    let location = blocks.bucket["location"].as_str().unwrap_or_default();
    Ok(Handmade {
        // Regions are written small, and places of several of them large.
        location: if location.contains('-') { location.to_lowercase() } else { location.to_owned() },
        bucket: name,
        prefix: blocks.prefix.clone(),
        tenant: blocks.tenant.clone(),
        blocks: blocks.ids.len(),
        from,
        to,
        machines,
        rules,
        grants,
        accounts: emails.into_iter().filter(|email| email.ends_with(&own)).collect(),
        unseen,
        project,
    })
}

fn or_unseen<T: Default>(answer: Result<T>, what: &str, unseen: &mut Vec<String>) -> T {
    answer.unwrap_or_else(|error| {
        unseen.push(format!("{what}: {error}"));
        T::default()
    })
}

/// The names of the folders right below a prefix, without it.
async fn folders(client: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut page = None::<String>;
    loop {
        let mut call = Call::get(Api::Storage, format!("storage/v1/b/{}/o", encoded(bucket)))
            .query("delimiter", "/")
            .query("prefix", prefix)
            .query("fields", "prefixes,nextPageToken");
        if let Some(token) = page {
            call = call.query("pageToken", token);
        }
        let answer = client.call(&call).await?;
        let folders = answer["prefixes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.extend(
            folders.filter_map(|folder| Some(folder.strip_prefix(prefix)?.trim_end_matches('/').to_owned())),
        );
        match answer["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => page = Some(token.to_owned()),
            _ => return Ok(found),
        }
    }
}

/// Whether a folder's name is a block's: a ULID.
fn is_block(name: &str) -> bool {
    name.len() == 26
        && name.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)))
}

/// The tenants with blocks in a bucket, at its root or in one folder more.
async fn blocks(client: &Client, bucket: &Value) -> Result<Vec<Blocks>> {
    let name = bucket["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    let mut of = |prefix: &str, tenant: &str, children: &[String]| {
        let ids: Vec<String> = children.iter().filter(|child| is_block(child)).cloned().collect();
        let any = !ids.is_empty();
        if any {
            let (prefix, tenant) = (prefix.to_owned(), tenant.to_owned());
            found.push(Blocks { bucket: bucket.clone(), prefix, tenant, ids });
        }
        any
    };
    for outer in folders(client, name, "").await?.iter().take(FOLDERS) {
        let prefix = format!("{outer}/");
        let children = folders(client, name, &prefix).await?;
        if of("", outer, &children) {
            continue;
        }
        for inner in children.iter().take(FOLDERS) {
            let below = folders(client, name, &format!("{prefix}{inner}/")).await?;
            of(&prefix, inner, &below);
        }
    }
    Ok(found)
}

/// From when and until when there are samples, by what the blocks say of themselves.
async fn spans(client: &Client, bucket: &str, blocks: &Blocks) -> Result<(Option<i64>, Option<i64>)> {
    let read = |id: String| async move {
        let name = format!("{}{}/{id}/meta.json", blocks.prefix, blocks.tenant);
        client.read_object(bucket, &name).await
    };
    let mut reads = stream::iter(blocks.ids.clone()).map(read).buffer_unordered(AT_ONCE);
    let (mut from, mut to) = (None::<i64>, None::<i64>);
    while let Some(answer) = reads.next().await {
        // One without it is not whole: it is still being uploaded, or deleted.
        let Some((bytes, _)) = answer? else { continue };
        let Ok(meta) = serde_json::from_slice::<Value>(&bytes) else { continue };
        if let (Some(first), Some(last)) = (meta["minTime"].as_i64(), meta["maxTime"].as_i64()) {
            from = Some(from.map_or(first, |from| from.min(first)));
            to = Some(to.map_or(last, |to| to.max(last)));
        }
    }
    Ok((from, to))
}

fn last(link: &Value) -> String {
    link.as_str().and_then(|link| link.rsplit('/').next()).unwrap_or_default().to_owned()
}

/// The machines that speak of Mimir, and their accounts.
async fn machines(client: &Client) -> Result<(Vec<Machine>, BTreeSet<String>)> {
    let (mut machines, mut accounts) = (Vec::new(), BTreeSet::new());
    let mut page = None::<String>;
    loop {
        let mut call = Call::get(Api::Compute, "aggregated/instances");
        if let Some(token) = page {
            call = call.query("pageToken", token);
        }
        let answer = client.call(&call).await?;
        let places = answer["items"].as_object().into_iter().flatten().map(|(_, place)| place);
        for machine in places.flat_map(|place| place["instances"].as_array().into_iter().flatten()) {
            let ours = machine["labels"]["managed-by"] == "dorainfra";
            let speaks = machine["name"].to_string().contains("mimir")
                || machine["metadata"].to_string().to_lowercase().contains("mimir");
            if ours || !speaks {
                continue;
            }
            let interface = &machine["networkInterfaces"][0];
            machines.push(Machine {
                name: last(&machine["name"]),
                zone: last(&machine["zone"]),
                network: last(&interface["network"]),
                subnet: last(&interface["subnetwork"]),
                runs: machine["status"] == "RUNNING",
            });
            let emails = machine["serviceAccounts"].as_array().into_iter().flatten();
            accounts.extend(emails.filter_map(|account| account["email"].as_str()).map(str::to_owned));
        }
        match answer["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => page = Some(token.to_owned()),
            _ => return Ok((machines, accounts)),
        }
    }
}

/// The rules by which the world reaches Mimir's ports.
async fn rules(client: &Client) -> Result<Vec<String>> {
    let rules = client.list(Call::get(Api::Compute, "global/firewalls"), "items").await?;
    Ok(rules.iter().filter(|rule| is_open(rule)).map(|rule| last(&rule["name"])).collect())
}

fn is_open(rule: &Value) -> bool {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let holds = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>(), last.parse::<u16>());
        PORTS
            .iter()
            .any(|port| first.as_ref().is_ok_and(|at| at <= port) && last.as_ref().is_ok_and(|at| at >= port))
    };
    let allowed = rule["allowed"].as_array().into_iter().flatten();
    rule["direction"] != "EGRESS"
        && rule["disabled"] != json!(true)
        && !rule["description"].as_str().unwrap_or_default().contains("[dorainfra ")
        && texts(&rule["sourceRanges"]).iter().any(|range| range.ends_with("/0"))
        && allowed.flat_map(|what| texts(&what["ports"])).any(|range| holds(&range))
}

/// What the accounts may do with the bucket, by its own policy.
async fn grants(client: &Client, bucket: &str, emails: &BTreeSet<String>) -> Result<Vec<Grant>> {
    let members: Vec<String> = emails.iter().map(|email| format!("serviceAccount:{email}")).collect();
    let call = Call::get(Api::Storage, format!("storage/v1/b/{}/iam", encoded(bucket)))
        .query("optionsRequestedPolicyVersion", "3");
    let policy = client.call(&call).await?;
    let mut grants = Vec::new();
    for binding in policy["bindings"].as_array().into_iter().flatten() {
        let role = binding["role"].as_str().unwrap_or_default();
        let of = binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for member in of.filter(|member| members.iter().any(|ours| ours == member)) {
            grants.push(Grant { role: role.to_owned(), member: member.to_owned() });
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handmade() -> Handmade {
        Handmade {
            project: "p".into(),
            bucket: "b".into(),
            location: "EU".into(),
            prefix: String::new(),
            tenant: "anonymous".into(),
            blocks: 2,
            from: Some(0),
            to: Some(86_400_000),
            machines: vec![Machine {
                name: "mimir".into(),
                zone: "us-east1-c".into(),
                network: "own".into(),
                subnet: "sub".into(),
                runs: true,
            }],
            rules: Vec::new(),
            grants: Vec::new(),
            accounts: Vec::new(),
            unseen: Vec::new(),
        }
    }

    #[test]
    fn a_configuration_keeps_every_block_for_a_year_more() {
        let day = 86_400_000;
        let expected = [
            "mimir.bucket=b",
            "mimir.bucket_location=EU",
            "mimir.tenant=anonymous",
            "mimir.retention=1367d",
            "zones=[us-east1-c]",
            "region=us-east1",
            "network.name=own",
            "network.subnet=sub",
        ];
        assert_eq!(handmade().settings(1000 * day), expected);
        // Never less than by default.
        assert!(handmade().settings(day).contains(&"mimir.retention=732d".to_owned()));
    }

    #[test]
    fn the_steps_are_in_the_order_in_which_nothing_is_lost() {
        let steps = |found: &Handmade| found.steps().unwrap();
        let mut found = handmade();
        found.rules = vec!["mimir-9009".into()];
        let text = steps(&found);
        let places: Vec<usize> = [
            "ingester/flush?wait=true",
            "instances stop 'mimir'",
            "rsync --recursive 'gs://b/anonymous' 'gs://b/blocks/anonymous'",
            "apply --adopt",
            "#   gcloud compute instances delete 'mimir'",
            "#   gcloud compute firewall-rules delete 'mimir-9009'",
            "#   gcloud storage rm --recursive 'gs://b/anonymous'",
        ]
        .iter()
        .map(|words| text.find(words).unwrap_or_else(|| panic!("{words}: {text}")))
        .collect();
        assert!(places.is_sorted(), "{text}");
        // Whatever deletes is a comment.
        let deletes = |line: &str| [" delete ", " rm ", "remove-iam"].iter().any(|word| line.contains(word));
        assert!(text.lines().filter(|line| deletes(line)).all(|line| line.starts_with('#')), "{text}");
        found.prefix = BLOCKS.into();
        found.machines[0].runs = false;
        let text = steps(&found);
        assert!(!text.contains("rsync") && !text.contains("storage rm") && !text.contains("flush"), "{text}");
    }

    #[test]
    fn a_block_is_known_by_its_ulid() {
        assert!(is_block("01HQ3X5K7Z8V9W0A1B2C3D4E5F"));
        for other in [
            "01HQ3X5K7Z8V9W0A1B2C3D4E5",
            "01HQ3X5K7Z8V9W0A1B2C3D4E5I",
            "01hq3x5k7z8v9w0a1b2c3d4e5f",
            "markers",
        ] {
            assert!(!is_block(other), "{other}");
        }
    }

    #[test]
    fn a_rule_is_open_that_lets_the_world_in_at_mimirs_ports() {
        let rule = |ports: Value, sources: Value| json!({"direction": "INGRESS", "sourceRanges": sources, "allowed": [{"IPProtocol": "tcp", "ports": ports}]});
        assert!(is_open(&rule(json!(["9009"]), json!(["0.0.0.0/0"]))));
        assert!(is_open(&rule(json!(["80", "9000-9100"]), json!(["10.0.0.0/8", "0.0.0.0/0"]))));
        assert!(!is_open(&rule(json!(["9009"]), json!(["203.0.113.0/24"]))));
        assert!(!is_open(&rule(json!(["22"]), json!(["0.0.0.0/0"]))));
        let mut own = rule(json!(["9009"]), json!(["0.0.0.0/0"]));
        own["description"] = json!("Mimir's port. [dorainfra deployment=a digest=b]");
        assert!(!is_open(&own));
        own["description"] = json!("");
        own["disabled"] = json!(true);
        assert!(!is_open(&own));
    }
}
