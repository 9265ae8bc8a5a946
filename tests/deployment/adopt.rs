//! A Mimir made by hand, as the usual recipe has it, is found and taken over: its bucket becomes private and
//! durable, each of its blocks stays, and whatever else it consists of is named and left alone.

use crate::deployment::{Deployment, MACHINE};
use serde_json::{Value, json};

const BLOCKS: [&str; 2] = ["01HQ3X5K7Z8V9W0A1B2C3D4E5F", "01HQ3X5K7Z8V9W0A1B2C3D4E5G"];
const BUCKET: &str = "storage/v1/b/acme-mimir-blocks";

/// What `gcloud` commands of such a recipe come to.
fn made_by_hand(deployment: &Deployment, prefix: &str) {
    let post = |path: &str, body: Value| deployment.google("POST", path, &body.to_string());
    let services = ["compute", "iam", "storage"].map(|api| format!("{api}.googleapis.com"));
    post("v1/projects/my-gcp/services:batchEnable", json!({"serviceIds": services}));
    deployment.until("the services are enabled", || {
        let seen = |path: &str| !deployment.try_google(path).is_null();
        seen("compute/v1/projects/my-gcp/global/firewalls") && seen("v1/projects/my-gcp/serviceAccounts")
    });
    let place = "storage/v1/b?project=my-gcp";
    post(place, json!({"name": "acme-mimir-blocks", "location": "EU"}));
    post(place, json!({"name": "acme-photos", "location": "EU"}));
    post("upload/storage/v1/b/acme-photos/o?uploadType=media&name=2024/beach.jpg", json!({}));
    for (at, block) in BLOCKS.iter().enumerate() {
        let meta = json!({"ulid": block, "version": 1, "minTime": 1_700_000_000_000_i64 + at as i64 * 7_200_000,
            "maxTime": 1_700_007_200_000_i64 + at as i64 * 7_200_000});
        for file in ["meta.json", "index", "chunks/000001"] {
            let name = format!("{prefix}anonymous/{block}/{file}").replace('/', "%2F");
            post(
                &format!("upload/storage/v1/b/acme-mimir-blocks/o?uploadType=media&name={name}"),
                meta.clone(),
            );
        }
    }
    let account = json!({"accountId": "mimir-sa", "serviceAccount": {"displayName": "Mimir"}});
    post("v1/projects/my-gcp/serviceAccounts", account);
    let email = "mimir-sa@my-gcp.iam.gserviceaccount.com";
    let member = format!("serviceAccount:{email}");
    deployment.until("the account can be granted something", || {
        let mut policy = deployment.google("GET", &format!("{BUCKET}/iam"), "");
        let binding = json!({"role": "roles/storage.objectAdmin", "members": [member]});
        policy["bindings"].as_array_mut().unwrap().push(binding);
        deployment.try_write("PUT", &format!("{BUCKET}/iam"), &policy.to_string())
    });
    let compute = "compute/v1/projects/my-gcp";
    let machine = json!({
        "name": "mimir-vm",
        "machineType": "zones/europe-west1-c/machineTypes/e2-medium",
        "disks": [{"boot": true, "autoDelete": true, "initializeParams":
            {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"}}],
        "networkInterfaces": [{"network": "global/networks/default",
            "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]}],
        "serviceAccounts": [{"email": email, "scopes": ["https://www.googleapis.com/auth/devstorage.read_write"]}],
        "metadata": {"items": [{"key": "startup-script", "value": "/opt/mimir -config.file=/etc/mimir.yaml"}]},
    });
    deployment.until("the machine can have the account", || {
        deployment.try_write(
            "POST",
            &format!("{compute}/zones/europe-west1-c/instances"),
            &machine.to_string(),
        )
    });
    for (name, port) in [("allow-mimir-http", "9009"), ("allow-mimir-grpc", "9095")] {
        let rule = json!({"name": name, "network": "global/networks/default", "direction": "INGRESS",
            "sourceRanges": ["0.0.0.0/0"], "allowed": [{"IPProtocol": "tcp", "ports": [port]}]});
        deployment.until("the rule is made", || {
            deployment.try_write("POST", &format!("{compute}/global/firewalls"), &rule.to_string())
        });
    }
    deployment.until("the machine runs", || {
        let path = format!("{compute}/zones/europe-west1-c/instances/mimir-vm");
        deployment.try_google(&path)["status"] == "RUNNING"
    });
}

fn objects(deployment: &Deployment) -> Vec<(String, String)> {
    let list = deployment.google("GET", &format!("{BUCKET}/o"), "");
    let text = |object: &Value, field: &str| object[field].as_str().unwrap().to_owned();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (text(object, "name"), text(object, "md5Hash")))
        .collect()
}

#[test]
fn a_mimir_made_by_hand_is_taken_over_without_losing_a_block() {
    let deployment = Deployment::of_records();
    let nothing = deployment.run(&["--sandbox", "init", "--yes", "--from-project", "my-gcp"]).ends_with(3);
    assert!(nothing.stderr.contains("no Mimir was found in my-gcp"), "{}", nothing.stderr);
    assert!(!deployment.path().join("dorainfra.yaml").exists());

    made_by_hand(&deployment, "blocks/");
    let (before, writes) = (objects(&deployment), deployment.writes().len());
    let init = deployment.run(&["--sandbox", "init", "--yes", "--from-project", "my-gcp"]).ends_with(0);
    assert_eq!(deployment.writes().len(), writes, "it only looks");
    let file = std::fs::read_to_string(deployment.path().join("dorainfra.yaml")).unwrap();
    for line in [
        "\nproject: my-gcp\n",
        "\nregion: europe-west1\n",
        "\nzones: [europe-west1-c]\n",
        "\n  bucket: acme-mimir-blocks\n",
        "\n  bucket_location: EU\n",
        "\n  tenant: anonymous\n",
        // From the day of the first sample on, and a year more.
        "\n  retention: ",
    ] {
        assert!(file.contains(line), "`{line}` is not in:\n{file}");
    }
    for words in [
        "2 blocks of the tenant 'anonymous'",
        "gcloud compute ssh 'mimir-vm' --project='my-gcp' --zone='europe-west1-c'",
        "ingester/flush?wait=true",
        "NEVER restart the machine before",
        "gcloud compute instances stop 'mimir-vm'",
        "nothing is copied",
        "#   gcloud compute instances delete 'mimir-vm'",
        "#   gcloud compute firewall-rules delete 'allow-mimir-http'",
        "#   gcloud compute firewall-rules delete 'allow-mimir-grpc'",
        "#   gcloud storage buckets remove-iam-policy-binding 'gs://acme-mimir-blocks' --role='roles/storage.objectAdmin'",
        "#   gcloud iam service-accounts delete 'mimir-sa@my-gcp.iam.gserviceaccount.com'",
    ] {
        assert!(init.stdout.contains(words), "`{words}` is not in:\n{}", init.stdout);
    }

    // Without being asked for, nothing of others is touched.
    let refused = deployment.run(&["--sandbox", "plan"]).ends_with(1);
    assert!(refused.stderr.contains("--adopt"), "{}", refused.stderr);
    let plan = deployment.run(&["--sandbox", "plan", "--adopt", "--no-color"]).ends_with(0);
    for words in ["storage.bucket/acme-mimir-blocks", "publicAccessPrevention", "enforced", "1 to adopt"] {
        assert!(plan.stdout.contains(words), "`{words}` is not in:\n{}", plan.stdout);
    }
    deployment.run(&["--sandbox", "apply", "--yes", "--adopt", "--target", MACHINE]).ends_with(0);
    let bucket = deployment.google("GET", BUCKET, "");
    assert_eq!(bucket["iamConfiguration"]["publicAccessPrevention"], "enforced", "{bucket}");
    assert_eq!(bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"], true, "{bucket}");
    assert_eq!(bucket["labels"]["managed-by"], "dorainfra", "{bucket}");
    let after = objects(&deployment);
    assert!(before.iter().all(|object| after.contains(object)), "{before:?}\n{after:?}");
    // Nothing of the old one is gone.
    let compute = "compute/v1/projects/my-gcp";
    for path in ["zones/europe-west1-c/instances/mimir-vm", "global/firewalls/allow-mimir-http"] {
        deployment.google("GET", &format!("{compute}/{path}"), "");
    }
    // Taken down, it keeps the blocks.
    deployment.run(&["--sandbox", "destroy", "--yes"]).ends_with(0);
    let kept = objects(&deployment);
    assert!(before.iter().all(|object| kept.contains(object)), "{before:?}\n{kept:?}");
}
