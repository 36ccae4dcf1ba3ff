"""Secrets are read from folders, and never leave the runner."""

import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from refresh_runner.access import from_secret, from_variables
from refresh_runner.secrets import Redactor, SecretFolder, SecretMissingError, secret_values

PASSWORD = "p%40:/'\"$"
FORMS = [
    PASSWORD,
    quote(PASSWORD, safe=""),
    quote(PASSWORD),
    quote_plus(PASSWORD),
    repr(PASSWORD),
    json.dumps(PASSWORD),
    json.dumps(f"postgresql://refresh:{PASSWORD}@db/x"),
    json.dumps(json.dumps({"password": PASSWORD})),
    PASSWORD.replace("'", "''"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_every_form(form: str):
    """As it is, URL-encoded, quoted by Python, JSON and SQL, and JSON within JSON."""
    masked = Redactor([PASSWORD])(f"connection to {form} failed")
    assert "***" in masked
    assert "p%40" not in masked
    assert "p%2540" not in masked


def test_what_is_not_secret_stays():
    """Hosts and users help to find the error."""
    secrets = {"warehouse": {"host": "db.example", "user": "refresh", "password": PASSWORD}, "slack": {"url": "https://hooks/T/B/x"}}
    assert sorted(secret_values(secrets)) == ["https://hooks/T/B/x", PASSWORD]


def folder(root: Path, **keys: str) -> SecretFolder:
    (root / "warehouse").mkdir()
    for key, value in keys.items():
        (root / "warehouse" / key).write_text(value)
    return SecretFolder(root)


def test_a_mounted_secret_is_the_access(tmp_path: Path):
    """A trailing line break, as editors leave it, is no part of a value."""
    access = from_secret("warehouse", folder(tmp_path, host="db", dbname="w", user="u", password=PASSWORD + "\n", sslrootcert="PEM"))
    assert (access.host, access.port, access.password, access.sslmode) == ("db", 5432, PASSWORD, "prefer")
    assert access.sslrootcert == tmp_path / "warehouse" / "sslrootcert"
    assert PASSWORD not in repr(access)


def test_missing_keys_are_named(tmp_path: Path):
    """With the Secret's name, never with a value."""
    with pytest.raises(SecretMissingError, match="the Secret 'warehouse' lacks dbname, password"):
        from_secret("warehouse", folder(tmp_path, host="db", user="u"))


def test_without_a_folder_the_variables_of_libpq_count():
    """As for every other PostgreSQL client on a laptop."""
    access = from_variables({"PGUSER": "u", "PGPASSWORD": "secret", "PGPORT": "5433"})
    assert (access.host, access.port, access.dbname) == ("localhost", 5433, "u")
    with pytest.raises(SecretMissingError, match="PGPASSWORD"):
        from_variables({"PGUSER": "u"})
