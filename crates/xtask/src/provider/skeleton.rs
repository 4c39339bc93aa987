//! What a new provider starts from: a manifest that is good and off, and cases that hold for it.

use playbook::manifest::ProviderKind;

const HTTP: &str = r#"secret: ID
types: [ipv4-addr, domain-name]
family: ID
grade: D
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
limits:
  - { limit: 60, window_seconds: 60, scope: key }
lifetimes_minutes: { found: 360, not_found: 360, error: 5 }
timeout_ms: 5000
host: api.ID.example
requests:
  - types: [ipv4-addr]
    path: /v1/ip/{value}
    headers: { X-Api-Key: "{secret}", Accept: application/json }
  - types: [domain-name]
    path: /v1/domain/{value}
    headers: { X-Api-Key: "{secret}", Accept: application/json }
# Status words in a 200, errors inside a 200, throttles that answer 403: all of that is decided here, before the mapping.
outcome:
  - status: [404]
    when: $exists(body.error)
    outcome: not_found
  - status: [403]
    when: $contains($string(body.error), /quota|limit/i)
    outcome: rate_limited
  - when: $exists(body.value) and body.value != observable.value
    outcome: error
    reason: other_observable
  - when: $type(body.score) = "number"
    outcome: found
mapping: |
  {
    "verdict": body.score >= 75 ? "malicious" : body.score >= 40 ? "suspicious" : "unknown",
    "score": body.score,
    "tags": [body.tags],
    "evidence": "NAME: score " & $string(body.score),
    "permalink": "https://www.ID.example/search/" & observable.value,
    "last_seen": body.last_seen
  }
"#;

const DNS: &str = r#"types: [domain-name]
family: ID
grade: D
tlp_ceiling: AMBER
pap_ceiling: AMBER
discloses: indicator
lifetimes_minutes: { found: 360, not_found: 360, error: 5 }
timeout_ms: 3000
resolver: system
requests:
  - types: [domain-name]
    questions:
      - { name: "{value}.list.ID.example", records: [A] }
outcome:
  - when: body.answers[0].rcode = "NXDOMAIN"
    outcome: not_found
  # Many zones answer 127.255.255.x to say that they do not answer you: never "listed".
  - when: "'127.255.255.254' in body.answers[0].records.data"
    outcome: error
    reason: refused_here
  - when: body.answers[0].rcode = "NOERROR" and $exists(body.answers[0].records)
    outcome: found
mapping: |
  {
    "verdict": "suspicious",
    "score": 50,
    "evidence": "NAME: listed as " & $join([body.answers[0].records.data], ", ")
  }
"#;

const LIST: &str = r#"types: [domain-name]
family: ID
grade: D
tlp_ceiling: RED
pap_ceiling: RED
discloses: none
lifetimes_minutes: { found: 60, not_found: 60, error: 5 }
timeout_ms: 2000
# The id of the feed in playbook/intake/ that is looked into.
list: ID
list_max_age_minutes: 2880
outcome:
  - when: body.entry = null
    outcome: not_found
  - when: $type(body.entry) = "object"
    outcome: found
mapping: |
  {
    "verdict": "suspicious",
    "score": 50,
    "evidence": "NAME: on the list of " & body.fetched_at
  }
"#;

