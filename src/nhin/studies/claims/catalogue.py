"""All claims, by name."""

from collections.abc import Sequence

from nhin.errors import UnknownName
from nhin.studies.claims import approximations, costs, extrapolation, laws, learning, memory, studies
from nhin.studies.claims.claim import SourceClaim

CLAIMS: dict[str, SourceClaim] = {
    claim.name: claim
    for module in (laws, learning, memory, costs, approximations, extrapolation, studies)
    for claim in module.CLAIMS
}


def find_claims(names: Sequence[str]) -> list[SourceClaim]:
    """Return claims by name, each once; all when none is named.

    Raises:
        UnknownName: There is no such claim.
    """
    for name in names:
        if name not in CLAIMS:
            raise UnknownName("claim", name, CLAIMS)
    return [CLAIMS[name] for name in dict.fromkeys(names or CLAIMS)]
