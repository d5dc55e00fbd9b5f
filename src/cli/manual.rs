//! Manual pages and completions, from the definitions of the options.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::ExitCode;
use super::settings::{is_setting, variable};
use super::terminal::standard_output;

/// What a program's page says besides its options.
pub(super) struct Manual {
    /// `FTGET`.
    pub(super) prefix: &'static str,
    /// Commands, each with a line about it.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Files, each with a line about it.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Other pages.
    pub(super) see_also: &'static str,
}

/// Writes the page, for man(1), to standard output.
pub(super) fn write_page(command: Command, manual: &Manual) -> io::Result<()> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
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
        "Each option has a variable, which counts where the command line does not say otherwise; \
         an empty one does not count, and one that does not apply to a command gives way.",
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

/// Writes a script that completes options in this shell to standard output.
pub(super) fn write_completions(mut command: Command, shell: Shell) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    standard_output().write_all(&script)
}

/// The table of exit codes, a line each.
pub(super) fn exit_codes() -> String {
    let lines = ExitCode::TABLE
        .iter()
        .map(|(code, meaning)| format!("\n{:4}  {meaning}", *code as u8));
    format!("Exit codes:{}", lines.collect::<String>())
}
