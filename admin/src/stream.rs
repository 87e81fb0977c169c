//! Answers that are too large to be held: lines of JSON, sent as they come, raw bytes between them where a line says so.
//!
//! ```text
//! {"item":{…}}        anything, as often as there is something
//! {"bytes":5}         so many raw bytes stand behind this line's end
//! hello
//! {"failed":{…}}      the error object: the answer ends early
//! "done"              the answer is whole; one without this or `failed` was cut off
//! ```
//! A reader that is slow makes the writer wait; one that goes away ends it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::problem::Problem;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line<T> {
    /// Something.
    Item(T),
    /// So many raw bytes follow.
    Bytes(u64),
    /// The answer ends early.
    Failed(Problem),
    /// The answer is whole.
    Done,
}

/// The longest line that is honest.
pub const MAX_LINE: usize = 16 << 20;

/// How much is gathered before it is sent.
const PORTION: usize = 32 << 10;

/// The writing end.
#[derive(Debug)]
pub struct Outlet {
    out: mpsc::Sender<Bytes>,
    gathered: Vec<u8>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub struct Gone;

impl Outlet {
    /// Both ends: what is written here, the response gives.
    pub fn new() -> (Self, Response) {
        let (out, portions) = mpsc::channel(4);
        let body = Body::new(Portions(portions));
        let response = ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response();
        (Self { out, gathered: Vec::new() }, response)
    }

    /// A line; `true` says that enough is gathered to be sent.
    fn gather<T: Serialize>(&mut self, line: &Line<T>) -> bool {
        // Our own shapes have string keys only, so they always serialise; else the reader finds the answer cut off.
        if serde_json::to_writer(&mut self.gathered, line).is_ok() {
            self.gathered.push(b'\n');
        }
        self.gathered.len() >= PORTION
    }

    fn portion(&mut self) -> Bytes {
        std::mem::take(&mut self.gathered).into()
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let portion = self.portion();
        self.out.send(portion).await.map_err(|_| Gone)
    }

    /// Writes an item, from a thread that may wait.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn blocking_item<T: Serialize>(&mut self, item: T) -> Result<(), Gone> {
        match self.gather(&Line::Item(item)) {
            true => {
                let portion = self.portion();
                self.out.blocking_send(portion).map_err(|_| Gone)
            }
            false => Ok(()),
        }
    }

    /// Writes the end, from a thread that may wait.
    pub fn blocking_end(mut self, end: Result<(), Problem>) {
        self.gather(&end_line(end));
        let portion = self.portion();
        let _ = self.out.blocking_send(portion);
    }

    /// Writes an item and sends what was gathered.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn item<T: Serialize>(&mut self, item: T) -> Result<(), Gone> {
        self.gather(&Line::Item(item));
        self.flush().await
    }

    /// Writes raw bytes.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn bytes(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.gather(&Line::<()>::Bytes(bytes.len() as u64));
        self.flush().await?;
        self.out.send(bytes).await.map_err(|_| Gone)
    }

    /// Writes the end.
    pub async fn end(mut self, end: Result<(), Problem>) {
        self.gather(&end_line(end));
        let _ = self.flush().await; // Nobody there: then nobody needs to know.
    }
}

fn end_line(end: Result<(), Problem>) -> Line<()> {
    match end {
        Ok(()) => Line::Done,
        Err(problem) => Line::Failed(problem),
    }
}

/// The response's body.
struct Portions(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Portions {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|portion| portion.map(|portion| Ok(Frame::data(portion))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn lines_and_raw_bytes_come_in_order_and_the_end_is_said() {
        let (mut outlet, response) = Outlet::new();
        let writing = tokio::spawn(async move {
            outlet.item("a\nb").await.unwrap();
            outlet.bytes(Bytes::from_static(b"raw\r\n")).await.unwrap();
            outlet.end(Ok(())).await;
        });
        assert_eq!(text(response).await, "{\"item\":\"a\\nb\"}\n{\"bytes\":5}\nraw\r\n\"done\"\n");
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_says_why_and_a_reader_that_left_is_noticed() {
        let (outlet, response) = Outlet::new();
        tokio::task::spawn_blocking(|| outlet.blocking_end(Err(Problem::local("disk")))).await.unwrap();
        let said = text(response).await;
        assert_eq!(said, "{\"failed\":{\"error\":\"disk\",\"fault\":\"local\"}}\n");
        let line: Line<()> = serde_json::from_str(said.trim()).unwrap();
        assert_eq!(line, Line::Failed(Problem::local("disk")));

        let (mut outlet, response) = Outlet::new();
        drop(response);
        assert!(outlet.item(1).await.is_err());
    }
}
