//! Machines of the process driver run the real startup script, bundle and units.

use crate::machine_support;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::machine_support::{
    Engine, Lab, PATIENCE, Recipe, address, certificate, processes_of, sha256, wanted, within,
};
use dorainfra_gcp_sandbox::machine::Boot;
use dorainfra_pki::Credentials;

/// A lab whose machine is ready with the quick engine.
async fn ready() -> (Lab, String) {
    let lab = Lab::new().await;
    let digest = lab.upload(&Recipe::quick());
    lab.set_item("dorainfra-bundle", &digest).await;
    lab.boot().await;
    lab.wait_for("ready", &digest).await;
    (lab, digest)
}

async fn assert_gone(lab: &Lab) {
    assert_eq!(lab.processes(), Vec::<u32>::new());
    for port in [9009, lab.port] {
        let bound = tokio::net::TcpListener::bind((address(lab.port), port)).await;
        assert!(bound.is_ok(), "port {port} is still taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_reports_each_stage_until_it_is_ready() {
    let (lab, digest) = ready().await;
    assert_eq!(lab.stages(), ["boot", "disk", "fetch", "secrets", "install", "start", "wait-ready", "ready"]);
    assert_eq!(lab.guest("bundle"), digest);
    assert_eq!(lab.guest("engine"), "prometheus 2.42.0 (standing in for mimir)");
    assert!(lab.guest("updated").ends_with('Z'));
    let mode = |path: &str| lab.home().join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("tls"), mode("tls/server.key"), mode("tls/server.crt")], [0o750, 0o640, 0o640]);
    assert!(lab.home().join("data").is_symlink(), "the data disk is mounted");
    let environment = std::fs::read_to_string(lab.home().join("machine.env")).unwrap();
    let own = address(lab.port);
    let expected = format!("DORAINFRA_ADDRESS={own}\nDORAINFRA_LISTEN={own}\n");
    assert!(environment.starts_with(&expected), "{environment}");
    let number = |name: &str| {
        let line = environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap().trim_end_matches("KiB").parse::<u64>().unwrap()
    };
    // Kibibytes, and shares of the same memory in bytes.
    assert_eq!(number("GOMEMLIMIT") * 1280 / (1 << 20), (number("DORAINFRA_MEMORY_16TH") * 16) >> 20);
    assert_eq!(number("DORAINFRA_MEMORY_QUARTER"), 4 * number("DORAINFRA_MEMORY_16TH"));
    let serial = lab.serial();
    for line in ["startup-script[", "dorainfra: ready: ", "mimir[", "init: Started mimir.service"] {
        assert!(serial.contains(line), "{line} is not in\n{serial}");
    }
    assert!(!serial.contains("PRIVATE KEY") && !serial.contains(machine_support::TOKEN), "{serial}");
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_disk_survives_stop_start_reset_and_deletion() {
    let (lab, digest) = ready().await;
    assert_eq!(lab.starts(), 1);

    lab.machines.stop(&lab.id()).await.unwrap();
    assert_gone(&lab).await;
    assert!(!lab.home().join("data").is_symlink(), "nothing is mounted while it is off");

    lab.forget_stages();
    lab.boot().await;
    assert!(lab.machines.boot(lab.boot_order()).await.unwrap_err().contains("runs already"));
    lab.wait_until("second start", || lab.starts() == 2 && lab.guest("stage") == "ready").await;
    assert_eq!(lab.stages()[..3], ["boot", "disk", "fetch"]);

    let before = lab.processes();
    lab.forget_stages();
    lab.machines.reset(&lab.id()).await.unwrap();
    lab.wait_until("third start", || lab.starts() == 3 && lab.stages().last().is_some_and(|s| s == "ready"))
        .await;
    assert!(lab.processes().iter().all(|pid| !before.contains(pid)));
    lab.wait_for("ready", &digest).await;

    lab.machines.delete(&lab.id()).await.unwrap();
    assert_gone(&lab).await;
    assert!(!lab.machine_dir().exists());
    assert_eq!(lab.starts(), 3, "the disk is not the machine's to delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_is_installed_in_place_and_a_broken_one_rolled_back() {
    let (lab, first) = ready().await;

    let second = lab.upload(&Recipe::quick().window("300d"));
    lab.forget_stages();
    lab.set_item("dorainfra-bundle", &second).await;
    lab.wait_for("ready", &second).await;
    assert_eq!(lab.guest("bundle"), second);
    assert!(!lab.stages().contains(&"boot".to_owned()), "{:?}", lab.stages());

    // An engine that ends at once: found out long before the time for getting ready is over.
    let broken = lab.upload(&Recipe::quick().window("soon"));
    lab.set_item("dorainfra-bundle", &broken).await;
    lab.wait_for("rolled-back", &broken).await;
    assert_eq!(lab.guest("bundle"), second);
    let message = lab.guest("message");
    assert!(
        message.contains("error: not a duration in current/standin-prometheus.yml")
            && message.contains(&format!("bundle {} runs again", &second[..12]))
            && !message.contains('\n'),
        "{message}"
    );

    // Not even an installer.
    let recipe = Recipe { machine: Some("#!/bin/bash\nif then\n"), ..Recipe::quick() };
    let senseless = lab.upload(&recipe);
    lab.set_item("dorainfra-bundle", &senseless).await;
    lab.wait_for("rolled-back", &senseless).await;
    assert!(lab.guest("message").contains("could not run"), "{}", lab.guest("message"));

    // Not what its name says.
    let forged = "ab".repeat(32);
    lab.put_object(&format!("bundles/{forged}.tar"), Recipe::quick().bundle());
    lab.set_item("dorainfra-bundle", &forged).await;
    lab.wait_for("rolled-back", &forged).await;
    assert!(lab.guest("message").contains("SHA-256 differs"), "{}", lab.guest("message"));

    // And from all that back to a good one.
    lab.set_item("dorainfra-bundle", &first).await;
    lab.wait_for("ready", &first).await;
    assert_eq!(lab.guest("bundle"), first);
    let serial = lab.serial();
    assert_eq!(serial.matches("kernel: dora-mimir boots").count(), 1, "{serial}");
    let bundles = std::fs::read_dir(lab.home().join("bundles")).unwrap().count();
    assert!(bundles <= 3, "{bundles} bundles are kept");
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_bundle_that_fails_says_why_and_the_next_one_is_still_taken() {
    let lab = Lab::new().await;
    let broken = lab.upload(&Recipe::quick().window("soon"));
    lab.set_item("dorainfra-bundle", &broken).await;
    lab.boot().await;
    lab.wait_for("failed", &broken).await;
    assert!(lab.guest("message").contains("error: not a duration"), "{}", lab.guest("message"));
    let good = lab.upload(&Recipe::quick());
    lab.set_item("dorainfra-bundle", &good).await;
    lab.wait_for("ready", &good).await;

    // A secret that can't be read any more does not stop a machine that has it.
    lab.set_secret(None);
    lab.forget_stages();
    lab.machines.reset(&lab.id()).await.unwrap();
    lab.wait_until("ready again", || lab.stages().last().is_some_and(|stage| stage == "ready")).await;
    assert!(lab.serial().contains("going on with the certificate from before"));
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

/// While this file is there, the startup script gets no answer of the metadata
/// server; services do.
fn silence(lab: &Lab) -> std::path::PathBuf {
    let away = lab.dir.path().join("away");
    std::fs::write(&away, "").unwrap();
    away
}

async fn hears_no_more(lab: &Lab, away: &Path) {
    let real = Recipe::quick().render("startup-script.sh.j2");
    let curl = format!(
        "#!/bin/bash\n\
         curl() {{\n\
         if [ -e '{}' ] && [[ $* == *computeMetadata* ]]; then echo 'curl: (7) away' >&2; return 7; fi\n\
         command curl \"$@\"\n\
         }}\n\
         export -f curl\n",
        away.display()
    );
    lab.set_item("startup-script", &(curl + &real)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_starts_what_is_on_it_while_the_metadata_server_is_away() {
    let (lab, digest) = ready().await;
    lab.machines.stop(&lab.id()).await.unwrap();
    let away = silence(&lab);
    hears_no_more(&lab, &away).await;
    lab.boot().await;
    lab.wait_until("second start", || lab.starts() == 2).await;
    let said = format!(
        "rolled-back: the metadata server does not say which bundle to run; bundle {} runs again",
        &digest[..12]
    );
    lab.wait_until("way back", || lab.serial().contains(&said)).await;
    assert!(away.exists());
    // The agent sees that nothing was wrong with it.
    lab.wait_for("ready", &digest).await;
    assert_eq!(lab.starts(), 2);
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_asks_again_for_what_is_away_for_a_moment() {
    let lab = Lab::new().await;
    let digest = lab.upload(&Recipe::quick());
    lab.set_item("dorainfra-bundle", &digest).await;
    let away = silence(&lab);
    hears_no_more(&lab, &away).await;
    lab.boot().await;
    // Each report is tried and given up before the metadata is asked for.
    lab.wait_until("disk", || lab.home().join("formatted").exists()).await;
    std::fs::remove_file(away).unwrap();
    lab.wait_for("ready", &digest).await;
    assert_eq!(lab.starts(), 1);
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_an_agent_goes_on_trying() {
    let lab = Lab::new().await;
    lab.set_item("dorainfra-bundle", "nonsense").await;
    lab.boot().await;
    lab.wait_until("failure", || lab.guest("stage") == "failed").await;
    assert!(lab.guest("message").contains("is not a SHA-256: nonsense"), "{}", lab.guest("message"));
    lab.wait_until("patience", || lab.serial().contains("trying again in a minute")).await;
    let digest = lab.upload(&Recipe::quick());
    lab.set_item("dorainfra-bundle", &digest).await;
    lab.wait_for("ready", &digest).await;
    lab.wait_until("end", || lab.serial().contains("init: the startup script ended: exit status: 0")).await;
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_for_a_while_is_tried_again() {
    let (lab, first) = ready().await;
    let bytes = format!("{}# another\n", String::from_utf8_lossy(&Recipe::quick().engine.bytes));
    let engine = Engine { sha256: sha256(bytes.as_bytes()), bytes: bytes.into() };
    let recipe = Recipe { engine, ..Recipe::quick() };
    let bundle = recipe.bundle();
    let digest = sha256(&bundle);
    lab.set_item("dorainfra-bundle", &digest).await;
    lab.wait_for("rolled-back", &digest).await;
    assert!(lab.guest("message").contains("cannot fetch bundle"), "{}", lab.guest("message"));
    lab.put_object(&format!("bundles/{digest}.tar"), bundle);
    lab.wait_until("engine that is not there", || lab.guest("message").contains("cannot fetch prometheus"))
        .await;
    assert_eq!(lab.guest("bundle"), first);
    lab.upload(&recipe);
    lab.wait_for("ready", &digest).await;
    assert_eq!(lab.guest("bundle"), digest);
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_boot_says_so_on_its_serial_port() {
    let (lab, _) = ready().await;
    lab.machines.stop(&lab.id()).await.unwrap();
    let taken = tokio::net::TcpListener::bind((address(lab.port), lab.port)).await.unwrap();
    let error = lab.machines.reset(&lab.id()).await.unwrap_err();
    assert!(error.contains("address") && error.contains("cannot be used"), "{error}");
    assert!(lab.serial().contains("kernel: it does not boot: "), "{}", lab.serial());
    drop(taken);
    lab.machines.reset(&lab.id()).await.unwrap();
    lab.wait_until("second start", || lab.starts() == 2).await;
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_in_place_and_one_that_is_no_good_rolled_back() {
    let (lab, digest) = ready().await;
    let served = || std::fs::read_to_string(lab.home().join("tls/version")).unwrap().trim().to_owned();
    assert_eq!(served(), lab.guest("certificate"));

    // Mimir reads its certificate at its start only.
    let second = certificate(&lab.authority);
    let item = wanted(2, &second);
    lab.want_certificate(2, &second, &item).await;
    lab.wait_until("second certificate", || lab.guest("certificate") == item).await;
    lab.wait_for("ready", &digest).await;
    assert_eq!((served(), lab.starts()), (item.clone(), 2));

    // Others to trust, beside the one from before.
    let mut third = certificate(&lab.authority);
    third.ca.push_str(&certificate(&lab.authority).certificate);
    let item = wanted(3, &third);
    lab.want_certificate(3, &third, &item).await;
    lab.wait_until("third certificate", || lab.guest("certificate") == item).await;
    lab.wait_for("ready", &digest).await;
    assert_eq!((served(), lab.starts()), (item.clone(), 3));

    // With authorities that the engine can't read it does not get ready.
    let rolled_back = |wanted: &str, why: &str| {
        lab.guest("wanted-certificate") == wanted
            && lab.guest("stage") == "rolled-back"
            && lab.guest("message").contains(why)
    };
    let broken = Credentials {
        ca: "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n".into(),
        ..certificate(&lab.authority)
    };
    let wrong = wanted(4, &broken);
    lab.want_certificate(4, &broken, &wrong).await;
    lab.wait_until("way back", || rolled_back(&wrong, "certificate 4: ")).await;
    assert_eq!((served(), lab.guest("certificate")), (item.clone(), item.clone()));

    // Not the one that was asked for.
    let other = wanted(5, &second);
    lab.want_certificate(5, &third, &other).await;
    lab.wait_until("way back", || rolled_back(&other, "does not hold the certificate that was asked for"))
        .await;

    // One that can't be read for a while is tried again.
    let sixth = certificate(&lab.authority);
    let item = wanted(6, &sixth);
    lab.set_secret(None);
    lab.set_item("dorainfra-certificate", &item).await;
    lab.wait_until("refusal", || rolled_back(&item, "cannot read the secret")).await;
    lab.set_secret(Some((6, &sixth)));
    lab.wait_until("sixth certificate", || lab.guest("certificate") == item).await;
    lab.wait_for("ready", &digest).await;
    assert_eq!(std::fs::read_dir(lab.home().join("certificates")).unwrap().count(), 1, "the others are gone");
    let serial = lab.serial();
    assert!(!serial.contains("PRIVATE KEY"), "{serial}");
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

/// Of another architecture, for example: told before it is put in place.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_that_does_not_run_there_is_told_and_the_good_one_stays() {
    let (lab, digest) = ready().await;
    let bytes = "#!/no/such/interpreter\n";
    let engine = Engine { bytes: bytes.into(), sha256: sha256(bytes.as_bytes()) };
    let wrong = lab.upload(&Recipe { engine, ..Recipe::quick() });
    lab.set_item("dorainfra-bundle", &wrong).await;
    lab.wait_for("rolled-back", &wrong).await;
    let message = lab.guest("message");
    assert!(message.contains("does not run on this machine"), "{message}");
    assert_eq!(lab.guest("bundle"), digest);
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mimir_of_another_version_is_not_installed() {
    let (lab, digest) = ready().await;
    let bytes = "#!/bin/sh\necho 'Mimir, version 9.9.9 (branch: HEAD, revision: 0)'\n";
    let engine = Engine { bytes: bytes.into(), sha256: sha256(bytes.as_bytes()) };
    let recipe = Recipe { engine, flavour: "mimir", version: "3.0.4", ..Recipe::quick() };
    let wrong = lab.upload(&recipe);
    lab.set_item("dorainfra-bundle", &wrong).await;
    lab.wait_for("rolled-back", &wrong).await;
    let message = lab.guest("message");
    assert!(message.contains("what came as mimir 3.0.4 says that it is 9.9.9"), "{message}");
    assert_eq!(lab.guest("bundle"), digest);
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

/// The order that `destroy` gives; and what happens when the machine stays after all.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_to_go_and_stays_starts_its_engine_again() {
    let (lab, digest) = ready().await;
    lab.set_item("dorainfra-flush", "one").await;
    lab.wait_until("flush", || lab.guest("flushed") == "one").await;
    assert_eq!(lab.guest("stage"), "flushed");
    let bound = tokio::net::TcpListener::bind((address(lab.port), 9009)).await;
    assert!(bound.is_ok(), "the engine has ended");
    drop(bound);
    lab.forget_stages();
    lab.set_item("dorainfra-flush", "").await;
    lab.wait_for("ready", &digest).await;
    assert_eq!((lab.guest("flushed"), lab.starts()), (String::new(), 2));
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_is_started_again() {
    let (lab, _) = ready().await;
    let engine = |lab: &Lab| {
        lab.processes().into_iter().find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| String::from_utf8_lossy(&words).contains("current/engine"))
        })
    };
    let first = engine(&lab).unwrap();
    let killed =
        tokio::process::Command::new("kill").args(["-KILL", &first.to_string()]).status().await.unwrap();
    assert!(killed.success());
    lab.wait_until("second start", || lab.starts() == 2).await;
    lab.wait_until("another process", || engine(&lab).is_some_and(|pid| pid != first)).await;
    assert!(lab.serial().contains("code=killed, status=9"));
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

/// Starts children, a grandchild and a process that leaves its group and session.
const FAMILY: &str = "#!/bin/bash
sleep 1000 &
bash -c 'sleep 1001 & wait' &
setsid sleep 1002 &
wait
";

#[tokio::test(flavor = "multi_thread")]
async fn stopping_leaves_no_process_however_far_down() {
    let lab = Lab::new().await;
    lab.set_item("startup-script", FAMILY).await;
    lab.boot().await;
    lab.wait_until("family", || lab.processes().len() >= 5).await;
    lab.machines.stop(&lab.id()).await.unwrap();
    assert_gone(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_zones_may_have_machines_of_one_name() {
    let lab = Lab::new().await;
    lab.set_item("startup-script", FAMILY).await;
    let dir = lab.dir.path().join("elsewhere");
    let IpAddr::V4(first) = address(lab.port) else { panic!("not IPv4") };
    let next = IpAddr::V4((first.to_bits() + 1).into());
    let other = Boot { zone: "europe-west1-c".into(), address: next, dir, disks: vec![], ..lab.boot_order() };
    let others = || processes_of(&other.dir.join("root"));
    lab.boot().await;
    lab.machines.boot(other.clone()).await.unwrap();
    lab.wait_until("both families", || lab.processes().len() >= 5 && others().len() >= 5).await;
    let error = lab.machines.boot(other.clone()).await.unwrap_err();
    assert_eq!(error, "machine dora-mimir in europe-west1-c runs already");
    lab.machines.stop(&lab.id()).await.unwrap();
    assert_gone(&lab).await;
    assert!(others().len() >= 5, "{:?}", others());
    assert!(lab.serial().contains("power off"));
    assert!(!lab.machines.serial_output(&other.id(), 0).0.contains("power off"));
    lab.boot().await;
    lab.machines.delete(&other.id()).await.unwrap();
    assert_eq!((others(), other.dir.exists()), (vec![], false));
    lab.wait_until("its own family", || lab.processes().len() >= 5).await;
    lab.machines.shutdown().await;
    assert_gone(&lab).await;
}

/// Runs a machine in a process of its own, for the next test to kill. Does
/// nothing when it is started in any other way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of the next test"]
async fn hosted_until_killed() {
    if !Path::new("host-a-machine").exists() {
        return;
    }
    let lab = Lab::new().await;
    lab.set_item("startup-script", FAMILY).await;
    lab.boot().await;
    std::fs::write("root", lab.root().canonicalize().unwrap().to_str().unwrap()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sandbox_leaves_no_process_of_its_machines() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("host-a-machine"), "").unwrap();
    let mut host = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::hosted_until_killed", "--ignored"])
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let root = dir.path().join("root");
    let family = || std::fs::read_to_string(&root).map_or(Vec::new(), |root| processes_of(Path::new(&root)));
    assert!(within(PATIENCE, || family().len() >= 5).await, "{:?}", family());
    host.kill().await.unwrap();
    assert!(within(Duration::from_secs(10), || family().is_empty()).await, "{:?}", family());
}
