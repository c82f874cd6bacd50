//! EST: first enrolments by password, then renewals by certificate, on kept connections and with a handshake each.

use std::time::{Duration, Instant};

use devicecert::pki::Certificate;

use crate::{
    Failure,
    args::Args,
    cluster::{BENCH, Cluster, concurrently, names},
    est::{Connection, Device, Dialler, Enrolment},
    half_load,
    operator::Operator,
    progress,
    report::{self, Report, Way},
};

/// Renewals on each kept connection. A device may hold 17 live certificates at once, so a connection, which is one
/// device's, cannot renew for ever; few renewals also keep the record as short as it is in the field. Between two
/// renewals of one device come those of others, for no device renews twice within the time that a watch needs.
const RENEWALS: usize = 4;

/// The EST experiments.
pub struct Enrolments<'a> {
    args: &'a Args,
    cluster: &'a Cluster,
    operator: &'a Operator,
    root: Certificate,
}

/// One connection's share of the work.
struct Line {
    dialler: Dialler,
    connection: Option<Connection>,
    requests: Vec<Enrolment>,
}

/// A certificate, and how long it took.
type Answer = (Certificate, Duration);

impl<'a> Enrolments<'a> {
    /// The experiments on this operator.
    pub async fn new(
        args: &'a Args,
        cluster: &'a Cluster,
        operator: &'a Operator,
    ) -> Result<Self, Failure> {
        Ok(Self {
            args,
            cluster,
            operator,
            root: cluster.root(BENCH).await?,
        })
    }

    /// New devices enrol by password, then renew in each way.
    pub async fn round(&self, round: u32, report: &mut Report) -> Result<(), Failure> {
        let names = names('e', round, self.args.enrolments);
        let mut devices = names
            .iter()
            .map(|name| Device::new(name))
            .collect::<Result<Vec<_>, _>>()?;
        let count = devices.len();

        progress(&format!(
            "round {}: {count} first enrolments over EST",
            round + 1
        ));
        // A gateway, say, that enrols for many: no connection has a client certificate.
        let shares: Vec<&[Device]> = devices.chunks(count.div_ceil(8)).collect();
        let lines = shares
            .iter()
            .map(|share| self.line(&share[0], share.iter().map(Device::first)));
        let lines = open(lines.collect::<Result<_, _>>()?).await?;
        for (certificate, _) in self.measure(&report::FIRST, lines, 8, report).await? {
            let name = certificate.subject().common_name();
            let device = devices
                .iter_mut()
                .find(|device| Some(device.name()) == name.as_deref());
            device
                .ok_or("EST answers with a stranger's certificate")?
                .keep(certificate);
        }

        progress(&format!("round {}: renewals over EST", round + 1));
        let renewing =
            |device: &Device, times| self.line(device, (0..times).map(|_| device.renewal()));
        for (way, workers, devices, times) in [
            (&report::ONE_CONNECTION, 1, &devices[..count / 4], RENEWALS),
            (
                &report::EIGHT_CONNECTIONS,
                8,
                &devices[count / 4..count - count / 4],
                RENEWALS,
            ),
            (&report::HANDSHAKES, 8, &devices[..], 1),
        ] {
            let lines = devices
                .iter()
                .map(|device| renewing(device, times))
                .collect::<Result<_, _>>()?;
            let lines = if way.has_handshakes() {
                lines
            } else {
                open(lines).await?
            };
            self.measure(way, lines, workers, report).await?;
        }
        let lines = devices
            .iter()
            .map(|device| renewing(device, half_load::TURNS))
            .collect::<Result<_, _>>()?;
        let lines = open(lines).await?;
        let rate = report.newest(&report::EIGHT_CONNECTIONS.rate);
        let rate = rate.ok_or("no rate was measured")? / 2.0;
        self.operator.idle_usage().await?;
        progress(&format!("round {}: renewals at half load", round + 1));
        let renew = |mut line: Line, turn| async move {
            line.send(turn).await?;
            Ok(line)
        };
        let renewals = half_load::at_rate(rate, lines, renew).await?;
        let writes = half_load::bare(self.cluster, &names, rate).await?;
        report.add_spread(&report::HALF_LOAD, &report::HALF_LOAD_SPREAD, &renewals);
        report.add_spread(
            &report::HALF_LOAD_BARE,
            &report::HALF_LOAD_BARE_SPREAD,
            &writes,
        );
        report.compare_tails(&report::HALF_LOAD_TO_BARE, &renewals, &writes);
        Ok(())
    }

    fn line(
        &self,
        device: &Device,
        requests: impl Iterator<Item = Result<Enrolment, Failure>>,
    ) -> Result<Line, Failure> {
        Ok(Line {
            dialler: device.dialler(self.operator.est, &self.root)?,
            connection: None,
            requests: requests.collect::<Result<_, _>>()?,
        })
    }

    /// Works off the lines, `workers` at a time, and reports what that cost the server.
    async fn measure(
        &self,
        way: &'static Way,
        lines: Vec<Line>,
        workers: usize,
        report: &mut Report,
    ) -> Result<Vec<Answer>, Failure> {
        let requests: usize = lines.iter().map(|line| line.requests.len()).sum();
        let mut shares: Vec<Vec<Line>> = (0..workers).map(|_| Vec::new()).collect();
        for (place, line) in lines.into_iter().enumerate() {
            shares[place % workers].push(line);
        }
        let before = self.operator.idle_usage().await?;
        let began = Instant::now();
        let answers = concurrently(workers, shares.into_iter().map(work_off))
            .await?
            .concat();
        let took = began.elapsed();
        let used = self.operator.idle_usage().await?;

        report.add(&way.rate, requests as f64 / took.as_secs_f64());
        report.add_micros(&way.cpu, used.cpu - before.cpu, requests);
        report.add(
            &way.writes,
            (used.writes - before.writes) / requests.max(1) as f64,
        );
        for (_, latency) in &answers {
            report.add(&way.latency, latency.as_secs_f64() * 1e3);
        }
        report.compare_with_primitives(way);
        Ok(answers)
    }
}

/// Does the handshakes beforehand, so that they are not measured.
async fn open(mut lines: Vec<Line>) -> Result<Vec<Line>, Failure> {
    for line in &mut lines {
        line.connection = Some(line.dialler.connect().await?);
    }
    Ok(lines)
}

/// Sends the first request of every line, then the second of every line, and so on.
async fn work_off(mut lines: Vec<Line>) -> Result<Vec<Answer>, Failure> {
    let mut answers = Vec::new();
    let most = lines
        .iter()
        .map(|line| line.requests.len())
        .max()
        .unwrap_or(0);
    for pass in 0..most {
        for line in &mut lines {
            if pass < line.requests.len() {
                answers.push(line.send(pass).await?);
            }
        }
    }
    Ok(answers)
}

impl Line {
    /// Sends one of its requests, over a connection that is opened if there is none yet.
    async fn send(&mut self, number: usize) -> Result<Answer, Failure> {
        let request = self
            .requests
            .get(number)
            .ok_or("the line has no such request")?;
        let began = Instant::now();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            closed => closed.insert(self.dialler.connect().await?),
        };
        Ok((connection.send(request).await?, began.elapsed()))
    }
}
