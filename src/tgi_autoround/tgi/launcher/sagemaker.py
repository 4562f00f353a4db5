"""SageMaker's names of the launcher's variables, which TGI's own SageMaker entrypoint translates (3.3.7)."""

from collections.abc import Mapping

LAUNCHERS_NAME = {
    "HF_MODEL_ID": "MODEL_ID",
    "HF_MODEL_REVISION": "REVISION",
    "HF_MODEL_QUANTIZE": "QUANTIZE",
    "HF_MODEL_TRUST_REMOTE_CODE": "TRUST_REMOTE_CODE",
    "SM_NUM_GPUS": "NUM_SHARD",
}


def translated(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the launcher's names beside SageMaker's, where they are not there already."""
    names = {own: environment[theirs] for theirs, own in LAUNCHERS_NAME.items() if environment.get(theirs)}
    return names | dict(environment)
