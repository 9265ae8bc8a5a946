//! Rules of `sources`: names on forges, patterns, addresses.

use super::{Fault, Rule, length, require};

pub const FORGE_PROJECT: Rule =
    Rule {
        allowed: "`owner/name` or `group/subgroup/project`",
        check: |text| {
            let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            let parts: Vec<&str> = text.split('/').collect();
            require(parts.len() >= 2, "names no project of an owner or group")?;
            match parts.iter().any(|part| part.is_empty() || !part.chars().all(plain)) {
                true if text.contains("://") => Err(Fault::new("is an address")
                    .help("write the project's path alone, and the server as `url`")),
                true => Err(Fault::new("has a character that no project's path has")),
                false => Ok(()),
            }
        },
    };

pub const LABEL_TEXT: Rule = Rule {
    allowed: "1 to 128 characters without control characters",
    check: |text| {
        length(text.trim(), 1, 128)?;
        require(!text.chars().any(char::is_control), "has a control character in it")
    },
};

pub const TEAM: Rule = Rule {
    allowed: "`PATTERN=TEAM`, such as `cart*=orders`",
    check: |text| {
        let (pattern, team) = text.rsplit_once('=').unwrap_or((text, ""));
        require(!pattern.trim().is_empty() && !team.trim().is_empty(), "has no pattern or no team")?;
        (PATTERN.check)(pattern)?;
        (LABEL_TEXT.check)(team)
    },
};

pub const HOOK: Rule = Rule {
    allowed: "small letters, digits and `-`, such as `pagerduty-orders`",
    check: |text| {
        length(text, 1, 64)?;
        require(
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "has other characters in it",
        )
    },
};

pub const PATTERN: Rule = Rule {
    allowed: "a text with `*` (anything) and `?` (one character)",
    check: |text| length(text, 1, 256),
};

pub const INSIDE: Rule = Rule {
    allowed: "a folder or file of the repository, such as `services/cart`",
    check: |text| {
        length(text, 1, 512)?;
        let parts = || text.trim_end_matches('/').split('/');
        require(
            parts().all(|part| !part.is_empty() && part != "." && part != ".."),
            "is no path inside of it",
        )?;
        require(!text.contains(['*', '?']), "has a pattern in it")
    },
};

pub const URL: Rule = Rule {
    allowed: "an address that begins with https:// or http://",
    check: |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        match host {
            None => Err(Fault::new("begins with neither https:// nor http://")),
            Some("") => Err(Fault::new("names no host")),
            Some(host) if host.contains('@') => {
                Err(Fault::new("has a password in it").help("give the token in `token_file`"))
            }
            Some(_) => Ok(()),
        }
    },
};
