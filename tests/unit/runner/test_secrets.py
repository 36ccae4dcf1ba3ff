"""Secrets are read from folders, and never appear in the runner's output."""

import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError, secret_values
from refresh_runner.postgres.conninfo import ConnectionInfo, from_secret, from_variables

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
    """Unchanged, URL-encoded, quoted by Python, JSON and SQL, and JSON within JSON."""
    masked = Redactor([PASSWORD])(f"connection to {form} failed")
    assert "***" in masked
    assert "p%40" not in masked
    assert "p%2540" not in masked


def test_what_is_not_secret_stays():
    """Hosts and users help to find the cause of an error."""
    secrets = {"warehouse": {"host": "db.example", "user": "refresh", "password": PASSWORD}, "slack": {"url": "https://hooks/T/B/x"}}
    assert sorted(secret_values(secrets)) == ["https://hooks/T/B/x", PASSWORD]


def folder(root: Path, **keys: str) -> SecretFolder:
    (root / "warehouse").mkdir(parents=True)
    for key, value in keys.items():
        (root / "warehouse" / key).write_text(value)
    return SecretFolder(root)


def test_a_mounted_secret_is_the_access(tmp_path: Path):
    """A trailing line break, as editors add it, is not part of a value."""
    access = from_secret("warehouse", folder(tmp_path, host="db", dbname="w", user="u", password=PASSWORD + "\n", sslrootcert="PEM"))
    assert (access.host, access.port, access.password, access.sslmode) == ("db", 5432, PASSWORD, "prefer")
    assert access.sslrootcert == tmp_path / "warehouse" / "sslrootcert"
    assert PASSWORD not in repr(access)


def of(root: Path, **keys: str) -> ConnectionInfo:
    """Return the access of a Secret with these keys and the required ones."""
    return from_secret("warehouse", folder(root, **{"host": "db", "dbname": "w", "user": "u", "password": PASSWORD, **keys}))


def test_the_systems_certificates_are_asked_for_by_a_word(tmp_path: Path):
    """As in libpq, which then also verifies the host name: anybody can get a public certificate. Control: a key with certificates."""
    access = of(tmp_path / "1", sslrootcert="system\n")
    assert (access.sslrootcert, access.sslmode) == (Path("system"), "verify-full")
    assert of(tmp_path / "2", sslrootcert="system", sslmode="verify-full").sslmode == "verify-full"
    assert from_variables({"PGUSER": "u", "PGPASSWORD": "secret", "PGSSLROOTCERT": "system"}).sslmode == "verify-full"
    control = of(tmp_path / "3", sslrootcert="-----BEGIN CERTIFICATE-----\n")
    assert (control.sslrootcert, control.sslmode) == (tmp_path / "3" / "warehouse" / "sslrootcert", "prefer")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_the_systems_certificates_and_a_weaker_check_are_refused(tmp_path: Path, mode: str):
    """libpq would reject them at each connection."""
    with pytest.raises(ValueError, match=f"sslrootcert system requires sslmode verify-full, not {mode}"):
        of(tmp_path, sslrootcert="system", sslmode=mode)


def test_certificates_may_be_a_file_of_the_image(tmp_path: Path):
    """By its path; a missing file is reported before libpq connects."""
    file = tmp_path / "ca.pem"
    file.write_text("PEM")
    assert of(tmp_path / "1", sslrootcert=f"{file}\n").sslrootcert == file
    assert of(tmp_path / "2", sslrootcert="").sslrootcert is None
    with pytest.raises(SecretMissingError, match="the key sslrootcert of the Secret 'warehouse' is a path to a file that does not exist"):
        of(tmp_path / "3", sslrootcert="/nowhere/ca.pem")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("port", "geheim", "port of the warehouse must be a number"),
        ("port", "²", "port of the warehouse must be a number"),
        ("port", "9" * 5000, "port of the warehouse must be a number"),
        ("sslmode", "geheim", "sslmode of the warehouse must be one of"),
        ("host", "db\ngeheim", "has a value that is not one line of printable characters in host"),
    ],
)
def test_a_wrong_value_is_not_quoted(tmp_path: Path, key: str, value: str, says: str):
    """If a user mixes up the keys of a Secret, the value may be a password."""
    with pytest.raises((ValueError, SecretMissingError), match=says) as raised:
        of(tmp_path, **{key: value})
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("key", ["password", "sslrootcert", "host"])
def test_a_key_that_is_no_text_is_named(tmp_path: Path, key: str):
    """Such as DER, which is not UTF-8. Other keys of the Secret may contain anything."""
    keys = folder(tmp_path, host="db", dbname="w", user="u", password=PASSWORD)
    (tmp_path / "warehouse" / "keystore.p12").write_bytes(b"\xff\xfe\x00")
    assert from_secret("warehouse", keys).password == PASSWORD
    (tmp_path / "warehouse" / key).write_bytes(b"\x30\x82\xff\xfe\x00")
    with pytest.raises(SecretMissingError, match=f"the Secret 'warehouse' has a value that is not UTF-8 text in {key}"):
        from_secret("warehouse", keys)


def test_missing_keys_are_named(tmp_path: Path):
    """The message has the Secret's name, but no value."""
    with pytest.raises(SecretMissingError, match="the Secret 'warehouse' lacks dbname, password"):
        from_secret("warehouse", folder(tmp_path, host="db", user="u"))


def test_without_a_folder_the_variables_of_libpq_count():
    """As for other PostgreSQL clients on a laptop."""
    access = from_variables({"PGUSER": "u", "PGPASSWORD": "secret", "PGPORT": "5433"})
    assert (access.host, access.port, access.dbname) == ("localhost", 5433, "u")
    with pytest.raises(SecretMissingError, match="PGPASSWORD"):
        from_variables({"PGUSER": "u"})
