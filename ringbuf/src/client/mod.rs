//! The client library: a volume as a thing to read and write.
//!
//! [`Client`] is shared by any number of threads and blocks. [`Queue`] has one owner and keeps many requests in flight
//! without lock, allocation or second copy. Each is a session of its own: a flush of either covers what was
//! acknowledged to the other.
//!
//! ```no_run
//! use holdfast_ringbuf::client::{Client, Options};
//!
//! let vm1 = Client::connect("/run/holdfast/holdfast.sock", "vm1", Options::default())?;
//! vm1.write_at(&[7; 4096], 8192)?;
//! if let Err(error) = vm1.flush() {
//!     eprintln!("not durable: {error}"); // and what was written is still held, see `error.failure_id()`
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocking;
mod connection;
mod error;
mod lives;
mod options;
mod queue;
mod slots;
mod submit;
mod waiter;

pub use blocking::Client;
pub use error::{ConnectError, Error, Failure};
pub use options::Options;
pub use queue::{Done, Queue};
pub use waiter::Waiter;
