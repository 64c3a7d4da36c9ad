//! The directives: what each one's arguments set. Called by nginx through `directives.rs`.

use std::cell::{Cell, OnceCell};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use registry_auth::blob::{BackendName, Layout, Owner};
use registry_auth::directive::{self, EndpointUrl, InvalidUrl};
use registry_auth::redirect::{StorageHost, StorageHosts};
use registry_auth::token::{MAX_LIFE, MIN_LIFE};
use registry_auth_cache::{FailureLimits, failures};
use registry_auth_lookup::Hashing;
use registry_auth_redis::connection::endpoint::is_user_name;
use registry_auth_redis::connection::files::{mode_open_to_all, read_private};
use registry_auth_redis::{Chain, Endpoint, Key, Passwords, Secret, Trusted};

use super::stores::Store;
use super::value::{
    MAX_TTL, cache_time, each_once, flag, invalid, literal, parameter, timeout, unexpected, unset, within,
    without_userinfo, zone as zone_of,
};
use super::{Bearer, BearerSaid, CacheOptions, Gate, Location, Main, Page, UsageOptions, V1Images};
use crate::ffi::conf::Conf;
use crate::ffi::shm;
use crate::upstream::{Balance, Upstream};

/// How many times as many wrong passwords as for one user are accepted for all users of an address, where
/// nothing is said of that.
const ADDRESS_TIMES: usize = 10;
/// `top=` of `registry_auth_usage`.
const DEFAULT_TOP: usize = 1000;
const MAX_TOP: usize = 100_000;
/// `ttl=`, in milliseconds.
const DEFAULT_TTL: u64 = 60_000;

/// `registry_auth realm | off`
pub fn registry_auth(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth";
    unset(NAME, location.gate.is_some())?;
    location.gate = Some(match conf.arg() {
        b"off" => {
            location.off_position = Some(conf.position());
            Gate::Off
        }
        realm if realm.trim_ascii().is_empty() => {
            return Err(invalid(NAME, realm, "a realm or \"off\" is expected"));
        }
        realm if directive::is_switch(realm) => {
            let why = "a realm, which clients are shown, such as \"Registry\", or \"off\" is expected";
            return Err(invalid(NAME, realm, why));
        }
        realm => {
            location.gate_position = Some(conf.position());
            let value = conf
                .complex_value()
                .ok_or_else(|| invalid(NAME, realm, "its variables cannot be used"))?;
            Gate::Realm(value)
        }
    });
    Ok(())
}

/// `registry_auth_redis url [timeout=] [connect_timeout=] [changes=]`
pub fn redis(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis";
    const EXPECTED: &str = "one URL, \"timeout=\", \"connect_timeout=\" and \"changes=\" are expected";
    unset(NAME, main.endpoint.is_some())?;
    each_once(NAME, conf.texts())?;
    for argument in conf.texts() {
        if let Some(time) = argument.strip_prefix(b"timeout=") {
            main.timeout = Some(timeout(NAME, argument, time)?);
        } else if let Some(time) = argument.strip_prefix(b"connect_timeout=") {
            main.connect_timeout = Some(timeout(NAME, argument, time)?);
        } else if let Some(how) = argument.strip_prefix(b"changes=") {
            let changes = std::str::from_utf8(how).ok().and_then(|how| how.parse().ok());
            let changes = changes.ok_or_else(|| {
                invalid(
                    NAME,
                    argument,
                    "\"auto\", \"tracking\" or \"channel\" is expected",
                )
            })?;
            main.changes = Some(changes);
        } else if parameter(argument).is_some() {
            return Err(unexpected(NAME, argument, EXPECTED));
        } else if main.endpoint.is_none() {
            main.endpoint =
                Some(redis_url(argument).map_err(|why| invalid(NAME, shown_url(argument), &why))?);
        } else {
            return Err(invalid(NAME, without_userinfo(argument), EXPECTED));
        }
    }
    if main.endpoint.is_none() {
        return Err(format!("no URL in \"{NAME}\" directive"));
    }
    Ok(())
}

