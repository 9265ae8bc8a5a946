//! Rules of container images: a reference that always means the same image.

use super::{Fault, Rule, require};

/// A reference as the OCI distribution specification has it, pinned by a tag other
/// than `latest`, by a digest, or by both.
pub const IMAGE: Rule = Rule {
    allowed: "`[registry/]name:tag`, `name@sha256:digest` or both; not `latest`",
    check: |text| {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            let sound = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            require(sound, "has a digest that is not `sha256:` and 64 hexadecimal digits")?;
        }
        // A registry's port is before the last slash, a tag behind it.
        let slash = named.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match named[slash..].split_once(':') {
            Some((name, tag)) => (format!("{}{name}", &named[..slash]), Some(tag)),
            None => (named.to_owned(), None),
        };
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        require(name.split('/').all(|part| word(part, "-_.:")), "is no name of an image")?;
        match (tag, digest) {
            (Some(tag), _) if !word(tag, "-_.") => Err(Fault::new("has a tag that no image can have")),
            (None | Some("latest"), None) => {
                Err(Fault::new("means another image from day to day").help("name a version, or a digest"))
            }
            _ => Ok(()),
        }
    },
};

#[cfg(test)]
mod tests {
    use super::super::verdicts;
    use super::*;

    #[test]
    fn a_reference_is_pinned() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        let texts = [
            "prom/prometheus:v3.5.0",
            "mirror.example:5000/prom/prometheus:v3.5.0",
            &format!("prom/prometheus{digest}"),
            &format!("prom/prometheus:v3.5.0{digest}"),
            "prom/prometheus",
            "mirror.example:5000/prom/prometheus",
            "prom/prometheus:latest",
            "prom/prometheus@sha256:0a",
            "prom//prometheus:v3",
            "prom/prometheus:v 3",
        ];
        let verdicts = verdicts(IMAGE, &texts).replace(&digest, "@DIGEST");
        insta::assert_snapshot!(verdicts, @r"
        prom/prometheus:v3.5.0       ok
        mirror.example:5000/prom/prometheus:v3.5.0 ok
        prom/prometheus@DIGEST ok
        prom/prometheus:v3.5.0@DIGEST ok
        prom/prometheus              means another image from day to day -> name a version, or a digest
        mirror.example:5000/prom/prometheus means another image from day to day -> name a version, or a digest
        prom/prometheus:latest       means another image from day to day -> name a version, or a digest
        prom/prometheus@sha256:0a    has a digest that is not `sha256:` and 64 hexadecimal digits
        prom//prometheus:v3          is no name of an image
        prom/prometheus:v 3          has a tag that no image can have
        ");
    }
}
