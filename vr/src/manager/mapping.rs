//! The mapping database: name of a virtual router to its VrID.

use std::collections::BTreeMap;

use ipc::{VrId, VrName};

/// No VrID is left: 65,535 virtual routers exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no VrID is left for another virtual router")]
pub struct NoVrIdLeft;

/// VR names and their numbers. A name keeps its number for as long as the VR exists, over restarts of the manager too:
/// procmgr remembers it.
#[derive(Debug, Default)]
pub struct Mapping {
    ids: BTreeMap<VrName, VrId>,
    names: BTreeMap<VrId, VrName>,
}

impl Mapping {
    /// Takes over what procmgr remembers.
    pub fn restore(&mut self, vr: VrId, name: VrName) {
        self.ids.insert(name.clone(), vr);
        self.names.insert(vr, name);
    }

    /// The number of a VR; a new VR gets the lowest free one. 0 is the router itself.
    pub fn assign(&mut self, name: &VrName) -> Result<VrId, NoVrIdLeft> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = (1..=u16::MAX).map(VrId).find(|id| !self.names.contains_key(id)).ok_or(NoVrIdLeft)?;
        self.restore(id, name.clone());
        Ok(id)
    }

    /// Forgets a VR.
    pub fn remove(&mut self, name: &VrName) -> Option<VrId> {
        let id = self.ids.remove(name)?;
        self.names.remove(&id);
        Some(id)
    }

    /// The number of a VR.
    pub fn id(&self, name: &VrName) -> Option<VrId> {
        self.ids.get(name).copied()
    }

    /// The name of a VR.
    pub fn name(&self, id: VrId) -> Option<&VrName> {
        self.names.get(&id)
    }

    /// All VRs by name.
    pub fn iter(&self) -> impl Iterator<Item = (&VrName, VrId)> {
        self.ids.iter().map(|(name, id)| (name, *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vr_keeps_its_number_and_a_freed_one_is_given_again() {
        let (red, blue) = (VrName::new("red").unwrap(), VrName::new("blue").unwrap());
        let mut mapping = Mapping::default();
        mapping.restore(VrId(2), blue.clone());
        assert_eq!(mapping.assign(&red), Ok(VrId(1)));
        assert_eq!(mapping.assign(&blue), Ok(VrId(2)));
        assert_eq!(mapping.remove(&red), Some(VrId(1)));
        assert_eq!(mapping.name(VrId(1)), None);
        assert_eq!(mapping.assign(&VrName::new("green").unwrap()), Ok(VrId(1)));
    }
}
