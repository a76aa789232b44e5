//! Promises about real servers and real processes: nothing here is mocked.

mod guardian;
mod servers;
mod support;
