//! Watching folders. What tools write there by themselves is noise, and no folder of noise is looked into.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_proto::Ran;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use walkdir::WalkDir;

use crate::failure::Failure;

/// An editor writes a file in several steps, and a person saves several files at once; the next step comes within this time.
const QUIET: Duration = Duration::from_millis(30);

/// Something that never stops writing does not keep what it writes from being built.
const LONGEST: Duration = Duration::from_millis(500);

/// As many paths are worth to be told apart. A checkout of another branch changes more, and with it everything.
const PATHS: usize = 1_000;

/// What was saved within a moment.
#[derive(Debug)]
pub struct Saved {
    /// When the first of it was.
    pub at: Instant,
    /// It is the start of a session rather than something that was saved.
    pub first: bool,
    /// What it was.
    pub paths: BTreeSet<PathBuf>,
    /// There was more than is told by `paths`.
    pub all: bool,
}

/// What has changed and was not yet looked at.
#[derive(Default)]
struct Shared {
    // Held for moments, by the thread that watches and by whoever looks.
    since_last: Mutex<Unseen>,
    told: Notify,
}

#[derive(Default)]
struct Unseen {
    since: Option<Instant>,
    paths: BTreeSet<PathBuf>,
    all: bool,
    problem: Option<String>,
}

/// The folders that are watched.
pub struct Changes {
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    watched: BTreeSet<PathBuf>,
}

impl Changes {
    /// Watches nothing yet.
    pub fn new() -> Result<Self, Failure> {
        let shared = Arc::<Shared>::default();
        let teller = shared.clone();
        let watcher = notify::recommended_watcher(move |event| teller.take(event)).map_err(failed)?;
        Ok(Self { watcher, shared, watched: BTreeSet::new() })
    }

    /// Watches these folders, and all below them that are not noise. What is watched already goes on to be.
    pub fn watch(&mut self, roots: BTreeSet<PathBuf>) -> Result<(), Failure> {
        for root in roots {
            let is_wanted = |entry: &walkdir::DirEntry| {
                entry.file_type().is_dir() && (entry.depth() == 0 || !is_noise(entry.file_name()))
            };
            // What went away since, or may not be read, holds no sources.
            for folder in WalkDir::new(root).into_iter().filter_entry(is_wanted).filter_map(Result::ok) {
                if !self.watched.contains(folder.path()) {
                    self.watcher.watch(folder.path(), RecursiveMode::NonRecursive).map_err(failed)?;
                    self.watched.insert(folder.into_path());
                }
            }
        }
        Ok(())
    }

    /// Waits until something was saved, and returns it when there is quiet. Cancel safe.
    pub async fn next(&mut self) -> Result<Saved, Failure> {
        self.arrived().await;
        let start = Instant::now();
        while start.elapsed() < LONGEST
            && tokio::time::timeout(QUIET, self.shared.told.notified()).await.is_ok()
        {}
        let unseen = std::mem::take(&mut *self.shared.unseen());
        if let Some(problem) = unseen.problem {
            return Err(Failure::new("watch", Ran::No, problem));
        }
        // A folder that went and came again is another one, which nobody watches.
        self.watched.retain(|folder| !unseen.paths.iter().any(|path| folder.starts_with(path)));
        let at = unseen.since.unwrap_or(start);
        Ok(Saved { at, first: false, paths: unseen.paths, all: unseen.all })
    }

    /// Forgets what tools wrote by themselves up to now, and nobody saved.
    pub fn forget(&self, is_tools: impl Fn(&Path) -> bool) {
        let mut unseen = self.shared.unseen();
        unseen.paths.retain(|path| !is_tools(path));
        if unseen.paths.is_empty() && !unseen.all && unseen.problem.is_none() {
            unseen.since = None;
        }
    }

    /// Waits until something was saved that was not looked at. Cancel safe.
    pub async fn arrived(&self) {
        while self.shared.unseen().since.is_none() {
            self.shared.told.notified().await;
        }
    }
}

