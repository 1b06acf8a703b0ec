//! `entry_points.txt` and `[project.scripts]`: commands that call a function.

use super::wheel::Layout;

/// A command that calls a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// File name of the command.
    pub name: String,
    /// Dotted module.
    module: String,
    /// Dotted attribute of the module.
    attribute: String,
}

impl Script {
    /// Parses `name` and `module:attribute [extras]`. Both go into generated Python, so nothing but
    /// identifiers and dots is let through.
    ///
    /// # Errors
    /// A reason naming the text.
    pub fn parse(name: &str, target: &str) -> Result<Self, String> {
        let name_ok = !name.is_empty()
            && name.len() <= 200
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'));
        if !name_ok {
            return Err(format!("{name:?} cannot be a command's name"));
        }
        let bare = target.split('[').next().unwrap_or_default().trim();
        let (module, attribute) = bare.split_once(':').unwrap_or((bare, ""));
        let (module, attribute) = (module.trim(), attribute.trim());
        let dotted = |text: &str| text.split('.').all(is_identifier);
        if !dotted(module) || !dotted(attribute) {
            return Err(format!("{name} = {target:?} is not MODULE:FUNCTION"));
        }
        Ok(Self { name: name.to_owned(), module: module.to_owned(), attribute: attribute.to_owned() })
    }

    /// The command's text.
    pub fn wrapper(&self, layout: &Layout) -> String {
        let first = self.attribute.split('.').next().unwrap_or_default();
        format!(
            "#!{}\nimport sys\nfrom {} import {first}\nif __name__ == \"__main__\":\n    sys.exit({}())\n",
            layout.interpreter(),
            self.module,
            self.attribute
        )
    }
}

fn is_identifier(text: &str) -> bool {
    let start = |c: char| c == '_' || c.is_alphabetic();
    text.chars().next().is_some_and(start) && text.chars().all(|c| start(c) || c.is_numeric())
}

/// The console and GUI scripts of an `entry_points.txt`, in file order.
///
/// # Errors
/// A reason naming the line.
pub fn scripts(text: &str) -> Result<Vec<Script>, String> {
    let (mut scripts, mut inside) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section =
                section.strip_suffix(']').ok_or_else(|| format!("{line:?} is not a section"))?.trim();
            inside = matches!(section, "console_scripts" | "gui_scripts");
        } else if inside {
            let (name, target) =
                line.split_once('=').ok_or_else(|| format!("{line:?} is not NAME = TARGET"))?;
            scripts.push(Script::parse(name.trim(), target.trim())?);
        }
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sections() {
        let text =
            "[other]\nx = y\n[console_scripts]\n# note\nrun=a.b:c.d [extra]\n[gui_scripts]\nwin = w:m\n";
        let names: Vec<_> =
            scripts(text).expect("valid").into_iter().map(|s| (s.name, s.attribute)).collect();
        assert_eq!(names, [("run".into(), "c.d".into()), ("win".into(), "m".to_string())]);
        for bad in [
            "[console_scripts",
            "[console_scripts]\nx",
            "[console_scripts]\nx = a",
            "[console_scripts]\na/b = a:b",
        ] {
            assert!(scripts(bad).is_err(), "{bad}");
        }
    }
}
