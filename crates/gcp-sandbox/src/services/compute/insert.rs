//! Creating an instance: every reference is checked before anything is made.

use serde_json::{Value, json};

use super::machines::{MachineAction, MachineTask};
use super::operations::{Edit, Effect, start};
use super::{
    addresses, catalogue, disks, fresh, key, last, link, machine_series, not_found, not_ready, reference,
    refuse_in_use, subnetworks,
};
use crate::kernel::access::{may_act_as, require};
use crate::kernel::call::Call;
use crate::kernel::error::ApiError;
use crate::kernel::faults::OperationError;
use crate::kernel::store::Tx;
use crate::kernel::{clock, locations, policy};
use crate::services::iam;

/// Why an account cannot be used.
const ACCESS_DENIED: &str = "serviceAccountAccessDenied";

pub fn insert(call: &Call, tx: &mut Tx) -> Result<Value, ApiError> {
    for parameter in ["sourceInstanceTemplate", "sourceMachineImage"] {
        if call.query(parameter).is_some() {
            return Err(ApiError::unimplemented(&format!("instances.insert with {parameter}")));
        }
    }
    let (own_key, mut instance) = fresh(call, tx, "compute#instance")?;
    check_permissions(call, tx)?;
    let own_link = link(&call.cloud.project, &own_key);
    let zone = call.path("zone").to_owned();

    instance["machineType"] =
        json!(machine_type(call, &zone, call.text("machineType"), "resource.machineType")?);
    instance["metadata"] = super::instances::metadata(&call.body["metadata"])?;
    instance["tags"] = super::instances::tags(&call.body["tags"])?;
    let mut effect = Effect::default();
    match service_accounts(call, tx, &call.body["serviceAccounts"]) {
        // Whether the caller may use the account is found out by the operation.
        Err(error) if error.reason == ACCESS_DENIED => {
            let code = "SERVICE_ACCOUNT_ACCESS_DENIED".to_owned();
            effect.fail = Some(OperationError { code, message: error.message });
        }
        accounts => instance["serviceAccounts"] = accounts?,
    }
    instance["disks"] = attach_all(call, tx, &own_link, &mut effect)?;
    if let Some((disk, machine)) =
        machine_series::mismatch(tx, instance["machineType"].as_str().unwrap_or_default(), &instance["disks"])
    {
        let words = format!("[{disk}, {machine}] features are not compatible for creating instance.");
        return Err(ApiError::new(400, "badRequest", words));
    }
    machine_series::check_features(&instance)?;
    instance["networkInterfaces"] = interfaces(call, tx, &own_link, &mut effect)?;
    defaults(&mut instance);
    check_scheduling(&instance["scheduling"], instance["machineType"].as_str().unwrap_or_default())?;
    instance["status"] = json!("PROVISIONING");
    effect.done.push(Edit::Merge(
        own_key.clone(),
        json!({"status": "RUNNING", "lastStartTimestamp": clock::timestamp()}),
    ));
    effect.undo.push(Edit::Remove(own_key.clone()));
    effect.machine = Some(MachineTask { what: MachineAction::Boot, key: own_key.clone() });
    tx.put(own_key.clone(), instance);
    start(call, tx, &own_key, effect)
}

/// What `instances.insert` needs beyond `compute.instances.create`.
fn check_permissions(call: &Call, tx: &Tx) -> Result<(), ApiError> {
    let body = &call.body;
    let disks = body["disks"].as_array().map_or(&[][..], Vec::as_slice);
    let with = |field: &str| !body[field].is_null();
    let interface = &body["networkInterfaces"][0];
    let needs = [
        ("compute.disks.create", disks.iter().any(|disk| disk["initializeParams"].is_object())),
        ("compute.disks.use", disks.iter().any(|disk| disk["source"].is_string())),
        ("compute.subnetworks.use", true),
        (
            "compute.subnetworks.useExternalIp",
            body["networkInterfaces"]
                .as_array()
                .is_some_and(|all| all.iter().any(|each| each["accessConfigs"].is_array())),
        ),
        ("compute.addresses.use", interface["accessConfigs"][0]["natIP"].is_string()),
        ("compute.addresses.useInternal", interface["networkIP"].is_string()),
        ("compute.instances.setMetadata", with("metadata")),
        ("compute.instances.setTags", with("tags")),
        ("compute.instances.setLabels", with("labels")),
        ("compute.instances.setServiceAccount", with("serviceAccounts")),
    ];
    needs.iter().filter(|(_, needed)| *needed).try_for_each(|(permission, _)| require(call, tx, permission))
}

