//! Names that mean something else from one moment to the next, and private hosts. 127.0.0.2 plays the Internet here and
//! 127.0.0.3 a private network; 127.0.0.1 is what nobody may reach.

use std::net::{IpAddr, Ipv4Addr};

use playbook::manifest::Redirects;

use super::{
    hops::redirect,
    server::{Server, trusting},
    *,
};

const INTERNET: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The rules, with other addresses in the place of public and private ones.
const PLAYED: Rules = Rules {
    public: |address| address == INTERNET,
    private: |named, host, address| named.host == host && named.cidr.contains(&address) && address != LOOPBACK,
};

/// Finds something else behind a name every time.
fn alternating(answers: Vec<Vec<SocketAddr>>) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        let turn = times.fetch_add(1, Ordering::SeqCst);
        let found = answers[turn % answers.len()].clone();
        Box::pin(std::future::ready(Ok(found)))
    });
    (lookup, asked)
}

async fn call(egress: &Https, to: &Destination<'_>) -> Result<u16, CallError> {
    let request = get(Url::parse(&format!("https://{}/", to.host)).unwrap());
    egress.call(to, &request, TIMEOUT).await.map(|answer| answer.status)
}

#[tokio::test]
async fn a_name_that_turns_to_an_address_inside_is_not_followed_there() {
    let canaries =
        [Canary::listen("127.0.0.1:0", vec![]).await.unwrap(), Canary::listen("127.0.0.5:0", vec![]).await.unwrap()];
    let [loopback, inside] = [canaries[0].address, canaries[1].address];
    let server = Server::listen("127.0.0.2:0");
    let public = server.address;
    let answers = vec![
        vec![public],
        vec![loopback],
        vec![public, loopback],
        vec![loopback, public],
        vec![inside],
        vec![inside, public, loopback],
        vec![loopback, inside],
        vec![],
    ];
    let turns = answers.len();
    let (lookup, asked) = alternating(answers);
    let egress = Https::made(trusting(), lookup, PLAYED).unwrap();

    // A new connection each time: what is public of an answer is taken, and the rest is not tried.
    server.closes.store(true, Ordering::SeqCst);
    for turn in 0..8 * turns {
        let answer = call(&egress, &super::public("api.example")).await;
        match turn % turns {
            0 | 2 | 3 | 5 => assert_eq!(answer, Ok(200), "turn {turn}"),
            7 => assert_eq!(answer, Err(CallError::Dns), "turn {turn}"),
            _ => assert!(matches!(answer, Err(CallError::Refused(_))), "turn {turn}: {answer:?}"),
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 8 * turns, "nothing is remembered that could be rebound");
    assert_eq!(server.seen(), (4 * 8, 4 * 8));

    // A connection that is kept open goes where it went, whatever the name means by now.
    server.closes.store(false, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(call(&egress, &super::public("api.example")).await, Ok(200));
    }
    assert_eq!(server.seen(), (4 * 8 + 1, 4 * 8 + 20));
    // And once it is closed, the name is looked at again.
    server.closes.store(true, Ordering::SeqCst);
    assert_eq!(call(&egress, &super::public("api.example")).await, Ok(200));
    let answer = call(&egress, &super::public("api.example")).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    assert_eq!(canaries.map(|canary| canary.connections()), [0, 0]);
}

#[tokio::test]
async fn a_private_host_is_reached_inside_its_network_and_by_nobody_else() {
    let canary = Canary::listen("127.0.0.1:0", vec![]).await.unwrap();
    let (inside, outside) = (Server::listen("127.0.0.3:0"), Server::listen("127.0.0.2:0"));
    let (within, without) = (inside.address, outside.address);
    let here: Lookup = Arc::new(move |name| {
        let found = if name.starts_with("public") { without } else { within };
        Box::pin(std::future::ready(Ok(vec![found, (LOOPBACK, 1).into()])))
    });
    let egress = Https::made(trusting(), here, PLAYED).unwrap();
    let named = |host: &str, cidr: &str| PrivateHost { host: host.to_owned(), cidr: cidr.parse().unwrap() };
    let policy = [named("misp.example", "127.0.0.0/29"), named("public.example", "127.0.0.3/32")];
    let misp = Destination { private: &policy, ..public("misp.example") };

    assert_eq!(call(&egress, &misp).await, Ok(200));
    assert_eq!(call(&egress, &misp).await, Ok(200));
    assert_eq!(inside.seen(), (1, 2), "the connection is used again");

    // The connection lies open, and is for nobody whose policy does not say the same.
    let elsewhere = [named("misp.example", "127.0.0.64/26")];
    let other = [named("misp.example.other.example", "127.0.0.0/29"), named("example", "127.0.0.0/29")];
    for private in [&[][..], &elsewhere, &other] {
        let answer = call(&egress, &Destination { private, ..misp }).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{private:?}: {answer:?}");
    }
    // Nor for another host, nor for whoever is led there.
    let answer = call(&egress, &Destination { host: "jira.example", ..misp }).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    let from = Destination { host: "public.rdap.example", redirects: Redirects::Rdap, ..misp };
    let first = get(Url::parse("https://public.rdap.example/").unwrap());
    let led = egress.hop(&from, &first, &redirect(302, "https://misp.example/"), BODY_MAX_BYTES).await;
    assert!(matches!(led, Some((_, Err(CallError::Refused(_))))), "{led:?}");
    assert_eq!(inside.seen(), (1, 2));

    // A private host that means a public address all of a sudden gets no key of ours.
    let answer = call(&egress, &Destination { host: "public.example", ..misp }).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    assert_eq!((outside.seen(), canary.connections()), ((0, 0), 0));
    // And a public one is what it was.
    assert_eq!(call(&egress, &Destination { host: "public.other.example", ..misp }).await, Ok(200));
}

#[tokio::test]
async fn of_a_private_host_only_addresses_of_its_networks_are_left() {
    let found: Vec<SocketAddr> = [
        "10.20.0.7:0",
        "10.21.0.7:0",
        "192.168.0.7:0",
        "127.0.0.1:0",
        "[::1]:0",
        "169.254.169.254:0",
        "169.254.100.1:0",
        "[fe80::7]:0",
        "[fd00:ec2::254]:0",
        "[fd12:3456:789a::7]:0",
        "[::ffff:10.20.0.7]:0",
        "[64:ff9b::a14:7]:0",
        "224.0.0.1:0",
        "0.0.0.0:0",
        "1.1.1.1:0",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let left = async |networks: &[&str], name: &str| {
        let host = |cidr: &&str| PrivateHost { host: "misp.example".to_owned(), cidr: cidr.parse().unwrap() };
        let networks: Vec<PrivateHost> = networks.iter().map(host).collect();
        let vetted = Vetted::private(always(&found), Rules::STRICT, &networks);
        let addresses = reqwest::dns::Resolve::resolve(&vetted, name.parse().unwrap()).await;
        addresses.map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(left(&["10.20.0.0/16"], "misp.example").await, ["10.20.0.7"]);
    assert_eq!(left(&["10.0.0.0/8"], "misp.example").await, ["10.20.0.7", "10.21.0.7"]);
    assert_eq!(left(&["10.20.0.0/16", "fc00::/7"], "misp.example").await, ["10.20.0.7", "fd12:3456:789a::7"]);
    for cidr in ["0.0.0.0/0", "::/0"] {
        let open = left(&[cidr], "misp.example").await;
        let is_private = |text: &String| ["10.", "192.168.", "fd12:"].iter().any(|start| text.starts_with(start));
        assert!(open.iter().all(is_private), "{open:?}");
    }
    assert_eq!(left(&["172.16.0.0/12"], "misp.example").await, Vec::<String>::new());
    assert_eq!(left(&["10.20.0.0/16"], "other.example").await, Vec::<String>::new());
}
