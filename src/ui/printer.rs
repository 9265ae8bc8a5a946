//! The one owner of stdout and stderr.

use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::StripStream;
use dorainfra_model::{Event, SCHEMA};
use indicatif::MultiProgress;
use serde::Serialize;
use serde_json::{Value, json};

use super::text::{fold, hang, of_deployment, visible};
use super::{Mode, Options, Role, Style};

/// A command's result, in both of its forms.
pub trait View {
    /// For people, ending in a line end.
    fn human(&self, style: &Style) -> String;

    /// Whether its lines are a shell's, to be copied as they are.
    fn is_script(&self) -> bool {
        false
    }

    /// What `--quiet` prints; the whole result where nothing shorter is one.
    fn brief(&self, style: &Style) -> String {
        self.human(style)
    }

    /// For programs: an object whose fields are added, never renamed.
    fn json(&self) -> Value;
}

type Stream = Box<dyn Write + Send>;

struct Streams {
    stdout: Stream,
    stderr: Stream,
    /// The progress that is being redrawn on stderr, if any: it must step aside
    /// while something is written.
    live: Option<MultiProgress>,
    /// The first failure to write that was not a closed pipe.
    failed: Option<io::Error>,
    end: End,
}

/// What the last line of `--json` will be: always a result.
#[derive(Default)]
struct End {
    /// The last line that was written is one.
    written: bool,
    /// The command's own, which comes after everything else that there is to say.
    kept: Option<Value>,
    /// Text that is the result.
    text: String,
}

/// Writes results, events and messages in the mode that [`Options`] say. Cheap
/// to clone; every clone writes to the same streams, a whole message at a time.
#[derive(Clone)]
pub struct Printer {
    options: Arc<Options>,
    streams: Arc<Mutex<Streams>>,
    /// By itself: a question that waits for its answer keeps nobody from writing.
    stdin: Arc<Mutex<Box<dyn BufRead + Send>>>,
}

impl Printer {
    /// Over the process's own streams.
    pub fn new(options: Options) -> Self {
        let stdout = stream(io::stdout(), options.colour && options.terminals.stdout);
        let stderr = stream(io::stderr(), options.colour && options.terminals.stderr);
        Self::over(options, stdout, stderr, Box::new(io::BufReader::new(io::stdin())))
    }

    /// Into memory, with `answers` as what the user types: for tests.
    pub fn captured(options: Options, answers: &str) -> (Self, Captured) {
        let captured = Captured::default();
        let stdout = Box::new(Shared(Arc::clone(&captured.stdout)));
        let stderr = Box::new(Shared(Arc::clone(&captured.stderr)));
        let answers = io::Cursor::new(answers.as_bytes().to_vec());
        (Self::over(options, stdout, stderr, Box::new(answers)), captured)
    }

