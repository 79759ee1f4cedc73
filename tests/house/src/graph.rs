//! The graph of the modules side by side in one folder: its arrows, those that go up, its circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::modules::{Import, Modules};

/// The node of the folder's own file, `mod.rs` or `folder.rs`, which the outside sees.
pub const FACE: &str = "(face)";

/// The children of one module, and the imports among them and their face.
#[derive(Debug)]
pub struct Graph {
    nodes: BTreeSet<String>,
    arrows: BTreeMap<(String, String), Vec<String>>,
}

/// An arrow with the places of the imports that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The importing module.
    pub from: String,
    /// The imported module.
    pub to: String,
    /// Where it is imported, `file:line`.
    pub places: Vec<String>,
}

/// Modules that all reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Their names, sorted.
    pub names: Vec<String>,
    /// The arrows between them.
    pub arrows: Vec<Arrow>,
}

impl Graph {
    /// The modules at the top of a crate. Its root may import all of them, so that only imports of
    /// the root are arrows of its own.
    pub fn of_crate(modules: &Modules) -> Self {
        let imports = modules.imports();
        Self::new(modules, &imports, &[], |import| !import.from.is_empty())
    }

    /// The modules directly inside of `folder`. Its face may re-export them.
    pub fn of_folder(modules: &Modules, folder: &[String]) -> Self {
        let imports = modules.imports();
        Self::new(modules, &imports, folder, |import| !(import.from == folder && import.reexport))
    }

    fn new(
        modules: &Modules,
        imports: &[Import],
        folder: &[String],
        counts: impl Fn(&Import) -> bool,
    ) -> Self {
        let node = |path: &[String]| {
            path.starts_with(folder)
                .then(|| path.get(folder.len()).cloned().unwrap_or_else(|| FACE.to_owned()))
        };
        let mut arrows: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for import in imports.iter().filter(|import| counts(import)) {
            let (Some(from), Some(to)) = (node(&import.from), node(&import.to)) else { continue };
            if from != to {
                let places = arrows.entry((from, to)).or_default();
                if !places.contains(&import.place) {
                    places.push(import.place.clone());
                }
            }
        }
        Self { nodes: modules.children(folder).into_iter().collect(), arrows }
    }

