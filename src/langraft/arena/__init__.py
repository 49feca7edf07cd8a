"""Which model is better: battles that people judge, battles that a judge model judges, and ratings
with their intervals. Never imports torch.
"""
