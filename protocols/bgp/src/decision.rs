//! Which of several paths to a prefix is the best: RFC 4271 section 9.1.2.2, in the order in which routers do it.
//!
//! Steps remove candidates from a set rather than compare two paths at a time: MED is compared only between paths from
//! the same AS, so "better than" between two paths is not transitive, and the outcome of pairwise comparison would depend
//! on the order of arrival.

use crate::loc_rib::{Path, Source};
use crate::packet::PeerKind;

/// RFC 4271 leaves the default open; everyone's is 100.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// The index of the best path. `metric` is the IGP's metric to a path's next hop; `None`: the path cannot be used.
pub fn best(paths: &[Path], metric: impl Fn(&Path) -> Option<u32>) -> Option<usize> {
    if let [path] = paths {
        return metric(path).map(|_| 0);
    }
    let mut candidates: Vec<Candidate<'_>> = paths
        .iter()
        .enumerate()
        .filter_map(|(index, path)| Some(Candidate { index, path, metric: metric(path)? }))
        .collect();
    // A path of our own goes before all that was learned.
    keep_lowest(&mut candidates, |candidate| !matches!(candidate.path.source, Source::Local));
    keep_lowest(&mut candidates, |candidate| {
        std::cmp::Reverse(candidate.path.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF))
    });
    keep_lowest(&mut candidates, |candidate| candidate.path.attributes.as_path.length());
    keep_lowest(&mut candidates, |candidate| candidate.path.attributes.origin);
    keep_lowest_med(&mut candidates);
    keep_lowest(&mut candidates, |candidate| candidate.path.kind() == Some(PeerKind::Internal));
    keep_lowest(&mut candidates, |candidate| candidate.metric);
    // RFC 4456 section 9: behind a route reflector, the originator counts.
    keep_lowest(&mut candidates, |candidate| {
        candidate.path.attributes.originator_id.or(candidate.path.peer().map(|peer| peer.router_id))
    });
    keep_lowest(&mut candidates, |candidate| candidate.path.peer().map(|peer| peer.address));
    candidates.first().map(|candidate| candidate.index)
}

struct Candidate<'a> {
    index: usize,
    path: &'a Path,
    metric: u32,
}

fn keep_lowest<K: Ord>(candidates: &mut Vec<Candidate<'_>>, key: impl Fn(&Candidate<'_>) -> K) {
    if candidates.len() < 2 {
        return;
    }
    if let Some(lowest) = candidates.iter().map(&key).min() {
        candidates.retain(|candidate| key(candidate) == lowest);
    }
}

/// Step (c): a path goes if another one from the same AS has a lower MED; none counts as 0.
fn keep_lowest_med(candidates: &mut Vec<Candidate<'_>>) {
    if candidates.len() < 2 {
        return;
    }
    let from = |candidate: &Candidate<'_>| candidate.path.attributes.as_path.first();
    let med = |candidate: &Candidate<'_>| candidate.path.attributes.med.unwrap_or(0);
    let meds: Vec<_> = candidates.iter().map(|candidate| (from(candidate), med(candidate))).collect();
    candidates
        .retain(|candidate| !meds.iter().any(|(other, lower)| *other == from(candidate) && *lower < med(candidate)));
}

#[cfg(test)]
mod tests;