/// The endpoint of a URL. What is wrong is said without a word of it, which may be of a password.
fn redis_url(url: &[u8]) -> Result<Endpoint, String> {
    let url = std::str::from_utf8(url).map_err(|_| "the URL is not UTF-8".to_owned())?;
    if directive::has_variable(without_userinfo(url.as_bytes())) {
        return Err("variables have no meaning here".to_owned());
    }
    Endpoint::parse(url).map_err(|error| format!("the URL is refused: {error}"))
}

/// What of a URL can be shown: its scheme.
fn shown_url(url: &[u8]) -> &[u8] {
    let scheme = url.split(|byte| *byte == b':').next().unwrap_or_default();
    if url
        .get(scheme.len()..)
        .is_some_and(|rest| rest.starts_with(b"://"))
    {
        scheme
    } else {
        b""
    }
}

/// `registry_auth_redis_user name`
pub fn redis_user(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    user("registry_auth_redis_user", conf, &mut main.user)
}

/// `registry_auth_redis_sentinel_user name`
pub fn redis_sentinel_user(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    user("registry_auth_redis_sentinel_user", conf, &mut main.sentinel_user)
}

/// The name of a user of Redis.
fn user(directive: &str, conf: &Conf<'_>, to: &mut Option<String>) -> Result<(), String> {
    unset(directive, to.is_some())?;
    let name = literal(directive, conf.arg())?;
    if !is_user_name(name) {
        return Err(invalid(
            directive,
            name.as_bytes(),
            "no user of Redis has blanks or control characters in the name",
        ));
    }
    *to = Some(name.to_owned());
    Ok(())
}

/// `registry_auth_redis_password_file path`: its first two lines.
pub fn redis_password_file(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_password_file";
    password_file(NAME, conf, &mut main.passwords)
}

/// `registry_auth_redis_sentinel_password_file path`: its first two lines.
pub fn redis_sentinel_password_file(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_sentinel_password_file";
    password_file(NAME, conf, &mut main.sentinel_passwords)
}

/// A file that workers may be meant to read, too: so it may be the group's, but not everybody's.
fn password_file(name: &str, conf: &mut Conf<'_>, to: &mut Option<Passwords>) -> Result<(), String> {
    file(name, conf, to, Passwords::in_file)?;
    if let Some(mode) = conf.path(conf.arg()).and_then(|path| mode_open_to_all(&path)) {
        let file = conf.arg().escape_ascii();
        conf.warn(&format_args!(
            "\"{name} {file}\": everybody on this machine may read the password, for the file's mode is \
             {mode:o}: 640 is enough"
        ));
    }
    Ok(())
}

/// `registry_auth_redis_trusted_certificate file | system`
pub fn redis_trusted_certificate(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_trusted_certificate";
    if conf.arg() == b"system" {
        unset(NAME, main.tls.trusted.is_some())?;
        main.tls.trusted = Some(Trusted::system().map_err(|why| invalid(NAME, b"system", &why))?);
        return Ok(());
    }
    file(NAME, conf, &mut main.tls.trusted, Trusted::in_file)
}

/// `registry_auth_redis_certificate file`
pub fn redis_certificate(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_certificate";
    file(NAME, conf, &mut main.tls.certificate, Chain::in_file)
}

/// `registry_auth_redis_certificate_key file`
pub fn redis_certificate_key(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_certificate_key";
    file(NAME, conf, &mut main.tls.key, Key::in_file)
}

/// `registry_auth_redis_ssl_name name`
pub fn redis_ssl_name(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_ssl_name";
    unset(NAME, main.tls.name.is_some())?;
    main.tls.name = Some(literal(NAME, conf.arg())?.into());
    Ok(())
}

