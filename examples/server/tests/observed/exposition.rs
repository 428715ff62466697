//! Prometheus' text format, version 0.0.4, read as strictly as `promtool check metrics` does.

use std::collections::{BTreeMap, HashSet};

/// All metrics of one name.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Family {
    /// The sum of the samples with these labels; of a histogram, how much is in it.
    pub(crate) fn value(&self, labels: &[(&str, &str)]) -> f64 {
        let counts = |sample: &&Sample| self.kind != "histogram" || sample.name.ends_with("_count");
        let is_meant = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|has| has == value))
        };
        self.samples.iter().filter(counts).filter(is_meant).map(|sample| sample.value).sum()
    }
}

/// The families by name; panics where anything isn't as the format and the conventions have it.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line isn't ended");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect(line);
            assert!(
                families.insert(name.into(), Family { help: help.into(), ..Family::default() }).is_none()
            );
            current = name.into();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert!(is_name(name), "{line}");
            assert_eq!(name, current, "HELP comes first: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            families.get_mut(name).unwrap().kind = kind.into();
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let sample = sample(line);
            let family = families.get_mut(&current).expect(line);
            let rest = sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("in {current}: {line}"));
            let suffixes =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
            assert!(suffixes.contains(&rest), "{line}");
            assert!(seen.insert(format!("{} {:?}", sample.name, sample.labels)), "twice: {line}");
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn check(name: &str, family: &Family) {
    assert!(!family.help.trim().is_empty(), "{name} has no HELP");
    assert!(!family.samples.is_empty(), "{name} has no samples");
    assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name} is a {}", family.kind);
    for sample in &family.samples {
        assert!(family.kind == "gauge" || sample.value >= 0.0, "{sample:?}");
    }
    if family.kind == "histogram" {
        assert!(name.ends_with("_seconds"), "{name} has no unit");
        check_histogram(name, family);
    }
}

/// Buckets grow, and the last one has all.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").map(|bound| number(&bound));
        let key = format!("{labels:?}");
        match sample.name.strip_prefix(name).unwrap() {
            "_bucket" => series.entry(key).or_default().push((bound.expect("le"), sample.value)),
            "_count" => assert!(counts.insert(key, sample.value).is_none()),
            _ => assert_eq!(bound, None),
        }
    }
    assert_eq!(series.len(), counts.len(), "{name}");
    for (labels, buckets) in series {
        assert!(
            buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1),
            "{name}{labels}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, counts[&labels])), "{name}{labels}");
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value = number(value);
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{line}");
        return Sample { name: series.into(), labels: BTreeMap::new(), value };
    };
    assert!(is_name(name), "{line}");
    let mut rest = labels.strip_suffix('}').expect(line);
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").expect(line);
        assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().expect(line) {
                (_, '\\') => text.push(match chars.next().expect(line).1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other}: {line}"),
                }),
                (end, '"') => break end,
                (_, char) => text.push(char),
            }
        };
        assert!(labels.insert(label.to_owned(), text).is_none(), "{label} twice: {line}");
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Sample { name: name.into(), labels, value }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().unwrap_or_else(|error| panic!("{number:?}: {error}")),
    }
}

fn is_name(name: &str) -> bool {
    let is_first = |first: char| first.is_ascii_alphabetic() || first == '_' || first == ':';
    name.starts_with(is_first) && name.chars().all(|char| is_first(char) || char.is_ascii_digit())
}
