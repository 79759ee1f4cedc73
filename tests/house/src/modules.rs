//! The modules of one crate and the paths that each of them names.
//!
//! Only paths that can reach another module of the crate are kept: those that begin with `crate`,
//! `self` or `super`, or with the name of a child module. Whatever is compiled only for tests is
//! left out.

mod names;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use syn::Item;

use crate::checkout::TextFile;
use names::{Binding, Mention};

/// The segments of a path from the crate's root, without `crate`: `["drain", "victim"]`.
pub type ModulePath = Vec<String>;

/// A place where a module names something of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The module with the source line.
    pub from: ModulePath,
    /// The module in which the named item is defined, as far as sources tell.
    pub to: ModulePath,
    /// True for `pub use`, whatever its visibility is restricted to.
    pub reexport: bool,
    /// The place, `crates/core/src/limit.rs:12`.
    pub place: String,
}

/// All modules of one crate.
#[derive(Debug, Default)]
pub struct Modules {
    by_path: BTreeMap<ModulePath, Module>,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    mentions: Vec<Mention>,
}

impl Modules {
    /// Reads a crate from its files, of which `src/lib.rs` or `src/main.rs` is the root.
    ///
    /// # Errors
    /// If there is no root, a module's file is missing, or a file is not Rust.
    pub fn read(files: &[TextFile]) -> Result<Self> {
        let is_root = |file: &&TextFile, name| file.name.ends_with(name);
        let root = files
            .iter()
            .find(|file| is_root(file, "src/lib.rs"))
            .or_else(|| files.iter().find(|file| is_root(file, "src/main.rs")))
            .context("the crate has neither src/lib.rs nor src/main.rs")?;
        let folder = root.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut modules = Self::default();
        modules.add_file(files, root, folder, Vec::new())?;
        Ok(modules)
    }

    /// The paths of all modules, the root's empty one included.
    pub fn paths(&self) -> impl Iterator<Item = &ModulePath> {
        self.by_path.keys()
    }

    /// The names of the modules directly inside of `path`.
    pub fn children(&self, path: &[String]) -> Vec<String> {
        self.by_path.get(path).map_or_else(Vec::new, |it| it.children.iter().cloned().collect())
    }

