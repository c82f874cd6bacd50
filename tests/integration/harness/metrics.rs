//! What a scrape said.

/// The Prometheus text format.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of the series of this name that carry all these labels; `None` if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<f64> = self.series(name, labels).map(|(_, value)| value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The same, for counters: one that was never turned has no series.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).unwrap_or(0.0) as u64
    }

    /// The series of this name that carry all these labels: the labels as text, and the value.
    pub fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (head, value) = rest.rsplit_once(' ')?;
            let inner = match head {
                "" => "",
                _ => head.strip_prefix('{')?.strip_suffix('}')?,
            };
            let fits = labels
                .iter()
                .all(|(key, value)| inner.contains(&format!("{key}=\"{value}\"")));
            fits.then(|| (inner, value.parse().unwrap()))
        })
    }
}
