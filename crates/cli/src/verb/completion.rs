//! What a shell may offer next, and the scripts by which shells ask: `corral completion bash`.
//!
//! ```text
//! corral completion bash ──▶ a function that calls   corral __complete WORD… PARTIAL
//!                                                        │ one candidate a line, TAB, what it is
//!                            nothing to offer: the shell offers files
//! ```

use corral_engine::{Engine, State};

use super::{VERBS, act, describe, manage};
use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

const BASH: &str = r#"# corral completion for bash: source <(corral completion bash)
_corral() {
    local cur words cword line
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur words cword
    else
        cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == "$cur"* ]] && COMPREPLY+=("${line%%$'\t'*}")
    done < <("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null)
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}
complete -o bashdefault -o default -F _corral corral
"#;

const ZSH: &str = r#"#compdef corral
# corral completion for zsh: source <(corral completion zsh), or a file _corral in a directory of $fpath
_corral() {
    local -a candidates
    local line
    for line in ${(f)"$($words[1] __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    (( $#candidates )) && _describe corral candidates || _files
}
if [ "$funcstack[1]" = "_corral" ]; then _corral "$@"; else compdef _corral corral; fi
"#;

const FISH: &str = r#"# corral completion for fish: corral completion fish | source
function __corral_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..] 2>/dev/null
end
complete -c corral -n 'count (__corral_complete)' -f -a '(__corral_complete)'
"#;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Shell that the script is for: bash, zsh or fish
    shell: String,
}

/// `corral completion`.
pub(super) fn completion(_: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("completion", words)? else { return Ok(0) };
    let script = match flags.shell.as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        other => {
            return Err(Failure::usage("completion", format!("no script for {other}: bash, zsh and fish")));
        }
    };
    output::print(script)?;
    Ok(0)
}

/// What a word after the flags of a verb can name.
#[derive(Clone, Copy)]
enum Kind {
    Containers(fn(&State) -> bool),
    Images,
    Volumes,
    Any,
}

fn kind(verb: &str) -> Option<Kind> {
    Some(match verb.strip_prefix("container ").unwrap_or(verb) {
        "start" => Kind::Containers(|state| !state.lives()),
        "attach" | "exec" | "kill" | "pause" | "restart" | "stats" | "stop" | "top" => {
            Kind::Containers(State::lives)
        }
        "unpause" => Kind::Containers(|state| matches!(state, State::Paused(_))),
        "commit" | "diff" | "export" | "logs" | "port" | "rename" | "rm" | "update" | "wait" | "remove" => {
            Kind::Containers(|_| true)
        }
        "create" | "history" | "images" | "rmi" | "run" | "save" | "tag" => Kind::Images,
        "image rm" | "image remove" | "image inspect" | "image history" | "image save" | "image tag" => {
            Kind::Images
        }
        "volume rm" | "volume remove" | "volume inspect" | "volume export" | "volume import" => Kind::Volumes,
        "inspect" => Kind::Any,
        _ => return None,
    })
}

/// `corral __complete WORD… PARTIAL`.
pub(super) fn complete(globals: &Globals, words: &Words) -> Result<u8, Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (partial, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let (verb, rest) = match before {
        [] => {
            let verbs = VERBS.iter().map(|(name, about, _)| (*name, *about)).chain(manage::groups());
            return offer(partial, verbs);
        }
        [group] if let Some(commands) = manage::commands(group) => return offer(partial, commands),
        [group, command, rest @ ..] if manage::commands(group).is_some() => {
            (format!("{group} {command}"), rest)
        }
        [verb, rest @ ..] => (verb.clone(), rest),
    };
    if partial.starts_with('-') {
        return flags(globals, &verb);
    }
    let takes_one = matches!(verb.as_str(), "run" | "create" | "exec");
    match kind(&verb) {
        // Behind the image or the container stands a command, which is not known here.
        Some(_) if takes_one && rest.iter().any(|word| !word.starts_with('-')) => Ok(0),
        Some(kind) => offer(partial, names(&globals.engine()?, kind)?),
        None => Ok(0),
    }
}

fn flags(globals: &Globals, verb: &str) -> Result<u8, Failure> {
    match verb.split_once(' ') {
        Some((group, command)) => act(globals, group, vec![command.into(), describe::FLAGS.into()]),
        None => act(globals, verb, vec![describe::FLAGS.into()]),
    }
}

fn names(engine: &Engine, kind: Kind) -> Result<Vec<(String, &'static str)>, Failure> {
    let mut found = Vec::new();
    if let Kind::Containers(_) | Kind::Any = kind {
        let wanted = match kind {
            Kind::Containers(wanted) => wanted,
            _ => |_: &State| true,
        };
        let views = engine.list()?.into_iter().filter(|view| wanted(&view.state));
        found.extend(views.map(|view| (view.record.name.to_string(), "container")));
    }
    if let Kind::Images | Kind::Any = kind {
        let named = engine.store().list()?.into_iter().filter_map(|image| image.reference);
        found.extend(named.map(|name| (name.to_string(), "image")));
    }
    if let Kind::Volumes | Kind::Any = kind {
        found.extend(engine.volumes()?.into_iter().map(|volume| (volume.name, "volume")));
    }
    Ok(found)
}

fn offer<N: AsRef<str>, A: AsRef<str>>(
    partial: &str,
    candidates: impl IntoIterator<Item = (N, A)>,
) -> Result<u8, Failure> {
    let mut text = String::new();
    for (name, about) in candidates {
        if name.as_ref().starts_with(partial) {
            text.push_str(&format!("{}\t{}\n", name.as_ref(), about.as_ref()));
        }
    }
    output::print(&text)?;
    Ok(0)
}
