// What only the wrappers themselves may make or call.

use core::marker::PhantomData;

use crate::ffi::event::{Idle, NginxThread};
use crate::ffi::unshare_fds::unshare_fds; //~ E0603
use crate::ffi::pool::Lent; //~ E0603

pub fn made_by_hand() {
    drop(NginxThread(PhantomData)); //~ E0423
    unshare_fds([0]);
}

pub fn idle_by_hand(thread: NginxThread) -> Idle {
    Idle(thread) //~ E0423
}

pub fn lent(_: Lent<u8>) {}
