use std::path::PathBuf;

use corral_journal::{ReadOptions, Record, Report};
use serde_json::json;

use super::events::{copy, text};
use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::moment::moment;
use crate::output::rfc3339_fixed;
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
    /// Show records since timestamp or relative (e.g. 42m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show records until timestamp or relative
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Format output: text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// Verify against a document that `journal anchors` wrote and that was kept elsewhere
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// verify: is all of it there, and as it was written? anchors: make it durable, and print where it stands
    #[arg(value_parser = ["verify", "anchors"])]
    act: Option<String>,
}

/// `corral journal [verify|anchors]`.
pub(super) fn journal(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("journal", words)? else { return Ok(0) };
    let ranged = flags.follow || flags.since.is_some() || flags.until.is_some();
    match flags.act.as_deref() {
        Some(act) if ranged => {
            Err(Failure::with_code(ENGINE, format!("journal {act} is about all of it: leave the times out")))
        }
        Some("verify") => verify(globals, &flags),
        _ if flags.anchors.is_some() => {
            Err(Failure::with_code(ENGINE, "--anchors belongs to journal verify"))
        }
        Some(_) => {
            output::print(&globals.engine()?.journal().anchor().map_err(Failure::new)?)?;
            Ok(0)
        }
        None => show(globals, &flags),
    }
}

fn show(globals: &Globals, flags: &Flags) -> Result<u8, Failure> {
    let options = ReadOptions {
        since_ns: flags.since.as_deref().map(moment).transpose()?,
        until_ns: flags.until.as_deref().map(moment).transpose()?,
        follow: flags.follow,
    };
    let reader = globals.engine()?.journal().read(options).map_err(Failure::new)?;
    let told = |record: &Record| text(record, &rfc3339_fixed(record.time_ns));
    let print: fn(&Record) -> String = if flags.format == "json" { object } else { told };
    copy(reader, |record| Ok(Some(print(record))))
}

fn object(record: &Record) -> String {
    json!({
        "lane": record.lane, "seq": record.seq, "time": record.time_ns, "type": record.kind,
        "action": record.action, "id": record.id, "attributes": record.attributes,
    })
    .to_string()
}

fn verify(globals: &Globals, flags: &Flags) -> Result<u8, Failure> {
    let elsewhere = match &flags.anchors {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
            Some((path.as_path(), text))
        }
    };
    let elsewhere = elsewhere.as_ref().map(|(path, text)| (*path, text.as_str()));
    let report = globals.engine()?.journal().verify(elsewhere).map_err(Failure::new)?;
    let text = if flags.format == "json" { report_object(&report) } else { report_text(&report) };
    output::print(&text)?;
    if report.is_good() {
        return Ok(0);
    }
    let count = report.wrong.len();
    Err(Failure::new(format!(
        "the journal is not as it was written: {count} {}; keep a copy of it before anything else",
        if count == 1 { "finding" } else { "findings" }
    )))
}

fn report_object(report: &Report) -> String {
    let object = json!({
        "good": report.is_good(), "segments": report.segments, "records": report.records,
        "torn": report.torn, "trimmed": report.trimmed, "wrong": report.wrong,
    });
    format!("{object}\n")
}

fn report_text(report: &Report) -> String {
    let mut text = String::new();
    for (word, lines) in [("WRONG", &report.wrong), ("torn", &report.torn), ("trimmed", &report.trimmed)] {
        lines.iter().for_each(|line| text.push_str(&format!("{word:<8}{line}\n")));
    }
    let verdict = if report.is_good() { "good" } else { "BAD" };
    text.push_str(&format!("{verdict:<8}{} records in {} segments\n", report.records, report.segments));
    text
}
