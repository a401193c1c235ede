//! Names come and go for ever.

use hickory_proto::rr::Name;
use hopzero_common::reason::Reason;

use super::{Wait, publisher, world};
use crate::publisher::table::Capacity;

/// Services that there are at a time, of another name each time.
const AT_ONCE: u16 = 200;

#[test]
fn names_that_come_and_go_leave_no_marks_behind() {
    let mut zone = world::zone();
    zone.apply(world::gone(0..world::SERVICES), 1);
    // Half full: half of its entries are free at any time.
    let (mut publisher, kernel) =
        publisher(Capacity::new(u32::from(AT_ONCE) * 3, 4000), Wait::ForRuns);
    publisher.publish_all(&zone);
    let buckets = publisher.table().capacity().buckets;
    let (rounds, absent) = (100_u16, 50_u32);
    let mut unproven = 0;
    for round in 0..rounds {
        let services = || (0..AT_ONCE).map(|service| round * AT_ONCE + service);
        let touched = zone.apply(world::changes(1, services()), 2);
        publisher.publish(&zone, &touched);
        let run = kernel.run();
        for service in services().filter(|service| world::exists(*service, 1)) {
            let found = run.address(&world::name(service));
            assert_eq!(found, Ok(world::address(service, 1)));
        }
        for absent in 0..absent {
            let name = Name::from_ascii(format!("no{absent}.shop.svc.cluster.local.")).unwrap();
            match run.address(&name) {
                Err(Reason::UnknownName) => {}
                // So many buckets in a row are marked that a miss says nothing.
                Err(Reason::Internal) => unproven += 1,
                other => panic!("{name}: {other:?}"),
            }
        }
        drop(run);
        let touched = zone.apply(world::gone(services()), 3);
        publisher.publish(&zone, &touched);
        assert!(publisher.table().marks() <= buckets / 3, "round {round}");
    }
    assert!(publisher.builds().flipped > 0);
    let asked = u32::from(rounds) * absent;
    assert!(unproven * 500 < asked, "{unproven} of {asked}");
    assert_eq!(publisher.rejected(), 0);
}
