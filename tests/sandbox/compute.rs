//! Compute: contract, operations, locks, references, machines.
use std::sync::{Arc, Mutex};

use crate::sandbox_support::*;
use dorainfra_gcp_sandbox::machine::{NoMachines, World, process_machines};
use reqwest::Method;
use serde_json::{Value, json};

fn zonal(collection: &str) -> String {
    format!("zones/{ZONE}/{collection}")
}

#[tokio::test]
async fn what_the_discovery_document_does_not_know_is_refused() {
    let sandbox = start().await;
    let disks = sandbox.compute(&zonal("disks"));
    let (status, body) = sandbox.post(&disks, json!({"name": "d", "sizeGB": 10})).await;
    assert_eq!(status, 400);
    insta::assert_json_snapshot!(body, @r#"
    {
      "error": {
        "code": 400,
        "details": [
          {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [
              {
                "description": "Invalid JSON payload received. Unknown name \"sizeGB\": Cannot find field.",
                "field": "resource"
              }
            ]
          }
        ],
        "errors": [
          {
            "domain": "global",
            "message": "Invalid JSON payload received. Unknown name \"sizeGB\": Cannot find field.",
            "reason": "badRequest"
          }
        ],
        "message": "Invalid JSON payload received. Unknown name \"sizeGB\": Cannot find field.",
        "status": "INVALID_ARGUMENT"
      }
    }
    "#);
    sandbox.refused(Method::POST, &disks, Some(json!({"name": "d", "sizeGb": "big"})), 400).await;
    sandbox.refused(Method::GET, &format!("{disks}?max=1"), None, 400).await;
    sandbox.refused(Method::POST, &disks, Some(json!({})), 400).await;
    sandbox.refused(Method::POST, &disks, Some(json!({"name": "Upper"})), 400).await;
    sandbox.refused(Method::POST, &disks, Some(json!({"name": "d", "type": "pd-ssd"})), 400).await;
    sandbox.refused(Method::GET, &sandbox.compute("zones/moon-a/disks"), None, 400).await;
    let (status, body) = sandbox.get(&sandbox.compute("global/routes")).await;
    assert_eq!(status, 501, "{body}");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_operation_takes_its_time_and_wait_holds_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = options(dir.path());
    slow.operation_ms.insert("disks.insert".into(), 300);
    let sandbox = try_start(slow).await.unwrap();
    sandbox.enable().await;
    let began = std::time::Instant::now();
    let (_, operation) = sandbox.post(&sandbox.compute(&zonal("disks")), json!({"name": "d"})).await;
    assert_eq!((&operation["status"], &operation["progress"]), (&json!("PENDING"), &json!(0)));
    assert_eq!(operation["operationType"], "insert");
    let path = sandbox.compute(&zonal(&format!("operations/{}", operation["name"].as_str().unwrap())));
    eventually("it is running", || async {
        let now = sandbox.read(&path).await;
        now["status"] == "RUNNING" && now["progress"].as_i64() > Some(0)
    })
    .await;
    let disk = sandbox.compute(&zonal("disks/d"));
    assert_eq!(sandbox.read(&disk).await["status"], "CREATING");
    let done = sandbox.wait(&operation).await;
    assert!(began.elapsed().as_millis() >= 300);
    assert_eq!(done["progress"], 100);
    let disk = sandbox.read(&disk).await;
    assert_eq!((&disk["status"], &disk["sizeGb"]), (&json!("READY"), &json!("500")));
    assert_eq!(disk["kind"], "compute#disk");
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("operations/none")), None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_repeated_request_id_is_the_same_operation() {
    let sandbox = start().await;
    let id = "5f0c3d62-0d9a-4c5e-9a6e-7f0f2e0a1b2c";
    let path = format!("{}?requestId={id}", sandbox.compute(&zonal("disks")));
    let (_, first) = sandbox.post(&path, json!({"name": "d"})).await;
    let (status, second) = sandbox.post(&path, json!({"name": "d"})).await;
    assert_eq!((status, &second["name"]), (200, &first["name"]));
    sandbox.wait(&first).await;
    let plain = sandbox.compute(&zonal("disks"));
    let message = sandbox.refused(Method::POST, &plain, Some(json!({"name": "d"})), 409).await;
    assert_eq!(message, format!("The resource 'projects/{PROJECT}/zones/{ZONE}/disks/d' already exists"));
    sandbox
        .refused(Method::POST, &format!("{plain}?requestId=no-uuid"), Some(json!({"name": "e"})), 400)
        .await;
    sandbox.stop().await;
}

/// A disk, an address, an account, and an instance that uses them.
async fn machine(sandbox: &Sandbox) -> Value {
    sandbox.insert(&zonal("disks"), json!({"name": "data", "sizeGb": "20", "labels": {"team": "a"}})).await;
    sandbox.insert(&format!("regions/{REGION}/addresses"), json!({"name": "front"})).await;
    let address = sandbox.read(&sandbox.compute(&format!("regions/{REGION}/addresses/front"))).await;
    let mut body = instance("vm");
    body["disks"]
        .as_array_mut()
        .unwrap()
        .push(json!({"source": format!("projects/{PROJECT}/zones/{ZONE}/disks/data"), "deviceName": "data"}));
    body["networkInterfaces"][0]["accessConfigs"] =
        json!([{"type": "ONE_TO_ONE_NAT", "natIP": address["address"]}]);
    let email = sandbox.account("machine-account").await;
    body["serviceAccounts"] = json!([{"email": email, "scopes": [SCOPE]}]);
    body["metadata"] = json!({"items": [{"key": "enable-guest-attributes", "value": "TRUE"}]});
    body["labels"] = json!({"managed-by": "somebody"});
    sandbox.insert(&zonal("instances"), body).await;
    sandbox.read(&sandbox.compute(&zonal("instances/vm"))).await
}

#[tokio::test]
async fn an_instance_lives_and_what_it_uses_is_held() {
    let moves = Moves::default();
    let told = moves.clone();
    let sandbox = start_with(move |_| Arc::new(Recorder { moves: told.clone(), fail_boot: false })).await;
    let vm = machine(&sandbox).await;
    assert_eq!(vm["status"], "RUNNING");
    let address = vm["networkInterfaces"][0]["networkIP"].as_str().unwrap().to_owned();
    assert_eq!(vm["networkInterfaces"][0]["accessConfigs"][0]["natIP"], address.as_str());
    assert!(address.starts_with("127."));
    assert_eq!(moves.lock().unwrap().as_slice(), [format!("boot vm {address} data")]);
    assert_eq!(vm["disks"][0]["deviceName"], "persistent-disk-0");
    assert!(vm["disks"][0]["initializeParams"].is_null());

    let data = sandbox.compute(&zonal("disks/data"));
    let (status, body) = sandbox.delete(&data).await;
    assert_eq!(
        (status, &body["error"]["errors"][0]["reason"]),
        (400, &json!("resourceInUseByAnotherResource"))
    );
    let front = sandbox.compute(&format!("regions/{REGION}/addresses/front"));
    sandbox.refused(Method::DELETE, &front, None, 400).await;
    assert_eq!(sandbox.read(&front).await["status"], "IN_USE");
    let mut second = instance("second");
    second["networkInterfaces"][0]["accessConfigs"] = json!([{"natIP": address}]);
    sandbox.refused(Method::POST, &sandbox.compute(&zonal("instances")), Some(second), 400).await;

    let own = zonal("instances/vm");
    let output = sandbox.read(&sandbox.compute(&format!("{own}/serialPort?start=8"))).await;
    assert_eq!((&output["contents"], &output["next"]), (&json!("ready\n"), &json!("14")));

    sandbox.operate(Method::POST, &format!("{own}/stop"), None).await;
    assert_eq!(sandbox.read(&sandbox.compute(&own)).await["status"], "TERMINATED");
    sandbox.refused(Method::POST, &sandbox.compute(&format!("{own}/reset")), None, 400).await;
    let kind = json!({"machineType": format!("zones/{ZONE}/machineTypes/e2-small")});
    sandbox.operate(Method::POST, &format!("{own}/setMachineType"), Some(kind.clone())).await;
    sandbox.operate(Method::POST, &format!("{own}/start"), None).await;
    sandbox.refused(Method::POST, &sandbox.compute(&format!("{own}/setMachineType")), Some(kind), 400).await;
    sandbox.operate(Method::POST, &format!("{own}/reset"), None).await;
    sandbox.operate(Method::POST, &format!("{own}/setDeletionProtection"), None).await;
    sandbox.refused(Method::DELETE, &sandbox.compute(&own), None, 400).await;
    let unprotect = format!("{own}/setDeletionProtection?deletionProtection=false");
    sandbox.operate(Method::POST, &unprotect, None).await;
    sandbox.operate(Method::POST, &format!("{own}/detachDisk?deviceName=data"), None).await;
    assert!(sandbox.read(&data).await["users"].is_null());
    let attach = json!({"source": format!("zones/{ZONE}/disks/data"), "deviceName": "data"});
    sandbox.operate(Method::POST, &format!("{own}/attachDisk"), Some(attach)).await;
    assert_eq!(sandbox.read(&data).await["users"][0], vm["selfLink"]);

    sandbox.operate(Method::DELETE, &own, None).await;
    sandbox.refused(Method::GET, &sandbox.compute(&own), None, 404).await;
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("disks/vm")), None, 404).await;
    assert_eq!(sandbox.read(&front).await["status"], "RESERVED");
    assert_eq!(sandbox.delete(&data).await.0, 200);
    let kinds: Vec<String> =
        moves.lock().unwrap().iter().map(|each| each.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["boot", "stop", "boot", "reset", "delete"]);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_instance_needs_what_it_names() {
    let sandbox = start().await;
    let path = sandbox.compute(&zonal("instances"));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = instance("vm");
        change(&mut body);
        body
    };
    let cases: [(&str, Value, u16); 8] = [
        (
            "machine type",
            with(&|body| body["machineType"] = json!(format!("zones/{ZONE}/machineTypes/x9"))),
            400,
        ),
        ("short machine type", with(&|body| body["machineType"] = json!("e2-medium")), 400),
        (
            "image",
            with(&|body| {
                body["disks"][0]["initializeParams"]["sourceImage"] =
                    json!("projects/debian-cloud/global/images/family/debian-99");
            }),
            400,
        ),
        (
            "disk",
            with(&|body| {
                body["disks"][0] = json!({"boot": true, "source": format!("zones/{ZONE}/disks/none")})
            }),
            404,
        ),
        ("no boot disk", with(&|body| body["disks"][0]["boot"] = json!(false)), 400),
        (
            "network",
            with(&|body| body["networkInterfaces"][0]["network"] = json!("global/networks/none")),
            400,
        ),
        (
            "address",
            with(&|body| body["networkInterfaces"][0]["accessConfigs"] = json!([{"natIP": "127.1.2.3"}])),
            400,
        ),
        (
            "account",
            with(&|body| body["serviceAccounts"] = json!([{"email": "nobody@x", "scopes": []}])),
            400,
        ),
    ];
    for (what, body, status) in cases {
        let (found, answer) = sandbox.post(&path, body).await;
        assert_eq!(found, status, "{what}: {answer}");
    }
    let list = sandbox.read(&sandbox.compute(&zonal("disks"))).await;
    assert!(list["items"].is_null(), "a refused instance leaves nothing: {list}");
    sandbox.stop().await;
}

