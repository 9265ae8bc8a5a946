//! The recordings that README.md shows, as `scripts/record` made them.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use regex::Regex;

const LARGEST: usize = 300_000;

/// Why a picture can't be shown to others, from within a page, by itself.
fn unfit(svg: &str) -> Vec<String> {
    let mut why = Vec::new();
    if svg.len() > LARGEST {
        why.push(format!("{} bytes are more than {LARGEST}", svg.len()));
    }
    let lower = svg.to_lowercase();
    for never in ["<script", "<foreignobject", "<image", "@import", "@font-face", "url(", "<!entity"] {
        if lower.contains(never) {
            why.push(format!("it has {never}"));
        }
    }
    // Of the one namespace apart.
    let references = Regex::new(r#"(?:href|src)="([^"]*)"|\son\w+="|https?://[^"<\s]*"#).unwrap();
    for found in references.find_iter(&svg.replace("xmlns=\"http://www.w3.org/2000/svg\"", "")) {
        // An address on loopback is text that was shown.
        let own = found.as_str().starts_with("href=\"#") || found.as_str().starts_with("https://127.");
        if !own {
            why.push(format!("it refers to {}", found.as_str()));
        }
    }
    let folders = Regex::new(r"/(?:tmp|home|root|work|var|Users|mnt|srv|opt)\b[^<\s]*|~/|\w@\w").unwrap();
    why.extend(folders.find_iter(svg).map(|found| format!("it names {}", found.as_str())));
    why
}

#[test]
fn recordings_play_by_themselves_and_tell_nothing_of_the_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let tags = Regex::new("<[^>]*>").unwrap();
    for (name, command, shows) in [
        ("plan", "dorainfra plan --sandbox", ["Reachable", "Billed", "22 to create"]),
        (
            "apply",
            "dorainfra apply --sandbox",
            ["Apply this?", "every sample of the history is stored", "apply: "],
        ),
    ] {
        let svg = fs::read_to_string(root.join(format!("docs/recordings/{name}.svg"))).unwrap();
        assert_eq!(unfit(&svg), Vec::<String>::new(), "{name}.svg: scripts/record makes another");
        assert!(svg.contains(" infinite") && svg.contains("@keyframes"), "{name}.svg does not move");
        assert!(
            svg.contains(&format!("aria-label=\"A terminal: {command}\"")),
            "{name}.svg is of another command"
        );
        let parsed = dorainfra::commands::Cli::command().try_get_matches_from(command.split(' '));
        assert!(parsed.is_ok(), "{command}: {parsed:?}");
        let words = tags.replace_all(&svg, " ");
        for text in shows {
            assert!(words.contains(text), "{name}.svg does not show {text:?}");
        }
        assert!(
            readme.contains(&format!("](docs/recordings/{name}.svg)")),
            "README.md does not show {name}.svg"
        );
    }
}

#[test]
fn what_a_recording_may_not_have_is_found() {
    let whole = |inner: &str| format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{inner}</svg>");
    for fit in ["<use href=\"#r1\"/>", "<text>endpoint  https://127.0.0.1:9009 in .dorainfra/tls</text>"] {
        assert_eq!(unfit(&whole(fit)), Vec::<String>::new());
    }
    for (bad, says) in [
        ("<script>1</script>", "<script"),
        ("<g onload=\"x()\"/>", "onload"),
        ("<use href=\"https://example.com/a.svg#b\"/>", "example.com"),
        ("<style>@font-face{src:local(a)}</style>", "@font-face"),
        ("<text>written to /tmp/tmp.x/key.json</text>", "/tmp/tmp.x/key.json"),
        ("<text>you@host</text>", "u@h"),
    ] {
        let why = unfit(&whole(bad));
        assert!(why.iter().any(|why| why.contains(says)), "{bad}: {why:?}");
    }
    assert_eq!(unfit(&"x".repeat(LARGEST + 1)).len(), 1);
}
