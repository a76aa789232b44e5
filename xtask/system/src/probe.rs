//! How to tell that a part answers: by asking the part itself, never by guessing from its process.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A single question may take this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A question to a part, and which answer is good.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Probe {
    /// `GET url` answers 200.
    Ready {
        /// The whole URL.
        url: String,
    },
    /// Somebody takes connections.
    Listens {
        /// Host and port.
        address: String,
    },
    /// A connection signs in.
    Postgres {
        /// With user, password and database.
        url: String,
    },
    /// `PING` is answered.
    Redis {
        /// Host and port.
        address: String,
        /// Its password.
        password: String,
    },
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// What it answered instead, in words.
    pub async fn ask(&self) -> Result<(), String> {
        match tokio::time::timeout(ANSWER_WITHIN, self.ask_patiently()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    async fn ask_patiently(&self) -> Result<(), String> {
        match self {
            Self::Ready { url } => match get(url).await? {
                200 => Ok(()),
                status => Err(format!("it answers {status}")),
            },
            Self::Listens { address } => TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string()),
            Self::Postgres { url } => {
                let connection = sqlx::PgConnection::connect(url).await.map_err(|error| error.to_string())?;
                connection.close().await.map_err(|error| error.to_string())
            }
            Self::Redis { address, password } => ping(address, password)
                .await
                .map_err(|error| error.to_string())?
                .then_some(())
                .ok_or_else(|| "an answer that is not Redis', or a refused password".to_owned()),
        }
    }
}

async fn get(url: &str) -> Result<u16, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.to_string())?;
    let answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| if error.is_connect() { "nobody listens".to_owned() } else { error.to_string() })?;
    Ok(answer.status().as_u16())
}

async fn ping(address: &str, password: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+OK\r\n+PONG\r\n")
}
