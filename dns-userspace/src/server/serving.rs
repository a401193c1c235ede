//! A server that gives way to another under its queries.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use rustls::ServerConfig;

use super::Server;
use crate::{
    plugin::Request,
    socket::{Encoded, Service, TcpLimits},
};

/// What is served at an address from one configuration to the next. A query is answered by the server that was
/// there when it came.
pub struct Serving(ArcSwap<Server>);

impl Serving {
    /// A server for now.
    pub fn new(server: Arc<Server>) -> Self {
        Serving(ArcSwap::new(server))
    }

    /// Another one takes over.
    pub fn set(&self, server: Arc<Server>) {
        self.0.store(server);
    }
}

#[async_trait]
impl Service for Serving {
    async fn answer(&self, request: &mut Request) -> Option<Encoded> {
        let server = self.0.load_full();
        server.reply(request).await
    }

    fn limits(&self) -> Option<TcpLimits> {
        Some(self.0.load().tcp_limits())
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.load().tls()
    }
}
