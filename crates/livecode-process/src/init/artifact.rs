//! What a compile step leaves: taken to the host, and placed in a later run's world as it was.
//!
//! It's taken when the step and all that it started are dead and before the program's first instruction, so nothing changes
//! any more and no program has had a say; it's placed before there is a program at all. What a step left may still be anything: what can't
//! be carried as it is isn't carried at all. The host sees bytes: an index behind its length, then its files' contents.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    collect,
    protocol::{Damaged, Message, Reader, Writer},
    root::during,
};

/// Where a program may write. All of them: a compiler may keep what the program needs in `/tmp`.
const PLACES: [&str; 3] = ["/work", "/tmp", "/dev/shm"];

/// So that the index, which is read and written at once, is small beside what any program may use.
const MAX_ENTRIES: usize = 4096;

/// What an entry of the index takes beside its names, and a little more.
const ENTRY_BYTES: u64 = 64;

/// What a file may have of holes, which are filled on the way: compilers leave some between sections.
const MAX_HOLES: u64 = 1 << 20;

/// What is created without saying more, since our umask is 022.
const USUAL_MODE: u32 = 0o755;

/// A file, a directory or a link.
struct Entry {
    kind: u8,
    mode: u32,
    /// Seconds and nanoseconds since 1970.
    modified: (u64, u32),
    path: PathBuf,
    /// A link's.
    target: Vec<u8>,
    /// How many bytes a file has behind the index.
    len: u64,
}

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const LINK: u8 = 2;

impl Message for Entry {
    fn write(&self, out: &mut Writer) {
        self.kind.write(out);
        self.mode.write(out);
        self.modified.write(out);
        self.path.as_os_str().as_bytes().to_vec().write(out);
        self.target.write(out);
        self.len.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Self {
            kind: Message::read(from)?,
            mode: Message::read(from)?,
            modified: Message::read(from)?,
            path: std::ffi::OsString::from_vec(Message::read(from)?).into(),
            target: Message::read(from)?,
            len: Message::read(from)?,
        })
    }
}

/// Sends it as a collected file is sent; or why it isn't kept.
pub(crate) fn send(max_bytes: u64, to: &OwnedFd) -> io::Result<()> {
    let mut to = File::from(to.try_clone()?);
    let mut found = Found { entries: Vec::new(), left: max_bytes };
    for place in PLACES {
        if let Err(error) = found.walk(place.into()) {
            return collect::refuse(&mut to, &error);
        }
    }
    let index = found.entries.encode();
    let contents: u64 = found.entries.iter().map(|entry| entry.len).sum();
    let index_len = index.len() as u64;
    collect::header(&mut to, collect::CONTENT, size_of::<u64>() as u64 + index_len + contents)?;
    to.write_all(&index_len.to_le_bytes())?;
    to.write_all(&index)?;
    for Entry { path, len, .. } in found.entries.iter().filter(|entry| entry.kind == FILE) {
        let sent = io::copy(&mut File::open(path)?.take(*len), &mut to)?;
        if sent != *len {
            return Err(io::Error::other("a file shrank while it was read"));
        }
    }
    Ok(())
}

struct Found {
    entries: Vec<Entry>,
    /// How many bytes more it may have.
    left: u64,
}

impl Found {
    /// What is at `path` and beneath, each directory before what is in it.
    fn walk(&mut self, path: PathBuf) -> io::Result<()> {
        let metadata = path.symlink_metadata()?;
        let (kind, len) =
            carried(&metadata).map_err(|reason| io::Error::other(format!("{} {reason}", path.display())))?;
        let target = match kind {
            LINK => fs::read_link(&path)?.into_os_string().into_vec(),
            _ => Vec::new(),
        };
        let names = path.as_os_str().len() as u64 + target.len() as u64;
        let left = self.left.checked_sub(ENTRY_BYTES + names).and_then(|left| left.checked_sub(len));
        self.left = left.ok_or_else(|| io::Error::other("it is too large"))?;
        if self.entries.len() == MAX_ENTRIES {
            return Err(io::Error::other(format!("there are more than {MAX_ENTRIES} files")));
        }
        // From before 1970 is as good as from then.
        let modified = (u64::try_from(metadata.mtime()).unwrap_or(0), metadata.mtime_nsec() as u32);
        let mode = metadata.mode() & 0o7777;
        self.entries.push(Entry { kind, mode, modified, path: path.clone(), target, len });
        if kind == DIRECTORY {
            // Not while the directory is open: there may be thousands in each other.
            let inside: Vec<PathBuf> = fs::read_dir(&path)?
                .take(MAX_ENTRIES + 1)
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<_>>()?;
            // A directory lists what came last first.
            inside.into_iter().rev().try_for_each(|path| self.walk(path))?;
        }
        Ok(())
    }
}

/// As what it's carried and how many bytes that are, or why it can't be.
fn carried(metadata: &Metadata) -> Result<(u8, u64), &'static str> {
    if metadata.is_symlink() {
        return Ok((LINK, 0));
    }
    if metadata.is_dir() {
        let is_open = metadata.mode() & 0o500 == 0o500;
        return if is_open { Ok((DIRECTORY, 0)) } else { Err("can't be looked into") };
    }
    if !metadata.is_file() {
        return Err("is neither a file nor a directory nor a link");
    }
    if metadata.nlink() != 1 {
        return Err("has more than one name");
    }
    if metadata.mode() & 0o400 == 0 {
        return Err("can't be read");
    }
    if metadata.blocks() * 512 + MAX_HOLES < metadata.len() {
        return Err("has large holes");
    }
    Ok((FILE, metadata.len()))
}

/// Places what [`send`] sent. Links last, so that nothing is placed through one.
pub(crate) fn place(mut contents: &File) -> io::Result<()> {
    let (mut length, mut index) = ([0; size_of::<u64>()], Vec::new());
    contents.read_exact(&mut length)?;
    contents.take(u64::from_le_bytes(length)).read_to_end(&mut index)?;
    let entries =
        Vec::<Entry>::decode(&index).map_err(|_| io::Error::other("what a compile step left is damaged"))?;
    let (links, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.kind == LINK);
    for entry in &others {
        let placed = match entry.kind {
            DIRECTORY => unless_there(DirBuilder::new().mode(USUAL_MODE).create(&entry.path)).map(drop),
            _ => place_file(entry, contents),
        };
        during(&entry.path.to_string_lossy(), placed)?;
    }
    for Entry { path, target, .. } in links {
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        during(&path.to_string_lossy(), unless_there(symlink(target, path)))?;
    }
    for Entry { mode, path, .. } in others.iter().rev().filter(|entry| entry.kind == DIRECTORY) {
        if *mode != USUAL_MODE {
            during(&path.to_string_lossy(), fs::set_permissions(path, Permissions::from_mode(*mode)))?;
        }
    }
    Ok(())
}

fn place_file(entry: &Entry, mut contents: &File) -> io::Result<()> {
    let Some(mut file) = unless_there(File::create_new(&entry.path))? else {
        contents.seek(SeekFrom::Current(entry.len.cast_signed()))?;
        return Ok(());
    };
    if io::copy(&mut contents.take(entry.len), &mut file)? != entry.len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (seconds, nanos) = entry.modified;
    if let Some(modified) = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)) {
        file.set_modified(modified)?;
    }
    file.set_permissions(Permissions::from_mode(entry.mode))
}

/// What is there already belongs to the interpreter that waits here, and stays.
fn unless_there<T>(made: io::Result<T>) -> io::Result<Option<T>> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}
