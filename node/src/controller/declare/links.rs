//! Whether links hold: what an artifact imports is linked to an actor that exports the same. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lattice_proto::manifest::Settings;
use lattice_proto::{ActorName, InterfaceName, Operation};

use crate::engine::{Links, Sided, links};

/// Problems that are told of one actor. Whoever links what does not fit need not read all at once.
const MOST: usize = 8;

/// An actor as links see it.
#[derive(Debug, Clone)]
pub(super) struct Linked {
    pub(super) settings: Settings,
    pub(super) is_http: bool,
    pub(super) links: Arc<Links>,
    /// The revision by which it is known, where it serves beside a later version that is on trial.
    pub(super) beside: Option<u64>,
}

/// Actors with all versions of them that get calls: the latest, and the one that is beside it while that is on trial.
pub(super) type Versions = BTreeMap<ActorName, Vec<Linked>>;

/// What is wrong with the links of actors that are declared, in one text: with their own, and with those of others that lead to them, or to
/// what the app had `before`. What was deployed earlier is held only to what would change.
pub(super) fn hold(own: &Versions, others: &Versions, before: &BTreeSet<ActorName>) -> Result<(), String> {
    let find = |name: &ActorName| own.get(name).or_else(|| others.get(name)).map_or(&[][..], Vec::as_slice);
    let is_new = |one: &&Linked| one.beside.is_none();
    for (name, versions) in own {
        versions.iter().filter(is_new).try_for_each(|one| one.check(name, find))?;
    }
    let earlier = own.iter().flat_map(|(name, versions)| {
        versions.iter().filter(|one| one.beside.is_some()).map(move |one| (name, one))
    });
    let deployed = others.iter().flat_map(|(name, versions)| versions.iter().map(move |one| (name, one)));
    for (name, one) in earlier.chain(deployed) {
        one.check_towards(own, before).map_err(|problem| {
            format!(
                "{}, which is deployed, is linked to what would no longer fit: {problem}; export another version of the interface \
                 beside this one",
                one.shown(name)
            )
        })?;
    }
    Ok(())
}

impl Linked {
    /// What is wrong with its links, in one text; `find` knows all actors that there are to be.
    fn check<'a>(&self, name: &ActorName, find: impl Fn(&ActorName) -> &'a [Self]) -> Result<(), String> {
        let mut problems = self.without_end(name);
        for (interface, functions) in &self.links.imports {
            let Some(to) = self.settings.link(interface) else { continue };
            match find(to) {
                [] => problems.push(cannot(
                    interface,
                    &format!("`{to}`"),
                    "is neither in this manifest nor deployed; deploy it first, or with it",
                )),
                targets => {
                    let found =
                        targets.iter().flat_map(|target| differences(interface, functions, to, target));
                    problems.extend(found);
                }
            }
        }
        told(problems)
    }

    /// What would be wrong with those of its links that lead to one of these actors, or to one that would be gone.
    fn check_towards(&self, actors: &Versions, before: &BTreeSet<ActorName>) -> Result<(), String> {
        let mut problems = Vec::new();
        for (interface, functions) in &self.links.imports {
            let Some(to) = self.settings.link(interface) else { continue };
            match actors.get(to) {
                Some(targets) => {
                    // What serves beside it did so before, and may be just what a new version is to mend.
                    let targets = targets.iter().filter(|target| target.beside.is_none());
                    problems.extend(targets.flat_map(|target| differences(interface, functions, to, target)));
                }
                None if before.contains(to) => {
                    problems.push(cannot(interface, &format!("`{to}`"), "would be gone"));
                }
                None => {}
            }
        }
        told(problems)
    }

    /// By its name, and by its revision where the name alone means another one.
    fn shown(&self, name: &ActorName) -> String {
        let revision = self.beside.map(|revision| format!(" of revision {revision}"));
        format!("`{name}`{}", revision.unwrap_or_default())
    }

    /// Imports that are linked to nobody, and links that nothing imports.
    fn without_end(&self, name: &ActorName) -> Vec<String> {
        let imports = &self.links.imports;
        let mut problems = Vec::new();
        for interface in imports.keys().filter(|interface| self.settings.link(interface).is_none()) {
            let base = interface.base();
            problems.push(format!(
                "the artifact of `{name}` imports `{interface}`, which its manifest links to nobody; name the actor that answers \
                 it, such as `links = {{ \"{base}\" = \"…\" }}`"
            ));
        }
        for link in self.settings.links.keys() {
            let matches = |import: &&InterfaceName| match link.version() {
                Some(_) => *import == link,
                None => {
                    import.base() == link.as_str()
                        && !self.settings.links.keys().any(|other| other != link && other == *import)
                }
            };
            let found: Vec<_> = imports.keys().filter(matches).map(|import| format!("`{import}`")).collect();
            match found.len() {
                0 => {
                    let all = links::shown(imports.keys());
                    let all = all.unwrap_or_else(|| "nothing that can be linked".to_owned());
                    problems.push(format!(
                        "`links` of `{name}` names `{link}`, which its artifact does not import; it imports {all}"
                    ));
                }
                1 => {}
                _ => problems.push(format!(
                    "`links` of `{name}` names `{link}`, of which its artifact imports several versions; name each: {}",
                    found.join(", ")
                )),
            }
        }
        problems
    }
}

