//! A good manifest of each kind, and every mistake in it with its line.

use super::*;

const GOOD: &str = r#"schema: provider/1
id: sample
name: Sample
kind: http
verified: live
secret: sample
types: [ipv4-addr, file]
family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
limits:
  - { limit: 4, window_seconds: 60, scope: key }
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
host: api.sample.example
requests:
  - types: [ipv4-addr]
    method: GET
    path: /v1/ip/{value}
    headers: { x-key: "{secret}" }
  - types: [file]
    hashes: [sha256, md5]
    method: POST
    path: /v1/files/
    form: { hash: "{value}", key: "{secret}" }
outcome:
  - status: [404]
    outcome: not_found
  - when: body.ok = true
    outcome: found
mapping: |
  {
    "verdict": "unknown"
  }
"#;

const TAIL: &str = r#"family: sample
grade: B
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 5000
outcome:
  - status: [404]
    outcome: not_found
  - status: [200]
    outcome: found
mapping: '{"verdict": "unknown"}'
"#;

const POLLED: &str = r#"schema: provider/1
id: sample
name: Sample
kind: http
verified: live
secret: sample
types: [url, file]
host: api.sample.example
requests:
  - types: [url]
    method: POST
    path: /v1/tasks/
    headers: { x-key: "{secret}" }
    form: { url: "{value}" }
    task: body.id
    poll:
      path: /v1/tasks/{task}/
      query: { key: "{secret}" }
      every_seconds: 60
      for_seconds: 3600
  - types: [file]
    hashes: [sha256]
    path: /v1/search/{value}
    headers: { x-key: "{secret}" }
    task: body.ids[0]
    poll:
      path: /v1/report
      query: { id: "{task}" }
      every_seconds: 0
"#;

const DNS: &str = r#"schema: provider/1
id: sample
name: Sample
kind: dns
verified: live
secret: sample
types: [ipv4-addr, ipv6-addr, domain-name]
resolver: system
requests:
  - types: [ipv4-addr, ipv6-addr]
    questions:
      - { name: "{reversed}.{secret}.zen.sample.example", records: [A, TXT] }
  - types: [domain-name]
    questions:
      - { name: "{value}.{secret}.dbl.sample.example", records: [A] }
      - { name: "_info.{value}.{secret}.sample.example", records: [TXT] }
"#;

const LIST: &str = "schema: provider/1
id: sample
name: Sample
kind: list
verified: live
types: [ipv4-addr, file]
list: sample-feed
list_max_age_minutes: 120
";

const RDAP: &str = "schema: provider/1
id: sample
name: Sample
kind: http
verified: live
types: [domain-name, ipv4-addr]
hosts_from: rdap_bootstrap
redirects: rdap
requests:
  - types: [domain-name, ipv4-addr]
    path: /x/{value}
";

fn check_in(good: &str, from: &str, to: &str, line: u64, expected: &str) {
    let yaml = good.replacen(from, to, 1);
    assert_ne!(yaml, good, "{from} is not in the sample");
    let error = Manifest::parse(&yaml, "providers/sample.yaml").expect_err(to);
    assert!(error.message.contains(expected), "{from} → {to}: {error}");
    assert_eq!(error.line, line, "{from} → {to}: {error}");
    assert!(error.to_string().starts_with(&format!("providers/sample.yaml:{line}: ")));
}

#[test]
fn every_kind_has_its_own_fields() {
    for head in [POLLED, DNS, LIST, RDAP] {
        let yaml = format!("{head}{TAIL}");
        let manifest = Manifest::parse(&yaml, "sample.yaml").unwrap_or_else(|error| panic!("{error}: {yaml}"));
        let stored = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
    }
    let address = Manifest::parse(&format!("{DNS}{TAIL}").replace("system", "2606:4700:4700::1111"), "sample.yaml");
    assert!(address.is_ok(), "{address:?}");
}

#[test]
fn a_list_takes_every_digest_without_a_request() {
    let manifest = Manifest::parse(&format!("{LIST}{TAIL}"), "sample.yaml").unwrap();
    let takes = |value: &str| manifest.takes(&Observable::parse_any(value).unwrap());
    assert!(takes("192.0.2.7") && takes(&"a".repeat(32)) && takes(&"a".repeat(64)));
    assert!(!takes("evil.example"));
}

