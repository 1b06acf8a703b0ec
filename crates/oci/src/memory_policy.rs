//! linux.memoryPolicy: from names and lists of nodes to what set_mempolicy(2) takes.

use corral_runtime::bundle::MemoryPolicy;

use crate::Error;
use crate::config;

/// linux/mempolicy.h, from 0 on.
pub(crate) const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// linux/mempolicy.h
pub(crate) const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// The kernel's own bound (MAX_NUMNODES).
const NODES: u32 = 1024;

/// Checks the policy.
pub(crate) fn of(asked: Option<&config::MemoryPolicy>) -> Result<Option<MemoryPolicy>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let invalid = |text: String| Error::Invalid(format!("linux.memoryPolicy: {text}"));
    let mode = MODES.iter().position(|name| *name == asked.mode);
    let mut mode = mode.ok_or_else(|| invalid(format!("mode {:?} does not exist", asked.mode)))? as u32;
    for flag in &asked.flags {
        let found = FLAGS.iter().find(|(name, _)| name == flag);
        mode |= found.ok_or_else(|| invalid(format!("flag {flag:?} does not exist")))?.1;
    }
    let nodes = nodes(&asked.nodes)
        .ok_or_else(|| invalid(format!("nodes {:?} is no list such as 0-3,7", asked.nodes)))?;
    Ok(Some(MemoryPolicy { mode, nodes }))
}

/// `0-3,7` as bits; none if it is no such list.
fn nodes(list: &str) -> Option<Vec<u64>> {
    let mut bits = vec![0; NODES as usize / 64];
    for part in list.split(',').filter(|_| !list.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= NODES {
            return None;
        }
        (first..=last).for_each(|node| bits[node as usize / 64] |= 1 << (node % 64));
    }
    while bits.len() > 1 && bits.last() == Some(&0) {
        bits.pop();
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes() {
        let check = |list: &str, expect: Option<&[u64]>| assert_eq!(nodes(list).as_deref(), expect, "{list}");
        check("", Some(&[0]));
        check("0-3,7", Some(&[0x8f]));
        check("64", Some(&[0, 1]));
        for bad in ["3-1", "1024", "a", "1,", "-1"] {
            check(bad, None);
        }
    }
}
