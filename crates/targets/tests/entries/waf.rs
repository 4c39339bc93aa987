//! IP sets: merged with what others have put there, and replaced only as they were read.

use std::cell::Cell;

use playbook::{
    Fault,
    ports::{IpSet, IpSets},
};
use targets::{World, entries};

use crate::{
    LEFT, WRITTEN,
    bench::{Bench, V4},
};

/// Somebody else adds an address between every reading and replacing, so many times.
struct Contended<'a> {
    bench: &'a Bench,
    left: Cell<u8>,
}

impl IpSets for Contended<'_> {
    async fn read(&self, arn: &str) -> Result<IpSet, Fault> {
        let set = self.bench.sets.read(arn).await?;
        if self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            let mut theirs = set.clone();
            theirs.networks.insert(format!("198.51.100.{}/32", self.left.get()).parse().unwrap());
            assert!(self.bench.sets.replace(arn, &theirs).await?);
        }
        Ok(set)
    }

    async fn replace(&self, arn: &str, set: &IpSet) -> Result<bool, Fault> {
        self.bench.sets.replace(arn, set).await
    }
}

fn networks(bench: &Bench) -> Vec<String> {
    let sets = bench.sets.sets.borrow();
    sets.get(V4).into_iter().flatten().map(ToString::to_string).collect()
}

async fn put(bench: &Bench, networks: &[&str]) {
    let set = bench.sets.read(V4).await.unwrap();
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    assert!(bench.sets.replace(V4, &IpSet { networks, ..set }).await.unwrap());
}

async fn contended(bench: &Bench, times: u8) -> Result<entries::Settled, Fault> {
    let ip_sets = Contended { bench, left: Cell::new(times) };
    let (evidence, rows, clock, secrets) = (&bench.evidence, &bench.rows, &bench.clock, &bench.secrets);
    let egress = &egress_to_nowhere();
    let world = World { evidence, rows, clock, egress, ip_sets: &ip_sets, secrets, account: "000000000000" };
    let wanted = [bench.wanted("waf-ip-set", "192.0.2.7", "one")];
    entries::write(&world, &bench.bundle, &bench.digest, &wanted, "one").await.remove(0)
}

fn egress_to_nowhere() -> impl playbook::ports::Egress {
    Nowhere
}

struct Nowhere;

impl playbook::ports::Egress for Nowhere {
    async fn call(
        &self,
        _: &playbook::ports::Destination<'_>,
        _: &playbook::lookup::Request,
        _: std::time::Duration,
    ) -> Result<playbook::lookup::Answer, playbook::lookup::CallError> {
        Err(playbook::lookup::CallError::Refused("an IP set is not called over https".to_owned()))
    }

    async fn resolve(
        &self,
        _: &playbook::ports::Nameserver<'_>,
        _: &playbook::ports::DnsQuestion,
        _: std::time::Duration,
    ) -> Result<playbook::ports::DnsAnswer, playbook::lookup::CallError> {
        Err(playbook::lookup::CallError::Refused("no target asks for names".to_owned()))
    }
}

#[tokio::test]
async fn what_others_have_put_there_stays() {
    let bench = Bench::new().await;
    put(&bench, &["198.51.100.0/24", "203.0.113.9/32"]).await;
    let wanted = [bench.wanted("waf-ip-set", "192.0.2.7", "one")];
    assert_eq!(bench.write(&wanted).await, WRITTEN);
    assert_eq!(networks(&bench), ["192.0.2.7/32", "198.51.100.0/24", "203.0.113.9/32"]);
    assert_eq!(bench.release(&wanted).await, LEFT);
    assert_eq!(networks(&bench), ["198.51.100.0/24", "203.0.113.9/32"]);
}

#[tokio::test]
async fn an_address_that_was_there_before_us_stays_after_our_release() {
    let bench = Bench::new().await;
    put(&bench, &["192.0.2.7/32"]).await;
    let wanted = [bench.wanted("waf-ip-set", "192.0.2.7", "one")];
    assert_eq!(bench.write(&wanted).await, WRITTEN);
    assert!(bench.entry(&wanted[0]).await.unwrap().pre_existing);
    assert_eq!(bench.release(&wanted).await, LEFT);
    assert_eq!(networks(&bench), ["192.0.2.7/32"]);
    assert_eq!(bench.rows.all(), vec![]);
}

#[tokio::test]
async fn a_stale_token_is_read_again_and_nobodys_change_is_lost() {
    let bench = Bench::new().await;
    assert_eq!(contended(&bench, 4).await, Ok(entries::Settled::Written));
    let all = ["192.0.2.7/32", "198.51.100.0/32", "198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32"];
    assert_eq!(networks(&bench), all);
}

#[tokio::test]
async fn a_set_that_keeps_changing_is_left_for_later() {
    let bench = Bench::new().await;
    assert_eq!(contended(&bench, 20).await.unwrap_err().name(), "Throttled");
    bench.clock.advance_minutes(5);
    assert_eq!(bench.sweep().await, WRITTEN);
    assert!(networks(&bench).contains(&"192.0.2.7/32".to_owned()));
}

#[tokio::test]
async fn a_full_set_takes_no_more_and_keeps_no_claim() {
    let bench = Bench::new().await;
    let full: Vec<String> = (0..10_000).map(|n| format!("198.18.{}.{}/32", n / 250, n % 250)).collect();
    put(&bench, &full.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let wanted = [bench.wanted("waf-ip-set", "192.0.2.7", "one")];
    let refused = bench.write(&wanted).await.remove(0).unwrap_err();
    assert!(refused.to_string().contains("more than 10000"), "{refused}");
    assert_eq!((networks(&bench).len(), bench.rows.all()), (10_000, vec![]));
}
