//! scratch
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used)]
use aws::*;
use playbook::{cache::*, outcome::*, ports::*, rows::*, Timestamp};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let p = Platform::start("scratch").await.unwrap();
    let rows = p.rows().unwrap();
    let key = Key::new("incident#a", "meta");
    let doc = json!({"schema":"incident/1","run":1,"status":"open","nested":{"a":[1,{"b":null}],"f":0.5},"due_kind":"k","due_at":"2026-01-01T00:00:00.000Z","observable":"o","seen_at":"2026-01-01T00:00:00.000Z","size":9007199254740993u64});
    let put = Write::put(key.clone(), &doc).unwrap().only_if(Condition::Absent);
    println!("put {:?}", rows.commit(&[put.clone()]).await);
    println!("put again (same doc) {:?}", rows.commit(&[put]).await);
    println!("put other {:?}", rows.commit(&[Write::put(key.clone(), &json!({"run":2})).unwrap().only_if(Condition::Absent)]).await);
    println!("get {:?}", rows.get(&key).await.unwrap().map(|r| serde_json::Value::Object(r.attributes) == doc));
    let set = |w: &str| Write::set(key.clone(), &json!({"status": w})).unwrap();
    println!("set ok {:?}", rows.commit(&[set("waiting").only_if(Condition::Is("status", json!("open"))).only_if(Condition::Present).adding("tries", 2).removing(&["due_kind"])]).await);
    println!("set conflict {:?}", rows.commit(&[set("x").only_if(Condition::Is("status", json!("open")))]).await);
    println!("set after {:?}", rows.commit(&[set("y").only_if(Condition::After("seen_at", "2025".into())).only_if(Condition::Lacks("due_kind"))]).await);
    println!("add only {:?}", rows.commit(&[Write::set(Key::new("c", "d"), &json!({})).unwrap().adding("n", 3)]).await);
    println!("add only {:?} {:?}", rows.commit(&[Write::set(Key::new("c", "d"), &json!({})).unwrap().adding("n", 4)]).await, rows.get(&Key::new("c", "d")).await);
    println!("bare set {:?} {:?}", rows.commit(&[Write::set(Key::new("c", "e"), &json!({})).unwrap()]).await, rows.get(&Key::new("c", "e")).await);
    println!("is number {:?}", rows.commit(&[set("z").only_if(Condition::Is("run", json!(1)))]).await);
    println!("row {:?}", rows.get(&key).await);
    let round = Write::put(Key::new("incident#a", "round#1#1"), &json!({"state":"open"})).unwrap();
    println!("tx check {:?}", rows.commit(&[round.clone().only_if(Condition::Absent), Write::check(key.clone()).only_if(Condition::Is("run", json!(1)))]).await);
    println!("tx again {:?}", rows.commit(&[round.clone().only_if(Condition::Absent), Write::check(key.clone()).only_if(Condition::Is("run", json!(1)))]).await);
    println!("tx conflict {:?}", rows.commit(&[Write::delete(Key::new("c", "d")), Write::check(key.clone()).only_if(Condition::Is("run", json!(7)))]).await);
    println!("tx rolled back {:?}", rows.get(&Key::new("c", "d")).await.unwrap().is_some());
    println!("single check {:?} {:?}", rows.commit(&[Write::check(key.clone()).only_if(Condition::Present)]).await, rows.commit(&[Write::check(key.clone())]).await);
    println!("tx put+set done twice {:?}", {
        let d = Write::put(Key::new("incident#a", "decision#1#1"), &json!({"choice":"approved"})).unwrap().only_if(Condition::Absent);
        let s = Write::set(Key::new("incident#a", "round#1#1"), &json!({"state":"decided"})).unwrap().only_if(Condition::Is("state", json!("open")));
        (rows.commit(&[d.clone(), s.clone()]).await, rows.commit(&[d, s]).await)
    });
    for n in 0..30 {
        let _ = rows.commit(&[Write::put(Key::new("many", format!("x#{n:03}")), &json!({"pad":"y".repeat(100_000),"due_kind":"d","due_at":format!("2026-01-{:02}T00:00:00.000Z", n+1),"observable":"ob","seen_at":format!("{n:03}")})).unwrap()]).await.unwrap();
    }
    println!("list {} {}", rows.list("many", "x#").await.unwrap().len(), rows.list("many", "").await.unwrap().len());
    let due = rows.due("d", Timestamp::parse("2026-01-20T00:00:00Z").unwrap(), 100).await.unwrap();
    println!("due {} first {:?}", due.len(), due[0].key);
    println!("due limit {}", rows.due("d", Timestamp::parse("2026-01-20T00:00:00Z").unwrap(), 3).await.unwrap().len());
    println!("by_observable {:?}", rows.by_observable("ob", 2).await.unwrap().iter().map(|r| r.key.sk.clone()).collect::<Vec<_>>());
    println!("delete cond {:?}", rows.commit(&[Write::delete(key.clone()).only_if(Condition::Is("run", json!(9)))]).await);
    println!("delete {:?}", rows.commit(&[Write::delete(key.clone()).only_if(Condition::Present)]).await);

    let ev = p.evidence().unwrap();
    let r = ev.store("incidents/a/r1/x.json", "application/json", b"{}").await.unwrap();
    println!("store {r:?} fetch {:?}", ev.fetch(&r).await);
    let r1 = ev.store("incidents/a/r1/x.json", "application/json", b"{1}").await.unwrap();
    println!("old version {:?} new {:?}", ev.fetch(&r).await, ev.fetch(&r1).await);
    println!("missing {:?} bad version {:?}", ev.find("nope").await, ev.fetch(&playbook::incident::EvidenceRef{version_id: Some("00000000-0000-0000-0000-000000000000".into()), ..r.clone()}).await);
    let k = "lists/url.txt";
    println!("replace none {:?}", ev.replace(k, "text/plain", b"1", None).await);
    println!("replace none again {:?}", ev.replace(k, "text/plain", b"1", None).await);
    let s = ev.find(k).await.unwrap().unwrap();
    println!("etag {:?} replace {:?} stale {:?}", s.etag, ev.replace(k, "text/plain", b"2", Some(&s.etag)).await, ev.replace(k, "text/plain", b"3", Some(&s.etag)).await);
    println!("if-match on missing {:?}", ev.replace("lists/none.txt", "text/plain", b"3", Some("\"abc\"")).await);
    println!("now {:?}", ev.find(k).await.map(|s| s.map(|s| String::from_utf8(s.bytes))));

    let v = p.verdicts().unwrap();
    let o = |p: &str, m: i64| { let f = Timestamp::from_millis(1_800_000_000_000).plus_minutes(m); Outcome { provider: p.into(), family: p.into(), outcome: Status::NotFound, reason: None, opinion: None, fetched_at: f, expires_at: f.plus_hours(1), manifest_digest: "d".into(), cached: false } };
    println!("save {:?}", v.save("ipv4-addr#192.0.2.7", &[o("urlhaus", 5), o("otx", 1)]).await);
    println!("save older+newer {:?}", v.save("ipv4-addr#192.0.2.7", &[o("urlhaus", 1), o("otx", 2)]).await);
    println!("recall {:?}", v.recall(&["ipv4-addr#192.0.2.7".into(), "x".into()]).await.unwrap().into_iter().map(|(k, o)| (k, o.into_iter().map(|(p, o)| (p, o.fetched_at.to_string())).collect::<Vec<_>>())).collect::<Vec<_>>());
    let now = p.clock().now();
    let l = |o: &str| Lease { owner: o.into(), until: now.plus_minutes(1), left: vec![] };
    println!("take {:?} {:?} {:?}", v.take("k", &l("a"), now).await, v.take("k", &l("b"), now).await, v.take("k", &l("a"), now).await);
    println!("finish {:?} {:?}", v.finish("k", "b", now, &[]).await, v.finish("k", "a", now, &[o("otx", 3)]).await);
    println!("look {:?}", v.look(&["k".into(), "m".into()]).await);
    println!("take after {:?}", v.take("k", &l("b"), now).await);
    let q = p.quotas().unwrap();
    let mut quota = Quota::default(); quota.version = 1; quota.pause(now);
    println!("swap {:?} again {:?}", q.swap("p#none#all", 0, &quota).await, q.swap("p#none#all", 0, &quota).await);
    println!("load {:?}", q.load(&["p#none#all".into(), "z".into()]).await);
    println!("capacity {:?}", p.capacity().take());

    let m = p.machines().unwrap();
    println!("start {:?} {:?}", m.start("inc-a-r1", "{}").await, m.start("inc-a-r1", "{}").await);
    println!("running {:?} {:?}", m.is_running("inc-a-r1").await, m.is_running("nope").await);
    println!("wake {:?}", m.wake("nope").await);
    let ob = p.outbox().unwrap();
    println!("mail {:?}", ob.send(&Mail { to: "ana@soc.example".into(), subject: "Décide\r\nBcc: x@y.example".into(), text: "hi\n".into(), html: "<p>hi</p>".into(), thread: "inc-a@soc.example".into() }).await);
    println!("push {:?}", p.intake_queue().unwrap().push("{}", 0).await);
    println!("secret {:?} {:?}", p.secrets().unwrap().secret("urlhaus").await, p.secrets().unwrap().secret("otx").await);
    println!("page key {:?}", p.page_key().await);
    tracing::info!(incident.id = "inc-a", count = 3, "extracted observables");
}
