//! Values of directives, checked: each error names the directive and the value.

use registry_auth::directive::has_variable;

use crate::ffi::conf::Conf;
use crate::ffi::{Slot, shm};

/// A day: where Redis cannot tell of changes, a leaver stays for so long.
pub const MAX_TTL: u64 = 86_400_000;
/// An hour: more is a typing error, and an unbounded wait is what a timeout is to prevent.
const MAX_TIMEOUT: u64 = 3_600_000;

/// What follows the last `@`: a URL without what may be a password.
pub fn without_userinfo(url: &[u8]) -> &[u8] {
    url.rsplit(|byte| *byte == b'@').next().unwrap_or_default()
}

/// A limit of a wait, in milliseconds.
pub fn timeout(directive: &str, argument: &[u8], time: &[u8]) -> Result<u64, String> {
    match Conf::milliseconds(time) {
        Some(time) if (1..=MAX_TIMEOUT).contains(&time) => Ok(time),
        _ => Err(invalid(directive, argument, "a time from 1ms to 1h is expected")),
    }
}

/// `name:size`: the zone of that name.
pub fn zone<T: Slot>(
    conf: &mut Conf<'_>,
    directive: &str,
    argument: &[u8],
    named: &[u8],
) -> Result<shm::Zone, String> {
    let mut parts = named.splitn(2, |byte| *byte == b':');
    let (name, size) = (parts.next().unwrap_or_default(), parts.next().and_then(shm::size));
    let size = match size {
        Some(size)
            if !name.is_empty() && !has_variable(name) && (shm::least()..=shm::MOST).contains(&size) =>
        {
            size
        }
        _ => {
            let why = format!(
                "a name and a size from {} bytes to 4 gigabytes are expected",
                shm::least()
            );
            return Err(invalid(directive, argument, &why));
        }
    };
    shm::declare::<T>(conf, name, size)
        .ok_or_else(|| invalid(directive, argument, "the zone cannot be declared"))
}

/// A time for which facts are kept, in milliseconds.
pub fn cache_time(directive: &str, argument: &[u8], time: &[u8], least: u64) -> Result<u64, String> {
    match Conf::milliseconds(time) {
        Some(time) if (least..=MAX_TTL).contains(&time) => Ok(time),
        _ => Err(invalid(directive, argument, "a time of at most 1d is expected")),
    }
}

/// A directive may be there once.
pub fn unset(directive: &str, is_set: bool) -> Result<(), String> {
    if is_set {
        return Err(format!("\"{directive}\" directive is duplicate"));
    }
    Ok(())
}

/// A parameter may be there once.
pub fn each_once<'a>(directive: &str, arguments: impl Iterator<Item = &'a [u8]>) -> Result<(), String> {
    let mut seen = Vec::new();
    for argument in arguments {
        let Some(name) = parameter(argument) else { continue };
        if seen.contains(&name) {
            return Err(invalid(
                directive,
                argument,
                &format!("\"{name}\" stands there twice"),
            ));
        }
        seen.push(name);
    }
    Ok(())
}

/// An argument that is none of those that the directive has. A name that is misspelt is called so, or its
/// value would be looked at.
pub fn unexpected(directive: &str, argument: &[u8], why: &str) -> String {
    match parameter(argument) {
        Some(name) => invalid(
            directive,
            argument,
            &format!("unknown parameter \"{name}=\", {why}"),
        ),
        None => invalid(directive, argument, why),
    }
}

/// The name of a parameter, `name=value`.
pub fn parameter(argument: &[u8]) -> Option<&str> {
    let name = argument.split(|byte| *byte == b'=').next()?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_followed = name.len() < argument.len() && !name.is_empty();
    (is_followed && name.iter().all(is_name))
        .then_some(name)
        .and_then(|name| std::str::from_utf8(name).ok())
}

/// What is wrong with a value.
pub fn invalid(directive: &str, value: &[u8], why: &str) -> String {
    format!(
        "invalid value \"{}\" in \"{directive}\" directive: {why}",
        String::from_utf8_lossy(value)
    )
}

/// `on` or `off`.
pub fn flag(directive: &str, conf: &Conf<'_>, to: &mut Option<bool>) -> Result<(), String> {
    unset(directive, to.is_some())?;
    *to = Some(match conf.arg() {
        value if value.eq_ignore_ascii_case(b"on") => true,
        value if value.eq_ignore_ascii_case(b"off") => false,
        value => return Err(invalid(directive, value, "it must be \"on\" or \"off\"")),
    });
    Ok(())
}

/// A name that goes into Redis keys or commands: not empty, UTF-8, no control characters, no blanks around
/// it. nginx evaluates no variables in it: whoever writes one means something else.
pub fn literal<'c>(directive: &str, value: &'c [u8]) -> Result<&'c str, String> {
    let why = match std::str::from_utf8(value) {
        _ if has_variable(value) => "variables have no meaning here",
        Ok(text) if text.trim() != text => "blanks stand around it",
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => return Ok(text),
        _ => "a string without control characters is expected",
    };
    Err(invalid(directive, value, why))
}

/// A number from 1 on; `argument` is what an error quotes.
pub fn within(directive: &str, argument: &[u8], number: &[u8], most: usize) -> Result<usize, String> {
    std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| {
            invalid(
                directive,
                argument,
                &format!("a number from 1 to {most} is expected"),
            )
        })
}
