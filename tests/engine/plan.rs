//! What the engine plans, whole: over a cloud in memory.

// Helpers of tests may unwrap as tests do.
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{Memory, manifest, stack};
use dorainfra_engine::{
    Action, ApplyOptions, EngineError, Manifest, Plan, PlanOptions, ResourceId, apply, check_fresh, plan,
    plan_destroy, replan,
};
use dorainfra_model::{Events, PlanDocument};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const NAME: &str = "test";

fn id(text: &str) -> ResourceId {
    text.parse().unwrap()
}

async fn planned(memory: &Memory, manifests: Vec<Manifest>, options: &PlanOptions) -> Plan {
    plan(NAME, manifests, memory, options, &Events::none()).await.unwrap()
}

async fn refused(memory: &Memory, manifests: Vec<Manifest>, options: &PlanOptions) -> EngineError {
    plan(NAME, manifests, memory, options, &Events::none()).await.unwrap_err()
}

async fn applied(memory: &Arc<Memory>, plan: &Plan) {
    let provider = Arc::clone(memory) as Arc<dyn dorainfra_engine::Provider>;
    let outcome =
        apply(plan, provider, &ApplyOptions::default(), None, &CancellationToken::new(), &Events::none())
            .await
            .unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
}

/// A cloud in which `manifests` are applied.
async fn cloud_with(manifests: Vec<Manifest>) -> Arc<Memory> {
    let memory = Memory::new();
    let plan = planned(&memory, manifests, &PlanOptions::default()).await;
    applied(&memory, &plan).await;
    memory
}

