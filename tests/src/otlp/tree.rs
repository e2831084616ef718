//! The tree that the spans of one trace form, if they do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Span;

/// A trace with exactly one root, in which every span has its parent.
#[derive(Debug)]
pub struct Tree {
    /// Where it begins.
    pub root: Branch,
}

/// A span and what it led to, in the order of time.
#[derive(Debug)]
pub struct Branch {
    /// The span.
    pub span: Span,
    /// Its children.
    pub children: Vec<Branch>,
}

impl Tree {
    /// Builds the tree of the spans of one trace.
    ///
    /// # Errors
    /// What keeps them from being one tree: no root, several, or a span whose parent is not there.
    pub fn of(spans: &[Span]) -> Result<Self, String> {
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            let parent = span.parent_span_id.as_str();
            if !parent.is_empty() && !ids.contains(parent) {
                return Err(format!(
                    "the parent {parent} of `{}` ({}) is not there",
                    span.name, span.service
                ));
            }
            children.entry(parent).or_default().push(span);
        }
        let roots = children.get("").map(Vec::as_slice).unwrap_or_default();
        let [root] = roots else {
            let names: Vec<_> = roots.iter().map(|span| &span.name).collect();
            return Err(format!("{} roots among {} spans: {names:?}", roots.len(), spans.len()));
        };
        let tree = Self { root: branch(root, &children) };
        // Spans that are each other's parents hang on no root.
        let reached = tree.spans().len();
        if reached == spans.len() {
            Ok(tree)
        } else {
            Err(format!("only {reached} of {} hang together", spans.len()))
        }
    }

    /// The first span below the root, parents before children, that suits.
    pub fn find(&self, suits: impl Fn(&Span) -> bool) -> Option<&Branch> {
        self.root.find(&suits)
    }

    /// All spans, parents before children.
    pub fn spans(&self) -> Vec<&Span> {
        let mut all = Vec::new();
        self.root.collect(&mut all);
        all
    }

    /// The distinct processes that took part, by the value of a resource attribute.
    pub fn processes(&self, attribute: &str) -> BTreeSet<String> {
        let values = self.spans().into_iter().filter_map(|span| span.resource.get(attribute));
        values.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
    }
}

impl Branch {
    /// The first span from here on, parents before children, that suits.
    pub fn find(&self, suits: &impl Fn(&Span) -> bool) -> Option<&Branch> {
        if suits(&self.span) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(suits))
    }

    /// The names of the spans right below.
    pub fn steps(&self) -> Vec<&str> {
        self.children.iter().map(|child| child.span.name.as_str()).collect()
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Span>) {
        all.push(&self.span);
        for child in &self.children {
            child.collect(all);
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let micros = self.span.end_ns.saturating_sub(self.span.start_ns) / 1_000;
        writeln!(
            f,
            "{:indent$}{} ({}) [{}] {micros} us",
            "",
            self.span.name,
            self.span.kind,
            self.span.service,
            indent = depth * 2
        )?;
        self.children.iter().try_for_each(|child| child.write(f, depth + 1))
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(f, 0)
    }
}

fn branch(span: &Span, children: &BTreeMap<&str, Vec<&Span>>) -> Branch {
    let mut below: Vec<_> = children.get(span.span_id.as_str()).cloned().unwrap_or_default();
    below.sort_by_key(|child| child.start_ns);
    Branch { span: span.clone(), children: below.into_iter().map(|child| branch(child, children)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str) -> Span {
        Span {
            trace_id: "t".into(),
            span_id: id.into(),
            parent_span_id: parent.into(),
            name: id.into(),
            kind: "internal".into(),
            error: None,
            events: Vec::new(),
            links: Vec::new(),
            service: "s".into(),
            start_ns: 0,
            end_ns: 0,
            attributes: BTreeMap::new(),
            resource: BTreeMap::new(),
        }
    }

    #[test]
    fn a_tree_has_one_root_and_every_parent() {
        let tree = Tree::of(&[span("b", "a"), span("a", ""), span("c", "b")]).unwrap();
        assert_eq!(tree.spans().len(), 3);
        assert_eq!(tree.to_string().lines().last(), Some("    c (internal) [s] 0 us"));
        assert!(Tree::of(&[span("a", ""), span("b", "")]).unwrap_err().contains("2 roots"));
        assert!(Tree::of(&[span("a", ""), span("b", "x")]).unwrap_err().contains("parent x"));
        assert!(Tree::of(&[span("a", ""), span("b", "c"), span("c", "b")]).is_err());
        assert!(Tree::of(&[]).is_err());
    }
}
