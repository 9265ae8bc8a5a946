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
    let fails = |message: String| SourceError::Git {
        path: repository.to_owned(),
        message,
        hint: "name the team instead: `team: NAME`",
    };
    let file = PLACES.iter().map(|place| repository.join(place)).find(|file| file.is_file());
    let file = file.ok_or_else(|| fails("there is no CODEOWNERS in it".into()))?;
    let text = std::fs::read_to_string(&file).map_err(SourceError::file("can't be read", &file))?;
    owner(&text, path).ok_or_else(|| {
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
pub(super) async fn told(
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

/// The first owner of a path: `@group/team` is the team, `@person` the person.
fn owner(text: &str, path: &str) -> Option<String> {
    let mut found = None;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        // GitLab's sections begin with `[` or `^[`.
        if line.is_empty() || line.starts_with(['#', '[', '^']) {
            continue;
        }
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|pattern| fits(pattern, path)) {
            found = words.next().map(name);
        }
    }
    found.filter(|owner| !owner.is_empty())
}

fn name(owner: &str) -> String {
    let owner = owner.trim_start_matches('@');
    owner.rsplit_once('/').map_or(owner, |(_, team)| team).to_owned()
}

/// As `.gitignore` has patterns: with a `/` in it from the top, else anywhere; a folder has all
/// that is in it.
fn fits(pattern: &str, path: &str) -> bool {
    let pattern = pattern.replace("\\ ", " ");
    if ["*", "**", "/", "/**"].contains(&pattern.as_str()) {
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
    fn a_repository_without_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = team(folder.path(), "").unwrap_err().to_string();
        assert!(error.contains("no CODEOWNERS"), "{error}");
        std::fs::create_dir(folder.path().join(".github")).unwrap();
        std::fs::write(folder.path().join(".github/CODEOWNERS"), "services/cart @example/orders\n").unwrap();
        assert_eq!(team(folder.path(), "services/cart").unwrap(), "orders");
        let error = team(folder.path(), "").unwrap_err().to_string();
        assert!(error.contains("names nobody for all of it"), "{error}");
    }
}
