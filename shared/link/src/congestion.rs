//! How fast a connection may send, and the other settings of the QUIC transport.
//!
//! Cubic alone collapses on a lossy long link: at 80 ms and 1 % random loss its window settles near 12 packets, and it
//! does not regrow while requests come singly. Between our own machines the window therefore never falls below a floor.
//! The floor ignores congestion below itself, so it is for provisioned links only, and must be set on both ends.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use quinn_proto::RttEstimator;
use serde::Deserialize;

/// Which congestion controller to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Cubic (RFC 9438) above a floor.
    #[default]
    Cubic,
    /// BBR, which has no bound while the application limits it. For links where the floor is too much.
    Bbr,
}

/// Settings of the transport, the same for both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// The congestion controller.
    pub congestion: Congestion,
    /// Bytes below which cubic's window does not fall.
    pub window_floor_bytes: u64,
    /// A connection that hears nothing for so long is closed.
    pub idle_timeout: Duration,
    /// How often the accepting end tries an idle connection; the connecting end does so more often.
    pub keep_alive: Duration,
    /// Streams, and so requests, that the server lets one connection have open.
    pub max_streams: u32,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            congestion: Congestion::default(),
            window_floor_bytes: 256 * 1024,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            max_streams: 1_000,
        }
    }
}

/// Flow control: bytes of one body in transit, enough for the longest request at once.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// Flow control: bytes of all bodies of a connection in transit, which bounds what a peer can make us hold.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Control, QPACK encoder and decoder (RFC 9114 section 6.2), and a few to ignore.
const UNI_STREAMS: u32 = 8;

impl Transport {
    /// Settings for the accepting end.
    pub(crate) fn server(self) -> Arc<TransportConfig> {
        Arc::new(self.config(self.max_streams, self.keep_alive))
    }

    /// Settings for the connecting end, on which a server opens no requests.
    pub(crate) fn client(self, probe: Duration) -> Arc<TransportConfig> {
        Arc::new(self.config(0, probe))
    }

    fn config(self, bidi_streams: u32, keep_alive: Duration) -> TransportConfig {
        let mut config = TransportConfig::default();
        let idle_ms = u32::try_from(self.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        config
            .max_concurrent_bidi_streams(bidi_streams.into())
            .max_concurrent_uni_streams(UNI_STREAMS.into())
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .receive_window(CONNECTION_WINDOW_BYTES.into())
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
            .keep_alive_interval(Some(keep_alive))
            .datagram_receive_buffer_size(None)
            .congestion_controller_factory(self.controllers());
        config
    }

    fn controllers(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self.congestion {
            Congestion::Cubic => Arc::new(Floored { bytes: self.window_floor_bytes, inner: Arc::default() }),
            Congestion::Bbr => Arc::new(BbrConfig::default()),
        }
    }
}

/// Makes cubic controllers with a floor.
struct Floored {
    bytes: u64,
    inner: Arc<CubicConfig>,
}

impl ControllerFactory for Floored {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Floor { bytes: self.bytes, inner: Arc::clone(&self.inner).build(now, current_mtu) })
    }
}

/// A controller whose window never falls below `bytes`.
struct Floor {
    bytes: u64,
    inner: Box<dyn Controller>,
}

impl Controller for Floor {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window().max(self.bytes)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.inner.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { bytes: self.bytes, inner: self.inner.clone_box() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window().max(self.bytes)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "quinn's controllers take the machine's Instant")]
    fn no_loss_brings_the_window_below_its_floor() {
        let transport = Transport::default();
        let now = Instant::now();
        let mut floored = transport.controllers().build(now, 1200);
        let mut bare: Box<dyn Controller> = Arc::new(CubicConfig::default()).build(now, 1200);
        for second in 1..50 {
            let sent = now + Duration::from_secs(second);
            floored.on_congestion_event(sent, sent, true, 1200);
            bare.on_congestion_event(sent, sent, true, 1200);
        }
        assert!(bare.window() < 16 * 1024, "the test no longer collapses cubic");
        assert_eq!(floored.window(), transport.window_floor_bytes);
        assert_eq!(floored.clone_box().window(), transport.window_floor_bytes);
        assert_eq!(floored.metrics().congestion_window, transport.window_floor_bytes);
    }
}
