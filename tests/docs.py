"""Checks the documentation: `claims` against the sources, `tour` against a running quickstart. See tests/docs.sh."""

import pathlib
import re
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
)
FLAGS = ["src/cli.rs", *(str(path.relative_to(ROOT)) for path in ROOT.glob("src/cli/*.rs")), "src/est/limits.rs"]
failures = 0


def check(what, wrong):
    """Tells whether a check passed; `wrong` lists what did not."""
    global failures
    print(f"{'FAIL ' if wrong else 'ok   '} {what}", file=sys.stderr)
    for line in wrong:
        print(f"      {line}", file=sys.stderr)
    failures += bool(wrong)


def read(path):
    return (ROOT / path).read_text()


def differences(ours, theirs, where):
    return [f"{name}: not in {where}" for name in ours if name not in theirs] + [
        f"{name}: in {where} only" for name in theirs if name not in ours
    ]


def repeated(names):
    return [f"{name}: twice" for name in sorted(set(names)) if names.count(name) > 1]


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            yield f"{page.relative_to(ROOT)}: {target}: no such file"
        elif anchor and anchor not in anchors(path):
            yield f"{page.relative_to(ROOT)}: {target}: no such heading"


def reasons():
    source = read("src/policy/reason.rs")
    return re.findall(r"^    ([A-Z]\w+),$", source[source.index("\nreasons! {") :], re.M)


def statuses_in_the_source():
    """The HTTP status of each reason, as `fn status` of the EST front end maps them."""
    source = read("src/est/rejection.rs")
    body = re.sub(r"//.*", "", source[source.index("fn status(") : source.index("#[cfg(test)]")])
    names = {
        "ACCEPTED": 202, "UNAUTHORIZED": 401, "BAD_REQUEST": 400, "PAYLOAD_TOO_LARGE": 413, "NOT_FOUND": 404, "FORBIDDEN": 403,
        "TOO_MANY_REQUESTS": 429, "SERVICE_UNAVAILABLE": 503, "INTERNAL_SERVER_ERROR": 500,
    }  # fmt: skip
    return {
        (reason, names[status])
        for arm, status in re.findall(r"([A-Z][\w\s|]*?)\s*=>\s*\{?\s*StatusCode::(\w+)", body)
        for reason in re.findall(r"\w+", arm)
    }


def statuses_in_the_page():
    rows = re.findall(r"^\| (\d{3}) \|[^|]*\|([^|]*)\|$", read("docs/est.md"), re.M)
    said = {(reason, int(status)) for status, list_ in rows for reason in re.findall(r"\w+", list_)}
    # What depends on the method or the operation, not on the reason.
    return said - {("MalformedRequest", 405), ("UnknownOperation", 501)}


def metrics(text):
    return set(re.findall(r"\bdevicecert_[a-z_]+\b", text))


