//! One query in flight: who asks what is being asked already waits for that answer.
//!
//! Without it, asking the same thing often enough opens as many chances for a forged reply to fit (the birthday
//! attack of RFC 5452 section 5), and a popular name that is slow costs an upstream query for every client.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Queries by what is asked.
pub struct Flights<V>(Arc<Mutex<UnderWay<V>>>);

/// Each with the way to those who wait for it, once there is one.
type UnderWay<V> = HashMap<Arc<[u8]>, Option<watch::Sender<Option<V>>>>;

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Flights(Arc::default())
    }
}

impl<V: Clone> Flights<V> {
    /// What comes of `flight`, or of the one that is under way for the same key.
    pub async fn join(&self, key: Arc<[u8]>, flight: impl Future<Output = V>) -> V {
        loop {
            let mut landing = match self.board(&key) {
                Seat::Passenger(landing) => landing,
                Seat::Pilot(landing) => {
                    let value = flight.await;
                    landing.land(&value);
                    return value;
                }
            };
            // An error is a flight that was given up: another one begins.
            if let Ok(value) = landing.wait_for(Option::is_some).await
                && let Some(value) = &*value
            {
                return value.clone();
            }
        }
    }

    /// Begins a flight, if none is under way for the same key.
    pub fn begin(&self, key: &Arc<[u8]>) -> Option<Landing<V>> {
        let mut flights = lock(&self.0);
        if flights.contains_key(key) {
            return None;
        }
        flights.insert(Arc::clone(key), None);
        Some(self.landing(key))
    }

    fn board(&self, key: &Arc<[u8]>) -> Seat<V> {
        let mut flights = lock(&self.0);
        if let Some(sender) = flights.get_mut(key) {
            let sender = sender.get_or_insert_with(|| watch::channel(None).0);
            return Seat::Passenger(sender.subscribe());
        }
        flights.insert(Arc::clone(key), None);
        Seat::Pilot(self.landing(key))
    }

    fn landing(&self, key: &Arc<[u8]>) -> Landing<V> {
        Landing {
            flights: Arc::clone(&self.0),
            key: Arc::clone(key),
        }
    }
}

fn lock<V>(flights: &Mutex<UnderWay<V>>) -> MutexGuard<'_, UnderWay<V>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Seat<V> {
    Pilot(Landing<V>),
    Passenger(watch::Receiver<Option<V>>),
}

/// Takes a flight off the map, also where it is dropped half-way.
pub struct Landing<V> {
    flights: Arc<Mutex<UnderWay<V>>>,
    key: Arc<[u8]>,
}

impl<V: Clone> Landing<V> {
    /// All who wait get this.
    pub fn land(self, value: &V) {
        // Off the map first: who comes now begins anew.
        let waiting = lock(&self.flights)
            .get_mut(&self.key)
            .and_then(Option::take);
        drop(self);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(value.clone()));
        }
    }
}

impl<V> Drop for Landing<V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    use tokio::sync::Notify;

    use super::*;

    fn key() -> Arc<[u8]> {
        b"key"[..].into()
    }

    #[tokio::test]
    async fn all_who_wait_share_one() {
        let flights = Arc::new(Flights::default());
        let (go, flown) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let (flights, go, flown) = (flights.clone(), go.clone(), flown.clone());
                tokio::spawn(async move {
                    let flight = async {
                        go.notified().await;
                        flown.fetch_add(1, Relaxed) + 1
                    };
                    flights.join(key(), flight).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        go.notify_one();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), 1);
        }
        // It is over: the next one flies itself.
        assert_eq!(flights.join(key(), async { 7 }).await, 7);
        assert!(lock(&flights.0).is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_one_given_up_flies_itself() {
        let flights = Arc::new(Flights::default());
        let pilot = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(key(), std::future::pending()).await }
        });
        tokio::task::yield_now().await;
        let waiter = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(key(), async { 2 }).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        pilot.abort();
        assert_eq!(waiter.await.unwrap(), 2);
        assert!(lock(&flights.0).is_empty());
    }
}
