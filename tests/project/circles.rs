//! No two modules of a crate know each other, directly or around corners; only a file and the
//! files of its own folder may, as they are one thing in several parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

/// A module's place in its crate: `["resource", "bucket"]`; empty for the root.
type Module = Vec<String>;

/// What a module names, as written: `["crate", "a", "B"]`.
#[derive(Default)]
struct Names {
    used: Vec<Vec<String>>,
    /// What it passes on: under which name, and what.
    exported: Vec<(String, Vec<String>)>,
    /// Modules inside of the file that the visitor is in.
    inside: Vec<String>,
}

impl Names {
    fn add(&mut self, mut path: Vec<String>, exported_as: Option<String>) {
        // `super` in a module within the file is the file.
        let mut depth = self.inside.len();
        while depth > 0 && path.first().is_some_and(|first| first == "super") {
            path.remove(0);
            depth -= 1;
        }
        match (depth == 0 && !self.inside.is_empty(), exported_as) {
            (true, _) if path.first().is_none_or(|first| first != "super") => {
                path.insert(0, "self".into());
                self.used.push(path);
            }
            (_, Some(name)) => self.exported.push((name, path)),
            (_, None) => self.used.push(path),
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), is_public),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|one| self.tree(one, before, is_public))
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                let exported = before.last().filter(|_| is_public).cloned();
                self.add(before.to_vec(), exported);
            }
            syn::UseTree::Name(name) => {
                self.add(with(&name.ident), is_public.then(|| name.ident.to_string()));
            }
            syn::UseTree::Rename(renamed) => {
                self.add(with(&renamed.ident), is_public.then(|| renamed.rename.to_string()));
            }
            syn::UseTree::Glob(_) => self.add(before.to_vec(), None),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    };
    attributes.iter().any(is_test)
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() && !is_for_tests(&module.attrs) {
            self.inside.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.inside.pop();
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), None);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // What a macro is given is no syntax tree.
        let tokens = call.tokens.to_string().replace(" :: ", "::");
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for word in tokens.split(|c| !is_name(c)).filter(|word| word.contains("::")) {
            self.add(word.split("::").map(str::to_owned).collect(), None);
        }
        visit::visit_macro(self, call);
    }
}

/// The modules of a crate from their sources, each with those that it uses.
fn uses(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut names: BTreeMap<&Module, Names> = BTreeMap::new();
    for (module, text) in sources {
        let mut found = Names::default();
        found.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{module:?}: {error}")));
        names.insert(module, found);
    }
    let absolute = |module: &Module, path: &[String]| -> Option<Vec<String>> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let above = |ups: usize, rest: &[String]| [&module[..module.len() - ups], rest].concat();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some(above(0, &path[1..])),
            "super" => Some(above(ups.min(module.len()), &path[ups..])),
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                sources.contains_key(&child).then(|| above(0, path))
            }
        }
    };
    // Where something is defined, and not who passes it on.
    let defined = |path: Vec<String>| -> Module {
        let mut path = path;
        for _ in 0..10 {
            let length = (0..=path.len()).rev().find(|&length| sources.contains_key(&path[..length]));
            let (module, rest) = path.split_at(length.unwrap_or(0));
            let module = module.to_vec();
            let passed = rest.first().and_then(|name| {
                let exported = &names.get(&module)?.exported;
                let (_, target) = exported.iter().find(|(as_name, _)| as_name == name)?;
                absolute(&module, target)
            });
            match passed {
                Some(target) => path = [target.as_slice(), &rest[1..]].concat(),
                None => return module,
            }
        }
        path
    };
    let of = |module: &Module, names: &Names| -> BTreeSet<Module> {
        // Who passes something on knows it, but for a crate's root, which is its modules' face.
        let exported = names.exported.iter().map(|(_, path)| path).filter(|_| !module.is_empty());
        let paths = names.used.iter().chain(exported).filter_map(|path| absolute(module, path));
        paths.map(defined).filter(|other| other != module).collect()
    };
    names.iter().map(|(module, names)| ((*module).clone(), of(module, names))).collect()
}

