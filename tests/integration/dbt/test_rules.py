"""The dbt project follows all rules, and each rule detects a project that breaks it."""

from __future__ import annotations

import copy

import pytest
from dbt.artifacts.resources.types import AccessType
from dbt.contracts.graph.manifest import Manifest

from lineage import PICTURE, svg
from refresh_examples.embedded import EmbeddedPostgres
from support.dbt_project import Dbt
from support.postgres import Database

from .rules import RULES, Rule, models


@pytest.fixture(scope="module")
def manifest(dbt: Dbt, postgres: EmbeddedPostgres) -> Manifest:
    """The manifest, parsed with every warning as an error."""
    return dbt.manifest(Database(postgres, postgres.access.database))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(manifest: Manifest, rule: Rule) -> None:
    """The project has no violation."""
    assert list(rule(manifest)) == []


def test_each_rule_finds_a_project_that_breaks_it(manifest: Manifest) -> None:
    """The positive control: each rule refuses a project with one violation of each kind."""
    slips = copy.deepcopy(manifest)
    named = {model.name: model for model in models(slips)}
    mart = named["mart_emplois_crees"]
    mart.depends_on.nodes += ["source.sigeti.sigeti.emplois", "model.sigeti.mart_indemnisations", "model.sigeti.stg_emplois_crees"]
    mart.raw_code += " from dwh_facts.fait_emplois_crees"
    mart.patch_path = "sigeti://models/facts/_facts.yml"
    mart.description = ""
    mart.columns["nb_crees"].data_type = "text"
    mart.access = AccessType.Protected
    named["stg_factures"].config.materialized = "table"
    named["fait_factures"].config.materialized = "view"
    for number in range(4):
        reader = copy.deepcopy(named["mart_encaissements_mensuels"])
        reader.name, reader.unique_id = f"mart_{number}", f"model.sigeti.mart_{number}"
        slips.nodes[reader.unique_id] = reader
    assert [rule.__name__ for rule in RULES if not list(rule(slips))] == []


def test_the_picture_of_the_lineage_is_the_project_s(manifest: Manifest) -> None:
    """`make docs-dbt` was run after the last change."""
    assert PICTURE.read_text() == svg(manifest)
