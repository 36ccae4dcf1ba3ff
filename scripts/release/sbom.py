"""What a part of the release contains, as a CycloneDX document each, and the list of all licences."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import HeaderParser
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

UNKNOWN: Final = "not stated"
_DEBIAN: Final = "see /usr/share/doc/*/copyright in Debian's packages"
_LONGEST: Final = 60
"""Characters of a licence's name; longer ones are its text."""

_HEAD: Final = """# Licences

The product's own is Apache-2.0, in LICENSE. What the images and the plugin contain:

| package | version | licence | in |
|---|---|---|---|
"""


@dataclass(frozen=True, order=True)
class Package:
    """A package of Python or Debian."""

    kind: str
    name: str
    version: str
    licence: str

    @property
    def url(self) -> PackageURL:
        """The package's name in all registries."""
        return PackageURL(self.kind, "debian" if self.kind == "deb" else None, self.name, self.version)


def packages_of(files: Mapping[str, bytes]) -> list[Package]:
    """Return the packages that files describe: METADATA of Python distributions, and the list of installed Debian packages."""
    found: set[Package] = set()
    for name, content in files.items():
        if name.endswith(".dist-info/METADATA"):
            found.add(_distribution(content.decode()))
        elif name == "var/lib/dpkg/status":
            found.update(_debian(content.decode()))
    return sorted(found)


def document(name: str, version: str, kind: ComponentType, packages: Iterable[Package], epoch: int) -> str:
    """Return the CycloneDX document of a part of the release."""
    licences = LicenseFactory()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{name}@{version}"))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.component = Component(name=name, version=version, type=kind, bom_ref=name)
    components = [
        Component(
            name=each.name,
            version=each.version,
            type=ComponentType.LIBRARY,
            purl=each.url,
            bom_ref=each.url.to_string(),
            licenses=[licences.make_from_string(each.licence)] if each.kind == "pypi" and each.licence != UNKNOWN else [],
        )
        for each in packages
    ]
    bom.components.update(components)
    bom.register_dependency(bom.metadata.component, components)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def licence_list(parts: Mapping[str, Iterable[Package]]) -> str:
    """Return a table of all packages with their licences and the parts of the release that contain them."""
    where: dict[Package, list[str]] = {}
    for part, packages in parts.items():
        for each in packages:
            where.setdefault(each, []).append(part)
    lines = [f"| {each.name} | {each.version} | {each.licence} | {', '.join(parts)} |" for each, parts in sorted(where.items())]
    return _HEAD + "".join(f"{line}\n" for line in lines)


def _distribution(text: str) -> Package:
    fields = HeaderParser().parsestr(text)
    stated = fields["License-Expression"] or fields["License"] or ""
    if not stated.strip() or len(stated) > _LONGEST or "\n" in stated:
        named = [each.rpartition(" :: ")[2] for each in fields.get_all("Classifier", []) if each.startswith("License ::")]
        stated = ", ".join(each for each in named if each != "OSI Approved")
    name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
    return Package("pypi", name, fields["Version"], stated.strip() or UNKNOWN)


def _debian(text: str) -> Iterator[Package]:
    for paragraph in text.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if "installed" in (fields["Status"] or "").split():
            yield Package("deb", fields["Package"], fields["Version"], _DEBIAN)
