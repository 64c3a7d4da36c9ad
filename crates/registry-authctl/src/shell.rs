//! What a shell and man(1) want to know about the tool, made from the definition of its command line.

use crate::cli::Cli;
use crate::error::Error;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

const NAME: &str = "registry-authctl";

pub(crate) fn completions(shell: Shell) -> Result<(), Error> {
    // Not straight to standard output: that panics where nobody reads it.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    output::write(&String::from_utf8_lossy(&script))
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
