use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use corral_image::SaveFormat;
use corral_spec::ImageRef;
use rustix::termios::isatty;

use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

const BUFFER: usize = 1 << 18;

#[derive(Debug, clap::Args)]
struct SaveFlags {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// oci-archive or docker-archive
    #[arg(long, default_value = "oci-archive", value_parser = ["oci-archive", "docker-archive"])]
    format: String,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

/// `corral save`.
pub(super) fn save(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<SaveFlags>("save", words)? else { return Ok(0) };
    let format = match flags.format.as_str() {
        "docker-archive" => SaveFormat::DockerArchive,
        _ => SaveFormat::OciLayout,
    };
    let images: Vec<&str> = flags.images.iter().map(String::as_str).collect();
    let engine = globals.engine()?;
    let write = |out: &mut dyn Write| Ok(engine.save(&images, format, out)?);
    match &flags.output {
        None => to_stdout("save", write),
        Some(path) => to_file(path, write),
    }
}

/// Writes an archive to standard output, unless that is a terminal.
pub(super) fn to_stdout(
    verb: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    if isatty(rustix::stdio::stdout()) {
        let reason = format!("cowardly refusing to {verb} to a terminal. Use the -o flag or redirect");
        return Err(Failure::new(reason));
    }
    let mut out = BufWriter::with_capacity(BUFFER, Reader { out: std::io::stdout().lock(), gone: false });
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    if out.get_ref().gone {
        // As a signal would end it; what is still in the buffer has nowhere to go.
        drop(out.into_parts());
        return Err(Failure::with_code(141, ""));
    }
    written.map(|()| 0)
}

/// Standard output, and whether who read it has gone away (`| head`).
struct Reader<W> {
    out: W,
    gone: bool,
}

impl<W: Write> Write for Reader<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        self.gone |= written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes an archive to a file. A half one never stands under the name that was asked for. A device or a pipe takes
/// it as it is written; put in its place, an archive would stay there for everybody (`-o /dev/null`).
pub(super) fn to_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    // Where a link leads, the file is to be.
    let found = std::fs::canonicalize(path).ok();
    let path = found.as_deref().unwrap_or(path);
    let fail = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(fail(std::io::ErrorKind::IsADirectory.into())),
        Ok(there) if !there.is_file() => {
            return write_archive(File::options().write(true).open(path).map_err(fail)?, write).map(|()| 0);
        }
        _ => {}
    }
    let staged = staged(path);
    let written = write_archive(File::create_new(&staged).map_err(fail)?, write)
        .and_then(|()| std::fs::rename(&staged, path).map_err(fail));
    if written.is_err() {
        drop(std::fs::remove_file(&staged));
    }
    written.map(|()| 0)
}

fn staged(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn write_archive(
    file: File,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    write(&mut out)?;
    out.flush()?;
    Ok(())
}

#[derive(Debug, clap::Args)]
struct LoadFlags {
    /// Read from tar archive file (or an OCI layout directory), instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

/// `corral load`.
pub(super) fn load(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<LoadFlags>("load", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let loaded = match &flags.input {
        Some(dir) if dir.is_dir() => engine.load_dir(dir)?,
        input => engine.load(open(input.as_deref(), "load")?)?,
    };
    for image in loaded {
        if image.references.is_empty() {
            output::print(&format!("Loaded image ID: {}\n", image.id))?;
        }
        for name in &image.references {
            output::print(&format!("Loaded image: {name}\n"))?;
        }
    }
    Ok(0)
}

pub(super) fn open(path: Option<&Path>, verb: &str) -> Result<Box<dyn Read>, Failure> {
    match path {
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::new(format!("cannot open {}: {error}", path.display())))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
        }
        None if isatty(rustix::stdio::stdin()) => {
            Err(Failure::new(format!("nothing to {verb}: name a file, or redirect standard input")))
        }
        None => Ok(Box::new(BufReader::with_capacity(BUFFER, std::io::stdin()))),
    }
}

#[derive(Debug, clap::Args)]
struct ImportFlags {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// A tar archive, or - for standard input
    file: PathBuf,
    /// Name of the image
    reference: Option<ImageRef>,
}

/// `corral import`.
pub(super) fn import(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ImportFlags>("import", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let file = (flags.file != Path::new("-")).then_some(flags.file.as_path());
    let changes: Vec<&str> = flags.change.iter().map(String::as_str).collect();
    let reader = open(file, "import")?;
    let id = engine.import(reader, flags.reference.as_ref(), &changes, flags.message.as_deref())?;
    output::print(&format!("{id}\n"))?;
    Ok(0)
}
