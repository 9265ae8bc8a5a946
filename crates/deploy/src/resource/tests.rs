//! What a kind says of itself is all that has to be known of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use dorainfra_config::{Config, ScrapeJobs, Topology};
use dorainfra_engine::{self as engine, Action, ApplyOptions, Ownership, PlanOptions, Step};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;
use serde_json::json;

use super::*;
use crate::blueprint::{self, Engine, Facts};

/// The recipe of CONTRIBUTING.md, followed: nothing outside this module knows the kind.
#[derive(Default)]
struct Notice(Arc<Mutex<BTreeMap<String, (Value, Mark)>>>);

const NOTICE: KindSpec =
    KindSpec { immutable: &["board"], uses: &["made.board"], ..KindSpec::plain("made.notice") };

impl Notice {
    fn observed(&self, name: &str) -> Option<Observed> {
        let (body, mark) = self.0.lock().unwrap().get(name).cloned()?;
        let id = ResourceId::new(NOTICE.kind, name);
        Some(Observed { id, body, ownership: Ownership::Ours, applied: Some(mark.digest) })
    }
}

#[async_trait]
impl Kind for Notice {
    fn spec(&self) -> &KindSpec {
        &NOTICE
    }

    fn exported(&self) -> Exported {
        Exported { terraform: Some("made_notice"), marked: None }
    }

    fn permissions(&self) -> &'static [Permissions] {
        &[("made.notices", &["create", "list"])]
    }

    fn permissions_of(&self, manifest: &Manifest) -> Vec<String> {
        manifest.body["loud"].as_bool().map(|_| "made.boards.shout".to_owned()).into_iter().collect()
    }

    async fn read(&self, _: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, gcp::Error> {
        Ok(self.observed(&manifest.name))
    }

    async fn list(&self, _: &Cloud, _: &str) -> Result<Owned, gcp::Error> {
        let names: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
        Ok(names.iter().filter_map(|name| self.observed(name)).collect::<Vec<_>>().into())
    }

    async fn create(
        &self,
        _: &Cloud,
        manifest: &Manifest,
        mark: &Mark,
        _: &Events,
    ) -> Result<(), gcp::Error> {
        self.0.lock().unwrap().insert(manifest.name.clone(), (manifest.body.clone(), mark.clone()));
        Ok(())
    }

    async fn update(
        &self,
        cloud: &Cloud,
        manifest: &Manifest,
        _: &Observed,
        _: &[Change],
        mark: &Mark,
        events: &Events,
    ) -> Result<(), gcp::Error> {
        self.create(cloud, manifest, mark, events).await
    }

    async fn delete(&self, _: &Cloud, observed: &Observed, _: &Events) -> Result<(), gcp::Error> {
        self.0.lock().unwrap().remove(&observed.id.name);
        Ok(())
    }
}

fn notice(name: &str, body: Value) -> Manifest {
    Manifest::new(NOTICE.kind, name, body)
}

async fn planned(google: &Arc<Google>, manifests: &[Manifest]) -> (engine::Plan, Vec<(Action, String)>) {
    let events = Events::none();
    let options = PlanOptions::default();
    let plan = engine::plan("dora", manifests.to_vec(), &**google, &options, &events).await.unwrap();
    let steps = plan.steps.iter().map(|Step { id, action, .. }| (*action, id.name.clone())).collect();
    (plan, steps)
}

async fn applied(google: &Arc<Google>, plan: &engine::Plan) {
    let provider: Arc<dyn Provider> = Arc::<Google>::clone(google);
    let (options, interrupt) = (ApplyOptions::default(), CancellationToken::new());
    let outcome = engine::apply(plan, provider, &options, None, &interrupt, &Events::none()).await.unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
}

#[tokio::test]
async fn a_kind_is_one_implementation_and_one_line() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = gcp::Settings {
        proxy: None,
        events: dorainfra_model::Events::none(),
        retry_for: gcp::RETRY_FOR,
        endpoints: gcp::Endpoints::default(),
        credentials: None,
        person: false,
        gcloud: false,
        project: "p".into(),
    };
    let client = Client::new(settings).unwrap();
    let mut google = Google::new(client.clone(), Reader::new(client), "dora", Arc::default());
    google.kinds = vec![Box::new(Notice::default())];
    let google = Arc::new(google);

    let first = [notice("a", json!({"board": "b", "text": "hello"})), notice("z", json!({"board": "b"}))];
    let (plan, steps) = planned(&google, &first).await;
    assert_eq!(steps, [(Action::Create, "a".into()), (Action::Create, "z".into())]);
    applied(&google, &plan).await;
    let (_, steps) = planned(&google, &first).await;
    assert!(steps.iter().all(|(action, _)| *action == Action::NoOp), "{steps:?}");

    let changed = [notice("a", json!({"board": "c", "text": "hello"}))];
    let (plan, steps) = planned(&google, &changed).await;
    assert_eq!(steps, [(Action::Replace, "a".into()), (Action::Delete, "z".into())]);
    applied(&google, &plan).await;
    assert_eq!(google.list_owned("dora").await.unwrap().found.len(), 1);

    let loud = [notice("a", json!({"loud": true}))];
    let of = |manifests: &[Manifest]| permissions::of_kinds(&google.kinds, manifests);
    assert_eq!(of(&loud), ["made.boards.shout", "made.notices.create", "made.notices.list"]);
    assert_eq!(of(&[]), ["made.notices.list"]);
    let unknown = google.kind("made.up").err().unwrap();
    assert_eq!(unknown.hint.unwrap(), "the kinds are made.notice");
}

