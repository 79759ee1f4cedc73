//! The question to the API server whether a user may do something.

use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

/// Returns whether a user may do this with a resource.
///
/// # Errors
/// The API server does not answer the question.
pub(crate) async fn is_allowed(
    client: &Client,
    user: UserInfo,
    attributes: ResourceAttributes,
) -> kube::Result<bool> {
    let spec = SubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let review = api.create(&PostParams::default(), &review).await?;
    // A denial by one authorizer counts, whatever another one says.
    Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}
