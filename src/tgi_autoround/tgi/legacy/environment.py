"""What the launcher shim hands to tgi-gaudi 2.0's server. Standard library only: the shim must not wait for torch."""

TENSORS_VARIABLE = "TGI_AUTOROUND_TENSORS"
"""The user's directory, set where the model id is a view of it: tensors are read from where they lie."""
