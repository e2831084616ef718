//! What must not compile, and how clearly the compiler says why.

#[test]
fn an_actor_keeps_to_its_interface_or_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/contract_*.rs");
}

#[test]
fn what_cannot_travel_is_refused_where_it_stands() {
    trybuild::TestCases::new().compile_fail("tests/ui/shape_*.rs");
}

#[test]
fn a_check_that_cannot_be_asked_is_refused_where_it_stands() {
    trybuild::TestCases::new().compile_fail("tests/ui/check_*.rs");
}

#[test]
fn a_keyed_actor_that_cannot_be_served_or_saved_is_refused_where_it_stands() {
    trybuild::TestCases::new().compile_fail("tests/ui/keyed_*.rs");
}
