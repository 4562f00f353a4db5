"""TGI has this module in the NVIDIA server and not in the one for Gaudi: by it the two are told apart."""
