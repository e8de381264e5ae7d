//! Channels that are made before they are wanted: making one takes the kernel ten calls, and a process that opens a
//! connection waits for them.
//!
//! An endpoint that was just opened is opened again soon, mostly. So when nothing else is to be done, one more channel is
//! made for each that was. A channel bears the pathname that was opened, for `show channels`; so each is for one endpoint.

use std::collections::VecDeque;

use ipc::Pathname;
use ipc::channel::ChannelParts;
use ipc::error::ChannelError;

/// Endpoints that a channel is kept ready for, those that were opened last: six descriptors each.
const MOST: usize = 16;

/// The channels.
#[derive(Debug, Default)]
pub(crate) struct ReadyMade {
    /// The one opened last comes last.
    endpoints: VecDeque<(Pathname, Option<(ChannelParts, ChannelParts)>)>,
    /// Some endpoint has none.
    wanted: bool,
}

impl ReadyMade {
    /// A channel for an open of this pathname: the opener's end and the listener's.
    pub(crate) fn take(&mut self, pathname: &Pathname) -> Result<(ChannelParts, ChannelParts), ChannelError> {
        let place = self.endpoints.iter().position(|(known, _)| known == pathname);
        let made = place.and_then(|place| self.endpoints.remove(place)).and_then(|(_, made)| made);
        if let Pathname::Endpoint { .. } = pathname {
            if self.endpoints.len() >= MOST {
                self.endpoints.pop_front();
            }
            self.endpoints.push_back((pathname.clone(), None));
            self.wanted = true;
        }
        made.map_or_else(|| ChannelParts::pair_named(&pathname.to_string()), Ok)
    }

    /// Makes what will be wanted. Without descriptors for it there is none.
    pub(crate) fn make(&mut self) {
        if !std::mem::take(&mut self.wanted) {
            return;
        }
        for (pathname, made) in self.endpoints.iter_mut().filter(|(_, made)| made.is_none()) {
            match ChannelParts::pair_named(&pathname.to_string()) {
                Ok(pair) => *made = Some(pair),
                Err(error) => log::debug!("no channel can be made ahead: {error}"),
            }
        }
    }

    /// Nobody listens there any more.
    pub(crate) fn forget(&mut self, pathname: &Pathname) {
        self.endpoints.retain(|(known, _)| known != pathname);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn pathname(port: usize) -> Pathname {
        format!("/2/1/ipv4/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn who_opens_again_gets_what_was_made_and_nobody_gets_it_twice() {
        let mut ready = ReadyMade::default();
        ready.take(&pathname(1)).unwrap();
        ready.make();
        let made = ready.endpoints[0].1.as_ref().unwrap().0.memory.as_raw_fd();
        assert_eq!(ready.take(&pathname(1)).unwrap().0.memory.as_raw_fd(), made);
        assert!(ready.endpoints[0].1.is_none());
        ready.make();
        ready.forget(&pathname(1));
        assert!(ready.endpoints.is_empty());
    }

    #[test]
    fn channels_are_kept_for_few_endpoints_and_for_no_service() {
        let mut ready = ReadyMade::default();
        ready.take(&"/2/rib".parse().unwrap()).unwrap();
        assert!(ready.endpoints.is_empty());
        (1..=2 * MOST).for_each(|port| drop(ready.take(&pathname(port)).unwrap()));
        ready.make();
        assert_eq!(ready.endpoints.len(), MOST);
        assert_eq!(ready.endpoints.back().unwrap().0, pathname(2 * MOST));
    }
}
