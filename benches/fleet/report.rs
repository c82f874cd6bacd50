//! The figures: what is measured, in which unit, against which bar; the table and the JSON.

mod figures;

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

pub use figures::*;

use crate::Failure;

/// Something that is measured.
#[derive(Debug)]
pub struct Figure {
    /// What the table calls it.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What is wanted of it.
    pub bar: Bar,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Nothing.
    None,
    /// The median is at least this.
    MedianAtLeast(f64),
    /// The median is at most this.
    MedianAtMost(f64),
    /// Every sample is at most this.
    EachAtMost(f64),
}

/// All samples so far, in the order in which figures first appeared.
pub struct Report {
    machine: Value,
    samples: Vec<(&'static Figure, Vec<f64>)>,
}

impl Report {
    /// An empty report about this machine.
    pub fn new(machine: Value) -> Self {
        Self {
            machine,
            samples: Vec::new(),
        }
    }

    /// Adds a sample.
    pub fn add(&mut self, figure: &'static Figure, sample: f64) {
        match self
            .samples
            .iter_mut()
            .find(|(known, _)| known.name == figure.name)
        {
            Some((_, samples)) => samples.push(sample),
            None => self.samples.push((figure, vec![sample])),
        }
    }

    /// Adds a share of processor time, in microseconds.
    pub fn add_micros(&mut self, figure: &'static Figure, time: Duration, count: usize) {
        self.add(figure, time.as_secs_f64() * 1e6 / count.max(1) as f64);
    }

    /// Adds the ratio of the newest samples of two figures.
    pub fn compare(&mut self, ratio: &'static Figure, of: &Figure, to: &Figure) {
        if let (Some(of), Some(to)) = (self.newest(of), self.newest(to)) {
            self.add(ratio, of / to);
        }
    }

    /// Adds the ratio of the server's time for a renewal to OpenSSL's for the same primitives.
    pub fn compare_with_primitives(&mut self, way: &'static Way) {
        let primitives = [
            (&SIGN, way.signs),
            (&VERIFY, way.verifies),
            (&AGREE, way.agrees),
        ];
        let times = primitives
            .map(|(figure, count)| self.newest(figure).map(|time| time * f64::from(count)));
        let sum: Option<f64> = times.into_iter().sum();
        if let (Some(sum), Some(cpu)) = (sum, self.newest(&way.cpu)) {
            self.add(&way.primitives, sum);
            self.add(&way.ratio, cpu / sum);
        }
    }

    /// Adds the latencies of a load, in ms, and the ratio of their 99th percentile to their median.
    pub fn add_spread(&mut self, latency: &'static Figure, spread: &'static Figure, all: &[f64]) {
        for sample in all {
            self.add(latency, *sample);
        }
        self.add(spread, quantile(all, 0.99) / quantile(all, 0.5));
    }

    /// Adds the ratio of the 99th percentiles of two loads.
    pub fn compare_tails(&mut self, ratio: &'static Figure, of: &[f64], to: &[f64]) {
        self.add(ratio, quantile(of, 0.99) / quantile(to, 0.99));
    }

    /// Prints the table and writes the JSON.
    pub fn finish(self, out: &Path) -> Result<(), Failure> {
        println!(
            "\nmachine: {}",
            serde_json::to_string_pretty(&self.machine)?
        );
        let width = self
            .samples
            .iter()
            .map(|(figure, _)| figure.name.chars().count())
            .max()
            .unwrap_or(0);
        println!(
            "\n{:width$}  {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}  {:14} bar",
            "", "n", "min", "median", "p90", "p99", "max", "unit"
        );
        for (figure, samples) in &self.samples {
            let [min, median, p90, p99, max] =
                [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| short(quantile(samples, share)));
            let Figure { name, unit, bar } = figure;
            println!(
                "{name:width$}  {:>5} {min:>9} {median:>9} {p90:>9} {p99:>9} {max:>9}  {unit:14} {}",
                samples.len(),
                bar.verdict(samples)
            );
        }
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(out, serde_json::to_string_pretty(&self.to_json())? + "\n")?;
        println!("\nraw figures: {}", out.display());
        Ok(())
    }

    /// The sample that was added last.
    pub fn newest(&self, figure: &Figure) -> Option<f64> {
        let (_, samples) = self
            .samples
            .iter()
            .find(|(known, _)| known.name == figure.name)?;
        samples.last().copied()
    }

    fn to_json(&self) -> Value {
        let figures = self.samples.iter().map(|(figure, samples)| {
            json!({
                "name": figure.name, "unit": figure.unit, "bar": figure.bar.in_words(), "met": figure.bar.is_met(samples),
                "min": quantile(samples, 0.0), "median": quantile(samples, 0.5), "p90": quantile(samples, 0.9),
                "p99": quantile(samples, 0.99), "max": quantile(samples, 1.0), "samples": samples,
            })
        });
        json!({ "machine": self.machine, "figures": figures.collect::<Vec<_>>() })
    }
}

impl Bar {
    fn is_met(self, samples: &[f64]) -> Option<bool> {
        match self {
            Self::None => None,
            Self::MedianAtLeast(bar) => Some(quantile(samples, 0.5) >= bar),
            Self::MedianAtMost(bar) => Some(quantile(samples, 0.5) <= bar),
            Self::EachAtMost(bar) => Some(quantile(samples, 1.0) <= bar),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::None => String::new(),
            Self::MedianAtLeast(bar) => format!("median ≥ {bar}"),
            Self::MedianAtMost(bar) => format!("median ≤ {bar}"),
            Self::EachAtMost(bar) => format!("each ≤ {bar}"),
        }
    }

    fn verdict(self, samples: &[f64]) -> String {
        let words = self.in_words();
        match self.is_met(samples) {
            None => String::new(),
            Some(true) => format!("{words}: met"),
            Some(false) => format!("{words}: MISSED"),
        }
    }
}

/// The value that this share of the samples does not exceed; between two samples it lies on the line between them.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// Four digits that matter.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