/// What Google's documentation rules out: a rehearsal that takes it is no rehearsal.
#[tokio::test]
async fn what_a_series_a_disk_type_or_a_protocol_does_not_have_is_refused() {
    let sandbox = start().await;
    let machines = sandbox.compute(&zonal("instances"));
    let accelerator = format!("zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4");
    let tags: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    for (field, value, words) in [
        (
            "guestAccelerators",
            json!([{"acceleratorType": accelerator, "acceleratorCount": 1}]),
            "nvidia-tesla-t4",
        ),
        ("confidentialInstanceConfig", json!({"enableConfidentialCompute": true}), "Confidential Computing"),
        ("tags", json!({"items": tags}), "at most 64"),
    ] {
        let mut body = instance("vm");
        body[field] = value;
        let refused = sandbox.refused(Method::POST, &machines, Some(body), 400).await;
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let kind = |name: &str| format!("zones/{ZONE}/diskTypes/{name}");
    let disks = sandbox.compute(&zonal("disks"));
    for (name, choice, value) in [
        ("pd-balanced", "provisionedIops", 3000),
        ("pd-ssd", "provisionedThroughput", 200),
        ("hyperdisk-balanced", "provisionedIops", 999_999),
        ("hyperdisk-balanced", "provisionedIops", 5001),
        ("hyperdisk-balanced", "provisionedIops", 100),
        ("hyperdisk-balanced", "provisionedThroughput", 2401),
    ] {
        let body = json!({"name": "d", "sizeGb": "10", "type": kind(name), choice: value.to_string()});
        let refused = sandbox.refused(Method::POST, &disks, Some(body), 400).await;
        assert!(refused.contains(choice), "{refused}");
    }
    let mut boot = instance("vm");
    boot["disks"][0]["initializeParams"]["provisionedIops"] = json!("3000");
    sandbox.refused(Method::POST, &machines, Some(boot), 400).await;
    let body = json!({"name": "fast", "sizeGb": "10", "type": kind("hyperdisk-balanced"),
        "provisionedIops": "5000", "provisionedThroughput": "140"});
    sandbox.insert(&zonal("disks"), body).await;

    let policy = json!({"name": "elsewhere", "snapshotSchedulePolicy": {"schedule":
        {"dailySchedule": {"daysInCycle": 1, "startTime": "03:00"}}}});
    sandbox.insert("regions/us-central1/resourcePolicies", policy).await;
    let far = json!({"resourcePolicies": ["regions/us-central1/resourcePolicies/elsewhere"]});
    let path = sandbox.compute(&zonal("disks/fast/addResourcePolicies"));
    assert!(sandbox.refused(Method::POST, &path, Some(far), 400).await.contains("region of the disk"));

    let rule = |protocol: &str| json!({"name": "r", "network": "global/networks/default", "allowed": [{"IPProtocol": protocol, "ports": ["22"]}]});
    let rules = sandbox.compute("global/firewalls");
    for protocol in ["icmp", "all", "esp", "1"] {
        let refused = sandbox.refused(Method::POST, &rules, Some(rule(protocol)), 400).await;
        assert!(refused.contains("Ports may only be specified"), "{refused}");
    }
    sandbox.insert("global/firewalls", rule("tcp")).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_machine_that_does_not_boot_fails_the_operation_and_leaves_nothing() {
    let sandbox = start_with(|_| Arc::new(Recorder { moves: Moves::default(), fail_boot: true })).await;
    let done = sandbox.operate(Method::POST, &zonal("instances"), Some(instance("vm"))).await;
    assert!(done["error"]["errors"][0]["message"].as_str().unwrap().contains("no power"), "{done}");
    assert_eq!(done["httpErrorStatusCode"], 503);
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("instances/vm")), None, 404).await;
    sandbox.refused(Method::GET, &sandbox.compute(&zonal("disks/vm")), None, 404).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_machine_that_does_not_come_back_from_a_reset_is_terminated() {
    let sandbox = start_with(process_machines).await;
    let own = zonal("instances/vm");
    sandbox.insert(&zonal("instances"), instance("vm")).await;
    let folder = sandbox.state.dir.join(format!("machines/{ZONE}/vm"));
    std::fs::remove_dir_all(folder.join("shims")).unwrap();
    std::fs::write(folder.join("shims"), "in the way").unwrap();
    let done = sandbox.operate(Method::POST, &format!("{own}/reset"), None).await;
    let message = done["error"]["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("machine vm in {ZONE}: the machine's folder")), "{message}");
    assert_eq!(sandbox.read(&sandbox.compute(&own)).await["status"], "TERMINATED");
    let serial = std::fs::read_to_string(folder.join("serial.log")).unwrap();
    assert!(serial.contains("kernel: it does not boot: the machine's folder"), "{serial}");
    std::fs::remove_file(folder.join("shims")).unwrap();
    let done = sandbox.operate(Method::POST, &format!("{own}/start"), None).await;
    assert!(done["error"].is_null(), "{done}");
    sandbox.stop().await;
}

#[tokio::test]
async fn each_zone_has_names_of_its_own() {
    let sandbox = start_with(process_machines).await;
    let other = "zones/europe-west1-c/instances";
    sandbox.insert(&zonal("instances"), instance("vm")).await;
    let mut there = instance("vm");
    there["machineType"] = json!("zones/europe-west1-c/machineTypes/e2-medium");
    sandbox.insert(other, there).await;
    sandbox.operate(Method::DELETE, &zonal("instances/vm"), None).await;
    let left = sandbox.read(&sandbox.compute(&format!("{other}/vm"))).await;
    assert_eq!(left["status"], "RUNNING");
    let port = sandbox.read(&sandbox.compute(&format!("{other}/vm/serialPort"))).await;
    let contents = port["contents"].as_str().unwrap();
    assert!(contents.contains("vm boots at") && !contents.contains("power off"), "{contents}");
    sandbox.operate(Method::DELETE, &format!("{other}/vm"), None).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn fingerprints_are_locks() {
    let moves = Moves::default();
    let told = moves.clone();
    let sandbox = start_with(move |_| Arc::new(Recorder { moves: told.clone(), fail_boot: false })).await;
    sandbox.insert(&zonal("instances"), instance("vm")).await;
    let own = zonal("instances/vm");
    let vm = sandbox.read(&sandbox.compute(&own)).await;
    let metadata =
        json!({"fingerprint": vm["metadata"]["fingerprint"], "items": [{"key": "a", "value": "1"}]});
    sandbox.operate(Method::POST, &format!("{own}/setMetadata"), Some(metadata.clone())).await;
    let path = sandbox.compute(&format!("{own}/setMetadata"));
    let (status, body) = sandbox.post(&path, metadata).await;
    let error = &body["error"]["errors"][0];
    assert_eq!((status, &error["reason"]), (412, &json!("conditionNotMet")));
    assert_eq!((&error["locationType"], &error["location"]), (&json!("header"), &json!("If-Match")));
    eventually("the machine is told", || async {
        moves.lock().unwrap().contains(&"metadata vm \"1\"".to_owned())
    })
    .await;
    let labels = |fingerprint: &Value| json!({"labelFingerprint": fingerprint, "labels": {"a": "b"}});
    sandbox.operate(Method::POST, &format!("{own}/setLabels"), Some(labels(&vm["labelFingerprint"]))).await;
    let path = sandbox.compute(&format!("{own}/setLabels"));
    sandbox.refused(Method::POST, &path, Some(labels(&vm["labelFingerprint"])), 412).await;
    let tags = json!({"fingerprint": vm["tags"]["fingerprint"], "items": ["web"]});
    sandbox.operate(Method::POST, &format!("{own}/setTags"), Some(tags.clone())).await;
    sandbox.refused(Method::POST, &sandbox.compute(&format!("{own}/setTags")), Some(tags), 412).await;
    let now = sandbox.read(&sandbox.compute(&own)).await;
    assert_eq!(now["labels"], json!({"a": "b"}));
    assert_eq!(now["tags"]["items"], json!(["web"]));
    sandbox.stop().await;
}

/// A sandbox with a machine, and what a driver sees of it.
async fn with_a_machine() -> (Sandbox, Arc<dyn World>) {
    let kept: Arc<Mutex<Option<Arc<dyn World>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let sandbox = start_with(move |world| {
        *keep.lock().unwrap() = Some(world);
        Arc::new(NoMachines)
    })
    .await;
    machine(&sandbox).await;
    let world = kept.lock().unwrap().clone().unwrap();
    (sandbox, world)
}

#[tokio::test]
async fn guest_attributes_are_what_the_machine_wrote() {
    let (sandbox, world) = with_a_machine().await;
    let path = sandbox.compute(&zonal("instances/vm/getGuestAttributes?queryPath=dorainfra/"));
    let message = sandbox.refused(Method::GET, &path, None, 404).await;
    assert_eq!(message, "The resource 'dorainfra/' of type 'Guest Attribute' was not found.");
    let mut changes = world.subscribe(PROJECT, ZONE, "vm");
    world.set_guest_attribute(PROJECT, ZONE, "vm", "dorainfra", "stage", Some("ready".into()));
    world.set_guest_attribute(PROJECT, ZONE, "vm", "other", "x", Some("y".into()));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let answer = sandbox.read(&path).await;
    assert_eq!(
        answer["queryValue"]["items"],
        json!([{"namespace": "dorainfra", "key": "stage", "value": "ready"}])
    );
    let one = sandbox.compute(&zonal("instances/vm/getGuestAttributes?variableKey=dorainfra/stage"));
    assert_eq!(sandbox.read(&one).await["variableValue"], "ready");
    assert_eq!(world.guest_attributes(PROJECT, ZONE, "vm")["other"]["x"], "y");
    world.set_guest_attribute(PROJECT, ZONE, "vm", "dorainfra", "stage", None);
    assert_eq!(sandbox.get(&path).await.0, 404);
    assert_eq!(world.instance(PROJECT, ZONE, "vm").unwrap()["name"], "vm");
    assert!(world.instance("another", ZONE, "vm").is_none());
    let own = sandbox.read(&sandbox.compute(&zonal("instances/vm"))).await;
    let tags = json!({"fingerprint": own["tags"]["fingerprint"], "items": ["web"]});
    sandbox.operate(Method::POST, &zonal("instances/vm/setTags"), Some(tags)).await;
    assert!(changes.has_changed().unwrap());
    sandbox.stop().await;
}

/// Ten queries a minute, three a second; beyond that a write is answered and lost.
#[tokio::test]
async fn guest_attributes_have_a_limit() {
    let (sandbox, world) = with_a_machine().await;
    world.set_guest_attribute(PROJECT, ZONE, "vm", "dorainfra", "status", Some("ready".into()));
    let path = sandbox.compute(&zonal("instances/vm/getGuestAttributes?queryPath=dorainfra/"));
    let switches = json!({"guestAttributesPace": true});
    assert_eq!(sandbox.call(Method::PUT, "sandbox/profile", Some(switches)).await.0, 200);
    // The machine's own queries and those of others share it.
    assert!(world.guest_attributes_served(PROJECT, ZONE, "vm"));
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(sandbox.get(&path).await);
    }
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 200, 403]);
    assert_eq!(answers[2].1["error"]["errors"][0]["reason"], "rateLimitExceeded");
    assert!(!world.guest_attributes_served(PROJECT, ZONE, "vm"), "a write would be lost");
    sandbox.stop().await;
}
