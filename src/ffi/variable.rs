//! Variables: those whose values a trait gives, and what others come to.

use core::marker::PhantomData;

use nginx_sys::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK, ngx_hash_key, ngx_http_add_variable, ngx_http_get_variable,
    ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t,
};

use super::bytes;
use super::conf::Conf;
use super::guard::guard;
use super::request::Request;

/// A set of variables.
pub trait Variables: 'static {
    /// Their names, without the dollar sign.
    const NAMES: &'static [&'static str];

    /// Appends the value of `NAMES[index]`; nothing appended means that there is none yet.
    fn value(request: &mut Request, index: usize, out: &mut Vec<u8>);
}

/// Adds them: for a module's preconfiguration. An error names the variable.
pub fn register<V: Variables>(conf: &mut Conf<'_>, _variables: PhantomData<V>) -> Result<(), String> {
    for (index, name) in V::NAMES.iter().enumerate() {
        let mut key = bytes::fixed(name);
        // SAFETY: nginx copies the name; the result is null or a variable that is ours to fill.
        unsafe {
            let variable = ngx_http_add_variable(conf.as_ptr(), &mut key, NGX_HTTP_VAR_NOCACHEABLE as usize);
            let variable = variable
                .as_mut()
                .ok_or_else(|| format!("the variable \"{name}\" could not be added"))?;
            variable.get_handler = Some(get::<V>);
            variable.data = index;
        }
    }
    Ok(())
}

/// What a variable of this name, in lower case, comes to; `None` where there is none, or memory is out.
pub fn value_of<'r>(request: &'r mut Request, name: &'static str) -> Option<&'r [u8]> {
    let mut name = bytes::fixed(name);
    // SAFETY: the name is only read; the result is null or a value of this request, whose text lies in its
    // pool or in the configuration's.
    unsafe {
        let key = ngx_hash_key(name.data, name.len);
        let value = ngx_http_get_variable(request.as_ptr(), &mut name, key).as_ref()?;
        let is_there = value.valid() != 0 && value.not_found() == 0;
        let text = nginx_sys::ngx_str_t {
            len: value.len() as usize,
            data: value.data,
        };
        is_there.then(|| bytes::of(text))
    }
}

unsafe extern "C" fn get<V: Variables>(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    index: usize,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointers, valid during the call.
        let (Some(request), Some(value)) = (unsafe { Request::from_raw(r) }, unsafe { value.as_mut() })
        else {
            return NGX_ERROR as ngx_int_t;
        };
        let mut text = Vec::new();
        V::value(request, index, &mut text);
        value.set_valid(1);
        value.set_no_cacheable(1);
        value.set_not_found(u32::from(text.is_empty()));
        let Some(copy) = request.pool().and_then(|pool| pool.copy(&text)) else {
            return NGX_ERROR as ngx_int_t;
        };
        value.set_len(copy.len() as u32);
        value.data = copy.as_mut_ptr();
        NGX_OK as ngx_int_t
    })
}
