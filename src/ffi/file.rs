//! Files: small ones that are read whole, and those that nginx sends, opened by its own cache of open files
//! and as its location says (`directio`, `read_ahead`).
//!
//! Guarantee: of a path below a folder no part is a symbolic link, and a file that is none, as a pipe, is
//! neither waited for nor sent.

use core::mem::MaybeUninit;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nginx_sys::{
    NGX_DISABLE_SYMLINKS_ON, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_fd_t, ngx_file_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_int_t, ngx_open_cached_file, ngx_open_file_cache_t, ngx_open_file_info_t,
    ngx_str_t,
};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat, openat2};
use rustix::io::{Errno, read};

use super::request::Request;

/// `directio off`: NGX_OPEN_FILE_DIRECTIO_OFF of ngx_open_file_cache.h.
const DIRECTIO_OFF: nginx_sys::off_t = nginx_sys::off_t::MAX;

/// A regular file that nginx closes when the request ends.
pub struct OpenFile {
    fd: ngx_fd_t,
    name: ngx_str_t,
    size: u64,
    is_directio: bool,
}

impl OpenFile {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Reads the beginning of a small file below a folder, as much as there is room for; how much that was.
pub fn read_small(folder: &[u8], below: &str, to: &mut [u8]) -> io::Result<usize> {
    let folder = open_folder(folder)?;
    let file = open_below(&folder, below, READ)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(irregular());
    }
    let mut length = 0;
    while let Some(rest) = to.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match read(&file, rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(length)
}

/// How files are opened: a pipe without a writer is not waited for.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

fn open_folder(folder: &[u8]) -> io::Result<OwnedFd> {
    let folder = match folder {
        [] => Path::new("/"),
        folder => Path::new(OsStr::from_bytes(folder)),
    };
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(folder, how, Mode::empty())?)
}

fn open_below(folder: &OwnedFd, below: &str, how: OFlags) -> io::Result<OwnedFd> {
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(folder, below, how, Mode::empty(), links) {
        // Linux before 5.6, or a container whose rules are older than that.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(folder, below, how),
        opened => Ok(opened?),
    }
}

/// As `openat2` does it, one part of the path after the other.
fn open_by_steps(folder: &OwnedFd, below: &str, how: OFlags) -> io::Result<OwnedFd> {
    let (folders, name) = below.rsplit_once('/').unwrap_or(("", below));
    let mut at: Option<OwnedFd> = None;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(openat(at.as_ref().unwrap_or(folder), part, flags, Mode::empty())?);
    }
    Ok(openat(
        at.as_ref().unwrap_or(folder),
        name,
        how | OFlags::NOFOLLOW,
        Mode::empty(),
    )?)
}

/// What is there by that name, without a symbolic link on the way. Nothing is opened to be read.
fn look_for(folder: &[u8], below: &str) -> io::Result<Stat> {
    let folder = open_folder(folder)?;
    let found = open_below(&folder, below, OFlags::PATH | OFlags::CLOEXEC)?;
    Ok(fstat(&found)?)
}

/// Whether a file that was opened is what is there, and no longer or shorter than that.
fn is_same(there: &Stat, opened: &ngx_open_file_info_t) -> bool {
    there.st_ino == opened.uniq && there.st_size == opened.size
}

fn irregular() -> io::Error {
    io::Error::other("it is no regular file")
}

impl Request {
    /// Opens a file below a folder, in nginx's way, to be sent. `is_cached`: by nginx's cache of open files,
    /// where the location has one. That has for a while what is not there any more, which is not taken from
    /// it.
    pub fn open_file(&mut self, folder: &[u8], below: &str, is_cached: bool) -> io::Result<OpenFile> {
        let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let path = [folder, b"/", below.as_bytes(), b"\0"].concat();
        let pool = self.pool().ok_or_else(out_of_memory)?;
        // nginx writes into the path while it looks at its parts.
        let mut name = pool.string(&path).ok_or_else(out_of_memory)?;
        name.len -= 1;
        let Some(location) = self.core_location() else {
            return Err(out_of_memory());
        };
        // With directio, nginx turns O_DIRECT off for the end of a file, and on again. Requests that share a
        // descriptor, as the cache has them do, and read by threads then fail (EINVAL).
        let is_shared = is_cached && location.directio == DIRECTIO_OFF;
        let cache = match is_shared {
            true => location.open_file_cache,
            false => core::ptr::null_mut(),
        };
        let current = match cache.is_null() {
            true => None,
            false => Some(look_for(folder, below)?),
        };
        let mut of = self.open_by(cache, &mut name, folder.len())?;
        if current.is_some_and(|current| !is_same(&current, &of)) {
            of = self.open_by(core::ptr::null_mut(), &mut name, folder.len())?;
        }
        if of.is_file() == 0 {
            return Err(irregular());
        }
        Ok(OpenFile {
            fd: of.fd,
            name,
            size: u64::try_from(of.size).unwrap_or_default(),
            is_directio: of.is_directio() != 0,
        })
    }

