//! IP sets of AWS WAF.

use std::collections::BTreeSet;

use aws_config::{Region, SdkConfig};
use aws_sdk_wafv2::{Client, config::Builder, error::ProvideErrorMetadata as _, types::Scope};
use ipnet::IpNet;
use playbook::{
    Fault,
    ports::{IpSet, IpSets},
};

use crate::faults::{CallError, fault};

/// IP sets by ARN; each is called in its own region.
#[derive(Clone, Debug)]
pub struct WafIpSets {
    config: SdkConfig,
}

/// A set as WAF's calls name it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    region: &'a str,
    scope: Scope,
    name: &'a str,
    id: &'a str,
}

impl WafIpSets {
    /// Every set that the role may read and update.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self { config: config.clone() }
    }

    fn client(&self, named: &Named<'_>) -> Client {
        let region = Region::new(named.region.to_owned());
        Client::from_conf(Builder::from(&self.config).region(region).build())
    }
}

impl<'a> Named<'a> {
    /// Reads `arn:aws:wafv2:<region>:<account>:regional|global/ipset/<name>/<id>`. Sets for `CloudFront` are called in us-east-1.
    fn of(arn: &'a str) -> Result<Self, Fault> {
        let wrong = || Fault::Misconfigured(format!("{arn:?} is not the ARN of an IP set"));
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, "wafv2", region, _, resource] = parts[..] else { return Err(wrong()) };
        let resource: Vec<&str> = resource.split('/').collect();
        match resource[..] {
            ["regional", "ipset", name, id] => Ok(Self { region, scope: Scope::Regional, name, id }),
            ["global", "ipset", name, id] => Ok(Self { region: "us-east-1", scope: Scope::Cloudfront, name, id }),
            _ => Err(wrong()),
        }
    }
}

impl IpSets for WafIpSets {
    async fn read(&self, arn: &str) -> Result<IpSet, Fault> {
        let named = Named::of(arn)?;
        let call = self.client(&named).get_ip_set().name(named.name).scope(named.scope.clone()).id(named.id);
        let answer = call.send().await.map_err(|error| refusal("wafv2 GetIPSet", &error))?;
        let addresses = answer.ip_set.map(|set| set.addresses).unwrap_or_default();
        let networks: Result<BTreeSet<IpNet>, _> = addresses.iter().map(|text| text.parse()).collect();
        let networks = networks.map_err(|_| Fault::Rejected(format!("{arn} holds what is no network")))?;
        let lock_token = answer.lock_token.ok_or_else(|| Fault::Unavailable(format!("{arn} has no lock token")))?;
        Ok(IpSet { networks, lock_token })
    }

    async fn replace(&self, arn: &str, set: &IpSet) -> Result<bool, Fault> {
        let named = Named::of(arn)?;
        // WAF takes no /0, and nobody wants one.
        if let Some(network) = set.networks.iter().find(|network| network.prefix_len() == 0) {
            return Err(Fault::Rejected(format!("{network} would block everybody")));
        }
        let addresses = set.networks.iter().map(IpNet::to_string).collect();
        let call = self.client(&named).update_ip_set().name(named.name).scope(named.scope.clone()).id(named.id);
        match call.set_addresses(Some(addresses)).lock_token(&set.lock_token).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("WAFOptimisticLockException") => Ok(false),
            Err(error) => Err(refusal("wafv2 UpdateIPSet", &error)),
        }
    }
}

/// Codes of WAF's own; the others are as everywhere.
fn refusal<E: aws_sdk_wafv2::error::ProvideErrorMetadata>(call: &str, error: &CallError<E>) -> Fault {
    let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default();
    let message = || format!("{call}: {code}");
    match code {
        // Being made or changed just now.
        "WAFUnavailableEntityException" | "WAFInternalErrorException" => Fault::Unavailable(message()),
        "WAFNonexistentItemException" | "WAFInvalidOperationException" => Fault::Misconfigured(message()),
        _ => fault(call, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_called_where_its_arn_says() {
        let check = |arn: &str, region: &str, scope: Scope| {
            let named = Named::of(arn).unwrap();
            assert_eq!(named, Named { region, scope, name: "block-v4", id: "1a2b" }, "{arn}");
        };
        check("arn:aws:wafv2:eu-west-1:111111111111:regional/ipset/block-v4/1a2b", "eu-west-1", Scope::Regional);
        check("arn:aws:wafv2:us-east-1:111111111111:global/ipset/block-v4/1a2b", "us-east-1", Scope::Cloudfront);
    }

    #[test]
    fn another_arn_is_misconfigured() {
        for arn in ["", "block-v4", "arn:aws:wafv2:eu-west-1:111111111111:regional/webacl/x/1", "arn:aws:s3:::bucket"] {
            assert_eq!(Named::of(arn).unwrap_err().name(), "Misconfigured", "{arn}");
        }
    }
}
