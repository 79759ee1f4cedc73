//! Series that are absent and count as 0, because the page proves it or the spec says so.

use super::{Extractor, PageSummary, accumulator::Scratch};
use crate::{
    kind::{Fold, Kind},
    recipe::{Absence, IdleProof, Selector},
    recognize::has_name,
};

/// What makes an absent series of a recipe count as 0.
#[derive(Clone, Debug)]
pub(super) enum ZeroIf {
    /// Nothing does.
    Never,
    /// Another summand is there.
    BesideOthers,
    /// The page is a metrics page that is not empty.
    Page,
    /// The page has one of these proofs.
    Proofs(Vec<CompiledProof>),
}

/// A proof with accumulators in place of its series.
#[derive(Clone, Debug)]
pub(super) struct CompiledProof {
    zero: Vec<usize>,
    present: Vec<usize>,
    without: Vec<usize>,
    prefix: Option<&'static str>,
}

/// A valid page.
#[derive(Clone, Copy)]
pub(super) struct ValidPage<'p> {
    pub(super) bytes: &'p [u8],
    pub(super) summary: PageSummary,
}

impl ZeroIf {
    pub(super) fn new(extractor: &mut Extractor, absence: &Absence) -> Self {
        match absence {
            Absence::Unknown | Absence::Usual => Self::Never,
            Absence::LeftOut => Self::BesideOthers,
            Absence::Zero => Self::Page,
            Absence::ZeroBeforeRequests(proofs) => {
                let compile = |proof| CompiledProof::new(extractor, proof);
                Self::Proofs(proofs.iter().map(compile).collect())
            }
        }
    }

    /// Returns true if a series that is absent counts as 0. `page` is `None` if the series are
    /// from elsewhere; only a proof by a series at 0 holds then.
    pub(super) fn holds(&self, scratch: &Scratch, page: Option<ValidPage<'_>>) -> bool {
        match self {
            Self::Never => false,
            // That is known at the end of the sum.
            Self::BesideOthers => true,
            Self::Page => page.is_some_and(|page| !page.summary.is_empty()),
            Self::Proofs(proofs) => proofs.iter().any(|proof| proof.holds(scratch, page)),
        }
    }
}

impl CompiledProof {
    fn new(extractor: &mut Extractor, proof: &IdleProof) -> Self {
        let mut compile = |series: &Selector| extractor.compile(Kind::Gauge, &[], series);
        Self {
            zero: proof.zero.iter().map(&mut compile).collect(),
            present: proof.present.iter().map(&mut compile).collect(),
            without: proof.without.iter().map(&mut compile).collect(),
            prefix: proof.prefix,
        }
    }

    fn holds(&self, scratch: &Scratch, page: Option<ValidPage<'_>>) -> bool {
        // A series that is malformed or not finite is NaN, which is not 0.
        let is_zero = |series: &usize| {
            scratch.number(*series, Fold::Max).is_some_and(|number| number.abs() < f64::EPSILON)
        };
        let is_on_page = |prefix| page.is_some_and(|page| has_name(page.bytes, prefix));
        let is_there = |series: &usize| {
            scratch.number(*series, Fold::Max).is_some_and(|number| !number.is_nan())
        };
        self.zero.iter().all(is_zero)
            && self.present.iter().all(is_there)
            && !self.without.iter().any(|series| scratch.has_series(*series))
            && self.prefix.is_none_or(is_on_page)
    }
}
