//! A bearer token in a file, which something else replaces before the token ends.

use std::{io::Read, path::Path, time::Duration};

use reqwest::header::HeaderValue;

use super::token::{Failure, Fresh};

/// The time after which the file is read again.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// The largest file, in bytes.
const LARGEST: u64 = 16 << 10;

/// Reads the token as the value of the header Authorization.
pub(super) fn read(path: &Path) -> Result<Fresh<HeaderValue>, Failure> {
    let token = read_text(path)?;
    Ok(Fresh { value: bearer(&token)?, valid_for: READ_AGAIN })
}

/// Reads a file with a token. The errors name the file to the log only.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |detail: String| {
        Failure::new(
            "the file of the token cannot be used",
            format!("{}: {detail}", path.display()),
        )
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let length = file.take(LARGEST + 1).read_to_string(&mut text);
    match length.map_err(|error| failed(error.to_string()))? {
        0 => Err(failed("it is empty".to_owned())),
        length if length as u64 > LARGEST => Err(failed(format!("it has over {LARGEST} bytes"))),
        _ => Ok(text.trim().to_owned()),
    }
}

/// Returns the value of the header Authorization for a token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.ok().filter(|_| !token.is_empty()).ok_or_else(|| {
        Failure::new("the token is not the value of a header", "it has a line break, or is empty")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_file_shows_its_name_to_the_log_only_and_its_content_nowhere() {
        let path = std::env::temp_dir().join(format!("token-{}", std::process::id()));
        assert!(read(&path).unwrap_err().logged.contains("No such file"));
        let long = "a".repeat(1 + (16 << 10));
        for (content, expected) in [
            ("token\n", Ok("Bearer token")),
            ("to\nken", Err("it has a line break")),
            ("", Err("it is empty")),
            (" ", Err("or is empty")),
            (&*long, Err("it has over 16384 bytes")),
        ] {
            std::fs::write(&path, content).unwrap();
            match (read(&path), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.value, expected),
                (Err(found), Err(expected)) => {
                    assert!(found.logged.contains(expected), "{}", found.logged);
                    assert!(!found.told.contains("token-"), "{}", found.told);
                    assert!(!found.logged.contains("ken\"") && !found.logged.contains("aaa"));
                }
                (found, expected) => panic!("{content:?}: {found:?}, not {expected:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
