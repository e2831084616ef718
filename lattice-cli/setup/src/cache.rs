//! The cache folder: where it is, and how a finished thing gets into it.
//!
//! A thing is made under a temporary name that no other process uses, checked there, and renamed; so two processes
//! may get the same thing at once, and nobody ever sees half of it. All of the folder may be deleted at any time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use crate::{Error, Result};

/// `$XDG_CACHE_HOME/lattice`, or `~/.cache/lattice`.
pub fn folder() -> Result<PathBuf> {
    choose(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")).ok_or(Error::NoCache)
}

fn choose(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .map(|cache| cache.join("lattice"))
}

/// A folder for unfinished work, beside the finished things so that a rename suffices; removed when dropped.
pub struct Workshop(PathBuf);

impl Workshop {
    pub fn open(cache: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = cache.join(format!(".unfinished-{}-{number}", process::id()));
        // A process of this id may have died here long ago.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a finished file in its place; whoever comes second replaces an equal file.
pub fn publish_file(finished: &Path, place: &Path) -> Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    fs::rename(finished, place).map_err(Error::io("write", place))
}

/// Puts a finished folder in its place; whoever comes second keeps what the first one put there.
pub fn publish_folder(finished: &Path, place: &Path) -> Result<()> {
    match fs::rename(finished, place) {
        Err(_) if place.is_dir() => Ok(()),
        other => other.map_err(Error::io("write", place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_xdg_and_ignores_relative_values() {
        let some = |text: &str| Some(OsString::from(text));
        assert_eq!(choose(some("/x"), some("/home/a")), Some("/x/lattice".into()));
        assert_eq!(choose(None, some("/home/a")), Some("/home/a/.cache/lattice".into()));
        assert_eq!(choose(some("x"), some("/home/a")), Some("/home/a/.cache/lattice".into()));
        assert_eq!(choose(some(""), some("")), None);
        assert_eq!(choose(None, None), None);
    }

    #[test]
    fn the_second_of_two_publishers_does_no_harm() {
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join("thing");
        for content in ["first", "second"] {
            let workshop = Workshop::open(cache.path()).unwrap();
            let made = workshop.path().join("made");
            fs::create_dir(&made).unwrap();
            fs::write(made.join("file"), content).unwrap();
            publish_folder(&made, &place).unwrap();
        }
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "first");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "the workshops are gone");
    }
}
