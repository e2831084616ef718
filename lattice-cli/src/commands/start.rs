//! `lattice start`: runs a node in this process. The node does the rest; here only its options are gathered.

use std::path::PathBuf;

use lattice_proto::Ran;

use crate::cli::Global;
use crate::failure::{Failure, sentence};
use crate::output::Format;
use crate::{lifeline, setup};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's name, stable over restarts [default: the host name]
    #[arg(long)]
    name: Option<String>,
    /// The lattice to join [default: default]
    #[arg(long, value_name = "ID")]
    lattice: Option<String>,
    /// The NATS servers to join; without, the node starts one of its own
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    nats: Vec<String>,
    /// A NATS credentials file
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// The certificate authority that NATS servers must be signed by
    #[arg(long, value_name = "FILE")]
    nats_tls_ca: Option<PathBuf>,
    /// Where the admin API listens; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The certificate that the admin API shows, in PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    admin_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    admin_tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate that this authority signed
    #[arg(long, value_name = "FILE")]
    admin_client_ca: Option<PathBuf>,
    /// Let in only clients with a token of this file; `lattice token new` makes its entries
    #[arg(long, value_name = "FILE")]
    admin_tokens: Option<PathBuf>,
    /// Listen beyond loopback without TLS, or without asking who comes
    #[arg(long)]
    admin_insecure: bool,
    /// Where the HTTP gateway listens, such as 0.0.0.0:7780; without, there is none
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// The certificate that the HTTP gateway shows, in PEM; read again when it changes
    #[arg(long, value_name = "FILE")]
    http_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    http_tls_key: Option<PathBuf>,
    /// Write a line for each request to the HTTP gateway
    #[arg(long)]
    http_access_log: bool,
    /// A label for placement; may be given several times
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<String>,
    /// The node's data folder [default: $XDG_DATA_HOME/lattice]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How lines are written to standard error: text or json [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// A file with the same settings; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when stdin is closed
    #[arg(long, hide = true)]
    while_stdin_is_open: bool,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    if args.while_stdin_is_open {
        lifeline::stop_after_stdin();
    }
    let nats_server = if args.nats.is_empty() { own_server(&args, global.output).await? } else { None };
    let options = lattice_node::Options {
        name: args.name,
        lattice: args.lattice,
        nats: args.nats,
        nats_creds: args.nats_creds,
        nats_tls_ca: args.nats_tls_ca,
        listen: args.listen,
        admin: lattice_node::AdminOptions {
            tls_cert: args.admin_tls_cert,
            tls_key: args.admin_tls_key,
            client_ca: args.admin_client_ca,
            tokens: args.admin_tokens,
            insecure: args.admin_insecure,
        },
        http: lattice_node::HttpOptions {
            listen: args.http,
            tls_cert: args.http_tls_cert,
            tls_key: args.http_tls_key,
            access_log: args.http_access_log,
        },
        labels: args.labels,
        data: args.data,
        config: args.config,
        nats_server,
        log_format: args.log_format,
        verbosity: global.verbose,
    };
    lattice_node::run(options).await.map_err(|error| {
        use lattice_node::{Error, admin};
        let is_setting = matches!(error, Error::Config(_) | Error::Admin(admin::Error::Exposed(_)));
        let failure = Failure::new("start", Ran::No, sentence(&anyhow::Error::from(error)));
        if is_setting { failure.misused() } else { failure }
    })
}

/// The program for a server of the node's own.
async fn own_server(args: &Args, output: Format) -> Result<Option<PathBuf>, Failure> {
    // The file may name servers, so that none of our own is needed: take what is here, but get nothing.
    let only_look = args.config.is_some();
    let found = setup::blocking(output, move |report| {
        if only_look {
            Ok(lattice_setup::find_nats_server(report).ok().flatten())
        } else {
            lattice_setup::nats_server(report).map(Some)
        }
    });
    let server = found.await.map_err(|failure| {
        let message = format!("{failure}; or join a server that runs already with --nats URL");
        Failure::new("no-nats-server", Ran::No, message)
    })?;
    Ok(server.map(|server| server.path))
}

fn label(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(text.to_owned()),
        _ => Err("write a label as KEY=VALUE, such as zone=a".to_owned()),
    }
}
