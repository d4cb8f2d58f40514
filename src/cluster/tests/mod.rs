//! Elections against a real ZooKeeper, whose address is in `ROLLKEEPER_TEST_ZOOKEEPER`; each test in its own chroot.

mod handing;
mod proxy;

use std::time::Instant;

use zookeeper_client::Client;

use super::*;
use proxy::{Mode, Proxy};

const T: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
fn server() -> String {
    std::env::var("ROLLKEEPER_TEST_ZOOKEEPER")
        .expect("set ROLLKEEPER_TEST_ZOOKEEPER to the host:port of a ZooKeeper with tickTime=500")
}

type Answer = fn(&Claim) -> Verdict;

fn lead(_: &Claim) -> Verdict {
    Verdict::Lead
}

/// Departments and the chroot that the replicas of one test share.
struct Scene {
    chroot: String,
    auth: Option<SecretString>,
    departments: watch::Sender<Arc<BTreeSet<DepartmentName>>>,
    tasks: TaskTracker,
}

/// A leadership as a test sees it.
type Held = Arc<Mutex<BTreeMap<DepartmentName, (Leadership, Lease, CancellationToken)>>>;

struct Replica {
    cluster: Cluster,
    id: ReplicaId,
    held: Held,
}

impl Scene {
    async fn new(departments: &[&str], auth: Option<&str>) -> Self {
        let scene = Self {
            chroot: format!("/test-{}", uuid::Uuid::now_v7()),
            auth: auth.map(|auth| SecretString::from(auth.to_owned())),
            departments: watch::Sender::new(names(departments)),
            tasks: TaskTracker::new(),
        };
        create_chroot(&scene.config(server()), scene.auth.clone()).await.unwrap();
        scene
    }

    fn config(&self, connect: String) -> ZookeeperConfig {
        ZookeeperConfig {
            connect,
            chroot: self.chroot.clone(),
            session_timeout: T,
            auth_file: None,
            tls: None,
            balance_after: Duration::from_mins(1),
        }
    }

    fn replica(&self, id: &str) -> Replica {
        self.replica_at(id, server(), lead)
    }

    /// A replica whose claims are answered by `answer`, and which releases as soon as it is told to stop.
    fn replica_at(&self, id: &str, connect: String, answer: Answer) -> Replica {
        let me = Member {
            replica: id.parse().unwrap(),
            instance: uuid::Uuid::now_v7().to_string(),
            url: None,
            version: "test".to_owned(),
            draining: false,
        };
        let (cluster, mut claims) =
            Cluster::start(&self.config(connect), self.auth.clone(), me, self.departments.subscribe(), Clock::System);
        let held = Held::default();
        let (handle, mine, tasks) = (cluster.clone(), Arc::clone(&held), self.tasks.clone());
        self.tasks.spawn(async move {
            while let Some(claim) = claims.recv().await {
                let verdict = answer(&claim);
                let Claim { leadership, lease, ended, verdict: reply, .. } = claim;
                if verdict == Verdict::Lead {
                    let entry = (leadership.clone(), lease, ended.clone());
                    mine.lock().unwrap().insert(leadership.department.clone(), entry);
                    let handle = handle.clone();
                    tasks.spawn(async move {
                        ended.cancelled().await;
                        handle.released(&leadership);
                    });
                }
                let _ = reply.send(verdict);
            }
        });
        Replica { cluster, id: id.parse().unwrap(), held }
    }
}

impl Replica {
    /// The epoch by which this replica may act for a department now.
    fn acts(&self, department: &str) -> Option<Epoch> {
        let held = self.held.lock().unwrap();
        held.get(&department.parse().unwrap()).filter(|(_, lease, _)| lease.holds()).map(|(l, ..)| l.epoch)
    }

    async fn leads(&self, department: &str) -> Epoch {
        eventually(|| self.acts(department)).await
    }

    fn leadership(&self, department: &str) -> Leadership {
        self.held.lock().unwrap()[&department.parse().unwrap()].0.clone()
    }

    async fn sees(&self, members: usize) {
        eventually(|| (self.cluster.view().members.len() == members).then_some(())).await;
    }
}

fn names(names: &[&str]) -> Arc<BTreeSet<DepartmentName>> {
    Arc::new(names.iter().map(|name| name.parse().unwrap()).collect())
}

/// Waits for a state, at most fifteen seconds.
async fn eventually<T>(mut state: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(15);
    let mut ticks = interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        if let Some(value) = state() {
            return value;
        }
        assert!(Instant::now() < limit, "the state did not come within 15 s");
    }
}

fn leaders<'a>(replicas: &'a [Replica], department: &str) -> Vec<&'a Replica> {
    replicas.iter().filter(|replica| replica.acts(department).is_some()).collect()
}

