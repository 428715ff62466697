//! Languages as data: file names, templates and commands.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde::Deserialize;

use crate::{Error, Result};

/// What it takes to run programs of one language.
///
/// ```
/// use livecode_core::{Language, Languages};
///
/// let mut languages = Languages::builtin();
/// languages.add(Language::new("shell", "main.sh", ["sh", "main.sh"])).unwrap();
/// assert_eq!(languages.get("shell").unwrap().file_name, "main.sh");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The canonical name; lower case.
    pub name: String,
    /// Other names that requests may use.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What the entry file is called.
    pub file_name: String,
    /// What a new session holds.
    #[serde(default)]
    pub template: String,
    /// Run first, in the same work directory, where there is one: see [`Step::command`](crate::Step::command). In its
    /// arguments, as in those of `run`, `{memory_bytes}` stands for what the step may use.
    #[serde(default)]
    pub compile: Option<Vec<String>>,
    /// The program and its arguments; a request's arguments follow.
    pub run: Vec<String>,
    /// Prints the version, as the first line of either stream.
    #[serde(default)]
    pub version: Vec<String>,
    /// Added to the sandbox's environment; a request's variables replace these.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Language {
    /// An interpreted language without a template.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        file_name: impl Into<String>,
        run: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            file_name: file_name.into(),
            template: String::new(),
            compile: None,
            run: run.into_iter().map(Into::into).collect(),
            version: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::invalid(format!("language {:?} {reason}", self.name)));
        for name in std::iter::once(&self.name).chain(&self.aliases) {
            // As `get` looks for it: there are letters that are no capitals and have another lower case all the same.
            if name.is_empty()
                || *name != name.to_lowercase()
                || name.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                return refuse(format!("has a name {name:?}: names are lower case without white space"));
            }
        }
        if self.file_name.is_empty()
            || self.file_name.contains(['/', '\0'])
            || self.file_name.starts_with('.')
        {
            return refuse(format!("has a file_name {:?}: it is a plain name", self.file_name));
        }
        let commands = [Some(&self.run), self.compile.as_ref()];
        if commands.into_iter().flatten().any(|command| command.first().is_none_or(String::is_empty)) {
            return refuse("has an empty command".into());
        }
        Ok(())
    }
}

/// The languages that a host offers, by name.
#[derive(Clone, Debug)]
pub struct Languages {
    by_name: BTreeMap<String, Arc<Language>>,
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    language: Vec<Language>,
}

impl Default for Languages {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Languages {
    /// None.
    pub fn none() -> Self {
        Self { by_name: BTreeMap::new(), aliases: BTreeMap::new() }
    }

    /// Those that come with livecode: Python, JavaScript, TypeScript, Java, C, C++, Go, Rust, Ruby, PHP, Perl and Bash. Which of
    /// them a machine can run is for [`Runner::version`](crate::Runner::version) to say.
    pub fn builtin() -> Self {
        // Read once: every runner and every engine begins with them.
        static BUILTIN: LazyLock<Languages> = LazyLock::new(|| {
            let mut languages = Languages::none();
            let added = languages.add_toml(include_str!("languages.toml"));
            debug_assert!(added.is_ok(), "the built-in languages are valid: {added:?}");
            languages
        });
        BUILTIN.clone()
    }

    /// Adds a language, in place of one by the same name.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where a name, a file name or a command can't be used, or an
    /// alias belongs to another language.
    pub fn add(&mut self, language: Language) -> Result<()> {
        language.check()?;
        for alias in &language.aliases {
            let taken = self.by_name.contains_key(alias) && *alias != language.name
                || self.aliases.get(alias).is_some_and(|name| *name != language.name);
            if taken {
                return Err(Error::invalid(format!(
                    "language {:?} has an alias {alias:?} that belongs to another language",
                    language.name
                )));
            }
        }
        self.aliases.retain(|alias, name| *name != language.name && *alias != language.name);
        self.aliases.extend(language.aliases.iter().map(|alias| (alias.clone(), language.name.clone())));
        self.by_name.insert(language.name.clone(), Arc::new(language));
        Ok(())
    }

    /// Adds every `[[language]]` table of a TOML text; its members are those of [`Language`].
    ///
    /// ```
    /// let mut languages = livecode_core::Languages::none();
    /// languages
    ///     .add_toml(
    ///         r#"
    ///         [[language]]
    ///         name = "c"
    ///         file_name = "main.c"
    ///         compile = ["gcc", "-O2", "-o", "main", "main.c"]
    ///         run = ["./main"]
    ///         "#,
    ///     )
    ///     .unwrap();
    /// assert!(languages.get("c").unwrap().compile.is_some());
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where it isn't such a text, with the line; and those of
    /// [`Languages::add`]. Languages before the offending one stay added.
    pub fn add_toml(&mut self, text: &str) -> Result<()> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::invalid("the languages can't be read").with_source(error))?;
        file.language.into_iter().try_for_each(|language| self.add(language))
    }

    /// The language by that name or alias, in any case of letters.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), listing the known ones.
    pub fn get(&self, name: &str) -> Result<&Arc<Language>> {
        let lower = name.to_lowercase();
        let canonical = self.aliases.get(&lower).unwrap_or(&lower);
        self.by_name.get(canonical).ok_or_else(|| {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            let shown: String = name.chars().take(64).collect();
            Error::invalid(format!("language '{shown}' is unknown; known are: {}", known.join(", ")))
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Language>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use super::{Language, Languages};

    #[test]
    fn the_builtin_languages_are_there_by_name_and_alias() {
        let languages = Languages::builtin();
        let names: Vec<_> = languages.iter().map(|language| language.name.as_str()).collect();
        let twelve = [
            "bash",
            "c",
            "cpp",
            "go",
            "java",
            "javascript",
            "perl",
            "php",
            "python",
            "ruby",
            "rust",
            "typescript",
        ];
        assert_eq!(names, twelve);
        for (alias, name) in [("JS", "javascript"), ("ts", "typescript"), ("C++", "cpp"), ("golang", "go")] {
            assert_eq!(languages.get(alias).unwrap().name, name);
        }
    }

    #[test]
    fn every_builtin_language_is_complete() {
        for language in Languages::builtin().iter() {
            assert!(language.template.contains("Hello World"), "{}", language.name);
            assert!(!language.version.is_empty(), "{}", language.name);
        }
    }

    #[test]
    fn an_unknown_language_is_refused_with_the_known_ones() {
        let error = Languages::builtin().get("cobol").unwrap_err().to_string();
        assert!(error.starts_with("language 'cobol' is unknown; known are: bash, c, cpp, go, "), "{error}");
    }

    #[test]
    fn a_language_replaces_one_by_the_same_name() {
        let mut languages = Languages::builtin();
        languages.add(Language::new("python", "app.py", ["pypy3", "app.py"])).unwrap();
        assert_eq!(languages.get("python").unwrap().file_name, "app.py");
        assert!(languages.get("py").is_err(), "the aliases went with the old one");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let mut languages = Languages::builtin();
        for (language, reason) in [
            (Language::new("", "a", ["a"]), "name"),
            (Language::new("a b", "a", ["a"]), "name"),
            (Language::new("a", "../a", ["a"]), "file_name"),
            (Language::new("a", "a", [""; 0]), "empty command"),
            (Language { aliases: vec!["js".into()], ..Language::new("a", "a", ["a"]) }, "alias"),
        ] {
            let error = languages.add(language).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(languages.add_toml("[[language]]\nname = 1").unwrap_err().to_string().contains("line 2"));
    }
}
