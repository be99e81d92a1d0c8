//! Leader election over a Lease: of all servers of a namespace, one works.
//!
//! The rules are client-go's: a Lease is taken by `replace` with the resourceVersion that was read, so that of two
//! takers one wins, and it has run out once *we* have seen it unchanged for its duration, whatever the other server's
//! clock says. A Lease does not fence: for a moment two servers may each believe that they lead. That is why runs are
//! taken with a resourceVersion, why stored parts carry their attempt, and why [`Term::confirm`] asks before a commit.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{clock, status};

/// The name of the Lease.
pub(crate) const LEASE_NAME: &str = "ark-server";

/// How long things take. The defaults are client-go's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    /// How long others wait for a sign of life of the leader.
    pub(crate) lease: Duration,
    /// How long the leader goes on without having been able to renew.
    pub(crate) deadline: Duration,
    /// The pause between two tries.
    pub(crate) retry: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The time in which this server leads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    lost: CancellationToken,
    lease: Option<Arc<(Api<Lease>, String)>>,
}

impl Term {
    /// Returns a term that ends only with `lost`, for a server that is alone.
    pub(crate) fn alone(lost: CancellationToken) -> Self {
        Self { lost, lease: None }
    }

    /// Returns the token that is cancelled when the term is over: work that goes on is left to the next leader.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Asks the API server whether this server still leads.
    pub(crate) async fn confirm(&self) -> Standing {
        if self.lost.is_cancelled() {
            return Standing::Other;
        }
        let Some(lease) = &self.lease else {
            return Standing::Held;
        };
        let (api, identity) = &**lease;
        match api.get(LEASE_NAME).await {
            Ok(lease) => match lease.spec.and_then(|spec| spec.holder_identity) {
                Some(holder) if holder == *identity => Standing::Held,
                _ => Standing::Other,
            },
            Err(error) => {
                tracing::warn!(%error, "cannot confirm that this server leads");
                Standing::Unknown
            }
        }
    }
}

/// One server's part in the election.
#[derive(Debug)]
pub(crate) struct Elector {
    api: Api<Lease>,
    identity: String,
    timings: Timings,
    /// The Lease as it was when it was last seen to change, and when that was.
    observed: Option<(LeaseSpec, Instant)>,
}

/// What to do with a Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Move {
    /// There is none: make it.
    Create,
    /// It is free or has run out: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Another server holds it.
    Wait,
}

/// Who holds the Lease, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// We do, for its duration from the beginning of the question.
    Held,
    /// Another server does, or nobody.
    Other,
    /// There was no answer, or another server changed the Lease at the same moment: to be asked again.
    Unknown,
}

fn decide(lease: Option<&LeaseSpec>, unchanged: Duration, me: &str, ours: Duration) -> Move {
    let Some(spec) = lease else {
        return Move::Create;
    };
    let duration = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(ours, Duration::from_secs);
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == me => Move::Renew,
        None | Some("") => Move::Take,
        Some(_) if unchanged >= duration => Move::Take,
        Some(_) => Move::Wait,
    }
}

impl Elector {
    pub(crate) fn new(api: Api<Lease>, identity: String, timings: Timings) -> Self {
        Self {
            api,
            identity,
            timings,
            observed: None,
        }
    }

    /// Stands for election until `release` is cancelled; publishes each term that is won.
    ///
    /// When released, the Lease is given back at once, so that the next server need not wait for it to run out.
    pub(crate) async fn run(
        mut self,
        terms: watch::Sender<Option<Term>>,
        release: CancellationToken,
    ) -> anyhow::Result<()> {
        while let Some(won) = self.win(&release).await {
            let lost = CancellationToken::new();
            tracing::info!(identity = self.identity, "this server leads now");
            terms.send_replace(Some(Term {
                lost: lost.clone(),
                lease: Some(Arc::new((self.api.clone(), self.identity.clone()))),
            }));
            let released = self.hold(won, &release).await;
            lost.cancel();
            terms.send_replace(None);
            if released {
                self.give_back().await;
                break;
            }
            tracing::warn!(identity = self.identity, "this server no longer leads");
        }
        Ok(())
    }

    /// Tries until the Lease is ours, and returns since when; `None` if released before.
    async fn win(&mut self, release: &CancellationToken) -> Option<Instant> {
        let mut told = None;
        loop {
            let started = Instant::now();
            match self.bounded_try(self.timings.deadline).await {
                Ok(Standing::Held) => return Some(started),
                Ok(Standing::Other | Standing::Unknown) => {
                    let holder = self.holder().map(str::to_owned);
                    if holder != told {
                        tracing::info!(holder, "another server leads; waiting");
                        told = holder;
                    }
                }
                Err(error) => tracing::warn!(error, "cannot stand for election"),
            }
            tokio::select! {
                () = release.cancelled() => return None,
                () = sleep(self.timings.retry) => {}
            }
        }
    }

