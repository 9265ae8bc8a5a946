//! `collect git` against counts that git itself gives: of a repository that the
//! test makes, of this project's own, and of a large one that the machine has.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dorainfra_dora::events::{Deployment, Event, Kind, read};

/// What git prints; `None`: it refuses, or isn't there.
fn git(repository: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(repository).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn number(repository: &Path, arguments: &[&str]) -> usize {
    git(repository, arguments).unwrap().parse().unwrap()
}

/// The events that `dorainfra collect git` writes.
fn collect(repository: &Path, arguments: &[&str]) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    // Two processes, two files: the same bytes.
    let [text, again] = ["out.jsonl", "again.jsonl"].map(|file| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", file, "git"]).arg(repository);
        command.args(["--team", "t", "--service", "s"]).args(arguments).assert().success();
        std::fs::read(folder.path().join(file)).unwrap()
    });
    assert_eq!(text, again);
    read(text.as_slice()).collect::<Result<_, _>>().unwrap()
}

fn deployments(events: &[Event]) -> Vec<&Deployment> {
    let deployments = events.iter().filter_map(|event| match event {
        Event::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    deployments.collect()
}

/// When each change was written, by its hash.
fn changes(events: &[Event]) -> BTreeMap<String, i64> {
    let changes = events.iter().filter_map(|event| match event {
        Event::Change(change) => Some((change.id.replace("t/s@", ""), change.at.unix_timestamp())),
        _ => None,
    });
    changes.collect()
}

/// Why a repository can't be counted, if so.
fn unusable(repository: &Path) -> Option<String> {
    let Some(shallow) = git(repository, &["rev-parse", "--is-shallow-repository"]) else {
        return Some("it is no git repository, or there is no git".into());
    };
    (shallow == "true").then(|| "it is a shallow clone".into())
}

/// Compares tags as deployments with what git counts.
fn compare_tags(repository: &Path, pattern: &str) -> usize {
    let events = collect(repository, &["--tags", pattern]);
    let deployed = deployments(&events);
    // `creatordate` is the tag's own time, or its commit's.
    let format = "--format=%(creatordate:unix) %(refname:strip=2)";
    let listed = git(repository, &["tag", "--list", pattern, format]).unwrap();
    let mut tags: Vec<(i64, &str)> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(time, tag)| (time.parse().unwrap(), tag))
        .collect();
    tags.sort_unstable();
    let found: Vec<(i64, String)> =
        deployed.iter().map(|one| (one.at.unix_timestamp(), one.id.replace("t/s@", ""))).collect();
    let expected: Vec<(i64, String)> = tags.iter().map(|(time, tag)| (*time, (*tag).to_owned())).collect();
    assert_eq!(found, expected);

    // All commits that are in any of them and are no merges, once.
    let refs: Vec<String> = tags.iter().map(|(_, tag)| format!("refs/tags/{tag}")).collect();
    let all: Vec<&str> = refs.iter().map(String::as_str).collect();
    let with = |first: &[&'static str], refs: &[&str]| -> Vec<String> {
        first.iter().chain(refs).map(|argument| (*argument).to_owned()).collect()
    };
    let run = |arguments: Vec<String>| {
        git(repository, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let total: usize = run(with(&["rev-list", "--count", "--no-merges"], &all)).parse().unwrap();
    assert_eq!(deployed.iter().map(|one| one.changes.len()).sum::<usize>(), total);

    // A sample of them: what each brought, and for how long that had waited.
    let written = changes(&events);
    for index in [1, tags.len() / 2, tags.len() - 1] {
        let mut range = vec![all[index], "--not"];
        range.extend(&all[..index]);
        let lines = run(with(&["log", "--no-merges", "--format=%H %at %ct %s"], &range));
        let mut expected: Vec<(String, Option<i64>)> = lines
            .lines()
            .map(|line| {
                let [hash, written, landed, title] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                // A squashed request has the time of its landing.
                let squashed = written == landed && title.ends_with(')') && title.contains(" (#");
                (hash.to_owned(), (!squashed).then(|| written.parse().unwrap()))
            })
            .collect();
        let mut found: Vec<(String, Option<i64>)> = deployed[index]
            .changes
            .iter()
            .map(|id| id.replace("t/s@", ""))
            .map(|hash| (hash.clone(), written.get(&hash).copied()))
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{}", tags[index].1);
    }
    tags.len()
}

#[test]
fn this_projects_own_history_gives_the_numbers_that_git_counts() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(reason) = unusable(own) {
        eprintln!("skipped: this project's own repository can't be counted: {reason}");
        return;
    }
    let events = collect(own, &["--branch", "HEAD"]);
    let deployed = deployments(&events);
    assert_eq!(deployed.len(), number(own, &["rev-list", "--first-parent", "--count", "HEAD"]));
    let brought: usize = deployed.iter().map(|one| one.changes.len()).sum();
    assert_eq!(brought, number(own, &["rev-list", "--no-merges", "--count", "HEAD"]));
    let written = changes(&events);
    let line = git(own, &["rev-list", "--first-parent", "HEAD"]).unwrap();
    let line: std::collections::BTreeSet<&str> = line.lines().collect();
    for commit in git(own, &["log", "--no-merges", "--format=%H %at %ct", "HEAD"]).unwrap().lines() {
        let [hash, time, landed] = commit.split(' ').collect::<Vec<_>>()[..] else { panic!("{commit}") };
        // What was written on the branch itself is deployed in that moment: no lead time.
        let known = time != landed || !line.contains(hash);
        assert_eq!(written.get(hash).copied(), known.then(|| time.parse::<i64>().unwrap()), "{hash}");
    }
    // What the last merge brought, and when it landed.
    if let Some(merge) = git(own, &["log", "--first-parent", "--merges", "-1", "--format=%H", "HEAD"])
        .filter(|it| !it.is_empty())
    {
        let deployment = deployed.iter().find(|one| one.id == format!("t/s@{merge}")).unwrap();
        let range = format!("{merge}^1..{merge}");
        assert_eq!(deployment.changes.len(), number(own, &["rev-list", "--no-merges", "--count", &range]));
        let landed = git(own, &["show", "-s", "--format=%ct", &merge]).unwrap();
        assert_eq!(deployment.at.unix_timestamp(), landed.parse::<i64>().unwrap());
    }
}

/// Repositories with a whole history and tags that the machine may have: of
/// `LARGE_GIT_REPOSITORY`, of cargo, and in the home folder.
fn large() -> Option<(PathBuf, String)> {
    #[expect(clippy::disallowed_methods, reason = "where the machine's repositories are")]
    let variable = |name: &str| std::env::var(name).ok();
    let home = PathBuf::from(variable("HOME").unwrap_or_default());
    let cargo = variable("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let inside = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut candidates: Vec<PathBuf> =
        variable("LARGE_GIT_REPOSITORY").into_iter().map(PathBuf::from).collect();
    candidates.extend(inside(cargo.join("git/db")));
    candidates.extend(inside(home).into_iter().filter(|path| path.join(".git").exists()));
    candidates.into_iter().find_map(|path| {
        let many = git(&path, &["rev-list", "--all", "--count"])?.parse::<usize>().ok()? > 1000;
        let pattern = ["v*", "*"].into_iter().find(|pattern| {
            git(&path, &["tag", "--list", pattern]).is_some_and(|tags| tags.lines().count() > 5)
        })?;
        (many && unusable(&path).is_none()).then(|| (path, pattern.to_owned()))
    })
}

#[test]
fn a_large_repository_gives_the_numbers_that_git_counts() {
    let Some((repository, pattern)) = large() else {
        eprintln!(
            "skipped: no repository with more than 1,000 commits and 5 tags was found; \
             LARGE_GIT_REPOSITORY names one"
        );
        return;
    };
    let tags = compare_tags(&repository, &pattern);
    eprintln!("{tags} tags of {} compared", repository.display());
}

/// A repository whose every commit has a time of its own.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Option<Self> {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        git(made.folder.path(), &["init", "-q", "-b", "main"])?;
        Some(made)
    }

    fn run(&self, hour: i64, arguments: &[&str]) -> String {
        let time = format!("{} +0100", 1_772_456_400 + hour * 3600);
        let output = Command::new("git")
            .arg("-C")
            .arg(self.folder.path())
            .args(["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"])
            .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"])
            .args(arguments)
            .env("GIT_AUTHOR_DATE", &time)
            .env("GIT_COMMITTER_DATE", &time)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit that changes one file.
    fn change(&self, hour: i64, file: &str) -> String {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, hour.to_string()).unwrap();
        self.run(hour, &["add", "."]);
        self.commit(hour, file)
    }

    fn commit(&self, hour: i64, message: &str) -> String {
        self.run(hour, &["commit", "-q", "--allow-empty", "-m", message]);
        self.run(hour, &["rev-parse", "HEAD"])
    }
}

#[test]
fn tags_reverts_and_hotfixes_are_judged() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    let bad = made.commit(0, "Add a cart");
    made.run(1, &["tag", "-a", "v1.0", "-m", "one"]);
    made.commit(2, "Add a list");
    made.run(3, &["tag", "v1.1"]);
    made.commit(5, &format!("Revert \"Add a cart\"\n\nThis reverts commit {bad}."));
    made.run(6, &["tag", "-a", "v1.1.1", "-m", "mended"]);
    made.run(6, &["tag", "nightly"]);
    made.commit(7, "HOTFIX: the list is empty");
    made.run(8, &["tag", "v1.1.2"]);
    let events = collect(made.folder.path(), &[]);
    let kinds: Vec<(String, Kind, usize)> = deployments(&events)
        .into_iter()
        .map(|one| (one.id.replace("t/s@", ""), one.kind, one.changes.len()))
        .collect();
    let expected = [
        ("v1.0", Kind::Planned, 1),
        ("v1.1", Kind::Planned, 1),
        ("v1.1.1", Kind::Rework, 1),
        ("v1.1.2", Kind::Rework, 1),
    ];
    assert_eq!(kinds, expected.map(|(id, kind, changes)| (id.to_owned(), kind, changes)));
    let failures: Vec<(String, i64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Failure(failure) => {
                let hour = (failure.at.unix_timestamp() - 1_772_456_400) / 3600;
                Some((failure.deployment.clone().unwrap().replace("t/s@", ""), hour))
            }
            _ => None,
        })
        .collect();
    // The revert blames what brought the cart, the hotfix what ran before it.
    assert_eq!(failures, [("v1.0".to_owned(), 5), ("v1.1.1".to_owned(), 7)]);
    assert_eq!(compare_tags(made.folder.path(), "v*"), 4);

    // Other patterns classify otherwise.
    let events = collect(made.folder.path(), &["--hotfix", "nothing", "--revert", "nothing"]);
    let reworks = deployments(&events).into_iter().filter(|one| one.kind == Kind::Rework).count();
    assert_eq!(reworks, 1, "what takes back a commit by its hash is told without a pattern");
}

