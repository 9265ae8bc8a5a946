//! What Google says: whose credentials these are, what the project is and lacks, and what would
//! refuse a plan. Asked at once, by a client that does not try for long.

use std::sync::Arc;
use std::time::Duration;

use dorainfra_engine::{
    self as engine, EngineError, Finding, Manifest, Observed, Plan, PlanOptions, Provider as _,
};
use dorainfra_gcp::{self as gcp, Client, Identity};
use dorainfra_model::{Check, Events};
use serde_json::Value;
use time::OffsetDateTime;

use super::super::error::Result;
use super::super::facts::{self, Purpose};
use super::super::project::Project;
use super::super::workspace::Workspace;
use super::{Diagnosis, Repair, failed, of_finding, passed, permissions, timed, unknown, warning};
use crate::blueprint::Blueprint;
use crate::machine;
use crate::resource::{self, Google, Preflight, Room, lives_in_mimir};

/// How long a call goes on trying.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(20);

pub(super) async fn checks(workspace: &Workspace, project: &Project) -> Result<Diagnosis> {
    // Before anything is asked: what is wrong with it is an error of what was given.
    let client = project.client()?.patient_for(PATIENCE);
    let (blueprint, google) = google(workspace, project, client.clone()).await?;
    let looked = tokio::time::timeout(LONGEST, looked(&blueprint, &google.at_once(), &client)).await;
    Ok(looked.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", LONGEST.as_secs());
        let hint =
            "curl -sSI https://cloudresourcemanager.googleapis.com shows whether Google is reached from here";
        vec![failed("project", title(&client), why, hint)].into()
    }))
}

/// What is to be there, and the provider of it. Names and places are enough: neither an engine nor an
/// address is asked for.
pub(super) async fn google(
    workspace: &Workspace,
    project: &Project,
    client: Client,
) -> Result<(Arc<Blueprint>, Google)> {
    let facts = facts::find(workspace, project, &client, Purpose::Removal, &Events::none()).await?;
    let blueprint = project.blueprint(&facts)?;
    let machines = machine::Reader::new(client.clone());
    let google = Google::new(client, machines, &blueprint.deployment, blueprint.contents.clone());
    Ok((blueprint, google))
}

fn title(client: &Client) -> String {
    format!("project {}", client.project())
}

async fn looked(blueprint: &Blueprint, google: &Google, client: &Client) -> Diagnosis {
    if let Err(error) = client.sign_in().await {
        return vec![no_credentials(&error)].into();
    }
    let mut manifests = blueprint.manifests.clone();
    manifests.retain(|manifest| !lives_in_mimir(&manifest.kind));
    let services = manifests.iter().find(|manifest| manifest.kind == "serviceusage.services");
    let wanted = resource::permissions(&blueprint.manifests);
    let (identity, described, lacking, billing, enabled, planned, network, exposure) = tokio::join!(
        timed(client.identity()),
        timed(client.described()),
        timed(client.lacking(&wanted)),
        timed(google.billing()),
        timed(async {
            match services {
                Some(services) => Some((services, google.read(services).await)),
                None => None,
            }
        }),
        timed(planned(blueprint, google, &manifests)),
        timed(google.network(&manifests)),
        timed(google.exposure(&manifests)),
    );
    let mut found = Diagnosis::default();
    let who = identity.0.as_ref().ok();
    let refused = described.0.as_ref().err().filter(|error| error.api().is_some_and(|api| api.status == 401));
    found.add(took(
        match (refused, &identity.0) {
            (Some(error), _) | (None, Err(error)) => no_credentials(error),
            (None, Ok(identity)) => credentials(identity),
        },
        identity.1,
    ));
    let (project, reached) = self::project(&title(client), &described.0, who);
    if refused.is_none() {
        found.add(took(project, described.1));
    }
    found.checks.extend(clock(client.clock_ahead()));
    if !reached {
        return found;
    }
    let title = "billing";
    found.add(took(
        match billing.0 {
            Some(finding) => of_finding("billing", title, finding),
            None => passed("billing", title, "enabled"),
        },
        billing.1,
    ));
    if let Some((services, read)) = enabled.0 {
        let (check, repair) = apis(services, read.map_err(|error| error.message));
        found.add(took(check, enabled.1));
        found.repairs.extend(repair);
    }
    let missing = lacking.0.as_ref().map(Vec::as_slice).map_err(|error| {
        match error.api().is_some_and(gcp::ApiError::is_service_disabled) {
            true => "the Cloud Resource Manager API, which knows the permissions, is off: `apply` enables it"
                .into(),
            false => error.to_string(),
        }
    });
    let commands = permissions::checks(client.project(), &wanted, missing, who);
    found.checks.extend(commands.into_iter().map(|check| took(check, lacking.1)));
    let Planned { plan, preflight, room } = planned.0;
    found.checks.extend(policies(&plan, &preflight).into_iter().map(|check| took(check, planned.1)));
    found.checks.extend(quota(came_far(&plan), room).into_iter().map(|check| took(check, planned.1)));
    found.checks.extend(networks(&manifests, network.0).into_iter().map(|check| took(check, network.1)));
    found.checks.extend(rest(plan, &preflight).into_iter().map(|check| took(check, planned.1)));
    let title = "who reaches the machine";
    found.checks.extend(exposure.0.into_iter().map(|finding| of_finding("firewall", title, finding)));
    found
}

