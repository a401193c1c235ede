//! All devices of the node, and which of them are pods'.

use std::collections::{BTreeMap, BTreeSet};

use super::{Link, Pod, Selection};

/// All devices, and which of them have been told of.
pub(super) struct Known {
    selection: Selection,
    links: BTreeMap<u32, (Link, u64)>,
    told: BTreeMap<u32, Pod>,
    births: u64,
    /// What was seen since the list began.
    listed: Option<BTreeSet<u32>>,
}

impl Known {
    pub(super) fn new(selection: Selection) -> Self {
        Known {
            selection,
            links: BTreeMap::new(),
            told: BTreeMap::new(),
            births: 0,
            listed: None,
        }
    }

    pub(super) fn is_listing(&self) -> bool {
        self.listed.is_some()
    }

    pub(super) fn begin_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    pub(super) fn abandon_list(&mut self) {
        self.listed = None;
    }

    pub(super) fn end_list(&mut self, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        let is_gone = |index: &u32| !listed.contains(index);
        let gone: Vec<u32> = self.links.keys().copied().filter(is_gone).collect();
        for index in gone {
            self.remove(index, tell);
        }
    }

    pub(super) fn upsert(&mut self, link: Link, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let index = link.index;
        if let Some(listed) = &mut self.listed {
            listed.insert(index);
        }
        let known = self.links.get(&index).map(|(_, birth)| *birth);
        let birth = known.unwrap_or_else(|| {
            self.births += 1;
            self.births
        });
        self.links.insert(index, (link, birth));
        self.tell_of(index, tell);
        self.tell_of_ports(index, tell);
    }

    pub(super) fn remove(&mut self, index: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        self.links.remove(&index);
        self.tell_of(index, tell);
        self.tell_of_ports(index, tell);
    }

    /// A bridge may have another address, or only now be known.
    fn tell_of_ports(&mut self, bridge: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let ports = self.links.values();
        let ports = ports.filter(|(link, _)| link.master == Some(bridge));
        let ports: Vec<u32> = ports.map(|(link, _)| link.index).collect();
        for port in ports {
            self.tell_of(port, tell);
        }
    }

    fn tell_of(&mut self, index: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let pod = self.links.get(&index).and_then(|(link, birth)| {
            let master = link.master.and_then(|master| self.links.get(&master));
            let master = master.map(|(master, _)| master);
            self.selection.covers(link, master).then(|| Pod {
                link: link.clone(),
                bridge: master.and_then(|master| master.mac),
                birth: *birth,
            })
        });
        if pod.as_ref() == self.told.get(&index) {
            return;
        }
        match &pod {
            Some(pod) => self.told.insert(index, pod.clone()),
            None => self.told.remove(&index),
        };
        tell(index, pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            is_up: true,
            mac: Some([2, 0, 0, 0, 0, 1]),
            is_veth: true,
            peer_is_elsewhere: true,
            master: None,
        }
    }

    /// What was told, in a form to compare.
    struct Told(Vec<(u32, Option<u64>)>);

    impl Told {
        fn tell(&mut self) -> impl FnMut(u32, Option<Pod>) + '_ {
            |index, pod| self.0.push((index, pod.map(|pod| pod.birth)))
        }

        fn take(&mut self) -> Vec<(u32, Option<u64>)> {
            std::mem::take(&mut self.0)
        }
    }

    fn known() -> (Known, Told) {
        (Known::new(Selection::pods()), Told(Vec::new()))
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let (mut known, mut told) = known();
        known.upsert(veth(3, "a"), &mut told.tell());
        known.upsert(veth(3, "a"), &mut told.tell());
        assert_eq!(told.take(), [(3, Some(1))]);
        known.remove(3, &mut told.tell());
        known.remove(3, &mut told.tell());
        assert_eq!(told.take(), [(3, None)]);
        // The same number and name is another device.
        known.upsert(veth(3, "a"), &mut told.tell());
        assert_eq!(told.take(), [(3, Some(2))]);
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let (mut known, mut told) = known();
        for index in [3, 4, 5] {
            known.upsert(veth(index, "a"), &mut told.tell());
        }
        told.take();
        known.begin_list();
        known.upsert(veth(4, "a"), &mut told.tell());
        // It comes while the list is made, and may not be in it.
        known.upsert(veth(6, "b"), &mut told.tell());
        known.end_list(&mut told.tell());
        assert_eq!(told.take(), [(6, Some(4)), (3, None), (5, None)]);
    }

    #[test]
    fn ports_follow_their_bridge() {
        let (mut known, mut told) = known();
        let mut port = veth(3, "a");
        port.master = Some(9);
        known.upsert(port, &mut told.tell());
        assert_eq!(told.take(), [(3, Some(1))]);
        let mut bridge = veth(9, "cni0");
        bridge.is_veth = false;
        for mac in [[6; 6], [7; 6]] {
            bridge.mac = Some(mac);
            known.upsert(bridge.clone(), &mut told.tell());
            assert_eq!(told.take(), [(3, Some(1))]);
            assert_eq!(known.told[&3].bridge, Some(mac));
        }
    }
}