/// What disks are restored from.
const SNAPSHOT: &str = "of-yesterday";

/// Everything that a deployment may have: in each topology, in a network that is there and in one of its own,
/// with and without addresses on the internet, from scratch and from a snapshot.
fn all_manifests() -> Vec<Manifest> {
    let config = |topology, create, external| {
        let mut config = Config { project: "p".into(), ..Config::default() };
        config.mimir.topology = topology;
        if topology == Topology::Ha {
            config.zones = ["b", "c", "d"].map(|zone| format!("europe-west1-{zone}")).into();
        }
        (config.network.create, config.access.external) = (create, external);
        config
    };
    let engine = Engine {
        flavour: Flavour::Mimir,
        version: dorainfra_config::default_version().into(),
        sha256: "a".repeat(64),
        path: "/engine".into(),
    };
    let facts = Facts {
        caller: Some("203.0.113.7/32".into()),
        clients: Vec::new(),
        engine,
        restore_disks: BTreeMap::new(),
        alertmanager: None,
        scrape: ScrapeJobs::default(),
    };
    let disks = ["dorainfra-data", "dorainfra-data-2"].map(|disk| (disk.to_owned(), SNAPSHOT.to_owned()));
    let restored = Facts { restore_disks: disks.into(), ..facts.clone() };
    let mut all = Vec::new();
    for topology in [Topology::Single, Topology::Ha] {
        for (create, external) in [(false, true), (true, true), (true, false)] {
            for facts in [&facts, &restored] {
                let config = config(topology, create, external);
                all.extend(blueprint::build(&config, facts, &Overrides::none()).unwrap().manifests);
            }
        }
    }
    all
}

/// With each `${KIND/NAME.name}` resolved, as the engine does it.
fn resolved(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(field, value)| (field.clone(), resolved(value))).collect()
        }
        Value::Array(items) => items.iter().map(resolved).collect(),
        Value::String(text) => {
            let reference = text.strip_prefix("${").and_then(|text| text.strip_suffix(".name}"));
            reference.map_or_else(|| value.clone(), |id| short(id).into())
        }
        other => other.clone(),
    }
}

/// The texts of a body that are `name`, by the path of their field.
fn fields_with(name: &str, path: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let inner = fields.iter();
            inner.flat_map(|(field, value)| fields_with(name, &format!("{path}.{field}"), value)).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| fields_with(name, path, item)).collect(),
        Value::String(text) if text == name => vec![path.to_owned()],
        _ => Vec::new(),
    }
}

#[test]
fn what_names_a_resource_of_compute_is_a_link_there() {
    let mark = Mark { deployment: "dora".into(), digest: "0".into() };
    let rows = compute::TABLE.iter().chain([&disk::ROW, &instance::ROW]);
    let rows: BTreeMap<&str, &compute::Row> = rows.map(|row| (row.spec.kind, row)).collect();
    let manifests = all_manifests();
    let of_compute = manifests.iter().filter(|manifest| rows.contains_key(manifest.kind.as_str()));
    let names: BTreeSet<&str> = of_compute.map(|manifest| manifest.name.as_str()).chain([SNAPSHOT]).collect();
    for manifest in &manifests {
        let Some(row) = rows.get(manifest.kind.as_str()) else { continue };
        let manifest = Manifest { body: resolved(&manifest.body), ..manifest.clone() };
        let body = row.insertable("p", &manifest, &mark);
        for name in &names {
            let fields = fields_with(name, "", &body);
            let is_word = |field: &String| {
                [".name", ".tags.items", ".targetTags"].contains(&field.as_str())
                    || field.contains(".labels.")
            };
            let left: Vec<&String> = fields.iter().filter(|field| !is_word(field)).collect();
            assert!(left.is_empty(), "{}: {left:?} is {name}, and no link", manifest.id());
        }
    }
}

/// A kind whose list shows less than there is, and that counts what it is asked.
struct Late {
    listed: Result<Owned, gcp::Error>,
    there: Vec<Observed>,
    asked: Arc<Mutex<Vec<String>>>,
}

