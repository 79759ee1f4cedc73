//! Names as Kubernetes allows them. The operator puts names into the paths of calls, so one that is
//! no name would change what is called.

/// Returns true if a text is the name of an object: an RFC 1123 subdomain of at most 253 bytes.
///
/// ```
/// use llm_autoscaler_api::names::is_object_name;
///
/// assert!(is_object_name("qwen3-decode.v2"));
/// assert!(!is_object_name("qwen3/scale?dryRun=All"));
/// ```
pub fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Returns true if a text is a group and version, such as `apps/v1`, or `v1`.
pub fn is_api_version(api_version: &str) -> bool {
    match api_version.split_once('/') {
        None => is_label(api_version),
        Some((group, version)) => is_object_name(group) && is_label(version),
    }
}

/// Returns true if a text is a kind: its lower case is an RFC 1123 label.
pub fn is_kind(kind: &str) -> bool {
    is_label(&kind.to_ascii_lowercase())
}

/// Returns true if a text is a key of a Secret or a ConfigMap.
pub fn is_data_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&key.len()) && key != "." && key != ".." && key.bytes().all(is_allowed)
}

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_characters_that_mean_something_in_a_path() {
        let names = ["a", "a-0", "qwen3.5", "0", &"a".repeat(63)];
        for name in names {
            assert!(is_object_name(name), "{name}");
        }
        let no_names = [
            "",
            ".",
            "..",
            "a/b",
            "a?x=1",
            "a#b",
            "a%2f",
            "A",
            "-a",
            "a-",
            "a.",
            ".a",
            "a..b",
            "a b",
            "ä",
            "a\n",
            "../../b",
            &"a".repeat(64),
        ];
        for name in no_names {
            assert!(!is_object_name(name), "{name:?}");
        }
        let long = vec!["a".repeat(63); 4].join(".");
        assert!(!is_object_name(&long), "{} bytes", long.len());
    }

    #[test]
    fn a_group_and_a_version_are_names() {
        for right in ["v1", "apps/v1", "workloads.x-k8s.io/v1alpha2"] {
            assert!(is_api_version(right), "{right}");
        }
        for wrong in ["", "/", "/v1", "apps/", "a/b/c", "apps/v1?x", "..", "apps/..", "Apps/v1"] {
            assert!(!is_api_version(wrong), "{wrong:?}");
        }
        assert!(is_kind("StatefulSet") && !is_kind("Stateful/Set") && !is_kind(""));
        for (key, expected) in
            [("token", true), ("ca.crt", true), ("A_b-c", true), ("..", false), ("a/b", false)]
        {
            assert_eq!(is_data_key(key), expected, "{key}");
        }
    }
}