/// By tag, what each deployment brought.
fn brought(events: &[Event]) -> Vec<(String, usize)> {
    deployments(events).into_iter().map(|one| (one.id.replace("t/s@", ""), one.changes.len())).collect()
}

#[test]
fn an_older_line_brings_what_is_its_own_and_prereleases_bring_nothing() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    let expected = |all: &[(&str, usize)]| -> Vec<(String, usize)> {
        all.iter().map(|(tag, changes)| ((*tag).to_owned(), *changes)).collect()
    };
    made.commit(0, "One");
    made.run(1, &["tag", "v1.9.0"]);
    made.run(1, &["branch", "line"]);
    made.commit(2, "Two");
    made.run(3, &["tag", "-a", "v2.0.0-rc.1", "-m", "rc"]);
    made.commit(4, "Three");
    made.run(5, &["tag", "v2.0.0"]);
    // Moved with each release.
    made.run(5, &["tag", "-a", "v2", "-m", "v2"]);
    made.run(5, &["tag", "v2-latest"]);
    made.run(6, &["checkout", "-q", "line"]);
    made.commit(7, "Mend one");
    made.commit(8, "Hotfix: mend two");
    made.run(9, &["tag", "v1.9.1"]);
    let events = collect(made.folder.path(), &[]);
    assert_eq!(brought(&events), expected(&[("v1.9.0", 1), ("v2.0.0", 2), ("v1.9.1", 2)]));
    let failed = events.iter().find_map(|event| match event {
        Event::Failure(failure) => failure.deployment.clone(),
        _ => None,
    });
    assert_eq!(failed.as_deref(), Some("t/s@v1.9.0"), "v2.0.0 is of another line");
    // Whoever wants them has them.
    let all = brought(&collect(made.folder.path(), &["--exclude", "*-latest"]));
    let tags: Vec<&str> = all.iter().map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(tags, ["v1.9.0", "v2.0.0-rc.1", "v2.0.0", "v2", "v1.9.1"]);
}

