//! `WARM`: how programs are started, for all languages and for single ones.

use livecode::{Error, Languages, Result, process::Warm};

/// What a text such as `single-use` or `python=fork,java=off` says of each language, by its canonical name: what names
/// a language wins, wherever it stands. Nothing of those that it doesn't speak of.
pub(crate) fn ways(text: &str, languages: &Languages) -> Result<Vec<(String, Warm)>> {
    let mut for_all = None;
    let mut named: Vec<(String, Warm)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((name, word)) = part.split_once('=') else {
            if for_all.replace(way(part)?).is_some() {
                return Err(refused(format!(
                    "{text:?} has more than one way for all languages: set one, and others as in python=fork"
                )));
            }
            continue;
        };
        let language = languages.get(name.trim()).map_err(|error| {
            refused(format!("names a language that isn't known: {error}; LANGUAGES adds others"))
        })?;
        let way = way(word.trim())?;
        if named.iter().any(|(name, _)| *name == language.name) {
            return Err(refused(format!("{text:?} names {} more than once: set it once", language.name)));
        }
        named.push((language.name.clone(), way));
    }
    if let Some(way) = for_all {
        let others: Vec<_> = languages
            .iter()
            .filter(|language| !named.iter().any(|(name, _)| *name == language.name))
            .map(|language| (language.name.clone(), way))
            .collect();
        named.extend(others);
    }
    Ok(named)
}

fn way(word: &str) -> Result<Warm> {
    match word {
        "off" => Ok(Warm::Off),
        "single-use" | "single" => Ok(Warm::SingleUse),
        "fork" => Ok(Warm::Fork),
        _ => Err(refused(format!(
            "has {word:?}, which is no way to start a program: set off, single-use or fork, for all languages or, as \
             in python=fork,java=off, for single ones"
        ))),
    }
}

fn refused(reason: String) -> Error {
    Error::invalid(format!("WARM {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, language: &str) -> Option<Warm> {
        let mut said = ways(text, &Languages::builtin()).unwrap();
        said.retain(|(name, _)| name == language);
        assert!(said.len() <= 1, "{said:?}");
        said.pop().map(|(_, way)| way)
    }

    #[test]
    fn one_way_is_for_all_languages() {
        for (text, way) in [
            ("off", Warm::Off),
            ("single-use", Warm::SingleUse),
            ("single", Warm::SingleUse),
            ("fork", Warm::Fork),
        ] {
            assert_eq!(said(text, "python"), Some(way));
            assert_eq!(said(text, "java"), Some(way));
        }
    }

    #[test]
    fn what_names_a_language_wins_wherever_it_stands() {
        for text in ["off,python=fork", "python=fork,off", " py = fork , off "] {
            assert_eq!(
                (said(text, "python"), said(text, "java")),
                (Some(Warm::Fork), Some(Warm::Off)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_spoken_of_is_left_to_the_library() {
        assert_eq!((said("python=fork", "python"), said("python=fork", "java")), (Some(Warm::Fork), None));
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_reason_and_remedy() {
        for (text, reason, remedy) in [
            ("", "\"\"", "set off, single-use or fork"),
            ("hot", "\"hot\"", "set off, single-use or fork"),
            ("python=", "\"\"", "set off, single-use or fork"),
            ("python=off,", "\"\"", "set off, single-use or fork"),
            ("cobol=off", "cobol", "LANGUAGES"),
            ("off,fork", "more than one way", "set one"),
            ("python=off,py=fork", "python more than once", "set it once"),
        ] {
            let error = ways(text, &Languages::builtin()).unwrap_err().to_string();
            assert!(error.starts_with("WARM "), "{error}");
            assert!(error.contains(reason) && error.contains(remedy), "{text:?}: {error}");
        }
    }
}
