//! Templates → text. Every file that this program writes comes from a template
//! under `templates/` or `prometheus/`, which is embedded in the binary and may be
//! overridden file by file.
//!
//! What holds for every template:
//!
//! - An undefined name is an error that names file and line.
//! - A value is written in the spelling of the file it goes into, chosen by the
//!   file's name ([`format`]): JSON in YAML and JSON, quoted in shell scripts and
//!   unit files. There is no way to write a value as it is: no `safe`, and an
//!   `autoescape` block is refused.
//! - A value stands where that spelling means one value (`place`): inside quotes,
//!   a here-document or a longer word it would not, and that is an error too.
//! - White space is kept as it is, the last newline too; `{%-` takes away what is
//!   before a tag, as everywhere in Jinja.
//! - `ref(kind, name, field)` writes `${kind/name.field}`, the engine's reference.
//!
//! What is rendered, and from which values, is `blueprint`'s.

mod error;
mod format;
mod overrides;
mod place;
mod suggest;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, OutputSpan, OutputSpanKind, UndefinedBehavior};

pub use self::error::RenderError;
use self::format::Format;
pub use self::format::SUFFIX;
pub use self::overrides::{Overrides, read_overrides};

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../templates");

/// The collector's jobs, which `stack/prometheus.yml.j2` includes.
static JOBS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../prometheus");
const JOBS_FOLDER: &str = "prometheus/";
static JOB_NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = JOBS.files().filter_map(|file| file.path().to_str()).filter(|name| name.ends_with(SUFFIX));
    names.map(|name| format!("{JOBS_FOLDER}{name}")).collect()
});

/// The text of an embedded template.
pub fn embedded(name: &str) -> Option<&'static str> {
    match name.strip_prefix(JOBS_FOLDER) {
        Some(job) => JOBS.get_file(job)?.contents_utf8(),
        None => EMBEDDED.get_file(name)?.contents_utf8(),
    }
}

/// The names of all embedded templates (`vm/mimir.yaml.j2`), sorted.
pub fn embedded_names() -> BTreeSet<&'static str> {
    fn collect(dir: &Dir<'static>, names: &mut BTreeSet<&'static str>) {
        names.extend(
            dir.files().filter_map(|file| file.path().to_str()).filter(|name| name.ends_with(SUFFIX)),
        );
        dir.dirs().for_each(|dir| collect(dir, names));
    }
    let mut names = BTreeSet::new();
    collect(&EMBEDDED, &mut names);
    names.extend(JOB_NAMES.iter().map(String::as_str));
    names
}

/// The values that a template sees, by name.
#[derive(Clone, Debug)]
pub struct Context(Value);

impl Context {
    /// `values` is an object; its fields are the names.
    pub fn new(values: &serde_json::Value) -> Self {
        Self(value(values))
    }
}

/// JSON as the template engine's values.
pub fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.iter().map(value).collect(),
        serde_json::Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.iter().map(|(name, field)| (name.clone(), value(field))).collect();
            Value::from(fields)
        }
    }
}

/// A rendered template that still knows which line made what.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub text: String,
    spans: Vec<OutputSpan>,
}

impl Rendered {
    /// The template's line (from 1) that made the byte at `offset` of the text.
    pub fn template_line(&self, offset: usize) -> Option<usize> {
        let after = self.spans.partition_point(|span| span.output_range().start <= offset);
        let span = &self.spans[after.checked_sub(1)?];
        let newlines = match span.kind() {
            OutputSpanKind::Raw => {
                let range = span.output_range();
                let text = self.text.as_bytes().get(range.start..offset.min(range.end))?;
                text.iter().filter(|byte| **byte == b'\n').count()
            }
            _ => 0,
        };
        Some(span.line() + newlines)
    }
}

/// All templates, ready to render.
pub struct Renderer<'a> {
    overrides: &'a Overrides,
    environment: Environment<'static>,
}

impl<'a> Renderer<'a> {
    pub fn new(overrides: &'a Overrides) -> Self {
        Self { overrides, environment: environment(overrides) }
    }