    fn over(options: Options, stdout: Stream, stderr: Stream, stdin: Box<dyn BufRead + Send>) -> Self {
        let streams = Streams { stdout, stderr, live: None, failed: None, end: End::default() };
        Self {
            options: Arc::new(options),
            streams: Arc::new(Mutex::new(streams)),
            stdin: Arc::new(Mutex::new(stdin)),
        }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The style of what goes to stdout.
    pub fn style(&self) -> Style {
        self.options.style(self.options.terminals.stdout)
    }

    /// The style of what goes to stderr.
    pub fn message_style(&self) -> Style {
        self.options.style(self.options.terminals.stderr)
    }

    /// A command's result: the human form, the brief one with `--quiet`, or one
    /// JSON line `{"schema":1,"type":"result","result":{…}}`.
    pub fn result(&self, view: &dyn View) {
        match self.options.mode {
            Mode::Human if view.is_script() => self.out(&view.human(&self.style())),
            Mode::Human => self.say(&view.human(&self.style())),
            Mode::Quiet => self.say(&view.brief(&self.style())),
            Mode::Json => self.json(&json!({"type": "result", "result": view.json()})),
        }
    }

    /// The same for a command that may still end with an error: as a JSON line it comes after that.
    pub fn conclude(&self, view: &dyn View) {
        match self.options.mode {
            Mode::Json => self.lock().end.kept = Some(view.json()),
            Mode::Human | Mode::Quiet => self.result(view),
        }
    }

    /// Text that is the result itself: shell completions, a rendered file, lines of a log. With
    /// `--json` all of it is one result, `{"text":…}`.
    pub fn verbatim(&self, text: &str) {
        match self.options.mode {
            Mode::Json => self.lock().end.text.push_str(text),
            Mode::Human | Mode::Quiet => self.out(text),
        }
    }

    /// The end of a command, `ok` or not, with the exit code that the process will have. With
    /// `--json` the last line is a result: what was kept for it, or how the command ended.
    pub fn end(&self, ok: bool, code: u8) {
        if self.options.mode != Mode::Json {
            return;
        }
        let End { written, kept, text } = std::mem::take(&mut self.lock().end);
        let result = match kept {
            Some(result) => result,
            None if ok && !text.is_empty() => json!({"text": text}),
            None if ok && written => return,
            None => json!({"ok": ok, "code": code}),
        };
        self.json(&json!({"type": "result", "result": result}));
    }

    /// A line of somebody's log, which is the result itself; `event` is the same for programs.
    pub fn log(&self, event: &Event, from: Option<&str>, line: &str) {
        if self.options.mode == Mode::Json {
            return self.event(event);
        }
        let from = from.map(|from| self.style().paint(Role::Faint, format!("{} | ", visible(from))));
        // Colours of somebody else's end where they like.
        let line = console::strip_ansi_codes(line);
        self.out(&format!("{}{}\n", from.unwrap_or_default(), visible(line.trim_end())));
    }

    /// A statement beside the result. Not printed with `--quiet`.
    pub fn note(&self, message: &str) {
        match self.options.mode {
            Mode::Human => self.err(&format!("{}\n", hang(&visible(message), 0, &self.message_style()))),
            Mode::Json => self.json(&json!({"type": "note", "message": message})),
            Mode::Quiet => {}
        }
    }

    pub fn warning(&self, message: &str, hint: Option<&str>) {
        if self.options.mode == Mode::Json {
            return self.json(&json!({"type": "warning", "message": message, "hint": hint}));
        }
        let style = self.message_style();
        self.err(&labelled(&style, Role::Caution, "warning", message));
        if let Some(hint) = hint {
            self.err(&labelled(&style, Role::Accent, "hint", hint));
        }
    }

    /// The end of a run that failed: what failed, why, and what to do next. A person is not told
    /// again what the message says already. `code` is the exit code that the process will have.
    pub fn error(&self, message: &str, causes: &[String], hints: &[String], code: u8) {
        if self.options.mode == Mode::Json {
            let fields =
                json!({"type": "error", "message": message, "causes": causes, "hints": hints, "code": code});
            return self.json(&fields);
        }
        let style = self.message_style();
        let mut text = labelled(&style, Role::Bad, "error", message);
        let mut said = message.to_owned();
        // Where it says what all comes down to, what lies between is for programs.
        let root = causes.last().is_some_and(|root| said.contains(root.as_str()));
        for cause in causes.iter().filter(|_| !root) {
            if !said.contains(cause.as_str()) {
                text.push_str(&labelled(&style, Role::Faint, "because", cause));
                said.push_str(cause);
            }
        }
        for hint in hints {
            text.push_str(&labelled(&style, Role::Accent, "hint", hint));
        }
        self.err(&text);
    }

    /// One event as a JSON line.
    pub(super) fn event(&self, event: &Event) {
        #[derive(Serialize)]
        struct Line<'a> {
            schema: u32,
            #[serde(flatten)]
            event: &'a Event,
        }
        let line = serde_json::to_string(&Line { schema: SCHEMA, event }).expect("an event is plain data");
        self.line(&line, false);
    }

