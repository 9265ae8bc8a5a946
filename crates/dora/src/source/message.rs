//! What a commit's message, or a request's text, says: which request it came with, and
//! what it takes back. Forges, git and commit conventions each write that their own way.

/// The first line of a message.
pub(super) fn title(message: &str) -> String {
    message.trim_start().lines().next().unwrap_or_default().trim_end().to_owned()
}

/// What a message says it takes back: commits by their hashes (in lower case), requests as
/// `#12` (GitHub) or `!12` (GitLab), with the project's name where it is said: `owner/name#12`.
/// Each is a line of its own, as tools write it, and no part of a sentence:
///
/// - git: `This reverts commit A.`, `This reverts commits A and B.`; of `This reverts commit A,
///   reversing changes made to B` A alone
/// - GitHub: `Reverts owner/name#12`; a branch that its button made, `Merge pull request #14 from
///   owner/revert-12-branch`
/// - GitLab: `This reverts merge request !12`, `group/project!12`
/// - Conventional Commits: `Refs: A, B` below the title `revert: …`
///
/// A squash that lists its commits tells of its own branch with such lines, unless its title
/// says that it reverts.
pub(super) fn reverted(message: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |target: String| {
        if !found.contains(&target) {
            found.push(target);
        }
    };
    let lower = message.to_ascii_lowercase().replace('\r', "");
    let title = title(&lower);
    if lists_commits(&lower) && !title.split(|c: char| !c.is_alphanumeric()).any(is_revert) {
        return found;
    }
    let mut rest = lower.as_str();
    while let Some((line, after)) = rest.split_once('\n').or((!rest.is_empty()).then_some((rest, ""))) {
        if let Some(named) = rest.strip_prefix("this reverts commit") {
            // They may go on in the next lines.
            let paragraph = named.split("\n\n").next().unwrap_or_default();
            hashes(paragraph.strip_prefix('s').unwrap_or(paragraph)).into_iter().for_each(&mut add);
        }
        let request = line.strip_prefix("this reverts merge request ").map(|place| (place, '!'));
        if let Some((place, sign)) = request.or_else(|| Some((line.strip_prefix("reverts ")?, '#'))) {
            let place = if sign == '!' { place.split_whitespace().next().unwrap_or_default() } else { place };
            placed(place, sign).into_iter().for_each(&mut add);
        }
        rest = after;
    }
    if named(&title).is_some() {
        for line in lower.lines().filter_map(|line| line.trim().strip_prefix("refs:")) {
            hashes(line).into_iter().for_each(&mut add);
        }
    }
    if let Some(number) = reverting_branch(&title) {
        add(format!("#{number}"));
    }
    found
}

fn is_revert(word: &str) -> bool {
    ["revert", "reverts", "reapply"].contains(&word)
}

/// Whether it is a squash of several commits with what each of them says: paragraphs that begin
/// with `* ` and the title of one.
fn lists_commits(message: &str) -> bool {
    message.split("\n\n").skip(1).filter(|paragraph| paragraph.trim_start().starts_with("* ")).count() > 1
}

/// The request that GitHub's button made this branch for: `merge pull request #14 from
/// owner/revert-12-branch`.
fn reverting_branch(title: &str) -> Option<&str> {
    let (_, from) = title.strip_prefix("merge pull request #")?.split_once(" from ")?;
    let (_, branch) = from.split_once('/')?;
    let (number, _) = branch.strip_prefix("revert-")?.split_once('-')?;
    is_number(number).then_some(number)
}

/// The title of the request that a merge brought, in the message that a forge writes: the first
/// line below its own title.
///
/// - GitHub: `Merge pull request #12 from …`
/// - GitLab: `Merge branch 'x' into 'main'` with `See merge request …!12`
/// - Bitbucket: `Merged in x (pull request #12)`
pub(super) fn merged_request(message: &str) -> Option<String> {
    let title = title(message);
    let mut lines = message.trim_start().lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    let is_forges = title.starts_with("Merge pull request #")
        || title.starts_with("Merged in ") && title.contains("(pull request #")
        || title.starts_with("Merge branch ") && lines.clone().any(|line| line.starts_with(SEE));
    lines.next().filter(|line| is_forges && !line.starts_with(SEE)).map(str::to_owned)
}

const SEE: &str = "See merge request ";

/// The requests that a message says its commit came with: `#12`, `!12`.
///
/// - GitHub: `Title (#12)`, `Merge pull request #12 from …`
/// - GitLab: `See merge request group/project!12`
pub(super) fn requests(message: &str) -> Vec<String> {
    let title = title(message);
    let merged = title.strip_prefix("Merge pull request ");
    let merged = merged.and_then(|rest| request(rest.split(' ').next()?, '#'));
    let see = message.lines().filter_map(|line| line.trim().strip_prefix(SEE));
    let see = see.filter_map(|place| request(place, '!'));
    suffix(&title).map(|(_, request)| request.to_owned()).into_iter().chain(merged).chain(see).collect()
}

