//! Which capabilities the daemon needs, when, and why.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

/// What a daemon was told to do, as far as that takes a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It answers in the kernel: `--attach`.
    pub kernel: bool,
    /// It makes addresses: `--local-address`.
    pub addresses: bool,
    /// It serves on sockets: `hopzero serve`.
    pub sockets: bool,
}

/// A capability with its reason.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// It.
    pub capability: Capability,
    /// As people write it.
    pub name: &'static str,
    /// When it is kept.
    pub when: &'static str,
    /// What it is for.
    pub why: &'static str,
    holds: fn(Needs) -> bool,
}

/// All that are ever needed. The chart, the systemd unit and `docs/security.md` say the same, which tests hold.
///
/// Why not fewer: without `CAP_PERFMON` the verifier allows no pointer arithmetic with unknown offsets, and a name has an
/// unknown length. A Corefile may name port 53 at any reload, so a server keeps the right to it.
pub const NEEDED: [Needed; 4] = [
    Needed {
        capability: Capability::CAP_BPF,
        name: "CAP_BPF",
        when: "`--attach`",
        why: "loading programs and making maps",
        holds: |needs| needs.kernel,
    },
    Needed {
        capability: Capability::CAP_NET_ADMIN,
        name: "CAP_NET_ADMIN",
        when: "`--attach`, `--local-address`",
        why: "attaching to a network device",
        holds: |needs| needs.kernel || needs.addresses,
    },
    Needed {
        capability: Capability::CAP_PERFMON,
        name: "CAP_PERFMON",
        when: "`--attach`",
        why: "a program with variable packet offsets",
        holds: |needs| needs.kernel,
    },
    Needed {
        capability: Capability::CAP_NET_BIND_SERVICE,
        name: "CAP_NET_BIND_SERVICE",
        when: "`serve`",
        why: "port 53",
        holds: |needs| needs.sockets,
    },
];

/// Those that what a daemon was told to do takes.
pub fn needed(needs: Needs) -> impl Iterator<Item = Needed> {
    NEEDED.into_iter().filter(move |row| (row.holds)(needs))
}

/// What this process lacks of `needs`.
pub fn missing(needs: Needs) -> impl Iterator<Item = Needed> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    needed(needs).filter(move |row| !is_held(row.capability, &held))
}

/// `CAP_SYS_ADMIN` contains the two that were split from it in Linux 5.8.
fn is_held(capability: Capability, held: &CapsHashSet) -> bool {
    let was_split = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON);
    held.contains(&capability) || was_split && held.contains(&Capability::CAP_SYS_ADMIN)
}

/// What remains of `held`: `CAP_SYS_ADMIN` only where it was given in place of the two that it contains.
fn kept(needs: Needs, held: &CapsHashSet) -> CapsHashSet {
    let rows = needed(needs).map(|row| row.capability);
    rows.filter(|capability| is_held(*capability, held))
        .map(|capability| {
            if held.contains(&capability) {
                capability
            } else {
                Capability::CAP_SYS_ADMIN
            }
        })
        .collect()
}

/// Gives up every other capability, in every set of this thread. Nothing is started by the daemon, so nothing is left
/// for a child to inherit.
pub(super) fn keep_only(needs: Needs) -> Result<(), CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept = kept(needs, &held);
    // Takes CAP_SETPCAP. Who does not have it cannot gain what is in the bounding set either: no_new_privs.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::all().difference(&kept) {
            // An error: a kernel that does not know it.
            if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *capability)?;
            }
        }
    }
    // With what is inheritable goes what is ambient.
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

#[cfg(test)]
mod tests {
    use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_PERFMON, CAP_SYS_ADMIN};

    use super::*;

    const SERVE: Needs = Needs {
        kernel: false,
        addresses: false,
        sockets: true,
    };
    const ACCELERATE: Needs = Needs {
        kernel: true,
        addresses: false,
        sockets: false,
    };

    #[test]
    fn what_is_kept_of_everything() {
        let all = Needs {
            kernel: true,
            addresses: true,
            sockets: true,
        };
        let addresses = Needs {
            addresses: true,
            ..SERVE
        };
        let rows: [(Needs, &[Capability]); 5] = [
            (Needs::default(), &[]),
            (SERVE, &[CAP_NET_BIND_SERVICE]),
            (addresses, &[CAP_NET_ADMIN, CAP_NET_BIND_SERVICE]),
            (ACCELERATE, &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON]),
            (
                all,
                &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_NET_BIND_SERVICE],
            ),
        ];
        for (needs, expected) in rows {
            let expected: CapsHashSet = expected.iter().copied().collect();
            assert_eq!(kept(needs, &caps::all()), expected, "{needs:?}");
        }
    }

    #[test]
    fn nothing_is_kept_that_is_not_held() {
        assert!(kept(ACCELERATE, &CapsHashSet::new()).is_empty());
        let held = CapsHashSet::from([CAP_SYS_ADMIN, CAP_NET_ADMIN]);
        assert_eq!(kept(ACCELERATE, &held), held, "in place of two others");
        let held = CapsHashSet::from([CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON]);
        let expected = CapsHashSet::from([CAP_BPF, CAP_PERFMON]);
        assert_eq!(kept(ACCELERATE, &held), expected);
    }

    #[test]
    fn docs_have_the_table() {
        let page = include_str!("../../../docs/security.md");
        let rows = page.lines().filter(|line| line.starts_with("| `CAP_"));
        let rows: Vec<String> = (rows.map(|line| line.split(" | ").take(3).collect::<Vec<_>>()))
            .map(|cells| cells.join(" | "))
            .collect();
        let expected = NEEDED.map(|row| format!("| `{}` | {} | {}", row.name, row.when, row.why));
        assert_eq!(rows, expected);
    }

    #[test]
    fn names_are_those_of_the_capabilities() {
        for row in NEEDED {
            assert_eq!(row.name, row.capability.to_string());
        }
    }
}
