//! The arrows of the house point down: reads the `use` lines of `src/` and fails when one points up, or when a pure
//! module touches the world.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From the top; a module may use those below it, and itself.
const FLOORS: [&str; 14] = [
    "plugin",
    "cli",
    "run",
    "health",
    "controllers",
    "est",
    "registrar",
    "audit",
    "metrics",
    "fleet",
    "cluster",
    "policy",
    "pki",
    "api",
];
/// Floors that need an exception: what `cli` parses into belongs to `controllers`, so `run` may read `cli`.
const ALLOWED_UP: [(&str, &str); 1] = [("run", "cli")];
/// The front end may know the door, the words for refusals and X.509, and nothing else.
const EST_MAY_USE: [&str; 3] = ["registrar", "policy", "pki"];
/// What a pure module must not name.
const IMPURE: [&str; 12] = [
    "kube::",
    "tokio",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "rand::",
    "tracing",
    "reqwest",
];

/// The lines of code outside tests, with comments left out.
fn code(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .map(String::from)
        .collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") && !is_test(&entry) {
            found.push(entry);
        }
    }
    found
}

/// Modules that are compiled for tests only.
fn is_test(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    ["tests", "fixtures", "conformance"].contains(&stem.as_str())
}

/// The floors of the house, each with its files.
fn floors() -> Vec<(String, Vec<PathBuf>)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut floors = Vec::new();
    for floor in FLOORS {
        let mut files = Vec::new();
        if src.join(floor).is_dir() {
            files.extend(sources(&src.join(floor)));
        }
        if src.join(format!("{floor}.rs")).is_file() {
            files.push(src.join(format!("{floor}.rs")));
        }
        assert!(!files.is_empty(), "no such module: {floor}");
        floors.push((floor.to_string(), files));
    }
    floors
}

/// The floors that a file names: `crate::x` anywhere, and `x` in `use crate::{x::…}`.
fn used(file: &Path) -> Vec<&'static str> {
    let text = code(file).join(" ");
    let mut used: Vec<&str> = FLOORS
        .iter()
        .copied()
        .filter(|floor| text.contains(&format!("crate::{floor}::")))
        .collect();
    for import in text.split("use crate::{").skip(1) {
        let end = import.find(';').unwrap_or(import.len());
        let items = format!(" {}", &import[..end]);
        used.extend(FLOORS.iter().copied().filter(|floor| {
            [
                format!(" {floor}::"),
                format!(" {floor},"),
                format!(" {floor} "),
            ]
            .iter()
            .any(|item| items.contains(item))
        }));
    }
    used
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (floor, files) in floors() {
        let level = FLOORS.iter().position(|name| *name == floor).unwrap();
        for file in files {
            for other in used(&file) {
                let up = FLOORS.iter().position(|name| *name == other).unwrap() < level;
                if up && !ALLOWED_UP.contains(&(floor.as_str(), other)) {
                    wrong.push(format!("{} uses {other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_arrows_are_really_read() {
    let registrar = &floors()[6];
    let used: Vec<_> = registrar.1.iter().flat_map(|file| used(file)).collect();
    for below in ["policy", "pki", "cluster", "fleet", "metrics", "api"] {
        assert!(used.contains(&below), "{below} is not seen among {used:?}");
    }
}

#[test]
fn the_front_end_knows_only_the_door() {
    for (floor, files) in floors() {
        for file in files.iter().filter(|_| floor == "est") {
            for other in used(file) {
                assert!(
                    other == "est" || EST_MAY_USE.contains(&other),
                    "{} uses {other}",
                    file.display()
                );
            }
            let text = code(file).join("\n");
            assert!(
                !text.contains("kube::") && !text.contains("k8s_openapi"),
                "{} knows Kubernetes",
                file.display()
            );
        }
    }
}

#[test]
fn pki_and_policy_are_pure() {
    for (floor, files) in floors() {
        for file in files
            .iter()
            .filter(|_| ["pki", "policy"].contains(&floor.as_str()))
        {
            let text = code(file).join("\n");
            for word in IMPURE {
                assert!(!text.contains(word), "{} names {word}", file.display());
            }
            assert!(
                floor == "policy" || !text.contains("k8s_openapi"),
                "{} knows Kubernetes",
                file.display()
            );
        }
    }
}

#[test]
fn leaves_are_signed_in_one_place_only() {
    for (_, files) in floors() {
        for file in files {
            let text = code(&file).join(" ");
            let signs = text.contains("assemble(&") || text.contains("assemble (");
            let may = [
                "pki/assemble.rs",
                "registrar/signer.rs",
                "registrar/authority_certificate.rs",
            ];
            assert!(
                !signs || may.iter().any(|end| file.ends_with(end)),
                "{} signs certificates",
                file.display()
            );
        }
    }
}

#[test]
fn main_is_thin() {
    let lines = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs"))
        .unwrap()
        .lines()
        .count();
    assert!(lines < 30, "src/main.rs has {lines} lines");
}
