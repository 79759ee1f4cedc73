//! Labels of series, and requirements for them.

/// The largest number of labels of a series. Mimir and Thanos take some 30 by default, and a search
/// among a million labels, again for each of them, would keep a thread busy for an hour.
pub(crate) const MOST_LABELS: usize = 64;

/// The labels of a series, in any representation.
pub trait LabelSet {
    /// Returns true if the label `name` has this value. A missing label has an empty value.
    fn has(&self, name: &str, value: &str) -> bool;

    /// Returns the value of the label `name` as a number.
    fn number(&self, name: &str) -> Option<f64>;

    /// Calls `visit` for every label with its name, and with a hash of its name and value that is 0
    /// if the value is empty. Hashes are comparable only between labels of one representation.
    fn for_each(&self, visit: &mut dyn FnMut(&[u8], u64));
}

/// A requirement for the value of a label. A series without the label has the empty value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelRule {
    /// The label.
    pub label: String,
    /// Values of the label.
    pub values: Vec<String>,
    /// True if the label has to have one of the values, false if it is allowed to have none of
    /// them.
    pub is_in: bool,
}

impl LabelRule {
    pub(crate) fn matches(&self, labels: &impl LabelSet) -> bool {
        self.values.iter().any(|value| labels.has(&self.label, value)) == self.is_in
    }

    pub(crate) fn text(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| format!("{value:?}")).collect();
        let operator = if self.is_in { "in" } else { "notin" };
        format!("{} {operator} ({})", self.label, values.join(", "))
    }
}

/// Returns true if a series has these labels and meets these requirements.
pub(crate) fn matches(
    equal: &[(String, String)],
    rules: &[LabelRule],
    labels: &impl LabelSet,
) -> bool {
    equal.iter().all(|(name, value)| labels.has(name, value))
        && rules.iter().all(|rule| rule.matches(labels))
}

/// Returns labels as text, such as `model="a",rank="0"`.
pub(crate) fn label_text(labels: &[(String, String)]) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    labels.join(",")
}