    /// The names of the modules, without the face.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(String::as_str)
    }

    /// All arrows, sorted by the importing module.
    pub fn arrows(&self) -> Vec<Arrow> {
        self.select(|_, _| true)
    }

    /// The arrows to the face, and those to a module that is above the importing one in `layers`,
    /// which names modules from the top to the bottom. A module that is not named is on no layer.
    pub fn upward(&self, layers: &[&str]) -> Vec<Arrow> {
        let layer = |name: &str| layers.iter().position(|it| *it == name);
        self.select(|from, to| {
            let is_above = matches!((layer(from), layer(to)), (Some(from), Some(to)) if to < from);
            to == FACE || is_above
        })
    }

    /// The graph without its face: circles in it are between the children alone.
    #[must_use]
    pub fn without_face(&self) -> Self {
        let arrows = self.arrows.iter().filter(|((from, to), _)| from != FACE && to != FACE);
        let arrows = arrows.map(|(ends, places)| (ends.clone(), places.clone())).collect();
        Self { nodes: self.nodes.clone(), arrows }
    }

    /// The strongly connected components of more than one module.
    pub fn circles(&self) -> Vec<Circle> {
        let everything: BTreeSet<_> =
            self.arrows.keys().flat_map(|(from, to)| [from, to]).collect();
        let reach: BTreeMap<_, _> =
            everything.iter().map(|name| (*name, self.reachable(name))).collect();
        let mut circles = BTreeSet::new();
        for name in &everything {
            let mutual =
                |other: &&&String| reach[name].contains(**other) && reach[*other].contains(*name);
            let names: Vec<_> = everything.iter().filter(mutual).map(|it| (*it).clone()).collect();
            if names.len() > 1 {
                circles.insert(names);
            }
        }
        let circle = |names: Vec<String>| {
            let arrows = self.select(|from, to| {
                names.iter().any(|it| it == from) && names.iter().any(|it| it == to)
            });
            Circle { names, arrows }
        };
        circles.into_iter().map(circle).collect()
    }

    fn reachable<'a>(&'a self, start: &'a String) -> BTreeSet<&'a String> {
        let mut found = BTreeSet::new();
        let mut next = vec![start];
        while let Some(name) = next.pop() {
            for (_, to) in self.arrows.keys().filter(|(from, _)| from == name) {
                if found.insert(to) {
                    next.push(to);
                }
            }
        }
        found
    }

    fn select(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<Arrow> {
        let arrows = self.arrows.iter().filter(|((from, to), _)| wanted(from, to));
        arrows
            .map(|((from, to), places)| Arrow {
                from: from.clone(),
                to: to.clone(),
                places: places.clone(),
            })
            .collect()
    }
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} at {}", self.from, self.to, self.places.join(", "))
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.names.join(" <-> "))?;
        self.arrows.iter().try_for_each(|arrow| write!(f, "\n      {arrow}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;
    use crate::{checkout::TextFile, modules::Modules};

    fn modules(files: &[(&str, &str)]) -> Modules {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| TextFile { name: format!("src/{name}"), text: (*text).to_owned() })
            .collect();
        Modules::read(&files).unwrap()
    }

    const LINE: &[(&str, &str)] = &[
        ("lib.rs", "mod a; mod b; mod c; use c::C;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;\nuse crate::c::D;"),
    ];

    #[test]
    fn a_circle_is_found_with_its_imports() {
        let c = ("c.rs", "\nuse crate::a;");
        let circles = Graph::of_crate(&modules(&[LINE, &[c]].concat())).circles();
        assert_eq!(circles.len(), 1);
        assert_eq!(circles[0].names, ["a", "b", "c"]);
        assert_eq!(
            circles[0].arrows.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a -> b at src/a.rs:1", "b -> c at src/b.rs:1, src/b.rs:2", "c -> a at src/c.rs:2"]
        );
    }

    #[test]
    fn a_line_has_no_circle_and_its_root_imports_freely() {
        let graph = Graph::of_crate(&modules(&[LINE, &[("c.rs", "pub struct C;")]].concat()));
        assert_eq!(graph.circles(), []);
        assert_eq!(graph.upward(&["a", "b", "c"]), []);
        assert_eq!((graph.modules().count(), graph.arrows().len()), (3, 2));
    }

    #[test]
    fn an_import_of_a_higher_layer_is_found_with_its_line() {
        let graph = Graph::of_crate(&modules(&[LINE, &[("c.rs", "")]].concat()));
        let upward = graph.upward(&["a", "c", "b"]);
        assert_eq!(upward.len(), 1);
        assert_eq!(upward[0].to_string(), "b -> c at src/b.rs:1, src/b.rs:2");
    }

    #[test]
    fn an_import_of_the_root_goes_up() {
        let graph = Graph::of_crate(&modules(&[LINE, &[("c.rs", "use crate::Config;")]].concat()));
        assert_eq!(graph.upward(&[])[0].to_string(), "c -> (face) at src/c.rs:1");
    }

    #[test]
    fn circles_between_the_files_of_a_folder_are_found_there() {
        let modules = modules(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod x; mod y; pub use x::X;"),
            ("a/x.rs", "use super::y;\npub struct X;"),
            ("a/y.rs", "use super::X;"),
        ]);
        let folder = ["a".to_owned()];
        assert_eq!(Graph::of_crate(&modules).circles(), []);
        assert_eq!(Graph::of_folder(&modules, &folder).circles()[0].names, ["x", "y"]);
    }

    #[test]
    fn a_file_that_needs_its_face_is_in_a_circle_with_it_unless_the_face_only_reexports() {
        let of = |face| {
            let files = [("lib.rs", "mod a;"), ("a.rs", face), ("a/x.rs", "use super::F;")];
            let graph = Graph::of_folder(&modules(&files), &["a".to_owned()]);
            (graph.circles().len(), graph.without_face().circles().len())
        };
        assert_eq!(of("mod x; use x::X; pub struct F;"), (1, 0));
        assert_eq!(of("mod x; pub(crate) use x::X; pub struct F;"), (0, 0));
    }
}