/// What is in the file that a directive names.
fn file<T>(
    name: &str,
    conf: &mut Conf<'_>,
    to: &mut Option<T>,
    read: impl FnOnce(&Path) -> Result<T, String>,
) -> Result<(), String> {
    unset(name, to.is_some())?;
    let argument = conf.arg();
    let path = conf
        .path(argument)
        .ok_or_else(|| invalid(name, argument, "out of memory"))?;
    *to = Some(read(&path).map_err(|why| invalid(name, argument, &why))?);
    Ok(())
}

/// `registry_auth_prefix string`
pub fn prefix(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_prefix";
    unset(NAME, location.prefix.is_some())?;
    let prefix = literal(NAME, conf.arg())?;
    if directive::is_switch(prefix.as_bytes()) {
        return Err(invalid(
            NAME,
            prefix.as_bytes(),
            "the beginning of the keys' names is expected",
        ));
    }
    if prefix.ends_with(':') {
        conf.warn(&format_args!(
            "\"{NAME}\" ends with a colon, and a colon follows it: the keys are named \"{prefix}:user:...\""
        ));
    }
    location.prefix = Some(prefix.into());
    Ok(())
}

/// `registry_auth_salt string`
pub fn salt(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_salt";
    unset(NAME, location.salt.is_some())?;
    let salt = conf.arg();
    if directive::has_variable(salt) {
        conf.warn(&format_args!(
            "\"{NAME}\" is taken as it is written: variables have no meaning in it"
        ));
    }
    if directive::is_switch(salt) {
        conf.warn(&format_args!(
            "\"{NAME}\" is taken as it is written: \"\" means that there is none"
        ));
    }
    location.salt = Some(salt.into());
    Ok(())
}

/// `registry_auth_own_namespace on | off`
pub fn own_namespace(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    flag("registry_auth_own_namespace", conf, &mut location.own_namespace)
}

/// `registry_auth_catalog filter | off`
pub fn catalog(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    filter("registry_auth_catalog", conf, &mut location.catalog)
}

/// `registry_auth_v1_search filter | off`
pub fn v1_search(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    filter("registry_auth_v1_search", conf, &mut location.v1_search)
}

/// `filter` or `off`.
fn filter(name: &str, conf: &Conf<'_>, to: &mut Option<bool>) -> Result<(), String> {
    unset(name, to.is_some())?;
    *to = Some(match conf.arg() {
        b"filter" => true,
        b"off" => false,
        argument => return Err(invalid(name, argument, "\"filter\" or \"off\" is expected")),
    });
    Ok(())
}

/// `registry_auth_v1_images on | off | public`
pub fn v1_images(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_v1_images";
    unset(NAME, location.v1_images.is_some())?;
    let argument = conf.arg();
    location.v1_images = Some(match argument {
        b"on" => V1Images::On,
        b"off" => V1Images::Off,
        b"public" => V1Images::Public,
        _ => {
            return Err(invalid(
                NAME,
                argument,
                "\"on\", \"off\" or \"public\" is expected",
            ));
        }
    });
    Ok(())
}

/// `registry_auth_v1_endpoint host[:port]`
pub fn v1_endpoint(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_v1_endpoint";
    unset(NAME, location.v1_endpoint.is_some())?;
    let argument = conf.arg();
    let is_host =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b',' | b'@' | b'?' | b'#' | b'\\');
    if argument.is_empty() || !argument.iter().all(is_host) {
        return Err(invalid(
            NAME,
            argument,
            "a host, with its port where it has one, is expected",
        ));
    }
    let value = conf
        .complex_value()
        .ok_or_else(|| invalid(NAME, argument, "its variables cannot be used"))?;
    location.v1_endpoint = Some(value);
    Ok(())
}

