//! What the program is made of: the bill of materials that users get, advisories about it, and that
//! a check which could not be made is no pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.current_dir(root()).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

fn bill() -> String {
    let mut command = Command::new(root().join("scripts/sbom"));
    let (output, said) = run(command.arg(PLATFORM).env("SOURCE_DATE_EPOCH", "1767225600"));
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// By name and version, the checksum in Cargo.lock.
fn locked() -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let value = |package: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = package.lines().find_map(|line| line.strip_prefix(&start));
        line.map(|value| value.trim_end_matches('"').to_owned())
    };
    let packages = text.split("[[package]]").skip(1);
    packages
        .filter_map(|package| {
            let crate_of = (value(package, "name")?, value(package, "version")?);
            Some((crate_of, value(package, "checksum")?))
        })
        .collect()
}

/// All of the crates that Cargo links into the program, and no other: with the features and the
/// platform of a release build, without what runs at build time or in tests only. That the build
/// compiles just these is checked by `scripts/release`.
#[test]
fn the_bill_of_materials_has_each_crate_of_the_program_and_no_other() {
    let bill: Value = serde_json::from_str(&bill()).unwrap();
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    assert_eq!(bill["metadata"]["component"]["name"], "dorainfra");
    assert_eq!(bill["metadata"]["timestamp"], "2026-01-01T00:00:00Z");
    let checksums = locked();
    let mut listed = BTreeSet::new();
    for component in bill["components"].as_array().unwrap() {
        let text =
            |key: &str| component[key].as_str().unwrap_or_else(|| panic!("no {key}: {component}")).to_owned();
        let crate_of = (text("name"), text("version"));
        assert_eq!(text("purl"), format!("pkg:cargo/{}@{}", crate_of.0, crate_of.1));
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
        assert_eq!(component["hashes"][0]["alg"], "SHA-256");
        assert_eq!(
            component["hashes"][0]["content"].as_str(),
            checksums.get(&crate_of).map(String::as_str),
            "{crate_of:?}"
        );
        assert!(listed.insert(crate_of), "twice: {component}");
    }
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--package",
        "dorainfra",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--target",
        PLATFORM,
    ]);
    let (output, said) = run(tree.args(["--edges", "normal,no-proc-macro"]));
    assert!(output.status.success(), "{said}");
    let linked: BTreeSet<(String, String)> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
        .filter(|(name, _)| !name.starts_with("dorainfra"))
        .collect();
    assert_eq!(listed, linked);
    // What is there for tests, for other systems, or at build time only.
    for absent in ["insta", "proptest", "criterion", "windows-sys", "serde_derive", "syn", "cc"] {
        assert!(!listed.iter().any(|(name, _)| name == absent), "{absent}");
    }
    assert!(listed.iter().any(|(name, _)| name == "rustls") && listed.len() > 200, "{}", listed.len());
    // Whatever needs something names what is listed.
    let references: BTreeSet<&str> =
        bill["dependencies"].as_array().unwrap().iter().map(|one| one["ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), listed.len() + 1);
    for one in bill["dependencies"].as_array().unwrap() {
        for needed in one["dependsOn"].as_array().unwrap() {
            assert!(references.contains(needed.as_str().unwrap()), "{needed}");
        }
    }
}

#[test]
fn the_bill_of_materials_is_the_same_everywhere() {
    let first = bill();
    assert_eq!(first, bill());
    assert!(!first.contains(&*root().to_string_lossy()), "a path of this machine");
}

/// A build that compiled something else than what is listed has no bill.
#[test]
fn a_build_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let messages = folder.path().join("messages");
    let file = format!("/there/target/{PLATFORM}/release/deps/libevil.rlib");
    let artifact = serde_json::json!({
        "reason": "compiler-artifact",
        "package_id": "registry+https://github.com/rust-lang/crates.io-index#evil@6.6.6",
        "filenames": [file],
    });
    std::fs::write(&messages, artifact.to_string()).unwrap();
    let mut command = Command::new(root().join("scripts/sbom"));
    let (output, said) = run(command.arg(PLATFORM).arg("--built").arg(&messages));
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.contains("('evil', '6.6.6')") && said.contains("'rustls'"), "{said}");
}

fn advisories(database: Option<&Path>) -> (Option<i32>, String) {
    let mut command = Command::new(root().join("scripts/check-dependencies"));
    command.arg("--advisories").env_remove("ADVISORIES");
    if let Some(database) = database {
        command.env("ADVISORIES", database);
    }
    let (output, said) = run(&mut command);
    (output.status.code(), said)
}

