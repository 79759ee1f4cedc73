//! A request to an engine.

/// A request for a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The ID, which the caller chooses; unique among the requests that have not ended.
    pub id: u64,
    /// The length of the prompt in tokens; an empty prompt counts as one token.
    pub prompt_tokens: u32,
    /// The number of tokens to generate; at least one is generated.
    pub output_tokens: u32,
}
