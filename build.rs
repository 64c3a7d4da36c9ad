//! Compiles `src/ffi/shim.c` against the very headers that nginx-sys was bound to, and binds it.
//!
//! nginx-sys (a direct dependency, so that cargo hands its metadata on) has chosen the nginx: a configured
//! tree named by `NGINX_SOURCE_DIR` and `NGINX_BUILD_DIR`, or, with the feature `vendored`, nginx-src's.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// The first glibc that reads relocations in their short form (its NEWS for 2.36). An older one refuses to
/// load a file that has them.
const RELR: (u32, u32) = (2, 36);

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/ffi/shim.c");
    println!("cargo::rerun-if-changed=src/ffi/shim.h");
    println!("cargo::rerun-if-env-changed=DEP_NGINX_BUILD_DIR");

    let includes: Vec<PathBuf> = env::split_paths(&env::var_os("DEP_NGINX_INCLUDE").ok_or(
        "nginx-sys told no include folders: set NGINX_SOURCE_DIR and NGINX_BUILD_DIR, or use the feature \
         vendored",
    )?)
    .collect();
    // nginx-sys 0.5.0 prints `cargo:metadata=cflags=…` with one colon, which cargo files under the key
    // `metadata`.
    let cflags = env::var("DEP_NGINX_CFLAGS")
        .or_else(|_| env::var("DEP_NGINX_METADATA").map(|m| m.trim_start_matches("cflags=").to_owned()))
        .unwrap_or_default();
    let defines: Vec<&str> = cflags
        .split_ascii_whitespace()
        .filter(|flag| flag.starts_with("-D"))
        .collect();

    let mut shim = cc::Build::new();
    shim.file("src/ffi/shim.c")
        .includes(&includes)
        .warnings(true)
        .extra_warnings(false)
        .opt_level(2);
    for define in &defines {
        shim.flag(define);
    }
    shim.try_compile("registry_auth_shim")?;

    // 150 KB less of 4.7 MB. A linker that does not know it says so, and goes on.
    if glibc().is_some_and(|version| version >= RELR) {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-z,pack-relative-relocs");
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    bindgen::Builder::default()
        .header("src/ffi/shim.h")
        .clang_args(includes.iter().map(|path| format!("-I{}", path.display())))
        .clang_args(&defines)
        .allowlist_function("rga_.*")
        .allowlist_var("RGA_.*")
        // The types are nginx-sys's: one definition of each in the program.
        .allowlist_recursively(false)
        .use_core()
        .layout_tests(false)
        .merge_extern_blocks(true)
        .generate()?
        .write_to_file(out.join("shim.rs"))?;

    // The vendored nginx has a binary of its own to run: leave its path where the Makefile finds it.
    if let Some(build) = env::var_os("DEP_NGINX_BUILD_DIR") {
        std::fs::write(out.join("nginx-build-dir"), build.as_encoded_bytes())?;
    }
    Ok(())
}

/// The glibc of this machine, where the module is built for it.
fn glibc() -> Option<(u32, u32)> {
    if env::var_os("CARGO_CFG_TARGET_ENV")? != "gnu" || env::var_os("HOST") != env::var_os("TARGET") {
        return None;
    }
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) = std::str::from_utf8(&said.stdout)
        .ok()?
        .trim()
        .strip_prefix("glibc ")?
        .split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
