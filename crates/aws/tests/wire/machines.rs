//! Starting twice, and waking what is gone.

use aws::SfnMachines;
use playbook::ports::{Machines, Started, Woken};
use serde_json::{Value, json};

use crate::{Wire, error, fault};

async fn machines<const N: usize>(answers: [(u16, Value); N]) -> SfnMachines {
    let arn = "arn:aws:states:us-east-1:000000000000:stateMachine:ioc-playbook";
    SfnMachines::new(&Wire::of(answers).config().await, arn)
}

#[tokio::test]
async fn a_token_that_nobody_waits_behind_is_gone() {
    for code in ["TaskDoesNotExist", "TaskTimedOut", "InvalidToken"] {
        assert_eq!(machines([(400, error(code))]).await.wake("token").await, Ok(Woken::Gone), "{code}");
    }
    assert_eq!(machines([(200, json!({}))]).await.wake("token").await, Ok(Woken::Yes));
    let throttled = (400, error("ThrottlingException"));
    assert_eq!(fault(machines([throttled.clone(), throttled]).await.wake("token").await), "Throttled");
    assert_eq!(fault(machines([(400, error("AccessDeniedException"))]).await.wake("token").await), "Misconfigured");
}

#[tokio::test]
async fn starting_again_finds_the_execution() {
    let exists = machines([(400, error("ExecutionAlreadyExists"))]).await.start("playbook", "inc-a-r1", "{}").await;
    let arn = "arn:aws:states:us-east-1:000000000000:execution:ioc-playbook:inc-a-r1";
    assert_eq!(exists, Ok(Started::Exists(arn.to_owned())));
    let missing = machines([(400, error("StateMachineDoesNotExist"))]).await.start("playbook", "inc-a-r1", "{}").await;
    assert_eq!(fault(missing), "Misconfigured");
}

#[tokio::test]
async fn only_a_running_execution_is_running() {
    let described = |status: &str| json!({"executionArn": "a", "stateMachineArn": "b", "status": status, "startDate": 1_700_000_000});
    let check = async |answer: (u16, Value), expected: bool| {
        assert_eq!(machines([answer]).await.is_running("playbook", "inc-a-r1").await, Ok(Some(expected)));
    };
    check((200, described("RUNNING")), true).await;
    check((200, described("TIMED_OUT")), false).await;
    check((400, error("ExecutionDoesNotExist")), false).await;
}
