//! Files that are brought back, when nobody is left who could change them.

use std::{
    fs::File,
    io::{self, Read},
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::{
    WORK,
    protocol::{CHUNK, End, Kind, Report, Request},
    talk::Talk,
};

/// Sends each, or why it isn't sent.
pub(crate) fn send(request: &Request, report: &Report, talk: &mut Talk) -> io::Result<()> {
    let mut left = request.collect_bytes;
    for path in &request.collect {
        let whole =
            matches!(report.end, End::Exited(_) | End::Signaled(_)) && report.step + 1 == request.steps.len();
        let found =
            if whole { find(path, left) } else { Err("the run was ended before it could be read".into()) };
        match found {
            Ok((mut file, len)) => {
                left -= len;
                send_file(&mut file, len, talk)?;
            }
            Err(reason) => talk.say(Kind::NotBrought, reason.as_bytes())?,
        }
        talk.flush()?;
    }
    Ok(())
}

/// A regular file beneath the work directory, with one name and no link on the way to it; nor is that directory one.
fn find(path: &str, most: u64) -> Result<(File, u64), String> {
    let reason = |error: rustix::io::Errno| io::Error::from(error).to_string();
    let work =
        open(WORK, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(reason)?;
    let how = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    // Whatever it is, nobody waits for it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(work, path, flags, Mode::empty(), how).map_err(reason)?;
    let stat = fstat(&file).map_err(reason)?;
    let len = u64::try_from(stat.st_size).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it's no regular file".into());
    }
    if stat.st_nlink != 1 {
        return Err("it has more than one name".into());
    }
    if len > most {
        return Err(format!("it has {len} bytes, and {most} may be brought back"));
    }
    Ok((File::from(file), len))
}

fn send_file(file: &mut File, len: u64, talk: &mut Talk) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut part = file.take(len);
    loop {
        match part.read(&mut buffer)? {
            0 => return talk.say(Kind::Brought, &[]),
            len => talk.say(Kind::Brought, &buffer[..len])?,
        }
        talk.flush()?;
    }
}
