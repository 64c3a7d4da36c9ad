//! The directives, in the order of docs/reference/directives.md: names, contexts and arguments. What they
//! mean is in `conf::read`.

use core::ffi::c_void;
use core::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_ANY, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_CONF_TAKE123,
    NGX_HTTP_LMT_CONF, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF,
    NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF, NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF, ngx_command_t,
    ngx_uint_t,
};

use crate::conf::{Location, Main, neighbours, read};
use crate::ffi::bytes::terminated;
use crate::ffi::conf::{Conf, Directive, set};
use crate::ffi::observe::END;
use crate::upstream::Upstream;

const HTTP: u32 = NGX_HTTP_MAIN_CONF;
const SERVER: u32 = NGX_HTTP_SRV_CONF;
const LOCATION: u32 = NGX_HTTP_LOC_CONF;
const LIMIT_EXCEPT: u32 = NGX_HTTP_LMT_CONF;
const UPSTREAM: u32 = NGX_HTTP_UPS_CONF;

/// A row of the table: a type that ties the reader's function to its slot.
macro_rules! row {
    ($name:literal, $flags:expr, $target:ty, $offset:expr, $read:path) => {{
        struct Row;
        impl Directive for Row {
            type Target = $target;
            fn set(conf: &mut Conf<'_>, target: &mut $target) -> Result<(), String> {
                $read(conf, target)
            }
        }
        ngx_command_t {
            name: terminated($name),
            type_: ($flags) as ngx_uint_t,
            set: Some(set::<Row>),
            conf: $offset,
            offset: 0,
            post: ptr::null_mut::<c_void>(),
        }
    }};
}

macro_rules! main_row {
    ($name:literal, $args:expr, $read:path) => {
        row!($name, HTTP | $args, Main, NGX_HTTP_MAIN_CONF_OFFSET, $read)
    };
}

macro_rules! location_row {
    ($name:literal, $contexts:expr, $args:expr, $read:path) => {
        row!(
            $name,
            $contexts | $args,
            Location,
            NGX_HTTP_LOC_CONF_OFFSET,
            $read
        )
    };
}

/// The table that nginx reads; nginx writes to none of it.
pub static mut COMMANDS: [ngx_command_t; 33] = [
    location_row!(
        c"registry_auth",
        HTTP | SERVER | LOCATION | LIMIT_EXCEPT,
        NGX_CONF_TAKE1,
        read::registry_auth
    ),
    main_row!(c"registry_auth_redis", NGX_CONF_1MORE, read::redis),
    main_row!(c"registry_auth_redis_user", NGX_CONF_TAKE1, read::redis_user),
    main_row!(
        c"registry_auth_redis_password_file",
        NGX_CONF_TAKE1,
        read::redis_password_file
    ),
    main_row!(
        c"registry_auth_redis_sentinel_user",
        NGX_CONF_TAKE1,
        read::redis_sentinel_user
    ),
    main_row!(
        c"registry_auth_redis_sentinel_password_file",
        NGX_CONF_TAKE1,
        read::redis_sentinel_password_file
    ),
    main_row!(
        c"registry_auth_redis_trusted_certificate",
        NGX_CONF_TAKE1,
        read::redis_trusted_certificate
    ),
    main_row!(
        c"registry_auth_redis_certificate",
        NGX_CONF_TAKE1,
        read::redis_certificate
    ),
    main_row!(
        c"registry_auth_redis_certificate_key",
        NGX_CONF_TAKE1,
        read::redis_certificate_key
    ),
    main_row!(
        c"registry_auth_redis_ssl_name",
        NGX_CONF_TAKE1,
        read::redis_ssl_name
    ),
    location_row!(
        c"registry_auth_prefix",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::prefix
    ),
    location_row!(
        c"registry_auth_salt",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::salt
    ),
    location_row!(
        c"registry_auth_own_namespace",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::own_namespace
    ),
    location_row!(
        c"registry_auth_catalog",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::catalog
    ),
    location_row!(
        c"registry_auth_v1_images",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::v1_images
    ),
    location_row!(
        c"registry_auth_v1_endpoint",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::v1_endpoint
    ),
    location_row!(
        c"registry_auth_v1_search",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::v1_search
    ),
    main_row!(c"registry_auth_cache", NGX_CONF_TAKE123, read::cache),
    location_row!(
        c"registry_auth_failures",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE123,
        read::failures
    ),
    main_row!(c"registry_auth_hashing", NGX_CONF_TAKE12, read::hashing),
    location_row!(
        c"registry_auth_bearer",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE12,
        read::bearer
    ),
    location_row!(
        c"registry_auth_token",
        LOCATION,
        NGX_CONF_NOARGS | NGX_CONF_TAKE1,
        read::token
    ),
    main_row!(c"registry_auth_token_key", NGX_CONF_TAKE1, read::token_key),
    main_row!(c"registry_auth_token_use", NGX_CONF_TAKE1, read::token_use),
    main_row!(c"registry_auth_rehash", NGX_CONF_TAKE1, read::rehash),
    location_row!(
        c"registry_auth_status",
        LOCATION,
        NGX_CONF_NOARGS | NGX_CONF_TAKE1,
        read::status
    ),
    main_row!(c"registry_auth_usage", NGX_CONF_TAKE12, read::usage),
    location_row!(c"registry_auth_health", LOCATION, NGX_CONF_NOARGS, read::health),
    location_row!(
        c"registry_auth_ns",
        HTTP | SERVER | LOCATION,
        NGX_CONF_TAKE1,
        read::ns
    ),
    location_row!(
        c"registry_auth_redirects",
        HTTP | SERVER | LOCATION,
        NGX_CONF_1MORE,
        read::redirects
    ),
    location_row!(
        c"registry_auth_store",
        HTTP | SERVER | LOCATION,
        NGX_CONF_1MORE,
        read::store
    ),
    row!(
        c"registry_auth_backends",
        UPSTREAM | NGX_CONF_ANY,
        Upstream,
        NGX_HTTP_SRV_CONF_OFFSET,
        read::backends
    ),
    END,
];

/// Directives of other modules, which the module sees: rows that `ffi::observe` fills while nginx reads
/// http{}, on its one thread.
pub static mut OBSERVED: [ngx_command_t; neighbours::NAMES.len() + 1] = [END; neighbours::NAMES.len() + 1];
