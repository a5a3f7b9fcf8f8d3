//! Two callers with levels of their own on one connection.

use super::{
    input::{Peer, tool},
    *,
};

fn at(level: &str, name: &str) -> UpstreamCall {
    tool(name, "{}", &format!(r#","io.modelcontextprotocol/logLevel":"{level}""#))
}

#[tokio::test]
async fn the_most_verbose_running_caller_sets_the_level_and_each_gets_its_own() {
    let peer = Peer::with(r#"{"logging":{}}"#, |_| {}).await;
    let levels = [("debug", "fine", 3), ("error", "coarse", 1), ("warning", "middle", 2)];
    let mut running = Vec::new();
    for (level, name, expected) in levels {
        let mut reply = peer.connected.upstream.call(at(level, name));
        assert!(futures::poll!(futures::StreamExt::next(&mut reply)).is_pending());
        running.push((reply, peer.server.id_of(name).await, expected));
    }
    assert_eq!(peer.server.count("logging/setLevel"), 1, "no quieter caller takes the level from a more verbose one");
    for (_, id, _) in &running {
        for level in ["debug", "warning", "critical"] {
            let params = Some(json(&format!(r#"{{"level":"{level}","data":{id}}}"#)));
            peer.server.calls.push(*id, Notification { method: Method::LogMessage, params });
        }
        peer.finish(*id, "{}");
    }
    for (mut reply, id, expected) in running {
        let mut seen = 0;
        while let Event::Notification(log) = next(&mut reply).await {
            assert!(log.params.unwrap().as_str().contains(&format!("\"data\":{id}")));
            seen += 1;
        }
        assert_eq!(seen, expected);
    }
    // The one who is left decides.
    for (level, sets) in [("error", 2), ("error", 2), ("info", 3)] {
        let name = format!("then {level} {sets}");
        let mut reply = peer.connected.upstream.call(at(level, &name));
        assert!(futures::poll!(futures::StreamExt::next(&mut reply)).is_pending());
        peer.finish(peer.server.id_of(&name).await, "{}");
        next(&mut reply).await;
        assert_eq!(peer.server.count("logging/setLevel"), sets);
    }
}

#[tokio::test]
async fn nobody_starts_before_the_server_has_its_level() {
    let server = legacy(r#"{"logging":{}}"#, |_| None);
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let start = |level: &str, name: &str| {
        let mut reply = connected.upstream.call(at(level, name));
        tokio::spawn(async move { next(&mut reply).await })
    };
    let first = start("debug", "first");
    let id = server.id_of(r#""level":"debug""#).await;
    let second = start("debug", "second");
    tokio::task::yield_now().await;
    assert_eq!(server.count("tools/call"), 0);
    // Who leaves while the server is told leaves the telling to the next.
    first.abort();
    let _ = first.await;
    server.saw("-logging/setLevel").await;
    let told = async {
        while server.count(r#"logging/setLevel {"level":"debug"}"#) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, told).await.unwrap();
    server.calls.finish(id, Ok(json("{}")));
    server.calls.finish(server.id_of(r#""level":"debug""#).await, Ok(json("{}")));
    let call = server.id_of("second").await;
    server.calls.finish(call, Ok(json("{}")));
    assert!(matches!(second.await.unwrap(), Event::Done(Ok(_))));
}