def claims():
    check("links lead somewhere", [line for page in PAGES for line in broken_links(page)])

    explained = re.findall(r"^### (\w+)$", read("docs/reasons.md"), re.M)
    check("docs/reasons.md explains every reason", differences(reasons(), explained, "docs/reasons.md") + repeated(explained))
    source, page = statuses_in_the_source(), statuses_in_the_page()
    check(
        "docs/est.md gives every reason its HTTP status",
        [f"{line}" for line in sorted(source ^ page)]
        + [f"{reason}: no status found" for reason in reasons() if reason not in dict(source)],
    )

    cargo = tomllib.loads(read("Cargo.toml"))
    crates = [*cargo["dependencies"], *cargo.get("dev-dependencies", {}), *cargo.get("build-dependencies", {})]
    listed = re.findall(r"^\| ([a-z][\w-]*) \|", read("docs/dependencies.md"), re.M)
    check("docs/dependencies.md explains every dependency", differences(dict.fromkeys(crates), listed, "docs/dependencies.md") + repeated(listed))

    alerts = re.findall(r"- alert: (\w+)", read("charts/devicecert-operator/files/rules.yaml"))
    listed = re.findall(r"^## (DeviceCert\w+)$", read("docs/alerts.md"), re.M)
    check("docs/alerts.md has every alert", differences(alerts, listed, "docs/alerts.md"))

    known = metrics("".join(path.read_text() for path in ROOT.glob("src/metrics*/**/*.rs")) + read("src/metrics.rs") + read("src/run/front_metrics.rs"))
    check("docs/api.md lists every metric", differences(sorted(known), sorted(metrics(read("docs/api.md"))), "docs/api.md"))

    flags = {f"--{name.lower().replace('_', '-')}" for name in re.findall(r'"DEVICECERT_(\w+)"', "".join(map(read, FLAGS)))}
    # Those of the plugin have no environment variable.
    plugin = "".join(path.read_text() for path in ROOT.glob("src/plugin/**/*.rs"))
    flags |= {f"--{name.replace('_', '-')}" for name in re.findall(r"#\[arg\(long[^\]]*\]\s+(?:pub(?:\([a-z]+\))? )?(\w+):", plugin)}
    ours = re.compile(r"(?<![\w-])(--(?:est|metrics|watch|key|log|lease|audit|renew|retry|leader|registrar|controller)-[a-z-]+)")
    check(
        "flags that are named exist",
        [f"{page.relative_to(ROOT)}: {flag}" for page in PAGES for flag in set(ours.findall(page.read_text())) - flags],
    )  # fmt: skip

    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    check(
        "make targets that are named exist",
        [f"{page.relative_to(ROOT)}: make {name}" for page in PAGES
         for name in set(re.findall(r"`make ([a-z-]+)", page.read_text())) - targets],
    )  # fmt: skip

    modules = re.findall(r"^pub mod (\w+);", read("src/lib.rs"), re.M)
    check(
        "docs/ARCHITECTURE.md names every module",
        [name for name in modules if not re.search(rf"^{name} ", read("docs/ARCHITECTURE.md"), re.M)],
    )

    rows = [row.split("|")[1] for row in read("docs/api.md").splitlines() if row.startswith("| `")]
    fields = [name for cell in rows for name in re.findall(r"`([a-zA-Z.]+)", cell) if name != "devicecert"]
    crds = "".join(path.read_text() for path in ROOT.glob("crds/*.yaml"))
    check(
        "fields that docs/api.md names are in the CRDs",
        [name for name in fields if not all(re.search(rf"^\s*{part}:", crds, re.M) for part in name.split("."))]
        + ([] if len(fields) > 30 else [f"only {len(fields)} fields found"]),
    )


def blocks(section):
    """(commands, expected output or None) of each ```sh block and the ```text block right after it."""
    found = re.findall(r"```(\w+)\n(.*?)```", section, re.S)
    for at, (kind, text) in enumerate(found):
        if kind == "sh":
            after = found[at + 1] if at + 1 < len(found) else ("", "")
            yield text, after[1] if after[0] == "text" else None


def matches(expected, actual):
    """Whether the output is what the README shows: `…` stands for anything, also for whole lines, spaces for any spaces."""
    squeeze = lambda text: re.sub(r"[ \t]+", " ", text.replace("\r", "")).strip()
    pattern = ".*?".join(re.escape(part) for part in squeeze(expected).split("…"))
    return re.fullmatch(pattern, squeeze(actual), re.S) is not None


def tour(state, est_port, metrics_port):
    section = re.search(r"^## Five-minute tour$(.*?)^## ", read("README.md"), re.M | re.S).group(1)
    shell = subprocess.Popen(
        ["bash"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def run(commands):
        mark = "=== done"
        shell.stdin.write(f"{commands}\necho '{mark}'\n")
        shell.stdin.flush()
        lines = []
        while (line := shell.stdout.readline()) and line.strip() != mark:
            lines.append(line)
        return "".join(lines)

    # The README's paths and ports are those of `make quickstart` without options.
    quoted = state.replace(" ", "\\ ")
    count = 0
    for commands, expected in blocks(section):
        count += 1
        ours = re.sub(r'"\.local/', f'"{state}/', commands)
        ours = re.sub(r"(?<=[\s=(])\.local/", lambda _: f"{quoted}/", ours)
        ours = ours.replace("127.0.0.1:8443", f"127.0.0.1:{est_port}").replace("127.0.0.1:9090", f"127.0.0.1:{metrics_port}")
        output = run(ours)
        # What only looks may look again: an Event or a status can come a moment later.
        deadline = time.monotonic() + 20
        while expected and not matches(expected, output) and commands.startswith(("kubectl events", "kubectl get")) and time.monotonic() < deadline:
            time.sleep(0.5)
            output = run(ours)
        first = commands.strip().splitlines()[-1][:90]
        wrong = []
        if expected is not None and not matches(expected, output):
            wrong = ["expected:", *expected.splitlines(), "got:", *output.splitlines()]
        elif expected is None and re.search(r"^(error|Error|bash:)", output, re.M):
            wrong = output.splitlines()
        check(f"tour: {first}", wrong)
    check("the tour was found", [] if count > 10 else [f"only {count} blocks"])
    shell.stdin.close()
    shell.wait()


{"claims": claims, "tour": tour}[sys.argv[1]](*sys.argv[2:])
sys.exit(failures > 0)
