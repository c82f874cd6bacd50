//! What is wanted of the figures, and whether it is so.

/// The bars that were compared so far.
#[derive(Default)]
pub struct Bars {
    missed: usize,
    all: usize,
}

impl Bars {
    /// Prints a figure that must not exceed its bar.
    pub fn at_most(&mut self, what: &str, figure: f64, bar: f64) {
        self.all += 1;
        let verdict = if figure <= bar {
            "met"
        } else {
            self.missed += 1;
            "NOT MET"
        };
        println!("BAR {what}: {figure:.2}, at most {bar}: {verdict}");
    }

    /// Prints how many were met.
    pub fn finish(&self) {
        println!("{} of {} bars met", self.all - self.missed, self.all);
    }
}

/// The middle one.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
