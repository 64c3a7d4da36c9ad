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

/// Bytes of a file with a secret, at most.
const MOST: u64 = 64 << 10;
/// The same of one with certificates: a system's have a quarter of a megabyte.
const MOST_CERTIFICATES: u64 = 16 << 20;

/// The content of an open file with a secret.
pub(crate) fn read(file: &File) -> Result<Zeroizing<Vec<u8>>, String> {
    // At once: what grows leaves copies behind, which nobody wipes.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST as usize + 1));
    read_at_most(MOST, file, &mut text)?;
    Ok(text)
}

/// The content of a file with certificates.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    read_at_most(MOST_CERTIFICATES, &file, &mut text)?;
    Ok(text)
}

fn read_at_most(most: u64, file: &File, text: &mut Vec<u8>) -> Result<(), String> {
    match file.take(most + 1).read_to_end(text) {
        Ok(bytes) if bytes as u64 > most => Err(format!("it is larger than {} KiB", most >> 10)),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, read, read_certificates};
    use std::fs::{self, File};
    use std::path::Path;

    #[test]
    fn what_does_not_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (bytes, is_read) in [(MOST, true), (MOST + 1, false)] {
            fs::write(&path, vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
            assert_eq!(read(&File::open(&path).unwrap()).is_ok(), is_read, "{bytes}");
        }
        let error = read(&File::open("/dev/zero").unwrap()).unwrap_err();
        assert_eq!(error, "it is larger than 64 KiB");
        let error = read_certificates(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error, "it is larger than 16384 KiB");
    }
}
