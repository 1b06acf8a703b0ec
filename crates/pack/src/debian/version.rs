use std::cmp::Ordering;
use std::fmt;

/// A package version, ordered as dpkg orders them (deb-version(7)):
/// `[epoch:]upstream[-revision]`.
#[derive(Clone, Debug)]
pub(super) struct Version(String);

impl Version {
    /// Accepts what deb-version(7) allows; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
        let allowed =
            |part: &str, more: &[u8]| part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
        let good = digits(epoch)
            && upstream.starts_with(|c: char| c.is_ascii_digit())
            && allowed(upstream, b".+-~:")
            && !revision.is_empty()
            && allowed(revision, b".+~");
        good.then(|| Self(text.to_owned()))
    }

    fn parts(&self) -> (u32, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("0", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        // `parse` let at most nine digits through.
        (epoch.parse().unwrap_or(0), upstream, revision)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (epoch, upstream, revision) = self.parts();
        let (other_epoch, other_upstream, other_revision) = other.parts();
        epoch
            .cmp(&other_epoch)
            .then_with(|| compare(upstream.as_bytes(), other_upstream.as_bytes()))
            .then_with(|| compare(revision.as_bytes(), other_revision.as_bytes()))
    }
}

/// dpkg's `verrevcmp`: runs of non-digits by [`weight`], runs of digits by value, in turns.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let text = |s: &[u8]| s.iter().take_while(|c| !c.is_ascii_digit()).count();
        let (a_text, b_text) = (text(a), text(b));
        for i in 0..a_text.max(b_text) {
            let at = |s: &[u8], len: usize| if i < len { weight(s[i]) } else { 0 };
            let order = at(a, a_text).cmp(&at(b, b_text));
            if order.is_ne() {
                return order;
            }
        }
        (a, b) = (&a[a_text..], &b[b_text..]);
        let number = |s: &[u8]| s.iter().take_while(|c| c.is_ascii_digit()).count();
        let (a_digits, b_digits) = (number(a), number(b));
        let trim =
            |s: &[u8], len: usize| s[..len].iter().skip_while(|c| **c == b'0').copied().collect::<Vec<_>>();
        let (a_number, b_number) = (trim(a, a_digits), trim(b, b_digits));
        let order = a_number.len().cmp(&b_number.len()).then_with(|| a_number.cmp(&b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[a_digits..], &b[b_digits..]);
    }
    Ordering::Equal
}

/// `~` sorts before the end, letters before everything else.
fn weight(c: u8) -> i32 {
    match c {
        b'~' => -1,
        c if c.is_ascii_alphabetic() => i32::from(c),
        c => i32::from(c) + 256,
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, order: Ordering, b: &str) {
        let (x, y) = (Version::parse(a).expect(a), Version::parse(b).expect(b));
        assert_eq!(x.cmp(&y), order, "{a} <=> {b}");
        assert_eq!(y.cmp(&x), order.reverse(), "{b} <=> {a}");
    }

    /// The cases of dpkg's own t-version.c and of deb-version(7).
    #[test]
    fn orders_as_dpkg() {
        use Ordering::{Equal, Less};
        for (a, order, b) in [
            ("0:0-0", Equal, "0-0"),
            ("0:0-00", Equal, "00-0"),
            ("1:2-3", Equal, "1:2-3"),
            ("0:0-0", Less, "1:0-0"),
            ("0:0-0", Less, "0:1-0"),
            ("0:0-0", Less, "0:0-1"),
            ("0:0", Equal, "0:0-0"),
            ("0:09", Equal, "0:9"),
            ("1.0~rc1", Less, "1.0"),
            ("1.0~~", Less, "1.0~~a"),
            ("1.0~~a", Less, "1.0~"),
            ("1.0~", Less, "1.0"),
            ("1.0", Less, "1.0a"),
            ("1.0a", Less, "1.0+b1"),
            ("1.0-1", Less, "1.0-1+b1"),
            ("1.0-1", Less, "1.0-1.1"),
            ("1.0-1~bpo12+1", Less, "1.0-1"),
            ("2.36-9+deb12u9", Less, "2.36-9+deb12u10"),
            ("1.9", Less, "1.10"),
            ("1.2.3", Less, "1.2.3.1"),
            ("9.4.1-4", Less, "1:1.0-1"),
            ("3.0.11-1~deb12u2", Less, "3.0.15-1~deb12u1"),
            ("1.18.36", Less, "1.19.2"),
            ("0:0-0.a", Less, "0:0-0.b"),
            ("0a", Less, "0."),
            ("7.0.0-1-2", Less, "7.0.0-2-1"),
            ("20240101", Less, "99999999999999999999"),
        ] {
            check(a, order, b);
        }
    }

    #[test]
    fn refuses_what_dpkg_refuses() {
        for bad in ["", ":1", "a:1", "1:", "1-", "a1", "1 2", "1_2", "-1:1", "1.0-a_b", "1/2", "é1"] {
            assert!(Version::parse(bad).is_none(), "{bad:?}");
        }
    }
}