/// The commit that this one is a copy of, as `git cherry-pick -x` says it.
pub(super) fn picked(message: &str) -> Option<String> {
    let (_, from) = message.rsplit_once("(cherry picked from commit ")?;
    hashes(&from.to_ascii_lowercase()).into_iter().next()
}

/// A title without the request that it ends with: `A (#12)` → `A`.
pub(super) fn plain(title: &str) -> &str {
    suffix(title).map_or(title, |(plain, _)| plain)
}

/// What the title of a revert names, and whether in quotes: `Revert "A" (#14)`, `revert: A`,
/// `revert(cart): A`.
pub(super) fn named(title: &str) -> Option<(&str, bool)> {
    let rest = title.get(..6).filter(|word| word.eq_ignore_ascii_case("revert")).map(|_| &title[6..])?;
    if !rest.starts_with([' ', ':', '(', '!']) {
        return None;
    }
    if let Some(quoted) = quoted(rest.trim_start_matches([':', ' '])) {
        return Some((quoted, true));
    }
    let scoped = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
    let name = plain(scoped.trim_start_matches(['!', ':', ' ']));
    (!name.is_empty()).then_some((name, false))
}

/// What git's revert of a revert brings again: `Reapply "A"`.
pub(super) fn reapplied(title: &str) -> Option<&str> {
    quoted(title.strip_prefix("Reapply ")?)
}

/// How often a title takes back: of `Revert "Revert "A""` two times. What is taken back an
/// even number of times is there again.
pub(super) fn depth(title: &str) -> usize {
    let mut depth = 0;
    let mut title = title;
    loop {
        if reapplied(title).is_some() {
            return depth + 2;
        }
        match named(title) {
            Some((inner, true)) => (depth, title) = (depth + 1, inner),
            Some((_, false)) => return depth + 1,
            None => return depth,
        }
    }
}

/// Where a merge comes from: of `Merge branch 'main' into hotfix/x` that is not the hotfix.
pub(super) fn merged_from(title: &str) -> &str {
    if !title.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("merge")) {
        return title;
    }
    title.rsplit_once(" into ").map_or(title, |(from, _)| from)
}

fn quoted(text: &str) -> Option<&str> {
    Some(text.strip_prefix('"')?.rsplit_once('"')?.0)
}

/// `A (#12)` → `A` and `#12`
fn suffix(title: &str) -> Option<(&str, &str)> {
    let (plain, rest) = title.rsplit_once(" (")?;
    let number = rest.strip_suffix(')')?;
    let digits = number.strip_prefix(['#', '!'])?;
    is_number(digits).then_some((plain, number))
}

/// Whether it has digits alone.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// `owner/name#12` → `#12`
fn request(place: &str, sign: char) -> Option<String> {
    placed(place, sign).map(|request| request[request.find(sign).unwrap_or(0)..].to_owned())
}

/// `owner/name#12.` → `owner/name#12`
fn placed(place: &str, sign: char) -> Option<String> {
    let (project, rest) = place.split_once(sign)?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let is_project = project.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    (is_project && !number.is_empty()).then(|| format!("{project}{sign}{number}"))
}

