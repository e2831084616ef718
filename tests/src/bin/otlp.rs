//! `otlp --listen HOST:PORT --out FILE`: receives spans and appends each to a file as one line of JSON.
//!
//! The first line on stdout says `listening on HOST:PORT`. It runs until it is killed.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;

use lattice_tests::otlp::{Receiver, Sink, Span};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    let (Some(listen), Some(out)) = (value("--listen"), value("--out")) else {
        eprintln!("otlp --listen HOST:PORT --out FILE");
        return ExitCode::from(2);
    };
    match run(listen, out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("otlp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(listen: &str, out: &str) -> anyhow::Result<()> {
    let file = Mutex::new(File::options().create(true).append(true).open(out)?);
    let sink: Sink = Box::new(move |span| append(&file, span));
    let receiver = Receiver::listen(listen, Some(sink)).await?;
    println!("listening on {}", receiver.address());
    std::future::pending::<()>().await;
    Ok(())
}

fn append(file: &Mutex<File>, span: &Span) {
    let line = serde_json::to_string(span).map(|json| json + "\n");
    let written = line.map_err(std::io::Error::from).and_then(|line| match file.lock() {
        Ok(mut file) => file.write_all(line.as_bytes()),
        Err(_) => Ok(()),
    });
    if let Err(error) = written {
        eprintln!("otlp: a span was lost: {error}");
    }
}
