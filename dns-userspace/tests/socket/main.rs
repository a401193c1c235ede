//! The socket server from outside: messages as bytes, and real sockets on loopback.

mod malformed;
mod message;
mod properties;
mod replies;
mod tcp;
mod tls;
mod udp;
mod zone;
