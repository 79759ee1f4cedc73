//! Runs comparisons, and tells what came of them.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write},
};

use crate::{
    cases,
    compare::{Case, Counts, Outcome, compare as outcomes_of},
    lines::{Oracle, Spelling},
    oracle::Process,
    pages::{Pages, Size},
    random::Random,
};

/// So many differences are shown, and then only counted.
const SHOWN: usize = 5;
/// So many cases are kept that are alike in the parser's words, and in what came out.
const ALIKE: [usize; 2] = [2, 3];
/// With so many pages every word has to be needed once.
const MANY: usize = 100_000;

/// Where Prometheus takes the page, and we have another number or none.
const DIFFERENCES: [(Spelling, &str); 8] = [
    (Spelling::CutOff, "the last line is not ended by a line feed: no number of the page"),
    (Spelling::NoComma, "no comma between two labels: none of the family"),
    (Spelling::NoBlank, "no blank between an unlabelled name and its value: none of the family"),
    (
        Spelling::OddBound,
        "an upper bound in hexadecimal or with an underscore: none of the histogram",
    ),
    (Spelling::LeadingBlank, "blanks before a bare name: not a part of it"),
    (Spelling::QuotesOverLines, "a text in quotes goes on in the next line: each line by itself"),
    (Spelling::Nul, "a line that begins with NUL: the page goes on"),
    (Spelling::BoundTwice, "a bound or a quantile in two spellings: each line as it is spelled"),
];
/// Where Prometheus refuses the page, and we have a number with the help of such a line.
const LENIENCIES: [(Spelling, &str); 6] = [
    (Spelling::CarriageReturn, "a carriage return at the end of the line"),
    (Spelling::Blanks, "blanks around a line of OpenMetrics"),
    (Spelling::LeadingBlank, "blanks before a bare name"),
    (Spelling::OtherFormat, "a line as the other format has it"),
    (Spelling::Exemplar, "something else than an exemplar behind the sign of one"),
    (Spelling::Timestamp, "a timestamp that is a number, but not of that format"),
];

/// Compares random pages; whether all is well.
pub fn compare(oracle: &str, pages: usize, seed: u64) -> Result<bool, Box<dyn Error>> {
    let size =
        Size { families: 3, samples: 8, labels: 4, mutations: 5, recipes: 4, name: usize::MAX };
    let (mut oracle, source, mut random) =
        (Process::start(oracle)?, Pages::load()?, Random::new(seed));
    let (mut counts, mut shown) = (Table::default(), 0);
    for _ in 0..pages {
        let case = source.case(&mut random, size);
        let outcomes = outcomes_of(&mut oracle, &case);
        oracle.asked.clear();
        let is_accepted = oracle.ask(case.format, &case.page).accepted().is_some();
        counts.pages[usize::from(!is_accepted)] += 1;
        counts.add(&outcomes);
        let mut outcomes = case.recipes.iter().zip(&outcomes);
        if shown < SHOWN
            && let Some((recipe, Outcome::Wrong(problem))) =
                outcomes.find(|(_, outcome)| outcome.is_wrong())
        {
            shown += 1;
            println!("WRONG {problem}\n  wanted {recipe:?}\n  {}", shown_page(&mut oracle, &case));
        }
    }
    Ok(counts.tell(pages >= MANY))
}

fn shown_page(oracle: &mut Process, case: &Case) -> String {
    let verdict = oracle.ask(case.format, &case.page);
    let page = case.page.escape_ascii().to_string().replace("\\n", "\n    ");
    format!(
        "{} page, of which Prometheus says {:?}:\n    {page}",
        case.format.name(),
        verdict.error
    )
}

/// How often what was seen.
#[derive(Clone, Default)]
struct Table {
    /// Accepted by Prometheus, and refused.
    pages: [usize; 2],
    counts: Counts,
    /// Words for differences; those for leniencies are among the other counts.
    differences: Counts,
}

