//! /etc/subuid and /etc/subgid: `NAME-OR-UID:FIRST:COUNT`, a line each (subuid(5)).
//!
//! What is read here is only asked for: newuidmap checks it against the same files once more.

use crate::idmap::Extent;

/// Ids of the host that are a user's to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first.
    pub(super) first: u32,
    /// How many.
    pub(super) count: u32,
}

/// Lines in one map, which the kernel bounds at 340 (user_namespaces(7)); the first is the user's own id.
const MOST: usize = 339;

/// The user's ranges, in the order of the file. A line that makes no sense, holds id 0, the user's own id, or what an
/// earlier line holds, is nobody's.
pub(super) fn ranges(text: &str, name: Option<&str>, own: u32) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    for line in text.lines() {
        let Some((owner, range)) = parse(line) else { continue };
        let is_own = name == Some(owner) || number(owner) == Some(own);
        let last = range.first + (range.count - 1);
        let meets = |other: &Range| range.first < other.first + other.count && other.first <= last;
        let own_id = Range { first: own, count: 1 };
        if is_own && found.len() < MOST && !meets(&own_id) && !found.iter().any(meets) {
            found.push(range);
        }
    }
    found
}

/// The user's name in /etc/passwd (passwd(5)).
pub(super) fn name(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1).and_then(number) == Some(uid)).then(|| name.to_owned())
    })
}

/// The first id from 100,000 on that no line of these files holds: two users' ranges must not meet.
pub(super) fn free(texts: [&str; 2]) -> u32 {
    let lines = texts.into_iter().flat_map(str::lines).filter_map(parse);
    lines.map(|(_, range)| range.first + range.count).fold(100_000, u32::max)
}

fn parse(line: &str) -> Option<(&str, Range)> {
    let mut fields = line.split(':');
    let (owner, first, count) = (fields.next()?, number(fields.next()?)?, number(fields.next()?)?);
    let whole = fields.next().is_none() && !owner.is_empty() && first > 0 && count > 0;
    // u32::MAX is no id.
    (whole && first.checked_add(count).is_some()).then_some((owner, Range { first, count }))
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The map of the namespace: 0 is the user, then the ranges, without a gap.
pub(super) fn map(own: u32, ranges: &[Range]) -> Vec<Extent> {
    let mut next = 1_u32;
    let mut map = vec![Extent(0, own, 1)];
    for range in ranges {
        // No more ids than there are.
        let count = range.count.min(u32::MAX - 1 - next);
        if count > 0 {
            map.push(Extent(next, range.first, count));
            next += count;
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_and_no_others() {
        let check = |text: &str, expect: &[(u32, u32)]| {
            let found = ranges(text, Some("ann"), 1000);
            let found: Vec<_> = found.iter().map(|range| (range.first, range.count)).collect();
            assert_eq!(found, expect, "{text:?}");
        };
        check("ann:100000:65536\nbob:165536:65536\n", &[(100_000, 65_536)]);
        check("1000:100000:10\nann:200000:5", &[(100_000, 10), (200_000, 5)]);
        for bad in [
            "",
            "ann",
            "ann:1",
            "ann::5",
            "ann:0:5",
            "ann:5:0",
            "ann:-1:5",
            "ann:5:5:5",
            "ann:+5:5",
            "ann: 5:5",
            "ann:4294967295:1",
            "ann:4000000000:4000000000",
            "ann:99999999999:1",
            "ann:999:2",
            "anna:5:5",
            ":5:5",
            "an\u{e4}n:5:5",
            "#ann:5:5",
            "ann:1000:1",
        ] {
            check(bad, &[]);
        }
        check("ann:100:10\nann:105:10\nann:90:11\nann:110:1", &[(100, 10), (110, 1)]);
        let many: String = (1..1000).map(|at| format!("ann:{}:5\n", at * 10_000)).collect();
        assert_eq!(ranges(&many, Some("ann"), 1000).len(), MOST);
        assert_eq!(ranges("ann:5:5", None, 1000), [], "a user without a name");
    }

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\njunk\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(
            [0, 1000, 7].map(|uid| name(passwd, uid)),
            [Some("root".into()), Some("ann".into()), None]
        );
    }

    #[test]
    fn what_is_proposed_is_nobodys() {
        assert_eq!(free(["", "junk"]), 100_000);
        assert_eq!(free(["ann:100000:65536\nbob:165536:65536", "ann:100000:10"]), 231_072);
        assert_eq!(free(["", "cleo:300000:5\ndan:1:1"]), 300_005);
    }

    #[test]
    fn a_map_has_no_gap() {
        let ranges = [Range { first: 100_000, count: 10 }, Range { first: 500, count: u32::MAX - 600 }];
        let map = map(1000, &ranges);
        assert_eq!(map[..2], [Extent(0, 1000, 1), Extent(1, 100_000, 10)]);
        assert_eq!((map[2].0, map[2].1), (11, 500));
        assert!(map[2].0.checked_add(map[2].2).is_some());
    }
}
