//! Templates that a user puts in the place of embedded ones, file by file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dorainfra_base::file;

use super::suggest::nearest;
use super::{RenderError, embedded_names};

/// Template name (`vm/mimir.yaml.j2`) → text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    files: BTreeMap<String, String>,
    /// Where the files were read, for messages.
    dir: Option<PathBuf>,
}

impl Overrides {
    pub fn none() -> Self {
        Self::default()
    }

    /// Texts that come from no folder. Names are not checked.
    pub fn from_map(files: BTreeMap<String, String>) -> Self {
        Self { files, dir: None }
    }

    pub fn get(&self, template: &str) -> Option<&str> {
        self.files.get(template).map(String::as_str)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The file that overrides `template`; `None`: it is not overridden.
    pub(super) fn origin(&self, template: &str) -> Option<String> {
        self.files.contains_key(template).then(|| match &self.dir {
            Some(dir) => dir.join(template).display().to_string(),
            None => template.to_owned(),
        })
    }
}

/// Reads a folder of overrides. Files and folders whose name starts with a dot
/// are left alone; every other file must have the path of an embedded template,
/// as a misspelled one would silently override nothing.
///
/// # Errors
/// A file that overrides nothing, or that cannot be read as text.
pub fn read_overrides(dir: &Path) -> Result<Overrides, RenderError> {
    let mut files = BTreeMap::new();
    read_into(dir, "", &mut files)?;
    Ok(Overrides { files, dir: Some(dir.to_owned()) })
}

fn read_into(dir: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<(), RenderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| RenderError::Read { path, source }
    };
    let mut entries =
        fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed(dir))?;
    // The first error is the same one on every machine.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let template = format!("{prefix}{name}");
        if fs::metadata(&path).map_err(failed(&path))?.is_dir() {
            read_into(&path, &format!("{template}/"), files)?;
            continue;
        }
        let known = embedded_names();
        if !known.contains(template.as_str()) {
            let nearest = nearest(&template, known.into_iter()).map(str::to_owned);
            return Err(RenderError::UnknownOverride { path, nearest });
        }
        let text = file::text(&path).map_err(failed(&path))?;
        files.insert(template, text);
    }
    Ok(())
}
