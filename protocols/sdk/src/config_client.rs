//! The configuration as a process gets it: verified first, applied by all whom it concerns or by none. A program that
//! attached makes its words known before.

use ipc::message::Schema;
use ipc::protocol::Origin;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use ipc::{Pathname, ServiceName, VrId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vr_api::command::{Command, Declaration, Word};
use vr_api::config::{self, ConfigUpdate, DeclarationReply, Node, Subscribe, Verdict};

use crate::core::ConfigError;
use crate::error::ShellError;

/// A subscription to the blocks of a class, read as `T`.
#[derive(Debug)]
pub struct ConfigClient<T> {
    client: ServiceClient<Verdict, ConfigUpdate>,
    state: Verification<T>,
    /// Of a program that attached.
    introduction: Option<Introduction>,
}

/// How a program that attached makes its words known.
#[derive(Debug)]
struct Introduction {
    /// It stays open: while the program lives, nobody else declares its class otherwise.
    client: ServiceClient<Declaration, DeclarationReply>,
    declaration: Declaration,
    accepted: bool,
    refused: Option<String>,
}

impl<T> ConfigClient<T> {
    /// A subscription to the blocks that a class owns and reads, opened at once. A process that procmgr did not start
    /// declares its class first: the subscription follows when that is accepted.
    pub fn new(reactor: &mut Reactor, declaration: &Declaration) -> Result<Self, ShellError> {
        let client = client(&config::Terms::Subscriber(subscription(declaration)), config::SCHEMA)?;
        let introduction = match reactor.link.identity().origin {
            Origin::Supervised => None,
            Origin::Attached => Some(Introduction {
                client: self::client(&config::Terms::Program, config::PROGRAM_SCHEMA)?,
                declaration: declaration.clone(),
                accepted: false,
                refused: None,
            }),
        };
        let mut this = Self { client, state: Verification::default(), introduction };
        match &mut this.introduction {
            Some(introduction) => introduction.client.start(reactor)?,
            None => this.client.start(reactor)?,
        }
        Ok(this)
    }

    /// Takes an event if it is this client's; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        let event = match &mut self.introduction {
            Some(introduction) => introduction.client.handle(reactor, event)?,
            None => event,
        };
        self.client.handle(reactor, event)
    }

    /// Why this program's declaration is not accepted, if it is not.
    pub fn refusal(&self) -> Option<&str> {
        self.introduction.as_ref()?.refused.as_deref()
    }

    /// Makes the words of a program known.
    fn introduce(&mut self, reactor: &mut Reactor) {
        let Some(introduction) = &mut self.introduction else { return };
        while let Some(event) = introduction.client.poll(reactor) {
            match event {
                // Also to a `config` that is new.
                ClientEvent::Up => _ = introduction.client.send(&introduction.declaration),
                ClientEvent::Message(DeclarationReply::Accepted) if !introduction.accepted => {
                    introduction.accepted = true;
                    if let Err(error) = self.client.start(reactor) {
                        log::error!("subscribe to the configuration: {error}");
                    }
                }
                ClientEvent::Message(DeclarationReply::Accepted) | ClientEvent::Down => {}
                ClientEvent::Message(DeclarationReply::Refused(reason)) => introduction.refused = Some(reason),
            }
        }
    }

    /// The next configuration to put in force. `read` says whether a configuration makes sense.
    pub fn poll(&mut self, reactor: &mut Reactor, read: impl Fn(&[Node]) -> Result<T, ConfigError>) -> Option<T> {
        self.introduce(reactor);
        while let Some(event) = self.client.poll(reactor) {
            match event {
                ClientEvent::Message(ConfigUpdate::Verify { generation, blocks }) => {
                    let verdict = self.state.verify(generation, blocks, &read);
                    self.client.send(&verdict);
                }
                ClientEvent::Message(ConfigUpdate::Apply { generation }) => {
                    if let Some(config) = self.state.apply(generation) {
                        return Some(config);
                    }
                }
                ClientEvent::Message(ConfigUpdate::Discard { generation }) => self.state.discard(generation),
                // What is in force stays; `config` says it again when it is back.
                ClientEvent::Up | ClientEvent::Down => {}
            }
        }
        None
    }
}

fn client<S: Serialize, R: DeserializeOwned>(
    terms: &config::Terms,
    schema: &'static str,
) -> Result<ServiceClient<S, R>, ShellError> {
    let terms = postcard::to_stdvec(terms).map_err(ShellError::Subscription)?;
    Ok(ServiceClient::new(router_service("config"), terms, Schema::new(schema)))
}

/// Which blocks a class wants: its own and those that it reads, by their leading keywords.
pub fn subscription(declaration: &Declaration) -> Subscribe {
    let own = declaration.blocks.iter().map(leading_keywords);
    Subscribe { blocks: own.chain(declaration.reads.iter().map(|block| block.clone().into_owned())).collect() }
}