#[test]
fn what_is_left_out_is_named_with_what_counts_it() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.commit(0, "One");
    made.run(0, &["tag", "v1.0.0-rc.1"]);
    let said = |code: i32| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", "out.jsonl", "git"]);
        let said = command.arg(made.folder.path()).assert().code(code);
        String::from_utf8_lossy(&said.get_output().stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let all = said(1);
    assert!(all.contains("v1.0.0-rc.1") && all.contains("`exclude: []` counts all"), "{all}");
    for tag in ["v1.0.0", "v1.0", "v3.5a", "v2024a", "v2026-03-02b", "v4.3-stable"] {
        made.run(1, &["tag", tag]);
        made.commit(2, tag);
    }
    made.run(1, &["tag", "v1", "v1.0.0"]);
    let some = said(0);
    assert!(some.contains("2 tags left out: v1.0.0-rc.1, v1; `exclude: []` counts them"), "{some}");
    let tags: Vec<String> =
        brought(&collect(made.folder.path(), &[])).into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["v1.0.0", "v1.0", "v2024a", "v2026-03-02b", "v3.5a", "v4.3-stable"]);
}

#[test]
fn a_commit_of_a_monorepo_belongs_to_the_services_whose_paths_it_touches() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.change(0, "cart/main.py");
    made.change(1, "list/main.py");
    made.change(2, "proto/list.proto");
    made.run(3, &["tag", "v1"]);
    made.run(4, &["checkout", "-q", "-b", "side"]);
    made.change(5, "list/more.py");
    made.run(6, &["checkout", "-q", "main"]);
    made.change(7, "cart/more.py");
    made.run(8, &["merge", "-q", "--no-edit", "side"]);
    made.run(9, &["tag", "v3"]);
    let of = |paths: &[&str]| {
        let arguments: Vec<&str> = paths.iter().flat_map(|path| ["--paths", *path]).collect();
        brought(&collect(made.folder.path(), &arguments)).into_iter().map(|(_, changes)| changes).collect()
    };
    let counted: [Vec<usize>; 4] = [of(&[]), of(&["cart"]), of(&["list", "proto"]), of(&["cart/main.py"])];
    assert_eq!(counted, [vec![3, 2], vec![1, 1], vec![2, 1], vec![1, 0]]);
    // Only what lands for a service is a deployment of it.
    let landed = collect(made.folder.path(), &["--branch", "main", "--paths", "list"]);
    assert_eq!(deployments(&landed).len(), 2, "its own commit, and the merge");
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command.current_dir(made.folder.path());
    command.args(["collect", "--events", "out.jsonl", "git", ".", "--paths", "../other"]).assert().code(3);
}

/// One project of 2,963 changes had a median lead time of 0 s.
#[test]
fn squashed_requests_have_no_lead_time() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.commit(0, "Add a cart (#1)");
    let plain = made.commit(1, "Add a list");
    made.run(2, &["tag", "v1.0"]);
    let events = collect(made.folder.path(), &[]);
    assert_eq!(changes(&events).into_keys().collect::<Vec<_>>(), [plain], "only what was written has a time");
    assert_eq!(deployments(&events)[0].changes.len(), 2);
    // Where each commit on the branch is a deployment, none of these has.
    let events = collect(made.folder.path(), &["--branch", "main"]);
    assert!(changes(&events).is_empty());
    let folder = tempfile::tempdir().unwrap();
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command.current_dir(folder.path()).args(["collect", "--events", "out.jsonl", "git"]);
    let said = command.arg(made.folder.path()).assert().success();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("of 1 of 2 changes") && said.contains("lead time is unknown"), "{said}");
}

