//! Where a body is cut: what goes with the head, and what follows.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::CONTENT_LENGTH;
use lattice_proto::http::{Beginning, End};

use super::{Body, Broken};

/// How long a head waits for its body, so that a small answer is sent in one piece. Guests say the head first.
const GATHER: Duration = Duration::from_millis(1);

/// The most bytes of a body that wait for its head, and go with it where they fit.
pub const SMALL: usize = 64 << 10;

/// A body of which the beginning is there.
pub struct Begun {
    first: Bytes,
    rest: Rest,
}

/// What comes after the beginning.
enum Rest {
    End(End),
    Body(Body),
}

impl Begun {
    /// One that goes on.
    pub fn new(first: Bytes, rest: Body) -> Self {
        Self { first, rest: Rest::Body(rest) }
    }

    /// One of which all is there.
    pub fn whole(first: Bytes, end: End) -> Self {
        Self { first, rest: Rest::End(end) }
    }

    /// Reads for [`GATHER`] at most, and no further than the frame that goes beyond `limit` bytes.
    ///
    /// # Errors
    /// When it breaks off meanwhile.
    pub async fn read<B>(mut body: B, limit: usize) -> Result<Self, Broken>
    where
        B: hyper::body::Body<Data = Bytes, Error = Broken> + Send + Unpin + 'static,
    {
        let mut first = BytesMut::new();
        let reading = async {
            while first.len() <= limit {
                if body.is_end_stream() {
                    return Ok(Some(End::default()));
                }
                match body.frame().await.transpose()?.map(Frame::into_data) {
                    Some(Ok(data)) => first.extend_from_slice(&data),
                    Some(Err(frame)) => return Ok(Some(End { trailers: frame.into_trailers().ok() })),
                    None => return Ok(Some(End::default())),
                }
            }
            Ok(None)
        };
        let end = tokio::time::timeout(GATHER, reading).await.unwrap_or(Ok(None))?;
        Ok(match end {
            Some(end) => Self::whole(first.freeze(), end),
            None => Self::new(first.freeze(), body.boxed_unsync()),
        })
    }

    /// Whether all of it is there.
    pub fn is_whole(&self) -> bool {
        matches!(self.rest, Rest::End(_))
    }

    /// What goes with the head, at most `limit` bytes; and of a body that is longer than that, what was read beyond it and what
    /// was not read.
    pub fn cut(self, limit: usize) -> (Beginning, Option<(Bytes, Body)>) {
        let Self { mut first, rest } = self;
        let bytes = first.split_to(first.len().min(limit));
        match rest {
            Rest::End(end) if first.is_empty() => (Beginning { bytes, end: Some(end) }, None),
            rest => (Beginning { bytes, end: None }, Some((first, rest.into_body()))),
        }
    }

    /// The body as it was.
    pub fn into_body(self) -> Body {
        let Self { first, rest } = self;
        match rest {
            Rest::End(End { trailers: None }) => {
                Full::new(first).map_err(|never| match never {}).boxed_unsync()
            }
            rest => Continued { first: Some(first), rest: rest.into_body() }.boxed_unsync(),
        }
    }

    /// The same as the body of an answer with these headers.
    pub fn into_answer(self, headers: &HeaderMap) -> Body {
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let is = Some(self.first.len());
        // An answer to HEAD says what it would have. Its body must not claim to be of another length.
        match lengths.all(|length| length.to_str().ok().and_then(|length| length.parse().ok()) == is) {
            true => self.into_body(),
            false => Continued { first: Some(self.first), rest: self.rest.into_body() }.boxed_unsync(),
        }
    }
}

impl Rest {
    fn into_body(self) -> Body {
        match self {
            Rest::Body(body) => body,
            Rest::End(End { trailers }) => {
                let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
                StreamBody::new(stream::iter(trailers)).boxed_unsync()
            }
        }
    }
}