fn cannot(interface: &InterfaceName, name: &str, reason: &str) -> String {
    format!("`{interface}` is linked to {name}, which {reason}")
}

/// In what an interface, as it is imported, is not what an actor exports.
fn differences(
    interface: &InterfaceName,
    functions: &BTreeMap<Operation, Sided>,
    name: &ActorName,
    target: &Linked,
) -> Vec<String> {
    let name = target.shown(name);
    let cannot = |reason: &str| vec![cannot(interface, &name, reason)];
    if target.settings.kind.keyed().is_some() {
        return cannot("is a keyed actor; only replicated actors answer links");
    }
    if target.is_http {
        return cannot("serves HTTP only; link to an actor that exports the interface and no HTTP handler");
    }
    let Some((_, exported)) = target.links.export(interface) else {
        let all = target.links.exported();
        return cannot(&format!(
            "does not export it, or not in a version that is compatible; it exports {all}"
        ));
    };
    let mut problems = Vec::new();
    for (operation, import) in functions {
        let function = links::named(interface, operation);
        match exported.get(operation) {
            None => problems.push(format!("{function}: imported here, not exported by {name}")),
            Some(Err(reason)) => problems.push(format!("{function}: that of {name} {reason}")),
            Some(Ok(export)) => {
                let found = import.function.differences(&export.function, &name);
                problems.extend(found.into_iter().map(|difference| format!("{function}: {difference}")));
            }
        }
    }
    problems
}

fn told(mut problems: Vec<String>) -> Result<(), String> {
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(MOST);
    problems.truncate(MOST);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(problems.join("; ") + &more)
}

#[cfg(test)]
mod tests {
    use lattice_proto::manifest::{Keyed, Kind};

    use super::*;
    use crate::engine::Function;
    use crate::engine::links::{Type, plain};

