//! `ftget --dry-run`: what would be done, told.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use super::failure::{Failures, classify};
use super::listed;
use super::meaning::{Destination, Order};
use super::wording::{self, Message, Source, filename_b64};
use crate::cli::failure::unwritten;
use crate::cli::terminal::{counted, tell, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{self, Action, Prospect};

/// Tells what each download would do, and ends as the downloads would as far as is known.
pub(super) fn show(order: &Order) -> ExitCode {
    let Destination::Files(downloads) = &order.destination else {
        return ExitCode::Usage;
    };
    let mut failures = Failures::default();
    for sentence in listed::sentences(&order.complaints) {
        tell(&wording::line(&sentence, order.is_coloured));
    }
    for complaint in &order.complaints {
        failures.add(complaint.code);
    }
    let mut output = io::stdout().lock();
    let prospects = client::preview(downloads, &order.config);
    for (download, prospect) in downloads.iter().zip(prospects) {
        let written = match prospect {
            Ok(prospect) if order.json => json(&mut output, download.path.as_bytes(), &prospect),
            Ok(prospect) => {
                let name = visible(download.path.as_bytes());
                let (word, size) = (word(&prospect), counted(prospect.total_size, "byte"));
                writeln!(output, "{name}: {word}, {size}")
            }
            Err(error) => {
                failures.add(classify(&error).0);
                let source = Source {
                    address: &download.address,
                    path: &download.path,
                    is_command: false,
                };
                tell(&Message::of(source, &error).text(order.is_coloured));
                Ok(())
            }
        };
        if let Err(error) = written {
            // What comes next could not be shown either.
            failures.add(unwritten("ftget", &error));
            break;
        }
    }
    failures.code()
}

fn word(prospect: &Prospect) -> &'static str {
    match (prospect.action, prospect.replaces) {
        (Action::Skipped, _) => "would be skipped",
        (Action::Identical, _) => "is there already",
        (Action::Resumed { .. }, _) => "would be resumed",
        (Action::Fetched, true) => "would be replaced",
        (Action::Fetched, false) => "would be fetched",
    }
}

fn json(output: &mut impl Write, name: &[u8], prospect: &Prospect) -> io::Result<()> {
    let (action, resumed_from) = wording::action(prospect.action);
    let event = Would {
        v: 1,
        event: "would",
        filename: String::from_utf8_lossy(name),
        filename_b64: filename_b64(name),
        total_size: prospect.total_size,
        action,
        resumed_from,
        replaces: prospect.replaces,
    };
    let line = serde_json::to_string(&event).map_err(io::Error::other)?;
    writeln!(output, "{}", visible_json(&line))
}

#[derive(Serialize)]
struct Would<'a> {
    v: u8,
    event: &'static str,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    total_size: u64,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    replaces: bool,
}
