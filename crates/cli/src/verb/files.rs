use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use corral_engine::CopyOptions;
use rustix::termios::isatty;

use super::transfer::{to_file, to_stdout};
use crate::app::Globals;
use crate::failure::Failure;
use crate::output::size;
use crate::template::harmless;
use crate::{Words, output};

const BUFFER: usize = 1 << 18;

#[derive(Debug, clap::Args)]
struct CopyFlags {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:SRC_PATH, SRC_PATH, or - for a tar archive on standard input
    #[arg(value_name = "SRC")]
    source: String,
    /// DEST_PATH, CONTAINER:DEST_PATH, or - for a tar archive on standard output
    #[arg(value_name = "DEST")]
    target: String,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'t> {
    Container(&'t str, &'t Path),
    Host(&'t Path),
}

/// A word with a colon names a container, unless it says that it is a path.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((container, path)) if !text.starts_with('/') && !container.starts_with('.') => {
            Side::Container(container, Path::new(path))
        }
        _ => Side::Host(Path::new(text)),
    }
}

/// `corral cp`.
pub(super) fn cp(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<CopyFlags>("cp", words)? else { return Ok(0) };
    let options = CopyOptions { archive: flags.archive, follow: flags.follow_link };
    let engine = || globals.engine();
    let copied = match (side(&flags.source), side(&flags.target)) {
        (Side::Container(..), Side::Container(..)) => {
            return Err(Failure::new("copying between containers is not supported"));
        }
        (Side::Host(_), Side::Host(_)) => {
            return Err(Failure::new("must specify at least one container source"));
        }
        (Side::Container(_, path), _) | (_, Side::Container(_, path)) if path.as_os_str().is_empty() => {
            return Err(Failure::new("the path in the container is missing: CONTAINER:PATH"));
        }
        (Side::Container(name, source), Side::Host(target)) if target == Path::new("-") => {
            let engine = engine()?;
            let id = engine.find(name)?;
            if isatty(rustix::stdio::stdout()) {
                return Err(Failure::new(
                    "refusing to write an archive to a terminal: redirect it, or name a path",
                ));
            }
            let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
            engine.copy_out_tar(&id, source, options, &mut out)?;
            out.flush()?;
            return Ok(0);
        }
        (Side::Container(name, source), Side::Host(target)) => {
            let engine = engine()?;
            engine.copy_out(&engine.find(name)?, source, target, options)?
        }
        (Side::Host(source), Side::Container(name, target)) if source == Path::new("-") => {
            let engine = engine()?;
            engine.copy_in_tar(&engine.find(name)?, &mut std::io::stdin().lock(), target, options)?;
            return Ok(0);
        }
        (Side::Host(source), Side::Container(name, target)) => {
            let engine = engine()?;
            engine.copy_in(&engine.find(name)?, source, target, options)?
        }
    };
    if !flags.quiet && isatty(rustix::stdio::stderr()) {
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(std::io::stderr(), "Successfully copied {} to {}", size(copied), flags.target));
    }
    Ok(0)
}

#[derive(Debug, clap::Args)]
struct DiffFlags {
    /// Container
    container: String,
}

/// `corral diff`.
pub(super) fn diff(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<DiffFlags>("diff", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let terminal = isatty(rustix::stdio::stdout());
    let mut changes = engine.diff(&engine.find(&flags.container)?)?.peekable();
    let mut bytes = Vec::new();
    while let Some(change) = changes.next() {
        bytes.extend_from_slice(change.kind.letter().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(change.path.as_os_str().as_encoded_bytes());
        bytes.push(b'\n');
        // All of them could be gigabytes.
        if bytes.len() < 64 << 10 && changes.peek().is_some() {
            continue;
        }
        if terminal {
            output::print(&harmless(&String::from_utf8_lossy(&bytes)))?;
        } else {
            output::print_bytes(&bytes)?;
        }
        bytes.clear();
    }
    Ok(0)
}

#[derive(Debug, clap::Args)]
struct ExportFlags {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Container
    container: String,
}

/// `corral export`.
pub(super) fn export(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ExportFlags>("export", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let id = engine.find(&flags.container)?;
    match &flags.output {
        Some(path) => to_file(path, |out| Ok(engine.export(&id, out)?)),
        None => to_stdout("export", |out| Ok(engine.export(&id, out)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_container_unless_a_path_says_otherwise() {
        let host = |text| assert_eq!(side(text), Side::Host(Path::new(text)));
        let container = |text, name, path| assert_eq!(side(text), Side::Container(name, Path::new(path)));
        host("file");
        host("-");
        host("/a:b");
        host("./a:b");
        host("../a:b");
        container("web:/etc", "web", "/etc");
        container("web:etc:x", "web", "etc:x");
        container("web:", "web", "");
    }
}
