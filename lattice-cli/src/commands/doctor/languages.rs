//! Can what compiles actors in other languages than Rust be got? It is fetched when the first of them is built, so what counts is what
//! that needs.

use lattice_setup::Language;

use super::Finding;
use crate::output::Format;
use crate::setup;

const OTHERS: [(&str, Language); 3] =
    [("javascript", Language::JavaScript), ("python", Language::Python), ("go", Language::Go)];

/// Those who write Rust need none of it.
pub async fn others(output: Format) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (check, language) in OTHERS {
        let found = setup::blocking(output, move |_| lattice_setup::find_language(language)).await;
        findings.push(match found {
            Ok(program) => {
                let program = program.display();
                Finding::ok(check, format!("{program}; `lattice build` gets the rest for the first actor"))
            }
            Err(failure) => Finding::warning(check, failure.to_string()),
        });
    }
    findings
}
