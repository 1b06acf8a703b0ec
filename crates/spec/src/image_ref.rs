use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// An image name as a person types it, parsed once: `[registry/]repository[:tag][@digest]`
/// (the grammar of the distribution project's `reference` package).
///
/// ```
/// use corral_spec::ImageRef;
/// let image: ImageRef = "librarian".parse().unwrap();
/// assert_eq!(image.to_string(), "librarian:latest");
/// assert!("librarian:../x".parse::<ImageRef>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an [`ImageRef`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image name {text:?}: {reason}")]
pub struct ImageRefError {
    text: String,
    reason: &'static str,
}

impl ImageRef {
    /// The registry host and port, if one was named. `docker.io` is folded to none.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The repository path, without registry; `library/` of Docker Hub is folded away.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` if neither tag nor digest was named; none if only a digest was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The pinned digest, if one was named.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository as listings show them.
    pub fn familiar_name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let fail = |reason| ImageRefError { text: text.chars().take(300).collect(), reason };
        if text.len() > 512 {
            return Err(fail("longer than 512 bytes"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse().map_err(|_| fail("digest is not sha256:HEX"))?))
            }
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("a tag is [A-Za-z0-9_][A-Za-z0-9_.-]*, at most 128 characters"));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
            _ => (None, path),
        };
        if registry.is_some_and(|host| !is_host(host)) {
            return Err(fail("the registry is not a host name with optional port"));
        }
        if !repository.split('/').all(is_component) {
            return Err(fail("a repository is lower-case letters, digits and single separators . _ -"));
        }
        let registry = registry.filter(|host| !matches!(*host, "docker.io" | "index.docker.io"));
        let repository = match registry {
            None => repository.strip_prefix("library/").unwrap_or(repository),
            Some(_) => repository,
        };
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned())),
            digest,
        })
    }
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag
            .bytes()
            .enumerate()
            .all(|(at, b)| b.is_ascii_alphanumeric() || b == b'_' || (at > 0 && matches!(b, b'.' | b'-')))
        && !tag.is_empty()
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "1"));
    port.parse::<u16>().is_ok_and(|port| port > 0)
        && port.bytes().all(|b| b.is_ascii_digit())
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|b| alphanumeric(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar_name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let parsed = text.parse::<ImageRef>().ok().map(|image| image.to_string());
        assert_eq!(parsed.as_deref(), expect, "{text}");
    }

    #[test]
    fn follows_the_reference_grammar() {
        check("alpine", Some("alpine:latest"));
        check("docker.io/library/alpine:3.20", Some("alpine:3.20"));
        check("localhost:5000/a/b", Some("localhost:5000/a/b:latest"));
        check("ghcr.io/x/y__z:v1", Some("ghcr.io/x/y__z:v1"));
        check("a---b", Some("a---b:latest"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        check(&digest, Some(&digest));
        for bad in [
            "",
            "A",
            "a:",
            "a:-x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "a___b",
            "a:b:c",
            "a@sha256:12",
            "a b",
            "a\0",
            "host.:5000/x",
            "ex.am/ple:a/b:c",
            "localhost:99999/x",
            "a.-b",
            "ü",
        ] {
            check(bad, None);
        }
    }
}
