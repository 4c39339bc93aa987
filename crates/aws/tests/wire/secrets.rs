//! Secrets that nobody set, and how long they are remembered.

use aws::SsmSecrets;
use playbook::ports::Secrets;
use serde_json::json;

use crate::{Wire, error, fault};

#[tokio::test]
async fn a_secret_is_fetched_once_and_a_missing_one_is_none() {
    let found = json!({"Parameter": {"Name": "/ioc/providers/urlhaus", "Value": "key"}});
    let wire = Wire::of([(200, found), (400, error("ParameterNotFound"))]);
    let secrets = SsmSecrets::new(&wire.config().await, "/ioc/providers/");
    for _ in 0..2 {
        assert_eq!(secrets.secret("urlhaus").await.unwrap().unwrap().reveal(), "key");
        assert_eq!(secrets.secret("otx").await.unwrap(), None);
    }
    let requests = wire.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], json!({"Name": "/ioc/providers/urlhaus", "WithDecryption": true}));
}

#[tokio::test]
async fn an_id_stays_below_its_prefix() {
    let wire = Wire::of([]);
    let secrets = SsmSecrets::new(&wire.config().await, "/ioc/consumers");
    for id in ["", "../providers/urlhaus", "a/b", "a b"] {
        assert_eq!(fault(secrets.secret(id).await), "Rejected", "{id:?}");
    }
    assert_eq!(wire.requests().len(), 0);
}
