//! A node with pods that come and go.
//!
//! ```text
//!   pod n                             node
//!   eth0 10.244.n.2 ─────────── podN 10.244.n.1        routed, as Calico, AWS and kindnet do
//!   eth0 10.245.0.n ─────────── podN ─ cni0 10.245.0.1  ports of a bridge, as flannel does
//!                                     lo   10.96.0.10: the cluster's DNS
//! ```

use anyhow::Result;

use crate::{
    namespace::Namespace,
    network::{DNS_V4, DNS_V6},
};

/// The node.
#[derive(Debug)]
pub struct Node {
    /// Its namespace.
    pub namespace: Namespace,
}

/// A pod; gone when this value is.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Namespace,
    /// The node's end of its veth.
    pub device: String,
}

impl Node {
    /// Without pods; the cluster's DNS addresses are its own.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new("node")?;
        namespace.ip_batch(&format!(
            "addr add {DNS_V4}/32 dev lo\naddr add {DNS_V6}/128 dev lo nodad\n"
        ))?;
        Ok(Node { namespace })
    }

    /// Makes a pod's namespace.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn place(&self) -> Result<Namespace> {
        Namespace::new("pod")
    }

    /// Gives it a veth with routes, as `number` among the pods.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn connect(&self, namespace: Namespace, number: u8) -> Result<Pod> {
        let device = format!("pod{number}");
        self.namespace.ip_batch(&format!(
            "link add {device} type veth peer name eth0 netns {}\n\
             addr add 10.244.{number}.1/24 dev {device}\n\
             link set {device} up\n",
            namespace.name()
        ))?;
        namespace.ip_batch(&format!(
            "addr add 10.244.{number}.2/24 dev eth0\n\
             link set eth0 up\n\
             route add default via 10.244.{number}.1\n"
        ))?;
        Ok(Pod { namespace, device })
    }

    /// A pod with routes.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn pod(&self, number: u8) -> Result<Pod> {
        self.connect(self.place()?, number)
    }

    /// A bridge with this name, on which pods are ports.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn bridge(&self, name: &str) -> Result<()> {
        // An address of its own, as the plugin `bridge` gives it: none of its ports'.
        self.namespace.ip_batch(&format!(
            "link add {name} type bridge\n\
             link set {name} address 0a:58:0a:f5:00:01\n\
             addr add 10.245.0.1/24 dev {name}\n\
             link set {name} up\n"
        ))
    }

    /// A pod that is a port of the bridge.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn port(&self, bridge: &str, number: u8) -> Result<Pod> {
        let namespace = self.place()?;
        let device = format!("pod{number}");
        self.namespace.ip_batch(&format!(
            "link add {device} type veth peer name eth0 netns {}\n\
             link set {device} master {bridge}\n\
             link set {device} up\n",
            namespace.name()
        ))?;
        namespace.ip_batch(&format!(
            "addr add 10.245.0.{number}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via 10.245.0.1\n"
        ))?;
        Ok(Pod { namespace, device })
    }
}
