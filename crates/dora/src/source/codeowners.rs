//! Who owns a path, as a repository's `CODEOWNERS` says: the last line that fits counts.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::SourceError;
use super::rest::Rest;

/// Where GitHub and GitLab look for it, in this order.
const PLACES: [&str; 4] = [".github/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"];

/// The team that owns a path of a checked-out repository (`""`: all of it).
pub fn team(repository: &Path, path: &str) -> Result<String, SourceError> {
    let fails = |message: String| SourceError::Owner { project: repository.display().to_string(), message };
    let file = PLACES.iter().map(|place| repository.join(place)).find(|file| file.is_file());
    let file = file.ok_or_else(|| fails("there is no CODEOWNERS in it".into()))?;
    let bytes = std::fs::read(&file).map_err(SourceError::file("can't be read", &file))?;
    // Names of owners are ASCII, whatever the comments are written in.
    owner(&String::from_utf8_lossy(&bytes), path).ok_or_else(|| {
        let path = if path.is_empty() { "all of it" } else { path };
        fails(format!("its CODEOWNERS names nobody for {path}"))
    })
}

/// A file, as both forges answer it.
#[derive(Deserialize)]
struct Content {
    /// In base64, with line breaks.
    content: String,
}

/// The team that owns all of a project, as the first of these files that it has says.
pub(super) async fn reported(
    rest: &Rest<'_>,
    project: &str,
    files: impl IntoIterator<Item = String>,
) -> Result<String, SourceError> {
    let fails = |message: &str| SourceError::Owner { project: project.into(), message: message.into() };
    for url in files {
        let content = match rest.get::<Content>(&url).await {
            Ok(page) => page.items.content,
            Err(SourceError::Refused { status: 404, .. }) => continue,
            Err(error) => return Err(error),
        };
        let packed: String = content.split_whitespace().collect();
        let text = STANDARD.decode(packed).map_err(|_| fails("its CODEOWNERS can't be read"))?;
        return owner(&String::from_utf8_lossy(&text), "")
            .ok_or_else(|| fails("its CODEOWNERS names nobody for all of it"));
    }
    Err(fails("there is no CODEOWNERS in it"))
}

/// The entries of a section: of those that fit a path, the last one counts.
#[derive(Default)]
struct Section<'a> {
    name: String,
    /// Owners of entries that name none.
    owners: Vec<&'a str>,
    /// The owner that is found so far; `None`: an entry fits, and nobody owns it.
    found: Option<Option<&'a str>>,
    /// A pattern with `!` fits: nothing after it is looked at.
    excluded: bool,
}

/// The first owner of a path: `@group/team` is the team, `@person` the person.
///
/// GitHub: patterns as of `.gitignore`, the last one that fits counts, also one without owners.
/// GitLab has sections beside (`[Name][2] @owners`, `^[Name]`), each classified by itself, and `!`
/// for what is nobody's in one. Of several sections that have an owner the last one counts: it is
/// what GitHub's rule comes to.
/// <https://docs.gitlab.com/user/project/codeowners/reference/>
fn owner(text: &str, path: &str) -> Option<String> {
    let mut sections = vec![Section::default()];
    let mut current = 0;
    // Some editors write a mark before the first line.
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, owners)) = heading(line) {
            let owners: Vec<&str> =
                owners.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
            let name = name.trim().to_lowercase();
            current = sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
                sections.push(Section { name, ..Section::default() });
                sections.len() - 1
            });
            if !owners.is_empty() || sections[current].owners.is_empty() {
                sections[current].owners = owners;
            }
            continue;
        }
        let section = &mut sections[current];
        let (pattern, owners) = entry(line);
        let (pattern, excludes) = pattern.strip_prefix('!').map_or((&*pattern, false), |rest| (rest, true));
        if section.excluded || !fits(pattern, path) {
            continue;
        }
        section.excluded = excludes;
        let mut named = owners.split_whitespace().take_while(|word| !word.starts_with('#'));
        let first = named.find(|word| word.contains('@')).or(section.owners.first().copied());
        section.found = Some(first.filter(|_| !excludes));
    }
    let found = sections.into_iter().rev().find_map(|section| section.found?);
    found.map(name).filter(|owner| !owner.is_empty())
}

/// The name of a section that begins, and its owners: `[Name] @a`, `^[Name][2] @a @b`.
fn heading(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix('^').unwrap_or(line).strip_prefix('[')?.split_once(']')?;
    let approvals = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let owners = match approvals {
        Some((number, owners)) if number.trim().bytes().all(|byte| byte.is_ascii_digit()) => owners,
        _ => rest,
    };
    // What goes on without a space is a pattern: `[ab].txt @owner`.
    (owners.is_empty() || owners.starts_with(char::is_whitespace)).then_some((name, owners))
}

/// The pattern of an entry, and what comes after it: a space in a path has a `\` before it, and so
/// may a `#`.
fn entry(line: &str) -> (String, &str) {
    let mut pattern = String::new();
    let mut letters = line.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\\' => pattern.extend(letters.next().map(|(_, escaped)| escaped)),
            letter if letter.is_whitespace() => return (pattern, &line[place..]),
            letter => pattern.push(letter),
        }
    }
    (pattern, "")
}

fn name(owner: &str) -> String {
    let owner = owner.trim_start_matches('@');
    owner.rsplit_once('/').map_or(owner, |(_, team)| team).to_owned()
}

