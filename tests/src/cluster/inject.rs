//! How each fault is done, and undone.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{
    bus::SERVERS,
    fault::{Fault, Kind},
    world::{NODES, World},
};
use crate::nats::Passage;

/// How long a server that stutters stands still, and how long it runs in between.
const STILL: Duration = Duration::from_millis(150);
const RUNNING: Duration = Duration::from_millis(30);
/// What the name of the stream holds whose leader is meant.
const STREAM: &str = "CONTEXT";

/// Does it, lets it last, and undoes it. The cluster need not be well again when this returns: see [`heal`].
pub async fn inject(fault: &Fault, world: &mut World) -> Result<()> {
    let Fault { kind, node, server, hold, passage, disk } = *fault;
    match kind {
        Kind::KillNode => {
            world.kill(node).await?;
            sleep(hold).await;
            world.restart(node).await
        }
        Kind::PauseNode => {
            world.node(node).pause();
            sleep(hold).await;
            world.node(node).resume();
            Ok(())
        }
        Kind::KillServer => kill_server(world, server, hold).await,
        Kind::PauseServer => {
            world.bus.member(server).pause();
            sleep(hold).await;
            world.bus.member(server).resume();
            Ok(())
        }
        Kind::KillLeader => {
            let leader = world.bus.leader_of(STREAM).await.unwrap_or(server);
            kill_server(world, leader, hold).await
        }
        Kind::RestartNodes => restart_nodes(world).await,
        Kind::RestartServers => restart_servers(world).await,
        Kind::CutOffNode | Kind::SlowLines => {
            world.set_lines(node, passage)?;
            sleep(hold).await;
            world.set_lines(node, Passage::Open)
        }
        Kind::SplitMinority => {
            split(world, node, server, passage)?;
            sleep(hold).await;
            split(world, node, server, Passage::Open)
        }
        Kind::SlowDiskServer => {
            let leader = world.bus.leader_of(STREAM).await.unwrap_or(server);
            world.bus.member(leader).set_disk(disk)?;
            sleep(hold).await;
            world.bus.member(leader).set_disk(Duration::ZERO)
        }
        Kind::SlowDiskNode => {
            world.set_disk(node, disk)?;
            sleep(hold).await;
            world.set_disk(node, Duration::ZERO)
        }
        Kind::Stutter => {
            let leader = world.bus.leader_of(STREAM).await.unwrap_or(server);
            stutter(world, leader, hold).await;
            Ok(())
        }
        Kind::RollBackNode => roll_back_node(world, node, hold).await,
        Kind::RollBackServer => roll_back_server(world, server, hold).await,
    }
}

/// Waits until nothing is missing any more that a fault took away.
pub async fn heal(world: &World) -> Result<()> {
    world.bus.wait_whole().await?;
    for node in 0..NODES {
        world.wait_ready(node).await?;
    }
    Ok(())
}

async fn kill_server(world: &mut World, server: usize, hold: Duration) -> Result<()> {
    world.bus.member(server).kill();
    sleep(hold).await;
    world.bus.member(server).restart()
}

async fn restart_nodes(world: &mut World) -> Result<()> {
    for node in 0..NODES {
        world.stop(node).await?;
        world.restart(node).await?;
        world.wait_ready(node).await?;
    }
    Ok(())
}

async fn restart_servers(world: &mut World) -> Result<()> {
    for server in 0..SERVERS {
        world.bus.member(server).stop().await?;
        world.bus.member(server).restart()?;
        world.bus.wait_whole().await?;
    }
    Ok(())
}

/// The server talks to no other server, and the node to no other server than that one.
fn split(world: &World, node: usize, server: usize, passage: Passage) -> Result<()> {
    world.bus.set_routes_of(server, passage)?;
    (0..SERVERS).filter(|other| *other != server).try_for_each(|other| world.set_line(node, other, passage))
}

async fn stutter(world: &mut World, server: usize, hold: Duration) {
    let end = Instant::now() + hold;
    while Instant::now() < end {
        world.bus.member(server).pause();
        sleep(STILL).await;
        world.bus.member(server).resume();
        sleep(RUNNING).await;
    }
}

/// A copy is made while the node does not run, so that it is what a disk that forgets would have: an older state, and a whole one.
async fn roll_back_node(world: &mut World, node: usize, hold: Duration) -> Result<()> {
    world.stop(node).await?;
    let copy = world.copy_data(node)?;
    world.restart(node).await?;
    world.wait_ready(node).await?;
    sleep(hold).await;
    world.kill(node).await?;
    world.roll_back(node, &copy)?;
    world.restart(node).await
}

/// The others have everything when the server ends, so that what was acknowledged is on two servers throughout: a majority that has lost
/// nothing. Two stores that go back at once lose what was acknowledged, in any system of three.
async fn roll_back_server(world: &mut World, server: usize, hold: Duration) -> Result<()> {
    world.bus.wait_whole().await?;
    let copy = world.bus.folder().join("copy");
    world.bus.member(server).stop().await?;
    world.bus.member(server).copy_store(&copy)?;
    world.bus.member(server).restart()?;
    world.bus.wait_whole().await?;
    sleep(hold).await;
    world.bus.wait_whole().await?;
    world.bus.member(server).kill();
    world.bus.member(server).roll_back(&copy)?;
    world.bus.member(server).restart()
}
