//! What `lattice push` and `lattice pull` have in common: how registries are spoken with from this machine, and what to do where one
//! says no.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lattice_oci::{Access, Client, Credentials, Error, Login, SILENCE};
use lattice_proto::manifest::Reach;
use lattice_proto::{Ran, Reference};
use serde::Serialize;

use crate::admin::read;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Way {
    /// Speak plain HTTP with the registry
    #[arg(long, conflicts_with = "registry_ca")]
    insecure: bool,
    /// A certificate authority that the registry may be signed by, besides the system's
    // Nodes have an authority as well, and clap tells both apart by this.
    #[arg(id = "registry_ca", long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// An artifact in a registry, as `-o json` shows it.
#[derive(Serialize)]
pub(super) struct View {
    /// Pinned.
    pub reference: String,
    /// Of the component, as a lattice knows it.
    pub digest: String,
    pub size: u64,
    pub media_type: String,
}

impl Way {
    /// A client for one registry, and who it says that it is.
    pub fn client(&self, reference: &Reference) -> Result<(Client, Option<Login>), Failure> {
        let insecure: BTreeSet<String> =
            self.insecure.then(|| reference.host().to_owned()).into_iter().collect();
        let ca = self.ca.as_ref().map(|path| read("--ca", path)).transpose()?;
        // Whoever pulls by hand reads the answer himself, and a registry in his network has its token server there as well.
        let reach = Reach::Private;
        let access = Access { insecure, ca, elsewhere: BTreeSet::new(), reach, silence: SILENCE };
        let client = Client::new(access).map_err(|error| failure(error, reference))?;
        Ok((client, login(reference)?))
    }
}

/// What Docker and its like have kept for this user; none where there is no file.
fn login(reference: &Reference) -> Result<Option<Login>, Failure> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    let Some(file) = folder.map(|folder| folder.join("config.json")).filter(|file| file.exists()) else {
        return Ok(None);
    };
    let text = read("the credentials", &file)?;
    let login = Credentials::parse(&text).and_then(|credentials| credentials.of(reference));
    login.map_err(|reason| {
        Failure::new("credentials", Ran::No, format!("{}: {reason}", file.display())).misused()
    })
}

/// What happened, with what to do about it.
pub(super) fn failure(error: Error, reference: &Reference) -> Failure {
    let host = reference.host();
    let (kind, advice) = match &error {
        Error::Unauthorized { known: false, .. } => {
            ("unauthorized", format!("; `docker login {host}` writes some into ~/.docker/config.json"))
        }
        Error::Unauthorized { known: true, .. } => {
            ("unauthorized", format!("; `docker login {host}` writes others into ~/.docker/config.json"))
        }
        Error::Forbidden { .. } => ("denied", String::new()),
        Error::Unreachable { .. } => {
            ("unreachable", "; does it run, and are its host and its port the right ones?".to_owned())
        }
        Error::Broken { .. } => {
            ("unreachable", "; does it speak TLS, and was it to be asked by plain HTTP?".to_owned())
        }
        Error::InTheClear { .. } => ("tls", "; give --insecure if that is meant".to_owned()),
        Error::Tls { .. } => ("tls", "; name its authority with --ca FILE".to_owned()),
        Error::Authority(_) => ("tls", "; look at the file that --ca names".to_owned()),
        Error::TooSlow { .. } => ("deadline", String::new()),
        Error::Missing { .. } => ("not-found", String::new()),
        Error::TooLarge { .. } => ("too-large", String::new()),
        Error::Overrun { .. }
        | Error::WrongDigest { .. }
        | Error::Malformed { .. }
        | Error::Astray { .. }
        | Error::Inward { .. } => ("invalid-registry", String::new()),
        Error::NoComponent(_) => ("invalid-artifact", String::new()),
        Error::Status { status: 400, said, .. } if said.contains("HTTPS") => {
            ("tls", "; leave --insecure out".to_owned())
        }
        Error::Status { .. } => ("registry", String::new()),
    };
    Failure::new(kind, Ran::No, format!("{reference}: {error}{advice}"))
}
