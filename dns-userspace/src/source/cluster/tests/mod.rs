//! Every fault of an API server, as a script with what the zone says meanwhile.

mod access;
mod script;
mod server;

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            script::play(include_str!(concat!("cases/", $file))).await;
        }
    )*};
}

scripts! {
    everything_comes_and_changes: "ordinary.txt",
    the_api_server_forgets: "forgets.txt",
    a_list_that_breaks_off_is_never_seen: "partial.txt",
    a_watch_that_is_half_open: "half-open.txt",
    events_that_were_lost: "lost.txt",
    credentials_that_are_refused: "refused.txt",
    a_history_that_goes_backwards: "backwards.txt",
    a_store_that_was_set_back: "restored.txt",
    slices_that_overlap_and_move: "slices.txt",
    a_namespace_of_thousands: "namespace.txt",
    a_cold_start: "cold.txt",
    many_objects_and_rare_audits: "many.txt",
    hours_without_the_api_server: "partition.txt",
    pods_and_their_addresses: "pods.txt",
    lists_that_are_streamed: "streamed.txt",
    services_that_are_imported: "imports.txt",
    a_definition_that_is_installed_later: "definition.txt",
}
