//! Names, resolved to what may be connected to and to nothing else.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::target::Guard;

/// Resolves a name and leaves only what may be connected to: nobody resolves it a second time, when it might lead elsewhere. A
/// written address is never resolved: that is judged by [`Guard::target`].
#[derive(Clone, Copy, Debug)]
pub struct Resolver(pub Guard);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0;
        async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::other("the name does not lead to the public Internet"));
            }
            Ok(allowed.into_iter())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(guard: Guard) -> io::Result<Vec<SocketAddr>> {
        Ok(Resolver(guard).call("localhost".parse().unwrap()).await?.collect())
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_leads_nowhere_unless_a_developer_says_so() {
        let refused = resolved(Guard { loopback: false }).await.unwrap_err();
        assert!(refused.to_string().contains("does not lead to the public Internet"), "{refused}");
        let allowed = resolved(Guard { loopback: true }).await.unwrap();
        assert!(!allowed.is_empty() && allowed.iter().all(|address| address.ip().is_loopback()), "{allowed:?}");
    }
}
