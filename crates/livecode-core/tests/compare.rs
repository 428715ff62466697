//! When an answer is the expected one.

use livecode_core::Compare;
use proptest::{collection::vec, prelude::*};

fn tolerance(absolute: f64, relative: f64) -> Compare {
    Compare::Tolerance { absolute, relative }
}

#[test]
fn exact_is_every_byte() {
    assert!(Compare::Exact.accepts(b"a\0\xff\n", b"a\0\xff\n"));
    for other in ["", "a", "a\n\n", "a \n", "A\n", "a\r\n"] {
        assert!(!Compare::Exact.accepts(b"a\n", other.as_bytes()), "{other:?}");
    }
}

#[test]
fn white_space_at_the_ends_of_lines_does_not_count_and_all_else_does() {
    let expected = b"a b\n\n c\n";
    for same in ["a b\n\n c", "a b \n\t\n c\r\n", "a b\r\n\r\n c\r\n \n\n\x0c", "a b\n\n c\n\n\n"] {
        assert!(Compare::TrimmedLines.accepts(expected, same.as_bytes()), "{same:?}");
        assert!(Compare::TrimmedLines.accepts(same.as_bytes(), expected), "{same:?}");
    }
    for other in ["", "a b\n c", "a  b\n\n c", "a b\n\nc", "\na b\n\n c", "a b\n\n c\nd", "a b", "A b\n\n c"]
    {
        assert!(!Compare::TrimmedLines.accepts(expected, other.as_bytes()), "{other:?}");
        assert!(!Compare::TrimmedLines.accepts(other.as_bytes(), expected), "{other:?}");
    }
    assert!(Compare::TrimmedLines.accepts(b"", b" \n\n"));
}

#[test]
fn tokens_are_words_in_their_order() {
    for same in ["1 22 x", "\n1\n22\nx\n", "1\t22\r\nx  "] {
        assert!(Compare::Tokens.accepts(b"1 22 x", same.as_bytes()), "{same:?}");
    }
    for other in ["", "1 22", "1 22 x x", "1 2 2 x", "122 x", "22 1 x", "1 22 X", "1.0 22 x"] {
        assert!(!Compare::Tokens.accepts(b"1 22 x", other.as_bytes()), "{other:?}");
    }
}

#[test]
fn numbers_may_differ_by_either_tolerance_and_words_may_not() {
    for (compare, expected, actual, same) in [
        (tolerance(0.01, 0.0), "1.5", "1.509", true),
        (tolerance(0.01, 0.0), "1.5", "1.511", false),
        (tolerance(0.01, 0.0), "1000", "1001", false),
        (tolerance(0.0, 0.01), "1000", "1009", true),
        (tolerance(0.0, 0.01), "-1000", "-1011", false),
        (tolerance(0.0, 0.01), "0", "0.001", false),
        (tolerance(0.1, 0.01), "0 1000", "-0.05 991", true),
        (tolerance(0.0, 0.0), "1 0 -0.5", "1.0 -0 -.50e0", true),
        (tolerance(0.0, 0.0), "1", "1.0000001", false),
        (tolerance(0.1, 0.1), "area 1.0", "Area 1.0", false),
        (tolerance(0.1, 0.1), "1.0", "one", false),
        (tolerance(0.1, 0.1), "1.0 2.0", "1.0", false),
        (tolerance(0.1, 0.1), "1.0", "1.0 2.0", false),
        // No numbers but words.
        (tolerance(9.0, 9.0), "1", "nan", false),
        (tolerance(9.0, 9.0), "nan", "nan", true),
        (tolerance(9.0, 9.0), "1e999", "inf", false),
        (tolerance(9.0, 9.0), "inf", "inf", true),
        (tolerance(9.0, 9.0), "inf", "5", false),
        // One `f64`, and two integers.
        (tolerance(0.5, 0.0), "9007199254740992", "9007199254740993", false),
        (tolerance(1.0, 0.0), "9007199254740992", "9007199254740993", true),
    ] {
        let accepts = compare.accepts(expected.as_bytes(), actual.as_bytes());
        assert_eq!(accepts, same, "{compare:?}: {expected} and {actual}");
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![8 => proptest::sample::select(&b" \t\r\n.-1e2a"[..]), 1 => any::<u8>()], 0..24)
}

/// What [`Compare::TrimmedLines`] says, in other words.
fn trimmed(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut line = line.to_vec();
        while line.last().is_some_and(u8::is_ascii_whitespace) {
            line.pop();
        }
        lines.push(line);
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

proptest! {
    #[test]
    fn each_way_is_no_stricter_than_the_one_before(expected in text(), actual in text()) {
        let ways = [Compare::Exact, Compare::TrimmedLines, Compare::Tokens, tolerance(0.0, 0.0), tolerance(0.1, 0.1)];
        let accepts = ways.map(|compare| compare.accepts(&expected, &actual));
        prop_assert!(accepts.is_sorted(), "{accepts:?}");
        for compare in ways {
            prop_assert!(compare.accepts(&expected, &expected));
        }
    }

    #[test]
    fn trimmed_lines_are_those_that_the_words_say(expected in text(), actual in text()) {
        let same = trimmed(&expected) == trimmed(&actual);
        prop_assert_eq!(Compare::TrimmedLines.accepts(&expected, &actual), same);
        prop_assert_eq!(Compare::TrimmedLines.accepts(&actual, &expected), same);
    }

    #[test]
    fn white_space_between_words_is_all_the_same(
        words in vec("[a-z0-9.]{1,4}", 0..8), spaces in vec("[ \t\r\n]{1,3}", 9),
    ) {
        let spaced: String = words.iter().zip(&spaces).map(|(word, space)| format!("{space}{word}")).collect();
        prop_assert!(Compare::Tokens.accepts(words.join(" ").as_bytes(), spaced.as_bytes()));
    }

    #[test]
    fn numbers_differ_by_what_they_differ(
        expected in -1e6..1e6_f64, by in -1e3..1e3_f64, tolerated in 0.0..1e3_f64,
    ) {
        let actual = expected + by;
        let (absolute, relative) = (tolerance(tolerated, 0.0), tolerance(0.0, tolerated / 1e3));
        let difference = (actual - expected).abs();
        let (written, other) = (expected.to_string(), format!("{actual:e}"));
        let accepts = |compare: Compare| compare.accepts(written.as_bytes(), other.as_bytes());
        prop_assert_eq!(accepts(absolute), difference <= tolerated);
        prop_assert_eq!(accepts(relative), difference <= tolerated / 1e3 * expected.abs());
    }
}
