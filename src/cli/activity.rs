//! A line that says that a program works, while it has nothing else to show.

use std::io::{self, IsTerminal};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::print_line;

/// Shows a line after [`SILENT_TIME_MAX`], until it is dropped.
pub(super) struct Activity {
    lines: MultiProgress,
    /// A line of its own, which ends with it.
    own: Option<ProgressBar>,
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Activity {
    /// A line with this text, on a terminal that can show it.
    pub(super) fn alone(text: &'static str, is_quiet: bool) -> Option<Activity> {
        if is_quiet || !can_show_bars() {
            return None;
        }
        let lines = hidden_lines();
        // The template is a constant that a test reads.
        let style = ProgressStyle::with_template(TEXT_TEMPLATE);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = lines.add(ProgressBar::new_spinner());
        let line = line.with_style(style).with_message(text);
        let mut activity = Activity::of(&line, &lines);
        activity.own = Some(line);
        Some(activity)
    }

    /// Shows these lines of a terminal, and moves one of them.
    pub(super) fn of(line: &ProgressBar, lines: &MultiProgress) -> Activity {
        let (line, shown) = (line.clone(), lines.clone());
        Activity::start(lines, move |is_over| {
            shown.set_draw_target(ProgressDrawTarget::stderr());
            while !is_over(TICK) {
                line.tick();
            }
        })
    }

    /// Prints the text once.
    pub(super) fn in_lines(text: &'static str) -> Activity {
        Activity::start(&hidden_lines(), move |_| print_line(text))
    }

    /// Runs `act` while the line is hidden.
    pub(super) fn above(activity: Option<&Activity>, act: impl FnOnce()) {
        match activity {
            Some(activity) => activity.lines.suspend(act),
            None => act(),
        }
    }

    /// Calls `show` in a thread, unless this ends before it is time. Without a thread nothing is
    /// shown.
    fn start(
        lines: &MultiProgress,
        show: impl FnOnce(&dyn Fn(Duration) -> bool) + Send + 'static,
    ) -> Activity {
        let (ended, end) = bounded::<()>(0);
        let wait = move || {
            let is_over = |limit| {
                !end.recv_timeout(limit)
                    .is_err_and(|error| error.is_timeout())
            };
            if !is_over(SILENT_TIME_MAX) {
                show(&is_over);
            }
        };
        let thread = Builder::new().name("ft-activity".to_owned()).spawn(wait);
        Activity {
            lines: lines.clone(),
            own: None,
            ended: Some(ended),
            thread: thread.ok(),
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.ended = None;
        if let Some(thread) = self.thread.take() {
            // Nothing else is drawn while it draws.
            let _ = thread.join();
        }
        if let Some(own) = &self.own {
            own.finish_and_clear();
        }
    }
}

fn hidden_lines() -> MultiProgress {
    MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
}

/// Whether standard error is a terminal that can show bars.
pub(super) fn can_show_bars() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

/// How long a program may show nothing.
const SILENT_TIME_MAX: Duration = Duration::from_millis(1_500);
const TICK: Duration = Duration::from_millis(200);
/// A text, cut to the width of the terminal.
pub(super) const TEXT_TEMPLATE: &str = "{spinner} {wide_msg}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_can_be_read() {
        assert!(ProgressStyle::with_template(TEXT_TEMPLATE).is_ok());
    }

    #[test]
    fn an_activity_that_ends_at_once_shows_nothing() {
        let lines = hidden_lines();
        drop(Activity::of(&ProgressBar::hidden(), &lines));
        assert!(lines.is_hidden());
    }
}