/// As `.gitignore` has patterns: with a `/` in it from the top, else anywhere; a folder has all
/// that is in it.
fn fits(pattern: &str, path: &str) -> bool {
    if ["*", "**", "/", "/**", "**/*", "/**/*"].contains(&pattern) {
        return true;
    }
    if path.is_empty() {
        return false;
    }
    let is_folder = pattern.ends_with('/');
    let bare = pattern.trim_end_matches('/').trim_end_matches("/**");
    let from_top = bare.contains('/');
    let bare: Vec<&str> = bare.trim_start_matches('/').split('/').collect();
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    let starts = if from_top { 0..1 } else { 0..path.len() };
    // A pattern for what is directly in a folder owns none of its folders.
    let exact = bare.last() == Some(&"*") && !is_folder;
    starts.into_iter().any(|start| {
        let rest = &path[start..];
        begins(&bare, rest).is_some_and(|taken| !exact || taken == rest.len())
    })
}

/// How many parts of a path a pattern takes.
fn begins(pattern: &[&str], path: &[&str]) -> Option<usize> {
    match (pattern, path) {
        ([], _) => Some(0),
        (["**", pattern @ ..], _) => {
            (0..=path.len()).find_map(|skipped| Some(skipped + begins(pattern, &path[skipped..])?))
        }
        ([first, pattern @ ..], [part, path @ ..]) => wildmatch::WildMatch::new(first)
            .matches(part)
            .then(|| begins(pattern, path))?
            .map(|taken| taken + 1),
        (_, []) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example, shortened.
    const EXAMPLE: &str = "# These owners will be the default owners\n\
        *       @global-owner1 @global-owner2\n\
        *.js    @js-owner #This is an inline comment.\n\
        *.txt @octo-org/octocats\n\
        /build/logs/ @doctocat\n\
        docs/*  docs@example.com\n\
        apps/ @octocat\n\
        /scripts/ @doctocat @octocat\n\
        **/logs @org/loggers\n\
        /apps/github\n\
        [Section]\n\
        services/cart @example/orders\n";

    #[test]
    fn the_last_line_that_fits_counts() {
        for (path, expected) in [
            ("", Some("global-owner1")),
            ("src", Some("global-owner1")),
            ("web/app.js", Some("js-owner")),
            ("notes.txt", Some("octocats")),
            ("build/logs/today", Some("loggers")),
            ("build/logs", Some("loggers")),
            ("docs/start.md", Some("docs@example.com")),
            ("docs/build/start.md", Some("global-owner1")),
            ("tools/apps/shop", Some("octocat")),
            ("scripts/run", Some("doctocat")),
            ("tools/scripts/run", Some("global-owner1")),
            ("deep/in/logs/x", Some("loggers")),
            ("services/cart", Some("orders")),
            ("services/cart/src", Some("orders")),
            ("services/cartoon", Some("global-owner1")),
            // Nobody is, where a line names none.
            ("apps/github/x", None),
        ] {
            assert_eq!(owner(EXAMPLE, path).as_deref(), expected, "{path}");
        }
        assert_eq!(owner("docs/ @me", ""), None);
    }

    #[test]
    fn the_grammar_of_both_forges_is_read() {
        let sections = "* @org/all\n[Backend] @org/be @org/x\n/svc/cart/\n/svc/pay/ @org/pay\n";
        let several = "[A] @org/a\n/x/\n^[B][2] @org/b\n/y/\n[a]\n/z/\n[[ab].txt\n";
        let none = "* @org/all\n!/docs/\n/docs/api/ @org/api\n[S] @org/s\n*.rb\n!/config/**/*.rb\n";
        for (text, path, expected) in [
            (sections, "svc/cart", Some("be")),
            (sections, "svc/pay/src", Some("pay")),
            (sections, "svc/other", Some("all")),
            ("[Backend] @org/be\n*\n", "", Some("be")),
            ("[Backend] @org/be\n/svc/\n", "", None),
            (several, "x", Some("a")),
            (several, "y", Some("b")),
            // Sections of one name are one.
            (several, "z", Some("a")),
            // What is nobody's in its section stays so, and another section may have it.
            (none, "docs/api", None),
            (none, "lib/x.rb", Some("s")),
            (none, "config/a/x.rb", Some("all")),
            ("/my\\ dir/ @org/sp\n", "my dir/x", Some("sp")),
            ("/my\\ dir/ @org/sp\n", "my", None),
            ("\\#notes @org/n\n", "#notes", Some("n")),
            ("\u{feff}* @org/mark\n", "", Some("mark")),
            ("*\t@org/tab\r\n", "", Some("tab")),
            // What is no owner is passed over.
            ("* the owners: @org/a\n", "", Some("a")),
            ("* # @org/comment\n", "", None),
            ("/svc/ @@maintainer\n", "svc", Some("maintainer")),
            ("[ab].txt @org/range\n* @org/all\n", "", Some("all")),
            ("* @group/with/subgroup\n", "", Some("subgroup")),
            ("/a/**/z @org/deep\n", "a/b/c/z", Some("deep")),
        ] {
            assert_eq!(owner(text, path).as_deref(), expected, "{path} of {text:?}");
        }
    }

    #[test]
    fn whatever_the_comments_are_written_in_the_owners_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("CODEOWNERS"), b"# f\xfcr alle\n* @org/all\n").unwrap();
        assert_eq!(team(folder.path(), "").unwrap(), "all");
    }

    #[test]
    fn a_repository_without_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = team(folder.path(), "").unwrap_err().to_string();
        assert!(error.contains("no CODEOWNERS"), "{error}");
        std::fs::create_dir(folder.path().join(".github")).unwrap();
        std::fs::write(folder.path().join(".github/CODEOWNERS"), "services/cart @example/orders\n").unwrap();
        assert_eq!(team(folder.path(), "services/cart").unwrap(), "orders");
        let error = team(folder.path(), "").unwrap_err().to_string();
        let says = error.ends_with(": its CODEOWNERS names nobody for all of it");
        assert!(says && !error.contains("git repository"), "{error}");
    }
}
