"""No secret leaves a run in any output. Secrets that are common words, or not text, do not corrupt the output."""

from __future__ import annotations

import gzip
import json

import pytest

from refresh_api.status import Outcome, Reason
from support.runner_harness import RunnerHarness, RunResult

KEY = "-----BEGIN KEY-----\n" + "\n".join(f"{number:02}b3/+xYz9Qw=" * 5 for number in range(50)) + "\n-----END KEY-----"
TABLES = ("log", "run", "step", "node", "mart")


def api_token(runner: RunnerHarness, token: str) -> dict[str, object]:
    """Mount a token for the API. Return the cache step that sends it."""
    runner.secrets["api"] = {"token": token}
    return {"baseURL": runner.api, "endpoints": ["/a"], "authorizationSecretRef": {"name": "api", "key": "token"}}


def raises(runner: RunnerHarness, text: str) -> None:
    """Make a model fail with an error that quotes a text."""
    fails = f"raise exception '%', $quoted${text}$quoted$;"
    runner.database.run(f"create function src.zut() returns int language plpgsql as $f$ begin {fails} end $f$")
    runner.database.run(
        "alter table src.lignes rename to vraies; create view src.lignes as select id, zone, src.zut() as mois, nap from src.vraies"
    )


def left_by(runner: RunnerHarness, ran: RunResult) -> str:
    """Return everything that a run has left: output, termination message, rows and files."""
    rows = [str(runner.database.rows(f"select t::text from dbt_refresh_{table} t")) for table in TABLES]
    files = [gzip.decompress(bytes(content)).decode() for (content,) in runner.database.rows("select content from dbt_refresh_artifact")]  # type: ignore[call-overload]
    return "\n".join([ran.output, (runner.folder / "termination-log").read_text(), *rows, *files])


@pytest.mark.slow
def test_a_long_key_is_found_wherever_a_text_is_cut(runner: RunnerHarness):
    """It is not valid in a header, which is reported by its name. The error that quotes it exceeds the maximum of every output."""
    spec = runner.spec(cache=api_token(runner, KEY))
    raises(runner, "x" * 1990 + KEY + "y" * 200_000)
    ran = runner.run(spec)
    assert ran.termination_message is not None
    assert ran.termination_message.reason is Reason.LAYER_FAILED
    left = left_by(runner, ran)
    assert "xxxx***" in left
    assert "b3/+xYz9Qw" not in left
    columns = runner.database.rows(
        "select table_name::text, column_name::text from information_schema.columns where table_name like 'dbt_refresh_%'"
        " and table_schema = current_schema() and data_type = 'text'"
    )
    lengths = {
        f"{table}.{column}": runner.database.rows(f"select coalesce(max(length({column})), 0) from {table}")[0][0]
        for table, column in columns
    }
    assert lengths["dbt_refresh_node.message"] == 2000
    assert max(int(str(length)) for length in lengths.values()) == 2000


def test_a_token_that_is_no_header_is_named_and_never_sent(runner: RunnerHarness):
    """It is named by its Secret and key. The data are still published."""
    ran = runner.run(runner.spec(cache=api_token(runner, KEY)))
    assert ran.termination_message is not None
    assert ran.termination_message.outcome is Outcome.WARNED
    assert "the key 'token' of the Secret 'api' is not one line of printable ASCII characters" in ran.messages
    assert "b3/+xYz9Qw" not in left_by(runner, ran)


@pytest.mark.parametrize("word", ["failed", "null"])
def test_a_secret_that_is_a_word_leaves_json_and_sentences_as_they_are(runner: RunnerHarness, word: str):
    """The log, the termination message and dbt's results stay machine-readable, and still say what happened."""
    spec = runner.spec(cache=api_token(runner, word))
    runner.database.run("alter table src.lignes rename column mois to autre")
    ran = runner.run(spec)
    assert ran.termination_message is not None
    assert (ran.termination_message.outcome, ran.termination_message.reason) == (Outcome.FAILED, Reason.LAYER_FAILED)
    assert "not started: 1/6 staging failed" in ran.messages
    ((content,),) = runner.database.rows("select content from dbt_refresh_artifact where name = 'run_results.json'")
    results = json.loads(gzip.decompress(bytes(content)))  # type: ignore[call-overload]
    assert [result["status"] for result in results["results"]] == ["error"]


def test_a_key_that_is_no_text_is_named(runner: RunnerHarness):
    """The termination message names the key with its Secret. A key that no run needs may have any value."""
    runner.secrets["warehouse"]["keystore.p12"] = "x"
    spec = runner.spec(validation=None, tests=None, layers=[{"name": "staging", "select": ["stg_lignes"]}], cache=None)
    assert runner.run(spec).code == 0
    place = runner.folder / "secrets" / "warehouse"
    (place / "keystore.p12").write_bytes(b"\x30\x82\xff\xfe\x00")
    runner.secrets = {}
    assert runner.run(spec).code == 0
    password = (place / "password").read_bytes()
    (place / "password").write_bytes(b"\xff\xfegeheim\x00")
    ran = runner.run(spec, failures=2)
    (place / "password").write_bytes(password)
    (place / "keystore.p12").unlink()
    assert ran.code == 1
    assert ran.termination_message is not None
    assert (ran.termination_message.outcome, ran.termination_message.reason) == (Outcome.FAILED, Reason.WAREHOUSE_UNREACHABLE)
    assert ran.termination_message.message == "the Secret 'warehouse' has a value that is not UTF-8 text in password"
    assert "geheim" not in ran.output
