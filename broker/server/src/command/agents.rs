//! `spanwire agents`: agents in the registry, which all nodes share and which outlives their restarts.

use spanwire_model::AgentId;
use spanwire_rpc::v1::{self, AgentInfo, ListAgentsRequest};

use crate::{
    cli::Context,
    client::Broker,
    failure::{Exit, Failure},
    output::{note, now_ms, paint},
    raw, suggest,
};

mod show;

/// Most agents that one request asks for.
const MAX_PAGE: u32 = 1000;

/// Arguments of `spanwire agents`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the whole card of an agent.
    Show {
        /// Id of the agent
        id: AgentId,
    },
    /// Register an agent by its A2A agent card. The card is shown to whoever may use the control API: no secrets in it.
    Add {
        /// Id of the agent: 1 to 64 of a-z, 0-9 and -, beginning with a letter
        id: AgentId,
        /// The card: a file with a JSON object, or - for stdin
        #[arg(long, value_name = "FILE")]
        card: String,
        /// Take the place of an agent of the same id
        #[arg(long)]
        replace: bool,
    },
    /// Remove an agent.
    Remove {
        /// Id of the agent
        id: AgentId,
    },
}

/// Lists the agents, or shows, adds or removes one.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    match args.what {
        None => list(context).await,
        Some(What::Show { id }) => show(id, context).await,
        Some(What::Add { id, card, replace }) => add(id, &card, replace, context).await,
        Some(What::Remove { id }) => remove(id, context).await,
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let agents = all(&mut broker).await?;
    if context.out.json {
        context.out.document(&show::list(&agents)?)?;
        return Ok(());
    }
    if agents.is_empty() {
        context.out.line("no agents: register one with \"spanwire agents add ID --card FILE\"")?;
        return Ok(());
    }
    let now_ms = now_ms();
    context.out.table(&show::HEADERS, agents.iter().map(|agent| show::row(agent, now_ms)).collect())?;
    Ok(())
}

/// All agents, page by page. One that comes or goes meanwhile may be missed.
async fn all(broker: &mut Broker) -> Result<Vec<AgentInfo>, Failure> {
    let mut agents = Vec::new();
    let mut after = String::new();
    loop {
        let request = ListAgentsRequest { id: String::new(), after, limit: MAX_PAGE };
        let page = broker.list_agents(request).await?.into_inner();
        agents.extend(page.agents);
        if page.next.is_empty() {
            return Ok(agents);
        }
        after = page.next;
    }
}

async fn show(id: AgentId, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let request = ListAgentsRequest { id: id.to_string(), ..ListAgentsRequest::default() };
    let found = broker.list_agents(request).await?.into_inner().agents.into_iter().next();
    let Some(agent) = found else { return Err(unknown(&mut broker, &id).await) };
    if !agent.problem.is_empty() {
        return Err(Failure::failed(format!("agent \"{id}\" cannot be shown: {}", agent.problem)));
    }
    if context.out.json {
        context.out.document(&show::whole(&agent)?)?;
        return Ok(());
    }
    note(paint(&show::facts(&agent, now_ms()), crate::output::Tone::Dim));
    context.out.line(raw::text(&agent.card_json)?)?;
    Ok(())
}

async fn add(id: AgentId, card: &str, replace: bool, context: &mut Context) -> Result<(), Failure> {
    let card_json = raw::read(card)?;
    let mut broker = context.target().connect().await?;
    let request = v1::AddAgentRequest { id: id.to_string(), card_json, replace };
    let replaced = broker.add_agent(request).await?.into_inner().replaced;
    if context.out.json {
        context.out.document(&serde_json::json!({ "added": id, "replaced": replaced }))?;
    } else {
        let word = if replaced { "replaced" } else { "added" };
        context.out.line(format!("{word} {id}: see \"spanwire agents\""))?;
    }
    Ok(())
}

async fn remove(id: AgentId, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    if !broker.remove_agent(v1::RemoveAgentRequest { id: id.to_string() }).await?.into_inner().removed {
        return Err(unknown(&mut broker, &id).await);
    }
    if context.out.json {
        context.out.document(&serde_json::json!({ "removed": id }))?;
    } else {
        context.out.line(format!("removed {id}"))?;
    }
    Ok(())
}

/// The failure for an agent that is not there, with the one that may be meant.
async fn unknown(broker: &mut Broker, id: &AgentId) -> Failure {
    let known = match all(broker).await {
        Ok(known) => known,
        Err(failure) => return failure,
    };
    let hint = suggest::did_you_mean(id.as_str(), known.iter().map(|agent| agent.id.as_str()));
    Failure::new(Exit::NotFound, format!("the registry has no agent \"{id}\"{hint}"))
}