    /// Returns every import of one module of the crate by another one.
    pub fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for (path, module) in &self.by_path {
            for mention in &module.mentions {
                let Some(target) = self.absolute(path, mention) else { continue };
                let to = self.home(&target, 0);
                if to != *path {
                    let place = format!("{}:{}", module.file, mention.line);
                    found.push(Import { from: path.clone(), to, reexport: mention.public, place });
                }
            }
        }
        found.dedup();
        found
    }

    fn add_file(
        &mut self,
        files: &[TextFile],
        file: &TextFile,
        folder: &str,
        path: ModulePath,
    ) -> Result<()> {
        let parsed =
            syn::parse_file(&file.text).with_context(|| format!("parsing {}", file.name))?;
        self.add(files, file, folder, path, parsed.items)
    }

    /// Adds a module and, recursively, its children. Their files lie in `folder`.
    fn add(
        &mut self,
        files: &[TextFile],
        file: &TextFile,
        folder: &str,
        path: ModulePath,
        items: Vec<Item>,
    ) -> Result<()> {
        let mut module = Module { file: file.name.clone(), ..Module::default() };
        for item in items.into_iter().filter(|item| !names::is_test_item(item)) {
            let Item::Mod(child) = item else {
                module.items.extend(names::defined(&item));
                names::mentioned(&item, &mut module.mentions);
                continue;
            };
            let name = child.ident.to_string();
            module.children.insert(name.clone());
            let below = [path.clone(), vec![name.clone()]].concat();
            let folder = format!("{folder}/{name}");
            if let Some((_, items)) = child.content {
                self.add(files, file, &folder, below, items)?;
                continue;
            }
            let wanted = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
            let Some(file) = files.iter().find(|file| wanted.contains(&file.name)) else {
                bail!("{} declares the module {name}, but has no file for it", file.name);
            };
            self.add_file(files, file, &folder, below)?;
        }
        self.by_path.insert(path, module);
        Ok(())
    }

    /// Resolves `crate`, `self`, `super` and child modules. Other paths leave the crate.
    fn absolute(&self, module: &[String], mention: &Mention) -> Option<ModulePath> {
        let segments = &mention.segments;
        let supers = segments.iter().take_while(|it| *it == "super" || *it == "self").count();
        let (prefix, rest) = segments.split_at(supers);
        if segments.first()? == "crate" {
            return Some(segments[1..].to_vec());
        }
        if prefix.is_empty() {
            let children = &self.by_path.get(module)?.children;
            // A single name in code is a variable or an item rather than a module.
            let is_path = segments.len() > 1 || !matches!(mention.binding, Binding::None);
            let is_child = is_path && children.contains(&segments[0]);
            return is_child.then(|| [module, segments].concat());
        }
        let up = prefix.iter().filter(|it| *it == "super").count();
        let base = &module[..module.len().checked_sub(up)?];
        Some([base, rest].concat())
    }

    /// Finds the module that defines the item at `target`. A re-export leads on, but only to
    /// modules below the one that re-exports: a face shows its own rooms.
    fn home(&self, target: &[String], hops: usize) -> ModulePath {
        let mut at = ModulePath::new();
        for (index, segment) in target.iter().enumerate() {
            let Some(module) = self.by_path.get(&at) else { break };
            if module.children.contains(segment) {
                at.push(segment.clone());
                continue;
            }
            if hops < 8
                && !module.items.contains(segment)
                && let Some(source) = self.reexported(&at, module, segment)
            {
                return self.home(&[&source, &target[index + 1..]].concat(), hops + 1);
            }
            break;
        }
        at
    }

    fn reexported(&self, at: &[String], module: &Module, name: &str) -> Option<ModulePath> {
        module.mentions.iter().find_map(|mention| {
            let mut source = self.absolute(at, mention)?;
            if source.len() <= at.len() || !source.starts_with(at) {
                return None;
            }
            match &mention.binding {
                Binding::Name(bound) => (bound == name).then_some(source),
                Binding::Glob => self.defines(&source, name, 0).then(|| {
                    source.push(name.to_owned());
                    source
                }),
                Binding::None => None,
            }
        })
    }

    fn defines(&self, path: &[String], name: &str, hops: usize) -> bool {
        let Some(module) = self.by_path.get(path) else { return false };
        module.items.contains(name)
            || module.children.contains(name)
            || module.mentions.iter().any(|mention| match &mention.binding {
                Binding::Name(bound) => bound == name,
                Binding::Glob => {
                    hops < 8
                        && self
                            .absolute(path, mention)
                            .is_some_and(|source| self.defines(&source, name, hops + 1))
                }
                Binding::None => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Import, Modules};
    use crate::checkout::TextFile;

    fn imports(files: &[(&str, &str)]) -> Vec<Import> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| TextFile { name: format!("src/{name}"), text: (*text).to_owned() })
            .collect();
        Modules::read(&files).unwrap().imports()
    }

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let arrow =
            |it: Import| format!("{} -> {} at {}", it.from.join("::"), it.to.join("::"), it.place);
        imports(files).into_iter().map(arrow).collect()
    }

    #[test]
    fn supers_are_resolved_from_the_module_that_they_stand_in() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod x;"),
            ("a.rs", "pub mod b;"),
            ("a/b.rs", "use std::fmt;\nuse super::super::x;\npub fn f() { self::super::g() }"),
            ("x.rs", ""),
        ]);
        assert_eq!(found, ["a::b -> x at src/a/b.rs:2", "a::b -> a at src/a/b.rs:3"]);
    }

    #[test]
    fn code_for_tests_is_left_out() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod testing;"),
            (
                "a.rs",
                "#[cfg(test)] use crate::b::X;\n\
                 #[cfg(all(test, unix))] mod tests { use crate::b; }\n\
                 struct S; impl S { #[cfg(test)] fn f() { crate::b::g() } }",
            ),
            ("b.rs", "#[cfg(not(test))]\nuse crate::a::S;"),
        ]);
        assert_eq!(found, ["b -> a at src/b.rs:2"]);
    }

    #[test]
    fn a_name_of_the_face_leads_to_the_module_that_defines_it() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c; pub use a::*; pub use b::B as Other; pub struct R;"),
            ("a.rs", "mod deep; pub use deep::Deep;"),
            ("a/deep.rs", "pub struct Deep;"),
            ("b.rs", "pub struct B;"),
            ("c.rs", "use crate::{\n    Deep,\n    Other,\n    R,\n};"),
        ]);
        let found: Vec<_> = found.iter().filter(|it| it.starts_with("c ")).collect();
        assert_eq!(
            found,
            ["c -> a::deep at src/c.rs:2", "c -> b at src/c.rs:3", "c ->  at src/c.rs:4"]
        );
    }

    #[test]
    fn a_name_that_a_sibling_passes_on_is_the_siblings() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "pub use crate::a::A;"),
            ("c.rs", "use crate::b::A;"),
        ]);
        assert_eq!(found, ["b -> a at src/b.rs:1", "c -> b at src/c.rs:1"]);
    }

    #[test]
    fn paths_in_code_macros_and_attributes_count() {
        let found = arrows(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", ""),
            (
                "b.rs",
                "fn f(x: Vec<crate::a::T>) {}\nfn g() { vec![1, crate::a::h()]; }\n\
                 struct S {\n#[serde(with = \"crate::a::time\")]\nx: u8 }\n\
                 pub(in crate::b) fn i() {}",
            ),
        ]);
        assert_eq!(found, [1, 2, 4].map(|line| format!("b -> a at src/b.rs:{line}")));
    }

    #[test]
    fn child_modules_are_named_without_a_prefix() {
        let found = arrows(&[
            ("lib.rs", "mod a { pub mod b {} fn f(b: u8) { b; b::g(); serde::de() } }"),
            ("b.rs", ""),
        ]);
        assert_eq!(found, ["a -> a::b at src/lib.rs:1"]);
    }

    #[test]
    fn a_module_without_a_file_is_an_error() {
        let root = TextFile { name: "src/lib.rs".to_owned(), text: "mod gone;".to_owned() };
        assert!(Modules::read(&[root]).unwrap_err().to_string().contains("gone"));
    }
}
