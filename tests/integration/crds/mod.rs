//! The custom resources as the API server takes them: what it refuses and in which words, what it fills in, what it shows.

mod cases;
mod reading;
mod rules;
mod samples;