fn took(check: Check, elapsed: Duration) -> Check {
    Check { elapsed_ms: elapsed.as_millis() as u64, ..check }
}

fn no_credentials(error: &gcp::Error) -> Check {
    failed("credentials", "Google credentials", error.to_string(), error.hint().unwrap_or_default())
}

fn credentials(identity: &Identity) -> Check {
    let mut words = identity.name();
    if identity.account.is_some() {
        words.push_str(&format!(" ({})", identity.source));
    }
    match identity.until {
        Some(until) => words.push_str(&format!("; its token is good until {}, and renewed", moment(until))),
        None => words.push_str("; its token is renewed"),
    }
    passed("credentials", "Google credentials", words)
}

/// `14:05 UTC`, which is within hours of now.
fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!("{:02}:{:02} UTC", at.hour(), at.minute())
}

/// The check, and whether anything else of the project can be asked.
fn project(title: &str, described: &Result<Value, gcp::Error>, who: Option<&Identity>) -> (Check, bool) {
    const NAME: &str = "project";
    let error = match described {
        Ok(project) => {
            let id = project["projectId"].as_str().unwrap_or_default();
            return match project["state"].as_str() {
                Some("DELETE_REQUESTED") => {
                    let hint = format!("gcloud projects undelete {id}");
                    (failed(NAME, title, "it is being deleted", hint), false)
                }
                _ => {
                    let who = who.map_or_else(|| "these credentials".into(), Identity::name);
                    (passed(NAME, title, format!("it exists, and is visible to {who}")), true)
                }
            };
        }
        Err(error) => error,
    };
    let api = error.api();
    if api.is_some_and(gcp::ApiError::is_service_disabled) {
        let why = "the Cloud Resource Manager API, which knows the permissions, is off: `apply` enables it";
        return (unknown(NAME, title, why), true);
    }
    // Of a project that is not hidden the right to look at it may be missing all the same.
    let hidden = api.is_none_or(|api| api.is_project_unseen() || api.status != 403);
    match hidden {
        true => (failed(NAME, title, error.to_string(), error.hint().unwrap_or_default()), false),
        false => (unknown(NAME, title, format!("it may not be looked at: {error}")), true),
    }
}

fn clock(ahead: Option<i64>) -> Option<Check> {
    let title = "this machine's clock";
    let ahead = ahead?;
    let seconds = ahead.unsigned_abs();
    Some(if seconds <= gcp::CLOCK_TOLERANCE {
        passed("clock", title, format!("within {seconds} s of Google's"))
    } else {
        let direction = if ahead > 0 { "behind" } else { "ahead of" };
        let why = format!("{seconds} s {direction} Google's: signatures and tokens are refused");
        failed("clock", title, why, "timedatectl set-ntp true")
    })
}

