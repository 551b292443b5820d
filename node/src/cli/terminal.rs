//! Standard output and input, as all verbs use them.

use std::io::Write;

use super::error::CliError;

/// Writes to standard output. A closed pipe (`| head`) ends the program quietly, as usual.
pub(crate) fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(source) => Err(CliError::File { path: "standard output".to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Writes one line to standard output.
pub(crate) fn print_line(line: &str) -> Result<(), CliError> {
    print(format!("{line}\n").as_bytes())
}

/// Writes one line to standard error, which may be closed.
pub(crate) fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Answer { reason: error.to_string() })?;
    print_line(&text)
}

/// Writes rows as aligned columns under a head.
pub(crate) fn print_table(head: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    print_line(&line(&mut head.iter().copied()))?;
    rows.iter().try_for_each(|row| print_line(&line(&mut row.iter().map(String::as_str))))
}

/// Reads `path`, or standard input for `-`.
///
/// # Errors
/// `CliError::File` names the path.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, CliError> {
    let bytes = if path == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|source| CliError::File { path: path.to_owned(), source })
}
