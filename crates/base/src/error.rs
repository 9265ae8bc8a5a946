//! What caused an error: the one way through its sources.

use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::ops::Deref;
use std::sync::Arc;

/// What caused an error that is cloned.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why something failed, in the words that people read, with the error that they come from, where it was one.
/// As the `#[source]` of another error it is that error itself, and no step on the way to it.
#[derive(Clone, Debug)]
pub struct Why {
    words: String,
    cause: Option<Cause>,
}

impl Why {
    /// What an error says of itself.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self { words: error.to_string(), cause: Some(Arc::new(error)) }
    }

    /// What an error comes down to, with all between: [`reason`].
    pub fn reason(error: impl Error + Send + Sync + 'static) -> Self {
        Self { words: reason(&error), cause: Some(Arc::new(error)) }
    }

    /// Other words for an error.
    pub fn said(words: impl Into<String>, error: impl Error + Send + Sync + 'static) -> Self {
        Self { words: words.into(), cause: Some(Arc::new(error)) }
    }

    /// The same after where it was: `key.json: not a credentials file`.
    #[must_use]
    pub fn after(self, place: &str) -> Self {
        Self { words: format!("{place}: {}", self.words), ..self }
    }
}

impl Deref for Why {
    type Target = str;

    fn deref(&self) -> &str {
        &self.words
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Why {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl From<String> for Why {
    fn from(words: String) -> Self {
        Self { words, cause: None }
    }
}

impl From<&str> for Why {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

/// An error and what caused it, the outermost first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(itself(error).or(Some(error)), |&error| {
        let source = match error.downcast_ref::<std::io::Error>() {
            // It passes the source of the error that it wraps on, and hides that error itself.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
        source.and_then(itself)
    })
}

/// An error, and not what it is kept in: that can't be asked what it is. Words alone are no error.
fn itself<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(why) = error.downcast_ref::<Why>() {
        return why.cause.as_ref().and_then(|cause| itself(&**cause));
    }
    match error.downcast_ref::<Cause>() {
        Some(cause) => itself(&**cause),
        None => Some(error),
    }
}

/// The whole of it in a line, `connection failed: refused`.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error) {
        let words = cause.to_string();
        // reqwest puts the URL into its first words; the caller names it already.
        let words = words.split(" for url (").next().unwrap_or_default();
        if !text.ends_with(words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(words);
        }
    }
    text
}

/// What it comes down to.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Layer {
        words: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn layer(words: &'static str, source: Option<Box<dyn Error + Send + Sync>>) -> Layer {
        Layer { words, source }
    }

    #[test]
    fn a_chain_goes_through_what_an_io_error_wraps() {
        let refused = layer("connection refused", None);
        let io = std::io::Error::other(refused);
        let error =
            layer("no answer for url (http://x/)", Some(Box::new(layer("can't connect", Some(io.into())))));
        assert_eq!(chain(&error).count(), 4);
        assert_eq!(reason(&error), "no answer: can't connect: connection refused");
        assert_eq!(innermost(&error), "connection refused");
        // What is kept to be cloned is seen as what it is.
        let io = std::io::Error::other(layer("connection refused", None));
        let shared = layer("no answer", Some(Box::new(Cause::from(Box::from(io)))));
        assert_eq!(chain(&shared).count(), 3);
        // Words that people read are in the message already; what they come from is a cause.
        let why = Why::reason(layer("can't connect", Some(Box::new(layer("connection refused", None)))));
        assert_eq!(why.to_string(), "can't connect: connection refused");
        assert_eq!(chain(&layer("no answer", Some(Box::new(why)))).count(), 3);
        assert_eq!(chain(&layer("no answer", Some(Box::new(Why::from("words"))))).count(), 1);
        let alone = layer("alone", None);
        assert_eq!((reason(&alone), innermost(&alone)), ("alone".into(), "alone".into()));
    }
}
