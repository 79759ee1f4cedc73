//! Runs comparisons, and prints their results.

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

/// The number of differences that are printed; further ones are only counted.
const SHOWN: usize = 5;
/// The number of recorded cases with the same error of the parser, and with the same outcomes.
const ALIKE: [usize; 2] = [2, 3];
/// The number of pages from which on every known spelling must occur.
const MANY: usize = 100_000;

/// The spellings on pages that Prometheus accepts, for which we have another number or none.
const DIFFERENCES: [(Spelling, &str); 8] = [
    (Spelling::CutOff, "the last line does not end with a line feed: no number of the page"),
    (Spelling::NoComma, "no comma between two labels: none of the family"),
    (Spelling::NoBlank, "no blank between an unlabelled name and its value: none of the family"),
    (
        Spelling::OddBound,
        "an upper bound in hexadecimal or with an underscore: none of the histogram",
    ),
    (Spelling::LeadingBlank, "blanks before a bare name: not a part of it"),
    (
        Spelling::QuotesOverLines,
        "a quoted text that continues in the next line: each line by itself",
    ),
    (Spelling::Nul, "a line that begins with NUL: the page goes on"),
    (Spelling::BoundTwice, "a bound or a quantile in two spellings: each line as it is spelled"),
];
/// The spellings on pages that Prometheus rejects, of lines that we read.
const LENIENCIES: [(Spelling, &str); 6] = [
    (Spelling::CarriageReturn, "a carriage return at the end of the line"),
    (Spelling::Blanks, "blanks around a line of OpenMetrics"),
    (Spelling::LeadingBlank, "blanks before a bare name"),
    (Spelling::OtherFormat, "a line that only the other format allows"),
    (Spelling::Exemplar, "a malformed exemplar"),
    (Spelling::Timestamp, "a timestamp that is a number, but not of that format"),
];

/// Compares random pages. Returns true if all differences are known.
pub(crate) fn compare(oracle: &str, pages: usize, seed: u64) -> Result<bool, Box<dyn Error>> {
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
    Ok(counts.print(pages >= MANY))
}

fn shown_page(oracle: &mut Process, case: &Case) -> String {
    let verdict = oracle.ask(case.format, &case.page);
    let page = case.page.escape_ascii().to_string().replace("\\n", "\n    ");
    format!(
        "{} page, for which Prometheus reports {:?}:\n    {page}",
        case.format.name(),
        verdict.error
    )
}

/// The counts of a run.
#[derive(Clone, Default)]
struct Table {
    /// The pages that Prometheus has accepted, and those that it has rejected.
    pages: [usize; 2],
    counts: Counts,
    /// The outcomes that differ. Spellings on rejected pages are among the other counts.
    differences: Counts,
}

impl Table {
    fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let differs = matches!(outcome, Outcome::Differs(_));
            if differs { &mut self.differences } else { &mut self.counts }.add(outcome);
        }
    }

    /// Returns the number of known spellings that have not occurred.
    fn missed(&self) -> usize {
        missed(&DIFFERENCES, &self.differences) + missed(&LENIENCIES, &self.counts)
    }

    /// Prints the counts. Returns true if nothing was wrong, and every spelling has occurred.
    fn print(&self, needs_every_spelling: bool) -> bool {
        let Self { pages: [accepted, refused], counts, differences } = self;
        println!("{accepted:>8}  pages that Prometheus accepts");
        println!("{:>8}    numbers: the same", counts.same);
        println!("{:>8}    neither has one", counts.absent);
        println!("{:>8}    another number or none, for a known reason:", differences.differs);
        print_spellings(&DIFFERENCES, differences);
        println!("{refused:>8}  pages that Prometheus rejects");
        println!("{:>8}    no number", counts.absent_too);
        println!(
            "{:>8}    the number of the family's valid lines, among them lines with:",
            counts.refused
        );
        print_spellings(&LENIENCIES, counts);
        println!("{:>8}  WRONG", counts.wrong);
        counts.wrong == 0 && (self.missed() == 0 || !needs_every_spelling)
    }
}

fn missed(spellings: &[(Spelling, &str)], counts: &Counts) -> usize {
    spellings.iter().filter(|(spelling, _)| !counts.spellings.contains_key(spelling)).count()
}

fn print_spellings(spellings: &[(Spelling, &str)], counts: &Counts) {
    for (spelling, meaning) in spellings {
        let count = counts.spellings.get(spelling).copied().unwrap_or_default();
        println!("{count:>8}      {meaning}{}", if count == 0 { "  NEVER SEEN" } else { "" });
    }
}

/// Prints small cases with the oracle's answers: few that are alike, and at least one for every
/// spelling.
pub(crate) fn cases(oracle: &str, wanted: usize, seed: u64) -> Result<bool, Box<dyn Error>> {
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
        let is_new = kinds.count(&mut oracle, &case, &outcomes) && written < wanted;
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

/// The number of cases of each kind.
#[derive(Default)]
struct Kinds(BTreeMap<String, usize>);

impl Kinds {
    /// Counts a case. Returns true if there have been few of its kind.
    fn count(&mut self, oracle: &mut Process, case: &Case, outcomes: &[Outcome]) -> bool {
        // The parser's error, without the part that quotes the page.
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

/// Checks recorded cases without the oracle. Returns true if all outcomes are as recorded.
pub(crate) fn check(path: &str) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
    let problems = cases::check(&text)?;
    for problem in &problems {
        println!("{problem}");
    }
    Ok(problems.is_empty())
}
