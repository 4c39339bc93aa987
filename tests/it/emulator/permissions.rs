//! Scenarios of what is not allowed: the demo's doors elsewhere, and a function beyond its business.

use std::rc::Rc;

use serde_json::json;
use xtask::{
    config,
    local::{Deployment, Stack},
};

use super::{
    Deployed,
    deployed::{overlay, play, stand_in, until},
    mail,
};

const ELSEWHERE: &str = "111111111111";

/// The shipped policy with one door open each time, deployed under another account.
pub async fn doors(deployed: Rc<Deployed>) {
    let stand_in = stand_in(&deployed.project);
    let address = play(&stand_in).await;
    for (door, policy) in [
        ("guard.documentation_ranges", json!({"guard": {"documentation_ranges": "as_public"}})),
        ("egress.stand_in", json!({"egress": {"stand_in": address}})),
        ("egress.stand_in_dns", json!({"egress": {"stand_in_dns": "127.0.0.1:5353"}})),
    ] {
        let overlay = overlay(&deployed.project, |shipped| *shipped = policy);
        let bundle = config::load(&deployed.project, Some(&overlay)).unwrap();
        let deployment = Deployment::new("elsewhere").in_account(ELSEWHERE);
        let stack = Stack::deploy(&deployed.project, &deployed.emulator, &deployment, &bundle).await.unwrap();
        stack.set_dummy_secrets(&bundle).await.unwrap();

        let name = format!("{door}.eml");
        let key = stack.put_mail(&name, mail(door, "Pay: https://rejected.example/pay")).await.unwrap();
        // Refused at the door, and kept: the message waits for a configuration that may be used, then an alarm rings.
        let refusal = until(&format!("{door}: it is refused"), async || {
            let logged = stack.logs("admit").await.unwrap();
            let refusal = logged.into_iter().find(|line| line.contains("not admitted") && line.contains(door));
            refusal.ok_or_else(|| "admit does not say so".to_owned())
        })
        .await;
        assert!(refusal.contains("Misconfigured"), "{refusal}");
        assert_eq!(stack.incident_of(&key).await.unwrap(), None, "{door}: nothing is judged by it");
        assert!(stack.gateway().mails().await.unwrap().is_empty());
    }
    assert_eq!(stand_in.calls(), [], "nothing was asked");
}

/// What each function may do, asked of the roles as they are deployed. The emulator enforces the same roles.
pub async fn roles(deployed: Rc<Deployed>) {
    let account = deployed.gateway().account();
    let bucket = format!("arn:aws:s3:::{}", deployed.stack.output("EvidenceBucketName").unwrap());
    let parameter = format!("arn:aws:ssm:us-east-1:{account}:parameter/{}", deployed.stack.name());
    let table = format!("arn:aws:dynamodb:us-east-1:{account}:table");
    let incidents = format!("{table}/{}", deployed.stack.output("IncidentsTableName").unwrap());
    let verdicts = format!("{table}/{}", deployed.stack.output("VerdictsTableName").unwrap());
    let machine = deployed.stack.output("PlaybookArn").unwrap();

    let check = async |function: &str, action: &str, resource: &str, expected: &str| {
        let role = deployed.physical_id(&format!("{function}Role")).await;
        let role = format!("arn:aws:iam::{account}:role/{role}");
        let form = [
            ("Action", "SimulatePrincipalPolicy"),
            ("Version", "2010-05-08"),
            ("PolicySourceArn", role.as_str()),
            ("ActionNames.member.1", action),
            ("ResourceArns.member.1", resource),
        ];
        let xml = deployed.gateway().query("iam", &form).await.unwrap();
        let decision = xml.split("<EvalDecision>").nth(1).and_then(|rest| rest.split('<').next());
        assert_eq!(decision, Some(expected), "{function} {action} {resource}");
    };
    let (allowed, denied) = ("allowed", "implicitDeny");

    // Only what writes lists may write lists; what reads hostile mail may write nothing that others trust.
    check("ExtractFunction", "s3:PutObject", &format!("{bucket}/incidents/a"), allowed).await;
    for place in ["lists/url.txt", "config/a.json", "mail/a.eml"] {
        check("ExtractFunction", "s3:PutObject", &format!("{bucket}/{place}"), denied).await;
    }
    check("UpdateDatabasesFunction", "s3:PutObject", &format!("{bucket}/lists/url.txt"), allowed).await;
    for function in ["ReviewFunction", "RequestReviewFunction", "AssessFunction", "CloseFunction", "ServeListsFunction"]
    {
        check(function, "s3:PutObject", &format!("{bucket}/lists/url.txt"), denied).await;
    }

    // Only `enrich` reads the providers' keys, only `serve-lists` the consumers' passwords.
    for (function, mine, other) in
        [("EnrichFunction", "providers", "consumers"), ("ServeListsFunction", "consumers", "providers")]
    {
        check(function, "ssm:GetParameter", &format!("{parameter}/{mine}/a"), allowed).await;
        check(function, "ssm:GetParameter", &format!("{parameter}/{other}/a"), denied).await;
    }
    check("ReviewFunction", "ssm:GetParameter", &format!("{parameter}/providers/a"), denied).await;

    // The public ones: the page decides and wakes, the lists only read.
    check("ReviewFunction", "dynamodb:UpdateItem", &incidents, allowed).await;
    check("ReviewFunction", "dynamodb:DeleteTable", &incidents, denied).await;
    check("ServeListsFunction", "dynamodb:GetItem", &incidents, denied).await;
    check("EnrichFunction", "dynamodb:UpdateItem", &verdicts, allowed).await;
    check("AssessFunction", "dynamodb:UpdateItem", &verdicts, denied).await;
    check("AdmitFunction", "states:StartExecution", machine, allowed).await;
    check("ExtractFunction", "states:StartExecution", machine, denied).await;
}
