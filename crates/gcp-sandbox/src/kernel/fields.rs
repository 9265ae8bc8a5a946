//! Partial answers: the `fields` parameter of every method, `items(id,labels/a),next`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::ApiError;

/// What is asked for; a name without any below it is the whole of it.
#[derive(Debug, Default, PartialEq)]
pub struct Mask(BTreeMap<String, Mask>);

impl Mask {
    /// Reads a parameter's value.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut mask = Self::default();
        let rest = mask.add(text);
        match rest {
            Some("") if !mask.0.is_empty() => Ok(mask),
            _ => Err(ApiError::new(400, "invalidParameter", format!("Invalid field selection {text}"))),
        }
    }

    /// Takes selections up to a closing parenthesis, or the end; answers the rest.
    fn add<'a>(&mut self, mut text: &'a str) -> Option<&'a str> {
        loop {
            let mut at = &mut *self;
            loop {
                let end = text.find(['/', ',', '(', ')']).unwrap_or(text.len());
                let (name, rest) = text.split_at(end);
                if name.trim().is_empty() {
                    return None;
                }
                at = at.0.entry(name.trim().to_owned()).or_default();
                text = rest;
                match text.strip_prefix('/') {
                    Some(below) => text = below,
                    None => break,
                }
            }
            if let Some(below) = text.strip_prefix('(') {
                text = at.add(below)?.strip_prefix(')')?;
            }
            match text.strip_prefix(',') {
                Some(next) => text = next,
                None => return Some(text),
            }
        }
    }

    /// Leaves of an answer what is asked for.
    pub fn apply(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(members) => {
                members.retain(|name, _| self.of(name).is_some());
                for (name, member) in members {
                    if let Some(below) = self.of(name).filter(|below| !below.0.is_empty()) {
                        below.apply(member);
                    }
                }
            }
            _ => {}
        }
    }

    fn of(&self, name: &str) -> Option<&Self> {
        self.0.get(name).or_else(|| self.0.get("*"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_is_left() {
        let whole = json!({"kind": "k", "nextPageToken": "n",
            "items": [{"id": 1, "labels": {"a": "1", "b": "2"}, "disks": [{"boot": true, "mode": "x"}]}]});
        for (fields, left) in [
            ("kind", json!({"kind": "k"})),
            ("items/id,kind", json!({"kind": "k", "items": [{"id": 1}]})),
            ("items(id,labels/a)", json!({"items": [{"id": 1, "labels": {"a": "1"}}]})),
            (
                "items/disks(boot),nextPageToken",
                json!({"nextPageToken": "n", "items": [{"disks": [{"boot": true}]}]}),
            ),
            ("items/*/boot", json!({"items": [{"id": 1, "labels": {}, "disks": [{"boot": true}]}]})),
            ("*", whole.clone()),
        ] {
            let mut value = whole.clone();
            Mask::parse(fields).unwrap().apply(&mut value);
            assert_eq!(value, left, "{fields}");
        }
        for bad in ["", "a(", "a)", "(a)", "a,,b", "a/", "a(b))"] {
            assert_eq!(Mask::parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
