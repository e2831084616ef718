//! Where a body is cut: what goes with the head, and what follows.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use lattice_proto::http::{Beginning, End};

use crate::replica::{Body, Broken};

/// How long a head waits for its body, so that a small answer is one message. Guests say the head first.
const GATHER: Duration = Duration::from_millis(1);

/// What goes with the head, what was read beyond that, and what was not read.
pub(in crate::router) async fn begin(mut body: Body, limit: usize) -> (Beginning, Bytes, Body) {
    let mut bytes = BytesMut::new();
    let mut end = None;
    let read = async {
        while bytes.len() <= limit {
            if body.is_end_stream() {
                end = Some(End::default());
                return None;
            }
            match body.frame().await.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => bytes.extend_from_slice(&data),
                Some(Ok(Err(frame))) => {
                    end = Some(End { trailers: frame.into_trailers().ok() });
                    return None;
                }
                Some(Err(broken)) => return Some(broken),
                None => {
                    end = Some(End::default());
                    return None;
                }
            }
        }
        None
    };
    let broken = tokio::time::timeout(GATHER, read).await.ok().flatten();
    if let Some(broken) = broken {
        body = StreamBody::new(stream::iter([Err(broken)])).boxed_unsync();
    }
    let mut bytes = bytes.freeze();
    if bytes.len() > limit {
        // There is more of it in any case.
        if let Some(end) = end.take() {
            body = ended(end);
        }
    }
    let beginning = bytes.split_to(bytes.len().min(limit));
    (Beginning { bytes: beginning, end }, bytes, body)
}

/// A body of which nothing is left but its end.
pub(in crate::router) fn ended(End { trailers }: End) -> Body {
    StreamBody::new(stream::iter(trailers.map(|trailers| Ok(Frame::trailers(trailers))))).boxed_unsync()
}

/// A body of which all is there.
pub(in crate::router) fn full(bytes: Bytes, end: End) -> Body {
    match end {
        End { trailers: None } => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        end => begun(bytes, ended(end)),
    }
}

/// A body whose beginning is there.
pub(in crate::router) fn begun(first: Bytes, rest: Body) -> Body {
    Begun { first: Some(first), rest }.boxed_unsync()
}

struct Begun {
    first: Option<Bytes>,
    rest: Body,
}

impl hyper::body::Body for Begun {
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

    #[tokio::test]
    async fn a_small_body_goes_whole_and_of_a_large_one_nothing_is_lost() {
        let (beginning, rest, _) = begin(parts(vec![Ok("ab"), Ok("cd")]), 8).await;
        assert_eq!((&*beginning.bytes, beginning.end.is_some(), rest.len()), (&b"abcd"[..], true, 0));
        let (beginning, _, _) = begin(Empty::new().map_err(|never| match never {}).boxed_unsync(), 8).await;
        assert!(beginning.bytes.is_empty() && beginning.end.is_some());
        // What is over the limit, and what was not read yet.
        let (beginning, rest, body) = begin(parts(vec![Ok("abcdef"), Ok("ghijkl"), Ok("m")]), 8).await;
        assert_eq!(
            (&*beginning.bytes, beginning.end.is_some(), &*rest),
            (&b"abcdefgh"[..], false, &b"ijkl"[..])
        );
        assert_eq!(body.collect().await.unwrap().to_bytes(), "m");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_does_so_after_what_was_there() {
        let (beginning, rest, body) = begin(parts(vec![Ok("ab"), Err(Broken("x".to_owned()))]), 8).await;
        assert_eq!((&*beginning.bytes, beginning.end.is_some(), rest.len()), (&b"ab"[..], false, 0));
        assert_eq!(body.collect().await.unwrap_err().0, "x");
    }

    #[tokio::test]
    async fn a_body_that_is_slow_does_not_keep_its_head() {
        let (sender, frames) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Broken>>();
        sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"a")))).unwrap();
        let (beginning, _, body) = begin(StreamBody::new(frames).boxed_unsync(), 8).await;
        assert_eq!((&*beginning.bytes, beginning.end.is_some()), (&b"a"[..], false));
        sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"b")))).unwrap();
        drop(sender);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "b");
    }

    #[tokio::test]
    async fn a_beginning_and_its_end_make_a_body() {
        let trailers: hyper::HeaderMap =
            [(hyper::header::ETAG, hyper::header::HeaderValue::from_static("x"))].into_iter().collect();
        let end = End { trailers: Some(trailers.clone()) };
        let body = full(Bytes::from_static(b"a"), end);
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "a");
        let body = full(Bytes::from_static(b"a"), End::default());
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(1));
    }
}
