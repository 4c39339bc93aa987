//! `cargo xtask`: reads the command line, runs the command, and turns its end into an exit code.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use playbook::manifest::ProviderKind;
use xtask::{
    audit, bench, check, demo, diagram, doctor, export, extract_command, listing, package, playbook_command,
    project::Project,
    provider, publish,
    recorded::Place,
    replay, schema, scorecards,
    severity_command::{self, Wish},
    term, test, verdicts, what_if,
};

/// The playbook's command line.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    before_help = "Examples:\n  cargo xtask demo                      a phishing mail, all the way, on this machine\n  \
                   cargo xtask demo --decide approve     the same, and the analyst is played too\n  \
                   cargo xtask test                      every test\n  \
                   cargo xtask replay receipt.json --explain",
    after_help = "Exit codes: 0 in order, 1 an error, 2 something was found that needs attention.\n\
                  Colours: NO_COLOR=1 turns them off. Data goes to standard output, messages to standard error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one mail through the whole playbook on the local stack
    #[command(before_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo suspicious.eml --decide reject\n  \
                             cargo xtask demo mail.eml --answers answers.yaml --decide approve --json\n  cargo xtask demo --campaign\n  cargo xtask demo --down")]
    Demo(Demo),
    /// Run every test; installs what they need
    Test {
        /// Leaves out what needs the emulator or a browser
        #[arg(long)]
        fast: bool,
    },
    /// Format, lints, docs, template, state machine, dependencies, spelling: the one gate
    Check {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Measure what the pure core, enriching and a cold start cost
    Bench {
        /// What
        #[arg(value_enum)]
        what: bench::What,
        /// Keeps the counts of `enrich` and makes docs/COSTS.md of them
        #[arg(long)]
        write: bool,
    },
    /// Build every function for AWS into dist/<function>/bootstrap
    Package {
        /// The processor
        #[arg(long, value_enum, default_value = "x86_64")]
        arch: package::Architecture,
    },
    /// Check or publish the configuration in playbook/
    #[command(subcommand)]
    Config(Config),
    /// Set a secret of a deployment
    #[command(subcommand)]
    Secret(Secret),
    /// List the sources: what is on, what is off, and why
    #[command(before_help = "Examples:\n  cargo xtask providers\n  cargo xtask providers --stack ioc --json")]
    Providers(Listing),
    /// Write a provider of one's own: new, check, try
    #[command(subcommand)]
    Provider(Provider),
    /// List the targets and what comes in: what is on, what is off, and why
    Targets(Listing),
    /// Look at a deployment for what makes a playbook fail in silence
    Doctor {
        /// The stack's name
        #[arg(long, default_value = "ioc")]
        stack: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Reach the verdicts of a receipt again, and say whether they are the same
    #[command(
        before_help = "Examples:\n  cargo xtask replay receipt.json\n  aws s3 cp s3://BUCKET/KEY - | cargo xtask replay - --explain"
    )]
    Replay {
        /// A receipt, or receipts one a line; - reads standard input
        receipt: String,
        /// Every lookup, and the rules in words
        #[arg(long)]
        explain: bool,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Try another policy on what was recorded: which verdicts, routes, writes and tickets would have been otherwise
    #[command(before_help = "Examples:\n  cargo xtask what-if --policy new-policy.yaml --since 2026-11-01\n  \
                       cargo xtask what-if --policy grades.yaml --from copied-bucket/ --json")]
    WhatIf {
        /// A policy, grades, or a whole folder arranged like playbook/
        #[arg(long)]
        policy: PathBuf,
        /// Only what was assessed since: a day or a moment in UTC
        #[arg(long)]
        since: Option<String>,
        /// A folder with a copy of the evidence bucket, or of its receipts
        #[arg(long)]
        from: Option<PathBuf>,
        /// The stack whose record is copied and tried on
        #[arg(long, default_value = "ioc", conflicts_with = "from")]
        stack: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Say how often each source was right, by what people decided, and what a useful hit costs
    #[command(before_help = "Examples:\n  cargo xtask scorecards --since 2026-11-01\n  \
                             cargo xtask scorecards --from copied-bucket/ --json")]
    Scorecards {
        /// Only what was assessed since: a day or a moment in UTC
        #[arg(long)]
        since: Option<String>,
        /// A folder with receipts and decisions
        #[arg(long)]
        from: Option<PathBuf>,
        /// The stack whose record is copied and read
        #[arg(long, default_value = "ioc", conflicts_with = "from")]
        stack: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Show what is concluded in which situation, and how
    Verdicts {
        /// Writes it into docs/VERDICTS.md
        #[arg(long)]
        write: bool,
    },
    /// Pin how much an incident matters, or let go of it
    #[command(
        before_help = "Examples:\n  cargo xtask severity inc-… high --reason 'the host is the domain controller'\n  \
                             cargo xtask severity inc-… --unpin"
    )]
    Severity(Pinning),
    /// Tell who tried what on decisions, how they were known, and what became of it, oldest first
    #[command(before_help = "Examples:\n  cargo xtask audit --incident inc-664v3c5pmtjgm74xpoc27tur36\n  \
                             cargo xtask audit --format csv --from copied-rows/ >audit.csv")]
    Audit(Audit),
    /// Write a whole incident for other systems, to standard output
    #[command(before_help = "Examples:\n  cargo xtask export inc-664v3c5pmtjgm74xpoc27tur36 --stix >incident.json\n  \
                             cargo xtask export inc-664v3c5pmtjgm74xpoc27tur36 --stix --from copied-bucket/ --run 2")]
    Export(Export),
    /// Find every indicator in a text or a mail
    #[command(before_help = "Examples:\n  cargo xtask extract mail.eml\n  pbpaste | cargo xtask extract - --json\n  \
                             cargo xtask extract --jsonl <texts.jsonl >found.jsonl")]
    Extract(Extract),
    /// Make a playbook of your own, or bring an editor's changes to one back
    #[command(subcommand)]
    Playbook(Playbook),
    /// Show the state machine as a Mermaid flowchart
    Diagram {
        /// Writes it into README.md
        #[arg(long)]
        write: bool,
    },
}

