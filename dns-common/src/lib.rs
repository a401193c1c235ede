//! What kernel and daemon share.
#![no_std]