async fn leader<'a>(replicas: &'a [Replica], department: &str) -> &'a Replica {
    eventually(|| leaders(replicas, department).into_iter().next()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_leads_and_all_see_it() {
    let scene = Scene::new(&["sales"], None).await;
    let replicas = ["a", "b", "c"].map(|id| scene.replica(id));
    let first = leader(&replicas, "sales").await;
    for replica in &replicas {
        replica.sees(3).await;
        let shown = eventually(|| replica.cluster.view().leaders.get(&"sales".parse().unwrap()).cloned()).await;
        assert_eq!(shown.replica, first.id);
    }
    assert_eq!(leaders(&replicas, "sales").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blackholed_leader_steps_down_before_another_leads_with_a_higher_epoch() {
    let scene = Scene::new(&["sales"], None).await;
    let proxy = Proxy::start(server()).await;
    let first = scene.replica_at("a", proxy.address.to_string(), lead);
    let before = first.leads("sales").await;
    let second = scene.replica("b");
    second.sees(2).await;

    let begun = Instant::now();
    proxy.set(Mode::Blackhole);
    let after = eventually(|| {
        // Asked in this order: the old one must have ended before the new one begins.
        let (new, old) = (second.acts("sales"), first.acts("sales"));
        assert!(new.is_none() || old.is_none(), "both lead");
        new
    });
    // The lease ends at T/2 at the latest, and nothing but our own clock tells it.
    let down = eventually(|| first.acts("sales").is_none().then(|| begun.elapsed()));
    let (after, down) = tokio::join!(after, down);
    assert!(down <= T / 2 + Duration::from_millis(100), "stepped down after {down:?}");
    assert!(after > before);
    assert!(!first.cluster.view().leaders.values().any(|leader| leader.replica == first.id));

    proxy.set(Mode::Pass);
    eventually(|| (first.cluster.view().session == SessionState::Connected).then_some(())).await;
    assert_eq!(second.acts("sales"), Some(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_changes_no_leader() {
    let scene = Scene::new(&["sales"], None).await;
    let proxy = Proxy::start(server()).await;
    let first = scene.replica_at("a", proxy.address.to_string(), lead);
    let before = first.leads("sales").await;
    proxy.set(Mode::Cut);
    eventually(|| (first.cluster.view().session == SessionState::Suspended).then_some(())).await;
    proxy.set(Mode::Pass);
    eventually(|| (first.cluster.view().session == SessionState::Connected).then_some(())).await;
    assert_eq!(first.acts("sales"), Some(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_replaced_and_the_department_led_again() {
    let scene = Scene::new(&["sales"], None).await;
    let proxy = Proxy::start(server()).await;
    proxy.set(Mode::Cut);
    let replica = scene.replica_at("a", proxy.address.to_string(), lead);
    assert_eq!(replica.cluster.view().session, SessionState::Lost);
    proxy.set(Mode::Pass);
    let before = replica.leads("sales").await;
    proxy.set(Mode::Cut);
    eventually(|| (replica.cluster.view().session == SessionState::Lost).then_some(())).await;
    proxy.set(Mode::Pass);
    assert!(replica.leads("sales").await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_claim_raises_the_epoch_above_the_known_one() {
    fn behind_41(claim: &Claim) -> Verdict {
        if claim.leadership.epoch <= Epoch(41) { Verdict::Stale(Epoch(41)) } else { Verdict::Lead }
    }
    let scene = Scene::new(&["sales"], None).await;
    let replica = scene.replica_at("a", server(), behind_41);
    assert_eq!(replica.leads("sales").await, Epoch(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_leader_gives_up_to_another() {
    let scene = Scene::new(&["sales"], None).await;
    let replicas = ["a", "b"].map(|id| scene.replica(id));
    for replica in &replicas {
        replica.sees(2).await;
    }
    let first = leader(&replicas, "sales").await;
    let fenced = first.leadership("sales");
    first.cluster.fenced(&fenced);
    let other = replicas.iter().find(|replica| replica.id != first.id).unwrap();
    assert!(other.leads("sales").await > fenced.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_leader_hands_over_quickly() {
    let scene = Scene::new(&["sales"], None).await;
    let replicas = ["a", "b"].map(|id| scene.replica(id));
    for replica in &replicas {
        replica.sees(2).await;
    }
    let first = leader(&replicas, "sales").await;
    let other = replicas.iter().find(|replica| replica.id != first.id).unwrap();
    let begun = Instant::now();
    tokio::join!(first.cluster.drain(Duration::from_secs(5)), other.leads("sales"));
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    assert!(first.acts("sales").is_none());
    other.sees(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_can_neither_read_nor_use_the_chroot() {
    let scene = Scene::new(&["sales"], Some("rollkeeper:right")).await;
    scene.replica("a").leads("sales").await;
    create_chroot(&scene.config(server()), scene.auth.clone()).await.unwrap();

    let wrong = Client::connector().with_auth("digest", b"rollkeeper:wrong");
    let wrong = wrong.connect(&format!("{}{}", server(), scene.chroot)).await.unwrap();
    for path in ["/replicas/a", "/departments/sales/leader", "/departments/sales/epoch"] {
        assert_eq!(wrong.get_data(path).await.err(), Some(zookeeper_client::Error::NoAuth), "{path}");
    }
    let foreign = create_chroot(&scene.config(server()), Some(SecretString::from("other:secret".to_owned()))).await;
    let message = foreign.unwrap_err().message;
    assert!(message.contains("another identity") && !message.contains("secret"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_departments_spread_and_one_added_later_is_led() {
    let scene = Scene::new(&[], None).await;
    let replicas = ["a", "b", "c"].map(|id| scene.replica(id));
    for replica in &replicas {
        replica.sees(3).await;
    }
    let six = ["d1", "d2", "d3", "d4", "d5", "d6"];
    scene.departments.send_replace(names(&six));
    let mut load: BTreeMap<String, usize> = BTreeMap::new();
    for department in six {
        *load.entry(leader(&replicas, department).await.id.to_string()).or_default() += 1;
    }
    assert!(load.values().all(|led| *led <= 3), "{load:?}");

    let begun = Instant::now();
    scene.departments.send_replace(names(&["d1", "d7"]));
    leader(&replicas, "d7").await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    eventually(|| leaders(&replicas, "d2").is_empty().then_some(())).await;
}
