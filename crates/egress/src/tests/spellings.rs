//! Spellings of addresses inside: none is connected to, as a first request or as where a redirect leads.

use playbook::manifest::Redirects;

use super::{hops::redirect, *};

/// Where Lambda's runtime listens in a sandbox (`AWS_LAMBDA_RUNTIME_API`).
const RUNTIME: &str = "127.0.0.1:9001";

/// Hosts; a port is put behind them.
const HOSTS: &[&str] = &[
    // Loopback.
    "127.0.0.1",
    "127.0.0.2",
    "127.127.127.127",
    "127.255.255.254",
    "0.0.0.0",
    "0.0.0.1",
    // Fewer parts, other radices, leading zeros.
    "0",
    "0x0",
    "00.0.0.0",
    "127.1",
    "127.0.1",
    "127.65535",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7F.0.0.0x1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "0177.0x0.0.1",
    "127.0x0.00.01",
    "127.0.0.01",
    "127.000.000.001",
    "00000000000000000177.1",
    "0x000000000000007f.1",
    // Overflow.
    "6425673729",
    "0x17f000001",
    "127.0.0.257",
    "127.0.65537",
    "127.16777217",
    "383.0.0.1",
    "127.0.0.1.0",
    // Dots at the end and elsewhere.
    "127.0.0.1.",
    "127.1.",
    "2130706433.",
    "0x7f000001.",
    "127.0.0.1..",
    ".127.0.0.1",
    "127..1",
    // Digits, dots and letters of Unicode that IDNA folds.
    "１２７.0.0.1",
    "１２７．０．０．１",
    "①②⑦.⓪.⓪.①",
    "①②⑦。⓪。⓪。①",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "𝟙𝟚𝟟.𝟘.𝟘.𝟙",
    "¹²⁷.⁰.⁰.¹",
    "١٢٧.٠.٠.١",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "０ｘ７ｆ.1",
    "ⓛocalhost",
    "ℓocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "loc\u{ad}alhost",
    "localho\u{200b}st",
    "localhost。",
    // Percent-encoding.
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "%31%32%37%2e%30%2e%30%2e%31",
    "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "%2531%2532%2537.0.0.1",
    "127.0.0.1%00.api.example",
    "127.0.0.1%2f.api.example",
    "127.0.0.1%23.api.example",
    "api.example%40127.0.0.1",
    "%5b::1%5d",
    // IPv6 and what it carries: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP.
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::0.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:0001]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[2600::5efe:127.0.0.1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[fec0::1]",
    "[fc00::1]",
    "[ff02::1]",
    // Metadata and the runtime's neighbours: AWS, ECS, Azure, Oracle, Alibaba.
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.100.1",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "metadata.google.internal",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    // Private and reserved.
    "10.0.0.1",
    "012.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    // Names that mean loopback somewhere, and names whose owner says so.
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "localhost4.localdomain4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "loopback",
    "broadcasthost",
    "host.docker.internal",
    "kubernetes.default.svc",
    "sandbox.localdomain",
    "1.0.0.127.in-addr.arpa",
    "127.0.0.1.nip.example",
    "7f000001.rebind.example",
    "api.example",
    // Who is in front of the at sign.
    "api.example@127.0.0.1",
    "api.example:443@127.0.0.1",
    "api.example%20@127.0.0.1",
    "api.example;@127.0.0.1",
    "api.example&@127.0.0.1",
    "@127.0.0.1",
    ":@127.0.0.1",
    "127.0.0.1@api.example",
    "api.example@[::1]",
    "api.example@localhost",
    // Where the host ends.
    "api.example#@127.0.0.1",
    "api.example?@127.0.0.1",
    "api.example\\@127.0.0.1",
    "127.0.0.1#.api.example",
    "127.0.0.1\\.api.example",
    "127.0.0.1?.api.example",
    // What parsers drop.
    "127.0.\t0.1",
    "12\n7.0.0.1",
    "\t127.0.0.1",
    "127.0.0.1\r",
    "loc\nalhost",
    "[::\t1]",
];