/// Modules that know each other without being a file and the files of its folder.
fn circles(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let reaches: BTreeMap<&Module, BTreeSet<&Module>> = uses
        .keys()
        .map(|module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![module]);
            while let Some(next) = open.pop() {
                open.extend(uses.get(next).into_iter().flatten().filter(|other| seen.insert(*other)));
            }
            (module, seen)
        })
        .collect();
    let mut found: BTreeSet<Vec<&Module>> = BTreeSet::new();
    for (module, reached) in &reaches {
        if reached.contains(module) {
            let circle =
                reached.iter().filter(|other| reaches.get(**other).is_some_and(|back| back.contains(module)));
            found.insert(circle.copied().collect());
        }
    }
    let is_one_thing = |circle: &Vec<&Module>| {
        let mut heads = circle.iter().filter(|module| !module.is_empty());
        heads.any(|head| circle.iter().all(|module| module.starts_with(head)))
    };
    let name = |module: &Module| if module.is_empty() { "lib".to_owned() } else { module.join("::") };
    let circles = found.into_iter().filter(|circle| !is_one_thing(circle));
    circles.map(|circle| circle.into_iter().map(name).collect()).collect()
}

fn read(root: &Path, folder: &Path, sources: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                read(root, &path, sources);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "main.rs" {
            let inside = path.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            sources.insert(module, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_modules_of_a_crate_know_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(root.join("crates")).unwrap();
    let mut roots: Vec<_> = crates.map(|entry| entry.unwrap().path().join("src")).collect();
    roots.push(root.join("src"));
    let (mut problems, mut modules) = (Vec::new(), 0);
    for src in roots {
        let mut sources = BTreeMap::new();
        read(&src, &src, &mut sources);
        modules += sources.len();
        for circle in circles(&uses(&sources)) {
            problems.push(format!("{}: {}", src.display(), circle.join(", ")));
        }
    }
    assert!(modules > 300, "the sources are not where this test looks");
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let circles_of = |files: &[(&str, &str)]| {
        let module = |name: &str| -> Module {
            name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let sources = files.iter().map(|(name, text)| (module(name), (*text).to_owned())).collect();
        circles(&uses(&sources))
    };
    let found = [vec!["a".to_owned(), "b".to_owned()]];
    for a in [
        "use super::b::B;",
        "pub use super::b::B;",
        "use crate::{x, b};",
        "fn f() { crate::b::g() }",
        "fn f() { println!(\"{}\", crate::b::g()) }",
        "use super::B;",
        "mod inner { use super::super::b::B; }",
    ] {
        let root = "mod a; mod b; mod x; pub use b::B;";
        assert_eq!(circles_of(&[("", root), ("a", a), ("b", "use super::a::A;"), ("x", "")]), found, "{a}");
    }
    let around = [("", ""), ("a", "use crate::b::B;"), ("b", "use crate::x::X;"), ("x", "use crate::a::A;")];
    assert_eq!(circles_of(&around), [["a", "b", "x"]]);
    let none: [&[(&str, &str)]; 3] = [
        &[("", ""), ("a", "mod part; use self::part::P;"), ("a::part", "use super::A;")],
        &[("", ""), ("a", "use crate::b::B;"), ("b", "#[cfg(test)] mod tests { use crate::a::A; }")],
        &[("", "pub use a::A;"), ("a", ""), ("b", "use crate::A;")],
    ];
    for files in none {
        assert_eq!(circles_of(files), Vec::<Vec<String>>::new(), "{files:?}");
    }
    let with_the_root = [("", "use a::A; pub struct Root;"), ("a", "use crate::Root;")];
    assert_eq!(circles_of(&with_the_root), [["lib", "a"]]);
}