impl Shared {
    fn unseen(&self) -> std::sync::MutexGuard<'_, Unseen> {
        self.since_last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<notify::Event>) {
        let mut unseen = self.unseen();
        match event {
            // Reading changes nothing; that a file was written to its end is told with each write before.
            Ok(event) if matches!(event.kind, EventKind::Access(kind) if !is_written(kind)) => return,
            Ok(event) => {
                // Watched are folders without noise above them, so that the last name decides.
                let saved = |path: &PathBuf| !path.file_name().is_some_and(is_noise);
                let paths: Vec<PathBuf> = event.paths.iter().filter(|path| saved(path)).cloned().collect();
                let lost = event.need_rescan();
                if paths.is_empty() && !lost {
                    return;
                }
                unseen.all |= lost;
                unseen.paths.extend(paths);
                if unseen.paths.len() > PATHS {
                    unseen.all = true;
                    unseen.paths.clear();
                }
            }
            Err(error) => unseen.problem = Some(failed(error).message),
        }
        unseen.since.get_or_insert_with(Instant::now);
        drop(unseen);
        // Only the session waits, and if it does not yet, it is told when it begins to.
        self.told.notify_one();
    }
}

fn is_written(kind: AccessKind) -> bool {
    kind == AccessKind::Close(AccessMode::Write)
}

/// What tools keep beside sources: what they build and install, and what editors write while somebody types.
fn is_noise(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    matches!(&*name, "target" | "node_modules" | "__pycache__")
        || name.starts_with(['.', '#'])
        || name.ends_with('~')
}

fn failed(error: notify::Error) -> Failure {
    let advice = match error.kind {
        notify::ErrorKind::MaxFilesWatch => "; raise it with `sysctl fs.inotify.max_user_watches=524288`",
        _ => "",
    };
    Failure::new("watch", Ran::No, format!("the sources cannot be watched: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watch(folder: &Path) -> Changes {
        let mut changes = Changes::new().unwrap();
        changes.watch(BTreeSet::from([folder.to_owned()])).unwrap();
        changes
    }

    #[tokio::test]
    async fn a_save_is_told_once_and_noise_never() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["src/deep", "target/debug", ".lattice"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let mut changes = watch(&root);
        for name in ["target/debug/a", ".lattice/a", "src/.lib.rs.swp", "src/lib.rs~", "src/deep/lib.rs"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let saved = changes.next().await.unwrap();
        assert_eq!(saved.paths, BTreeSet::from([root.join("src/deep/lib.rs")]));
        assert!(!saved.first && !saved.all);
        // As editors save: another file takes the place.
        fs::write(root.join(".new"), "y").unwrap();
        fs::rename(root.join(".new"), root.join("src/lib.rs")).unwrap();
        assert_eq!(changes.next().await.unwrap().paths, BTreeSet::from([root.join("src/lib.rs")]));
    }

    #[tokio::test]
    async fn what_tools_wrote_is_forgotten_and_what_was_saved_beside_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut changes = watch(&root);
        let is_lock = |path: &Path| path.ends_with("Cargo.lock");
        for name in ["Cargo.lock", "lib.rs"] {
            fs::write(root.join(name), "x").unwrap();
            changes.arrived().await;
            changes.forget(is_lock);
            assert_eq!(changes.shared.unseen().since.is_some(), name == "lib.rs", "{name}");
        }
        fs::write(root.join("Cargo.lock"), "y").unwrap();
        let saved = changes.next().await.unwrap();
        assert!(saved.paths.contains(&root.join("lib.rs")), "{saved:?}");
    }

    #[tokio::test]
    async fn a_folder_that_is_new_is_watched_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut changes = watch(&root);
        for _ in 0..2 {
            fs::create_dir(root.join("src")).unwrap();
            changes.next().await.unwrap();
            changes.watch(BTreeSet::from([root.clone()])).unwrap();
            fs::write(root.join("src/lib.rs"), "x").unwrap();
            let saved = changes.next().await.unwrap();
            assert!(saved.paths.contains(&root.join("src/lib.rs")), "{saved:?}");
            fs::remove_dir_all(root.join("src")).unwrap();
            changes.next().await.unwrap();
        }
    }
}
