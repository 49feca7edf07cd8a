"""Learning: one optimiser step for every stage, the losses and attention it needs, and one short
file a stage.
"""
