use super::{samples::*, *};
use crate::cluster::journal::{Act, Level, Outcome};

/// A short run in which all went well.
struct Record {
    operations: Vec<Operation>,
    watchers: BTreeMap<String, Vec<Event>>,
    counted: String,
    snapshots: Vec<Snapshot>,
}

impl Record {
    fn good() -> Self {
        let log = [event("s/k", 3, &[1]), event("s/k", 5, &[1, 2]), event("s/l", 6, &[3])];
        let call = |mark: &str, outcome| operation(Act::Call { mark: mark.to_owned() }, 0, 9, outcome);
        let end: Snapshot = [&log[1], &log[2]].map(|event| (event.key.clone(), event.state.clone())).into();
        Self {
            operations: vec![
                call("m1", Outcome::Called),
                call("m2", Outcome::Unknown("stream_lost".to_owned())),
                put("s/k", 1, 0, 10, Outcome::Written(3)),
                append("s/k", 2, 20, 30, Outcome::Written(5)),
                put_if("s/l", 0, 3, 40, 50, Outcome::Written(6)),
                read("s/k", Level::Linearizable, 5, &[1, 2], 60, 70),
            ],
            watchers: ["s at a", "s at b"].map(|name| (name.to_owned(), log.to_vec())).into(),
            counted: "m1\nm2\n".to_owned(),
            snapshots: vec![end.clone(), end],
        }
    }

    fn check(&self) -> Findings {
        all(&self.operations, &self.watchers, &self.counted, &self.snapshots)
    }
}

#[test]
fn a_good_record_is_clean_and_each_thing_that_is_spoilt_is_found() {
    assert_eq!(Record::good().check(), Findings::default());
    let spoil: [fn(&mut Record); 8] = [
        |record| record.counted = "m2\n".to_owned(),
        |record| record.counted.push_str("m1\n"),
        |record| drop(record.watchers.values_mut().next().map(|events| events.remove(1))),
        |record| record.watchers.values_mut().for_each(|events| drop(events.remove(1))),
        |record| drop(record.snapshots[1].remove("s/l")),
        |record| record.operations[3].outcome = Outcome::Written(4),
        |record| record.operations[3].outcome = Outcome::NotDone("unavailable".to_owned()),
        |record| record.operations.push(read("s/k", Level::Linearizable, 3, &[1], 80, 90)),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut record = Record::good();
        spoil(&mut record);
        assert!(!record.check().is_clean(), "spoilt thing {number} was not found");
    }
}
