//! The notices of third parties whose code is in the binary, made from the packages that Cargo has
//! downloaded.
//!
//! Where a package offers the Apache License 2.0 it is used under that, which asks for one copy of
//! the licence and for the package's `NOTICE` file. Of other packages the licence texts are
//! repeated, with their copyright lines; equal texts once. So are those of code that a package has
//! taken over from elsewhere, which are in the folder of that code.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{checkout::Checkout, packages::cargo};

/// The platform of the binary that is shipped.
const PLATFORM: &str = "x86_64-unknown-linux-musl";
/// The licence that is chosen wherever it is offered.
const APACHE: &str = "Apache-2.0";

/// Packages without a file of their licence, and the text of their repository's: `LICENSE` of
/// Nugine/simd at commit d74c030d, and of hyperium/tonic as its package `tonic` 0.14.9 has it.
const LACKING: &[(&str, &str)] = &[
    ("base64-simd 0.8.0", include_str!("../licences/nugine-simd.txt")),
    ("tonic-prost 0.14.9", include_str!("../licences/tonic.txt")),
    ("vsimd 0.8.0", include_str!("../licences/nugine-simd.txt")),
];

const HEAD: &str = "\
# Third-party notices

The binary `llm-autoscaler` contains the code of these packages, beside Rust's standard library \
(MIT OR Apache-2.0), LLVM's libunwind (Apache-2.0 WITH LLVM-exception) and musl (MIT, below). The \
image has the certificates of webpki-root-certs, too. This file is made from `Cargo.lock` by \
`make notices`.
";

/// The notice of the C library in the static binary, which Cargo does not know.
const MUSL: &str = "
[musl](https://musl.libc.org) (MIT):

````text
Copyright (c) 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files (the
\"Software\"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
````
";

/// A package of the binary.
#[derive(Clone, Debug)]
struct Package {
    /// Its name and version.
    name: String,
    licence: String,
    repository: String,
    /// Its files about licences: name and text.
    files: Vec<(String, String)>,
    /// Such files in folders below: path and text.
    inner: Vec<(String, String)>,
}

/// Renders the notices of everything that `packages` link, and of the C library.
///
/// # Errors
/// If Cargo fails, or a package has no licence, or lacks the text that has to be repeated.
pub fn render(checkout: &Checkout, packages: &[&str]) -> Result<String> {
    let (mut apache, mut notices, mut texts) = (String::new(), String::new(), BTreeMap::new());
    for Package { name, licence, repository, files, inner } in &linked(checkout, packages)? {
        let chosen = choose(licence);
        let of_apache = chosen.iter().all(|id| id.starts_with(APACHE));
        if of_apache {
            writeln!(apache, "- [{name}]({repository})")?;
        } else {
            let own: Vec<_> = files.iter().filter(|(file, text)| is_own(file, text)).collect();
            ensure!(!own.is_empty(), "{name} ({licence}) has no file with its licence");
            let text: Vec<_> = own.iter().map(|(_, text)| text.trim()).collect();
            let names: &mut Vec<String> = texts.entry(text.join("\n\n")).or_default();
            names.push(format!("[{name}]({repository}) ({})", chosen.join(" AND ")));
        }
        for (file, text) in inner.iter().filter(|(file, text)| is_own(base(file), text)) {
            let names = texts.entry(text.trim().to_owned()).or_default();
            names.push(format!("[{name}]({repository}) ({file})"));
        }
        for (_, text) in files.iter().filter(|(file, _)| file.starts_with("NOTICE")) {
            write!(notices, "\n{name}:\n\n````text\n{}\n````\n", text.trim())?;
        }
    }
    let mut sorted: Vec<_> = texts.into_iter().collect();
    sorted.sort_by(|a, b| a.1.cmp(&b.1));
    let mut page = format!("{HEAD}\n## Used under the Apache License 2.0\n\n");
    write!(page, "The licence is in [LICENSE](../LICENSE).\n\n{apache}{notices}")?;
    page.push_str("\n## Used under other licences\n");
    page.push_str(MUSL);
    for (text, names) in sorted {
        write!(page, "\n{}:\n\n````text\n{text}\n````\n", names.join(", "))?;
    }
    Ok(page)
}

/// Returns whether a file has a text to repeat: not that of the Apache licence, which is there
/// once, and not an alternative that was not chosen.
fn is_own(file: &str, text: &str) -> bool {
    let file = file.to_uppercase();
    let is_apache = text.contains("Apache License") && text.contains("Version 2.0, January 2004");
    let is_other = ["APACHE", "UNLICENSE", "BOOST", "NOTICE"].iter().any(|it| file.contains(it));
    // A file COPYING or COPYRIGHT says which files have the licences.
    let is_list =
        file.starts_with("COPY") && ["LICENSE-", "UNLICENSE"].iter().any(|it| text.contains(it));
    !(is_apache || is_other || is_list)
}

/// Returns the packages of crates.io that are linked into these packages, sorted by name.
fn linked(checkout: &Checkout, ours: &[&str]) -> Result<Vec<Package>> {
    let platform = format!("--filter-platform={PLATFORM}");
    let json = cargo(checkout, &["metadata", "--locked", "--format-version=1", &platform])?;
    let metadata: Value = serde_json::from_str(&json).context("parsing cargo metadata")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let key = |it: &Value| format!("{} v{}", text(&it["name"]), text(&it["version"]));
    let known: BTreeMap<String, &Value> = packages.iter().map(|it| (key(it), it)).collect();
    let target = format!("--target={PLATFORM}");
    let edges = "--edges=normal,no-proc-macro";
    let mut arguments = vec!["tree", "--locked", edges, &target, "--prefix=none"];
    arguments.extend(ours.iter().flat_map(|package| ["-p", package]));
    let tree = cargo(checkout, &arguments)?;
    let mut names: Vec<String> = tree.lines().map(name_and_version).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let metadata = known.get(name).with_context(|| format!("no package {name}"))?;
        let is_proc_macro = metadata["targets"][0]["kind"][0] == "proc-macro";
        if !metadata["source"].is_null() && !is_proc_macro {
            found.push(Package::read(name, metadata)?);
        }
    }
    Ok(found)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name_and_version(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

impl Package {
    fn read(name: &str, metadata: &Value) -> Result<Self> {
        let licence = text(&metadata["license"]).to_owned();
        ensure!(!licence.is_empty(), "{name} names no licence");
        let folder = Path::new(text(&metadata["manifest_path"]));
        let folder = folder.parent().context("a manifest without a folder")?;
        let mut all = Vec::new();
        read_licences(folder, folder, &mut all)
            .with_context(|| format!("reading the licences of {name}"))?;
        all.sort();
        let name = name.replacen(" v", " ", 1);
        let lacking = LACKING.iter().filter(|(package, _)| *package == name);
        all.extend(lacking.map(|(_, text)| ("LICENSE".to_owned(), (*text).to_owned())));
        let (inner, files) = all.into_iter().partition(|(file, _)| file.contains('/'));
        let repository = text(&metadata["repository"]).to_owned();
        Ok(Self { name, licence, repository, files, inner })
    }
}

/// Reads the files about licences in a folder, with their paths below `root`.
fn read_licences(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_licences(root, &path, found)?;
            continue;
        }
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        let kinds = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        let file = base(&name).to_uppercase();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if kinds.iter().any(|kind| file.starts_with(kind)) && !is_source {
            found.push((name, fs::read_to_string(&path)?.replace("\r\n", "\n")));
        }
    }
    Ok(())
}

/// Returns the last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the licences that an SPDX expression asks for, with the choices made: Apache-2.0 where
/// it is offered, then MIT, else the first one.
fn choose(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    any_of(&mut words.iter().copied().peekable())
}

type Words<'a, I> = std::iter::Peekable<I>;

fn any_of<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> Vec<String> {
    let mut offered = vec![all_of(words)];
    while words.next_if_eq(&"OR").is_some() {
        offered.push(all_of(words));
    }
    let rank = |chosen: &Vec<String>| match &*chosen[0] {
        _ if chosen.len() > 1 => 2,
        APACHE => 0,
        "MIT" => 1,
        _ => 2,
    };
    offered.into_iter().min_by_key(rank).unwrap_or_default()
}

fn all_of<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> Vec<String> {
    let mut needed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        needed.extend(one(words));
    }
    needed
}

