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
        if let Some(version) = self.spoken.get() {
            return *version;
        }
        let mut encoder = Encoder::new(Version::Two);
        let body = snap::raw::Encoder::new().compress_vec(encoder.finish()).unwrap_or_default();
        let answer = self.post(Version::Two, body.into()).send().await;
        match answer {
            Ok(answer) => {
                let says = answer.status().is_success() && answer.headers().contains_key(WRITTEN);
                let version = if says { Version::Two } else { Version::One };
                // One in trouble may say more when it is well.
                if !answer.status().is_server_error() {
                    let _ = self.spoken.set(version);
                }
                version
            }
            Err(_) => Version::One,
        }
    }
}
