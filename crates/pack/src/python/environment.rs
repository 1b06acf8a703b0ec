//! The image's interpreter as markers and wheel tags see it, worked out without running it.

use std::path::Path;

use pep508_rs::{
    MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree, MarkerWarningKind, Requirement, VerbatimUrl,
};

use super::tags::Tags;
use crate::Error;
use crate::debian::Architecture;

/// The target of an installation.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `3.11`.
    pub version: String,
    /// What wheels fit.
    pub tags: Tags,
    markers: MarkerEnvironment,
}

impl Environment {
    /// The environment of a suite's Python.
    ///
    /// `full_version` is the interpreter's own (`3.11.2`), `glibc` the minor version of the suite's C
    /// library 2.x. The kernel's release and version are not part of an image: markers see `0`.
    ///
    /// # Errors
    /// [`Error::Lock`] if the version is not one.
    pub fn new(full_version: &str, glibc: u32, architecture: Architecture) -> Result<Self, Error> {
        let bad =
            |reason: &str| Error::lock("agent.lock", format!("Python version {full_version:?} {reason}"));
        let mut parts = full_version.split('.');
        let (Some("3"), Some(minor)) = (parts.next(), parts.next()) else {
            return Err(bad("is not 3.x"));
        };
        let minor: u32 = minor.parse().map_err(|_| bad("is not 3.x"))?;
        let version = format!("3.{minor}");
        let machine = match architecture {
            Architecture::Amd64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        };
        let markers = MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: full_version,
            os_name: "posix",
            platform_machine: machine,
            platform_python_implementation: "CPython",
            platform_release: "0",
            platform_system: "Linux",
            platform_version: "0",
            python_full_version: full_version,
            python_version: &version,
            sys_platform: "linux",
        };
        let markers = MarkerEnvironment::try_from(markers).map_err(|_| bad("is malformed"))?;
        Ok(Self { tags: Tags::new(minor, glibc, machine), version, markers })
    }

    /// `x86_64` or `aarch64`.
    pub fn machine(&self) -> &str {
        self.markers.platform_machine()
    }

    /// Whether a marker holds here. An empty text holds.
    ///
    /// # Errors
    /// The reason why it cannot be judged: an unknown variable is not taken as true.
    pub fn holds(&self, marker: &str) -> Result<bool, String> {
        if marker.trim().is_empty() {
            return Ok(true);
        }
        let mut strange = None;
        let mut reporter = |kind: MarkerWarningKind, text: String| note(&mut strange, kind, text);
        let tree = MarkerTree::parse_reporter(marker, &mut reporter)
            .map_err(|error| format!("marker {marker:?}: {}", first_line(&error.to_string())))?;
        match strange {
            Some(text) => Err(format!("marker {marker:?}: {text}")),
            None => Ok(tree.evaluate(&self.markers, &[])),
        }
    }

    /// Parses a requirement (PEP 508); none if its marker does not hold here.
    ///
    /// # Errors
    /// The reason why it is not one.
    pub fn requirement(&self, text: &str) -> Result<Option<Requirement<VerbatimUrl>>, String> {
        // It may become a line of a file for pip, which would see a second line, or fill in a variable's value.
        if text.chars().any(char::is_control) || text.contains("${") {
            return Err(format!("{text:?}: a requirement has neither control characters nor ${{…}}"));
        }
        let mut strange = None;
        let mut reporter = |kind: MarkerWarningKind, text: String| note(&mut strange, kind, text);
        let requirement = Requirement::<VerbatimUrl>::parse_reporter(text, Path::new("/"), &mut reporter)
            .map_err(|error| format!("{text:?}: {}", first_line(&error.to_string())))?;
        match strange {
            Some(reason) => Err(format!("{text:?}: {reason}")),
            None => Ok(requirement.evaluate_markers(&self.markers, &[]).then_some(requirement)),
        }
    }

    /// Whether a `requires-python` admits the interpreter.
    ///
    /// # Errors
    /// The reason why it is not one.
    pub fn admits(&self, requires_python: &str) -> Result<bool, String> {
        let specifiers = requires_python.parse::<pep440_rs::VersionSpecifiers>().map_err(|error| {
            format!("requires-python {requires_python:?}: {}", first_line(&error.to_string()))
        })?;
        Ok(specifiers.contains(self.markers.python_full_version()))
    }
}

/// Comparisons that are merely unusual are let through; what was not understood is not.
fn note(strange: &mut Option<String>, kind: MarkerWarningKind, text: String) {
    if !matches!(kind, MarkerWarningKind::LexicographicComparison | MarkerWarningKind::DeprecatedMarkerName) {
        strange.get_or_insert(text);
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
pub fn bookworm() -> Environment {
    Environment::new("3.11.2", 36, Architecture::Amd64).expect("valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(marker: &str, expect: Result<bool, ()>) {
        assert_eq!(bookworm().holds(marker).map_err(|_| ()), expect, "{marker}");
    }

    #[test]
    fn markers_are_judged_for_the_image() {
        check("", Ok(true));
        check("python_version >= '3.11' and sys_platform == 'linux'", Ok(true));
        check("python_full_version < '3.11.2'", Ok(false));
        check("platform_machine == 'arm64' or os_name == 'nt'", Ok(false));
        check("extra == 'test'", Ok(false));
        check("python_version >=", Err(()));
        check("import_os == 'x'", Err(()));
        check("'x' in extras", Err(()));
    }

    #[test]
    fn a_requirement_is_one_line() {
        let requirement = |text: &str| bookworm().requirement(text).map(|found| found.is_some());
        assert_eq!(requirement("a>=1 ; os_name == 'posix'"), Ok(true));
        for bad in
            ["a ; os_name != '\n--index-url=https://h/ #'", "a @ https://h/${PIP_X}/a.whl", "a\r", "a --pre"]
        {
            assert!(requirement(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn requires_python() {
        assert_eq!(bookworm().admits(">=3.11,<3.13"), Ok(true));
        assert_eq!(bookworm().admits(">=3.12"), Ok(false));
        assert!(bookworm().admits("three").is_err());
    }
}
