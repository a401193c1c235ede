//! A server that gives way to another under its queries.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use rustls::ServerConfig;

use super::Server;
use crate::{
    plugin::Request,
    socket::{Asked, Encoded, Service, TcpLimits},
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

    fn glance(&self, asked: &Asked<'_>, message: &mut Vec<u8>) -> Option<ResponseCode> {
        self.0.load().glance(asked, message)
    }

    fn limits(&self) -> Option<TcpLimits> {
        Some(self.0.load().tcp_limits())
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.load().tls()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;
    use crate::{
        corefile::Corefile,
        plugin::Environment,
        server::Servers,
        socket::{Path, Transport, answer, glance},
    };

    #[tokio::test]
    async fn what_is_known_at_once_is_said_at_once() {
        let text = ".:53 {
            cache
            template IN A {
                answer \"{{ .Name }} 60 IN A 192.0.2.1\"
            }
        }";
        let corefile = Corefile::parse(FilePath::new("Corefile"), text.to_owned(), &|_| None);
        let servers = Servers::build(&corefile.unwrap(), 53, &Environment::default()).unwrap();
        let (_, server) = servers.iter().next().unwrap();
        let serving = Serving::new(Arc::clone(server));
        let query = *b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let address = ([127, 0, 0, 1], 53).into();
        let path = Path {
            client: address,
            local: address,
            transport: Transport::Udp,
        };
        let mut reply = Vec::new();
        assert!(glance(&query, path, &serving, &mut reply).is_none());
        let asked = answer(&query, path, &serving).await.unwrap();
        assert!(glance(&query, path, &serving, &mut reply).is_some());
        // But for AA, which what was kept has not.
        assert_eq!(reply.len(), asked.bytes.len());
    }
}
