//! What a shell and man(1) want to know about the tool, made from the definition of its command line.

use crate::cli::Cli;
use crate::cli::complete::VARIABLE;
use crate::error::Error;
use crate::manual;
use crate::terminal::output;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::Shells;
use std::path::Path;

const NAME: &str = "registry-authctl";

/// To bash a word ends at `@`, so that `@team` is two; it replaces both, or the second where nothing of that
/// is typed yet.
const BASH_WORDS: &str = r#"
_registry_authctl_words() {
    local -a typed=("${COMP_WORDS[@]}") joined=()
    local cursor=$COMP_CWORD current=$2 group= i
    for ((i = 0; i <= cursor; i++)); do
        if ((i > 0)) && [[ ${typed[i - 1]} == @ ]]; then
            joined[${#joined[@]} - 1]+=${typed[i]}
        else
            joined+=("${typed[i]}")
        fi
    done
    if [[ ${joined[${#joined[@]} - 1]} == @* ]]; then
        group=1 current=${joined[${#joined[@]} - 1]}
    fi
    local -a COMP_WORDS=("${joined[@]}")
    local COMP_CWORD=$((${#joined[@]} - 1))
    _clap_complete_registry_authctl "$1" "$current" "$3"
    if [[ $group && $2 != @* ]]; then
        COMPREPLY=("${COMPREPLY[@]#@}")
    fi
}
"#;

pub(crate) fn completions(shell: Shell) -> Result<(), Error> {
    // A few lines which call the tool: it alone knows users and groups, and its static scripts do not get
    // over the hyphen of the name.
    let shells = Shells::builtins();
    let shell = shells
        .completer(&shell.to_string())
        .ok_or(Error::Usage("no completions for this shell"))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .map_err(Error::Io)?;
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell.name() == "bash" {
        script = script.replace(
            "-F _clap_complete_registry_authctl ",
            "-F _registry_authctl_words ",
        );
        script.push_str(BASH_WORDS);
    }
    output::write(&script)
}

/// The page of the tool, that of the directives, or all pages of the tool into a folder, which is made.
pub(crate) fn man(folder: Option<&Path>, directives: bool) -> Result<(), Error> {
    if directives {
        return output::write(&manual::directives::directives());
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = folder else {
        return output::write(&manual::tool::page(command).map_err(Error::Io)?.1);
    };
    let in_folder = |error| Error::File(folder.to_owned(), error);
    std::fs::create_dir_all(folder).map_err(in_folder)?;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        let (name, page) = manual::tool::page(command).map_err(Error::Io)?;
        std::fs::write(folder.join(format!("{name}.1")), page).map_err(in_folder)?;
    }
    Ok(())
}
