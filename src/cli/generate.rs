//! `granary completions` and `granary man`: made from the command line's own description.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Ending, counted, say};

/// Write completions for a shell to standard output.
///
/// bash: granary completions bash > ~/.local/share/bash-completion/completions/granary;
/// zsh: into a file _granary in a folder of $fpath; fish: into
/// ~/.config/fish/completions/granary.fish.
#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell.
    shell: Shell,
}

/// Write the manual pages, one a command, into a folder.
#[derive(Debug, Args)]
pub(crate) struct ManOptions {
    /// Folder, such as ~/.local/share/man/man1; it is made if there is none.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs `granary completions`.
pub(crate) fn completions(options: &CompletionsOptions) -> anyhow::Result<Ending> {
    // Made in memory: the library gives up with a panic where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "granary", &mut script);
    let mut output = io::stdout().lock();
    match output.write_all(&script).and_then(|()| output.flush()) {
        // Whoever reads it has had enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Ending::Complete),
    }
}

/// Runs `granary man`.
pub(crate) fn man(options: &ManOptions) -> anyhow::Result<Ending> {
    let directory = &options.directory;
    let refused = || format!("cannot write to {}; choose another folder", directory.display());
    fs::create_dir_all(directory).with_context(refused)?;
    let mut command = Cli::command();
    command.build();
    let written = write_pages(directory, &command).with_context(refused)?;
    let pages = counted(written);
    say(format_args!("wrote {pages} to {}", directory.display()))?;
    Ok(Ending::Complete)
}

/// Writes the page of a command and those of its subcommands; with how many these are.
fn write_pages(directory: &Path, command: &Command) -> io::Result<usize> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = clap_mangen::Man::new(command.clone());
    let path = directory.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&text)?;
    let mut written = 1;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let below = below.clone().display_name(format!("{name}-{}", below.get_name()));
        written += write_pages(directory, &below)?;
    }
    Ok(written)
}
