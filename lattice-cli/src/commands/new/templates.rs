//! The files of new projects, for each language.

use lattice_setup::Language;

/// A file's place in the project and its template. `{{name}}` is the actor, `{{sdk}}` the dependency on Rust's SDK, and
/// `{{serde}}` what a state is saved with.
pub type File = (&'static str, &'static str);

const MANIFEST: &str = include_str!("lattice.toml.template");

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("rust/Cargo.toml.template")),
    ("src/lib.rs", include_str!("rust/lib.rs.template")),
    ("lattice.toml", MANIFEST),
    ("README.md", include_str!("rust/README.md.template")),
    (".gitignore", include_str!("rust/gitignore.template")),
];

const KEYED: &[File] = &[
    ("Cargo.toml", include_str!("rust/Cargo.toml.template")),
    ("src/lib.rs", include_str!("rust/keyed/lib.rs.template")),
    ("lattice.toml", include_str!("rust/keyed/lattice.toml.template")),
    ("README.md", include_str!("rust/keyed/README.md.template")),
    (".gitignore", include_str!("rust/gitignore.template")),
];

const JAVASCRIPT: &[File] = &[
    ("package.json", include_str!("javascript/package.json.template")),
    ("src/actor.js", include_str!("javascript/actor.js.template")),
    ("test/actor.test.js", include_str!("javascript/actor.test.js.template")),
    ("lattice.toml", MANIFEST),
    ("README.md", include_str!("javascript/README.md.template")),
    (".gitignore", include_str!("javascript/gitignore.template")),
];

const PYTHON: &[File] = &[
    ("pyproject.toml", include_str!("python/pyproject.toml.template")),
    ("actor.py", include_str!("python/actor.py.template")),
    ("test_actor.py", include_str!("python/test_actor.py.template")),
    ("lattice.toml", MANIFEST),
    ("README.md", include_str!("python/README.md.template")),
    (".gitignore", include_str!("python/gitignore.template")),
];

const GO: &[File] = &[
    ("go.mod", include_str!("go/go.mod.template")),
    ("main.go", include_str!("go/main.go.template")),
    ("main_test.go", include_str!("go/main_test.go.template")),
    ("lattice.toml", MANIFEST),
    ("README.md", include_str!("go/README.md.template")),
    (".gitignore", include_str!("go/gitignore.template")),
];

/// The files of a project; those of a keyed actor, which is Rust's only, where that is wanted.
pub fn files(language: Language, keyed: bool) -> &'static [File] {
    match language {
        Language::Rust if keyed => KEYED,
        Language::Rust => RUST,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::Go => GO,
    }
}
