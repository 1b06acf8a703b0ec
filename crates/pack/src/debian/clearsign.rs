//! The frame of a clear-signed message (RFC 9580, section 7): the signed text and its signatures.
//!
//! ```text
//! -----BEGIN PGP SIGNED MESSAGE-----
//! Hash: …                               none or more
//!                                       empty
//! text                                  lines that begin with a dash are written with "- " before
//! -----BEGIN PGP SIGNATURE-----
//! …                                     armoured signatures
//! -----END PGP SIGNATURE-----           nothing after it
//! ```
//! Read here and not by `pgp`, whose reader takes time in the square of the text's length (40 ms for
//! Debian's, minutes for a hostile mirror's). It is also narrower: what is outside of the frame, or
//! could be taken for inside by another reader, is refused.

use pgp::composed::{Deserializable as _, DetachedSignature};
use pgp::packet::Signature;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";
/// Debian signs with three keys; checking costs a millisecond and more each.
const SIGNATURES_LIMIT: usize = 16;

/// A message whose signatures were not checked.
#[derive(Debug)]
pub(super) struct Message {
    /// The text as it was signed: lines ended by CR LF, the last one not.
    pub(super) signed: String,
    pub(super) signatures: Vec<Signature>,
}

impl Message {
    /// Takes a message apart; `None` if it is anything but one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != BEGIN {
            return None;
        }
        while let Some(header) = Some(lines.next()?).filter(|line| !line.is_empty()) {
            header.strip_prefix("Hash: ")?;
        }
        let mut signed = String::with_capacity(text.len());
        loop {
            let line = lines.next()?;
            if line == SIGNATURE {
                break;
            }
            let line = match line.strip_prefix('-') {
                Some(escaped) => escaped.strip_prefix(' ')?,
                None => line,
            };
            signed.push_str(line.trim_end_matches([' ', '\t']));
            signed.push_str("\r\n");
        }
        signed.truncate(signed.len().saturating_sub(2));

        let mut armour = format!("{SIGNATURE}\n");
        while let Some(line) = Some(lines.next()?).filter(|line| *line != END) {
            if line.starts_with('-') {
                return None;
            }
            armour.push_str(line);
            armour.push('\n');
        }
        armour.push_str(END);
        if lines.any(|line| !line.is_empty()) {
            return None;
        }
        let (parsed, _) = DetachedSignature::from_string_many(&armour).ok()?;
        let signatures =
            parsed.take(SIGNATURES_LIMIT).map(|one| one.map(|one| one.signature)).collect::<Result<_, _>>();
        Some(Self { signed, signatures: signatures.ok()? })
    }
}