#[test]
fn advisories_that_can_not_be_checked_are_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = advisories(Some(folder.path()));
    assert!(code == Some(1) && said.contains("holds no advisory-db"), "{said}");
    // As on a machine without the program: its own folder of tools is another one.
    let scripts = folder.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let script = scripts.join("check-dependencies");
    std::fs::copy(root().join("scripts/check-dependencies"), &script).unwrap();
    let mut command = Command::new(script);
    command.arg("--advisories").env("PATH", "/usr/bin:/bin").env_remove("ADVISORIES");
    let (output, said) = run(&mut command);
    assert!(output.status.code() == Some(77) && said.contains("NOT CHECKED"), "{said}");
}

/// With a database of one advisory, about a crate that we have.
#[test]
#[ignore = "needs cargo-audit: scripts/nightly advisories"]
fn an_advisory_about_one_of_our_crates_fails() {
    let (name, version) = locked().into_keys().find(|(name, _)| name == "serde").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let of = folder.path().join("crates").join(&name);
    std::fs::create_dir_all(&of).unwrap();
    std::fs::create_dir_all(folder.path().join("rust")).unwrap();
    let advise = |patched: &str| {
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2099-0001\"\npackage = \"{name}\"\ndate = \"2099-01-01\"\n\n\
             [versions]\npatched = [\"{patched}\"]\n```\n\n# Made up\n\nFor a test.\n"
        );
        std::fs::write(of.join("RUSTSEC-2099-0001.md"), text).unwrap();
        advisories(Some(folder.path()))
    };
    let (code, said) = advise(">= 99.0.0");
    assert!(code == Some(1) && said.contains("RUSTSEC-2099-0001") && said.contains(&version), "{said}");
    let (code, said) = advise(&format!(">= {version}"));
    assert!(code == Some(0) && said.contains("advisories: none"), "{said}");
}

/// A program with a macro of its own, as a repository with the scripts of this one.
fn program_with_a_macro(folder: &Path) {
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"dorainfra\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\n\
             [workspace]\n[dependencies]\nmade = { path = \"made\" }\n",
        ),
        ("src/lib.rs", "#[derive(made::Answer)]\npub struct Question;\n"),
        ("src/main.rs", "fn main() {\n    println!(\"{}\", dorainfra::Question::answer());\n}\n"),
        (
            "made/Cargo.toml",
            "[package]\nname = \"made\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\n\
             [lib]\nproc-macro = true\n",
        ),
        (
            "made/src/lib.rs",
            "#[proc_macro_derive(Answer)]\npub fn answer(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
             \"impl Question { pub fn answer() -> u8 { 42 } }\".parse().unwrap()\n}\n",
        ),
        (".gitignore", "/target\n"),
    ];
    for (name, text) in files {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    std::fs::create_dir(folder.join("scripts")).unwrap();
    for script in ["release", "rustc-remapped", "sbom"] {
        std::fs::copy(root().join("scripts").join(script), folder.join("scripts").join(script)).unwrap();
    }
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
    for command in [
        Command::new("cargo").args(["generate-lockfile", "--offline"]),
        Command::new("git").args(["init", "--quiet"]),
        Command::new("git").args(["add", "."]),
        Command::new("git").args(identity).args(["commit", "--quiet", "--message", "all"]),
    ] {
        let done = command.current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A macro runs while the program is built, so Cargo compiles it with other flags; no path may get into the
/// crates that use it either.
#[test]
fn a_commit_gives_the_same_bytes_again_also_where_it_uses_a_macro() {
    let folder = tempfile::tempdir().unwrap();
    let sources = folder.path().join("sources");
    std::fs::create_dir(&sources).unwrap();
    program_with_a_macro(&sources);
    let place = folder.path().join("place");
    let release = |arguments: &[&str]| {
        let mut command = Command::new(sources.join("scripts/release"));
        let done = command.args(arguments).env("RELEASE_PLACE", &place).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.success(), said)
    };
    let (ok, said) = release(&["--twice"]);
    assert!(ok && said.contains("the same bytes") && !place.exists(), "{said}");
    // Where somebody builds already, or has put something, nothing is built.
    std::fs::create_dir(&place).unwrap();
    let (ok, said) = release(&["--twice"]);
    assert!(!ok && said.contains("another build is under way") && place.exists(), "{said}");
}
