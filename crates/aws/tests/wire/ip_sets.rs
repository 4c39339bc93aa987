//! A set is replaced as it was read, or not at all.

use aws::WafIpSets;
use playbook::ports::{IpSet, IpSets};
use serde_json::{Value, json};

use crate::{Wire, error, fault};

const ARN: &str = "arn:aws:wafv2:us-east-1:111111111111:regional/ipset/block-v4/1a2b";
const GLOBAL: &str = "arn:aws:wafv2:us-east-1:111111111111:global/ipset/block-v4/1a2b";

/// A set as `GetIPSet` gives it.
fn stored(addresses: &[&str], token: &str) -> Value {
    json!({
        "IPSet": {
            "Name": "block-v4", "Id": "1a2b", "ARN": ARN, "Description": "", "IPAddressVersion": "IPV4",
            "Addresses": addresses,
        },
        "LockToken": token,
    })
}

fn set(networks: &[&str], token: &str) -> IpSet {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    IpSet { networks, lock_token: token.to_owned() }
}

#[tokio::test]
async fn a_set_is_read_and_replaced_whole_with_its_lock_token() {
    let wire =
        Wire::of([(200, stored(&["198.51.100.7/32", "203.0.113.0/24"], "t1")), (200, json!({"NextLockToken": "t2"}))]);
    let sets = WafIpSets::new(&wire.config().await);
    let read = sets.read(ARN).await.unwrap();
    assert_eq!(read, set(&["198.51.100.7/32", "203.0.113.0/24"], "t1"));
    assert!(sets.replace(GLOBAL, &set(&["198.51.100.7/32"], "t1")).await.unwrap());
    let requests = wire.requests();
    assert_eq!(requests[0], json!({"Name": "block-v4", "Scope": "REGIONAL", "Id": "1a2b"}));
    let replaced = json!({
        "Name": "block-v4", "Scope": "CLOUDFRONT", "Id": "1a2b", "Addresses": ["198.51.100.7/32"], "LockToken": "t1",
    });
    assert_eq!(requests[1], replaced);
}

#[tokio::test]
async fn a_stale_token_replaces_nothing() {
    let wire = Wire::of([(400, error("WAFOptimisticLockException"))]);
    let sets = WafIpSets::new(&wire.config().await);
    assert!(!sets.replace(ARN, &set(&["198.51.100.7/32"], "stale")).await.unwrap());
}

#[tokio::test]
async fn what_waf_refuses_has_its_fault() {
    let check = async |status: u16, code: &str, expected: &str| {
        // The client tries once more what may pass.
        let wire = Wire::of([(status, error(code)), (status, error(code))]);
        let sets = WafIpSets::new(&wire.config().await);
        assert_eq!(fault(sets.replace(ARN, &set(&["198.51.100.7/32"], "t")).await), expected, "{code}");
    };
    check(400, "WAFInvalidParameterException", "Rejected").await;
    check(400, "WAFLimitsExceededException", "Rejected").await;
    check(400, "WAFUnavailableEntityException", "Unavailable").await;
    check(500, "WAFInternalErrorException", "Unavailable").await;
    check(400, "WAFNonexistentItemException", "Misconfigured").await;
    check(400, "AccessDeniedException", "Misconfigured").await;
    check(400, "ThrottlingException", "Throttled").await;
}

#[tokio::test]
async fn nobody_blocks_everybody() {
    let wire = Wire::of([]);
    let sets = WafIpSets::new(&wire.config().await);
    for network in ["0.0.0.0/0", "::/0"] {
        assert_eq!(fault(sets.replace(ARN, &set(&[network], "t")).await), "Rejected");
    }
    assert_eq!(fault(sets.read("arn:aws:s3:::bucket").await), "Misconfigured");
    assert_eq!(wire.requests().len(), 0);
}