/// The full link of a machine type of the zone.
pub fn machine_type(call: &Call, zone: &str, text: &str, field: &str) -> Result<String, ApiError> {
    if text.is_empty() {
        return Err(ApiError::new(400, "required", format!("Required field '{field}' not specified")));
    }
    let key = reference(call, text, "machineTypes", field)?;
    let name = key.rsplit_once('/').map_or("", |(_, name)| name);
    if !key.starts_with(&format!("compute/zones/{zone}/")) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{text}'. The machine type is not in zone '{zone}'."
        )));
    }
    if !catalogue::is_machine_type(name) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{text}'. Machine type with name '{name}' does not exist in zone \
             '{zone}'."
        )));
    }
    Ok(link(&call.cloud.project, &key))
}

/// At most one account, that exists and that the caller may act as.
pub fn service_accounts(call: &Call, tx: &Tx, wanted: &Value) -> Result<Value, ApiError> {
    let Some(accounts) = wanted.as_array() else { return Ok(Value::Null) };
    if accounts.len() > 1 {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.serviceAccounts': ''. At most one service account may be specified.",
        ));
    }
    let mut accounts = accounts.clone();
    for account in &mut accounts {
        if account["email"] == "default" {
            account["email"] = json!(iam::compute_default(&call.cloud));
        }
        let email = account["email"].as_str().unwrap_or_default();
        if !policy::sees(&call.cloud, tx, email) {
            return Err(ApiError::invalid(format!(
                "The resource '{email}' of type 'serviceAccount' was not found."
            )));
        }
        if !may_act_as(call, tx, email) {
            return Err(ApiError::new(
                400,
                ACCESS_DENIED,
                format!(
                    "The user does not have access to service account '{email}'.  User: '{}'.  Ask a project owner \
                     to grant you the iam.serviceAccountUser role on the service account",
                    call.caller.email
                ),
            ));
        }
        let scopes = account["scopes"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(bad) = scopes
            .iter()
            .find(|scope| !scope.as_str().unwrap_or_default().starts_with("https://www.googleapis.com/auth/"))
        {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'resource.serviceAccounts[0].scopes': {bad}. The scope is unknown."
            )));
        }
    }
    Ok(json!(accounts))
}

fn attach_all(call: &Call, tx: &mut Tx, own_link: &str, effect: &mut Effect) -> Result<Value, ApiError> {
    let wanted = call.body["disks"].as_array().cloned().unwrap_or_default();
    if wanted.is_empty() {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.disks': ''. At least one disk must be specified.",
        ));
    }
    if wanted[0]["boot"] != true || wanted.iter().filter(|disk| disk["boot"] == true).count() != 1 {
        return Err(ApiError::invalid(
            "Invalid value for field 'resource.disks[0].boot': 'false'. The first disk must be the boot disk.",
        ));
    }
    let mut attached: Vec<Value> = Vec::new();
    for (index, disk) in wanted.iter().enumerate() {
        let entry = if disk["initializeParams"].is_object() {
            create_disk(call, tx, disk, index, own_link, effect)?
        } else {
            attach_disk(call, tx, disk, index, own_link, effect)?
        };
        if attached.iter().any(|each| each["deviceName"] == entry["deviceName"]) {
            return Err(ApiError::invalid(format!(
                "Invalid value for field 'resource.disks[{index}].deviceName': {}. The device name is used twice.",
                entry["deviceName"]
            )));
        }
        attached.push(entry);
    }
    Ok(json!(attached))
}

