//! Text for terminals: what devices chose themselves must not steer the terminal that shows it.

use std::{
    fmt,
    io::{self, Write},
};

use jiff::{SignedDuration, Timestamp};

/// Prints to the standard output. Whoever reads it may have had enough, as `head` has: that is no failure.
pub(super) fn say(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// The text with control characters, and characters that change the direction of writing, spelled out.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                c.escape_unicode().to_string()
            }
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// How long ago something was, in one unit as kubectl has it.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Lines of columns that are as wide as their widest cell.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}   "))
            .collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_clear_the_screen_or_turn_the_line_around() {
        assert_eq!(
            printable("CN=\u{1b}[2Jx\u{202e}\n"),
            "CN=\\u{1b}[2Jx\\u{202e}\\n"
        );
        assert_eq!(printable("CN=pümpe 7"), "CN=pümpe 7");
    }

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        assert_eq!(
            [ago(-5), ago(119), ago(120), ago(7_200), ago(400_000)],
            ["0s", "119s", "2m", "2h", "4d"]
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb"], ["ccc", "d"]].map(|row| row.map(String::from));
        assert_eq!(table(&rows), "a     bb\nccc   d\n");
    }
}