    /// Renews until the Lease is lost (`false`) or released (`true`).
    async fn hold(&mut self, mut renewed: Instant, release: &CancellationToken) -> bool {
        loop {
            tokio::select! {
                () = release.cancelled() => return true,
                () = sleep(self.timings.retry) => {}
            }
            let started = Instant::now();
            let left = self.timings.deadline.saturating_sub(renewed.elapsed());
            match self.bounded_try(left).await {
                // Counted from before the request: its answer may have been long on the way.
                Ok(Standing::Held) => renewed = started,
                Ok(Standing::Other) => return false,
                Ok(Standing::Unknown) => {}
                Err(error) => tracing::warn!(error, "cannot renew the lease"),
            }
            if renewed.elapsed() >= self.timings.deadline {
                return false;
            }
        }
    }

    async fn bounded_try(&mut self, limit: Duration) -> Result<Standing, String> {
        match timeout(limit, self.try_once()).await {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server does not answer in time".to_owned()),
        }
    }

    async fn try_once(&mut self) -> Result<Standing, kube::Error> {
        let lease = self.api.get_opt(LEASE_NAME).await?;
        let unchanged = self.observe(lease.as_ref());
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        // A Lease without a spec is one that nobody has taken.
        let next = match (&lease, spec) {
            (Some(_), None) => Move::Take,
            _ => decide(spec, unchanged, &self.identity, self.timings.lease),
        };
        let params = status::post_params();
        let written = match (next, lease) {
            (Move::Wait, _) => return Ok(Standing::Other),
            (_, Some(mut lease)) => {
                lease.spec = Some(self.claim(lease.spec.as_ref(), next == Move::Renew));
                self.api.replace(LEASE_NAME, &params, &lease).await
            }
            (_, None) => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(LEASE_NAME.to_owned()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.claim(None, false)),
                };
                self.api.create(&params, &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.observe(Some(&lease));
                Ok(Standing::Held)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Standing::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Notes a Lease as it is now, and returns for how long it has been seen like that.
    fn observe(&mut self, lease: Option<&Lease>) -> Duration {
        let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else {
            self.observed = None;
            return Duration::ZERO;
        };
        match &self.observed {
            Some((seen, since)) if seen == spec => since.elapsed(),
            _ => {
                self.observed = Some((spec.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn holder(&self) -> Option<&str> {
        self.observed
            .as_ref()
            .and_then(|(spec, _)| spec.holder_identity.as_deref())
    }

    /// Returns the Lease's spec as it is once we hold it.
    fn claim(&self, before: Option<&LeaseSpec>, renewal: bool) -> LeaseSpec {
        let now = MicroTime(clock::now());
        let mut spec = before.cloned().unwrap_or_default();
        if !renewal {
            spec.lease_transitions = Some(
                spec.lease_transitions
                    .map_or(0, |count| count.saturating_add(1)),
            );
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.timings.lease.as_secs()).ok();
        spec.renew_time = Some(now);
        spec
    }

    /// Gives the Lease back if it is still ours.
    async fn give_back(&self) {
        let released = async {
            let mut lease = self.api.get(LEASE_NAME).await?;
            if let Some(spec) = &mut lease.spec
                && spec.holder_identity.as_ref() == Some(&self.identity)
            {
                spec.holder_identity = Some(String::new());
                // As client-go: whoever looks only at the times takes it at once, too.
                spec.lease_duration_seconds = Some(1);
                self.api
                    .replace(LEASE_NAME, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(self.timings.retry, released).await {
            Ok(Ok(())) => tracing::info!("the lease is given back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot give the lease back; it runs out by itself");
            }
            Err(_) => tracing::warn!("cannot give the lease back in time; it runs out by itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn decides_by_what_it_has_seen_itself() {
        let ours = Duration::from_secs(15);
        for (spec, unchanged, expected) in [
            (None, 0, Move::Create),
            (Some(lease(None, None)), 0, Move::Take),
            (Some(lease(Some(""), Some(1))), 0, Move::Take),
            (Some(lease(Some("me"), Some(15))), 99, Move::Renew),
            (Some(lease(Some("other"), Some(15))), 14, Move::Wait),
            (Some(lease(Some("other"), Some(15))), 15, Move::Take),
            // The holder's own duration counts, ours only where it names none.
            (Some(lease(Some("other"), Some(60))), 30, Move::Wait),
            (Some(lease(Some("other"), None)), 14, Move::Wait),
            (Some(lease(Some("other"), Some(-5))), 15, Move::Take),
        ] {
            let unchanged = Duration::from_secs(unchanged);
            assert_eq!(
                decide(spec.as_ref(), unchanged, "me", ours),
                expected,
                "{spec:?} {unchanged:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_lone_term_ends_with_its_token() {
        let lost = CancellationToken::new();
        let term = Term::alone(lost.clone());
        assert_eq!(term.confirm().await, Standing::Held);
        lost.cancel();
        assert_eq!(term.confirm().await, Standing::Other);
    }
}