    /// Opens a file by a cache of open files, where there is one: null, or the location's. `name` ends with a
    /// NUL behind it, and lies in the request's pool; up to `folder`, it may lead over symbolic links.
    fn open_by(
        &mut self,
        cache: *mut ngx_open_file_cache_t,
        name: &mut ngx_str_t,
        folder: usize,
    ) -> io::Result<ngx_open_file_info_t> {
        let Some(location) = self.core_location() else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        // SAFETY: all-zero is a valid ngx_open_file_info_t, as nginx's own ngx_memzero() of it.
        let mut of: ngx_open_file_info_t = unsafe { MaybeUninit::zeroed().assume_init() };
        of.read_ahead = location.read_ahead;
        of.directio = location.directio;
        of.valid = location.open_file_cache_valid;
        of.min_uses = location.open_file_cache_min_uses;
        of.set_errors(location.open_file_cache_errors as u32);
        of.set_events(location.open_file_cache_events as u32);
        of.set_disable_symlinks(NGX_DISABLE_SYMLINKS_ON);
        of.disable_symlinks_from = folder;
        // SAFETY: as the caller has it; what closes the file lies in the same pool.
        let opened = unsafe { ngx_open_cached_file(cache, name, &mut of, (*self.as_ptr()).pool) };
        if opened != NGX_OK as ngx_int_t {
            return Err(match of.err {
                0 => io::ErrorKind::OutOfMemory.into(),
                number => io::Error::from_raw_os_error(number),
            });
        }
        Ok(of)
    }

    /// What nginx's core knows of the location.
    fn core_location(&self) -> Option<&ngx_http_core_loc_conf_t> {
        // SAFETY: nginx has as many slots as modules, and its core's is filled for each location; the
        // configuration outlives the request.
        unsafe {
            let slot = self.as_ref_ptr().loc_conf.add(ngx_http_core_module.ctx_index);
            (*slot).cast::<ngx_http_core_loc_conf_t>().as_ref()
        }
    }

    /// A body of one file that ends the answer. `None` when memory is out.
    pub(super) fn file_body(&mut self, file: &OpenFile) -> Option<*mut ngx_chain_t> {
        let pool = self.pool()?;
        let request = self.as_ref_ptr();
        // SAFETY: all-zero is a valid ngx_file_t, as ngx_pcalloc() makes it.
        let mut sent: ngx_file_t = unsafe { MaybeUninit::zeroed().assume_init() };
        sent.fd = file.fd;
        sent.name = file.name;
        // SAFETY: a request has a connection until it is freed.
        sent.log = unsafe { (*request.connection).log };
        sent.set_directio(u32::from(file.is_directio));
        // SAFETY: all-zero is a valid ngx_buf_t, as ngx_calloc_buf() makes it.
        let mut buffer: ngx_buf_t = unsafe { MaybeUninit::zeroed().assume_init() };
        buffer.file = pool.place(sent)?.as_ptr();
        buffer.file_last = i64::try_from(file.size).ok()?;
        buffer.set_in_file(1);
        buffer.set_last_buf(u32::from(!self.is_subrequest()));
        buffer.set_last_in_chain(1);
        let buffer = pool.place(buffer)?;
        let chain = pool.place(ngx_chain_t {
            buf: buffer.as_ptr(),
            next: core::ptr::null_mut(),
        })?;
        Some(chain.as_ptr())
    }
}
