//! Any bytes as an encoded record: no panic, everything readable can be read, and a whole record survives
//! encoding. A decision on it never panics either.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::codec::{encode, RecordRef};
use registry_auth::policy::{judge, Rules};
use registry_auth::{Action, Limits, RepositoryName, Subject, UserName};

fuzz_target!(|data: &[u8]| {
    let Ok(view) = RecordRef::decode(data) else { return };
    let _ = (view.password(), view.is_locked(), view.has_peers());
    let _ = (view.groups().count(), view.grants().count());
    for peer in view.peers().flatten() {
        let _ = peer.addresses().count();
    }
    let (Ok(user), Ok(name)) = (UserName::parse(b"alice"), RepositoryName::parse(b"alice/app")) else {
        return;
    };
    let subject = Subject {
        user: Some(user),
        record: view,
        groups: &[view],
        limits: Limits::default(),
    };
    let rules = Rules { own_namespace: true, catalog: true, public_images: false };
    for action in Action::ALL {
        let _ = judge(&subject, &name, action, &rules);
    }
    if let Ok(record) = view.to_record() {
        let mut bytes = Vec::new();
        encode(&record, &mut bytes).expect("what was decoded fits");
        let again = RecordRef::decode(&bytes).expect("what was encoded decodes");
        // Grants come in the order of the layout.
        let mut once = Vec::new();
        encode(&again.to_record().expect("and reads"), &mut once).expect("what was decoded fits");
        assert_eq!(once, bytes);
    }
});