/// `registry_auth_cache zone=name:size [ttl=60s] [stale=0s] | off`
pub fn cache(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_cache";
    unset(NAME, main.cache.is_some())?;
    each_once(NAME, conf.texts())?;
    let (mut zone, mut ttl, mut stale) = (None, DEFAULT_TTL, 0);
    let arguments: Vec<&[u8]> = conf.texts().collect();
    if let [b"off"] = arguments[..] {
        main.cache = Some(None);
        return Ok(());
    }
    for argument in arguments {
        if let Some(named) = argument.strip_prefix(b"zone=") {
            let name = named.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = Rc::from(String::from_utf8_lossy(name));
            zone = Some((zone_of::<Main>(conf, NAME, argument, named)?, name));
        } else if let Some(time) = argument.strip_prefix(b"ttl=") {
            ttl = cache_time(NAME, argument, time, 1)?;
        } else if let Some(time) = argument.strip_prefix(b"stale=") {
            stale = cache_time(NAME, argument, time, 0)?;
        } else {
            return Err(unexpected(
                NAME,
                argument,
                "\"zone=name:size\", \"ttl=\", \"stale=\" or \"off\" is expected",
            ));
        }
    }
    let (zone, name) = zone.ok_or_else(|| format!("no \"zone=\" in \"{NAME}\" directive"))?;
    main.cache = Some(Some(CacheOptions {
        zone,
        name,
        ttl,
        stale,
    }));
    Ok(())
}

/// `registry_auth_usage zone=name:size [top=number] | off`
pub fn usage(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_usage";
    unset(NAME, main.usage.is_some())?;
    each_once(NAME, conf.texts())?;
    let (mut zone, mut top) = (None, DEFAULT_TOP);
    let arguments: Vec<&[u8]> = conf.texts().collect();
    if let [b"off"] = arguments[..] {
        main.usage = Some(None);
        return Ok(());
    }
    for argument in arguments {
        if let Some(named) = argument.strip_prefix(b"zone=") {
            let size = named.rsplit(|byte| *byte == b':').next().and_then(shm::size);
            zone = Some((
                zone_of::<Main>(conf, NAME, argument, named)?,
                size.unwrap_or_default(),
                argument,
            ));
        } else if let Some(number) = argument.strip_prefix(b"top=") {
            top = within(NAME, argument, number, MAX_TOP)?;
        } else {
            return Err(unexpected(
                NAME,
                argument,
                "\"zone=name:size\", \"top=\" or \"off\" is expected",
            ));
        }
    }
    let (zone, size, argument) = zone.ok_or_else(|| format!("no \"zone=\" in \"{NAME}\" directive"))?;
    // Beside it, nginx keeps some bytes for each page.
    let needed = registry_auth_usage::least_size(top) / 64 * 65 + shm::least();
    if size < needed {
        let why = format!(
            "{top} users and as many repositories need {} kilobytes (or a smaller \"top=\")",
            needed.div_ceil(1024)
        );
        return Err(invalid(NAME, argument, &why));
    }
    main.usage = Some(Some(UsageOptions { zone, top }));
    Ok(())
}

/// `registry_auth_failures number period [address=number] | off`
pub fn failures(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_failures";
    unset(NAME, location.failures.is_some())?;
    let arguments: Vec<&[u8]> = conf.texts().collect();
    let (number, period, address) = match arguments[..] {
        [b"off"] => {
            location.failures = Some(None);
            return Ok(());
        }
        [number, period] => (number, period, None),
        [number, period, address] => (number, period, Some(address)),
        _ => {
            let value = arguments.first().copied().unwrap_or_default();
            let why = "a number, a period and perhaps \"address=\", or \"off\", are expected";
            return Err(invalid(NAME, value, why));
        }
    };
    let number = within(NAME, number, number, failures::MAX_PER_USER as usize)?;
    let period = match Conf::milliseconds(period) {
        Some(period) if (1000..=MAX_TTL).contains(&period) => period,
        _ => return Err(invalid(NAME, period, "a period from 1s to 1d is expected")),
    };
    let address = match address {
        None => ADDRESS_TIMES * number,
        Some(argument) => {
            let why = "a number from that for one user to 10000 is expected after \"address=\"";
            let refused = || invalid(NAME, argument, why);
            let address = argument
                .strip_prefix(b"address=")
                .ok_or_else(|| unexpected(NAME, argument, "\"address=\" and a number is expected"))?;
            let address = within(NAME, argument, address, failures::MAX_PER_ADDRESS as usize)?;
            if address < number {
                return Err(refused());
            }
            address
        }
    };
    location.failures = Some(Some(FailureLimits {
        per_user: number as u32,
        per_address: address as u32,
        period,
    }));
    Ok(())
}

