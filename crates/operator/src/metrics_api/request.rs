//! The paths of the metrics APIs.

use kube::core::Selector;
use llm_autoscaler_api::selector;

/// A version of the custom metrics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The first one, in which a value has `metricName`.
    V1Beta1,
    /// The second one, in which a value has `metric`.
    V1Beta2,
}

impl Version {
    /// Returns the name in paths.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
        }
    }
}

/// The group of the numbers of pods.
pub(super) const CUSTOM: &str = "custom.metrics.k8s.io";
/// The group of the recommendations.
pub(super) const EXTERNAL: &str = "external.metrics.k8s.io";
/// Both versions of the first one, the preferred one first.
pub(super) const CUSTOM_VERSIONS: [Version; 2] = [Version::V1Beta2, Version::V1Beta1];
/// The longest path and query, in bytes.
const LONGEST: usize = 8 << 10;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// The groups.
    Groups,
    /// One group.
    Group(&'static str),
    /// The metrics of a version of a group.
    Resources(&'static str, Version),
    /// A number of pods.
    Pods(PodsRequest),
    /// A number of an autoscaler.
    External(ExternalRequest),
}

/// A request for a number of pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodsRequest {
    /// The version, which decides about the form of the answer.
    pub version: Version,
    /// The namespace.
    pub namespace: String,
    /// The pod's name; `*` for all that the selector selects.
    pub pod: String,
    /// The name of the number.
    pub metric: String,
    /// The selector of pods; everything if it is empty.
    pub pods: Selector,
    /// The labels of the series.
    pub series: Vec<(String, String)>,
}

/// A request for a number of autoscalers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExternalRequest {
    /// The namespace.
    pub namespace: String,
    /// The name of the number.
    pub metric: String,
    /// The selector of autoscalers and their roles; everything if it is empty.
    pub selector: Selector,
}

/// The reason why a request cannot be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum BadRequest {
    /// There is nothing at the path.
    NoSuchPath,
    /// A part of it cannot be read, for this reason.
    Unreadable(String),
}

/// Parses a path and its query.
///
/// # Errors
/// See [`BadRequest`].
pub(super) fn parse(path: &str, query: &str) -> Result<Request, BadRequest> {
    if path.len() + query.len() > LONGEST {
        return Err(BadRequest::Unreadable("the path is too long".to_owned()));
    }
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(decode)
        .collect::<Option<_>>()
        .ok_or_else(bad_text)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map_or(Some(String::new()), |text| decode(&text.replace('+', " ")))
    };
    let selector_of = |name| selector_of(&parameter(name).ok_or_else(bad_text)?);
    match segments[..] {
        ["apis"] => Ok(Request::Groups),
        ["apis", CUSTOM] => Ok(Request::Group(CUSTOM)),
        ["apis", EXTERNAL] => Ok(Request::Group(EXTERNAL)),
        ["apis", CUSTOM, version] => Ok(Request::Resources(CUSTOM, custom_version(version)?)),
        ["apis", EXTERNAL, "v1beta1"] => Ok(Request::Resources(EXTERNAL, Version::V1Beta1)),
        ["apis", CUSTOM, version, "namespaces", namespace, "pods", pod, metric] => {
            let series = parameter("metricLabelSelector").ok_or_else(bad_text)?;
            Ok(Request::Pods(PodsRequest {
                version: custom_version(version)?,
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                metric: metric.to_owned(),
                pods: selector_of("labelSelector")?,
                series: equalities(&series)?,
            }))
        }
        ["apis", EXTERNAL, "v1beta1", "namespaces", namespace, metric] => {
            let selector = selector_of("labelSelector")?;
            let (namespace, metric) = (namespace.to_owned(), metric.to_owned());
            Ok(Request::External(ExternalRequest { namespace, metric, selector }))
        }
        _ => Err(BadRequest::NoSuchPath),
    }
}