/// What was read of a body, and then the rest.
struct Continued {
    first: Option<Bytes>,
    rest: Body,
}

impl hyper::body::Body for Continued {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.first.take().filter(|first| !first.is_empty()) {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body_util::Empty;

    fn parts(parts: Vec<Result<&'static str, Broken>>) -> Body {
        let frame = |part: Result<&'static str, Broken>| part.map(|part| Frame::data(Bytes::from(part)));
        StreamBody::new(stream::iter(parts.into_iter().map(frame))).boxed_unsync()
    }

    /// What goes with the head, whether that is all, what was read beyond, and all that follows.
    async fn cut(begun: Begun, limit: usize) -> (Bytes, bool, Bytes, Bytes) {
        let (Beginning { bytes, end }, rest) = begun.cut(limit);
        let (read, rest) = match rest {
            Some((read, rest)) => (read, rest.collect().await.unwrap().to_bytes()),
            None => Default::default(),
        };
        (bytes, end.is_some(), read, rest)
    }

    #[tokio::test]
    async fn a_small_body_goes_whole_and_of_a_large_one_nothing_is_lost() {
        let small = Begun::read(parts(vec![Ok("ab"), Ok("cd")]), 8).await.unwrap();
        assert!(small.is_whole());
        assert_eq!(cut(small, 8).await, ("abcd".into(), true, Bytes::new(), Bytes::new()));
        let none = Begun::read(Empty::new().map_err(|never| match never {}), 8).await.unwrap();
        assert_eq!(cut(none, 8).await, (Bytes::new(), true, Bytes::new(), Bytes::new()));
        // What is over the limit, and what was not read yet.
        let large =
            || async { Begun::read(parts(vec![Ok("abcdef"), Ok("ghijkl"), Ok("m")]), 8).await.unwrap() };
        assert!(!large().await.is_whole());
        assert_eq!(cut(large().await, 8).await, ("abcdefgh".into(), false, "ijkl".into(), "m".into()));
        assert_eq!(large().await.into_body().collect().await.unwrap().to_bytes(), "abcdefghijklm");
        // All of it is there, and more than may go with the head.
        let small = Begun::read(parts(vec![Ok("ab"), Ok("cd")]), 8).await.unwrap();
        assert_eq!(cut(small, 3).await, ("abc".into(), false, "d".into(), Bytes::new()));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_at_once_says_so() {
        let broken = Begun::read(parts(vec![Ok("ab"), Err(Broken("x".to_owned()))]), 8).await;
        assert_eq!(broken.err().map(|broken| broken.0).as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn a_body_that_is_slow_does_not_keep_its_head() {
        let (sender, frames) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Broken>>();
        sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"a")))).unwrap();
        let (beginning, rest) = Begun::read(StreamBody::new(frames), 8).await.unwrap().cut(8);
        assert_eq!((&*beginning.bytes, beginning.end.is_some()), (&b"a"[..], false));
        sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"b")))).unwrap();
        drop(sender);
        assert_eq!(rest.unwrap().1.collect().await.unwrap().to_bytes(), "b");
    }

    #[tokio::test]
    async fn a_beginning_and_its_end_make_a_body() {
        use hyper::header::{ETAG, HeaderValue};
        let begun = |trailers: Option<HeaderMap>| Begun::whole(Bytes::from_static(b"a"), End { trailers });
        let trailers: HeaderMap = [(ETAG, HeaderValue::from_static("x"))].into_iter().collect();
        let collected = begun(Some(trailers.clone())).into_body().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "a");
        let exact = |body: Body| hyper::body::Body::size_hint(&body).exact();
        assert_eq!(exact(begun(None).into_body()), Some(1));
        let of =
            |length: &'static str| [(CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect();
        assert_eq!(exact(begun(None).into_answer(&of("1"))), Some(1));
        assert_eq!(exact(begun(None).into_answer(&of("5"))), None, "it does not say what its head does not");
    }
}
