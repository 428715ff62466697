//! `DOCKER_IMAGES`: in which images programs run.

use livecode::{Error, Languages, Result};

/// The image of each language that a text such as `python=python:3.13-slim,javascript=node:22-slim` names, by its canonical name.
pub(crate) fn named(text: &str, languages: &Languages) -> Result<Vec<(String, String)>> {
    let mut named: Vec<(String, String)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (name, image) =
            part.split_once('=').map(|(name, image)| (name.trim(), image.trim())).unwrap_or_default();
        if name.is_empty() || image.is_empty() || image.contains(char::is_whitespace) {
            return Err(refused(format!(
                "has {part:?}, which names no image: write LANGUAGE=IMAGE, with commas between"
            )));
        }
        let language = languages.get(name).map_err(|error| {
            refused(format!("names a language that isn't known: {error}; LANGUAGES adds others"))
        })?;
        if named.iter().any(|(name, _)| *name == language.name) {
            return Err(refused(format!("names {} more than once: name one image", language.name)));
        }
        named.push((language.name.clone(), image.to_owned()));
    }
    Ok(named)
}

fn refused(reason: String) -> Error {
    Error::invalid(format!("DOCKER_IMAGES {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_image() {
        let found =
            named("py=python:3.13-slim, javascript=registry:5000/node@sha256:1f", &Languages::builtin())
                .unwrap();
        let expected = [("python", "python:3.13-slim"), ("javascript", "registry:5000/node@sha256:1f")];
        assert_eq!(found, expected.map(|(name, image)| (name.to_owned(), image.to_owned())));
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_reason_and_remedy() {
        for (text, reason, remedy) in [
            ("", "\"\"", "LANGUAGE=IMAGE"),
            ("python", "\"python\"", "LANGUAGE=IMAGE"),
            ("python=", "\"python=\"", "LANGUAGE=IMAGE"),
            ("python=a b", "\"python=a b\"", "LANGUAGE=IMAGE"),
            ("cobol=cobol", "cobol", "LANGUAGES"),
            ("python=a,py=b", "python more than once", "name one"),
        ] {
            let error = named(text, &Languages::builtin()).unwrap_err().to_string();
            assert!(error.starts_with("DOCKER_IMAGES "), "{error}");
            assert!(error.contains(reason) && error.contains(remedy), "{text:?}: {error}");
        }
    }
}
