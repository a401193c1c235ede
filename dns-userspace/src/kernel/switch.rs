//! Switches: a hook's or a zone's queries pass at once, and are answered again at once.
//!
//! Each is a bit of the one word that every program reads first (`hopzero_common::layout::Control::flags`). They
//! last as long as the programs do: a daemon that is started anew has everything on.

use std::sync::Arc;

use clap::ValueEnum;
use hickory_proto::rr::Name;
use hopzero_common::{
    layout::{CONTROL_TC_OFF, CONTROL_XDP_OFF, CONTROL_ZONES_OFF_SHIFT},
    limits::ZONES_MAX,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::control::ControlBlock;

/// A change of the switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// On or off.
    pub on: bool,
    /// What.
    pub target: Target,
}

/// What is switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// All hooks off; or all hooks and zones on.
    All,
    /// A hook, on all devices that it is attached to.
    Hook(HookSwitch),
    /// A zone, on all devices.
    Zone(String),
}

/// A hook that has a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookSwitch {
    /// XDP, in drivers and in the stack
    Xdp,
    /// tc
    Tc,
}

/// What is switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Hooks.
    pub hooks: Vec<HookSwitch>,
    /// Zones.
    pub zones: Vec<String>,
}

/// Why nothing was switched.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// There are no programs.
    #[error(
        "the kernel does not answer: the daemon serves from its socket only (--attach), or its zone is not complete yet"
    )]
    NotAttached,
    /// No such zone.
    #[error("{zone} is not a zone of the kernel's: it knows {known}")]
    UnknownZone {
        /// What was asked for.
        zone: String,
        /// What there is.
        known: String,
    },
}

impl HookSwitch {
    const fn flag(self) -> u32 {
        match self {
            Self::Xdp => CONTROL_XDP_OFF,
            Self::Tc => CONTROL_TC_OFF,
        }
    }
}

const HOOKS_OFF: u32 = CONTROL_XDP_OFF | CONTROL_TC_OFF;
const ZONES_OFF: u32 = ((1 << ZONES_MAX) - 1) << CONTROL_ZONES_OFF_SHIFT;

/// The switches of loaded programs.
#[derive(Debug)]
pub struct Switches {
    control: Arc<ControlBlock>,
    zones: Vec<(usize, Name)>,
}

impl Switches {
    pub(super) fn new(control: Arc<ControlBlock>, zones: Vec<(usize, Name)>) -> Self {
        Switches { control, zones }
    }

    /// Switches, and says what is off then.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn set(&self, switch: &Switch) -> Result<Switched, SwitchError> {
        let hooks = HOOKS_OFF;
        let flags = match &switch.target {
            Target::All if switch.on => {
                (self.zones.iter()).fold(hooks, |flags, (index, _)| flags | zone_flag(*index))
            }
            Target::All => hooks,
            Target::Hook(hook) => hook.flag(),
            Target::Zone(zone) => self.flag_of(zone)?,
        };
        let (set, clear) = if switch.on { (0, flags) } else { (flags, 0) };
        self.control.change_flags(set, clear);
        let off = self.off();
        warn!(?off, "answering in the kernel was switched");
        Ok(off)
    }

    /// Takes over what others have switched off, for programs that answer in the place of theirs.
    pub(super) fn follow(&self, before: &Switches) {
        let flags = before.control.flags();
        let is_off = |zone: &Name| {
            let mut zones = before.zones.iter();
            zones.any(|(index, name)| name == zone && flags & zone_flag(*index) != 0)
        };
        let zones = self.zones.iter().filter(|(_, zone)| is_off(zone));
        let off = zones.fold(flags & HOOKS_OFF, |off, (index, _)| off | zone_flag(*index));
        (self.control).change_flags(off, (HOOKS_OFF | ZONES_OFF) & !off);
    }

    /// What is off.
    pub fn off(&self) -> Switched {
        let flags = self.control.flags();
        Switched {
            hooks: (HookSwitch::value_variants().iter().copied())
                .filter(|hook| flags & hook.flag() != 0)
                .collect(),
            zones: (self.zones.iter())
                .filter(|(index, _)| flags & zone_flag(*index) != 0)
                .map(|(_, name)| shown(name))
                .collect(),
        }
    }

    fn flag_of(&self, zone: &str) -> Result<u32, SwitchError> {
        let wanted = zone.trim_end_matches('.');
        let found = (self.zones.iter()).find(|(_, name)| shown(name).eq_ignore_ascii_case(wanted));
        if let Some((index, _)) = found {
            return Ok(zone_flag(*index));
        }
        let known: Vec<String> = self.zones.iter().map(|(_, name)| shown(name)).collect();
        Err(SwitchError::UnknownZone {
            zone: zone.to_owned(),
            known: known.join(", "),
        })
    }
}

fn zone_flag(index: usize) -> u32 {
    1 << (CONTROL_ZONES_OFF_SHIFT as usize + index)
}

/// As people write it.
fn shown(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use hopzero_common::layout::{CONTROL_ANSWERING, Control};

    use super::*;
    use crate::{
        kernel::Options,
        publisher::{memory::Words, table::Capacity},
    };

    #[test]
    fn each_switch_is_a_bit_and_leaves_the_others() {
        let memory = Words::heap(size_of::<Control>() / 8);
        let control = ControlBlock::new(memory, Capacity::new(1, 1), 1, &Options::default());
        let control = Arc::new(control);
        control.answer(true);
        let name = |text| Name::from_ascii(text).unwrap();
        let zones = vec![(2, name("cluster.local.")), (3, name("in-addr.arpa."))];
        let switches = Switches::new(Arc::clone(&control), zones);
        let set = |on, target| switches.set(&Switch { on, target });
        let zone = |zone: &str| Target::Zone(zone.to_owned());
        let off = |hooks: &[HookSwitch], zones: &[&str]| {
            Ok(Switched {
                hooks: hooks.to_vec(),
                zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            })
        };
        let (xdp, tc) = (HookSwitch::Xdp, HookSwitch::Tc);
        assert_eq!(set(false, Target::Hook(tc)), off(&[tc], &[]));
        assert_eq!(
            set(false, zone("Cluster.LOCAL.")),
            off(&[tc], &["cluster.local"])
        );
        assert_eq!(set(false, Target::All), off(&[xdp, tc], &["cluster.local"]));
        assert_eq!(set(true, Target::Hook(xdp)), off(&[tc], &["cluster.local"]));
        assert_eq!(
            control.flags(),
            CONTROL_ANSWERING | CONTROL_TC_OFF | 1 << 18
        );
        let unknown = set(false, zone("example.com")).unwrap_err().to_string();
        assert!(unknown.contains("cluster.local, in-addr.arpa"), "{unknown}");
        // What the daemon does with the permission to answer is another matter.
        control.answer(false);
        assert_eq!(set(true, zone("cluster.local")), off(&[tc], &[]));
        set(false, zone("in-addr.arpa")).unwrap();
        assert_eq!(set(true, Target::All), off(&[], &[]));
        assert_eq!(control.flags(), 0);
    }
}
