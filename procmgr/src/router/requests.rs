//! What a process asks on its link.

use std::os::fd::OwnedFd;

use ipc::protocol::{Generation, Identity, MAX_UNTAKEN, Notice, Order, Question, Refusal, Request, Ticket};
use ipc::terms::Clause;
use ipc::{Pathname, ServiceName, VrId, VrName};

use super::Router;
use crate::broker::Open;
use crate::processes::{Kind, Process, ProcessKey};
use crate::supervisor::Event;

impl Router<'_> {
    /// Does what a process asks. Descriptors that nothing was asked for with are closed.
    pub(super) fn request(&mut self, key: ProcessKey, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Attach { .. } => self.fault(key, "a second introduction"),
            Request::Ready => self.step(key, Event::SaidReady),
            Request::Publish { ticket, name } => {
                let done = self.publish(key, name);
                self.answer_done(key, ticket, done);
            }
            Request::Withdraw { pathname } => match self.processes.owner(&pathname) {
                Some(owner) if owner == key => drop(self.withdraw_endpoint(pathname)),
                Some(_) | None => self.fault(key, &format!("a withdrawal of {pathname}, which is not its own")),
            },
            Request::Open { ticket, pathname, generation, terms } => {
                self.hear_owner(key, &pathname);
                let Some(process) = self.processes.get(key) else { return };
                let opener_vr = process.identity.vr;
                let open = Open { opener: key, opener_vr, ticket, pathname, generation, terms };
                self.broker.open(&self.directory, &self.vrs, open);
            }
            Request::Cancel { ticket } => self.broker.cancel(key, ticket),
            Request::Taken { count } => self.taken(key, count),
            Request::Accepted { pathname, taken } => {
                self.taken(key, taken);
                self.accepted(key, &pathname);
            }
            Request::Queue { ticket, pathname } => {
                let done = self.set_queue(key, pathname, fds);
                self.answer_done(key, ticket, done);
            }
            Request::Ask { ticket, question } => self.ask(key, ticket, question),
            Request::Manage { ticket, order } => {
                let done = self.manage(key, order);
                self.answer_done(key, ticket, done);
            }
            Request::FailStart { reason } => self.fail_start(key, reason),
        }
    }

    /// A process of the router says that it cannot be started. Said by another one, or later, that is a line of the log.
    fn fail_start(&mut self, key: ProcessKey, reason: String) {
        let Some(process) = self.processes.get(key) else { return };
        let of_the_router = process.place().is_some_and(|(vr, _)| vr == VrId::ROUTER);
        let who = process.identity.to_string();
        self.log.warn(&format!("{who}: {reason}"));
        if of_the_router && !self.startup.is_up() && !self.stopping {
            self.start_failed = Some(reason);
            self.shut_down(&who);
        }
    }

    fn answer_done(&mut self, key: ProcessKey, ticket: Ticket, done: Result<(), Refusal>) {
        let notice = match done {
            Ok(()) => Notice::Done { ticket },
            Err(refusal) => Notice::Refused { ticket, refusal },
        };
        self.notify(key, &notice);
    }

    /// A service of the process's own VR. The name of a class belongs to the process of that class.
    fn publish(&mut self, key: ProcessKey, name: ServiceName) -> Result<(), Refusal> {
        let Some(process) = self.processes.get(key) else { return Ok(()) };
        let identity = &process.identity;
        let of_a_class = self.processes.at(&(identity.vr, name.clone())).is_some_and(|owner| owner != key);
        if of_a_class {
            return Err(Refusal::NotPermitted(identity.clone()));
        }
        let pathname = Pathname::service(identity.vr, name);
        let pid_of = |owner| self.processes.get(owner).map_or(identity.pid, |process| process.identity.pid);
        self.directory.publish_service(pathname.clone(), key, pid_of, MAX_UNTAKEN)?;
        self.broker.published(&self.directory, &self.vrs, &pathname);
        self.has_published(key);
        Ok(())
    }

    fn taken(&mut self, key: ProcessKey, count: u32) {
        let surplus = self.broker.taken(&self.directory, &self.vrs, key, count);
        if surplus > 0 {
            self.fault(key, &format!("word that it took {surplus} channels more than it got"));
        }
    }

    fn accepted(&mut self, key: ProcessKey, pathname: &Pathname) {
        match self.processes.owner(pathname) {
            Some(owner) if owner == key || self.queues.shares(key, pathname) => {
                self.broker.accepted(&self.directory, &self.vrs, owner, pathname);
            }
            // It came by an endpoint of a process that has died since, or that has handed its listener over and closed it.
            None => {}
            Some(_) if self.directory.find(pathname, None).is_none() => {}
            Some(_) => self.fault(key, &format!("word that it accepted from {pathname}, not its own")),
        }
    }

    fn set_queue(&mut self, key: ProcessKey, pathname: Pathname, fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let Some(process) = self.processes.get(key) else { return Ok(()) };
        let Identity { vr, pid, .. } = process.identity;
        if !matches!(pathname, Pathname::Endpoint { vr: of, pid: by, .. } if (of, by) == (vr, pid)) {
            return Err(Refusal::NotYours { pathname, vr, pid });
        }
        if !self.queues.add(key, pathname.clone(), fds) {
            return Err(Refusal::Queue(pathname));
        }
        self.directory.limit_backlog(&pathname, MAX_UNTAKEN);
        Ok(())
    }

    fn ask(&mut self, key: ProcessKey, ticket: Ticket, question: Question) {
        let Some(process) = self.processes.get(key) else { return };
        let behind = process.link.as_ref().is_some_and(|(link, _)| link.is_behind());
        let refusal = if !process.privileges.ask {
            Some(Refusal::NotPermitted(process.identity.clone()))
        } else if behind {
            Some(Refusal::Resources("earlier answers wait to be read".to_owned()))
        } else {
            None
        };
        match refusal {
            Some(refusal) => self.notify(key, &Notice::Refused { ticket, refusal }),
            None => self.answer(key, ticket, &question),
        }
    }

    /// An order of the VR connection manager.
    fn manage(&mut self, key: ProcessKey, order: Order) -> Result<(), Refusal> {
        let Some(process) = self.processes.get(key) else { return Ok(()) };
        if !process.privileges.manage {
            return Err(Refusal::NotPermitted(process.identity.clone()));
        }
        match order {
            Order::Vr { vr, name, classes } => self.set_vr(vr, name, classes),
            Order::RemoveVr { vr } => self.remove_vr(vr),
            Order::Join { a, b, joined } => self.vrs.join(a, b, joined),
            Order::PublishEndpoint { pathname, generation, backlog, clauses } => {
                self.publish_endpoint(pathname, generation, backlog, clauses)
            }
            Order::WithdrawEndpoint { pathname } => self.withdraw_endpoint(pathname),
        }
    }

    fn set_vr(&mut self, vr: VrId, name: VrName, classes: Vec<ServiceName>) -> Result<(), Refusal> {
        if let Some(unknown) = self.unknown_class(&classes) {
            return Err(Refusal::NoClass(unknown.clone()));
        }
        let change = self.vrs.set(vr, name.clone(), classes)?;
        let stop: Vec<ProcessKey> =
            change.stop.into_iter().filter_map(|class| self.processes.at(&(vr, class))).collect();
        self.stop_processes(&stop, true);
        self.start_classes(vr, Some(&name), &change.start);
        Ok(())
    }

    /// Its processes are stopped; those that attached to it are told to, and are no longer processes of the router.
    fn remove_vr(&mut self, vr: VrId) -> Result<(), Refusal> {
        let classes = self.vrs.remove(vr)?;
        let keys: Vec<ProcessKey> = classes.into_iter().filter_map(|class| self.processes.at(&(vr, class))).collect();
        self.stop_processes(&keys, true);
        let attached = |(key, process): (ProcessKey, &Process)| {
            (process.identity.vr == vr && matches!(process.kind, Kind::Attached(_))).then_some(key)
        };
        let attached: Vec<ProcessKey> = self.processes.iter().filter_map(attached).collect();
        for key in attached {
            self.notify(key, &Notice::Stop);
            self.broken.push((key, crate::link::LinkFault::Closed));
        }
        Ok(())
    }

    fn publish_endpoint(
        &mut self,
        pathname: Pathname,
        generation: Generation,
        backlog: u16,
        clauses: Vec<Clause>,
    ) -> Result<(), Refusal> {
        if let Some(owner) = self.processes.owner(&pathname) {
            self.hear(owner);
        }
        let owner = self.processes.owner(&pathname).and_then(|key| Some((key, self.processes.get(key)?)));
        let Some((owner, process)) = owner else { return Err(Refusal::NoProcess(pathname)) };
        let identity = &process.identity;
        self.directory.publish_endpoint(pathname.clone(), (owner, identity), generation, backlog, clauses)?;
        if self.queues.contains(&pathname) {
            self.directory.limit_backlog(&pathname, MAX_UNTAKEN);
        }
        self.broker.published(&self.directory, &self.vrs, &pathname);
        self.has_published(owner);
        Ok(())
    }

    /// An endpoint is opened: what its process said before, or that it died before, counts before. Else a connection to a
    /// listener that has closed would be made, and then reset.
    fn hear_owner(&mut self, opener: ProcessKey, pathname: &Pathname) {
        let owner = self.processes.owner(pathname).filter(|owner| *owner != opener);
        if let Some(owner) = owner.filter(|_| matches!(pathname, Pathname::Endpoint { .. })) {
            self.hear(owner);
        }
    }

    /// Takes what lies on a process's link. Not while another link is being heard out of turn: two processes that open each
    /// other's endpoints must not nest without end.
    fn hear(&mut self, key: ProcessKey) {
        let link = self.processes.get(key).and_then(|process| process.link.as_ref());
        let Some((_, token)) = link.filter(|_| !self.is_hearing) else { return };
        let token = *token;
        self.is_hearing = true;
        self.handle_link(key, token);
        self.settle();
        self.is_hearing = false;
    }

    fn withdraw_endpoint(&mut self, pathname: Pathname) -> Result<(), Refusal> {
        let endpoint = matches!(pathname, Pathname::Endpoint { .. });
        let owner = self.directory.find(&pathname, None).map(|found| found.owner);
        match owner {
            Some(owner) if endpoint => {
                self.directory.withdraw(&pathname);
                self.queues.remove(&pathname);
                self.ready_made.forget(&pathname);
                self.broker.withdrawn(owner, &pathname);
                Ok(())
            }
            // Its process was faster.
            None if endpoint => Ok(()),
            Some(_) | None => Err(Refusal::NotPublished(pathname)),
        }
    }
}