fn custom_version(name: &str) -> Result<Version, BadRequest> {
    let mut versions = CUSTOM_VERSIONS.into_iter();
    versions.find(|version| version.name() == name).ok_or(BadRequest::NoSuchPath)
}

fn bad_text() -> BadRequest {
    BadRequest::Unreadable("the path or the query is not UTF-8".to_owned())
}

fn selector_of(text: &str) -> Result<Selector, BadRequest> {
    if text.is_empty() {
        return Ok(Selector::default());
    }
    selector::parse(text).map_err(|_| {
        BadRequest::Unreadable(format!("the selector {text:?} cannot be parsed as labels"))
    })
}

/// Parses labels with their values, which is what a series can be selected by.
fn equalities(text: &str) -> Result<Vec<(String, String)>, BadRequest> {
    let equality = |part: &str| {
        let (label, value) = part.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let is_plain = !label.ends_with('!') && !label.is_empty() && !label.contains([' ', '(']);
        is_plain.then(|| (label.trim().to_owned(), value.trim().to_owned()))
    };
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(equality).collect::<Option<_>>().ok_or_else(|| {
        BadRequest::Unreadable(format!(
            "series are selected by labels and their values, as model_name=qwen3, and not by {text}"
        ))
    })
}

/// Decodes `%3A` and the like; `None` if the result is no text.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_group_a_metric_of_pods_or_one_of_autoscalers() {
        let custom = "/apis/custom.metrics.k8s.io";
        let pods = format!("{custom}/v1beta1/namespaces/ns/pods");
        let request = |pod: &str, selector: &str, series: &[(&str, &str)]| {
            Ok(Request::Pods(PodsRequest {
                version: Version::V1Beta1,
                namespace: "ns".to_owned(),
                pod: pod.to_owned(),
                metric: "vllm:num_requests_waiting".to_owned(),
                pods: selector_of(selector).unwrap(),
                series: series.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            }))
        };
        let metric = "vllm:num_requests_waiting";
        // path, query, request
        let table = [
            ("/apis".to_owned(), "", Ok(Request::Groups)),
            (custom.to_owned(), "", Ok(Request::Group(CUSTOM))),
            (format!("{custom}/v1beta2"), "", Ok(Request::Resources(CUSTOM, Version::V1Beta2))),
            (format!("{custom}/v1"), "", Err(BadRequest::NoSuchPath)),
            (format!("{pods}/*/{metric}"), "", request("*", "", &[])),
            (format!("{pods}/%2A/vllm%3Anum_requests_waiting"), "", request("*", "", &[])),
            (format!("{pods}/a-0/{metric}"), "", request("a-0", "", &[])),
            (
                format!("{pods}/*/{metric}"),
                "labelSelector=app%3Da%2Ctier+in+%28b%29&metricLabelSelector=model_name%3Dm%2Fq",
                request("*", "app=a,tier in (b)", &[("model_name", "m/q")]),
            ),
            (format!("{custom}/v1beta1/nodes/n/cpu"), "", Err(BadRequest::NoSuchPath)),
            ("/openapi/v2".to_owned(), "", Err(BadRequest::NoSuchPath)),
        ];
        for (path, query, expected) in table {
            assert_eq!(parse(&path, query), expected, "{path}?{query}");
        }
        let external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/m";
        assert!(matches!(parse(external, "labelSelector=a%3Db"), Ok(Request::External(_))));
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_refused_and_not_left_out() {
        let pods = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/ns/pods/*/m";
        let queries = [
            "labelSelector=a%3D%28",
            "metricLabelSelector=a%21%3Db",
            "metricLabelSelector=a",
            "labelSelector=%FF",
        ];
        for query in queries {
            let found = parse(pods, query);
            assert!(matches!(found, Err(BadRequest::Unreadable(_))), "{query}: {found:?}");
        }
        let long = format!("labelSelector={}", "a".repeat(LONGEST));
        assert!(matches!(parse(pods, &long), Err(BadRequest::Unreadable(_))));
    }
}
