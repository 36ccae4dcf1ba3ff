"""Which Secrets a spec names, by the field that names each."""

from refresh_api.spec import RefreshSpec
from refresh_operator.secret_policy import secret_uses
from support.spec_validation import FULL_SPEC


def test_each_secret_of_a_full_spec_has_its_field():
    """A Secret that is left out here would be mounted whatever the policy says; all that a run reads are among them."""
    spec = RefreshSpec.model_validate(FULL_SPEC)
    uses = secret_uses(spec)
    assert spec.secret_keys.keys() <= uses.keys()
    assert uses["collector"] == "spec.tracing.headersSecretRef"
    assert uses["bucket"] == "spec.artifacts.store.s3.secretRef"
    assert (uses["api"], uses["lineage"]) == ("spec.cache.authorizationSecretRef", "spec.lineage.authorizationSecretRef")