/// How an instance names a disk.
fn entry(wanted: &Value, index: usize, source: &str, disk: &Value) -> Value {
    let mut entry = json!({
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": wanted["mode"].as_str().unwrap_or("READ_WRITE"),
        "source": source,
        "deviceName": wanted["deviceName"].as_str().map_or_else(|| format!("persistent-disk-{index}"), str::to_owned),
        "index": index,
        "boot": wanted["boot"] == true,
        "autoDelete": wanted["autoDelete"] == true,
        "interface": "SCSI",
        "diskSizeGb": disk["sizeGb"],
    });
    for field in ["licenses", "guestOsFeatures", "architecture"] {
        if !disk[field].is_null() {
            entry[field] = disk[field].clone();
        }
    }
    entry
}

fn create_disk(
    call: &Call,
    tx: &mut Tx,
    wanted: &Value,
    index: usize,
    own_link: &str,
    effect: &mut Effect,
) -> Result<Value, ApiError> {
    let field = format!("resource.disks[{index}].initializeParams");
    let (zone, params) = (call.path("zone"), &wanted["initializeParams"]);
    let Some(image) = params["sourceImage"].as_str() else {
        return Err(ApiError::unimplemented("new disks of an instance without initializeParams.sourceImage"));
    };
    let field_of_image = format!("{field}.sourceImage");
    let image = catalogue::image(tx, image, &field_of_image).map_err(|error| match error.code {
        404 => ApiError::invalid(format!(
            "Invalid value for field '{field_of_image}': '{image}'. The referenced image resource cannot be found."
        )),
        _ => error,
    })?;
    catalogue::check_usable(&image)?;
    let least = image["diskSizeGb"].as_str().and_then(|size| size.parse().ok()).unwrap_or(10);
    let size = disks::size_gb(&params["diskSizeGb"], least, least, &format!("{field}.diskSizeGb"))?;
    let kind = params["diskType"]
        .as_str()
        .map_or_else(|| format!("zones/{zone}/diskTypes/pd-standard"), str::to_owned);
    let kind = disks::disk_type(call, zone, &kind, &format!("{field}.diskType"))?;
    let instance = call.text("name");
    let default_name = if index == 0 { instance.to_owned() } else { format!("{instance}-{index}") };
    let name = params["diskName"].as_str().unwrap_or(&default_name);
    crate::kernel::labels::check_name(name)?;
    crate::kernel::labels::check(&params["labels"], &format!("{field}.labels"))?;
    let disk_key = key(&format!("zones/{zone}"), "disks", name);
    if tx.has(&disk_key) {
        return Err(ApiError::new(
            409,
            "alreadyExists",
            format!("The resource '{}' already exists", super::relative(&call.cloud.project, &disk_key)),
        ));
    }
    let source = link(&call.cloud.project, &disk_key);
    let mut disk = json!({
        "kind": "compute#disk", "id": clock::resource_id(), "name": name, "selfLink": source,
        "creationTimestamp": clock::timestamp(), "lastAttachTimestamp": clock::timestamp(),
        "zone": link(&call.cloud.project, &format!("compute/zones/{zone}")),
        "type": kind, "sizeGb": size.to_string(), "status": "CREATING", "users": [own_link],
        "sourceImage": image["selfLink"], "sourceImageId": image["id"], "licenses": image["licenses"],
        "guestOsFeatures": image["guestOsFeatures"], "architecture": image["architecture"],
        "labelFingerprint": clock::fingerprint(), "physicalBlockSizeBytes": "4096",
    });
    if params["labels"].is_object() {
        disk["labels"] = params["labels"].clone();
    }
    for chosen in ["provisionedIops", "provisionedThroughput"] {
        if !params[chosen].is_null() {
            disk[chosen] = params[chosen].clone();
        }
    }
    disks::performance(&disk, &field)?;
    let entry = entry(wanted, index, &source, &disk);
    tx.put(disk_key.clone(), disk);
    effect.done.push(Edit::Merge(disk_key.clone(), json!({"status": "READY"})));
    effect.undo.push(Edit::Remove(disk_key));
    Ok(entry)
}

