"""The runner and kubectl parse YAML files the same way."""

import json

import pytest
import yaml

from refresh_runner.model.loader import document_of

PLAIN = """2026-01-31 2026-01-31T10:00:00Z 1:30 12:30:45 190:20:30.15 1e3 1.5e3 +5 -5 0 00 010 08 -010 0o10 0x1F 0b11 1_000
685_230.15 .5 1. 1.0 1.e+3
y Y n N yes no on off Yes OFF true False ~ null Null none None 1.2.3 1-2 v1 0.1.0 - 0x 1e 1_ 9223372036854775807""".split()


def document(word: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\nwritten: {{plain: {word}, listed: [{word}], quoted: '{word}'}}\n"


@pytest.mark.parametrize("word", [each for each in PLAIN if each != "-"])
def test_a_plain_word_is_to_the_runner_what_it_is_to_kubectl(contract, tmp_path, word):
    """Dates, times, numbers and booleans, also in a list, and quoted strings."""
    file = tmp_path / "x.yaml"
    file.write_text(document(word))
    read = document_of(file)
    assert isinstance(read, dict)
    told = json.loads(contract("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", str(file)))
    assert json.dumps(told["written"], sort_keys=True) == json.dumps(read["written"], sort_keys=True)


def test_a_parser_of_another_kind_would_be_seen():
    """Control: PyYAML by itself parses a date, which is not a string, and seconds."""
    plain = yaml.safe_load(document("1:30"))["written"]["plain"], yaml.safe_load(document("1e3"))["written"]["plain"]
    assert plain == (90, "1e3")
