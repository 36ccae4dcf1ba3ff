"""dbt's command line and the scripts around it: what is understood, and what is only said."""

from __future__ import annotations

import pytest

from refresh_runner.importers.commands import parse_dbt, selections, selections_of_tests
from refresh_runner.importers.description import DbtCommand, TestKind, Verb
from refresh_runner.importers.shell import Script, of_script, of_words


def one(text: str) -> DbtCommand:
    """Return the single command of a script that has nothing else."""
    script = of_script(text, "here")
    assert not script.notes, script.notes
    (command,) = script.commands
    return command


def decisions(script: Script) -> str:
    assert all(note.decide for note in script.notes), script.notes
    return "; ".join(note.text for note in script.notes)


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("dbt build", Verb.BUILD),
        ("dbt run", Verb.RUN),
        ("dbt test", Verb.TEST),
        ("dbt seed", Verb.SEED),
        ("dbt snapshot", Verb.SNAPSHOT),
        ("dbt source freshness", Verb.FRESHNESS),
        ("dbt source snapshot-freshness", Verb.FRESHNESS),
        ("dbt --no-use-colors --log-format json run --no-partial-parse -q", Verb.RUN),
        ("/opt/venv/bin/dbt run", Verb.RUN),
        ("poetry run dbt run", Verb.RUN),
        ("exec dbt run --profiles-dir $DIR", Verb.RUN),
    ],
)
def test_the_command_is_recognised(text, verb):
    """Programs start dbt in several ways, and global options come before or after the command."""
    assert one(text).verb is verb


@pytest.mark.parametrize("option", ["--select", "-s", "--models", "--model", "-m"])
@pytest.mark.parametrize("written", ["{} tag:a +b", "{} tag:a {} +b", '{} "tag:a +b"', "{} tag:a --select=+b"])
def test_all_forms_of_a_selection_mean_the_same(option, written):
    """dbt has five names for the option, takes several values after it, and splits each by spaces."""
    command = one(f"dbt run {written.format(option, option)} --exclude c,tag:d")
    assert (command.select, command.exclude) == (("tag:a", "+b"), ("c,tag:d",))


def test_a_layer_selects_exactly_the_kind_that_the_command_builds():
    """A layer takes models, seeds and snapshots: `dbt run --select tag:a` builds no seed with that tag."""
    assert list(selections(one("dbt run -s tag:a b"))) == ["tag:a,resource_type:model", "b,resource_type:model"]
    assert list(selections(one("dbt seed"))) == ["resource_type:seed"]
    assert list(selections(one("dbt build -s tag:a"))) == ["tag:a"]
    assert list(selections(one("dbt build"))) == ["fqn:*"]


def test_kinds_of_tests_are_kept_apart():
    """dbt's own advice is to leave unit tests out in production."""
    command = one("dbt build -s a --exclude-resource-type unit_test")
    assert command.tests is TestKind.DATA
    assert list(selections_of_tests(command)) == ["a,resource_type:test"]
    assert one("dbt build --exclude-resource-types test unit_test").tests is TestKind.NONE
    assert list(selections_of_tests(one("dbt test"))) == ["fqn:*"]


def test_settings_are_read():
    """The variables are YAML, in which a date is a date; a manifest has it as a text."""
    command = one("""dbt run -t prod --threads 4 --vars '{"from": 2026-01-31, days: [1, 2]}'""")
    assert (command.target, command.threads, command.variables) == ("prod", 4, {"from": "2026-01-31", "days": [1, 2]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dbt run --select $MODELS", "gets --select when the source runs"),
        ("dbt run --select {{ var.value.models }}", "gets --select when the source runs"),
        ("dbt run --exclude `cat list`", "gets --exclude when the source runs"),
        ("dbt run --select state:modified+ --state prod", "has --state"),
        ("dbt run --select result:error+", "selects by result"),
        ("dbt build --selector nightly", "uses --selector"),
        ("dbt build --resource-type model", "chooses by type of resource"),
        ("dbt build --exclude-resource-type seed", "chooses by type of resource"),
        ("dbt run --event-time-start 2026-01-01", "has --event-time-start"),
        ("dbt run --empty", "has --empty"),
        ("dbt run --vars", "has a value where --vars takes none, or none where it takes one"),
        ("dbt clone --state prod", "dbt clone is not converted"),
        ("dbt $COMMAND", "gets its command when the source runs"),
        ("dbt run-operation grant_readers --args '{role: bi}'", "runs grant_readers"),
        ("if true; then dbt run; fi", "it has `if`"),
        ("for m in a b; do dbt run -s $m; done", "it has `for`"),
        ("(dbt run)", "it has `(`"),
        ("dbt run &", "in the background"),
        ("dbt run --select 'a", "No closing quotation"),
    ],
)
def test_what_cannot_be_understood_is_said_and_not_guessed(text, said):
    """Nothing of it is converted: half of a selection would build something else."""
    script = of_script(text, "here")
    assert not script.commands
    assert said in decisions(script)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dbt run --full-refresh", "rebuilds incremental models in full"),
        ("dbt run --vars '{day: {{ ds }}}'", "the variable day is computed when the source runs"),
        ("dbt run --vars '[1]'", "--vars is not a YAML mapping"),
        ("dbt run --vars '{day: 2026-13-45}'", "--vars is not a YAML mapping"),
        ("dbt run --vars '&a {x: *a}'", "--vars is not a YAML mapping"),
        ("dbt run --target $TARGET", "--target is computed"),
    ],
)
def test_a_command_without_one_of_its_options_is_kept(text, said):
    """It builds the same tables, and a person has to decide about the option."""
    script = of_script(text, "here")
    assert [command.verb for command in script.commands] == [Verb.RUN]
    assert said in decisions(script)
    assert (script.commands[0].variables, script.commands[0].target) == ({}, None)


