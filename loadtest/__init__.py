"""Load tests of LLM servers whose figures can be trusted; every number is defined in docs/loadtest.md."""
