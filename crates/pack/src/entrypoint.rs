//! Which command an image starts.

use crate::Error;
use crate::project::{Kind, Project};
use crate::python::{Layout, PythonProject, normalize};
use crate::scan::{EntryKind, Scan};

/// Scripts at the project's top that are an agent's by custom, in this order.
const CUSTOMARY: [&str; 4] = ["__main__.py", "main.py", "app.py", "agent.py"];

/// The exec form of the image's command; empty only where none is needed to be of use.
///
/// # Errors
/// [`Error::Project`] naming the choices.
pub(crate) fn of(project: &Project, scan: &Scan) -> Result<Vec<String>, Error> {
    if !project.settings.entrypoint.is_empty() {
        return Ok(project.settings.entrypoint.clone());
    }
    match &project.kind {
        Kind::Python(python) => of_python(project, python, scan),
        Kind::Node(node) => node.entrypoint.clone().ok_or_else(|| {
            missing(project, "package.json has no bin, main or start script and there is no index.js or server.js: add one, or `\"corral\": {\"entrypoint\": [\"node\", \"FILE\"]}`")
        }),
        Kind::Binary(path) => Ok(vec![format!("/app/{path}")]),
        Kind::Files | Kind::Packages => Ok(Vec::new()),
    }
}

fn missing(project: &Project, reason: &str) -> Error {
    Error::Project { path: project.dir.clone(), reason: reason.to_owned() }
}

fn of_python(project: &Project, python: &PythonProject, scan: &Scan) -> Result<Vec<String>, Error> {
    let named = |name: &str| vec![format!("/usr/local/bin/{name}")];
    match &python.scripts[..] {
        [] => {}
        [only] => return Ok(named(&only.name)),
        several => {
            let own = several.iter().find(|script| python.name.as_deref() == Some(script.name.as_str()));
            let names: Vec<&str> = several.iter().map(|script| script.name.as_str()).collect();
            return own.map(|script| named(&script.name)).ok_or_else(|| {
                missing(project, &format!(
                    "[project.scripts] has several commands and none has the project's name: choose one with [tool.corral] entrypoint = [\"{}\"]",
                    names.join("\"] or [\"")
                ))
            });
        }
    }
    let interpreter = "python3".to_owned();
    let mut packages: Vec<&str> = scan
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter_map(|entry| entry.path.strip_suffix("/__main__.py"))
        .map(|path| path.strip_prefix("src/").unwrap_or(path))
        .filter(|path| !path.contains('/') && *path != "tests")
        .collect();
    let own = python.name.as_deref().map(|name| normalize(name).replace('-', "_"));
    if let Some(package) = packages.iter().find(|package| Some(**package) == own.as_deref()) {
        packages = vec![package];
    }
    if let [package] = packages[..] {
        return Ok(vec![interpreter, "-m".into(), package.to_owned()]);
    }
    match CUSTOMARY.iter().find(|name| scan.has_file(name)) {
        Some(script) => Ok(vec![interpreter, format!("/app/{script}")]),
        None => Err(missing(
            project,
            "has no entrypoint: add [project.scripts], a package with __main__.py, main.py, app.py or agent.py, or [tool.corral] entrypoint = [\"python3\", \"FILE\"]",
        )),
    }
}

/// The directory that the project's own modules are imported from, inside the image.
pub(crate) fn source_root(scan: &Scan) -> &'static str {
    let in_src = |path: &str| path.strip_prefix("src/").is_some_and(|rest| rest.ends_with(".py"));
    match scan.entries.iter().any(|entry| entry.kind == EntryKind::File && in_src(&entry.path)) {
        true => "/app/src",
        false => "/app",
    }
}

/// What makes the project importable and its commands callable: a `.pth` line, distribution metadata
/// and the commands themselves.
pub(crate) fn installed_files(
    python: &PythonProject,
    scan: &Scan,
    layout: &Layout,
) -> Vec<(String, u32, String)> {
    let site = layout.site.to_string_lossy();
    let mut files = vec![(format!("{site}/corral-project.pth"), 0o644, format!("{}\n", source_root(scan)))];
    for script in &python.scripts {
        files.push((format!("usr/local/bin/{}", script.name), 0o755, script.wrapper(layout)));
    }
    if let (Some(name), Some(version)) = (&python.name, &python.version) {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b));
        if plain(name) && plain(version) {
            let info = format!("{site}/{}-{version}.dist-info", normalize(name).replace('-', "_"));
            let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
            files.push((format!("{info}/METADATA"), 0o644, metadata));
            files.push((format!("{info}/INSTALLER"), 0o644, "corral\n".into()));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expect: &str) {
        let (_dir, root) = crate::files::written(files);
        let scan = Scan::of(&root).expect("scanned");
        let shown = match Project::detect(&root, &scan).and_then(|project| of(&project, &scan)) {
            Ok(words) => words.join(" "),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn python_commands() {
        let project = |more: &str| format!("[project]\nname = \"my-agent\"\nversion = \"1\"\n{more}");
        let pyproject = |text: &str| ("pyproject.toml".to_owned(), project(text));
        let (name, scripts) = pyproject("[project.scripts]\nrun = \"a:b\"\n");
        check(&[(&name, &scripts)], "/usr/local/bin/run");
        let (_, two) = pyproject("[project.scripts]\nx = \"a:b\"\ny = \"a:c\"\n");
        check(&[(&name, &two)], "entrypoint = [\"x\"] or [\"y\"]");
        let (_, own) = pyproject("[project.scripts]\nx = \"a:b\"\nmy-agent = \"a:c\"\n");
        check(&[(&name, &own)], "/usr/local/bin/my-agent");
        let (_, bare) = pyproject("");
        check(&[(&name, &bare), ("src/my_agent/__main__.py", "")], "python3 -m my_agent");
        check(&[(&name, &bare), ("a/__main__.py", ""), ("my_agent/__main__.py", "")], "python3 -m my_agent");
        check(&[(&name, &bare), ("app.py", ""), ("agent.py", "")], "python3 /app/app.py");
        check(&[(&name, &bare)], "has no entrypoint: add [project.scripts]");
        let (_, set) = pyproject("[tool.corral]\nentrypoint = \"python3 x.py\"\n");
        check(&[(&name, &set)], "python3 x.py");
    }
}
