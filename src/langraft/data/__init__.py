"""Text becomes batches: tokenised shards, packed rows, exact mixes. Batches are a pure function of
(seed, step).
"""
