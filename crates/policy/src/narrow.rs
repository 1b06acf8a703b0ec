use corral_spec::ProfileName;

use crate::Denial;

/// The profile a container runs under. The user's flag wins. Without it an image packed by us is an
/// agent, any other is standard, and the image's label can pick a stricter profile but no weaker one.
///
/// # Errors
/// A label with an unknown profile (it cannot be compared, so it is not guessed), or one that asks for a
/// weaker profile than the image would get without it.
pub fn effective_profile(
    flag: Option<ProfileName>,
    label: Option<&str>,
    packed: bool,
) -> Result<ProfileName, Denial> {
    if let Some(flag) = flag {
        return Ok(flag);
    }
    let base = if packed { ProfileName::Agent } else { ProfileName::Standard };
    let Some(label) = label else { return Ok(base) };
    let Some(asked) = ProfileName::by_name(label) else {
        let shown: String = label.chars().take(40).collect();
        return Err(Denial::new(
            "label.profile-unknown",
            format!(
                "the image's label names the profile {shown:?}, which does not exist (standard, build, agent)"
            ),
            format!("corral run --profile {} IMAGE", base.as_str()),
        ));
    };
    // ProfileName is ordered from the weakest to the strictest.
    if asked < base {
        return Err(Denial::new(
            "label.narrow-only",
            format!(
                "the image's label asks for the profile {}, weaker than {}; a label can only narrow",
                asked.as_str(),
                base.as_str()
            ),
            format!("corral run --profile {} IMAGE", asked.as_str()),
        ));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: Option<&str>, label: Option<&str>, packed: bool, expect: &str) {
        let flag = flag.map(|name| ProfileName::by_name(name).expect("a profile"));
        let result = effective_profile(flag, label, packed);
        let result = result.map_or_else(|denial| denial.rule, |profile| profile.as_str().to_owned());
        assert_eq!(result, expect, "{flag:?} {label:?} {packed}");
    }

    #[test]
    fn a_label_only_narrows() {
        check(None, None, false, "standard");
        check(None, None, true, "agent");
        check(None, Some("agent"), false, "agent");
        check(None, Some("build"), false, "build");
        check(None, Some("standard"), false, "standard");
        check(None, Some("agent"), true, "agent");
        check(None, Some("standard"), true, "label.narrow-only");
        check(None, Some("build"), true, "label.narrow-only");
        check(None, Some("Agent"), false, "label.profile-unknown");
        check(None, Some(""), true, "label.profile-unknown");
    }

    #[test]
    fn the_flag_wins() {
        check(Some("standard"), Some("agent"), true, "standard");
        check(Some("agent"), Some("standard"), false, "agent");
        check(Some("standard"), Some("no such profile"), true, "standard");
    }
}
