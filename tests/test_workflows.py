"""The GitHub workflows: pinned, least privileged, and their commands work in a clean copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.seaweed import BUCKET, Seaweed

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BATCH = ROOT / ".github/workflows/batch_run.yml"
PINNED = re.compile(r"uses: (?P<action>[\w-]+/[\w./-]+)@(?P<pin>[0-9a-f]{40} # v\d+\.\d+\.\d+)")

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)

# What each job may do with the repository's token; anything more needs a reason and a line here.
PERMISSIONS = {
    ("batch_run.yml", "run-pipeline"): {"contents": "read", "id-token": "write"},
    ("ci.yml", "check"): {"contents": "read"},
    ("docs.yml", "build"): {"contents": "read"},
    ("docs.yml", "publish"): {"pages": "write", "id-token": "write"},
}


def _load(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return workflow


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _load(path)["jobs"].values() for step in job["steps"]]


@each_workflow
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """Every action is pinned by a full commit hash with its version beside it."""
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert [line for line in lines if not PINNED.search(line)] == []


def test_one_pin_per_action() -> None:
    """An action is pinned at the same commit in every workflow."""
    found = {match for path in WORKFLOWS for match in PINNED.findall(path.read_text("utf-8"))}
    repositories = {("/".join(action.split("/")[:2]), pin) for action, pin in found}
    assert len(repositories) == len({repository for repository, _ in repositories})


def test_permissions_are_the_least() -> None:
    """Workflows start with no permission, and each job has those listed here and no others."""
    assert {path.name: _load(path)["permissions"] for path in WORKFLOWS} == {
        path.name: {} for path in WORKFLOWS
    }
    granted = {
        (path.name, name): job.get("permissions")
        for path in WORKFLOWS
        for name, job in _load(path)["jobs"].items()
    }
    assert granted == PERMISSIONS


@each_workflow
def test_every_job_ends(path: Path) -> None:
    """Every job has a time limit of at most an hour."""
    assert all(job["timeout-minutes"] <= 60 for job in _load(path)["jobs"].values())


@each_workflow
def test_checkout_leaves_no_token_behind(path: Path) -> None:
    """No step after the checkout finds the repository's token in the git configuration."""
    checkouts = [step for step in _steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@each_workflow
def test_no_expression_inside_a_command(path: Path) -> None:
    """Values reach a command as environment variables: text from outside can never become code."""
    assert [step["run"] for step in _steps(path) if "${{" in step.get("run", "")] == []


def test_what_somebody_typed_reaches_the_pipeline_only(tmp_path: Path) -> None:
    """A typed number of days is an argument of the pipeline, which refuses what is none: no shell and no make reads it."""
    [step] = [each for each in _steps(BATCH) if "inputs." in str(each)]
    assert "make" not in step["run"].split()
    for folder, code in ((".venv/bin", f"exec {sys.executable} -m payments_pipeline"), (".github", "exit 0")):
        (tmp_path / folder).mkdir(parents=True)
        program = tmp_path / folder / ("aws-token" if folder == ".github" else "payments-pipeline")
        program.write_text(f'#!/bin/sh\n{code} "$@"\n')
        program.chmod(0o755)
    for typed in ("$(touch made)1", "`touch made`", "$(shell touch made)1", "1; touch made", "-h", ""):
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "DAYS": typed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr[:6]) == (2, "error:"), typed
    assert sorted(path.name for path in tmp_path.iterdir()) == [".github", ".venv"]


def test_uploads_hold_no_payment() -> None:
    """The scheduled run uploads its quality report only; data stays where strangers cannot download it."""
    uploads = [
        step["with"]["path"]
        for step in _steps(BATCH)
        if step.get("uses", "").startswith("actions/upload-artifact@")
    ]
    assert uploads == ["quality_${{ env.RUN_ID }}.json"]


def test_scheduled_runs_wait_for_each_other() -> None:
    """A second run of the pipeline queues behind the first instead of killing it."""
    concurrency = _load(BATCH)["concurrency"]
    assert concurrency == {"group": "batch_run", "cancel-in-progress": False}


