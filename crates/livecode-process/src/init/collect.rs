//! Brings files back that a program left. It's dead by then, and all that it started, so nothing changes any more; what it
//! left may still be anything: a link, a pipe, a device, a file of any size.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
};

use crate::sys;

/// What a length is of: of a file's content, or of why it isn't sent.
pub(crate) const CONTENT: u8 = 0;
const REFUSAL: u8 = 1;

/// Sends each: what follows, its length, and that.
pub(crate) fn send(paths: &[String], limit: u64, to: &OwnedFd) -> io::Result<()> {
    let mut to = File::from(to.try_clone()?);
    let mut left = limit;
    for path in paths {
        match open(path, left) {
            Ok((file, len)) => {
                left -= len;
                header(&mut to, CONTENT, len)?;
                if io::copy(&mut file.take(len), &mut to)? != len {
                    return Err(io::Error::other("a file shrank while it was read"));
                }
            }
            Err(error) => refuse(&mut to, &error)?,
        }
    }
    Ok(())
}

/// Says why something isn't sent.
pub(crate) fn refuse(to: &mut File, error: &io::Error) -> io::Result<()> {
    // A path in it may be long.
    let reason: String = error.to_string().chars().take(200).collect();
    header(to, REFUSAL, reason.len() as u64)?;
    to.write_all(reason.as_bytes())
}

pub(crate) fn header(to: &mut File, tag: u8, len: u64) -> io::Result<()> {
    to.write_all(&[&[tag], &len.to_le_bytes()[..]].concat())
}

fn open(path: &str, limit: u64) -> io::Result<(File, u64)> {
    let file = sys::open_beneath(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(io::Error::other("it has more than one name"));
    }
    if metadata.len() > limit {
        return Err(io::Error::other(format!(
            "it has {} bytes, {limit} may still be collected",
            metadata.len()
        )));
    }
    Ok((file, metadata.len()))
}
