//! What `scripts/package` makes of a program: the Debian package's contents, and that it can be used.

use std::path::Path;
use std::process::{Command, Output};

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}\n{said}\n{failed}");
    said.into_owned()
}

#[test]
fn the_debian_package_has_all_that_it_installs() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let program = env!("CARGO_BIN_EXE_dorainfra");
    // As at the time of a commit that an archive of the sources has no more.
    let said = run(Command::new(script)
        .args(["--quick", "--binary", program, "--out"])
        .arg(folder.path())
        .env("SOURCE_DATE_EPOCH", "1700000000"));
    assert!(said.contains("no image"), "a program with libraries is none for an empty image: {said}");
    let package = Path::new(said.lines().next().unwrap());
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(package));
    for file in [
        "./usr/bin/dorainfra",
        "./usr/share/man/man1/dorainfra.1.gz",
        "./usr/share/man/man1/dorainfra-sandbox-start.1.gz",
        "./usr/share/bash-completion/completions/dorainfra",
        "./usr/share/zsh/vendor-completions/_dorainfra",
        "./usr/share/fish/vendor_completions.d/dorainfra.fish",
        "./usr/share/dorainfra/schemas/dorainfra.schema.json",
        "./usr/share/doc/dorainfra/copyright",
        "./usr/share/doc/dorainfra/changelog.gz",
        "./usr/share/doc/dorainfra/docs/commands.md",
        "./usr/share/doc/dorainfra/docs/ci/github-actions.yml",
        "./usr/share/doc/dorainfra/docs/recordings/apply.svg",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(&format!(" {file}"))), "{file} is not in\n{listed}");
    }
    // Links between pages lead somewhere there, too; the site's own files are not installed.
    assert!(listed.contains("/docs/schemas -> ../../../dorainfra/schemas"), "{listed}");
    assert!(!listed.contains("book.toml") && !listed.contains("SUMMARY.md"), "{listed}");
    let foreign: Vec<&str> = listed.lines().filter(|line| !line.contains(" root/root ")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let late: Vec<&str> = listed.lines().filter(|line| !line.contains(" 2023-11-14 ")).collect();
    assert!(late.is_empty(), "{late:?}");

    let field = |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(package).arg(name));
    assert_eq!(field("Package").trim(), "dorainfra");
    assert_eq!(field("Version").trim(), env!("CARGO_PKG_VERSION"));
    let depends = field("Depends");
    assert!(depends.contains("libc6 (>= 2.") && depends.contains("ca-certificates"), "{depends}");

    let root = folder.path().join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    let version = run(Command::new(root.join("usr/bin/dorainfra")).arg("--version"));
    assert_eq!(version.trim(), concat!("dorainfra ", env!("CARGO_PKG_VERSION")));
    let page = root.join("usr/share/man/man1/dorainfra-apply.1.gz");
    let page = run(Command::new("man").arg("-l").arg(page).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8"));
    assert!(page.contains("dorainfra-apply(1)") && page.contains("--no-stack"), "{page}");
}

/// buildah over a storage of its own. Without a kernel's leave for more than a chroot, as in most
/// of the places where this runs.
struct Buildah {
    storage: tempfile::TempDir,
}

impl Buildah {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.path().join("root"));
        command.arg("--runroot").arg(self.storage.path().join("run")).args(words);
        command.env("BUILDAH_ISOLATION", "chroot");
        command
    }

    fn says(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).trim().to_owned()
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        // A mount that stayed would be in the way of the folder's end.
        for words in [["umount", "--all"], ["rm", "--all"]] {
            let _ = self.command(&words).output();
        }
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let (mut folders, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Of what `scripts/release --static` made: scripts/nightly does that first.
#[test]
#[ignore = "needs a static program and buildah; run by scripts/nightly static"]
fn the_image_of_a_static_program_has_nothing_else_and_runs() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static");
    let program = made.join("dorainfra");
    let libraries = run(Command::new("readelf").arg("--dynamic").arg(&program));
    assert!(!libraries.contains("(NEEDED)") && !libraries.contains("(INTERP)"), "{libraries}");
    let package = run(Command::new("dpkg-deb").arg("--field").arg({
        let mut found = std::fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.extension().is_some_and(|extension| extension == "deb")).unwrap()
    }));
    assert!(package.contains("\nDepends: ca-certificates\n"), "{package}");

    let buildah = Buildah { storage: tempfile::tempdir().unwrap() };
    let image = buildah.says(&["build", "--quiet", made.join("image").to_str().unwrap()]);
    let container = buildah.says(&["from", "--pull-never", &image]);
    let config: serde_json::Value =
        serde_json::from_str(&buildah.says(&["inspect", "--type", "image", &image])).unwrap();
    let config = &config["OCIv1"]["config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/dorainfra"]), "{config}");
    assert_eq!(config["WorkingDir"], "/work", "{config}");
    let root = buildah.says(&["mount", &container]);
    assert_eq!(files_below(Path::new(&root)), ["etc/ssl/certs/ca-certificates.crt", "usr/bin/dorainfra"]);
    buildah.says(&["umount", &container]);

    // What a person mounts there.
    let work = tempfile::tempdir().unwrap();
    let volume = format!("{}:/work", work.path().display());
    let dorainfra = |words: &[&str]| {
        let run = ["run", "--volume", &volume, &container, "--", "/usr/bin/dorainfra"];
        buildah.says(&[&run, words].concat())
    };
    assert_eq!(dorainfra(&["--version"]), concat!("dorainfra ", env!("CARGO_PKG_VERSION")));
    assert!(dorainfra(&["explain", "mimir.disk_gb"]).contains("mimir.disk_gb"));
    std::fs::write(work.path().join("dorainfra.yaml"), "project: demo-project\n").unwrap();
    dorainfra(&["--set", "access.allow=203.0.113.0/24", "render", "--out", "rendered"]);
    let rendered = files_below(&work.path().join("rendered"));
    assert!(rendered.iter().any(|file| file.contains("startup")), "{rendered:?}");
    // Certificates of authorities are found, and so is that nobody has signed in.
    let mut refused =
        buildah.command(&["run", "--volume", &volume, &container, "--", "/usr/bin/dorainfra", "plan"]);
    let Output { status, stderr, .. } = refused.output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && said.contains("no Google credentials"), "{said}");
}

/// The example is what people copy.
#[test]
fn the_example_for_github_actions_is_a_workflow_of_commands_that_exist() {
    use clap::CommandFactory as _;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci/github-actions.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["apply", "plan", "publish"]);
    let mut commands = 0;
    let steps = jobs.values().flat_map(|job| job["steps"].as_array().unwrap());
    for line in steps.filter_map(|step| step["run"].as_str()).flat_map(str::lines) {
        let Some(call) = line.trim().strip_prefix("dorainfra ") else { continue };
        let words = call.split([' ', '>']).take_while(|word| *word != "2");
        let words: Vec<&str> = words.filter(|word| !word.is_empty() && *word != "plan.txt").collect();
        let parsed =
            dorainfra::commands::Cli::command().try_get_matches_from(["dorainfra"].iter().chain(&words));
        assert!(parsed.is_ok(), "{call}: {parsed:?}");
        commands += 1;
    }
    assert_eq!(commands, 4);
    // A pull request can't change anything: another account, and only the reading command.
    assert!(!jobs["plan"].to_string().contains("GCP_APPLIER"));
    assert!(!jobs["plan"].to_string().contains("dorainfra apply"));
}