    /// A line of our own types, which are not events of the stream.
    fn json(&self, fields: &Value) {
        // `schema` and `type` first, for whoever reads the lines by eye.
        let kind = &fields["type"];
        let rest: Vec<String> = fields
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "type")
            .map(|(name, value)| format!(",{}:{value}", Value::String(name.clone())))
            .collect();
        self.line(&format!("{{\"schema\":{SCHEMA},\"type\":{kind}{}}}", rest.concat()), kind == "result");
    }

    fn line(&self, line: &str, is_result: bool) {
        let mut streams = self.lock();
        streams.end.written = is_result;
        streams.write(&format!("{line}\n"), |streams| &mut streams.stdout);
    }

    /// Whether everything could be written. A closed pipe (`| head`) is no
    /// failure; a full disk behind `> file` is. Called once, by `main`.
    pub fn finish(&self) -> io::Result<()> {
        let mut streams = self.lock();
        for flushed in [streams.stdout.flush(), streams.stderr.flush()] {
            streams.remember(flushed);
        }
        streams.failed.take().map_or(Ok(()), Err)
    }

    /// Puts progress on stderr under the printer's care, or takes it away.
    pub(super) fn set_live(&self, live: Option<MultiProgress>) {
        self.lock().live = live;
    }

    /// Whether progress is being redrawn.
    pub(super) fn is_live(&self) -> bool {
        self.lock().live.is_some()
    }

    pub(super) fn out(&self, text: &str) {
        self.lock().write(text, |streams| &mut streams.stdout);
    }

    /// Text for people, on stdout. A terminal would break what is too long inside a word.
    pub(super) fn say(&self, text: &str) {
        let style = self.style();
        let text = of_deployment(text, style.deployment);
        self.out(&if style.wraps { fold(&text, style.width) } else { text });
    }

    /// As [`say`](Self::say), on stderr.
    pub(super) fn err(&self, text: &str) {
        let style = self.message_style();
        let text = of_deployment(text, style.deployment);
        let text = if style.wraps { fold(&text, style.width) } else { text };
        self.lock().write(&text, |streams| &mut streams.stderr);
    }

    /// Writes a question to stderr and reads one line; `None` at the end of input.
    pub(super) fn ask_line(&self, question: &str) -> io::Result<Option<String>> {
        self.err(question);
        let mut answer = String::new();
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        match stdin.read_line(&mut answer)? {
            0 => Ok(None),
            _ => Ok(Some(answer.trim().to_owned())),
        }
    }

    /// A writer that panicked has left at worst half a line behind.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn write(&mut self, text: &str, pick: impl Fn(&mut Self) -> &mut Stream) {
        let live = self.live.clone();
        let mut write = || {
            let stream = pick(self);
            stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
        };
        let written = match live {
            Some(live) => live.suspend(write),
            None => write(),
        };
        self.remember(written);
    }

    fn remember(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.failed.get_or_insert(error);
        }
    }
}

/// Without colour, whatever control codes a text still holds are taken out.
fn stream<S: Write + Send + 'static>(raw: S, colour: bool) -> Stream
where
    StripStream<S>: Write,
{
    if colour { Box::new(raw) } else { Box::new(StripStream::new(raw)) }
}

fn labelled(style: &Style, role: Role, label: &str, message: &str) -> String {
    format!(
        "{} {}\n",
        style.paint(role, format!("{label}:")),
        hang(&visible(message), label.len() + 2, style)
    )
}

