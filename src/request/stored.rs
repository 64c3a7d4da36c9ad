//! `registry_auth_store`: granted blobs come from the registry's own disk, sent by nginx as any file.
//!
//! Called in the content phase, in front of what sends requests on: whatever the disk does not have as it
//! should, and whatever nginx would answer otherwise than the registry, the registry is asked for. Invariant:
//! nothing is opened for a request that was not granted in this very location.

use std::io::{Error, ErrorKind};

use registry_auth::blob::{self, Conditions, ContentKind};

use crate::conf::Location;
use crate::conf::stores::{Store, Stores};
use crate::ffi::content::{FileAnswer, Handler, Shortcut};
use crate::ffi::file::{self, OpenFile};
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::request::by_digest::{self, Named};
use crate::request::context::{Context, Origin};
use crate::worker::limited_log;

/// What stands in front of `proxy_pass`.
pub struct Stored;

/// A blob that the disk may have.
struct Wanted {
    places: blob::Places,
    digest: Vec<u8>,
}

impl Shortcut for Stored {
    fn answer(request: &mut Request) -> Option<FileAnswer> {
        let answer = request.with_location::<Location, _>(|request, location| {
            let stores = &location.settings.as_ref()?.stores;
            let asks = Conditions::parse(|name| request.headers(name))?;
            let found = request.existing_context::<Context, _>(|request, context| {
                let named = by_digest::named(request, context)?;
                let store = store_of(&named, stores)?;
                wanted(&named, store).map(|wanted| (store, wanted))
            });
            let (store, wanted) = found.flatten()?;
            let file = open(request, store, &wanted)?;
            asks.fit(file.size()).then(|| answer(file, &wanted))
        });
        let answer = answer.flatten()?;
        request.existing_context::<Context, _>(|_, context| context.origin = Some(Origin::Store))?;
        Some(answer)
    }

    fn otherwise(request: &Request) -> Option<Handler> {
        request.location::<Location>()?.otherwise
    }
}

/// The folder that all of the sender's backends have.
fn store_of<'s>(named: &Named<'_>, stores: &'s Stores) -> Option<&'s Store> {
    let backends = match stores.are_users() {
        true => by_digest::backends(named.identity).ok()?,
        false => Vec::new(),
    };
    stores.of(&backends)
}

fn wanted(named: &Named<'_>, store: &Store) -> Option<Wanted> {
    if named.content.kind != ContentKind::Blob {
        return None;
    }
    Some(Wanted {
        places: store.layout.places(named.repository, named.content.digest)?,
        digest: named.content.digest.to_vec(),
    })
}

/// Opens the blob, where the repository has it.
fn open(request: &mut Request, store: &Store, wanted: &Wanted) -> Option<OpenFile> {
    if let Some(link) = &wanted.places.link {
        // One byte more than a link has: of a longer file it is no beginning.
        let mut content = [0; blob::LINK + 1];
        let length = match file::read_small(&store.path, link, &mut content) {
            Ok(length) => length,
            Err(error) => return unopened(request, store, link, &error),
        };
        if !blob::names(content.get(..length)?, &wanted.digest) {
            return None;
        }
    }
    // A link is read each time, and what it leads to never changes. Without one, that the file is there says
    // that the repository has it.
    let is_cached = wanted.places.link.is_some();
    match request.open_file(&store.path, &wanted.places.data, is_cached) {
        Ok(file) => Some(file),
        Err(error) => unopened(request, store, &wanted.places.data, &error),
    }
}

/// Says why the registry is asked, where that is not what a registry without the blob looks like.
#[cold]
fn unopened(request: &Request, store: &Store, below: &str, error: &Error) -> Option<OpenFile> {
    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        let folder = String::from_utf8_lossy(&store.path);
        limited_log::write_of_kind(
            request,
            Level::Error,
            &format!("registry_auth: \"registry_auth_store\": a file below \"{folder}\": {error}"),
            format_args!(
                "registry_auth: \"registry_auth_store\": \"{folder}/{below}\" cannot be sent ({error}): the \
                 registry is asked"
            ),
        );
    }
    None
}

/// As distribution answers.
fn answer(file: OpenFile, wanted: &Wanted) -> FileAnswer {
    FileAnswer {
        file,
        content_type: "application/octet-stream",
        etag: [b"\"", &wanted.digest[..], b"\""].concat(),
        headers: vec![
            ("Docker-Content-Digest", wanted.digest.clone()),
            ("Docker-Distribution-Api-Version", b"registry/2.0".to_vec()),
            ("Cache-Control", b"max-age=31536000".to_vec()),
        ],
    }
}