def _clean_copy(target: Path) -> Path:
    """What a commit of the work tree would hold, without anything that is ignored."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():  # a file deleted but not yet committed is listed too
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


class Runner:
    """Runs the `run:` steps of the batch workflow as the hosted runner would, with an empty home."""

    def __init__(self, checkout: Path, scratch: Path, **variables: str) -> None:
        self.checkout = checkout
        self.variables = variables
        self._scratch = scratch
        self.summary = scratch / "summary.md"
        self._env_file = scratch / "env"
        self._home = scratch / "home"
        self._home.mkdir()

    def run(self, attempt: int) -> None:
        """Run every step; the first one that fails fails the test with its output."""
        self._env_file.write_text("")
        for step in _steps(BATCH):
            if "run" not in step:
                continue
            command = ["bash", "--noprofile", "--norc", "-e", "-c", step["run"]]
            env = self._environ(attempt) | {
                key: self._expand(value) for key, value in step.get("env", {}).items()
            }
            result = subprocess.run(
                command, cwd=self.checkout, env=env, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{step['name']}\n{result.stdout}\n{result.stderr}"

    def _environ(self, attempt: int) -> dict[str, str]:
        """The machine's own settings for reaching packages, and what a hosted runner sets; nothing else."""
        kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))}
        kept |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
        exported = dict(line.split("=", 1) for line in self._env_file.read_text("utf-8").splitlines())
        return (
            kept
            | exported
            | {key: value for key, value in self.variables.items() if key.startswith("AWS_")}
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self._home),
                "GITHUB_ENV": str(self._env_file),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                "GITHUB_REPOSITORY": "example/payments",
                "GITHUB_RUN_ID": "1001",
                "GITHUB_RUN_ATTEMPT": str(attempt),
                "RUNNER_TEMP": str(self._scratch),
            }
        )

    def _expand(self, value: str) -> str:
        """The value of a step's variable on a manual run for one day in a repository without secrets."""
        known = {
            "${{ secrets.STRIPE_API_KEY }}": "",
            "${{ github.token }}": "",
            "${{ inputs.days || '7' }}": "1",
            "${{ steps.lake.outputs.cache-matched-key }}": "",
            **{
                f"${{{{ vars.{name} }}}}": self.variables.get(name, "")
                for name in ("S3_BUCKET", "S3_PREFIX", "AWS_REGION", "AWS_ROLE_ARN")
            },
        }
        return known[value] if "${{" in value else value