/// Attaches a disk that exists, is ready and is not used by another.
pub fn attach_disk(
    call: &Call,
    tx: &mut Tx,
    wanted: &Value,
    index: usize,
    own_link: &str,
    effect: &mut Effect,
) -> Result<Value, ApiError> {
    let field = format!("resource.disks[{index}].source");
    let Some(source) = wanted["source"].as_str() else {
        return Err(ApiError::new(400, "required", format!("Required field '{field}' not specified")));
    };
    let disk_key = reference(call, source, "disks", &field)?;
    let disk = tx.get(&disk_key).cloned().ok_or_else(|| not_found(call, &disk_key))?;
    if !disk_key.starts_with(&format!("compute/zones/{}/", call.path("zone"))) {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{source}'. The disk is in another zone than the instance."
        )));
    }
    if disk["status"] != "READY" {
        return Err(not_ready(call, &disk_key));
    }
    refuse_in_use(call, "disk", &disk_key, &disk)?;
    tx.edit(&disk_key, |disk| {
        disk["users"] = json!([own_link]);
        disk["lastAttachTimestamp"] = json!(clock::timestamp());
    });
    effect.undo.push(Edit::Merge(disk_key.clone(), json!({"users": null})));
    Ok(entry(wanted, index, &link(&call.cloud.project, &disk_key), &disk))
}

fn interfaces(call: &Call, tx: &mut Tx, own_link: &str, effect: &mut Effect) -> Result<Value, ApiError> {
    let wanted = call.body["networkInterfaces"].as_array().cloned().unwrap_or_default();
    let [wanted] = wanted.as_slice() else {
        return if wanted.is_empty() {
            Err(ApiError::invalid(
                "Invalid value for field 'resource.networkInterfaces': ''. At least one network interface is \
                 required.",
            ))
        } else {
            Err(ApiError::unimplemented("instances with more than one network interface"))
        };
    };
    let field = "resource.networkInterfaces[0]";
    let region = locations::region_of(call.path("zone"));
    let (network, subnetwork) = subnetworks::resolve(
        call,
        tx,
        region,
        wanted["network"].as_str(),
        wanted["subnetwork"].as_str(),
        field,
    )?;
    let access = wanted["accessConfigs"].get(0);
    let nat = access.and_then(|access| access["natIP"].as_str());
    let internal = wanted["networkIP"].as_str();
    // A machine of the sandbox has one address, inside and outside.
    let address = match (nat, internal) {
        (Some(_), Some(_)) => {
            return Err(ApiError::unimplemented(
                "instances with both a static internal and external address",
            ));
        }
        (Some(address), None) => {
            let field = format!("{field}.accessConfigs[0].natIP");
            bind_address(call, tx, address, ("EXTERNAL", "external", &field), own_link, effect)?
        }
        (None, Some(address)) => {
            let field = format!("{field}.networkIP");
            let link = link(&call.cloud.project, &subnetwork);
            if addresses::find(tx, region, address)
                .is_some_and(|(_, record)| record["subnetwork"] != link.as_str())
            {
                return Err(ApiError::invalid(format!(
                    "Invalid value for field '{field}': '{address}'. IP address is not in the subnetwork of the \
                     network interface."
                )));
            }
            bind_address(call, tx, address, ("INTERNAL", "internal", &field), own_link, effect)?
        }
        (None, None) => addresses::allocate(super::network(&call.cloud), tx, region)?.to_string(),
    };
    let mut interface = json!({
        "kind": "compute#networkInterface", "name": "nic0", "stackType": "IPV4_ONLY",
        "network": link(&call.cloud.project, &network), "subnetwork": link(&call.cloud.project, &subnetwork),
        "networkIP": address, "fingerprint": clock::fingerprint(),
    });
    if let Some(access) = access {
        let tier = access["networkTier"].as_str().unwrap_or("PREMIUM");
        interface["accessConfigs"] = json!([{
            "kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", "natIP": address, "networkTier": tier,
            "name": access["name"].as_str().unwrap_or("External NAT"),
        }]);
    }
    Ok(json!([interface]))
}

