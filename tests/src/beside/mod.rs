//! Servers under a Corefile, on loopback: what they are asked, what they say, and the upstream that they share.

pub mod comparison;
pub mod differences;
pub mod history;
pub mod peer;
pub mod plane;
pub mod question;
pub mod reply;
pub mod upstream;
