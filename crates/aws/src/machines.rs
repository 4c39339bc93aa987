//! The state machine in Step Functions; the registry calls the client `sfn`.

use aws_config::SdkConfig;
use aws_sdk_sfn::{Client, error::ProvideErrorMetadata as _, types::ExecutionStatus};
use playbook::{
    Fault,
    incident::Incident,
    ports::{Machines, Started, Woken},
};

use crate::faults::fault;

/// The state machines of the stack, whose names are `<stack>-<machine>`.
#[derive(Clone, Debug)]
pub struct SfnMachines {
    client: Client,
    /// The ARN of a machine without the machine's own word.
    stem: String,
}

impl SfnMachines {
    /// The machines beside the one of this ARN, which is `playbook`.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: &str) -> Self {
        Self { client: Client::new(config), stem: arn.strip_suffix(Incident::MACHINE).unwrap_or(arn).to_owned() }
    }

    fn execution_arn(&self, machine: &str, name: &str) -> String {
        format!("{}{machine}:{name}", self.stem.replacen(":stateMachine:", ":execution:", 1))
    }
}

impl Machines for SfnMachines {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<Started, Fault> {
        let arn = format!("{}{machine}", self.stem);
        let call = self.client.start_execution().state_machine_arn(arn).name(name).input(input);
        match call.send().await {
            Ok(started) => Ok(Started::New(started.execution_arn)),
            Err(error) => match error.code() {
                Some("ExecutionAlreadyExists") => Ok(Started::Exists(self.execution_arn(machine, name))),
                _ => Err(fault("sfn StartExecution", &error)),
            },
        }
    }

    async fn wake(&self, task_token: &str) -> Result<Woken, Fault> {
        match self.client.send_task_success().task_token(task_token).output("{}").send().await {
            Ok(_) => Ok(Woken::Yes),
            Err(error) => match error.code() {
                Some("TaskDoesNotExist" | "TaskTimedOut" | "InvalidToken") => Ok(Woken::Gone),
                _ => Err(fault("sfn SendTaskSuccess", &error)),
            },
        }
    }

    async fn is_running(&self, machine: &str, name: &str) -> Result<Option<bool>, Fault> {
        match self.client.describe_execution().execution_arn(self.execution_arn(machine, name)).send().await {
            Ok(execution) => Ok(Some(execution.status == ExecutionStatus::Running)),
            Err(error) => match error.code() {
                Some("ExecutionDoesNotExist") => Ok(Some(false)),
                _ => Err(fault("sfn DescribeExecution", &error)),
            },
        }
    }
}
