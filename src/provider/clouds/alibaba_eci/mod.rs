//! Alibaba Cloud's Elastic Container Instance (RPC style, version 2018-08-08), and the VPC actions that go with it.

pub mod signing;
pub mod size;
