"""Load-testing of streaming LLM servers: one request at a time, one record a request, one summary a run.

Every number is defined once, in docs/loadtest.md.
"""