    /// The names of the templates whose name starts with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let all: BTreeSet<&str> = embedded_names().into_iter().chain(self.overrides.names()).collect();
        all.into_iter().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Where a template comes from, for messages: its file, or its name with a
    /// word that it is built in.
    pub fn origin(&self, template: &str) -> String {
        self.overrides.origin(template).unwrap_or_else(|| format!("template {template} (built in)"))
    }

    /// The values that a template of its own text uses, dotted: `body.network`. What it includes, and
    /// what it only says in a loop of its own, is not among them.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn uses(&self, template: &str) -> Result<BTreeSet<String>, RenderError> {
        let compiled = self.environment.get_template(template).map_err(|error| match error.kind() {
            ErrorKind::TemplateNotFound => RenderError::unknown(template, &self.names("")),
            _ => RenderError::from_engine(&error, template, |name| self.origin(name)),
        })?;
        Ok(compiled.undeclared_variables(true).into_iter().collect())
    }

    /// Renders one template.
    ///
    /// # Errors
    /// No such template, an undefined name, a syntax error, a value that the
    /// file's format has no spelling for, a value in a place where it could break out.
    pub fn render(&self, template: &str, context: &Context) -> Result<Rendered, RenderError> {
        let wrap =
            |error: minijinja::Error| RenderError::from_engine(&error, template, |name| self.origin(name));
        let compiled = self.environment.get_template(template).map_err(|error| match error.kind() {
            ErrorKind::TemplateNotFound => RenderError::unknown(template, &self.names("")),
            _ => wrap(error),
        })?;
        let (text, spans) = compiled.render_with_spans(context.0.clone()).map_err(wrap)?;
        place::check(Format::of(template), &text, &spans).map_err(|misplaced| RenderError::Template {
            file: self.origin(misplaced.template),
            line: Some(misplaced.line),
            message: misplaced.message.to_owned(),
        })?;
        Ok(Rendered { text, spans })
    }
}

/// The mark by which the formatter knows that no `autoescape` block is around it.
const ESCAPING: AutoEscape = AutoEscape::Custom(Cow::Borrowed("by file name"));

/// Before the name of a template that has no place where it is included.
const FOREIGN: &str = "\0";

fn environment(overrides: &Overrides) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Only so do errors name what was undefined.
    environment.set_debug(true);
    environment.set_syntax(
        SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()
            .expect("the standard delimiters are valid"),
    );
    environment.set_auto_escape_callback(|_| ESCAPING);
    environment.set_formatter(|out, state, value| {
        if *state.auto_escape() != ESCAPING {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                "an `autoescape` block is not allowed: values are always written in the file's own spelling",
            ));
        }
        let text = Format::of(state.name()).spell(value)?;
        out.write_str(&text).map_err(Into::into)
    });
    // Each of these makes text that claims to be spelled already.
    for filter in ["safe", "escape", "e", "tojson"] {
        environment.remove_filter(filter);
    }
    // Shows all values in the output.
    environment.remove_global("debug");
    environment.add_function("ref", reference);
    // A file's values are spelled by its own name: text of another format has no place in it.
    environment.set_path_join_callback(|name, parent| {
        if Format::of(name) == Format::of(parent) { name.into() } else { format!("{FOREIGN}{name}").into() }
    });
    let overridden = overrides.clone();
    environment.set_loader(move |name| {
        if let Some(name) = name.strip_prefix(FOREIGN) {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("{name} cannot be included here, as its values are spelled for another format"),
            ));
        }
        Ok(overridden.get(name).or_else(|| embedded(name)).map(str::to_owned))
    });
    environment
}

/// `${kind/name.field}`: a value that is known once that resource exists. It takes
/// owned texts, as only then does the engine refuse an undefined one by its name.
fn reference(kind: String, name: String, field: String) -> Result<String, minijinja::Error> {
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if plain(&kind, ".") && kind.contains('.') && plain(&name, "._/-") && plain(&field, "._") {
        Ok(format!("${{{kind}/{name}.{field}}}"))
    } else {
        Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!(
                "ref({kind:?}, {name:?}, {field:?}) names no resource: it takes a kind, a name and a field"
            ),
        ))
    }
}

#[cfg(test)]
mod tests;