/// Whole locations.
const LOCATIONS: &[&str] = &[
    "//127.0.0.1/",
    "///127.0.0.1/",
    "/\\127.0.0.1/",
    "\\\\127.0.0.1\\",
    "https:127.0.0.1/",
    "https:/127.0.0.1/",
    "https:///127.0.0.1/",
    "https:\\\\127.0.0.1\\",
    "ht\ntps://127.0.0.1/",
    " https://127.0.0.1/ ",
    "HTTPS://LOCALHOST/",
    "https://127.0.0.1:443/",
    "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "https://169.254.100.1:9001/2018-06-01/runtime/invocation/next",
    "http://169.254.170.2/v2/credentials/x",
    "file:///proc/self/environ",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1:9001/_GET",
    "dict://127.0.0.1:9001/",
    "ws://127.0.0.1/",
    "wss://127.0.0.1/",
    "data:text/plain,x",
    "blob:https://127.0.0.1/x",
];

/// Listeners on both loopbacks, as far as there are two, and on the runtime's port where it is free.
async fn canaries() -> Vec<Canary> {
    let mut canaries = vec![Canary::listen("127.0.0.1:0", vec![]).await.unwrap()];
    canaries.extend(Canary::listen("[::1]:0", vec![]).await);
    canaries.push(match Canary::listen(RUNTIME, vec![]).await {
        Ok(canary) => canary,
        Err(_) => Canary::listen("127.0.0.1:0", vec![]).await.unwrap(),
    });
    canaries
}

#[tokio::test]
async fn no_spelling_of_an_address_inside_is_connected_to() {
    let canaries = canaries().await;
    let addresses: Vec<SocketAddr> = canaries.iter().map(|canary| canary.address).collect();
    // Whatever a name is, it means the canaries.
    let egress = resolving(always(&addresses));
    let mut ports = vec![String::new()];
    ports.extend(addresses.iter().map(|address| format!(":{}", address.port())));

    let (mut tried, mut spelled) = (0, 0);
    for host in HOSTS {
        let mut is_address = false;
        for port in &ports {
            for scheme in ["https", "http"] {
                is_address |= stays_inside(&egress, &format!("{scheme}://{host}{port}/latest/meta-data")).await;
                tried += 1;
            }
        }
        spelled += usize::from(is_address);
    }
    for location in LOCATIONS {
        spelled += usize::from(stays_inside(&egress, location).await);
        tried += 1;
    }
    let connections: usize = canaries.iter().map(Canary::connections).sum();
    let all = HOSTS.len() + LOCATIONS.len();
    println!("{all} spellings, of which {spelled} are URLs, in {tried} forms: {connections} connections");
    assert!(all >= 60 && spelled >= 60, "{all} spellings, {spelled} URLs");
    assert_eq!(connections, 0);
}

/// Whether the text is a URL at all; what is none can be called by nobody.
async fn stays_inside(egress: &Https, text: &str) -> bool {
    let base = Url::parse("https://api.example/v1/").unwrap();
    // A redirect may lead anywhere, and is followed as far as any is.
    let to = Destination { redirects: Redirects::Rdap, ..public("api.example") };
    let hop = egress.hop(&to, &get(base.clone()), &redirect(302, text), BODY_MAX_BYTES).await;
    if let Some((_, answer)) = hop {
        assert!(matches!(answer, Err(CallError::Refused(_))), "to {text:?}: {answer:?}");
    }
    let Ok(url) = base.join(text) else { return false };
    // Even a manifest that names this very host does not get there, nor a policy that means well.
    let own = url.host_str().unwrap_or_default().to_owned();
    let everything = ["0.0.0.0/0", "::/0"].map(|cidr| PrivateHost { host: own.clone(), cidr: cidr.parse().unwrap() });
    let privately = Destination { private: &everything, ..public(&own) };
    for to in [public(&own), privately, public("api.example")] {
        let answer = egress.call(&to, &get(url.clone()), TIMEOUT).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{text:?} for {}: {answer:?}", to.host);
    }
    true
}