#[test]
fn what_belongs_to_another_kind_is_named() {
    let dns = |from: &str, to: &str, line, expected: &str| check_in(&format!("{DNS}{TAIL}"), from, to, line, expected);
    dns("resolver: system", "resolver: system\nhost: a.example", 9, "host is only for kind http");
    dns("resolver: system", "resolver: system\nredirects: same_host", 9, "redirects is only for kind http");
    dns("resolver: system", "resolver: system\nlist: a", 9, "list is only for kind list");
    dns("resolver: system\n", "", 4, "kind dns has a resolver");
    dns("resolver: system", "resolver: 127.0.0.1", 8, "not a public address");
    dns("resolver: system", "resolver: 10.0.0.2", 8, "not a public address");
    dns("resolver: system", "resolver: 1.1.1.1:53", 8, "without a port");
    dns("resolver: system", "resolver: dns.example", 8, "system or an address");
    dns("records: [A, TXT]", "records: []", 12, "1 to 16 records");
    dns("[A, TXT]", "[A, WKS]", 12, "WKS");
    dns("{reversed}.{secret}", "{value}.{secret}", 12, "holds {reversed}");
    dns("{value}.{secret}.dbl", "{reversed}.{secret}.dbl", 15, "only an address is {reversed}");
    dns("zen.sample.example", "zen..example", 12, "labels");
    dns("zen.sample.example", "zen.sample.example.", 12, "labels");
    dns("zen.sample.example", "zen sample.example", 12, "labels");
    dns("{reversed}.{secret}.zen", "{reversed}.zen", 12, "sends none");
    dns("{reversed}.{secret}.zen", "{task}.{secret}.zen", 12, "a name may not hold {task}");
    dns("    questions:", "    path: /a\n    questions:", 13, "nothing of http");
    dns("    questions:", "    task: body.id\n    questions:", 13, "nothing of http");
    dns("ipv6-addr, domain-name]", "ipv6-addr, domain-name, url]", 7, "no request asks for url");
    let url = DNS.replacen("ipv6-addr, domain-name]", "ipv6-addr, domain-name, url]", 1);
    check_in(&format!("{url}{TAIL}"), "types: [domain-name]", "types: [domain-name, url]", 13, "not about url");

    let list =
        |from: &str, to: &str, line, expected: &str| check_in(&format!("{LIST}{TAIL}"), from, to, line, expected);
    list("list: sample-feed", "list: sample-feed\nhost: a.example", 8, "host is only for kind http");
    list("list: sample-feed", "list: sample-feed\nresolver: system", 8, "resolver is only for kind dns");
    list("list: sample-feed\n", "", 4, "names its list");
    list("list: sample-feed", "list: Sample Feed", 7, "names its list");
    list("minutes: 120", "minutes: 0", 8, "1 to 525600");
    list("list: sample-feed", "list: sample-feed\nsecret: a", 8, "needs no secret");
    let limit = "list: sample-feed\nlimits: [{ limit: 1, window_seconds: 1, scope: key }]";
    list("list: sample-feed", limit, 8, "no limits");
    let request = "list: sample-feed\nrequests:\n  - { types: [file], hashes: [md5], path: \"/{value}\" }";
    list("list: sample-feed", request, 8, "has no requests");

    let rdap =
        |from: &str, to: &str, line, expected: &str| check_in(&format!("{RDAP}{TAIL}"), from, to, line, expected);
    rdap("redirects: rdap", "redirects: rdap\nhost: a.example", 9, "not both");
    rdap("redirects: rdap", "redirects: rdap\nsecret: a", 9, "bound to one host");
    rdap("[domain-name, ipv4-addr]", "[domain-name, ipv4-addr, url]", 6, "not url");
    rdap("hosts_from: rdap_bootstrap\n", "", 7, "goes with hosts_from");
    rdap("redirects: rdap", "redirects: any", 8, "any");
    rdap(
        "path: /x/{value}",
        "path: /x/{value}\n    task: body.id\n    poll: { path: \"/{task}\", every_seconds: 0 }",
        12,
        "one step",
    );
}

