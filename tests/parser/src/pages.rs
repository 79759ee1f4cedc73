//! Random pages: a few families of a real page, and the recipes to read from them.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use llm_autoscaler_engines::{Kind, Recipe};

use crate::{compare::Case, lines::Format, mutate, random::Random};

/// The families of a real page, with the lines of each, comments included.
type Families = Vec<Vec<String>>;

/// The real pages that random ones are cut from.
pub(crate) struct Pages(Vec<Families>);

/// The limits of a random page.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub families: usize,
    /// Samples per family.
    pub samples: usize,
    /// Labels per sample, not counting `le`.
    pub labels: usize,
    pub mutations: usize,
    pub recipes: usize,
    /// Bytes of a family's name.
    pub name: usize,
}

/// Labels that are hard to parse: the spelling, the name and the value of each.
const ODD_LABELS: [(&str, &str, &str); 6] = [
    (r#"a="\\\"\n\z""#, "a", "\\\"\n\\z"),
    (r#""a.b"="c""#, "a.b", "c"),
    (r#""a\"b"="c""#, "a\"b", "c"),
    (r#"a="é, {=} #""#, "a", "é, {=} #"),
    (r#" a = "b" "#, "a", "b"),
    (r#"a="\n""#, "a", "\n"),
];

impl Pages {
    /// Loads the fixtures of the repository.
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/engines");
        let mut pages = BTreeMap::new();
        for entry in fs::read_dir(&folder)
            .map_err(|error| format!("reading {}: {error}", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                pages.insert(path.clone(), families(&fs::read_to_string(&path)?));
            }
        }
        if pages.is_empty() {
            Err("there are no pages".into())
        } else {
            Ok(Self(pages.into_values().collect()))
        }
    }

    /// Returns a random page with random damage.
    pub(crate) fn case(&self, random: &mut Random, size: Size) -> Case {
        let format = if random.chance(40) { Format::OpenMetrics } else { Format::Text };
        let size = Size { labels: random.between(0, size.labels), ..size };
        let page = random.pick(&self.0);
        let mut lines = Vec::new();
        for _ in 0..random.between(1, size.families) {
            let short: Vec<_> =
                page.iter().filter(|family| name_of(family).len() <= size.name).collect();
            let Some(family) = (!short.is_empty()).then(|| *random.pick(&short)) else { continue };
            lines.extend(cut(random, family, size));
        }
        if random.chance(15) {
            dot_the_names(&mut lines);
        }
        let mut recipes = recipes(random, &lines, size.recipes);
        if random.chance(15) {
            let (spelling, name, value) = *random.pick(&ODD_LABELS);
            add_to_some(random, &mut lines, spelling);
            let wanted = [(name.to_owned(), value.to_owned())];
            recipes.extend(recipes.first().map(|recipe| narrowed(recipe, wanted)));
        }
        let mut lines: Vec<_> = lines.into_iter().map(String::into_bytes).collect();
        if format == Format::OpenMetrics && random.chance(97) {
            lines.push(b"# EOF".to_vec());
        }
        Case { format, page: mutate::mutate(random, lines, size.mutations), recipes }
    }
}

/// Splits a page into families, each of which begins with its first comment.
fn families(page: &str) -> Families {
    let mut families: Families = Vec::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        let begins = line.starts_with("# HELP");
        match families.last_mut() {
            Some(family) if !begins => family.push(line.to_owned()),
            _ => families.push(vec![line.to_owned()]),
        }
    }
    families.retain(|family| family.iter().any(|line| !line.starts_with('#')));
    families
}

/// The name of a family's first sample.
fn name_of(family: &[String]) -> &str {
    let sample = family.iter().find(|line| !line.starts_with('#'));
    sample.and_then(|line| line.split(['{', ' ']).next()).unwrap_or_default()
}

/// A few lines of a family; of a histogram also the last bucket.
fn cut(random: &mut Random, family: &[String], size: Size) -> Vec<String> {
    let (comments, samples): (Vec<_>, Vec<_>) =
        family.iter().partition(|line| line.starts_with('#'));
    let words = |line: &String| line.split(' ').take(6).collect::<Vec<_>>().join(" ");
    let comments =
        comments.into_iter().filter(|_| random.chance(80)).map(words).collect::<Vec<_>>();
    let most = random.between(1, size.samples);
    let last =
        samples.iter().position(|line| line.contains("le=\"+Inf\"")).filter(|last| *last >= most);
    let kept = samples.iter().take(most).chain(last.map(|last| &samples[last]));
    comments.into_iter().chain(kept.map(|line| with_few_labels(line, size.labels))).collect()
}

fn with_few_labels(line: &str, most: usize) -> String {
    let Some((name, rest)) = line.split_once('{') else { return line.to_owned() };
    let Some((labels, value)) = rest.rsplit_once('}') else { return line.to_owned() };
    let mut labels: Vec<_> = labels.split("\",").map(|label| label.trim_end_matches('"')).collect();
    let mut count = 0;
    labels.retain(|label| {
        count += usize::from(!label.starts_with("le="));
        label.starts_with("le=") || count <= most
    });
    let labels: Vec<_> = labels.into_iter().map(|label| format!("{label}\"")).collect();
    if labels.is_empty() {
        format!("{name}{value}")
    } else {
        format!("{name}{{{}}}{value}", labels.join(","))
    }
}

/// Replaces the names by such as are only allowed in quotes.
fn dot_the_names(lines: &mut [String]) {
    for line in lines.iter_mut().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once(['{', ' ']) else { continue };
        let dotted = name.replace([':', '_'], ".");
        let labels = rest.split_once('}');
        *line = match labels {
            Some((labels, value)) => format!("{{\"{dotted}\",{labels}}}{value}"),
            None => format!("{{\"{dotted}\"}} {rest}"),
        };
    }
}

/// Adds a label to about half of the lines that have some.
fn add_to_some(random: &mut Random, lines: &mut [String], label: &str) {
    for line in lines.iter_mut().filter(|line| !line.starts_with('#')) {
        if let Some(brace) = line.rfind('}').filter(|_| random.chance(50)) {
            line.insert_str(brace, &format!(",{label}"));
        }
    }
}

/// Restricts a recipe to series that have these labels as well.
fn narrowed(recipe: &Recipe, labels: [(String, String); 1]) -> Recipe {
    let selector = &recipe.terms()[0][0];
    Recipe::series(recipe.kind(), &selector.name, selector.labels.iter().cloned().chain(labels))
}

/// Returns recipes for some series of a page, by some of their labels.
fn recipes(random: &mut Random, lines: &[String], most: usize) -> Vec<Recipe> {
    let samples: Vec<_> = lines.iter().filter(|line| !line.starts_with('#')).collect();
    let mut recipes = Vec::new();
    for _ in 0..if samples.is_empty() { 0 } else { random.between(1, most) } {
        let line = *random.pick(&samples);
        let (name, labels) = match line.strip_prefix("{\"") {
            Some(rest) => rest.split_once('"').unwrap_or((rest, "")),
            None => line.split_once(['{', ' ']).unwrap_or((line, "")),
        };
        let mut wanted = Vec::new();
        let labels = labels.split('}').next().unwrap_or_default().split(',');
        for (label, value) in labels.filter_map(|label| label.split_once('=')) {
            // Prometheus normalizes bounds below a `# TYPE`, so recipes do not select by them.
            if random.chance(25) && !matches!(label, "le" | "quantile") {
                let value = if random.chance(15) { "" } else { value.trim_matches('"') };
                wanted.push((label.to_owned(), value.to_owned()));
            }
        }
        if random.chance(5) {
            wanted.push(("absent".to_owned(), String::new()));
        }
        recipes.push(match name.strip_suffix("_bucket") {
            Some(histogram) if random.chance(80) => {
                Recipe::series(Kind::Histogram, histogram, wanted)
            }
            _ if name.ends_with("_total") => Recipe::series(Kind::Counter, name, wanted),
            _ => Recipe::series(Kind::Gauge, name, wanted),
        });
    }
    recipes
}