/// The plan as a person would want it: one step a block, without what does nothing.
fn told(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for step in &plan.steps {
        if step.action == Action::NoOp {
            continue;
        }
        lines.push(format!("{:?} {}: {}", step.action, step.id, step.reason));
        for change in &step.changes {
            let show =
                |value: &Option<Value>, none: &str| value.as_ref().map_or(none.to_owned(), Value::to_string);
            lines.push(format!(
                "    {}: {} → {}{}",
                change.path,
                show(&change.before, "absent"),
                show(&change.after, "known after apply"),
                if change.forces_replacement { " (forces replacement)" } else { "" }
            ));
        }
        let needs: Vec<String> = step.needs.iter().map(ToString::to_string).collect();
        if !needs.is_empty() {
            lines.push(format!("    after {}", needs.join(", ")));
        }
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.push(format!("{} steps, {} up to date", plan.steps.len(), plan.count(Action::NoOp)));
    lines.join("\n")
}

#[tokio::test]
async fn a_first_plan_creates_everything_in_order() {
    let plan = planned(&Memory::new(), stack("a", "1"), &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
}

#[tokio::test]
async fn a_plan_after_apply_is_empty() {
    let memory = cloud_with(stack("a", "1")).await;
    let plan = planned(&memory, stack("a", "1"), &PlanOptions::default()).await;
    assert!(!plan.has_changes(), "{}", told(&plan));
    assert_eq!(plan.count(Action::NoOp), plan.steps.len());
}

#[tokio::test]
async fn a_new_bundle_is_an_update_and_the_old_one_goes_last() {
    let memory = cloud_with(stack("a", "1")).await;
    let plan = planned(&memory, stack("a", "2"), &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
    assert!(!serde_json::to_string(&PlanDocument::from(&plan).steps).unwrap().contains("hunter2"));
}

#[tokio::test]
async fn drift_is_told_from_a_change_of_the_configuration() {
    let memory = cloud_with(stack("a", "1")).await;
    memory.meddle("mem.vm/v", "tags", json!(["web", "mail"]));
    memory.meddle("mem.disk/data", "size", json!("40"));
    memory.meddle("mem.net/n", "status", json!("undeclared fields are no drift"));
    memory.meddle("mem.services/p", "services", json!(["storage"]));
    let mut manifests = stack("a", "1");
    manifests[4].body["size"] = json!(60);
    let plan = planned(&memory, manifests, &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
}

#[tokio::test]
async fn what_hangs_on_a_replaced_resource_is_known_after_apply() {
    let memory = cloud_with(stack("a", "1")).await;
    let mut manifests = stack("a", "1");
    manifests[1].body["range"] = json!("172.16.0.0/12");
    let changed = planned(&memory, manifests, &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&changed));
}

#[tokio::test]
async fn what_was_deleted_is_made_again_with_all_that_must_follow() {
    let memory = cloud_with(stack("a", "1")).await;
    memory.vanish("mem.disk/data");
    let plan = planned(&memory, stack("a", "1"), &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
}

#[tokio::test]
async fn a_value_that_an_update_will_give_is_known() {
    let manifests = |size: u32| {
        vec![
            manifest("mem.disk/d", json!({"zone": "a", "size": size}), &[]),
            manifest(
                "mem.net/n",
                json!({"range": "r", "label": "size ${mem.disk/d.size}", "zone of": "${mem.disk/d.zone}"}),
                &[],
            ),
        ]
    };
    let memory = cloud_with(manifests(1)).await;
    let plan = planned(&memory, manifests(2), &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
    applied(&memory, &plan).await;
    assert!(!planned(&memory, manifests(2), &PlanOptions::default()).await.has_changes());
}

#[tokio::test]
async fn a_move_replaces_all_but_what_holds_data() {
    let memory = cloud_with(stack("a", "1")).await;
    let kept = planned(&memory, stack("b", "1"), &PlanOptions::default()).await;
    let data = PlanOptions { delete_data: true, ..PlanOptions::default() };
    let moved = planned(&memory, stack("b", "1"), &data).await;
    insta::assert_snapshot!(format!("{}\n\n--delete-data\n\n{}", told(&kept), told(&moved)));
    applied(&memory, &moved).await;
    assert!(!planned(&memory, stack("b", "1"), &data).await.has_changes());
    assert!(memory.world().keys().all(|key| !key.ends_with("@a")));
}

#[tokio::test]
async fn what_lives_in_a_replaced_one_goes_with_it() {
    let memory = cloud_with(stack("a", "1")).await;
    let options =
        PlanOptions { replace: vec![id("mem.bucket/b")], delete_data: true, ..PlanOptions::default() };
    let plan = planned(&memory, stack("a", "1"), &options).await;
    insta::assert_snapshot!(told(&plan));
    applied(&memory, &plan).await;
    assert!(!planned(&memory, stack("a", "1"), &PlanOptions::default()).await.has_changes());
}

#[tokio::test]
async fn an_orphan_of_a_protected_kind_is_kept() {
    let memory = cloud_with(stack("a", "1")).await;
    memory.put(&manifest("mem.disk/old", json!({"zone": "a", "size": 1}), &[]), Some(NAME));
    memory.put(&manifest("mem.net/old", json!({"range": "x"}), &[]), Some(NAME));
    memory.put(&manifest("mem.net/foreign", json!({"range": "x"}), &[]), Some("other"));
    memory.put(&manifest("mem.net/unmarked", json!({"range": "x"}), &[]), None);
    let plan = planned(&memory, stack("a", "1"), &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
}

#[tokio::test]
async fn an_orphan_that_uses_what_is_replaced_goes_before_it() {
    let disk = |zone: &str| manifest("mem.disk/d", json!({"zone": zone, "size": 1}), &[]);
    let vm = manifest("mem.vm/old", json!({"zone": "a", "disk": "${mem.disk/d.uid}"}), &[]);
    let memory = cloud_with(vec![disk("a"), vm]).await;
    let plan = planned(&memory, vec![disk("b")], &PlanOptions::default()).await;
    insta::assert_snapshot!(told(&plan));
    applied(&memory, &plan).await;
}

#[tokio::test]
async fn all_resources_that_are_not_ours_are_named_at_once() {
    let memory = Memory::new();
    let manifests = stack("a", "1");
    memory.put(&manifests[1], None);
    memory.put(&manifests[2], Some("prod"));
    memory.put(&Manifest { body: json!({"zone": "a", "size": 7}), ..manifests[4].clone() }, None);
    let error = refused(&memory, manifests.clone(), &PlanOptions::default()).await;
    let adopt = PlanOptions { adopt: true, ..PlanOptions::default() };
    let adopting = refused(&memory, manifests.clone(), &adopt).await;
    memory.vanish("mem.bucket/b");
    let adopted = planned(&memory, manifests.clone(), &adopt).await;
    insta::assert_snapshot!(format!(
        "{error}\n{}\n\n--adopt\n{adopting}\n{}\n\nwithout the other's\n{}",
        error.hint().unwrap(),
        adopting.hint().unwrap(),
        told(&adopted)
    ));
    applied(&memory, &adopted).await;
    assert!(!planned(&memory, manifests, &PlanOptions::default()).await.has_changes());
}

#[tokio::test]
async fn what_would_have_to_be_replaced_cannot_be_adopted() {
    let memory = Memory::new();
    memory.put(&manifest("mem.net/n", json!({"range": "theirs"}), &[]), None);
    let adopt = PlanOptions { adopt: true, ..PlanOptions::default() };
    let error = refused(&memory, vec![manifest("mem.net/n", json!({"range": "ours"}), &[])], &adopt).await;
    assert_eq!(
        error.to_string(),
        "a resource is not this deployment's to change: \
         mem.net/n cannot be adopted: `range` differs and cannot change"
    );
}

#[tokio::test]
async fn targets_come_with_what_they_need_and_nothing_else() {
    let memory = Memory::new();
    let options = PlanOptions { targets: vec![id("mem.grant/g")], ..PlanOptions::default() };
    let first = planned(&memory, stack("a", "1"), &options).await;
    let names = |plan: &Plan| -> Vec<String> { plan.steps.iter().map(|step| step.id.to_string()).collect() };
    assert_eq!(names(&first), ["mem.services/p", "mem.net/n", "mem.bucket/b", "mem.grant/g"]);
    applied(&memory, &first).await;

    // The bucket is the arbiter: without it no lease, so it comes first of all.
    let disk = PlanOptions { targets: vec![id("mem.disk/data")], ..PlanOptions::default() };
    assert_eq!(
        names(&planned(&Memory::new(), stack("a", "1"), &disk).await),
        ["mem.services/p", "mem.bucket/b", "mem.disk/data"]
    );
    assert_eq!(names(&planned(&memory, stack("a", "1"), &disk).await), ["mem.disk/data"]);

    // An orphan can be one.
    memory.put(&manifest("mem.net/old", json!({"range": "x"}), &[]), Some(NAME));
    let orphan = PlanOptions { targets: vec![id("mem.net/old")], ..PlanOptions::default() };
    assert_eq!(names(&planned(&memory, stack("a", "1"), &orphan).await), ["mem.net/old"]);

    let wrong = PlanOptions { targets: vec![id("mem.net/m")], ..PlanOptions::default() };
    let error = refused(&memory, stack("a", "1"), &wrong).await;
    assert_eq!(error.to_string(), "mem.net/m is not in the plan");
    assert_eq!(error.hint().unwrap(), "of this kind there are: mem.net/n");
}

#[tokio::test]
async fn what_is_to_be_replaced_has_to_be_in_the_plan() {
    let memory = cloud_with(stack("a", "1")).await;
    let replace = |name: &str, targets: &[&str]| PlanOptions {
        replace: vec![id(name)],
        targets: targets.iter().map(|target| id(target)).collect(),
        ..PlanOptions::default()
    };
    let plan = planned(&memory, stack("a", "1"), &replace("mem.vm/v", &[])).await;
    assert_eq!(told(&plan).lines().next().unwrap(), "Replace mem.vm/v: replace, because you asked for it");
    let plan = planned(&memory, stack("a", "1"), &replace("mem.disk/data", &[])).await;
    assert_eq!((plan.count(Action::Keep), plan.count(Action::Replace), plan.warnings.len()), (1, 0, 1));
    for options in [replace("mem.vm/w", &[]), replace("mem.vm/v", &["mem.net/n"])] {
        let error = refused(&memory, stack("a", "1"), &options).await;
        assert!(matches!(error, EngineError::UnknownTarget { .. }), "{error}");
    }
}

#[tokio::test]
async fn manifests_that_contradict_themselves_are_refused_before_any_call() {
    let memory = Memory::new();
    let wrong_kind = vec![manifest("mem.cat/c", json!({}), &[])];
    assert!(matches!(
        refused(&memory, wrong_kind, &PlanOptions::default()).await,
        EngineError::UnknownKind { .. }
    ));
    let memory = cloud_with(vec![manifest("mem.net/n", json!({"range": "x"}), &[])]).await;
    let wrong_field = vec![
        manifest("mem.net/n", json!({"range": "x"}), &[]),
        manifest("mem.net/m", json!({"range": "${mem.net/n.colour}"}), &[]),
    ];
    assert_eq!(
        refused(&memory, wrong_field, &PlanOptions::default()).await.to_string(),
        "mem.net/m refers to `colour` of mem.net/n, which has no such field"
    );
}

#[tokio::test]
async fn destroy_takes_users_down_first_and_keeps_what_holds_data() {
    let memory = cloud_with(stack("a", "1")).await;
    memory.put(&manifest("mem.object/bundles/0.tar", json!({"bucket": "b"}), &[]), Some(NAME));
    let destroy = |options: PlanOptions| {
        let memory = Arc::clone(&memory);
        async move {
            plan_destroy(NAME, stack("a", "1"), memory.as_ref(), &options, &Events::none()).await.unwrap()
        }
    };
    let data = PlanOptions { delete_data: true, ..PlanOptions::default() };
    let kept = destroy(PlanOptions::default()).await;
    let all = destroy(data.clone()).await;
    let targeted =
        destroy(PlanOptions { targets: vec![id("mem.disk/data")], ..PlanOptions::default() }).await;
    insta::assert_snapshot!(format!(
        "{}\n\n--delete-data\n\n{}\n\n--target mem.disk/data\n\n{}",
        told(&kept),
        told(&all),
        told(&targeted)
    ));
    applied(&memory, &kept).await;
    let left: Vec<String> = memory.world().into_keys().collect();
    assert_eq!(left, ["mem.bucket/b@", "mem.disk/data@a", "mem.services/p@"]);
    assert!(!destroy(PlanOptions::default()).await.has_changes());
    let rest = destroy(data.clone()).await;
    applied(&memory, &rest).await;
    let left: Vec<String> = memory.world().into_keys().collect();
    assert_eq!(left, ["mem.services/p@"]);
    assert!(destroy(data).await.steps.is_empty());
}

#[tokio::test]
async fn destroy_keeps_what_a_kept_one_refers_to_and_leaves_what_is_not_ours() {
    let manifests = vec![
        manifest("mem.net/policy", json!({"range": "daily"}), &[]),
        manifest("mem.net/gone", json!({"range": "x"}), &[]),
        manifest("mem.net/theirs", json!({"range": "x"}), &[]),
        Manifest {
            protect: true,
            ..manifest(
                "mem.disk/d",
                json!({"zone": "a", "policy": "${mem.net/policy.uid}"}),
                &["mem.net/gone"],
            )
        },
    ];
    let memory = cloud_with(manifests.clone()).await;
    memory.vanish("mem.net/theirs");
    memory.put(&manifests[2], None);
    let plan = plan_destroy(NAME, manifests, memory.as_ref(), &PlanOptions::default(), &Events::none())
        .await
        .unwrap();
    insta::assert_snapshot!(told(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_plan_takes_the_time_of_its_slowest_read() {
    let memory = Memory::with(Memory::new().snapshot(), |_, _| Duration::from_millis(100));
    let manifests: Vec<Manifest> =
        (0..20).map(|at| manifest(&format!("mem.net/{at}"), json!({"range": at}), &[])).collect();
    let begun = tokio::time::Instant::now();
    planned(&memory, manifests.clone(), &PlanOptions::default()).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(100));

    // The reads under way are bounded; the listing is beside them.
    let bounded = PlanOptions { parallelism: 5, ..PlanOptions::default() };
    let memory = Memory::with(Memory::new().snapshot(), |_, _| Duration::from_millis(100));
    let begun = tokio::time::Instant::now();
    planned(&memory, manifests, &bounded).await;
    assert_eq!((begun.elapsed(), memory.peak()), (Duration::from_millis(400), 6));
}

#[tokio::test]
async fn a_read_that_fails_fails_the_plan_and_names_the_resource() {
    let memory = Memory::new();
    memory.failing("read/n");
    let error = refused(&memory, stack("a", "1"), &PlanOptions::default()).await;
    assert_eq!(error.to_string(), "mem.net/n: read mem.net/n failed");
    assert_eq!(error.hint().unwrap(), "look at the test");
}

/// Which answer comes first is chance; what is told is not.
#[tokio::test(start_paused = true)]
async fn of_several_reads_that_fail_the_first_manifests_is_told() {
    for first_is_slow in [true, false] {
        let memory = Memory::with(Memory::new().snapshot(), move |_, id| {
            Duration::from_millis(if (id.name == "a") == first_is_slow { 100 } else { 10 })
        });
        memory.failing("read/a");
        memory.failing("read/b");
        let manifests = ["mem.net/ok", "mem.net/a", "mem.net/b"];
        let manifests = manifests.map(|id| manifest(id, json!({"range": 1}), &[])).into();
        let error = refused(&memory, manifests, &PlanOptions::default()).await;
        assert_eq!(error.to_string(), "mem.net/a: read mem.net/a failed");
    }
}

#[tokio::test]
async fn a_saved_plan_is_bound_to_what_it_saw() {
    let memory = cloud_with(stack("a", "1")).await;
    let options = PlanOptions { targets: vec![id("mem.vm/v")], ..PlanOptions::default() };
    let made = planned(&memory, stack("a", "2"), &options).await;
    let written = serde_json::to_string(&PlanDocument::from(&made)).unwrap();
    let saved = Plan::from(&serde_json::from_str::<PlanDocument>(&written).unwrap());
    let events = Events::none();

    // As it comes from a file it can be shown, but not applied.
    let provider = Arc::clone(&memory) as Arc<dyn dorainfra_engine::Provider>;
    let token = CancellationToken::new();
    let error = apply(&saved, provider, &ApplyOptions::default(), None, &token, &events).await.unwrap_err();
    assert!(matches!(error, EngineError::Unread));

    let again = replan(&saved, NAME, memory.as_ref(), &events).await.unwrap();
    assert_eq!(again, made);

    let error = replan(&saved, "other", memory.as_ref(), &events).await.unwrap_err();
    assert_eq!(error.to_string(), "the plan is of the deployment `test`, not of `other`");

    memory.meddle("mem.net/n", "status", json!("nothing that is declared"));
    memory.meddle("mem.disk/data", "note", json!("not in the plan"));
    assert!(replan(&saved, NAME, memory.as_ref(), &events).await.is_ok());

    memory.meddle("mem.vm/v", "tags", json!([]));
    let error = replan(&saved, NAME, memory.as_ref(), &events).await.unwrap_err();
    assert_eq!(error.to_string(), "the plan is out of date: since it was made, mem.vm/v changed");
    assert!(error.hint().is_some());

    memory.vanish("mem.vm/v");
    memory.vanish("mem.grant/g");
    let now = plan(NAME, saved.manifests.clone(), memory.as_ref(), &options, &events).await.unwrap();
    assert_eq!(check_fresh(&saved, &now).unwrap_err().changed, [id("mem.grant/g"), id("mem.vm/v")]);
}

#[tokio::test]
async fn the_json_of_a_plan_is_an_interface() {
    let memory = cloud_with(vec![manifest("mem.net/n", json!({"range": "x", "label": 1}), &[])]).await;
    let mut noted = manifest("mem.net/n", json!({"range": "x", "label": 2}), &[]);
    noted.notes.insert("cost".into(), "free".into());
    let plan = planned(&memory, vec![noted], &PlanOptions::default()).await;
    insta::assert_json_snapshot!(PlanDocument::from(&plan));
}