def test_batch_run_works_in_a_clean_copy(tmp_path: Path, seaweed: Seaweed) -> None:
    """Two scheduled runs in a fresh checkout with an empty home build one lake and report both runs; so in S3 mode."""
    runner = Runner(_clean_copy(tmp_path / "a checkout"), tmp_path)
    runner.run(attempt=1)
    runner.run(attempt=2)

    lake = runner.checkout / "_local_data"
    assert {path.name for path in (lake / "_state" / "reports").iterdir()} == {
        "quality_gha-1001-1.json",
        "quality_gha-1001-2.json",
    }
    assert list(lake.glob("gold/model=fct_payments/dt=*/data.parquet"))
    summary = runner.summary.read_text("utf-8")
    assert all(f"│ gha-1001-{attempt}" in summary for attempt in (1, 2))

    # The same workflow in the same checkout, its lake in a bucket now.
    bucket = Runner(runner.checkout, _made(tmp_path / "bucket"), S3_BUCKET=BUCKET, **seaweed.environ())
    bucket.run(attempt=3)
    bucket.run(attempt=4)
    assert f"Lake: s3://{BUCKET}/lake-mock." in bucket.summary.read_text("utf-8")
    assert all(f"│ gha-1001-{attempt}" in bucket.summary.read_text("utf-8") for attempt in (3, 4))
    reports = {path.name for path in runner.checkout.glob("quality_*.json")}
    assert reports == {f"quality_gha-1001-{attempt}.json" for attempt in (1, 2, 3, 4)}
    assert {path.name for path in (lake / "_state" / "manifests").glob("run_*")} == {
        "run_gha-1001-1.json",
        "run_gha-1001-2.json",
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class _TokenServer(BaseHTTPRequestHandler):
    """GitHub's own endpoint for a job's OIDC tokens."""

    def do_GET(self) -> None:
        asked = (self.path, self.headers["Authorization"])
        is_right = asked == ("/token?api-version=1&audience=sts.amazonaws.com", "bearer of-the-job")
        self.send_response(200 if is_right else 403)
        self.end_headers()
        self.wfile.write(b'{"value": "a.b.c"}')

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name in http.server
        """Say nothing."""


def test_a_role_is_assumed_with_a_token_of_the_job(tmp_path: Path) -> None:
    """The token that boto3 will show to AWS is asked of GitHub for AWS, and lies where boto3 looks, for nobody else."""
    server = HTTPServer(("127.0.0.1", 0), _TokenServer)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    environ = {
        "PATH": os.environ["PATH"],
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/lake",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/token?api-version=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
    }
    subprocess.run([ROOT / ".github/aws-token"], env=environ, check=True)
    thread.join()
    server.server_close()
    assert (tmp_path / "token").read_text() == "a.b.c"
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("private", "code"), [("true", 0), ("false", 1)])
def test_real_payments_need_a_private_repository(tmp_path: Path, private: str, code: int) -> None:
    """With a Stripe key the run goes on in a private repository only, with a lake of its own."""
    answer = tmp_path / "gh"  # stands in for the hosted runner's client of GitHub's API
    answer.write_text(f"#!/bin/sh\necho {private}\n")
    answer.chmod(0o755)
    exported = tmp_path / "env"
    exported.touch()
    step = next(step for step in _steps(BATCH) if "run" in step)
    environ = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "STRIPE_API_KEY": "sk_test_mock",
        "GITHUB_REPOSITORY": "example/payments",
        "GITHUB_RUN_ID": "1001",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_ENV": str(exported),
        **dict.fromkeys(("S3_BUCKET", "S3_PREFIX", "AWS_REGION", "AWS_ROLE_ARN"), ""),
    }
    result = subprocess.run(["bash", "-e", "-c", step["run"]], env=environ, capture_output=True, check=False)
    assert result.returncode == code
    assert ("LAKE=lake-stripe" in exported.read_text("utf-8")) == (code == 0)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A checkout in which all is installed; its command says what it is given."""
    checkout = _clean_copy(tmp_path / "checkout")
    for stamp in ("bin/python", ".run", ".dev"):
        (checkout / ".venv" / stamp).parent.mkdir(parents=True, exist_ok=True)
        (checkout / ".venv" / stamp).touch()
    said = checkout / ".venv/bin/payments-pipeline"
    said.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "DAYS=$DAYS"\n')
    said.chmod(0o755)
    return checkout


def _make(checkout: Path, *arguments: str, **environ: str) -> list[str]:
    """What the command of `installed` was given by `make`."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--silent", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_second_make_installs_nothing(installed: Path) -> None:
    """Once the pins are installed, `make run-pipeline` only runs the pipeline."""
    assert _make(installed, "run-pipeline", "--dry-run") == ["exec .venv/bin/payments-pipeline run-pipeline"]
    assert _make(installed, "run-pipeline", "DAYS=3") == ["run-pipeline", "DAYS=3"]


HOSTILE = '$(shell touch made)`touch made`$$(touch made)"; touch made; "'


@pytest.mark.parametrize(
    ("target", "name", "given"),
    [
        ("run-pipeline", "DAYS", []),
        ("run-all", "DAYS", []),
        ("run-batch", "ENTITY", ["--entity", HOSTILE]),
        ("mock-api", "PORT", ["--port", HOSTILE]),
        ("run-webhooks", "PORT", ["--port", HOSTILE]),
        ("fetch", "JSON_DIR", ["--out", HOSTILE]),
        ("ingest-all", "SOURCE", ["--source", HOSTILE]),
        ("ingest-payment_intent", "FILE", ["--file", HOSTILE]),
        ("migrate", "m", ["--message", HOSTILE]),
    ],
)
def test_make_carries_out_nothing_of_a_variable(
    installed: Path, target: str, name: str, given: list[str]
) -> None:
    """What comes from the environment is handed on as it is, by make and by the shell."""
    lines = _make(installed, target, **{name: HOSTILE})
    assert "\n".join(given) in "\n".join(lines)
    assert lines[-1] == (f"DAYS={HOSTILE}" if name == "DAYS" else "DAYS=")
    assert not (installed / "made").exists()


def test_a_signal_to_make_ends_what_it_runs(installed: Path) -> None:
    """`kill` of `make mock-api` leaves no server behind on the port."""
    server = installed / ".venv/bin/payments-pipeline"
    server.write_text("#!/bin/sh\ntrap 'echo ended; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done\n")
    process = subprocess.Popen(
        ["make", "--silent", "mock-api"],
        cwd=installed,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.communicate(timeout=20)[0] == "ended\n"
