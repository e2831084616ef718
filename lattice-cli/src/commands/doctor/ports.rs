//! Are the ports that a node takes by default free?

use std::io::ErrorKind;
use std::net::TcpListener;

use super::Finding;

const PORTS: [(&str, u16); 1] = [("port 7700", 7700)];

pub fn free() -> Vec<Finding> {
    PORTS.iter().map(|(check, port)| look(check, *port)).collect()
}

fn look(check: &'static str, port: u16) -> Finding {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Finding::ok(check, "free for the admin API"),
        // A node that runs already is the likeliest reason, so this is no failure.
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::warning(
            check,
            "taken, by a node that runs already perhaps (`lattice nodes` tells); another node needs --listen",
        ),
        Err(error) => {
            Finding::failed(check, format!("cannot be opened ({error}); name another with --listen"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_only_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(look("port", port).state, State::Warning);
        drop(taken);
        assert_eq!(look("port", port).state, State::Ok);
    }
}