const HTTP_CASES: &[(&str, &str)] = &[
    (
        "ip-malicious",
        r"observable: {type: ipv4-addr, value: 192.0.2.7}
request:
  method: GET
  url: https://api.ID.example/v1/ip/192.0.2.7
  headers: {x-api-key: dummy-key, accept: application/json}
answer:
  status: 200
  body: {value: 192.0.2.7, score: 90, tags: [botnet], last_seen: '2026-11-23T06:00:00Z'}
expect: {outcome: found, verdict: malicious, score: 90, grade: D, tags: [botnet], last_seen: '2026-11-23T06:00:00.000Z'}
",
    ),
    (
        "domain-not-found",
        r"observable: {type: domain-name, value: evil.example}
request:
  method: GET
  url: https://api.ID.example/v1/domain/evil.example
  headers: {x-api-key: dummy-key, accept: application/json}
answer: {status: 404, body: {error: not found}}
expect: {outcome: not_found}
",
    ),
    (
        "other-observable",
        r"observable: {type: ipv4-addr, value: 192.0.2.7}
answer: {status: 200, body: {value: 192.0.2.8, score: 90}}
expect: {outcome: error, reason: other_observable}
",
    ),
    (
        "throttled",
        r"observable: {type: ipv4-addr, value: 192.0.2.7}
answer: {status: 403, body: {error: daily quota exceeded}}
expect: {outcome: rate_limited, reason: http_429}
",
    ),
    (
        "wrong-key",
        r"observable: {type: ipv4-addr, value: 192.0.2.7}
answer: {status: 401, body: {error: unauthorized}}
expect: {outcome: error, reason: auth}
",
    ),
    (
        "garbage",
        r"observable: {type: ipv4-addr, value: 192.0.2.7}
answer: {status: 200, body: '<html>maintenance</html>'}
expect: {outcome: error, reason: garbage}
",
    ),
];

const DNS_CASES: &[(&str, &str)] = &[
    (
        "listed",
        r"observable: {type: domain-name, value: evil.example}
questions: [evil.example.list.ID.example A]
answer:
  status: 200
  body:
    answers:
      - {name: evil.example.list.ID.example, record: A, rcode: NOERROR, records: [{record: A, data: 127.0.0.2, ttl_seconds: 60}]}
expect: {outcome: found, verdict: suspicious, score: 50, grade: D}
",
    ),
    (
        "not-listed",
        r"observable: {type: domain-name, value: evil.example}
answer:
  status: 200
  body: {answers: [{name: evil.example.list.ID.example, record: A, rcode: NXDOMAIN, records: []}]}
expect: {outcome: not_found}
",
    ),
    (
        "refused",
        r"observable: {type: domain-name, value: evil.example}
answer:
  status: 200
  body:
    answers:
      - {name: evil.example.list.ID.example, record: A, rcode: NOERROR, records: [{record: A, data: 127.255.255.254, ttl_seconds: 60}]}
expect: {outcome: error, reason: refused_here}
",
    ),
];

const LIST_CASES: &[(&str, &str)] = &[
    (
        "listed",
        r"observable: {type: domain-name, value: evil.example}
answer: {status: 200, body: {entry: {value: evil.example}, entries: 7, fetched_at: '2026-11-24T05:00:00Z'}}
expect: {outcome: found, verdict: suspicious, score: 50, grade: D}
",
    ),
    (
        "not-listed",
        r"observable: {type: domain-name, value: evil.example}
answer: {status: 200, body: {entry: null, entries: 7, fetched_at: '2026-11-24T05:00:00Z'}}
expect: {outcome: not_found}
",
    ),
];

/// A manifest that says how it is filled in.
pub fn manifest(id: &str, kind: ProviderKind) -> String {
    let rest = match kind {
        ProviderKind::Http => HTTP,
        ProviderKind::Dns => DNS,
        ProviderKind::List => LIST,
    };
    let head = format!(
        "# yaml-language-server: $schema=../schemas/provider.schema.json\n\
         # NAME: what it knows, in a sentence.\n\
         # API: where it is documented   Key: where one gets a key\n\
         # Quota: how many calls. Discloses: what NAME learns of us.\n#\n\
         # What its words mean, and how far it is trusted: absence is never benign.\n\
         # Verified against: nothing yet. It stays off until somebody has seen it answer (verified: recorded or live).\n\
         schema: provider/1\nid: ID\nname: NAME\nkind: {}\nenabled: false\nverified: documented\n",
        kind.as_str()
    );
    (head + rest).replace("ID", id).replace("NAME", &name(id))
}

/// Cases that hold for it, by name.
pub fn cases(id: &str, kind: ProviderKind) -> Vec<(&'static str, String)> {
    let cases = match kind {
        ProviderKind::Http => HTTP_CASES,
        ProviderKind::Dns => DNS_CASES,
        ProviderKind::List => LIST_CASES,
    };
    cases.iter().map(|(name, text)| (*name, text.replace("ID", id))).collect()
}

/// `my-source` as people read it until somebody says better: `My source`.
fn name(id: &str) -> String {
    let words = id.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
