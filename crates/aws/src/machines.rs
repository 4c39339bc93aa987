//! The state machine in Step Functions; the registry calls the client `sfn`.

use aws_config::SdkConfig;
use aws_sdk_sfn::{Client, error::ProvideErrorMetadata as _, types::ExecutionStatus};
use playbook::{
    Fault,
    ports::{Machines, Started, Woken},
};

use crate::faults::fault;

/// The executions of one state machine.
#[derive(Clone, Debug)]
pub struct SfnMachines {
    client: Client,
    arn: String,
}

impl SfnMachines {
    /// The machine of this ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: String) -> Self {
        Self { client: Client::new(config), arn }
    }

    fn execution_arn(&self, name: &str) -> String {
        format!("{}:{name}", self.arn.replacen(":stateMachine:", ":execution:", 1))
    }
}

impl Machines for SfnMachines {
    async fn start(&self, name: &str, input: &str) -> Result<Started, Fault> {
        let call = self.client.start_execution().state_machine_arn(&self.arn).name(name).input(input);
        match call.send().await {
            Ok(started) => Ok(Started::New(started.execution_arn)),
            Err(error) => match error.code() {
                Some("ExecutionAlreadyExists") => Ok(Started::Exists(self.execution_arn(name))),
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

    async fn is_running(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.client.describe_execution().execution_arn(self.execution_arn(name)).send().await {
            Ok(execution) => Ok(Some(execution.status == ExecutionStatus::Running)),
            Err(error) => match error.code() {
                Some("ExecutionDoesNotExist") => Ok(Some(false)),
                _ => Err(fault("sfn DescribeExecution", &error)),
            },
        }
    }
}
