//! There is no room.

use hopzero_common::layout::ZONE_COMPLETE;

use super::{Told, Wait, publisher, world};
use crate::{
    publisher::{
        NoRoom, Publisher,
        encode::Encoder,
        table::{Capacity, Put, Table},
    },
    zone::{OwnerName, Zone},
};

/// Made as large as the daemon makes it, half as large again as is needed, a table of 100,000 services has a place for every
/// name: by luck alone none of the buckets that it may stand in has room. Else every name that does not exist
/// would be left to the socket.
#[test]
fn a_table_that_is_not_full_leaves_no_name_out() {
    const NAMES: u32 = 420_000;
    let zone = world::zone();
    let service = (0..world::SERVICES).find(|service| world::exists(*service, 0));
    let owner = OwnerName::new(&world::name(service.expect("some exist")));
    let mut encoder = Encoder::default();
    let record = encoder.encode_held(&zone, 0, &owner, &zone.held(&owner).1);
    let record = record.expect("it exists");
    let names = NAMES + NAMES / 2;
    for seed in 1..=8 {
        let mut table = Table::heap(Capacity::new(names, names * record.cells), seed);
        let mut hashes = fastrand::Rng::with_seed(seed);
        for _ in 0..NAMES {
            assert_eq!(table.put_hashed(hashes.u64(..), &record), Put::Written);
        }
    }
}

/// Room for a state, and little more: not for two.
fn tight(zone: &Zone) -> Capacity {
    let size = Publisher::measure(zone);
    Capacity::new(size.names * 2, size.cells + size.cells / 4)
}

#[test]
fn a_build_without_room_changes_nothing() {
    let mut zone = world::zone();
    let (mut publisher, kernel) = publisher(tight(&zone), Wait::ForRuns);
    publisher.publish_all(&zone);
    let figures = |publisher: &Publisher| {
        let table = publisher.table();
        (table.names(), table.cells_used(), table.generation())
    };
    let before = figures(&publisher);
    kernel.told();
    // Again and again: what it had stored is free.
    for attempt in 1..=3 {
        let touched = world::advance(&mut zone, attempt);
        let result = publisher.try_publish(&zone, &touched, &mut || ());
        assert_eq!(result, Err(NoRoom));
        assert_eq!(figures(&publisher), before);
        assert_eq!(publisher.builds().failed, u64::from(attempt));
        let run = kernel.run();
        for service in (0..world::SERVICES).filter(|service| world::exists(*service, 0)) {
            assert_eq!(
                run.address(&world::name(service)),
                Ok(world::address(service, 0))
            );
        }
    }
    assert_eq!(kernel.told(), [], "the programs were told something");
    assert_eq!((publisher.rejected(), publisher.builds().flipped), (0, 0));
}

/// Rather name by name than not at all.
#[test]
fn a_batch_without_room_for_two_states_is_written_name_by_name() {
    let mut zone = world::zone();
    let (mut publisher, kernel) = publisher(tight(&zone), Wait::ForRuns);
    publisher.publish_all(&zone);
    kernel.told();
    let touched = world::advance(&mut zone, 1);
    publisher.publish(&zone, &touched);
    assert_eq!(publisher.builds().failed, 1);
    assert_eq!(publisher.rejected(), 0);
    let run = kernel.run();
    for service in (0..world::SERVICES).filter(|service| world::exists(*service, 1)) {
        assert_eq!(
            run.address(&world::name(service)),
            Ok(world::address(service, 1))
        );
    }
    let told = kernel.told();
    let complete =
        |told: &&Told| matches!(told, Told::Zone { flags, .. } if *flags == ZONE_COMPLETE);
    assert_eq!(told.iter().filter(complete).count(), 1, "{told:?}");
}
