"""What profiled runs observe: counters, and the judgements drawn from them."""