impl Table {
    fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let differs = matches!(outcome, Outcome::Differs(_));
            if differs { &mut self.differences } else { &mut self.counts }.add(outcome);
        }
    }

    /// How many words nothing has needed.
    fn missed(&self) -> usize {
        let missed = |words: &[(Spelling, &str)], counts: &Counts| {
            words.iter().filter(|(word, _)| !counts.spellings.contains_key(word)).count()
        };
        missed(&DIFFERENCES, &self.differences) + missed(&LENIENCIES, &self.counts)
    }

    /// Prints it; whether nothing was wrong, and every word was needed.
    fn tell(&self, needs_every_word: bool) -> bool {
        let Self { pages: [accepted, refused], counts, differences } = self;
        let list = |words: &[(Spelling, &str)], counts: &Counts| {
            for (word, meaning) in words {
                let count = counts.spellings.get(word).copied().unwrap_or_default();
                println!(
                    "{count:>8}      {meaning}{}",
                    if count == 0 { "  NEVER SEEN" } else { "" }
                );
            }
        };
        println!("{accepted:>8}  pages that Prometheus takes");
        println!("{:>8}    numbers: the same", counts.same);
        println!("{:>8}    neither has one", counts.absent);
        println!(
            "{:>8}    another number or none, for a reason that has a name:",
            differences.differs
        );
        list(&DIFFERENCES, differences);
        println!("{refused:>8}  pages that Prometheus refuses");
        println!("{:>8}    no number", counts.absent_too);
        println!(
            "{:>8}    the number that the family's lines say, among them lines with:",
            counts.refused
        );
        list(&LENIENCIES, counts);
        println!("{:>8}  WRONG", counts.wrong);
        counts.wrong == 0 && (self.missed() == 0 || !needs_every_word)
    }
}

/// Prints small cases with the oracle's answers: few that are alike, and one for every word.
pub fn cases(oracle: &str, wanted: usize, seed: u64) -> Result<bool, Box<dyn Error>> {
    let size = Size { families: 1, samples: 3, labels: 2, mutations: 3, recipes: 2, name: 27 };
    let (mut oracle, source, mut random) =
        (Process::start(oracle)?, Pages::load()?, Random::new(seed));
    let (mut kinds, mut table, mut written) = (Kinds::default(), Table::default(), 0);
    let mut out = io::stdout().lock();
    while written < wanted || table.missed() > 0 {
        let case = source.case(&mut random, size);
        oracle.asked.clear();
        let outcomes = outcomes_of(&mut oracle, &case);
        if outcomes.iter().any(Outcome::is_wrong) {
            return Ok(false);
        }
        let mut asked = std::mem::take(&mut oracle.asked);
        asked.sort_unstable();
        asked.dedup();
        let mut more = table.clone();
        more.add(&outcomes);
        let is_new = kinds.are_few(&mut oracle, &case, &outcomes) && written < wanted;
        if is_new || more.missed() < table.missed() {
            let answers = asked.into_iter().map(|question| {
                let verdict = oracle.ask(question.0, &question.1);
                (question, verdict)
            });
            writeln!(out, "{}", cases::to_json(&case, &answers.collect::<Vec<_>>(), &outcomes))?;
            (table, written) = (more, written + 1);
        }
    }
    Ok(true)
}

/// How many cases there have been of each kind.
#[derive(Default)]
struct Kinds(BTreeMap<String, usize>);

impl Kinds {
    /// Counts a case; whether there have been few of its kind.
    fn are_few(&mut self, oracle: &mut Process, case: &Case, outcomes: &[Outcome]) -> bool {
        // The parser's words up to what they quote of the page.
        let error = oracle.ask(case.format, &case.page).error.unwrap_or_default();
        let error = error.split('"').next().unwrap_or_default();
        let kinds =
            [format!("{:?} {error}", case.format), format!("{:?} {outcomes:?}", case.format)];
        let mut are_few = false;
        for (kind, most) in kinds.into_iter().zip(ALIKE) {
            let count = self.0.entry(kind).or_default();
            *count += 1;
            are_few |= *count <= most;
        }
        are_few
    }
}

/// Checks cases that were printed before, without the oracle; whether all is well.
pub fn check(path: &str) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
    let problems = cases::check(&text)?;
    for problem in &problems {
        println!("{problem}");
    }
    Ok(problems.is_empty())
}
