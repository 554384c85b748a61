//! Printing: data to stdout, everything else to stderr, progress only where somebody watches.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::diag::{Error, Result};

/// Writes data to stdout. If nobody reads it any more, the process ends quietly with 0, as `head` expects.
///
/// # Errors
/// Usage if stdout cannot be written for another reason (a full disk).
pub fn data(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// As [`data`], for bytes.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::usage(format!("cannot write to standard output: {error}"))),
    }
}

/// One remark to stderr; a closed stderr is ignored.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// An error as people read it, in colour where colours work.
pub fn error(error: &Error) {
    note(&error.render(true));
}

/// A bar of `length` steps on stderr; nothing is drawn unless stderr is a terminal.
pub fn bar(length: usize) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    if let Ok(style) = ProgressStyle::with_template(" {bar:24} {pos}/{len}  {wide_msg}") {
        bar.set_style(style.progress_chars("█▌ "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
