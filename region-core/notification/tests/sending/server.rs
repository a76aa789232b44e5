//! A strict mail server. A real one cannot be told to fail; this one does what the recipient's name says:
//!
//! - `gone`: 550 5.1.1 to the recipient; `relay`: 550 5.7.1 to the recipient, each time
//! - `busy`: 451 to the recipient twice, and takes the mail then
//! - `spam`: 554 after the mail
//! - `cut`: takes the first mail and hangs up without a word
//! - `slow`: says nothing after the mail until it is released
//!
//! Whoever breaks a rule of RFC 5321 or 5322 is complained about.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// `\0ada\0secret`, in base64.
const CREDENTIALS: &str = "AGFkYQBzZWNyZXQ=";

/// A mail that was taken, or would have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: String,
    /// As it came, without the dots that SMTP adds.
    pub(crate) text: String,
}

impl Taken {
    /// A header's value, unfolded.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let head = self.text.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }
}

/// Whether and when connections are encrypted.
#[derive(Clone)]
pub(crate) enum Secured {
    Never,
    ByStartTls(TlsAcceptor),
    FromTheStart(TlsAcceptor),
}

#[derive(Default)]
struct Book {
    taken: Vec<Taken>,
    /// Recipients of every attempt, in order.
    asked: Vec<String>,
    complaints: Vec<String>,
    connections: usize,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    /// How many recipients were asked for so far.
    asked: Arc<watch::Sender<usize>>,
    release: Arc<Semaphore>,
    secured: Secured,
}

/// What the connection does after a command.
enum Next {
    Say(&'static str),
    StartTls,
    HangUp,
}

/// The mail under way on a connection.
#[derive(Default)]
struct Session {
    greeted: bool,
    signed_in: bool,
    from: Option<String>,
    to: Option<String>,
}

impl Server {
    pub(crate) async fn start(secured: Secured) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            book: Arc::default(),
            asked: Arc::new(watch::Sender::new(0)),
            release: Arc::new(Semaphore::new(0)),
            secured,
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.book().connections += 1;
                tokio::spawn(serving.clone().connected(stream));
            }
        });
        server
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        assert_eq!(self.book().complaints, [""; 0]);
        self.book().taken.clone()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.book().asked.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.book().connections
    }

    /// Until a recipient was asked for so many times in all.
    pub(crate) async fn until_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }

    /// Lets every slow answer go.
    pub(crate) fn release(&self) {
        self.release.close();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    async fn connected(self, stream: tokio::net::TcpStream) {
        match self.secured.clone() {
            Secured::FromTheStart(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve(stream, true, true).await;
                }
            }
            Secured::Never => drop(self.serve(stream, true, false).await),
            Secured::ByStartTls(tls) => {
                let Some(stream) = self.serve(stream, true, false).await else { return };
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve(stream, false, true).await;
                }
            }
        }
    }

    /// Serves until the client goes, or gives the stream back to be encrypted.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, greet: bool, secret: bool) -> Option<S> {
        let (mut stream, mut session) = (BufReader::new(stream), Session::default());
        if greet {
            say(&mut stream, "220 mail.test ready").await?;
        }
        loop {
            let line = read_line(&mut stream).await?;
            let next = if line == "DATA" {
                self.take(&mut stream, &mut session).await?
            } else {
                self.command(&mut session, &line, secret)
            };
            match next {
                Next::Say(words) => say(&mut stream, words).await?,
                Next::StartTls => {
                    say(&mut stream, "220 go on").await?;
                    return Some(stream.into_inner());
                }
                Next::HangUp => return None,
            }
        }
    }

    fn command(&self, session: &mut Session, line: &str, secret: bool) -> Next {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let may_sign_in = !matches!(self.secured, Secured::Never);
        match verb {
            "EHLO" => {
                *session = Session { greeted: true, ..Session::default() };
                Next::Say(match (&self.secured, secret) {
                    (Secured::ByStartTls(_), false) => "250-mail.test\r\n250 STARTTLS",
                    (_, true) => "250-mail.test\r\n250 AUTH PLAIN",
                    _ => "250 mail.test",
                })
            }
            "STARTTLS" if matches!(self.secured, Secured::ByStartTls(_)) && !secret => Next::StartTls,
            "AUTH" if secret && line == format!("AUTH PLAIN {CREDENTIALS}") => {
                session.signed_in = true;
                Next::Say("235 welcome")
            }
            "AUTH" => Next::Say("535 5.7.8 wrong"),
            "MAIL" if !session.greeted => self.complain("MAIL before EHLO"),
            "MAIL" if may_sign_in && !session.signed_in => Next::Say("530 5.7.0 sign in first"),
            "MAIL" => self.noted(&mut session.from, line.strip_prefix("MAIL FROM:")),
            "RCPT" if session.from.is_none() => self.complain("RCPT before MAIL"),
            "RCPT" => self.recipient(session, line),
            "NOOP" => Next::Say("250 here"),
            "QUIT" => Next::HangUp,
            _ => self.complain(line),
        }
    }

    fn recipient(&self, session: &mut Session, line: &str) -> Next {
        let noted = self.noted(&mut session.to, line.strip_prefix("RCPT TO:"));
        let to = session.to.clone().unwrap_or_default();
        let before = self.book().asked.iter().filter(|asked| **asked == to).count();
        self.book().asked.push(to.clone());
        self.asked.send_modify(|asked| *asked += 1);
        let refusal = match to.split('@').next().unwrap_or_default() {
            "gone" => "550 5.1.1 no such user",
            "relay" => "550 5.7.1 not for you",
            "busy" if before < 2 => "451 4.3.0 later",
            _ => return noted,
        };
        session.to = None;
        Next::Say(refusal)
    }

    /// Reads the mail and answers as its recipient's name says.
    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        session: &mut Session,
    ) -> Option<Next> {
        let (Some(from), Some(to)) = (session.from.take(), session.to.take()) else {
            return Some(self.complain("DATA before RCPT"));
        };
        say(stream, "354 go on").await?;
        let mut text = String::new();
        loop {
            let line = read_line(stream).await?;
            if line == "." {
                break;
            }
            if line.len() > 998 || !line.is_ascii() {
                return Some(self.complain("a line that no mail may have"));
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
        let taken = Taken { from, to, text };
        for name in ["From", "To", "Date", "Message-ID", "Subject", "MIME-Version"] {
            if taken.header(name).is_none() {
                return Some(self.complain(&format!("no {name} in {}", taken.text)));
            }
        }
        let name = taken.to.split('@').next().unwrap_or_default().to_owned();
        if name == "spam" {
            return Some(Next::Say("554 5.7.1 not this"));
        }
        if name == "slow" {
            drop(self.release.acquire().await);
        }
        let first = !self.book().taken.iter().any(|earlier| earlier.to == taken.to);
        self.book().taken.push(taken);
        Some(if name == "cut" && first { Next::HangUp } else { Next::Say("250 taken") })
    }

    fn noted(&self, place: &mut Option<String>, address: Option<&str>) -> Next {
        match address.and_then(|address| address.strip_prefix('<')?.strip_suffix('>')) {
            Some(address) => {
                *place = Some(address.to_owned());
                Next::Say("250 noted")
            }
            None => self.complain("an address without its brackets"),
        }
    }

    fn complain(&self, of: &str) -> Next {
        self.book().complaints.push(of.to_owned());
        Next::Say("503 5.5.1 no")
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, words: &str) -> Option<()> {
    stream.write_all(format!("{words}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// A line without its end, which must be CRLF.
async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    line.strip_suffix("\r\n").map(str::to_owned)
}
