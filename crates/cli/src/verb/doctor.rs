use corral_runtime::probe::{self, Outcome};
use serde_json::json;

use super::containers::print_lines;
use crate::app::Globals;
use crate::failure::Failure;
use crate::output::{Format, table};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Format output: table or json
    #[arg(long, default_value = "table")]
    format: Format,
}

/// `corral doctor`: 0 when everything that is needed works, 1 otherwise.
pub(super) fn doctor(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("doctor", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let probes = probe::run(engine.layout().root(), engine.ground().shared);
    if flags.format == Format::Json {
        print_lines(probes.iter().map(|probe| match &probe.outcome {
            Outcome::Works { detail } => json!({
                "Name": probe.name, "Works": true, "Needed": probe.needed, "Micros": probe.micros, "Detail": detail,
            }),
            Outcome::Missing { cause, cost, remedy } => json!({
                "Name": probe.name, "Works": false, "Needed": probe.needed, "Micros": probe.micros,
                "Cause": cause, "Cost": cost, "Remedy": remedy,
            }),
        }.to_string()))?;
    } else {
        let rows: Vec<Vec<String>> = probes
            .iter()
            .map(|probe| {
                let (mark, detail) = match &probe.outcome {
                    Outcome::Works { detail } => ("ok", detail.clone()),
                    Outcome::Missing { cause, .. } => {
                        (if probe.needed { "MISSING" } else { "absent" }, cause.clone())
                    }
                };
                vec![mark.to_owned(), probe.name.to_string(), format!("{} µs", probe.micros), detail]
            })
            .collect();
        output::print(&table(&["STATE", "PRIMITIVE", "TIME", "DETAIL"], &rows))?;
        print_lines(probes.iter().filter_map(|probe| match &probe.outcome {
            Outcome::Missing { cost, remedy, .. } => {
                Some(format!("\n{}: without it: {cost}\n  way out: {remedy}", probe.name))
            }
            Outcome::Works { .. } => None,
        }))?;
    }
    let broken = probes.iter().any(|probe| probe.needed && matches!(probe.outcome, Outcome::Missing { .. }));
    Ok(u8::from(broken))
}
