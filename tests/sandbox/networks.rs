//! Compute's networks and load balancing as an API: references, locks, what is in
//! use, in Google's words.
use crate::sandbox_support::*;
use reqwest::Method;
use serde_json::{Value, json};

fn regional(collection: &str) -> String {
    format!("regions/{REGION}/{collection}")
}

fn zonal(collection: &str) -> String {
    format!("zones/{ZONE}/{collection}")
}

/// A network of custom mode with one subnetwork, both named `own`.
async fn own_network(sandbox: &Sandbox) {
    sandbox.insert("global/networks", json!({"name": "own", "autoCreateSubnetworks": false})).await;
    let subnetwork = json!({"name": "own", "network": "global/networks/own", "ipCidrRange": "10.10.0.0/24",
        "privateIpGoogleAccess": true});
    sandbox.insert(&regional("subnetworks"), subnetwork).await;
}

fn in_own(name: &str) -> Value {
    let mut body = instance(name);
    body["networkInterfaces"] =
        json!([{"network": "global/networks/own", "subnetwork": regional("subnetworks/own")}]);
    body
}

#[tokio::test]
async fn networks_of_either_mode() {
    let sandbox = start().await;
    let networks = sandbox.compute("global/networks");
    let default = sandbox.read(&format!("{networks}/default")).await;
    assert_eq!(default["autoCreateSubnetworks"], true);
    assert_eq!(default["subnetworks"].as_array().unwrap().len(), 41);
    let legacy = sandbox.refused(Method::POST, &networks, Some(json!({"name": "old"})), 501).await;
    assert!(legacy.contains("legacy networks"), "{legacy}");
    let small = json!({"name": "small", "autoCreateSubnetworks": false, "mtu": 100});
    sandbox.refused(Method::POST, &networks, Some(small), 400).await;

    sandbox.insert("global/networks", json!({"name": "auto", "autoCreateSubnetworks": true})).await;
    let automatic = sandbox.read(&sandbox.compute(&regional("subnetworks/auto"))).await;
    assert_eq!(
        (&automatic["ipCidrRange"], &automatic["gatewayAddress"]),
        (&json!("10.132.0.0/20"), &json!("10.132.0.1"))
    );
    let message =
        sandbox.refused(Method::DELETE, &sandbox.compute(&regional("subnetworks/auto")), None, 400).await;
    assert!(message.contains("Cannot delete auto subnetwork"), "{message}");
    let patch = json!({"routingConfig": {"routingMode": "GLOBAL"}});
    sandbox.operate(Method::PATCH, "global/networks/auto", Some(patch)).await;
    let read = sandbox.read(&format!("{networks}/auto")).await;
    assert_eq!(read["routingConfig"]["routingMode"], "GLOBAL");
    let other = json!({"description": "new"});
    sandbox.refused(Method::PATCH, &format!("{networks}/auto"), Some(other), 400).await;
    sandbox.operate(Method::DELETE, "global/networks/auto", None).await;
    sandbox.refused(Method::GET, &sandbox.compute(&regional("subnetworks/auto")), None, 404).await;

    own_network(&sandbox).await;
    // What uses a network is found out by the operation.
    let failure = |body: Value| {
        let error = &body["error"]["errors"][0];
        assert_eq!(error["code"], "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "{body}");
        error["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        failure(sandbox.operate(Method::DELETE, "global/networks/own", None).await),
        format!(
            "The network resource 'projects/{PROJECT}/global/networks/own' is already being used by \
             'projects/{PROJECT}/regions/{REGION}/subnetworks/own'"
        )
    );
    let rule =
        json!({"name": "inside", "network": "global/networks/own", "allowed": [{"IPProtocol": "all"}]});
    sandbox.insert("global/firewalls", rule).await;
    sandbox.operate(Method::DELETE, &regional("subnetworks/own"), None).await;
    let message = failure(sandbox.operate(Method::DELETE, "global/networks/own", None).await);
    assert!(message.ends_with(&format!("by 'projects/{PROJECT}/global/firewalls/inside'")), "{message}");
    sandbox.operate(Method::DELETE, "global/firewalls/inside", None).await;
    sandbox.operate(Method::DELETE, "global/networks/own", None).await;
    let list = sandbox.read(&networks).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn subnetworks_hold_ranges_and_what_is_in_them() {
    let sandbox = start().await;
    own_network(&sandbox).await;
    let subnetworks = sandbox.compute(&regional("subnetworks"));
    let own = sandbox.read(&format!("{subnetworks}/own")).await;
    assert_eq!((&own["gatewayAddress"], &own["privateIpGoogleAccess"]), (&json!("10.10.0.1"), &json!(true)));
    let with = |name: &str, range: &str| json!({"name": name, "network": "global/networks/own", "ipCidrRange": range});
    let message =
        sandbox.refused(Method::POST, &subnetworks, Some(with("second", "10.10.0.128/25")), 400).await;
    assert_eq!(
        message,
        format!(
            "Invalid value for field 'resource.ipCidrRange': '10.10.0.128/25'. Invalid IPCidrRange: 10.10.0.128/25 \
             conflicts with existing subnetwork 'own' in region '{REGION}'."
        )
    );
    for (range, status) in [("10.10.0.1/24", 400), ("127.0.0.0/24", 400), ("", 400)] {
        sandbox.refused(Method::POST, &subnetworks, Some(with("second", range)), status).await;
    }
    let nowhere = json!({"name": "x", "network": "global/networks/none", "ipCidrRange": "10.20.0.0/24"});
    sandbox.refused(Method::POST, &subnetworks, Some(nowhere), 400).await;
    let in_auto = json!({"name": "x", "network": "global/networks/default", "ipCidrRange": "10.200.0.0/24"});
    let message = sandbox.refused(Method::POST, &subnetworks, Some(in_auto), 400).await;
    assert!(message.contains("cannot overlap with 10.128.0.0/9"), "{message}");

    let path = format!("{subnetworks}/own");
    sandbox.refused(Method::PATCH, &path, Some(json!({"enableFlowLogs": true})), 412).await;
    let patch = json!({"enableFlowLogs": true, "fingerprint": own["fingerprint"]});
    sandbox.operate(Method::PATCH, &regional("subnetworks/own"), Some(patch.clone())).await;
    sandbox.refused(Method::PATCH, &path, Some(patch), 412).await;
    let off = json!({"privateIpGoogleAccess": false});
    sandbox.operate(Method::POST, &regional("subnetworks/own/setPrivateIpGoogleAccess"), Some(off)).await;
    let wider = json!({"ipCidrRange": "10.10.0.0/20"});
    sandbox.operate(Method::POST, &regional("subnetworks/own/expandIpCidrRange"), Some(wider.clone())).await;
    sandbox.refused(Method::POST, &format!("{path}/expandIpCidrRange"), Some(wider), 400).await;
    let now = sandbox.read(&path).await;
    assert_eq!((&now["ipCidrRange"], &now["privateIpGoogleAccess"]), (&json!("10.10.0.0/20"), &json!(false)));
    let all = sandbox.read(&sandbox.compute("aggregated/subnetworks")).await;
    assert_eq!(all["items"][format!("regions/{REGION}")]["subnetworks"].as_array().unwrap().len(), 2);

    // Who is in it holds it.
    let mut bare = in_own("vm");
    bare["networkInterfaces"] = json!([{"network": "global/networks/own"}]);
    let message = sandbox.refused(Method::POST, &sandbox.compute(&zonal("instances")), Some(bare), 400).await;
    assert!(message.contains("Subnetwork should be specified for custom subnetmode network"), "{message}");
    let inside =
        json!({"name": "inside", "addressType": "INTERNAL", "subnetwork": regional("subnetworks/own")});
    sandbox.insert(&regional("addresses"), inside).await;
    let address = sandbox.read(&sandbox.compute(&regional("addresses/inside"))).await;
    assert_eq!((&address["purpose"], &address["subnetwork"]), (&json!("GCE_ENDPOINT"), &now["selfLink"]));
    let mut body = in_own("vm");
    body["networkInterfaces"][0]["networkIP"] = address["address"].clone();
    sandbox.insert(&zonal("instances"), body).await;
    let vm = sandbox.read(&sandbox.compute(&zonal("instances/vm"))).await;
    assert_eq!(vm["networkInterfaces"][0]["networkIP"], address["address"]);
    assert_eq!(vm["networkInterfaces"][0]["subnetwork"], now["selfLink"]);
    let (status, body) = sandbox.delete(&path).await;
    assert_eq!(
        (status, &body["error"]["errors"][0]["reason"]),
        (400, &json!("resourceInUseByAnotherResource"))
    );
    sandbox.operate(Method::DELETE, &zonal("instances/vm"), None).await;
    assert_eq!(sandbox.read(&sandbox.compute(&regional("addresses/inside"))).await["status"], "RESERVED");
    sandbox.operate(Method::DELETE, &regional("addresses/inside"), None).await;
    sandbox.operate(Method::DELETE, &regional("subnetworks/own"), None).await;
    assert!(sandbox.read(&sandbox.compute("global/networks/own")).await["subnetworks"].is_null());
    sandbox.stop().await;
}

#[tokio::test]
async fn groups_have_members() {
    let sandbox = start().await;
    own_network(&sandbox).await;
    sandbox.insert(&zonal("instances"), instance("a")).await;
    sandbox.insert(&zonal("instances"), in_own("b")).await;
    let group = zonal("instanceGroups/g");
    sandbox
        .insert(&zonal("instanceGroups"), json!({"name": "g", "namedPorts": [{"name": "http", "port": 80}]}))
        .await;
    let naming = |name: &str| json!({"instances": [{"instance": zonal(&format!("instances/{name}"))}]});
    let add = format!("{group}/addInstances");
    sandbox.operate(Method::POST, &add, Some(naming("a"))).await;
    let (status, body) = sandbox.post(&sandbox.compute(&add), naming("a")).await;
    assert_eq!((status, &body["error"]["errors"][0]["reason"]), (400, &json!("memberAlreadyExists")));
    assert_eq!(
        body["error"]["message"],
        format!(
            "Resource 'projects/{PROJECT}/zones/{ZONE}/instances/a' is already a member of \
             'projects/{PROJECT}/zones/{ZONE}/instanceGroups/g'."
        )
    );
    sandbox.refused(Method::POST, &sandbox.compute(&add), Some(naming("none")), 404).await;
    let message = sandbox.refused(Method::POST, &sandbox.compute(&add), Some(naming("b")), 400).await;
    assert!(message.contains("must be in the same network"), "{message}");
    let read = sandbox.read(&sandbox.compute(&group)).await;
    assert_eq!(read["size"], 1);
    assert!(read["network"].as_str().unwrap().ends_with("/networks/default"));

    let list = format!("{group}/listInstances");
    let (_, members) = sandbox.post(&sandbox.compute(&list), json!({"instanceState": "ALL"})).await;
    assert_eq!(members["kind"], "compute#instanceGroupsListInstances");
    assert_eq!(members["items"][0]["status"], "RUNNING");
    assert_eq!(members["items"][0]["namedPorts"][0]["port"], 80);
    sandbox.operate(Method::POST, &zonal("instances/a/stop"), None).await;
    let (_, members) = sandbox.post(&sandbox.compute(&list), json!({"instanceState": "RUNNING"})).await;
    assert!(members["items"].is_null());

    let ports = json!({"namedPorts": [{"name": "https", "port": 443}], "fingerprint": read["fingerprint"]});
    sandbox.operate(Method::POST, &format!("{group}/setNamedPorts"), Some(ports.clone())).await;
    let path = sandbox.compute(&format!("{group}/setNamedPorts"));
    sandbox.refused(Method::POST, &path, Some(ports), 412).await;
    let out = format!("{group}/removeInstances");
    sandbox.operate(Method::POST, &out, Some(naming("a"))).await;
    sandbox.refused(Method::POST, &sandbox.compute(&out), Some(naming("a")), 400).await;
    sandbox.operate(Method::POST, &add, Some(naming("a"))).await;
    // A deleted instance leaves its groups.
    sandbox.operate(Method::DELETE, &zonal("instances/a"), None).await;
    assert_eq!(sandbox.read(&sandbox.compute(&group)).await["size"], 0);
    sandbox.read(&sandbox.compute("aggregated/instanceGroups")).await;
    sandbox.operate(Method::DELETE, &group, None).await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_load_balancer_is_made_of_what_exists() {
    let sandbox = start().await;
    sandbox.insert(&zonal("instanceGroups"), json!({"name": "g"})).await;
    let checks = regional("healthChecks");
    let check = json!({"name": "tcp", "type": "TCP", "tcpHealthCheck": {"port": 9009}});
    sandbox.insert(&checks, check.clone()).await;
    sandbox.insert("global/healthChecks", check).await;
    let read = sandbox.read(&sandbox.compute(&format!("{checks}/tcp"))).await;
    assert_eq!((&read["kind"], &read["timeoutSec"]), (&json!("compute#healthCheck"), &json!(5)));
    sandbox.operate(Method::PATCH, &format!("{checks}/tcp"), Some(json!({"checkIntervalSec": 10}))).await;
    let put = json!({"name": "tcp", "type": "HTTP", "httpHealthCheck": {"port": 80}});
    sandbox.operate(Method::PUT, "global/healthChecks/tcp", Some(put)).await;
    let read = sandbox.read(&sandbox.compute("global/healthChecks/tcp")).await;
    assert_eq!(
        (&read["httpHealthCheck"]["requestPath"], &read["tcpHealthCheck"]),
        (&json!("/"), &Value::Null)
    );

    let services = regional("backendServices");
    let service = |scheme: &str, check: &str| {
        json!({"name": "web", "loadBalancingScheme": scheme, "protocol": "TCP", "healthChecks": [check],
            "backends": [{"group": zonal("instanceGroups/g")}]})
    };
    let path = sandbox.compute(&services);
    for (what, body, status) in [
        ("a check that is missing", service("EXTERNAL", &regional("healthChecks/none")), 404),
        ("a global check for an external service", service("EXTERNAL", "global/healthChecks/tcp"), 400),
        ("another scheme", service("EXTERNAL_MANAGED", &regional("healthChecks/tcp")), 501),
    ] {
        let (found, answer) = sandbox.post(&path, body).await;
        assert_eq!(found, status, "{what}: {answer}");
    }
    let mut rated = service("EXTERNAL", &regional("healthChecks/tcp"));
    rated["backends"][0]["balancingMode"] = json!("UTILIZATION");
    let message = sandbox.refused(Method::POST, &path, Some(rated), 400).await;
    assert!(
        message.contains("Balancing mode must be CONNECTION for an EXTERNAL backend service."),
        "{message}"
    );
    sandbox.insert(&services, service("EXTERNAL", &regional("healthChecks/tcp"))).await;
    let web = regional("backendServices/web");
    let read = sandbox.read(&sandbox.compute(&web)).await;
    let affine = json!({"sessionAffinity": "CLIENT_IP", "fingerprint": read["fingerprint"]});
    sandbox.operate(Method::PATCH, &web, Some(affine.clone())).await;
    let message = sandbox.refused(Method::PATCH, &sandbox.compute(&web), Some(affine), 412).await;
    assert_eq!(message, "Invalid fingerprint.");

    // Each holds what it names.
    let (_, body) = sandbox.delete(&sandbox.compute(&format!("{checks}/tcp"))).await;
    assert_eq!(
        body["error"]["message"],
        format!(
            "The health_check resource 'projects/{PROJECT}/regions/{REGION}/healthChecks/tcp' is already being \
             used by 'projects/{PROJECT}/regions/{REGION}/backendServices/web'"
        )
    );
    sandbox.refused(Method::DELETE, &sandbox.compute(&zonal("instanceGroups/g")), None, 400).await;

    let rules = regional("forwardingRules");
    sandbox.insert(&regional("addresses"), json!({"name": "front"})).await;
    let front = sandbox.read(&sandbox.compute(&regional("addresses/front"))).await;
    let rule = |name: &str, port: &str| {
        json!({"name": name, "IPProtocol": "TCP", "loadBalancingScheme": "EXTERNAL", "ports": [port],
            "IPAddress": front["address"], "backendService": web, "labels": {"team": "a"}})
    };
    let path = sandbox.compute(&rules);
    let mut wrong = rule("front", "9009");
    wrong["loadBalancingScheme"] = json!("INTERNAL");
    sandbox.refused(Method::POST, &path, Some(wrong), 400).await;
    let mut unknown = rule("front", "9009");
    unknown["IPAddress"] = json!("127.1.2.3");
    sandbox.refused(Method::POST, &path, Some(unknown), 400).await;
    sandbox.insert(&rules, rule("front", "9009")).await;
    let message = sandbox.refused(Method::POST, &path, Some(rule("again", "9009")), 400).await;
    assert!(message.ends_with("Specified IP address is in-use and would result in a conflict."), "{message}");
    let mut second = rule("second", "9095");
    second["IPAddress"] = json!(regional("addresses/front"));
    sandbox.insert(&rules, second).await;
    let read = sandbox.read(&sandbox.compute(&format!("{rules}/front"))).await;
    assert_eq!((&read["IPAddress"], &read["networkTier"]), (&front["address"], &json!("PREMIUM")));
    let labels = json!({"labels": {"team": "b"}, "labelFingerprint": read["labelFingerprint"]});
    sandbox.operate(Method::POST, &format!("{rules}/front/setLabels"), Some(labels)).await;
    sandbox.refused(Method::DELETE, &sandbox.compute(&web), None, 400).await;
    let users = sandbox.read(&sandbox.compute(&regional("addresses/front"))).await["users"].clone();
    assert_eq!(users.as_array().unwrap().len(), 2);
    let health = sandbox.compute(&format!("{web}/getHealth"));
    let (status, answer) = sandbox.post(&health, json!({"group": zonal("instanceGroups/g")})).await;
    assert_eq!((status, &answer["healthStatus"]), (200, &Value::Null), "nobody is in the group: {answer}");
    sandbox.refused(Method::POST, &health, Some(json!({"group": zonal("instanceGroups/other")})), 400).await;
    for collection in ["forwardingRules", "backendServices", "healthChecks", "addresses"] {
        let all = sandbox.read(&sandbox.compute(&format!("aggregated/{collection}"))).await;
        let here = &all["items"][format!("regions/{REGION}")][collection];
        assert!(here.is_array(), "{collection}: {all}");
    }

    // Taken down in order, nothing is left behind.
    for path in [
        format!("{rules}/front"),
        format!("{rules}/second"),
        web,
        regional("addresses/front"),
        format!("{checks}/tcp"),
        "global/healthChecks/tcp".into(),
        zonal("instanceGroups/g"),
    ] {
        let done = sandbox.operate(Method::DELETE, &path, None).await;
        assert!(done["error"].is_null(), "{path}: {done}");
        sandbox.refused(Method::GET, &sandbox.compute(&path), None, 404).await;
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn an_instance_is_behind_one_load_balancer() {
    let sandbox = start().await;
    sandbox.insert(&zonal("instances"), instance("a")).await;
    sandbox
        .insert(
            &regional("healthChecks"),
            json!({"name": "tcp", "type": "TCP", "tcpHealthCheck": {"port": 1}}),
        )
        .await;
    for group in ["one", "two"] {
        sandbox.insert(&zonal("instanceGroups"), json!({"name": group})).await;
        let service = json!({"name": group, "healthChecks": [regional("healthChecks/tcp")],
            "backends": [{"group": zonal(&format!("instanceGroups/{group}"))}]});
        sandbox.insert(&regional("backendServices"), service).await;
    }
    let naming = json!({"instances": [{"instance": zonal("instances/a")}]});
    sandbox.operate(Method::POST, &zonal("instanceGroups/one/addInstances"), Some(naming.clone())).await;
    let done = sandbox.operate(Method::POST, &zonal("instanceGroups/two/addInstances"), Some(naming)).await;
    assert_eq!(done["error"]["errors"][0]["code"], "INSTANCE_IN_MULTIPLE_LOAD_BALANCED_IGS", "{done}");
    assert_eq!(sandbox.read(&sandbox.compute(&zonal("instanceGroups/two"))).await["size"], 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn what_is_not_served_says_so_by_its_name() {
    let sandbox = start().await;
    for (method, path, id) in [
        (Method::GET, regional("routers"), "compute.routers.list"),
        (
            Method::POST,
            zonal("instances/vm/simulateMaintenanceEvent"),
            "compute.instances.simulateMaintenanceEvent",
        ),
        (Method::GET, "global/backendServices".into(), "compute.backendServices.list"),
        (Method::POST, zonal("instanceGroupManagers"), "compute.instanceGroupManagers.insert"),
        (Method::POST, regional("forwardingRules/f/setTarget"), "compute.forwardingRules.setTarget"),
    ] {
        let message = sandbox.refused(method, &sandbox.compute(&path), None, 501).await;
        assert_eq!(message, format!("The sandbox does not serve {id}."));
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn permissions_are_asked_for() {
    let sandbox = start().await;
    sandbox.insert(&zonal("instanceGroups"), json!({"name": "g"})).await;
    let deny = |permission: &str| json!({"member": "owner", "permission": permission});
    for (permission, path, body, on) in [
        (
            "compute.networks.create",
            "global/networks".to_owned(),
            json!({"name": "n", "autoCreateSubnetworks": false}),
            "global/networks/n".to_owned(),
        ),
        (
            "compute.instanceGroups.update",
            zonal("instanceGroups/g/addInstances"),
            json!({"instances": []}),
            zonal("instanceGroups/g"),
        ),
        (
            "compute.regionHealthChecks.create",
            regional("healthChecks"),
            json!({"name": "h", "type": "TCP"}),
            regional("healthChecks/h"),
        ),
    ] {
        sandbox.post("sandbox/deny", deny(permission)).await;
        let message = sandbox.refused(Method::POST, &sandbox.compute(&path), Some(body), 403).await;
        assert_eq!(message, format!("Required '{permission}' permission for 'projects/{PROJECT}/{on}'"));
    }
    sandbox.stop().await;
}
