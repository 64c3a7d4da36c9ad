//! Files that hold secrets: read whole, into memory that is wiped.
//!
//! Used for private keys by `tls`, for Redis's passwords by `passwords`, and by the module for the keys of
//! its tokens.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The content of a file that nobody but its owner may read.
///
/// # Errors
/// What is wrong with the file, in words that need its name before them.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mode = file
        .metadata()
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "its mode is {:o}, others than its owner may use it: 600 is expected",
            mode & 0o777
        ));
    }
    read(&file)
}

/// The mode of a file of which everybody on the machine may have the content; of others `None`.
pub fn mode_open_to_all(path: &Path) -> Option<u32> {
    let metadata = path.metadata().ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & 0o007 != 0).then_some(mode)
}

/// The content of an open file.
pub(crate) fn read(mut file: &File) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut text = Zeroizing::new(Vec::new());
    file.read_to_end(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}
