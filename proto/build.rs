//! Compiles the `.proto` files with a compiler written in Rust, so that nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);

    let wire = protox::compile(
        [
            "lattice/wire/v1/envelope.proto",
            "lattice/wire/v1/state.proto",
            "lattice/wire/v1/log.proto",
            "lattice/wire/v1/survey.proto",
            "lattice/wire/v1/trace.proto",
            "lattice/wire/v1/tap.proto",
            "lattice/wire/v1/http.proto",
        ],
        ["proto"],
    )?;
    prost_build::Config::new().bytes(["."]).compile_fds(wire)?;

    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        let admin = protox::compile(["lattice/admin/v1/admin.proto"], ["proto"])?;
        std::fs::write(out.join("admin_descriptor.bin"), prost::Message::encode_to_vec(&admin))?;
        tonic_prost_build::configure().bytes(".").compile_fds(admin)?;
    }
    Ok(())
}
