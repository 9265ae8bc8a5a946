//! `templates/resources/*` → manifests, and the files that show them.

use std::collections::BTreeSet;

use dorainfra_engine::Manifest;
use dorainfra_render::{Context, Rendered, Renderer};
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};

use super::{BlueprintError, File};

/// The folder of the resource templates; each may hold several documents.
const TEMPLATES: &str = "resources/";

/// Renders every resource template.
///
/// # Errors
/// A template cannot be rendered, or what it renders is not a manifest.
pub(super) fn manifests(
    renderer: &Renderer<'_>,
    context: &Context,
) -> Result<(Vec<Manifest>, Vec<File>), BlueprintError> {
    let mut manifests = Vec::new();
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for template in renderer.names(TEMPLATES) {
        let rendered = renderer.render(&template, context)?;
        for document in documents(&rendered.text) {
            let reader = Reader { file: renderer.origin(&template), rendered: &rendered, document };
            let manifest = reader.manifest()?;
            let id = manifest.id();
            if !seen.insert(id.clone()) {
                let line = rendered.template_line(document.start).unwrap_or(1);
                return Err(BlueprintError::Twice { file: reader.file, line, id });
            }
            files.push(File {
                // An object's name may have slashes; a file beside the others may not.
                path: format!("{TEMPLATES}{}.{}.yaml", id.kind, id.name.replace('/', "_")),
                contents: document.text.to_owned(),
                executable: false,
            });
            manifests.push(manifest);
        }
    }
    Ok((manifests, files))
}

/// A part of a rendered text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Document<'a> {
    /// Where it starts in the whole, bytes.
    start: usize,
    text: &'a str,
}

/// Cuts at lines that are `---`. No value can make such a line, as each is on
/// one line of its own. Parts with nothing but comments are none.
fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut end = 0;
    let mut close = |start: usize, end: usize| {
        let part = &text[start..end];
        let comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if !part.lines().all(comment) {
            let blank = part.len() - part.trim_start_matches('\n').len();
            documents.push(Document { start: start + blank, text: &part[blank..] });
        }
    };
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            close(start, end);
            start = end + line.len();
        }
        end += line.len();
    }
    close(start, end);
    documents
}

/// Reads one document, and tells of an error by the template's line.
struct Reader<'a> {
    file: String,
    rendered: &'a Rendered,
    document: Document<'a>,
}

impl Reader<'_> {
    fn manifest(&self) -> Result<Manifest, BlueprintError> {
        let options = serde_saphyr::options! {
            // YAML 1.2: `no` and `on` are texts.
            strict_booleans: true,
            underscored_numbers_as_strings: true,
            leading_zero_numbers_as_strings: true,
            with_snippet: false,
            emit_comments: false,
        };
        let manifest: Manifest =
            serde_saphyr::from_str_with_options(self.document.text, options).map_err(|error| {
                let error = error.without_snippet();
                let line = error.location().map_or(1, |location| location.line());
                self.error(line as usize, DefaultMessageFormatter.format_message(error).into_owned())
            })?;
        self.check(&manifest)?;
        Ok(manifest)
    }

    /// Names become file names and parts of URLs.
    fn check(&self, manifest: &Manifest) -> Result<(), BlueprintError> {
        let plain = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let line_of = |key: &str| {
            let mut lines = self.document.text.lines();
            lines.position(|line| line.starts_with(key)).map_or(1, |index| index + 1)
        };
        if !plain(&manifest.kind, ".") || !manifest.kind.contains('.') {
            let message = format!("`{}` is not a kind, such as compute.disk", manifest.kind.escape_debug());
            return Err(self.error(line_of("kind:"), message));
        }
        if !plain(&manifest.name, "._/-") || manifest.name.contains("..") {
            let message = format!("`{}` is not a resource's name", manifest.name.escape_debug());
            return Err(self.error(line_of("name:"), message));
        }
        if !manifest.body.is_object() {
            return Err(self.error(line_of("body:"), "`body` is not a mapping of fields".into()));
        }
        Ok(())
    }

    /// `line` counts from 1 in the document.
    fn error(&self, line: usize, message: String) -> BlueprintError {
        let before = self.document.text.split_inclusive('\n').take(line.saturating_sub(1));
        let offset = self.document.start + before.map(str::len).sum::<usize>();
        BlueprintError::Manifest {
            file: self.file.clone(),
            line: self.rendered.template_line(offset),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_manifests_are_told_or_read() {
        dorainfra_testutils::fuzzing::five_seconds("manifests", |input| {
            let text = String::from_utf8_lossy(input);
            for document in documents(&text) {
                if let Ok(manifest) = serde_saphyr::from_str::<Manifest>(document.text) {
                    let _ = (manifest.id().to_string(), dorainfra_engine::digest(&manifest));
                }
            }
        });
    }

    #[test]
    fn documents_are_cut_at_their_separators_and_know_where_they_start() {
        let text = "# only a comment\n---\na: 1\n---\n\n\nb: \"---\"\n--- \n";
        let parts = documents(text);
        assert_eq!(parts.iter().map(|part| part.text).collect::<Vec<_>>(), ["a: 1\n", "b: \"---\"\n"]);
        assert!(parts.iter().all(|part| text[part.start..].starts_with(part.text)));
        assert_eq!(documents(""), []);
    }
}