#[derive(Args)]
struct Listing {
    /// Also says which keys are set in this stack
    #[arg(long)]
    stack: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Demo {
    /// A mail as .eml; a phish of ours when absent
    file: Option<PathBuf>,
    /// What the sources answer, as YAML: `observable: {provider: answer}`
    #[arg(long)]
    answers: Option<PathBuf>,
    /// Plays the analyst through the real page
    #[arg(long, value_enum)]
    decide: Option<demo::Decide>,
    /// One JSON record on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Three mails of one phish from different senders: the campaign is found and raises the severity
    #[arg(long, conflicts_with_all = ["file", "answers", "decide"])]
    campaign: bool,
    /// Leaves the stack up when the incident has ended
    #[arg(long)]
    keep: bool,
    /// Ends a stack that a demo has left up
    #[arg(long, exclusive = true)]
    down: bool,
}

#[derive(Subcommand)]
enum Config {
    /// Check playbook/ and list what it holds
    Check {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Write playbook/schemas/, by which editors complete and check the files of playbook/
    Schema,
    /// Write the configuration into a deployment's evidence bucket, and print its digest
    #[command(before_help = "Example:\n  cargo xtask config publish --bucket ioc-evidence-123456789012")]
    Publish {
        /// The stack's evidence bucket, an output of the stack
        #[arg(long)]
        bucket: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Playbook {
    /// Copy the playbook's state machine under another name; the template deploys the copy too
    #[command(before_help = "Example:\n  cargo xtask playbook copy two-approvals")]
    Copy {
        /// The copy's name: small letters, digits and hyphens
        name: String,
    },
    /// Bring back what Workflow Studio or another editor has saved, in the canonical form
    #[command(before_help = "Examples:\n  cargo xtask playbook pull two-approvals --stack ioc\n  \
                             cargo xtask playbook pull two-approvals --file saved.asl.json")]
    Pull {
        /// The machine's name: its file in statemachine/ without .asl.json
        name: String,
        /// The stack whose machine was edited in the console
        #[arg(long, default_value = "ioc", conflicts_with = "file")]
        stack: String,
        /// A file that an editor has saved
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Secret {
    /// Set a key that a manifest names, a consumer's password, or the review page's secret at the issuer; read from standard input
    #[command(before_help = "Examples:\n  cargo xtask secret set abuseipdb --stack ioc\n  \
                             openssl rand -hex 24 | cargo xtask secret set firewall-1 --stack ioc --consumer")]
    Set {
        /// The id that the manifest of a provider, target, alert door or feed names, the consumer's name, or oidc-client
        id: String,
        /// The stack's name
        #[arg(long, default_value = "ioc")]
        stack: String,
        /// A consumer of the block lists
        #[arg(long)]
        consumer: bool,
    },
}

#[derive(Args)]
struct Pinning {
    /// The incident, inc- and 26 characters
    incident: String,
    /// What it is from now on, whatever the terms say
    #[arg(value_enum, required_unless_present = "unpin", requires = "reason")]
    severity: Option<severity_command::Pin>,
    /// Why, in at most 300 characters; people read it in the incident
    #[arg(long)]
    reason: Option<String>,
    /// Lets the terms say it again
    #[arg(long, conflicts_with_all = ["severity", "reason"])]
    unpin: bool,
    /// The stack's name
    #[arg(long, default_value = "ioc")]
    stack: String,
}

#[derive(Args)]
struct Export {
    /// The incident: inc- and 26 characters
    incident: String,
    /// As a STIX 2.1 bundle, the only form so far
    #[arg(long, required = true)]
    stix: bool,
    /// Its run; the latest that was concluded when absent
    #[arg(long)]
    run: Option<u32>,
    /// A folder with a copy of the evidence bucket
    #[arg(long)]
    from: Option<PathBuf>,
    /// The stack whose record is copied and read
    #[arg(long, default_value = "ioc", conflicts_with = "from")]
    stack: String,
    /// What the deployment is called, as the author of every object
    #[arg(long, default_value = "IOC Enrichment Playbook")]
    identity: String,
}

#[derive(Subcommand)]
enum Provider {
    /// Write a manifest that is off, with cases that hold for it
    New {
        /// Lower-case letters, digits and hyphens; the file's name
        id: String,
        /// How it is reached
        #[arg(long, value_enum, default_value = "http")]
        kind: Kind,
    },
    /// Read a manifest and run its cases
    Check {
        /// The provider
        id: String,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Ask the real provider once: the request without its key, the answer, and what is made of it
    #[command(
        before_help = "Examples:\n  cargo xtask provider try urlhaus http://evil.example/a.exe --key key.txt\n  \
                             pass show vt | cargo xtask provider try virustotal 192.0.2.7 --key - --json"
    )]
    Try {
        /// The provider; one that is off, too
        id: String,
        /// An address, a domain, a URL, a digest
        observable: String,
        /// A file with the key; - reads standard input
        #[arg(long)]
        key: Option<String>,
        /// The stack whose key is used
        #[arg(long, conflicts_with = "key")]
        stack: Option<String>,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// Over https
    Http,
    /// Questions to a name server
    Dns,
    /// A feed that was fetched
    List,
}

impl From<Kind> for ProviderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Http => Self::Http,
            Kind::Dns => Self::Dns,
            Kind::List => Self::List,
        }
    }
}

#[derive(Args)]
struct Audit {
    /// Of this incident alone: inc- and 26 characters
    #[arg(long)]
    incident: Option<String>,
    /// One JSON document a line, exact; or a table for people, made safe for spreadsheets
    #[arg(long, value_enum, default_value = "json")]
    format: audit::Format,
    /// A folder with rows of the incidents table as JSON
    #[arg(long)]
    from: Option<PathBuf>,
    /// The stack whose audit is copied and read
    #[arg(long, default_value = "ioc", conflicts_with = "from")]
    stack: String,
}

#[derive(Args)]
struct Extract {
    /// A text, or a mail ending in .eml; - reads standard input
    #[arg(required_unless_present = "jsonl")]
    file: Option<String>,
    /// Reads {"id","text"} lines from standard input, writes {"id","found"} lines
    #[arg(long, conflicts_with = "file")]
    jsonl: bool,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Something was found that needs attention.
const FINDINGS: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FINDINGS),
        Err(error) => {
            term::message(&format!("{} {error:#}", term::coloured("error:", anstyle::AnsiColor::Red)));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; false when it found something.
async fn run(command: Command) -> Result<bool> {
    if let Command::Extract(Extract { jsonl: true, .. }) = command {
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        extract_command::lines(
            std::io::BufReader::with_capacity(1 << 20, input),
            std::io::BufWriter::with_capacity(1 << 20, output),
        )?;
        return Ok(true);
    }
    let project = Project::find()?;
    match command {
        Command::Demo(Demo { down: true, .. }) => demo::down(&project),
        Command::Demo(Demo { campaign: true, json, keep, .. }) => {
            if !demo::campaign::run(&project, json, keep).await? {
                bail!("the three mails were not found to be one campaign");
            }
        }
        Command::Demo(Demo { file, answers, decide, json, keep, .. }) => {
            let options = demo::Options { file, answers, decide, json, keep };
            if !demo::run(&project, &options).await? {
                bail!("the incident was not brought to its end");
            }
        }
        Command::Test { fast } => return test::run(&project, fast).await,
        Command::Check { json } => return check::run(&project, json),
        Command::Bench { what, write } => return bench::run(&project, what, write),
        Command::Package { arch } => package::functions(&project, arch)?,
        Command::Config(Config::Check { json }) => publish::check(&project, json)?,
        Command::Config(Config::Schema) => schema::write(&project)?,
        Command::Config(Config::Publish { bucket, json }) => publish::publish(&project, &bucket, json)?,
        Command::Providers(Listing { stack, json }) => listing::providers(&project, stack.as_deref(), json)?,
        Command::Provider(Provider::New { id, kind }) => provider::new(&project, &id, kind.into())?,
        Command::Provider(Provider::Check { id, json }) => return provider::check(&project, &id, json),
        Command::Provider(Provider::Try { id, observable, key, stack, json }) => {
            let key = match (key, stack) {
                (Some(file), _) => provider::Key::File(file),
                (None, Some(stack)) => provider::Key::Stack(stack),
                (None, None) => provider::Key::None,
            };
            return provider::try_it(&project, &id, &observable, &key, json).await;
        }
        Command::Targets(Listing { stack, json }) => listing::targets(&project, stack.as_deref(), json)?,
        Command::Doctor { stack, json } => return doctor::run(&project, &stack, json),
        Command::Secret(Secret::Set { id, stack, consumer }) => publish::set_secret(&project, &stack, &id, consumer)?,
        Command::Replay { receipt, explain, json } => return replay::receipts(&receipt, explain, json),
        Command::Audit(Audit { incident, format, from, stack }) => {
            audit::run(&project, &Place::of(from, stack), incident.as_deref(), format)?;
        }
        Command::Export(Export { incident, run, from, stack, identity, .. }) => {
            export::stix(&project, &export::Options { incident, run, place: Place::of(from, stack), identity })?;
        }
        Command::Extract(Extract { file, json, .. }) => {
            extract_command::file(&project, file.as_deref().unwrap_or("-"), json)?;
        }
        Command::Playbook(Playbook::Copy { name }) => playbook_command::copy(&project, &name)?,
        Command::Playbook(Playbook::Pull { name, stack, file }) => {
            let source = file.map_or(playbook_command::Source::Stack(stack), playbook_command::Source::File);
            playbook_command::pull(&project, &name, &source)?;
        }
        Command::WhatIf { policy, since, from, stack, json } => {
            what_if::run(&project, &policy, &Place::of(from, stack), since.as_deref(), json)?;
        }
        Command::Verdicts { write } => verdicts::run(&project, write)?,
        Command::Scorecards { since, from, stack, json } => {
            scorecards::run(&project, &Place::of(from, stack), since.as_deref(), json)?;
        }
        Command::Severity(Pinning { incident, severity, reason, stack, .. }) => {
            let wish = severity.map_or(Wish::Unpin, |severity| Wish::Pin {
                severity: severity.into(),
                reason: reason.unwrap_or_default(),
            });
            severity_command::run(&project, &stack, &incident, &wish)?;
        }
        Command::Diagram { write } => diagram::run(&project, write)?,
    }
    Ok(true)
}