/// `router bgp` of `router bgp <AS>`.
fn leading_keywords(command: &Command) -> String {
    let keywords = command.words.iter().map_while(|word| match word {
        Word::Keyword(keyword) => Some(&**keyword),
        Word::OneOf(_) | Word::Parameter(_) => None,
    });
    keywords.collect::<Vec<_>>().join(" ")
}

/// What was verified and what is in force.
#[derive(Debug)]
struct Verification<T> {
    verified: Option<Verified<T>>,
    applied: Option<Vec<Node>>,
}

#[derive(Debug)]
struct Verified<T> {
    generation: u64,
    blocks: Vec<Node>,
    config: T,
}

impl<T> Default for Verification<T> {
    fn default() -> Self {
        Self { verified: None, applied: None }
    }
}

impl<T> Verification<T> {
    fn verify(
        &mut self,
        generation: u64,
        blocks: Vec<Node>,
        read: impl Fn(&[Node]) -> Result<T, ConfigError>,
    ) -> Verdict {
        match read(&blocks) {
            Ok(config) => {
                self.verified = Some(Verified { generation, blocks, config });
                Verdict { generation, refused: None }
            }
            Err(error) => {
                self.verified = None;
                Verdict { generation, refused: Some(error.objection()) }
            }
        }
    }

    /// The configuration to put in force; `None` if it was not verified, or is in force already: a restarted `config`
    /// repeats it.
    fn apply(&mut self, generation: u64) -> Option<T> {
        let Some(verified) = self.verified.take_if(|verified| verified.generation == generation) else {
            log::error!("config applies generation {generation}, which it did not have verified");
            return None;
        };
        if self.applied.as_ref() == Some(&verified.blocks) {
            return None;
        }
        self.applied = Some(verified.blocks);
        Some(verified.config)
    }

    fn discard(&mut self, generation: u64) {
        self.verified.take_if(|verified| verified.generation == generation);
    }
}

/// `/0/NAME`, for a name that is a word of letters.
pub fn router_service(name: &'static str) -> Pathname {
    // Cannot fail: the callers give words of letters.
    Pathname::service(VrId::ROUTER, ServiceName::new(name).expect("letters are a name"))
}

#[cfg(test)]
mod tests {
    use vr_api::command::{ParameterType, Runs};
    use vr_api::config::{Objection, StatementId};

    use super::*;

    fn read(blocks: &[Node]) -> Result<usize, ConfigError> {
        match blocks.iter().find(|block| block.starts_with("bad")) {
            Some(bad) => Err(ConfigError::Nonsense { line: bad.named(), reason: "it is bad".to_owned() }),
            None => Ok(blocks.len()),
        }
    }

    fn blocks(lines: &[&str]) -> Vec<Node> {
        lines.iter().map(|line| Node::new(line, Vec::new())).collect()
    }

    #[test]
    fn only_what_was_verified_and_not_discarded_is_applied() {
        let mut state = Verification::default();
        assert_eq!(state.verify(1, blocks(&["a", "b"]), read).refused, None);
        assert_eq!(state.apply(2), None);
        assert_eq!(state.apply(1), Some(2));
        assert_eq!(state.apply(1), None);
        state.verify(2, blocks(&["c"]), read);
        state.discard(2);
        assert_eq!(state.apply(2), None);
    }

    #[test]
    fn a_refusal_carries_its_reason_and_leaves_what_is_in_force() {
        let mut state = Verification::default();
        state.verify(1, blocks(&["a"]), read);
        assert_eq!(state.apply(1), Some(1));
        let bad = Node { statement: StatementId(4), ..Node::new("bad word", Vec::new()) };
        let objection = Objection { reason: "bad word: it is bad".to_owned(), statement: Some(StatementId(4)) };
        assert_eq!(state.verify(2, vec![bad], read).refused, Some(objection));
        assert_eq!(state.apply(2), None);
    }

    #[test]
    fn what_a_restarted_config_repeats_is_not_applied_again() {
        let mut state = Verification::default();
        state.verify(7, blocks(&["a"]), read);
        assert_eq!(state.apply(7), Some(1));
        assert_eq!(state.verify(1, blocks(&["a"]), read), Verdict { generation: 1, refused: None });
        assert_eq!(state.apply(1), None);
        state.verify(2, blocks(&["a", "b"]), read);
        assert_eq!(state.apply(2), Some(2));
    }

    #[test]
    fn a_class_subscribes_to_its_blocks_by_their_keywords() {
        let number = ParameterType::Number { name: "AS number".into(), min: 1, max: 9 };
        let declaration = Declaration {
            class: ServiceName::new("bgp").unwrap(),
            runs: Runs::WhereConfigured,
            blocks: vec![Command::block("router bgp <>", "", vec![number], Vec::new())],
            reads: vec!["interface".into()],
            tables: Vec::new(),
            commands: Vec::new(),
        };
        assert_eq!(subscription(&declaration).blocks, ["router bgp", "interface"]);
    }
}
