use ipc::Pid;
use ipc::protocol::{Identity, Origin};
use ipc::terms::{Clause, Test};

use super::*;

const LISTENER: ProcessKey = ProcessKey(1);
const OPENER: ProcessKey = ProcessKey(2);

/// A directory, two joined VRs and a broker; the listener is PID 417 of VR 2, the opener lives in VR 1.
struct Scene {
    directory: Directory,
    vrs: Vrs,
    broker: Broker,
    tickets: u32,
}

impl Scene {
    fn new() -> Self {
        let mut vrs = Vrs::default();
        vrs.set(VrId(1), "red".parse().unwrap(), vec![]).unwrap();
        vrs.set(VrId(2), "blue".parse().unwrap(), vec![]).unwrap();
        vrs.join(VrId(1), VrId(2), true).unwrap();
        Self { directory: Directory::default(), vrs, broker: Broker::default(), tickets: 0 }
    }

    fn listen(&mut self, pathname: &str, generation: u64, backlog: u16) {
        self.listen_to(pathname, generation, backlog, vec![]);
    }

    fn listen_to(&mut self, pathname: &str, generation: u64, backlog: u16, clauses: Vec<Clause>) {
        let identity = Identity {
            vr: VrId(2),
            vr_name: None,
            pid: Pid(417),
            name: "bgp".parse().unwrap(),
            origin: Origin::Supervised,
        };
        let pathname: Pathname = pathname.parse().unwrap();
        self.directory
            .publish_endpoint(pathname.clone(), (LISTENER, &identity), Generation(generation), backlog, clauses)
            .unwrap();
        self.broker.published(&self.directory, &self.vrs, &pathname);
    }

    fn publish(&mut self, pathname: &str) {
        let pathname: Pathname = pathname.parse().unwrap();
        self.directory.publish_service(pathname.clone(), LISTENER, |_| Pid(417), MAX_UNTAKEN).unwrap();
        self.broker.published(&self.directory, &self.vrs, &pathname);
    }

    fn withdraw_all(&mut self) {
        for pathname in self.directory.withdraw_all(LISTENER) {
            self.broker.withdrawn(LISTENER, &pathname);
        }
        self.broker.process_gone(LISTENER);
    }

    fn open(&mut self, pathname: &str) -> Ticket {
        self.open_as(1, pathname, None)
    }

    fn open_as(&mut self, vr: u16, pathname: &str, generation: Option<u64>) -> Ticket {
        self.open_with(vr, pathname, generation, b"")
    }

    fn open_with(&mut self, vr: u16, pathname: &str, generation: Option<u64>, terms: &[u8]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let open = Open {
            opener: OPENER,
            opener_vr: VrId(vr),
            ticket,
            pathname: pathname.parse().unwrap(),
            generation: generation.map(Generation),
            terms: terms.to_vec(),
        };
        self.broker.open(&self.directory, &self.vrs, open);
        ticket
    }

    fn taken(&mut self, count: u32) -> u32 {
        self.broker.taken(&self.directory, &self.vrs, LISTENER, count)
    }

    fn accepted(&mut self, pathname: &str) {
        self.broker.accepted(&self.directory, &self.vrs, LISTENER, &pathname.parse().unwrap());
    }

    /// Tickets handed out and tickets refused since the last call.
    fn outcome(&mut self) -> (Vec<Ticket>, Vec<(Ticket, Refusal)>) {
        let (mut handed_out, mut refused) = (vec![], vec![]);
        while let Some(effect) = self.broker.next_effect() {
            match effect {
                Effect::HandOut { open, listener } => {
                    assert_eq!(listener, LISTENER);
                    handed_out.push(open.ticket);
                }
                Effect::Refuse { opener, ticket, refusal } => {
                    assert_eq!(opener, OPENER);
                    refused.push((ticket, refusal));
                }
            }
        }
        (handed_out, refused)
    }
}

const BGP: &str = "/2/417/ipv4/tcp/179";

#[test]
fn an_open_of_a_listening_endpoint_is_handed_out_at_once() {
    let mut scene = Scene::new();
    scene.listen(BGP, 7, 8);
    let (a, b) = (scene.open(BGP), scene.open_as(1, BGP, Some(7)));
    assert_eq!(scene.outcome(), (vec![a, b], vec![]));
}

