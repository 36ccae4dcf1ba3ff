"""A YAML loader with kubectl's types, so that a file means the same on a laptop and in a cluster.

PyYAML reads 2026-01-31 as a date, 12:30 as a number of seconds, 1e3 and y as strings. kubectl reads two strings, a number and true.
"""

import re

import yaml

_TRUE = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_INT = re.compile(r"^[-+]?(0b[01_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$")


class KubectlLoader(yaml.SafeLoader):
    """Resolves unquoted scalars like kubectl's parser; quoted scalars are strings in both."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer. One with a leading 0 is octal, if its digits allow that."""
        text = str(self.construct_scalar(node)).replace("_", "")
        sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-").lower()
        if digits[:2] in ("0x", "0o", "0b"):
            return sign * int(digits, 0)
        if digits[0] == "0" and len(digits) > 1:
            return sign * int(digits, 8) if set(digits) <= set("01234567") else int(digits) * sign
        return sign * int(digits)

    def construct_float(self, node: yaml.ScalarNode) -> int | float:
        """Return a number with a point or an exponent. The field's validation rejects infinity and NaN."""
        number = float(str(self.construct_scalar(node)).lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        # JSON, to which it is converted, writes a whole number without a point
        return int(number) if number.is_integer() else number

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        """Return a boolean."""
        return self.construct_scalar(node) in _TRUE


def _register_resolvers() -> None:
    kept = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}
    KubectlLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in kept]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    words = re.compile(f"^({'|'.join(sorted(_TRUE | _FALSE))})$")
    KubectlLoader.add_implicit_resolver("tag:yaml.org,2002:bool", words, list("yYnNtTfFoO"))
    KubectlLoader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    KubectlLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    infinite = re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")
    KubectlLoader.add_implicit_resolver("tag:yaml.org,2002:float", infinite, list("-+."))
    KubectlLoader.add_constructor("tag:yaml.org,2002:bool", KubectlLoader.construct_bool)
    KubectlLoader.add_constructor("tag:yaml.org,2002:int", KubectlLoader.construct_int)
    KubectlLoader.add_constructor("tag:yaml.org,2002:float", KubectlLoader.construct_float)


_register_resolvers()
