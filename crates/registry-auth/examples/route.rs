//! Which right does a request need? `cargo run -p registry-auth --example route -- PUT
//! /v2/team/app/manifests/1.0`
//!
//! Prints the repository, the action and what a Bearer token for the request has to be asked for; or why no
//! registry has such a route, and with which status the request would be answered.

use registry_auth::resource::scope_of;
use registry_auth::route::{self, Method, Request, RouteOptions};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let method = arguments.next().unwrap_or_else(|| "GET".to_owned());
    let target = arguments
        .next()
        .unwrap_or_else(|| "/v2/team/app/manifests/latest".to_owned());
    let method = Method::of(method.as_bytes());
    // nginx would decode and normalise this path. Nothing in the path of an ordinary request needs it.
    let decided_path = target.split('?').next().unwrap_or_default();
    let request = Request::from_target(method, target.as_bytes(), decided_path.as_bytes(), None);
    match route::parse(&request, &RouteOptions { v1_images: true }) {
        Ok(route) => {
            match (route.repository(), route.action()) {
                (Some(repository), Some(action)) => println!("needs: {action} {repository}"),
                _ => println!("needs: {:?}", route.need),
            }
            println!("scope of a token: {}", scope_of(&route));
        }
        Err(denial) => println!("refused: {} {} ({denial})", denial.status(), denial.code()),
    }
}