#[test]
fn what_is_no_repository_and_what_was_cut_off_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |repository: &Path, arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", "out.jsonl", "git"]).arg(repository);
        let said = command.args(arguments).assert().code(1);
        String::from_utf8_lossy(&said.get_output().stderr).into_owned()
    };
    let said = refused(folder.path(), &[]);
    assert!(said.contains("can't be read as a git repository") && said.contains(".git"), "{said}");
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.commit(0, "One");
    made.commit(1, "Two");
    let said = refused(made.folder.path(), &[]);
    assert!(said.contains("no tag matches"), "{said}");
    let said = refused(made.folder.path(), &["--branch", "nowhere"]);
    assert!(said.contains("nowhere") && said.contains("name a branch"), "{said}");
    // A tag of a branch's name is not the branch.
    made.run(1, &["tag", "main", "HEAD~1"]);
    assert_eq!(deployments(&collect(made.folder.path(), &["--branch", "main"])).len(), 2);
    made.run(1, &["tag", "-d", "main"]);
    for (name, argument) in [("sha256", "--object-format=sha256"), ("reftable", "-q")] {
        let path = folder.path().join(name);
        made.run(1, &["init", "-q", argument, path.to_str().unwrap()]);
        if name == "reftable" {
            // As a newer git writes it.
            let config = path.join(".git/config");
            let text = std::fs::read_to_string(&config).unwrap();
            std::fs::write(&config, text + "[extensions]\n\trefStorage = reftable\n").unwrap();
        }
        let said = refused(&path, &[]);
        assert!(said.contains(name) && said.contains("not read yet"), "{said}");
    }
    let shallow = folder.path().join("shallow");
    let url = format!("file://{}", made.folder.path().display());
    made.run(2, &["clone", "-q", "--depth", "1", &url, shallow.to_str().unwrap()]);
    let said = refused(&shallow, &["--branch", "main"]);
    assert!(said.contains("shallow") && said.contains("--unshallow"), "{said}");
}

/// Collects what `sources` of a configuration say; answers the result and all ids.
fn collect_configured(folder: &Path, sources: &str) -> (serde_json::Value, Vec<String>) {
    std::fs::write(folder.join("dorainfra.yaml"), format!("project: my-gcp\nsources:\n{sources}")).unwrap();
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    command.current_dir(folder).args(["--json", "collect", "--events", "events.jsonl"]);
    let output = command.assert().success().get_output().stdout.clone();
    let lines = String::from_utf8(output).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let result = lines.rev().find(|line| line["type"] == "result").unwrap()["result"].clone();
    let text = std::fs::read(folder.join("events.jsonl")).unwrap();
    let events = read(text.as_slice()).map(Result::unwrap);
    (result, events.map(|event| event.order().2.to_owned()).collect())
}

/// Every name that a source's events have may change, and each thing is there once all the same.
#[test]
fn what_a_source_made_goes_when_its_owner_has_another_name() {
    let Some(made) = Made::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    for hour in 1..4 {
        made.change(hour, "a");
        made.run(hour, &["tag", &format!("v1.0.{hour}")]);
    }
    let path = made.folder.path().display();
    let source = |owner: &str| format!("  - {{type: git, path: {path}, {owner}}}\n");
    let count = |ids: &[String], prefix: &str| ids.iter().filter(|id| id.starts_with(prefix)).count();
    let (_, ids) = collect_configured(folder.path(), &source("team: x1, service: s"));
    assert_eq!((ids.len(), count(&ids, "x1/s@")), (6, 6));
    for (owner, prefix) in [
        ("team: x2, service: s", "x2/s@"),
        ("team: x2, service: t", "x2/t@"),
        ("team: x2, service: t, environment: live", "x2/t@"),
        ("team: x1, service: s", "x1/s@"),
    ] {
        let (_, ids) = collect_configured(folder.path(), &source(owner));
        assert_eq!((ids.len(), count(&ids, prefix)), (6, 6), "{owner}: {ids:?}");
        // And from then on nothing changes.
        let (result, _) = collect_configured(folder.path(), &source(owner));
        assert_eq!(result["removed"].as_u64().unwrap() + result["added"].as_u64().unwrap(), 0, "{owner}");
    }
    // Two services that are read from one repository, and exchange their names.
    let both = |one: &str, two: &str| {
        source(&format!("tags: \"v*\", team: {one}, service: s"))
            + &source(&format!("team: {two}, service: s"))
    };
    for (one, two) in [("x1", "x2"), ("x2", "x1"), ("x2", "x3")] {
        let (_, ids) = collect_configured(folder.path(), &both(one, two));
        let found = (ids.len(), count(&ids, &format!("{one}/")), count(&ids, &format!("{two}/")));
        assert_eq!(found, (12, 6, 6), "{one} {two}");
    }
}

