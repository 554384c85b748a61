//! What is on its way to its place: a hidden neighbour of it, which takes its name when it is complete, and is removed if it
//! is given up or the program is interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, process};

/// All of this process.
static ON_THE_WAY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn on_the_way() -> MutexGuard<'static, Vec<PathBuf>> {
    ON_THE_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hidden neighbour of `place`, on the same file system, that no other process uses.
fn hidden(place: &Path, what: &str) -> PathBuf {
    let name = place.file_name().map_or_else(|| "report".into(), |name| name.to_string_lossy().into_owned());
    place.with_file_name(format!(".{name}.{what}-{}", process::id()))
}

/// A place beside another one, for a file or folder to be made.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// One beside `place`; nothing is made yet.
    pub fn beside(place: &Path) -> Scratch {
        let path = hidden(place, "partial");
        on_the_way().push(path.clone());
        Scratch(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves what was made to `place`. An older file or folder there goes, if the new one has come.
    ///
    /// # Errors
    /// Of the file system; the older one stays.
    pub fn replace(self, place: &Path) -> io::Result<()> {
        // An interrupt waits meanwhile.
        let _held = on_the_way();
        let old = place.is_dir().then(|| hidden(place, "old"));
        if let Some(old) = &old {
            fs::rename(place, old)?;
        }
        if let Err(error) = fs::rename(&self.0, place) {
            if let Some(old) = &old {
                // The first error is the one to tell.
                let _ = fs::rename(old, place);
            }
            return Err(error);
        }
        old.map_or(Ok(()), fs::remove_dir_all)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Where it was moved there is nothing any more; otherwise the error at hand says more than a failed clean-up.
        remove(&self.0);
        on_the_way().retain(|other| *other != self.0);
    }
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Removes all that is on its way, for good: before the end of an interrupted program, which holds up whoever would move or
/// begin something.
pub fn give_up() -> impl Sized {
    let held = on_the_way();
    held.iter().for_each(|path| remove(path));
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_gone_and_what_is_complete_has_its_place() {
        let base = tempfile::tempdir().unwrap();
        let (file, folder) = (base.path().join("file"), base.path().join("folder"));
        for text in ["1", "2"] {
            let scratch = Scratch::beside(&file);
            fs::write(scratch.path(), text).unwrap();
            scratch.replace(&file).unwrap();
            let scratch = Scratch::beside(&folder);
            fs::create_dir(scratch.path()).unwrap();
            fs::write(scratch.path().join(text), text).unwrap();
            scratch.replace(&folder).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
        assert!(folder.join("2").exists() && !folder.join("1").exists());
        // Nothing was made: the older one stays.
        assert!(Scratch::beside(&folder).replace(&folder).is_err() && folder.join("2").exists());
        let scratch = Scratch::beside(&folder);
        fs::create_dir(scratch.path()).unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);
    }
}
