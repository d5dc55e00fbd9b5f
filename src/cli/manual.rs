//! Manual pages and completions, made from the definitions of the options.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::ExitCode;
use super::settings::{is_setting, variable};
use super::terminal::standard_output;

/// The parts of a manual page that clap does not know.
pub(super) struct Manual {
    /// The prefix of environment variables, such as `FTGET`.
    pub(super) prefix: &'static str,
    /// Each way to start the program: its name and its arguments.
    pub(super) synopsis: &'static [(&'static str, &'static str)],
    /// Commands, each with its explanation.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Files, each with its explanation.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Related manual pages.
    pub(super) see_also: &'static str,
}

/// Writes the page, as roff for man(1), to standard output.
pub(super) fn write_page(command: Command, manual: &Manual) -> io::Result<()> {
    // The page prints only the long help of an option that `-h` leaves out.
    let command = command.mut_args(|arg| match arg.get_long_help() {
        None => {
            let help = arg.get_help().cloned().unwrap_or_default();
            arg.long_help(help)
        }
        Some(_) => arg,
    });
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    for (program, arguments) in manual.synopsis {
        synopsis.text([bold(*program), roman(format!(" {arguments}"))]);
        synopsis.control("br", []);
    }
    synopsis.to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;

    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (example, about) in manual.examples {
        roff.control("TP", []);
        roff.text([bold(*example)]);
        roff.text([roman(*about)]);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Each option can be set by a variable. The command line has priority. Switches take 1 or 0, \
         yes or no, true or false. Empty variables are ignored, and so are variables that do not \
         apply to the other options.",
    )]);
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        roff.control("TP", []);
        roff.text([bold(variable(manual.prefix, arg))]);
        let option = arg
            .get_long()
            .map_or("PATH".to_owned(), |long| format!("--{long}"));
        roff.text([roman(option)]);
    }
    roff.control("SH", ["FILES"]);
    for (file, about) in manual.files {
        roff.control("TP", []);
        roff.text([bold(*file)]);
        roff.text([roman(*about)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in ExitCode::TABLE {
        roff.control("TP", []);
        roff.text([bold((code as u8).to_string())]);
        roff.text([roman(meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(manual.see_also)]);
    roff.to_writer(&mut page)?;
    standard_output().write_all(&page)
}

/// Writes the completion script for a shell to standard output.
pub(super) fn write_completions(mut command: Command, shell: Shell) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    standard_output().write_all(&script)
}

/// The table of exit codes, one per line.
pub(super) fn exit_codes() -> String {
    let lines = ExitCode::TABLE
        .iter()
        .map(|(code, meaning)| format!("\n{:4}  {meaning}", *code as u8));
    format!("Exit codes:{}", lines.collect::<String>())
}
