//! Which devices are attached to: some by name, and pods' as they come.

use std::{fmt, str::FromStr};

use glob::Pattern;

use super::links::Link;

/// The kernel's limit on a device's name, without the terminating zero (`IFNAMSIZ` - 1).
const DEVICE_NAME_BYTES_MAX: usize = 15;

/// An item of `--attach`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A device, which is there at the start.
    Device(String),
    /// The device of the route to the pods' network.
    Auto,
    /// Pods' devices.
    Pods(Pods),
}

/// A kind of devices that are pods'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pods {
    /// Every veth with its other end in another network namespace.
    Veths,
    /// As a network plugin makes them.
    Plugin(NetworkPlugin),
    /// Those with such names.
    Named(Pattern),
}

/// A CNI plugin, known by what its devices look like on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPlugin {
    /// The plugin `bridge`, on which flannel builds: ports of `cni0`, or of kubenet's `cbr0`.
    Bridge,
    /// `cali…`
    Calico,
    /// `lxc…`
    Cilium,
    /// `veth…`
    Kindnet,
    /// The VPC plugin: `eni…`
    Aws,
}

/// By name, and what else each is called.
const PLUGINS: [(&str, NetworkPlugin); 6] = [
    ("bridge", NetworkPlugin::Bridge),
    ("flannel", NetworkPlugin::Bridge),
    ("calico", NetworkPlugin::Calico),
    ("cilium", NetworkPlugin::Cilium),
    ("kindnet", NetworkPlugin::Kindnet),
    ("aws", NetworkPlugin::Aws),
];
/// Bridges that pods are ports of.
pub const BRIDGES: [&str; 2] = ["cni0", "cbr0"];

/// Which of the devices that come are pods'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Any of these.
    pub pods: Vec<Pods>,
    /// But none of these.
    pub excluded: Vec<Pattern>,
}

impl Selection {
    /// Every veth of a pod.
    pub fn pods() -> Self {
        Selection {
            pods: vec![Pods::Veths],
            excluded: Vec::new(),
        }
    }

    /// Whether a device is one of them.
    pub fn covers(&self, link: &Link, master: Option<&Link>) -> bool {
        let is_excluded = self
            .excluded
            .iter()
            .any(|pattern| pattern.matches(&link.name));
        !is_excluded && self.pods.iter().any(|pods| pods.are(link, master))
    }
}

impl Pods {
    fn are(&self, link: &Link, master: Option<&Link>) -> bool {
        let is_veth = link.is_veth && link.peer_is_elsewhere;
        match self {
            Pods::Veths => is_veth,
            Pods::Plugin(plugin) => is_veth && plugin.makes(link, master),
            Pods::Named(pattern) => pattern.matches(&link.name),
        }
    }
}

impl NetworkPlugin {
    fn makes(self, link: &Link, master: Option<&Link>) -> bool {
        match self {
            Self::Bridge => master.is_some_and(|master| BRIDGES.contains(&&*master.name)),
            Self::Calico => link.name.starts_with("cali"),
            Self::Cilium => link.name.starts_with("lxc"),
            Self::Kindnet => link.name.starts_with("veth"),
            Self::Aws => link.name.starts_with("eni"),
        }
    }
}

/// What is no item of `--attach`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No device can have that name.
    #[error(
        "expected a network device, at most {DEVICE_NAME_BYTES_MAX} characters, as `ip link` lists them; a pattern such as 'cali*'; pods; or auto"
    )]
    Name,
    /// Not a pattern.
    #[error("not a pattern: {0} (such as 'cali*', 'cali+' or 'veth[0-9]*')")]
    Pattern(String),
    /// No such plugin.
    #[error("{0} is none of {known}; a pattern such as 'cali*' selects by name", known = known())]
    Plugin(String),
}

fn known() -> String {
    PLUGINS.map(|(name, _)| format!("pods:{name}")).join(", ")
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text {
            "auto" => Ok(Place::Auto),
            "pods" => Ok(Place::Pods(Pods::Veths)),
            _ if text.starts_with("pods:") => {
                let name = &text["pods:".len()..];
                let plugin = PLUGINS.iter().find(|(known, _)| *known == name);
                let plugin = plugin.ok_or_else(|| PlaceError::Plugin(text.to_owned()))?;
                Ok(Place::Pods(Pods::Plugin(plugin.1)))
            }
            _ if text.contains(['*', '?', '[', '+']) => {
                Ok(Place::Pods(Pods::Named(pattern(text)?)))
            }
            _ => Ok(Place::Device(device(text)?)),
        }
    }
}

