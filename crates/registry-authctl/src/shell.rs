//! What a shell and man(1) want to know about the tool, made from the definition of its command line.

use crate::cli::Cli;
use crate::complete::VARIABLE;
use crate::error::Error;
use crate::output;
use clap::CommandFactory;
use clap_complete::env::Shells;
use clap_complete::Shell;
use std::path::Path;

const NAME: &str = "registry-authctl";

/// To bash a word ends at `@`, so that `@team` is two; it replaces both, or the second where nothing of that is typed yet.
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
    // A few lines which call the tool: it alone knows users and groups, and its static scripts do not get over the hyphen of the name.
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

/// The page of the tool, or all pages into a folder, which is made.
pub(crate) fn man(folder: Option<&Path>) -> Result<(), Error> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(Error::Io)?;
        return output::write(&String::from_utf8_lossy(&page));
    };
    let in_folder = |error| Error::File(folder.to_owned(), error);
    std::fs::create_dir_all(folder).map_err(in_folder)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(in_folder)
}
