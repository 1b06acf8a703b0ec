//! Which wheels fit an interpreter, and which of them fits best (PEP 425, PEP 600).

/// The tags of one interpreter on one C library.
#[derive(Clone, Debug)]
pub struct Tags {
    /// Minor version of CPython 3.
    minor: u32,
    /// Platforms from the most to the least specific.
    platforms: Vec<String>,
}

/// A wheel's file name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName<'a> {
    /// Distribution name as written.
    pub name: &'a str,
    /// Version as written.
    pub version: &'a str,
    python: &'a str,
    abi: &'a str,
    platform: &'a str,
}

impl<'a> WheelName<'a> {
    /// Parses `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl`; none if it is not that.
    pub fn parse(file: &'a str) -> Option<Self> {
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let (name, version, [python, abi, platform]) = match parts[..] {
            [name, version, python, abi, platform] => (name, version, [python, abi, platform]),
            [name, version, build, python, abi, platform]
                if build.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                (name, version, [python, abi, platform])
            }
            _ => return None,
        };
        (!name.is_empty() && !version.is_empty()).then_some(Self { name, version, python, abi, platform })
    }
}

impl Tags {
    /// CPython 3.`minor` on glibc 2.`glibc` and this machine (`x86_64`, `aarch64`).
    pub fn new(minor: u32, glibc: u32, machine: &str) -> Self {
        let lowest = if machine == "x86_64" { 5 } else { 17 };
        let mut platforms = Vec::new();
        for version in (lowest..=glibc).rev() {
            platforms.push(format!("manylinux_2_{version}_{machine}"));
            let old = match version {
                17 => "manylinux2014",
                12 => "manylinux2010",
                5 => "manylinux1",
                _ => continue,
            };
            platforms.push(format!("{old}_{machine}"));
        }
        platforms.push(format!("linux_{machine}"));
        Self { minor, platforms }
    }

    /// The platforms, the most specific first.
    pub fn platforms(&self) -> &[String] {
        &self.platforms
    }

    /// How well a wheel fits: smaller is better, none is not at all.
    pub fn rank(&self, file: &str) -> Option<(u32, usize)> {
        let wheel = WheelName::parse(file)?;
        let mut best = None;
        for python in wheel.python.split('.') {
            for abi in wheel.abi.split('.') {
                for platform in wheel.platform.split('.') {
                    let rank = self.rank_one(python, abi, platform);
                    best = [best, rank].into_iter().flatten().min();
                }
            }
        }
        best
    }

    fn rank_one(&self, python: &str, abi: &str, platform: &str) -> Option<(u32, usize)> {
        let place = match platform {
            "any" => self.platforms.len(),
            _ => self.platforms.iter().position(|known| known == platform)?,
        };
        let own = format!("cp3{}", self.minor);
        let older = |prefix: &str| -> Option<u32> {
            let minor: u32 = python.strip_prefix(prefix)?.parse().ok()?;
            self.minor.checked_sub(minor)
        };
        let class = match abi {
            _ if python == own && abi == own => 0,
            "abi3" => 1 + 2 * older("cp3")?,
            "none" if python == own => 2,
            "none" if python == "py3" => 101,
            "none" => 100 + 2 * older("py3")?,
            _ => return None,
        };
        Some((class + if platform == "any" { 1000 } else { 0 }, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(better: &str, worse: &str) {
        let tags = Tags::new(11, 36, "x86_64");
        let rank = |tag: &str| tags.rank(&format!("p-1.0-{tag}.whl"));
        assert!(rank(better).is_some(), "{better}");
        assert!(
            rank(worse).is_none_or(|worse| rank(better).is_some_and(|better| better < worse)),
            "{better} {worse}"
        );
    }

    #[test]
    fn the_most_specific_wheel_wins() {
        check("cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64");
        check("cp311-cp311-manylinux2014_x86_64", "cp310-abi3-manylinux_2_28_x86_64");
        check("cp310-abi3-manylinux_2_28_x86_64", "cp39-abi3-manylinux_2_28_x86_64");
        check("cp39-abi3-linux_x86_64", "py3-none-manylinux1_x86_64");
        check("py3-none-manylinux1_x86_64", "py3-none-any");
        check("py311-none-any", "py3-none-any");
        check("py2.py3-none-any", "cp312-cp312-manylinux_2_17_x86_64");
        check("py3-none-any", "cp311-cp311-macosx_11_0_arm64");
        check("py3-none-any", "cp311-cp311-manylinux_2_39_x86_64");
        check("py3-none-any", "cp311-cp311-musllinux_1_2_x86_64");
        check("py3-none-any", "cp312-abi3-manylinux_2_17_x86_64");
        check("1-py3-none-any", "cp311-cp311t-manylinux_2_17_x86_64");
    }

    #[test]
    fn names_are_taken_apart() {
        let name = WheelName::parse("a_b-1.0+cpu-1x-py3-none-any.whl").expect("valid");
        assert_eq!((name.name, name.version), ("a_b", "1.0+cpu"));
        for bad in
            ["", "a.whl", "a-1-py3-none.whl", "a-1-b-py3-none-any.whl", "a-1.0.tar.gz", "-1-py3-none-any.whl"]
        {
            assert_eq!(WheelName::parse(bad), None, "{bad}");
        }
    }
}