/// `registry_auth_hashing [threads=n] [queue=n]`
pub fn hashing(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_hashing";
    unset(NAME, main.hashing.is_some())?;
    each_once(NAME, conf.texts())?;
    let mut hashing = Hashing::default();
    for argument in conf.texts() {
        if let Some(number) = argument.strip_prefix(b"threads=") {
            hashing.threads = within(NAME, argument, number, 64)?;
        } else if let Some(number) = argument.strip_prefix(b"queue=") {
            hashing.queue = within(NAME, argument, number, 65_536)?;
        } else {
            return Err(unexpected(
                NAME,
                argument,
                "\"threads=\" or \"queue=\" is expected",
            ));
        }
    }
    main.hashing = Some(hashing);
    Ok(())
}

/// The service where none is named.
const DEFAULT_SERVICE: &str = "registry";

/// `registry_auth_bearer realm-url [service=name] | off`
pub fn bearer(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_bearer";
    unset(NAME, location.bearer.is_some())?;
    let realm = conf.arg();
    let rest: Vec<&[u8]> = conf.texts().skip(1).collect();
    if realm == b"off" && rest.is_empty() {
        location.bearer = Some(None);
        return Ok(());
    }
    let url = EndpointUrl::parse(realm).map_err(|error| {
        let why = format!("the URL of the token endpoint, or \"off\", is expected, and {error}");
        // A password that stands in it is no one's to see.
        let shown = if error == InvalidUrl::UserInfo { b"" } else { realm };
        invalid(NAME, shown, &why)
    })?;
    if url.is_clear_text() {
        conf.warn(&format_args!(
            "\"{NAME}\" has clients send their passwords to http://{}/ in the clear",
            url.host
        ));
    }
    let service = match rest[..] {
        [] => DEFAULT_SERVICE,
        [argument] => match argument.strip_prefix(b"service=").map(std::str::from_utf8) {
            Some(Ok(service)) if is_service(service) => service,
            None => return Err(unexpected(NAME, argument, "\"service=\" and a name is expected")),
            _ => {
                return Err(invalid(
                    NAME,
                    argument,
                    "\"service=\" and printable characters, none of them a quote, with no blanks around \
                     them, and no variables are expected",
                ));
            }
        },
        [_, argument, ..] => return Err(invalid(NAME, argument, "a URL and \"service=\" are expected")),
    };
    let value = conf
        .complex_value()
        .ok_or_else(|| invalid(NAME, realm, "its variables cannot be used"))?;
    location.bearer = Some(Some(Bearer {
        realm: value,
        service: service.into(),
        said: Rc::new(BearerSaid {
            url: realm.into(),
            position: conf.position(),
        }),
    }));
    Ok(())
}

/// Whether this is fit for a service. nginx keeps quotes that stand within an argument, as in
/// `service="registry"`: nobody means them.
fn is_service(name: &str) -> bool {
    !name.is_empty()
        && name.trim_ascii() == name
        && !directive::has_variable(name.as_bytes())
        && name
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && !b"\"'\\".contains(&byte))
}

/// Most lines of a file of keys: each one that is kept for old tokens costs a signature more.
const MOST_KEYS: usize = 16;
/// Least characters of a key: 32 are 128 bits even where they are hexadecimal digits.
const LEAST_KEY: usize = 32;

/// `registry_auth_token_key file`
pub fn token_key(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_token_key";
    file(NAME, conf, &mut main.token_keys, keys)
}