impl fmt::Display for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pods::Veths => f.write_str("pods"),
            Pods::Plugin(plugin) => {
                let name = PLUGINS.iter().find(|(_, known)| known == plugin);
                write!(f, "pods:{}", name.map_or("", |(name, _)| name))
            }
            Pods::Named(pattern) => write!(f, "{pattern}"),
        }
    }
}

/// A device's name, by the kernel's own rule (`dev_valid_name`), apart from names that no device has.
///
/// # Errors
/// No device can be called so.
pub fn device(text: &str) -> Result<String, PlaceError> {
    let is_valid = (1..=DEVICE_NAME_BYTES_MAX).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err(PlaceError::Name)
    }
}

/// A pattern of names: as a shell has them, or with iptables' and Cilium's `+` at its end.
///
/// # Errors
/// It is none.
pub fn pattern(text: &str) -> Result<Pattern, PlaceError> {
    let as_shell = match text.strip_suffix('+') {
        Some(prefix) => format!("{prefix}*"),
        None => text.to_owned(),
    };
    Pattern::new(&as_shell).map_err(|_| PlaceError::Pattern(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Link {
        Link {
            index: 3,
            name: name.to_owned(),
            is_up: true,
            mac: None,
            is_veth: true,
            peer_is_elsewhere: true,
            master: None,
        }
    }

    fn covers(items: &[&str], excluded: &[&str], link: &Link, master: Option<&Link>) -> bool {
        let mut selection = Selection::default();
        for item in items {
            match item.parse().unwrap() {
                Place::Pods(pods) => selection.pods.push(pods),
                other => panic!("{other:?}"),
            }
        }
        selection.excluded = excluded.iter().map(|text| pattern(text).unwrap()).collect();
        selection.covers(link, master)
    }

    #[test]
    fn plugins_are_known_by_their_devices() {
        for (item, name, master, expected) in [
            ("pods", "whatever", None, true),
            ("pods:calico", "cali1234", None, true),
            ("pods:calico", "lxc1234", None, false),
            ("pods:cilium", "lxc1234", None, true),
            ("pods:aws", "eni1234", None, true),
            ("pods:kindnet", "veth1234", None, true),
            ("pods:kindnet", "eni1234", None, false),
            ("pods:bridge", "veth1234", Some("cni0"), true),
            ("pods:flannel", "veth1234", Some("cni0"), true),
            ("pods:flannel", "veth1234", Some("docker0"), false),
            ("pods:flannel", "veth1234", None, false),
            ("cali*", "cali1234", None, true),
            ("cali+", "cali1234", None, true),
            ("cali+", "xcali1234", None, false),
            ("veth[0-9]*", "veth1", None, true),
            ("veth[0-9]*", "vetha", None, false),
        ] {
            let master = master.map(link);
            let found = covers(&[item], &[], &link(name), master.as_ref());
            assert_eq!(found, expected, "{item} {name} {master:?}");
        }
    }

    #[test]
    fn a_veth_within_the_node_is_no_pod_s() {
        let mut within = link("veth1");
        within.peer_is_elsewhere = false;
        assert!(!covers(&["pods", "pods:kindnet"], &[], &within, None));
        let mut card = link("eth0");
        card.is_veth = false;
        assert!(!covers(&["pods"], &[], &card, None));
        // Who names it means it.
        assert!(covers(&["veth*"], &[], &within, None));
        assert!(covers(&["eth*"], &[], &card, None));
    }

    #[test]
    fn what_is_excluded_is_none_of_them() {
        for (excluded, expected) in [("cali1*", false), ("cali1+", false), ("cali2*", true)] {
            let found = covers(
                &["pods:calico", "cali*"],
                &[excluded],
                &link("cali12"),
                None,
            );
            assert_eq!(found, expected, "{excluded}");
        }
    }

    #[test]
    fn places() {
        for valid in ["eth0", "veth1234567890a", "lo", "a.b"] {
            assert_eq!(valid.parse(), Ok(Place::Device(valid.to_owned())));
        }
        assert_eq!("auto".parse(), Ok(Place::Auto));
        for invalid in ["", "veth1234567890ab", ".", "..", "a/b", "a b", "eth0:1"] {
            assert_eq!(invalid.parse::<Place>(), Err(PlaceError::Name), "{invalid}");
        }
        let unknown = "pods:weave".parse::<Place>().unwrap_err().to_string();
        assert!(unknown.contains("pods:calico"), "{unknown}");
        let broken = "veth[".parse::<Place>();
        assert_eq!(broken, Err(PlaceError::Pattern("veth[".to_owned())));
    }
}
