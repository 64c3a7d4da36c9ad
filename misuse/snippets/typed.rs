// What takes another thread, another slot, or more than there is.

use std::thread;

use crate::conf::{Location, Main};
use crate::request::context::Context;
use crate::ffi::conf::{ComplexValue, Conf};
use crate::ffi::event::{Deferred, EventFd, Idle, NginxThread};
use crate::ffi::suspend::{resume, Suspension};
use crate::ffi::request::Request;
use crate::ffi::shm::Zone;
use crate::ffi::subrequest::Subrequest;
use crate::ffi::{body, log};
use crate::upstream::Upstream;

fn to_another_thread<T: Send>() {}

pub fn nothing_of_nginxs_is_sent() {
    to_another_thread::<NginxThread>(); //~ E0277
    to_another_thread::<Idle>(); //~ E0277
    to_another_thread::<&mut Request>(); //~ E0277
    to_another_thread::<Suspension>(); //~ E0277
    to_another_thread::<ComplexValue>(); //~ E0277
    to_another_thread::<Zone>(); //~ E0277
    to_another_thread::<Subrequest>(); //~ E0277
    to_another_thread::<Deferred>(); //~ E0277
    to_another_thread::<EventFd>(); //~ E0277
}

pub fn log_on_another_thread(nginx: NginxThread) {
    thread::spawn(move || log::write(nginx, log::Level::Info, format_args!(""))); //~ E0277
}

pub fn resumed_with_a_request_at_hand(_: &mut Request, ticket: u64) {
    resume(ticket, |_| ()); //~ E0061
}

pub fn body_read_with_a_request_at_hand(request: &mut Request) {
    request.read_body(); //~ E0599
}

pub fn body_read_by_safe_code(raw: *mut nginx_sys::ngx_http_request_t) {
    body::read(raw); //~ E0133
}

pub fn a_second_reference_to_the_main_configuration(conf: &mut Conf<'_>, _: &mut Main) {
    conf.main::<Main>(); //~ E0599
}

pub fn slots_of_other_kinds(request: &mut Request) {
    request.location::<Main>(); //~ E0271
    request.location::<Upstream>(); //~ E0271
    request.location::<Context>(); //~ E0271
    request.existing_context::<Location, _>(|_, _| ()); //~ E0271
    request.keep_own::<Main>(b""); //~ E0271
}

pub fn copied(value: ComplexValue) -> (ComplexValue, ComplexValue) {
    (value, value) //~ E0382
}