/// The hashes that a text begins with: `A`, `A and B`, `A, B.`
fn hashes(text: &str) -> Vec<String> {
    let words =
        text.split([' ', ',', '\n', '\r', '\t', ':']).filter(|word| !word.is_empty() && *word != "and");
    let hash = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    let is_hash = |word: &String| word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    words.map(hash).take_while(is_hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_found_in_messages() {
        const HASH: &str = "1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e";
        let list = "* b\n\n* Revert \"A\"\n\nThis reverts commit aaaaaaa1.\n\n* tidy\n\nReverts o/r#3";
        for (message, expected) in [
            (format!("Revert \"x\"\n\nThis reverts commit {HASH}, reversing\nchanges"), HASH),
            (format!("x\n\nThis reverts commit {}.", HASH.to_uppercase()), HASH),
            ("x\n\nThis reverts commits aaaaaaa and bbbbbbb.".into(), "aaaaaaa bbbbbbb"),
            ("x\n\nThis reverts commits aaaaaaa,\nbbbbbbb, and ccccccc".into(), "aaaaaaa bbbbbbb ccccccc"),
            ("x\n\nThis reverts commit aaaaaaa.\nThis reverts commit bbbbbbb.".into(), "aaaaaaa bbbbbbb"),
            ("this reverts commit messages".into(), ""),
            ("Revert \"A\" (#14)\n\nReverts O/r#12".into(), "o/r#12"),
            ("Revert \"A\"\n\nReverts #12\r\n".into(), "#12"),
            ("It reverts\nReverts what #12 did".into(), ""),
            ("Revert \"A\"\n\nThis reverts merge request !12".into(), "!12"),
            ("Revert \"A\"\n\nThis reverts merge request g/p!12.".into(), "g/p!12"),
            ("revert: A\n\nRefs: 676104e, a215868".into(), "676104e a215868"),
            ("Add a cart\n\nRefs: 676104e".into(), ""),
            ("Reverting things\n\nRefs: 676104e".into(), ""),
            // What people tell of reverts.
            ("x\n\nSince 4.2 the parser reverts commit aaaaaaa1 on the fly.".into(), ""),
            ("x\n\nUpstream: This reverts commit aaaaaaa1.".into(), ""),
            ("Squashed\n\ncommit bbbbbbb2\n\n    This reverts commit aaaaaaa1.".into(), ""),
            ("x\n\nThis reverts commit aaaaaaa1.\n\nbbbbbbb2 is another one".into(), "aaaaaaa1"),
            // As `git revert --reference` has it, below a title of one's own; and as argo-cd does.
            ("x\n\nThis reverts commit aaaaaaa (A, 2026-03-02).".into(), "aaaaaaa"),
            ("fix: revert the cart (#5)\r\n\r\nThis reverts commit aaaaaaa1.\r\n".into(), "aaaaaaa1"),
            // Squashed: what its branch took back, and what it does itself.
            (format!("Add b (#6)\n\n{list}"), ""),
            (format!("Add b (#6)\r\n\r\n{}", list.replace('\n', "\r\n")), ""),
            (format!("fix: Revert \"A\" (#6)\n\n{list}"), "aaaaaaa1 o/r#3"),
            ("Undo it\n\n* it is slow\n* it fails\n\nThis reverts commit aaaaaaa1.".into(), "aaaaaaa1"),
            ("Merge pull request #14 from o/revert-12-a\n\nRevert \"A\"".into(), "#12"),
            ("Merge pull request #14 from o/revert-12".into(), ""),
            ("Merge pull request #14 from o/revert-all-a".into(), ""),
        ] {
            assert_eq!(reverted(&message).join(" "), expected, "{message}");
        }
        assert_eq!(title("\nRevert \"x\"\n\nThis"), "Revert \"x\"");
    }

    #[test]
    fn a_commit_says_which_request_it_came_with() {
        for (message, expected) in [
            ("A (#12)", "#12"),
            ("Revert \"A (#12)\" (#14)", "#14"),
            ("Merge pull request #12 from o/cart", "#12"),
            ("Merge branch 'x' into 'main'\n\nA\n\nSee merge request group/sub/p!12", "!12"),
            ("A (#x)", ""),
            ("A #12", ""),
        ] {
            assert_eq!(requests(message).join(" "), expected, "{message}");
        }
        assert_eq!(picked("A\n\n(cherry picked from commit 1B2C3D4e5f)").as_deref(), Some("1b2c3d4e5f"));
        assert_eq!((plain("A (#12)"), plain("A (b)")), ("A", "A (b)"));
    }

    #[test]
    fn a_merge_says_what_its_request_is_called() {
        for (message, expected) in [
            ("Merge pull request #12 from o/cart\n\nAdd cart\n\nmore", Some("Add cart")),
            ("Merge branch 'x' into 'main'\n\nAdd cart\n\nSee merge request g/p!12", Some("Add cart")),
            ("Merge branch 'x' into 'main'\n\nSee merge request g/p!12", None),
            ("Merged in x (pull request #12)\n\nAdd cart\n\nApproved-by: A", Some("Add cart")),
            ("Merge branch 'x'\n\n* x:\n  A", None),
            ("Add cart\n\nmore", None),
        ] {
            assert_eq!(merged_request(message).as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn titles_say_how_often_something_is_taken_back() {
        for (title, expected) in [
            ("A", 0),
            ("Reverting things", 0),
            ("Revert \"A\" (#14)", 1),
            ("revert: A", 1),
            ("Revert \"Revert \"A\"\"", 2),
            ("Reapply \"A\"", 2),
            ("Revert \"Reapply \"A\"\"", 3),
        ] {
            assert_eq!(depth(title), expected, "{title}");
        }
        assert_eq!(named("revert(cart): A (#3)"), Some(("A", false)));
        assert_eq!(merged_from("Merge branch 'main' into hotfix/x"), "Merge branch 'main'");
    }
}
