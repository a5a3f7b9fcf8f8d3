//! Which servers run on this node: what is wanted and what runs are brought together.

use std::{sync::Arc, time::Duration};

use spanwire_model::{Health, Placement, Result, ServerId, ServerSpec, ServerState, Source, Target, Write};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{Local, Owner};
use crate::{
    desired::Want,
    placement::{Claim, Wish, Wishes},
    queue::Gate,
    store::books,
    supervisor::{Lists, Report, Supervisor},
};

/// When the registry is read again, while its view is behind what was read before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Owner {
    /// Reads the registry, stops what is not wanted here any more, and starts what is. A placed server starts when its lease is taken.
    pub(super) async fn reconcile(&mut self) {
        self.read_register();
        let wants = self.desired.wants();
        let is_wanted = |id: &ServerId, local: &Local| {
            let want = wants.get(id).filter(|want| want.is_same(&local.want));
            want.is_some_and(|want| is_seat_of(want, local.placed.map(|placed| placed.replica)))
        };
        let over: Vec<ServerId> =
            self.locals.iter().filter(|(id, local)| !is_wanted(id, local)).map(|(id, _)| id.clone()).collect();
        for id in &over {
            if let Some(local) = self.locals.remove(id) {
                local.cancel.cancel();
            }
        }
        self.unfit.clear();
        let mut wishes = Wishes::new();
        for (id, want) in wants {
            match (want.spec.placement, self.resolved(&want)) {
                (Placement::Any, Ok(_)) => {
                    let is_everywhere = want.source == Source::Registry;
                    let (replicas, version) = (want.spec.replicas, want.version);
                    wishes.insert(id.clone(), Wish { replicas, is_everywhere, version });
                }
                (Placement::Any, Err(error)) => drop(self.unfit.insert(id.clone(), error.public.as_ref().into())),
                (Placement::Here, _) if self.locals.contains_key(&id) => {}
                (Placement::Here, Ok(spec)) => self.supervise(want.clone(), spec, None),
                (Placement::Here, Err(error)) => {
                    tracing::error!(server = %id, "cannot be started: {error}");
                    self.cannot_start(want.clone(), error.public.as_ref().into());
                }
            }
            if let Some(local) = self.locals.get_mut(&id) {
                // What was kept may have become a record.
                local.want = want;
            }
        }
        self.wishes.send_if_modified(|known| {
            let is_new = **known != wishes;
            *known = Arc::new(wishes);
            is_new
        });
        self.forget_eras(&over).await;
        if !over.is_empty() {
            self.local_changed();
        }
        // What is wanted shows, whether it runs here or not.
        self.version += 1;
    }

    /// What runs goes on running while the registry cannot be read, and while its view is made anew: then it is empty or old. A view that
    /// follows the log is right, also when the log itself went back.
    fn read_register(&mut self) {
        let was_following = self.register.is_following();
        let (sequence, records) = match self.register.servers() {
            Ok(read) => read,
            Err(error) => return tracing::error!("the registry cannot be read: {error}"),
        };
        if sequence < self.read_to && !(was_following && self.register.is_following()) {
            if self.look_again.is_none() {
                let read_to = self.read_to;
                tracing::warn!(
                    sequence,
                    read_to,
                    "the registry's view went back: what it had goes on until it follows"
                );
            }
            self.look_again = Some(Instant::now() + LOOK_AGAIN);
            return;
        }
        (self.read_to, self.look_again) = (sequence, None);
        self.desired.set_records(records);
    }

    /// The specification as it can be connected. The configuration was resolved when it was read; once is enough.
    fn resolved(&self, want: &Want) -> Result<ServerSpec> {
        match want.source {
            Source::Config | Source::Builtin => Ok(want.spec.clone()),
            Source::Registry => (self.parts.resolve)(&want.spec),
        }
    }

    /// Starts a server whose lease was taken, if it is still wanted.
    pub(super) fn placed(&mut self, id: &ServerId, claim: Claim) {
        let want = self.desired.wants().remove(id).filter(|want| is_seat_of(want, Some(claim.placed.replica)));
        let is_free = !self.leaving.is_cancelled() && !self.locals.contains_key(id);
        let Some(want) = want.filter(|_| is_free) else { return };
        match self.resolved(&want) {
            Ok(spec) => self.supervise(want, spec, Some(claim)),
            Err(error) => tracing::error!(server = %id, "cannot be started: {error}"),
        }
    }

    /// A placed server is over: its lease is given back as soon as it is closed.
    pub(super) fn ended(&mut self, id: &ServerId, generation: u64) {
        if self.locals.get(id).is_some_and(|local| local.report.generation == generation) {
            self.locals.remove(id);
            self.local_changed();
        }
    }

    /// Takes no more leases, sends no more calls to placed servers, and closes each when its calls have ended or the time is over.
    pub(super) fn hand_over(&mut self, within: Duration) {
        self.leaving.cancel();
        for local in self.locals.values_mut().filter(|local| local.placed.is_some()) {
            local.gate.close();
            local.report.health.state = ServerState::Stopped;
            local.report.health.detail = Some("is handed over to another node".into());
            local.report.attached = None;
            let (gate, cancel) = (local.gate.clone(), local.cancel.clone());
            self.handle.tasks().spawn(async move {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = sleep(within) => {}
                    () = gate.idle() => {}
                }
                cancel.cancel();
            });
        }
        self.local_changed();
    }

    /// Starts the supervisor of a server.
    fn supervise(&mut self, want: Want, spec: ServerSpec, claim: Option<Claim>) {
        let id = spec.id.clone();
        let local = self.local(want, &spec, claim.as_ref(), ServerState::Starting, None);
        let known_era = self.eras.get(&id).filter(|known| known.target == local.target).map(|known| known.era());
        let supervisor = Supervisor {
            generation: self.generation,
            connector: self.parts.connector.clone(),
            config: self.config.clone(),
            handle: self.handle.clone(),
            cancel: local.cancel.clone(),
            known_era,
            gate: local.gate.clone(),
            transport: local.transport.clone(),
            lists: Lists::default(),
            turn: self.turn(&id),
            claim,
            spec,
        };
        let is_placed = local.placed.is_some();
        self.locals.insert(id, local);
        if is_placed {
            self.handle.tasks().spawn(self.handle.placed().track_future(supervisor.run()));
        } else {
            self.handle.tasks().spawn(supervisor.run());
        }
        self.local_changed();
    }

    /// What the supervisors of one server hold one after the other. Those of servers that nobody runs are forgotten.
    fn turn(&mut self, id: &ServerId) -> Arc<Mutex<()>> {
        self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        self.turns.entry(id.clone()).or_default().clone()
    }

    /// Shows a server that cannot be started as it is written.
    fn cannot_start(&mut self, want: Want, why: Arc<str>) {
        let (id, spec) = (want.spec.id.clone(), want.spec.clone());
        let local = self.local(want, &spec, None, ServerState::Down, Some(why));
        self.locals.insert(id, local);
        self.local_changed();
    }

    fn local(
        &mut self,
        want: Want,
        spec: &ServerSpec,
        claim: Option<&Claim>,
        state: ServerState,
        detail: Option<Arc<str>>,
    ) -> Local {
        self.generation += 1;
        let max_in_flight = spec.max_in_flight.unwrap_or(self.config.max_in_flight);
        Local {
            want,
            target: books::target_digest(spec),
            transport: match &spec.target {
                Target::Stdio(_) => "stdio".into(),
                Target::Http(_) => "http".into(),
                Target::Builtin(_) => "builtin".into(),
            },
            report: Report {
                generation: self.generation,
                health: Health { state, detail, restarts: 0 },
                facts: None,
                listing: None,
                attached: None,
            },
            cancel: self.handle.stopping().child_token(),
            gate: Arc::new(Gate::new(max_in_flight, self.config.max_waiting)),
            placed: claim.map(|claim| claim.placed),
        }
    }

    /// Eras of servers that nobody wants any more.
    async fn forget_eras(&mut self, over: &[ServerId]) {
        let mut writes = Vec::new();
        for id in over.iter().filter(|id| !self.desired.knows(id)) {
            self.eras.remove(id);
            writes.push(Write::Delete { key: books::era_key(id) });
        }
        if !writes.is_empty()
            && let Err(error) = self.parts.store.apply(writes).await
        {
            tracing::warn!("cannot forget the era of a server: {error}");
        }
    }
}

/// True when a want is for a server that runs with, or without, such a replica.
fn is_seat_of(want: &Want, replica: Option<u16>) -> bool {
    match (want.spec.placement, replica) {
        (Placement::Here, None) => true,
        (Placement::Any, Some(replica)) => replica < want.spec.replicas,
        (Placement::Here, Some(_)) | (Placement::Any, None) => false,
    }
}
