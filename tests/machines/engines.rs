//! The rendered configuration on the real engines, where they are to be had:
//! Debian's Prometheus, which scripts/setup gets, and a Mimir, where
//! `DORAINFRA_MIMIR_BINARY` names one.

use crate::deployment;
use crate::machine_support::{Engine, Lab, Recipe, SERVER_NAME, client, program};
use serde_json::Value;

async fn serves(recipe: Recipe) {
    let lab = Lab::new().await;
    let digest = lab.upload(&recipe);
    lab.set_item("dorainfra-bundle", &digest).await;
    lab.boot().await;
    lab.wait_for("ready", &digest).await;

    let base = format!("https://{SERVER_NAME}:9009/prometheus/api/v1");
    let query = |with_certificate| {
        client(&lab, with_certificate)
            .get(format!("{base}/query?query=vector(1)"))
            .header("X-Scope-OrgID", "dora")
            .send()
    };
    let answer: Value = query(true).await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["result"][0]["value"][1], "1", "{answer}\n{}", lab.serial());
    assert!(query(false).await.is_err(), "a client without a certificate is refused in the handshake");
    // Not every client can name a tenant.
    let nobody = client(&lab, true).get(format!("{base}/query?query=vector(1)")).send().await.unwrap();
    assert_eq!(nobody.status(), 200);

    let broken = lab.upload(&recipe.clone().window("soon"));
    lab.set_item("dorainfra-bundle", &broken).await;
    lab.wait_for("rolled-back", &broken).await;
    assert!(lab.guest("message").contains("soon"), "{}", lab.guest("message"));
    assert_eq!(lab.guest("bundle"), digest);

    lab.machines.stop(&lab.id()).await.unwrap();
    assert_eq!(lab.processes(), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_stands_in() {
    let binary = program("prometheus").expect("scripts/setup gets it");
    serves(Recipe { engine: Engine::of(&binary), ..Recipe::quick() }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Mimir (DORAINFRA_MIMIR_BINARY): scripts/nightly"]
async fn mimir_serves() {
    #[expect(clippy::disallowed_methods, reason = "names a Mimir that this machine has")]
    let Some(binary) = std::env::var_os("DORAINFRA_MIMIR_BINARY").filter(|path| !path.is_empty()) else {
        panic!("DORAINFRA_MIMIR_BINARY names no Mimir");
    };
    let version = deployment::version_of(binary.as_ref()).leak();
    let engine = Engine::of(binary.as_ref());
    serves(Recipe { engine, flavour: "mimir", version, ..Recipe::quick() }).await;
}