/// What a captured [`Printer`] has written so far.
#[derive(Clone, Default)]
pub struct Captured {
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    pub fn stdout(&self) -> String {
        Self::text(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        Self::text(&self.stderr)
    }

    fn text(bytes: &Mutex<Vec<u8>>) -> String {
        String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answer;

    impl View for Answer {
        fn human(&self, style: &Style) -> String {
            format!("the answer is {}\n", style.paint(Role::Good, "42"))
        }

        fn brief(&self, _: &Style) -> String {
            "42\n".into()
        }

        fn json(&self) -> Value {
            json!({"answer": 42})
        }
    }

    fn printed(mode: Mode) -> (String, String) {
        let (printer, captured) = Printer::captured(Options::plain(mode), "");
        printer.note("by the way");
        printer.warning("careful", Some("do this"));
        printer.result(&Answer);
        let causes = ["line 2", "disk full", "disk full"].map(str::to_owned);
        printer.error("it failed\nin line 2", &causes, &["free some room".into()], 1);
        printer.finish().unwrap();
        (captured.stdout(), captured.stderr())
    }

    #[test]
    fn people_get_the_result_on_stdout_and_the_rest_on_stderr() {
        let (stdout, stderr) = printed(Mode::Human);
        insta::assert_snapshot!(stdout, @"the answer is 42");
        insta::assert_snapshot!(stderr, @r"
        by the way
        warning: careful
        hint: do this
        error: it failed
               in line 2
        because: disk full
        hint: free some room
        ");
    }

    #[test]
    fn quiet_leaves_the_notes_out() {
        let (stdout, stderr) = printed(Mode::Quiet);
        insta::assert_snapshot!(stdout, @"42");
        assert!(!stderr.contains("by the way"));
        assert!(stderr.contains("warning: careful") && stderr.contains("error: it failed"));
    }

    #[test]
    fn json_is_one_object_a_line_on_stdout() {
        let (stdout, stderr) = printed(Mode::Json);
        assert_eq!(stderr, "");
        insta::assert_snapshot!(stdout, @r#"
        {"schema":1,"type":"note","message":"by the way"}
        {"schema":1,"type":"warning","hint":"do this","message":"careful"}
        {"schema":1,"type":"result","result":{"answer":42}}
        {"schema":1,"type":"error","causes":["line 2","disk full","disk full"],"code":1,"hints":["free some room"],"message":"it failed\nin line 2"}
        "#);
        for line in stdout.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }

    #[test]
    fn the_last_json_line_is_a_result_however_a_command_ends() {
        let last = |work: &dyn Fn(&Printer)| {
            let (printer, captured) = Printer::captured(Options::plain(Mode::Json), "");
            work(&printer);
            let lines: Vec<Value> =
                captured.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let results = lines.iter().filter(|line| line["type"] == "result").count();
            assert_eq!(lines.last().unwrap()["type"], "result", "{lines:?}");
            (results, lines.last().unwrap()["result"].clone())
        };
        let ok = json!({"ok": true, "code": 2});
        assert_eq!(last(&|printer| printer.end(true, 2)), (1, ok.clone()));
        let own = (1, json!({"answer": 42}));
        let answers = |printer: &Printer| {
            printer.result(&Answer);
            printer.end(true, 0);
        };
        assert_eq!(last(&answers), own);
        let fails = |printer: &Printer| {
            printer.conclude(&Answer);
            printer.error("it failed", &[], &[], 1);
            printer.end(false, 1);
        };
        assert_eq!(last(&fails), own, "after the error, and once");
        let says_more = |printer: &Printer| {
            printer.result(&Answer);
            printer.note("by the way");
            printer.end(true, 2);
        };
        assert_eq!(last(&says_more), (2, ok));
        let writes = |printer: &Printer| {
            printer.verbatim("a\n");
            printer.verbatim("b\n");
            printer.end(true, 0);
        };
        assert_eq!(last(&writes), (1, json!({"text": "a\nb\n"})));
        let half = |printer: &Printer| {
            printer.verbatim("a\n");
            printer.error("it failed", &[], &[], 1);
            printer.end(false, 1);
        };
        assert_eq!(last(&half), (1, json!({"ok": false, "code": 1})));
    }

    #[test]
    fn a_cause_that_the_message_ends_with_is_not_explained_to_a_person() {
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        let causes = ["error sending request", "client error (Connect)", "refused"].map(str::to_owned);
        printer.error("no answer: refused", &causes, &[], 1);
        assert_eq!(captured.stderr(), "error: no answer: refused\n");
    }

    #[test]
    fn a_line_of_a_log_is_harmless_and_an_event_for_programs() {
        let event = Event::StackLog { part: "generator".into(), line: "a\u{1b}[31mb\u{7}\r".into() };
        for (mode, expected) in [
            (Mode::Human, "generator | ab\\u{7}\n".to_owned()),
            (Mode::Quiet, "generator | ab\\u{7}\n".to_owned()),
            (
                Mode::Json,
                concat!(
                    r#"{"schema":1,"type":"stack-log","part":"generator","line":"a\u001b[31mb\u0007\r"}"#,
                    "\n"
                )
                .to_owned(),
            ),
        ] {
            let (printer, captured) = Printer::captured(Options::plain(mode), "");
            printer.log(&event, Some("generator"), "a\u{1b}[31mb\u{7}\r");
            assert_eq!(captured.stdout(), expected);
        }
    }

    #[test]
    fn escape_sequences_in_messages_are_made_harmless() {
        let (printer, captured) = Printer::captured(Options::plain(Mode::Human), "");
        printer.note("a\u{1b}[31mb");
        assert_eq!(captured.stderr(), "a\\u{1b}[31mb\n");
    }

    struct Full(ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_at_the_end_and_a_closed_pipe_is_not() {
        for (kind, fails) in [(ErrorKind::StorageFull, true), (ErrorKind::BrokenPipe, false)] {
            let stdin = Box::new(io::Cursor::new(Vec::new()));
            let printer =
                Printer::over(Options::plain(Mode::Human), Box::new(Full(kind)), Box::new(io::sink()), stdin);
            printer.result(&Answer);
            assert_eq!(printer.finish().is_err(), fails, "{kind:?}");
        }
    }
}
