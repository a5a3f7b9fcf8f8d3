//! Arbitrary orders of questions, answers and cancellations in two sessions at once.

use std::collections::HashSet;

use proptest::prelude::*;
use spanwire_mcp::{
    Response,
    input::{InputRequest, InputRequired},
};

use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Op {
    /// A call of this session asks so many questions.
    Ask(usize, usize),
    /// The client of this session answers one of all ids that were ever given out, in either session.
    Answer(usize, usize),
    /// A call ends, of whichever session.
    Withdraw(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0_usize..2, 1_usize..5).prop_map(|(session, count)| Op::Ask(session, count)),
        (0_usize..2, any::<usize>()).prop_map(|(session, id)| Op::Answer(session, id)),
        any::<usize>().prop_map(Op::Withdraw),
    ]
}

/// What the test knows of a round.
struct Known {
    session: usize,
    round: RoundId,
    ids: Vec<RequestId>,
    answered: HashSet<RequestId>,
    over: bool,
}

fn open(tag: &str) -> Session {
    let mut session =
        Session::open(Some(&json(r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{}}}"#))).unwrap();
    session.set_tag(tag.into());
    session
}

fn ask(session: &mut Session, number: usize, count: usize) -> Result<Asked, Error> {
    let requests = (0..count)
        .map(|key| InputRequest { key: format!("{number}/{key}"), method: Method::RootsList, params: None })
        .collect();
    session.ask(InputRequired { requests, request_state: Some(format!("state {number}")) })
}

fn text(id: &RequestId) -> String {
    format!("\"of {id}\"")
}

/// An answer is taken exactly when its question is open in this very session.
fn answer(sessions: &mut [Session; 2], known: &mut [Known], at: usize, id: &RequestId) {
    let result = json(&format!("{{\"text\":{}}}", text(id)));
    let told = sessions[at].answer(Response { id: Some(id.clone()), outcome: Ok(result) });
    let found = known.iter_mut().enumerate().find(|(_, one)| one.ids.contains(id));
    let Some((number, one)) = found.filter(|(_, one)| one.session == at && !one.over && !one.answered.contains(id))
    else {
        assert_eq!(told, Answered::Nothing);
        return;
    };
    one.answered.insert(id.clone());
    if one.answered.len() < one.ids.len() {
        assert_eq!(told, Answered::Partly);
        return;
    }
    one.over = true;
    let Answered::Complete(round, retry) = told else { panic!("round {number} is not complete") };
    assert_eq!((round, retry.request_state), (one.round, Some(format!("state {number}"))));
    let responses = retry.input_responses.unwrap();
    let got: Vec<(String, String)> =
        responses.entries().map(|entry| (entry.key(), String::from_utf8(entry.value.to_vec()).unwrap())).collect();
    let expected =
        one.ids.iter().enumerate().map(|(key, id)| (format!("{number}/{key}"), format!("{{\"text\":{}}}", text(id))));
    assert_eq!(got, expected.collect::<Vec<_>>());
}

fn withdraw(sessions: &mut [Session; 2], one: &mut Known) {
    let withdrawn = sessions[one.session].withdraw(one.round, "over");
    if one.over {
        assert_eq!(withdrawn, None);
        return;
    }
    one.over = true;
    let told: HashSet<RequestId> = withdrawn
        .unwrap()
        .notifications
        .iter()
        .map(|notification| notification.params.as_ref().unwrap().get("requestId").unwrap().read().unwrap())
        .collect();
    let open: HashSet<RequestId> = one.ids.iter().filter(|id| !one.answered.contains(*id)).cloned().collect();
    assert_eq!(told, open);
}

proptest! {
    #[test]
    fn every_answer_finds_its_own_question_and_no_other(ops in prop::collection::vec(op(), 0..120)) {
        let mut sessions = [open("a"), open("b")];
        let mut known: Vec<Known> = Vec::new();
        let mut ids: Vec<RequestId> = Vec::new();
        for op in ops {
            match op {
                Op::Ask(at, count) => {
                    let waiting: usize = known
                        .iter()
                        .filter(|one| one.session == at && !one.over)
                        .map(|one| one.ids.len() - one.answered.len())
                        .sum();
                    let asked = ask(&mut sessions[at], known.len(), count);
                    prop_assert_eq!(asked.is_ok(), waiting + count <= MAX_QUESTIONS);
                    let Ok(asked) = asked else { continue };
                    let new: Vec<RequestId> = asked.requests.iter().map(|request| request.id.clone()).collect();
                    prop_assert!(new.iter().all(|id| !ids.contains(id)), "an id is used twice");
                    ids.extend(new.iter().cloned());
                    known.push(Known { session: at, round: asked.round, ids: new, answered: HashSet::new(), over: false });
                }
                Op::Answer(_, _) if ids.is_empty() => {}
                Op::Answer(at, id) => {
                    let id = ids[id % ids.len()].clone();
                    answer(&mut sessions, &mut known, at, &id);
                }
                Op::Withdraw(_) if known.is_empty() => {}
                Op::Withdraw(round) => {
                    let round = round % known.len();
                    withdraw(&mut sessions, &mut known[round]);
                }
            }
        }
    }
}