/// The keys in a file that nobody but its owner may read.
fn keys(path: &Path) -> Result<Vec<Secret>, String> {
    let text = read_private(path)?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut keys = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.len() < LEAST_KEY {
            return Err(format!(
                "key {} has less than {LEAST_KEY} characters",
                keys.len() + 1
            ));
        }
        keys.push(Secret::new(line));
    }
    match keys.len() {
        0 => Err("there is no key in it".to_owned()),
        1..=MOST_KEYS => Ok(keys),
        _ => Err(format!("there are more than {MOST_KEYS} keys in it")),
    }
}

/// Seconds for which a token is good, where nothing is said.
const DEFAULT_LIFE: u64 = 3600;

/// `registry_auth_token [ttl=1h]`
pub fn token(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_token";
    let mut ttl = DEFAULT_LIFE;
    each_once(NAME, conf.texts())?;
    for argument in conf.texts() {
        ttl = match argument.strip_prefix(b"ttl=").and_then(Conf::milliseconds) {
            Some(time) if (MIN_LIFE..=MAX_LIFE).contains(&(time / 1000)) => time / 1000,
            _ if !argument.starts_with(b"ttl=") => {
                return Err(unexpected(NAME, argument, "\"ttl=\" and a time is expected"));
            }
            _ => {
                return Err(invalid(
                    NAME,
                    argument,
                    "\"ttl=\" and a time from 60s to 1d are expected",
                ));
            }
        };
    }
    location.set_endpoint(ttl, conf)
}

/// `registry_auth_token_use on | off`
pub fn token_use(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    flag("registry_auth_token_use", conf, &mut main.token_use)
}

/// `registry_auth_rehash on | off`
pub fn rehash(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    flag("registry_auth_rehash", conf, &mut main.rehash)
}

/// `registry_auth_health`
pub fn health(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    location.set_page(Page::Health, conf)
}

/// `registry_auth_ns strip | pass`
pub fn ns(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_ns";
    unset(NAME, location.passes_ns.is_some())?;
    location.passes_ns = Some(match conf.arg() {
        b"strip" => false,
        b"pass" => true,
        argument => return Err(invalid(NAME, argument, "\"strip\" or \"pass\" is expected")),
    });
    Ok(())
}

/// `registry_auth_redirects host ... | off`
pub fn redirects(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_redirects";
    unset(NAME, location.storage_hosts.is_some())?;
    let is_off = conf.texts().eq([&b"off"[..]]);
    let named = conf.texts().filter(|_| !is_off).map(|argument| {
        let host = StorageHost::parse(argument).filter(|_| !directive::is_switch(argument));
        host.ok_or_else(|| {
            let why = "hosts of storage services are expected, such as \"storage.example.com\", \
                       \"storage.example.com:9000\" or \"*.example.com\", or \"off\" alone";
            invalid(NAME, argument, why)
        })
    });
    let hosts: StorageHosts = named.collect::<Result<_, _>>()?;
    location.storage_hosts = Some(Rc::new(hosts));
    Ok(())
}

/// `registry_auth_status`
pub fn status(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    let page = match conf.texts().next() {
        None => Page::Status,
        Some(b"usage") => Page::Usage,
        Some(argument) => {
            return Err(invalid(
                "registry_auth_status",
                argument,
                "nothing, or \"usage\", is expected",
            ));
        }
    };
    location.set_page(page, conf)
}

