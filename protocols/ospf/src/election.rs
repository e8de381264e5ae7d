//! Who is designated router, and who its backup: RFC 2328 section 9.4.

use std::cmp::Reverse;
use std::net::Ipv4Addr;

use crate::packet::RouterId;

/// Nobody.
pub const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A router that takes part: a neighbor that hears us, or this router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub router: RouterId,
    /// Its address on the network.
    pub address: Ipv4Addr,
    /// Its priority; with 0 it takes no part.
    pub priority: u8,
    /// Whom it declares designated router: an address.
    pub designated: Ipv4Addr,
    /// Whom it declares backup.
    pub backup: Ipv4Addr,
}

/// The outcome: addresses on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elected {
    /// The designated router.
    pub designated: Option<Ipv4Addr>,
    /// Its backup.
    pub backup: Option<Ipv4Addr>,
}

/// Elects. `own` is this router, with what it declared before; `others` are all neighbors in 2-Way and above.
pub fn elect(own: Candidate, others: &[Candidate]) -> Elected {
    let first = round(own, others);
    let role = |elected: Elected| (elected.designated == Some(own.address), elected.backup == Some(own.address));
    let before = Elected { designated: some(own.designated), backup: some(own.backup) };
    // Step 4: who has a new role declares it and elects once more.
    if role(first) == role(before) {
        return first;
    }
    let declared = |address: Option<Ipv4Addr>| address.unwrap_or(NOBODY);
    round(Candidate { designated: declared(first.designated), backup: declared(first.backup), ..own }, others)
}

fn some(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (address != NOBODY).then_some(address)
}

/// Steps 2 and 3.
fn round(own: Candidate, others: &[Candidate]) -> Elected {
    let eligible = || others.iter().chain([&own]).filter(|candidate| candidate.priority > 0);
    let declares_itself_designated = |candidate: &&Candidate| candidate.designated == candidate.address;
    let declares_itself_backup = |candidate: &&Candidate| candidate.backup == candidate.address;
    let rank = |candidate: &&Candidate| (candidate.priority, candidate.router, Reverse(candidate.address));
    let backup = eligible()
        .filter(|candidate| !declares_itself_designated(candidate))
        // Those who declare themselves come before all others.
        .max_by_key(|candidate| (declares_itself_backup(candidate), rank(candidate)))
        .map(|candidate| candidate.address);
    let designated =
        eligible().filter(declares_itself_designated).max_by_key(rank).map(|candidate| candidate.address).or(backup);
    Elected { designated, backup }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u8, priority: u8, designated: u8, backup: u8) -> Candidate {
        let address = |number: u8| if number == 0 { NOBODY } else { Ipv4Addr::new(10, 0, 0, number) };
        Candidate {
            router: Ipv4Addr::new(192, 0, 2, number),
            address: address(number),
            priority,
            designated: address(designated),
            backup: address(backup),
        }
    }

    /// Numbers of the designated router and its backup.
    fn elected(own: Candidate, others: &[Candidate]) -> (u8, u8) {
        let number = |address: Option<Ipv4Addr>| address.map_or(0, |address| address.octets()[3]);
        let elected = elect(own, others);
        (number(elected.designated), number(elected.backup))
    }

    #[test]
    fn rfc_2328_section_9_4_all_routers_start_at_once() {
        let all = [1, 2, 3].map(|number| candidate(number, 1, 0, 0));
        for (index, own) in all.iter().enumerate() {
            let others: Vec<_> = all.iter().filter(|other| *other != own).copied().collect();
            let (designated, backup) = elected(*own, &others);
            // Router 3 sees at once that it is both, and gives the one up; the others see it when it says so.
            let expected = if index == 2 { (3, 2) } else { (3, 3) };
            assert_eq!((designated, backup), expected, "as router {} sees it", index + 1);
        }
        // After one round of hellos all agree.
        let all = [candidate(1, 1, 3, 3), candidate(2, 1, 3, 3), candidate(3, 1, 3, 2)];
        assert_eq!(elected(all[0], &all[1..]), (3, 2));
        assert_eq!(elected(all[1], &[all[0], all[2]]), (3, 2));
    }

    #[test]
    fn rfc_2328_section_9_4_a_better_router_that_comes_later_changes_nothing() {
        let (one, two) = (candidate(1, 1, 1, 2), candidate(2, 1, 1, 2));
        let late = candidate(9, 200, 0, 0);
        assert_eq!(elected(late, &[one, two]), (1, 2));
        assert_eq!(elected(one, &[late, two]), (1, 2));
    }

    #[test]
    fn rfc_2328_section_9_4_the_backup_takes_over_and_another_becomes_backup() {
        let (two, three) = (candidate(2, 1, 1, 2), candidate(3, 1, 1, 2));
        assert_eq!(elected(two, &[three]), (2, 3));
        assert_eq!(elected(three, &[candidate(2, 1, 2, 0)]), (2, 3));
    }

    #[test]
    fn rfc_2328_section_9_4_priority_zero_is_never_elected_and_priority_goes_before_number() {
        assert_eq!(elected(candidate(9, 0, 0, 0), &[candidate(1, 1, 1, 0)]), (1, 0));
        assert_eq!(elected(candidate(9, 0, 0, 0), &[candidate(8, 0, 0, 0)]), (0, 0));
        assert_eq!(elected(candidate(1, 7, 0, 0), &[candidate(9, 1, 0, 0)]), (1, 9));
        assert_eq!(elected(candidate(1, 1, 1, 0), &[]), (1, 0));
    }
}
