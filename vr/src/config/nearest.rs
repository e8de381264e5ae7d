//! "Did you mean": the known word that a wrong one was probably meant to be.

/// The candidate that differs least, if it differs by no more than a slip of the finger.
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    let allowed = if word.chars().count() < 4 { 1 } else { 2 };
    candidates
        .filter(|candidate| !candidate.starts_with('<'))
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| (1..=allowed).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein's distance: letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, letter) in (1..).zip(a.chars()) {
        let mut current = Vec::with_capacity(above.len());
        current.push(row);
        for (pair, other) in above.windows(2).zip(&b) {
            let left = current.last().copied().unwrap_or(row);
            let replaced = pair[0] + usize::from(letter != *other);
            current.push(replaced.min(pair[1] + 1).min(left + 1));
        }
        above = current;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let words = ["neighbor", "network", "<prefix>", "mtu"];
        assert_eq!(nearest("neighbour", words.into_iter()).as_deref(), Some("neighbor"));
        assert_eq!(nearest("mut", words.into_iter()), None, "two letters of three is another word");
        assert_eq!(nearest("mt", words.into_iter()).as_deref(), Some("mtu"));
        assert_eq!(nearest("hostname", words.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
