//! One pass over a page.

use super::{
    Extractor, Family, PageError, PageSummary, Scratch,
    declared::{Declaration, TypeLine},
    length,
    line::{Sample, ends_like_number, looks_like_sample, name_of, name_without_blank, trim},
    names::bare_name,
    scan::{begins_with, first_of},
};

/// The state of one pass over a page.
pub(super) struct Pass<'e, 'p> {
    extractor: &'e Extractor,
    scratch: &'e mut Scratch,
    pub(super) summary: PageSummary,
    /// The number of lines read so far.
    lines: usize,
    /// The first malformed line of a wanted family.
    pub(super) bad_line: Option<PageError>,
    /// The bare name of the latest sample line of an unwanted family, which the next lines mostly
    /// have too; empty if there is none.
    unwanted: &'p [u8],
}

impl<'e, 'p> Pass<'e, 'p> {
    pub(super) fn new(extractor: &'e Extractor, scratch: &'e mut Scratch) -> Self {
        let summary = PageSummary::default();
        Self { extractor, scratch, summary, lines: 0, bad_line: None, unwanted: b"" }
    }

    /// Reads a page, and checks it as a whole.
    pub(super) fn read(&mut self, page: &'p [u8]) -> Result<(), PageError> {
        let rest = self.lines(page);
        self.lines += 1;
        self.line(rest);
        let PageSummary { samples, comments, skipped_malformed, .. } = self.summary;
        if samples == 0 && comments == 0 && skipped_malformed > 0 && self.bad_line.is_none() {
            return Err(PageError::not_metrics(page));
        }
        // OpenMetrics allows a page without the last line feed, because `# EOF` marks its end.
        if matches!(trim(rest), b"" | b"# EOF") {
            Ok(())
        } else {
            Err(PageError::cut_off(self.lines, rest))
        }
    }

    /// Reads all lines that end with a line feed. Returns the text behind the last of them.
    fn lines(&mut self, page: &'p [u8]) -> &'p [u8] {
        let mut rest = page;
        loop {
            // A name has no line feed, so that the end of the line is behind it.
            let known = self.unwanted_labels(rest).unwrap_or_default();
            let Some(end) = first_of([b'\n'], &rest[known..]) else { return rest };
            let (line, next) = (&rest[..known + end], &rest[known + end + 1..]);
            rest = next;
            self.lines += 1;
            if known > 0 && ends_like_number(line) {
                self.summary.samples += 1;
            } else if line.first() == Some(&b'#') {
                self.comment(line);
            } else {
                self.line(line);
            }
        }
    }

    /// Returns the place of the labels of the line that `text` begins with, if its name is that of
    /// the unwanted family.
    #[inline]
    fn unwanted_labels(&self, text: &[u8]) -> Option<usize> {
        let place = self.unwanted.len();
        let has_labels = place > 0 && text.get(place) == Some(&b'{');
        (has_labels && begins_with(text, self.unwanted)).then_some(place)
    }

    /// Reads a line in full.
    fn line(&mut self, line: &'p [u8]) {
        let line = trim(line);
        match line.first() {
            None => {}
            Some(b'#') => self.comment(line),
            Some(b'{') => match name_of(line) {
                Some(name) => match self.extractor.family(name) {
                    Some(family) => self.wanted(line, family),
                    None if Sample::parse(line).is_ok() => self.summary.samples += 1,
                    None => self.malformed(line, name.raw),
                },
                None => self.summary.skipped_malformed += 1,
            },
            Some(_) => match bare_name(line) {
                Some(name) => match self.extractor.bare_family(name) {
                    Some(family) => self.wanted(line, family),
                    None => self.unwanted(line, name),
                },
                None => self.summary.skipped_malformed += 1,
            },
        }
    }

    /// Reads a comment, which may have blanks at its end.
    #[inline]
    fn comment(&mut self, line: &[u8]) {
        self.summary.comments += 1;
        if self.extractor.beginnings.may_have(line) {
            self.declare(trim(line));
        }
    }

    /// Notes the type of a `# TYPE` line for the wanted series that it is about. A line about the
    /// series itself counts before one about its family.
    fn declare(&mut self, line: &[u8]) {
        let Some(line) = TypeLine::parse(line) else { return };
        for place in self.extractor.declared.get(length(line.name)).into_iter().flatten() {
            let family = &self.extractor.families[*place];
            if begins_with(&family.name, line.name)
                && let Some(declared) = line.declared()
                && let Some(declaration) = Declaration::of(&family.name, line.name, declared)
            {
                for selector in &family.selectors {
                    self.scratch.declare(selector.accumulator, declaration);
                }
            }
        }
    }

    /// Reads a line with the bare name of an unwanted family.
    fn unwanted(&mut self, line: &'p [u8], name: &'p [u8]) {
        if looks_like_sample(line, name) {
            self.summary.samples += 1;
            self.unwanted = name;
        } else {
            self.malformed(line, name);
        }
    }

    /// Reads a malformed line with the name of an unwanted family. A wanted one may be meant.
    #[cold]
    fn malformed(&mut self, line: &[u8], name: &[u8]) {
        let meant = name_without_blank(line, name);
        match meant.and_then(|name| self.extractor.bare_family(name)) {
            Some(family) => self.wanted(line, family),
            None => self.summary.skipped_malformed += 1,
        }
    }

    fn wanted(&mut self, line: &[u8], family: &Family) {
        let sample = match Sample::parse(line) {
            Ok(sample) => sample,
            Err(reason) => {
                // The line might be of any of the family's series, so none of them can be trusted.
                for selector in &family.selectors {
                    self.scratch.invalidate(selector.accumulator);
                }
                self.bad_line.get_or_insert_with(|| PageError::bad_line(self.lines, reason, line));
                return;
            }
        };
        self.summary.samples += 1;
        if !self.scratch.insert_series(family.hash.wrapping_add(sample.identity)) {
            self.summary.duplicates += 1;
            return;
        }
        let counted = family.add(self.scratch, &sample.labels, sample.value);
        self.summary.not_finite += usize::from(counted && !sample.value.is_finite());
    }
}
