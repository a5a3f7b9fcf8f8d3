//! Which era is found, by what a server answers.

use spanwire_mcp::Era;
use spanwire_model::ErrorKind;

use super::*;

const DISCOVERED: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#;

/// What `server/discover` and `initialize` are answered with; `None` is silence.
async fn check(
    choice: EraChoice,
    discover: Option<Outcome>,
    initialize: Option<Outcome>,
    expected: Result<Revision, &str>,
) {
    let server = Server::new({
        let (discover, initialize) = (discover.clone(), initialize.clone());
        move |request| match request.method {
            Method::Discover => discover.clone(),
            Method::Initialize => initialize.clone(),
            _ => None,
        }
    });
    let got = server.connect(choice).await.map(|connected| connected.facts.revision);
    match (got, expected) {
        (Ok(revision), Ok(expected)) => {
            assert_eq!(revision, expected);
            let initialized = server.count(&format!("notifications/initialized {revision}"));
            assert_eq!(initialized, usize::from(revision.era() == Era::Legacy));
        }
        (Err(error), Err(part)) => assert!(error.public.contains(part), "{error}"),
        (got, expected) => panic!("{discover:?} {initialize:?}: {got:?}, expected {expected:?}"),
    }
}

#[tokio::test]
async fn the_era_is_found_by_probing() {
    let modern = || Some(Ok(json(DISCOVERED)));
    let unknown = || Some(refused(-32601, "Method not found"));
    let old = |version| initialized(version, "{}");
    let auto = EraChoice::Auto;
    check(auto, modern(), None, Ok(Revision::V2026_07_28)).await;
    check(auto, unknown(), old("2025-11-25"), Ok(Revision::V2025_11_25)).await;
    check(auto, Some(refused(-32602, "bad params")), old("2024-11-05"), Ok(Revision::V2024_11_05)).await;
    check(auto, Some(Ok(json("{}"))), old("2025-03-26"), Ok(Revision::V2025_03_26)).await;
    // Silence on the probe.
    check(auto, None, old("2025-11-25"), Ok(Revision::V2025_11_25)).await;
    check(auto, None, None, Err("did not answer initialize within 200 ms")).await;
    check(auto, None, Some(refused(-32600, "no")), Err("refused the handshake: no")).await;
    // A modern error is no reason to fall back, unless it lists a revision with a handshake.
    check(auto, Some(refused(-32020, "headers differ")), old("2025-11-25"), Err("headers differ")).await;
    let older = |supported: &str| {
        let data = Some(json(&format!(r#"{{"supported":["{supported}"]}}"#)));
        Some(Err(Error { data, ..refused(-32022, "unsupported").unwrap_err() }))
    };
    check(auto, older("2025-11-25"), old("2025-11-25"), Ok(Revision::V2025_11_25)).await;
    check(auto, older("2027-01-01"), old("2025-11-25"), Err("speaks only 2027-01-01")).await;
    // Nothing is proved by a server that is not reached.
    let lost = Some(Err(Error::new(ErrorKind::StreamLost, "gone")));
    check(auto, lost, old("2025-11-25"), Err("gone")).await;
    check(auto, unknown(), old("1999-01-01"), Err("unknown protocol revision \"1999-01-01\"")).await;
}

#[tokio::test]
async fn a_fixed_era_is_not_left() {
    let unknown = || Some(refused(-32601, "Method not found"));
    check(EraChoice::Modern, unknown(), initialized("2025-11-25", "{}"), Err("does not speak 2026-07-28")).await;
    check(EraChoice::Modern, Some(Ok(json(DISCOVERED))), None, Ok(Revision::V2026_07_28)).await;
    check(EraChoice::Legacy, None, initialized("2025-06-18", "{}"), Ok(Revision::V2025_06_18)).await;
}

#[tokio::test]
async fn what_is_known_saves_the_probe() {
    let old = legacy("{}", |_| None);
    old.connect_known(EraChoice::Auto, Some(Era::Legacy), true).await.unwrap();
    assert_eq!(old.count("server/discover"), 0);
    let new = modern("{}", |_| None);
    new.connect_known(EraChoice::Auto, Some(Era::Modern), true).await.unwrap();
    assert_eq!(new.count("initialize"), 0);
}

/// What is known of a server, what it answers to `server/discover` and to `initialize`, and what it is found to be, over a transport
/// where silence is an answer and over one where it is none.
#[tokio::test]
async fn a_wrong_guess_heals_itself() {
    let check =
        async |known: Era, discover: Option<Outcome>, initialize: Option<Outcome>, expected: [Option<Era>; 2]| {
            for (expected, silence_is_legacy) in expected.into_iter().zip([true, false]) {
                let (discover, initialize) = (discover.clone(), initialize.clone());
                let text = format!("{known:?} {discover:?} {initialize:?} {silence_is_legacy}");
                let server = Server::new(move |request| match request.method {
                    Method::Discover => discover.clone(),
                    Method::Initialize => initialize.clone(),
                    _ => None,
                });
                let connected = server.connect_known(EraChoice::Auto, Some(known), silence_is_legacy).await;
                assert_eq!(connected.ok().map(|connected| connected.facts.era()), expected, "{text}");
            }
        };
    let (legacy, modern) = (Some(Era::Legacy), Some(Era::Modern));
    let is_modern = || Some(Ok(json(DISCOVERED)));
    let is_legacy = || initialized("2025-11-25", "{}");
    let failed = |kind: ErrorKind| Some(Err(Error::new(kind, "answered with HTTP status 405")));
    // It was legacy and is modern: refusals as JSON-RPC errors, and as statuses with any body.
    for code in [-32601, -32600, -32602, -32020, -32021, -32022, -32000] {
        check(Era::Legacy, is_modern(), Some(refused(code, "no")), [modern, modern]).await;
    }
    check(Era::Legacy, is_modern(), failed(ErrorKind::BadServer), [modern, modern]).await;
    check(Era::Legacy, is_modern(), failed(ErrorKind::SessionGone), [modern, modern]).await;
    // An answer that is none: no revision, or one that nobody knows.
    check(Era::Legacy, is_modern(), Some(Ok(json("{}"))), [modern, modern]).await;
    check(Era::Legacy, is_modern(), initialized("2031-01-01", "{}"), [modern, modern]).await;
    // It is silent on what it does not know.
    check(Era::Legacy, is_modern(), None, [modern, modern]).await;
    // It is still legacy, though it refused for another reason; nothing is proved by not being reached.
    check(Era::Legacy, Some(refused(-32601, "?")), Some(refused(-32603, "broken")), [None, None]).await;
    check(Era::Legacy, is_modern(), failed(ErrorKind::Unavailable), [None, None]).await;
    check(Era::Legacy, is_modern(), failed(ErrorKind::StreamLost), [None, None]).await;
    check(Era::Legacy, is_modern(), failed(ErrorKind::Overloaded), [None, None]).await;
    // Both: what was known goes on.
    check(Era::Legacy, is_modern(), is_legacy(), [legacy, legacy]).await;
    // It was modern and is legacy.
    for code in [-32601, -32600, -32602, -32000] {
        check(Era::Modern, Some(refused(code, "no")), is_legacy(), [legacy, legacy]).await;
    }
    check(Era::Modern, Some(Ok(json("{}"))), is_legacy(), [legacy, legacy]).await;
    check(Era::Modern, None, is_legacy(), [legacy, None]).await;
    check(Era::Modern, failed(ErrorKind::Unavailable), is_legacy(), [None, None]).await;
    check(Era::Modern, is_modern(), is_legacy(), [modern, modern]).await;
}

#[tokio::test]
async fn silence_proves_nothing_where_the_transport_says_so() {
    let silent = Server::new(|request| match request.method {
        Method::Initialize => initialized("2025-11-25", "{}"),
        _ => None,
    });
    let error = silent.connect_known(EraChoice::Auto, None, false).await.err().unwrap();
    assert!(error.public.contains("did not answer server/discover"), "{error}");
    assert_eq!(silent.count("initialize"), 0);
}

#[tokio::test]
async fn a_slow_modern_server_is_still_found() {
    let server = Server::new(|request| match request.method {
        Method::Initialize => Some(refused(-32601, "no such method")),
        _ => None,
    });
    let late = server.clone();
    let answers = tokio::spawn(async move {
        // The refusal of `initialize` comes first; only then the probe is answered.
        late.saw("initialize ").await;
        late.calls.finish(1, Ok(json(DISCOVERED)));
    });
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    answers.await.unwrap();
    assert_eq!(connected.facts.era(), Era::Modern);
}