/// Takes a static address of the region for the instance; `what` is its type, the
/// word for it and the field that names it.
fn bind_address(
    call: &Call,
    tx: &mut Tx,
    address: &str,
    what: (&str, &str, &str),
    own_link: &str,
    effect: &mut Effect,
) -> Result<String, ApiError> {
    let (kind, word, field) = what;
    let region = locations::region_of(call.path("zone"));
    let found = addresses::find(tx, region, address).filter(|(_, record)| record["addressType"] == kind);
    let Some((key, record)) = found else {
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{address}'. The specified {word} IP address '{address}' was not \
             found in region '{region}'."
        )));
    };
    if record["status"] == "IN_USE" {
        let first = if kind == "EXTERNAL" { "External" } else { "Internal" };
        return Err(ApiError::invalid(format!(
            "Invalid value for field '{field}': '{address}'. {first} IP address: {address} is already in-use."
        )));
    }
    addresses::take(call, tx, &key, &record, own_link, &mut effect.undo)
}

/// What a client writes for a field that it does not set.
pub fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == "" || *value == 0 || *value == json!([]) || *value == json!({})
}

/// What goes together in a machine's scheduling.
pub fn check_scheduling(scheduling: &Value, machine_type: &str) -> Result<(), ApiError> {
    let spot = scheduling["preemptible"] == true || scheduling["provisioningModel"] == "SPOT";
    let terminates = scheduling["onHostMaintenance"] == "TERMINATE";
    let preemptible = |when: &str| {
        ApiError::invalid(format!(
            "Invalid value for field 'resource.scheduling.preemptible': 'true'. Scheduling must have preemptible be \
             false when {when}."
        ))
    };
    let name = last(machine_type);
    match spot {
        true if !terminates => Err(preemptible("OnHostMaintenance isn't TERMINATE")),
        true if scheduling["automaticRestart"] == true => Err(preemptible("AutomaticRestart is true")),
        false if terminates && name.starts_with("e2-") => Err(ApiError::new(
            400,
            "badRequest",
            "e2 instances do not support onHostMaintenance=TERMINATE unless they are preemptible.",
        )),
        _ => Ok(()),
    }
}

/// What Google fills in.
fn defaults(instance: &mut Value) {
    let set = |target: &mut Value, field: &str, default: Value| {
        if target[field].is_null() {
            target[field] = default;
        }
    };
    if instance["scheduling"].is_null() {
        instance["scheduling"] = json!({});
    }
    let scheduling = &mut instance["scheduling"];
    if let Some(members) = scheduling.as_object_mut() {
        members.retain(|_, value| !is_nothing(value));
    }
    let spot = scheduling["preemptible"] == true || scheduling["provisioningModel"] == "SPOT";
    set(scheduling, "preemptible", json!(spot));
    set(scheduling, "provisioningModel", json!(if spot { "SPOT" } else { "STANDARD" }));
    set(scheduling, "automaticRestart", json!(!spot));
    set(scheduling, "onHostMaintenance", json!(if spot { "TERMINATE" } else { "MIGRATE" }));
    if instance["shieldedInstanceConfig"].is_null() {
        instance["shieldedInstanceConfig"] = json!({});
    }
    let shielded = &mut instance["shieldedInstanceConfig"];
    set(shielded, "enableSecureBoot", json!(false));
    set(shielded, "enableVtpm", json!(true));
    set(shielded, "enableIntegrityMonitoring", json!(true));
    set(instance, "shieldedInstanceIntegrityPolicy", json!({"updateAutoLearnPolicy": true}));
    set(instance, "canIpForward", json!(false));
    set(instance, "deletionProtection", json!(false));
    instance["startRestricted"] = json!(false);
    instance["cpuPlatform"] = json!("Intel Broadwell");
    instance["fingerprint"] = json!(clock::fingerprint());
    instance["labelFingerprint"] = json!(clock::fingerprint());
}
