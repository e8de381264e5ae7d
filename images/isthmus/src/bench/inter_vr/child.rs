//! An endpoint as its starter sees it: a child process that takes orders.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::endpoint::{Order, Reply};

/// An endpoint that says nothing for so long never will: every workload has a shorter limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running endpoint; ends when dropped.
#[derive(Debug)]
pub struct Endpoint {
    name: &'static str,
    child: Child,
    orders: Option<ChildStdin>,
    replies: Receiver<std::io::Result<String>>,
}

impl Endpoint {
    /// Starts one. `command`: runs this executable in the endpoint's role.
    pub fn start(name: &'static str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start endpoint {name}"))?;
        let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("endpoint {name} has no pipes");
        };
        let (sender, replies) = channel();
        thread::spawn(move || {
            // The receiver is gone when nobody waits any longer.
            BufReader::new(output).lines().try_for_each(|line| sender.send(line)).ok();
        });
        Ok(Self { name, child, orders: Some(orders), replies })
    }

    /// Its process ID.
    pub fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id()).context("a process ID")?))
    }

    /// Gives an order.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        let failed = || format!("give an order to endpoint {}", self.name);
        let orders = self.orders.as_mut().with_context(failed)?;
        let line = serde_json::to_string(order)? + "\n";
        orders.write_all(line.as_bytes()).with_context(|| format!("give an order to endpoint {}", self.name))
    }

    /// The reply to the first order that was not replied to; an order that failed is an error.
    pub fn reply(&mut self) -> Result<Reply> {
        let name = self.name;
        let line = match self.replies.recv_timeout(PATIENCE) {
            Ok(line) => line.with_context(|| format!("hear endpoint {name}"))?,
            Err(RecvTimeoutError::Timeout) => bail!("endpoint {name} said nothing for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("endpoint {name} died: {}", self.child.wait()?),
        };
        match serde_json::from_str(&line).with_context(|| format!("endpoint {name} said {line:?}"))? {
            Reply::Failed { error } => bail!("endpoint {name}: {error}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The end of its orders ends it, unless it hangs in one: a child that has ended cannot be killed, which is no
        // error here.
        drop(self.orders.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(script: &str) -> Endpoint {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Endpoint::start("a", command).unwrap()
    }

    #[test]
    fn replies_come_in_the_order_in_which_they_were_given() {
        let mut endpoint = endpoint(
            r#"echo '"Joined"'; echo '{"Served":{"datagrams_per_second":null,"cpu_seconds":0.5}}'; cat >/dev/null"#,
        );
        assert_eq!(endpoint.reply().unwrap(), Reply::Joined);
        assert_eq!(endpoint.reply().unwrap(), Reply::Served { datagrams_per_second: None, cpu_seconds: 0.5 });
    }

    #[test]
    fn an_endpoint_that_fails_or_dies_or_talks_nonsense_is_an_error_that_names_it() {
        let script = r#"echo '{"Failed":{"error":"connect: refused"}}'; echo nonsense; exit 3"#;
        let mut endpoint = endpoint(script);
        let mut error = || format!("{:#}", endpoint.reply().unwrap_err());
        assert_eq!(error(), "endpoint a: connect: refused");
        assert!(error().starts_with(r#"endpoint a said "nonsense""#));
        assert_eq!(error(), "endpoint a died: exit status: 3");
    }
}