/// What is read in another way and has another owner at once is still the same repository.
#[test]
fn what_is_read_may_change_together_with_its_owner() {
    let Some(made) = Made::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (hour, tag) in [(1, "v1.0.1"), (2, "web-1"), (3, "v1.0.2")] {
        made.change(hour, "a");
        made.run(hour, &["tag", tag]);
    }
    let path = made.folder.path().display();
    let source = |how: &str| format!("  - {{type: git, path: {path}, {how}}}\n");
    let owners = |ids: &[String]| {
        let owners = ids.iter().filter_map(|id| id.split_once('@')).map(|(owner, _)| owner.to_owned());
        owners.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let all = |sources: &[&str]| {
        let sources: String = sources.iter().map(|how| source(how)).collect();
        let (_, ids) = collect_configured(folder.path(), &sources);
        // And from then on nothing changes.
        let (result, again) = collect_configured(folder.path(), &sources);
        assert_eq!((result["removed"].as_u64(), result["added"].as_u64()), (Some(0), Some(0)), "{sources}");
        assert_eq!(again, ids);
        owners(&ids)
    };
    assert_eq!(all(&["tags: \"v*\", team: x1, service: s"]), ["x1/s"]);
    assert_eq!(all(&["branch: main, team: x2, service: t"]), ["x2/t"]);
    // A second service of it is another one.
    let (first, second) = ("branch: main, team: x2, service: t", "tags: \"web-*\", team: x2, service: web");
    assert_eq!(all(&[first, second]), ["x2/t", "x2/web"]);
    assert_eq!(
        all(&["tags: \"v*\", team: x3, service: t", "tags: \"w*\", team: x3, service: web"]),
        ["x3/t", "x3/web"]
    );
    // What is read no more keeps what it told: it is nobody else's now.
    assert_eq!(all(&["tags: \"v*\", team: x3, service: t"]), ["x3/t", "x3/web"]);
    // Two by hand, one after the other, are two.
    let run = |how: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", "hand.jsonl", "git"]);
        command.arg(made.folder.path()).args(how).assert().success();
    };
    run(&["--tags", "v*", "--team", "h", "--service", "one"]);
    run(&["--tags", "web-*", "--team", "h", "--service", "two"]);
    let text = std::fs::read(folder.path().join("hand.jsonl")).unwrap();
    let ids: Vec<String> = read(text.as_slice()).map(|event| event.unwrap().order().2.to_owned()).collect();
    assert_eq!(owners(&ids), ["h/one", "h/two"]);
}

/// A source that can't be read is named, and no reason not to read the others.
#[test]
fn one_source_that_fails_keeps_no_other_from_being_read() {
    let Some(made) = Made::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    made.change(1, "a");
    made.run(1, &["tag", "v1.0.0"]);
    let path = made.folder.path().display();
    let row = "{\"type\":\"failure\",\"id\":\"i\",\"team\":\"t\",\"service\":\"s\",\"at\":\"2026-03-21T21:00:00Z\"}\n";
    std::fs::write(folder.path().join("good.jsonl"), row).unwrap();
    let run = |sources: &str, code: i32| {
        let configuration = format!("project: my-gcp\nsources:\n{sources}");
        std::fs::write(folder.path().join("dorainfra.yaml"), configuration).unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["--json", "collect", "--events", "events.jsonl"]);
        let output = command.assert().code(code).get_output().stdout.clone();
        let lines = String::from_utf8(output).unwrap();
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let sources = format!(
        "  - {{type: file, path: missing.csv}}\n  - {{type: git, path: {path}, team: t, service: s}}\n\
         \x20 - {{type: git, path: ., team_from: codeowners}}\n  - {{type: file, path: good.jsonl}}\n"
    );
    let lines = run(&sources, 1);
    let of = |what: &str| lines.iter().filter(|line| line["type"] == what).cloned().collect::<Vec<_>>();
    let warned = of("warning");
    let said = |words: &str| {
        let found = warned.iter().find(|one| one["message"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("{words}: {lines:?}"))["hint"].is_string()
    };
    assert!(said("file missing.csv: ") && said("git .: "), "each has a hint: {warned:?}");
    let result = &of("result")[0]["result"];
    assert_eq!(result["failed"], serde_json::json!(["git .", "file missing.csv"]), "{result}");
    assert_eq!((result["added"].as_u64(), result["sources"].as_array().map(Vec::len)), (Some(3), Some(2)));
    let error = &of("error")[0];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("2 of 4 sources") && message.contains("file missing.csv"), "{error}");
    assert!(error["hints"][0].as_str().unwrap().contains("run the same command again"), "{error}");
    // Of a single one its own error says it.
    let lines = run("  - {type: file, path: missing.csv}\n", 1);
    let errors: Vec<_> = lines.iter().filter(|line| line["type"] == "error").collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    assert!(errors[0]["message"].as_str().unwrap().contains("missing.csv can't be read"), "{lines:?}");
}

