//! One query in flight: who asks what is being asked already waits for that answer.
//!
//! Without it, asking the same thing often enough opens as many chances for a forged reply to fit (the birthday
//! attack of RFC 5452 section 5), and a popular name that is slow costs an upstream query for every client.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Queries by what is asked, with what will come of them.
pub struct Flights<V>(Mutex<HashMap<Vec<u8>, watch::Receiver<Option<V>>>>);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Flights(Mutex::default())
    }
}

impl<V: Clone + Send + Sync> Flights<V> {
    /// What comes of `flight`, or of the one that is under way for the same key.
    pub async fn join(&self, key: Vec<u8>, flight: impl Future<Output = V>) -> V {
        loop {
            let mut landing = match self.board(&key) {
                Seat::Passenger(landing) => landing,
                Seat::Pilot(sender) => {
                    let landing = Landing { flights: self, key };
                    let value = flight.await;
                    // Off the map first: who comes now begins anew.
                    drop(landing);
                    sender.send_replace(Some(value.clone()));
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

    fn board(&self, key: &[u8]) -> Seat<V> {
        let mut flights = self.lock();
        if let Some(landing) = flights.get(key) {
            return Seat::Passenger(landing.clone());
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(key.to_vec(), landing);
        Seat::Pilot(sender)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, watch::Receiver<Option<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Seat<V> {
    Pilot(watch::Sender<Option<V>>),
    Passenger(watch::Receiver<Option<V>>),
}

/// Takes a flight off the map, also where its pilot is dropped half-way.
struct Landing<'a, V: Clone + Send + Sync> {
    flights: &'a Flights<V>,
    key: Vec<u8>,
}

impl<V: Clone + Send + Sync> Drop for Landing<'_, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
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
                    flights.join(b"key".to_vec(), flight).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        go.notify_one();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), 1);
        }
        // It is over: the next one flies itself.
        assert_eq!(flights.join(b"key".to_vec(), async { 7 }).await, 7);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_one_given_up_flies_itself() {
        let flights = Arc::new(Flights::default());
        let pilot = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(b"key".to_vec(), std::future::pending()).await }
        });
        tokio::task::yield_now().await;
        let waiter = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join(b"key".to_vec(), async { 2 }).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        pilot.abort();
        assert_eq!(waiter.await.unwrap(), 2);
        assert!(flights.lock().is_empty());
    }
}