/// Which of the APIs are off.
fn apis(services: &Manifest, read: Result<Option<Observed>, String>) -> (Check, Option<Repair>) {
    let (name, title) = ("apis", "APIs of the project");
    let list = |body: &Value| -> Vec<String> {
        let list = body["services"].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let on = match read {
        Ok(observed) => observed.map_or_else(Vec::new, |observed| list(&observed.body)),
        Err(why) => return (unknown(name, title, why), None),
    };
    let mut off = list(&services.body);
    let all = off.len();
    off.retain(|service| !on.contains(service));
    if off.is_empty() {
        return (passed(name, title, format!("all {all} are on")), None);
    }
    let words = format!(
        "off: {}: `apply` enables them, and so does `doctor --fix`, or `gcloud services enable {} --project {}`",
        off.join(", "),
        off.join(" "),
        services.name
    );
    (warning(name, title, words), Some(Repair::Services { manifest: services.clone(), off }))
}

/// What a plan finds out.
struct Planned {
    plan: Result<Plan, EngineError>,
    preflight: Preflight,
    /// Of quotas; `None`: nothing is to be made.
    room: Option<Result<Vec<Room>, gcp::Error>>,
}

async fn planned(blueprint: &Blueprint, google: &Google, manifests: &[Manifest]) -> Planned {
    let (name, options) = (&blueprint.deployment, PlanOptions::default());
    let plan = engine::plan(name, manifests.to_vec(), google, &options, &Events::none()).await;
    let preflight = google.found_before();
    let creating: Vec<&Manifest> = preflight.creating.iter().collect();
    let room = match creating.as_slice() {
        [] => None,
        creating => Some(google.room(creating).await),
    };
    Planned { plan, preflight, room }
}

/// Whether the plan came as far as to look at what would refuse it.
fn came_far(plan: &Result<Plan, EngineError>) -> bool {
    matches!(plan, Ok(_) | Err(EngineError::Impossible { .. }))
}

const NO_PLAN: &str = "there is no plan that could be looked at: see below";

fn policies(plan: &Result<Plan, EngineError>, preflight: &Preflight) -> Vec<Check> {
    let (name, title) = ("policies", "policies of the organisation");
    match preflight.policies.as_slice() {
        [] if !came_far(plan) => vec![unknown(name, title, NO_PLAN)],
        [] if preflight.creating.is_empty() => vec![passed(name, title, "nothing is to be made")],
        [] => vec![passed(name, title, "none blocks this plan")],
        found => found.iter().map(|finding| of_finding(name, title, finding.clone())).collect(),
    }
}

fn quota(looked: bool, room: Option<Result<Vec<Room>, gcp::Error>>) -> Vec<Check> {
    let (name, title) = ("quota", "quotas of the project");
    let room = match room {
        None if !looked => return vec![unknown(name, title, NO_PLAN)],
        None => return vec![passed(name, title, "nothing is to be made")],
        Some(Err(error)) if error.api().is_some_and(gcp::ApiError::is_service_disabled) => {
            return vec![unknown(
                name,
                title,
                "the Compute Engine API, which knows them, is off: `apply` enables it",
            )];
        }
        Some(Err(error)) => return vec![unknown(name, title, error.to_string())],
        Some(Ok(room)) => room,
    };
    let lacking: Vec<Check> = room
        .iter()
        .filter(|room| !room.is_enough())
        .map(|Room { metric, region, needed, left, limit }| {
            let place = region.as_ref().map(|region| format!(" in region {region}")).unwrap_or_default();
            let words = format!("{metric}{place}: {needed} needed, {left} of {limit} left");
            failed(name, title, words, gcp::more_or_less(Some(metric), region.is_some()))
        })
        .collect();
    match (lacking.is_empty(), room.is_empty()) {
        (false, _) => lacking,
        // Whoever can't see any can't say that they are enough.
        (true, true) => vec![unknown(name, title, "Google returned none of the quotas that this plan uses")],
        (true, false) => {
            let tightest = room
                .iter()
                .filter(|room| room.needed > 0.0)
                .min_by(|a, b| (a.left / a.needed).total_cmp(&(b.left / b.needed)));
            let words = tightest.map_or_else(String::new, |room| {
                format!("; the tightest is {}: {} needed, {} left", room.metric, room.needed, room.left)
            });
            vec![passed(name, title, format!("enough of {}{words}", room.len()))]
        }
    }
}

fn networks(manifests: &[Manifest], findings: Vec<Finding>) -> Vec<Check> {
    let (name, title) = ("network", "network of the machines");
    if !findings.is_empty() {
        return findings.into_iter().map(|finding| of_finding(name, title, finding)).collect();
    }
    let Some(machine) = manifests.iter().find(|manifest| manifest.kind == "compute.instance") else {
        return Vec::new();
    };
    let interface = &machine.body["networkInterfaces"][0];
    let (network, subnet) = (&interface["network"], &interface["subnetwork"]);
    let private = interface["accessConfigs"].as_array().is_none_or(Vec::is_empty);
    let words = match (network.as_str().unwrap_or_default(), subnet.as_str()) {
        (network, _) if network.starts_with('$') => "one of this deployment's own".to_owned(),
        (network, Some(subnet)) => format!("`{network}`, and its subnet `{subnet}`"),
        (network, None) => format!("`{network}`"),
    };
    let way = if private { ", with Private Google Access" } else { "" };
    vec![passed(name, title, format!("{words}{way}"))]
}

/// What else stands in the way, or should be known before.
fn rest(plan: Result<Plan, EngineError>, preflight: &Preflight) -> Vec<Check> {
    let (name, title) = ("plan", "what apply needs");
    // Each of these has a check of its own.
    let own: Vec<&Finding> =
        preflight.policies.iter().chain(&preflight.project).chain(&preflight.network).collect();
    let checks: Vec<Check> = match plan {
        Ok(plan) => {
            let told = |words: &String| {
                own.iter()
                    .any(|finding| words.ends_with(&format!("{}: {}", finding.problem, finding.instead)))
            };
            plan.warnings
                .iter()
                .filter(|words| !told(words))
                .map(|words| warning(name, title, words))
                .collect()
        }
        Err(EngineError::Impossible { findings }) => findings
            .into_iter()
            .filter(|finding| !own.iter().any(|other| other.problem == finding.problem))
            .map(|finding| of_finding(name, title, finding))
            .collect(),
        Err(error) => {
            vec![failed(name, title, error.to_string(), error.hint().unwrap_or_default())]
        }
    };
    match checks.is_empty() {
        true => vec![passed(name, title, "nothing else is in the way")],
        false => checks,
    }
}

#[cfg(test)]
mod tests {
    use dorainfra_model::Outcome;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_clock_that_is_a_minute_off_fails() {
        assert!(clock(None).is_none());
        for near in [0, 60, -60] {
            assert_eq!(clock(Some(near)).unwrap().outcome, Outcome::Passed, "{near}");
        }
        for (far, words) in [(61, "61 s behind Google's"), (-3600, "3600 s ahead of Google's")] {
            let check = clock(Some(far)).unwrap();
            assert_eq!(check.outcome, Outcome::Failed);
            assert!(check.found.contains(words), "{check:?}");
            assert_eq!(check.hint.as_deref(), Some("timedatectl set-ntp true"));
        }
    }

    #[test]
    fn a_project_is_there_going_or_hidden() {
        let who = Identity { account: Some("ada@example.com".into()), ..Identity::default() };
        let of = |described| project("project p", &described, Some(&who));
        let (check, reached) = of(Ok(json!({"projectId": "p", "state": "ACTIVE"})));
        assert!(reached && check.found.contains("visible to ada@example.com"), "{check:?}");
        let (check, reached) = of(Ok(json!({"projectId": "p", "state": "DELETE_REQUESTED"})));
        assert!(!reached && check.hint.as_deref() == Some("gcloud projects undelete p"), "{check:?}");
        let denied = gcp::ApiError { status: 403, message: "no".into(), ..gcp::ApiError::default() };
        let hidden = gcp::ApiError {
            unseen_project: Some("p".into()),
            caller: Some("ada@example.com".into()),
            ..denied.clone()
        };
        let (check, reached) = of(Err(gcp::Error::Api(hidden)));
        assert_eq!((check.outcome, reached), (Outcome::Failed, false));
        assert_eq!(check.found, "the project `p` is not found, or not visible to ada@example.com");
        let (check, reached) = of(Err(gcp::Error::Api(denied)));
        assert_eq!((check.outcome, reached), (Outcome::Unknown, true));
    }

    #[test]
    fn apis_that_are_off_are_named_and_can_be_enabled() {
        let services = Manifest::new("serviceusage.services", "p", json!({"services": ["a.com", "b.com"]}));
        let read = |on: Value| {
            Ok(Some(Observed {
                id: services.id(),
                body: json!({"services": on}),
                ownership: engine::Ownership::Ours,
                applied: None,
            }))
        };
        assert_eq!(apis(&services, read(json!(["a.com", "b.com"]))).0.outcome, Outcome::Passed);
        let (check, repair) = apis(&services, read(json!(["a.com"])));
        assert!(check.found.contains("gcloud services enable b.com --project p"), "{check:?}");
        let Some(Repair::Services { off, .. }) = repair else { panic!("{repair:?}") };
        assert_eq!(off, ["b.com"]);
        assert_eq!(apis(&services, Err("no".into())).0.outcome, Outcome::Unknown);
    }

    #[test]
    fn a_quota_that_is_used_up_says_what_needs_less_of_it() {
        let room = |metric: &str, needed, left| Room {
            metric: metric.into(),
            region: Some("europe-west1".into()),
            needed,
            left,
            limit: 8.0,
        };
        let checks = quota(true, Some(Ok(vec![room("CPUS", 2.0, 1.0), room("INSTANCES", 1.0, 5.0)])));
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].found, "CPUS in region europe-west1: 2 needed, 1 of 8 left");
        let hint = checks[0].hint.as_deref().unwrap();
        assert!(
            hint.contains("`mimir.machine_type`") && hint.ends_with("or take another `region`"),
            "{hint}"
        );
        let enough = quota(true, Some(Ok(vec![room("CPUS", 2.0, 4.0), room("INSTANCES", 1.0, 5.0)])));
        assert!(enough[0].found.contains("the tightest is CPUS: 2 needed, 4 left"), "{enough:?}");
        assert_eq!(quota(true, Some(Ok(Vec::new())))[0].outcome, Outcome::Unknown);
    }

    #[test]
    fn what_was_not_looked_at_is_not_green() {
        let ended = Err(EngineError::Unseen { places: ["zones/z".to_owned()].into() });
        let checks = policies(&ended, &Preflight::default());
        assert_eq!(checks[0].outcome, Outcome::Unknown);
        assert_eq!(quota(came_far(&ended), None)[0].outcome, Outcome::Unknown);
        assert_eq!(rest(ended, &Preflight::default())[0].outcome, Outcome::Failed);
    }
}