/// As docs/sources.md recommends it for incidents.
#[test]
fn a_file_keeps_what_it_tells_of_a_service_that_another_source_reads() {
    let Some(made) = Made::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    made.change(1, "a");
    made.run(1, &["tag", "v1.0.0"]);
    let rows = "\
{\"type\":\"failure\",\"id\":\"t/s@inc1\",\"team\":\"t\",\"service\":\"s\",\"at\":\"2026-03-21T21:00:00Z\"}
{\"type\":\"recovery\",\"failure\":\"t/s@inc1\",\"at\":\"2026-03-21T22:00:00Z\"}
";
    std::fs::write(folder.path().join("incidents.jsonl"), rows).unwrap();
    let file = "  - {type: file, path: incidents.jsonl}\n";
    let git = |team: &str| {
        format!("  - {{type: git, path: {}, team: {team}, service: s}}\n", made.folder.path().display())
    };
    for sources in [[file, &git("t")], [&git("t"), file]] {
        let sources = sources.concat();
        std::fs::remove_file(folder.path().join("events.jsonl")).ok();
        for round in 0..3 {
            let (result, ids) = collect_configured(folder.path(), &sources);
            assert_eq!(ids.len(), 4, "{sources}: {ids:?}");
            let moved = (result["added"].as_u64().unwrap(), result["removed"].as_u64().unwrap());
            assert_eq!(moved, (if round == 0 { 4 } else { 0 }, 0), "{sources} in round {round}");
        }
    }
    // Also when the other one gets a name of its own.
    let (_, ids) = collect_configured(folder.path(), &[file, &git("u")].concat());
    assert_eq!(ids.iter().filter(|id| id.starts_with("t/s@")).count(), 2, "{ids:?}");
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[test]
fn a_path_that_no_commit_has_changed_is_named() {
    let Some(made) = Made::new() else { return };
    for (hour, file) in [(1, "svc/cart/a"), (2, "svc/pay/a"), (3, "svc/cart/b")] {
        made.change(hour, file);
        made.run(hour, &["tag", &format!("v1.0.{hour}")]);
    }
    let said = |paths: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "--events", "e.jsonl", "git"]);
        command.arg(made.folder.path()).args(paths.iter().flat_map(|path| ["--paths", path]));
        let output = command.assert().success().get_output().stderr.clone();
        String::from_utf8(output).unwrap()
    };
    let one = said(&["svc/zzz"]);
    assert!(one.contains("no commit that was deployed has changed `svc/zzz`"), "{one}");
    let one_of_two = said(&["svc/cart", "svc/Pay"]);
    assert!(one_of_two.contains("has changed `svc/Pay`"), "{one_of_two}");
    assert!(!said(&["svc/cart", "svc/pay"]).contains("no commit that was deployed"));
}

/// Nobody can tell when it was written; that it is a change, everybody can.
#[test]
fn a_commit_whose_times_are_unreadable_is_a_change_without_a_lead_time() {
    let Some(made) = Made::new() else { return };
    made.change(1, "a");
    made.run(1, &["tag", "v1.0.0"]);
    let (tree, parent) = (made.run(1, &["rev-parse", "HEAD^{tree}"]), made.run(1, &["rev-parse", "HEAD"]));
    for (number, [author, committer]) in [
        ["99999999999999999999 +0000", "1772463600 +0000"],
        ["-62167219201 +0000", "1772463600 +0000"],
        ["yesterday", "1772463600 +0000"],
        ["yesterday", "tomorrow"],
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!(
            "tree {tree}\nparent {parent}\nauthor A <a@example.com> {author}\n\
             committer A <a@example.com> {committer}\n\nOdd\n"
        );
        let path = made.folder.path().join("odd");
        std::fs::write(&path, text).unwrap();
        let odd = made.run(2, &["hash-object", "-t", "commit", "-w", "--literally", "odd"]);
        made.run(9, &["tag", "-f", "-a", "v2.0.0", "-m", "x", &odd]);
        let events = collect(made.folder.path(), &[]);
        let deployed = deployments(&events);
        assert_eq!(deployed[1].changes, [format!("t/s@{odd}")], "case {number}");
        assert!(!changes(&events).contains_key(&odd), "case {number}");
    }
}

/// By hand, and so of nobody's deployment: on stdout, without a file of anybody's.
#[test]
fn what_is_collected_by_hand_is_printed_or_goes_where_it_is_said() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.commit(0, "first");
    made.run(0, &["tag", "v1"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dorainfra.yaml"), "project: my-gcp\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
        command.current_dir(folder.path()).args(["collect", "git"]).arg(made.folder.path());
        command.args(arguments).output().unwrap()
    };
    let printed = run(&[]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let said = String::from_utf8_lossy(&printed.stderr);
    let counted =
        format!("git {}: 1 deployment, 1 change, 0 failures, 0 recoveries", made.folder.path().display());
    assert!(said.contains(&counted), "{said}");
    assert!(!folder.path().join(".dorainfra").exists(), "nothing is left behind");
    let named = run(&["--events", "shop.jsonl"]);
    assert!(named.status.success(), "{}", String::from_utf8_lossy(&named.stderr));
    assert_eq!(printed.stdout, std::fs::read(folder.path().join("shop.jsonl")).unwrap());
    for needs_a_file in [&["--every", "9"][..], &["--json"]] {
        assert_eq!(run(needs_a_file).status.code(), Some(3));
    }
}

/// The deployments that failed, by those that mend them.
fn failed(events: &[Event]) -> Vec<String> {
    let failures = events.iter().filter_map(|event| match event {
        Event::Failure(failure) => Some(failure.id.replace("t/s@", "")),
        _ => None,
    });
    failures.collect()
}

/// What somebody committed for another service is a link of the chain all the same.
#[test]
fn a_hotfix_of_a_monorepo_is_found_behind_commits_of_other_services() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.change(0, "a/x");
    made.run(1, &["tag", "v1.9.0"]);
    made.run(2, &["branch", "line"]);
    made.run(2, &["checkout", "-q", "-b", "hotfix/q"]);
    made.change(10, "a/x");
    made.change(11, "b/x");
    made.run(12, &["checkout", "-q", "main"]);
    made.change(12, "a/y");
    made.run(13, &["merge", "-q", "--no-ff", "-m", "Merge branch 'hotfix/q'", "hotfix/q"]);
    made.run(14, &["tag", "-a", "v2.0.0", "-m", "two"]);
    let collected = |paths: &[&str]| {
        let paths: Vec<&str> = paths.iter().flat_map(|path| ["--paths", *path]).collect();
        collect(made.folder.path(), &paths)
    };
    for (paths, changes) in [(&["a"][..], 2), (&["b"], 1), (&[], 3)] {
        let events = collected(paths);
        assert_eq!(failed(&events), ["v1.9.0~v2.0.0"], "{paths:?}");
        let deployed = deployments(&events)[1];
        assert_eq!((deployed.kind, deployed.changes.len()), (Kind::Rework, changes), "{paths:?}");
    }
    // A hotfix of the older line, after a commit for somebody else.
    made.run(20, &["checkout", "-q", "line"]);
    made.change(20, "docs/x");
    std::fs::write(made.folder.path().join("a/x"), "mended").unwrap();
    made.run(21, &["add", "."]);
    made.commit(21, "Hotfix: mend");
    made.run(22, &["tag", "-a", "v1.9.1", "-m", "mended"]);
    for paths in [&["a"][..], &["a", "docs"], &[]] {
        let events = collected(paths);
        assert_eq!(failed(&events), ["v1.9.0~v2.0.0", "v1.9.0~v1.9.1"], "{paths:?}");
    }
}

