//! Links that postinst scripts make with update-alternatives(1): for a name, the first program present.

use super::Fixup;
use crate::tree::Node;

/// `(link, targets)`, the one with the highest priority in Debian first. `ARCH` is the multiarch name.
const ALTERNATIVES: [(&str, &[&str]); 12] = [
    ("usr/bin/awk", &["usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"]),
    ("usr/bin/nawk", &["usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"]),
    ("usr/bin/editor", &["usr/bin/vim.basic", "usr/bin/nano", "usr/bin/vim.tiny", "usr/bin/mcedit"]),
    ("usr/bin/vi", &["usr/bin/vim.basic", "usr/bin/vim.tiny", "usr/bin/nvi"]),
    ("usr/bin/pager", &["usr/bin/less", "usr/bin/more"]),
    ("usr/bin/which", &["usr/bin/which.debianutils", "usr/bin/which.gnu"]),
    ("usr/bin/nc", &["usr/bin/nc.openbsd", "usr/bin/nc.traditional"]),
    ("usr/bin/fakeroot", &["usr/bin/fakeroot-sysv", "usr/bin/fakeroot-tcp"]),
    ("usr/bin/cc", &["usr/bin/gcc", "usr/bin/clang"]),
    ("usr/bin/c++", &["usr/bin/g++", "usr/bin/clang++"]),
    (
        "usr/lib/ARCH/libblas.so.3",
        &["usr/lib/ARCH/openblas-pthread/libblas.so.3", "usr/lib/ARCH/blas/libblas.so.3"],
    ),
    (
        "usr/lib/ARCH/liblapack.so.3",
        &["usr/lib/ARCH/openblas-pthread/liblapack.so.3", "usr/lib/ARCH/lapack/liblapack.so.3"],
    ),
];

/// Makes the links of programs that are there.
pub(super) fn apply(fixup: &mut Fixup) {
    let multiarch = fixup.request.architecture.multiarch();
    let fill = |path: &str| path.replace("ARCH", multiarch);
    for (link, targets) in ALTERNATIVES {
        let present = targets
            .iter()
            .map(|target| fill(target))
            .find(|target| fixup.tree.get(target.as_ref()).is_some());
        if let Some(target) = present {
            fixup.add(fill(link), Node::symlink(format!("/{target}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::run;
    use super::*;
    use crate::tree::{NodeKind, Tree};

    #[test]
    fn links_the_first_program_present() {
        let mut tree = Tree::default();
        let files = [("usr/bin/mawk", ""), ("usr/bin/less", ""), ("usr/bin/pager", "shipped")];
        run(&mut tree, &files, |fixup| {
            apply(fixup);
            Ok(())
        });
        let target = |path: &str| match &tree.get(Path::new(path))?.kind {
            NodeKind::Symlink(target) => target.to_str().map(str::to_owned),
            _ => None,
        };
        assert_eq!(target("usr/bin/awk").as_deref(), Some("/usr/bin/mawk"));
        assert_eq!((target("usr/bin/pager"), target("usr/bin/editor")), (None, None));
    }
}
