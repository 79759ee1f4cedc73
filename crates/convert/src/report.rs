//! The results of a conversion, and what is missing in them.

use serde_json::Value;

use crate::{
    comment::{Comment, CommentKind},
    read::Place,
    yaml,
};

/// The algorithm by which another autoscaler computes its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// That of the HPA, which KEDA uses too.
    Hpa,
    /// AIBrix's own, by a mean of three minutes.
    Apa,
    /// Knative's, as AIBrix has it.
    Kpa,
    /// Kthena's.
    Kthena,
    /// The saturation analyzer of the workload-variant-autoscaler.
    Wva,
}

/// What became of one document.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The document.
    pub place: Place,
    /// Its kind, namespace and name.
    pub source: String,
    /// Its algorithm, if it is an autoscaler.
    pub algorithm: Option<Algorithm>,
    /// The LLMAutoscalers; none if the document is no autoscaler, or cannot be expressed.
    pub objects: Vec<Value>,
    /// The comments on it.
    pub comments: Vec<Comment>,
}

/// What became of all documents.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the documents.
    pub conversions: Vec<Conversion>,
}

impl Conversion {
    /// Returns the document's comments as comments of YAML.
    fn header(&self) -> String {
        let Self { place, source, objects, .. } = self;
        let became = if objects.is_empty() { "no LLMAutoscaler comes of" } else { "from" };
        let mut text = yaml::comment(&format!("{became} {source} ({place})"));
        let mut comments: Vec<&Comment> = self.comments.iter().collect();
        comments.sort_by_key(|comment| std::cmp::Reverse(comment.kind));
        for comment in comments {
            text += &yaml::comment(&format!("- {comment}"));
        }
        text
    }
}

impl Report {
    /// Returns the results as YAML documents with their comments.
    pub fn yaml(&self) -> String {
        let documents = self.conversions.iter().map(|conversion| {
            let objects: Vec<String> = conversion.objects.iter().map(yaml::document).collect();
            conversion.header() + &objects.join("---\n")
        });
        documents.collect::<Vec<_>>().join("---\n")
    }

    /// Returns a line for each part of the input that the results lack.
    pub fn losses(&self) -> Vec<String> {
        let of = |conversion: &Conversion| -> Vec<String> {
            let lost = conversion.comments.iter().filter(|comment| comment.kind.is_loss());
            let Conversion { place, source, .. } = conversion;
            lost.map(|comment| format!("{place}: {source}: {comment}")).collect()
        };
        self.conversions.iter().flat_map(of).collect()
    }

    /// Returns the comments of a kind, over all documents.
    pub fn comments(&self, kind: CommentKind) -> impl Iterator<Item = &Comment> {
        let all = self.conversions.iter().flat_map(|conversion| &conversion.comments);
        all.filter(move |comment| comment.kind == kind)
    }
}
