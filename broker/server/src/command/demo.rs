//! `spanwire demo`: a node with two servers of our own, one traced workflow, then the urls.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::{Value, json};
use spanwire_mcp::Method;
use spanwire_model::Inventory;
use spanwire_rpc::v1::{GetTraceRequest, GetTraceResponse, Span};

use super::up::{Follower, Stop, announce};
use crate::{
    cli::Context,
    client::{self, Target},
    config::{Config, Listen, Secret, ServerTable},
    demo::{CallSpan, McpClient, TemporaryFolder},
    failure::{Exit, Failure},
    node::{self, RunningNode},
    output::{Tone, clean, paint},
};

const CITY: &str = "Lisbon";
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Spans are recorded a moment after the answer was sent.
const TRACE_TRIES: usize = 20;
const TRACE_PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `spanwire demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the workflow instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
}

/// Runs the demo.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let folder = TemporaryFolder::new("demo")?;
    let config = configuration(&folder)?;
    let node = node::start(config.clone()).await?;
    let outcome = tokio::select! {
        outcome = Box::pin(show(&node, &config, args.once, context)) => outcome,
        () = stop.wait() => Ok(()),
    };
    if outcome.is_ok() && !args.once {
        stop.wait().await;
    }
    tokio::select! {
        () = node.shutdown() => {}
        () = stop.wait() => {}
    }
    outcome
}

/// The default ports when they are free, so that other commands find the node; else any.
fn configuration(folder: &TemporaryFolder) -> Result<Config, Failure> {
    let program = std::env::current_exe()?.display().to_string();
    let mut config = Config::default();
    let free = |address: SocketAddr| TcpListener::bind(address).is_ok();
    let usual = Listen::default();
    if !free(usual.http) || !free(usual.grpc) {
        config.listen.http = (Ipv4Addr::LOCALHOST, 0).into();
        config.listen.grpc = (Ipv4Addr::LOCALHOST, 0).into();
    }
    config.node.data_dir = Some(folder.path().to_owned());
    config.telemetry.log_filter = "warn".to_owned();
    for name in ["weather", "notes"] {
        let id = name.parse().map_err(|error: spanwire_model::InvalidId| Failure::failed(error.to_string()))?;
        let args = vec!["demo-server".to_owned(), name.to_owned()];
        config.servers.insert(id, ServerTable { command: Some(program.clone()), args, ..ServerTable::default() });
    }
    Ok(config)
}

async fn show(node: &RunningNode, config: &Config, once: bool, context: &mut Context) -> Result<(), Failure> {
    wait_for_servers(node, context).await?;
    let mut client = McpClient::new(format!("http://{}/mcp", node.http_addr), "demo workflow")?;
    let spans = workflow(&mut client, context).await?;
    let trace_id = client.trace_id();
    let root = client.finish();
    let own: Vec<Span> = std::iter::once(&root).chain(&spans).map(CallSpan::to_span).collect();
    let target = Target { url: format!("http://{}", node.grpc_addr), token: client::token_file(config) };
    print_trace(&trace_id, own, &target, context).await?;
    if context.out.json {
        announce(node, config, &mut context.out)?;
        return Ok(());
    }
    context.out.line("")?;
    announce(node, config, &mut context.out)?;
    if !once {
        let prefix = variables(node, config, target.token.as_ref());
        context
            .out
            .line(format!("\nTry, in another terminal: {prefix}spanwire call weather__get_forecast city=Oslo"))?;
        context.out.line("Ctrl-C ends the demo.")?;
    }
    Ok(())
}

/// What another terminal needs to find this node.
fn variables(node: &RunningNode, config: &Config, token: Option<&Secret>) -> String {
    let mut prefix = String::new();
    if node.grpc_addr != Listen::default().grpc {
        prefix.push_str(&format!("SPANWIRE_NODE=http://{} ", node.grpc_addr));
    }
    if token.is_some() {
        prefix.push_str(&format!("SPANWIRE_DATA_DIR={} ", config.data_dir().display()));
    }
    prefix
}

async fn wait_for_servers(node: &RunningNode, context: &mut Context) -> Result<(), Failure> {
    let mut follower = Follower::new(!context.out.json);
    let mut inventory = node.inventory.clone();
    let ready = |inventory: &Inventory| {
        !inventory.servers.is_empty() && inventory.servers.iter().all(|server| server.health.state.is_callable())
    };
    let deadline = tokio::time::sleep(START_TIMEOUT);
    tokio::pin!(deadline);
    loop {
        let now = inventory.borrow_and_update().clone();
        follower.show(&now, &mut context.out)?;
        if ready(&now) && now.servers.len() == 2 {
            return Ok(());
        }
        tokio::select! {
            changed = inventory.changed() => {
                changed.map_err(|_| Failure::failed("the node stopped by itself: see its log"))?;
            }
            () = &mut deadline => return Err(Failure::new(Exit::Deadline, "the demo servers did not start")),
        }
    }
}

/// Asks for the weather, keeps it as a note, and reads the note back: two servers, three requests, one trace.
async fn workflow(client: &mut McpClient, context: &mut Context) -> Result<Vec<CallSpan>, Failure> {
    let mut spans = Vec::new();
    step(context, 1, &format!("weather__get_forecast city={CITY}"))?;
    let ask = json!({ "name": "weather__get_forecast", "arguments": { "city": CITY } });
    let forecast = one(client, Method::ToolsCall, ask, &mut spans, context).await?;
    let text = forecast["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    show_text(context, &text)?;

    let title = format!("Packing for {CITY}");
    step(context, 2, &format!("notes__save_note title=\"{title}\""))?;
    let save = json!({ "name": "notes__save_note", "arguments": { "title": title, "text": text } });
    let saved = one(client, Method::ToolsCall, save, &mut spans, context).await?;
    show_text(context, saved["content"][0]["text"].as_str().unwrap_or_default())?;

    // The link names the resource as the whole broker does: the server itself calls it note://…
    let blocks = saved["content"].as_array().cloned().unwrap_or_default();
    let link = blocks.iter().find(|block| block["type"] == "resource_link").and_then(|block| block["uri"].as_str());
    let uri = link.ok_or_else(|| Failure::failed("the note has no link"))?;
    step(context, 3, &format!("read {uri}"))?;
    let read = one(client, Method::ResourcesRead, json!({ "uri": uri }), &mut spans, context).await?;
    show_text(context, read["contents"][0]["text"].as_str().unwrap_or_default())?;
    Ok(spans)
}

async fn one(
    client: &mut McpClient,
    method: Method,
    params: Value,
    spans: &mut Vec<CallSpan>,
    context: &mut Context,
) -> Result<Value, Failure> {
    let mut progress = Vec::new();
    let (result, span) = client
        .request(method, params, |params| {
            progress.extend(params.get("message").and_then(Value::as_str).map(clean));
        })
        .await?;
    spans.push(span);
    if !context.out.json && !progress.is_empty() {
        context.out.line(paint(&format!("   progress: {}", progress.join(", ")), Tone::Dim))?;
    }
    if result["isError"] == true {
        return Err(Failure::failed(clean(result["content"][0]["text"].as_str().unwrap_or("the tool failed"))));
    }
    Ok(result)
}

fn step(context: &mut Context, number: usize, text: &str) -> Result<(), Failure> {
    if context.out.json {
        context.out.json_line(&json!({ "event": "step", "number": number, "what": text }))?;
    } else {
        context.out.line(format!("\n{} {}", paint(&format!("{number}."), Tone::Good), clean(text)))?;
    }
    Ok(())
}

fn show_text(context: &mut Context, text: &str) -> Result<(), Failure> {
    if context.out.json {
        context.out.json_line(&json!({ "event": "result", "text": text }))?;
        return Ok(());
    }
    for line in clean(text).lines() {
        context.out.line(format!("   {line}"))?;
    }
    Ok(())
}

async fn print_trace(trace_id: &str, own: Vec<Span>, target: &Target, context: &mut Context) -> Result<(), Failure> {
    let trace = settled_trace(trace_id, target).await?;
    let mut summary = trace.summary.unwrap_or_default();
    if context.out.json {
        context.out.json_line(&json!({ "event": "trace", "trace_id": trace_id, "spans": trace.spans.len() }))?;
        return Ok(());
    }
    // The client's own spans are recorded by nobody: they are put beside the node's.
    let mut spans = own;
    if let Some(root) = spans.first() {
        summary.name.clone_from(&root.name);
        (summary.start_unix_nanos, summary.end_unix_nanos) = (root.start_unix_nanos, root.end_unix_nanos);
    }
    spans.extend(trace.spans);
    context.out.line("")?;
    super::trace::print(&summary, &spans, context)
}

/// The trace once two looks at it found the same spans.
async fn settled_trace(trace_id: &str, target: &Target) -> Result<GetTraceResponse, Failure> {
    let mut broker = target.connect().await?;
    let mut last = None;
    for _ in 0..TRACE_TRIES {
        let found = broker.get_trace(GetTraceRequest { trace_id: trace_id.to_owned() }).await;
        match (found, last.take()) {
            (Ok(found), Some(before)) if *found.get_ref() == before => return Ok(before),
            (Ok(found), _) => last = Some(found.into_inner()),
            (Err(status), _) if status.code() == tonic::Code::NotFound => {}
            (Err(status), _) => return Err(status.into()),
        }
        tokio::time::sleep(TRACE_PAUSE).await;
    }
    last.ok_or_else(|| Failure::new(Exit::NotFound, "the node did not record the trace of the workflow"))
}
