//! The image of the receiver, as docs/sources.md has its recipe, on a real Docker engine. Run by
//! `scripts/test docker`, which sees to engine and base image.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SECRET: &str = "a secret of this test";

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).env("DORAINFRA_WEBHOOK_SECRET", SECRET).output().unwrap()
}

fn docker(arguments: &[&str]) -> String {
    let output = run("docker", arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The image and its containers are gone with it.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let containers =
            run("docker", &["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", self.0)]);
        for id in String::from_utf8_lossy(&containers.stdout).lines() {
            run("docker", &["rm", "--force", "--volumes", id]);
        }
        run("docker", &["rmi", "--force", &self.0]);
    }
}

/// The recipe, word for word.
fn recipe() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```dockerfile\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn build(folder: &Path, name: &str) -> Image {
    std::fs::write(folder.join("Dockerfile"), recipe()).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_dorainfra"), folder.join("dorainfra")).unwrap();
    let image = Image(format!("dorainfra-receiver-{name}:{}", std::process::id()));
    let output = Command::new("docker")
        .args(["build", "--quiet", "--tag", &image.0, &folder.display().to_string()])
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    image
}

/// A folder that the image's user may write to, or not.
fn volume(folder: &Path, name: &str, owner: u32) -> String {
    let data = folder.join(name);
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(owner), Some(owner)).unwrap();
    format!("{}:/data", data.display())
}

fn ids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs a Docker engine: scripts/test docker"]
fn the_image_receives_and_records_events_as_nobody_in_particular() {
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let image = build(&context, "works");
    let user = docker(&["image", "inspect", "--format", "{{.Config.User}}", &image.0]);
    assert_eq!(user, "65532");

    let data = volume(folder.path(), "data", 65532);
    let of = |more: &[&'static str]| -> Vec<String> {
        let known = ["run", "--env", "DORAINFRA_WEBHOOK_SECRET", "--volume", &data, "--read-only"];
        known.iter().chain(more).map(|word| (*word).to_owned()).chain([image.0.clone()]).collect()
    };
    let run_it = |more: &[&'static str], command: &[&str]| {
        let words = of(more);
        let words: Vec<&str> = words.iter().map(String::as_str).chain(command.iter().copied()).collect();
        docker(&words)
    };
    // The image's own command receives.
    let receiver = run_it(&["--detach", "--cap-drop", "ALL", "--publish", "127.0.0.1::8085"], &[]);
    let address = docker(&["port", &receiver, "8085/tcp"]);
    let url = format!("http://{}/", address.lines().next().unwrap());
    let health = format!("{url}healthz");
    let again = ["--retry", "60", "--retry-delay", "1", "--retry-max-time", "60", "--retry-all-errors"];
    let ready = run("curl", &[&["-sS", "--fail", "--max-time", "5", &health][..], &again].concat());
    assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stderr));
    let event = ["event", "deploy", "--team", "orders", "--service", "cart", "--id"];
    let sent = run(env!("CARGO_BIN_EXE_dorainfra"), &[&event[..], &["7", "--to", &url]].concat());
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    docker(&["stop", "--time", "20", &receiver]);
    let exit = docker(&["inspect", "--format", "{{.State.ExitCode}}", &receiver]);
    assert_eq!(exit, "0", "{}", String::from_utf8_lossy(&run("docker", &["logs", &receiver]).stderr));

    // Another command of it records into the same file.
    run_it(&["--rm"], &[&event[..], &["8", "--events", "/data/events.jsonl"]].concat());
    let events = folder.path().join("data/events.jsonl");
    assert_eq!(
        ids(&events),
        ["7", "8"].map(|id| format!("orders/cart@cdevents:/dorainfra/event/orders/cart/production#{id}"))
    );
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(&events).unwrap().uid(), 65532);
}

#[test]
#[ignore = "needs a Docker engine: scripts/test docker"]
fn a_volume_that_the_image_may_not_write_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let image = build(&context, "refuses");
    let data = volume(folder.path(), "data", 0);
    let output = run("docker", &["run", "--env", "DORAINFRA_WEBHOOK_SECRET", "--volume", &data, &image.0]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("/data/"), "{said}");
}
