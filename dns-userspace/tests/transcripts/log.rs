//! The lines of one case's log.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines of `errors` and `log`, and of other targets.
#[derive(Clone, Default)]
pub struct Lines(pub Arc<Mutex<Vec<String>>>, pub Arc<Mutex<Vec<Line>>>);

/// A target, and what it says.
pub type Line = (String, String);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        match event.metadata().target() {
            "plugin/errors" | "plugin/log" => self.0.lock().unwrap().push(message.0),
            target => self.1.lock().unwrap().push((target.to_owned(), message.0)),
        }
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