#[test]
fn of_one_second_what_the_other_is_built_on_was_deployed_first() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    made.commit(0, "One");
    made.run(9, &["tag", "-a", "v0.9.0", "-m", "nine"]);
    made.commit(1, "Two");
    made.run(9, &["tag", "-a", "v0.10.0", "-m", "ten"]);
    let mut tags = brought(&collect(made.folder.path(), &[]));
    tags.sort();
    assert_eq!(tags, [("v0.10.0".to_owned(), 1), ("v0.9.0".to_owned(), 1)]);
    for hour in 20..26 {
        let bad = made.commit(hour, &format!("Add {hour}"));
        made.commit(hour, &format!("Revert \"Add {hour}\"\n\nThis reverts commit {bad}."));
    }
    assert_eq!(failed(&collect(made.folder.path(), &["--branch", "main"])).len(), 6);
}

/// A repository of a release for each of these hours, which is nobody else's.
fn released(hours: &[i64], file: &str) -> Option<Made> {
    let made = Made::new()?;
    for hour in hours {
        made.change(*hour, file);
        made.run(*hour, &["tag", &format!("v1.{hour}.0")]);
    }
    Some(made)
}

/// The exit code, what was said, and the ids that are in the file of events then.
fn collect_in(folder: &Path, arguments: &[&str]) -> (i32, String, Vec<String>) {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_dorainfra"));
    let output = command
        .current_dir(folder)
        .arg("collect")
        .args(arguments)
        .args(["--events", "e.jsonl"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let text = std::fs::read(folder.join("e.jsonl")).unwrap_or_default();
    let ids = read(text.as_slice()).map(|event| event.unwrap().order().2.to_owned());
    (output.status.code().unwrap(), String::from_utf8(said).unwrap(), ids.collect())
}

/// That an id begins like those of another service makes it none of that service's.
#[test]
fn a_service_keeps_its_events_beside_one_whose_name_goes_on() {
    let (Some(one), Some(two)) = (released(&[1, 3], "a"), released(&[5], "b")) else { return };
    let sources = [(&one, "c"), (&two, "c@x")].map(|(made, service)| {
        format!(
            "  - {{type: git, path: {}, team: a, service: \"{service}\"}}\n",
            made.folder.path().display()
        )
    });
    for order in [[0, 1], [1, 0]] {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..3 {
            let (result, ids) =
                collect_configured(folder.path(), &order.map(|one| sources[one].clone()).concat());
            assert_eq!((ids.len(), &result["removed"]), (6, &serde_json::json!(0)), "{order:?}: {ids:?}");
            assert!(round == 0 || result["added"] == 0, "{order:?}: {result}");
        }
    }
}

#[test]
fn two_repositories_that_turn_out_to_be_one_service_are_refused() {
    let (Some(one), Some(two)) = (released(&[1, 3], "a"), released(&[5], "b")) else { return };
    let folder = tempfile::tempdir().unwrap();
    for made in [&one, &two] {
        std::fs::write(made.folder.path().join("CODEOWNERS"), "* @org/web\n").unwrap();
    }
    let [first, second] = [&one, &two].map(|made| made.folder.path().display().to_string());
    let write = |of_second: &str| {
        let text = format!(
            "sources:\n  - {{type: git, path: {first}, team_from: codeowners, service: c}}\n  \
             - {{type: git, path: {second}, {of_second}}}\n"
        );
        std::fs::write(folder.path().join("dorainfra.yaml"), text).unwrap();
    };
    write("team: other, service: c");
    let (code, said, known) = collect_in(folder.path(), &[]);
    assert_eq!((code, known.len()), (0, 6), "{said}");
    for of_second in ["team_from: codeowners, service: c", "team: web, service: c"] {
        write(of_second);
        let (code, said, ids) = collect_in(folder.path(), &[]);
        assert_eq!((code, &ids), (1, &known), "nothing is written: {said}");
        for (this, other) in [(&first, &second), (&second, &first)] {
            assert!(said.contains(&format!("web/c is what both git {this} and git {other} are")), "{said}");
        }
    }
}

#[test]
fn two_files_with_the_same_ids_are_told_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let table = |team: &str, day: u8| {
        format!(
            "type,id,team,service,at\ndeployment,1,{team},s,2026-03-0{day}T09:00:00Z\ndeployment,{team},{team},s,2026-03-03T09:00:00Z\n"
        )
    };
    std::fs::write(folder.path().join("a.csv"), table("x", 2)).unwrap();
    std::fs::write(folder.path().join("b.csv"), table("y", 3)).unwrap();
    let sources = "sources:\n  - {type: file, path: a.csv}\n  - {type: file, path: b.csv}\n";
    std::fs::write(folder.path().join("dorainfra.yaml"), sources).unwrap();
    for _ in 0..2 {
        let (code, said, ids) = collect_in(folder.path(), &[]);
        assert_eq!((code, ids), (1, vec!["1".to_owned(), "x".into()]), "{said}");
        assert!(
            said.contains("b.csv:2:1: `1` is another event of this type in ")
                && said.contains("a.csv, line 2")
        );
    }
    // What both tell alike is one event.
    std::fs::write(folder.path().join("b.csv"), table("x", 2)).unwrap();
    assert_eq!(collect_in(folder.path(), &[]).0, 0);
    // By hand a later file corrects an earlier one; of whose events, is said.
    std::fs::write(folder.path().join("b.csv"), table("y", 3)).unwrap();
    let (code, said, ids) = collect_in(folder.path(), &["file", "b.csv"]);
    assert_eq!((code, ids.len()), (0, 3), "{said}");
    assert!(said.contains("are gone (1): `1` (x/s)"), "{said}");
}

/// Two clones in folders of one name, and neither a team nor a service.
#[test]
fn another_repository_by_hand_does_not_remove_the_first_ones_events() {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str| folder.path().join(path).display().to_string();
    for (path, hours) in [("x/shop", &[1, 3][..]), ("y/shop", &[5])] {
        let Some(made) = released(hours, path) else { return };
        let (from, to) = (made.folder.path().display().to_string(), place(path));
        git(folder.path(), &["clone", "-q", &from, &to]).unwrap();
    }
    let (code, said, known) = collect_in(folder.path(), &["git", "x/shop"]);
    assert_eq!((code, known.len()), (0, 4), "{said}");
    let (code, said, ids) = collect_in(folder.path(), &["git", "y/shop"]);
    assert_eq!((code, &ids), (1, &known), "{said}");
    for part in ["shop/shop", "/x/shop told", "--service"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The same repository in another folder goes on.
    git(folder.path(), &["clone", "-q", &place("x/shop"), &place("z/shop")]).unwrap();
    let (code, said, ids) = collect_in(folder.path(), &["git", "z/shop"]);
    assert_eq!((code, &ids), (0, &known), "{said}");
}

/// As GitHub's button makes it for a request that was merged with a merge; between them a line that was
/// merged back, and a squash that lists what its branch took back inside.
#[test]
fn what_a_forge_takes_back_with_merges_is_found_on_its_own_line() {
    let Some(made) = Made::new() else {
        eprintln!("skipped: there is no git to make a repository with");
        return;
    };
    let base = made.change(0, "base");
    made.run(1, &["tag", "v1.0.0"]);
    made.run(1, &["branch", "line"]);
    made.run(1, &["checkout", "-q", "-b", "a"]);
    made.change(2, "a");
    made.run(3, &["checkout", "-q", "main"]);
    made.run(3, &["merge", "-q", "--no-ff", "-m", "Merge pull request #12 from o/a\n\nAdd cart", "a"]);
    made.run(4, &["tag", "-a", "v1.1.0", "-m", "one"]);
    let list = format!("* wip\n\n* Revert \"wip\"\n\nThis reverts commit {base}.\n\n* again");
    made.commit(5, &format!("Add a list (#13)\n\n{list}"));
    made.run(6, &["tag", "-a", "v1.2.0", "-m", "two"]);
    made.run(6, &["checkout", "-q", "line"]);
    made.change(7, "docs");
    made.run(8, &["tag", "-a", "v1.0.1", "-m", "docs"]);
    made.run(8, &["checkout", "-q", "main"]);
    made.run(9, &["merge", "-q", "--no-ff", "-m", "Merge branch 'line'", "line"]);
    made.run(9, &["checkout", "-q", "-b", "revert-12-a"]);
    made.commit(10, "Revert \"Add cart\"");
    made.run(11, &["checkout", "-q", "main"]);
    let merge = "Merge pull request #14 from o/revert-12-a\n\nRevert \"Add cart\"";
    made.run(11, &["merge", "-q", "--no-ff", "-m", merge, "revert-12-a"]);
    made.run(12, &["tag", "-a", "v1.2.1", "-m", "taken back"]);
    made.run(13, &["checkout", "-q", "line"]);
    made.change(13, "more");
    made.run(14, &["tag", "-a", "v1.0.2", "-m", "more"]);
    made.run(14, &["checkout", "-q", "main"]);
    made.run(15, &["merge", "-q", "--no-ff", "-m", "Merge branch 'line'", "line"]);
    made.commit(16, "hotfix: crash");
    made.run(17, &["tag", "-a", "v1.2.2", "-m", "mended"]);
    let events = collect(made.folder.path(), &[]);
    assert_eq!(failed(&events), ["v1.1.0~v1.2.1", "v1.2.1~v1.2.2"]);
    let rework = deployments(&events).into_iter().filter(|one| one.kind == Kind::Rework);
    let rework: Vec<&str> = rework.map(|one| one.id.as_str()).collect();
    assert_eq!(rework, ["t/s@v1.2.1", "t/s@v1.2.2"]);
}