const LATE: KindSpec = KindSpec::plain("made.late");

fn late(name: &str, zone: &str, ownership: Ownership) -> Observed {
    let id = ResourceId::new(LATE.kind, name);
    Observed { id, body: json!({"zone": zone}), ownership, applied: None }
}

#[async_trait]
impl Kind for Late {
    fn spec(&self) -> &KindSpec {
        &LATE
    }

    fn exported(&self) -> Exported {
        Exported { terraform: None, marked: None }
    }

    async fn read(&self, _: &Cloud, manifest: &Manifest) -> Result<Option<Observed>, gcp::Error> {
        self.asked.lock().unwrap().push(manifest.name.clone());
        let is_it =
            |one: &&Observed| one.id.name == manifest.name && one.body["zone"] == manifest.body["zone"];
        Ok(self.there.iter().find(is_it).cloned())
    }

    async fn list(&self, _: &Cloud, _: &str) -> Result<Owned, gcp::Error> {
        self.asked.lock().unwrap().push("list".into());
        self.listed.clone()
    }

    async fn create(&self, _: &Cloud, _: &Manifest, _: &Mark, _: &Events) -> Result<(), gcp::Error> {
        unreachable!("only read")
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Manifest,
        _: &Observed,
        _: &[Change],
        _: &Mark,
        _: &Events,
    ) -> Result<(), gcp::Error> {
        unreachable!("only read")
    }

    async fn delete(&self, _: &Cloud, _: &Observed, _: &Events) -> Result<(), gcp::Error> {
        unreachable!("only read")
    }
}

/// What a plan of these finds: by name the zone and whose it is; and what was asked for that.
async fn read_in_one_wave(
    listed: Result<Owned, gcp::Error>,
    there: Vec<Observed>,
    wanted: &[(&str, &str)],
) -> (Vec<Option<Observed>>, Vec<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = gcp::Settings {
        proxy: None,
        endpoints: gcp::Endpoints::default(),
        credentials: None,
        person: false,
        gcloud: false,
        events: Events::none(),
        retry_for: gcp::RETRY_FOR,
        project: "p".into(),
    };
    let client = Client::new(settings).unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let mut google =
        Google::new(client.clone(), Reader::new(client), "dora", Arc::default()).reading(Arc::default());
    google.kinds = vec![Box::new(Late { listed, there, asked: asked.clone() })];
    let manifests = wanted.iter().map(|(name, zone)| Manifest::new(LATE.kind, *name, json!({"zone": zone})));
    let manifests: Vec<Manifest> = manifests.collect();
    let found = futures::future::join_all(manifests.iter().map(|manifest| google.read(manifest)));
    let (found, _) = futures::join!(found, google.list_owned("dora"));
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    (found.into_iter().map(Result::unwrap).collect(), asked)
}

#[tokio::test]
async fn a_plan_reads_a_kind_by_one_list_and_by_name_only_what_that_lacks() {
    let (a, elsewhere) = (late("a", "x", Ownership::Ours), late("moved", "y", Ownership::Ours));
    let unlisted = late("unlisted", "x", Ownership::Ours);
    let foreign = late("foreign", "x", Ownership::Other("somebody".into()));
    let listed = Owned { unseen: ["zones/z".into()].into(), ..vec![a.clone(), elsewhere.clone()].into() };
    let there = vec![a.clone(), elsewhere, unlisted.clone(), foreign.clone()];
    let wanted = [("a", "x"), ("moved", "x"), ("unlisted", "x"), ("foreign", "x"), ("absent", "z")];
    let (found, asked) = read_in_one_wave(Ok(listed), there, &wanted).await;
    // A list that is late or not whole takes nothing for absent, and one by the mark shows nobody else's.
    assert_eq!(found, [Some(a), None, Some(unlisted), Some(foreign), None]);
    assert_eq!(asked, ["list", "moved", "unlisted", "foreign", "absent"]);
}

#[tokio::test]
async fn a_list_that_is_refused_leaves_the_word_to_each_resource_and_a_service_that_is_off_has_none() {
    let a = late("a", "x", Ownership::Ours);
    let refused = || Err(gcp::Error::Api(gcp::ApiError { status: 403, ..gcp::ApiError::default() }));
    let (found, asked) = read_in_one_wave(refused(), vec![a.clone()], &[("a", "x"), ("b", "x")]).await;
    assert_eq!((found, asked.join(" ")), (vec![Some(a), None], "list a b".to_owned()));
    let off = Owned { off: ["made.example.com".into()].into(), ..Owned::default() };
    let (found, asked) = read_in_one_wave(Ok(off), Vec::new(), &[("a", "x"), ("b", "x")]).await;
    assert_eq!((found, asked.join(" ")), (vec![None, None], "list".to_owned()));
}
