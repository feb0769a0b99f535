//! A line of the log: one line, whatever is in it, with the id of the request that it is about.

use std::fmt;

use granary::current_request_id;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The field with a request's id; an event that has it tells the id itself.
const REQUEST_ID: &str = "request_id";

/// Writes what the library's form of a line writes, and the request's id.
#[derive(Debug)]
pub(super) struct Line<F> {
    form: F,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text { has_colours: bool },
    Json,
}

impl<F> Line<F> {
    /// Lines of text in a form of the library's.
    pub(super) fn text(form: F, has_colours: bool) -> Self {
        Self { form, kind: Kind::Text { has_colours } }
    }

    /// Lines that the library's form makes a JSON object each.
    pub(super) fn json(form: F) -> Self {
        Self { form, kind: Kind::Json }
    }
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.form.format_event(context, Writer::new(&mut line), event)?;
        let tells_id = event.metadata().fields().field(REQUEST_ID).is_some();
        let id = if tells_id { None } else { current_request_id() };
        let line = line.strip_suffix('\n').unwrap_or(&line);
        // An id has no letter that either form would have to escape.
        match (self.kind, id) {
            (Kind::Text { has_colours }, id) => {
                write_in_one_line(&mut writer, line, has_colours)?;
                if let Some(id) = id {
                    write!(writer, " {REQUEST_ID}=\"{id}\"")?;
                }
            }
            (Kind::Json, None) => writer.write_str(line)?,
            (Kind::Json, Some(id)) => {
                let object = line.strip_suffix('}').unwrap_or(line);
                write!(writer, "{object},\"{REQUEST_ID}\":\"{id}\"}}")?;
            }
        }
        writer.write_char('\n')
    }
}

/// Escapes what would begin another line or steer a terminal: errors show what clients send, such as
/// the names of files. Where there are colours, what changes the colour stays, and nothing else.
fn write_in_one_line(writer: &mut Writer<'_>, line: &str, has_colours: bool) -> fmt::Result {
    for (at, letter) in line.char_indices() {
        let stays = has_colours && line.get(at..).is_some_and(begins_with_colour);
        let breaks = matches!(letter, '\u{2028}' | '\u{2029}');
        if (letter.is_control() && !stays) || breaks {
            write!(writer, "{}", letter.escape_default())?;
        } else {
            writer.write_char(letter)?;
        }
    }
    Ok(())
}

/// Whether this is an escape sequence for a colour or a weight (ECMA-48, SGR) and what follows it.
fn begins_with_colour(text: &str) -> bool {
    let parameters = text.strip_prefix("\x1b[");
    let is_parameter = |letter: char| letter.is_ascii_digit() || letter == ';';
    parameters.is_some_and(|rest| rest.trim_start_matches(is_parameter).starts_with('m'))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use granary::config::LogFormat;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::lines_to;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, has_colours: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let to = written.clone();
        let lines = lines_to(move || to.clone(), format, has_colours);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\n2026-11-25T00:00:00Z  INFO granary: all is well \"\x1b[2J\r\u{2028}";

    fn tell_of_what_is_hostile() {
        tracing::warn!(name = HOSTILE, error = %HOSTILE, shown = %HOSTILE, "refused {HOSTILE}");
    }

    #[test]
    fn whatever_a_line_tells_of_it_is_one_line() {
        let text = logged(LogFormat::Text, false, tell_of_what_is_hostile);
        assert_eq!(text.lines().count(), 1, "{text}");
        let rest = text.strip_suffix('\n').unwrap();
        assert!(
            !rest.contains(|letter: char| letter.is_control() || letter == '\u{2028}'),
            "{rest}"
        );
        assert!(rest.contains(r"refused a\n2026") && rest.contains(r"shown=a\n2026"), "{rest}");

        let text = logged(LogFormat::Text, true, tell_of_what_is_hostile);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("\x1b[33m") && !text.contains("\x1b[2J"), "{text:?}");

        let text = logged(LogFormat::Json, false, tell_of_what_is_hostile);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["name"], &line["shown"]), (&json!(HOSTILE), &json!(HOSTILE)));
    }
}
