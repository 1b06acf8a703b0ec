//! The groups of a container whose monitor died before it could write down where they are.

use std::path::{Path, PathBuf};

use super::ControlGroup;
use super::hierarchy::Hierarchies;
use crate::Error;

/// What every container's group is called before its short identity.
const PREFIX: &str = "corral-";

impl ControlGroup {
    /// The groups of this name, wherever they are: whoever made them may have been in another group than we are. The
    /// whole of each hierarchy is looked through but for what is below containers, so this is for what is rare.
    ///
    /// # Errors
    /// [`Error::Host`] when the hierarchies cannot be read.
    pub fn find(short_id: &str) -> Result<Self, Error> {
        let name = format!("{PREFIX}{short_id}");
        let own = Hierarchies::detect()?;
        let v2 = own.v2.and_then(|place| search(&place.mount, &name));
        let v1 = own.v1.iter().filter_map(|(_, place)| search(&place.mount, &name)).collect();
        Ok(Self { v2, v1, memory: None, init: None })
    }
}

/// A group that goes while this looks is none that was searched for.
fn search(dir: &Path, name: &str) -> Option<PathBuf> {
    let (mut found, mut below) = (None, Vec::new());
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let file_name = entry.file_name();
        if file_name.as_encoded_bytes() == name.as_bytes() {
            found = Some(entry.path());
        } else if !file_name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            below.push(entry.path());
        }
    }
    found.or_else(|| below.iter().find_map(|dir| search(dir, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_at_any_depth_and_not_below_a_container() {
        let root = std::env::temp_dir().join(format!("corral-find-{}", std::process::id()));
        for dir in ["a/b/corral-0123", "a/corral-4567/corral-89ab", "c/corral-89ab"] {
            std::fs::create_dir_all(root.join(dir)).expect("directory");
        }
        let found = |name| search(&root, name).map(|path| path.strip_prefix(&root).map(Path::to_owned));
        assert_eq!(found("corral-0123"), Some(Ok("a/b/corral-0123".into())));
        assert_eq!(found("corral-89ab"), Some(Ok("c/corral-89ab".into())));
        assert_eq!(found("corral-ffff"), None);
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
