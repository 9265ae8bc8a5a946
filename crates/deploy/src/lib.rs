//! A deployment: what it consists of ([`blueprint`]), its resources at Google ([`resource`]) and what its
//! machines say ([`machine`]), the engine's binary ([`artifact`]), the collector stack ([`stack`]), and the
//! proof that everything arrived ([`verify`]). What a command does with all of these is in [`workflow`].

pub mod artifact;
pub mod blueprint;
pub mod cost;
pub mod export;
pub mod machine;
pub mod resource;
pub mod stack;
pub mod verify;
pub mod workflow;
