"""A server that answers like TGI without a model, with the latencies and faults that it is told to have."""