#[test]
fn an_open_of_an_endpoint_that_is_not_there_or_was_published_anew_is_refused_at_once() {
    let mut scene = Scene::new();
    let refusal = Refusal::NotPublished(BGP.parse().unwrap());
    let a = scene.open(BGP);
    scene.listen(BGP, 8, 8);
    let b = scene.open_as(1, BGP, Some(7));
    assert_eq!(scene.outcome(), (vec![], vec![(a, refusal.clone()), (b, refusal)]));
}

#[test]
fn opens_of_a_service_wait_until_it_is_published_and_again_after_its_death() {
    let mut scene = Scene::new();
    let a = scene.open_as(2, "/2/rib", None);
    assert_eq!(scene.outcome(), (vec![], vec![]));
    scene.publish("/2/rib");
    assert_eq!(scene.outcome(), (vec![a], vec![]));
    scene.withdraw_all();
    let b = scene.open_as(2, "/2/rib", None);
    assert_eq!(scene.outcome(), (vec![], vec![]));
    scene.publish("/2/rib");
    assert_eq!(scene.outcome(), (vec![b], vec![]));
}

#[test]
fn a_full_backlog_is_silence_until_the_listener_accepts() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 2);
    let tickets: Vec<Ticket> = (0..4).map(|_| scene.open(BGP)).collect();
    assert_eq!(scene.outcome(), (tickets[..2].to_vec(), vec![]));
    scene.taken(2);
    assert_eq!(scene.outcome(), (vec![], vec![]), "what was taken from the link is still in the backlog");
    scene.accepted(BGP);
    assert_eq!(scene.outcome(), (vec![tickets[2]], vec![]));
    scene.broker.cancel(OPENER, tickets[3]);
    scene.accepted(BGP);
    scene.accepted(BGP);
    assert_eq!(scene.outcome(), (vec![], vec![]), "a cancelled open is not handed out");
}

/// A clause that asks everybody's terms to begin with a text.
fn asks(text: &str) -> Vec<Clause> {
    vec![Clause { of: vec![], asks: vec![Test::Equal { at: 0, bytes: text.into() }] }]
}

#[test]
fn what_the_clauses_do_not_admit_is_silence_until_they_change_and_holds_nobody_up() {
    let mut scene = Scene::new();
    scene.listen_to(BGP, 7, 8, asks("right"));
    let open = |scene: &mut Scene, terms: &str| scene.open_with(1, BGP, Some(7), terms.as_bytes());
    let (wrong, other) = (open(&mut scene, "wrong"), open(&mut scene, "other"));
    let right = open(&mut scene, "right");
    assert_eq!(scene.outcome(), (vec![right], vec![]));
    scene.listen_to(BGP, 7, 8, asks("wrong"));
    assert_eq!(scene.outcome(), (vec![wrong], vec![]), "the listener asks for something else");
    scene.broker.cancel(OPENER, other);
    scene.listen_to(BGP, 7, 8, vec![]);
    assert_eq!(scene.outcome(), (vec![], vec![]), "who gave up is not served");
}

#[test]
fn an_open_that_is_not_admitted_ends_with_its_publication() {
    let mut scene = Scene::new();
    let refusal = Refusal::NotPublished(BGP.parse().unwrap());
    scene.listen_to(BGP, 7, 8, asks("right"));
    let a = scene.open_with(1, BGP, Some(7), b"wrong");
    scene.listen_to(BGP, 8, 8, asks("right"));
    assert_eq!(scene.outcome(), (vec![], vec![(a, refusal.clone())]));
    let b = scene.open_with(1, BGP, Some(8), b"wrong");
    scene.withdraw_all();
    assert_eq!(scene.outcome(), (vec![], vec![(b, refusal)]));
}

#[test]
fn the_routers_own_processes_are_not_asked() {
    let mut scene = Scene::new();
    scene.listen_to(BGP, 7, 8, asks("right"));
    let stack = scene.open_with(0, BGP, None, b"wrong");
    assert_eq!(scene.outcome(), (vec![stack], vec![]));
}

