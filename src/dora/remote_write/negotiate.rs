//! Which version of the protocol a receiver speaks: asked once, with an empty
//! request of version 2.0.
//!
//! By the specification a receiver of 2.0 says how many samples it has written,
//! and one that doesn't know the version answers 415. Older ones look at no
//! content type and find nothing that they know in the message: they accept it
//! and say no number.

use super::encode::{Encoder, Version};
use super::{Client, WRITTEN};

impl Client {
    /// The newest version that the receiver speaks. Where it cannot be asked,
    /// version 1.0: every receiver speaks that one, and what is wrong will show.
    pub(super) async fn negotiate(&self) -> Version {
        let mut encoder = Encoder::new(Version::Two);
        let body = snap::raw::Encoder::new().compress_vec(encoder.finish()).unwrap_or_default();
        let answer = self.post(Version::Two, body.into()).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() && answer.headers().contains_key(WRITTEN) => {
                Version::Two
            }
            _ => Version::One,
        }
    }
}