    type Functions<'a> = &'a [(&'a str, Result<Function, String>)];

    fn function(parameters: &[(&str, Type)], result: &'static str) -> Function {
        let parameters = parameters.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
        Function { parameters, result: Some(plain(result)) }
    }

    fn price(amount: &'static str) -> Result<Function, String> {
        let order = vec![("sku".to_owned(), plain("string")), ("amount".to_owned(), plain(amount))];
        Ok(function(&[("now", plain("u64")), ("order", Type::Record(order))], "u64"))
    }

    /// An actor that exports these.
    fn exporting(interfaces: &[(&str, Functions<'_>)]) -> Linked {
        let mut links = Links::default();
        for (name, functions) in interfaces {
            let export = |function: Function| Sided { function, is_async: false };
            let functions = functions
                .iter()
                .map(|(name, function)| (name.parse().unwrap(), function.clone().map(export)));
            links.exports.insert(name.parse().unwrap(), functions.collect());
        }
        Linked { settings: Settings::default(), is_http: false, links: Arc::new(links), beside: None }
    }

    /// An actor that imports these, and its links.
    fn importing(interfaces: &[(&str, Functions<'_>)], ends: &[(&str, &str)]) -> Linked {
        let mut links = Links::default();
        for (name, functions) in interfaces {
            let import = |function: &Function| Sided { function: function.clone(), is_async: false };
            let functions = functions
                .iter()
                .map(|(name, function)| (name.parse().unwrap(), import(function.as_ref().unwrap())));
            links.imports.insert(name.parse().unwrap(), functions.collect());
        }
        let ends = ends.iter().map(|(name, actor)| (name.parse().unwrap(), actor.parse().unwrap()));
        let settings = Settings { links: ends.collect(), ..Settings::default() };
        Linked { settings, is_http: false, links: Arc::new(links), beside: None }
    }

    fn check(here: &Linked, there: Option<&Linked>) -> Result<(), String> {
        let there: &[Linked] = there.map_or(&[], std::slice::from_ref);
        here.check(&"till".parse().unwrap(), |name| if name.as_str() == "pricing" { there } else { &[] })
    }

    const PRICING: &str = "acme:shop/pricing@1.2.0";
    const TO_PRICING: &[(&str, &str)] = &[("acme:shop/pricing", "pricing")];

    #[test]
    fn what_fits_holds() {
        let here = importing(&[(PRICING, &[("price", price("u64"))])], TO_PRICING);
        let more: Functions<'_> = &[("price", price("u64")), ("stock", price("u8"))];
        for version in ["1.2.0", "1.3.0", "1.0.0"] {
            let there = exporting(&[(&format!("acme:shop/pricing@{version}"), more)]);
            assert_eq!(check(&here, Some(&there)), Ok(()), "{version}");
        }
        // Just the version that is asked for counts, or else the latest.
        let two: &[(&str, Functions<'_>)] =
            &[(PRICING, &[("price", price("u64"))]), ("acme:shop/pricing@1.10.0", &[("price", price("u8"))])];
        assert_eq!(check(&here, Some(&exporting(two))), Ok(()));
        let exact = importing(&[(PRICING, &[("price", price("u64"))])], &[(PRICING, "pricing")]);
        assert_eq!(check(&exact, Some(&exporting(two))), Ok(()));
        assert_eq!(check(&importing(&[], &[]), None), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let imports: &[(&str, Functions<'_>)] = &[(PRICING, &[("price", price("u32"))])];
        let here = importing(imports, TO_PRICING);
        let fits = exporting(&[(PRICING, &[("price", price("u32"))])]);
        let differs = exporting(&[(PRICING, &[("price", price("u64"))])]);
        let other = exporting(&[("acme:shop/pricing@2.0.0", &[("price", price("u32"))])]);
        let lacks = exporting(&[(PRICING, &[("stock", price("u32"))])]);
        let resource = exporting(&[(PRICING, &[("price", Err("takes a resource".to_owned()))])]);
        let keyed = Settings { kind: Kind::Keyed(Keyed::default()), ..Settings::default() };
        let keyed = Linked { settings: keyed, ..fits.clone() };
        let http = Linked { is_http: true, ..fits.clone() };
        let several: &[(&str, Functions<'_>)] = &[(PRICING, &[]), ("acme:shop/pricing@2.0.0", &[])];
        let table = [
            (
                &here,
                Some(&differs),
                "acme:shop/pricing.price: parameter 2, field `amount`: u32 here, u64 in `pricing`",
            ),
            (
                &here,
                None,
                "`acme:shop/pricing@1.2.0` is linked to `pricing`, which is neither in this manifest nor deployed; deploy it \
                 first, or with it",
            ),
            (
                &here,
                Some(&keyed),
                "`acme:shop/pricing@1.2.0` is linked to `pricing`, which is a keyed actor; only replicated actors answer links",
            ),
            (
                &here,
                Some(&http),
                "`acme:shop/pricing@1.2.0` is linked to `pricing`, which serves HTTP only; link to an actor that exports the \
                 interface and no HTTP handler",
            ),
            (
                &here,
                Some(&other),
                "`acme:shop/pricing@1.2.0` is linked to `pricing`, which does not export it, or not in a version that is \
                 compatible; it exports `acme:shop/pricing@2.0.0`",
            ),
            (&here, Some(&lacks), "acme:shop/pricing.price: imported here, not exported by `pricing`"),
            (&here, Some(&resource), "acme:shop/pricing.price: that of `pricing` takes a resource"),
            (
                &importing(imports, &[]),
                Some(&fits),
                "the artifact of `till` imports `acme:shop/pricing@1.2.0`, which its manifest links to nobody; name the actor that \
                 answers it, such as `links = { \"acme:shop/pricing\" = \"…\" }`",
            ),
            (
                &importing(imports, &[(PRICING, "pricing"), ("acme:shop/stock", "pricing")]),
                Some(&fits),
                "`links` of `till` names `acme:shop/stock`, which its artifact does not import; it imports \
                 `acme:shop/pricing@1.2.0`",
            ),
            (
                &importing(&[], &[("acme:shop/pricing@1.0.0", "pricing")]),
                Some(&fits),
                "`links` of `till` names `acme:shop/pricing@1.0.0`, which its artifact does not import; it imports nothing that \
                 can be linked",
            ),
            (
                &importing(several, TO_PRICING),
                Some(&fits),
                "`links` of `till` names `acme:shop/pricing`, of which its artifact imports several versions; name each: \
                 `acme:shop/pricing@1.2.0`, `acme:shop/pricing@2.0.0`; `acme:shop/pricing@2.0.0` is linked to `pricing`, which does \
                 not export it, or not in a version that is compatible; it exports `acme:shop/pricing@1.2.0`",
            ),
        ];
        for (here, there, wanted) in table {
            assert_eq!(check(here, there), Err(wanted.to_owned()));
        }
    }

    #[test]
    fn those_that_are_deployed_say_what_would_no_longer_hold() {
        let imports: &[(&str, Functions<'_>)] =
            &[(PRICING, &[("price", price("u32"))]), ("acme:shop/stock", &[("left", price("u32"))])];
        let here = importing(imports, &[("acme:shop/pricing", "pricing"), ("acme:shop/stock", "stock")]);
        let next = |amount| {
            let exports = exporting(&[(PRICING, &[("price", price(amount))])]);
            Versions::from([("pricing".parse().unwrap(), vec![exports])])
        };
        // Who is not deployed anew does not count.
        let before = BTreeSet::from(["pricing".parse().unwrap()]);
        assert_eq!(here.check_towards(&next("u32"), &before), Ok(()));
        let wanted = "acme:shop/pricing.price: parameter 2, field `amount`: u32 here, u64 in `pricing`";
        assert_eq!(here.check_towards(&next("u64"), &before), Err(wanted.to_owned()));
        let gone = "`acme:shop/pricing@1.2.0` is linked to `pricing`, which would be gone";
        assert_eq!(here.check_towards(&Versions::new(), &before), Err(gone.to_owned()));
    }

    #[test]
    fn both_versions_of_what_is_on_trial_must_fit() {
        let till = |amount| importing(&[(PRICING, &[("price", price(amount))])], TO_PRICING);
        let pricing = |amount| exporting(&[(PRICING, &[("price", price(amount))])]);
        let beside = |one: Linked| Linked { beside: Some(3), ..one };
        let all = |name: &str, versions: Vec<Linked>| Versions::from([(name.parse().unwrap(), versions)]);
        let held = |own: &Versions, others: &Versions| hold(own, others, &BTreeSet::new());
        let trial = all("pricing", vec![pricing("u64"), beside(pricing("u32"))]);
        let differs =
            "acme:shop/pricing.price: parameter 2, field `amount`: u64 here, u32 in `pricing` of revision 3";
        // Of another app, or of the same.
        assert_eq!(held(&all("till", vec![till("u64")]), &trial), Err(differs.to_owned()));
        let same: Versions = trial.clone().into_iter().chain(all("till", vec![till("u64")])).collect();
        assert_eq!(held(&same, &Versions::new()), Err(differs.to_owned()));
        // Who is deployed is held only to what is new.
        assert_eq!(held(&trial, &all("till", vec![till("u64")])), Ok(()));
        // Whoever asks may be on trial itself.
        let asks = all("till", vec![till("u64"), beside(till("u32"))]);
        let told = held(&all("pricing", vec![pricing("u64")]), &asks).unwrap_err();
        assert!(told.starts_with("`till` of revision 3, which is deployed, is linked to"), "{told}");
        assert_eq!(held(&all("pricing", vec![pricing("u64")]), &all("till", vec![till("u64")])), Ok(()));
    }

    #[test]
    fn of_very_many_problems_some_are_told() {
        let many: Vec<_> = (0..20).map(|n| (format!("f{n}"), price("u8"))).collect();
        let many: Vec<_> = many.iter().map(|(name, function)| (name.as_str(), function.clone())).collect();
        let here = importing(&[(PRICING, &many)], TO_PRICING);
        let told = check(&here, Some(&exporting(&[(PRICING, &[])]))).unwrap_err();
        assert!(told.ends_with("; and 12 more"), "{told}");
    }
}