#[test]
fn opens_that_are_not_admitted_count_against_their_opener() {
    let mut scene = Scene::new();
    scene.listen_to(BGP, 7, 8, asks("right"));
    for _ in 0..MAX_WAITING {
        scene.open_with(1, BGP, None, b"wrong");
    }
    assert_eq!(scene.outcome(), (vec![], vec![]));
    let last = scene.open_with(1, BGP, None, b"right");
    assert!(matches!(&scene.outcome().1[..], [(ticket, Refusal::Resources(_))] if *ticket == last));
}

#[test]
fn all_pathnames_of_a_listener_share_the_credit_of_its_link() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 1000);
    scene.listen("/2/417/ipv4/tcp/80", 1, 1000);
    for _ in 0..MAX_UNTAKEN {
        scene.open(BGP);
    }
    assert_eq!(scene.outcome().0.len(), MAX_UNTAKEN as usize);
    let other = scene.open("/2/417/ipv4/tcp/80");
    assert_eq!(scene.outcome(), (vec![], vec![]));
    scene.taken(1);
    assert_eq!(scene.outcome(), (vec![other], vec![]));
}

#[test]
fn a_listener_that_claims_more_than_it_got_gains_nothing() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 2);
    assert_eq!(scene.taken(u32::MAX), u32::MAX);
    scene.open(BGP);
    assert_eq!(scene.taken(5), 4);
    for _ in 0..5 {
        scene.accepted(BGP);
    }
    for _ in 0..5 {
        scene.open(BGP);
    }
    assert_eq!(scene.outcome().0.len(), 3, "one accepted, two in the backlog");
}

#[test]
fn a_channel_that_could_not_be_made_gives_its_credit_back() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 1);
    scene.open(BGP);
    scene.broker.undo(LISTENER);
    scene.open(BGP);
    assert_eq!(scene.outcome().0.len(), 2);
}

#[test]
fn access_is_checked_when_asked_and_again_when_served() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 1);
    let access = Refusal::Access { pathname: BGP.parse().unwrap(), caller: VrId(1) };
    let (a, b) = (scene.open(BGP), scene.open(BGP));
    scene.vrs.join(VrId(1), VrId(2), false).unwrap();
    let c = scene.open(BGP);
    scene.accepted(BGP);
    assert_eq!(scene.outcome(), (vec![a], vec![(c, access.clone()), (b, access)]));
    let d = scene.open_as(2, BGP, None);
    assert_eq!(scene.outcome(), (vec![d], vec![]), "the refused one used no credit");
}

#[test]
fn death_of_the_listener_refuses_what_waits_for_its_endpoints() {
    let mut scene = Scene::new();
    scene.listen(BGP, 1, 1);
    let (a, b) = (scene.open(BGP), scene.open(BGP));
    scene.withdraw_all();
    assert_eq!(scene.outcome(), (vec![a], vec![(b, Refusal::NotPublished(BGP.parse().unwrap()))]));
}

#[test]
fn death_of_the_opener_forgets_its_opens() {
    let mut scene = Scene::new();
    scene.open_as(2, "/2/rib", None);
    scene.broker.process_gone(OPENER);
    scene.publish("/2/rib");
    assert_eq!(scene.outcome(), (vec![], vec![]));
    assert!(scene.broker.waiting.is_empty() && scene.broker.queues.is_empty() && scene.broker.tickets.is_empty());
}

#[test]
fn waiting_opens_are_bounded_by_their_opener() {
    let mut scene = Scene::new();
    for _ in 0..MAX_WAITING {
        scene.open_as(2, "/2/rib", None);
    }
    assert_eq!(scene.outcome(), (vec![], vec![]));
    scene.open_as(2, "/2/rib", None);
    let (_, refused) = scene.outcome();
    assert!(matches!(refused[..], [(_, Refusal::Resources(_))]));
    let large = Open {
        opener: LISTENER,
        opener_vr: VrId(2),
        ticket: Ticket(0),
        pathname: BGP.parse().unwrap(),
        generation: None,
        terms: vec![0; MAX_TERMS + 1],
    };
    scene.broker.open(&scene.directory, &scene.vrs, large);
    let Some(Effect::Refuse { refusal, .. }) = scene.broker.next_effect() else { panic!("no refusal") };
    assert_eq!(refusal, Refusal::Terms(MAX_TERMS + 1));
}