/// `registry_auth_backends [allow=cidr[:port] ...] [balance=repository | turn]`
pub fn backends(conf: &mut Conf<'_>, upstream: &mut Upstream) -> Result<(), String> {
    const NAME: &str = "registry_auth_backends";
    for argument in conf.texts() {
        if let Some(value) = argument.strip_prefix(b"balance=") {
            let balance = match value {
                b"repository" => Balance::Repository,
                b"turn" => Balance::Turn,
                _ => return Err(invalid(NAME, argument, "\"repository\" or \"turn\" is expected")),
            };
            if upstream.balance.replace(balance).is_some() {
                return Err(invalid(NAME, argument, "\"balance\" stands there twice"));
            }
            continue;
        }
        let expected = "\"allow=cidr[:port]\" or \"balance=repository | turn\" is expected";
        let entry = argument
            .strip_prefix(b"allow=")
            .ok_or_else(|| unexpected(NAME, argument, expected))?;
        let entry = std::str::from_utf8(entry).map_err(|_| invalid(NAME, argument, expected))?;
        upstream
            .allow
            .add(entry)
            .map_err(|error| invalid(NAME, argument, &error.to_string()))?;
        if let Some(network) = upstream.allow.rounded() {
            conf.warn(&format_args!(
                "\"{NAME}\": \"{entry}\" means {network}: low address bits are meaningless"
            ));
        }
    }
    upstream
        .attach(conf)
        .map_err(|error| format!("\"{NAME}\": {error}"))
}

/// `registry_auth_store path [backend=host:port ...] [layout=distribution | oci] | off`
pub fn store(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_store";
    let arguments: Vec<&[u8]> = conf.texts().collect();
    if let Some([]) = location.stores.as_deref() {
        return Err(format!("\"{NAME}\" is off here already"));
    }
    let Some((path, rest)) = arguments.split_first() else {
        return Err(format!("no path in \"{NAME}\" directive"));
    };
    if (*path, rest) == (b"off", &[]) {
        unset(NAME, location.stores.is_some())?;
        location.stores = Some(Vec::new());
        return Ok(());
    }
    if directive::has_variable(path) {
        return Err(invalid(NAME, path, "variables have no meaning here"));
    }
    if !path.starts_with(b"/") {
        return Err(invalid(NAME, path, "an absolute path or \"off\" is expected"));
    }
    let (mut backends, mut layout) = (Vec::new(), None);
    for argument in rest {
        if let Some(name) = argument.strip_prefix(b"backend=") {
            let name = BackendName::parse(name)
                .ok_or_else(|| invalid(NAME, argument, "\"backend=\" and host:port are expected"))?;
            backends.push(name);
        } else if let Some(text) = argument.strip_prefix(b"layout=") {
            let parsed = Layout::parse(text)
                .ok_or_else(|| invalid(NAME, argument, "\"distribution\" or \"oci\" is expected"))?;
            if layout.replace(parsed).is_some() {
                return Err(invalid(NAME, argument, "\"layout\" stands there twice"));
            }
        } else {
            let why = "a path, \"backend=host:port\" and \"layout=distribution | oci\" are expected";
            return Err(unexpected(NAME, argument, why));
        }
    }
    let store = Store {
        path: trimmed(path).into(),
        owner: match backends.is_empty() {
            true => Owner::Default,
            false => Owner::Backends(backends),
        },
        layout: layout.unwrap_or(Layout::Distribution),
        registry: OnceCell::new(),
        position: conf.position(),
        is_used: Cell::new(false),
    };
    let stores = location.stores.get_or_insert_default();
    if let Some(whose) = stores
        .iter()
        .find_map(|other| other.owner.shared_with(&store.owner))
    {
        return Err(format!(
            "\"{NAME}\" directive is duplicate: it names two folders for the requests {whose}"
        ));
    }
    warn_of_folder(NAME, &store, conf);
    stores.push(Rc::new(store));
    location.stores_position.get_or_insert_with(|| conf.position());
    Ok(())
}

/// A path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    path.get(..end).unwrap_or_default()
}

/// Tells what looks like no registry's folder. It may be there later, as a volume that is not mounted yet.
fn warn_of_folder(directive: &str, store: &Store, conf: &mut Conf<'_>) {
    let path = [&store.path, &b"/"[..], store.layout.folder().as_bytes()].concat();
    let folder = Path::new(OsStr::from_bytes(&path));
    let why = match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => return,
        Ok(_) => "it is no folder".to_owned(),
        Err(error) => error.to_string(),
    };
    conf.warn(&format_args!(
        "\"{directive}\": \"{}\" cannot be opened ({why}): blobs are asked of the registry",
        folder.display()
    ));
}