#[test]
fn a_second_step_is_whole_or_missing() {
    let check =
        |from: &str, to: &str, line, expected: &str| check_in(&format!("{POLLED}{TAIL}"), from, to, line, expected);
    check("    task: body.id\n", "", 15, "poll without task");
    let poll = "    poll:\n      path: /v1/tasks/{task}/\n      query: { key: \"{secret}\" }\n      every_seconds: 60\n      for_seconds: 3600\n";
    check(poll, "", 15, "task without poll");
    check("task: body.id", "task: $eval(body.id)", 15, "$eval may not be used");
    check("/v1/tasks/{task}/", "/v1/tasks/", 12, "names no {task}");
    check("/v1/tasks/{task}/", "/v1/tasks/{task}/{secret}", 17, "path may not hold {secret}");
    check("/v1/tasks/{task}/", "v1/{task}", 17, "starts with /");
    check("/v1/search/{value}", "/v1/search/{value}/{task}", 23, "only poll may hold {task}");
    check("every_seconds: 60", "every_seconds: 4", 19, "5 to 900");
    check("every_seconds: 60", "every_seconds: 901", 19, "5 to 900");
    check("for_seconds: 3600", "for_seconds: 59", 20, "every_seconds to 86400");
    check("for_seconds: 3600", "for_seconds: 86401", 20, "every_seconds to 86400");
    check("every_seconds: 0", "every_seconds: 0\n      for_seconds: 9", 20, "asks once");
    check("method: POST", "method: PUT", 11, "GET or POST");
    check("method: POST", "method: DELETE", 11, "GET or POST");
    check(
        "method: POST",
        "method: POST\n    questions: [{ name: \"{value}\", records: [A] }]",
        12,
        "questions are for kind dns",
    );
    let pending = "outcome:\n  - status: [202]\n    outcome: pending\n    reason: ";
    check("outcome:\n", &format!("{pending}quota\n"), 40, "was submitted");
    let good = format!("{POLLED}{TAIL}").replacen("outcome:\n", &format!("{pending}submitted\n"), 1);
    assert!(Manifest::parse(&good, "sample.yaml").is_ok());
    let unpolled = "outcome:\n  - status: [202]\n    outcome: pending\n";
    check_in(GOOD, "outcome:\n", unpolled, 30, "only where a request polls");
    check_in(GOOD, "outcome: not_found", "outcome: skipped", 30, "an answer is found");
}

#[test]
fn a_good_manifest_is_taken_and_survives_the_bundle() {
    let manifest = Manifest::parse(GOOD, "playbook/providers/sample.yaml").unwrap();
    assert_eq!(manifest.off_reason(), None);
    let stored = serde_json::to_string(&manifest).unwrap();
    let again: Manifest = serde_json::from_str(&stored).unwrap();
    assert_eq!(manifest, again);
    assert_eq!(manifest.digest().unwrap(), again.digest().unwrap());
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let check = |from: &str, to: &str, line, expected: &str| check_in(GOOD, from, to, line, expected);
    check("provider/1", "provider/2", 1, "schema is provider/1");
    check("id: sample", "id: other", 2, "the file is called sample.yaml");
    check("kind: http", "kind: http\ncolour: red", 5, "colour");
    check("kind: http", "kind: gopher", 4, "gopher");
    check("grade: B", "grade: Z", 9, "Z");
    check("{ limit: 4,", "{ limit: 4, size: 1,", 14, "size");
    check("limit: 4", "limit: 0", 13, "at least one call");
    check("error: 5", "error: 500", 15, "at most 60");
    check("timeout_ms: 5000", "timeout_ms: 60000", 16, "timeout_ms");
    check("timeout_ms: 5000", "timeout_ms: 5000\nprice_microdollars: 100000001", 17, "millionths of a US dollar");
    check("timeout_ms: 5000", "timeout_ms: 5000\nprice_microdollars: 0.5", 17, "");
    check("api.sample.example", "192.0.2.7", 17, "never an address");
    check("api.sample.example", "https://api.sample.example", 17, "DNS name");
    check("api.sample.example", "localhost", 17, "DNS name");
    check("/v1/ip/{value}", "v1/ip/{value}", 21, "starts with /");
    check("/v1/ip/{value}", "/v1/../{value}", 21, "relative");
    check("/v1/ip/{value}", "/v1/ip?q={value}", 21, "parameters go into query");
    check("/v1/ip/{value}", "/v1/ip/{secret}", 21, "path may not hold");
    check("/v1/ip/{value}", "/v1/ip/x", 21, "names no {value}");
    check(r#"x-key: "{secret}""#, r#"x-key: "{value}""#, 22, "header may not hold");
    check(r#"x-key: "{secret}""#, r#"host: "{secret}""#, 22, "cannot be set");
    check(r#"x-key: "{secret}""#, "x-key: dummy", 21, "sends none");
    check("secret: sample\n", "", 21, "the provider has none");
    check("hashes: [sha256, md5]", "hashes: []", 23, "which hashes");
    check("types: [ipv4-addr, file]", "types: [ipv4-addr, url, file]", 7, "no request asks for url");
    check("method: GET", "method: GET\n    form: {}", 22, "GET has no body");
    check("body.ok = true", "$eval(body.ok)", 31, "$eval may not be used");
    check("status: [404]\n    outcome: not_found", "outcome: not_found", 29, "neither status nor condition");
    check("    outcome: found", "    outcome: not_found", 28, "no rule leads to found");
    check("outcome: not_found", "outcome: error", 30, "an error has a reason");
    check(r#""verdict": "unknown""#, r#""verdict": $lower(body.v)"#, 35, "$lower is neither");
    check(r#""verdict": "unknown""#, r#""verdict": ("#, 34, "cannot be read");
    check("  - { limit: 4", "  - { limit: 4.5", 14, "invalid u32");
}
