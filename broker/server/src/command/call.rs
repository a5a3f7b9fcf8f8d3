//! `spanwire call`: one tool call, with its progress.

use bytes::Bytes;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use spanwire_rpc::v1::{CallError, CallRequest, ListToolsRequest, Retry, Tool, call_event::Event};

use super::tools::embedded;
use crate::{
    cli::Context,
    client::Broker,
    failure::{Exit, Failure},
    output::{Tone, clean, note, paint},
    raw, suggest,
};

mod arguments;
mod content;

/// Most tools that a suggestion is looked for in.
const MAX_TOOLS: u32 = 10_000;

/// Arguments of `spanwire call`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tool: SERVER__TOOL
    tool: String,
    /// Arguments: k=v, read as the type that the tool's schema gives k; k:=JSON is read as JSON
    #[arg(value_name = "k=v")]
    pairs: Vec<String>,
    /// Arguments as a JSON object; k=v go before its members
    #[arg(long = "json", visible_alias = "json-args", value_name = "JSON", id = "json_arguments")]
    json: Option<String>,
    /// A view instead of all servers
    #[arg(long, value_name = "VIEW", default_value = "", hide_default_value = true)]
    view: String,
    /// Longest that the call may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    timeout_ms: u64,
    /// W3C trace context of the caller
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT", default_value = "", hide_default_value = true)]
    traceparent: String,
}

/// Calls the tool and prints what comes back.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let base = args.json.as_deref().map(arguments::object).transpose().map_err(Failure::usage)?.unwrap_or_default();
    let mut broker = context.target().connect().await?;
    let tool = find(&mut broker, &args.tool, &args.view).await?;
    let schema = embedded(&tool.input_schema_json);
    let arguments = arguments::merge(base, &args.pairs, &schema).map_err(Failure::usage)?;
    let request = CallRequest {
        name: args.tool.clone(),
        arguments_json: arguments::json(&arguments)?,
        // The node asks for progress events only when a token is there.
        params_json: Bytes::from_static(br#"{"_meta":{"progressToken":"spanwire-call"}}"#),
        timeout_ms: args.timeout_ms,
        traceparent: args.traceparent,
        view: args.view,
        ..CallRequest::default()
    };
    let progress = Progress::new(!context.out.json);
    let mut events = broker.call(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::ProgressJson(params)) => progress.show(&embedded(&params)),
            Some(Event::NotificationJson(message)) => progress.log(&message),
            Some(Event::ResultJson(result)) => {
                progress.end();
                return print(&args.tool, &result, context);
            }
            Some(Event::Error(error)) => {
                progress.end();
                return Err(failure(&error));
            }
            None => {}
        }
    }
    Err(Failure::failed(format!("the call of \"{}\" ended without a result", args.tool)))
}

/// The tool of exactly this name. Looked up first: its schema gives the arguments their types.
async fn find(broker: &mut Broker, name: &str, view: &str) -> Result<Tool, Failure> {
    let request = ListToolsRequest {
        view: view.to_owned(),
        query: name.to_owned(),
        limit: MAX_TOOLS,
        ..ListToolsRequest::default()
    };
    let found = broker.list_tools(request.clone()).await?.into_inner().tools;
    if let Some(tool) = found.into_iter().find(|tool| tool.name == name) {
        return Ok(tool);
    }
    let all = ListToolsRequest { query: String::new(), without_schemas: true, ..request };
    let all = broker.list_tools(all).await?.into_inner().tools;
    // People leave out the server: a tool of that name is nearer than anything that is spelled alike.
    let suffix = format!("__{name}");
    let hint = match all.iter().find(|tool| tool.name.ends_with(&suffix)) {
        Some(tool) => format!("; did you mean \"{}\"?", tool.name),
        None => suggest::did_you_mean(name, all.iter().map(|tool| tool.name.as_str())),
    };
    Err(Failure::new(Exit::NotFound, format!("there is no tool \"{name}\"{hint}")))
}

fn print(tool: &str, result: &Bytes, context: &mut Context) -> Result<(), Failure> {
    let value = embedded(result);
    if context.out.json {
        context.out.line(raw::text(result)?)?;
    } else {
        for line in content::lines(result) {
            context.out.line(line)?;
        }
    }
    if value.get("resultType").and_then(Value::as_str) == Some("input_required") {
        let text = format!("\"{tool}\" asks for more input, which this command cannot give");
        return Err(Failure::failed(text).with_hint("call it from an MCP client that can ask its user"));
    }
    if value.get("isError").and_then(Value::as_bool) == Some(true) {
        return Err(Failure::failed(format!("\"{tool}\" says that it failed")));
    }
    Ok(())
}

fn failure(error: &CallError) -> Failure {
    let exit = if error.kind == "deadline_exceeded" { Exit::Deadline } else { Exit::Failed };
    let failure = Failure::new(exit, error.message.clone());
    match error.retry() {
        Retry::Safe => failure.with_hint("nothing was executed: it is safe to try again"),
        Retry::IfIdempotent => failure.with_hint("it may have been executed: try again only if twice does no harm"),
        Retry::Unspecified | Retry::Never => failure,
    }
}

/// A notification, as far as it is looked at.
#[derive(Deserialize)]
struct Message<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// `params` of a log message (2026-07-28, server/utilities/logging), with its data as it was written.
#[derive(Deserialize, Default)]
struct Logged<'a> {
    level: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Progress and log messages, on stderr.
struct Progress {
    bar: ProgressBar,
    shown: bool,
}

impl Progress {
    fn new(shown: bool) -> Self {
        // Hidden by the library where stderr is no terminal.
        let bar = if shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
        Self { bar, shown }
    }

    fn show(&self, params: &Value) {
        let number = |key: &str| params.get(key).and_then(Value::as_f64).unwrap_or_default();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float saturates; it is a picture"
        )]
        let (at, total) = ((number("progress") * 1000.0) as u64, (number("total") * 1000.0) as u64);
        let message = clean(params.get("message").and_then(Value::as_str).unwrap_or_default()).replace('\n', " ");
        if self.bar.is_hidden() {
            if self.shown {
                let of = if total == 0 { String::new() } else { format!("/{}", number("total")) };
                note(format!("progress {}{of} {message}", number("progress")));
            }
            return;
        }
        if total > 0 {
            self.bar.set_length(total);
        }
        if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:24} {percent:>3}% {msg}") {
            self.bar.set_style(style);
        }
        self.bar.set_message(message);
        self.bar.set_position(at);
    }

    fn log(&self, message: &Bytes) {
        let Ok(Message { method, params }) = serde_json::from_slice::<Message<'_>>(message) else { return };
        if !self.shown || method != "notifications/message" {
            return;
        }
        let Logged { level, data } =
            params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
        let level = clean(level.as_deref().unwrap_or("info"));
        let data = data.map(|data| match serde_json::from_str::<String>(data.get()) {
            Ok(text) => clean(&text),
            Err(_) => clean(&data.get().replace('\n', " ")),
        });
        let data = data.unwrap_or_default();
        self.bar.suspend(|| note(format!("{} {data}", paint(&level, Tone::Dim))));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
