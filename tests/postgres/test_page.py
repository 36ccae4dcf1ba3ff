"""The page reads the run log of a managed service by the Secret and the settings that the runner works with."""

from __future__ import annotations

from pathlib import Path

import pytest

from refresh_page.kube.models import Ref
from refresh_page.runlog.repository import RunLogRepository, RunLogUnavailableError
from support.managed import PASSWORD, ROLE, Authority, Warehouse


def secret(folder: Path, warehouse: Warehouse, **changes: str) -> RunLogRepository:
    """Mount the runner's Secret, with changes, for the page."""
    folder.mkdir()
    for key, value in (warehouse.runner.secrets["warehouse"] | changes).items():
        if value:
            (folder / key).write_text(value)
    return RunLogRepository(folder)


async def test_it_reads_the_log_by_the_runners_secret(
    warehouse: Warehouse, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates in the Secret, by path, and of the system; the role writes dates in German. The control is another authority."""
    warehouse.grant()
    warehouse.run()
    for setting in ("datestyle = 'German, DMY'", "client_encoding = 'LATIN1'", "standard_conforming_strings = off"):
        warehouse.as_admin(f'alter role "{ROLE}" set {setting}')
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    ways = {"pem": {}, "path": {"sslrootcert": str(authority.root)}, "system": {"sslrootcert": "system", "sslmode": ""}}
    for name, changes in ways.items():
        rows = await secret(tmp_path / name, warehouse, **changes).refresh_rows(Ref("essai", "petit"))
        assert [run.run for run in rows.runs] == ["petit-1"], name
    (tmp_path / "other").mkdir()
    other = Authority.create(tmp_path / "other")
    with pytest.raises(RunLogUnavailableError):
        await secret(tmp_path / "refused", warehouse, sslrootcert=other.root.read_text()).refresh_rows(Ref("essai", "petit"))
    with pytest.raises(RunLogUnavailableError):
        await secret(tmp_path / "wrong", warehouse, password=f"{PASSWORD}!").refresh_rows(Ref("essai", "petit"))
