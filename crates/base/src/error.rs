//! What caused an error: the one way through its sources.

use std::error::Error;
use std::iter::successors;

/// An error and what caused it, the outermost first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<std::io::Error>() {
        // It passes the source of the error that it wraps on, and hides that error itself.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
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
        let alone = layer("alone", None);
        assert_eq!((reason(&alone), innermost(&alone)), ("alone".into(), "alone".into()));
    }
}