@pytest.mark.parametrize("threads", ["$THREADS", "many", "9" * 5000])
def test_a_number_of_threads_that_is_none_is_said(threads):
    """It changes how fast dbt builds, and not what, so nothing has to be decided."""
    script = of_script(f"dbt run --threads {threads}", "here")
    assert script.commands[0].threads is None
    assert [(note.decide, "set `dbt.threads`" in note.text) for note in script.notes] == [(False, True)]


def test_the_date_of_a_run_has_a_counterpart():
    """`as_of` is the run's date by itself, so that nothing has to be decided."""
    (note,) = of_script("dbt run --vars '{as_of: {{ ds }}}'", "here").notes
    assert (note.decide, "as_of defaults to the run's date" in note.text) == (False, True)


@pytest.mark.parametrize("name", ["password", "API_TOKEN", "client_secret", "dsn", "db_conn_str"])
def test_a_variable_with_the_name_of_a_secret_is_not_copied(name):
    """A refresh is readable by many. The name is said, the value is not."""
    script = of_script(f"dbt run --vars '{{{name}: Wert-4711, days: 3}}'", "here")
    assert script.commands[0].variables == {"days": 3}
    assert name in decisions(script)
    assert "Wert-4711" not in decisions(script)
    assert "Wert-4711" in script.hidden


def test_an_address_with_a_login_is_not_copied_whatever_its_name():
    """And a name that only looks like one of a secret is."""
    script = of_script("dbt run --vars '{source: \"https://me:pw-0815@example.org/x\", author: me}'", "here")
    assert script.commands[0].variables == {"author": "me"}
    assert "pw-0815" not in decisions(script)


@pytest.mark.parametrize(
    ("text", "tolerated"),
    [
        ("dbt run && dbt test", [False, False]),
        ("dbt run; dbt test", [True, False]),
        ("dbt run\ndbt test", [True, False]),
        ("set -e\ndbt run\ndbt test", [False, False]),
        ("set -euo pipefail; dbt run; dbt test", [False, False]),
        ("dbt run && dbt test || true", [False, True]),
        ("dbt run || exit 1; dbt test", [False, False]),
        ("dbt test | tee log", [True]),
        ("dbt run >log 2>&1 && dbt test", [False, False]),
        ("dbt run && \\\n  dbt test", [False, False]),
    ],
)
def test_it_is_known_what_follows_a_failure(text, tolerated):
    """A failed test fails the refresh only if it failed the source."""
    script = of_script(text, "here")
    assert [command.tolerated for command in script.commands] == tolerated


def test_a_shell_that_stops_at_errors_is_recognised():
    """`sh -ec`, and the script as its own argument."""
    assert [each.tolerated for each in of_words(["sh", "-ec", "dbt run; dbt test"], "here").commands] == [False, False]
    assert [each.tolerated for each in of_words(["bash", "-c", "dbt run; dbt test"], "here").commands] == [True, False]
    assert [each.select for each in of_words(["dbt", "run", "--select", "a b"], "here").commands] == [("a", "b")]


def test_other_programs_are_named_without_their_arguments():
    """Arguments of programs often contain tokens. The line is that of the script."""
    script = of_script("dbt run\n# don't\ncurl -H 'Authorization: Bearer abcdef' https://u:pw-99@example.org/\n", "task load")
    (note,) = script.notes
    assert (note.place, note.text[:15]) == ("task load, line 3 of the script", "`curl` is not d")
    assert "pw-99" in script.hidden
    assert "abcdef" not in note.text


@pytest.mark.parametrize("text", ["dbt run --full-refresh=Geheim-1", "dbt run --pw=Geheim-1", "dbt run -pGeheim-1", "dbt Geheim-1 --x"])
def test_a_value_that_is_not_understood_is_not_quoted(text):
    """It may be a secret; its option is named, if it has a name."""
    script = of_script(text, "here")
    assert not script.commands
    assert "Geheim" not in decisions(script)


def test_what_prepares_a_run_is_passed_over():
    """Folders and packages of Python are not of this world; the packages of dbt are."""
    script = of_script("cd /work && source venv/bin/activate && dbt deps && dbt run && echo done", "here")
    assert script.installs_packages
    assert [command.folder for command in script.commands] == ["/work"]
    assert not script.notes


def test_the_repository_is_read_from_its_clone():
    """The folder of the project within it is where dbt runs."""
    script = of_script("git clone --depth 1 -b prod https://git.example.org/a/dbt.git && cd dbt/project && dbt run", "here")
    assert script.project is not None
    assert (script.project.url, script.project.ref, script.clone) == ("https://git.example.org/a/dbt.git", "prod", "dbt")
    assert script.commands[0].folder == "dbt/project"


def test_words_after_an_option_that_takes_several_belong_to_it():
    """Control of the parser: `test` is a model here, and the command is not `dbt test`."""
    parsed = parse_dbt(["run", "--select", "test", "seed"], "here")
    assert parsed.command is not None
    assert (parsed.command.verb, parsed.command.select) == (Verb.RUN, ("test", "seed"))