fn one<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> Vec<String> {
    let word = words.next().unwrap_or_default();
    if word == "(" {
        let inner = any_of(words);
        words.next();
        return inner;
    }
    let mut id = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        id = format!("{id} WITH {}", words.next().unwrap_or_default());
    }
    vec![id]
}

#[cfg(test)]
mod tests {
    use super::{choose, is_own};

    #[test]
    fn apache_is_chosen_where_it_is_offered() {
        // the expression; the licences
        let table: [(&str, &[&str]); 8] = [
            ("MIT OR Apache-2.0", &["Apache-2.0"]),
            ("MIT/Apache-2.0", &["Apache-2.0"]),
            ("Unlicense OR MIT", &["MIT"]),
            ("MIT AND BSD-3-Clause", &["MIT", "BSD-3-Clause"]),
            ("(Apache-2.0 OR MIT) AND BSD-3-Clause", &["Apache-2.0", "BSD-3-Clause"]),
            ("Apache-2.0 WITH LLVM-exception", &["Apache-2.0 WITH LLVM-exception"]),
            ("Zlib", &["Zlib"]),
            ("MIT AND Zlib OR Apache-2.0", &["Apache-2.0"]),
        ];
        for (expression, expected) in table {
            assert_eq!(choose(expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_text_is_repeated_unless_it_is_another_licences() {
        // file, text; repeated
        let apache = "Apache License\nVersion 2.0, January 2004";
        let table = [
            ("LICENSE", "MIT License", true),
            ("LICENSE-MIT", "Permission is hereby granted", true),
            ("LICENSE", apache, false),
            ("LICENSE-APACHE", apache, false),
            ("UNLICENSE", "public domain", false),
            ("COPYING", "dual-licensed under MIT and the UNLICENSE", false),
        ];
        for (file, text, expected) in table {
            assert_eq!(is_own(file, text), expected, "{file}");
        }
    }
}
